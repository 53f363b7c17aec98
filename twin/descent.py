"""One way of a block of people down its columns, step by step, and who is lost on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from hybrid import SimulationError
from hybrid.filters import Belief, Innovation
from twin.blocks import Columns, Move
from twin.clock import Microseconds
from twin.filtering import Filtering, chosen, inputs_of
from twin.joining import Group
from twin.log.canonical import Key, Timed
from twin.people import Known
from twin.snapshots import Believed, State

FAILS = (ValueError, ArithmeticError, SimulationError, torch.linalg.LinAlgError)


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


@dataclass
class Tally:
    """What is counted beside a block's beliefs: (M, B) and (B,)."""

    evidence: Tensor
    nis: Tensor
    total: Tensor
    seen: Tensor
    counted: Tensor

    @staticmethod
    def of(states: Sequence[State], M: int, size: int, like: Tensor) -> "Tally":
        b = [s.belief for s in states]
        zero = np.zeros(M)
        columns = [[zero if x is None else getattr(x, name) for x in b] for name in ("evidence", "nis", "total")]
        rest = size - len(states)
        both = [torch.from_numpy(np.stack([*c, *[zero] * rest], 1)).to(like) for c in columns]
        counts = [[0 if x is None else getattr(x, name) for x in b] + [0] * rest for name in ("seen", "counted")]
        return Tally(*both, *(torch.tensor(c, device=like.device) for c in counts))

    def plus(self, found: Innovation) -> "Tally":
        count = found.count[0].long()  # what is measured is measured for all members
        some = count > 0
        return Tally(
            self.evidence + torch.where(some, found.log_likelihood, 0.0),
            torch.where(some, found.nis, self.nis),
            self.total + torch.where(some, found.nis, 0.0),
            torch.where(some, count, self.seen),
            self.counted + count,
        )

    def fresh(self, rows: Tensor) -> "Tally":
        """Nothing counted yet, of some people."""
        each = (self.evidence, self.nis, self.total, self.seen, self.counted)
        return Tally(*(torch.where(rows, torch.zeros_like(v), v) for v in each))


@dataclass
class Descent:
    """One way of a block down its columns. `passed`: everyone's belief after each group, as far as it is asked for; `lost`: in
    which group somebody diverged.
    """

    filtering: Filtering
    work: list[tuple[Job, list[Group]]]
    plans: list[list[Move]]
    passed: list[dict[int, Believed]] = field(default_factory=list)
    lost: dict[int, int] = field(default_factory=dict)

    def go(self) -> None:
        filtering, jobs = self.filtering, [job for job, _ in self.work]
        states = [job.state for job in jobs]
        self.passed = [{} for _ in jobs]
        self.columns = Columns.of(filtering.model, self.plans, filtering.block, tuple(inputs_of(s.course) for s in states))
        self.restarts = [0 if s.belief is None else s.belief.restarts for s in states]
        self.belief, self.filter = filtering.of([job.known for job in jobs], states, [job.key for job in jobs])
        self.tally = Tally.of(states, filtering.model.members, filtering.block, self.belief.mean)
        self.good: list[tuple[Belief, Tally, Microseconds] | None] = [
            None if s.belief is None or s.belief.held is not None else (self.belief, self.tally, s.course.time) for s in states
        ]
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
        except FAILS as error:
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
        self.belief, self.tally = _plain(belief), tally
        for i in torch.nonzero(self.columns.begins[t, : len(self.work)])[:, 0].tolist():
            self.restarts[i] += self.work[i][0].state.belief is not None
        return True

    def _step(self, t: int) -> tuple[Belief, Tally]:
        columns, belief, tally = self.columns, self.belief, self.tally
        rows = columns.begins[t]
        if bool(rows.any()):
            belief, tally = self._begun(t, rows), tally.fresh(rows)
        if bool((columns.dt[t] > 0).any() | (columns.jump[t] != 0).any()):
            belief = self.filter.predict(replace(belief, time=columns.start[t]), columns.interval(t))
        if not bool(torch.isnan(columns.y[t]).all()):
            belief, found = self.filter.update(belief, columns.y[t], columns.inputs[t])
            tally = tally.plus(found)
        return belief, tally

    def _begun(self, t: int, rows: Tensor) -> Belief:
        """The first beliefs of those who begin at step t, and the others'."""
        filtering, jobs, columns = self.filtering, [job for job, _ in self.work], self.columns
        known = [job.known for job in jobs] + [jobs[0].known] * (filtering.block - len(jobs))
        like = self.belief.mean
        mean = torch.from_numpy(np.stack([k.mean for k in known], 1)).to(like)
        covariance = torch.from_numpy(np.stack([k.covariance for k in known], 1)).to(like)
        begun = self.filter.begun(
            torch.where(rows[:, None], columns.baseline[t], torch.nan),
            mean,
            covariance,
            columns.inputs[t] if len(filtering.model.backbone.inputs) else None,
            torch.tensor([k.spread for k in known]).to(like),
        )
        M = filtering.model.members
        begun = replace(begun, mean=begun.mean.expand(M, -1, -1), root=begun.root.expand(M, -1, -1, -1))
        nothing = columns.y[t] * torch.nan
        begun, _ = self.filter.update(begun, nothing, columns.inputs[t])  # a filter of particles draws them here
        before = self.belief
        if begun.particles is not None and before.particles is None:
            before = replace(before, particles=torch.zeros_like(begun.particles))
        return chosen(rows, begun, before)

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
            except FAILS:
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
            self.belief = chosen(_only(i, self.belief.mean), belief, self.belief)
        else:
            self.belief = chosen(_only(i, self.belief.mean), _benign(self.belief), self.belief)

    def _row(self, i: int, belief: Belief, tally: Tally, held: Microseconds | None) -> Believed:
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


def _plain(belief: Belief) -> Belief:
    """In memory as a snapshot comes back: in another layout sums are taken in another order, and round otherwise."""
    cloud = belief.particles
    if belief.mean.is_contiguous() and belief.root.is_contiguous() and (cloud is None or cloud.is_contiguous()):
        return belief
    cloud = None if cloud is None else cloud.contiguous()
    return replace(belief, mean=belief.mean.contiguous(), root=belief.root.contiguous(), particles=cloud)


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
