"""Mutations of regional certificates: the rate, P, the box, the levels, the doses, the set that is kept, the kind of proof.

The originals are small relu systems, which `relu_oracle.py` decides, each near the edge of what it claims: a box that is kept
or a ball, proved by slopes or by cells, with and without an input and boluses.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.oracles.mutants import (
    Case,
    Mutation,
    consistent,
    factor,
    mutate_bias,
    mutate_hash,
    mutate_linear_part,
    mutate_metric,
    mutate_multipliers,
    mutate_rate,
    mutate_skip,
    mutate_weights,
)
from stability import Box, Certificate, Inputs, Lure, certify, check
from stability.proof.budget import Budget
from stability.proof.region.cells import Frame
from stability.proof.region.invariance import extents, vector_length

CELLS = 3000  # of a proof by cells, which refuses a mutant at the edge only when they are used up


def accepts(one: Case) -> bool:
    """What the checker says, with fewer cells: it accepts with them only what it accepts without a limit of ours."""
    if _region(one)["proof"] != "cells":
        return check(one.certificate, one.system)
    return check(one.certificate, one.system, budget=Budget(cells=CELLS)) and check(one.certificate, one.system)


def regional_case(seed: int) -> Case:
    """One or two relu systems in a box beyond which one unit makes them unstable: seeds 0 to 7 differ in what is claimed.

    seed mod 4: no input, an input through B, an input into the layer, boluses; from 4 on a ball in place of the box, and
    boluses beside the input. By cells: 1, 3, 4 and 6.
    """
    rng, kind, count = np.random.default_rng(seed), seed % 4, 1 + seed % 2
    by_cells, with_input = seed in (1, 3, 4, 6), kind == 1 or seed == 7
    first, offset = _round(rng.normal(size=(count, 4, 2)) * 0.5), _round(rng.normal(size=(count, 4)) * 0.4)
    last = _round(rng.normal(size=(count, 2, 4)) * 0.3)
    first[:, 3], offset[:, 3], last[:, :, 3] = [1.0, 0.0], -2.0, [2.5, 0.0]
    if by_cells:  # gentle kinks, as cells need them
        last[:, :, :3] *= 0.25
    system = Lure(
        A=[[-1.0, 0.25], [-0.25, -1.25]],
        weights=[first, last],
        biases=[offset, -np.einsum("vij,vj->vi", last, np.maximum(offset, 0.0))],
        activation="relu",
        B=[[0.25], [0.125]] if with_input else None,
        input_weights=_round(rng.normal(size=(count, 4, 1)) * 0.3) if kind == 2 else None,
    )
    box = Box([-1.0, -1.25], [1.5, 1.0])
    levels = ([-0.25], [0.125]) if with_input or kind == 2 else ([], [])
    doses = ([[0.25, 0.0], [0.0, -0.125]], 4.0) if kind == 3 else (None, None)
    found = certify(system, region=box, inputs=Inputs(*levels, *doses), seconds=5.0)
    if not isinstance(found, Certificate):
        raise ValueError(f"the system of seed {seed} has no certificate in the box to mutate: {found.message}")
    one = Case(system, found)
    if by_cells:
        one = _by_cells(one)
    if seed >= 4 and _region(one)["stays"]["set"] == "box":
        one = _tightest(one)
    if not accepts(one):
        raise ValueError(f"the certificate of seed {seed} is not accepted as it stands")
    return one


def parts(one: Case) -> set[str]:
    """What there is to mutate."""
    region = _region(one)
    found = {"", region["stays"]["set"], region["proof"]}
    found |= {"levels"} if region["inputs"]["lower"] else set()
    return found | ({"doses"} if region["stays"]["doses"] else set())


def mutate_box(one: Case, rng: np.random.Generator) -> Case:
    """One wall moved: outward, a little either way, or far inward, where it may cut off what trajectories go to."""
    region, axis = _region(one), int(rng.integers(2))
    side = str(rng.choice(["lower", "upper"]))
    ends = list(region[side])
    how = int(rng.integers(3))
    if how == 0:
        ends[axis] *= 1.0 + 10.0 ** rng.uniform(-4, 0.7)
    elif how == 1:
        ends[axis] *= factor(rng)
    else:
        other = region["upper" if side == "lower" else "lower"][axis]
        ends[axis] = other + float(rng.uniform(0.1, 0.9)) * (ends[axis] - other)
    return _with(one, {side: ends})


def mutate_place(one: Case, rng: np.random.Generator) -> Case:
    """The box shifted, and with it the ball."""
    region = _region(one)
    step = rng.normal(size=2) * 10.0 ** rng.uniform(-5, 0.5)
    moved: dict[str, Any] = {side: (np.array(region[side]) + step).tolist() for side in ("lower", "upper")}
    if region["stays"]["set"] == "ball":
        moved["stays"] = {**region["stays"], "centre": (np.array(region["stays"]["centre"]) + step).tolist()}
    return _with(one, moved)


def mutate_levels(one: Case, rng: np.random.Generator) -> Case:
    """An end of the input's levels moved."""
    side = str(rng.choice(["lower", "upper"]))
    inputs = _region(one)["inputs"]
    return _with(one, {"inputs": {**inputs, side: [inputs[side][0] * (1.0 + 10.0 ** rng.uniform(-3, 2))]}})


def mutate_doses(one: Case, rng: np.random.Generator) -> Case:
    """A bolus, and where the starts are to make room for it."""
    inputs = _region(one)["inputs"]
    doses = np.array(inputs["doses"])
    doses[int(rng.integers(len(doses)))] *= factor(rng)
    new = _with(one, {"inputs": {**inputs, "doses": doses.tolist()}})
    return _fitted(new) if rng.integers(3) else new


def mutate_gap(one: Case, rng: np.random.Generator) -> Case:
    """Boluses nearer to one another, by up to a factor of a hundred, or a little further apart."""
    inputs = _region(one)["inputs"]
    return _with(one, {"inputs": {**inputs, "gap": inputs["gap"] * float(10.0 ** rng.uniform(-2, 0.3))}})


def mutate_promised_doses(one: Case, rng: np.random.Generator) -> Case:
    """Boluses covered by a claim that was proved without, or no longer covered."""
    region = _region(one)
    small = (rng.normal(size=(1, 2)) * 10.0 ** rng.uniform(-6, 0)).tolist()
    inputs = region["inputs"] if region["inputs"]["doses"] else {**region["inputs"], "doses": small, "gap": 1.0}
    new = _with(one, {"inputs": inputs, "stays": {**region["stays"], "doses": not region["stays"]["doses"]}})
    return _fitted(new) if rng.integers(2) and region["stays"]["set"] == "ball" else new


def mutate_centre(one: Case, rng: np.random.Generator) -> Case:
    stays = _region(one)["stays"]
    step = rng.normal(size=2) * 10.0 ** rng.uniform(-5, 0.5)
    return _with(one, {"stays": {**stays, "centre": (np.array(stays["centre"]) + step).tolist()}})


def mutate_radius(one: Case, rng: np.random.Generator) -> Case:
    """The ball's radius, the starts following it or not."""
    stays = _region(one)["stays"]
    new = _with(one, {"stays": {**stays, "radius": stays["radius"] * abs(factor(rng))}})
    return _fitted(new) if rng.integers(4) else new


def mutate_start(one: Case, rng: np.random.Generator) -> Case:
    stays = _region(one)["stays"]
    return _with(one, {"stays": {**stays, "start": stays["start"] * factor(rng)}})


def mutate_set(one: Case, rng: np.random.Generator) -> Case:
    """Another set is said to be kept: the box for a ball, or a ball in the box, as large as fits or somewhat different."""
    region = _region(one)
    if region["stays"]["set"] == "ball":
        return _with(one, {"stays": {"set": "box", "doses": bool(rng.integers(2)) and region["stays"]["doses"]}})
    lower, upper = np.array(region["lower"]), np.array(region["upper"])
    centre = lower + rng.uniform(0.2, 0.8, 2) * (upper - lower)
    return _fitted(_ball(one, centre, 1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-7, -0.1)))


def mutate_proof(one: Case, rng: np.random.Generator) -> Case:
    """The other kind of proof, with multipliers of some size where it needs them, at the rate or at another."""
    other = "slopes" if _region(one)["proof"] == "cells" else "cells"
    count, units = one.certificate.multipliers.shape[0], one.system.widths[0]
    multipliers = np.ones((count, units if other == "slopes" else 0)) * 10.0 ** rng.uniform(-1, 0.5)
    rate = one.certificate.rate * (abs(factor(rng)) if rng.integers(2) else float(rng.uniform(0.2, 1.0)))
    return _with(one, {"proof": other}, multipliers=multipliers, rate=rate)


def mutate_metric_and_rate(one: Case, rng: np.random.Generator) -> Case:
    """P and the rate together, as a search that is content too soon would."""
    P = np.array(one.certificate.metric)
    i = int(rng.integers(2))
    P[i, 1 - i] = P[1 - i, i] = P[i, 1 - i] + rng.normal() * 10.0 ** rng.uniform(-4, 0)
    P[i, i] *= abs(factor(rng))
    return replace(one, certificate=consistent(one.certificate, metric=P, rate=one.certificate.rate * abs(factor(rng))))


REGIONAL: dict[str, Mutation] = {
    "in a region: rate": mutate_rate,
    "in a region: metric": mutate_metric,
    "in a region: metric and rate": mutate_metric_and_rate,
    "in a region: multipliers": mutate_multipliers,
    "in a region: weights": mutate_weights,
    "in a region: biases": mutate_bias,
    "in a region: linear part": mutate_linear_part,
    "in a region: skip": mutate_skip,
    "in a region: walls": mutate_box,
    "in a region: place": mutate_place,
    "in a region: input levels": mutate_levels,
    "in a region: doses": mutate_doses,
    "in a region: gap": mutate_gap,
    "in a region: doses promised": mutate_promised_doses,
    "in a region: centre": mutate_centre,
    "in a region: radius": mutate_radius,
    "in a region: start": mutate_start,
    "in a region: set that is kept": mutate_set,
    "in a region: kind of proof": mutate_proof,
    "in a region: hash": mutate_hash,
}

# Kinds that need an original with something to mutate.
NEEDS = {
    "in a region: multipliers": "slopes",
    "in a region: input levels": "levels",
    "in a region: doses": "doses",
    "in a region: gap": "doses",
    "in a region: centre": "ball",
    "in a region: radius": "ball",
    "in a region: start": "ball",
}


def _region(one: Case) -> Mapping[str, Any]:
    region = one.certificate.region
    if isinstance(region, str):
        raise ValueError(f"the certificate's region is {region!r}; these mutations are of regional ones.")
    return region


def _with(one: Case, parts: Mapping[str, Any], **fields: Any) -> Case:
    """Other parts of the region, and the statements that depend on them made to agree again."""
    return replace(one, certificate=consistent(one.certificate, region={**_region(one), **parts}, **fields))


def _ball(one: Case, centre: np.ndarray, share: float) -> Case:
    """A ball about the centre is kept, of this share of the largest radius in the box."""
    region, frame = _region(one), Frame.of(one.certificate.metric)
    gaps = np.minimum(np.array(region["upper"]) - centre, centre - np.array(region["lower"]))
    radius = float((gaps / extents(frame)).min()) * share
    return _with(one, {"stays": {"set": "ball", "centre": centre.tolist(), "radius": radius, "start": radius, "doses": False}})


def _fitted(one: Case) -> Case:
    """Starts as far out as the boluses allow."""
    stays, inputs = _region(one)["stays"], _region(one)["inputs"]
    frame = Frame.of(one.certificate.metric)
    longest = max((vector_length(frame, np.array(d)) for d in inputs["doses"] or ()), default=0.0) if stays["doses"] else 0.0
    start = (stays["radius"] - longest) * (1.0 - 1e-9)
    return _with(one, {"stays": {**stays, "start": max(start, 1e-6)}})


def _by_cells(one: Case) -> Case:
    """The same claim proved by cells, at the best of a few rates that they reach."""
    count = one.certificate.multipliers.shape[0]
    for share in (0.999, 0.99, 0.97, 0.94, 0.9, 0.8, 0.7, 0.5, 0.3):
        new = _with(one, {"proof": "cells"}, multipliers=np.zeros((count, 0)), rate=one.certificate.rate * share)
        if accepts(new):
            return new
    raise ValueError("cells prove none of the rates tried; give a system with gentler kinks.")


def _tightest(one: Case) -> Case:
    """A ball about the middle of those tried that has nearly no room to spare."""
    region = _region(one)
    lower, upper = np.array(region["lower"]), np.array(region["upper"])
    for share in (0.3, 0.35, 0.4, 0.45, 0.5):
        new = _fitted(_ball(one, lower + share * (upper - lower), 1.0 - 1e-6))
        if accepts(new):
            return new
    raise ValueError("none of the balls tried is kept; give a system whose equilibrium is further within the box.")


def _round(values: np.ndarray) -> np.ndarray:
    """To 1/64: short rationals for the oracle."""
    return np.round(values * 64.0) / 64.0
