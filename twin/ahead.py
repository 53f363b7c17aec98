"""What a measurement would be, now or later: people led on from what is believed of them, which it leaves as it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid.filters import Belief
from hybrid.filters.flow import seen
from hybrid.filters.sigma_points import halves, points
from hybrid.threads import few_threads
from twin.blocks import Columns, Move, moves
from twin.clock import Microseconds
from twin.descent import FAILS
from twin.filtering import Filtering, Seated, chosen, inputs_of
from twin.joining import Group, Joints
from twin.people import Known
from twin.snapshots import State


@dataclass(frozen=True)
class Seen:
    """What a measurement would be of people: `mean` and `variance` (M, N, p), noise included · `noise` (M, N, p), the variance of
    measuring alone, of a value that is not below 0 · `lost` (N,): whose prediction diverges on the way, or beyond any number;
    of them it is what would be measured where they were led from.
    """

    mean: Tensor
    variance: Tensor
    noise: Tensor
    lost: Tensor

    @property
    def finite(self) -> Tensor:  # (N,) bool
        """Of whom it is a number."""
        return torch.isfinite(self.mean + self.variance).all(-1).all(0)

    def of(self, k: int) -> "Seen":
        """Of the k-th person alone."""
        mean, variance, noise = (v[:, k : k + 1] for v in (self.mean, self.variance, self.noise))
        return Seen(mean, variance, noise, self.lost[k : k + 1])

    @staticmethod
    def joined(parts: Sequence["Seen"]) -> "Seen":
        """Of all their people."""
        mean, variance, noise = (torch.cat([getattr(p, name) for p in parts], 1) for name in ("mean", "variance", "noise"))
        return Seen(mean, variance, noise, torch.cat([p.lost for p in parts]))


Led = tuple[Known, State, Microseconds, int]  # who, from where, up to when, and a number of their own


@dataclass(frozen=True)
class Ahead:
    """How measurements of a twin's people are foreseen."""

    filtering: Filtering
    joints: Joints

    def led(self, people: Sequence[Led]) -> Seen:
        """What would be measured of people at a time of each, not before their states: these stay as they are.

        At the time of a state itself that is before what arrives then.
        """
        parts = [people[k : k + self.filtering.block - 1] for k in range(0, len(people), self.filtering.block - 1)]
        return Seen.joined([self._led(part) for part in parts])

    def _led(self, people: Sequence[Led]) -> Seen:
        plans = self._plans(people)
        try:
            return self._reached(people, plans)
        except FAILS:
            if not any(plans):
                raise
            if len(people) > 1:  # who it is: each alone, the others as if they had not been there
                return Seen.joined([self._led([one]) for one in people])
            found = self._reached(people, [[]])
            return replace(found, lost=torch.ones_like(found.lost))

    def _plans(self, people: Sequence[Led]) -> list[list[Move]]:
        plans = []
        for known, state, time, _ in people:
            held = state.belief is not None and state.belief.held is not None
            pieces = () if held or time <= state.course.time else self.joints.until(state.course, time, known.mesh)
            reached = Group(pieces, (), replace(state.course, time=time))
            plans.append(moves([reached], state, (), 0) if pieces else [])
        return plans

    def _reached(self, people: Sequence[Led], plans: list[list[Move]]) -> Seen:
        everyone, states = [k for k, _, _, _ in people], [s for _, s, _, _ in people]
        with torch.inference_mode(), few_threads(0):  # one thread: several share an array anywhere, and round ends otherwise
            columns = Columns.of(self.filtering.model, plans, self.filtering.block, tuple(inputs_of(s.course) for s in states))
            begin, filter = self.filtering.of(everyone, states, [key for _, _, _, key in people])
            belief, lost = begin, torch.zeros_like(begin.time, dtype=torch.bool)
            for t in range(len(columns.dt)):
                after = filter.predict(replace(belief, time=columns.start[t]), columns.interval(t))
                lost = lost | ~(torch.isfinite(after.mean).all(-1) & torch.isfinite(after.root).all(-1).all(-1)).all(0)
                belief = chosen(lost, begin, after)
            inputs = columns.inputs[-1] if len(columns.dt) else self._held(states, belief)
            found = self._seen(filter, belief, inputs, lost)
            beyond = ~found.finite
            if bool(beyond.any()):
                found = self._seen(filter, chosen(beyond, begin, belief), inputs, lost | beyond)
            N = len(people)
            return Seen(found.mean[:, :N], found.variance[:, :N], found.noise[:, :N], found.lost[:N])

    def _seen(self, filter: Seated, belief: Belief, inputs: Tensor, lost: Tensor) -> Seen:
        """By sigma points through the observation: exact where that is linear in the state."""
        belief, inputs = filter.spread(belief), filter.rows(inputs)

        def measuring(y: Tensor) -> Tensor:
            head = self.filtering.model.noise
            return head.variance(y[:, :, None], belief.x[:, :, None], inputs[None, :, None])[:, :, 0]

        predicted, odd, even = halves(seen(filter.people, points(belief.mean, belief.root), inputs[None, :, None]))
        noise = measuring(predicted)
        least = measuring(predicted.clamp(min=0.0)) if bool((predicted < 0.0).any()) else noise
        variance = odd.square().sum(-1) + even.square().sum(-1) + noise
        return Seen(filter.first(predicted, 1), filter.first(variance, 1), filter.first(least, 1), lost)

    def _held(self, states: Sequence[State], belief: Belief) -> Tensor:  # (B, m)
        rows = [inputs_of(s.course) for s in states]
        rows += [rows[0]] * (self.filtering.block - len(rows))
        return torch.tensor(rows).to(belief.mean).reshape(self.filtering.block, len(self.joints.inputs))
