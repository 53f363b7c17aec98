"""The unscented Kalman filter, continuous in time between measurements, in square-root form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.filters.contract import Belief, Filter, Followed, Innovation
from hybrid.filters.flow import carried, driven_root, seen
from hybrid.filters.gaussian import Conditioned, condition
from hybrid.filters.lost import diverged
from hybrid.filters.moved import Moved
from hybrid.filters.sigma_points import halves, points
from hybrid.filters.stepping import Given, advance, corrected, deviation
from hybrid.threads import of_followed, threads_by
from physics.arguments import require_kind
from physics.glance import glance


@dataclass(frozen=True)
class UKF(Filter):
    """2z points of everyone, copies of them with states and η of their own, are carried by the solver and make the belief.

    The points are m ± √z L_j of equal weight (α = 1, κ = 0): none at the centre, no weight below 0. They are drawn anew at the
    beginning of every step. At its end the belief is their mean and their spread, and beside that what the process noise adds:
    Q = ∫₀ʰ e^{Js} g gᵀ e^{Jᵀs} ds with J and g at the middle of the mean's path.
    Exact where model and observation are linear and θ is known, in steps of any length. Elsewhere a law is taken for Gaussian at
    every step and every update, to which the points are right to second order, and the noise of a step spreads the points from
    the next step on.
    Arguments: `people`, who is followed.
    Sources: Julier & Uhlmann, Proc. IEEE 92 (2004) 401 (points); van der Merwe & Wan, ICASSP (2001) 3461 (root form); Särkkä,
    IEEE Trans. Autom. Control 52 (2007) 1631 (continuous time).
    """

    people: Followed

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_kind(self.people, Followed, "UKF: people", "Followed.of(model, people)")

    @threads_by(of_followed)
    def predict(self, belief: Belief, interval: Interval) -> Belief:
        return advance(self.people, belief, interval, self.step, "UKF")

    @threads_by(of_followed)
    def update(self, belief: Belief, y: Tensor, *, inputs: Tensor | None = None) -> tuple[Belief, Innovation]:
        return corrected(self.people, belief, y, inputs, self._look, "UKF")

    def _look(self, given: Given) -> Conditioned:
        """What a measurement says of a belief, and makes of it."""
        predicted, odd, even = halves(seen(self.people, points(given.mean, given.root), given.inputs))
        noise = deviation(self.people, given, predicted)
        linear = self.people.model.observation.linear and given.mean.shape[-1] == self.people.states  # in x, not in θ(η)
        beside = None if linear else even  # what is even of a linear one is rounding
        return condition(given.mean, given.root, given.y, predicted, odd, noise, beside=beside)

    def step(self, mean: Tensor, root: Tensor, interval: Interval) -> Moved:
        """One step of the mesh: the points flow, and the noise of the step is found beside, along the mean's path."""
        people, n = self.people, self.people.states
        before = points(mean, root)
        x = carried(people, before, interval)
        lost = diverged(x)
        x, mean = torch.where(lost[:, None, None], 0.0, x), torch.where(lost[:, None], 0.0, mean)
        center, odd, even = halves(x)
        end = torch.cat([center, mean[..., n:]], -1)
        noise = driven_root(people, mean[:, :, None], end[:, :, None], interval)[:, :, 0] if people.noisy else root[..., :0]
        if people.model.linear and not people.model.personal:
            return Moved(end, root, odd, noise, lost)  # what is even of a linear flow is rounding
        eta = root[..., n:, :]
        after = torch.cat([torch.cat([odd, even], -1), torch.cat([eta, torch.zeros_like(eta)], -1)], -2)
        return Moved(end, torch.cat([root, torch.zeros_like(root)], -1), after, noise, lost)
