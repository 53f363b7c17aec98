"""What stands in an FMU about its states, and its Jacobian held against that of the stored system."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.bundle.proofs import Stated
from exchange.files.json_parts import listed, mapping
from exchange.fmu.archive import Opened
from exchange.fmu.running import Running, running
from exchange.stored_system import eigenvalues_of, jacobians_of, sampled_states, system_of
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
    """`states.json`, and the claims that speak of a rate in a metric, each with its system."""

    time: str
    members: tuple[Member, ...]
    inputs: tuple[str, ...]
    theta: Array  # (M, N, q)
    context: Array  # (M, N, r)
    samples: tuple[tuple[Array, Array], ...]
    rated: tuple[tuple[Certificate | RegionalRate, Lure], ...]

    @staticmethod
    def of(value: Any, stated: Sequence[Stated], systems: Sequence[Any]) -> "Stored":
        """Errors: `ValueError` and its like for what is not as it is written."""
        value = mapping(value, "states.json")
        members = tuple(_member(mapping(one, "a member")) for one in listed(value["members"], "members"))
        people, inputs = mapping(value["people"], "people"), _names(value["inputs"])
        count, n = len(members), len(members[0].states)
        theta, context = (
            np.array(listed(people[name], name), dtype=np.float64).reshape(count, _people(people), len(names))
            for name, names in (("theta", members[0].theta), ("context", members[0].context))
        )
        samples = tuple(
            (np.array(one["x"], dtype=np.float64).reshape(n), np.array(one["u"], dtype=np.float64).reshape(len(inputs)))
            for one in listed(value["samples"], "samples")
        )
        rated = tuple(
            (one.what, Lure.from_dict(system))
            for one, system in zip(stated, systems, strict=True)
            if isinstance(one.what, Certificate | RegionalRate)
        )
        return Stored(str(value["time"]), members, inputs, theta, context, samples, rated)

    def rebuilt(self, opened: Opened, states: int, seed: int) -> tuple[int, float, float | None]:
        """Runs the FMU: how many states were asked, how far J is off, and the largest eigenvalue.

        Without a claim about a rate nothing is stored that J could be held against: it is asked, and has to be finite.
        """
        asked, off, worst = 0, 0.0, None
        people = max(self.theta.shape[1], 1)
        with running(opened) as fmu:
            for person in range(people):
                fmu.start(self._parameters(person))
                for claim, system in self.rated:
                    for m, member in enumerate(self.members):
                        x, u = self._points(claim, states, seed + person)
                        mine = self._jacobians(fmu, m, x, u)
                        known = jacobians_of(system_of(system, member.index, person), x, u)
                        size = max(float(np.abs(known).max()), 1e-300)
                        off = max(off, float(np.abs(mine - known).max()) / size)
                        top = float(eigenvalues_of(claim.metric, mine, claim.rate).max())
                        worst = top if worst is None else max(worst, top)
                        asked += len(x)
                if not self.rated:
                    for m in range(len(self.members)):
                        J = self._jacobians(fmu, m, *(np.array(column) for column in zip(*self.samples, strict=True)))
                        asked, off = asked + len(J), off if np.isfinite(J).all() else float("inf")
        return asked, off, worst

    def _parameters(self, person: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for m, member in enumerate(self.members):
            for names, values in ((member.theta, self.theta), (member.context, self.context)):
                if values.shape[1]:
                    found |= dict(zip(names, values[m, person].tolist(), strict=True))
        return found

    def _points(self, claim: Certificate | RegionalRate, states: int, seed: int) -> tuple[Array, Array]:
        nominal = np.max([np.abs(x) for x, _ in self.samples], 0)
        nominal = np.where(nominal > 0.0, nominal, 1.0)
        levels = self.samples[0][1]
        return sampled_states(
            claim.region, claim.metric, nominal=nominal.tolist(), levels=levels.tolist(), count=states, seed=seed
        )

    def _jacobians(self, fmu: Running, m: int, x: Array, u: Array) -> Array:  # (S, n, n)
        member, found = self.members[m], []
        for point, level in zip(x, u, strict=True):
            fmu.set(dict(zip(self.inputs, level.tolist(), strict=True)))
            # the other members of an ensemble stand where this one does: their blocks are their own
            fmu.set_states({name: float(v) for one in self.members for name, v in zip(one.states, point, strict=True)})
            found.append(fmu.jacobian(member.rates, member.states))
        return np.array(found)


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
