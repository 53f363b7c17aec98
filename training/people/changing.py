"""What changes on the way of records, as far as a model reads it: covariates, and the occasion."""

from collections.abc import Sequence

import numpy as np

from hybrid import HybridModel
from hybrid.cutting.changes import Changes
from physics import MixedPopulation
from physics.occasions import OCCASION
from training.people.own_values import Steps, numbered
from training.people.records import Record


def changes_of(records: Sequence[Record], model: HybridModel) -> Changes | None:
    """The changes of these records, in the model's units and on their own clocks; None where nothing changes that it reads.

    A covariate that changes in some records is constant in those that give one number. What a measurement at the time of a
    change is read with it may say itself (`Record.read_with`).
    Errors: `ValueError` for a record without occasions under a population that has some, and with more than it has, and for a lag
    that changes.
    """
    count = _count(model)
    moving = sorted({name for r in records for name in r.changing if name in model.uses and name != OCCASION})
    _require_one_lag(model, moving)
    given: list[dict[str, Steps]] = []
    for record in records:
        begin = np.array([float(record.schedule.start)])
        own = {n: record.changing[n] if n in record.changing else (begin, np.array([record.covariates[n]])) for n in moving}
        if count:
            own[OCCASION] = _occasions(record, begin, count)
        given.append(own)
    said = [{name: v for name, v in r.read_with.items() if name in (OCCASION, *moving)} for r in records]
    return Changes.of([float(r.schedule.start) for r in records], [r.times for r in records], given, said)


def _require_one_lag(model: HybridModel, moving: Sequence[str]) -> None:
    """Raise `ValueError` where a lag differs between occasions, or is moved by a covariate that changes."""
    lags = {model.backbone.physical[place].name for _, place in model.delivery.lag}
    occasions = model.population.occasions if isinstance(model.population, MixedPopulation) else None
    by = dict.fromkeys(occasions.spread if occasions is not None else (), OCCASION)
    by |= {name: covariate for covariate in moving for name in model.population.moved_by.get(covariate, ())}
    for name in sorted(lags & by.keys()):
        raise ValueError(
            f"Cohort.of: {name} is a lag and changes within a record, by {by[name]}, which is not built: a person's mode is "
            "looked for on both sides of an observation along one lag; leave it out of what changes, where fractions, durations "
            "and rates may be"
        )


def has_occasions(model: HybridModel) -> bool:
    """Do parameters differ between the occasions of a person?"""
    return _count(model) > 0


def _count(model: HybridModel) -> int:
    occasions = model.population.occasions if isinstance(model.population, MixedPopulation) else None
    return 0 if occasions is None else occasions.count


def _occasions(record: Record, begin: np.ndarray, count: int) -> Steps:
    """The number of each occasion from its time on."""
    said, times = record.covariates.get(OCCASION), record.occasions
    if OCCASION in record.changing or (said is not None and len(times)):
        raise ValueError(f'record {record.id}: its occasions are said, and "{OCCASION}" is a covariate too; name that otherwise')
    if said is not None:  # one occasion, of which the number is said
        return begin, np.array([said])
    if not len(times):
        raise ValueError(
            f"record {record.id} does not say when its occasions begin, and the parameters differ between them; "
            f'write Record(…, occasions=(0.0, 24.0)), a column OCC in the table, or of one covariates={{"{OCCASION}": 1.0}}'
        )
    if len(times) > count:
        raise ValueError(
            f"record {record.id} has {len(times)} occasions, and the population {count}; write Occasions(…, count={len(times)})"
        )
    return numbered(times)
