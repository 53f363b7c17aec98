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
from training.trust.recalibration.adaptive import AdaptiveConformal
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
    many people no interval of this level is finite · `adaptive`, fitted on all of them, whose intervals follow the next people
    online (Gibbs & Candès 2021); `adaptive_after`, which share they cover with residuals of the others, α handed on from
    measurement to measurement and from person to person; `adaptive_curve` and `adaptive_needed`, the same of so many people's
    residuals.
    Law: over T measurements of a channel `adaptive` misses its level by no more than `adaptive.bound(T)`, whatever the cohort.
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
    adaptive: AdaptiveConformal
    adaptive_after: float
    adaptive_curve: tuple[tuple[int, float, float], ...]
    adaptive_needed: int | None

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_number(self.level, "Update: level", above=0.0, most=1.0)
        require_number(self.people, "Update: people, how many,", least=1.0, whole=True)
        require_kind(self.scaling, Scaling, "Update: scaling", "update(outcome, generator=generator)")
        require_kind(self.conformal, SplitConformal, "Update: conformal", "update(outcome, generator=generator)")
        require_kind(self.adaptive, AdaptiveConformal, "Update: adaptive", "update(outcome, generator=generator)")

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
        near = (
            f"takes the residuals of about {self.adaptive_needed} of them"
            if self.adaptive_needed is not None
            else f"takes the residuals of more than {self.adaptive_curve[-1][0]} of them"
        )
        found.append(
            f"An interval that follows people online (adaptive conformal) {near} for the others to be covered so, and covers "
            f"{100 * self.adaptive_after:.0f} % with those of the others of this table; whoever they are, it comes back to "
            f"{name} in the long run."
        )
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **{name: getattr(self, name) for name in ("level", "people", "before", "after", "needed", "conformal_needed")},
            **{name: getattr(self, name) for name in ("adaptive_after", "adaptive_needed")},
            **{name: [list(row) for row in getattr(self, name)] for name in ("curve", "adaptive_curve")},
            **{name: getattr(self, name).to_dict() for name in ("scaling", "conformal", "adaptive")},
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
                AdaptiveConformal.from_dict(data["adaptive"]),
                float(data["adaptive_after"]),
                tuple((int(n), float(share), float(error)) for n, share, error in data["adaptive_curve"]),
                data["adaptive_needed"],
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
    curves: list[list[tuple[int, float, float]]] = [[], []]
    for n in _sizes(len(names)):
        shares = _of_some(outcome, names, n, level, int(repeats), generator)
        for curve, share in zip(curves, shares or (), strict=shares is not None):
            curve.append((n, share, error / math.sqrt(len(names) - n)))
    return Update(
        float(level),
        len(names),
        _covered(outcome.prediction, outcome, level, None),
        after,
        tuple(curves[0]),
        _needed(curves[0], level),
        Scaling.fit(outcome),
        SplitConformal.fit(outcome, horizons=None),
        people_needed(float(level)),
        AdaptiveConformal.fit(outcome, target=1.0 - float(level)),
        _crossed(outcome, names, level, generator),
        tuple(curves[1]),
        _needed(curves[1], level),
    )


def _needed(curve: Sequence[tuple[int, float, float]], level: float) -> int | None:
    near = [abs(share - level) <= max(NEAR, 2.0 * sd) + 1e-9 for _, share, sd in curve]
    return next((curve[k][0] for k in range(len(curve)) if all(near[k:])), None)


def _sizes(people: int) -> list[int]:
    """So many teach: doubled, up to three quarters of all."""
    sizes, n = [], 2
    while n <= 0.75 * people:
        sizes.append(n)
        n *= 2
    return sizes


def _of_some(
    outcome: Outcome, names: Sequence[str], n: int, level: float, repeats: int, generator: torch.Generator
) -> tuple[float, float] | None:
    """The shares of the others that n people's factors, and n people's residuals, cover; None where no choice of them has every
    channel.
    """
    scaled, followed = [], []
    for _ in range(repeats):
        teachers = {names[k] for k in torch.randperm(len(names), generator=generator)[:n].tolist()}
        own = torch.tensor([name in teachers for name in outcome.people])
        taught, others = outcome.rows(own), outcome.rows(~own)
        if not _teaches(taught):
            continue
        scaled.append(_covered(others.prediction, others, level, Scaling.fit(taught)))
        followed.append(_share(_followed(taught, others, level)))
    return (float(np.mean(scaled)), float(np.mean(followed))) if scaled else None


def _teaches(outcome: Outcome) -> bool:
    """Was every channel observed?"""
    return bool(np.isfinite(outcome.values).any((0, 1)).all())


def _crossed(outcome: Outcome, names: Sequence[str], level: float, generator: torch.Generator) -> float:
    """The share of everyone that the residuals of the other four fifths cover."""
    order = torch.randperm(len(names), generator=generator).tolist()
    fold = {names[k]: place % min(5, len(names)) for place, k in enumerate(order)}
    missed = []
    for f in sorted(set(fold.values())):
        out = torch.tensor([fold[name] == f for name in outcome.people])
        if _teaches(outcome.rows(~out)):
            missed.append(_followed(outcome.rows(~out), outcome.rows(out), level))
    return _share(np.concatenate(missed or [np.zeros(0)]))


def _followed(teachers: Outcome, others: Outcome, level: float) -> NDArray[np.float64]:
    """1 where an interval that follows people one after another misses, 0 where it does not."""
    rule, alpha, missed = AdaptiveConformal.fit(teachers, target=1.0 - level), None, []
    for row in range(others.values.shape[0]):
        found = rule.follow(others.rows(torch.tensor([row])), alpha=alpha)
        alpha = found.alpha
        missed.append(found.missed[np.isfinite(found.missed)])
    return np.concatenate(missed)


def _share(missed: NDArray[np.float64]) -> float:
    return float(1.0 - missed.mean()) if len(missed) else math.nan


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
