"""Arithmetic on intervals, outward: each pair of arrays holds every real number that its operation can give.

Ends may be infinite: the numbers themselves are finite, so 0 · [0, ∞) = 0, and no end is ever NaN. Rounding: each end is moved
by `UNIT` of itself, four times what one operation rounds. What is exactly zero stays so (a face on which nothing flows needs
that): a sum or a product of doubles is computed as zero only where it is zero, or where it underflows, and then LOST is added.
"""

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import UNIT, Array

Interval = tuple[Array, Array]

LOST = 1e-300  # more than underflow takes from one operation, 2⁻¹⁰²², even where hardware flushes subnormal numbers to zero
# Functions of the library are trusted to a relative 2⁻⁴⁰; as much again for an exponent that was rounded (`functions.power`).
FUNCTION = 2.0**-39
_LARGEST = float(np.finfo(np.float64).max)
_FAINT = 1e-290


def point(value: float) -> Interval:
    """One number, exactly."""
    return np.array(value), np.array(value)


ONE, MINUS = point(1.0), point(-1.0)


def everything(like: Array) -> Interval:
    """All real numbers, in that shape."""
    return np.full(like.shape, -np.inf), np.full(like.shape, np.inf)


def outward(low: Array, high: Array, share: float = UNIT) -> Interval:
    """The ends moved outward by their own rounding; an overflowed end is taken back to what is sure."""
    low, high = np.minimum(low, _LARGEST), np.maximum(high, -_LARGEST)
    return low - share * np.abs(low), high + share * np.abs(high)


def add(a: Interval, b: Interval) -> Interval:
    """a + b."""
    low, high = outward(a[0] + b[0], a[1] + b[1])
    return low - _cancelled(a[0], b[0], low), high + _cancelled(a[1], b[1], high)


def _cancelled(one: Array, two: Array, total: Array) -> Array:
    """What underflow may take from a sum: nothing where a term is zero, or where both are far from the smallest numbers."""
    return np.where((np.abs(total) < _FAINT) & (one != 0) & (two != 0) & (np.abs(one) < 1e-270), LOST, 0.0)


def negate(a: Interval) -> Interval:
    """−a, exactly."""
    return -a[1], -a[0]


def subtract(a: Interval, b: Interval) -> Interval:
    """a − b."""
    return add(a, negate(b))


def multiply(a: Interval, b: Interval) -> Interval:
    """a · b, of numbers that do not depend on each other; for a · a see `square`."""
    return _hull([_product(one, two) for one in a for two in b])


def _product(one: Array, two: Array) -> Interval:
    zero = (one == 0) | (two == 0)
    value = np.where(zero, 0.0, one * two)
    lost = np.where((np.abs(value) < _FAINT) & ~zero, LOST, 0.0)
    return value - lost, value + lost


def divide(a: Interval, b: Interval) -> Interval:
    """a / b; everything where b may be zero."""
    low, high = _hull([_quotient(one, two) for one in a for two in b])
    pole = holds_zero(b)
    return np.where(pole, -np.inf, low), np.where(pole, np.inf, high)


def holds_zero(b: Interval) -> NDArray[np.bool_]:
    """Whether zero is among the numbers."""
    return np.asarray((b[0] <= 0) & (b[1] >= 0))


def _quotient(one: Array, two: Array) -> Interval:
    # x/∞ → 0, and of ∞/∞ the ends of the other three quotients say all: 0 is a limit too.
    zero = (one == 0) | np.isinf(two)
    value = np.where(zero, 0.0, one / np.where(two == 0, 1.0, two))
    lost = np.where((np.abs(value) < _FAINT) & ~zero, LOST, 0.0)
    return value - lost, value + lost


def square(a: Interval) -> Interval:
    """a², never negative."""
    most = np.maximum(_product(a[0], a[0])[1], _product(a[1], a[1])[1])
    least = np.minimum(_product(a[0], a[0])[0], _product(a[1], a[1])[0])
    low, high = outward(np.where(holds_zero(a), 0.0, least), most)
    return np.maximum(low, 0.0), high


def hull(a: Interval, b: Interval) -> Interval:
    """The smallest interval that holds both."""
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1])


def within(a: Interval, low: float, high: float) -> Interval:
    """What of the numbers lies where they are known to lie anyhow."""
    return np.clip(a[0], low, high), np.clip(a[1], low, high)


def _hull(parts: list[Interval]) -> Interval:
    low, high = parts[0]
    for one, two in parts[1:]:
        low, high = np.minimum(low, one), np.maximum(high, two)
    return outward(low, high)
