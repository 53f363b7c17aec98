"""Tables of events, as pharmacometrics keeps them, read into records."""

from training.people.tables.nonmem import Table, read_nonmem, read_table
from training.people.tables.ohashi import Ohashi, read_ohashi

__all__ = [
    "Ohashi",
    "Table",
    "read_nonmem",
    "read_ohashi",
    "read_table",
]
