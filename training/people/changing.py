"""What changes on the way of records, as far as a model reads it: covariates, and the occasion."""

from collections.abc import Sequence

import numpy as np

from hybrid import HybridModel
from hybrid.cutting.changes import Changes
from physics import MixedPopulation
from physics.occasions import OCCASION
from training.people.records import Record

Steps = tuple[np.ndarray, np.ndarray]  # times, and the values from there on


def changes_of(records: Sequence[Record], model: HybridModel) -> Changes | None:
    """The changes of these records, in the model's units and on their own clocks; None where nothing changes that it reads.

    A covariate that changes in some records is constant in those that give one number.
    Errors: `ValueError` for a record without occasions under a population that has some, and with more than it has.
    """
    count = _count(model)
    moving = sorted({name for r in records for name in r.changing if name in model.uses and name != OCCASION})
    given: list[dict[str, Steps]] = []
    for record in records:
        begin = np.array([float(record.schedule.start)])
        own = {n: record.changing[n] if n in record.changing else (begin, np.array([record.covariates[n]])) for n in moving}
        if count:
            own[OCCASION] = _occasions(record, begin, count)
        given.append(own)
    return Changes.of([float(r.schedule.start) for r in records], [r.times for r in records], given)


def has_occasions(model: HybridModel) -> bool:
    """Do parameters differ between the occasions of a person?"""
    return _count(model) > 0


def _count(model: HybridModel) -> int:
    occasions = model.population.occasions if isinstance(model.population, MixedPopulation) else None
    return 0 if occasions is None else occasions.count


def _occasions(record: Record, begin: np.ndarray, count: int) -> Steps:
    """The number of each occasion from its time on."""
    said, times = record.covariates.get(OCCASION), np.array(record.occasions)
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
    return times, np.arange(1.0, len(times) + 1.0)
