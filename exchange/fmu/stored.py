"""What stands in an FMU about its states and people, and whether it is about all that the claims are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.bundle.proofs import Stated
from exchange.files.json_parts import listed, mapping
from exchange.fmu.described import Described
from exchange.fmu.names import part
from exchange.fmu.units import rate_of
from physics.arguments import quote
from stability import Certificate, Lure, RegionalRate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Member:
    """The names of a member's variables, and which member of the systems it is."""

    index: int
    states: tuple[str, ...]
    rates: tuple[str, ...]
    theta: tuple[str, ...]
    context: tuple[str, ...]


@dataclass(frozen=True)
class Stored:
    """`states.json`, and what is certified: each system with the claim about it (None where that speaks of no rate).

    `all_members`: how many members the systems have, of whom those of this FMU are `members`; None where there is no system.
    """

    time: str
    members: tuple[Member, ...]
    inputs: tuple[str, ...]
    infused: tuple[str, ...]
    theta: Array  # (M, N, q)
    context: Array  # (M, N, r)
    size: Array  # (n,): of the states, as the file says it; what is tried goes beyond it
    levels: Array  # (m,)
    about: tuple[tuple[Certificate | RegionalRate | None, Lure], ...]
    all_members: int | None

    @staticmethod
    def of(value: Any, described: Described, stated: Sequence[Stated], systems: Sequence[Any]) -> "Stored":
        """Errors: `ValueError` and its like for what is not as it is written, or speaks of other people, members, states or
        units than the claims do: what is left out there would not be compared.
        """
        value = mapping(value, "states.json")
        members = tuple(_member(mapping(one, "a member")) for one in listed(value["members"], "members"))
        people, inputs = mapping(value["people"], "people"), _names(value["inputs"])
        count, n = len(members), len(members[0].states)
        infused = tuple(f"infused.{name.removeprefix(_owner(members[0], count))}" for name in members[0].states)
        _require_whole(members, (*inputs, *infused), described)
        theta, context = (
            np.array(listed(people[name], name), dtype=np.float64).reshape(count, _people(people), len(names))
            for name, names in (("theta", members[0].theta), ("context", members[0].context))
        )
        samples = tuple(
            (np.array(one["x"], dtype=np.float64).reshape(n), np.array(one["u"], dtype=np.float64).reshape(len(inputs)))
            for one in listed(value["samples"], "samples")
        )
        about = tuple(
            (one.what if isinstance(one.what, Certificate | RegionalRate) else None, Lure.from_dict(system))
            for one, system in zip(stated, systems, strict=True)
            if isinstance(system, Mapping) and "A" in system
        )
        time = str(value["time"])
        require_same_units(time, described, stated, members, count)
        every = _require_everybody([system for _, system in about], members, theta.shape[1])
        nominal = [described.nominal.get(name, 0.0) for name in members[0].states]
        size = np.stack([np.array(nominal), *(np.abs(x) for x, _ in samples)]).max(0)
        if not np.isfinite(size).all():
            raise ValueError("the states' sizes are not finite")
        levels = samples[0][1] if samples else np.zeros(len(inputs))
        return Stored(
            time, members, inputs, infused, theta, context, np.where(size > 0.0, size, 1.0), levels, about, every
        )

    def parameters(self, person: int) -> dict[str, float]:
        """θ and context of one person under each member, by the names of variables; nothing where there are no people."""
        found: dict[str, float] = {}
        for m, member in enumerate(self.members):
            for names, values in ((member.theta, self.theta), (member.context, self.context)):
                if values.shape[1]:
                    found |= dict(zip(names, values[m, person].tolist(), strict=True))
        return found


def require_same_units(
    time: str, described: Described, stated: Sequence[Stated], members: Sequence[Member], count: int
) -> None:
    """Raise `ValueError` unless modelDescription.xml, states.json and the claims have the same units."""
    if time != described.time:
        raise ValueError(
            f"its time is in {quote(time)} in states.json and {quote(described.time)} in modelDescription.xml"
        )
    for member in members:
        for state, rate in zip(member.states, member.rates, strict=True):
            unit = described.units[state]
            if unit is None or described.units[rate] != rate_of(unit, time):
                raise ValueError(
                    f"the unit of {quote(rate)} in modelDescription.xml is not that of its state per {quote(time)}"
                )
    for one in stated:
        if one.units.get("time", time) != time:
            raise ValueError(
                f"a claim was made in {quote(one.units['time'])}, and the FMU counts time in {quote(time)}"
            )
        owners = [_owner(member, count) for member in members]
        known = [(owner, "states") for owner in owners] + [("u.", "inputs")]
        for owner, kind in known:
            for name, unit in mapping(one.units.get(kind, {}), f"the units of {kind}").items():
                if described.units.get(owner + part(name, "the state")) != unit:
                    raise ValueError(
                        f"a claim was made with {quote(name)} in {quote(unit)}, and the FMU has it otherwise"
                    )


def _owner(member: Member, count: int) -> str:
    return f"member{member.index + 1}." if count > 1 else ""


def _require_whole(members: Sequence[Member], inputs: Sequence[str], described: Described) -> None:
    states = [name for member in members for name in member.states]
    if sorted(states) != sorted(described.states) or len({member.index for member in members}) != len(members):
        raise ValueError("the states of states.json are not the continuous states of modelDescription.xml, each once")
    if sorted(inputs) != sorted(described.inputs):
        raise ValueError("the inputs of states.json are not those of modelDescription.xml")
    for member in members:
        wanted = zip(member.states, member.rates, strict=True)
        if any(rate != f"der({state})" for state, rate in wanted) or not {*member.rates} <= described.units.keys():
            raise ValueError("the rates of states.json are not those of its states")


def _require_everybody(systems: Sequence[Lure], members: Sequence[Member], people: int) -> int | None:
    """How many members the systems have. Errors: `ValueError` where somebody that they are about is left out."""
    every = None
    for system in systems:
        M, N = (1, 1, *system.leading)[-2:]
        if people == 0 or people != N != 1:
            raise ValueError(f"its claims are about {N} people, and states.json has {people}")
        if M > 1 and len(members) > 1 and [one.index for one in members] != list(range(M)):
            raise ValueError(f"its claims are about {M} members, and states.json has others")
        if M > 1 and members[0].index >= M:
            raise ValueError(f"its claims are about {M} members, and states.json has another")
        every = max(M, every or 1)
    return every


def _member(value: Mapping[str, Any]) -> Member:
    if type(value["index"]) is not int or value["index"] < 0:
        raise ValueError("a member's index is a whole number from 0 on")
    return Member(value["index"], *(_names(value[name]) for name in ("states", "rates", "theta", "context")))


def _people(value: Mapping[str, Any]) -> int:
    rows = listed(value["theta"], "theta")
    return len(listed(rows[0], "theta")) if rows else 0


def _names(value: Any) -> tuple[str, ...]:
    found = tuple(listed(value, "names"))
    if not all(isinstance(name, str) for name in found):
        raise ValueError("names are texts")
    return found
