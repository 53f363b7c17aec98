"""From the events of one person to what a filter steps over: pieces of time, what arrives, what was measured when.

At one time everything is one *group*. What is measured at t was measured before what is given at t arrives; boluses are jumps
at the beginning of the next piece, infusions a constant rate whose end is a boundary too, and an input holds its level until
the next is told. Pieces are those of the person's own mesh, counted from the last time at which anything arrived, ended or
changed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybrid import HybridModel, Mesh
from physics.arguments import quote, shortened
from physics.units import convert, factor
from twin.clock import NEVER, Clock, Microseconds
from twin.log.canonical import Timed
from twin.log.events import Event

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Infusion:
    """`rate`, in the state's unit per the model's unit of time, into the state number `state` until `end`."""

    end: Microseconds
    state: int
    rate: float


@dataclass(frozen=True, slots=True)
class Course:
    """What stands beside a person's belief at `time`, after everything that was true then.

    `time`, `NEVER` before the first event · `origin`, when the filter started (None: it waits for inputs) · `since`, when last
    anything arrived, ended or changed · `inputs` (m,) that hold, NaN where not yet told · `arriving` (n,) what arrives at this
    time, after what was measured · `infusions` that go on, in canonical order · `measured`, when last anything was · `missed`:
    how many boluses and measurements came before the start, and could not be used.
    """

    time: Microseconds
    origin: Microseconds | None
    since: Microseconds
    inputs: tuple[float, ...]
    arriving: tuple[float, ...]
    infusions: tuple[Infusion, ...] = ()
    measured: Microseconds | None = None
    missed: int = 0


class Piece(NamedTuple):
    """One step: `dt` long from `start` since the person's origin, in the model's unit of time, with what arrives at its beginning
    (n,), the rates of infusion in it (n,) and the inputs (m,).
    """

    dt: float
    start: float
    jump: tuple[float, ...]
    rate: tuple[float, ...]
    inputs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Everything of one time: the `pieces` that lead there, rows (p,) of what was measured, NaN where nothing was, and the
    `course` after it. `begins`: the filter starts here. A second measurement of a channel at one time is in a second row.
    """

    pieces: tuple[Piece, ...]
    rows: tuple[Array, ...]
    course: Course
    begins: bool = False


@dataclass(frozen=True)
class Joints:
    """Where a model is joined to events: its channels, compartments and inputs, by name and unit, and its clock."""

    channels: dict[str, tuple[int, str]]
    states: dict[str, tuple[int, str]]
    inputs: dict[str, tuple[int, str]]
    nonnegative: frozenset[str]
    clock: Clock
    ratios: dict[tuple[str, str], Fraction] = field(default_factory=dict)

    @staticmethod
    def of(model: HybridModel, nonnegative: Sequence[str]) -> "Joints":
        """Of this model."""

        def places(names: Sequence[str], units: Sequence[str]) -> dict[str, tuple[int, str]]:
            return {name: (k, unit) for k, (name, unit) in enumerate(zip(names, units, strict=True))}

        backbone, observation = model.backbone, model.observation
        return Joints(
            places(observation.channels, observation.units),
            places(backbone.states, backbone.state_units),
            places(backbone.inputs, backbone.input_units),
            frozenset(nonnegative),
            Clock.of(backbone.time_unit),
        )

    def refusal(self, event: Event) -> str | None:
        """In a sentence, why the model cannot take this event; None where it can."""
        if event.kind not in ("measurement", "dose", "input") or event.value is None:
            return None
        known, what, has = self._table(event)
        if event.name not in known:
            names = ", ".join(shortened(name, 40) for name in known) or "none"
            return f"{what} {quote(event.name, 60)} is unknown; {has} {names}"
        wanted = known[event.name][1]
        try:
            value = convert(event.value, self._ratio(event.unit, wanted))
        except ValueError as error:
            return str(error)
        if not math.isfinite(value):
            return f"{event.value!r} {event.unit} is beyond any number of {wanted}; correct the value or its unit"
        if value < 0.0 and (event.kind == "dose" or (event.kind == "measurement" and event.name in self.nonnegative)):
            which = "a dose" if event.kind == "dose" else f"the channel {shortened(event.name, 40)}"
            return f"{which} is never below 0, and this is {event.value:g} {event.unit}; correct it"
        return None

    def value(self, event: Event) -> tuple[int, float]:
        """Which channel, state or input, and the number in the model's unit."""
        place, wanted = self._table(event)[0][event.name]
        assert event.value is not None
        return place, float(convert(event.value, self._ratio(event.unit, wanted)))

    def _table(self, event: Event) -> tuple[dict[str, tuple[int, str]], str, str]:
        if event.kind == "measurement":
            return self.channels, "the channel", "the model has the channels"
        if event.kind == "dose":
            return self.states, "the compartment", "the model has the compartments"
        return self.inputs, "the input", "the model has the inputs"

    def _ratio(self, unit: str, wanted: str) -> Fraction:
        if (unit, wanted) not in self.ratios:
            self.ratios[unit, wanted] = factor(unit, wanted, "the value")
        return self.ratios[unit, wanted]

    def unborn(self, inputs: tuple[float, ...]) -> Course:
        """Before the first event, with the inputs that are known beforehand."""
        return Course(NEVER, None, NEVER, inputs, (0.0,) * len(self.states))

    def waits_for(self, course: Course) -> tuple[str, ...]:
        """The inputs that must be told before the filter can start."""
        return tuple(name for name, value in zip(self.inputs, course.inputs, strict=True) if math.isnan(value))

    def groups(self, course: Course, events: Sequence[Timed], mesh: Mesh) -> list[Group]:
        """The groups of these events, in canonical order and all of them later than `course`."""
        found: list[Group] = []
        for time, together in groupby(events, key=lambda one: one.time):
            group = self._group(course, time, [one.event for one in together], mesh)
            found.append(group)
            course = group.course
        return found

    def until(self, course: Course, time: Microseconds, mesh: Mesh) -> tuple[Piece, ...]:
        """The pieces from a course to a later time at which nothing need be told."""
        return self._led(course, time, mesh)[0]

    def _group(self, course: Course, time: Microseconds, events: Sequence[Event], mesh: Mesh) -> Group:
        pieces: tuple[Piece, ...] = ()
        waits = course.origin is None
        if waits:
            course = replace(course, time=time, since=time, infusions=tuple(i for i in course.infusions if i.end > time))
        else:
            pieces, course = self._led(course, time, mesh)
        rows: list[Array] = []
        arriving, infusions, inputs = [0.0] * len(self.states), list(course.infusions), list(course.inputs)
        since, missed, boluses, measured = course.since, course.missed, 0, course.measured
        for event in events:
            place, value = self.value(event)
            if event.kind == "measurement":
                measured = time
                row = next((r for r in rows if math.isnan(r[place])), None)
                if row is None:
                    row = np.full(len(self.channels), math.nan)
                    rows.append(row)
                row[place] = value
                continue
            since = time
            if event.kind == "input":
                inputs[place] = value
            elif event.duration:
                infusions.append(Infusion(time + event.duration, place, value / self.clock.length(event.duration)))
            else:
                arriving[place] += value
                boluses += 1
        begins = waits and not any(math.isnan(v) for v in inputs)
        if waits and not begins:
            told = sum(event.kind == "measurement" for event in events)
            arriving, missed, rows = [0.0] * len(self.states), missed + boluses + told, []
        after = Course(
            *(time, time if begins else course.origin, since, tuple(inputs), tuple(arriving), tuple(infusions), measured,
        missed) )
        return Group(pieces, tuple(rows), after, begins)

    def _led(self, course: Course, time: Microseconds, mesh: Mesh) -> tuple[tuple[Piece, ...], Course]:
        """The pieces from a course that has started to a later time, and the course there."""
        assert course.origin is not None
        pieces: list[Piece] = []
        begin, since, jump, left = course.time, course.since, course.arriving, course.infusions
        nothing = (0.0,) * len(self.states)
        for end in sorted({i.end for i in left if begin < i.end < time} | {time}):
            left = tuple(i for i in left if i.end > begin)
            rate = list(nothing)
            for infusion in left:
                rate[infusion.state] += infusion.rate
            whole = self.clock.length(end - begin)
            cuts = self._cuts(begin - since, end - since, mesh)
            start = self.clock.length(begin - course.origin)
            for low, high in zip((0.0, *cuts), (*cuts, 1.0), strict=True):
                pieces.append(Piece((high - low) * whole, start + low * whole, jump, tuple(rate), course.inputs))
                jump = nothing
            if any(i.end == end for i in left):
                since = end  # what an infusion drove begins to fall, as after a jump
            begin = end
        left = tuple(i for i in left if i.end > time)
        return tuple(pieces), replace(course, time=time, since=since, arriving=nothing, infusions=left)

    def _cuts(self, begin: Microseconds, end: Microseconds, mesh: Mesh) -> list[float]:
        if mesh.step is None:
            return []
        return mesh.parts(np.array([self.clock.length(begin)]), np.array([self.clock.length(end)]))[1].tolist()
