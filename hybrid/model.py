"""The sum: a stable linear backbone plus a learned residual, observed with noise."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybrid.baseline import by_state
from hybrid.cutting.segments import Segments
from hybrid.described import summary_of
from hybrid.field import SemilinearField
from hybrid.joining import (
    require_parameters,
    require_parts,
    require_rates,
    require_read,
    require_sizes,
    require_terms,
    require_units,
    standardising,
)
from hybrid.leading_axes import leading
from hybrid.observation import JoinsBackbone, Observation
from hybrid.terms import RightHandSide, Term, bound
from learned import Joins, Joint, LayeredResidual, NoiseHead, ProcessNoise, Residual, Zero
from physics import Administered, Backbone, LinearisedBackbone, Mechanism, Population
from physics.administered import Delivery, delivery_of, linearised_of
from physics.arguments import (
    require_covariates,
    require_kind,
    require_number,
    require_shape,
)
from physics.glance import glance
from physics.units import factor


class HybridModel(nn.Module):
    """dx/dt = A(θ) x + B(θ) u + Σ k(x, u; θ, c) + ε_φ(x, u, c), y = h(x, θ) + noise.

    A person is described by their own coordinates `personal` (M, N, d): first the η of the population, then `latents`
    more numbers that only the residual sees, all a priori standard normal. c is made of the covariates that
    `covariates` names, as {"WT": (70.0, 20.0, "kg")} for (WT − 70 kg)/20 kg, and then of the latents. The unit may be left
    out, and then records may not state one either.

    Arguments: `backbone`, or in its place a `Mechanism` f(x, u, θ): its slopes at one point are A(θ) and B(θ), and what they
    leave of it is a known term, so that dx/dt = f(x, u, θ) + Σ k + ε, however it is split; `population` of its θ, `residual`
    (none: what is known alone), `observation`, `noise`; `process`, what drives the states at random (none: they follow the
    equation), which `rollout` adds to the variance of a measurement and `sample_paths` draws; `known`, nonlinear terms of dx/dt
    that are known beside these: `Term`.
    The parts join by the names and units that they state: the population gives the backbone's parameters, in its order and
    units; names in observation, residual and noise are resolved here (such a part is replaced by one that fits this model).
    A population in another order is refused, not reordered: η, ω and μ are kept and reported in its order, and two orders in
    one model would be taken for each other.
    Errors: `ValueError` where sizes, names or units do not fit together.
    Law: with a zero residual the solution is the matrix exponential.
    """

    __repr__, _repr_html_ = glance(summary_of)

    def __init__(
        self,
        backbone: Backbone | Mechanism,
        population: Population,
        residual: Residual | None = None,
        *,
        observation: Observation,
        noise: NoiseHead,
        latents: int = 0,
        covariates: Mapping[str, Sequence[Any]] | None = None,
        process: ProcessNoise | None = None,
        known: Sequence[Term] = (),
    ) -> None:
        super().__init__()
        backbone = LinearisedBackbone(backbone) if isinstance(backbone, Mechanism) else backbone
        require_parts(backbone, population, residual, observation=observation, noise=noise, process=process)
        require_number(latents, "HybridModel: latents", least=0.0, whole=True)
        require_units(backbone)
        require_parameters(backbone, population)
        self.backbone, self.population, self.latents = backbone, population, int(latents)
        self.covariates, self.covariate_units = standardising({} if covariates is None else covariates)
        self.observation = observation.joined(backbone) if isinstance(observation, JoinsBackbone) else observation
        n, m, r = len(backbone.states), len(backbone.inputs), len(self.covariates) + self.latents
        boxes = {p.name: (float(p.low), float(p.high)) for p in backbone.physical}
        joint = Joint(tuple(backbone.states), tuple(backbone.inputs), tuple(self.observation.channels), r, boxes)
        residual = Zero(n, m, r) if residual is None else residual
        self.residual = residual.joined(joint) if isinstance(residual, Joins) else residual
        noise = noise.joined(joint) if isinstance(noise, Joins) else noise
        self.noise = noise
        process = process.joined(joint) if isinstance(process, Joins) else process
        self.process = process
        require_sizes(joint, self.residual, noise, process)
        self.terms = nn.ModuleList(require_terms(known))
        require_read(self.backbone, self.observation, self.typical, bool(self.known) or self.residual.sees_theta)
        if self.known:
            require_rates(self.known, self.typical, joint)
        self.uses  # noqa: B018, a covariate in two units is found here

    @property
    def known(self) -> tuple[Term, ...]:
        """The known nonlinear terms of dx/dt beside A(θ) x + B(θ) u, or beside the mechanism."""
        return tuple(term for term in self.terms if isinstance(term, Term))

    @property
    def mechanism(self) -> Mechanism | None:
        """What is known, where that is a mechanism and not a backbone of its own."""
        within = linearised_of(self.backbone)
        return None if within is None else within.mechanism

    @property
    def curved(self) -> LinearisedBackbone | None:
        """The backbone of a mechanism of which A x + B u leave something."""
        within = linearised_of(self.backbone)
        return None if within is None or within.linear else within

    @property
    def delivery(self) -> Delivery:
        """What θ says of how doses arrive: nothing, but for an `Administered` backbone."""
        return delivery_of(self.backbone)

    @property
    def members(self) -> int:
        """M, the size of the member axis of the trainable tensors."""
        return next((p.shape[0] for p in self.parameters() if p.shape[0] > 1), 1)  # each has M, or 1: the first tells

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the model's numbers: float64, or what `.to(...)` made of it."""
        return next(itertools.chain(self.parameters(), self.buffers())).dtype

    @property
    def device(self) -> torch.device:
        """Where the model's numbers are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    @property
    def sees(self) -> int:
        """r, how many covariates and latents of a person the residual sees."""
        return len(self.covariates) + self.latents

    @property
    def personal(self) -> int:
        """d, how many coordinates of their own a person has."""
        return self.population.dimension + self.latents

    @property
    def typical(self) -> Tensor:  # (1, 1, q)
        """θ as the backbone states it to be typical."""
        return torch.tensor([p.typical for p in self.backbone.physical], dtype=self.dtype, device=self.device)[None, None]

    @property
    def linear(self) -> bool:
        """Is A(θ) x all that there is beside what drives it?"""
        return not self.known and self.curved is None and self.residual.vanishes

    @property
    def opaque(self) -> tuple[str, ...]:
        """The names of terms whose slope no bound is known of: they have neither layers nor a tape."""
        layered = self.residual.vanishes or isinstance(self.residual, LayeredResidual)
        return (*(type(term).__name__ for term in self.known), *(() if layered else (type(self.residual).__name__,)))

    @property
    def uses(self) -> dict[str, str | None]:
        """The covariates that any part of the model reads, each with its UCUM unit, or None where nobody said it.

        Errors: `ValueError` for one that two parts read in units that differ.
        """
        found, by = dict(self.covariate_units), dict.fromkeys(self.covariate_units, "residual")
        for part, read in (("population", self.population.covariates), ("observation", self.observation.covariates)):
            for name, unit in read.items():
                before = found.get(name)
                if before is not None and unit is not None and factor(before, unit, f"HybridModel: the covariate {name}") != 1:
                    raise ValueError(
                        f"HybridModel: the covariate {name} is read in {before} by the {by[name]} and in {unit} by the {part}; "
                        "state both in one unit"
                    )
                found[name], by[name] = unit or before, by[name] if before is not None else part
        return found

    @property
    def standardised(self) -> dict[str, tuple[Any, ...]]:
        """The argument `covariates` as it was given."""
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
        if len(personal) != 1 and self.members not in (1, len(personal)):  # members walks all parameters: asked last
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
        typical = self.typical
        each = torch.eye(len(self.observation.channels), dtype=self.dtype, device=self.device)
        u, c = self.anybody
        with torch.no_grad():
            ones, *twos = (self.initial(typical, 1.0 + given, u, c) for given in (0.0 * each[:1], *each[:, None]))
        return tuple(not torch.equal(ones, other) for other in twos)

    @property
    def anybody(self) -> tuple[Tensor | None, dict[str, Tensor]]:  # (1, m), each (1,)
        """Inputs and covariates as the observation reads them, of nobody in particular: None and {} where it reads none."""
        typical, within, u = self.typical, linearised_of(self.backbone), None
        if self.observation.sees_inputs:
            u = typical.new_zeros(1, len(self.backbone.inputs)) if within is None else within.u.to(typical)[None]
        return u, dict.fromkeys(self.observation.covariates, typical.new_ones(1))

    def initial(
        self,
        theta: Tensor,  # (M, N, q)
        baseline: Tensor,  # (N, p), NaN where nothing was measured
        inputs: Tensor | None = None,  # (N, m), those at the start
        covariates: Mapping[str, Tensor] | None = None,  # each (N,)
    ) -> Tensor:  # (M, N, n)
        """The state in which each record starts: what the backbone says, or the equilibrium of a mechanism at everyone's own θ
        and `inputs` (those that it is linearised at, where they are left out). What the observation adds to what the states show
        is taken off the baseline first; `inputs` and `covariates` are needed where it reads them, and something was measured.

        Errors: `ValueError` for shapes that do not fit, and for someone whose mechanism has no equilibrium, or several.
        """
        q, p = len(self.backbone.physical), len(self.observation.channels)
        require_shape(theta, "HybridModel.initial: theta", "M", "N", q, write="model.theta(personal, covariates)")
        require_shape(baseline, "HybridModel.initial: baseline", ..., p, write="conditions.baseline", like=theta)
        if baseline.ndim > 1 and 1 not in (baseline.shape[-2], theta.shape[1]) and baseline.shape[-2] != theta.shape[1]:
            raise ValueError(
                f"HybridModel.initial: baseline is of {baseline.shape[-2]} people, theta of {theta.shape[1]}; give both for all"
            )
        if inputs is not None:
            require_shape(inputs, "HybridModel.initial: inputs", ..., len(self.backbone.inputs), write="segments.u0[:, 0]")
        given = by_state(self.backbone, self.observation, theta, baseline, inputs, covariates)
        if inputs is not None and isinstance(self.backbone, Administered | LinearisedBackbone):
            x0 = self.backbone.start(theta, given, inputs)
        else:
            x0 = self.backbone.initial(theta, given)
        return x0.expand(*torch.broadcast_shapes(x0.shape[:-1], theta.shape[:-1]), x0.shape[-1])

    def bind(
        self,
        segments: Segments,
        theta: Tensor,  # (M, N, q)
        c: Tensor,  # (M, N, r)
    ) -> SemilinearField:
        """The right-hand side for these people on the segment clock."""
        require_kind(segments, Segments, "HybridModel.bind: segments", "conditions.segments")
        if self.delivery and not segments.delivered:
            raise ValueError(
                "HybridModel.bind: this model's θ says how doses arrive, and these segments do not know it: what simulates whole "
                "records does that (rollout, simulate, personalise, fit, fit_population, predict, sample_paths), and nobody else "
                "can; for filters, a twin, windows of shoot and innovations leave lag, fraction, duration and rate out"
            )
        self._require_theta(theta, c, "HybridModel.bind")
        for what, tensor in (("theta", theta), ("c", c)):
            if tensor.shape[1] not in (1, segments.dt.shape[0]):
                raise ValueError(
                    f"HybridModel.bind: {what} is of {tensor.shape[1]} people, segments of {segments.dt.shape[0]}; give one each"
                )
        terms = self._at(theta, c)
        A, beside = terms.semilinear()
        names = tuple(self.backbone.states)

        def again(cut: Segments, rows: Tensor) -> SemilinearField:
            return self.bind(cut, *(v if v.shape[1] == 1 else v[:, rows] for v in (theta, c)))

        return SemilinearField(
            *(A, terms.B, beside, segments, terms.tensors), unsplit=terms.unsplit(), states=names, again=again
        )

    def at(
        self,
        theta: Tensor,  # (M, N, q)
        c: Tensor | None = None,  # (M, N, r)
        *,
        points: int = 1,
    ) -> RightHandSide:
        """The right-hand side for people whose θ and c are held, as the sum of its terms: linear, forced, known, learned.

        `c` may be left out where the model has neither covariates nor latents. `points`: with more than 1 the rows of x and u
        are as many points of each person in a row, (M, N · points, n).
        Errors: `ValueError` for sizes that do not fit.
        """
        c = self._context_of(theta, c, "HybridModel.at")
        self._require_theta(theta, c, "HybridModel.at")
        require_number(points, "HybridModel.at: points, of each person,", least=1.0, most=1e9, whole=True)
        return self._at(theta, c, int(points))

    def _at(self, theta: Tensor, c: Tensor, points: int = 1) -> RightHandSide:
        A, B = self.backbone.matrices(theta)
        if points > 1:
            N, read = max(theta.shape[1], c.shape[1]), self.known or self.curved or self.residual.sees_theta
            given = (A, B if B.shape[-1] else None, theta if read else None, c)  # what nobody reads stays as it is
            each = [None if v is None else v.expand(-1, N, *v.shape[2:]).repeat_interleave(points, 1) for v in given]
            A, B, theta, c = (old if new is None else new for new, old in zip(each, (A, B, theta, c), strict=True))
        return bound((A, B), self.known, self.residual, theta, c, self.curved)

    def _context_of(self, theta: object, c: Any, name: str) -> Any:
        """c, which has no columns in a model without covariates and latents."""
        if c is not None:
            return c
        if r := self.sees:
            raise ValueError(f"{name}: this model has {r} covariates and latents; give c, model.context(personal, covariates)")
        return torch.zeros((1,) * (getattr(theta, "ndim", 1) - 1) + (0,), dtype=self.dtype, device=self.device)

    def _require_theta(self, theta: Tensor, c: Tensor, name: str) -> None:
        """Raise `ValueError`, beginning with `name`, unless these are θ and c of the same people, of this model's sizes."""
        q, r = len(self.backbone.physical), self.sees
        require_shape(theta, f"{name}: theta", "M", "N", q, write="model.theta(personal, covariates)")
        require_shape(c, f"{name}: c", "M", "N", r, write="model.context(personal, covariates)", like=theta)
        if r and theta.dtype != c.dtype:
            raise ValueError(f"{name}: theta is {theta.dtype} and c {c.dtype}; write c.to(theta)")
        if not all(a == b or 1 in (a, b) for a, b in zip(theta.shape[:2], c.shape[:2], strict=True)):
            raise ValueError(f"{name}: theta {tuple(theta.shape)} and c {tuple(c.shape)} are of different people; give the same")

    def lure(
        self,
        theta: Tensor | Sequence[Any],  # (q,), (N, q) or (M, N, q)
        c: Tensor | Sequence[Any] | None = None,  # (r,), (N, r) or (M, N, r)
    ) -> dict[str, Any]:
        """The arrays of the Lur'e form, for `stability.certify(model.lure(theta, c))`, float64.

        A (M, N, n, n), B (M, N, n, m); weights (M, 1, out, in), biases (M, N|1, out) with c folded in, input_weights
        (M, 1, h, m) or None, activation; skip (M, 1, n, n) where the residual has one. Axes of size 1 are put in front.
        Of a mechanism: A (1, 1, n, n) of zeros, no B, and `tape`, `theta` (M, N, q) and `scale` (n,), for the certificate is one
        of the field and not of its split. Lists and arrays are taken too.
        `c` may be left out where the model has neither covariates nor latents.
        Errors: `ValueError` for numbers of other shapes, a residual without layers, and a model with known nonlinear terms.
        """
        name, like = "HybridModel.lure", torch.zeros((), dtype=self.dtype, device=self.device)
        theta = leading(theta, len(self.backbone.physical), None, "theta", like, name=name)
        c = leading(self._context_of(theta, c, name), self.sees, None, "c", like, name=name)
        self._require_theta(theta, c, name)
        if self.opaque:
            raise ValueError(
                f"{' and '.join(self.opaque)} has neither layers nor a tape, so it has no Lur'e form to certify; use a residual "
                "with layers (MLP, ContractingMLP), and no known term beside it"
            )
        arrays = self._at(theta, c).lure()
        if "tape" in arrays and self.mechanism is not None:
            arrays["scale"] = np.array([float(self.mechanism.scale[name]) for name in self.backbone.states])
        return arrays
