"""Whose row is whose: ids as they are given, and each person's rows together."""

from collections.abc import Iterable, Mapping, Sequence, Sized

import numpy as np
from numpy.typing import NDArray

from physics.arguments import quote


def people_index(people: Sequence[str | int], rows: int) -> tuple[tuple[str, ...], NDArray[np.int64]]:  # names, (N,)
    """Each id once, in order of appearance, and which of them every row belongs to: a person may have several records.

    Errors: `ValueError` for another number of ids than rows.
    """
    labels = ids_of(people)
    if len(labels) != rows:
        raise ValueError(
            f"{len(labels)} ids came with {rows} rows of observations; give one id per row: people=cohort.ids. A string in "
            "place of a list of strings is a usual cause."
        )
    names = tuple(dict.fromkeys(labels))
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([place[label] for label in labels], dtype=np.int64)


def ids_of(people: Sequence[str | int]) -> list[str]:
    """The ids as texts. Errors: `ValueError` for what is no list of ids."""
    if isinstance(people, str | bytes | Mapping | set) or not isinstance(people, Sized) or not isinstance(people, Iterable):
        raise ValueError(f"people are ids in a list, one for each row, and are {quote(people)}; write people=cohort.ids")
    if any(isinstance(person, bool | float | None) or not isinstance(person, str | int | np.integer) for person in people):
        raise ValueError(f"people are ids in a list, texts or whole numbers, and are {quote(list(people))}; write cohort.ids")
    return [str(person) for person in people]
