"""What a search aims at, and by when."""

import time


def share(deadline: float, part: float) -> float:
    """A deadline that leaves the rest of the remaining time to what follows."""
    now = time.monotonic()
    return now + part * max(deadline - now, 0.0)


def beyond(rate: float | None) -> float | None:
    """A little beyond the requested rate, so that the inequality is strict by more than the rounding of its proof."""
    return None if rate is None else rate * (1.0 + 1e-4)
