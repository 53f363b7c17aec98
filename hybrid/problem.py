"""An initial-value problem of a model: θ and c of people, the right-hand side bound to their segments, and where each starts.

Whoever simulates opens it here: one record, a cohort, windows of long records, whole paths under process noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hybrid.anew import solve_anew
from hybrid.conditions import Conditions
from hybrid.cutting.changes import Changes
from hybrid.cutting.delivered import delivered
from hybrid.cutting.segments import Segments
from hybrid.defaults import simulating
from hybrid.derivative import values_of
from hybrid.field import SemilinearField
from hybrid.leading_axes import leading
from hybrid.model import HybridModel
from hybrid.model_arguments import require_alike
from hybrid.solve.solver import Solution, Solver
from physics import Parameter, capture

Start = Tensor | tuple[Tensor, Tensor]  # a state, or its mean and covariance


@dataclass(frozen=True)
class Problem:
    """dx/dt = A(θ) x + B(θ) u + ε(x, u, c) on these segments from x(0) = `start`, known up to `covariance`.

    `theta` (M|1, N, q) · `context` c (M|1, N, r); where `changes` says that people's θ changes on the way, both have one axis
    more, of their P pieces: (M|1, N, P, q) and (M|1, N, P, r) · `start` (M, N, n), before what arrives at that moment
    · `covariance` (M, N, n, n), None where the start is known · `covariates`, each (N,) or (N, P), as the observation reads them.
    """

    model: HybridModel
    segments: Segments
    theta: Tensor
    context: Tensor
    start: Tensor
    covariance: Tensor | None = None
    changes: Changes | None = None
    covariates: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(
        model: HybridModel,
        conditions: Conditions,
        personal: Tensor,  # (M, N, d)
        start: Start | None = None,
        name: str = "Problem.of",
    ) -> "Problem":
        """The problem of these people: they start as the model says, or from `start`, a state x or (x, S), its mean and
        covariance, with x (n,), (N, n) or (M, N, n) and S with one axis more.

        Errors: `ValueError`, beginning with `name`, for shapes, types and devices that do not fit.
        """
        require_alike(model, conditions, personal)
        own, covariates = conditions.by_piece(personal)
        theta, context = model.theta(own, covariates), model.context(own, covariates)
        changes = conditions.changes
        if changes is not None:
            theta, context = (v.unflatten(1, (conditions.size, changes.count)) for v in (theta, context))
        # one number for all, where it is one, as one for each
        known = {name: v.expand(own.shape[1]) for name, v in covariates.items()}
        if changes is not None:
            known = {name: v.unflatten(0, (conditions.size, changes.count)) for name, v in known.items()}
        first = theta if changes is None else theta[:, :, 0]
        if start is None:
            begun = {k: v if changes is None else v[:, 0] for k, v in known.items()}
            x, S = model.initial(first, conditions.baseline, conditions.segments.u0[:, 0], begun), None
        else:
            x, S = starting(start, len(model.backbone.states), conditions.size, name, first)
        M = max(model.members, theta.shape[0], x.shape[0], 1 if S is None else S.shape[0])
        x = x.expand(M, conditions.size, x.shape[-1])
        S = None if S is None else S.expand(M, conditions.size, *S.shape[-2:])
        segments = conditions.segments
        if model.delivery:
            if M > 1:
                raise ValueError(
                    f"{name}: this model's θ says how doses arrive, so that each of its {M} members has segments of its own; "
                    "ask for one member at a time, learned.select(model, torch.tensor([m]))"
                )
            own_theta = theta[0].expand(conditions.size, *theta.shape[2:])
            _require_one_lag(model, own_theta, name)
            segments = delivered(segments, model.delivery, own_theta)
        return Problem(model, segments, theta, context, x, S, changes, known)

    def field(self, segments: Segments | None = None) -> SemilinearField:
        """The right-hand side, on these segments or on the same records cut otherwise."""
        return self.model.bind(self.segments if segments is None else segments, self.theta, self.context)

    def solve(self, solver: Solver | None = None, segments: Segments | None = None) -> Solution:
        """The states at the observations, with failures as values; `solver`: `Exponential(rtol=1e-6)` by default."""
        on = self.segments if segments is None else segments
        if on.restarts is not None:
            return solve_anew(self.model, on, self.theta, self.context, self.start, solver)
        if self.changes is not None:  # these people change after their last observation, or at it
            field = self.model.bind(on, self.theta[:, :, 0], self.context[:, :, 0])
            return (solver or simulating(self.model.dtype)).solve(field, self.start)
        return (solver or simulating(self.model.dtype)).solve(self.field(segments), self.start)

    def measured(
        self,
        states: Tensor,  # (M, N, T, n)
        inputs: Tensor,  # (1, N, T, m)
    ) -> tuple[Tensor, Tensor]:  # (M, N, T, p) twice
        """Mean and variance of a measurement in each state, by its noise alone."""
        observation, theta = self.model.observation, self.theta
        if self.changes is None:
            mean = observation.seen(states, theta, inputs, self.covariates)
        else:  # every reading as a person of its own, with the θ and the covariates of its time
            (M, N, T, n), reading = states.shape, self.changes.reading
            theta = theta.gather(2, reading[None, :, :, None].expand(len(theta), -1, -1, theta.shape[-1])).flatten(1, 2)
            covariates = {name: v.gather(1, reading).flatten() for name, v in self.covariates.items()}
            u = inputs.reshape(len(inputs), N * T, 1, inputs.shape[-1])
            mean = observation.seen(states.reshape(M, N * T, 1, n), theta, u, covariates).reshape(M, N, T, -1)
        return mean, self.model.noise.variance(mean, states, inputs)


def _require_one_lag(
    model: HybridModel,
    theta: Tensor,  # (N, q) or (N, P, q)
    name: str,
) -> None:
    """Raise `ValueError` where a lag changes on the way: a search for a mode looks at both sides of an observation for one."""
    if theta.ndim == 2 or capture.capturing():
        return
    for _, place in model.delivery.lag:
        lag = values_of(theta)[..., place]
        if bool(((lag - lag[:, :1]).abs() > 1e-6 * lag.abs()).any()):  # more than rounding, of float32 too
            raise ValueError(
                f"{name}: {model.backbone.physical[place].name} is a lag, and an occasion or a covariate changes it on the way, "
                "which is not built; leave it out of these. Fractions, durations and rates may change"
            )


def starting(start: Start, size: int, people: int, name: str, like: Tensor) -> tuple[Tensor, Tensor | None]:
    """A start as x (M|1, N|1, n) and S (M|1, N|1, n, n), None where it is a state alone.

    Errors: `ValueError`, beginning with `name`, for what is neither, and a covariance that is not symmetric.
    """
    if not _paired(start):
        return leading(start, size, people, "start", like, name=name), None
    x = leading(start[0], size, people, "start, its mean,", like, name=name)
    S = leading(start[1], size, people, "start, its covariance,", like, square=True, name=name)
    if not capture.capturing():
        seen = values_of(S)
        variances = seen.diagonal(dim1=-2, dim2=-1)
        least = 1e-6 * variances.abs().amax() if seen.numel() else seen.new_zeros(())
        if not bool(torch.isfinite(seen).all()) or bool(((seen - seen.mT).abs() > least).any()):
            raise ValueError(f"{name}: start, its covariance, must be finite and symmetric; write 0.5 * (S + S.mT)")
        if bool((variances < 0).any()):
            raise ValueError(f"{name}: start, its covariance, has a variance below 0; give one that is positive semidefinite")
        if bool((torch.linalg.eigvalsh(seen)[..., 0] < -1e-6 * variances.sum(-1)).any()):
            raise ValueError(
                f"{name}: start, its covariance, is indefinite: it has an eigenvalue below 0; give one that is positive "
                "semidefinite, L @ L.mT"
            )
    return x, S


def _paired(start: object) -> bool:
    """Is it a mean and its covariance? A list of two may also be the states of two people or members."""
    if not isinstance(start, tuple | list) or len(start) != 2:
        return False
    axes = [getattr(v, "ndim", 0) for v in start]
    return axes[1] > 1 and (isinstance(start, tuple) or axes[1] > axes[0])


def require_admissible(physical: Sequence[Parameter], theta: Tensor) -> None:
    """Raise `ValueError` for θ outside the box in which the backbone is known to be stable."""
    if capture.capturing() or not physical:
        return
    values = theta.detach()
    # a float32 θ at the very end of its box may be rounded beyond it
    slack = 4.0 * torch.finfo(torch.float32).eps
    for j, p in enumerate(physical):
        bad = ~((values[..., j] >= p.low - slack * abs(p.low)) & (values[..., j] <= p.high + slack * abs(p.high)))
        bad = values_of(bad)  # of a batch of torch.func.vmap all are looked at
        if bool(bad.any()):
            value = float(values_of(values[..., j])[bad][0])
            raise ValueError(
                f"simulate: {p.name} is {value:g} {p.unit}, and its box is {p.low:g} to {p.high:g} {p.unit}; theta is "
                f"({', '.join(q.name for q in physical)}), in this order and these units; a wider box is an argument of the "
                "backbone where it has one"
            )
