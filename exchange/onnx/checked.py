"""A graph of ours, checked by whoever receives it: its claims from the stored weights, and the graph itself at sampled states.

Three things are asked, and none of them of whoever sent the file:

1. the file ends with the hash of all that stands before (against damage; a stranger can write both);
2. every claim in it is proved for the system that stands beside it, by the independent checker;
3. the graph computes the field of that system, and its Jacobian, by differences of the graph, has the inequality of the
   certificate, at sampled states where it speaks.

The graph is first evaluated in numpy, within a bound of memory, and then, where it is installed, by onnxruntime.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.bundle import proofs
from exchange.files.archive import DAMAGE, VERSION
from exchange.files.json_parts import listed
from exchange.onnx.evaluated import evaluated
from exchange.onnx.held import Held, held, runner
from exchange.onnx.onnx_graphs import require_onnx
from exchange.onnx.read import Read, axes_of, read
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
        at = f"at {found.states} states"
        if not self._same:
            return [
                f"REFUSED: the graph is not the stored system: {at} its rate is off by {found.value:.1e} of the largest, its "
                f"Jacobian by {found.slope:.1e}"
            ]
        lines = [
            f"the graph is the stored system {at}: its rate to {found.value:.1e}, its Jacobian to {found.slope:.1e}"
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
        verdicts.append(_verdict(one.what, system, str(found.model["time"])))
        certified = certified or (isinstance(one.what, Certificate) and verdicts[-1][1] is True)
    rebuilt = _rebuilt(found, stated, systems, states, seed)
    if rebuilt is None:
        notes.append("the graph was not held against anything: no system stands in the file")
    return CheckedOnnx(tuple(verdicts), rebuilt, precision, certified, found.card, tuple(notes))


def _claims(found: Read) -> tuple[tuple[proofs.Stated, ...], tuple[Any, ...]]:
    """The claims, and what each is about; none where there is no proof."""
    if found.proof is None:
        return (), ()
    stated = proofs.read(found.proof, VERSION)
    systems = listed(found.proof["systems"], "systems")
    return stated, tuple(None if "refusal" in one else systems[one["system"]] for one in found.proof["claims"])


def _verdict(claim: Claim | Refusal, system: Any, time: str) -> tuple[str, bool | None, str]:
    if isinstance(claim, Refusal):
        return "a claim that was not to be had", None, claim.message
    try:
        words = f"{claim.kind}: {claim.in_words(time)}"
    except ValueError:
        words = claim.kind
    verdict: Verdict = prove(claim, system)
    return words, verdict.proved, verdict.reason


def _rebuilt(
    found: Read, stated: tuple[proofs.Stated, ...], systems: tuple[Any, ...], states: int, seed: int
) -> Held | None:
    """The worst over all people and members of what each system says; None where no system stands in the file."""
    about = [
        (one.what, Lure.from_dict(system))
        for one, system in zip(stated, systems, strict=True)
        if isinstance(system, Mapping) and "A" in system
    ]
    if not about or found.people is None:
        return None
    run, axes = _running(found), axes_of(found.model["inputs"])
    members = [int(one) for one in listed(found.people["members"], "members")]
    theta, c = (np.array(found.people[name], dtype=np.float64) for name in ("theta", "c"))
    size = np.abs(np.array(found.model["starts_with"]["x"], dtype=np.float64)).max(0)
    size, inputs = np.where(size > 0.0, size, 1.0), int(axes["u"][-1]) if "u" in axes else 0
    worst: Held | None = None
    for claim, system in about:
        rated = claim if isinstance(claim, Certificate | RegionalRate) else None
        for k, member in enumerate(members):
            for person in range(theta.shape[1]):
                own = {"theta": theta[min(member, len(theta) - 1), person], "c": c[min(member, len(c) - 1), person]}
                rate = runner(run, k, own, axes)
                one = held(
                    rate,
                    system_of(system, member, person),
                    rated,
                    size,
                    inputs=inputs,
                    precision=found.model["precision"],
                    states=states,
                    seed=seed + person,
                )
                worst = one if worst is None else _worse(worst, one)
    return worst


def _worse(one: Held, two: Held) -> Held:
    def above(held: Held) -> float:
        return -np.inf if held.eigenvalue is None else held.eigenvalue - held.allowed

    top = max(one, two, key=above)
    apart = max(one.value, two.value), max(one.slope, two.slope)
    return Held(one.states + two.states, *apart, top.eigenvalue, top.allowed)


def _running(found: Read) -> Callable[[Mapping[str, Array]], Array]:
    """The field, by names of inputs: in numpy within a bound of memory, and then by onnxruntime where it is installed."""
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
        gap = np.nanmax(np.abs(whole - plain), initial=0.0)
        largest = np.nanmax(np.abs(plain), initial=0.0)
        if not gap <= 1e-4 * largest:
            raise ValueError(f"onnxruntime gives what the graph does not say: {gap:.2g} apart")
        return whole

    return run


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
