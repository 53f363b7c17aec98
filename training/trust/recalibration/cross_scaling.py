"""Scaling where no people can be set aside: everyone by factors that the others gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from hybrid.prediction import Prediction
from physics.arguments import as_written, require_generator, require_kind, require_number
from physics.glance import glance
from training.trust.ids import ids_of, people_index
from training.trust.null_band import Array, as_array
from training.trust.outcome import Outcome, require_outcome, require_own_rows, require_prediction
from training.trust.recalibration.factors import Score
from training.trust.recalibration.scaling import Scaling


@final
@dataclass(frozen=True)
class CrossScaling:
    """K scalings, the k-th fitted without the people of fold k, to whom alone it is applied.

    `scalings` (K,) · `fold`, everyone's by id. Use it to judge recalibration on a small cohort that was forecast by
    cross-validation; for new people fit one `Scaling` on everyone.
    Law: nobody's observations have a say in their own factors. Source: Vovk (2015), cross-conformal prediction, the same idea.
    """

    scalings: tuple[Scaling, ...]
    fold: Mapping[str, int]

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        for scaling in self.scalings:
            require_kind(scaling, Scaling, "CrossScaling: each of scalings", "CrossScaling.fit(outcome, …)")
        if len(self.scalings) < 2 or not self.fold:
            raise ValueError(f"CrossScaling: needs two scalings and people, got {len(self.scalings)} and {len(self.fold)}")
        for name, k in self.fold.items():
            require_number(k, f"CrossScaling: the fold of {name[:60]}", least=0.0, most=len(self.scalings) - 1.0, whole=True)

    @staticmethod
    def fit(
        outcome: Outcome,
        *,
        folds: int,
        generator: torch.Generator,
        score: Score = "nll",
    ) -> "CrossScaling":
        """Deal people into folds at random, sizes as equal as can be, and fit each scaling on the others.

        Errors: `ValueError` for fewer than two folds, more folds than people, or as `Scaling.fit`.
        """
        require_outcome(outcome, "CrossScaling.fit")
        require_generator(generator, "CrossScaling.fit: generator")
        require_number(folds, "CrossScaling.fit: folds", whole=True)
        folds = int(folds)
        names, person = outcome.names, outcome.person
        if not 2 <= folds <= len(names):
            raise ValueError(f"{folds} folds of {len(names)} people; write folds=2 to {len(names)} (each person alone).")
        dealt = torch.empty(len(names), dtype=torch.long)
        dealt[torch.randperm(len(names), generator=generator)] = torch.arange(len(names)) % folds
        scalings = []
        for k in range(folds):
            others = [i for i in range(len(person)) if int(dealt[person[i]]) != k]
            scalings.append(Scaling.fit(outcome.rows(others), score=score))
        return CrossScaling(tuple(scalings), {name: int(k) for name, k in zip(names, dealt, strict=True)})

    @property
    def people(self) -> tuple[str, ...]:
        """Everyone in a fold."""
        return tuple(self.fold)

    def refuse(self, people: Sequence[str], observed: Array | None = None) -> None:
        """Raise `ValueError` for people in no fold: to them any of the scalings would be as good, and one of all better."""
        unknown = sorted(set(ids_of(people)) - set(self.fold))
        if observed is not None:
            as_array(observed)
        if unknown:
            raise ValueError(
                f"{len(unknown)} people are in no fold ({', '.join(unknown[:5])}); for new people fit one scaling on everyone: "
                "Scaling.fit(outcome)."
            )

    def apply(self, prediction: Prediction, people: Sequence[str]) -> Prediction:
        """Everyone's prediction by the scaling that never saw them.

        Errors: `ValueError` for people in no fold, or other channels.
        """
        require_prediction(prediction, "CrossScaling.apply")
        self.refuse(people)
        people_index(people, prediction.mean.shape[2])
        require_own_rows(prediction, people, "CrossScaling.apply")
        mean, variance = prediction.mean.clone(), prediction.variance.clone()
        for k, scaling in enumerate(self.scalings):
            rows = [i for i, person in enumerate(people) if self.fold[str(person)] == k]
            if rows:
                part = scaling.apply(prediction.people(rows), [people[i] for i in rows])
                mean[:, :, rows], variance[:, :, rows] = part.mean, part.variance
        return replace(prediction, mean=mean, variance=variance)

    def perturbed(self, prediction: Prediction, generator: torch.Generator) -> Prediction:
        """As `Scaling.perturbed`, alike for all folds: they share most of their people, and so their luck."""
        return self.scalings[0].perturbed(prediction, generator)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"kind": "cross_scaling", "scalings": [s.to_dict() for s in self.scalings], "fold": dict(self.fold)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "CrossScaling":
        """The inverse of `to_dict`."""
        with as_written(data, "CrossScaling"):
            fold = {str(p): k for p, k in data["fold"].items()}
            return CrossScaling(tuple(Scaling.from_dict(s) for s in data["scalings"]), fold)
