"""The published figures and ours: squared errors, rank correlation, and 95 % intervals over people."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from training import Cohort

DRAWS = 2000  # bootstrap draws over people


@dataclass(frozen=True)
class Published:
    """What the published hybrid reaches on this split, as refitted from its released weights.

    `squared_error`: of one of the 35 test people over their five samples, nmol²/L² · `rank`: |Spearman ρ| of β with the
    clamp's first phase, lowest and highest · `forecast`: RMSE at 90 and 120 min, nmol/L.
    Source: de Rooij, O'Donovan & van Riel, npj Syst. Biol. Appl. 11 (2025) 84, its better set of weights; the other has .389 and
    .540. In print ρ is .81.
    """

    squared_error: float = 0.292
    rank: tuple[float, float] = (0.79, 0.83)
    forecast: float = 0.418


@dataclass(frozen=True)
class Estimate:
    """A statistic of some people, and the central 95 % of it over bootstrap draws of them (Efron, 1979)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]".replace("-", "−")

    def to_list(self) -> list[float]:
        return [self.value, self.low, self.high]


def interval(
    statistic: Callable[[np.ndarray], np.ndarray],  # people (S, N) → (S,)
    people: int,
    generator: np.random.Generator,
) -> Estimate:
    """The statistic of everyone, and its interval over draws of as many people."""
    low, high = np.quantile(statistic(generator.integers(people, size=(DRAWS, people))), [0.025, 0.975])
    return Estimate(float(statistic(np.arange(people)[None])[0]), float(low), float(high))


def mean_over(values: np.ndarray, people: np.ndarray) -> np.ndarray:  # (N,), (S, N) → (S,)
    """The mean over every draw of people."""
    return np.asarray(values[people].mean(-1))


def root_mean_over(squares: np.ndarray, people: np.ndarray) -> np.ndarray:  # (N,), (S, N) → (S,)
    """The root of the mean over every draw of people."""
    return np.sqrt(squares[people].mean(-1))


def root_difference(
    ours: np.ndarray, theirs: np.ndarray, people: np.ndarray
) -> np.ndarray:  # (N,), (N,), (S, N) → (S,)
    """Our root mean square less theirs, of the same draws of people."""
    return root_mean_over(ours, people) - root_mean_over(theirs, people)


def squared_errors(mean: Tensor, cohort: Cohort) -> np.ndarray:  # mean (N, T) → (N, T), 0 where nothing is scored
    """The squared errors of one prediction per person."""
    return np.nan_to_num((cohort.y[..., 0] - mean).square().cpu().numpy(), nan=0.0)


def ranks(values: np.ndarray) -> np.ndarray:  # (..., N) → (..., N)
    """Ranks from 1 along the last axis; equal values share the mean of their ranks."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return np.asarray(below + (equal + 1) / 2)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # (..., N), (..., N) → (...)
    """Spearman's ρ: Pearson's correlation of the ranks (Spearman, 1904); 0 where one of the two is constant."""
    x, y = (r - r.mean(-1, keepdims=True) for r in (ranks(a), ranks(b)))
    norm = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.divide((x * y).sum(-1), norm, out=np.zeros_like(norm), where=norm > 0)


def consensus(beta: np.ndarray) -> np.ndarray:  # (M, N) → (N,)
    """One ordering of the people from M members: their mean rank, members turned to agree with the first.

    β has neither a sign nor a unit that members share: only the order within a member means something.
    """
    order = ranks(beta) / beta.shape[1]
    sign = np.where(spearman(beta, beta[:1]) < 0, -1.0, 1.0)
    return np.asarray((sign[:, None] * (order - order.mean(1, keepdims=True))).mean(0))


def agreement(
    order: np.ndarray,  # (N,)
    index: np.ndarray,  # (N,)
    generator: np.random.Generator,
) -> Estimate:
    """|Spearman ρ| of an order with an index, and its interval over people. The sign is everyone's, and so never a draw's."""
    turn = -1.0 if spearman(order, index) < 0 else 1.0

    def of(turned: np.ndarray, people: np.ndarray) -> np.ndarray:
        return spearman(turned[people], index[people])

    return interval(partial(of, turn * order), len(order), generator)
