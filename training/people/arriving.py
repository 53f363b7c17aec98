"""Where a search for a person's coordinates begins when θ says when doses arrive: once between any two observations."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hybrid import HybridModel
from hybrid.schedules.dose import next_after
from training.people.cohort import Cohort

_REACH = 3.0  # of a person's own coordinate: who is farther out is one of 400
_GRID = 121  # values of the coordinate at which the lag is looked at
_AT = 1e-4  # of a lag: nearer than that to an observation it is at it
_WITHIN = 2.0  # standard deviations of a person's own lag: so near a kink Laplace's method sees one side of it
_MOST = 6  # places at most: of more stretches than that some are passed over


def arriving(
    model: HybridModel,
    cohort: Cohort,
    start: Tensor,  # (M, N, d)
) -> Tensor | None:  # (M, S, N, d)
    """`start`, then everyone with their dose in the middle of each stretch between two observations that their lag can reach.

    Before an observation that came ahead of the dose nothing moves with the lag, and a search that is led across it never comes
    back: there is a minimum on either side. None where no lag is a coordinate of the person, or nothing is measured within reach.
    """
    moved = _coordinates(model)
    if not moved:
        return None
    z = torch.linspace(-_REACH, _REACH, _GRID, dtype=start.dtype, device=start.device)
    M, N, d = start.shape
    found = [start]
    for k, j, state in moved:
        probe = start[:, :, None].repeat(1, 1, _GRID, 1)  # (M, N, G, d)
        probe[..., k] = z
        covariates = {name: v.repeat_interleave(_GRID) for name, v in cohort.conditions.begun.items()}
        theta = model.theta(probe.reshape(M, N * _GRID, d), covariates)
        lag = theta[..., j].reshape(-1, N, _GRID).expand(M, -1, -1).detach().cpu().numpy()
        places = [[_middles(lag[m, i], _passed(cohort, i, state)) for i in range(N)] for m in range(M)]
        for s in range(max(len(p) for row in places for p in row)):
            rows = [[p[min(s, len(p) - 1)] if p else _GRID // 2 for p in row] for row in places]
            other = start.clone()
            other[..., k] = z[torch.tensor(rows, device=z.device)]
            found.append(other)
    return torch.stack(found, 1) if len(found) > 1 else None


@dataclass(frozen=True)
class Pinned:
    """People (M, N) whose lag, `parameter` of θ and `coordinate` of η, is one with which a dose arrives at an observation: `lag`
    (M, N), in the others whatever theirs is.
    """

    coordinate: int
    parameter: int
    people: Tensor
    lag: Tensor

    def some(self, rows: Tensor) -> "Pinned":
        """Of these people."""
        return replace(self, people=self.people[:, rows], lag=self.lag[:, rows])


def pinned(
    model: HybridModel,
    cohort: Cohort,
    eta: Tensor,  # (M, N, d)
) -> list[Pinned]:
    """For each lag that people differ in, who is at a kink of φ."""
    coordinates = _coordinates(model)
    if not coordinates:
        return []
    with torch.no_grad():
        theta = model.theta(eta, cohort.conditions.begun)  # a lag is the same in all pieces of a record
    found = []
    for k, j, state in coordinates:
        lag = theta[..., j].expand(len(eta), -1).clone()
        at = torch.zeros(lag.shape, dtype=torch.bool)
        for i, values in enumerate(lag.cpu().double().T.numpy()):
            edges = _passed(cohort, i, state)
            if len(edges):
                nearest = edges[np.abs(values[:, None] - edges).argmin(1)]
                at[:, i] = torch.from_numpy(np.abs(values - nearest) <= _AT * nearest)
                lag[:, i] = torch.where(at[:, i].to(lag.device), torch.from_numpy(nearest).to(lag), lag[:, i])
        found.append(Pinned(k, j, at.to(lag.device), lag))
    return found


def beside(
    model: HybridModel,
    cohort: Cohort,
    eta: Tensor,  # (M, N, d)
    covariance: Tensor,  # (M, N, d, d)
) -> Tensor:  # (M, N) bool
    """Whose dose would arrive at an observation within two of their own standard deviations: there φ has a kink.

    The logarithm of a lag is taken to be linear in its coordinate that far.
    """
    near = torch.zeros(eta.shape[:2], dtype=torch.bool, device=eta.device)
    for k, j, state in _coordinates(model):
        with torch.enable_grad():
            at = eta.detach().clone().requires_grad_()
            log_lag = model.theta(at, cohort.conditions.begun)[..., j].log()
            (slope,) = torch.autograd.grad(log_lag.sum(), at)
        log_lag = log_lag.detach().expand(len(eta), -1)
        wide = _WITHIN * slope[..., k].abs() * covariance[..., k, k].detach().sqrt()  # (M, N), of log lag
        for i in range(eta.shape[1]):
            edges = torch.from_numpy(_passed(cohort, i, state)).to(eta)
            if len(edges):
                away = (log_lag[:, i, None] - edges.log()).abs().amin(1)
                near[:, i] |= away <= wide[:, i]
    return near


def _coordinates(model: HybridModel) -> list[tuple[int, int, str]]:
    """For every lag that people differ in: its coordinate of η, its place in θ, and the state."""
    names = [p.name for p in model.backbone.physical]
    effects = list(model.population.effects)
    found: list[tuple[int, int, str]] = []
    for s, j in model.delivery.lag:
        if names[j] in effects and all(effects.index(names[j]) != k for k, _, _ in found):
            found.append((effects.index(names[j]), j, model.backbone.states[s]))
    return found


def _passed(cohort: Cohort, i: int, state: str) -> np.ndarray:
    """The lags with which a dose into this state would arrive at an observation of this person, before everything begins anew."""
    record = cohort.records[i]
    doses = [d for d in record.schedule.doses if d.state == state]
    given = np.array([float(d.time) + float(d.lag) for d in doses])
    stop = np.array([next_after(record.schedule.anew, float(d.time)) for d in doses])
    times = np.asarray(record.times, dtype=float)[None, :]
    after = times - given[:, None]
    return np.unique(after[(after > 0.0) & (times <= stop[:, None])].round(12))


def _middles(
    lag: np.ndarray,  # (G,), rising or falling along the grid
    edges: np.ndarray,  # (E,)
) -> list[int]:
    """Where on the grid the middle of each stretch between two edges lies."""
    stretch = np.searchsorted(edges, lag)
    known = [np.flatnonzero(stretch == s) for s in np.unique(stretch)]
    if len(known) < 2:
        return []
    # of many stretches, those of which the grid has most
    known = sorted(sorted(known, key=len, reverse=True)[:_MOST], key=lambda rows: int(rows[0]))
    return [int(rows[np.abs(rows - _GRID // 2).argmin()] if _centred(rows) else rows[len(rows) // 2]) for rows in known]


def _centred(rows: np.ndarray) -> bool:
    """Does a stretch hold the middle of the prior, well inside?"""
    return bool(rows[0] + 5 < _GRID // 2 < rows[-1] - 5)
