"""What training makes small: likelihood, prior, the least residual that does, and a penalty outside the certified set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hybrid import HybridModel, RightHandSide, Rollout
from physics.administered import linearised_of
from physics.arguments import (
    require_callable,
    require_covariates,
    require_device,
    require_flag,
    require_kind,
    require_number,
    require_shape,
)
from physics.glance import glance
from stability import common_metric, contraction_margin
from training.machinery.state import model_like

_SMALL = 1e-3  # ε: below what a weight of order 1 does to a rate


def residual_share(
    model: HybridModel,
    run: Rollout,
    weights: Tensor | None = None,  # (M, N)
    *,
    everyone: Callable[[Tensor], Tensor] = lambda part: part,
    scale: Tensor | None = None,  # (M, 1, 1, n)
    hold_field: bool = True,
) -> Tensor:  # (M, N)
    """How much of the vector field is learned: Σ_t |ε|² / Σ_t |dx/dt|², over the observed states of each person.

    dx/dt is the sum of the model's terms, what drives it included: A x + B u + infusions + known terms + ε. The split is not
    unique, ε can absorb A: of the fits that explain the data alike, the one that asks least of the
    residual is wanted (Yin et al. 2021, APHYNITY). Each state counts in its own scale, so that units do not matter: its
    mean square over the people, who count by `weights` (1 for all), or the `scale` given. `everyone` sums
    over the processes that share the people.
    `hold_field`: the field's size is held while the share is differentiated, so that no gradient makes the field larger;
    without, the gradient is that of the number returned, which a line search needs.
    Law: a person with weight 0 does not change the share of the others.
    """
    require_kind(model, HybridModel, "residual_share: model", "residual_share(model, run)")
    require_kind(run, Rollout, "residual_share: run", "rollout(model, conditions, personal)")
    require_callable(everyone, "residual_share: everyone", "shard.total, or leave it out", run.states)
    require_flag(hold_field, "residual_share: hold_field")
    M, N, T, n = run.states.shape
    if run.states.dtype != model.dtype:
        raise ValueError(f"residual_share: run is {run.states.dtype} and the model {model.dtype}; simulate this model")
    if n != len(model.backbone.states):
        raise ValueError(f"residual_share: run has {n} states and the model {len(model.backbone.states)}; simulate this model")
    if weights is not None:
        require_shape(weights, "residual_share: weights", M, N, write="torch.ones(M, N)", like=run.states)
    if scale is not None:
        require_shape(scale, "residual_share: scale", "M", 1, 1, n, write="torch.ones(1, 1, 1, n)", like=run.states)
        if len(scale) not in (1, M):
            raise ValueError(f"residual_share: scale is of {len(scale)} members and run of {M}; give one each, or one for all")
    if model.residual.vanishes:
        return run.states.new_zeros(M, N)
    if run.theta.ndim != 3:
        raise ValueError(
            "residual_share: an occasion or a covariate changes θ on the way, and the residual's share is taken with one θ of "
            "each person; leave it out of the fit, Objective(least_residual=0.0), or give each occasion a record of its own"
        )
    u = run.inputs.expand(1, N, T, -1).reshape(1, N * T, -1)
    infused = None if run.infused is None else run.infused.expand(1, N, T, n).reshape(1, N * T, n)
    terms = model.at(run.theta, run.context.expand(M, N, -1), points=T)
    parts = terms.parts(run.states.reshape(M, N * T, n), u, infused)
    assert parts.learned is not None  # it does not vanish
    whole, learned = parts.total.reshape(M, N, T, n), parts.learned.reshape(M, N, T, n)
    scale = mean_square(run, weights, everyone) if scale is None else scale
    field = whole.detach() if hold_field else whole
    size = (field.square() / scale).sum((-1, -2)) + 1e-12
    return (learned.square() / scale).sum((-1, -2)) / size


def mean_square(
    run: Rollout,
    weights: Tensor | None = None,  # (M, N)
    everyone: Callable[[Tensor], Tensor] = lambda part: part,
) -> Tensor:  # (M, 1, 1, n)
    """Every state's mean square over the observed states of the people, who count by `weights` (1 for all)."""
    counts = run.states.new_ones(run.states.shape[:2]) if weights is None else weights
    counts = (counts / everyone(counts.sum(1, keepdim=True)))[:, :, None, None]
    square = run.states.detach().square().mean(2, keepdim=True)  # (M, N, 1, n)
    return everyone((counts * square).sum(1, keepdim=True)) + 1e-12


def weight_penalty(model: HybridModel, decay: float, sparsity: float) -> Tensor:  # (M,)
    """`decay`/2 Σ w² + `sparsity` Σ (√(w² + ε²) − ε) over the trainable matrices w (M, out, in) of the residual, ε = .001.

    |w| has no slope at 0; the root has, so that every search takes it. What it asks away ends within some ε of 0, not at it.
    """
    total = torch.zeros(model.members, dtype=model.dtype, device=model.device)
    for w in residual_weights(model) if decay or sparsity else ():
        total = total + 0.5 * decay * w.square().flatten(1).sum(1)
        total = total + sparsity * ((w.square() + _SMALL**2).sqrt() - _SMALL).flatten(1).sum(1)
    return total


def require_weights(model: HybridModel, decay: float, sparsity: float, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, where weights are to be small and the residual has none that are trained."""
    if (decay or sparsity) and not residual_weights(model):
        what = "decay" if decay else "sparsity"
        raise ValueError(
            f"{name}: Objective({what}={decay or sparsity:g}) makes the trained matrices of the residual small, and this model "
            f"has none; leave {what} out, or give the model a residual that is trained"
        )


def residual_weights(model: HybridModel) -> list[Tensor]:
    """The matrices (M, out, in) of the residual that are trained: biases are none."""
    return [p for p in model.residual.parameters() if p.requires_grad and p.ndim >= 3]


@dataclass(frozen=True)
class Stability:
    """A penalty that keeps a model where it can be certified: weight · ((rate − margin)/rate)₊², per person.

    `metric` P (n, n), `rate` the contraction rate in 1/time that training asks for, `weight`. The margin is
    `stability.contraction_margin`, a sound lower bound of the rate in this metric; of a mechanism it is taken with the slopes of
    the mechanism at `points`, states (K, n) and inputs (K, m), the least of them. Between these nothing is looked at: a
    certificate looks everywhere.
    """

    metric: Tensor
    rate: float
    weight: float = 10.0
    points: tuple[Tensor, Tensor] | None = None  # None: of a mechanism the linear part alone, A(θ)

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_shape(self.metric, "Stability: metric", "n", "n", write="Stability.of(model, covariates)")
        if self.metric.shape[0] != self.metric.shape[1]:
            raise ValueError(f"Stability: metric needs shape (n, n), has {tuple(self.metric.shape)}; write Stability.of(…)")
        require_number(self.rate, "Stability: rate, in 1/time,", above=0.0)
        require_number(self.weight, "Stability: weight", least=0.0)
        if self.points is not None:
            require_kind(self.points, tuple, "Stability: points", "(states, inputs), tensors (K, n) and (K, m)")
            states, inputs = self.points
            require_shape(states, "Stability: states", "K", self.metric.shape[0], write="torch.tensor([[90.0, 0.0]])")
            require_shape(inputs, "Stability: inputs", states.shape[0], "m", write="torch.zeros(K, 0) where there are none")
        if self.metric.device.type == "cpu" and not bool(torch.isfinite(self.metric).all()):
            raise ValueError("Stability: the metric has an entry that is not finite; write Stability.of(model, covariates)")
        if self.metric.device.type == "cpu" and int(torch.linalg.cholesky_ex(self.metric.detach()).info) != 0:
            raise ValueError("Stability: the metric is not positive definite; write Stability.of(model, covariates)")

    @staticmethod
    def of(model: HybridModel, covariates: dict[str, Tensor], share: float = 0.5, weight: float = 10.0) -> "Stability":
        """A common metric of the backbones at η = 0 and ±2 per coordinate, and `share` of the best rate one reaches.

        Of a mechanism: of its slopes at the point of the split, and with each state in turn larger by its `scale`; where no
        metric serves all of these, at the point alone.
        Errors: `ValueError` where no metric serves all of these backbones.
        """
        require_kind(model, HybridModel, "Stability.of: model", "Stability.of(model, cohort.conditions.covariates)")
        require_kind(covariates, Mapping, "Stability.of: covariates", "Stability.of(model, cohort.conditions.covariates)")
        require_covariates(covariates, None, "Stability.of: covariates")
        require_number(share, "Stability.of: share, of the best rate,", above=0.0, most=1.0)
        require_number(weight, "Stability.of: weight", least=0.0)
        q, like = model.population.dimension, model_like(model)
        covariates = {name: value.to(like) for name, value in covariates.items()}  # a cohort's may be elsewhere
        corners = torch.cat([torch.zeros(1, q), 2.0 * torch.eye(q), -2.0 * torch.eye(q)]).to(torch.float64)
        points = _points_of(model)
        with torch.no_grad():
            thetas = []
            for corner in corners:  # one corner for everyone at a time: covariates come per person
                people = next(iter(covariates.values())).shape[0] if covariates else 1
                eta = corner.expand(1, people, q).to(like)
                personal = torch.cat([eta, eta.new_zeros(1, people, model.latents)], -1)
                thetas.append(model.theta(personal, covariates))

            def slopes(where: tuple[Tensor, Tensor] | None) -> np.ndarray:
                found = torch.cat([_known_slopes(model, theta, where)[1].flatten(0, -3) for theta in thetas])
                return torch.unique(found.to("cpu", torch.float64), dim=0).numpy()

            J = slopes(points)
            P, best = common_metric(J)
            if points is not None and not best > 0:
                points, J = None, slopes(None)
                P, best = common_metric(J)
        if not best > 0:
            raise ValueError(
                f"no single metric makes the backbones within two standard deviations contract (best rate {best:.3g}); "
                "narrow the population's spread or boxes, or train without the stability penalty"
            )
        # The metric of the very best rate is close to singular and tolerates next to no residual. Half of what training
        # gives away goes to a rounder one: the smallest condition number that still reaches this rate.
        wanted = 0.5 * (1.0 + share) * best
        for power in range(1, 14):
            candidate, reached = common_metric(J, wanted, 2.0**power)
            if reached >= wanted * (1.0 - 1e-6):
                P = candidate
                break
        return Stability(torch.as_tensor(P, dtype=torch.float64, device=like.device), share * best, weight, points)

    def to(self, device: torch.device) -> "Stability":
        """The same penalty on the device of the model that it is for."""
        require_device(device, "Stability.to: device")
        points = None if self.points is None else (self.points[0].to(device), self.points[1].to(device))
        return replace(self, metric=self.metric.to(device), points=points)

    def penalty(
        self,
        model: HybridModel,
        theta: Tensor,  # (M, N, q), or (M, N, P, q) of pieces
    ) -> Tensor:  # (M, N)
        """How far each person's system is outside the set that contracts at `rate`; 0 inside. Of pieces, the farthest.

        Errors: `ValueError` for a model with a term that has no layers: no bound of its slope is known, and a penalty of 0
        would say that it contracts.
        """
        require_kind(model, HybridModel, "Stability.penalty: model", "stability.penalty(model, theta)")
        if getattr(theta, "ndim", 0) == 4:
            return self.penalty(model, theta.flatten(1, 2)).unflatten(1, theta.shape[1:3]).amax(-1)
        q, n = len(model.backbone.physical), len(model.backbone.states)
        require_shape(theta, "Stability.penalty: theta", "M", "N", q, write="rollout(…).theta")
        if self.metric.shape != (n, n):
            have = tuple(self.metric.shape)
            raise ValueError(f"Stability.penalty: the metric is {have} and the model has {n} states; make it for this model")
        if model.opaque:
            raise ValueError(
                f"Stability.penalty: {' and '.join(model.opaque)} has neither layers nor a tape, so its slope has no bound and "
                "nothing can be certified; train without the penalty, stability=None, or use a residual with layers (MLP, "
                "ContractingMLP) and no known term beside it"
            )
        metric = self.metric.to(theta.device)
        terms, known = _known_slopes(model, theta, self.points)
        layers = None if terms.learned is None else terms.learned.layers
        if layers is None:
            return theta.new_zeros(theta.shape[:2])
        # what is near to a proof is float64 whatever the model is: metrics are close to singular
        weights = [w[:, None].to(metric.dtype) for w in layers.weights]
        A = known if layers.skip is None else known + layers.skip[:, None]
        margin = contraction_margin(A.to(metric.dtype), weights, metric, layers.activation)
        if self.points is not None:
            margin = margin.unflatten(1, (theta.shape[1], -1)).amin(-1)
        return (self.weight * ((self.rate - margin) / self.rate).clamp(min=0.0).square()).to(theta.dtype)


def _points_of(model: HybridModel) -> tuple[Tensor, Tensor] | None:
    """The point of a mechanism's split, and with each state in turn larger by its scale, (n + 1, n) and (n + 1, m)."""
    backbone = linearised_of(model.backbone)
    if backbone is None or backbone.linear:
        return None
    scale = torch.tensor([float(backbone.mechanism.scale[name]) for name in backbone.states], dtype=backbone.x.dtype)
    states = torch.cat([backbone.x[None], backbone.x + torch.diag(scale.to(backbone.x.device))])
    return states, backbone.u.expand(len(states), -1)


def _known_slopes(
    model: HybridModel,
    theta: Tensor,  # (M, N, q)
    points: tuple[Tensor, Tensor] | None,  # (K, n) and (K, m)
) -> tuple[RightHandSide, Tensor]:  # and (M, N, n, n), or (M, N · K, n, n)
    """The field, and the slopes of all that is known of it: A(θ), or of a mechanism those at the points."""
    c = theta.new_zeros(1, 1, model.sees)
    if points is None:
        terms = model.at(theta, c)
        return terms, terms.A
    (M, N, _), (states, inputs) = theta.shape, (end.to(theta) for end in points)
    terms = model.at(theta, c, points=len(states))
    x, u = states.repeat(N, 1).expand(M, -1, -1), inputs.repeat(N, 1).expand(M, -1, -1)
    return terms, replace(terms, learned=None).jacobian(x, u)
