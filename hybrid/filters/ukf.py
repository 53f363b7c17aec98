"""The unscented Kalman filter, continuous in time between measurements, in square-root form.

Between measurements a Gaussian N(m, P) of z = (x, η) moves by dm/dt = E f, dP/dt = E[(z − m) fᵀ] + E[f (z − m)ᵀ] + D with
expectations by 2z sigma points (Särkkä, IEEE Trans. Autom. Control 52 (2007) 1631). A step carries the points by the solver, half
of its noise before and half after it, so that a mean feels the spread that noise makes on the way: of second order in the step,
and exact where everything is linear.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.filters.contract import Belief, Filter, Followed, Innovation
from hybrid.filters.flow import below, carried, driven_root, driving, seen, slope
from hybrid.filters.gaussian import condition
from hybrid.filters.moved import Moved, root_of_variance
from hybrid.filters.sigma_points import halves, points
from hybrid.filters.stepping import advance, corrected, deviation, measured
from hybrid.propagate import transition_root
from physics.arguments import require_kind
from physics.glance import glance

_MOST = 2.0  # ‖J‖ times what noise is moved back by: e² is not much for a covariance to grow by and to shrink again


@dataclass(frozen=True)
class UKF(Filter):
    """2z points of everyone, copies of them with states and η of their own, are carried by the solver and make the belief.

    The points are m ± √z L_j with equal weights (α = 1, κ = 0): none at the centre, no weight below 0. They are drawn anew in
    every step. Between two updates nothing else is approximated but the shape, which is taken for Gaussian, and steps of
    finite length; an update takes the joint law of state and measurement for Gaussian.
    Arguments: `people`, who is followed.
    Laws: those of `Filter`; for a linear model with known θ it is the Kalman filter to rounding, in steps of any length.
    Sources: Julier & Uhlmann, Proc. IEEE 92 (2004) 401 (points); van der Merwe & Wan, ICASSP (2001) (root form); Särkkä (2007)
    (continuous time).
    """

    people: Followed

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_kind(self.people, Followed, "UKF: people", "Followed.of(model, people)")

    def predict(self, belief: Belief, interval: Interval) -> Belief:
        return advance(self.people, belief, interval, self.step, "UKF")

    def update(self, belief: Belief, y: Tensor, *, inputs: Tensor | None = None) -> tuple[Belief, Innovation]:
        given = measured(self.people, belief, y, inputs, "UKF")
        predicted, odd, even = halves(seen(self.people, points(given.mean, given.root)))
        noise = deviation(self.people, given, predicted)
        return corrected(belief, given, condition(given.mean, given.root, given.y, predicted, odd, noise, beside=even))

    def step(
        self,
        mean: Tensor,  # (M, N, z)
        root: Tensor,  # (M, N, z, z)
        interval: Interval,
    ) -> tuple[Moved, ...]:
        """The moves of one meshed step, after what arrives at its beginning."""
        if not self.people.noisy or self.people.exact:
            moved = self._carried(mean, root, interval)
            if not self.people.noisy:
                return (moved,)
            _, noise = driven_root(self.people, mean[:, :, None], moved.mean[:, :, None], interval)
            return (replace(moved, noise=noise[:, :, 0]),)
        people, d = self.people, mean.shape[-1] - self.people.states
        J = slope(people, mean[:, :, None], 0.5 * (interval.u0 + interval.u1))[:, :, 0]
        norm = J.abs().sum(-1).amax(-1).clamp(min=torch.finfo(J.dtype).tiny ** 0.25)
        back = torch.minimum(0.5 * interval.dt, _MOST / norm)  # (M, N), half of the step where it is short
        first = Moved(mean, root, root, below(_root(-J, driving(people, mean[:, :, None])[:, :, 0], back), d))
        moved = self._carried(mean, first.root(), interval)
        noise = _root(J, driving(people, moved.mean[:, :, None])[:, :, 0], interval.dt - back)
        return first, replace(moved, noise=below(noise, d))

    def _carried(self, mean: Tensor, root: Tensor, interval: Interval) -> Moved:
        """The points by the solver, without any noise."""
        people, n = self.people, self.people.states
        before = points(mean, root)
        x = carried(people, before, interval)
        lost = ~torch.isfinite(x).flatten(-2).all(-1).all(0)
        x = torch.where(lost[:, None, None], before[..., :n].detach(), x)
        center, odd, even = halves(x)
        if people.model.linear and not people.model.personal:
            return Moved(center, root, odd, odd[..., :0], lost)  # what is even of a linear flow is rounding
        eta = root[..., n:, :]
        nothing = torch.zeros_like(root)
        after = torch.cat([torch.cat([odd, even], -1), torch.cat([eta, torch.zeros_like(eta)], -1)], -2)
        return Moved(torch.cat([center, mean[..., n:]], -1), torch.cat([root, nothing], -1), after, after[..., :0], lost)


def _root(J: Tensor, g: Tensor, h: Tensor) -> Tensor:  # (M, N, n, n), (M, N, n), (M, N) -> (M, N, n, r)
    """A root of ∫₀ʰ e^{Js} diag(g²) e^{Jᵀs} ds."""
    return transition_root(J * h[..., None, None], torch.diag_embed(g * root_of_variance(h)[..., None]))[1]

