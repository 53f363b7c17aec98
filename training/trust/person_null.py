"""What a perfect forecaster would show, person by person: whole cohorts drawn from the forecast itself."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from physics.glance import glance
from training.trust.null_band import Array, NullBand, as_array, tails
from training.trust.outcome import Outcome, require_outcome
from training.trust.recalibration.cross_scaling import CrossScaling
from training.trust.recalibration.scaling import Scaling

ROWS = 5 * 10**6  # observations drawn in all, where a band needs no more: 40 MB


@final
@dataclass(frozen=True, eq=False)
class PersonNull:
    """R rows of a cohort's observations drawn from its prediction, and D replicates that take everyone's from some row.

    `drawn` (R, N, T, p), NaN where nothing was observed, and `transform`, its probability integral transform · `person` (N,),
    whose row it is · `chosen` (D, P), the row that each of P people has in a replicate; None: each row is a replicate.
    Statistics that are functions of sums over people are made from the R rows' sums per person, so that 1,000 replicates cost
    little more than a hundred rows.
    """

    drawn: Array
    transform: Array
    person: NDArray[np.int64]
    chosen: NDArray[np.int64] | None

    __repr__, _repr_html_ = glance()

    @staticmethod
    def draw(
        outcome: Outcome,
        *,
        generator: torch.Generator,
        replicates: int = 1000,
        shared_member: bool = False,
        calibration: Scaling | CrossScaling | None = None,
    ) -> "PersonNull":
        """Draw what would be observed if the prediction were right.

        People are independent and their observations are not: a row is a whole path. `shared_member`: all people of a
        replicate share the ensemble's member, as they share the world. `calibration`: the prediction was recalibrated by
        it, and each replicate is drawn from what other calibration people might have made of it: the band then holds
        that set's own luck. In both cases replicates are whole rows, fewer where the cohort is large.
        Errors: `ValueError` for shapes, or fewer than 20 replicates.
        """
        if replicates < 20:
            raise ValueError(f"{replicates} replicates were asked for; a band of 95 % needs at least 20 (1,000 by default).")
        require_outcome(outcome, "PersonNull.draw")
        prediction, seen = outcome.prediction, outcome.y
        here = ~torch.isnan(seen)
        rows = int(min(replicates, max(100, ROWS // max(seen.numel(), 1))))
        if calibration is None:
            drawn = prediction.sample(rows, generator, shared_member=shared_member)
        else:
            worlds = (calibration.perturbed(prediction, generator) for _ in range(rows))
            drawn = torch.cat([w.sample(1, generator, shared_member=shared_member) for w in worlds])
        drawn = torch.where(here.to(drawn.device), drawn, torch.nan)
        chosen = None
        if not shared_member and calibration is None:
            chosen = torch.randint(rows, (replicates, len(outcome.names)), generator=generator).numpy()
        return PersonNull(as_array(drawn), as_array(prediction.cdf(drawn)), outcome.person, chosen)

    @property
    def replicates(self) -> int:
        """D."""
        return len(self.drawn) if self.chosen is None else len(self.chosen)

    def sums(self, contribution: Array) -> Array:  # (R, N, k) -> (D, k)
        """Sums over people in every replicate."""
        if self.chosen is None:
            return contribution.sum(1)
        per_person = np.zeros((self.chosen.shape[1], len(contribution), contribution.shape[2]))
        np.add.at(per_person, self.person, contribution.swapaxes(0, 1))
        return _recombined(per_person.swapaxes(0, 1), self.chosen)

    def counts(
        self,
        cell: NDArray[np.int64],  # (N, T) or (R, N, T), −1 where it belongs to none
        cells: int,
        weight: Array | None = None,  # (R, N, T), 1 where None
    ) -> Array:  # (D, cells)
        """How much falls into each cell, in every replicate."""
        rows, people = len(self.drawn), int(self.person.max()) + 1
        place = np.broadcast_to(cell, (rows, *self.drawn.shape[1:3]))
        first = (np.arange(rows)[:, None] * people + self.person)[..., None] * cells  # (R, N, 1)
        into = place >= 0
        weights = None if weight is None else weight[into]
        flat = np.bincount((first + place)[into], weights=weights, minlength=rows * people * cells)
        per_person = flat.reshape(rows, people, cells).astype(np.float64)
        return per_person.sum(1) if self.chosen is None else _recombined(per_person, self.chosen)


def _recombined(per_person: Array, chosen: NDArray[np.int64]) -> Array:  # (R, P, k), (D, P) -> (D, k)
    total = np.zeros((len(chosen), per_person.shape[2]))
    for i in range(chosen.shape[1]):
        total += per_person[chosen[:, i], i]
    return total


def null_band_of(replicates: Array, observed: float, level: float = 0.95) -> NullBand:
    """The null band of a statistic from its replicates (D,); a statistic that does not exist (NaN) is None."""
    kept = replicates[~np.isnan(replicates)]
    seen = None if np.isnan(observed) else float(observed)
    lower, upper = np.quantile(kept, tails(level))
    return NullBand(float(kept.mean()), float(lower), float(upper), seen, level, len(kept))
