"""A dataclass as entries in JSON, also where the type of a field is a name for another type."""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import pytest
from typing_extensions import TypeAliasType

from stability.entries import entries_of, own_arrays, written

Number = TypeVar("Number", bound=np.generic)
Named = TypeAliasType("Named", np.ndarray[Any, np.dtype[Number]], type_params=(Number,))  # numpy's NDArray from 2.5 on


@dataclass(frozen=True)
class Toy:
    kind: Literal["toy"]
    one: Named[np.float64]
    several: tuple[Named[np.float64], ...]

    def __post_init__(self) -> None:
        own_arrays(self)


def test_an_array_is_one_by_whatever_name() -> None:
    given = np.array([1.0, 2.0])
    toy = Toy("toy", given, (given, np.eye(2)))
    given[0] = 5.0
    assert toy.one.tolist() == [1.0, 2.0]
    assert not toy.one.flags.writeable
    found = entries_of(Toy, written(toy) | {"several": [[1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]]]})
    np.testing.assert_array_equal(found["one"], toy.one)
    np.testing.assert_array_equal(found["several"][1], np.eye(2))
    with pytest.raises(ValueError, match="one of the toy is the single number 1"):
        entries_of(Toy, written(toy) | {"one": 1.0, "several": []})
