"""Kinks of a mechanism that a step would pass over: pulses that are over between two looks of the error estimate."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from hybrid import (
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    Signal,
    Solver,
    States,
    conditions_of,
    rollout,
    simulate,
)
from learned import AdditiveProportional
from physics import Mechanism, Parameter, SharedPopulation
from physics.operations import hill, maximum, relu, sigmoid

F64 = torch.float64
BY_ERROR = [Exponential(rtol=1e-6), RungeKutta("tsit5", rtol=1e-6), RungeKutta("bosh3", rtol=1e-6)]
NAMES = ["Krogstad", "tsit5", "bosh3"]


class Pulse(Mechanism):
    """y' = relu(w − |u − 5|)/w − k y: a tent of height 1 and half-width w around the time at which the input is 5."""

    time_unit = "h"
    states = {"y": "mg"}
    inputs = {"clock": "h"}
    physical = (Parameter("k", "/h", 0.1, 0.01, 1.0), Parameter("w", "h", 0.05, 0.001, 1.0))
    scale = {"y": 1.0}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"y": relu(theta.w - abs(u.clock - 5.0)) / theta.w - theta.k * x.y}


class Threshold(Mechanism):
    """What of a plasma level, which rises and falls, is above a threshold acts, and the rest does not."""

    time_unit = "h"
    states = {"gut": "mg", "plasma": "mg", "effect": "mg"}
    inputs = {}
    physical = (
        Parameter("ka", "/h", 1.5, 0.1, 10.0),
        Parameter("ke", "/h", 0.1, 0.01, 1.0),
        Parameter("c", "mg", 80.0, 1.0, 100.0),
    )
    scale = {"gut": 100.0, "plasma": 100.0, "effect": 1.0}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        taken = theta.ka * x.gut
        return {
            "gut": -taken,
            "plasma": taken - theta.ke * x.plasma,
            "effect": maximum(x.plasma - theta.c, 0.0) - 0.05 * x.effect,
        }


class Overflow(Mechanism):
    """A tank whose outflow opens above a level, and a second one below it."""

    time_unit = "h"
    states = {"upper": "m", "lower": "m"}
    inputs = {"inflow": "m/h"}
    physical = (
        Parameter("k", "/h", 0.2, 0.01, 1.0),
        Parameter("spill", "/h", 40.0, 1.0, 100.0),
        Parameter("rim", "m", 2.0, 0.1, 9.0),
    )
    scale = {"upper": 1.0, "lower": 1.0}
    typical_inputs = {"inflow": 0.1}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        over = theta.spill * relu(x.upper - theta.rim)
        down = theta.k * x.upper
        return {"upper": u.inflow - down - over, "lower": down + over - 0.5 * x.lower}


class Switch(Mechanism):
    """A switch that an input throws for a moment: a steep sigmoid up, and one down."""

    time_unit = "h"
    states = {"y": "mg"}
    inputs = {"clock": "h"}
    physical = (Parameter("k", "/h", 0.1, 0.01, 1.0),)
    scale = {"y": 1.0}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"y": sigmoid(1000.0 * (u.clock - 5.0)) * sigmoid(1000.0 * (5.1 - u.clock)) - theta.k * x.y}


class Glider(Mechanism):
    """At rest on the kink of its quadratic drag; an actuator of first order pushes it, so that it leaves as t³."""

    time_unit = "s"
    states = {"v": "m/s", "push": "m/s2"}
    inputs = {"order": "m/s2"}
    physical = (Parameter("c", "/m", 0.5, 0.01, 5.0), Parameter("b", "/s", 0.1, 0.01, 5.0))
    scale = {"v": 1.0, "push": 1.0}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"v": x.push - theta.b * x.v - theta.c * abs(x.v) * x.v, "push": u.order - x.push}


class Guarded(Glider):
    """The same with a drag that acts forwards only."""

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"v": x.push - theta.b * x.v - theta.c * relu(x.v), "push": u.order - x.push}


class EffectSite(Mechanism):
    """A depot, plasma, the effect site behind it, and an effect that saturates there: t³ and t⁴ after an infusion's onset."""

    time_unit = "h"
    states = {"effect": "1", "gut": "mg", "plasma": "mg", "site": "mg"}
    inputs = {}
    physical = (Parameter("k", "/h", 0.5, 0.01, 5.0),)
    scale = {"effect": 5.0, "gut": 100.0, "plasma": 100.0, "site": 100.0}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {
            "effect": hill(x.site / 50.0, 1.0) - 0.2 * x.effect,
            "gut": -theta.k * x.gut,
            "plasma": theta.k * x.gut - 0.1 * x.plasma,
            "site": 0.3 * (x.plasma - x.site),
        }


def solved(
    mechanism: Mechanism, schedule: Schedule, times: list[float], theta: tuple[float, ...], solver: Solver | None
) -> torch.Tensor:
    values = {p.name: v for p, v in zip(mechanism.physical, theta, strict=True)}
    seen = {"observation": States([next(iter(mechanism.states))]), "noise": AdditiveProportional([0.1], [0.1], [0.03])}
    model = HybridModel(mechanism, SharedPopulation(mechanism, values=values), **seen)
    start = torch.zeros(len(mechanism.states), dtype=F64)
    with torch.no_grad():
        return simulate(model, schedule, times, torch.tensor(theta, dtype=F64), start, solver=solver)


CLOCK = Schedule(inputs={"clock": Signal([0.0, 10.0], [0.0, 10.0])})


@pytest.mark.parametrize("solver", BY_ERROR, ids=NAMES)
@pytest.mark.parametrize("w", [0.05, 0.002])
def test_a_pulse_of_an_input_is_found(solver: Solver, w: float) -> None:
    """Its area is w, and what of it has decayed since: ∫ tent e^{−k(10−t)} = e^{−5k} w (2 (cosh kw − 1)/(kw)²)."""
    k = 0.1
    want = (
        w
        * torch.exp(torch.tensor(-5.0 * k, dtype=F64))
        * 2.0
        * (torch.cosh(torch.tensor(k * w, dtype=F64)) - 1.0)
        / (k * w) ** 2
    )
    found = solved(Pulse(), CLOCK, [10.0], (k, w), solver)[-1, 0]
    assert float((found / want - 1.0).abs()) < 1e-4


def by_scipy(
    mechanism: Mechanism, start: list[float], times: list[float], theta: tuple[float, ...], u: Any = None
) -> np.ndarray:
    """Steps so short that none passes over anything."""
    tape = mechanism.tape

    def rate(t: float, x: np.ndarray) -> np.ndarray:
        return tape.plain(x, np.zeros(0) if u is None else u(t), np.array(theta))

    found = solve_ivp(rate, (0.0, times[-1]), start, "DOP853", times, rtol=1e-9, atol=1e-10, max_step=0.03)
    return np.asarray(found.y.T)


@cache
def above(share: float) -> tuple[float, float]:
    """The threshold, this share of the peak, and the effect after 12 h."""
    ka, ke, dose = 1.5, 0.1, 100.0
    threshold = share * dose * (ka / ke) ** (-ke / (ka - ke))
    return threshold, float(by_scipy(Threshold(), [dose, 0.0, 0.0], [12.0], (ka, ke, threshold))[-1, 2])


@pytest.mark.parametrize("solver", BY_ERROR[:2], ids=NAMES[:2])
@pytest.mark.parametrize("share", [0.5, 0.9999])
def test_what_is_just_above_a_threshold_acts(solver: Solver, share: float) -> None:
    """For half an hour at the last threshold; plasma itself is known to 1e-6 of its 80 mg."""
    threshold, want = above(share)
    found = solved(Threshold(), Schedule((Dose("gut", 0.0, 100.0),)), [12.0], (1.5, 0.1, threshold), solver)[-1, 2]
    assert want > 0.0
    assert abs(float(found) - want) <= 1e-5 * want + 5e-6


INFLOW = [0.0, 4.0, 5.0, 5.5, 6.5, 20.0], [0.1, 0.1, 1.95, 1.95, 0.1, 0.1]


@cache
def tanks() -> np.ndarray:
    return by_scipy(Overflow(), [0.0, 0.0], [6.0, 7.0, 20.0], (0.2, 40.0, 2.0), lambda t: np.interp([t], *INFLOW))


@pytest.mark.parametrize("solver", BY_ERROR[:2], ids=NAMES[:2])
def test_a_tank_overflows_for_a_moment(solver: Solver) -> None:
    found = solved(Overflow(), Schedule(inputs={"inflow": Signal(*INFLOW)}), [6.0, 7.0, 20.0], (0.2, 40.0, 2.0), solver)
    assert tanks()[0, 0] > 2.0
    np.testing.assert_allclose(found, tanks(), atol=1e-5)


@pytest.mark.parametrize("solver", BY_ERROR, ids=NAMES)
def test_a_steep_switch_is_seen(solver: Solver) -> None:
    found = solved(Switch(), CLOCK, [10.0], (0.1,), solver)[-1, 0]
    k = torch.tensor(0.1, dtype=F64)
    want = (torch.exp(-4.9 * k) - torch.exp(-5.0 * k)) / k  # sharp edges: the width of the steps adds some (k/1000)²
    assert float((found / want - 1.0).abs()) < 1e-4


RAMP, LATE = ([0.0, 5.0], [0.0, 2.0]), ([0.0, 2.0, 5.0], [0.0, 0.0, 2.0])


@pytest.mark.parametrize("solver", BY_ERROR[:2], ids=NAMES[:2])
@pytest.mark.parametrize(("mechanism", "order"), [(Glider(), RAMP), (Guarded(), RAMP), (Glider(), LATE)])
def test_a_state_at_rest_on_a_kink_leaves_it(
    mechanism: Mechanism, order: tuple[list[float], list[float]], solver: Solver
) -> None:
    schedule = Schedule(inputs={"order": Signal(*order)})
    found = solved(mechanism, schedule, [2.5, 5.0], (0.5, 0.1), solver)
    want = by_scipy(mechanism, [0.0, 0.0], [2.5, 5.0], (0.5, 0.1), lambda t: np.interp([t], *order))
    np.testing.assert_allclose(found, want, atol=2e-6)


@pytest.mark.parametrize("solver", BY_ERROR[:2], ids=NAMES[:2])
def test_an_infusion_acts_behind_an_effect_site(solver: Solver) -> None:
    """50 mg/h for 2 h from the first hour: until then everything is 0."""
    found = solved(EffectSite(), Schedule((Dose("gut", 1.0, 100.0, 2.0),)), [1.0, 1.5, 3.0], (0.5,), solver)
    tape = EffectSite().tape

    def rate(t: float, x: np.ndarray) -> np.ndarray:
        return tape.plain(x, np.zeros(0), np.array([0.5])) + np.array([0.0, 50.0, 0.0, 0.0])

    want = solve_ivp(rate, (1.0, 3.0), [0.0] * 4, "DOP853", [1.0, 1.5, 3.0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found, want.y.T, rtol=1e-5, atol=1e-6)


def test_a_kink_cuts_the_steps_of_whom_it_concerns() -> None:
    """Two people in one batch: each as alone."""
    mechanism = Pulse()
    seen = {"observation": States(["y"]), "noise": AdditiveProportional([0.1], [0.1], [0.03])}
    model = HybridModel(mechanism, SharedPopulation(mechanism, values={"k": 0.1, "w": 0.05}), **seen)
    schedules = [CLOCK, Schedule(inputs={"clock": Signal([0.0, 10.0], [6.0, 9.0])})]
    starts, both = torch.tensor([[0.0], [1.0]], dtype=F64), []
    with torch.no_grad():
        for chosen in ([0, 1], [0], [1]):
            given = conditions_of(model, [schedules[i] for i in chosen], [[10.0]] * len(chosen), mesh=Mesh(1.0))
            run = rollout(
                model, given, torch.zeros(1, len(chosen), 0, dtype=F64), BY_ERROR[1], start=starts[None, chosen]
            )
            both.append(run.states[0, :, 0])
    torch.testing.assert_close(both[0], torch.cat(both[1:]), rtol=1e-13, atol=0.0)
