"""What a bundle keeps of a fitted person, and how that is written as JSON."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exchange.files.json_parts import listed, mapping, number, only
from hybrid import Dose, Schedule, Signal
from hybrid.schedules.dose import as_float
from hybrid.schedules.steady import Steady
from physics.arguments import quote, require_kind, require_number, require_text
from physics.glance import Summary, glance
from physics.units import convert
from training.people import Cohort, Record
from training.people.records import LONGEST_ID
from training.shift.given import ratio_of

# what each part holds, and nothing else: a word that this program does not know may change what all the others mean
_PERSON = ({"id", "schedule", "covariates", "baseline"}, {"until"})
_SCHEDULE = ({"start", "doses", "inputs"}, {"resets", "steady"})
_STEADY = ("state", "time", "amount", "every", "duration", "added")
_SIGNAL = ({"times", "values", "kind"}, set[str]())


def _summary(person: Any) -> Summary:
    return f"Person {person.id}", [
        ("given", person.schedule),
        ("covariates", dict(person.covariates) or None),
        ("baseline", person.baseline),
        ("measured until", person.until),
    ]


@dataclass(frozen=True)
class Person:
    """What a bundle keeps of a fitted person: who, what was done, what is known; no measurements but the baseline (NaN: none).

    Made of a cohort's records, the schedule is on the person's own clock, which reads 0 at the first dose (or start), and
    `until` is the last time on it at which anything was measured, where that is known.
    """

    id: str
    schedule: Schedule
    covariates: Mapping[str, float]
    baseline: tuple[float, ...]
    until: float | None = None

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        require_text(self.id, "Person: id", 'Person("1", …)')
        require_kind(self.schedule, Schedule, "Person: schedule", "record.schedule")
        require_kind(self.covariates, Mapping, "Person: covariates", '{"WT": 70.0}')
        for name, value in self.covariates.items():
            require_text(name, "Person: a covariate's name", '{"WT": 70.0}')
            require_number(value, f"Person: the covariate {quote(name, 60)}")
        require_kind(self.baseline, (tuple, list), "Person: baseline", "one number a channel, NaN for none")
        for value in self.baseline:
            if not (isinstance(value, float) and math.isnan(value)):
                require_number(value, "Person: baseline, each number,")


def people_of(cohort: Cohort, units: Mapping[str, str]) -> tuple[Person, ...]:
    """What is kept of a cohort's people, in its order and its model's units: the covariates that the cohort carries, those that
    no part of the model reads in these `units`, where theirs join them.
    """
    given = cohort.conditions
    return tuple(
        Person(r.id, r.schedule, _carried(r, given.covariates, units), tuple(row), _last(r.times, r.values))
        for r, row in zip(cohort.records, given.baseline.tolist(), strict=True)
    )


def _carried(record: Record, names: Iterable[str], units: Mapping[str, str]) -> dict[str, float]:
    ratios = {name: ratio_of(record.units.get(name), units.get(name)) for name in names}
    return {name: float(convert(record.covariates[name], r)) for name, r in ratios.items() if r is not None}


def _last(
    times: np.ndarray,  # (T,)
    values: np.ndarray,  # (T, p)
) -> float:
    """When a person was last measured."""
    return float(times[np.isfinite(values).any(1)][-1])


def written(person: Person) -> dict[str, Any]:
    """A person as plain JSON values."""
    doses = [
        {
            "state": d.state,
            **{name: as_float(getattr(d, name)) for name in ("time", "amount", "duration", "lag")},
            **({"modelled": d.modelled} if d.modelled else {}),  # an earlier version refuses the words
            **({"kept": d.kept} if d.kept != "duration" else {}),
        }
        for d in person.schedule.doses
    ]
    inputs = {
        name: {"times": list(s.times), "values": list(s.values), "kind": s.kind}
        for name, s in sorted(person.schedule.inputs.items())
    }
    schedule: dict[str, Any] = {"start": person.schedule.start, "doses": doses, "inputs": inputs}
    if person.schedule.resets:
        schedule["resets"] = list(person.schedule.resets)
    if person.schedule.steady:
        schedule["steady"] = [
            {name: as_float(one.amount) if name == "amount" else getattr(one, name) for name in _STEADY}
            | ({"kept": one.kept} if one.kept != "duration" else {})
            for one in person.schedule.steady
        ]
    return {
        "id": person.id,
        "schedule": schedule,
        "covariates": dict(sorted(person.covariates.items())),
        "baseline": [None if math.isnan(v) else v for v in person.baseline],  # NaN is no JSON
        **({} if person.until is None else {"until": person.until}),
    }


def read(value: Mapping[str, Any]) -> Person:
    """The inverse of `written`. Errors: `ValueError` for a word that is not known, or a value of another kind."""
    only(value, *_PERSON, "a person")
    given = only(value["schedule"], *_SCHEDULE, "a schedule")
    signals = mapping(given["inputs"], "inputs")
    schedule = Schedule(
        doses=tuple(Dose(**d) for d in listed(given["doses"], "doses")),
        inputs={k: Signal(**only(s, *_SIGNAL, f"the input {quote(k)}")) for k, s in signals.items()},
        start=given["start"],
        resets=tuple(number(t) for t in listed(given.get("resets", []), "resets")),
        steady=tuple(
            Steady(**only(s, set(_STEADY), {"kept"}, "a steady state")) for s in listed(given.get("steady", []), "steady")
        ),
    )
    covariates = {str(k): number(v) for k, v in value["covariates"].items()}
    if not isinstance(value["id"], str) or len(value["id"]) > LONGEST_ID:
        raise ValueError(f"a person's id is one line of at most {LONGEST_ID} characters, got {quote(value['id'])}; save it again")
    baseline = tuple(math.nan if v is None else number(v) for v in listed(value["baseline"], "baseline"))
    until = None if value.get("until") is None else number(value["until"])
    return Person(value["id"], schedule, covariates, baseline, until)
