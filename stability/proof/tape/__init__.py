"""A tape as the checker sees it: read from its JSON by a table of its own, bounded over boxes with outward rounding."""

from stability.proof.tape.bounds import plain, slope_bounds, slopes, value_bounds
from stability.proof.tape.reading import LEAVES, NUMBERED, OPERATIONS, Line, Tape, Unbounded, read_tape
from stability.proof.tape.seen import seen_by_slopes

__all__ = [
    "LEAVES",
    "NUMBERED",
    "OPERATIONS",
    "Line",
    "Tape",
    "Unbounded",
    "plain",
    "read_tape",
    "seen_by_slopes",
    "slope_bounds",
    "slopes",
    "value_bounds",
]
