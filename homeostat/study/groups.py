"""Of whom a forecast is, and how good it is for some of its people and for the others: halves by each covariate, with bands."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from homeostat.study.evaluation import Evaluation
from training import Record
from training.trust.outcome import Outcome
from training.trust.score_rows import mean_scores, paired_difference

LEVEL = 0.8  # of the interval whose coverage is given
FEWEST = 3  # people of a half: of fewer no band says anything
_MOST = 6  # covariates


def scores_by_group(name: str, evaluation: Evaluation, records: Sequence[Record], seed: int = 13) -> dict[str, Any]:
    """Mean CRPS and coverage of the 80 % interval of the people in each half of each covariate, plain JSON for a bundle.

    The halves are those up to the median and above it; of a covariate with one value, or a half of fewer than three people,
    there are none. A mean CRPS has the 95 % interval over people drawn with replacement; a share the band of cohorts drawn from
    this forecast, in which one person's measurements share their path (`Evaluation.joint_pit`).
    `records`: those of `evaluation`, in its order.
    """
    there = torch.isfinite(evaluation.y).numpy()  # (N, T, p)
    who, _, which = np.nonzero(there)  # (n,), of every scored observation
    crps = mean_scores(Outcome(evaluation.prediction, evaluation.y, range(len(evaluation.y))))["crps"]  # (N, T, p)
    generator = torch.Generator().manual_seed(seed)
    inside = np.abs(evaluation.pit - 0.5) <= LEVEL / 2
    drawn = np.abs(evaluation.joint_pit - 0.5) <= LEVEL / 2  # (R, n)
    found = []
    for by, words, people in halves_of(records):
        for c, channel in enumerate(evaluation.prediction.channels):
            mine = people[who] & (which == c)
            scored = np.unique(who[mine])
            if len(scored) < FEWEST:
                continue
            values = crps[scored, :, c]
            mean = paired_difference(values, np.where(np.isnan(values), np.nan, 0.0), list(map(str, scored)), generator=generator)
            low, high = np.quantile(drawn[:, mine].mean(1), [0.025, 0.975])
            found.append(
                {
                    "group": words,
                    "by": by,
                    "channel": channel,
                    "people": len(scored),
                    "count": int(mine.sum()),
                    "crps": {"observed": mean.difference, "lower": mean.lower, "upper": mean.upper},
                    "coverage": {"observed": float(inside[mine].mean()), "lower": float(low), "upper": float(high)},
                }
            )
    return {"forecast": name, "level": LEVEL, "groups": found}


def cross_validated(people: int, held: str = "") -> dict[str, str]:
    """Of whom the scores of a cross-validation by person are, for a bundle's `whom`; `held`, the forecast of the file's model."""
    said = (
        f"the {people} people of the training, each forecast by members that were fitted without them and are not the members in "
        "this file"
    )
    return {"scores": f"{said}, whose model is that of the row {held}" if held else said, "groups": said, "uncertainty": said}


def halves_of(records: Sequence[Record]) -> Iterator[tuple[str, str, np.ndarray]]:  # (N,) of truths
    """The halves of each covariate that everyone has in one unit: its name, the half in words, and who is in it."""
    names = sorted(set.intersection(*(set(r.covariates) for r in records))) if records else []
    for name in names[:_MOST]:
        values = np.array([float(r.covariates[name]) for r in records])
        units = {r.units.get(name) for r in records}
        if len(units) > 1:
            continue
        unit = units.pop()
        behind = f" {unit}" if unit not in (None, "", "1") else ""
        middle = float(np.median(values))
        if middle == values.max():  # more than half have the largest: a sign, that few do not have
            middle = float(np.max(values[values < middle], initial=-np.inf))
        low = values <= middle
        if min(low.sum(), (~low).sum()) < FEWEST:
            continue
        yield name, f"{name} up to {middle:.4g}{behind}", low
        yield name, f"{name} above {middle:.4g}{behind}", ~low
