"""What a recalibration was fitted on, so that it can refuse to be judged by the same people."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from training.null_band import ArrayLike, as_array


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

    @staticmethod
    def of(
        people: Sequence[str],  # (N,)
        observed: ArrayLike,  # (N, ...), NaN is missing
        *beside: ArrayLike,  # each (N, ...), what else the data are: probabilities, where outcomes are 0 and 1
    ) -> "FittedOn":
        """The record of a fit to what these people showed.

        Errors: `ValueError` for another number of ids than rows, or nothing observed.
        """
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
        if in_sample:
            return
        known = set(self.people)
        again = sorted({str(person) for person in people} & known)
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
        return FittedOn(tuple(data["people"]), int(data["observations"]), str(data["digest"]))


def people_index(people: Sequence[str], rows: int) -> tuple[tuple[str, ...], NDArray[np.int64]]:  # names, (N,)
    """Each id once, in order of appearance, and which of them every row belongs to: a person may have several records.

    Errors: `ValueError` for another number of ids than rows.
    """
    labels = [str(person) for person in people]
    if len(labels) != rows:
        raise ValueError(
            f"{len(labels)} ids came with {rows} rows of observations; give one id per row: people=cohort.ids. A string in "
            "place of a list of strings is a usual cause."
        )
    names = tuple(dict.fromkeys(labels))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[label] for label in labels], dtype=np.int64)


def _digest(*data: ArrayLike) -> str:
    """SHA-256 of the rows, each without what is missing in the first array, in an order of their own."""
    arrays = [as_array(values) for values in data]
    rows = []
    for i in range(len(arrays[0])):
        here = ~np.isnan(arrays[0][i])
        rows.append(b"".join(np.asarray(values[i][here] + 0.0).tobytes() for values in arrays))
    return hashlib.sha256(b"|".join(sorted(rows))).hexdigest()
