"""What a recalibration was fitted on, so that it can refuse to be judged by the same people."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from physics.arguments import as_written, require_flag, require_kind, require_names, require_number
from physics.glance import glance
from training.trust.ids import ids_of, people_index
from training.trust.null_band import ArrayLike, as_array


@final
@dataclass(frozen=True)
class FittedOn:
    """The people and the data behind a fit.

    `people`, their ids, each once · `observations`, how many were present · `digest`, SHA-256 of the data, whatever the
    order of the people and their ids: the same table under other names is known again.
    Law: what was fitted on some people refuses each of them, and takes anyone else.
    """

    people: tuple[str, ...]
    observations: int
    digest: str

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        object.__setattr__(self, "people", require_names(self.people, "FittedOn: people", "cohort.ids"))
        if not self.people:
            raise ValueError("FittedOn: people is empty, and what is fitted is on someone; write FittedOn.of(people, observed)")
        require_number(self.observations, "FittedOn: observations, how many,", least=1.0, whole=True)
        require_kind(self.digest, str, "FittedOn: digest", "FittedOn.of(people, observed)")

    @staticmethod
    def of(
        people: Sequence[str],  # (N,)
        observed: ArrayLike,  # (N, ...), NaN is missing
        *beside: ArrayLike,  # each (N, ...), what else the data are: probabilities, where outcomes are 0 and 1
    ) -> "FittedOn":
        """The record of a fit to what these people showed.

        Errors: `ValueError` for another number of ids than rows, or nothing observed.
        """
        for one in (observed, *beside):
            if as_array(one).shape != as_array(observed).shape or not as_array(one).ndim:
                raise ValueError(
                    f"what was observed has shape {as_array(observed).shape} and what goes beside it {as_array(one).shape}; both "
                    "have a row for each of the people"
                )
            if np.isinf(as_array(one)).any():
                raise ValueError("what was observed holds infinite values; a missing one is NaN")
        names, _ = people_index(people, len(as_array(observed)))
        count = int((~np.isnan(as_array(observed))).sum())
        if count == 0:
            raise ValueError(
                f"Nothing was observed of the {len(names)} people to fit on (all is NaN); check the mask, and that "
                "observations and forecasts are at the same times."
            )
        return FittedOn(names, count, _digest(observed, *beside))

    def refuse(self, people: Sequence[str], *data: ArrayLike, in_sample: bool) -> None:
        """Raise `ValueError` if any of these people, or these very data, were fitted on and `in_sample` does not allow it.

        What was fitted on people looks good on the same people, whatever it is worth.
        """
        require_flag(in_sample, "in_sample")
        ids = ids_of(people)
        if in_sample:
            return
        known = set(self.people)
        again = sorted(set(ids) & known)
        if again:
            raise ValueError(
                f"This recalibration was fitted on {len(again)} of these people ({', '.join(again[:5])}"
                f"{' …' if len(again) > 5 else ''}); on them it looks better than it is. Judge it by people it has not seen: "
                "leave them out, or fit it fold by fold. To see what it does to them all the same, write in_sample=True, and "
                "report nothing of it."
            )
        if data and _digest(*data) == self.digest:
            raise ValueError(
                "These are the very data that this recalibration was fitted on, under other ids; on them it looks better "
                "than it is. Judge it by people it has not seen, or write in_sample=True and report nothing of it."
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"people": list(self.people), "observations": self.observations, "digest": self.digest}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "FittedOn":
        """The inverse of `to_dict`."""
        with as_written(data, "FittedOn"):
            return FittedOn(data["people"], data["observations"], data["digest"])


def _digest(*data: ArrayLike) -> str:
    """SHA-256 of the rows, each without what is missing in the first array, in an order of their own."""
    arrays = [as_array(values) for values in data]
    if any(a.shape != arrays[0].shape or not a.ndim for a in arrays):
        raise ValueError(f"these data have the shapes {[a.shape for a in arrays]}; all need a row for each of the people")
    rows = []
    for i in range(len(arrays[0])):
        here = ~np.isnan(arrays[0][i])
        rows.append(b"".join(np.asarray(values[i][here] + 0.0).tobytes() for values in arrays))
    return hashlib.sha256(b"|".join(sorted(rows))).hexdigest()
