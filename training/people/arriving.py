"""Where a search for a person's coordinates begins when θ says when doses arrive: once between any two observations."""

import numpy as np
import torch
from torch import Tensor

from hybrid import HybridModel
from hybrid.schedules.dose import next_after
from training.people.cohort import Cohort

_REACH = 3.0  # of a person's own coordinate: who is farther out is one of 400
_GRID = 121  # values of the coordinate at which the lag is looked at
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
