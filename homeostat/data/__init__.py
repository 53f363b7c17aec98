"""Data that travel with the package."""

from importlib.resources import files
from pathlib import Path

# published units; the table's own columns carry none
THEOPHYLLINE_UNITS = {"TIME": "h", "AMT": "mg", "DV": "mg/L", "WT": "kg"}


def theophylline() -> Path:
    """The table of twelve people given one oral dose of theophylline (Boeckmann, Sheiner & Beal 1994)."""
    return Path(str(files(__name__) / "theophylline.csv"))
