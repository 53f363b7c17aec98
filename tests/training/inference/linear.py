"""People who are straight lines in x = e^{−t}: y = a + b x + noise, a and b normal, so that everything is a normal density."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid import Dose, HybridModel, Observation, Schedule
from learned import Constant
from physics import Mechanism, MixedPopulation, Normal, Parameter
from physics.effects import Effect
from training import Cohort, Record

F64 = torch.float64
APPROXIMATIONS = ("focei", "laplace", "quadrature")
TIMES = (0.2, 0.5, 1.0, 1.5, 2.2, 3.0)
TYPICAL, SPREAD, NOISE = (1.0, -2.0), (0.8, 0.5), 0.3


class Line(Observation):
    """y = a + b x."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.units, self.linear = ("y",), ("mg",), False

    def mean(self, x: Tensor, theta: Tensor) -> Tensor:
        return theta[..., None, :1] + theta[..., None, 1:2] * x

    def config(self) -> dict[str, Any]:
        return {}


class Decay(Mechanism):
    """x' = −x after a dose of 1: x = e^{−t}. Boxes so wide that a normal θ does not bend in double precision."""

    time_unit = "h"
    states: Mapping[str, str] = {"x": "mg"}
    scale: Mapping[str, float] = {"x": 1.0}
    starts_empty = True
    source = "a test"

    def __init__(self, unit: float) -> None:
        self.physical = tuple(
            Parameter(name, "mg", unit * typical, -1e4 * unit, 1e4 * unit)
            for name, typical in zip("ab", TYPICAL, strict=True)
        )

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"x": -x.x}


def lines(effects: Mapping[str, Effect] | None = None, unit: float = 1.0, **more: Any) -> HybridModel:
    """The model of the people of `cohort_of`, at their truth, all in another unit where one is said, and more of a population."""
    decay = Decay(unit)
    effects = {n: Normal(unit * s) for n, s in zip("ab", SPREAD, strict=True)} if effects is None else effects
    noise = Constant([unit * NOISE], [1e-9])
    return HybridModel(decay, MixedPopulation(decay, effects, **more), observation=Line(), noise=noise)


def cohort_of(
    seed: int = 0,
    people: int = 12,
    times: Sequence[float] = TIMES,
    unit: float = 1.0,
    values: np.ndarray | None = None,  # (N, T)
) -> Cohort:
    """People drawn from that model; one value of one of them is missing."""
    if values is None:
        rng = np.random.default_rng(seed)
        own = np.array(TYPICAL) + np.array(SPREAD) * rng.standard_normal((people, 2))
        values = own[:, :1] + own[:, 1:] * np.exp(-np.array(times)) + NOISE * rng.standard_normal((people, len(times)))
        values[1, -1] = np.nan
    records = [
        Record(f"P{i}", Schedule((Dose("x", 0.0, 1.0),)), np.array(times), unit * row[:, None], ("y",))
        for i, row in enumerate(values)
    ]
    return Cohort.of(records, lines(unit=unit))


def regressors(cohort: Cohort) -> Tensor:  # (N, T)
    """x of everyone's measurements."""
    return torch.exp(-cohort.times)


def closed_form(cohort: Cohort) -> Callable[[Tensor], Tensor]:
    """−2 log L as a function of (a, b, log ω_a, log ω_b, log σ), whole: y ~ N(Z μ, Z Ω Zᵀ + σ² I)."""
    y, x = cohort.y[..., 0], regressors(cohort)

    def function(point: Tensor) -> Tensor:
        total = point.new_zeros(())
        for row, at in zip(y, x, strict=True):
            there = torch.isfinite(row)
            Z = torch.stack([torch.ones_like(at[there]), at[there]], -1)
            V = Z @ torch.diag(torch.exp(2.0 * point[2:4])) @ Z.mT + torch.exp(2.0 * point[4]) * torch.eye(
                len(Z), dtype=F64
            )
            e = row[there] - Z @ point[:2]
            total = total + e @ torch.linalg.solve(V, e) + torch.logdet(V) + len(e) * math.log(2.0 * math.pi)
        return total

    return function
