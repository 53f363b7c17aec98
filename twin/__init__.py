"""What runs: a model in step with its patients, as their data arrive, late, twice, corrected or withdrawn."""

from homeostat_siblings import require_siblings

# before the first of them is imported
require_siblings("twin", ("physics", "learned", "hybrid", "stability", "training", "exchange"))

from twin.estimate import Band, Change, Consistency, Estimate, Moved
from twin.log import Event, Receipt, SqliteLog, Timed, as_line, canonical, read_event, read_time, time_text
from twin.people import Patient
from twin.twin import Twin

__all__ = [
    "Band",
    "Change",
    "Consistency",
    "Estimate",
    "Event",
    "Moved",
    "Patient",
    "Receipt",
    "SqliteLog",
    "Timed",
    "Twin",
    "as_line",
    "canonical",
    "read_event",
    "read_time",
    "time_text",
]
