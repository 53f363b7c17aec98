"""The unscented Kalman filter, continuous in time between measurements, in square-root form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.filters.contract import Belief, Filter, Followed, Innovation
from hybrid.filters.flow import carried, right_hand_side, seen
from hybrid.filters.gaussian import condition
from hybrid.filters.sigma_points import halves, points
from hybrid.filters.stepping import advance, corrected, deviation, measured
from hybrid.propagate import transition_root
from hybrid.triangular import tria
from physics.arguments import require_kind
from physics.glance import glance


@dataclass(frozen=True)
class UKF(Filter):
    """2z points of everyone, copies of them with states and η of their own, are carried by the solver and make the belief."""

    people: Followed

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_kind(self.people, Followed, "UKF: people", "Followed.of(model, people)")

    def predict(self, belief: Belief, interval: Interval) -> Belief:
        return advance(self.people, belief, interval, self._step, "UKF")

    def update(self, belief: Belief, y: Tensor, *, inputs: Tensor | None = None) -> tuple[Belief, Innovation]:
        y, u = measured(self.people, belief, y, inputs, "UKF")
        predicted, odd, even = halves(seen(self.people, points(belief.mean, belief.root)))
        noise = deviation(self.people, predicted, belief.x, u)
        return corrected(belief, condition(belief.mean, belief.root, y, predicted, odd, noise, beside=even))

    def _step(self, mean: Tensor, root: Tensor, interval: Interval) -> tuple[Tensor, Tensor]:
        """One step: the points flow, and then the noise of the step along the mean's path is added."""
        people, n = self.people, self.people.states
        mean = torch.cat([mean[..., :n] + interval.jump, mean[..., n:]], -1)
        before = points(mean, root)
        after = torch.cat([carried(people, before, interval), before[..., n:]], -1)
        end, odd, even = halves(after)
        R = self._driven(mean, end, interval)
        d = mean.shape[-1] - n
        R = torch.cat([R, R.new_zeros(*R.shape[:-2], d, R.shape[-1])], -2)
        return end, tria(torch.cat([odd, even, R], -1))

    def _driven(self, begin: Tensor, end: Tensor, interval: Interval) -> Tensor:  # (M, N, n, r)
        """A root of what the process noise of the step adds, by the slope at the middle of the mean's path."""
        people, n = self.people, self.people.states
        middle = 0.5 * (begin + end)
        x, u = middle[..., :n], 0.5 * (interval.u0 + interval.u1)[None]
        h = interval.dt[:, None]
        J = right_hand_side(people, middle[..., n:]).jacobian(x, u)
        _, R = transition_root(J * h[..., None], torch.diag_embed(people.driven(x) * h.sqrt()))
        return R
