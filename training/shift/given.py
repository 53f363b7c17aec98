"""What people were given and when they were measured, as events in time and levels of inputs."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from hybrid import Schedule, Signal
from hybrid.schedules.dose import as_float
from physics.occasions import OCCASION
from physics.units import convert, factor
from training.people import Cohort, Record
from training.shift.envelope import Envelope, Events, Left

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Beforehand:
    """One person as they stand before their outcomes, beside the envelopes of a training.

    `covariates` by name, those that are known of them · `came`, by the key of an envelope the sum of what came and where it left,
    None within it · `levels`, by input its mean in time, lowest and highest value · `changing`, which of the covariates change on
    the way: their values are those of the beginning · `units` in which covariates are, by name; what has none is in the
    training's.
    """

    covariates: Mapping[str, float]
    came: Mapping[str, tuple[float, Left | None]]
    levels: Mapping[str, tuple[float, float, float]]
    changing: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    def stated_in(self, units: Mapping[str, str]) -> tuple["Beforehand", dict[str, str]]:
        """The same person, covariates in the training's units, without those whose unit does not join it: by name, why not."""
        ratios = {name: ratio_of(self.units.get(name), units.get(name)) for name in self.covariates}
        covariates = {name: float(convert(self.covariates[name], r)) for name, r in ratios.items() if r is not None}
        strange = {
            name: f"{name} is in {self.units[name]}, and in training "
            + (f"in {units[name]}, which does not join it" if name in units else "no unit of it was stated")
            for name, ratio in ratios.items()
            if ratio is None
        }
        return replace(self, covariates=covariates, units={}), strange


def ratio_of(have: str | None, want: str | None) -> Fraction | None:
    """By what a number is multiplied to be in the unit that is wanted; None where the two do not join.

    What states no unit is in the other's; what has one does not join what was had without one.
    """
    if have is None or have == (want or "1"):
        return Fraction(1)
    try:
        return None if want is None else factor(have, want)
    except ValueError:
        return None


def commonest_units(records: Sequence[Record]) -> dict[str, str]:
    """For each covariate of which anybody states a unit the one that joins most of those stated, of equals the first."""
    found = {}
    for name in dict.fromkeys(name for one in records for name in (*one.covariates, *one.changing)):
        stated = Counter(one.units[name] for one in records if name in one.units)
        if stated:
            joined = {unit: sum(n for other, n in stated.items() if ratio_of(other, unit) is not None) for unit in stated}
            found[name] = max(joined, key=lambda unit: joined[unit])
    return found


@dataclass(frozen=True)
class Given:
    """N people as they stand before their outcomes.

    `ids`; `schedules`; `ends` (N,), until when each is looked at; `measured`, the times at which anything is known of each, None
    where that is not asked; `covariates` by name, each (N,), NaN of whom it is not known of; `changing`, of each person the names
    of those that change on the way, of which `covariates` has the value of the beginning; `units`, of each person those in which
    covariates are, by name: those that no part of the model reads are in whatever unit a record has them.
    """

    ids: tuple[str, ...]
    schedules: tuple[Schedule, ...]
    ends: Array
    measured: tuple[Array, ...] | None
    covariates: Mapping[str, Array]
    changing: tuple[tuple[str, ...], ...] = ()
    units: tuple[Mapping[str, str], ...] = ()

    @staticmethod
    def of(known: Cohort, asked: Cohort) -> "Given":
        """Of a cohort: what is known of it, and the times that are asked."""
        informative = known.informative.any(-1).cpu().numpy()  # (N, T)
        times = known.times.detach().cpu().numpy()
        latest = asked.times.detach().cpu().numpy().max(1)
        given = _own(known.records)
        given |= {name: value.detach().cpu().double().numpy() for name, value in known.conditions.covariates.items()}
        return Given(
            known.ids,
            tuple(r.schedule for r in known.records),
            latest,
            tuple(np.unique(row[there]) for row, there in zip(times, informative, strict=True)),
            given,
            tuple(tuple(sorted(r.changing.keys() - known.conditions.covariates.keys())) for r in known.records),
            tuple(dict(r.units) for r in known.records),
        )

    def known_in(self, units: Mapping[str, str]) -> dict[str, Array]:
        """Covariates (N,) by name in these units, NaN where a unit does not join."""
        people = [person.stated_in(units)[0] for person in self.beside({})]
        return {name: np.array([one.covariates.get(name, np.nan) for one in people]) for name in self.covariates}

    def rows(self) -> list[dict[str, Events]]:
        """For each person what came when: by "sampling", and ("doses" | "amount" | "points", name) in one text."""
        found = []
        for i, schedule in enumerate(self.schedules):
            end = float(self.ends[i])
            rows = {}
            if self.measured is not None and len(self.measured[i]):
                times = self.measured[i]
                rows["sampling"] = Events(times, np.ones(len(times)), float(times[-1]))
            rows |= _doses(schedule, end)
            rows |= {
                f"points {name}": _events(signal.times, np.ones(len(signal.times)), schedule.start, end)
                for name, signal in schedule.inputs.items()
            }
            found.append(rows)
        return found

    def levels(self) -> list[dict[str, tuple[float, float, float]]]:
        """For each person and input its mean in time, lowest and highest value until the end."""
        return [
            {name: _level(signal, schedule.start, float(end)) for name, signal in schedule.inputs.items()}
            for schedule, end in zip(self.schedules, self.ends, strict=True)
        ]

    def beside(self, envelopes: Mapping[str, Envelope]) -> list[Beforehand]:
        """Everyone beside these envelopes, and beside those of `always` who had nothing of the kind."""
        found = []
        for i, (row, levels) in enumerate(zip(self.rows(), self.levels(), strict=True)):
            nothing = Events(np.zeros(0), np.zeros(0), float(self.ends[i]))
            lacking = {key: nothing for key in always(envelopes) if key not in row}
            came = {
                key: (float(one.sizes.sum()), envelopes[key].left(one) if key in envelopes else None)
                for key, one in (row | lacking).items()
            }
            known = {name: float(v[i]) for name, v in self.covariates.items() if np.isfinite(v[i])}
            changing, units = (self.changing[i] if self.changing else ()), (self.units[i] if self.units else {})
            found.append(Beforehand(known, came, levels, changing, units))
        return found


def warn_of_strange(given: Given, units: Mapping[str, str]) -> None:
    """Warn of people of a training whose unit of a covariate does not join that of the others: they have no say in its range."""
    each = zip(given.ids, given.beside({}), strict=True)
    strange = [(who, why) for who, one in each for why in one.stated_in(units)[1].values()]
    if strange:
        more = f" (so of {len(strange) - 1} more)" if len(strange) > 1 else ""
        warnings.warn(
            f"the range of a covariate is made without person {strange[0][0]}{more}, of whom {strange[0][1]}; correct the unit",
            stacklevel=3,
        )


def always(envelopes: Mapping[str, Envelope]) -> list[str]:
    """The keys beside which somebody is held who had none of what the training had: doses and amounts, and not sampling."""
    return [key for key in envelopes if key.split(" ")[0] in ("doses", "amount")]


def _own(records: Sequence[Record]) -> dict[str, Array]:
    """What each person's record says, whatever others' say: by name (N,), NaN where it says nothing, and the first of changes."""
    names = sorted({name for r in records for name in (*r.covariates, *r.changing)})
    return {n: np.array([_first(r, n) for r in records], dtype=np.float64) for n in names if n != OCCASION}


def _first(record: Record, name: str) -> float:
    if name not in record.changing:
        return float(record.covariates.get(name, np.nan))
    times, values = record.changing[name]
    return float(values[max(int(np.searchsorted(times, record.schedule.start, side="right")) - 1, 0)])


def _doses(schedule: Schedule, end: float) -> dict[str, Events]:
    arrivals: dict[str, list[tuple[float, float]]] = {}
    for dose in schedule.doses:
        arrivals.setdefault(dose.state, []).append((as_float(dose.arrival), as_float(dose.amount)))
    found = {}
    for state, pairs in arrivals.items():
        times, amounts = zip(*sorted(pairs), strict=True)
        found[f"doses {state}"] = _events(times, np.ones(len(times)), schedule.start, end)
        found[f"amount {state}"] = _events(times, np.array(amounts), schedule.start, end)
    steady: dict[str, float] = {}
    for one in getattr(schedule, "steady", ()):
        every = as_float(one.every)
        steady[one.state] = steady.get(one.state, 0.0) + (as_float(one.amount) / every if every else 0.0)
    for state, rate in steady.items():
        found[f"steady {state}"] = Events(np.array([schedule.start]), np.array([rate]), end)
    return found


def _events(times: Sequence[float], sizes: Array, start: float, end: float) -> Events:
    """What was before the start counts from it."""
    at = np.maximum(np.asarray(times, dtype=np.float64), start)
    there = at <= end
    return Events(at[there], np.asarray(sizes, dtype=np.float64)[there], end)


def _level(signal: Signal, start: float, end: float) -> tuple[float, float, float]:
    times = np.linspace(start, max(end, start), 129)
    values = np.asarray(signal.sample(times), dtype=np.float64)
    inside = [v for t, v in zip(signal.times, values_of(signal), strict=True) if start <= t <= end]
    every = np.concatenate([values, inside])
    return float(values.mean()), float(every.min()), float(every.max())


def values_of(signal: Signal) -> list[float]:
    """A signal's own values."""
    return [float(v) for v in signal.values]
