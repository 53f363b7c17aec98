"""Several designs beside each other: how well each tells what is asked, and which is best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hybrid import HybridModel, Solver
from hybrid.frames import frame_of
from physics.arguments import quote, require_choice, require_kind, require_text
from physics.glance import Summary, glance
from training.identify.design import Design
from training.identify.information import Information
from training.identify.person import person_information
from training.identify.population import population_information

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

About = Literal["theta", "eta", "population"]


def _summary(found: "Comparison") -> Summary:
    return f"Comparison of {len(found.designs)} designs: the best is {found.best}", [
        (name, f"efficiency {found.efficiency[name]:.3g}, {one.count} measurements, rank {one.rank}")
        for name, one in found.designs.items()
    ]


@dataclass(frozen=True)
class Comparison:
    """What each of several designs tells of the same numbers: by name, in the order given."""

    designs: Mapping[str, Information]

    __repr__, _repr_html_ = glance(_summary)

    @property
    def best(self) -> str:
        """The design with the largest det I; where none tells everything, the one of the largest rank, the first of several."""
        return max(self.designs, key=lambda name: (self.designs[name].rank, self.designs[name].log_det))

    @property
    def efficiency(self) -> dict[str, float]:
        """D-efficiency of each, (det I/det I of the best)^{1/P}: with that share of its people the best tells as much.

        0 for a design that does not see everything, NaN where none does.
        """
        top = self.designs[self.best]
        P = len(top.names)
        if math.isinf(top.log_det):
            return dict.fromkeys(self.designs, math.nan)
        return {name: math.exp((one.log_det - top.log_det) / P) for name, one in self.designs.items()}

    def sentences(self) -> list[str]:
        """Which is best and why, or that none sees everything."""
        best, found = self.designs[self.best], []
        if math.isinf(best.log_det):
            found.append("No design sees everything that is asked.")
        else:
            others = ", ".join(f"{name} {100.0 * e:.0f} %" for name, e in self.efficiency.items() if name != self.best)
            found.append(
                f"The best design is {self.best}, with {best.count} measurements; D-efficiency of the others beside it: {others}."
                if others
                else f"One design was given: {self.best}."
            )
        found += [f"{name}: {sentence}" for name, one in self.designs.items() for sentence in one.sentences()]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "best": self.best,
            "efficiency": self.efficiency,
            "designs": {name: one.to_dict() for name, one in self.designs.items()},
        }

    def to_frame(self) -> "DataFrame":
        """One row for each design and number, as a pandas DataFrame: expected standard error and RSE, efficiency, count."""
        columns: dict[str, list[Any]] = {
            k: [] for k in ("design", "measurements", "efficiency", "name", "value", "se", "rse")
        }
        for design, one in self.designs.items():
            for j, name in enumerate(one.names):
                row = (
                    design,
                    one.count,
                    self.efficiency[design],
                    name,
                    float(one.value[j]),
                    float(one.se[j]),
                    float(one.rse[j]),
                )
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
        return frame_of(columns, "Comparison.to_frame")


def compare_designs(
    model: HybridModel,
    designs: Mapping[str, Design],
    parameters: Sequence[str] | None = None,
    *,
    of: About = "population",
    solver: Solver | None = None,
) -> Comparison:
    """The same question of several designs: what each tells, and their D-efficiencies.

    Arguments: `designs` by name, each as in `population_information` · `of`, "population" (everything that is estimated of it),
    "theta" or "eta" (one person, as in `person_information`, η with its prior) · `parameters`, of θ.
    Errors: `ValueError` for no designs, and as these two.
    Law: of two designs of which one has all that the other has, that one is no worse.
    """
    require_choice(of, ("population", "theta", "eta"), "compare_designs: of")
    require_kind(designs, Mapping, "compare_designs: designs", '{"rich": Arm(…), "sparse": Arm(…)}')
    if not designs:
        raise ValueError('compare_designs: no design was given; write {"rich": Arm(…), "sparse": Arm(…)}')
    if parameters is not None and of != "theta":
        raise ValueError(
            f'compare_designs: parameters {quote(list(parameters))} are of one person\'s θ; write of="theta"'
        )
    found = {}
    for name, design in designs.items():
        require_text(name, "compare_designs: the name of a design", '"rich"')
        if of == "population":
            found[name] = population_information(model, design, solver=solver)
        else:
            found[name] = person_information(model, design, parameters, of=of, prior=of == "eta", solver=solver)
    return Comparison(found)
