"""Propofol by Schnider: three compartments and the effect's, in clearances that follow from age, weight, height and sex."""

from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from physics.arguments import require_covariates, require_shape
from physics.compartments import Compartments
from physics.defaults import Defaults, Observed
from physics.parameter import Parameter
from physics.population import Population
from physics.shelf.drugs.within import held_within, require_either, require_within

_SOURCE = "Schnider et al., Anesthesiology 88 (1998) 1170"
_KE0 = "Schnider et al., Anesthesiology 90 (1999) 1502"
_RANGES = {
    "age": (18.0, 95.0, "a"),
    "weight": (40.0, 130.0, "kg"),
    "height": (140.0, 200.0, "cm"),
    "male": (0.0, 1.0, "1"),
}


def _seen(x: Any, u: Any, theta: Any) -> Any:
    return theta.ke0 * x.central / theta.V1


class Schnider(Compartments):
    """d central/dt = −(CL1 + CL2 + CL3)/V1 central + CL2/V2 fast + CL3/V3 slow, d fast/dt = CL2/V1 central − CL2/V2 fast, slow
    likewise, and dCe/dt = ke0 (central/V1 − Ce): propofol in mg, Ce in mg/L, time in min.

    Doses and infusions go into `central`, the concentration is central/V1. θ follows from covariates: `SchniderPopulation`.
    Law: 200 mg at 40 years, 70 kg, 170 cm, male, give 46.838407 mg/L at once and 18.351411 mg/L after a minute, and the most of
    the effect's, 11.5132 mg/L, after 1.521 min.
    """

    time_unit = "min"
    states = {"central": "mg", "fast": "mg", "slow": "mg", "Ce": "mg/L"}
    flows = (
        ("central", None, "CL1/V1"),
        ("central", "fast", "CL2/V1"),
        ("fast", "central", "CL2/V2"),
        ("central", "slow", "CL3/V1"),
        ("slow", "central", "CL3/V3"),
        (None, "Ce", _seen),  # it takes nothing out
        ("Ce", None, "ke0"),
    )
    physical = (
        Parameter("V1", "L", 4.27, 0.4, 40.0, _SOURCE),
        Parameter("V2", "L", 23.983, 1.0, 200.0, _SOURCE + ", at 40 years"),
        Parameter("V3", "L", 238.0, 20.0, 2400.0, _SOURCE),
        Parameter("CL1", "L/min", 1.638135, 0.1, 20.0, _SOURCE + ", at 70 kg, 170 cm, male"),
        Parameter("CL2", "L/min", 1.602, 0.1, 20.0, _SOURCE + ", at 40 years"),
        Parameter("CL3", "L/min", 0.836, 0.08, 8.0, _SOURCE),
        Parameter("ke0", "/min", 0.456, 0.04, 5.0, _KE0),
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


class SchniderPopulation(Population):
    """θ of `Schnider` from `age` [years], `weight` [kg], `height` [cm] and `male` (1 for men, 0 for women): no η.

    V2 = 18.9 − .391 (age − 53), CL1 = 1.89 + .0456 (weight − 77) − .0681 (L − 59) + .0264 (height − 177) and CL2 = 1.29 −
    .024 (age − 53), with the lean body mass L of James: 1.1 w − 128 (w/h)² of men, 1.07 w − 148 (w/h)² of women.
    In heavy people L falls as the weight rises, and CL1 rises out of proportion: beyond a body mass index of 42 kg/m² in men and
    35 in women L is an artefact, which is not mended here.
    Errors: `ValueError` for covariates outside of 18–95 years, 40–130 kg, 140–200 cm (ours, wider than the people of the study,
    who were adults), for a `male` that is not 0 or 1, for one that is missing.
    """

    dimension = 0
    covariates = MappingProxyType({name: unit for name, (_, _, unit) in _RANGES.items()})
    ranges = MappingProxyType({name: (low, high) for name, (low, high, _) in _RANGES.items()})
    gives = tuple((p.name, p.unit) for p in Schnider.physical)

    def theta(self, eta: Tensor, covariates: dict[str, Tensor] | None = None) -> Tensor:
        require_shape(eta, "SchniderPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        covariates = {} if covariates is None else covariates  # whoever leaves them out is told which are needed
        require_covariates(covariates, None, "SchniderPopulation: covariates")
        require_within("SchniderPopulation", covariates, _RANGES, eta.shape[-2])
        require_either("SchniderPopulation", covariates, "male", "1 for men or 0 for women")
        age, weight, height, male = (covariates[name] for name in _RANGES)
        theta = torch.stack(torch.broadcast_tensors(*_theta(age, weight, height, male)), -1)  # (N, 7)
        theta = held_within(theta, covariates, _RANGES, either=("male",))
        return theta.expand(*eta.shape[:-1], theta.shape[-1])

    def log_prior(self, eta: Tensor) -> Tensor:
        require_shape(eta, "SchniderPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        return eta.new_zeros(eta.shape[:-1])

    @property
    def box(self) -> Tensor:
        """V2 and CL2 are affine in age. CL1 is convex in the weight and in the height, so that corners are its largest; its
        least in the weight, where weight/height² is .0456 less .0681 of 1.1 (1.07), over twice .0681 of 128 (148), grows with
        the height, so that it is at the smallest one. 1 % of slack covers rounding."""
        ages, weights, heights, _ = ((low, high) for low, high, _ in _RANGES.values())
        lowest = [
            (0.0681 * k - 0.0456) / (2.0 * 0.0681 * j) * heights[0] ** 2 for k, j in ((1.1, 128.0), (1.07, 148.0))
        ]
        tried = [*weights, *(min(max(w, weights[0]), weights[1]) for w in lowest)]
        every = torch.cartesian_prod(
            *(torch.tensor(v, dtype=torch.float64) for v in (ages, tried, heights, (0.0, 1.0)))
        )
        found = torch.stack(torch.broadcast_tensors(*_theta(*every.unbind(-1))), -1)
        return torch.stack([0.99 * found.amin(0), 1.01 * found.amax(0)], -1)

    def config(self) -> dict[str, Any]:
        return {}


def _theta(age: Tensor, weight: Tensor, height: Tensor, male: Tensor) -> tuple[Tensor, ...]:
    """In the order of `Schnider.physical`."""
    lean = torch.where(
        male > 0.5, 1.1 * weight - 128.0 * (weight / height) ** 2, 1.07 * weight - 148.0 * (weight / height) ** 2
    )
    like = torch.ones_like(age)
    return (
        4.27 * like,
        18.9 - 0.391 * (age - 53.0),
        238.0 * like,
        1.89 + 0.0456 * (weight - 77.0) - 0.0681 * (lean - 59.0) + 0.0264 * (height - 177.0),
        1.29 - 0.024 * (age - 53.0),
        0.836 * like,
        0.456 * like,
    )
