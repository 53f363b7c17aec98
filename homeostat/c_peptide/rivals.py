"""What the hybrid has to beat: the last value carried forward, the kinetics alone, and a secretion in proportion to glucose.

The third is what one would write without a network, with one number a person as the hybrid has: production = b·ΔG. C-peptide is
then C(0) + b·h(t), where h is the kinetics' answer to ΔG, so that b is found in closed form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from physics import VanCauter, VanCauterPopulation
from training import Record


def carried_forward(y: np.ndarray, known: int) -> np.ndarray:  # (N, T) → (N, T)
    """The last of the first `known` values for all times."""
    return np.repeat(y[:, known - 1 : known], y.shape[1], 1)


def steady(y: np.ndarray) -> np.ndarray:  # (N, T) → (N, T)
    """The kinetics alone: basal production balances what is cleared, and C-peptide stays what it was at 0 min."""
    return np.repeat(y[:, :1], y.shape[1], 1)


def responses(records: Sequence[Record]) -> np.ndarray:  # (N, T)
    """h: C-peptide above C(0) at everyone's sampling times where production is ΔG, in nmol/L for each nmol/L/min per mmol/L.

    d(C, Y)/dt = A (C, Y) + (g, 0) with g linear between the samples, exactly: g and its slope s are states too, with
    g' = s and s' = 0. Everyone has the same times.
    """
    covariates = {
        name: torch.tensor([r.covariates[name] for r in records], dtype=torch.float64) for name in ("age", "type2")
    }
    theta = VanCauterPopulation().theta(torch.zeros(1, len(records), 0, dtype=torch.float64), covariates)[0]
    A, _ = VanCauter().matrices(theta)  # (N, 2, 2)
    M = torch.zeros(len(records), 4, 4, dtype=torch.float64)
    M[:, :2, :2], M[:, 0, 2], M[:, 2, 3] = A, 1.0, 1.0
    times = records[0].times
    glucose = torch.tensor([[r.schedule.inputs["glucose"].at(t) for t in times] for r in records], dtype=torch.float64)
    z, found = torch.zeros(len(records), 4, dtype=torch.float64), []
    for k, (start, end) in enumerate(pairwise(times)):
        found.append(z[:, 0])
        z[:, 2], z[:, 3] = glucose[:, k], (glucose[:, k + 1] - glucose[:, k]) / (end - start)
        z = (torch.linalg.matrix_exp((end - start) * M) @ z[..., None])[..., 0]
    return torch.stack([*found, z[:, 0]], 1).numpy()


@dataclass(frozen=True)
class Proportional:
    """production = b·ΔG with b ~ N(`mean`, `deviation`²) over people, in nmol/L/min per mmol/L."""

    mean: float
    deviation: float

    @staticmethod
    def of(records: Sequence[Record]) -> "Proportional":
        """Mean and standard deviation of these people's least-squares b."""
        h, rise = responses(records), _rises(records)
        b = (h * rise).sum(1) / (h**2).sum(1)
        return Proportional(float(b.mean()), float(b.std()))

    def predict(self, records: Sequence[Record], deviations: Sequence[float], known: int) -> np.ndarray:  # (N, T)
        """C-peptide at every sample, with b from the first `known` of them: the mode, of errors of these deviations (T,)."""
        h, rise = responses(records), _rises(records)
        weight = 1.0 / np.asarray(deviations)[1:known] ** 2  # at 0 min nothing is scored
        part = h[:, 1:known]
        above = (weight * part * rise[:, 1:known]).sum(1) + self.mean / self.deviation**2
        b = above / ((weight * part**2).sum(1) + 1.0 / self.deviation**2)
        return np.asarray(steady(values_of(records)) + b[:, None] * h)


def values_of(records: Sequence[Record]) -> np.ndarray:  # (N, T)
    """Everyone's C-peptide."""
    return np.stack([r.values[:, 0] for r in records])


def _rises(records: Sequence[Record]) -> np.ndarray:
    y = values_of(records)
    return np.asarray(y - y[:, :1])


def as_predicted(values: np.ndarray, like: Tensor) -> Tensor:
    """On the device and in the type of other predictions."""
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)
