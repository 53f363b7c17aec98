"""Which certificate every entry of the shelf gets at its typical θ, rate and staying: the second table in physics/README.md.

python -m benchmarks.shelf_certificates          # the rows
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.shelf_claims import ROWS, system_of
from physics import MECHANISMS, Mechanism
from stability import Box, Certificate, Inputs, Refusal, certify
from stability.decay import rounded

Ends = tuple[float, float]
_AMOUNTS: Ends = (0.0, math.inf)


@dataclass(frozen=True)
class Kept:
    """A region, levels of inputs and doses, by name and in the entry's units; without states, all of them under any input."""

    states: Mapping[str, Ends] = field(default_factory=dict)
    inputs: Mapping[str, Ends] = field(default_factory=dict)
    doses: Mapping[str, float] = field(default_factory=dict)  # one kind of dose: amounts by state
    gap: float = 1.0

    def certified(
        self, mechanism: Mechanism, rate: float | None = None, seconds: float = 60.0
    ) -> Certificate | Refusal:
        """The best certificate that is found, or one of this rate."""
        system = system_of(mechanism)
        if not self.states:
            return certify(system, rate, seconds=seconds)
        box = Box(*zip(*(self.states[state] for state in mechanism.states), strict=True))
        lower, upper = (np.array([self.inputs[name][k] for name in mechanism.inputs]) for k in (0, 1))
        given = [[self.doses.get(state, 0.0) for state in mechanism.states]]
        inputs = Inputs(lower, upper, given, self.gap) if self.doses else Inputs(lower, upper)
        return certify(system, rate, region=box, inputs=inputs, seconds=seconds)


def _amounts(*states: str) -> dict[str, Ends]:
    return dict.fromkeys(states, _AMOUNTS)


_BOUND = {"C": (0.0, 100.0)}
# what is not named is asked about all states
KEPT: dict[str, Kept] = {
    "MichaelisMenten": Kept({"gut": (0.0, 600.0), "plasma": (0.0, 600.0)}, {}, {"gut": 300.0}, 1.0),
    "ParallelElimination": Kept(_amounts("gut", "plasma"), {}, {"gut": 300.0}),
    "InhibitedProduction": Kept(_amounts("response"), _BOUND),
    "InhibitedLoss": Kept(_amounts("response"), _BOUND),
    "WarfarinTurnover": Kept(_amounts("depot", "gut", "CP", "PCA"), {}, {"depot": 100.0}),
    "Bergman": Kept({"glucose": (25.0, 300.0), "action": (0.0, 0.05)}, {"I": (10.0, 100.0), "Ra": (0.0, 5.0)}),
    "SIRS": Kept({"S": (0.495, 0.505), "I": (0.018, 0.0205), "R": (0.0, 1.0)}),
    "CoupledTanks": Kept({"upper": (1.0, 30.0), "lower": (1.0, 80.0)}, {"q": (8.0, 20.0)}),
    "BuildingZone": Kept(
        {"air": (0.0, 60.0), "walls": (0.0, 60.0)},
        {"outdoor": (0.0, 30.0), "sun": (0.0, 300.0), "setpoint": (5.0, 25.0)},
    ),
}
ELSEWHERE = ("S2008", "S2008Stomach")  # see benchmarks.s2008


def cell_of(mechanism: Mechanism, found: Certificate) -> str:
    """Rate and set, as the table has them."""
    sets = {"box": "the region whole", "ball": "a ball in it", "order": "between two curves in it"}
    kept = "" if isinstance(found.region, str) else f", kept: {sets[found.region['stays']['set']]}"
    return f"{rounded(found.rate, 3, 'down')} /{mechanism.time_unit}{kept}"


def main() -> int:
    """Print what each row's first entry gets; the exit code."""
    kinds = {kind.__name__: kind for kind in MECHANISMS}
    for name, *_ in ROWS:
        if name not in ELSEWHERE:
            found = KEPT.get(name, Kept()).certified(kinds[name]())
            print(f"{name}: {cell_of(kinds[name](), found) if found else found.message}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
