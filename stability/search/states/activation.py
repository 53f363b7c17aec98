"""The activations and their slopes at given arguments, in float64: the search's own, apart from the checker's."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stability.loop import Array
from stability.proof.units import Layer


def value(activation: Layer, v: NDArray[np.float64]) -> Array:
    """φ(v), entry by entry; of several names each is that of an entry of the last axis."""
    if not isinstance(activation, str):
        return unit_by_unit(value, activation, v)
    if activation == "identity":
        return v
    if activation == "tanh":
        return np.tanh(v)
    if activation == "relu":
        return np.maximum(v, 0.0)
    if activation == "softplus":
        return np.logaddexp(0.0, v)
    if activation == "gelu":
        return v * _normal(v)
    s = _logistic(v)
    return s if activation == "sigmoid" else v * s


def slope(activation: Layer, v: NDArray[np.float64]) -> Array:
    """φ'(v), entry by entry."""
    if not isinstance(activation, str):
        return unit_by_unit(slope, activation, v)
    if activation == "identity":
        return np.ones_like(v)
    if activation == "tanh":
        return 1.0 - np.tanh(v) ** 2
    if activation == "relu":
        return (v > 0).astype(np.float64)
    if activation == "gelu":
        return _normal(v) + v * np.exp(-0.5 * v * v) / np.sqrt(2.0 * np.pi)
    s = _logistic(v)
    if activation == "softplus":
        return s
    return s * (1.0 - s) if activation == "sigmoid" else s + v * s * (1.0 - s)


def unit_by_unit(function: Callable[[str, Array], Array], names: tuple[str, ...], v: Array) -> Array:
    """A function of each entry of the last axis by its own name."""
    found = np.empty_like(v)
    for name in set(names):
        these = [j for j, one in enumerate(names) if one == name]
        found[..., these] = function(name, v[..., these])
    return found


def _logistic(v: NDArray[np.float64]) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * v))


_ERF = np.vectorize(math.erf, otypes=[np.float64])  # numpy has none; a sample is small


def _normal(v: NDArray[np.float64]) -> Array:
    """Φ, the normal distribution function."""
    return 0.5 * (1.0 + np.asarray(_ERF(v / np.sqrt(2.0)), dtype=np.float64))
