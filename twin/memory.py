"""People in memory as the log has them: which snapshot, which replay, what is folded."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from physics.arguments import quote
from twin.beside import KEPT, Came
from twin.clock import NEVER, Microseconds
from twin.descent import Job
from twin.joining import Joints
from twin.log import SqliteLog, time_text
from twin.log.canonical import Timed
from twin.people import Known, People
from twin.replay import Replay
from twin.snapshots import Snapshots, State, thinned


@dataclass
class Person:
    """What the twin has in memory of one person, all of it computable anew from the log; `came`, after the last of their times,
    is empty until it is asked for.
    """

    known: Known
    key: int
    new: bool
    snapshots: Snapshots = field(default_factory=Snapshots)
    trouble: str | None = None
    arrived: Microseconds | None = None
    came: list[Came] = field(default_factory=list)


@dataclass
class Memory:
    """The states of people, each computed from the log when it is first asked for, and again when a call was interrupted."""

    log: SqliteLog
    who: People
    joints: Joints
    replay: Replay
    people: dict[str, Person] = field(default_factory=dict)

    def person(self, id: str) -> Person:
        """Somebody, as they were begun with."""
        if id not in self.people:
            data = self.log.person(id)
            # steps are a function of the bundle and the covariates: those of before
            found = self.who.known(id, None if data is None else Known.unpacked(data).mesh)
            if isinstance(found, str):
                raise ValueError(f"Twin: {found}")
            if data is not None and data != found.packed():
                raise ValueError(
                    f"Twin: the log knows other things of {quote(id, 60)} than the bundle and people={{…}} say; give what it was "
                    "begun with, or begin another log"
                )
            number = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8]) >> 1
            self.people[id] = Person(found, number, self.who.new(id), arrived=self.log.received(id))
        return self.people[id]

    def ready(self, ids: Sequence[str]) -> None:
        """Have these people in memory as the log has them."""
        missing = [id for id in ids if id not in self.people]
        for id in missing:
            person, base = self.person(id), self.log.base(id)
            if base is not None:
                person.snapshots.add(*base)
        self.carried(dict.fromkeys(missing))

    def carried(self, changed: Mapping[str, Microseconds | None]) -> dict[str, int]:
        """Everyone carried from the newest snapshot before what changed to the end of their log, and through how many times."""
        if not changed:
            return {}
        jobs: list[Job] = []
        for id, at in changed.items():
            if at is not None:
                self.people[id].snapshots.forget_from(at)
        ids = list(changed)
        keys = [s.keys[-1] if (s := self.people[id].snapshots).keys else None for id in ids]
        timelines = self.log.timelines(ids, keys)
        for id, events in zip(ids, timelines, strict=True):
            person = self.people[id]
            job = Job(id, person.known, self.tip(id), events, person.key, _keeping(person.snapshots.times))
            jobs.append(job)
        self.replay.run(jobs)
        for job in jobs:
            person = self.people[job.id]
            if job.events:
                person.trouble = job.trouble
            for key, state in job.found:
                person.snapshots.add(key, state.packed())
            person.snapshots.thin()
            person.came = _went_on(person.came, changed[job.id], job.events)
        return {job.id: job.replayed for job in jobs}

    def folded(self, ids: Iterable[str]) -> None:
        """What is older than the horizon becomes one state in the log, and its snapshots go."""
        due = []
        for id in ids:
            snapshots = self.people[id].snapshots
            if not snapshots.times:
                continue
            k = snapshots.before(snapshots.times[-1] - self.replay.horizon)
            if k is not None and k > 0:
                due.append((id, k))
        if not due:
            return
        with self.log.together():
            for id, k in due:
                snapshots = self.people[id].snapshots
                self.log.fold(id, snapshots.keys[k], snapshots.packed[k])
        for id, k in due:
            self.people[id].snapshots.forget_before(k)

    def tip(self, id: str) -> State:
        """At the person's newest event."""
        person = self.people[id]
        if not person.snapshots.packed:
            return State(self.joints.unborn(person.known.inputs), None)
        return self.unpacked(person.snapshots.packed[-1])

    def state_at(self, id: str, time: Microseconds) -> State:
        """After everything that was true at this time or before; it leaves no snapshot.

        Errors: `ValueError` for a time before what is folded.
        """
        person = self.people[id]
        k = person.snapshots.before(time + 1)
        unborn = State(self.joints.unborn(person.known.inputs), None)
        if k is None and self.log.base(id) is not None:
            raise ValueError(
                f"Twin: what {quote(id, 60)} was before {time_text(person.snapshots.times[0])} is folded, being older than the "
                "horizon; ask for a later time"
            )
        state = unborn if k is None else self.unpacked(person.snapshots.packed[k])
        if k is not None and k == len(person.snapshots.keys) - 1:
            return state
        key = None if k is None else person.snapshots.keys[k]
        events = [one for one in self.log.timeline(id, key) if one.time <= time]
        if not events:
            return state
        job = Job(id, person.known, state, events, person.key)
        self.replay.run([job])
        return job.state

    def came(self, id: str, until: Microseconds) -> Came | None:
        """What came to a person up to a time beside the training; None where nothing says what that looked like, or nothing came.

        What is folded counts too. Up to their newest time it is kept, and goes on with it.
        """
        person, reference = self.people[id], self.who.bundle.reference
        if reference is None:
            return None
        if person.came and person.came[-1].time <= until:
            return person.came[-1]
        history = self.log.history(id)
        events = [one for one in history if one.time <= until]
        if not events:
            return None
        found = Came.of(reference, self.joints, person.known.inputs, events)
        if len(events) == len(history):
            person.came = found
        return found[-1]

    def unpacked(self, data: bytes) -> State:
        """A snapshot."""
        n, m = len(self.joints.states), len(self.joints.inputs)
        return State.unpacked(data, n, m, n + self.replay.filtering.model.personal)


def _went_on(came: list[Came], at: Microseconds | None, events: Sequence[Timed]) -> list[Came]:
    """What is kept of a person after their log changed from a time on, whose events now are these; nothing if too late."""
    kept = [one for one in came if one.time < (NEVER if at is None else at)]
    later = [one for one in events if kept and one.time > kept[-1].time]
    if not kept or kept[-1].begins_anew(later) or (came[-1].dosed and not kept[-1].dosed):
        return []
    return [*kept, *kept[-1].followed(later)][-KEPT:]


def _keeping(there: list[Microseconds]) -> Callable[[list[Microseconds]], set[int]]:
    """Which of new times are worth a snapshot beside those that are there."""

    def keep(times: list[Microseconds]) -> set[int]:
        before = [time for time in there if not times or time < times[0]]
        return {k - len(before) for k in thinned([*before, *times]) if k >= len(before)}

    return keep
