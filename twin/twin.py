"""The twin: a model in step with its people, whatever order their data come in."""

import inspect
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any

import torch

from exchange import Bundle, content_hash
from hybrid import Exponential, Mesh, RungeKutta, Shift, Solver
from hybrid.filters import UKF, Filter, Followed
from physics.arguments import quote, require_kind, require_names, require_number, require_text
from physics.glance import Summary, glance
from training.shift.given import Beforehand
from twin.ahead import Ahead, Seen
from twin.beside import shift_of
from twin.certified import certified, reads_what_was_done
from twin.clock import NEVER, Microseconds
from twin.estimate import Band, Change, Consistency, Estimate, Moved, shown
from twin.filtering import Filtering
from twin.joining import Joints
from twin.log import Event, SqliteLog, time_text
from twin.log.canonical import Timed
from twin.log.judging import Receipt
from twin.log.times import require_stamp
from twin.memory import Memory, Person
from twin.people import Known, Patient, People
from twin.replay import Replay
from twin.snapshots import State

_FORMAT = 1  # of folded states


def _summary(twin: Any) -> Summary:
    ids = twin.people
    return f"Twin: people {len(ids)}, members {twin.bundle.model.members}", [
        ("model", twin.bundle.model),
        ("filter", twin._memory.replay.filtering.filter.__name__),
        ("log", twin.log),
        ("horizon", str(timedelta(microseconds=twin.horizon))),
        ("people", ids),
    ]


class Twin:
    """A bundle's model in step with people: events arrive, late, twice, corrected or withdrawn, and the belief of each person is
    that of the canonical log, bit for bit, whatever the order of arrival and whoever else is followed.

    Arguments
    - `bundle`; `log`, by default one in memory; what it holds already is followed on.
    - `people`: who may be followed, and what is known of them; by default the bundle's own people, and, where the model reads
      no covariates, anyone (`Change.new` says so). `sources`: whose events are taken; None: anyone's.
    - `filter`, one of `hybrid.filters.FILTERS` or your own · `drift`, the time constant with which η forgets, in the model's
      unit of time; None: it stays · `floor`: standard deviations by the states' names that they gain per √time beside the
      model's process noise; a model without that must be given one, and `floor={}` says in so many words that there is none.
    - `horizon`: how far before a person's newest event the past may still change; older changes are refused, and the state
      there is folded · `ahead`: how far in the future an event may be true; later ones are refused · `level` of the bands.
    - `block`: how many people are computed together, one of them nobody; from 2 on. More is faster for many people at once, and
      slower for one. Other sizes may give other last bits, so it is part of a log's settings.

    Errors: `ValueError` for a model that needs a floor and has none, people without the covariates that the model reads, and
    a log that was written with another bundle or other settings.
    """

    __repr__, _repr_html_ = glance(_summary)

    def __init__(
        self,
        bundle: Bundle,
        log: SqliteLog | None = None,
        *,
        people: Mapping[str, Patient] | None = None,
        sources: Iterable[str] | None = None,
        filter: type[Filter] = UKF,
        drift: float | None = None,
        floor: Mapping[str, float] | None = None,
        horizon: timedelta = timedelta(days=7),
        ahead: timedelta = timedelta(minutes=5),
        level: float = 0.9,
        block: int = 4,
    ) -> None:
        self._who = People(bundle, people)
        require_kind(log, (SqliteLog, type(None)), "Twin: log", 'SqliteLog("people.db")')
        if not isinstance(filter, type) or not issubclass(filter, Filter) or inspect.isabstract(filter):
            raise ValueError(f"Twin: filter is a kind of filter, and is {quote(filter)}; write filter=UKF")
        self.sources = None if sources is None else frozenset(require_names(sources, "Twin: sources", '["lab"]'))
        self.horizon = _length(horizon, "horizon")
        self.ahead = _length(ahead, "ahead", least=0)
        require_number(level, "Twin: level", above=0.0, most=1.0)
        if level == 1.0:
            raise ValueError("Twin: level lies strictly between 0 and 1; write level=0.9")
        require_number(block, "Twin: block, how many people,", least=2.0, most=65536.0, whole=True)
        self.bundle, self.level = bundle, float(level)
        model = bundle.model
        require_kind(floor, (Mapping, type(None)), "Twin: floor", f"floor={{{model.backbone.states[0]!r}: 0.1}}")
        # what a filter refuses is refused now, and not with the first event
        anyone = {name: torch.ones(1, dtype=model.dtype, device=model.device) for name in model.uses}
        Followed.of(model, 1, covariates=anyone, mesh=Mesh(1.0), drift=drift, floor=floor)
        floor = None if floor is None else {name: float(value) for name, value in sorted(floor.items())}
        drift = None if drift is None else float(drift)
        self._joints = Joints.of(model, bundle.nonnegative)
        solver: Solver = Exponential() if model.linear else RungeKutta("rk4")
        filtering = Filtering(model, filter, solver, drift, floor, int(block))
        self._ahead = Ahead(filtering, self._joints)
        self.log = SqliteLog() if log is None else log
        settings = {
            "format": _FORMAT,
            "filter": filter.__name__,
            "drift": drift,
            "floor": floor,
            "horizon in microseconds": self.horizon,
            "block": int(block),
        }
        self.log.open_for(content_hash(bundle), settings)
        self._memory = Memory(self.log, self._who, self._joints, Replay(filtering, self._joints, self.horizon))

    # ---- what arrives

    def arrive(self, events: Event | Iterable[Event], *, now: Microseconds | None = None) -> list[Change]:
        """Take events and say what each changed, in the order given; they are on the disk when it returns.

        Many events of many people at once are carried in blocks, and end in the very states that they would end in one by
        one; then each person's estimate is that after all of them. `now`: µs since 1970, UTC, by our own clock, which is read
        where it is None.
        What cannot be used is refused in its `Change`, with a reason, and the others go on. A call that is interrupted has
        taken all of its events or none; what was not answered may be sent again.
        """
        if not isinstance(events, Iterable | Event) or isinstance(events, str | bytes | Mapping):
            raise ValueError(f"Twin.arrive: events are an Event or a list of them, not {quote(events)}; write read_event(line)")
        given = [events] if isinstance(events, Event) else list(events)
        for event in given:
            require_kind(event, Event, "Twin.arrive: each of the events", "read_event(line), or Event(…)")
        now = time.time_ns() // 1000 if now is None else now
        require_stamp(now, "now")
        judged = [self._refusal(event) for event in given]
        touched = list(dict.fromkeys(event.patient for event, reason in zip(given, judged, strict=True) if reason is None))
        try:
            fresh = [id for id in touched if self.log.person(id) is None]
            self._memory.ready([id for id in touched if id not in fresh])
            before = {id: self._memory.person(id).snapshots for id in touched}
            tips = {id: (s.keys[-1], s.packed[-1]) if s.keys else None for id, s in before.items()}
            with self.log.together():
                receipts = self.log.add(given, now, judged, horizon=self.horizon, ahead=self.ahead)
                taken = {one.patient for one, receipt in zip(given, receipts, strict=True) if receipt.verdict != "refused"}
                for id in fresh:
                    if id in taken:
                        self.log.admit(id, self._memory.person(id).known.packed())
            return self._followed(given, receipts, tips, now)
        except BaseException:
            # what is in memory may be half done: it follows anew from the log
            for id in touched:
                self._memory.people.pop(id, None)
            raise

    def _followed(
        self,
        events: list[Event],
        receipts: list[Receipt],
        tips: Mapping[str, tuple[tuple[int, int, bytes, bytes], bytes] | None],
        now: Microseconds,
    ) -> list[Change]:
        changed: dict[str, Microseconds] = {}
        for event, receipt in zip(events, receipts, strict=True):
            if receipt.verdict != "refused":
                self._memory.people[event.patient].arrived = now
            if receipt.changed_from is not None:
                at = receipt.changed_from[0]
                changed[event.patient] = min(at, changed.get(event.patient, at))
        # what was believed at the newest time, of those whose past changes
        late = [id for id, at in changed.items() if (tip := tips[id]) is not None and at <= tip[0][0]]
        was = self._means([(id, self._memory.unpacked(tips[id][1]), tips[id][0][0]) for id in late])  # type: ignore[index]
        replayed = self._memory.carried(changed)
        is_now = {}
        for id in late:
            tip = tips[id]
            assert tip is not None
            is_now[id] = self._memory.state_at(id, tip[0][0])
        after = self._means([(id, is_now[id], tips[id][0][0]) for id in late])  # type: ignore[index]
        estimates = self._estimates(dict.fromkeys(changed))
        self._memory.folded(changed)
        found = []
        for event, receipt in zip(events, receipts, strict=True):
            id, tip = event.patient, tips.get(event.patient)
            change = Change(
                event, receipt.verdict, receipt.reason or None, new=self._is_new(event, receipt), effective=receipt.time
            )
            if receipt.changed_from is not None:
                past = tip is not None and receipt.changed_from[0] <= tip[0][0]
                moved = self._moved(was.get(id), after.get(id), tip[0][0]) if past and tip is not None else {}
                change = replace(change, estimate=estimates[id], moved=moved, replayed=replayed[id])
            found.append(change)
        return found

    def _is_new(self, event: Event, receipt: Receipt) -> bool:
        return receipt.verdict == "new" and event.patient in self._memory.people and self._memory.people[event.patient].new

    def _moved(
        self, before: tuple[float, ...] | None, after: tuple[float, ...] | None, time: Microseconds
    ) -> dict[str, Moved]:
        if before is None or after is None:
            return {}
        observation = self.bundle.model.observation
        return {
            name: Moved(a, b, unit, time)
            for name, unit, a, b in zip(observation.channels, observation.units, before, after, strict=True)
            if a != b
        }

    def _refusal(self, event: Event) -> str | None:
        """In a sentence, why the twin cannot take an event; None where it can."""
        if event.patient not in self._memory.people:
            known = self._who.known(event.patient)
            if isinstance(known, str):
                return known
        if self.sources is not None and event.source not in self.sources:
            return f"the source {quote(event.source, 60)} is unknown; events are taken of {', '.join(sorted(self.sources))[:200]}"
        return self._joints.refusal(event)

    # ---- what is believed

    def estimate(self, patient: str, at: Microseconds | None = None) -> Estimate:
        """What is believed of a person, by default at their newest event; it leaves no trace.

        `at` later than that: a prediction. Earlier: what follows from everything of the canonical log up to then.
        Errors: `ValueError` for somebody of whom nothing is known, and for a time before what is folded.
        """
        if at is not None:
            require_stamp(at, "at")
        return self._estimates({self._followed_person(patient): at})[patient]

    def track(self, patient: str, times: Sequence[Microseconds]) -> list[Estimate]:
        """`estimate` at each of the times."""
        if isinstance(times, str | bytes | Mapping) or not isinstance(times, Iterable) or getattr(times, "ndim", 1) == 0:
            raise ValueError(f"Twin.track: times are whole microseconds in a list, and are {quote(times)}; write [read_time(…)]")
        return [self.estimate(patient, at) for at in times]

    @property
    def people(self) -> tuple[str, ...]:
        """Everyone of whom anything was taken, the first one first."""
        return tuple(id for id in self.log.patients() if self.log.person(id) is not None)

    def state(self, patient: str) -> bytes:
        """Every bit of what is believed at a person's newest event. Law: equal canonical logs give equal bytes."""
        return self._memory.tip(self._followed_person(patient)).packed()

    def _followed_person(self, patient: str) -> str:
        require_text(patient, "Twin: patient", "one of twin.people")
        if self.log.person(patient) is None:
            raise ValueError(f"Twin: nothing was taken of {quote(patient, 60)} yet; those who are followed are in twin.people")
        self._memory.ready([patient])
        return patient

    def _estimates(self, asked: Mapping[str, Microseconds | None]) -> dict[str, Estimate]:
        states = {}
        for id, at in asked.items():
            tip = self._memory.tip(id)
            states[id] = (tip, tip.course.time) if at is None else (self._memory.state_at(id, at), at)
        started = [id for id, (state, _) in states.items() if state.belief is not None]
        found: dict[str, tuple[dict[str, Band], tuple[str, ...], bool]] = {}
        alone: dict[str, Seen] = {}
        if started:
            seen = self._ahead.led([self._asked(id, *states[id]) for id in started])
            each = shown(self.bundle.model.observation, seen, self.level, self._cut)
            found = {id: (*one, lost) for id, one, lost in zip(started, each, seen.lost.tolist(), strict=True)}
            alone = {id: seen.of(k) for k, id in enumerate(started)}
        return {
            id: replace(
                self._said(id, state, at, *found.get(id, ({}, (), False))), shift=self._shift(id, state, at, alone.get(id))
            )
            for id, (state, at) in states.items()
        }

    def _shift(self, id: str, state: State, at: Microseconds, seen: Seen | None) -> Shift:
        """Whether somebody looks like the people of the training, up to a time; later than anything was told, up to then."""
        came, covariates = self._memory.came(id, at), self._who.told(id)
        until = Beforehand(covariates, {}, {}) if came is None else came.until(came.time, covariates)
        return shift_of(self.bundle, self._memory.people[id].known, until, state, seen)

    def _said(
        self, id: str, state: State, at: Microseconds, channels: dict[str, Band], outside: tuple[str, ...], lost: bool
    ) -> Estimate:
        person, course, belief = self._memory.people[id], state.course, state.belief
        last = self._memory.tip(id).course.time
        effective = None if last == NEVER else last
        if course.time == NEVER:
            told = "nothing that counts was told of this person" + ("" if at == NEVER else " up to then")
            return Estimate(
                *(id, None if at == NEVER else at), level=self.level, effective=effective, arrived=person.arrived,
                certified=self._certified(id), waits=self._joints.waits_for(course), notes=(told,),
            )
        notes = list(outside)
        if course.missed:
            notes.append(f"doses and measurements from before the start could not be used: {course.missed}")
        if belief is not None and belief.restarts:
            notes.append(f"after a prediction that diverged the filter started anew; so far as often as: {belief.restarts}")
        if belief is None:
            waits = self._joints.waits_for(course)
            why = None if waits else f"the filter could not start: {person.trouble or 'the first belief is not finite'}"
            return Estimate(
                *(id, at), level=self.level, effective=effective, arrived=person.arrived, certified=self._certified(id),
                held=why, waits=waits, notes=tuple(notes),
            )
        M = len(belief.nis)
        return Estimate(
            id,
            at,
            channels,
            self.level,
            None if not belief.seen else Consistency(float(belief.nis.sum()) / M, belief.seen),
            None if not belief.counted else Consistency(float(belief.total.sum()) / M, belief.counted),
            tuple(belief.evidence.tolist()),
            effective,
            person.arrived,
            self._certified(id),
            self._why_held(person, belief.held) if belief.held is not None else self._why(course.time, at, bool(channels), lost),
            (),
            tuple(notes),
        )

    def _why_held(self, person: Person, since: Microseconds) -> str:
        detail = f" ({person.trouble})" if person.trouble else ""
        return (
            f"the prediction diverged{detail}, and this is what was believed at {time_text(since)}; correct or withdraw what led "
            "there, or the filter starts anew with the first measurement later than the horizon after that"
        )

    def _why(self, since: Microseconds, at: Microseconds, shown: bool, lost: bool) -> str | None:
        """Why what is shown of somebody who is not held is an old belief, or none; None where it is neither."""
        if not shown:
            return "what would be measured is beyond any number; correct or withdraw what led there"
        if lost:
            return (
                f"the prediction from {time_text(since)} to {time_text(at)} diverges, and this is what was believed before it; "
                "correct or withdraw what leads there"
            )
        return None

    def _certified(self, id: str) -> str:
        known = self._memory.people[id].known
        if reads_what_was_done(self.bundle):
            return certified(self.bundle, id, known, self._course(id), self._joints)
        if id not in self._sentences:
            self._sentences[id] = certified(self.bundle, id, known)
        return self._sentences[id]

    def _course(self, id: str) -> Sequence[Timed] | str:
        """A person's events in canonical order, or why these are not all that was done."""
        base, origin = self.log.base(id), self._memory.tip(id).course.origin
        if base is not None:
            return f"as what was before {time_text(base[0][0])} is folded"
        events = self.log.timeline(id)
        if events and origin != events[0].time:
            return "as the filter did not start with the first that was told of them"
        return events

    @cached_property
    def _sentences(self) -> dict[str, str]:
        return {}

    @cached_property
    def _cut(self) -> torch.Tensor:  # (p,) bool
        model = self.bundle.model
        return torch.tensor([c in self.bundle.nonnegative for c in model.observation.channels], device=model.device)

    def _asked(self, id: str, state: State, at: Microseconds) -> tuple[Known, State, Microseconds, int]:
        person = self._memory.people[id]
        return person.known, state, at, person.key

    def _means(self, asked: list[tuple[str, State, Microseconds]]) -> dict[str, tuple[float, ...]]:
        """The channels' means, as an estimate would show them, of those who have started."""
        asked = [one for one in asked if one[1].belief is not None]
        if not asked:
            return {}
        seen = self._ahead.led([self._asked(*one) for one in asked])
        mean = seen.mean.mean(0)
        mean = torch.where(self._cut & (mean < 0.0), 0.0, mean)
        rows = zip(asked, mean.tolist(), seen.finite.tolist(), strict=True)
        return {id: tuple(row) for (id, _, _), row, is_number in rows if is_number}


def _length(given: object, what: str, least: int = 1) -> Microseconds:
    require_kind(given, timedelta, f"Twin: {what}", f"timedelta(days=7), as {what}=…")
    assert isinstance(given, timedelta)
    found = given // timedelta(microseconds=1)
    if found < least:
        raise ValueError(f"Twin: {what} is a length of time, and is {given}; write timedelta(hours=1)")
    return found


