"""A person who is followed, held beside the people of the training: what came to them, event by event, and what is believed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import torch

from exchange import Bundle
from hybrid import Shift
from training.shift import Reference
from training.shift.compared import UNKNOWN
from training.shift.envelope import Left
from training.shift.given import Beforehand, always
from training.shift.measured import Measured
from training.shift.seen import coordinates, explained
from twin.ahead import Seen
from twin.clock import Microseconds
from twin.joining import Joints
from twin.log.canonical import Timed
from twin.people import Known
from twin.snapshots import State

KEPT = 8  # of the newest times what had come is kept, so that what is a little late begins from there


@dataclass(frozen=True, slots=True)
class Level:
    """An input that holds: its `value` `since` when, on the person's clock, the `area` under it until then, the `lowest` and
    `highest` it was, and since when it was known at all, `begin`.
    """

    value: float
    since: float
    area: float
    lowest: float
    highest: float
    begin: float

    def told(self, time: float, value: float) -> "Level":
        """From a time on it is another value."""
        area = self.area + self.value * (time - self.since)
        return Level(value, time, area, min(self.lowest, value), max(self.highest, value), self.begin)

    def until(self, end: float) -> tuple[float, float, float]:
        """Mean in time, lowest and highest."""
        length = end - self.begin
        mean = (self.area + self.value * (end - self.since)) / length if length > 0.0 else self.value
        return mean, self.lowest, self.highest


@dataclass(frozen=True)
class Came:
    """What came to one person up to `time`, beside the envelopes of a training.

    `origin`, where their own clock reads 0: the first dose, without one the first event; `dosed`, whether there was one · `sums`,
    by the key of an envelope how much there was, and where it first was too much · `levels` of inputs · `sampled`, when last
    anything was measured. Law: event by event it is what `Given` says of the whole, and no more is kept than these numbers.
    """

    reference: Reference
    joints: Joints
    time: Microseconds
    origin: Microseconds
    dosed: bool
    sums: Mapping[str, tuple[float, Left | None]] = field(default_factory=dict)
    levels: Mapping[str, Level] = field(default_factory=dict)
    sampled: Microseconds | None = None

    @staticmethod
    def of(reference: Reference, joints: Joints, inputs: Sequence[float], events: Sequence[Timed]) -> "list[Came]":
        """From all that counts of a person, in canonical order, and the `inputs` (m,) known beforehand: after the last times."""
        first = next((one.time for one in events if one.event.kind == "dose"), None)
        begin = events[0].time
        origin = begin if first is None else first
        at = joints.clock.length(begin - origin)
        levels = {
            name: Level(value, at, 0.0, value, value, at)
            for name, value in zip(joints.inputs, inputs, strict=True)
            if not math.isnan(value)
        }
        came = Came(reference, joints, begin, origin, first is not None, levels=levels)
        return came.followed(events)

    def followed(self, events: Sequence[Timed]) -> "list[Came]":
        """After each of the last times of later events, the newest last."""
        came, found = self, list[Came]()
        for time, together in groupby(events, key=lambda one: one.time):
            came = came._after(time, list(together))
            found = [*found[1 - KEPT :], came]
        return found

    def begins_anew(self, events: Sequence[Timed]) -> bool:
        """Would these later events move the clock: is the first dose among them?"""
        return not self.dosed and any(one.event.kind == "dose" for one in events)

    def _after(self, time: Microseconds, events: Sequence[Timed]) -> "Came":
        sums, levels, sampled, at = dict(self.sums), dict(self.levels), self.sampled, self._clock(time)
        due: dict[str, float] = {}
        for one in events:
            event = one.event
            _, value = self.joints.value(event)
            if event.kind == "measurement":
                due["sampling"], sampled = 1.0, time  # all channels of one time are measured once
                continue
            more = {f"doses {event.name}": 1.0, f"amount {event.name}": value} if event.kind == "dose" else {}
            if event.kind == "input":
                more = {f"points {event.name}": 1.0}
                level = levels.get(event.name)
                levels[event.name] = Level(value, at, 0.0, value, value, at) if level is None else level.told(at, value)
            for key, size in more.items():
                due[key] = due.get(key, 0.0) + size
        for key, size in due.items():
            total, left = sums.get(key, (0.0, None))
            envelope = self.reference.envelopes.get(key)
            total += size
            sums[key] = total, left or (None if envelope is None else envelope.over(at, total))
        return replace(self, time=time, sums=sums, levels=levels, sampled=sampled)

    def until(self, end: Microseconds, covariates: Mapping[str, float]) -> Beforehand:
        """The person as they stand at a time from the newest on."""
        at = self._clock(end)
        sums = dict.fromkeys(always(self.reference.envelopes), (0.0, None)) | dict(self.sums)
        came: dict[str, tuple[float, Left | None]] = {}
        for key, (total, left) in sums.items():
            envelope = self.reference.envelopes.get(key)
            by = at if key != "sampling" or self.sampled is None else self._clock(self.sampled)
            came[key] = total, left or (None if envelope is None else envelope.under(by, total))
        return Beforehand(covariates, came, {name: level.until(at) for name, level in self.levels.items()})

    def _clock(self, time: Microseconds) -> float:
        return self.joints.clock.length(time - self.origin)


def shift_of(
    bundle: Bundle,
    known: Known,
    person: Beforehand,
    state: State,
    seen: Seen | None,  # of this person alone, N = 1; None while nothing is believed
) -> Shift:
    """Whether somebody looks like the people of the training, by what came to them and what is believed of them now.

    Of what was measured so far T = η̂ᵀ(I − C)⁻¹η̂, with the filter's mean and covariance of η, is what other parameters explain,
    and ΣNIS − T what none do: ΣNIS is the squared Mahalanobis distance of all measurements. Of somebody whose η was known
    beforehand, by a fit or by hand, ΣNIS is counted from there, and T is no part of it. Members disagree by
    √(Σ var_m μ_m / Σ v) at this time. Law: for a linear model and normal noise ΣNIS − T is χ², whatever the process noise.
    """
    if bundle.reference is None:
        return Shift(unknown=UNKNOWN)
    measured = believed_of(known, state, len(bundle.model.backbone.states))
    if seen is not None and seen.mean.shape[0] > 1:
        noise = float(seen.noise.mean(0).sum())
        apart = math.sqrt(float(seen.mean.var(0, correction=0).sum()) / noise) if noise > 0.0 else math.nan
        measured = replace(measured, apart=np.array([apart]))
    return bundle.reference.look(person, measured, 0, coordinates(bundle.model))


def believed_of(known: Known, state: State, states: int) -> Measured:
    """How far what was measured of a person so far is from the training's law, by what a filter of n states believes."""
    belief, n = state.belief, states
    if belief is None or not belief.counted:
        return Measured()
    mean, root = torch.from_numpy(belief.mean)[:, n:], torch.from_numpy(belief.root)[:, n:]
    moved, ways = (float(v.mean()) for v in explained(mean, root @ root.mT))
    count = float(belief.counted)
    whole, left, ways = float(belief.total.mean()), count, min(ways, count)
    if not known.mean.any() and (known.covariance == np.eye(known.mean.shape[-1])).all():
        whole, left = max(whole - moved, 0.0), count - ways
    own, freedom, rest, spare = (np.array([v]) for v in (moved, ways, whole, left))
    return Measured(own, freedom, rest, spare, mean.mean(0).numpy()[None])
