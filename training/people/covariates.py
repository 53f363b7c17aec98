"""Covariates so far from what a model is made for that a slip of the table, or of its unit, is the likely cause."""

from collections.abc import Sequence
from dataclasses import dataclass

from hybrid import HybridModel
from physics.arguments import require_kind
from physics.glance import glance
from training.people.records import Record, require_records

_FAR = 100.0  # stated sizes from the centre


@dataclass(frozen=True)
class FarCovariate:
    """A covariate of some people that nobody's can be.

    `name`; `unit`, None where the model states none; `people`, their ids; `value`, the one of theirs that is farthest off;
    `reference`, what the model compares it with; `parameters`, those of θ that it changes, () where it is the residual's.
    """

    name: str
    unit: str | None
    people: tuple[str, ...]
    value: float
    reference: float
    parameters: tuple[str, ...] = ()

    __repr__, _repr_html_ = glance()

    def sentence(self) -> str:
        """In words, with what to do."""
        unit = "" if self.unit in (None, "1") else f" {self.unit}"
        some = ", ".join(self.people[:5]) + (" …" if len(self.people) > 5 else "")
        whose = f"person {some}" if len(self.people) == 1 else f"{len(self.people)} people ({some})"
        is_ = "is" if len(self.people) == 1 else "is up to" if self.value > self.reference else "is down to"
        return (
            f"{self.name} of {whose} {is_} {self.value:.4g}{unit}, and the model is made for about {self.reference:.4g}{unit}: "
            f"look at the table, and at the unit of {self.name}."
        )


def far_covariates(records: Sequence[Record], model: HybridModel) -> tuple[FarCovariate, ...]:
    """The covariates of these people, in the model's units, that are far outside of what is plausible.

    Of a covariate whose powers change θ: more than 100 times its reference, or less than a hundredth; of one that moves θ
    exponentially or linearly, more than 100 times a positive reference. Of one that the residual sees: more than 100 of its
    stated sizes from its centre.
    Returns one `FarCovariate` for each name and part of the model.
    Law: none where everybody's are within a factor of 100; the order of people does not matter.
    """
    require_kind(model, HybridModel, "far_covariates: model", "far_covariates(records, model)")
    records, found = require_records(records, "far_covariates: records"), []
    population, references = model.population, model.population.references
    units = model.uses
    for name, of in population.moved_by.items():
        within = population.plausible(name)
        if within is None:
            continue
        reference = references[name]
        given = [(r.id, float(r.covariates[name])) for r in records if r.covariates.get(name, 0.0) > 0.0]
        off = {i: max(v / reference, reference / v) for i, v in given if not within[0] <= v <= within[1]}
        if off:
            values, farthest = dict(given), max(off, key=lambda i: off[i])
            found.append(FarCovariate(name, units.get(name), tuple(off), values[farthest], reference, of))
    for name, (centre, size) in model.covariates.items():
        given = [(r.id, float(r.covariates[name])) for r in records if name in r.covariates]
        off = {i: abs(v - centre) / size for i, v in given if abs(v - centre) > _FAR * size}
        if off and name not in population.moved_by:
            values, farthest = dict(given), max(off, key=lambda i: off[i])
            found.append(FarCovariate(name, units.get(name), tuple(off), values[farthest], centre))
    return tuple(found)
