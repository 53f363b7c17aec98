"""The unscented Kalman filter, continuous in time between measurements, in square-root form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.filters.contract import Belief, Filter, Followed, Innovation
from hybrid.filters.flow import carried, driven_root, seen
from hybrid.filters.gaussian import condition
from hybrid.filters.sigma_points import halves, points
from hybrid.filters.stepping import Moved, advance, corrected, deviation, measured
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
        return advance(self.people, belief, interval, self.step, "UKF")

    def update(self, belief: Belief, y: Tensor, *, inputs: Tensor | None = None) -> tuple[Belief, Innovation]:
        y, u = measured(self.people, belief, y, inputs, "UKF")
        predicted, odd, even = halves(seen(self.people, points(belief.mean, belief.root)))
        noise = deviation(self.people, predicted, belief.x, u)
        return corrected(belief, condition(belief.mean, belief.root, y, predicted, odd, noise, beside=even))

    def step(self, mean: Tensor, root: Tensor, interval: Interval) -> Moved:
        """One step: the points flow, and the noise of the step along the mean's path is found beside."""
        people, n = self.people, self.people.states
        mean = torch.cat([mean[..., :n] + interval.jump, mean[..., n:]], -1)
        before = points(mean, root)
        after = torch.cat([carried(people, before, interval), before[..., n:]], -1)
        end, odd, even = halves(after)
        _, R = driven_root(people, mean[:, :, None], end[:, :, None], interval)
        return Moved(end, torch.cat([root, torch.zeros_like(root)], -1), torch.cat([odd, even], -1), R[:, :, 0])
