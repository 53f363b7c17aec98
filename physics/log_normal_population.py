"""Log-normal parameters inside a compact box."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from physics.parameter import Parameter
from physics.population import Population


class LogNormalPopulation(Population):
    """log θ_j = s_j(log typical_j + μ_j + Σ_k a_jk log(covariate_k / reference_k) + ω_j η_j), η ~ N(0, I).

    s_j(z) = c_j + h_j tanh((z − c_j)/h_j), with c_j the centre and h_j the half-width of the box of log θ_j: θ_j is
    log-normal in the middle of its box and bends smoothly towards the box's ends, which no η reaches. An unbounded
    log-normal θ would have no uniform contraction rate.
    μ (M, q) is learned. The spread ω is what the caller says, unless `learn_spread`: then it is the trainable tensor
    `log_spread` (M, q), which starts there. That tensor does not ask for a gradient: a joint maximum over η and ω is at
    ω → ∞ (in the deviations ωη at ω → 0) and means nothing, so `training.fit` leaves it alone, and
    `training.fit_population`, which integrates over η, finds it.

    Arguments: `parameters`, the θ with their boxes; `spread` ω, one per parameter, standard deviations of log θ in the
    middle of the box; `powers`, for a parameter name and a covariate name the pair (reference, exponent), as in
    {"V": {"WT": (70.0, 1.0)}}; `learn_spread`.
    Errors: `ValueError` for a spread that is not positive, a power of an unknown parameter, a covariate
    that is missing or not positive.
    Law: `theta` stays inside `box`; with η = 0, μ = 0 and reference covariates it is `typical` up to the bend.
    Source: Lindstrom & Bates, Biometrics 46 (1990) 673 (mixed effects); the saturation is ours.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        spread: Sequence[float],  # (q,)
        powers: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
        learn_spread: bool = False,
    ) -> None:
        super().__init__()
        # a bundle brings its parameters back as plain dictionaries
        self.physical = tuple(p if isinstance(p, Parameter) else Parameter(**p) for p in parameters)
        names = [p.name for p in self.physical]
        if len(spread) != len(names) or not all(0.0 < s < float("inf") for s in spread):
            raise ValueError(f"LogNormalPopulation: needs one positive spread for each of {names}, got {list(spread)}")
        self.powers = {p: {k: (float(r), float(e)) for k, (r, e) in by.items()} for p, by in (powers or {}).items()}
        unknown = set(self.powers) - set(names)
        if unknown:
            raise ValueError(f"LogNormalPopulation: powers name {sorted(unknown)}, which is not among {names}")
        self.covariates = {name: None for by in self.powers.values() for name in by}
        self.dimension = len(names)
        low = torch.tensor([p.low for p in self.physical], dtype=torch.float64).log()
        high = torch.tensor([p.high for p in self.physical], dtype=torch.float64).log()
        typical = torch.tensor([p.typical for p in self.physical], dtype=torch.float64).log()
        self.spread: Tensor
        self.centre: Tensor
        self.half_width: Tensor
        self.log_typical: Tensor
        self.register_buffer("spread", torch.tensor([float(s) for s in spread], dtype=torch.float64))
        self.register_buffer("centre", (low + high) / 2)
        self.register_buffer("half_width", (high - low) / 2)
        self.register_buffer("log_typical", typical)
        self.shift = nn.Parameter(torch.zeros(1, len(names), dtype=torch.float64))  # μ (M, q)
        self.learn_spread = bool(learn_spread)
        if self.learn_spread:
            self.log_spread = nn.Parameter(self.spread.log()[None], requires_grad=False)  # log ω (M, q)
            self.by_marginal = ("log_spread",)

    @property
    def omega(self) -> Tensor:  # (M|1, q)
        """The spread ω in use: learned, or as it was given."""
        return self.log_spread.exp() if self.learn_spread else self.spread[None]

    def theta(self, eta: Tensor, covariates: dict[str, Tensor]) -> Tensor:
        z = self.log_typical + self.shift[:, None, :] + self.omega[:, None, :] * eta  # (M, N, q)
        if self.powers:
            z = z + self._covariate_effect(covariates)  # (N, q) meets (M, N, q)
        return torch.exp(self.centre + self.half_width * torch.tanh((z - self.centre) / self.half_width))

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
                if not bool((covariates[name] > 0.0).all()):
                    raise ValueError(
                        f"parameter {parameter.name} depends on the logarithm of the covariate {name}, which must be "
                        f"positive, and its least value is {covariates[name].min().item():g}; correct the table, or take "
                        f"{name} out of the powers"
                    )
                effect = effect + exponent * torch.log(covariates[name] / reference)
            columns.append(effect)
        return torch.stack(torch.broadcast_tensors(*columns), -1)

    def log_prior(self, eta: Tensor) -> Tensor:
        return -0.5 * eta.square().sum(-1)

    @property
    def box(self) -> Tensor:
        return torch.stack([torch.exp(self.centre - self.half_width), torch.exp(self.centre + self.half_width)], -1)

    def config(self) -> dict[str, Any]:
        return {
            "parameters": [asdict(p) for p in self.physical],
            "spread": self.spread.tolist(),
            "powers": {p: {k: list(v) for k, v in by.items()} for p, by in self.powers.items()},
            "learn_spread": self.learn_spread,
        }
