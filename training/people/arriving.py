"""Where a search for a person's coordinates begins when θ says when doses arrive: once between any two observations."""

import numpy as np
import torch
from torch import Tensor

from hybrid import HybridModel
from hybrid.schedules.dose import next_after
from training.people.cohort import Cohort
from training.people.passing import cliffs

_REACH = 3.0  # of a person's own coordinate: who is farther out is one of 400
_GRID = 121  # values of the coordinate at which the lag is looked at
_MOST = 6  # places at most: of more stretches than that some are passed over
_MOST_CLIFFS = 100  # where no search gets from one stretch into another
_INSIDE = 0.25  # how well inside a stretch the middle of the prior lies, to be begun in


def arriving(
    model: HybridModel,
    cohort: Cohort,
    start: Tensor,  # (M, N, d)
) -> Tensor | None:  # (M, S, N, d)
    """`start`, then everyone with their dose in the middle of each stretch between two observations that their lag can reach.

    Before an observation that came ahead of the dose nothing moves with the lag, and a search that is led across it never comes
    back: there is a minimum on either side. Where a bolus goes into what is measured (`cliffs`) φ jumps, and each stretch has a
    minimum of its own. None where no lag is a coordinate of the person, or nothing is measured within reach.
    """
    moved = _coordinates(model)
    if not moved:
        return None
    most = _MOST_CLIFFS if cliffs(model, cohort) else _MOST
    z = np.linspace(-_REACH, _REACH, _GRID)
    M, N, d = start.shape
    found = [start]
    for k, j, state in moved:
        probe = start[:, :, None].repeat(1, 1, _GRID, 1)  # (M, N, G, d)
        probe[..., k] = torch.from_numpy(z).to(start)
        covariates = {name: v.repeat_interleave(_GRID) for name, v in cohort.conditions.begun.items()}
        theta = model.theta(probe.reshape(M, N * _GRID, d), covariates)
        lag = theta[..., j].reshape(-1, N, _GRID).expand(M, -1, -1).detach().cpu().double().numpy()
        places = [[_middles(z, lag[m, i], _passed(cohort, i, state), most) for i in range(N)] for m in range(M)]
        for s in range(max(len(p) for row in places for p in row)):
            rows = [[p[min(s, len(p) - 1)] if p else 0.0 for p in row] for row in places]
            other = start.clone()
            other[..., k] = torch.tensor(rows).to(start)
            found.append(other)
    return torch.stack(found, 1) if len(found) > 1 else None


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
    z: np.ndarray,  # (G,)
    lag: np.ndarray,  # (G,), rising or falling with z
    edges: np.ndarray,  # (E,)
    most: int,
) -> list[float]:
    """Where the middle of each stretch between two edges lies, of so many widest ones; 0 where that is well inside."""
    order = np.argsort(lag, kind="stable")
    reached = edges[(edges > lag.min()) & (edges < lag.max())]
    if not len(reached):
        return []
    ends = np.concatenate([z[:1], np.sort(np.interp(reached, lag[order], z[order])), z[-1:]])
    low, high = ends[:-1], ends[1:]
    middle = np.where((low + _INSIDE < 0.0) & (high - _INSIDE > 0.0), 0.0, 0.5 * (low + high))
    return middle[np.sort(np.argsort(low - high, kind="stable")[:most])].tolist()
