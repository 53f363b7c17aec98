"""People carried down their canonical events, block by block, from a snapshot and what comes after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hybrid import HybridModel, Mesh, SimulationError, Solver
from hybrid.filters import Belief, Filter, Followed, Innovation, starting_belief
from hybrid.filters.flow import seen
from hybrid.filters.sigma_points import halves, points
from hybrid.threads import few_threads
from twin.blocks import Columns, Move, moves, stacked
from twin.clock import Microseconds
from twin.joining import Course, Group, Joints, Piece
from twin.log.canonical import Key, Timed
from twin.people import Known
from twin.snapshots import Believed, State

_FAILS = (ValueError, ArithmeticError, SimulationError, torch.linalg.LinAlgError)


@dataclass
class Job:
    """One person to be carried from `state` down `events`; `key`, a number of their own, for filters that draw.

    It ends with `state` after the last event, `found`: those of the states after each time that `keep` asks for, with the
    canonical key of what was last, `replayed` how many times, and `trouble` in a sentence where a prediction diverged.
    """

    id: str
    known: Known
    state: State
    events: Sequence[Timed]
    key: int = 0
    keep: Callable[[list[Microseconds]], set[int]] = field(default=lambda times: set())
    found: list[tuple[Key, State]] = field(default_factory=list)
    keys: dict[Microseconds, Key] = field(default_factory=dict)
    replayed: int = 0
    trouble: str | None = None


@dataclass(frozen=True)
class Seen:
    """What a measurement would be of the people of a block: `mean` and `variance` (M, N, p), noise included."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Replay:
    """How a twin's people are carried: the model, a kind of filter, what it is told, and the size of a block."""

    model: HybridModel
    joints: Joints
    filter: type[Filter]
    solver: Solver
    drift: float | None
    floor: dict[str, float] | None
    horizon: Microseconds
    block: int

    def run(self, jobs: Sequence[Job]) -> None:
        """Every job to its end. Law: a job's states are the same, to the bit, whichever jobs stand beside it."""
        # those with as much to do beside each other: a block lasts as long as its longest
        for job in jobs:
            job.replayed = len({one.time for one in job.events})
        order = sorted((job for job in jobs if job.events), key=lambda job: job.replayed)
        for k in range(0, len(order), self.block - 1):
            self._carried(order[k : k + self.block - 1])

    def led(self, people: Sequence[tuple[Known, State, Microseconds, int]]) -> Seen:
        """What would be measured of people at a time of each, not before their states: these stay as they are.

        At the time of a state itself that is before what arrives then.
        """
        parts = [people[k : k + self.block - 1] for k in range(0, len(people), self.block - 1)]
        found = [self._led(part) for part in parts]
        return Seen(torch.cat([f.mean for f in found], 1), torch.cat([f.variance for f in found], 1))

    def _led(self, people: Sequence[tuple[Known, State, Microseconds, int]]) -> Seen:
        plans = []
        for known, state, time, _ in people:
            held = state.belief is not None and state.belief.held is not None
            pieces = () if held or time <= state.course.time else self.joints.until(state.course, time, known.mesh)
            reached = Group(pieces, (), replace(state.course, time=time))
            plans.append(moves([reached], state, (), self.horizon) if pieces else [])
        everyone, states = [k for k, _, _, _ in people], [s for _, s, _, _ in people]
        with torch.no_grad(), few_threads(self._elements):
            columns = Columns.of(self.model, plans, self.block, tuple(_inputs(s.course) for s in states))
            belief, filter = self._block(everyone, states, [key for _, _, _, key in people])
            for t in range(len(columns.dt)):
                after = filter.predict(replace(belief, time=columns.start[t]), columns.interval(t))
                # who diverges on the way is shown where they were
                lost = ~torch.isfinite(after.mean).all(-1).all(0)
                belief = _chosen(lost, belief, after)
            inputs = columns.inputs[-1] if len(columns.dt) else self._held(states, belief)
            return self._seen(filter.people, belief, inputs, len(people))

    def _seen(self, people: Followed, belief: Belief, inputs: Tensor, N: int) -> Seen:
        """By sigma points through the observation: exact where that is linear in the state."""
        predicted, odd, even = halves(seen(people, points(belief.mean, belief.root)))
        noise = self.model.noise.variance(predicted[:, :, None], belief.x[:, :, None], inputs[None, :, None])[:, :, 0]
        variance = odd.square().sum(-1) + even.square().sum(-1) + noise
        return Seen(predicted[:, :N], variance[:, :N])

    def _held(self, states: Sequence[State], belief: Belief) -> Tensor:  # (B, m)
        rows = [_inputs(s.course) for s in states]
        rows += [rows[0]] * (self.block - len(rows))
        return torch.tensor(rows).to(belief.mean).reshape(self.block, len(self.joints.inputs))

    def _carried(self, jobs: list[Job]) -> None:
        """A block of people, down all of their events; who is held is carried on from where they start anew."""
        for job in jobs:
            job.found, job.keys = [], {one.time: one.key for one in job.events}
        waiting = [(job, self._groups(job, job.state.course, job.events)) for job in jobs]
        while waiting:
            waiting = self._once(waiting)

    def _groups(self, job: Job, course: Course, events: Sequence[Timed]) -> list[Group]:
        return self.joints.groups(course, events, job.known.mesh)

    def _once(self, work: list[tuple[Job, list[Group]]]) -> list[tuple[Job, list[Group]]]:
        """Once down these groups; what is left to do of those who diverged on the way."""
        starts = self._starts
        states = [job.state for job, _ in work]
        plans = [moves(groups, job.state, starts, self.horizon) for job, groups in work]
        run = _Run(self, work, plans)
        with torch.no_grad(), few_threads(self._elements):
            run.go()
        left: list[tuple[Job, list[Group]]] = []
        for i, (job, groups) in enumerate(work):
            upto = run.lost.get(i)
            self._settled(job, groups if upto is None else groups[: upto + 1], states[i], run.passed[i])
            if upto is None:
                continue
            last = groups[upto]
            if job.state.belief is None:  # could not start: the next event may
                course = last.course
                unused = sum(int((row == row).sum()) for row in last.rows) + sum(amount > 0.0 for amount in course.arriving)
                still = (0.0,) * len(course.arriving)
                course = replace(course, origin=None, arriving=still, missed=course.missed + unused)
                job.state = State(course, None)
                job.found[-1] = (job.found[-1][0], job.state)
                events = [one for one in job.events if one.time > last.course.time]
                following = self._groups(job, course, events)
            else:
                following = groups[upto + 1 :]
            if following:
                left.append((job, following))
        return left

    def _settled(
        self, job: Job, groups: list[Group], before: State, passed: dict[int, Believed]
    ) -> None:
        """The states after each group, with the belief that the filter had or still has."""
        keep = job.keep([group.course.time for group in groups])
        belief = before.belief
        for k, group in enumerate(groups):
            belief = passed.get(k, belief)
            if k in keep or k == len(groups) - 1:
                job.state = State(group.course, belief)
                job.found.append((job.keys[group.course.time], job.state))

    @cached_property
    def _starts(self) -> tuple[bool, ...]:
        return self.model.starts_from

    @cached_property
    def _anyone(self) -> Followed:
        """A block of people of a model that reads no covariates."""
        return self._block_of({})

    @cached_property
    def _elements(self) -> int:
        return self.model.members * self.block * (len(self.joints.states) + self.model.personal)

    def _block(self, known: list[Known], states: list[State], keys: list[int]) -> tuple[Belief, Filter]:
        belief, covariates = stacked(self.model, known, states, self.block)
        return belief, self._filter(covariates, keys)

    def _filter(self, covariates: dict[str, Tensor], keys: list[int]) -> Filter:
        followed = self._block_of(covariates) if covariates else self._anyone
        drawn = {}
        if "keys" in getattr(self.filter, "__dataclass_fields__", {}):
            drawn = {"keys": torch.tensor([*keys, *[0] * (self.block - len(keys))], device=self.model.device)}
        made: Filter = self.filter(followed, **drawn)  # type: ignore[call-arg]  # members are dataclasses
        return made

    def _block_of(self, covariates: dict[str, Tensor]) -> Followed:
        return Followed.of(
            self.model,
            self.block,
            covariates=covariates,
            mesh=Mesh(1.0),  # never asked: everyone is cut by a mesh of their own
            solver=self.solver,
            drift=self.drift,
            floor=self.floor,
        )


def _inputs(course: Course) -> tuple[float, ...]:
    """Those that hold; 0 for one that is not told yet, of somebody who rests."""
    return tuple(0.0 if v != v else v for v in course.inputs)


def _chosen(rows: Tensor, yes: Belief, no: Belief) -> Belief:
    """Of some people the one belief, of the others the other."""
    at = rows[:, None]
    particles = no.particles
    if particles is not None and yes.particles is not None:
        particles = torch.where(at[..., None], yes.particles, particles)
    mean, root = torch.where(at, yes.mean, no.mean), torch.where(at[..., None], yes.root, no.root)
    return replace(no, mean=mean, root=root, particles=particles)


@dataclass
class _Tally:
    """What is counted beside a block's beliefs: (M, B) and (B,)."""

    evidence: Tensor
    nis: Tensor
    total: Tensor
    seen: Tensor
    counted: Tensor

    @staticmethod
    def of(states: Sequence[State], M: int, size: int, like: Tensor) -> "_Tally":
        b = [s.belief for s in states]
        zero = np.zeros(M)
        columns = [[zero if x is None else getattr(x, name) for x in b] for name in ("evidence", "nis", "total")]
        rest = size - len(states)
        both = [torch.from_numpy(np.stack([*c, *[zero] * rest], 1)).to(like) for c in columns]
        counts = [[0 if x is None else getattr(x, name) for x in b] + [0] * rest for name in ("seen", "counted")]
        return _Tally(*both, *(torch.tensor(c, device=like.device) for c in counts))

    def plus(self, found: Innovation) -> "_Tally":
        some = found.count > 0
        return _Tally(
            self.evidence + torch.where(some, found.log_likelihood, 0.0),
            torch.where(some, found.nis, self.nis),
            self.total + torch.where(some, found.nis, 0.0),
            torch.where(some, found.count.long(), self.seen),
            self.counted + found.count.long(),
        )

    def fresh(self, rows: Tensor) -> "_Tally":
        """Nothing counted yet, of some people."""
        each = (self.evidence, self.nis, self.total, self.seen, self.counted)
        return _Tally(*(torch.where(rows, torch.zeros_like(v), v) for v in each))


@dataclass
class _Run:
    """One way of a block down its columns. `passed`: everyone's belief after each group, as far as it is asked for; `lost`: in
    which group somebody diverged.
    """

    replay: Replay
    work: list[tuple[Job, list[Group]]]
    plans: list[list[Move]]
    passed: list[dict[int, Believed]] = field(default_factory=list)
    lost: dict[int, int] = field(default_factory=dict)

    def go(self) -> None:
        replay, jobs = self.replay, [job for job, _ in self.work]
        states = [job.state for job in jobs]
        self.passed = [{} for _ in jobs]
        self.columns = Columns.of(replay.model, self.plans, replay.block, tuple(_inputs(s.course) for s in states))
        self.restarts = [0 if s.belief is None else s.belief.restarts for s in states]
        self.belief, self.filter = replay._block([job.known for job in jobs], states, [job.key for job in jobs])
        self.tally = _Tally.of(states, replay.model.members, replay.block, self.belief.mean)
        self.good: list[tuple[Belief, _Tally, Microseconds] | None] = [
            None if s.belief is None or s.belief.held is not None else (self.belief, self.tally, s.course.time) for s in
        states ]
        kept = [job.keep([g.course.time for g in groups]) | {len(groups) - 1} for job, groups in self.work]
        columns = self.columns
        for t in range(len(columns.dt)):
            while not self._stepped(t):  # again, with who diverged at rest: the others as if they had not been there
                pass
            for i in range(len(jobs)):
                g = columns.group[t][i]
                if g < 0:
                    continue
                self.good[i] = (self.belief, self.tally, self.work[i][1][g].course.time)
                if g in kept[i]:
                    self.passed[i][g] = self._row(i, self.belief, self.tally, None)

    def _stepped(self, t: int) -> bool:
        """Everyone's step t, if nobody diverges in it."""
        try:
            belief, tally = self._step(t)
        except _FAILS as error:
            whose = self._whose(t)
            if not whose:
                raise
            for i in whose:
                self._lose(i, t, str(error))
            return False
        bad = (~torch.isfinite(belief.mean).all(-1) | ~torch.isfinite(belief.root).all(-1).all(-1)).any(0)
        bad = bad | ~torch.isfinite(tally.evidence).all(0)
        if bool(bad[: len(self.work)].any()):
            for i in torch.nonzero(bad[: len(self.work)])[:, 0].tolist():
                self._lose(i, t, None)
            return False
        self.belief, self.tally = belief, tally
        for i in torch.nonzero(self.columns.begins[t, : len(self.work)])[:, 0].tolist():
            self.restarts[i] += self.work[i][0].state.belief is not None
        return True

    def _step(self, t: int) -> tuple[Belief, _Tally]:
        columns, belief, tally = self.columns, self.belief, self.tally
        rows = columns.begins[t]
        if bool(rows.any()):
            belief, tally = self._begun(t, rows), tally.fresh(rows)
        if bool((columns.dt[t] > 0).any() | (columns.jump[t] != 0).any()):
            belief = self.filter.predict(replace(belief, time=columns.start[t]), columns.interval(t))
        if not bool(torch.isnan(columns.y[t]).all()):
            belief, found = self.filter.update(belief, columns.y[t], inputs=columns.inputs[t])
            tally = tally.plus(found)
        return belief, tally

    def _begun(self, t: int, rows: Tensor) -> Belief:
        """The first beliefs of those who begin at step t, and the others'."""
        replay, jobs, columns = self.replay, [job for job, _ in self.work], self.columns
        known = [job.known for job in jobs] + [jobs[0].known] * (replay.block - len(jobs))
        like = self.belief.mean
        mean = torch.from_numpy(np.stack([k.mean for k in known], 1)).to(like)
        covariance = torch.from_numpy(np.stack([k.covariance for k in known], 1)).to(like)
        begun = starting_belief(
            self.filter.people,
            baseline=torch.where(rows[:, None], columns.baseline[t], torch.nan),
            personal=(mean, covariance),
            inputs=columns.inputs[t] if len(replay.joints.inputs) else None,
            spread=torch.tensor([k.spread for k in known]).to(like),
        )
        M = replay.model.members
        begun = replace(begun, mean=begun.mean.expand(M, -1, -1), root=begun.root.expand(M, -1, -1, -1))
        nothing = columns.y[t] * torch.nan
        begun, _ = self.filter.update(begun, nothing, inputs=columns.inputs[t])  # a filter of particles draws them here
        before = self.belief
        if begun.particles is not None and before.particles is None:
            before = replace(before, particles=torch.zeros_like(begun.particles))
        return _chosen(rows, begun, before)

    def _whose(self, t: int) -> list[int]:
        """Who stops a step that raises: each alone, everyone else at rest."""
        columns, found = self.columns, []
        busy = [i for i in range(len(self.work)) if any(row[i] >= 0 for row in columns.group[t:])]
        for i in busy:
            self.columns = _copied(columns)
            for j in range(len(self.work)):
                if j != i:
                    self.columns.rest(j, t)
            try:
                self._step(t)
            except _FAILS:
                found.append(i)
            finally:
                self.columns = columns
        return found

    def _lose(self, i: int, t: int, why: str | None) -> None:
        """Person i is held where they were last good, from step t on."""
        columns, job = self.columns, self.work[i][0]
        at = next(g for g in (row[i] for row in columns.group[t:]) if g >= 0)
        self.lost[i] = at
        job.trouble = why
        columns.rest(i, t)
        good = self.good[i]
        if good is not None:
            belief, tally, time = good
            self.passed[i][at] = self._row(i, belief, tally, time)
            self.belief = _chosen(_only(i, self.belief.mean), belief, self.belief)
        else:
            self.belief = _chosen(_only(i, self.belief.mean), _benign(self.belief), self.belief)

    def _row(self, i: int, belief: Belief, tally: _Tally, held: Microseconds | None) -> Believed:
        def of(value: Tensor) -> np.ndarray:
            return value.detach().cpu().numpy().astype(np.float64).copy()

        return Believed(
            of(belief.mean[:, i]),
            of(belief.root[:, i]),
            of(tally.evidence[:, i]),
            of(tally.nis[:, i]),
            of(tally.total[:, i]),
            int(tally.seen[i]),
            int(tally.counted[i]),
            held,
            self.restarts[i],
            None if belief.particles is None else of(belief.particles[:, i]),
        )


def _only(i: int, like: Tensor) -> Tensor:  # (B,) bool
    return torch.arange(like.shape[1], device=like.device) == i


def _benign(belief: Belief) -> Belief:
    """Numbers with which a row can rest."""
    eye = torch.eye(belief.root.shape[-1], dtype=belief.root.dtype, device=belief.root.device)
    cloud = None if belief.particles is None else torch.zeros_like(belief.particles)
    return replace(belief, mean=torch.zeros_like(belief.mean), root=eye.expand_as(belief.root), particles=cloud)


def _copied(columns: Columns) -> Columns:
    return replace(
        columns,
        **{name: getattr(columns, name).clone() for name in ("dt", "jump", "y", "baseline", "begins")},
        group=[list(row) for row in columns.group],
    )


__all__ = ["Job", "Piece", "Replay", "Seen"]
