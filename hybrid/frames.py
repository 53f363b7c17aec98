"""Tables for pandas and xarray, which are optional: the one file that imports them, and only when one is asked for."""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeGuard

__all__ = ["DataFrame", "Dataset", "dataset_of", "frame_of", "is_frame"]  # the first two for type checkers alone

if TYPE_CHECKING:
    from pandas import DataFrame
    from xarray import Dataset


def is_frame(value: object) -> "TypeGuard[DataFrame]":
    """Is this a DataFrame of pandas? Whoever has one has loaded pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def frame_of(columns: Mapping[str, Sequence[Any]], asked: str) -> "DataFrame":
    """A DataFrame of these columns; `asked`, for whom, begins the sentence where pandas is not installed."""
    return _library("pandas", asked).DataFrame(dict(columns))


def dataset_of(
    variables: Mapping[str, tuple[Sequence[str], Any, Mapping[str, Any]]],
    coords: Mapping[str, tuple[Sequence[str], Any, Mapping[str, Any]]],
    attrs: Mapping[str, Any],
    asked: str,
) -> "Dataset":
    """A Dataset of variables and coordinates, each (dimensions, values, attributes); `asked` as in `frame_of`."""
    return _library("xarray", asked).Dataset(dict(variables), dict(coords), dict(attrs))


def _library(name: str, asked: str) -> Any:
    """Errors: `ValueError` that says what to install."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f"{asked} needs {name}, which is not installed; install it: pip install 'homeostat[frames]'") from error
