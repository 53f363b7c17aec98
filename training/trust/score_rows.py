"""Scores per horizon and per channel, and whether one forecast is better than another on the same people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from hybrid.frames import frame_of
from hybrid.threads import of_blocks, threads_by
from physics.arguments import require_generator, require_kind
from physics.glance import Summary, glance
from training.trust.horizons import FEW, Horizons
from training.trust.ids import people_index
from training.trust.null_band import Array, ArrayLike, as_array, levels_of, tails
from training.trust.outcome import Outcome, require_outcome
from training.trust.score_frames import ScoreTable
from training.trust.scores import score_table

if TYPE_CHECKING:
    from hybrid.frames import DataFrame


@final
@dataclass(frozen=True)
class HorizonScores:
    """The table of one channel in one horizon. `records` people have observations there; `sentence` where they are few."""

    channel: str
    unit: str
    horizon: str
    records: int
    scores: ScoreTable  # as `score_table`, "count" included
    sentence: str | None

    __repr__, _repr_html_ = glance()


def _rows(table: Any) -> Summary:
    shown = ("nll", "crps", "rmse", "coverage_80")
    return f"HorizonTable: {len(table)} rows, one for each channel and horizon", [
        (f"{row.channel}, {row.horizon}", ", ".join(f"{k} {row.scores[k]:.4g}" for k in shown if k in row.scores))
        for row in table
    ]


@final
class HorizonTable(list[HorizonScores]):
    """The rows of `scores_by_horizon`."""

    __repr__, _repr_html_ = glance(_rows)

    def to_frame(self) -> "DataFrame":
        """A pandas DataFrame of a row for each channel and horizon: channel, unit, horizon, records, every score by name."""
        names = dict.fromkeys(name for row in self for name in row.scores)
        columns: dict[str, list[Any]] = {k: [getattr(row, k) for row in self] for k in ("channel", "unit", "horizon", "records")}
        columns |= {name: [row.scores.get(name) for row in self] for name in names}
        return frame_of(columns, "HorizonTable.to_frame")


@threads_by(of_blocks)
def scores_by_horizon(
    outcome: Outcome,
    *,
    horizons: Horizons | None = None,
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    generator: torch.Generator | None = None,
) -> HorizonTable:
    """`score_table` for every channel and horizon in which something was observed.

    With fewer than ten people a row says what its numbers are worth: the standard error that the coverage of an 80 %
    interval then has. Errors: `ValueError` for shapes, or nothing observed within the horizons.
    """
    require_outcome(outcome, "scores_by_horizon")
    levels = levels_of(levels, "scores_by_horizon")
    if horizons is not None:
        require_kind(horizons, Horizons, "scores_by_horizon: horizons", "Horizons.of(prediction)")
    if generator is not None:
        require_generator(generator, "scores_by_horizon: generator")
    prediction, seen = outcome.prediction, outcome.values
    horizons = horizons or Horizons.of(prediction)
    place, rows = horizons.index(prediction.times), []
    for c, channel in enumerate(prediction.channels):
        for h, label in enumerate(horizons.labels):
            mask = np.zeros(seen.shape, dtype=bool)
            mask[..., c] = (place == h) & ~np.isnan(seen[..., c])
            records = int(mask.any((1, 2)).sum())
            if records == 0:
                continue
            sentence = None
            if records < FEW:
                error = 100.0 * (0.8 * 0.2 / records) ** 0.5
                sentence = (
                    f"{channel}, {label}: {records} {'person' if records == 1 else 'people'} only; the share inside an 80 % "
                    f"interval has a standard error of {error:.0f} points by chance alone."
                )
            scores = score_table(outcome, mask=mask, levels=levels, generator=generator)
            rows.append(HorizonScores(channel, prediction.units[c], label, records, scores, sentence))
    if not rows:
        raise ValueError(
            f"None of the {seen.size} observations is present within the horizons {horizons.edges}; check the mask, the "
            "times, and that horizons count from everyone's own first dose (or start)."
        )
    return HorizonTable(rows)


def mean_scores(outcome: Outcome) -> dict[str, Array]:  # each (N, T, p)
    """NLL and CRPS of every observation, NaN where nothing was observed."""
    require_outcome(outcome, "mean_scores")
    seen = outcome.y.to(outcome.prediction.mean.device)
    return {"nll": as_array(-outcome.prediction.log_prob(seen)), "crps": as_array(outcome.prediction.crps(seen))}


@final
@dataclass(frozen=True)
class PairedDifference:
    """Mean score of one forecast minus another's over the same observations, and its interval over resampled people."""

    difference: float
    lower: float
    upper: float
    level: float
    people: int

    @property
    def no_worse(self) -> bool:
        """Whether the interval leaves room for the first being as good: smaller scores are better."""
        return self.lower <= 0.0


@threads_by(of_blocks)
def paired_difference(
    after: ArrayLike,  # (N, ...), scores of observations, NaN is missing
    before: ArrayLike,  # the same shape, missing at the same places
    people: Sequence[str],  # (N,)
    *,
    generator: torch.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> PairedDifference:
    """Mean of `after` − `before`, with the central interval over people drawn with replacement.

    Both are of the same observations, so what makes a person hard cancels; observations of one person stay together.
    Errors: `ValueError` for shapes, or scores missing at different places.
    Source: Efron (1979), the resampled unit being the person.
    """
    a, b = as_array(after), as_array(before)
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)) or np.isnan(a).all():
        raise ValueError(
            f"The scores have shapes {a.shape} and {b.shape}, {int((~np.isnan(a)).sum())} and {int((~np.isnan(b)).sum())} of "
            "them present; a paired difference needs both forecasts' scores of the same observations."
        )
    names, person = people_index(people, len(a))
    gap = (a - b).reshape(len(a), -1)
    total, count = np.zeros(len(names)), np.zeros(len(names))
    np.add.at(total, person, np.nansum(gap, 1))
    np.add.at(count, person, (~np.isnan(gap)).sum(1))
    rows = torch.randint(len(names), (draws, len(names)), generator=generator).numpy()
    size = count[rows].sum(1)
    lower, upper = np.quantile((total[rows].sum(1) / np.maximum(size, 1.0))[size > 0.0], tails(level))
    return PairedDifference(float(total.sum() / count.sum()), float(lower), float(upper), level, len(names))
