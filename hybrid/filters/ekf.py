"""The extended Kalman filter, continuous in time between measurements, in square-root form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.derivative import pushed
from hybrid.filters.contract import Belief, Filter, Followed, Innovation
from hybrid.filters.flow import carried, driven_root, seen, transition_and_root
from hybrid.filters.gaussian import Conditioned, condition
from hybrid.filters.lost import diverged
from hybrid.filters.moved import Moved
from hybrid.filters.stepping import Given, advance, corrected, deviation
from hybrid.threads import of_followed, threads_by
from physics.arguments import require_kind
from physics.glance import glance


@dataclass(frozen=True)
class EKF(Filter):
    """The mean goes by the solver, deviations by the derivative of the very same step: z copies of everyone instead of 2z points.

    With Φ the solver's step over (x, η): m ← Φ(m), L ← tria[Φ'(m) L, R], R Rᵀ what the process noise adds along the mean's path;
    a measurement by H = ∂h/∂(x, η) at the predicted mean. Φ' L is one evaluation in forward mode with the columns of L as
    directions, so it is exact for the step that is taken, η's part included, and is differentiated in turn.
    Exact where model and observation are linear and θ is known, and then equal to `UKF`; elsewhere of first order: it knows
    neither that the mean of a bent function is not the function of the mean, nor how sure η × x makes a product.
    Arguments: `people`, who is followed.
    Source: Jazwinski, Stochastic Processes and Filtering Theory (1970) § 8.3; Särkkä & Svensson, Bayesian Filtering and Smoothing
    (2023) § 7.2.
    """

    people: Followed

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_kind(self.people, Followed, "EKF: people", "Followed.of(model, people)")

    @threads_by(of_followed)
    def predict(self, belief: Belief, interval: Interval) -> Belief:
        return advance(self.people, belief, interval, self.step, "EKF")

    @threads_by(of_followed)
    def update(self, belief: Belief, y: Tensor, *, inputs: Tensor | None = None) -> tuple[Belief, Innovation]:
        return corrected(self.people, belief, y, inputs, self._look, "EKF")

    def _look(self, given: Given) -> Conditioned:
        """What a measurement says of a belief, and makes of it."""
        looking = lambda at: seen(self.people, at, given.inputs)  # noqa: E731
        values, shadow = pushed(looking, _copies(given.mean), given.root.mT)  # (M, N, z, p)
        predicted = values[:, :, 0]
        noise = deviation(self.people, given, predicted)
        return condition(given.mean, given.root, given.y, predicted, shadow.mT, noise)

    def step(self, mean: Tensor, root: Tensor, interval: Interval) -> Moved:
        """One step of the mesh: the mean and the columns of the root go together, and the noise of the step is found beside."""
        people, n = self.people, self.people.states
        if people.model.linear and mean.shape[-1] == n:  # e^{A h} is there already
            x = carried(people, mean[:, :, None], interval)[:, :, 0]
            e, R = transition_and_root(people, mean[:, :, None], x[:, :, None], interval)
            return Moved(x, root, e[:, :, 0] @ root, R[:, :, 0])
        values, turned = pushed(lambda at: carried(people, at, interval), _copies(mean), root.mT)  # (M, N, z, n)
        lost = diverged(values) | diverged(turned)
        values, turned = (torch.where(lost[:, None, None], 0.0, v) for v in (values, turned))
        mean = torch.where(lost[:, None], 0.0, mean)
        after = torch.cat([values[:, :, 0], mean[..., n:]], -1)
        R = driven_root(people, mean[:, :, None], after[:, :, None], interval)
        return Moved(after, root, torch.cat([turned.mT, root[..., n:, :]], -2), R[:, :, 0], lost)


def _copies(mean: Tensor) -> Tensor:  # (M, N, z) -> (M, N, z, z)
    """Everyone once for each direction."""
    z = mean.shape[-1]
    return mean[:, :, None].expand(-1, -1, z, z)
