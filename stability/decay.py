"""A rate of contraction in words: what a distance loses per unit of time, and its half-life, rounded to the side that is true.

A distance that falls at λ or faster, d(t + s) ≤ e^{−λs} d(t), loses at least the part 1 − e^{−λ} of itself in every unit of time
(not λ: a rate of .5 loses 39 %, and one of 2.5 loses 92 %), and is at most half of itself after ln 2/λ. Both are irrational, so
what is printed is rounded: the loss down, the half-life up, in decimal arithmetic of more digits than are shown. Gains, factors
of a step and Lipschitz bounds are no such rates, and have no such words.
"""

from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Literal

from stability.arguments import number, shown

_DIGITS = 40  # of the arithmetic; three are shown
_MOST = 50.0  # beyond this rate the loss is 99.9 % in the digits shown, as it is at it: nothing loses all of itself


def rounded(value: float | Decimal, digits: int, side: Literal["down", "up"]) -> str:
    """A number in `digits` significant digits, never above it (down) or never below it (up).

    A double whose own name is that short has that name: .044 is .044, though its binary digits are a little less.
    """
    name = Decimal(repr(float(value)).removesuffix(".0")) if isinstance(value, float) else value
    if not name:
        return "0"
    value = name if len(name.as_tuple().digits) <= digits else Decimal(value)
    found = _context(digits, ROUND_FLOOR if side == "down" else ROUND_CEILING).plus(value)
    return f"{found:f}" if -4 <= found.adjusted() < 6 else f"{found:e}"


def decay_in_words(rate: float, unit: str) -> str:
    """"shrinks by 4.30 % per h or more (half-life 15.8 h or less)": of the distance that falls at this rate.

    Arguments: `rate` λ, per `unit` of time, a UCUM code ("" or "1" where there is none). Which distance it is, in P or a weighted
    ℓ1, is for the caller to say.
    Errors: ValueError for a rate that is not finite and positive.
    Law: the loss shown is at most 100(1 − e^{−λ}) and below 100, the half-life shown at least ln 2/λ.
    """
    rate = number(rate, "the rate", "a finite positive rate, per unit of time, at which a distance shrinks", above=0.0)
    if not isinstance(unit, str):
        raise ValueError(f"the unit is {shown(unit)}; give a UCUM code of time as text, 'h', or '' where there is none.")
    loss, half = rounded(_loss(rate), 3, "down"), rounded(_half_life(rate), 3, "up")
    one, many = ("unit of time", "units of time") if unit in ("", "1") else (unit, unit)
    return f"shrinks by {loss} % per {one} or more (half-life {half} {many} or less)"


def _loss(rate: float) -> Decimal:
    """100(1 − e^{−λ}) from below, to some forty digits."""
    x = Decimal(min(rate, _MOST))
    # 1 − e^{−λ} is about λ where that is small: as many more digits of e^{−λ} are needed
    context = _context(_DIGITS + max(0, -x.adjusted()), ROUND_FLOOR)
    kept = context.next_plus(context.exp(-x))  # the exponential is the nearest number, so the next one is above it
    return context.multiply(Decimal(100), context.subtract(Decimal(1), kept))


def _half_life(rate: float) -> Decimal:
    """ln 2/λ from above."""
    context = _context(_DIGITS, ROUND_CEILING)
    return context.divide(context.next_plus(context.ln(Decimal(2))), Decimal(rate))


def _context(digits: int, rounding: str) -> Context:
    return Context(prec=digits, rounding=rounding, Emin=MIN_EMIN, Emax=MAX_EMAX)
