"""The receiving side: a stranger's FMU as a term of a model, and as a source of simulated records."""

from exchange.imported.described import Described, described
from exchange.imported.simulated import simulated_records
from exchange.imported.table import write_table
from exchange.imported.term import ImportedTerm, imported_backbone, imported_term

__all__ = [
    "Described",
    "ImportedTerm",
    "described",
    "imported_backbone",
    "imported_term",
    "simulated_records",
    "write_table",
]
