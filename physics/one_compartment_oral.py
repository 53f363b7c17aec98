"""One compartment with first-order absorption from the gut."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from physics.arguments import quote, require_choice, require_kind, require_number, require_shape, require_together
from physics.backbone import Backbone
from physics.defaults import Defaults, Observed
from physics.hull import corners, require_parameters
from physics.parameter import Parameter

_SOURCE = "Boeckmann, Sheiner & Beal, NONMEM Users Guide Part V (1994), theophylline"
_TYPICAL = {"ka": 1.5, "ke": 0.086, "V": 31.5, "CL": 0.086 * 31.5}
_EXCHANGED = {"ka": 0.086, "ke": 1.5, "V": 31.5, "CL": 1.5 * 31.5}
_UNITS = {"ka": "/h", "ke": "/h", "V": "L", "CL": "L/h"}
# Between-person coefficients of variation of oral theophylline: about 60 % in ka and 20 % in ke and V/weight (Davidian &
# Giltinan 1995, chapter 5, give .64, .2 and .13 on the log scale for that table)
_SPREAD = {"ka": 0.6, "ke": 0.2, "CL": 0.2, "V": 0.2}
# Volumes go with the weight, and a clearance with its power .75, at 70 kg: Anderson & Holford, Annu. Rev. Pharmacol. Toxicol. 48
# (2008) 303
_POWERS = {"V": {"WT": (70.0, 1.0, "kg")}, "CL": {"WT": (70.0, 0.75, "kg")}}
_KE, _CL = (0.0005, 5.0), (0.005, 1000.0)


class OneCompartmentOral(Backbone):
    """Amounts in gut and plasma after an oral dose.

    d gut/dt = −ka·gut and d plasma/dt = ka·gut − ke·plasma; the concentration is plasma/V. States in mg, time in h.
    Parameters θ: ka (absorption rate, /h), ke (elimination rate, /h) and V (volume of distribution, L), or, with
    `parameters="clearance"`, ka, CL (clearance, L/h) and V, with ke = CL/V. Of a drug that was only ever swallowed, V and CL
    are those over the share F that reaches the plasma.
    A is lower triangular with diagonal (−ka, −ke), so it is Hurwitz for every positive θ.
    The curve of (ka, ke, V) is also that of (ke, ka, V·ke/ka), the flip-flop. The default boxes of ka and ke overlap, so they
    do not say which rate is which; `faster` does, and a population that is built of `physical` keeps it for everyone.
    `initial`: nothing in the gut, and V times the concentration measured at or before the first dose in the plasma; where none
    was measured both are empty.

    Arguments
    - `ka`, `ke`, `V`, `CL`: the boxes (low, high) that the parameters never leave. The defaults hold half-lives from 8 min
      to 8 weeks. They say what can be fitted and nothing more: a certificate for all of such a box would be one for nobody.
    - `parameters`: "rates" for θ = (ka, ke, V), "clearance" for θ = (ka, CL, V).
    - `faster`: the larger of the two rates in everyone. "ka" for most drugs; "ke" for one whose absorption is the slower
      process (a depot, a slow-release tablet), with boxes to match, as in
      `OneCompartmentOral(ka=(.0005, 5.), ke=(.05, 20.), faster="ke")`; None where the boxes, or injections into the plasma,
      tell them apart.
    - `typical`: typical values by name, where a fit starts (`training.starting_values` takes them from the data). Those of
      theophylline by default, with ka and ke exchanged for `faster="ke"`; the middle of a box that they do not lie in.
    Errors: `ValueError` for a box that is not 0 < low < high, a typical value outside of its box, and a box or a typical value
    of a parameter that this θ does not have.
    Law: without a residual, a single dose gives the closed form of Bateman (1910).
    Source of the typical values: see `physical`.
    """

    def __init__(
        self,
        ka: Sequence[float] = (0.05, 20.0),
        ke: Sequence[float] = _KE,
        V: Sequence[float] = (0.5, 2000.0),
        *,
        CL: Sequence[float] = _CL,
        parameters: Literal["rates", "clearance"] = "rates",
        faster: Literal["ka", "ke"] | None = "ka",
        typical: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(parameters, str) or parameters not in ("rates", "clearance"):
            raise ValueError(
                "OneCompartmentOral: parameters is 'rates' for (ka, ke, V) or 'clearance' for (ka, CL, V), "
                f"got {quote(parameters, 60)}"
            )
        require_choice(faster, ("ka", "ke", None), "OneCompartmentOral: faster")
        self.by_clearance, self.faster = parameters == "clearance", faster
        self.states = ("gut", "plasma")
        self.state_units = ("mg", "mg")
        self.inputs = ()
        self.input_units = ()
        self.time_unit = "h"
        self.starts = (("plasma", "V"),)
        names = ("ka", "CL", "V") if self.by_clearance else ("ka", "ke", "V")
        self.defaults = Defaults(
            observed=(Observed("plasma", "V", "concentration", "mg/L"),),
            spread={name: _SPREAD[name] for name in names},
            powers={name: by for name, by in _POWERS.items() if name in names},
            amounts=True,
        )
        boxes = {name: _box(name, box) for name, box in (("ka", ka), ("ke", ke), ("V", V), ("CL", CL))}
        unused = "ke" if self.by_clearance else "CL"
        if boxes[unused] != (_KE if self.by_clearance else _CL):
            raise ValueError(
                f"OneCompartmentOral: a box is given for {unused}, and θ is {', '.join(names)}; "
                + ("give CL one" if self.by_clearance else "write parameters='clearance', or give ke one")
            )
        if typical is not None:
            require_kind(typical, Mapping, "OneCompartmentOral: typical", '{"ka": 1.5, "ke": 0.1, "V": 30.0}')
            for name, value in typical.items():
                require_number(value, f"OneCompartmentOral: the typical {name}", above=0.0)
        stray = sorted(set(typical or {}) - set(names))
        if stray:
            raise ValueError(f"OneCompartmentOral: typical values for {quote(stray)}, and θ is {', '.join(names)}")
        self.typical = None if typical is None else {name: float(value) for name, value in typical.items()}
        known = _EXCHANGED if faster == "ke" else _TYPICAL
        self.physical = tuple(
            _parameter(name, boxes[name], (typical or {}).get(name), known[name], self._above(name)) for name in names
        )

    def _above(self, name: str) -> str:
        """What this parameter lies above, so that the rate that is to be the faster one is: CL/V stands for ke."""
        if self.faster == "ka" and name == "ka":
            return "CL/V" if self.by_clearance else "ke"
        if self.faster == "ke" and name == ("CL" if self.by_clearance else "ke"):
            return "ka*V" if self.by_clearance else "ka"
        return ""

    def rates(
        self,
        theta: Tensor,  # (..., 3)
    ) -> tuple[Tensor, Tensor]:  # (...), (...)
        """ka and ke in /h, in either kind of θ."""
        self._require(theta)
        return theta[..., 0], theta[..., 1] / theta[..., 2] if self.by_clearance else theta[..., 1]

    def _require(self, theta: Tensor) -> None:
        require_shape(theta, "OneCompartmentOral: theta", ..., 3, write="model.theta(personal, covariates)")

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        self._require(theta)
        return _triangular(*self.rates(theta)), theta.new_zeros(*theta.shape[:-1], 2, 0)

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Affine in (ka, ke), and free of V: the two rates' corners, entry for entry the ends themselves.

        With clearance, ke lies between CL/V at its two extreme corners, widened outward by the rounding of the quotient.
        """
        require_parameters(lower, upper, 3, "OneCompartmentOral")
        held = lower[2:]  # the volume does not enter A but through ke
        low, high = torch.cat([lower[:2], held]), torch.cat([upper[:2], held])
        if self.by_clearance:
            corners(lower, upper)  # ends the wrong way round must not become a box by division
            if not bool((lower > 0.0).all()):
                raise ValueError(f"OneCompartmentOral: the box needs positive ends, and has {lower.tolist()}")
            # at most half a unit in the last place each: the next numbers enclose the quotients
            least, most = lower[1] / upper[2], upper[1] / lower[2]
            low[1] = torch.nextafter(least, torch.zeros_like(least))
            high[1] = torch.nextafter(most, torch.full_like(most, torch.inf))
        rates = corners(low, high)
        return _triangular(rates[:, 0], rates[:, 1])

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        self._require(theta)
        require_shape(baseline, "OneCompartmentOral: baseline", ..., "p", write="conditions.baseline, NaN where nothing was")
        require_together(theta, baseline, "OneCompartmentOral: theta and baseline")
        if not baseline.shape[-1]:
            raise ValueError("OneCompartmentOral: baseline has no channel; give one column, NaN where nothing was measured")
        measured = baseline[..., 0]
        plasma = theta[..., 2] * torch.where(torch.isnan(measured), 0.0, measured)
        return torch.stack([torch.zeros_like(plasma), plasma], -1)

    def config(self) -> dict[str, Any]:
        boxes = {p.name: [p.low, p.high] for p in self.physical}
        return {
            **boxes,
            "parameters": "clearance" if self.by_clearance else "rates",
            "faster": self.faster,
            "typical": self.typical,
        }


def _triangular(
    ka: Tensor,  # (...)
    ke: Tensor,  # (...)
) -> Tensor:  # (..., 2, 2)
    zero = torch.zeros_like(ka)
    return torch.stack([torch.stack([-ka, zero], -1), torch.stack([ka, -ke], -1)], -2)


def _box(name: str, box: Sequence[float]) -> tuple[float, float]:
    try:
        ends = tuple(float(end) for end in box)
        if isinstance(box, str | bytes | Mapping) or len(ends) != 2:
            raise TypeError
    except (TypeError, ValueError, RuntimeError) as error:
        unit = _UNITS[name]
        raise ValueError(f"OneCompartmentOral: the box of {name} is (low, high) in {unit}, and is {quote(box)}") from error
    return ends[0], ends[1]


def _parameter(name: str, box: tuple[float, float], typical: float | None, known: float, above: str) -> Parameter:
    low, high = box
    if not 0.0 < low < high < math.inf:
        raise ValueError(
            f"OneCompartmentOral: the box of {name} needs 0 < low < high, both finite, and got {low:g} to {high:g} {_UNITS[name]}"
        )
    if typical is not None:
        return Parameter(name, _UNITS[name], float(typical), low, high, "given", above)
    if low < known < high:
        return Parameter(name, _UNITS[name], known, low, high, _SOURCE + (", .45 L/kg at 70 kg" if name == "V" else ""), above)
    return Parameter(name, _UNITS[name], math.sqrt(low * high), low, high, "the middle of its box, in logarithms", above)
