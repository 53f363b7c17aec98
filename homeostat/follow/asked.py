"""What the options of `homeostat follow` ask for: texts, read with the model's units at hand."""

import math
import re
from collections.abc import Mapping
from datetime import timedelta

from homeostat.options import pairs
from hybrid import HybridModel
from physics.arguments import InputError, quote
from physics.units import compatible, factor

_SPAN = re.compile(r"\s*([0-9.eE+-]+)\s*(\S+)\s*")


def span_of(text: str, option: str) -> timedelta:
    """A stretch of time, as 7d or "36 h". Errors: `ValueError` for what is none, or below 0."""
    return timedelta(microseconds=round(_in_unit(text, option, "s") * 1e6))


def time_constant_of(text: str | None, option: str, unit: str) -> float | None:
    """A stretch of time above 0 in the model's unit, from a text as 30d; None for none. Errors: as `span_of`."""
    if text is None:
        return None
    found = _in_unit(text, option, unit)
    if found == 0.0:
        raise ValueError(
            f"{option} {text!r} is no time; write one above 0, as {option} 30d, or leave it out: nothing drifts"
        )
    return found


def _in_unit(text: str, option: str, unit: str) -> float:
    write = f"write a number and a unit of time, as {option} 7d or {option} 36h"
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{option} {text!r} is no stretch of time; {write}")
    number, code = found.groups()
    try:
        value = float(number) * float(factor(code, unit, option))
    except ValueError as error:
        raise ValueError(f"{option} {text!r}: {str(error).rpartition('; ')[0] or error}; {write}") from error
    if not 0.0 <= value < 3e12:  # some hundred thousand years in s: a slip
        raise ValueError(f"{option} {text!r} is no stretch of time that can be meant; {write}")
    return value


def floor_of(text: str | None, model: HybridModel) -> dict[str, float] | None:
    """`--process-floor UNIT=VALUE,…`: the diffusion of every state in a unit, by the states' names; None where nothing is asked.

    VALUE is the standard deviation that each state in that unit gains in the model's unit of time, in UNIT per √time, beside
    what the model's own process noise gives; 0 says in so many words that there is none. The name of a state in the place of
    UNIT speaks of that state alone, and holds before what is said of its unit.
    Errors: `ValueError` for a unit that no state has, a value that is no number from 0 on, and a state of which nothing is said.
    """
    if text is None:
        return None
    backbone = model.backbone
    units = dict(zip(backbone.states, backbone.state_units, strict=True))
    given = {name: _diffusion(name, value, text) for name, value in pairs(text, "--process-floor").items()}
    if not given:
        raise ValueError(f"--process-floor {text!r} says nothing; write {floor_to_write(model)}")
    of_units, used = {name: value for name, value in given.items() if name not in units}, set(given) & set(units)
    floor = {}
    for state, unit in units.items():
        if state in given:
            floor[state] = given[state]
            continue
        said = [code for code in of_units if code == unit or _joins(code, unit, text)]
        if len(said) > 1:
            both = " and ".join(said)
            raise ValueError(f"--process-floor {text!r}: {both} both speak of {state}, in {unit}; write one of them")
        if said:
            floor[state] = of_units[said[0]] * float(factor(said[0], unit, "--process-floor"))
            used.add(said[0])
    idle = [name for name in given if name not in used]
    if idle:
        raise ValueError(
            f"--process-floor {text!r}: no state is called {quote(idle[0])}, and none is in that unit; the states are "
            f"{_listed(units)}; write {floor_to_write(model)}"
        )
    silent = {state: unit for state, unit in units.items() if state not in floor}
    if silent:
        lacking = ",".join(f"{unit}=VALUE" for unit in dict.fromkeys(silent.values()))
        raise ValueError(
            f"--process-floor {text!r} says nothing of {_listed(silent)}; write {lacking} too, 0 for no noise"
        )
    return floor


def floor_to_write(model: HybridModel) -> str:
    """The option, with the units that this model's states have."""
    return f"--process-floor {','.join(f'{unit}=VALUE' for unit in dict.fromkeys(model.backbone.state_units))}"


def require_noise(model: HybridModel, floor: Mapping[str, float] | None) -> None:
    """Refuse a model that nothing drives at random, unless it is said what its filter is to take for that.

    A filter of such a model is sure of itself after a few measurements, and hears no more.
    """
    if model.process is not None or floor is not None:
        return
    time = model.backbone.time_unit
    units = _listed(dict(zip(model.backbone.states, model.backbone.state_units, strict=True)))
    raise InputError(
        "this model has no process noise: a filter of it is sure of itself after a few measurements, and hears no more; "
        f"its states are {units}",
        f"give a floor: Twin(bundle, floor={{…}}), by the states' names, in their units per √{time}",
        f"write {floor_to_write(model)}, VALUE being the standard deviation that such a state gains in 1 {time} "
        "beside what the model says; 0 for none, at your own risk",
    )


def _diffusion(name: str, value: str, text: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not 0.0 <= found < math.inf:
        raise ValueError(f"--process-floor {text!r}: {name}={value} is no number from 0 on; write {name}=0.1, or so")
    return found


def _joins(code: str, unit: str, text: str) -> bool:
    try:
        return compatible(code, unit)
    except ValueError as error:
        raise ValueError(f"--process-floor {text!r}: {str(error).removeprefix('unit: ')}") from error


def _listed(units: Mapping[str, str]) -> str:
    return ", ".join(f"{state} in {unit}" for state, unit in units.items())
