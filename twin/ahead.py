"""What a measurement would be, now or later: people led on from what is believed of them, which it leaves as it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid.filters import Belief, Followed
from hybrid.filters.flow import seen
from hybrid.filters.sigma_points import halves, points
from hybrid.threads import few_threads
from twin.blocks import Columns, moves
from twin.clock import Microseconds
from twin.filtering import Filtering, chosen, inputs_of
from twin.joining import Group, Joints
from twin.people import Known
from twin.snapshots import State


@dataclass(frozen=True)
class Seen:
    """What a measurement would be of the people of a block: `mean` and `variance` (M, N, p), noise included."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Ahead:
    """How measurements of a twin's people are foreseen."""

    filtering: Filtering
    joints: Joints

    def led(self, people: Sequence[tuple[Known, State, Microseconds, int]]) -> Seen:
        """What would be measured of people at a time of each, not before their states: these stay as they are.

        At the time of a state itself that is before what arrives then.
        """
        parts = [people[k : k + self.filtering.block - 1] for k in range(0, len(people), self.filtering.block - 1)]
        found = [self._led(part) for part in parts]
        return Seen(torch.cat([f.mean for f in found], 1), torch.cat([f.variance for f in found], 1))

    def _led(self, people: Sequence[tuple[Known, State, Microseconds, int]]) -> Seen:
        plans = []
        for known, state, time, _ in people:
            held = state.belief is not None and state.belief.held is not None
            pieces = () if held or time <= state.course.time else self.joints.until(state.course, time, known.mesh)
            reached = Group(pieces, (), replace(state.course, time=time))
            plans.append(moves([reached], state, (), 0) if pieces else [])
        everyone, states = [k for k, _, _, _ in people], [s for _, s, _, _ in people]
        with torch.inference_mode(), few_threads(self.filtering.elements):
            columns = Columns.of(self.filtering.model, plans, self.filtering.block, tuple(inputs_of(s.course) for s in states))
            belief, filter = self.filtering.of(everyone, states, [key for _, _, _, key in people])
            for t in range(len(columns.dt)):
                after = filter.predict(replace(belief, time=columns.start[t]), columns.interval(t))
                # who diverges on the way is shown where they were
                lost = ~torch.isfinite(after.mean).all(-1).all(0)
                belief = chosen(lost, belief, after)
            inputs = columns.inputs[-1] if len(columns.dt) else self._held(states, belief)
            return self._seen(filter.people, belief, inputs, len(people))

    def _seen(self, people: Followed, belief: Belief, inputs: Tensor, N: int) -> Seen:
        """By sigma points through the observation: exact where that is linear in the state."""
        predicted, odd, even = halves(seen(people, points(belief.mean, belief.root)))
        noise = self.filtering.model.noise.variance(predicted[:, :, None], belief.x[:, :, None], inputs[None, :, None])[:, :, 0]
        variance = odd.square().sum(-1) + even.square().sum(-1) + noise
        return Seen(predicted[:, :N], variance[:, :N])

    def _held(self, states: Sequence[State], belief: Belief) -> Tensor:  # (B, m)
        rows = [inputs_of(s.course) for s in states]
        rows += [rows[0]] * (self.filtering.block - len(rows))
        return torch.tensor(rows).to(belief.mean).reshape(self.filtering.block, len(self.joints.inputs))
