"""What the model does to points of people: every point is a copy of its person, with a state and an η of its own."""

from dataclasses import replace

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.filters.contract import Followed
from hybrid.filters.moved import root_of_variance
from hybrid.propagate import noise_root, transition_root


def _each(value: Tensor, points: int) -> Tensor:  # (N, …) -> (N·P, …)
    """Of every person as of all their points, which stand in a row."""
    return value if points == 1 else value.repeat_interleave(points, 0)


def known(
    people: Followed,
    personal: Tensor,  # (M, N, P, d)
) -> tuple[Tensor, Tensor]:  # θ (M, N·P|1, q), c (M, N·P|1, r)
    """θ and c of every point; of one for all, where nothing tells people apart."""
    M, N, P, d = personal.shape
    if not d and not people.covariates:
        nobody = personal.new_zeros(1, 1, 0)
        return people.model.theta(nobody, {}), people.model.context(nobody, {})
    own = personal.reshape(M, N * P, d)
    covariates = {name: _each(value, P) for name, value in people.covariates.items()}
    return people.model.theta(own, covariates), people.model.context(own, covariates)


def carried(
    people: Followed,
    points: Tensor,  # (M, N, P, z)
    interval: Interval,
) -> Tensor:  # (M, N, P, n)
    """The states of all points at the end of one step, from those after what arrived at its beginning; NaN where one diverged."""
    M, N, P, _ = points.shape
    n = people.states
    theta, c = known(people, points[..., n:])
    i, nothing = interval, interval.dt.new_zeros(1, 1).expand(N * P, n)
    each = Interval(_each(i.dt, P), nothing, _each(i.rate, P), _each(i.u0, P), _each(i.u1, P), _each(i.start, P), i.meshed)
    field = people.model.bind(replace(each.segments(), apart=True), theta, c)
    x = people.solver.solve(field, points[..., :n].reshape(M, N * P, n)).states[:, :, 0]
    return x.reshape(-1, N, P, n)


def seen(
    people: Followed,
    points: Tensor,  # (M, N, P, z)
    inputs: Tensor,  # (1, N, 1, m)
) -> Tensor:  # (M, N, P, p)
    """What every point would be measured to be, at these inputs."""
    M, N, P, _ = points.shape
    n = people.states
    if points.shape[-1] == n:  # one θ for all of a person's points
        theta, _ = known(people, points[:, :, :1, n:])
        return people.model.observation.seen(points[..., :n], theta.expand(-1, N, -1), inputs, people.covariates)
    theta, _ = known(people, points[..., n:])
    u, covariates = inputs.repeat_interleave(P, 1), {name: _each(value, P) for name, value in people.covariates.items()}
    y = people.model.observation.seen(points[..., :n].reshape(M, N * P, 1, n), theta, u, covariates)
    return y.reshape(-1, N, P, y.shape[-1])


def driven_root(
    people: Followed,
    begin: Tensor,  # (M, N, P, z)
    end: Tensor,  # (M, N, P, z)
    interval: Interval,
) -> Tensor:  # (M, N, P, z, r)
    """A root of what the process noise adds to every point's state in the step from `begin` to `end`.

    J = ∂f/∂x and g at the middle of the path: Q = ∫₀ʰ e^{J s} g gᵀ e^{Jᵀ s} ds, exact for linear models with constant g and of
    second order in h otherwise. η is driven by nothing here: its rows are 0.
    """
    return _wide(noise_root(*_slope_and_noise(people, begin, end, interval)), begin)


def transition_and_root(
    people: Followed,
    begin: Tensor,  # (M, N, P, z)
    end: Tensor,  # (M, N, P, z)
    interval: Interval,
) -> tuple[Tensor, Tensor]:  # (M, N, P, n, n), (M, N, P, z, r)
    """e^{J h} with the same J, and `driven_root`."""
    e, R = transition_root(*_slope_and_noise(people, begin, end, interval))
    return e.view(*begin.shape[:-1], people.states, people.states), _wide(R, begin)


def _slope_and_noise(
    people: Followed, begin: Tensor, end: Tensor, interval: Interval
) -> tuple[Tensor, Tensor]:  # (M, N·P, n, n), (M, N·P, n, k)
    """J h and the driven columns of g √h."""
    N, P, _ = begin.shape[1:]
    n = people.states
    middle = 0.5 * (begin + end)
    # rows of their own: a product rounds a row that begins at an odd place of memory otherwise
    x, u = middle[..., :n].reshape(-1, N * P, n).contiguous(), 0.5 * _each(interval.u0 + interval.u1, P)[None]
    h = _each(interval.dt, P)[:, None]
    J = people.model.at(*known(people, middle[..., n:])).jacobian(x, u)
    G = torch.diag_embed(people.driven(x) * root_of_variance(h))
    if len(people.driven_states) < n:
        G = G[..., list(people.driven_states or (0,))]  # one of zeros where nothing is driven
    return J * h[..., None], G


def _wide(R: Tensor, like: Tensor) -> Tensor:  # (M, N·P, n, r), (M, N, P, z) -> (M, N, P, z, r)
    """With the rows of η, which are 0."""
    R = torch.nn.functional.pad(R, (0, 0, 0, like.shape[-1] - R.shape[-2]))
    return R.reshape(*like.shape, R.shape[-1])
