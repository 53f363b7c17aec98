"""Log-normal parameters inside a compact box."""

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor, nn

from physics.arguments import (
    quote,
    require_choice,
    require_covariates,
    require_flag,
    require_kind,
    require_number,
    require_shape,
    require_text,
)
from physics.backbone import Backbone
from physics.bends import late, order_of, ordered
from physics.capture import exporting, nan_outside
from physics.covariate_models import FAR
from physics.mechanism import Mechanism
from physics.parameter import Parameter
from physics.population import Population, by_parameter, parameters_of, require_positive
from physics.units import require


class LogNormalPopulation(Population):
    """log θ_j = s_j(log typical_j + μ_j + Σ_k a_jk log(covariate_k / reference_k) + ω_j η_j), η ~ N(0, I).

    s_j(z) = c_j + h_j b((z − c_j)/h_j), with c_j the centre and h_j the half-width of the box of log θ_j and
    b(x) = x/(1 + x⁸)^(1/8): θ_j is log-normal in its box (half-way to an end it is moved by .02 % of h_j) and bends smoothly
    just before the box's ends, which no η reaches. An unbounded log-normal θ would have no uniform contraction rate.
    Where a parameter says what it lies `above` (absorption above elimination, where their boxes overlap), θ_j is kept above
    it in everyone by bending its logarithm once more: with b the logarithm of that bound and t the room between b and the end
    of θ_j's box, log θ_j = b + t σ(log θ_j − b)/σ(t), where σ(x) = β log(1 + exp(x/β)) and β = 1/3. The coordinates are then the
    bound and the logarithm of the ratio, which is positive; twice above its bound, θ_j is moved by 4 %, ten times above it by
    .03 %. So that there is always room t ≥ β, the bound's first factor is bent, by the same σ, below the end of θ_j's box.
    μ (M, q) is learned. η has a coordinate for each parameter with a spread, in their order. The spread ω is what the caller
    says, unless `learn_spread`: then it is the trainable tensor `log_spread` (M, d), which starts there. That tensor does not
    ask for a gradient: a joint maximum over η and ω is at ω → ∞ (in the deviations ωη at ω → 0) and means nothing, so
    `training.fit` leaves it alone, and `training.fit_population`, which integrates over η, finds it.

    Arguments: `parameters`, the θ with their boxes: a backbone's, or a sequence; `spread` ω, standard deviations of log θ in
    the middle of the box, by the parameters' names, {"ka": 0.6, "ke": 0.2, "V": 0.2}, None for one that everyone shares and
    that is learned, without an η; or, beside an explicit sequence of parameters, in its order; `powers`, for a parameter name
    and a covariate name the reference, the exponent and the UCUM unit of the reference, as in {"V": {"WT": (70.0, 1.0,
    "kg")}} (without a unit, records may not state one either); `learn_spread`; `bend`, "late" for the b above, or "tanh" for
    b = tanh, which bends everywhere (half-way to an end by 4 % of h_j): it is what models had that were saved before there
    was a choice.
    Errors: `ValueError` for a parameter that need not be positive; a spread that is not positive, in order beside a backbone,
    or for other names; a power of an unknown parameter; a covariate in two units, or missing or not positive; a parameter
    whose box leaves it no room above what it lies above.
    Law: `theta` stays inside `box`, and every parameter stays above what it lies above (up to rounding, where η is so far out
    that the two meet); with η = 0, μ = 0 and reference covariates it is `typical` up to the bend.
    Source: Lindstrom & Bates, Biometrics 46 (1990) 673 (mixed effects); the saturation is ours.
    """

    def __init__(
        self,
        parameters: Backbone | Mechanism | Sequence[Parameter],
        spread: Mapping[str, float | None] | Sequence[float | None],  # (q,)
        powers: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
        learn_spread: bool = False,
        bend: Literal["late", "tanh"] = "late",
    ) -> None:
        super().__init__()
        self.physical = parameters_of(parameters)
        names = [p.name for p in self.physical]
        self.gives = tuple((p.name, p.unit) for p in self.physical)
        if isinstance(spread, Mapping):
            spread = by_parameter(spread, names, "LogNormalPopulation: spread", none=True)
        elif isinstance(parameters, Backbone | Mechanism):
            shown = ", ".join(f'"{n}": …' for n in names)
            raise ValueError(
                f"LogNormalPopulation: a spread in order can be taken for another parameter's; write spread={{{shown}}}, or put "
                "the parameters beside it: LogNormalPopulation(backbone.physical, spread=[…])"
            )
        if isinstance(spread, str) or not isinstance(spread, Sized) or not isinstance(spread, Iterable):
            raise ValueError(f"LogNormalPopulation: spread is one number for each of {names}, and is {quote(spread)}")
        for one in spread:
            if one is not None:
                require_number(one, "LogNormalPopulation: a spread")
        if len(spread) != len(names) or not all(s is None or 0.0 < s < float("inf") for s in spread):
            raise ValueError(f"LogNormalPopulation: needs one positive spread for each of {names}, got {quote(list(spread))}")
        self.powers = {p: {k: (float(v[0]), float(v[1])) for k, v in by.items()} for p, by in _triples(powers).items()}
        unknown = set(self.powers) - set(names)
        if unknown:
            raise ValueError(f"LogNormalPopulation: powers name {quote(sorted(map(str, unknown)))}, which is not among {names}")
        self.covariates = _covariate_units(powers)
        require_positive(self.physical, "LogNormalPopulation")
        self._own = [j for j, one in enumerate(spread) if one is not None]  # who has a spread, in the order of η
        self.effects = tuple(names[j] for j in self._own)
        self.dimension = len(self._own)
        low = torch.tensor([p.low for p in self.physical], dtype=torch.float64).log()
        high = torch.tensor([p.high for p in self.physical], dtype=torch.float64).log()
        typical = torch.tensor([p.typical for p in self.physical], dtype=torch.float64).log()
        self.spread: Tensor
        self.centre: Tensor
        self.half_width: Tensor
        self.log_typical: Tensor
        self.register_buffer("spread", torch.tensor([float(s) for s in spread if s is not None], dtype=torch.float64))
        self.register_buffer("centre", (low + high) / 2)
        self.register_buffer("half_width", (high - low) / 2)
        self.register_buffer("log_typical", typical)
        self.shift = nn.Parameter(torch.zeros(1, len(names), dtype=torch.float64))  # μ (M, q)
        require_choice(bend, ("late", "tanh"), "LogNormalPopulation: bend")
        require_flag(learn_spread, "LogNormalPopulation: learn_spread")
        self.bend = bend
        self.orders = tuple(order_of(p, self.physical) for p in self.physical if p.above)
        self.learn_spread = learn_spread
        if self.learn_spread and self.dimension:
            self.log_spread = nn.Parameter(self.spread.log()[None], requires_grad=False)  # log ω (M, d)
            self.by_marginal = ("log_spread",)

    @property
    def _spreads(self) -> Tensor:  # (M|1, d)
        return self.log_spread.exp() if self.by_marginal else self.spread[None]

    @property
    def omega(self) -> Tensor:  # (M|1, q)
        """The spread ω in use, learned or as it was given; 0 of a parameter that everyone shares."""
        return self._placed(self._spreads)

    @property
    def factor(self) -> Tensor | None:
        return torch.diag_embed(self._spreads) if self.dimension else None

    @property
    def references(self) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for by in self.powers.values():
            for name, (reference, _) in by.items():
                found.setdefault(name, reference)
        return found

    @property
    def moved_by(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for parameter, by in self.powers.items():
            for name, (_, exponent) in by.items():
                if exponent != 0.0:
                    found[name] = (*found.get(name, ()), parameter)
        return found

    def plausible(self, covariate: str) -> tuple[float, float] | None:
        super().plausible(covariate)  # which looks at the name
        reference = self.references.get(covariate)
        return None if reference is None else (reference / FAR, reference * FAR)

    def _placed(
        self,
        columns: Tensor,  # (..., d)
    ) -> Tensor:  # (..., q)
        """A column for every parameter, 0 for those without a spread."""
        if self.dimension == len(self.physical):
            return columns
        zero = columns.new_zeros(*columns.shape[:-1], 1)
        own = {j: k for k, j in enumerate(self._own)}
        parts = [columns[..., own[j] : own[j] + 1] if j in own else zero for j in range(len(self.physical))]
        return torch.cat(parts, -1) if parts else columns

    def theta(self, eta: Tensor, covariates: dict[str, Tensor]) -> Tensor:
        d = self.dimension
        require_shape(eta, "LogNormalPopulation: eta", "M", "N", d, write=f"torch.zeros(M, N, {d})", like=self.shift)
        require_covariates(covariates, eta.shape[1], "LogNormalPopulation: covariates")
        if 1 not in (len(eta), len(self.shift)) and len(eta) != len(self.shift):
            raise ValueError(f"LogNormalPopulation: eta is of {len(eta)} members and the population of {len(self.shift)}")
        z = self.log_typical + self.shift[:, None, :] + self._placed(self._spreads[:, None, :] * eta)  # (M, N, q)
        if self.powers:
            z = z + self._covariate_effect(covariates)  # (N, q) meets (M, N, q)
        theta = self._bent(z)
        if self.powers and exporting():  # a logarithm of 0 would end at the end of the box
            positive = [covariates[name] > 0.0 for name in self.covariates]
            theta = nan_outside(theta, torch.stack(torch.broadcast_tensors(*positive)).all(0))
        return theta

    def _bent(
        self,
        z: Tensor,  # (..., q)
    ) -> Tensor:  # (..., q)
        """θ, of the sum that bends into the box."""
        x = (z - self.centre) / self.half_width
        logs = self.centre + self.half_width * (late(x) if self.bend == "late" else torch.tanh(x))
        if self.orders:  # with the ends as `box` says them, so that nothing is rounded out of it
            logs = ordered(logs, self.orders, self.centre - self.half_width, self.centre + self.half_width)
        return torch.exp(logs)

    def _covariate_effect(self, covariates: dict[str, Tensor]) -> Tensor:
        columns = []
        for parameter in self.physical:
            effect = torch.zeros((), dtype=self.shift.dtype, device=self.shift.device)
            for name, (reference, exponent) in self.powers.get(parameter.name, {}).items():
                if name not in covariates:
                    raise ValueError(
                        f"parameter {parameter.name} depends on the covariate {name}, which the records lack (they "
                        f"have {sorted(covariates)}); add the column to the table or take {name} out of the powers"
                    )
                if not exporting() and not bool((covariates[name] > 0.0).all()):
                    raise ValueError(
                        f"parameter {parameter.name} depends on the logarithm of the covariate {name}, which must be "
                        f"positive, and its least value is {covariates[name].min().item():g}; correct the table, or take "
                        f"{name} out of the powers"
                    )
                effect = effect + exponent * torch.log(covariates[name] / reference)
            columns.append(effect)
        return torch.stack(torch.broadcast_tensors(*columns), -1)

    def log_prior(self, eta: Tensor) -> Tensor:
        require_shape(eta, "LogNormalPopulation: eta", ..., self.dimension, write="torch.zeros(M, N, q)")
        return -0.5 * eta.square().sum(-1)

    @property
    def box(self) -> Tensor:
        return torch.stack([torch.exp(self.centre - self.half_width), torch.exp(self.centre + self.half_width)], -1)

    def estimates(self) -> dict[str, tuple[str, Tensor]]:
        """Typical values at the reference covariates, and the spreads where they are learned.

        By name the scale on which an interval is taken ("log") and the value (M,).
        """
        typical = self._bent(self.log_typical + self.shift)  # (M, q)
        found: dict[str, tuple[str, Tensor]] = {p.name: ("log", typical[:, j]) for j, p in enumerate(self.physical)}
        if self.by_marginal:
            found |= {f"omega({name})": ("log", self._spreads[:, k]) for k, name in enumerate(self.effects)}
        return found

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        said = self.config()
        return {k: v for k, v in said.items() if k != "spread"} if self.learn_spread else said

    def config(self) -> dict[str, Any]:
        return {
            "parameters": [asdict(p) for p in self.physical],
            "spread": [None if j not in self._own else float(self.spread[self._own.index(j)]) for j in range(len(self.physical))],
            # the unit only where there is one: a population without is described as it was before
            "powers": {
                p: {k: [*v] if self.covariates[k] is None else [*v, self.covariates[k]] for k, v in by.items()}
                for p, by in self.powers.items()
            },
            "learn_spread": self.learn_spread,
            "bend": self.bend,
        }


def _triples(powers: Mapping[str, Mapping[str, Sequence[Any]]] | None) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The powers as they were given, each with reference, exponent and perhaps a unit."""
    given: dict[str, dict[str, tuple[Any, ...]]] = {}
    powers = {} if powers is None else powers
    require_kind(powers, Mapping, "LogNormalPopulation: powers", '{"V": {"WT": (70.0, 1.0, "kg")}}')
    for parameter, by in powers.items():
        if not isinstance(by, Mapping):
            raise ValueError(
                f"LogNormalPopulation: the powers of {parameter} are by covariate, as in "
                f'{{"V": {{"WT": (70.0, 1.0, "kg")}}}}, and are {str(by)[:80]}'
            )
        for name, value in by.items():
            require_text(name, f"LogNormalPopulation: a covariate of {quote(parameter)}", '{"V": {"WT": (70.0, 1.0, "kg")}}')
            whole = isinstance(value, tuple | list) and len(value) in (2, 3)
            if not whole or not all(
                isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in value[:2]
            ):
                raise ValueError(
                    f"LogNormalPopulation: the power of {name} in {parameter} needs reference, exponent and the reference's "
                    f'unit, as in {{"V": {{"WT": (70.0, 1.0, "kg")}}}}, and is {str(value)[:80]}'
                )
            if not value[0] > 0.0:
                raise ValueError(
                    f"LogNormalPopulation: the reference of {name} in {parameter} is {value[0]:g}, and its logarithm is taken; "
                    "give a positive one"
                )
            given.setdefault(parameter, {})[name] = tuple(value)
    return given


def _covariate_units(powers: Mapping[str, Mapping[str, Sequence[Any]]] | None) -> dict[str, str | None]:
    """Each covariate's unit, None where no power states one."""
    found: dict[str, str | None] = {}
    for by in _triples(powers).values():
        for name, value in by.items():
            unit = require(value[2], f"LogNormalPopulation: covariate {name}") if len(value) == 3 else None
            before = found.setdefault(name, unit)
            if before is not None and unit is not None and before != unit:
                raise ValueError(
                    f"LogNormalPopulation: the covariate {name} stands in {before} and in {unit}; state every reference in one "
                    "unit"
                )
            found[name] = before or unit
    return found
