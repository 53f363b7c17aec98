"""The sum: a stable linear backbone plus a learned residual, observed with noise."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybrid.field import Bound, SemilinearField
from hybrid.observation import Observation
from hybrid.segments import Segments
from learned import LayeredResidual, NoiseHead, ProcessNoise, Residual, Zero
from physics import Backbone, Population


@dataclass(frozen=True)
class Conditions:
    """What is given about N people: their segments, covariates (each (N,)) and baseline measurement (N, p)."""

    segments: Segments
    covariates: dict[str, Tensor]
    baseline: Tensor

    @property
    def size(self) -> int:
        """N."""
        return self.baseline.shape[0]

    def to(self, like: Tensor) -> "Conditions":
        """The same in the dtype and on the device of `like`."""
        return Conditions(
            self.segments.to(like), {k: v.to(like) for k, v in self.covariates.items()}, self.baseline.to(like)
        )

    def people(self, index: Tensor) -> "Conditions":
        """The same for the chosen people, with repeats."""
        return Conditions(
            self.segments.people(index), {k: v[index] for k, v in self.covariates.items()}, self.baseline[index]
        )


class HybridModel(nn.Module):
    """dx/dt = A(θ) x + B(θ) u + ε_φ(x, u, c), y = h(x, θ) + noise.

    A person is described by their own coordinates `personal` (M, N, d): first the η of the population, then `latents`
    more numbers that only the residual sees, all a priori standard normal. c is made of the covariates that
    `covariates` names, as {"WT": (70.0, 20.0)} for (WT − 70)/20, and then of the latents.

    Arguments: `backbone`, `population` of its θ, `residual` (none: the backbone alone), `observation`, `noise`; `process`, what
    drives the states at random (none: they follow the equation), which `rollout` adds to the variance of a measurement and
    `sample_paths` draws.
    Errors: `ValueError` where sizes do not fit together.
    Law: with a zero residual the solution is the matrix exponential.
    """

    def __init__(
        self,
        backbone: Backbone,
        population: Population,
        residual: Residual | None = None,
        *,
        observation: Observation,
        noise: NoiseHead,
        latents: int = 0,
        covariates: Mapping[str, Sequence[float]] | None = None,
        process: ProcessNoise | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.population = backbone, population
        self.observation, self.noise, self.latents = observation, noise, int(latents)
        self.covariates = {name: (float(c), float(s)) for name, (c, s) in (covariates or {}).items()}
        n, m, r = len(backbone.states), len(backbone.inputs), len(self.covariates) + self.latents
        self.residual = Zero(n, m, r) if residual is None else residual
        have = (self.residual.states, self.residual.inputs, self.residual.covariates)
        if have[0] != n or have[1] not in (0, m) or have[2] != r:
            raise ValueError(
                f"HybridModel: the residual is made for (states, inputs, covariates) = {have} and the model has {(n, m, r)} "
                "(covariates counts latents too; inputs may be 0); build the residual with these sizes"
            )
        if population.box.shape[0] != len(backbone.physical):
            raise ValueError(
                f"HybridModel: the backbone reads {len(backbone.physical)} parameters and the population gives "
                f"{population.box.shape[0]}; build the population from backbone.physical"
            )
        self.process = process
        if process is not None and process.states != n:
            raise ValueError(f"HybridModel: the process noise is made for {process.states} states and the model has {n}")
        if noise.channels != len(observation.channels):
            raise ValueError(
                f"HybridModel: {len(observation.channels)} channels are observed, noise is given for {noise.channels}"
            )

    @property
    def members(self) -> int:
        """M, the size of the member axis of the trainable tensors."""
        return max((p.shape[0] for p in self.parameters()), default=1)

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the model's numbers: float64, or what `.to(...)` made of it."""
        return next(iter((*self.parameters(), *self.buffers()))).dtype

    @property
    def device(self) -> torch.device:
        """Where the model's numbers are."""
        return next(iter((*self.parameters(), *self.buffers()))).device

    @property
    def personal(self) -> int:
        """d, how many coordinates of their own a person has."""
        return self.population.dimension + self.latents

    @property
    def uses(self) -> dict[str, str | None]:
        """The covariates that any part of the model reads, each with its UCUM unit, or None where nobody said it."""
        return dict.fromkeys(self.covariates) | dict(self.population.covariates)

    def theta(
        self,
        personal: Tensor,  # (M, N, d)
        covariates: dict[str, Tensor],  # each (N,)
    ) -> Tensor:  # (M, N, q)
        """The physical parameters of every person under every member."""
        return self.population.theta(personal[..., : self.population.dimension], covariates)

    def context(
        self,
        personal: Tensor,  # (M, N, d)
        covariates: dict[str, Tensor],  # each (N,)
    ) -> Tensor:  # (M, N, r)
        """c: standardised covariates, then latents."""
        latent = personal[..., self.population.dimension :]
        missing = self.covariates.keys() - covariates.keys()
        if missing:
            raise ValueError(
                f"the residual sees the covariates {sorted(missing)}, which the records lack; add the columns"
            )
        columns = [
            ((covariates[k] - c) / s).expand(latent.shape[:-1])[..., None] for k, (c, s) in self.covariates.items()
        ]
        return torch.cat([*columns, latent], -1)

    def log_prior(
        self,
        personal: Tensor,  # (M, N, d)
    ) -> Tensor:  # (M, N)
        """The log density of a person's coordinates, up to a constant."""
        q = self.population.dimension
        return self.population.log_prior(personal[..., :q]) - 0.5 * personal[..., q:].square().sum(-1)

    def initial(
        self,
        theta: Tensor,  # (M, N, q)
        baseline: Tensor,  # (N, p)
    ) -> Tensor:  # (M, N, n)
        """The state in which each record starts."""
        x0 = self.backbone.initial(theta, baseline)
        return x0.expand(*torch.broadcast_shapes(x0.shape[:-1], theta.shape[:-1]), x0.shape[-1])

    def bind(
        self,
        segments: Segments,
        theta: Tensor,  # (M, N, q)
        c: Tensor,  # (M, N, r)
    ) -> SemilinearField:
        """The right-hand side for these people on the segment clock."""
        A, B = self.backbone.matrices(theta)
        if isinstance(self.residual, Zero):
            return SemilinearField(A, B, None, segments)
        residual = self.residual
        if isinstance(residual, LayeredResidual):
            layers = residual.layers()  # folded once per solve
            if layers.skip is not None:  # linear in x: part of A, which the exponential steps take exactly
                A, layers = _plus(A, layers.skip), replace(layers, skip=None)
            made_from = (c, *layers.weights, *layers.biases, layers.input_weights, layers.covariate_weights)
            return SemilinearField(A, B, layers.at(c), segments, made_from)
        return SemilinearField(A, B, Bound(residual, c), segments, (c, *residual.parameters()))

    def lure(
        self,
        theta: Tensor,  # (M, N, q)
        c: Tensor,  # (M, N, r)
    ) -> dict[str, Any]:
        """The arrays of the Lur'e form, for `stability.Lure(**model.lure(theta, c))`, float64.

        A (M, N, n, n), B (M, N, n, m); weights (M, 1, out, in), biases (M, N|1, out) with c folded in, input_weights
        (M, 1, h, m) or None, activation; skip (M, 1, n, n) where the residual has one.
        Errors: `ValueError` for a residual without layers.
        """
        A, B = self.backbone.matrices(theta)
        arrays: dict[str, Any] = {"A": _array(A), "B": _array(B), "weights": [], "biases": [], "activation": "tanh"}
        if isinstance(self.residual, Zero):
            return arrays
        if not isinstance(self.residual, LayeredResidual):
            raise ValueError(
                f"{type(self.residual).__name__} has no layered form, so it has no Lur'e form to certify; "
                "use a residual with layers (MLP, ContractingMLP)"
            )
        layers = self.residual.layers()
        arrays["weights"] = [_array(w[:, None]) for w in layers.weights]
        arrays["biases"] = [_array(b) for b in layers.at(c).biases()]
        if layers.input_weights.shape[-1]:
            arrays["input_weights"] = _array(layers.input_weights[:, None])
        arrays["activation"] = layers.activation
        if layers.skip is not None:
            arrays["skip"] = _array(layers.skip[:, None])
        return arrays


def require_alike(model: HybridModel, conditions: Conditions, personal: Tensor) -> None:
    """One device and one type for all that is simulated together: torch's own words would name neither part."""
    like = next(itertools.chain(model.parameters(), model.buffers()), personal)
    for name, tensor, cure in (
        ("what is given about the people", conditions.segments.dt, "cohort.to(model.device, model.dtype)"),
        ("their coordinates", personal, "personal.to(model.device, model.dtype)"),
    ):
        if (tensor.device, tensor.dtype) != (like.device, like.dtype):
            raise ValueError(
                f"the model is {like.dtype} on {like.device} and {name} {tensor.dtype} on {tensor.device}; write {cure}"
            )


def _plus(
    A: Tensor,  # (M|1, N|1, n, n)
    skip: Tensor,  # (M|1, n, n)
) -> Tensor:  # (M, N|1, n, n)
    """A + S for every member. What people or members share stays shared in memory: matrix functions are made once for it."""
    shape = torch.broadcast_shapes(A.shape, (len(skip), 1, 1, 1))
    for axis in (0, 1):
        if A.stride(axis) == 0:
            A = A.narrow(axis, 0, 1)
    return (A + skip[:, None]).expand(shape)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()
