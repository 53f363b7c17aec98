"""Typical values of any mechanism that says what is measured of it: everyone's data, by least squares through simulations."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hybrid import Concentration, HybridModel, Observation, States
from hybrid.defaults import differentiating
from hybrid.problem import Problem
from learned import Constant
from physics import LinearisedBackbone, Parameter, SharedPopulation
from training.people.cohort import Cohort
from training.people.records import Record

_MOST_PEOPLE = 12  # of more, as many are taken evenly: a start costs as little as a few steps of the fit
_TRIED = 128  # points of the box, before the search
_BEST = 6  # of which so many are searched from
_ROUNDS = 40
_LOST = 30.0  # the residual of what cannot be simulated
_WIDTH = 2.0  # how little the built-in typical values weigh: a standard deviation of e² = 7 times
_REACH = math.log(100.0)  # how far from the built-in typical values points are tried, within the box
_SAME = 0.5  # objectives that differ by no more fit alike …
_APART = math.log(2.0)  # … and are another optimum where a parameter is twice as large


@dataclass(frozen=True)
class Pooled:
    """Values of θ (q,) that meet everyone's data: their `misfit`, and that of the `built_in` values; `people`, of how many.

    `other`: the names of parameters in which another point is as good, and at least twice as far or near.
    """

    theta: np.ndarray
    misfit: float
    built_in: float
    people: int
    other: tuple[str, ...]


def observation_of(backbone: LinearisedBackbone, channels: Sequence[str]) -> Observation | None:
    """How these channels show the mechanism, where it says so; None where it does not."""
    observed = backbone.defaults.observed
    if len(observed) == len(channels) == 1:  # whatever the table calls it
        observed = (replace(observed[0], channel=channels[0]),)
    by_channel = {one.channel: one for one in observed}
    if any(c not in by_channel for c in channels):
        return None
    shown = [by_channel[c] for c in channels]
    own = dict(zip(backbone.states, backbone.state_units, strict=True))
    if all(one.volume is None for one in shown):
        return States([one.state for one in shown], list(channels), [one.unit or own[one.state] for one in shown])
    (one, *more) = shown
    return None if more or not one.unit else Concentration(one.state, str(one.volume), one.channel, one.unit)


def pooled(
    backbone: LinearisedBackbone,
    observation: Observation,
    records: Sequence[Record],
    factors: np.ndarray,  # (N, q), by what everyone's covariates multiply θ
) -> Pooled | None:
    """The θ, one for all but for the factors, that makes Σ ((y − f)/(.2 |y| + .05 ỹ))² small with Huber's weights.

    ỹ is the median of |y| of its channel. The best of points spread evenly (Sobol) over the box in log θ, where the mechanism
    is linear and nothing was measured before the first dose each first brought to the level of the data by its volumes and
    clearances, are improved by Levenberg–Marquardt steps. What the data do not determine stays near the backbone's typical
    value, which counts as one measurement of log θ with a standard deviation of 2. None where nobody was measured at all.
    """
    physical = backbone.physical
    every = max(1, math.ceil(len(records) / _MOST_PEOPLE))
    some = [k for k in range(0, len(records), every) if bool(np.isfinite(records[k].values[records[k].scored]).any())]
    if not some:
        return None
    p = len(observation.channels)
    ones = [1.0] * p
    population = SharedPopulation(backbone, {p.name: p.typical for p in physical})
    model = HybridModel(backbone, population, observation=observation, noise=Constant(ones, ones))
    cohort = Cohort.of([records[k] for k in some], model)
    y, there = torch.where(cohort.mask, cohort.y, 0.0), cohort.mask
    level = torch.stack([cohort.y[..., c][there[..., c]].abs().median() for c in range(p) if bool(there[..., c].any())])
    if len(level) < p or not bool((level > 0).all()):
        return None
    weight = torch.where(there, 1.0 / (0.2 * y.abs() + 0.05 * level), 0.0)
    own = torch.from_numpy(factors[some]).log()
    middle = torch.tensor([math.log(p.typical) for p in physical], dtype=torch.float64)
    low, high = (torch.tensor([math.log(getattr(p, e)) for p in physical], dtype=torch.float64) for e in ("low", "high"))
    empty = len(cohort.y), model.personal
    base = Problem.of(model, cohort.conditions, y.new_zeros(1, *empty))
    solver = differentiating(model)  # fixed steps: what is too fast for them is no start

    def seen(x: Tensor) -> Tensor:  # (K, q) -> (K, N, T, p)
        theta = (x[:, None] + own).clamp(low, high).exp()
        context = base.context.expand(len(x), -1, -1)
        x0 = model.initial(theta, cohort.conditions.baseline, base.segments.u0[:, 0], base.covariates)
        problem = replace(base, theta=theta, context=context, start=x0.expand(len(x), *x0.shape[1:]))
        states = problem.solve(solver).states
        return problem.measured(states, base.segments.read_inputs())[0]

    def misfit(x: Tensor) -> Tensor:  # (K, q) -> (K, R + q)
        found = []
        for part in x.split(64):
            error = weight * (y - seen(part))
            error = torch.where(torch.isfinite(error), error, _LOST * there.to(error))
            found.append(torch.cat([error.reshape(len(part), -1), (part - middle) / _WIDTH], 1))
        return torch.cat(found)

    with torch.no_grad():
        x = _points(physical, middle, low, high)
        if backbone.linear and bool(torch.isnan(cohort.conditions.baseline).all()):
            x = _levelled(x, physical, seen, y, there & (y > 0)).clamp(low, high)
        x = x[_admissible(x, physical)]
        value = _huber(misfit(x))
        built_in = float(value[0])
        best = x[torch.argsort(value)[:_BEST]]
        best, value = _descend(best, misfit, physical, low, high)
        order = torch.argsort(value)
        at = best[order[0]]
        other = (value <= value.min() + _SAME)[:, None] & ((best - at).abs() > _APART)
    names = tuple(one.name for one, apart in zip(physical, other.any(0).tolist(), strict=True) if apart)
    return Pooled(at.exp().numpy(), float(value.min()), built_in, len(some), names)


def _points(physical: Sequence[Parameter], middle: Tensor, low: Tensor, high: Tensor) -> Tensor:  # (K, q)
    """The built-in typical values first, then points within their reach, 2 % inside the box."""
    draws = torch.quasirandom.SobolEngine(len(physical), scramble=True, seed=1).draw(_TRIED, dtype=torch.float64)
    edge = 0.02 * (high - low)
    a, b = torch.maximum(low + edge, middle - _REACH), torch.minimum(high - edge, middle + _REACH)
    return torch.cat([middle[None], a + draws * (b - a)])


def _levelled(
    x: Tensor, physical: Sequence[Parameter], seen: Callable[[Tensor], Tensor], y: Tensor, there: Tensor
) -> Tensor:
    """Of a linear mechanism that starts empty: volumes and clearances times c divide everything that is seen by c."""
    by = torch.tensor([p.unit == "L" or p.unit.startswith("L/") for p in physical], dtype=x.dtype)
    found = [x[:1]]  # the built-in values are tried as they are
    for part in x[1:].split(64):
        ratio = torch.where(there, seen(part).clamp(min=1e-30) / torch.where(there, y, 1.0), torch.nan)
        c = ratio.reshape(len(part), -1).log().nanmedian(1).values
        found.append(part + by * torch.nan_to_num(c, nan=0.0)[:, None])
    return torch.cat(found)


def _admissible(x: Tensor, physical: Sequence[Parameter]) -> Tensor:  # (K,)
    """Which points keep the parameters in their order ("above": another parameter, or a quotient of two)."""
    at = {p.name: x[:, j] for j, p in enumerate(physical)}
    good = torch.ones(len(x), dtype=torch.bool)
    for p in physical:
        if p.above:
            over, *under = p.above.split("/")
            bound = at[over] - sum((at[name] for name in under), torch.zeros(()))
            good &= at[p.name] > bound
    return good


def _descend(
    x: Tensor, misfit: Callable[[Tensor], Tensor], physical: Sequence[Parameter], low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:  # (K, q), (K,)
    K, q = x.shape
    edge = 0.01 * (high - low)
    low, high = low + edge, high - edge
    x = x.clamp(low, high)
    r, h, damping = misfit(x), 1e-4, torch.full((K,), 1e-2, dtype=x.dtype)
    value, open_ = _huber(r), torch.ones(K, dtype=torch.bool)
    for _ in range(_ROUNDS):
        moved = (x[:, None] + h * torch.eye(q, dtype=x.dtype)).reshape(K * q, q)
        root = (1.0 / r.abs().clamp(min=1.0)).sqrt()  # Huber's weights, of residuals of order 1
        J = (misfit(moved).reshape(K, q, -1) - r[:, None]).mT / h * root[..., None]
        H, g = J.mT @ J, (J * (root * r)[..., None]).sum(1)
        for _ in itertools.repeat(None, 4):
            damped = H + torch.diag_embed(damping[:, None] * H.diagonal(dim1=1, dim2=2) + 1e-12)
            step = -torch.linalg.solve(damped, g).clamp(-1.0, 1.0)
            trial = torch.where(open_[:, None], (x + step).clamp(low, high), x)
            tried = misfit(trial)
            new = _huber(tried)
            better = open_ & _admissible(trial, physical) & (new < value)
            gained = value - new
            x, r = torch.where(better[:, None], trial, x), torch.where(better[:, None], tried, r)
            value = torch.where(better, new, value)
            damping = torch.where(better, damping / 5.0, damping * 5.0).clamp(1e-9, 1e9)
            if bool(better.any()):
                break
        open_ &= ~(better & (gained < 1e-4)) & (damping < 1e8)
        if not bool(open_.any()) or not bool(better.any()):
            break
    return x, value


def _huber(r: Tensor) -> Tensor:  # (K, R) -> (K,)
    size = r.abs()
    return torch.where(size <= 1.0, 0.5 * r.square(), size - 0.5).sum(1)
