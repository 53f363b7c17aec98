"""A graph of ours, checked by whoever receives it: its claims from the stored weights, and the graph itself at sampled states.

Three things are asked, and none of them of whoever sent the file:

1. the file ends with the hash of all that stands before (against damage; a stranger can write both);
2. every claim in it is proved for the system that stands beside it, by the independent checker;
3. the graph, every member of it and with θ and c of every certified person, computes the field of that system plus what is
   infused, and its Jacobian, by differences of the graph, has the inequality of the certificate, at sampled states where it
   speaks.

Members, people and units are not the sender's to choose: `exchange.onnx.whole`.

The graph is first evaluated in numpy, within a bound of memory, and then, where it is installed, by onnxruntime.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.bundle import proofs
from exchange.bundle.systems import Subjects
from exchange.files.archive import DAMAGE, VERSION
from exchange.onnx.evaluated import evaluated
from exchange.onnx.held import Held, held, runner
from exchange.onnx.onnx_graphs import require_onnx
from exchange.onnx.read import Read, axes_of, read
from exchange.onnx.whole import asked_of, units_apart
from exchange.stored_system import system_of
from physics.arguments import quote, require_number
from physics.glance import glance
from stability import Certificate, Claim, Lure, Refusal, RegionalRate, prove
from stability.proof import Verdict

Array = NDArray[np.float64]
# How far the graph may be from the stored system: its rate, of the largest rate; its Jacobian by differences, of the largest
# entry. softplus is log(1 + eᵛ) to a proof and v beyond 20 to torch, 2e-9 apart.
AGREES = {"float64": 1e-8, "float32": 2e-5}
SLOPES = {"float64": 1e-6, "float32": 1e-2}


@dataclass(frozen=True)
class CheckedOnnx:
    """What became of the check.

    `verdicts`: each claim in words, whether it is proved from the stored weights (None of a refusal) and why · `rebuilt`: of the
    graph itself, None where it carries no system to hold it against · `precision` of the graph · `card` in Markdown · `notes`.
    """

    verdicts: tuple[tuple[str, bool | None, str], ...]
    rebuilt: Held | None
    precision: str
    certified: bool
    card: str
    notes: tuple[str, ...]

    __repr__, _repr_html_ = glance()

    @property
    def good(self) -> bool:
        """Is a certificate in it, is everything proved, and is the graph the field that was certified?"""
        proved = all(verdict is not False for _, verdict, _ in self.verdicts)
        return self.certified and proved and self._same and self.rebuilt is not None and self.rebuilt.holds

    @property
    def _same(self) -> bool:
        found = self.rebuilt
        return found is not None and found.value <= AGREES[self.precision] and found.slope <= SLOPES[self.precision]

    @property
    def text(self) -> str:
        """All of it in words."""
        lines = [
            f"{words}: {'proved' if ok else 'no claim' if ok is None else 'REFUSED'}: {why}"
            for words, ok, why in self.verdicts
        ]
        if not self.certified:
            lines.insert(0, "not certified: no certificate of contraction is proved of this model")
        return "\n".join([*lines, *self._of_graph(), *self.notes])

    def _of_graph(self) -> list[str]:
        found = self.rebuilt
        if found is None:
            return []
        if not self._same:
            how = "it gives what is no finite number, where that has one"
            if np.isfinite([found.value, found.slope]).all():
                how = f"its rate is off by {found.value:.1e} of the largest, its Jacobian by {found.slope:.1e}"
            return [
                f"REFUSED: the graph is not the stored system: of {found.states + found.far} states, at the worst {how}"
            ]
        far = f"; at {found.far} states further out only its rate was compared" if found.far else ""
        lines = [
            f"the graph is the stored system at {found.states} states, under θ and c of those whom the claims are about: its "
            f"rate to {found.value:.1e}, with infusions and without, its Jacobian to {found.slope:.1e}{far}"
        ]
        if found.eigenvalue is not None:
            holds = "holds" if found.holds else "does NOT hold"
            lines.append(
                f"the inequality of the claim {holds} of the graph's Jacobian there (largest eigenvalue {found.eigenvalue:.2e})"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "good": self.good,
            "certified": self.certified,
            "claims": [{"claim": words, "proved": ok, "reason": why} for words, ok, why in self.verdicts],
            "graph": None if self.rebuilt is None else asdict(self.rebuilt),
            "precision": self.precision,
            "notes": list(self.notes),
        }


def checked(path: str | os.PathLike[str], *, states: int = 16, seed: int = 0) -> CheckedOnnx:
    """Check the field that `Onnx.write` wrote: model.field.onnx.

    Arguments: `states`, at how many states the graph is asked, for each certified person and member; `seed` of these.
    Errors: `ValueError`, one sentence that names the file, for what is no field of ours, and where onnx is not installed.
    Law: `good` ⇒ the stored system has the claims, and the graph is its field at the states tried.
    """
    require_number(states, "checked: states", least=1.0, most=1e5, whole=True)
    require_number(seed, "checked: seed", least=0.0, most=2.0**63 - 1.0, whole=True)
    found = read(path)
    require_onnx("checked")
    try:
        return _checked(found, int(states), int(seed))
    except (*DAMAGE, ValueError, np.linalg.LinAlgError) as error:
        raise ValueError(
            f"{path}: not a field that homeostat wrote ({quote(str(error), 250)}); export it again"
        ) from error


def _checked(found: Read, states: int, seed: int) -> CheckedOnnx:
    function, precision = found.model["function"], found.model["precision"]
    if function != "field":
        raise ValueError(
            f"it is the function {quote(function)}, and claims are about the field; check the file of the field"
        )
    if precision not in AGREES:
        raise ValueError(f"its precision is {quote(precision)}")
    notes = (
        []
        if precision == "float64"
        else ["what is proved is of the stored float64 numbers; the graph computes in float32"]
    )
    stated, systems = _claims(found)
    verdicts, certified = [], False
    for one, system in zip(stated, systems, strict=True):
        verdicts.append(_verdict(one, system, found.model))
        certified = certified or (isinstance(one.what, Certificate) and verdicts[-1][1] is True)
    rebuilt = _rebuilt(found, stated, systems, states, seed)
    if rebuilt is None:
        notes.append("the graph was not held against anything: no system stands in the file")
    return CheckedOnnx(tuple(verdicts), rebuilt, precision, certified, found.card, tuple(notes))


def _claims(found: Read) -> tuple[tuple[proofs.Stated, ...], tuple[Any, ...]]:
    """The claims, and what each is about; none where there is no proof."""
    return ((), ()) if found.proof is None else proofs.with_systems(found.proof, VERSION)


def _verdict(one: proofs.Stated, system: Any, model: Mapping[str, Any]) -> tuple[str, bool | None, str]:
    claim = one.what
    if isinstance(claim, Refusal):
        return "a claim that was not to be had", None, claim.message
    try:
        # in the units in which it was made; of one that says none the file's own word is nobody's
        words = f"{claim.kind}: {claim.in_words(str(one.units.get('time', 'unit of time')))}"
    except ValueError:
        words = claim.kind
    apart = units_apart(one.units, model)
    if apart is not None:
        return words, False, apart
    verdict: Verdict = prove(claim, system)
    return words, verdict.proved, verdict.reason


def _rebuilt(
    found: Read, stated: tuple[proofs.Stated, ...], systems: tuple[Any, ...], states: int, seed: int
) -> Held | None:
    """The worst over all people and members of what each system says; None where no system stands in the file.

    Errors: `ValueError` for a claim about what is no part of any system that the graph is held against.
    """
    about = _about(stated, systems)
    if not about or found.people is None:
        return None
    run, graph = _running(found)
    axes, asked = axes_of(found.model["inputs"]), asked_of(found, graph, [system for _, system in about])
    size = np.abs(np.array(found.model["starts_with"]["x"], dtype=np.float64)).max(0)
    size, inputs = np.where(size > 0.0, size, 1.0), int(axes["u"][-1]) if "u" in axes else 0
    worst: Held | None = None
    for claim, system in about:
        for k, member in enumerate(asked.members):
            for person in range(asked.people):
                one = held(
                    runner(run, k, asked.own(member, person), axes),
                    system_of(system, member, person),
                    claim,
                    size,
                    inputs=inputs,
                    precision=found.model["precision"],
                    states=states,
                    seed=seed + person,
                )
                worst = one if worst is None else _worse(worst, one)
    return worst


def _about(
    stated: tuple[proofs.Stated, ...], systems: tuple[Any, ...]
) -> list[tuple[Certificate | RegionalRate | None, Lure]]:
    """Every system that stands in the file, with each claim about it that states a rate, or once with None."""
    claims = [(one.what, system) for one, system in zip(stated, systems, strict=True) if isinstance(one.what, Claim)]
    read_once = {id(system): Lure.from_dict(system) for _, system in claims if "A" in system}
    rated = [(claim, system) for claim, system in claims if isinstance(claim, Certificate | RegionalRate)]
    found: list[tuple[Certificate | RegionalRate | None, Lure]] = [
        (claim, read_once.get(id(system)) or Lure.from_dict(system)) for claim, system in rated
    ]
    tried = {id(system) for _, system in rated}
    found += [(None, system) for key, system in read_once.items() if key not in tried]
    whole = [Subjects(system) for _, system in found]
    for claim, system in claims:
        if id(system) not in read_once and id(system) not in tried and all(one.of(claim) is None for one in whole):
            raise ValueError(
                f"its claim of the kind {quote(claim.kind)} is about layers of no system that stands in it"
            )
    return found


def _worse(one: Held, two: Held) -> Held:
    def above(held: Held) -> float:
        return -np.inf if held.eigenvalue is None else held.eigenvalue - held.allowed

    top = max(one, two, key=above)
    apart = max(one.value, two.value), max(one.slope, two.slope)
    return Held(one.states + two.states, *apart, top.eigenvalue, top.allowed, one.far + two.far)


def _running(found: Read) -> tuple[Callable[[Mapping[str, Array]], Array], Any]:
    """The field, by names of inputs: in numpy within a bound of memory, and then by onnxruntime where it is installed; and the
    graph that it is.
    """
    import onnx

    graph = onnx.ModelProto.FromString(found.graph).graph
    dtype = np.dtype(found.model["precision"])
    session = _session(found.graph)

    def run(given: Mapping[str, Array]) -> Array:
        fed = {name: np.ascontiguousarray(value, dtype=dtype) for name, value in given.items()}
        plain = evaluated(graph, fed)["rate"]  # bounded; what onnxruntime may take is bounded by it
        if session is None:
            return np.asarray(plain)
        whole = np.asarray(session.run(["rate"], fed)[0])
        if whole.shape != plain.shape or not np.array_equal(np.isfinite(whole), np.isfinite(plain)):
            raise ValueError(
                "onnxruntime gives what the graph does not say: of another shape, or where there is no number"
            )
        there = np.isfinite(plain)
        gap = np.abs(whole[there] - plain[there]).max(initial=0.0)
        # where terms cancel to nothing, of what is fed
        least = 1e-8 * max(float(np.abs(value).max(initial=0.0)) for value in fed.values())
        if not gap <= 1e-4 * np.abs(plain[there]).max(initial=least):
            raise ValueError(f"onnxruntime gives what the graph does not say: {gap:.2g} apart")
        return whole

    return run, graph


def _session(graph: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    # as it is written: nothing is folded when it is loaded, before its size is known
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which it does not export
        raise ValueError(f"onnxruntime does not load it: {str(error)[:200]}") from error
