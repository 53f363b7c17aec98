"""What is proved of every entry of the shelf at its typical θ, in a stated region: a column of the table in physics/README.md.

python -m benchmarks.shelf_claims          # the rows, entry by entry
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.s2008 import kept_region
from physics import MECHANISMS, Mechanism
from physics.shelf import S2008, s2008_person
from stability import Box, Certificate, Inputs, Lure, Refusal, RegionalRate, certify, regional_rate
from stability.decay import rounded

Ends = tuple[float, float]
_ANY: Ends = (-math.inf, math.inf)
_UP: Ends = (0.0, math.inf)


@dataclass(frozen=True)
class Asked:
    """The region, the levels of inputs and the doses, in the entry's units, by name; of states that are not named any value."""

    states: Mapping[str, Ends] = field(default_factory=dict)
    inputs: Mapping[str, Ends] = field(default_factory=dict)
    dose: tuple[str, float, float] | None = None  # into which state, up to how much, at least how far apart
    said: str = ""  # the region in words, where its numbers are many
    why: str = ""  # where there is no rate, why

    @property
    def everywhere(self) -> bool:
        """All states, any input, any doses."""
        return not (self.states or self.inputs)

    def region(self, mechanism: Mechanism) -> tuple[Box, Inputs | None]:
        box = [self.states.get(state, _ANY) for state in mechanism.states]
        levels = [self.inputs[name] for name in mechanism.inputs]
        lower, upper = zip(*levels, strict=True) if levels else ((), ())
        doses = None
        if self.dose is not None:
            doses = [
                [most if state == self.dose[0] else 0.0 for state in mechanism.states] for most in (0.0, self.dose[1])
            ]
        inputs = Inputs(lower, upper, doses, None if self.dose is None else self.dose[2])
        return Box(*zip(*box, strict=True)), inputs if levels or doses else None

    def words(self, mechanism: Mechanism) -> str:
        """The region as a page says it."""
        if self.said or self.everywhere:
            return self.said or "everywhere"
        ends = [(name, self.states[name], mechanism.states[name]) for name in mechanism.states if name in self.states]
        ends += [(name, self.inputs[name], mechanism.inputs[name]) for name in mechanism.inputs]
        said = ", ".join(_range(*one) for one in ends)
        if self.dose is None:
            return said
        state, most, gap = self.dose
        return f"{said}, up to {most:g} {mechanism.states[state]} into {state} every {gap:g} {mechanism.time_unit} or later"


def _range(name: str, ends: Ends, unit: str) -> str:
    shown = {"1": "", "Cel": " °C"}.get(unit, f" {unit}")
    return f"{name} ≥ {ends[0]:g}" if math.isinf(ends[1]) else f"{name} {ends[0]:g} to {ends[1]:g}{shown}"


def _s2008() -> Asked:
    box, levels = kept_region(s2008_person("adult#001"), (0.9, 1.2), 1.0)
    states = {name: (low, high) for name, low, high in zip(S2008.states, box.lower, box.upper, strict=True)}
    inputs = {name: (low, high) for name, low, high in zip(S2008.inputs, levels.lower, levels.upper, strict=True)}
    glucose = [gp / 1.9152 for gp in states["Gp"]]
    said = f"glucose {glucose[0]:.0f} to {glucose[1]:.0f} mg/dL, insulin .9 to 1.2 times basal, Ra 0 to 1 mg/kg/min"
    return Asked(states, inputs, said=said)


C = {"C": (0.0, 100.0)}
WEATHER = {"outdoor": (-20.0, 40.0), "sun": (0.0, 1000.0), "setpoint": (5.0, 25.0)}
ASKED: dict[str, Asked] = {
    **{kind.__name__: Asked() for kind in MECHANISMS if not kind.inputs},
    **{name: Asked() for name in ("EffectCompartment", "Windkessel", "DCMotor")},
    **{f"{how}{what}": Asked({}, C) for how in ("Inhibited", "Stimulated") for what in ("Production", "Loss")},
    "MichaelisMenten": Asked({"gut": _UP, "plasma": (0.0, 600.0)}, dose=("gut", 300.0, 1.0)),
    "ParallelElimination": Asked({"gut": _UP, "plasma": (0.0, 600.0)}, dose=("gut", 300.0, 24.0)),
    "WarfarinTurnover": Asked({"depot": _UP, "gut": _UP, "CP": _UP}, dose=("depot", 200.0, 12.0)),
    "Bergman": Asked({"glucose": (30.0, 300.0), "action": (0.0, 0.05)}, {"I": (10.0, 100.0), "Ra": (0.0, 5.0)}),
    "S2008": _s2008(),
    "S2008Stomach": Asked(
        {"solid": (0.0, 1000.0), "liquid": (1.1e4, 1.4e4)},
        {"eaten": (0.0, 5000.0), "Dbar": (6e4, 6e4)},
        why="there it empties the more slowly the fuller it is",
    ),
    "SIRS": Asked({"S": (0.495, 0.505), "I": (0.018, 0.0205), "R": (0.0, 1.0)}),
    "CoupledTanks": Asked({"upper": (3.0, 21.1), "lower": (3.0, 103.0)}, {"q": (6.0, 25.0)}),
    "BuildingZone": Asked({"air": (-20.0, 80.0), "walls": (-20.0, 95.0)}, WEATHER),
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


def found_of(
    mechanism: Mechanism, rate: float | None = None, seconds: float = 60.0
) -> Certificate | RegionalRate | Refusal:
    """A certificate, at the best rate that was found or at this one; else the rate on the region; else the refusal."""
    asked, system = ASKED[mechanism.name], system_of(mechanism)
    if asked.everywhere:
        return certify(system, rate, seconds=seconds)
    box, inputs = asked.region(mechanism)
    found = certify(system, rate, region=box, inputs=inputs, seconds=seconds)
    if isinstance(found, Certificate) or found.reason == "disproved":
        return found
    levels = None if inputs is None or not mechanism.inputs else Inputs(inputs.lower, inputs.upper)
    return regional_rate(system, box, levels, rate, seconds=seconds)


def cell_of(names: Sequence[str], seconds: float = 60.0) -> str:
    """What the table says of these entries: the kind, the least of their rates, rounded down, and the region."""
    mechanisms = [kind() for kind in MECHANISMS if kind.__name__ in names]
    found = [found_of(mechanism, seconds=seconds) for mechanism in mechanisms]
    asked, unit = ASKED[names[0]], mechanisms[0].time_unit
    refused = [one for one in found if isinstance(one, Refusal)]
    if refused:
        return f"{refused[0].reason}: {asked.words(mechanisms[0])}: {asked.why}"
    rates = [one for one in found if not isinstance(one, Refusal)]
    (kind,) = {one.kind for one in rates}
    return f"{kind}, {rounded(min(one.rate for one in rates), 3, 'down')} /{unit}: {asked.words(mechanisms[0])}"


def main() -> int:
    """Print the cell of each row; the exit code."""
    for names in ROWS:
        print(f"{', '.join(names)}: {cell_of(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
