"""Mutations of every kind of claim as plain dictionaries, among them subnormal, huge and degenerate numbers.

A mutant is a true claim, perhaps scaled so that its numbers come near the ends of double precision while it stays true (states,
inputs, time and the metric in other units), then with numbers changed, and made consistent again: the sentence, the digest, the
condition number. What the judge of each kind is stands in `KINDS`.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.oracles.adversary import contradicts, exceeds
from benchmarks.oracles.rational_oracles import gain_holds, l1_holds, lipschitz_holds, step_holds
from benchmarks.oracles.relu_oracle import in_region
from stability import (
    Box,
    Certificate,
    Inputs,
    Lure,
    certify,
    certify_step,
    l2_gain,
    lipschitz_bound,
    tube,
    weighted_l1,
)
from stability.proof.contraction import statement
from stability.proof.gain import statement as gain_statement
from stability.proof.lipschitz import digest as lipschitz_digest
from stability.proof.lipschitz import statement as lipschitz_statement
from stability.proof.rational import exactly
from stability.proof.reading import Unusable, array
from stability.proof.region.claim import regional_statement
from stability.proof.step import statement as step_statement
from stability.proof.system import read_system
from stability.proof.weighted_l1 import statement as l1_statement

Tree = dict[str, Any]
Path = tuple[str | int, ...]

EXTREMES = (
    *(0.0, -0.0, 5e-324, -5e-324, 3e-320, -1e-310, 2.3e-308, -1e-300, 1e-250, 1e-200, -1e-160, 1e-154, 1e-120, 1e-101, -9.9e-101),
    *(1e-100, 1.1e-100, -1e-99, 1e-80, 1e-50, -1e-30, 1e-16, 1e16, -1e30, 1e49, 1e50, 1.1e50, 1e80, 1e100, -1e154, 1e200, 1e300),
    *(1.7976931348623157e308, -1.7976931348623157e308),
)


@dataclass(frozen=True)
class Original:
    """A true claim and its system, or layers, as dictionaries; `kind` names the row of the table."""

    kind: str
    claim: Tree
    system: Tree


def originals(activations: tuple[str, ...] = ("tanh", "silu", "relu")) -> list[Original]:
    """Small claims of every kind, all of them accepted."""
    found = []
    for seed, activation in enumerate(("tanh", "silu", "relu")):
        if activation not in activations:
            continue
        system = _system(seed, activation)
        certificate = _found(certify(system))
        found.append(Original("all states", certificate.to_dict(), system.to_dict()))
        for gain in (_found(tube(certificate, system)), _found(l2_gain(certificate, system))):
            found.append(Original(gain.kind, gain.to_dict(), system.to_dict()))
        found.append(Original("weighted l1", _found(weighted_l1(system)).to_dict(), system.to_dict()))
        for method in ("euler", "rk4"):
            found.append(Original("step", _found(certify_step(certificate, system, 0.125, method)).to_dict(), system.to_dict()))
        layers: Tree = {"weights": [w.tolist() for w in system.weights], "activation": activation}
        found.append(Original("lipschitz", lipschitz_bound(layers["weights"], activation).to_dict(), layers))
        box, biases = Box([-1.0, -0.5], [0.5, 1.0]), [b.tolist() for b in system.biases]
        bound = lipschitz_bound(layers["weights"], activation, box, biases=biases)
        found.append(Original("lipschitz in a box", bound.to_dict(), {**layers, "biases": biases}))
        region = Box([-1.5, -1.5], [1.5, 1.5])
        for inputs in (Inputs([-0.25], [0.125]), Inputs([-0.125], [0.125], [[0.125, 0.0], [0.0, -0.0625]], 3.0)):
            local = _found(certify(system, 0.25, region=region, inputs=inputs, seconds=5.0))
            found.append(Original("in a region", local.to_dict(), system.to_dict()))
        found.append(Original("in a region", _by_cells(found[-2]), system.to_dict()))
    linear = Lure(A=[[-1.0, 0.5], [0.0, -1.0]], weights=[], biases=[])
    plain = _found(certify(linear, region=Box([-1.0, -1.0], [2.0, 1.0]))).to_dict()
    found.append(Original("in a region", plain, linear.to_dict()))
    flow = Lure(A=[[-1.0, 0.0], [1.0, -0.5]], weights=[], biases=[], B=[[1.0], [0.0]])
    kept = _found(certify(flow, region=Box([0.0, 0.0], [2.0, 5.0]), inputs=Inputs([0.0], [1.5]))).to_dict()
    found.append(Original("in a region", kept, flow.to_dict()))
    return found


def _system(seed: int, activation: str) -> Lure:
    rng = np.random.default_rng(seed)
    W1, W2 = np.round(rng.normal(size=(3, 2)) * 32) / 64, np.round(rng.normal(size=(2, 3)) * 16) / 64
    b1 = np.round(rng.normal(size=3) * 16) / 64
    rest = {"tanh": np.tanh, "relu": lambda v: np.maximum(v, 0.0), "silu": lambda v: v / (1.0 + np.exp(-v))}[activation](b1)
    U = np.round(rng.normal(size=(3, 1)) * 16) / 64
    return Lure(
        A=[[-1.5, 0.25], [-0.25, -1.75]],
        weights=[W1, W2],
        biases=[b1, -W2 @ rest],
        activation=activation,
        B=[[0.25], [0.125]],
        input_weights=U if seed else None,
        skip=[[0.0, 0.125], [0.0, -0.0625]] if seed == 1 else None,
    )


def _found(result: Any) -> Any:
    if not result:
        raise ValueError(f"an original has no proof to mutate: {result.message}")
    return result


def _by_cells(one: Original) -> Tree:
    claim = copy.deepcopy(one.claim)
    claim |= {"multipliers": [[] for _ in claim["multipliers"]], "rate": 0.5 * claim["rate"]}
    claim["region"]["proof"] = "cells"
    return consistent(Original(one.kind, claim, one.system)).claim


# ---- mutations -------------------------------------------------------------------------------------------------------


def mutant(one: Original, rng: np.random.Generator) -> Original:
    """The original in other units or not, with up to three numbers changed or none, made consistent again."""
    new = copy.deepcopy(one)
    if one.kind == "in a region" and rng.integers(2):
        if rng.integers(3):
            _rescale(new, rng)
        _towards_zero(new, rng)
        return consistent(new)
    if rng.integers(2):
        _rescale(new, rng)
    for _ in range(int(rng.integers(0, 4))):
        _change(new, rng)
    return consistent(new)


def _towards_zero(one: Original, rng: np.random.Generator) -> None:
    """Walls, levels or the ball's place so near to zero that products with them underflow, and A or B perhaps turned outward."""
    region = one.claim["region"]
    inputs, stays = region["inputs"] or {}, region["stays"]
    places = [v for owner in (region, inputs, stays) for v in (owner.get(k) for k in ("lower", "upper", "centre")) if v]
    unit = float(rng.choice([5e-324, 1e-320, 1e-308, 1e-250, 1e-200, 1e-160, 1e-120, 1e-100, 2e-100, 1e-90]))
    for place in places:
        for i in range(len(place)):
            if rng.integers(2):
                sign = -1.0 if place is region.get("lower") or (place is not region.get("upper") and rng.integers(2)) else 1.0
                place[i] = sign * unit * float(rng.integers(1, 4))
    if rng.integers(2):
        for name in ("radius", "start"):
            if name in stays:
                stays[name] = unit * float(rng.uniform(0.1, 2.0))
    matrix = one.system[str(rng.choice(["A", "B"]))]
    if matrix is not None and rng.integers(2):
        row = matrix[int(rng.integers(len(matrix)))]
        k = int(rng.integers(len(row)))
        row[k] = row[k] * float(rng.choice([-1.0, 1.4, 2.8, -0.5]))


def _leaves(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Where the numbers are."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if isinstance(value, dict | list):
            yield from _leaves(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key)


_DEPENDENT = ("condition", "leading", "slope_range", "spectral_cap", "metric_cap", "floor", "digest", "claim")


def _change(one: Original, rng: np.random.Generator) -> None:
    tree = one.claim if rng.integers(5) < 3 else one.system
    paths = [p for p in _leaves(tree) if p[0] not in _DEPENDENT]
    # As often a number that stands alone as one of an array: else arrays get everything.
    names = sorted({p[0] if p[0] != "region" else p[:2] for p in paths}, key=str)
    name = names[int(rng.integers(len(names)))]
    among = [p for p in paths if p[0] == name or p[:2] == name]
    path = among[int(rng.integers(len(among)))]
    owner = tree
    for key in path[:-1]:
        owner = owner[key]
    value, how = float(owner[path[-1]]), int(rng.integers(7))
    if how <= 1:
        value = float(rng.choice(EXTREMES))
    elif how == 2:
        value = float(np.nextafter(value, rng.choice([-np.inf, np.inf])))
    elif how == 3:
        value = -value
    elif how == 4:  # degenerate: the same as another number beside it
        other = owner
        beside = [v for v in (other.values() if isinstance(other, dict) else other) if isinstance(v, float)]
        value = beside[int(rng.integers(len(beside)))] if beside else 0.0
    else:
        value *= float(1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-12, 1.5))
    owner[path[-1]] = value
    if path[0] == "metric" and rng.integers(10):
        one.claim["metric"][path[2]][path[1]] = value  # type: ignore[index]


def _rescale(one: Original, rng: np.random.Generator) -> None:
    """The same claim in other units: powers of two, so that nothing rounds until it underflows or overflows."""
    s = 2.0 ** float(rng.integers(-330, 331)) if rng.integers(3) else 2.0 ** float(rng.integers(-1060, 1000))
    what = str(rng.choice(["states", "inputs", "time", "metric", "axis"]))
    claim, system = one.claim, one.system
    region = claim.get("region")
    layered = bool(system["weights"]) and "A" in system
    if what == "states":
        _times(system, "weights", 0, 1.0 / s)
        _times(system, "weights", -1, s)
        _times(system, "biases", -1, s)
        _times(system, "B", None, s)
        if isinstance(region, dict):
            for name in ("lower", "upper"):
                _times(region, name, None, s)
            for name in ("centre", "radius", "start"):
                _times(region.get("stays", {}), name, None, s)
            _times(region.get("inputs") or {}, "doses", None, s)
    elif what == "inputs":
        _times(system, "B", None, 1.0 / s)
        _times(system, "input_weights", None, 1.0 / s)
        if isinstance(region, dict):
            for name in ("lower", "upper"):
                _times(region.get("inputs") or {}, name, None, s)
    elif what == "time":
        for name in ("A", "B", "skip"):
            _times(system, name, None, s)
        for name in ("weights", "biases"):
            if layered:
                _times(system, name, -1, s)
        _times(claim, "rate", None, s)
        _times(claim, "step", None, 1.0 / s)
        if isinstance(region, dict):
            _times(region.get("inputs") or {}, "gap", None, 1.0 / s)
    elif what == "axis":
        _rescale_axis(one, int(rng.integers(2)), s)
    else:
        for name in ("metric", "multipliers"):
            _times(claim, name, None, s * s)
        if isinstance(region, dict):
            for name in ("radius", "start"):
                _times(region.get("stays") or {}, name, None, s)


@np.errstate(all="ignore")
def _rescale_axis(one: Original, i: int, s: float) -> None:
    """One state in a unit of its own: x_i becomes s x_i, and P, A, B, the weights, walls, centres and doses follow."""
    claim, system = one.claim, one.system
    if "A" not in system or "metric" not in claim:
        return
    for owner, name, row, column in (
        *((system, name, s, 1.0 / s) for name in ("A", "skip")),
        (system, "B", s, 1.0),
        (claim, "metric", 1.0 / s, 1.0 / s),
    ):
        if owner.get(name) is not None:
            matrix = np.array(owner[name], dtype=np.float64)
            matrix[i] *= row
            if matrix.shape[1] > i and column != 1.0:
                matrix[:, i] *= column
            owner[name] = matrix.tolist()
    if system["weights"]:
        ends = system["weights"][0], system["weights"][-1], system["biases"][-1]
        first, last, bias = (np.array(a, dtype=np.float64) for a in ends)
        first[:, i], last[i], bias[i] = first[:, i] / s, last[i] * s, bias[i] * s
        system["weights"][0], system["weights"][-1], system["biases"][-1] = first.tolist(), last.tolist(), bias.tolist()
    region = claim.get("region")
    if isinstance(region, dict):
        doses = (region["inputs"] or {}).get("doses") or ()
        for vector in (region["lower"], region["upper"], region["stays"].get("centre"), *doses):
            if vector is not None:
                vector[i] *= s


@np.errstate(all="ignore")
def _times(owner: Tree, name: str, index: int | None, factor: float) -> None:
    value = owner.get(name)
    if value is None or (index is not None and not len(value)):
        return
    if index is None:
        owner[name] = (np.array(value, dtype=np.float64) * factor).tolist()
    else:
        value[index] = (np.array(value[index], dtype=np.float64) * factor).tolist()


@np.errstate(all="ignore")
def consistent(one: Original) -> Original:
    """The sentence, the digest and the condition number made to fit the numbers, as far as that is possible."""
    claim, system = one.claim, one.system
    try:
        if one.kind.startswith("lipschitz"):
            weights = [array(w, "weight") for w in system["weights"]]
            region = claim["region"]
            biases = None if region is None else [array(b, "bias") for b in system["biases"]]
            claim["digest"] = lipschitz_digest(weights, system["activation"], biases)
            claim["claim"] = lipschitz_statement(claim["bound"], weights[0].shape[1], weights[-1].shape[0], region)
            return one
        stack = read_system(system)
        n, count = stack.A.shape[-1], stack.count
        claim["digest"] = stack.digest
        if "metric_cap" in claim:
            claim |= {"metric_cap": None, "spectral_cap": 1e305}
            claim["condition"] = float(np.linalg.cond(np.array(claim["metric"])))
        if one.kind == "in a region":
            claim["claim"] = regional_statement(claim["rate"], n, count, claim["region"])
        elif one.kind == "all states":
            claim["claim"] = statement(claim["rate"], n, count)
        elif one.kind in ("tube", "l2"):
            claim["claim"] = gain_statement(one.kind, claim["value"], claim["rate"], n, count)
        elif one.kind == "weighted l1":
            claim["claim"] = l1_statement(claim["rate"], n, count)
        else:
            claim["claim"] = step_statement(claim["method"], claim["step"], claim["factor"], n, count)
    except (Unusable, np.linalg.LinAlgError):
        pass  # then it is for the checker to refuse it as it stands
    return one


# ---- judges ----------------------------------------------------------------------------------------------------------

Judge = Callable[[Tree, Tree, np.random.Generator], bool]


def _locally(claim: Tree, system: Tree, rng: np.random.Generator) -> bool:
    """Linear and relu systems in rationals, where the arrays make a `Lure`; any by the adversary."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if not system["weights"] or system["activation"] == "relu":
            try:
                return in_region(Certificate.from_dict(claim), Lure.from_dict(system)) is not False
            except ValueError:  # A is not stable alone, which the claim does not say
                pass
        return not contradicts(claim, system, rng)


def _bounded(claim: Tree, layers: Tree, rng: np.random.Generator) -> bool:
    if layers["activation"] == "relu":
        return lipschitz_holds(claim, layers)
    with np.errstate(all="ignore"):
        return not exceeds(claim, layers, rng)


# Per kind: the judge, and what it judges by.
KINDS: dict[str, tuple[Judge, str]] = {
    "all states": (lambda claim, system, rng: exactly(claim, system), "rationals"),
    "tube": (lambda claim, system, rng: gain_holds(claim, system), "rationals"),
    "l2": (lambda claim, system, rng: gain_holds(claim, system), "rationals"),
    "weighted l1": (lambda claim, system, rng: l1_holds(claim, system), "rationals"),
    "step": (lambda claim, system, rng: step_holds(claim, system), "rationals"),
    "lipschitz": (lambda claim, layers, rng: lipschitz_holds(claim, layers), "rationals"),
    "lipschitz in a box": (_bounded, "rationals for relu, else descent on exact Jacobians"),
    "in a region": (_locally, "rationals for relu and linear systems, else descent on exact Jacobians and simulation"),
}


def exact(one: Original) -> bool:
    """Whether the judge decides, rather than looks for counterexamples."""
    local = one.kind in ("in a region", "lipschitz in a box")
    return not local or one.system["activation"] == "relu" or not one.system["weights"]


def true(one: Original, rng: np.random.Generator) -> bool:
    """What the judge of its kind says; numbers that are no numbers make no true claim."""
    claim = {"region": None, **one.claim}  # what may be left out
    region = claim["region"]
    if isinstance(region, dict) and isinstance(region.get("inputs"), dict):
        claim["region"] = {**region, "inputs": {"doses": None, "gap": None, **region["inputs"]}}
    try:
        return KINDS[one.kind][0](claim, one.system, rng)
    except (ValueError, OverflowError, ZeroDivisionError, np.linalg.LinAlgError):
        return False
