"""What travels: the model bundle, with certificate and calibration inside."""

from exchange.bundle import Bundle, Person, load, lure_of, save
from exchange.coverage import Outside
from exchange.structures import BUILTIN, describe, rebuild

__all__ = ["BUILTIN", "Bundle", "Outside", "Person", "describe", "load", "lure_of", "rebuild", "save"]
