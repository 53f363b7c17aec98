"""What the model does to points of people: every point is a copy of its person, with a state and an η of its own."""

from dataclasses import replace

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.filters.contract import Followed
from hybrid.filters.moved import root_of_variance
from hybrid.propagate import transition_root


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
    i = interval.quiet()
    each = Interval(
        _each(i.dt, P), _each(i.jump, P), _each(i.rate, P), _each(i.u0, P), _each(i.u1, P), _each(i.start, P), i.meshed
    )
    field = people.model.bind(replace(each.segments(), apart=True), theta, c)
    x = people.solver.solve(field, points[..., :n].reshape(M, N * P, n)).states[:, :, 0]
    return x.reshape(-1, N, P, n)


def seen(
    people: Followed,
    points: Tensor,  # (M, N, P, z)
) -> Tensor:  # (M, N, P, p)
    """What every point would be measured to be."""
    M, N, P, _ = points.shape
    n = people.states
    if points.shape[-1] == n:  # one θ for all of a person's points
        theta, _ = known(people, points[:, :, :1, n:])
        return people.model.observation.mean(points[..., :n], theta.expand(-1, N, -1))
    theta, _ = known(people, points[..., n:])
    y = people.model.observation.mean(points[..., :n].reshape(M, N * P, 1, n), theta)
    return y.reshape(-1, N, P, y.shape[-1])


def slope(
    people: Followed,
    points: Tensor,  # (M, N, P, z)
    inputs: Tensor,  # (N, m)
) -> Tensor:  # (M, N, P, n, n)
    """∂(dx/dt)/∂x at every point."""
    M, N, P, _ = points.shape
    n = people.states
    at = people.model.at(*known(people, points[..., n:]))
    J = at.jacobian(points[..., :n].reshape(M, N * P, n), _each(inputs, P)[None])
    return J.reshape(-1, N, P, n, n)


def driven_root(
    people: Followed,
    begin: Tensor,  # (M, N, P, z)
    end: Tensor,  # (M, N, P, z)
    interval: Interval,
) -> tuple[Tensor, Tensor]:  # (M, N, P, n, n), (M, N, P, z, r)
    """e^{Jh}, and a root of what process noise adds to points on their way, J and g those at the middle of it.

    Exact for a linear model with constant g, and of second order in the step along a path that is known.
    """
    n = people.states
    middle = 0.5 * (begin + end)
    J = slope(people, middle, 0.5 * (interval.u0 + interval.u1))
    h = interval.dt[:, None, None]
    G = torch.diag_embed(driving(people, middle) * root_of_variance(h))
    e, R = transition_root(J * h[..., None], G)
    return e, below(R, begin.shape[-1] - n)


def driving(
    people: Followed,
    points: Tensor,  # (M, N, P, z)
) -> Tensor:  # (M, N, P, n)
    """g of every point."""
    M, N, P, _ = points.shape
    n = people.states
    return people.driven(points[..., :n].reshape(M, N * P, n)).reshape(-1, N, P, n)


def below(
    R: Tensor,  # (..., n, r)
    d: int,
) -> Tensor:  # (..., n + d, r)
    """The same with d rows of 0 below: what moves the states alone."""
    return torch.nn.functional.pad(R, (0, 0, 0, d)) if d else R
