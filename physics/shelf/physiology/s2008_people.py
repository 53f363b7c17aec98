"""The 30 virtual people of the UVA/Padova simulator of 2008, by name."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from physics.arguments import require_kind, require_text
from physics.mechanism import Mechanism

_TABLE = "data/s2008/vpatient_params.csv"
_REST = ("Gp", "Gt", "Ip", "X", "I1", "Id", "Il", "Isc1", "Isc2", "Gs")  # columns x0_ 4 to x0_13


@dataclass(frozen=True)
class S2008Person:
    """One of the 30: what the table says of them.

    `name`; `rest`, the states of `S2008` at which they rest in the table, without a meal, at the basal `insulin` [pmol/kg/min];
    `weight` [kg]; `columns`, every number of the table by the name of its column.
    """

    name: str
    rest: Mapping[str, float]
    insulin: float
    weight: float
    columns: Mapping[str, float]

    def theta(self, mechanism: Mechanism) -> dict[str, float]:
        """θ of `S2008` or `S2008Stomach` by name, in its order. Errors: `ValueError` for a parameter that the table lacks."""
        require_kind(mechanism, Mechanism, "S2008Person.theta: a mechanism", "S2008()")
        lacks = [p.name for p in mechanism.physical if p.name not in self.columns]
        if lacks:
            raise ValueError(
                f"S2008Person.theta: the table of {self.name} has no {', '.join(lacks)}; ask for θ of S2008() or S2008Stomach()"
            )
        return {p.name: self.columns[p.name] for p in mechanism.physical}


def s2008_table() -> Path:
    """The table as it was taken from simglucose 0.2.11 (MIT; physics/data/s2008/ATTRIBUTION.md)."""
    return Path(str(files("physics") / _TABLE))


def s2008_people() -> dict[str, S2008Person]:
    """All 30 by name, in the table's order: adolescent#001 to #010, adult#001 to #010, child#001 to #010."""
    with s2008_table().open(encoding="utf-8", newline="") as file:
        return {row["Name"]: _person(row) for row in csv.DictReader(file)}


def s2008_person(name: str) -> S2008Person:
    """One of the 30 by name: `s2008_person("adult#001")`. Errors: `ValueError` for a name that the table lacks."""
    require_text(name, "s2008_person: name", '"adult#001"')
    people = s2008_people()
    if name not in people:
        raise ValueError(
            f"s2008_person: there is no {name[:60]!r}; there are adolescent#001 to adolescent#010, adult#001 to adult#010 and "
            'child#001 to child#010: write "adult#001"'
        )
    return people[name]


def _person(row: Mapping[str, str]) -> S2008Person:
    columns = {name: float(value) for name, value in row.items() if name not in ("Name", "i")}
    rest = {state: columns[f"x0_{i:>2}"] for i, state in enumerate(_REST, 4)}
    return S2008Person(row["Name"], rest, insulin=columns["u2ss"], weight=columns["BW"], columns=columns)
