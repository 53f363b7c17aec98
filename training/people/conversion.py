"""A record in the units and the order of a model: the door through which every table comes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from torch import Tensor

from hybrid import Dose, HybridModel, Log, Schedule
from hybrid.schedules.dose import as_float
from physics import Backbone
from physics.arguments import InputError, quote
from physics.units import convert, factor
from training.people.logarithms import in_logarithms
from training.people.records import Record, on_clock


def converted(record: Record, model: HybridModel) -> Record:
    """The same person in this model's units, channels in its order.

    Times, those of the schedule too, are then in the backbone's time unit, doses in the unit of the state that they go into,
    inputs in the backbone's, values in the channels', covariates in what the part that reads them states. What a record
    states no unit of is taken to be in the model's; covariates that no part reads are left as they are.
    Errors: `ValueError`, naming record and quantity, for units that do not join, channels, compartments or inputs that the
    model does not have, and a covariate whose unit the record states and the model does not; for a value at 0 or below whose
    logarithm the model observes (`Log`).
    Law: a record that is in the model's units is given back itself; stating the same table in other units changes no prediction.
    """
    observation = model.observation
    if isinstance(observation, Log) and sorted(record.channels) == sorted(observation.within.channels):
        within = dict(zip(observation.within.channels, observation.within.units, strict=True))
        record = in_logarithms(in_units(record, model.backbone, within, model.uses), observation)
    return in_units(record, model.backbone, dict(zip(observation.channels, observation.units, strict=True)), model.uses)


def in_units(
    record: Record,
    backbone: Backbone,
    channels: Mapping[str, str],
    covariates: Mapping[str, str | None],
) -> Record:
    """As `converted`, for a model that is still to be built: the units of its `channels` and `covariates`."""
    units, where = dict(record.units), f"record {record.id}"
    if sorted(record.channels) != sorted(channels):
        problem = f"{where} measures {quote(list(record.channels))} and the model predicts {quote(list(channels))}"
        raise InputError(problem, "name the channels alike", "name the channels alike, as in --channels 2=" + min(channels))
    unknown = sorted(record.schedule.compartments - set(backbone.states))
    if unknown:
        known = f"the compartments of {type(backbone).__name__} are {list(backbone.states)}"
        name = f"name them so, as in --compartments 1={backbone.states[0]}"
        raise InputError(f"{where}: a dose goes into {quote(unknown)}", known, f"{known}: {name}")

    def ratio(name: str, unit: str, said: str | None = None) -> Fraction:
        have = units.get(name)
        return Fraction(1) if have is None else factor(have, unit, f"{where}: {said or name}")

    clock = ratio("time", backbone.time_unit)
    into = dict(zip(backbone.states, backbone.state_units, strict=True))
    dosed = sorted(record.schedule.compartments)
    amounts = {state: ratio("dose", into[state], f"the dose into {state}") for state in dosed}
    inputs = {
        name: ratio(name, unit, f"the input {name}")
        for name, unit in zip(backbone.inputs, backbone.input_units, strict=True)
        if name in record.schedule.inputs
    }
    values = [ratio(channel, unit) for channel, unit in channels.items()]
    read: dict[str, Fraction] = {}
    for name, unit in covariates.items():
        if name not in units or name not in {**record.covariates, **record.changing}:
            continue
        if unit is None:
            raise InputError(
                f"{where}: the covariate {name} is in {units[name]}, and the model reads it without saying in which unit",
                f'write the unit beside its reference, powers={{"V": {{"{name}": (70.0, 1.0, "{units[name]}")}}}}, or its '
                f'centre, covariates={{"{name}": (70.0, 20.0, "{units[name]}")}}',
                f"convert the column to what the model was made for, and leave {name} out of --units",
            )
        read[name] = ratio(name, unit, f"the covariate {name}")

    found, order = record, [record.channels.index(channel) for channel in channels]
    if order != sorted(order) or any(r != 1 for r in values):
        measured, lower, upper = _columns(record, order, values)
        found = replace(found, values=measured, channels=tuple(channels), lower=lower, upper=upper)
    if any(r != 1 for r in read.values()):
        given = {k: convert(v, read[k]) if k in read else v for k, v in record.covariates.items()}
        changing = {k: (t, convert(v, read[k]) if k in read else v) for k, (t, v) in record.changing.items()}
        said = {k: convert(v, read[k]) if k in read else v for k, v in record.read_with.items()}
        found = replace(found, covariates=given, changing=changing, read_with=said)
    if any(r != 1 for r in (clock, *amounts.values(), *inputs.values())):
        found = _on_clock(found, clock, amounts, inputs)
    now: dict[str, set[str]] = {"time": {backbone.time_unit}}
    for name, unit in (*channels.items(), *zip(backbone.inputs, backbone.input_units, strict=True), *covariates.items()):
        if unit is not None:
            now.setdefault(name, set()).add(unit)
    # a name that is a channel and an input in two units is from now on in both, which one code cannot say
    stated = {n: next(iter(now.get(n, {u}))) for n, u in units.items() if n != "dose" and len(now.get(n, {u})) == 1}
    doses = {into[state] for state in dosed}
    if "dose" in units and len(doses) <= 1:  # of compartments in several units nothing can be said by one code
        stated["dose"] = next(iter(doses), units["dose"])
    return found if stated == units else replace(found, units=stated)


def as_shown(
    record: Record,
    channels: Mapping[str, str],
    time_unit: str | None = None,
) -> Record:
    """The same person's measurements in the units that a picture has on its axes, `channels` by name in the picture's order.

    What the record states no unit of, channels that it does not have, and times where no `time_unit` is said stay as they are.
    Errors: `ValueError` for units that do not join.
    """
    found, where = record, f"record {record.id}"
    if sorted(record.channels) == sorted(channels):
        ratios = [factor(record.units.get(c, unit), unit, f"{where}: {c}") for c, unit in channels.items()]
        order = [record.channels.index(c) for c in channels]
        if order != sorted(order) or any(r != 1 for r in ratios):
            measured, lower, upper = _columns(record, order, ratios)
            stated = {**record.units, **channels}
            found = replace(found, values=measured, channels=tuple(channels), units=stated, lower=lower, upper=upper)
    have = record.units.get("time")
    if time_unit is not None and have is not None and have != time_unit:
        clock, same = factor(have, time_unit, f"{where}: time"), dict.fromkeys(record.schedule.compartments, Fraction(1))
        found = replace(_on_clock(found, clock, same, {}), units={**found.units, "time": time_unit})
    return found


def _columns(
    record: Record,
    order: Sequence[int],
    ratios: Sequence[Fraction],
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:  # each (T, p)
    """Values, lower and upper limits with their channels in another order, each by its own ratio."""

    def moved(array: np.ndarray) -> np.ndarray:
        return np.stack([convert(array[:, i], r) for i, r in zip(order, ratios, strict=True)], 1)

    lower, upper = (None if limit is None else moved(limit) for limit in (record.lower, record.upper))
    return moved(record.values), lower, upper


def _on_clock(
    record: Record, clock: Fraction, amounts: Mapping[str, Fraction], inputs: Mapping[str, Fraction]
) -> Record:
    """The record with its schedule in other units, and all of its times."""
    every = np.concatenate([record.times, record.own_times])
    schedule, moved = _schedule(record.schedule, every, clock, amounts, inputs)
    return on_clock(record, schedule, moved[: len(record.times)], moved[len(record.times) :])


def _schedule(
    schedule: Schedule,
    times: np.ndarray,  # (T,)
    clock: Fraction,
    amounts: Mapping[str, Fraction],
    inputs: Mapping[str, Fraction],
) -> tuple[Schedule, np.ndarray]:
    """Schedule and observation times, times by `clock`, amounts and inputs by their own ratios."""
    signals = {name: np.asarray(s.times, dtype=np.float64) for name, s in schedule.inputs.items()}
    given = np.array([as_float(d.time) for d in schedule.doses])
    anew = np.array([*schedule.resets, *(s.time for s in schedule.steady)], dtype=np.float64)
    every = np.unique(np.concatenate([times, given, anew, [schedule.start], *signals.values()]))
    own = convert(every, clock)
    for k in np.flatnonzero(np.diff(own) <= 0.0):  # a dose that was moved a rounding before an observation stays before it
        own[k + 1] = np.nextafter(max(own[k], own[k + 1]), np.inf)

    def moved(at: Sequence[float] | np.ndarray) -> np.ndarray:
        return own[np.searchsorted(every, np.asarray(at, dtype=np.float64))]

    doses = [_dose(dose, float(t), clock, amounts[dose.state]) for dose, t in zip(schedule.doses, moved(given), strict=True)]
    changed = {
        name: replace(
            signal,
            times=tuple(moved(signals[name]).tolist()),
            values=tuple(convert(np.asarray(signal.values, dtype=np.float64), inputs.get(name, Fraction(1))).tolist()),
        )
        for name, signal in schedule.inputs.items()
    }
    start = float(moved([schedule.start])[0])
    steady = tuple(
        replace(
            one,
            time=float(moved([one.time])[0]),
            amount=convert(one.amount, amounts[one.state]),
            every=convert(one.every, clock),
            duration=convert(one.duration, clock),
        )
        for one in schedule.steady
    )
    resets = tuple(moved(schedule.resets).tolist())
    return Schedule(tuple(doses), changed, start, resets, steady), moved(times)


def _dose(dose: Dose, time: float, clock: Fraction, amount: Fraction) -> Dose:
    """One dose at its new time; numbers that carry a gradient keep it."""
    return replace(
        dose,
        time=time + convert(dose.time - dose.time.detach(), clock) if isinstance(dose.time, Tensor) else time,
        amount=convert(dose.amount, amount),
        duration=convert(dose.duration, clock),
        lag=convert(dose.lag, clock),
    )
