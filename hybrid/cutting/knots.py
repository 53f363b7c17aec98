"""The times at which records must be cut, of many people at once: their starts, doses, infusion ends, inputs and observations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hybrid.cutting.given_rows import of_record
from hybrid.cutting.mesh import Mesh
from hybrid.many_rows import Rows
from hybrid.schedules.dose import Dose, Number, as_float, as_time

_PLAIN = {float, int}


@dataclass(frozen=True)
class Moments:
    """Times of people, (L,) each: `who`, `at`, and `own`, 0 for a number and else the place + 1 in `moving`, the tensors."""

    who: np.ndarray
    at: np.ndarray
    own: np.ndarray
    moving: tuple[Tensor, ...] = ()

    @staticmethod
    def of(who: np.ndarray, times: Sequence[Number]) -> "Moments":
        """These numbers, some of them tensors."""
        found = [k for k, t in enumerate(times) if isinstance(t, Tensor)] if not set(map(type, times)) <= _PLAIN else []
        own = np.zeros(len(times), dtype=np.int64)
        if not found:
            return Moments(who, np.array(times, dtype=np.float64), own)
        own[found] = np.arange(len(found)) + 1
        return Moments(who, np.array([as_float(t) for t in times]), own, tuple(as_time(times[k]) for k in found))

    @staticmethod
    def plain(who: np.ndarray, at: np.ndarray) -> "Moments":
        """Numbers alone."""
        return Moments(who, at, np.zeros(len(who), dtype=np.int64))

    def chosen(self, there: np.ndarray) -> "Moments":
        """Those alone, with all tensors."""
        return replace(self, who=self.who[there], at=self.at[there], own=self.own[there])


@dataclass(frozen=True)
class Given:
    """The doses that anything is read of, D of all people, in the order of their schedules.

    `who` (D,) and `state` (D,) by number, `bolus` (D,), when they begin and, infusions, when they end (`infused`, their places
    among the doses); `doses` themselves.
    """

    doses: list[Dose]
    who: np.ndarray
    state: np.ndarray
    bolus: np.ndarray
    begins: Moments
    ends: Moments

    @property
    def infused(self) -> np.ndarray:
        """The places of the infusions."""
        return np.flatnonzero(~self.bolus)

    @staticmethod
    def of(
        arriving: Sequence[Sequence[Dose]],  # N × (D_i,), as `Schedule.arriving` has them
        end: np.ndarray,  # (N,)
        states: tuple[str, ...],
    ) -> "Given":
        """What arrives before each person's last observation: after that nothing is read."""
        doses = [d for own in arriving for d in own]
        who = np.repeat(np.arange(len(arriving)), [len(own) for own in arriving])
        numbers = [[d.time for d in doses], [d.lag for d in doses], [d.duration for d in doses]]
        if all(set(map(type, column)) <= _PLAIN for column in numbers):
            time, lag, duration = np.array(numbers, dtype=np.float64)
            begins, bolus = Moments.plain(who, time + lag), duration == 0.0
            ends = Moments.plain(who[~bolus], (begins.at + duration)[~bolus])
        else:
            bolus = np.array([d.bolus for d in doses])
            begins = Moments.of(who, [d.arrival for d in doses])
            infusions = [d for d, at_once in zip(doses, bolus.tolist(), strict=True) if not at_once]
            ends = Moments.of(who[~bolus], [d.arrival + d.duration for d in infusions])
        there = begins.at < end[who]
        number = {name: k for k, name in enumerate(states)}
        state = np.array([number[d.state] for d in doses], dtype=np.int64)
        if not there.all():
            doses = [d for d, t in zip(doses, there.tolist(), strict=True) if t]
            ends = ends.chosen(there[~bolus])
            who, state, bolus, begins = who[there], state[there], bolus[there], begins.chosen(there)
        return Given(doses, who, state, bolus, begins, ends)


@dataclass(frozen=True)
class Knots:
    """Each person's times, ascending, one row for each person.

    A plain time has one knot, shared by all equal ones. A time that carries a gradient has a knot of its own behind it,
    at first a segment of length zero away: when a dose moves, the observation at the same time must not.
    `at` (J,) · `moving`, the tensors, and `own` (J,), 0 or the place + 1 among them · `jump` (J,) whether the right-hand side
    may begin anew there.
    """

    rows: Rows
    at: np.ndarray
    own: np.ndarray
    moving: tuple[Tensor, ...]
    jump: np.ndarray

    @staticmethod
    def of(people: int, parts: Sequence[tuple[Moments, bool]]) -> tuple["Knots", list[np.ndarray]]:
        """The knots of several groups of times, each with whether it is a jump, and the knot of every one of these times."""
        who, at = (np.concatenate([getattr(m, name) for m, _ in parts]) for name in ("who", "at"))
        before, own = 0, []
        moving: tuple[Tensor, ...] = ()
        for m, _ in parts:
            own.append(np.where(m.own > 0, m.own + before, 0))
            before += len(m.moving)
            moving += m.moving
        tag = np.concatenate(own)
        order = np.lexsort((tag, at, who) if moving else (at, who))
        who, at, tag = who[order], at[order], tag[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (who[1:] != who[:-1]) | (at[1:] != at[:-1]) | (tag[1:] != tag[:-1])
        first = np.flatnonzero(new)
        jump = np.repeat([j for _, j in parts], [len(m.at) for m, _ in parts])[order]
        of = np.empty(len(order), dtype=np.int64)
        of[order] = np.cumsum(new) - 1
        rows = Rows(np.bincount(who[first], minlength=people))
        knots = Knots(rows, at[first], tag[first], moving, np.logical_or.reduceat(jump, first))
        return knots, np.split(of, np.cumsum([len(m.at) for m, _ in parts])[:-1])

    @property
    def stretches(self) -> np.ndarray:  # (S,)
        """The knots that end a stretch: all but each person's first."""
        return np.flatnonzero(self.rows.place > 0)

    def parts(self, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:  # (S,), (F,)
        """In how many parts the mesh cuts each stretch, and at which fractions of it."""
        # every step or bend of an input starts the fast rates anew, as a dose does
        last = self.at[np.maximum.accumulate(np.where(self.jump, np.arange(len(self.at)), 0))]
        ends = self.stretches
        begin, end = self.at[ends - 1] - last[ends - 1], self.at[ends] - last[ends - 1]
        try:
            return mesh.parts(begin, end)
        except ValueError:
            for k in range(len(ends)):
                try:
                    mesh.parts(begin[k : k + 1], end[k : k + 1])
                except ValueError as error:
                    raise ValueError(of_record(int(self.rows.row[ends[k]]), len(self.rows.count), error)) from error
            raise

    def values(self) -> Tensor:  # (J,)
        """The times, with their gradients."""
        plain = torch.from_numpy(self.at)
        if not self.moving:
            return plain
        own = np.flatnonzero(self.own)
        chosen = torch.stack(self.moving)[torch.from_numpy(self.own[own] - 1)]
        return plain.index_put((torch.from_numpy(own),), chosen)
