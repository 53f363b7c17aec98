"""What is known and not linear: a mechanism, its rate written on scalars and traced to a tape."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

from physics.arguments import as_written, quote, require_flag, require_kind, require_number, require_text
from physics.defaults import Defaults, Observed
from physics.glance import Summary, glance
from physics.parameter import Parameter
from physics.tape import Tape
from physics.trace import replay, trace
from physics.units import require

_PER_TIME = re.compile(r"1?/(s|min|h|d|wk|mo|a)|(s|min|h|d|wk|mo|a)-1")
_EMPTY: Mapping[str, Any] = MappingProxyType({})


def _summary(mechanism: Any) -> Summary:
    return f"{mechanism.name}: dx/dt = f(x, u, θ), time in {mechanism.time_unit}", [
        ("states", ", ".join(f"{name} ({unit})" for name, unit in mechanism.states.items())),
        ("inputs", ", ".join(f"{name} ({unit})" for name, unit in mechanism.inputs.items())),
        *((p.name, f"{p.typical:.4g} {p.unit}, from {p.low:.4g} to {p.high:.4g}") for p in mechanism.physical),
        ("source", mechanism.source),
    ]


class Mechanism(ABC):
    """dx/dt = f(x, u, θ), known and as nonlinear as it is: `rate`, written once, is simulated, fitted and proved.

    A class of one's own sets these, and writes `rate`:
    - `time_unit`; `states` and `inputs`, each name with its unit (UCUM); `physical`, the θ in their order.
    - `scale`: a typical size of each state, in its unit: what is large for it.
    - `signs`: +1 or −1 for each state where the mechanism is monotone in that order (an orthant's); None where nobody says so.
    - `typical_inputs`: the levels of inputs at which it is looked at where nobody says otherwise, 0 for those left out.
    - `starts_empty`: whether a person starts with every state at 0 (drugs), and not at the equilibrium of their own u and θ.
    - `starts`: the states that a measurement at or before the start fixes, each with the parameter that the state is divided by
      to give what was measured, or None.
    - `source`; `defaults`: what the shell takes of it where nobody says otherwise.
    `rate` may use + − × ÷, constant powers, abs, and the functions of `physics.operations`; it must not branch on a value.
    Errors: `ValueError` from `tape` and `require_mechanism` for a rate that does more, or names and numbers that do not fit.
    Law: the tape, the Python and numpy agree.
    """

    time_unit: str
    states: Mapping[str, str]
    inputs: Mapping[str, str] = _EMPTY
    physical: tuple[Parameter, ...] = ()
    scale: Mapping[str, float]
    signs: Mapping[str, int] | None = None
    typical_inputs: Mapping[str, float] = _EMPTY
    starts_empty: bool = False
    starts: tuple[tuple[str, str | None], ...] = ()
    source: str = ""
    defaults: Defaults = Defaults()

    __repr__, _repr_html_ = glance(_summary)

    @abstractmethod
    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        """The rate of every state by its name, in state units per time, of named scalars: x.plasma, u.infusion, theta.ka."""

    @property
    def name(self) -> str:
        """What it is called: its class."""
        return type(self).__name__

    @cached_property
    def tape(self) -> Tape:
        """The rate as a tape, traced once. Errors: `ValueError`, quoting the line of the rate at fault."""
        require_mechanism(self)
        return trace(self.rate, tuple(self.states), tuple(self.inputs), tuple(p.name for p in self.physical), self.name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the tape inside: all that a bundle needs, and nothing that executes."""
        return {
            "name": self.name,
            "tape": self.tape.to_dict(),
            "time_unit": self.time_unit,
            "states": dict(self.states),
            "inputs": dict(self.inputs),
            "physical": [asdict(p) for p in self.physical],
            "scale": dict(self.scale),
            "signs": None if self.signs is None else dict(self.signs),
            "typical_inputs": dict(self.typical_inputs),
            "starts_empty": self.starts_empty,
            "starts": [list(one) for one in self.starts],
            "source": self.source,
            "defaults": _defaults_to_dict(self.defaults),
        }


class TapedMechanism(Mechanism):
    """A mechanism that was read: what `Mechanism.to_dict` wrote, with the tape in the place of Python.

    Errors: `ValueError` for what no `to_dict` writes.
    """

    _ENTRIES: ClassVar[tuple[str, ...]] = (
        *(
            "name",
            "tape",
            "time_unit",
            "states",
            "inputs",
            "physical",
            "scale",
            "signs",
            "typical_inputs",
            "starts_empty",
        ),
        *("starts", "source", "defaults"),
    )

    def __init__(self, data: Mapping[str, Any]) -> None:
        with as_written(data, "Mechanism"):
            if set(data) != set(self._ENTRIES):
                raise ValueError(f"its entries are {quote(list(data))}")
            require_text(data["name"], "its name", '"MichaelisMenten"')
            require_kind(data["source"], str, "its source", '"a book"')
            require_flag(data["starts_empty"], "its starts_empty")
            self._name, self._tape = data["name"], Tape.from_dict(data["tape"])
            self.time_unit, self.source, self.starts_empty = data["time_unit"], data["source"], data["starts_empty"]
            self.states, self.inputs = dict(data["states"]), dict(data["inputs"])
            self.physical = tuple(Parameter(**one) for one in data["physical"])
            self.scale, self.typical_inputs = dict(data["scale"]), dict(data["typical_inputs"])
            self.signs = None if data["signs"] is None else dict(data["signs"])
            self.starts = tuple((state, by) for state, by in data["starts"])
            self.defaults = _defaults_of(data["defaults"])
            require_mechanism(self)
            names = tuple(self.states), tuple(self.inputs), tuple(p.name for p in self.physical)
            if (self._tape.states, self._tape.inputs, self._tape.parameters) != names:
                raise ValueError("its tape names other states, inputs or parameters")

    @property
    def name(self) -> str:
        return self._name

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return replay(self._tape, x, u, theta)


def require_mechanism(mechanism: object) -> None:
    """Raise `ValueError` unless this is a mechanism whose names, units and numbers fit together."""
    require_kind(mechanism, Mechanism, "a mechanism", "MichaelisMenten()")
    assert isinstance(mechanism, Mechanism)  # for the type checker: just required
    name = mechanism.name
    for what in ("time_unit", "states", "scale"):
        if not hasattr(mechanism, what):
            raise ValueError(f"{name}: {what} is not set; write {what} = … in the body of the class")
    require(mechanism.time_unit, f"{name}: time_unit")
    for what in ("states", "inputs"):
        named = getattr(mechanism, what)
        require_kind(named, Mapping, f"{name}: {what}", f'{what} = {{"plasma": "mg"}}')
        for one, unit in named.items():
            require_text(one, f"{name}: a name among {what}", f'{what} = {{"plasma": "mg"}}')
            require_text(unit, f"{name}: the unit of {one}", f'{what} = {{"{one}": "mg"}}')
            require(unit, f"{name}: {one}")
    if not mechanism.states:
        raise ValueError(f'{name}: states are none; write states = {{"plasma": "mg"}}')
    for one in require_tuple(mechanism.physical, f"{name}: physical"):
        require_kind(one, Parameter, f"{name}: each of physical", "Parameter('ka', '/h', 1.5, 0.05, 20.0)")
    names = [p.name for p in mechanism.physical]
    if len(set(names)) < len(names):
        raise ValueError(f"{name}: parameters need names that differ, and are {quote(names)}")
    _require_numbers(mechanism.scale, list(mechanism.states), f"{name}: scale", above=0.0, whole=True)
    _require_numbers(mechanism.typical_inputs, list(mechanism.inputs), f"{name}: typical_inputs")
    if mechanism.signs is not None:
        _require_numbers(mechanism.signs, list(mechanism.states), f"{name}: signs", whole=True)
        if set(mechanism.signs.values()) - {1, -1}:
            raise ValueError(f"{name}: signs are +1 or −1, and are {quote(dict(mechanism.signs))}")
    for state, by in mechanism.starts:
        if state not in mechanism.states or (by is not None and by not in names):
            raise ValueError(
                f"{name}: starts names {quote((state, by))}; write states with a parameter or None, (('plasma', 'V'),)"
            )


def require_own_time(mechanism: Mechanism) -> None:
    """Raise `ValueError` for a rate constant that is per another unit of time than the mechanism's, which nothing converts.

    Parts of a composition keep their own units, and their tape converts: what was joined or read is not asked.
    """
    if isinstance(mechanism, TapedMechanism):
        return
    name = mechanism.name
    time = require(mechanism.time_unit, f"{name}: time_unit")
    for one in mechanism.physical:
        per = _PER_TIME.fullmatch(one.unit)
        if per is not None and (per[1] or per[2]) != time:
            raise ValueError(
                f"{name}: {one.name} is in {one.unit}, and time in {time}: its number would be taken to be per {time}; write "
                f"Parameter({one.name!r}, '/{time}', …) with the numbers converted, or time_unit = '{per[1] or per[2]}'"
            )


def require_tuple(values: object, what: str) -> tuple[Any, ...]:
    """The values. Errors: `ValueError` for what is no tuple or list."""
    require_kind(values, (tuple, list), what, "(…,), a tuple, even of one")
    return tuple(values)  # type: ignore[arg-type]  # just found to be one


def _require_numbers(
    values: object, names: list[str], what: str, *, above: float = -float("inf"), whole: bool = False
) -> None:
    """Raise `ValueError` unless the values are numbers by these names: of all of them (`whole`), or of some."""
    require_kind(values, Mapping, what, f"{{{names[0]!r}: 1.0}}" if names else "{}")
    given: Mapping[str, Any] = values  # type: ignore[assignment]  # just found to be one
    lacks, more = [n for n in names if n not in given], [n for n in given if n not in names]
    if more or (lacks and whole):
        wrong = f"names {quote(more[0])}, which there is none of" if more else f"lacks {', '.join(lacks)}"
        raise ValueError(f"{what} {wrong}; there are {', '.join(names) or 'none'}")
    for name, value in given.items():
        require_number(value, f"{what} of {name}", above=above)


def _defaults_to_dict(defaults: Defaults) -> dict[str, Any]:
    found = {f.name: getattr(defaults, f.name) for f in fields(Defaults)}
    return {
        **found,
        "observed": [asdict(one) for one in defaults.observed],
        "compartments": [[number, state] for number, state in defaults.compartments.items()],  # names in JSON are texts
        "spread": dict(defaults.spread),
        "powers": {name: {by: list(power) for by, power in powers.items()} for name, powers in defaults.powers.items()},
    }


def _defaults_of(data: Mapping[str, Any]) -> Defaults:
    return Defaults(
        observed=tuple(Observed(**one) for one in data["observed"]),
        compartments=dict(data["compartments"]),
        spread=dict(data["spread"]),
        powers={name: {by: (p[0], p[1], p[2]) for by, p in powers.items()} for name, powers in data["powers"].items()},
        amounts=data["amounts"],
    )
