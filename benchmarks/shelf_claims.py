"""What is proved of every entry of the shelf at its typical θ, in a stated region: a column of the table in physics/README.md.

python -m benchmarks.shelf_claims          # the rows, entry by entry
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.s2008 import region_of
from physics import MECHANISMS, Mechanism
from physics.shelf import S2008, s2008_person
from stability import Box, Inputs, Lure, Refusal, RegionalRate, regional_rate
from stability.decay import rounded

Ends = tuple[float, float]
_ANY: Ends = (-math.inf, math.inf)
_UP: Ends = (0.0, math.inf)


@dataclass(frozen=True)
class Asked:
    """The region and the levels of inputs, in the entry's units, by name; states that are not named may have any value."""

    states: Mapping[str, Ends] = field(default_factory=dict)
    inputs: Mapping[str, Ends] = field(default_factory=dict)
    said: str = ""  # the region in words, where its numbers are many
    why: str = ""  # where there is no rate, why

    def region(self, mechanism: Mechanism) -> tuple[Box, Inputs | None]:
        box = [self.states.get(state, _ANY) for state in mechanism.states]
        levels = [self.inputs[name] for name in mechanism.inputs]
        return Box(*zip(*box, strict=True)), Inputs(*zip(*levels, strict=True)) if levels else None

    def words(self, mechanism: Mechanism) -> str:
        """The region as a page says it."""
        if self.said:
            return self.said
        ends = [(name, self.states[name], mechanism.states[name]) for name in mechanism.states if name in self.states]
        ends += [(name, self.inputs[name], mechanism.inputs[name]) for name in mechanism.inputs]
        return ", ".join(_range(*one) for one in ends) or "everywhere"


def _range(name: str, ends: Ends, unit: str) -> str:
    shown = "" if unit == "1" else f" {unit}"
    return f"{name} ≥ {ends[0]:g}" if math.isinf(ends[1]) else f"{name} {ends[0]:g} to {ends[1]:g}{shown}"


def _s2008() -> Asked:
    box, levels = region_of(s2008_person("adult#001"))
    states = {name: (low, high) for name, low, high in zip(S2008.states, box.lower, box.upper, strict=True)}
    inputs = {name: (low, high) for name, low, high in zip(S2008.inputs, levels.lower, levels.upper, strict=True)}
    return Asked(
        states,
        inputs,
        said="glucose 70 to 180 mg/dL, insulin and its actions .7 to 2 times basal, Ra 0 to 10 mg/kg/min",
    )


C = {"C": (0.0, 100.0)}
ASKED: dict[str, Asked] = {
    **{kind.__name__: Asked() for kind in MECHANISMS if not kind.inputs},
    "MichaelisMenten": Asked({"plasma": (0.0, 600.0)}),
    "ParallelElimination": Asked({"plasma": (0.0, 600.0)}),
    "EffectCompartment": Asked({}, C),
    "InhibitedProduction": Asked({}, C),
    "InhibitedLoss": Asked({}, C),
    "StimulatedProduction": Asked({}, C),
    "StimulatedLoss": Asked({}, C),
    "WarfarinTurnover": Asked({"CP": _UP}),
    "Bergman": Asked({"glucose": (50.0, 300.0), "action": (0.0, 0.05)}, {"I": (0.0, 100.0), "Ra": (0.0, 10.0)}),
    "S2008": _s2008(),
    "S2008Stomach": Asked(
        {"solid": (0.0, 1000.0), "liquid": (1.1e4, 1.4e4)},
        {"eaten": (0.0, 5000.0), "Dbar": (6e4, 6e4)},
        why="here it empties the more slowly the fuller it is, and what one has more of grows",
    ),
    "Windkessel": Asked({}, {"Q": (0.0, 500.0)}),
    "SIRS": Asked({"S": (0.495, 0.505), "I": (0.018, 0.0205), "R": (0.0, 1.0)}),
    "CoupledTanks": Asked({"upper": (1.0, 30.0), "lower": (1.0, 30.0)}, {"q": (0.0, 25.0)}),
    "DCMotor": Asked({}, {"V": (-10.0, 10.0), "load": (-1.0, 1.0)}),
    "BuildingZone": Asked(
        {"air": (5.0, 35.0)}, {"outdoor": (-20.0, 40.0), "sun": (0.0, 1000.0), "setpoint": (5.0, 25.0)}
    ),
}

_FORMS = ("", "Rates", "ByMouth", "ByMouthRates")
ROWS: tuple[tuple[str, ...], ...] = (
    *(tuple(name + form for form in _FORMS) for name in ("OneCompartment", "TwoCompartments", "ThreeCompartments")),
    *(("MichaelisMenten",), ("ParallelElimination",), ("EffectCompartment",)),
    *(("InhibitedProduction", "StimulatedProduction", "StimulatedLoss"), ("InhibitedLoss",)),
    *(("WarfarinTurnover",), ("Marsh",), ("Schnider",)),
    *(("Bergman",), ("S2008",), ("S2008Stomach",), ("Windkessel",), ("SIRS",)),
    *(("CoupledTanks",), ("DCMotor",), ("BuildingZone",)),
)


def system_of(mechanism: Mechanism) -> Lure:
    """At the typical θ."""
    n, m = len(mechanism.states), len(mechanism.inputs)
    theta, scale = [p.typical for p in mechanism.physical], list(mechanism.scale.values())
    A, B, tape = np.zeros((n, n)), np.zeros((n, m)), mechanism.tape.to_dict()
    return Lure(A=A, B=B, weights=[], biases=[], tape=tape, theta=theta, scale=scale)


def found_of(mechanism: Mechanism, rate: float | None = None, seconds: float = 60.0) -> RegionalRate | Refusal:
    """The best rate that was found in its region, or this one proved."""
    return regional_rate(system_of(mechanism), *ASKED[mechanism.name].region(mechanism), rate, seconds=seconds)


def cell_of(names: Sequence[str], seconds: float = 60.0) -> str:
    """What the table says of these entries: the least of their rates, rounded down, and the region."""
    mechanisms = [kind() for kind in MECHANISMS if kind.__name__ in names]
    found = [found_of(mechanism, seconds=seconds) for mechanism in mechanisms]
    asked, unit = ASKED[names[0]], mechanisms[0].time_unit
    if not all(found):
        return f"{next(f.reason for f in found if isinstance(f, Refusal))}: {asked.why}; {asked.words(mechanisms[0])}"
    least = min(f.rate for f in found if isinstance(f, RegionalRate))
    return f"{rounded(least, 3, 'down')} /{unit}, {asked.words(mechanisms[0])}"


def main() -> int:
    """Print the cell of each row; the exit code."""
    for names in ROWS:
        print(f"{', '.join(names)}: {cell_of(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
