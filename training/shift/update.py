"""With some outcomes of another cohort: a recalibration fitted on these people, and how many of them it takes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from hybrid import Prediction
from physics.arguments import as_written, require_generator, require_kind, require_number
from physics.glance import glance
from training.trust.outcome import Outcome, require_outcome
from training.trust.recalibration.conformal import SplitConformal, people_needed
from training.trust.recalibration.cross_scaling import CrossScaling
from training.trust.recalibration.scaling import Scaling

NEAR = 0.05  # of the level: what counts as reached
FEWEST = 4  # people, for anything to be learned of them and shown on others


@final
@dataclass(frozen=True)
class Update:
    """What another cohort's outcomes say about the forecasts of it.

    `level` of the intervals · `people`, how many · `before`, which share of their observations the intervals cover as they are,
    and `after`, scaled by the others of the same cohort · `curve`, for so many people the share covered of the *other* people,
    scaled by those, the mean over random choices of them, and the standard error that so few others leave · `needed`, the
    smallest number of the curve from which on that share is within 0.05 of the level, or two such errors, None where no number
    does · `scaling` and `conformal`, fitted on all of them, for the next people of this cohort · `conformal_needed`, below how
    many people no interval of this level is finite.
    """

    level: float
    people: int
    before: float
    after: float
    curve: tuple[tuple[int, float, float], ...]
    needed: int | None
    scaling: Scaling
    conformal: SplitConformal
    conformal_needed: int

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_number(self.level, "Update: level", above=0.0, most=1.0)
        require_number(self.people, "Update: people, how many,", least=1.0, whole=True)
        require_kind(self.scaling, Scaling, "Update: scaling", "update(outcome, generator=generator)")
        require_kind(self.conformal, SplitConformal, "Update: conformal", "update(outcome, generator=generator)")

    def sentences(self) -> list[str]:
        """What was found, and how many people it takes."""
        name = f"{100 * self.level:g} %"
        found = [
            f"The {name} intervals cover {100 * self.before:.0f} % of what was observed of these {self.people} "
            f"people as they are, "
            f"and {100 * self.after:.0f} % once the variances are scaled by the others of this table."
        ]
        shown = ", ".join(f"{n} people: {100 * share:.0f} %" for n, share, _ in self.curve)
        takes = (
            f"It takes about {self.needed} of them"
            if self.needed is not None
            else f"More than {self.curve[-1][0]} of them are needed, or another model,"
        )
        found.append(
            f"{takes} for the others to be covered within {100 * NEAR:g} points of {name}, or within what so few others can show "
            f"(scaled by {shown})."
        )
        more = self.people >= self.conformal_needed
        found.append(
            f"A conformal interval of {name}, which holds whatever the model, takes {self.conformal_needed} people, and there "
            f"{'are enough' if more else 'are too few'}: it is of the next person of this cohort, and not of one "
            f"more measurement."
        )
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **{name: getattr(self, name) for name in ("level", "people", "before", "after", "needed", "conformal_needed")},
            "curve": [list(row) for row in self.curve],
            "scaling": self.scaling.to_dict(),
            "conformal": self.conformal.to_dict(),
            "sentences": self.sentences(),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Update":
        """The inverse of `to_dict`."""
        with as_written(data, "Update"):
            return Update(
                float(data["level"]),
                data["people"],
                float(data["before"]),
                float(data["after"]),
                tuple((int(n), float(share), float(error)) for n, share, error in data["curve"]),
                data["needed"],
                Scaling.from_dict(data["scaling"]),
                SplitConformal.from_dict(data["conformal"]),
                data["conformal_needed"],
            )


def update(
    outcome: Outcome,
    *,
    generator: torch.Generator,
    level: float = 0.8,
    repeats: int = 8,
) -> Update:
    """Recalibrate on another cohort, judge it by people who had no say in it, and say how many people it takes.

    Arguments: `outcome`, forecasts of people of that cohort and what was then observed; `generator` chooses who teaches and who
    judges, `repeats` times for each number of people.
    Errors: `ValueError` for fewer than four people with observations: then neither can be done.
    Law: whoever is judged had no part in the factors that they are judged by.
    """
    require_outcome(outcome, "update")
    require_generator(generator, "update: generator")
    require_number(level, "update: level", above=0.0, most=0.999)
    require_number(repeats, "update: repeats", least=1.0, most=1e4, whole=True)
    observed = [i for i, row in enumerate(outcome.values) if np.isfinite(row).any()]
    outcome = outcome.rows(observed) if 0 < len(observed) < len(outcome.people) else outcome
    names = outcome.names
    if len(observed) < FEWEST or len(names) < FEWEST:
        raise ValueError(
            f"update: {len(names) if observed else 0} people were observed, and {FEWEST} are needed for some to "
            f"teach and others to "
            "judge; wait for more, and take the intervals as they are until then"
        )
    crossed = CrossScaling.fit(outcome, folds=min(5, len(names)), generator=generator)
    after = _covered(outcome.prediction, outcome, level, crossed)
    own = _by_person(crossed.apply(outcome.prediction, outcome.people), outcome, level)
    error = float(own.std(ddof=1))  # of one person's share; people, and not their measurements, are independent
    curve = [
        (n, _of_some(outcome, names, n, level, int(repeats), generator), error / math.sqrt(len(names) - n))
        for n in _sizes(len(names))
    ]
    near = [abs(share - level) <= max(NEAR, 2.0 * sd) + 1e-9 for _, share, sd in curve]
    needed = next((curve[k][0] for k in range(len(curve)) if all(near[k:])), None)
    return Update(
        float(level),
        len(names),
        _covered(outcome.prediction, outcome, level, None),
        after,
        tuple(curve),
        needed,
        Scaling.fit(outcome),
        SplitConformal.fit(outcome, horizons=None),
        people_needed(float(level)),
    )


def _sizes(people: int) -> list[int]:
    """So many teach: doubled, up to three quarters of all."""
    sizes, n = [], 2
    while n <= 0.75 * people:
        sizes.append(n)
        n *= 2
    return sizes


def _of_some(
    outcome: Outcome, names: Sequence[str], n: int, level: float, repeats: int, generator: torch.Generator
) -> float:
    shares = []
    for _ in range(repeats):
        teachers = {names[k] for k in torch.randperm(len(names), generator=generator)[:n].tolist()}
        own = torch.tensor([name in teachers for name in outcome.people])
        scaling = Scaling.fit(outcome.rows(own))
        others = outcome.rows(~own)
        shares.append(_covered(others.prediction, others, level, scaling))
    return float(np.mean(shares))


def _by_person(stated: Prediction, outcome: Outcome, level: float) -> NDArray[np.float64]:
    """Of each person the share of their observations that the central intervals hold."""
    pit = stated.cdf(outcome.y.to(stated.mean.device)).cpu().numpy()
    there, person = np.isfinite(pit), outcome.person
    inside = (np.abs(np.where(there, pit, 0.5) - 0.5) <= 0.5 * level) & there
    held, count = (np.bincount(person, v.sum((1, 2)).astype(np.float64)) for v in (inside, there))
    found: NDArray[np.float64] = held / np.maximum(count, 1.0)
    return found


def _covered(prediction: Prediction, outcome: Outcome, level: float, scaling: "Scaling | CrossScaling | None") -> float:
    """Which share of the observations the central intervals hold."""
    stated = prediction if scaling is None else scaling.apply(prediction, outcome.people)
    pit = stated.cdf(outcome.y.to(stated.mean.device)).cpu().numpy()
    there = np.isfinite(pit)
    return float((np.abs(pit[there] - 0.5) <= 0.5 * level).mean())
