"""Whom a certificate covers: what was certified, held beside everyone's own start, doses, inputs and units.

A certificate about all states holds whatever is given, as long as both trajectories are given the same. One about a region is
about what its sentence names: where trajectories start, boluses "among … or a mean of them, at least … apart", inputs within
their levels. Beside that stands what the bundle's own people do:

- a *bolus* is covered if it is w₁d₁ + … + w_D d_D with w ≥ 0 and Σw ≤ 1: a mean of certified ones, or of them and of none, which
  is shorter, and in the proof (`proof/region/invariance.py`) only the length counts. What arrives at one time is one bolus;
- where no doses are certified, what arrives when the record begins belongs to the start, which is x(0) + d then;
- an *infusion* is no bolus, and its rate is part of no region's inputs;
- an *input* is covered if all its values are within the levels.

The numbers mean what they do in the units in which the certificate was made, and its rate is per unit of that time.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from exchange.bundle.dose_means import ROUNDING, is_mean
from hybrid import HybridModel, Schedule
from hybrid.schedules.dose import as_float
from stability import Box, Certificate, Inputs, Lure, RegionalRate
from stability.decay import rounded
from stability.proof.region.cells import Frame
from stability.proof.region.invariance import vector_length
from stability.region import claimed

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outside:
    """What a certificate does not cover: of `person`, None where it is everyone, `what` it is, and a sentence about it.

    `what`: "units", "parameters", "start", "doses", "infusions" or "inputs".
    """

    person: str | None
    what: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence if self.person is None else f"person {self.person}: {self.sentence}"


@dataclass(frozen=True)
class Subject:
    """A person, as a certificate meets them: who, what is done, and the states in which members let them start, (M, n)."""

    id: str
    schedule: Schedule
    starts: Array


def subjects_of(
    model: HybridModel,
    ids: Sequence[str],
    schedules: Sequence[Schedule],
    personal: Tensor,  # (M, N, d)
    covariates: Mapping[str, Tensor],  # each (N,)
    baseline: Tensor,  # (N, p)
    inputs: Tensor | None = None,  # (N, m), those at the start
) -> list[Subject]:
    """These people with the starts that the model gives them."""
    theta = model.theta(personal.detach(), dict(covariates))
    starts = model.initial(theta, baseline, inputs, dict(covariates)).detach().cpu().numpy().astype(np.float64)  # (M, N, n)
    return [Subject(id, schedule, starts[:, i]) for i, (id, schedule) in enumerate(zip(ids, schedules, strict=True))]


def outside(certificate: Certificate, model: HybridModel, subjects: Sequence[Subject]) -> list[Outside]:
    """What the certificate, taken to be true, does not cover of these people; nothing where it covers them all.

    Their parameters are not looked at: whether each of their systems is among the certified ones is for `check` to say.
    """
    if isinstance(certificate.region, str):
        return []
    region, inputs = claimed(certificate.region)
    stays: Mapping[str, Any] = certificate.region["stays"]
    frame = Frame.of(certificate.metric)
    found: list[Outside] = []
    for who in subjects:
        start: _Ball | _Whole
        if stays["set"] == "ball":
            start = _Ball(frame, np.asarray(stays["centre"], dtype=np.float64), float(stays["start"]))
        elif stays["set"] == "order":
            start = _Whole(np.asarray(stays["lower"], dtype=np.float64), np.asarray(stays["upper"], dtype=np.float64))
        else:
            if not isinstance(region, Box):
                raise ValueError("the certificate lets trajectories start in a box, and its region is none")
            start = _Whole(region.lower, region.upper)
        found += _of_doses(who, model, start, inputs if stays["doses"] else None)
        found += _of_inputs(who, model, inputs)
    return found


def outside_box(claim: RegionalRate, model: HybridModel, subjects: Sequence[Subject]) -> list[Outside]:
    """Of whom a rate on a region, taken to be true, says nothing at their start, and whose inputs leave its levels.

    Whether anyone stays in the box is not asked, as the claim does not say it: this is the least of what it needs.
    """
    region, inputs = claimed({**claim.region, "inputs": None})[0], claim.region.get("inputs")
    if not isinstance(region, Box):
        raise ValueError("a rate on a region is of a box, and its region is none")
    box, found = _Whole(region.lower, region.upper), list[Outside]()
    levels = None if inputs is None else Inputs(inputs["lower"], inputs["upper"])
    states, units = model.backbone.states, model.backbone.state_units
    for who in subjects:
        found += _of_restarts(who, model, "rate")
        boluses, _ = _arrivals(who.schedule, tuple(states))
        if model.delivery:  # the start alone: nobody knows here what of a dose is there then
            boluses = []
        begins, dosed = who.starts, ""
        if boluses and boluses[0][0] <= who.schedule.start:
            begins, dosed = begins + boluses[0][1], ", with the dose that is given then,"
        late = [m for m, x in enumerate(begins) if not box.holds(x)]
        if late:
            at = _amounts(begins[late[0]], states, units, zeros=True)
            which = f" (member {late[0] + 1})" if len(begins) > 1 else ""
            words = f"starts{dosed} at {at}{which}, and the rate is of two trajectories that are both {box}"
            found.append(Outside(who.id, "start", words))
        if levels is not None:
            found += _of_inputs(who, model, levels, "rate")
    return found


def strangers(certified: Lure, system: Lure, ids: Sequence[str]) -> list[Outside]:
    """The people with a system, under any member, that is not among the certified ones, bit for bit.

    `system`: with the leading axes (M|1, N|1) of members and people; `ids` (N,).
    """
    known = set(_keys(certified))
    new = np.array([key not in known for key in _keys(system)]).reshape(system.leading)
    lost = np.broadcast_to(new.any(0), (len(ids),))
    who = [id for id, one in zip(ids, lost, strict=True) if one]
    if len(who) == len(ids):
        return [Outside(None, "parameters", "nobody's parameters and weights are among those that were certified")]
    return [Outside(id, "parameters", "the parameters and weights are not among those that were certified") for id in who]


def _keys(system: Lure) -> list[str]:
    """The digest of each system on its own."""
    return [system.one(v).digest() for v in range(math.prod(system.leading))]


def outside_units(then: Mapping[str, Any], now: Mapping[str, Any], claim: str = "certificate") -> list[Outside]:
    """The units in which a claim was made, and the model's: time, states and inputs, by name.

    One of before, that does not say its units, is not compared.
    """
    found = []
    for kind, what in (("time", "time"), ("states", "the states"), ("inputs", "the inputs")):
        if kind in then and then[kind] != now.get(kind):
            means = "its rate means another one there" if kind == "time" else "its region and doses mean others there"
            words = f"the {claim} was made with {what} in {_words(then[kind])}, and the model has {_words(now.get(kind))}"
            found.append(Outside(None, "units", f"{words}: {means}"))
    return found


def _words(units: object) -> str:
    if isinstance(units, Mapping):
        return ", ".join(f"{name} [{unit}]" for name, unit in units.items())[:150] or "none"
    return str(units)[:50]


@dataclass(frozen=True)
class _Ball:
    frame: Frame
    centre: Array
    radius: float

    def holds(self, x: Array) -> bool:
        return vector_length(self.frame, x - self.centre) <= self.radius

    def __str__(self) -> str:
        return f"within {rounded(self.radius, 6, 'down')} of {np.round(self.centre, 6).tolist()} in P"


@dataclass(frozen=True)
class _Whole:
    lower: Array
    upper: Array

    def holds(self, x: Array) -> bool:
        return bool((self.lower <= x).all() and (x <= self.upper).all())

    def __str__(self) -> str:
        return f"in the box {self.lower.tolist()} to {self.upper.tolist()}"


def _of_doses(who: Subject, model: HybridModel, start: _Ball | _Whole, inputs: Inputs | None) -> Iterator[Outside]:
    """Starts, boluses and infusions of one person; `inputs` hold the doses that are covered, None where none are."""
    backbone = model.backbone
    time_unit, states, units = backbone.time_unit, backbone.states, backbone.state_units
    yield from _of_restarts(who, model, "certificate")
    boluses, infused = _arrivals(who.schedule, tuple(states))
    for much, state, time in infused:
        unit = units[states.index(state)]
        yield Outside(
            who.id,
            "infusions",
            f"{much:g} {unit} go into {state} as an infusion from {time:g} {time_unit} on, and the certificate's region covers "
            "boluses alone",
        )
    if model.delivery and (boluses or infused):
        boluses, infused = [], []
        yield Outside(
            who.id,
            "doses",
            "has doses that arrive as θ says (lag, fraction, duration, rate), and the certificate speaks of doses as given",
        )
    begins, dosed = who.starts, ""
    if inputs is None and boluses and boluses[0][0] <= who.schedule.start:
        begins, dosed = begins + boluses.pop(0)[1], ", with the dose that is given then,"
    late = [m for m, x in enumerate(begins) if not start.holds(x)]
    if late:
        at = _amounts(begins[late[0]], states, units, zeros=True)
        which = f" (member {late[0] + 1})" if len(begins) > 1 else ""
        yield Outside(who.id, "start", f"starts{dosed} at {at}{which}, and trajectories are certified that start {start}")
    if not boluses:
        return
    if inputs is None or inputs.doses is None or inputs.gap is None:
        time, amount = boluses[0]
        what = f"{len(boluses)} doses, the first" if len(boluses) > 1 else "a dose"
        given = f"{_amounts(amount, states, units)} at {time:g} {time_unit}"
        yield Outside(who.id, "doses", f"has {what} of {given}, and the certificate covers none")
        return
    # the largest first: one that is not covered is enough
    different = {tuple(amount.tolist()): (time, amount) for time, amount in reversed(boluses)}
    sizes = sorted(different.values(), key=lambda one: -float(np.abs(one[1]).max()))
    wrong = next(((time, amount) for time, amount in sizes if not is_mean(amount, inputs.doses)), None)
    if wrong is not None:
        time, amount = wrong
        kinds = "; ".join(_amounts(d, states, units) for d in inputs.doses[:4]) + ("; …" if len(inputs.doses) > 4 else "")
        kinds += " or less" if len(inputs.doses) == 1 else ", a mean of them, or less"
        yield Outside(
            who.id,
            "doses",
            f"has a dose of {_amounts(amount, states, units)} at {time:g} {time_unit}, and the certificate covers {kinds}",
        )
    times = [time for time, _ in boluses]
    off = [time for time in times if inputs.exactly and not _multiple(time - as_float(who.schedule.start), inputs.gap)]
    if off:
        yield Outside(
            who.id,
            "doses",
            f"has a dose at {off[0]:g} {time_unit}, and the certificate covers doses at multiples of {_exact(inputs.gap)} "
            f"{time_unit} since the start",
        )
        return
    near = [(b - a, b) for a, b in pairwise(times) if not _apart(a, b, inputs.gap)]
    if near:
        gap, time = min(near)
        yield Outside(
            who.id,
            "doses",
            f"has doses {rounded(gap, 6, 'down')} {time_unit} apart, at {time:g} {time_unit}, and the certificate covers doses "
            f"at least {_exact(inputs.gap)} {time_unit} apart",
        )


def _of_restarts(who: Subject, model: HybridModel, claim: str) -> Iterator[Outside]:
    """Resets and steady states, at which a trajectory begins anew where no claim has looked."""
    unit, given = model.backbone.time_unit, who.schedule
    for what, times in (("reset", given.resets), ("in a steady state of earlier doses", tuple(s.time for s in given.steady))):
        if times:
            words = f"is {what} at {times[0]:g} {unit}, and the {claim} covers trajectories that go on from their start"
            yield Outside(who.id, "start", words)


def _of_inputs(
    who: Subject, model: HybridModel, inputs: Inputs | None, claim: str = "certificate"
) -> Iterator[Outside]:
    backbone = model.backbone
    for k, name in enumerate(backbone.inputs):
        values = who.schedule.inputs[name].values
        low, high = min(values), max(values)
        if inputs is None or not (inputs.lower[k] <= low and high <= inputs.upper[k]):
            unit = backbone.input_units[k]
            levels = None if inputs is None else f"{_exact(inputs.lower[k])} to {_exact(inputs.upper[k])} {unit}"
            covered, words = levels or "no level of it", f"the input {name} goes from {_exact(low)} to {_exact(high)} {unit}"
            yield Outside(who.id, "inputs", f"{words}, and the {claim} covers {covered}")


def _arrivals(
    schedule: Schedule, states: tuple[str, ...]
) -> tuple[list[tuple[float, Array]], list[tuple[float, str, float]]]:
    """The boluses by time, those of one time together (n,), and the infusions as amount, compartment and time; none of 0."""
    boluses: dict[float, Array] = {}
    infused = []
    for dose in schedule.arriving:
        amount, time = as_float(dose.amount), as_float(dose.arrival)
        if amount == 0.0:
            continue
        if dose.bolus:
            boluses.setdefault(time, np.zeros(len(states)))[states.index(dose.state)] += amount
        else:
            infused.append((amount, dose.state, time))
    return sorted(boluses.items(), key=lambda one: one[0]), infused


def _amounts(amount: Array, states: Sequence[str], units: Sequence[str], zeros: bool = False) -> str:
    parts = [f"{_exact(a)} {u} {s}" for a, u, s in zip(amount.tolist(), units, states, strict=True) if a or zeros]
    return " and ".join(parts) or "nothing"


def _exact(value: float) -> str:
    """All digits: what is outside by little must not look as if it were inside."""
    return repr(float(value)).removesuffix(".0")


def _multiple(time: float, gap: float) -> bool:
    """Whether a time is a multiple of the gap, up to the rounding that `_apart` grants."""
    rest = Fraction(time) % Fraction(gap)
    return min(rest, Fraction(gap) - rest) <= min(ROUNDING * abs(Fraction(time)), Fraction(gap) / 2**40)


def _apart(a: float, b: float, gap: float) -> bool:
    """Whether the times are at least the gap apart, up to the rounding of the two times, or a part in 2⁴⁰ of the gap."""
    rounding = min(ROUNDING * max(abs(Fraction(a)), abs(Fraction(b))), Fraction(gap) / 2**40)
    return Fraction(b) - Fraction(a) + rounding >= Fraction(gap)
