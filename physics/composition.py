"""Mechanisms made of mechanisms: beside each other, one behind the other, or in a loop; names stay what they are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from physics.arguments import quote, require_kind, require_names, require_text
from physics.compartments import factors
from physics.defaults import Defaults
from physics.mechanism import Mechanism, TapedMechanism, require_mechanism
from physics.parameter import Parameter
from physics.trace import Named
from physics.units import convert, factor, over, times

Link = str | Callable[[Any, Any, Any], Any]
_WRITE = 'series(drug, response, {"C": "plasma/V"})'


def parallel(
    first: Mechanism,
    second: Mechanism,
    *,
    name: str = "",
    shared: Sequence[str] = (),
    signs: Mapping[str, int] | None = None,
) -> Mechanism:
    """Both, beside each other: states, inputs and parameters of the first and then of the second.

    An input that both name is one input. A parameter that both name is one where `shared` lists it. Two states of one name, and
    parameters of one name that are not shared, are refused: `renamed` gives others.
    Arguments: `first`, `second`, in the time unit of the first, which the second's rates are brought to · `name` of what is made,
    by default both · `shared` · `signs`: those of the whole; by default both's where both have them and nothing joins them, else
    none.
    Errors: `ValueError` for names that clash, with their unit where that differs; for a time unit that no factor leads to.
    Law: the rate is that of the parts, which do not see each other.
    """
    return _joined("parallel", (first, second), ({}, {}), (name, shared, signs))


def series(
    first: Mechanism,
    second: Mechanism,
    links: Mapping[str, Link],
    *,
    name: str = "",
    shared: Sequence[str] = (),
    signs: Mapping[str, int] | None = None,
) -> Mechanism:
    """The second driven by the first: `series(drug, response, {"C": "plasma/V"})`.

    `links`: for inputs of the second what they are: a state or parameter of the whole, or a product or quotient of several, in
    text, whose unit is brought to the input's; or a function (x, u, theta) of all states, inputs and parameters that remain,
    which gives the input in its own unit. Inputs without a link remain inputs. What is left is said in `parallel`.
    Errors: as `parallel`; for a link to no input, of unknown names, or in a unit that no factor leads from.
    Law: along its solutions the second has the inputs that the links give.
    """
    _require_links("series", links, second)
    return _joined("series", (first, second), ({}, links), (name, shared, signs))


def feedback(
    first: Mechanism,
    second: Mechanism,
    forward: Mapping[str, Link],
    back: Mapping[str, Link],
    *,
    name: str = "",
    shared: Sequence[str] = (),
    signs: Mapping[str, int] | None = None,
) -> Mechanism:
    """The second driven by the first, and the first by the second: `forward` for inputs of the second, `back` of the first.

    As `series`. A link reads states, so that there is no loop without one.
    """
    _require_links("feedback", forward, second)
    _require_links("feedback", back, first)
    return _joined("feedback", (first, second), (back, forward), (name, shared, signs))


def renamed(mechanism: Mechanism, names: Mapping[str, str], *, name: str = "") -> Mechanism:
    """The same with other names of states, inputs or parameters: `renamed(drug, {"plasma": "other", "V": "V_other"})`.

    Errors: `ValueError` for a name that there is none of, and for new ones that clash.
    """
    require_mechanism(mechanism)
    require_kind(names, Mapping, "renamed: names", '{"plasma": "other"}')
    require_kind(name, str, "renamed: name", 'name="Other"')
    known = [*mechanism.states, *mechanism.inputs, *(p.name for p in mechanism.physical)]
    for old, new in names.items():
        require_text(new, "renamed: a new name", '{"plasma": "other"}')
        if old not in known:
            raise ValueError(f"renamed: {mechanism.name} has no {quote(old)}; it has {', '.join(known)}")

    def text(rate: str) -> str:
        return "".join({1: "*", -1: "/"}[power] + names.get(one, one) for one, power in factors(rate))[1:]

    def keys(given: Mapping[str, Any]) -> dict[str, Any]:
        found = {names.get(one, one): value for one, value in given.items()}
        if len(found) < len(given):
            raise ValueError(
                f"renamed: two names of {mechanism.name} become one in {quote(dict(names))}; choose others"
            )
        return found

    data = mechanism.to_dict()
    tape, defaults = data["tape"], data["defaults"]
    for what in ("states", "inputs", "scale", "typical_inputs"):
        data[what] = keys(data[what])
    data["signs"] = None if data["signs"] is None else keys(data["signs"])
    for what in ("states", "inputs", "parameters"):
        tape[what] = list(keys(dict.fromkeys(tape[what])))
    data["physical"] = [
        {**p, "name": names.get(p["name"], p["name"]), "above": text(p["above"]) if p["above"] else ""}
        for p in data["physical"]
    ]
    data["starts"] = [
        [names.get(state, state), by if by is None else names.get(by, by)] for state, by in data["starts"]
    ]
    for what in ("spread", "powers"):
        defaults[what] = keys(defaults[what])
    defaults["compartments"] = [[number, names.get(state, state)] for number, state in defaults["compartments"]]
    for one in defaults["observed"]:
        one["channel"] = names.get(one["state"], one["state"]) if one["channel"] == one["state"] else one["channel"]
        one["state"] = names.get(one["state"], one["state"])
        one["volume"] = names.get(one["volume"], one["volume"]) if one["volume"] else None
    return TapedMechanism({**data, "name": name or mechanism.name})


class _Joined(Mechanism):
    """Two mechanisms with links between them, while their tape is traced."""

    def __init__(
        self,
        how: str,
        parts: tuple[Mechanism, Mechanism],
        links: tuple[Mapping[str, Link], Mapping[str, Link]],
        said: tuple[str, Sequence[str], Mapping[str, int] | None],
    ) -> None:
        one, two = parts
        for part in parts:
            require_mechanism(part)
        require_kind(said[0], str, f"{how}: name", 'name="Both"')
        if said[2] is not None:
            require_kind(said[2], Mapping, f"{how}: signs", '{"plasma": 1}, or None')
        self._parts, self._links, given = parts, links, said[2]
        self._name = said[0] or f"{one.name}, {two.name}"
        where = f"{how} of {one.name} and {two.name}"
        self._where, self.time_unit = where, one.time_unit
        self._times = (factor(one.time_unit, one.time_unit), factor(one.time_unit, two.time_unit, f"{where}: the time"))
        if clash := [state for state in one.states if state in two.states]:
            raise ValueError(f"{where}: both have a state {clash[0]}; write renamed(second, {{{clash[0]!r}: …}})")
        self.states = {**one.states, **two.states}
        left = [
            {n: unit for n, unit in part.inputs.items() if n not in link}
            for part, link in zip(parts, links, strict=True)
        ]
        for n in left[0]:
            if left[1].get(n, left[0][n]) != left[0][n]:
                raise ValueError(
                    f"{where}: the input {n} is in {left[0][n]} and in {left[1][n]}; write renamed(second, …)"
                )
        self.inputs = {**left[0], **left[1]}
        self.physical = (*one.physical, *_more(one, two, require_names(said[1], f"{how}: shared", '["V"]'), where))
        names = [*self.states, *self.inputs, *(p.name for p in self.physical)]
        if double := [n for n in names if names.count(n) > 1]:
            raise ValueError(
                f"{where}: {double[0]} is the name of two things; write renamed(second, {{{double[0]!r}: …}})"
            )
        self.scale = {**one.scale, **two.scale}
        both = one.signs and two.signs and how == "parallel"
        self.signs = dict(given) if given is not None else ({**one.signs, **two.signs} if both else None)  # type: ignore[dict-item]
        self.typical_inputs = {n: v for p in parts for n, v in p.typical_inputs.items() if n in self.inputs}
        self.starts_empty = one.starts_empty and two.starts_empty
        self.starts = (*one.starts, *two.starts)
        self.source = "; ".join(dict.fromkeys(p.source for p in parts if p.source))
        self.defaults = _defaults(one.defaults, two.defaults)
        units = {**self.states, **self.inputs, **{p.name: p.unit for p in self.physical}}
        self._ratios = {
            n: factor(_unit(text, units, f"{where}: the input {n}"), part.inputs[n], f"{where}: {text}, the input {n},")
            for part, link in zip(parts, links, strict=True)
            for n, text in link.items()
            if isinstance(text, str)
        }

    @property
    def name(self) -> str:
        return self._name

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for part, links, per in zip(self._parts, self._links, self._times, strict=True):
            inputs = {n: self._given(n, links[n], x, u, theta) if n in links else u[n] for n in part.inputs}
            own = {state: x[state] for state in part.states}
            values = {p.name: theta[p.name] for p in part.physical}
            rates = part.rate(Named("states", own), Named("inputs", inputs), Named("parameters", values))
            found |= {state: convert(rates[state], per) for state in part.states}
        return found

    def _given(self, n: str, link: Link, x: Any, u: Any, theta: Any) -> Any:
        if not isinstance(link, str):
            return link(x, u, theta)
        value: Any = None
        for one, power in factors(link):
            of = x if one in self.states else u if one in self.inputs else theta
            value = of[one] if value is None else value * of[one] if power > 0 else value / of[one]
        return convert(value, self._ratios[n])


def _joined(
    how: str,
    parts: tuple[Mechanism, Mechanism],
    links: tuple[Mapping[str, Link], Mapping[str, Link]],
    said: tuple[str, Sequence[str], Mapping[str, int] | None],
) -> TapedMechanism:
    return TapedMechanism(_Joined(how, parts, links, said).to_dict())


def _require_links(how: str, links: object, driven: Mechanism) -> None:
    require_mechanism(driven)
    require_kind(links, Mapping, f"{how}: links", _WRITE)
    assert isinstance(links, Mapping)  # for the type checker: just required
    if not links:
        raise ValueError(f"{how}: nothing drives {driven.name}; write {_WRITE}, or parallel(…)")
    for n, link in links.items():
        if n not in driven.inputs:
            raise ValueError(
                f"{how}: {driven.name} has no input {quote(n)}; its inputs are {', '.join(driven.inputs) or 'none'}"
            )
        if not isinstance(link, str) and not callable(link):
            raise ValueError(
                f"{how}: the input {n} is linked to {quote(link)}; write a text, or a function (x, u, theta), {_WRITE}"
            )


def _more(one: Mechanism, two: Mechanism, shared: Sequence[str], where: str) -> list[Parameter]:
    """The parameters that the second adds."""
    there, also = {p.name: p for p in one.physical}, {p.name: p for p in two.physical}
    for n in shared:
        if n not in there or n not in also or there[n].unit != also[n].unit:
            raise ValueError(f"{where}: {n} cannot be shared: both have it, in one unit, or it is not listed in shared")
    if clash := [n for n in also if n in there and n not in shared]:
        n = clash[0]
        raise ValueError(
            f"{where}: both have a parameter {n}; write shared=[{n!r}] if it is one, or renamed(second, {{{n!r}: …}}) if not"
        )
    return [p for n, p in also.items() if n not in shared]


def _unit(text: str, units: Mapping[str, str], where: str) -> str:
    """The unit of a product or quotient of names."""
    found = ""
    for one, power in factors(text):
        if one not in units:
            raise ValueError(f"{where}: {quote(text, 60)} names {quote(one, 60)}; there are {', '.join(units)}")
        found = units[one] if not found else times(found, units[one]) if power > 0 else over(found, units[one])
    return found


def _defaults(one: Defaults, two: Defaults) -> Defaults:
    return Defaults(
        observed=(*one.observed, *two.observed),
        compartments={**{n: s for n, s in two.compartments.items() if n not in one.compartments}, **one.compartments},
        spread={**two.spread, **one.spread},
        powers={**two.powers, **one.powers},
        amounts=one.amounts and two.amounts,
    )
