"""A prediction as others see it: in a few lines, as a long table, and as an array with names."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hybrid.frames import dataset_of, frame_of
from hybrid.shift import Shift, shift_in_words
from physics.glance import Summary, with_units

if TYPE_CHECKING:
    from hybrid.frames import DataFrame, Dataset


class Mixture(Protocol):
    """As much of a `Prediction` as is shown."""

    @property
    def mean(self) -> Tensor: ...  # (M, S, N, T, p)
    @property
    def variance(self) -> Tensor: ...  # (M, S, N, T, p)
    @property
    def correlation(self) -> Tensor | None: ...  # (M, N, p, p)
    @property
    def times(self) -> Tensor: ...  # (N, T)
    @property
    def mask(self) -> Tensor: ...  # (N, T)
    @property
    def channels(self) -> tuple[str, ...]: ...
    @property
    def units(self) -> tuple[str, ...]: ...
    @property
    def ids(self) -> tuple[str, ...] | None: ...
    @property
    def time_unit(self) -> str | None: ...
    @property
    def shift(self) -> tuple[Shift, ...] | None: ...  # (N,)


def summary(prediction: Mixture) -> Summary:
    """Its sizes, names and units."""
    M, S, N, T, _ = prediction.mean.shape
    real = prediction.times[prediction.mask]
    end = f"{real.max():g} {prediction.time_unit or ''} since each one's first dose or start" if len(real) else "none"
    return f"Prediction: people {N}, members {M}, draws of each person's own parameters {S}", [
        ("channels", with_units(prediction.channels, prediction.units)),
        ("people", prediction.ids or N),
        ("times", f"at most {T} for each, to {end}"),
        ("mean", prediction.mean),
        ("like the training", shift_in_words(prediction.shift)),
        ("variance", "the same; .point, .total = .aleatoric + .epistemic + .personal, .interval(0.9), .to_frame()"),
    ]


def long_frame(
    prediction: Mixture,
    values: Mapping[str, Tensor | float],  # each (N, T, p), or one number for all
) -> "DataFrame":
    """One row for each person, real time and channel."""
    person, time, channel = (v.numpy() for v in torch.nonzero(_real(prediction), as_tuple=True))
    columns: dict[str, Any] = {
        "person": _people(prediction)[person],
        "time": _array(prediction.times)[person, time],
        "time_unit": [prediction.time_unit] * len(person),
        "channel": np.array(prediction.channels, dtype=object)[channel],
        "unit": np.array(prediction.units, dtype=object)[channel],
    }
    for name, value in values.items():
        columns[name] = _array(value)[person, time, channel] if isinstance(value, Tensor) else [float(value)] * len(person)
    if prediction.shift is not None:
        columns["shift"] = np.array([one.flagged for one in prediction.shift], dtype=object)[person]
    return frame_of(columns, "Prediction.to_frame")


def dataset(prediction: Mixture) -> "Dataset":
    """Mean and variance with names on every axis."""
    M, S, N = prediction.mean.shape[:3]
    axes, real, when = ("member", "draw", "person", "time", "channel"), prediction.mask.cpu().numpy(), _array(prediction.times)
    units = set(prediction.units)
    unit, squared = (units.pop(), True) if len(units) == 1 else ("each channel's own, in the coordinate unit", False)
    there = real[None, None, ..., None]
    clock = {"long_name": "time since each person's first dose (or start)", "units": prediction.time_unit or "not stated"}
    coords: dict[str, tuple[Any, Any, Mapping[str, Any]]] = {
        "member": (("member",), np.arange(M), {}),
        "draw": (("draw",), np.arange(S), {"long_name": "draw of a person's own parameters"}),
        "person": (("person",), _people(prediction), {}),
        "channel": (("channel",), list(prediction.channels), {}),
        "unit": (("channel",), list(prediction.units), {}),
        "when": (("person", "time"), np.where(real, when, np.nan), clock),
    }
    if prediction.shift is not None:
        coords["shift"] = (
            ("person",),
            [one.sentence() for one in prediction.shift],
            {"long_name": "whether the person looks like those of the training"},
        )
    if N and bool(real.all()) and bool((when == when[:1]).all()):
        coords["time"] = (("time",), when[0], clock)
    variables: dict[str, tuple[tuple[str, ...], Any, Mapping[str, Any]]] = {
        "mean": (axes, np.where(there, _array(prediction.mean), np.nan), {"units": unit}),
        "variance": (
            axes,
            np.where(there, _array(prediction.variance), np.nan),
            {"long_name": "variance of a measurement", "units": f"({unit}).({unit})" if squared else f"the square of {unit}"},
        ),
    }
    if prediction.correlation is not None:
        coords["other_channel"] = (("other_channel",), list(prediction.channels), {})
        variables["correlation"] = (
            ("member", "person", "channel", "other_channel"),
            _array(prediction.correlation),
            {"long_name": "correlation of measurement errors at one time", "units": "1"},
        )
    return dataset_of(variables, coords, {}, "Prediction.to_xarray")


def _array(values: Tensor) -> np.ndarray:
    found: np.ndarray = values.detach().cpu().numpy()
    return found


def _real(prediction: Mixture) -> Tensor:  # (N, T, p)
    return prediction.mask.cpu()[..., None].expand(prediction.mean.shape[2:])


def _people(prediction: Mixture) -> np.ndarray:  # (N,)
    count = prediction.mean.shape[2]
    return np.arange(count) if prediction.ids is None else np.array(prediction.ids, dtype=object)
