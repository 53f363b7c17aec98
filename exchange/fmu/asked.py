"""What an FMU answers about itself, held against the stored system, or against itself where nothing is stored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exchange.fmu.archive import Opened
from exchange.fmu.linearised import linearised
from exchange.fmu.running import Running, running
from exchange.fmu.stored import Stored
from exchange.stored_system import eigenvalues_of, rates_at, sampled_states, system_of
from physics.glance import glance
from stability import Certificate, Lure, RegionalRate

Array = NDArray[np.float64]
# how far J and ∂f/∂u may be from those of the stored system, of their largest entry; a rate, of the terms that it is a sum of; a
# step, of the same; J from differences of the FMU's own rates; and the largest eigenvalue above 0
AGREES, STEPS, DIFFERS, HOLDS = 1e-12, 1e-4, 1e-4, 1e-9
_RATES = 1e-11
_DECADES = 6.0  # states of every size from 1e-6 to 1e6, whatever the file says of their size
_STEP = 1e-4  # of a co-simulation step, over the largest slope: short enough that the order of a method does not show


@dataclass(frozen=True)
class Rebuilt:
    """What the FMU's own interface says, at `states` states of all certified people under each member that is in it.

    `compared`: with a stored system? Then, each the largest anywhere: `rates`, how far f is from the stored system's, over the
    terms that it is a sum of; `off`, the same of J, and `inputs`, of ∂f/∂u, over their largest entries; `step`, of a short step
    of co-simulation, as `rates`. Otherwise `off` is of J from differences of the FMU's own rates, and the rest is None.
    `eigenvalue`: the largest of L⁻¹(PJ + JᵀP + 2λP)L⁻ᵀ, per unit of time, None where no claim speaks of a rate; `allowed`, how
    far above 0 rounding may put it.
    """

    states: int
    off: float
    eigenvalue: float | None
    compared: bool = True
    rates: float | None = None
    inputs: float | None = None
    step: float | None = None
    allowed: float = HOLDS

    __repr__, _repr_html_ = glance()

    @property
    def same(self) -> bool:
        """Is it the stored system, as far as it was asked?"""
        if not self.compared or self.rates is None or self.inputs is None or self.step is None:
            return False
        slopes = self.off <= AGREES and self.inputs <= AGREES
        return self.states > 0 and slopes and self.rates <= _RATES and self.step <= STEPS

    @property
    def holds(self) -> bool:
        """Has its Jacobian the inequality of the claim, or is there none?"""
        return self.eigenvalue is None or self.eigenvalue <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, which have no word but a text for what is not finite."""
        return {
            name: "not finite" if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in vars(self).items()
        }

    def __bool__(self) -> bool:
        return (self.same if self.compared else self.off <= DIFFERS) and self.holds


def rebuilt(stored: Stored, opened: Opened, states: int, seed: int) -> Rebuilt:
    """Run the FMU and ask it: rates and slopes for each person and member, inputs, infusions and time varied, and one step."""
    with running(opened) as fmu:
        if not stored.about:
            return _by_itself(fmu, stored, states, seed)
        found = []
        for person in range(stored.theta.shape[1]):
            parameters = stored.parameters(person)
            fmu.start(parameters)
            for claim, system in stored.about:
                for m, member in enumerate(stored.members):
                    one = system_of(system, member.index, person)
                    found.append(_held(fmu, stored, m, claim, one, states, seed + person))
            first = [system_of(stored.about[0][1], member.index, person) for member in stored.members]
            step = _stepped(fmu, stored, parameters, stored.about[0][0], first, seed + person)
            found.append(Rebuilt(0, 0.0, None, rates=0.0, inputs=0.0, step=step))
    return _worst(found)


def _worst(found: Sequence[Rebuilt]) -> Rebuilt:
    rated = [one for one in found if one.eigenvalue is not None]
    top = max(rated, key=lambda one: float(one.eigenvalue or 0.0) - one.allowed, default=None)
    return Rebuilt(
        sum(one.states for one in found),
        max(one.off for one in found),
        None if top is None else top.eigenvalue,
        rates=max(one.rates or 0.0 for one in found),
        inputs=max(one.inputs or 0.0 for one in found),
        step=max(one.step or 0.0 for one in found),
        allowed=HOLDS if top is None else top.allowed,
    )


def _points(
    stored: Stored, claim: Certificate | RegionalRate | None, states: int, seed: int
) -> tuple[Array, Array, Array]:
    """Where the claim speaks: around the size that is stated, and as many of every size; with infusions, which it always has."""
    draw = np.random.default_rng([seed, 1])
    region, metric = ("global", np.eye(len(stored.size))) if claim is None else (claim.region, claim.metric)
    size, levels = stored.size.tolist(), stored.levels.tolist()
    x, u = sampled_states(region, metric, nominal=size, levels=levels, count=states, seed=seed)
    more = [
        sampled_states(region, metric, nominal=wide, levels=levels, count=2, seed=seed + k, most=1.0)
        for k, wide in enumerate((10.0 ** draw.uniform(-_DECADES, _DECADES, (states, len(size)))).tolist())
    ]
    x, u = (
        np.concatenate([a, *(b[-1:] for b in two)]) for a, two in ((x, [b[0] for b in more]), (u, [b[1] for b in more]))
    )
    return x, u, draw.standard_normal(x.shape) * np.maximum(np.abs(x), stored.size)


def _held(
    fmu: Running, stored: Stored, m: int, claim: Certificate | RegionalRate | None, system: Lure, states: int, seed: int
) -> Rebuilt:
    x, u, infused = _points(stored, claim, states, seed)
    mine, J, G = _asked(fmu, stored, m, x, u, infused, seed)
    with np.errstate(all="ignore"):
        f, known, by_u = linearised(system, x, u)
        f = f + infused
        terms = np.abs(f) + np.einsum("sij,sj->si", np.abs(known), np.abs(x)) + np.abs(infused)
        # where the system itself has no finite numbers the FMU must have none either, and nothing is left to compare
        there = np.isfinite(f).all(1) & np.isfinite(known).all((1, 2)) & np.isfinite(by_u).all((1, 2))
        rates = _largest(np.abs(mine - f)[there] / np.maximum(terms[there], 1e-300))
        off = _apart(J[there], known[there])
        by_inputs = _apart(G[there], by_u[there])
        if not np.isfinite(J[there]).all():
            top = None if claim is None else float("inf")
            return Rebuilt(int(there.sum()), float("inf"), top, rates=rates, inputs=by_inputs, step=0.0)
        if not there.any():
            rates = off = float("inf")
        found = Rebuilt(int(there.sum()), off, None, rates=rates, inputs=by_inputs, step=0.0)
        if claim is None or not there.any():
            return found
        tops = eigenvalues_of(claim.metric, J[there], claim.rate)
        skew = J.shape[-1] * float(np.linalg.cond(np.linalg.cholesky(claim.metric)))
        apart, size = np.abs(J - known)[there].max((1, 2)), np.abs(known[there]).max((1, 2))
        allowed = HOLDS + 2.0 * skew * apart + 1e-14 * skew**2 * size
    k = int(np.argmax(tops - allowed))
    return Rebuilt(
        found.states, off, float(tops[k]), rates=rates, inputs=found.inputs, step=0.0, allowed=float(allowed[k])
    )


def _asked(
    fmu: Running, stored: Stored, m: int, x: Array, u: Array, infused: Array, seed: int
) -> tuple[Array, Array, Array]:
    """Rates, ∂/∂x and ∂/∂u of one member, while the others stand elsewhere and time is any."""
    member, times = stored.members[m], np.random.default_rng([seed, 2]).uniform(0.0, 1e3, len(x))
    rates, slopes, by_u = list[Array](), list[Array](), list[Array]()
    for s, point in enumerate(x):
        levels = zip((*stored.inputs, *stored.infused), (*u[s].tolist(), *infused[s].tolist()), strict=True)
        fmu.set(dict(levels))
        fmu.at(float(times[s]))
        fmu.set_states(
            {
                name: float(v)
                for k, one in enumerate(stored.members)
                for name, v in zip(one.states, point if k == m else x[(s + k - m) % len(x)], strict=True)
            }
        )
        rates.append(fmu.get(member.rates))
        slopes.append(fmu.jacobian(member.rates, member.states))
        by_u.append(fmu.jacobian(member.rates, stored.inputs))
    return np.array(rates), np.array(slopes), np.array(by_u).reshape(len(x), x.shape[1], -1)


def _stepped(
    fmu: Running,
    stored: Stored,
    parameters: dict[str, float],
    claim: Certificate | RegionalRate | None,
    systems: Sequence[Lure],
    seed: int,
) -> float:
    """How far one short step of co-simulation is from the solution of the stored system, over the terms of the step."""
    x, u, infused = _points(stored, claim, 8, seed)
    with np.errstate(all="ignore"):
        slopes = [linearised(system, x, u)[:2] for system in systems]
        fine = [
            k for k in range(1, len(x)) if all(np.isfinite(f[k]).all() and np.isfinite(J[k]).all() for f, J in slopes)
        ]
        if not fine:
            return float("inf")
        k = fine[0]
        h = _STEP / (max(float(np.abs(J[k]).sum(1).max()) for _, J in slopes) or 1.0)
        states = {name: float(v) for one in stored.members for name, v in zip(one.states, x[k], strict=True)}
        levels = zip((*stored.inputs, *stored.infused), (*u[k].tolist(), *infused[k].tolist()), strict=True)
        after = fmu.stepped({**parameters, **states, **dict(levels), "step": h}, h, list(states))
        mine = after.reshape(len(systems), -1)
        worst = 0.0
        for m, (system, (f, J)) in enumerate(zip(systems, slopes, strict=True)):

            def rate(at: Array, one: Lure = system) -> Array:
                return (rates_at(one, at[None], u[k : k + 1]) + infused[k])[0]

            a = rate(x[k])
            b = rate(x[k] + h / 2 * a)
            c = rate(x[k] + h / 2 * b)
            known = h / 6 * (a + 2 * b + 2 * c + rate(x[k] + h * c))
            terms = h * (np.abs(f[k]) + np.abs(J[k]) @ np.abs(x[k]) + np.abs(infused[k])) + 1e-9 * np.abs(x[k])
            worst = max(worst, _largest(np.abs(mine[m] - x[k] - known) / np.maximum(terms, 1e-300)))
        return worst


def _by_itself(fmu: Running, stored: Stored, states: int, seed: int) -> Rebuilt:
    """J beside central differences of the rates, where nothing is stored to hold either against."""
    fmu.start(stored.parameters(0))
    x, u = sampled_states("global", np.eye(len(stored.size)), nominal=stored.size.tolist(), levels=stored.levels.tolist(),
                          count=states, seed=seed, most=2.0)  # fmt: skip
    asked, off = 0, 0.0
    for m in range(len(stored.members)):
        zero = np.zeros_like(x)
        J, h = _asked(fmu, stored, m, x, u, zero, seed)[1], 1e-5 * stored.size
        sides = [
            [_asked(fmu, stored, m, x + sign * h[j] * np.eye(len(h))[j], u, zero, seed)[0] for sign in (1.0, -1.0)]
            for j in range(len(h))
        ]
        slopes = np.stack([(after - before) / (2.0 * h[j]) for j, (after, before) in enumerate(sides)], -1)
        there = np.isfinite(slopes).all((1, 2))
        asked, off = asked + int(there.sum()), max(off, _apart(J[there], slopes[there]))
    return Rebuilt(asked, off if asked else float("inf"), None, compared=False)


def _largest(off: Array) -> float:
    """The largest, where what is no number is as large as can be."""
    return float(np.where(np.isfinite(off), off, np.inf).max(initial=0.0))


def _apart(found: Array, known: Array) -> float:
    return _largest(np.abs(found - known) / max(float(np.abs(known).max(initial=0.0)), 1e-300))
