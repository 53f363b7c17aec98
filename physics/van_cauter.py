"""C-peptide kinetics in two compartments, with parameters from a person's age and diabetes status."""

import math
from collections.abc import Iterable, Mapping, Sized
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from physics.arguments import (
    quote,
    require_covariates,
    require_kind,
    require_number,
    require_shape,
    require_text,
    require_together,
)
from physics.backbone import Backbone
from physics.capture import capturing, exporting, nan_outside
from physics.defaults import Defaults, Observed
from physics.hull import corners, require_parameters
from physics.parameter import Parameter
from physics.population import Population
from physics.units import require

_SOURCE = "Van Cauter, Mestrez, Sturis & Polonsky, Diabetes 41 (1992) 368"
_AGES = (10.0, 110.0)


class VanCauter(Backbone):
    """Plasma C-peptide C and the second compartment Y, both in nmol/L, time in min.

    dC/dt = −(k0 + k2) C + k1 Y + k0·basal + production and dY/dt = −k1 Y + k2 C.
    Parameters θ: k0, k1, k2 in /min. Inputs: `basal`, the C-peptide before the test (basal production equals its
    clearance k0·C(0)); `glucose`, which B leaves out: only the residual sees it; and those of `residual_inputs`, a UCUM unit by
    name, likewise: {"slope": "mmol/L/min"} for what else a secretion may be learned from.
    The trace of A is −(k0+k1+k2) < 0 and its determinant k0·k1 > 0, so A is Hurwitz for every positive θ.
    `initial`: C(0) as measured and Y(0) = (k2/k1) C(0), the steady state. Without a measured C(0) there is none to start from:
    `basal` is an input, and need not be what the person had. That is a `ValueError`.
    """

    def __init__(self, residual_inputs: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__()
        require_kind(residual_inputs, Mapping, "VanCauter: residual_inputs", '{"slope": "mmol/L/min"}')
        for name, unit in residual_inputs.items():
            require_text(name, "VanCauter: the name of a residual input", '{"slope": "mmol/L/min"}')
            if name in ("basal", "glucose"):
                raise ValueError(f"VanCauter: {name} is an input already; leave it out of residual_inputs")
            require_text(unit, f"VanCauter: the unit of the residual input {quote(name, 60)}", '{"slope": "mmol/L/min"}')
            require(unit, f"VanCauter: the residual input {quote(name, 60)}")
        self.states = ("plasma", "second")
        self.state_units = ("nmol/L", "nmol/L")
        self.inputs = ("basal", "glucose", *residual_inputs)
        self.input_units = ("nmol/L", "mmol/L", *residual_inputs.values())
        self.time_unit = "min"
        self.starts = (("plasma", None),)
        self.defaults = Defaults(observed=(Observed("plasma", channel="C-peptide", unit="nmol/L"),), amounts=True)
        typical, (low, high) = _rates(50.0, 0.0), _box()
        self.physical = tuple(
            Parameter(name, "/min", typical[j], low[j], high[j], _SOURCE) for j, name in enumerate(("k0", "k1", "k2"))
        )

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        require_shape(theta, "VanCauter: theta", ..., 3, write="VanCauterPopulation().theta(eta, covariates)")
        k0, k1, k2 = theta.unbind(-1)
        zero = torch.zeros_like(k0)
        A = torch.stack([torch.stack([-(k0 + k2), k1], -1), torch.stack([k2, -k1], -1)], -2)
        unseen = [zero] * (len(self.inputs) - 1)  # by the kinetics
        B = torch.stack([torch.stack([k0, *unseen], -1), torch.stack([zero, *unseen], -1)], -2)
        return A, B

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Affine in (k0, k1, k2), so their corners; not multi-affine in age, for which see `VanCauterPopulation.enclose`."""
        require_parameters(lower, upper, 3, "VanCauter")
        A, _ = self.matrices(corners(lower, upper))  # −(k0 + k2) is rounded once, relative 2⁻⁵³
        return A

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        require_shape(theta, "VanCauter: theta", ..., 3, write="VanCauterPopulation().theta(eta, covariates)")
        require_shape(baseline, "VanCauter: baseline", ..., "p", write="conditions.baseline")
        require_together(theta, baseline, "VanCauter: theta and baseline")
        if not baseline.shape[-1]:
            raise ValueError("VanCauter: baseline has no channel; the first is the plasma C-peptide, in nmol/L")
        if not (capturing() or exporting()):
            missing = torch.isnan(baseline[..., 0]).reshape(-1)
            if bool(missing.any()):
                raise ValueError(
                    "VanCauter starts from the measured plasma C-peptide, the first channel, and "
                    f"{int(missing.sum())} of {missing.numel()} people have no value of it at or before the first dose (without "
                    "doses: at the start); give one, in nmol/L"
                )
        first = baseline[..., 0] + torch.zeros_like(theta[..., 0])
        return torch.stack([first, theta[..., 2] / theta[..., 1] * first], -1)

    def config(self) -> dict[str, Any]:
        more = dict(zip(self.inputs[2:], self.input_units[2:], strict=True))
        return {"residual_inputs": more} if more else {}  # without any, a bundle says what it said before there were


class VanCauterPopulation(Population):
    """θ = (k0, k1, k2) from the covariates `age` [years] and `type2` (1 with type 2 diabetes, else 0): no η.

    With short and long half-lives t_s, t_l and the fraction f of the short one, L = ln 2:
    k1 = f L/t_l + (1−f) L/t_s, k0 = (L/t_s)(L/t_l)/k1, k2 = L/t_s + L/t_l − k0 − k1.
    t_s = 4.95 min (4.52 with type 2 diabetes), f = .76 (.78), t_l = .14·age + 29.2 min.
    Errors: `ValueError` for an age outside 10–110 years (the box), a type2 that is not 0 or 1, a missing covariate.
    """

    dimension = 0
    covariates = MappingProxyType({"age": "a", "type2": "1"})
    ranges = MappingProxyType({"age": _AGES, "type2": (0.0, 1.0)})
    gives = (("k0", "/min"), ("k1", "/min"), ("k2", "/min"))

    def theta(self, eta: Tensor, covariates: dict[str, Tensor] | None = None) -> Tensor:
        require_shape(eta, "VanCauterPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        covariates = {} if covariates is None else covariates  # whoever leaves them out is told which are needed
        require_covariates(covariates, None, "VanCauterPopulation: covariates")
        missing = {"age", "type2"} - covariates.keys()
        if missing:
            raise ValueError(f"VanCauterPopulation needs the covariates age and type2; missing: {sorted(missing)}")
        age, type2 = covariates["age"], covariates["type2"]
        if not (capturing() or exporting()):
            _require(age, type2)
        short = 4.95 + (4.52 - 4.95) * type2
        fraction = 0.76 + 0.02 * type2
        fast, slow = math.log(2.0) / short, math.log(2.0) / (0.14 * age + 29.2)
        k1 = fraction * slow + (1.0 - fraction) * fast
        k0 = fast * slow / k1
        theta = torch.stack([k0, k1, fast + slow - k0 - k1], -1)  # (N, 3)
        if exporting():  # nobody can look at them then
            theta = nan_outside(theta, _admissible(age, type2))
        # a shape, for len() of a length that is open while a program is exported would make it a number
        if theta.shape[0] not in (1, eta.shape[-2]):
            raise ValueError(f"VanCauterPopulation: covariates of {len(theta)} people came with an eta of {eta.shape[-2]}")
        return theta.expand(*eta.shape[:-1], 3)

    def enclose(
        self,
        youngest: float,  # years
        oldest: float,  # years
        type2: tuple[float, ...] = (0.0, 1.0),
    ) -> tuple[Tensor, Tensor]:  # (3,), (3,)
        """A box of θ that holds everyone between these ages, with any of these diabetes statuses.

        θ is not multi-affine in age, but each rate is monotone in the slow rate s = L/t_l: with the fast one F = L/t_s,
        dk1/ds = f > 0, dk0/ds = (1−f)F²/k1² > 0, and dk2/ds = (1−f)(1 − F²/k1²) < 0 because k1 < F. So the ends in age
        enclose it, widened by 1e-12 for the rounding of these formulas.
        Errors: `ValueError` for ages out of 10–110 years or the wrong way round, or a type2 that is not 0 or 1.
        """
        require_number(youngest, "VanCauterPopulation: youngest")
        require_number(oldest, "VanCauterPopulation: oldest")
        if isinstance(type2, str | dict) or not isinstance(type2, Sized) or not isinstance(type2, Iterable):
            raise ValueError(f"VanCauterPopulation: type2 is a list of statuses, (0.0, 1.0), and is {quote(type2)}")
        for status in type2:
            require_number(status, "VanCauterPopulation: type2, each status,")
        youngest, oldest = float(youngest), float(oldest)
        type2 = tuple(float(status) for status in type2)
        if not _AGES[0] <= youngest <= oldest <= _AGES[1] or not type2 or not set(type2) <= {0.0, 1.0}:
            raise ValueError(
                f"VanCauterPopulation: needs {_AGES[0]:g} ≤ youngest ≤ oldest ≤ {_AGES[1]:g} years and type2 of 0, 1, got "
                f"{youngest:g}, {oldest:g}, {quote(type2)}"
            )
        ends = torch.tensor([_rates(age, status) for age in (youngest, oldest) for status in type2], dtype=torch.float64)
        return ends.amin(0) * (1.0 - 1e-12), ends.amax(0) * (1.0 + 1e-12)

    def log_prior(self, eta: Tensor) -> Tensor:
        require_shape(eta, "VanCauterPopulation: eta", ..., 0, write="torch.zeros(M, N, 0), for there is no η")
        return eta.new_zeros(eta.shape[:-1])

    @property
    def box(self) -> Tensor:
        return torch.tensor(_box(), dtype=torch.float64).T

    def config(self) -> dict[str, Any]:
        return {}


def _admissible(
    age: Tensor,  # (N,)
    type2: Tensor,  # (N,)
) -> Tensor:  # (N,) bool
    return (age >= _AGES[0]) & (age <= _AGES[1]) & ((type2 == 0.0) | (type2 == 1.0))


def _require(age: Tensor, type2: Tensor) -> None:
    if not bool(((age >= _AGES[0]) & (age <= _AGES[1])).all()):
        raise ValueError(f"VanCauterPopulation: ages lie in {_AGES[0]:g}–{_AGES[1]:g} years, got {quote(age.tolist())}")
    if not bool(((type2 == 0.0) | (type2 == 1.0)).all()):
        raise ValueError(f"VanCauterPopulation: type2 is 1 with type 2 diabetes or 0, got {quote(type2.tolist())}")


def _rates(age: float, type2: float) -> list[float]:
    one = {"age": torch.tensor([age], dtype=torch.float64), "type2": torch.tensor([type2], dtype=torch.float64)}
    theta: list[float] = VanCauterPopulation().theta(torch.zeros(1, 0, dtype=torch.float64), one)[0].tolist()
    return theta


def _box() -> tuple[list[float], list[float]]:
    # each rate is monotone in the long half-life, so the ends over both types enclose it; 1 % of slack covers rounding
    corners = [_rates(age, type2) for age in _AGES for type2 in (0.0, 1.0)]
    columns = list(zip(*corners, strict=True))
    return [0.99 * min(c) for c in columns], [1.01 * max(c) for c in columns]
