"""Mutations of claims about mechanisms: of the tape's operations, constants and indices, of θ, weights and regions.

Every mutant is made consistent again, sentence, digest and condition number, so that only what it says can be wrong with it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.oracles.mutants import factor
from physics.mechanism import Mechanism
from physics.shelf import Bergman, MichaelisMenten
from stability import Box, Claim, Inputs, Lure, Refusal, certify, prove, read_claim, regional_rate
from stability.proof.tape import OPERATIONS
from stability.proof.tape.reading import PAIRS

Tree = dict[str, Any]

_ONE = [name for name in OPERATIONS if name not in (*PAIRS, "power", "hill")]


@dataclass(frozen=True)
class Original:
    """A true claim about a system with a tape, both as dictionaries."""

    claim: Tree
    system: Tree


def originals() -> list[Original]:
    """Small claims, all of them proved: by vertices, slopes and cells, alone and beside a network, one θ, a list, and a box."""
    rng = np.random.default_rng(0)
    network: Tree = {
        "weights": [0.02 * rng.normal(size=(5, 2)), 0.5 * rng.normal(size=(2, 5))],
        "biases": [rng.normal(size=5), np.zeros(2)],
    }
    saturable, minimal = MichaelisMenten(), Bergman()
    typical = np.array([p.typical for p in saturable.physical])
    glucose = np.array([p.typical for p in minimal.physical])
    box, open_box = Box([0.0, 0.0], [300.0, 600.0]), Box([0.0, 0.0], [np.inf, 400.0])
    levels = Inputs([0.0, 0.0], [60.0, 2.0])
    region = Box([50.0, 0.0], [300.0, 0.05])
    small = {**network, "weights": [network["weights"][0], np.diag([1e-3, 1e-7]) @ network["weights"][1]]}
    found = [
        _proved(_system(saturable, typical), open_box, None),
        _proved(_system(saturable, typical, theta_upper=1.1 * typical), box, None),
        _proved(_system(saturable, np.stack([typical, 0.9 * typical])), box, None),
        _proved(_system(saturable, typical, **network), box, None),
        _proved(_system(minimal, glucose), region, levels),
        _proved(_system(minimal, glucose, **small), region, levels),
    ]
    found += [_proved(*of_random(np.random.default_rng(seed))) for seed in range(6)]
    return found + [_by_cells(found[k]) for k in (0, 1, 2, 3, 5, 6, 7)] + certificates()


def certificates() -> list[Original]:
    """Claims that trajectories stay as well: in a box, in a ball without and with doses, and of all states."""
    saturable, minimal = MichaelisMenten(), Bergman()
    typical, glucose = (np.array([p.typical for p in m.physical]) for m in (saturable, minimal))
    kept = Box([0.0, 0.0], [30.0, 600.0])
    found = [
        (_system(saturable, typical), kept, None),
        (_system(saturable, typical, theta_upper=1.02 * typical), kept, None),
        (_system(minimal, glucose), Box([60.0, -0.004], [200.0, 0.012]), Inputs([9.0, 0.0], [14.0, 0.3])),
        (_system(minimal, glucose), Box([50.0, -0.006], [300.0, 0.03]), Inputs([5.0, 0.0], [20.0, 1.0])),
        (_system(saturable, typical), Box([0.0, 0.0], [400.0, 600.0]), Inputs([], [], [[300.0, 0.0]], 1.0)),
        (
            _system(saturable, typical, theta_upper=1.02 * typical),
            Box([0.0, 0.0], [400.0, 600.0]),
            Inputs([], [], [[200.0, 0.0]], 1.0),
        ),
    ]
    for seed in (3, 5):
        system, box, inputs = of_random(np.random.default_rng(seed))
        doses = 0.05 * np.eye(system.states)[:2]
        found += [
            (system, box, inputs),
            (system, box, Inputs(inputs.lower, inputs.upper, doses, 5.0)),
            (system, None, None),
        ]
    return [_certified(*one) for one in found]


def of_random(rng: np.random.Generator) -> tuple[Lure, Box, Inputs]:
    """Two or three states that decay, with a few random lines of the tape between them."""
    n = int(rng.integers(2, 4))
    code: list[list[Any]] = [["state", k] for k in range(n)] + [["input", 0], ["parameter", 0], ["constant", 0.3]]
    while len(code) < n + 9:
        j, k = (int(rng.integers(len(code))) for _ in range(2))
        pick = int(rng.integers(4))
        if pick == 0:
            code.append([str(rng.choice(["add", "subtract", "multiply", "minimum", "maximum"])), j, k])
        elif pick == 1:
            code.append(["hill", j, float(rng.choice([1.0, 2.0, 3.5]))])
        else:
            code.append(
                [str(rng.choice(["sin", "cos", "atan", "tanh", "sigmoid", "softplus", "relu", "abs", "square"])), j]
            )
    last = len(code) - 1
    ends = []
    for i in range(n):
        code += [["multiply", n + 2, int(rng.integers(n + 3, last + 1))], ["subtract", len(code), i]]
        ends.append(len(code) - 1)
    tape = {
        "tape": 1,
        "states": [f"x{k}" for k in range(n)],
        "inputs": ["u"],
        "parameters": ["weak"],
        "code": code,
        "rate": ends,
    }
    system = Lure(A=-0.5 * np.eye(n), weights=[], biases=[], tape=tape, theta=[[0.1], [0.15]])
    return system, Box(np.full(n, -1.0), np.full(n, 1.5)), Inputs([-0.5], [0.5])


def _system(mechanism: Mechanism, theta: np.ndarray, **more: Any) -> Lure:
    n = len(mechanism.states)
    given: Tree = {
        "A": np.zeros((n, n)),
        "weights": [],
        "biases": [],
        "scale": [mechanism.scale[s] for s in mechanism.states],
    }
    return Lure(**(given | {"tape": mechanism.tape.to_dict(), "theta": theta} | more))


def _proved(system: Lure, box: Box, inputs: Inputs | None) -> Original:
    return _original(regional_rate(system, box, inputs, seconds=10.0), system)


def _by_cells(one: Original) -> Original:
    """The same metric at a little less, proved by cells."""
    nothing: list[list[float]] = [[] for _ in range(int(np.prod(one.claim["leading"], dtype=np.int64)))]
    region = one.claim["region"] | {"proof": "cells"}
    claim = one.claim | {"rate": 0.97 * one.claim["rate"], "multipliers": nothing, "region": region, "claim": ""}
    said = read_claim(claim)
    verdict = prove(said, one.system)
    if not verdict:
        raise ValueError(f"cells do not prove what {one.claim['region']['proof']} do: {verdict.reason}")
    return Original(said.to_dict(), one.system)


def _certified(system: Lure, box: Box | None, inputs: Inputs | None) -> Original:
    return _original(certify(system, region=box, inputs=inputs, seconds=10.0), system)


def _original(found: Claim | Refusal, system: Lure) -> Original:
    if isinstance(found, Refusal):
        raise ValueError(f"no claim to mutate: {found.message}")
    return Original(found.to_dict(), system.to_dict())


# ---- mutations: each changes the dictionaries in place --------------------------------------------------------------

Mutation = Callable[[Original, np.random.Generator], None]


def _line(one: Original, rng: np.random.Generator, wanted: Callable[[list[Any]], bool]) -> list[Any] | None:
    lines = [line for line in one.system["tape"]["code"] if wanted(line)]
    return lines[int(rng.integers(len(lines)))] if lines else None


def mutate_operation(one: Original, rng: np.random.Generator) -> None:
    """Another operation that reads as many lines."""
    line = _line(one, rng, lambda line: line[0] in OPERATIONS)
    assert line is not None
    if line[0] in PAIRS:
        line[0] = str(rng.choice([name for name in PAIRS if name != line[0]]))
        return
    del line[2:]
    line[0] = str(rng.choice(_ONE)) if rng.integers(4) else str(rng.choice(["power", "hill"]))
    if line[0] in ("power", "hill"):
        line.append(
            float(rng.choice([0.5, 1.0, 1.5, 2.0, 3.0])) * (1 if line[0] == "hill" else int(rng.choice([-1, 1, 1])))
        )


def mutate_index(one: Original, rng: np.random.Generator) -> None:
    """A line that reads another line, a leaf of another name, or a state's rate that ends elsewhere."""
    tape = one.system["tape"]
    if rng.integers(4) == 0:
        tape["rate"][int(rng.integers(len(tape["rate"])))] = int(rng.integers(len(tape["code"])))
        return
    at = int(rng.integers(len(tape["code"])))
    line = tape["code"][at]
    if line[0] == "constant":
        return mutate_index(one, rng)
    sizes = {leaf: len(tape[f"{leaf}s"]) for leaf in ("state", "input", "parameter")}
    line[1 + int(rng.integers(2 if line[0] in PAIRS else 1))] = int(rng.integers(sizes.get(line[0], max(at, 1))))


def mutate_constant(one: Original, rng: np.random.Generator) -> None:
    """A constant or an exponent, scaled, turned, or any number."""
    line = _line(one, rng, lambda line: line[0] in ("constant", "power", "hill"))
    if line is None:
        line = _line(one, rng, lambda line: line[0] in OPERATIONS)
        assert line is not None
        one.system["tape"]["code"].append(["constant", 0.0])  # read by nobody: the hash alone changes
        return
    line[-1] = _changed(line[-1], rng)


def mutate_theta(one: Original, rng: np.random.Generator) -> None:
    name = "theta_upper" if one.system.get("theta_upper") is not None and rng.integers(2) else "theta"
    _change_in(one.system[name], rng)


def mutate_weights(one: Original, rng: np.random.Generator) -> None:
    """The linear part, or a weight or bias beside the tape."""
    parts = [one.system["A"], *one.system["weights"], *one.system["biases"]]
    _change_in(parts[int(rng.integers(len(parts)))], rng)


def mutate_walls(one: Original, rng: np.random.Generator) -> None:
    """An end of the region moved, taken away, or set where there was none."""
    if one.claim["region"] == "global":
        return mutate_rate(one, rng)
    side = one.claim["region"][str(rng.choice(["lower", "upper"]))]
    k = int(rng.integers(len(side)))
    if side[k] is None:
        side[k] = float(10.0 ** rng.uniform(0, 4))
    else:
        side[k] = None if rng.integers(5) == 0 else _changed(side[k], rng)


def mutate_levels(one: Original, rng: np.random.Generator) -> None:
    inputs = None if one.claim["region"] == "global" else one.claim["region"]["inputs"]
    if not (inputs and inputs["lower"]):
        return mutate_walls(one, rng)
    _change_in(inputs[str(rng.choice(["lower", "upper"]))], rng)


def mutate_rate(one: Original, rng: np.random.Generator) -> None:
    one.claim["rate"] *= factor(rng)


def mutate_metric(one: Original, rng: np.random.Generator) -> None:
    P = one.claim["metric"]
    i, j = (int(k) for k in rng.integers(len(P), size=2))
    P[i][j] *= factor(rng)
    P[j][i] = P[i][j]


def mutate_multipliers(one: Original, rng: np.random.Generator) -> None:
    if not one.claim["multipliers"][0]:
        return mutate_metric(one, rng)
    _change_in(one.claim["multipliers"], rng)


def mutate_proof(one: Original, rng: np.random.Generator) -> None:
    """Another kind of proof, with multipliers of some size and of its shape, at the rate or at another."""
    region, multipliers = one.claim["region"], one.claim["multipliers"]
    if region == "global":
        return mutate_multipliers(one, rng)
    count, hidden = int(np.prod(one.claim["leading"], dtype=np.int64)), sum(len(w) for w in one.system["weights"][:-1])
    units = {
        "vertices": (len(multipliers) // count).bit_length() - 1,
        "slopes": len(multipliers[0]) - hidden,
        "cells": int(rng.integers(1, 5)),
    }[region["proof"]]
    region["proof"] = str(rng.choice([name for name in ("vertices", "slopes", "cells") if name != region["proof"]]))
    shape = {"vertices": (count << units, hidden), "slopes": (count, hidden + units), "cells": (count, 0)}[
        region["proof"]
    ]
    one.claim["multipliers"] = (np.ones(shape) * 10.0 ** rng.uniform(-4, 4)).tolist()
    one.claim["rate"] *= float(10.0 ** rng.uniform(-2, 0.2))


def mutate_kept(one: Original, rng: np.random.Generator) -> None:
    """What is said to be kept, and under what: the ball, its starts, the doses, their gap, whether they are covered, the set."""
    region = one.claim["region"]
    stays = region.get("stays") if isinstance(region, dict) else None
    if stays is None:
        return mutate_walls(one, rng)
    doses = bool(region["inputs"]) and region["inputs"]["doses"] is not None
    how = int(rng.integers(4))
    if stays["set"] == "order" and how >= 1:
        curve = stays["curves"][int(rng.integers(len(stays["curves"])))]
        name = str(rng.choice(sorted(curve)))
        if rng.integers(2):
            _change_in(curve[name], rng)
        elif rng.integers(2):
            end = str(rng.choice(["lower", "upper"]))
            k = int(rng.integers(len(stays[end])))
            stays[end][k] = curve[end][k] = _changed(stays[end][k], rng)
        elif doses:
            gap = abs(factor(rng))
            region["inputs"]["gap"] *= gap
            curve["knots"] = [gap * t for t in curve["knots"]]
    elif how == 0 and doses:
        region["inputs"]["gap"] *= abs(factor(rng))
    elif how <= 1 and doses:
        _change_in(region["inputs"]["doses"], rng)
    elif how == 2 and stays["set"] == "ball":
        name = str(rng.choice(["centre", "radius", "start"]))
        if name == "centre":
            _change_in(stays["centre"], rng)
        else:
            stays[name] *= factor(rng)
    elif stays["set"] == "ball":
        if rng.integers(3):
            stays["doses"] = doses and not stays["doses"]
        else:
            region["stays"] = {"set": "box", "doses": False}
    else:
        low, high = np.array(region["lower"]), np.array(region["upper"])
        centre = low + rng.uniform(0.2, 0.8, len(low)) * (high - low)
        size = float(10.0 ** rng.uniform(-3, 0.5)) * float(np.abs(high - low).min())
        region["stays"] = {"set": "ball", "centre": centre.tolist(), "radius": size, "start": size, "doses": False}


def mutate_two(one: Original, rng: np.random.Generator) -> None:
    """A change of the system and a rate that forgives it, or does not."""
    kinds = [mutate_operation, mutate_index, mutate_constant, mutate_theta, mutate_walls, mutate_metric, mutate_kept]
    kinds[int(rng.integers(len(kinds)))](one, rng)
    one.claim["rate"] *= float(10.0 ** rng.uniform(-3, 0.3))


MUTATIONS: dict[str, Mutation] = {
    "operation": mutate_operation,
    "index": mutate_index,
    "constant": mutate_constant,
    "θ": mutate_theta,
    "weights": mutate_weights,
    "walls": mutate_walls,
    "levels": mutate_levels,
    "rate": mutate_rate,
    "metric": mutate_metric,
    "multipliers": mutate_multipliers,
    "kind of proof": mutate_proof,
    "what is kept": mutate_kept,
    "system and rate": mutate_two,
}


def mutant(one: Original, kind: str, rng: np.random.Generator) -> Original | None:
    """The original changed, and made consistent again; None where what came out is no system or claim at all."""
    new = copy.deepcopy(one)
    MUTATIONS[kind](new, rng)
    try:
        system = Lure.from_dict(new.system)
        metric = np.array(new.claim["metric"])
        condition = float(np.linalg.cond(metric))
        caps: Tree = {
            name: None for name in ("spectral_cap", "metric_cap", "inequality_cap", "sampled") if name in new.claim
        }
        said = read_claim(new.claim | caps | {"claim": "", "digest": system.digest(), "condition": condition})
    except (ValueError, TypeError, np.linalg.LinAlgError):
        return None
    return Original(said.to_dict(), system.to_dict())


def _changed(value: float, rng: np.random.Generator) -> float:
    how = int(rng.integers(6))
    if how == 0:
        return -value
    if how == 1:
        return float(rng.choice([0.0, 1e-300, 1e-100, 1e-9, -1.0, 1e9, 1e60]))
    return value * factor(rng) if value else float(rng.choice([-1, 1]) * 10.0 ** rng.uniform(-4, 2))


def _change_in(tree: list[Any], rng: np.random.Generator) -> None:
    while isinstance(tree[k := int(rng.integers(len(tree)))], list):
        tree = tree[k]
    tree[k] = _changed(float(tree[k]), rng)
