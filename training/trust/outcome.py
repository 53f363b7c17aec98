"""What was forecast, what was then observed, and of whom: the one value that is scored, judged and recalibrated on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybrid.prediction import Prediction
from hybrid.schedules.dose import SAME
from physics.arguments import quote, require_kind, require_number, require_same_people
from physics.glance import Summary, glance
from training.trust.ids import ids_of, people_index
from training.trust.null_band import Array, ArrayLike, as_array


class Measured(Protocol):
    """One person of a cohort, as far as an outcome asks: the channels measured, and the unit of each by name."""

    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def units(self) -> Mapping[str, str]: ...


class People(Protocol):
    """A padded batch of people, as far as an outcome asks: `training.Cohort` is one."""

    @property
    def ids(self) -> tuple[str, ...]: ...  # (N,)
    @property
    def times(self) -> Tensor: ...  # (N, T)
    @property
    def y(self) -> Tensor: ...  # (N, T, p)
    @property
    def records(self) -> Sequence[Measured]: ...  # (N,)


def _summary(outcome: Any) -> Summary:
    count = int((~torch.isnan(outcome.y)).sum())
    return f"Outcome: people {len(outcome.names)}, observations {count}, beside their prediction", [
        ("prediction", outcome.prediction),
        ("people", outcome.people),
        ("y", outcome.y),
    ]


@final
@dataclass(frozen=True, eq=False, init=False)
class Outcome:
    """N people's prediction and what was then observed of them, read and checked once.

    Arguments
      prediction  mixtures at N people's T times in p channels
      y           (N, T, p) in the channels' units, an array, a tensor or lists; NaN is missing. Kept in float64, off any graph
                  and device, NaN at padding too
      people      (N,) ids, texts or whole numbers: whose each row is. Rows with one id are one person's, and depend on each other

    `dataclasses.replace(outcome, prediction=…)` is the same people under another forecast.
    Errors: `ValueError` for shapes that disagree, infinite observations, another number of ids than rows, or ids that are the
    prediction's own in another order.
    """

    prediction: Prediction
    y: Tensor
    people: tuple[str, ...]

    __repr__, _repr_html_ = glance(_summary)

    def __init__(self, prediction: Prediction, y: ArrayLike, people: Sequence[str | int]) -> None:
        require_prediction(prediction, "Outcome")
        seen = torch.from_numpy(as_array(y, truths=False).copy())
        shape = prediction.mean.shape[2:]
        if seen.shape != shape:
            raise ValueError(
                f"Observations have shape {tuple(seen.shape)}; the prediction needs (people, times, channels) = {tuple(shape)}. "
                "A single channel still has its axis: write y[..., None]."
            )
        seen = torch.where(prediction.mask[..., None].cpu(), seen, torch.nan)
        if bool(torch.isinf(seen).any()):
            raise ValueError("Observations hold infinite values; a missing one is NaN: write np.where(isfinite, y, nan).")
        people_index(people, len(seen))
        require_own_rows(prediction, people, "Outcome")
        object.__setattr__(self, "prediction", prediction)
        object.__setattr__(self, "y", seen)
        object.__setattr__(self, "people", tuple(ids_of(people)))

    @staticmethod
    def of(prediction: Prediction, cohort: People) -> "Outcome":
        """What a cohort's people showed, beside their prediction at the cohort's own times.

        Errors: `ValueError` for other people, or in another order, than the prediction's `ids` where it has them; for other
        channels, units or times than it has, where something was observed.
        """
        require_prediction(prediction, "Outcome.of")
        if not all(hasattr(cohort, name) for name in ("ids", "times", "y", "records")):
            raise ValueError(
                f"Outcome.of: cohort has people's ids, times, y and records, and is {quote(cohort)}; write "
                "Cohort.of(records, model), or Outcome(prediction, y, people)"
            )
        write = "give prediction.people(index) in the cohort's order, or predict for this cohort"
        require_same_people(prediction.ids, cohort.ids, "Outcome.of: prediction and cohort", write)
        limits = getattr(cohort, "limits", None)
        if limits is not None:
            count = int(torch.isfinite(limits).any(-1).sum())
            raise ValueError(
                f"Outcome.of: {count} values are only known to lie between limits, and scores compare with "
                'numbers; write Cohort.of(records, model, censoring="m1") to score the numbers alone, and say so: values are '
                "missing there because they were low, or high"
            )
        found = Outcome(prediction, cohort.y, cohort.ids)
        for name, person in zip(cohort.ids, cohort.records, strict=True):
            theirs = dict(zip(prediction.channels, prediction.units, strict=True))  # what no unit is stated of is in the model's
            units = tuple(person.units.get(channel, theirs.get(channel, "?")) for channel in person.channels)
            if tuple(person.channels) != prediction.channels or units != prediction.units:
                raise ValueError(
                    f"Outcome.of: {name} was measured in {_listed(person.channels, units)}, and the prediction is of "
                    f"{_listed(prediction.channels, prediction.units)}; predict with the model that the cohort was made for"
                )
        observed = ~torch.isnan(found.y).all(2)
        asked, given = (torch.where(observed, v.detach().cpu().double(), 0.0) for v in (prediction.times, cohort.times))
        apart = (asked - given).abs() > SAME * given.abs().amax(1, keepdim=True)
        if bool(apart.any()):
            i, t = torch.nonzero(apart)[0].tolist()
            raise ValueError(
                f"Outcome.of: {cohort.ids[i]} was observed at {float(given[i, t]):g} and predicted at {float(asked[i, t]):g}; "
                "predict at the cohort's own times, times=cohort.times"
            )
        return found

    @property
    def person(self) -> NDArray[np.int64]:  # (N,)
        """Which person every row belongs to, counted in order of appearance."""
        return people_index(self.people, len(self.people))[1]

    @property
    def names(self) -> tuple[str, ...]:
        """Each id once, in order of appearance."""
        return tuple(dict.fromkeys(self.people))

    @property
    def values(self) -> Array:  # (N, T, p)
        """`y` as a numpy array."""
        return self.y.numpy()

    def rows(self, index: Sequence[int] | Tensor) -> "Outcome":
        """These rows alone, as `Prediction.people` takes them: whole numbers, or N times True or False."""
        prediction = self.prediction.people(index)
        rows = torch.arange(len(self.people))[torch.as_tensor(index, device="cpu")]
        return Outcome(prediction, self.y[rows], [self.people[i] for i in rows.tolist()])

    def during(self, start: float, end: float) -> "Outcome":
        """What is in [start, end] alone, of each record's own time; the rest becomes padding."""
        return replace(self, prediction=self.prediction.during(start, end))

    def above(self, threshold: float) -> tuple[Array, Array]:  # each (N, T, p)
        """The event "an observation above it": its probability, and whether it came, 0 or 1, NaN where nothing was observed."""
        require_number(threshold, "Outcome.above: threshold")
        threshold = float(threshold)
        came = torch.where(torch.isnan(self.y), torch.nan, (self.y > threshold).double())
        return as_array(self.prediction.exceeds(threshold)), as_array(came)


def _listed(channels: Sequence[str], units: Sequence[str]) -> str:
    return ", ".join(f"{channel} ({unit})" for channel, unit in zip(channels, units, strict=True))


def require_prediction(prediction: object, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, for what is no prediction."""
    require_kind(prediction, Prediction, f"{name}: prediction", "predict(model, cohort, draws)")


def require_own_rows(prediction: Prediction, people: Sequence[str | int], name: str) -> None:
    """Raise `ValueError`, beginning with `name`, where the people are those of the prediction in another order.

    Names that are other ones are welcome: numbers in their order, or one name for several records of a person.
    """
    given = ids_of(people)
    if prediction.ids is not None and sorted(given) == sorted(prediction.ids):
        write = "give people in the prediction's order, prediction.ids"
        require_same_people(prediction.ids, given, f"{name}: prediction and people", write)


def require_outcome(outcome: object, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, for what is no outcome."""
    require_kind(outcome, Outcome, f"{name}: outcome", "Outcome(prediction, y, people), or Outcome.of(prediction, cohort)")
