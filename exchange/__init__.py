"""What travels: the model bundle, with certificate and calibration inside."""

from exchange.bundle import Bundle, Person, certified_system, load, lure_of, save
from exchange.coverage import Outside, Subject, outside, strangers, subjects_of
from exchange.structures import BUILTIN, describe, rebuild

__all__ = [
    "BUILTIN",
    "Bundle",
    "Outside",
    "Person",
    "Subject",
    "certified_system",
    "describe",
    "load",
    "lure_of",
    "outside",
    "rebuild",
    "save",
    "strangers",
    "subjects_of",
]
