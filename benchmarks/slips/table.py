"""The table of all valid calls, each with what it may take."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from benchmarks.slips import (
    of_diagnostics,
    of_exchange,
    of_filters,
    of_hybrid,
    of_identify,
    of_inference,
    of_learned,
    of_log,
    of_mechanisms,
    of_physics,
    of_pictures,
    of_recalibration,
    of_shift,
    of_stability,
    of_training,
    of_twin,
)
from benchmarks.slips.attempt import Call
from benchmarks.slips.exported import public
from benchmarks.slips.taken import TAKEN


@cache
def calls() -> Mapping[str, Call]:
    """The table, by package, each row with what its call may take (`taken.py`)."""
    known = (of_physics, of_mechanisms, of_learned, of_hybrid, of_filters)
    fitted = (of_training, of_diagnostics, of_inference, of_identify, of_shift, of_recalibration)
    parts = (*known, *fitted, of_exchange, of_log, of_stability, of_twin)
    rows = {name: row for part in parts for name, row in part.rows().items()}
    return {name: replace(row, taken=TAKEN.get(name, {})) for name, row in rows.items()}


def pictures() -> Mapping[str, Call]:
    """Calls of `homeostat.pictures`, which say themselves what they may take; not all of its names have a row."""
    return of_pictures.rows()


def unlisted() -> list[str]:
    """Public calls that no row of the table makes."""
    return sorted(public().keys() - calls().keys())
