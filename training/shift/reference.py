"""What the training looked like: a small summary that travels with a model, and people held beside it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from hybrid import HybridModel, Shift, ShiftReason, Solver
from hybrid.solve.solver import require_solver
from physics.arguments import (
    as_written,
    counted,
    quote,
    require_kind,
    require_names,
    require_number,
    require_same_people,
)
from physics.glance import Summary, glance
from training.people import Cohort, Personal
from training.people.cohort import in_float64
from training.shift.envelope import MORE, Envelope, Left
from training.shift.given import Beforehand, Given, commonest_units, warn_of_strange
from training.shift.limits import box_of, upper_limit
from training.shift.measured import Measured, Spread, kinetic_reasons
from training.shift.seen import apart, distances, largest, typically

Array = NDArray[np.float64]

SHARE = 0.03  # of people like those of the training, who are flagged all the same, over all reasons
_COVARIATES, _OWN, _REST = 0.02, 0.0085, 0.0015  # of these three; what else is held beside has room to spare
_QUANTILE = 0.01  # the members' disagreement in training is passed by so many; more than it by half is beyond
CATEGORIES = 5  # so few whole numbers are categories, and no quantity
FEWEST_KNOWN = 10  # people of whom a covariate is known, where not of all: fewer say nothing of a range

# When somebody is flagged, in words: what is held beside what of the training, with the share that each comparison flags
CRITERION = (
    "Held beside the training's people, without outcomes: the covariates that the model reads against a box "
    "that all but 2 % of them "
    "lie in (of one covariate its 1st to 99th percentile), categories against those that were seen, other covariates against "
    "their range with room to spare, of one that changes on the way the first value; when somebody is measured, doses and inputs "
    "against the most and the least that anybody in "
    f"training had by the same time, {MORE:g} times which, and two events apart, counts as another rate; all measurements so far "
    "against what the training's law predicts of them, by their Mahalanobis distance, in the part that other parameters explain "
    "(0.85 %) and in the part that none do (0.15 %), one that is known by limits alone by whatever lies within them and is "
    "nearest to what is predicted; and the members' disagreement about somebody like this, before anything is "
    f"measured, against {MORE:g} times the 99th percentile of the training's. Of people like those of the training 3 in 100 are "
    "flagged, each time that they are looked at, and fewer where measurements are known by limits alone."
)


def _summary(reference: Any) -> Summary:
    return f"Reference: people {reference.people}", [("the training", "; ".join(reference.sentences()))]


@final
@dataclass(frozen=True)
class Reference:
    """What the training looked like; `Reference.of(model, cohort, personal)` makes it.

    `people`, how many · `covariates` that the model reads, by name (lowest, highest) of the box that all but 2 % of people
    like them lie in, `sides`, which share lies beyond each of its sides · `beside`, the range of the others, with room to
    spare, where all of them or at least ten are known · `categories`, the values that a covariate had · `envelopes`, what had
    come by when · `levels`, by input the lowest and highest of the people's means in time, and of all its values · `own` and
    `rest`, how the distances of the training's own measurements were spread, by other parameters and by none ·
    `disagreement`, the 99th percentile of the members', None where they have nothing to disagree about · `units` · `apart`,
    the same of their largest disagreement at any one time.
    Law: nobody of the training is beyond an envelope or a level.
    """

    people: int
    covariates: Mapping[str, tuple[float, float]]
    sides: float
    beside: Mapping[str, tuple[float, float]]
    categories: Mapping[str, tuple[float, ...]]
    envelopes: Mapping[str, Envelope]
    levels: Mapping[str, tuple[float, float, float, float]]
    own: Spread
    rest: Spread
    disagreement: float | None
    units: Mapping[str, str] = field(default_factory=dict)
    apart: float | None = None

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        require_number(self.people, "Reference: people, how many,", least=1.0, whole=True)
        require_number(self.sides, "Reference: sides, a share,", above=0.0, most=0.5)
        for name in ("covariates", "beside", "categories", "envelopes", "levels", "units"):
            require_kind(getattr(self, name), Mapping, f"Reference: {name}", "Reference.of(model, cohort, personal)")
        for name, wide in (("covariates", 2), ("beside", 2), ("levels", 4)):
            for key, row in getattr(self, name).items():
                if len(row) != wide or not all(math.isfinite(v) for v in row) or row[0] > row[1]:
                    seen = f"{quote(key)} is {wide} finite numbers, lowest first, and is {quote(row)}"
                    raise ValueError(f"Reference: {name} {seen}; write Reference.of(model, cohort, personal)")
        for name in ("own", "rest"):
            require_kind(getattr(self, name), Spread, f"Reference: {name}", "Reference.of(model, cohort, personal)")
        for name in ("disagreement", "apart"):
            if getattr(self, name) is not None:
                require_number(getattr(self, name), f"Reference: {name}", least=0.0)

    @staticmethod
    def of(
        model: HybridModel,
        cohort: Cohort,
        personal: Personal | None = None,
        *,
        solver: Solver | None = None,
        simulated: tuple[Cohort, Personal] | None = None,
    ) -> "Reference":
        """The summary of a training.

        Arguments: its `model`, its people, and what `personalise` found of them (None: measurements are not compared);
        `simulated`, people drawn from the model, measured as those of the training are, and what `personalise` found of them
        (`training.shift.simulated`): with them the limits of measurements are those of the model itself, and not of its
        linearisation, whose tails are longer or shorter where curves bend.

        Better than the people whom the model was fitted on are others of the same law, where there are any: their measurements
        are as far off as those of a new person will be.
        Errors: `ValueError` for parts that are not of each other.
        """
        require_kind(model, HybridModel, "Reference.of: model", "Reference.of(model, cohort, personal)")
        require_kind(cohort, Cohort, "Reference.of: cohort", "Cohort.of(records, model)")
        require_kind(personal, (Personal, type(None)), "Reference.of: personal", "personalise(model, cohort)")
        require_solver(solver, "Reference.of")
        if simulated is not None and (not isinstance(simulated, tuple) or len(simulated) != 2):
            raise ValueError(f"Reference.of: simulated is a cohort and its Personal, and is {quote(simulated)}; simulated(…)")
        if simulated is not None:
            require_kind(simulated[0], Cohort, "Reference.of: simulated, its cohort,", "training.shift.simulated(…)")
            require_kind(simulated[1], Personal, "Reference.of: simulated, their Personal,", "training.shift.simulated(…)")
        if not cohort.ids:
            raise ValueError("Reference.of: cohort has nobody, and a training has somebody; write Cohort.of(records, model)")
        if personal is not None:
            write = "write personalise(model, cohort)"
            require_same_people(personal.ids, cohort.ids, "Reference.of: personal and cohort", write)
        model, cohort = in_float64(model, cohort)
        given = Given.of(cohort, cohort)
        units = {**_units(model), **commonest_units(cohort.records)}
        warn_of_strange(given, units)
        known = {name: values[np.isfinite(values)] for name, values in given.known_in(units).items()}
        known = {name: values for name, values in known.items() if len(values) >= min(FEWEST_KNOWN, len(cohort.ids))}
        columns = {name: values for name, values in known.items() if not _categorical(values)}
        box, sides = box_of({name: values for name, values in columns.items() if name in model.uses}, _COVARIATES)
        beside = {name: _with_room(values) for name, values in columns.items() if name not in box}
        categories = {name: tuple(np.unique(values).tolist()) for name, values in known.items() if name not in columns}
        levels: dict[str, tuple[float, float, float, float]] = {}
        for row in given.levels():
            for name, (mean, low, high) in row.items():
                a, b, c, d = levels.get(name, (mean, mean, low, high))
                levels[name] = (min(a, mean), max(b, mean), min(c, low), max(d, high))
        spread = apart(model, cohort.conditions, cohort.real, solver)
        own, rest = Spread(), Spread()
        if personal is not None:
            far, freedom, more, left = (v.numpy() for v in distances(model, cohort, personal, solver))
            drawn = None if simulated is None else [v.numpy() for v in distances(model, *simulated, solver)]
            own = Spread.of(far, freedom, None if drawn is None else (drawn[0], drawn[1]))
            rest = Spread.of(more, left, None if drawn is None else (drawn[2], drawn[3]))
        return Reference(
            len(cohort.ids),
            {name: (_short(low), _short(high)) for name, (low, high) in box.items()},
            float(f"{sides:.6g}"),
            beside,
            categories,
            _envelopes(given),
            {name: tuple(map(_short, row)) for name, row in levels.items()},  # type: ignore[misc]
            own,
            rest,
            None if spread is None else _passed_by_few(typically(spread).numpy()),
            {**_units(model), **{name: unit for name, unit in units.items() if name in known}},
            None if spread is None else _passed_by_few(largest(spread).numpy()),
        )

    def judge(self, given: Given, measured: Measured, names: tuple[str, ...] = ()) -> tuple[Shift, ...]:
        """People held beside the training: `given`, what is known of them beforehand, and what the model makes of them."""
        require_kind(given, Given, "Reference.judge: given", "Given.of(known, asked)")
        require_kind(measured, Measured, "Reference.judge: measured", "Measured.of(…)")
        people = given.beside(self.envelopes)
        return tuple(self.look(person, measured, i, names) for i, person in enumerate(people))

    def look(self, person: Beforehand, measured: Measured, i: int = 0, names: tuple[str, ...] = ()) -> Shift:
        """One person held beside the training, `measured` being of several of whom they are the i-th."""
        require_kind(person, Beforehand, "Reference.look: person", "Given.of(known, asked).beside(reference.envelopes)[0]")
        require_kind(measured, Measured, "Reference.look: measured", "Measured()")
        require_number(i, "Reference.look: i, which of them,", least=0.0, whole=True)
        require_names(names, "Reference.look: names", "coordinates(model)")
        looked, reasons, unknown = list[str](), list[ShiftReason](), list[str]()
        # without covariates their share is left to what is measured
        more = 1.0 if self.covariates else 1.0 + _COVARIATES / (_OWN + _REST)
        compared = (*self.covariates, *self.beside, *self.categories)
        person, strange = person.stated_in(self.units)
        values = {name: value for name, value in person.covariates.items() if name in compared and math.isfinite(value)}
        if values:
            looked.append("covariates")
            reasons += self._covariates(values)
        lacking = [name for name in compared if name not in values and name not in strange]
        unknown += [f"{', '.join(lacking)} is not known"] if lacking else []
        unknown += [why for name, why in strange.items() if name in compared]
        unknown += [f"{name} changes on the way and is compared at the beginning" for name in person.changing if name in values]
        uncounted = 0 if measured.uncounted is None else int(measured.uncounted[i])
        if uncounted:
            what = counted(uncounted, "measurement that is", "measurements that are")
            verb = "is" if uncounted == 1 else "are"
            unknown.append(f'{what} known by limits alone {verb} neither counted nor compared (censoring="m1")')
        if "sampling" in person.came and "sampling" in self.envelopes:
            looked.append("sampling")
        looked.append("given")
        reasons += self._events(person.came)
        reasons += self._levels(person.levels)
        if measured.own is not None and self.own.people + self.rest.people and np.isfinite(measured.own[i]):
            looked.append("kinetics")
            reasons += kinetic_reasons(self.own, self.rest, measured, i, (_OWN * more, _REST * more), names)
        for found, limit, when in ((measured.disagreement, self.disagreement, ""), (measured.apart, self.apart, " at one time")):
            spread = None if found is None else float(found[i])
            if spread is None or limit is None or not math.isfinite(spread):
                continue
            looked.append("disagreement")
            if spread > MORE * limit * (1.0 + 1e-6):
                said = (
                    f"the members disagree about somebody like this{when} by {spread:.3g} of the noise's standard deviation, and "
                    f"about 99 % of the training's people by no more than {limit:.3g}"
                )
                reasons.append(ShiftReason("disagreement", said, "", spread, limit))
        return Shift(tuple(reasons), tuple(looked), "; ".join(unknown))

    def _covariates(self, values: Mapping[str, float]) -> list[ShiftReason]:
        found = []
        for name, (low, high) in self.covariates.items():
            value, unit = values.get(name, math.nan), self._unit(name)
            room = 1e-9 * max(abs(low), abs(high))  # what conversion of units leaves
            if value < low - room or value > high + room:
                part = f"{100 * self.sides:.2g} %"
                said = (
                    f"{name} {value:.5g}{unit}, beyond the training's {low:.4g} to {high:.4g}{unit} (each side is passed by "
                    f"{part})"
                )
                found.append(ShiftReason("covariates", said, name, value, low if value < low else high))
        for name, (low, high) in self.beside.items():
            value, unit = values.get(name, math.nan), self._unit(name)
            if value < low or value > high:
                said = f"{name} {value:.5g}{unit}, far from what anybody in training had (beyond {low:.4g} or {high:.4g} is far)"
                found.append(ShiftReason("covariates", said, name, value, low if value < low else high))
        for name, known in self.categories.items():
            value = values.get(name, math.nan)
            if math.isfinite(value) and min(abs(value - one) for one in known) > 1e-9 * max(1.0, abs(value)):
                seen = ", ".join(f"{one:g}" for one in known)
                said = f"{name} is {value:g}, which nobody in training was ({seen})"
                near = min(known, key=lambda one: abs(one - value))
                found.append(ShiftReason("covariates", said, name, value, near))
        return found

    def _events(self, came: Mapping[str, tuple[float, Left | None]]) -> list[ShiftReason]:
        found, said = [], set[str]()
        for key, (total, left) in came.items():
            what, _, name = key.partition(" ")
            counted = what in ("sampling", "doses", "points")
            if key not in self.envelopes:
                if what == "sampling" or not total or name in said:
                    continue
                said.add(name)
                sentence = f"{'an input' if what == 'points' else 'a dose into'} {name}, which nobody in training had"
                found.append(ShiftReason("given", sentence, name, total, 0.0))
                continue
            if left is None or (name and name in said):  # twice the amount because of twice the doses is said once
                continue
            time, had, limit = left
            said.add(name)
            unit, clock = ("" if counted else self._unit(name)), self._unit("time")
            noun = {"sampling": "measured", "doses": "dosed", "points": "given new values"}.get(what, "given")
            most = "at most" if had > limit else "at least"
            many = f"{had:.5g}{' times' if counted else unit}"
            sentence = f"{noun} {many}{f' ({name})' if name else ''} by {time:.4g}{clock}, in training {most} {limit:.5g}{unit}"
            if limit > 0.0:
                sentence += f" ({had / limit:.2g} times as {'often' if counted else 'much'})"
            found.append(ShiftReason("sampling" if what == "sampling" else "given", sentence, name, had, limit))
        return found

    def _levels(self, row: Mapping[str, tuple[float, float, float]]) -> list[ShiftReason]:
        found = []
        for name, (mean, low, high) in row.items():
            if name not in self.levels:
                continue  # said as an input that nobody had
            least, most, lowest, highest = self.levels[name]
            unit = self._unit(name)
            for what, value, bottom, top in (
                ("mean", mean, least, most),
                ("highest", high, lowest, highest),
                ("lowest", low, lowest, highest),
            ):
                spare = 0.5 * (top - bottom) + 1e-9 * max(abs(top), abs(bottom))
                under, over = (bottom / MORE, top * MORE) if bottom >= 0.0 else (bottom - spare, top + spare)
                if value > over * (1 + 1e-9) + 1e-300 or value < under - 1e-9 * abs(under):
                    said = f"the {what} of {name} is {value:.4g}{unit}, in training from {bottom:.4g} to {top:.4g}{unit}"
                    found.append(ShiftReason("given", said, name, value, top if value > top else bottom))
                    break
        return found

    def _unit(self, name: str) -> str:
        unit = self.units.get(name, "1")
        return "" if unit in ("", "1") else f" {unit}"

    def sentences(self) -> list[str]:
        """What the training looked like, in a few words each."""
        found = [f"{self.people} people"]
        found += [f"{name} {low:.4g} to {high:.4g}{self._unit(name)}" for name, (low, high) in self.covariates.items()]
        found += [f"{name} {', '.join(f'{v:g}' for v in values)}" for name, values in self.categories.items()]
        for key, one in self.envelopes.items():
            what, _, name = key.partition(" ")
            if what in ("sampling", "amount"):
                noun = "measured" if what == "sampling" else f"given into {name}"
                unit = " times" if one.counted else self._unit(name)
                end = f"{one.times[-1]:.4g}{self._unit('time')}"
                found.append(f"{noun} {one.least[-1]:.4g} to {one.most[-1]:.4g}{unit} by {end}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "people": self.people,
            "covariates": {name: list(row) for name, row in self.covariates.items()},
            "sides": self.sides,
            "beside": {name: list(row) for name, row in self.beside.items()},
            "categories": {name: list(values) for name, values in self.categories.items()},
            "envelopes": {name: one.to_dict() for name, one in self.envelopes.items()},
            "levels": {name: list(row) for name, row in self.levels.items()},
            "own": self.own.to_dict(),
            "rest": self.rest.to_dict(),
            "disagreement": self.disagreement,
            "units": dict(self.units),
            "apart": self.apart,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Reference":
        """The inverse of `to_dict`. Errors: `ValueError` for what it does not write."""
        with as_written(data, "Reference"):
            most, largest_of = data["disagreement"], data.get("apart")  # a summary of before has no largest one
            return Reference(
                data["people"],
                {str(k): (float(low), float(high)) for k, (low, high) in data["covariates"].items()},
                float(data["sides"]),
                {str(k): (float(low), float(high)) for k, (low, high) in data["beside"].items()},
                {str(k): tuple(float(v) for v in values) for k, values in data["categories"].items()},
                {str(k): Envelope.from_dict(one) for k, one in data["envelopes"].items()},
                {str(k): (float(a), float(b), float(c), float(d)) for k, (a, b, c, d) in data["levels"].items()},
                Spread.from_dict(data["own"]),
                Spread.from_dict(data["rest"]),
                None if most is None else float(most),
                {str(k): str(u) for k, u in data["units"].items()},
                None if largest_of is None else float(largest_of),
            )


def _passed_by_few(spread: Array) -> float | None:
    found = spread[np.isfinite(spread) & (spread > 0.0)]
    return _short(upper_limit(found, _QUANTILE)) if len(found) else None


def _categorical(values: Array) -> bool:
    seen = np.unique(values)
    return len(seen) <= CATEGORIES and len(values) >= 2 * len(seen) and bool((seen == np.round(seen)).all())


def _envelopes(given: Given) -> dict[str, Envelope]:
    rows, empty = given.rows(), np.zeros(0)
    found = {}
    for key in sorted({key for row in rows for key in row}):
        sampling = key == "sampling"
        people = []
        for i, row in enumerate(rows):
            if key in row:
                people.append(row[key])
            elif not sampling:  # who had none is followed all the same
                people.append(type(next(r[key] for r in rows if key in r))(empty, empty, float(given.ends[i])))
        start = min(s.start for s in given.schedules)
        found[key] = Envelope.of(people, start, counted=key.split(" ")[0] in ("sampling", "doses", "points"))
    return found


def _units(model: HybridModel) -> dict[str, str]:
    backbone = model.backbone
    states = zip(backbone.states, backbone.state_units, strict=True)
    inputs = zip(backbone.inputs, backbone.input_units, strict=True)
    return {**dict(states), **dict(inputs), "time": backbone.time_unit}


def _short(value: float) -> float:
    """Nine digits: a summary, and equal bytes wherever it was made."""
    return float(f"{value:.9g}")


def _with_room(values: Array) -> tuple[float, float]:
    """A range with half as much again: of a covariate that the model does not read."""
    low, high = float(values.min()), float(values.max())
    spare = 0.5 * (high - low)
    found = (low / MORE, high * MORE) if low > 0.0 else (low - spare, high + spare)
    return _short(found[0]), _short(found[1])
