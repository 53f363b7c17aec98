"""Numbers, times and stretches of time as a narrow screen shows them."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

_BARS = "▁▂▃▄▅▆▇█"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR, _MINUTE = 3_600_000_000, 60_000_000
_SPANS = ((24 * _HOUR, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 0, ""), (1_000_000, "s", 0, ""))


def decimals_for(width: float) -> int:
    """How many decimals show a band of this width to two digits."""
    if not 0.0 < width < math.inf:
        return 3
    return min(max(1 - math.floor(math.log10(width)), 0), 9)


def number(value: float, decimals: int) -> str:
    """A number with so many decimals, or in powers of ten where it is long; – for what is none."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{decimals}f}"
    text = text.removeprefix("-") if float(text) == 0.0 else text
    return text if len(text) <= 9 else f"{value:.2e}"


def when(micros: int, beside: int | None = None) -> str:
    """A time in UTC to the second; without what it has in common with the time `beside` it, year or day."""
    time = _EPOCH + timedelta(microseconds=micros)
    other = None if beside is None else _EPOCH + timedelta(microseconds=beside)
    if other is not None and other.date() == time.date():
        return f"{time:%H:%M:%S}"
    return f"{time:%d %b %H:%M:%S}" if other is not None and other.year == time.year else f"{time:%d %b %Y %H:%M:%S}"


def day(micros: int) -> str:
    """The day of a time, in UTC."""
    return f"{_EPOCH + timedelta(microseconds=micros):%d %b %Y}"


def stretch(micros: int) -> str:
    """A stretch of time, cut to whole seconds or minutes, to minutes of hours, and to hours of days: 3 h 2 min."""
    sign, rest = ("−" if micros < 0 else ""), abs(micros)
    for size, unit, below, smaller in _SPANS:
        many, rest = divmod(rest, size)
        if many:
            more = rest // below if below else 0
            return f"{sign}{many} {unit}" + (f" {more} {smaller}" if more else "")
    return "under 1 s"


def trace(values: Sequence[float]) -> str:
    """The values as bars between the least and the largest of them; a space where there is none."""
    seen = [value for value in values if math.isfinite(value)]
    if not seen:
        return ""
    low, size = min(seen), max(seen) - min(seen)
    step = [0.5 if size == 0.0 else (value - low) / size for value in values]
    return "".join(_BARS[min(int(part * len(_BARS)), len(_BARS) - 1)] if math.isfinite(part) else " " for part in step)
