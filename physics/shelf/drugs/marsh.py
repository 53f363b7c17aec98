"""Propofol by Marsh: three compartments and the effect's, in rate constants, the volume by weight."""

from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from physics.arguments import require_covariates, require_shape
from physics.compartments import Compartments
from physics.defaults import Defaults, Observed
from physics.parameter import Parameter
from physics.population import Population
from physics.shelf.drugs.within import held_within, require_within

_SOURCE = "Marsh, White, Morton & Kenny, Br. J. Anaesth. 67 (1991) 41"
_KE0 = "of the Diprifusor pump, which doses by these constants"
_BY_KILOGRAM = 0.228  # L/kg
_RATES = {"k10": 0.119, "k12": 0.112, "k13": 0.042, "k21": 0.055, "k31": 0.0033, "ke0": 0.26}  # /min
_WEIGHTS = (30.0, 150.0)  # kg
_WITHIN = {"weight": (*_WEIGHTS, "kg")}


def _seen(x: Any, u: Any, theta: Any) -> Any:
    return theta.ke0 * x.central / theta.V1


class Marsh(Compartments):
    """d central/dt = −(k10 + k12 + k13) central + k21 fast + k31 slow, d fast/dt = k12 central − k21 fast, slow likewise, and
    dCe/dt = ke0 (central/V1 − Ce): propofol in mg, Ce in mg/L, time in min.

    Doses and infusions go into `central`, the concentration is central/V1. θ follows from the weight: `MarshPopulation`. The
    volumes of the tissues that are in print, .463 and 2.893 L/kg, disagree slightly with these constants, and are not used.
    Law: 140 mg at 70 kg give 8.7719 mg/L at once and 6.6989 mg/L after a minute.
    """

    time_unit = "min"
    states = {"central": "mg", "fast": "mg", "slow": "mg", "Ce": "mg/L"}
    flows = (
        ("central", None, "k10"),
        ("central", "fast", "k12"),
        ("fast", "central", "k21"),
        ("central", "slow", "k13"),
        ("slow", "central", "k31"),
        (None, "Ce", _seen),  # it takes nothing out
        ("Ce", None, "ke0"),
    )
    physical = (
        Parameter("V1", "L", _BY_KILOGRAM * 70.0, 2.0, 60.0, _SOURCE + ", .228 L/kg at 70 kg"),
        *(
            Parameter(name, "/min", value, value / 10.0, value * 10.0, _KE0 if name == "ke0" else _SOURCE)
            for name, value in _RATES.items()
        ),
    )
    amount = 200.0
    starts_empty = True
    starts = (("central", "V1"),)
    source = _SOURCE
    defaults = Defaults(
        observed=(Observed("central", "V1", "concentration", "mg/L"),),
        compartments={1: "central", 2: "fast", 3: "slow"},
        amounts=True,
    )


class MarshPopulation(Population):
    """θ of `Marsh` from the covariate `weight` [kg], 30–150: V1 = .228 L/kg, and rate constants that all share: no η.

    Errors: `ValueError` for a weight outside of 30–150 kg (the box), or none.
    """

    dimension = 0
    covariates = MappingProxyType({"weight": "kg"})
    ranges = MappingProxyType({"weight": _WEIGHTS})
    gives = tuple((p.name, p.unit) for p in Marsh.physical)

    def theta(self, eta: Tensor, covariates: dict[str, Tensor] | None = None) -> Tensor:
        require_shape(eta, "MarshPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        covariates = {} if covariates is None else covariates  # whoever leaves them out is told which are needed
        require_covariates(covariates, None, "MarshPopulation: covariates")
        require_within("MarshPopulation", covariates, _WITHIN, eta.shape[-2])
        V1 = _BY_KILOGRAM * covariates["weight"]
        theta = torch.stack([V1, *(torch.full_like(V1, value) for value in _RATES.values())], -1)  # (N, 7)
        theta = held_within(theta, covariates, _WITHIN)
        return theta.expand(*eta.shape[:-1], theta.shape[-1])

    def log_prior(self, eta: Tensor) -> Tensor:
        require_shape(eta, "MarshPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        return eta.new_zeros(eta.shape[:-1])

    @property
    def box(self) -> Tensor:
        # a hair wider than the volumes, for their rounding
        ends = [
            [_BY_KILOGRAM * w for w in (0.999 * _WEIGHTS[0], 1.001 * _WEIGHTS[1])],
            *([v, v] for v in _RATES.values()),
        ]
        return torch.tensor(ends, dtype=torch.float64)

    def config(self) -> dict[str, Any]:
        return {}
