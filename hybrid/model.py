"""The sum: a stable linear backbone plus a learned residual, observed with noise."""

import itertools
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybrid.field import Bound, SemilinearField
from hybrid.mesh import Mesh
from hybrid.observation import JoinsBackbone, Observation
from hybrid.segments import Segments
from learned import Joins, Joint, LayeredResidual, NoiseHead, ProcessNoise, Residual, Zero
from physics import Backbone, Population
from physics.arguments import (
    quote,
    require_covariates,
    require_kind,
    require_number,
    require_people,
    require_shape,
    require_text,
)
from physics.units import factor, require


@dataclass(frozen=True)
class Conditions:
    """What is given about N people: their segments, covariates (each (N,)) and baseline measurement (N, p), NaN for none.

    `mesh`: what cut the segments, for whoever cuts the same people otherwise (a dense grid, a what-if); None for none.
    """

    segments: Segments
    covariates: dict[str, Tensor]
    baseline: Tensor
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        require_kind(self.segments, Segments, "Conditions: segments", "conditions_of(model, schedules, times)")
        N = self.segments.dt.shape[0]
        require_shape(self.baseline, "Conditions: baseline", N, "p", write="a row of channels for each person, NaN for none")
        require_covariates(self.covariates, N, "Conditions: covariates")
        if self.mesh is not None:
            require_kind(self.mesh, Mesh, "Conditions: mesh", "Mesh.of(model, records)")

    @property
    def size(self) -> int:
        """N."""
        return self.baseline.shape[0]

    def to(self, like: Tensor) -> "Conditions":
        """The same in the dtype and on the device of `like`."""
        require_shape(like, "Conditions.to: like", ..., write="cohort.y, or another tensor of the type and device wanted")
        covariates = {k: v.to(like) for k, v in self.covariates.items()}
        return Conditions(self.segments.to(like), covariates, self.baseline.to(like), self.mesh)

    def people(self, index: Tensor) -> "Conditions":
        """The same for the chosen people, with repeats."""
        require_people(index, self.size, "Conditions.people: index")
        covariates = {k: v[index] for k, v in self.covariates.items()}
        return Conditions(self.segments.people(index), covariates, self.baseline[index], self.mesh)


class HybridModel(nn.Module):
    """dx/dt = A(θ) x + B(θ) u + ε_φ(x, u, c), y = h(x, θ) + noise.

    A person is described by their own coordinates `personal` (M, N, d): first the η of the population, then `latents`
    more numbers that only the residual sees, all a priori standard normal. c is made of the covariates that
    `covariates` names, as {"WT": (70.0, 20.0, "kg")} for (WT − 70 kg)/20 kg, and then of the latents. The unit may be left
    out, and then records may not state one either.

    Arguments: `backbone`, `population` of its θ, `residual` (none: the backbone alone), `observation`, `noise`; `process`, what
    drives the states at random (none: they follow the equation), which `rollout` adds to the variance of a measurement and
    `sample_paths` draws.
    The parts join by the names and units that they state: the population gives the backbone's parameters, in its order and
    units; names in observation, residual and noise are resolved here (such a part is replaced by one that fits this model).
    A population in another order is refused, not reordered: η, ω and μ are kept and reported in its order, and two orders in
    one model would be taken for each other.
    Errors: `ValueError` where sizes, names or units do not fit together.
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
        covariates: Mapping[str, Sequence[Any]] | None = None,
        process: ProcessNoise | None = None,
    ) -> None:
        super().__init__()
        require_kind(backbone, Backbone, "HybridModel: backbone", "OneCompartmentOral()")
        require_kind(population, Population, "HybridModel: population", "LogNormalPopulation(backbone, spread={…})")
        require_kind(observation, Observation, "HybridModel: observation", "Concentration(…) or States(…)")
        require_kind(noise, NoiseHead, "HybridModel: noise", "AdditiveProportional([0.5], [0.1], [0.03])")
        if residual is not None:
            require_kind(residual, Residual, "HybridModel: residual", "MLP(hidden=(8,))")
        if process is not None:
            require_kind(process, ProcessNoise, "HybridModel: process", "DiagonalDiffusion([…])")
        require_number(latents, "HybridModel: latents", least=0.0, whole=True)
        _require_units(backbone)
        _require_parameters(backbone, population)
        self.backbone, self.population, self.latents = backbone, population, int(latents)
        self.covariates, self.covariate_units = _covariates({} if covariates is None else covariates)
        self.observation = observation.joined(backbone) if isinstance(observation, JoinsBackbone) else observation
        n, m, r = len(backbone.states), len(backbone.inputs), len(self.covariates) + self.latents
        joint = Joint(tuple(backbone.states), tuple(backbone.inputs), tuple(self.observation.channels), r)
        residual = Zero(n, m, r) if residual is None else residual
        self.residual = residual.joined(joint) if isinstance(residual, Joins) else residual
        noise = noise.joined(joint) if isinstance(noise, Joins) else noise
        self.noise = noise
        process = process.joined(joint) if isinstance(process, Joins) else process
        have = (self.residual.states, self.residual.inputs, self.residual.covariates)
        if have[0] != n or have[1] not in (0, m) or have[2] != r:
            raise ValueError(
                f"HybridModel: the residual is made for (states, inputs, covariates) = {have} and the model has {(n, m, r)} "
                "(covariates counts latents too; inputs may be 0); build the residual with these sizes"
            )
        self.process = process
        if process is not None and process.states != n:
            raise ValueError(f"HybridModel: the process noise is made for {process.states} states and the model has {n}")
        if noise.channels != len(self.observation.channels):
            raise ValueError(
                f"HybridModel: {len(self.observation.channels)} channels are observed, noise is given for {noise.channels}"
            )
        made_for = (getattr(noise, "states", n), getattr(noise, "inputs", 0))
        if made_for[0] != n or made_for[1] not in (0, m):
            raise ValueError(
                f"HybridModel: the noise is made for (states, inputs) = {made_for}, the model has {(n, m)}; leave the sizes out"
            )
        self.uses  # noqa: B018, a covariate in two units is found here

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
        """The covariates that any part of the model reads, each with its UCUM unit, or None where nobody said it.

        Errors: `ValueError` for one that two parts read in units that differ.
        """
        found = dict(self.covariate_units)
        for name, unit in self.population.covariates.items():
            before = found.get(name)
            if before is not None and unit is not None and factor(before, unit, f"HybridModel: the covariate {name}") != 1:
                raise ValueError(
                    f"HybridModel: the covariate {name} is read in {before} by the residual and in {unit} by the population; "
                    "state both in one unit"
                )
            found[name] = unit or before
        return found

    @property
    def standardised(self) -> dict[str, tuple[Any, ...]]:
        """The argument `covariates` as it was given: centre, size, and the unit where there is one."""
        return {k: v if self.covariate_units[k] is None else (*v, self.covariate_units[k]) for k, v in self.covariates.items()}

    def theta(
        self,
        personal: Tensor,  # (M, N, d)
        covariates: dict[str, Tensor],  # each (N,)
    ) -> Tensor:  # (M, N, q)
        """The physical parameters of every person under every member."""
        self._require_personal(personal, covariates)
        return self.population.theta(personal[..., : self.population.dimension], covariates)

    def _require_personal(self, personal: Tensor, covariates: Mapping[str, Tensor] | None = None) -> None:
        """Raise `ValueError` unless these are coordinates of people of this model, with as many covariates."""
        require_shape(
            *(personal, "HybridModel: personal", "M", "N", self.personal),
            write="Personal.mode, or torch.zeros(M, N, model.personal) for typical people",
            like=next(itertools.chain(self.parameters(), self.buffers()), None),
        )
        if 1 not in (len(personal), self.members) and len(personal) != self.members:
            raise ValueError(f"HybridModel: personal is of {len(personal)} members and the model of {self.members}; give as many")
        if covariates is not None:
            require_covariates(covariates, personal.shape[1], "HybridModel: covariates")

    def context(
        self,
        personal: Tensor,  # (M, N, d)
        covariates: dict[str, Tensor],  # each (N,)
    ) -> Tensor:  # (M, N, r)
        """c: standardised covariates, then latents."""
        self._require_personal(personal, covariates)
        require_kind(covariates, Mapping, "HybridModel.context: covariates", "conditions.covariates")
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
        self._require_personal(personal)
        q = self.population.dimension
        return self.population.log_prior(personal[..., :q]) - 0.5 * personal[..., q:].square().sum(-1)

    @property
    def starts_from(self) -> tuple[bool, ...]:  # (p,)
        """For each channel: does its value at or before the first dose set the state that a person starts from?

        Asked of `initial` itself, at the typical θ: the start changes with the values of these channels. A model
        cannot be judged by such a value, and can by that of any other channel.
        """
        typical = torch.tensor([p.typical for p in self.backbone.physical], dtype=self.dtype, device=self.device)[None, None]
        each = torch.eye(len(self.observation.channels), dtype=self.dtype, device=self.device)
        with torch.no_grad():
            ones, *twos = (self.initial(typical, 1.0 + given) for given in (0.0 * each[:1], *each[:, None]))
        return tuple(not torch.equal(ones, other) for other in twos)

    def initial(
        self,
        theta: Tensor,  # (M, N, q)
        baseline: Tensor,  # (N, p), NaN where nothing was measured
    ) -> Tensor:  # (M, N, n)
        """The state in which each record starts."""
        q, p = len(self.backbone.physical), len(self.observation.channels)
        require_shape(theta, "HybridModel.initial: theta", "M", "N", q, write="model.theta(personal, covariates)")
        require_shape(baseline, "HybridModel.initial: baseline", ..., p, write="conditions.baseline", like=theta)
        if baseline.ndim > 1 and 1 not in (baseline.shape[-2], theta.shape[1]) and baseline.shape[-2] != theta.shape[1]:
            raise ValueError(
                f"HybridModel.initial: baseline is of {baseline.shape[-2]} people, theta of {theta.shape[1]}; give both for all"
            )
        x0 = self.backbone.initial(theta, self._of_states(theta, baseline))
        return x0.expand(*torch.broadcast_shapes(x0.shape[:-1], theta.shape[:-1]), x0.shape[-1])

    def _of_states(
        self,
        theta: Tensor,  # (M, N, q)
        baseline: Tensor,  # (N, p)
    ) -> Tensor:  # (M|1, N, p') what `Backbone.initial` reads
        """The baseline by the states that it was measured of, in the backbone's units, instead of by the channels' order."""
        backbone, observation = self.backbone, self.observation
        if not isinstance(observation, JoinsBackbone):
            return baseline
        measured, names = observation.measured, [p.name for p in backbone.physical]
        if backbone.starts is None:
            ratios = [ratio for _, _, ratio in measured]
            return baseline if all(r == 1.0 for r in ratios) else baseline / baseline.new_tensor(ratios)
        columns = []
        for state, volume in backbone.starts:
            place, wanted = backbone.states.index(state), None if volume is None else names.index(volume)
            # the channel that measures it as it is read goes before one that has to be divided or multiplied
            found = sorted((by != wanted, j) for j, (i, by, _) in enumerate(measured) if i == place)
            if not found:
                columns.append(torch.full_like(baseline[..., 0], torch.nan))  # nothing measures it
                continue
            j = found[0][1]
            _, by, ratio = measured[j]
            value = baseline[..., j] if ratio == 1.0 else baseline[..., j] / ratio
            if by != wanted:
                value = value if by is None else value * theta[..., by]
                value = value if wanted is None else value / theta[..., wanted]
            columns.append(value)
        if not columns:
            return baseline
        return torch.stack(torch.broadcast_tensors(*columns), -1)

    def bind(
        self,
        segments: Segments,
        theta: Tensor,  # (M, N, q)
        c: Tensor,  # (M, N, r)
    ) -> SemilinearField:
        """The right-hand side for these people on the segment clock."""
        require_kind(segments, Segments, "HybridModel.bind: segments", "conditions.segments")
        self._require_theta(theta, c, "HybridModel.bind")
        for what, tensor in (("theta", theta), ("c", c)):
            if tensor.shape[1] not in (1, segments.dt.shape[0]):
                raise ValueError(
                    f"HybridModel.bind: {what} is of {tensor.shape[1]} people, segments of {segments.dt.shape[0]}; give one each"
                )
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

    def _require_theta(self, theta: Tensor, c: Tensor, name: str) -> None:
        """Raise `ValueError`, beginning with `name`, unless these are θ and c of the same people, of this model's sizes."""
        q, r = len(self.backbone.physical), len(self.covariates) + self.latents
        require_shape(theta, f"{name}: theta", "M", "N", q, write="model.theta(personal, covariates)")
        require_shape(c, f"{name}: c", "M", "N", r, write="model.context(personal, covariates)", like=theta)
        if r and theta.dtype != c.dtype:
            raise ValueError(f"{name}: theta is {theta.dtype} and c {c.dtype}; write c.to(theta)")
        if not all(a == b or 1 in (a, b) for a, b in zip(theta.shape[:2], c.shape[:2], strict=True)):
            raise ValueError(f"{name}: theta {tuple(theta.shape)} and c {tuple(c.shape)} are of different people; give the same")

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
        self._require_theta(theta, c, "HybridModel.lure")
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


def _require_units(backbone: Backbone) -> None:
    """Raise `ValueError` where a backbone of the caller's own states units that are not UCUM, or not one for each name."""
    for kind, names, units in (
        ("state", backbone.states, backbone.state_units),
        ("input", backbone.inputs, backbone.input_units),
    ):
        if len(names) != len(units):
            raise ValueError(f"{type(backbone).__name__}: {len(names)} {kind} names and {len(units)} units; give each its unit")
        for name, unit in zip(names, units, strict=True):
            require(unit, f"{type(backbone).__name__}: {kind} {name}")
    require(backbone.time_unit, f"{type(backbone).__name__}: time")


def _require_parameters(backbone: Backbone, population: Population) -> None:
    """Raise `ValueError` unless the population gives the backbone's parameters, in its order and units."""
    wanted = [p.name for p in backbone.physical]
    box = population.box
    cure = "build it from the backbone: LogNormalPopulation(backbone, spread={…})"
    if population.gives is not None:
        have = [name for name, _ in population.gives]
        if have != wanted:
            why = "in another order" if sorted(have) == sorted(wanted) else "by other names"
            raise ValueError(
                f"HybridModel: the population gives ({', '.join(have)}), the backbone reads ({', '.join(wanted)}), {why}; {cure}"
            )
        for (name, unit), parameter in zip(population.gives, backbone.physical, strict=True):
            if factor(unit, parameter.unit, f"HybridModel: the population's {name}") != 1:
                raise ValueError(
                    f"HybridModel: the population gives {name} in {unit} and the backbone reads it in {parameter.unit}; {cure}"
                )
        for parameter, (low, high) in zip(backbone.physical, box.tolist(), strict=True):
            if not (low >= parameter.low * (1.0 - 1e-6) and high <= parameter.high * (1.0 + 1e-6)):
                raise ValueError(
                    f"HybridModel: the population gives {parameter.name} from {low:g} to {high:g} {parameter.unit} and the box "
                    f"of the backbone is {parameter.low:g} to {parameter.high:g}; {cure}, or give the backbone that box"
                )
    elif box.shape[0] != len(wanted):
        raise ValueError(
            f"HybridModel: the backbone reads {len(wanted)} parameters and the population gives {box.shape[0]}; {cure}"
        )
    else:
        for parameter, (low, high) in zip(backbone.physical, box.tolist(), strict=True):
            # one number, by position alone: where it could not be this parameter it is another one's
            if low == high and not parameter.low <= low <= parameter.high:
                raise ValueError(
                    f"HybridModel: {parameter.name} is {low:g} {parameter.unit}, its box {parameter.low:g}–{parameter.high:g}; "
                    "likely the values stand in another order: SharedPopulation(backbone, values={…}) takes them by name"
                )


def _covariates(
    given: Mapping[str, Sequence[Any]],
) -> tuple[dict[str, tuple[float, float]], dict[str, str | None]]:
    """Centre and size of each covariate that the residual sees, and its unit, None where it was not said."""
    require_kind(given, Mapping, "HybridModel: covariates", '{"WT": (70.0, 20.0, "kg")}, centre, size and their unit')
    for name, value in given.items():
        require_text(name, "HybridModel: covariates, each name", '{"WT": (70.0, 20.0, "kg")}')
        whole = isinstance(value, Sized) and not isinstance(value, str | Mapping | set) and len(value) in (2, 3)
        if whole:
            for what, number in zip(("centre", "size"), value, strict=False):
                require_number(number, f"HybridModel: the covariate {quote(name)}: its {what}")
        if not whole or not float(value[1]) > 0.0:
            raise ValueError(
                f"HybridModel: the covariate {quote(name)} needs centre, positive size and their unit, as in "
                f'{{"WT": (70.0, 20.0, "kg")}}, and is {str(value)[:80]}'
            )
    numbers = {name: (float(v[0]), float(v[1])) for name, v in given.items()}
    units = {name: require(v[2], f"HybridModel: covariate {name}") if len(v) == 3 else None for name, v in given.items()}
    return numbers, units


def require_given(model: HybridModel, conditions: Conditions, name: str) -> None:
    """Raise `ValueError` unless this is a model, and what is given about people fits it."""
    require_kind(model, HybridModel, f"{name}: model", f"{name}(model, …)")
    require_kind(conditions, Conditions, f"{name}: conditions", "cohort.conditions, or conditions_of(model, schedules, times)")
    s, backbone = conditions.segments, model.backbone
    have = (s.jump.shape[-1], s.u0.shape[-1], conditions.baseline.shape[-1])
    need = (len(backbone.states), len(backbone.inputs), len(model.observation.channels))
    if have != need:
        raise ValueError(
            f"{name}: these conditions have (states, inputs, channels) = {have} and the model has {need}; they were made for "
            "another model: make them for this one, Cohort.of(records, model)"
        )


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
