"""How a unit, and what is cut at 0, are said beside numbers."""

from collections.abc import Mapping, Sequence
from typing import Any


def with_unit(name: str, unit: str) -> str:
    """A column's name with its unit; a dimensionless one (UCUM "1") has none to show."""
    return name if unit in ("", "1") else f"{name} ({unit})"


def behind(unit: str) -> str:
    return "" if unit in ("", "1") else f" {unit}"


def density_in(unit: str) -> str:
    """What is said of an NLL, whose value depends on the unit of what is measured."""
    return "" if unit in ("", "1") else f" (of a density per {unit})"


def cut_note(channels: Sequence[str]) -> str:
    """What is said where intervals are cut; "" where none are."""
    if not channels:
        return ""
    names = " and ".join(channels)
    return f"Intervals of {names} are cut at 0, below which it is declared never to be; scores are of the whole distribution."


def provenance_in_words(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Where a model came from, by name, as text: each unit behind its column, and a setting by what it is."""
    return {_SETTINGS.get(str(k), str(k)): _plain(v) for k, v in provenance.items()}


_SETTINGS = {"settings.rate": "settings.rate (of learning, at first)"}


def _plain(value: Any) -> str:
    return ", ".join(f"{name} in {one}" for name, one in value.items()) if isinstance(value, Mapping) else str(value)


def made_from(provenance: Mapping[str, Any], time_unit: str) -> dict[str, str]:
    """Where a model came from, as a page shows it: a time has its unit."""
    found = provenance_in_words(provenance)
    if provenance.get("settings.forecast_from") is not None and time_unit not in ("", "1"):
        found["settings.forecast_from"] += f" {time_unit}"
    return found
