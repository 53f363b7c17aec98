"""modelDescription.xml as a receiver reads it without running anything: variables, their units and sizes, which are states."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass

from exchange.files.plain_xml import require_plain_xml
from exchange.fmu.units import definitions
from physics.arguments import quote


@dataclass(frozen=True)
class Described:
    """`units` and `nominal`, by the names of variables; `inputs` and `states` in the order of the file; `time`, its unit."""

    units: Mapping[str, str | None]
    nominal: Mapping[str, float]
    inputs: tuple[str, ...]
    states: tuple[str, ...]
    time: str

    @staticmethod
    def of(data: bytes) -> "Described":
        """Errors: `ValueError`, one clause, for what is not as it is written, and for a unit that is not what its name says."""
        require_plain_xml(data)
        root = ET.fromstring(data)
        listed = root.find("ModelVariables")
        three = root.get("fmiVersion", "").startswith("3.")
        elements = [] if listed is None else list(listed)
        numbers = [one if three or len(one) == 0 else one[0] for one in elements]
        names = [one.get("name", "") for one in elements]
        if len(set(names)) != len(names):
            raise ValueError("two variables of modelDescription.xml have one name")
        units = {name: number.get("unit") for name, number in zip(names, numbers, strict=True)}
        found = root.findall("UnitDefinitions/Unit")
        for meant in definitions({one.get("name", "") for one in found}):
            bases = [one.find("BaseUnit") for one in found if one.get("name") == meant.name]
            for base in bases:
                if dict(meant.base or ()) != ({} if base is None else dict(base.attrib)):
                    raise ValueError(f"modelDescription.xml defines the unit {quote(meant.name)} as another than it is")
        clocks = [name for name, one in zip(names, elements, strict=True) if one.get("causality") == "independent"]
        time = units[clocks[0]] if len(clocks) == 1 else None
        if time is None:
            raise ValueError("modelDescription.xml does not say the unit of time")
        place = {(one.get("valueReference") if three else str(k)): names[k - 1] for k, one in enumerate(elements, 1)}
        moved = [one.get("derivative") for one in numbers if one.get("derivative") is not None]
        return Described(
            units,
            {
                name: abs(float(number.get("nominal", "1")))
                for name, number in zip(names, numbers, strict=True)
                if number.get("nominal") is not None
            },
            tuple(name for name, one in zip(names, elements, strict=True) if one.get("causality") == "input"),
            tuple(place[one] for one in moved),
            time,
        )
