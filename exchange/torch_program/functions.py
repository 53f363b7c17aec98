"""The functions of a model that are exported, each a module of torch over rows of a batch.

The rows of a batch are people, or times, or both: x (batch, n), u (batch, m), θ (batch, q), c (batch, r). Of a whole ensemble
what belongs to a member stands behind an axis of members, x (M, batch, n), θ (M, batch, q), c (M, batch, r), and what is done
is the same for all of them, u (batch, m). An argument that the model has none of is left out.
"""

import torch
from torch import Tensor, nn

from exchange.torch_program.folded import folded
from hybrid import HybridModel
from hybrid.terms import RightHandSide, bound
from learned import LayeredResidual
from physics.administered import linearised_of


class _Sum(nn.Module):
    """The parts of which dx/dt is made, bound for given θ and c; all with an axis of members in front."""

    def __init__(self, model: HybridModel) -> None:
        super().__init__()
        self.backbone, self.terms, self.residual = model.backbone, nn.ModuleList(model.known), folded(model.residual)
        self.curved = model.curved is not None

    def at(self, theta: Tensor, c: Tensor) -> RightHandSide:
        mechanism = linearised_of(self.backbone) if self.curved else None
        return bound(self.backbone.matrices(theta), list(self.terms), self.residual, theta, c, mechanism)  # type: ignore[arg-type]

    def rate(self, bound_at: RightHandSide, x: Tensor, u: Tensor, infused: Tensor) -> Tensor:
        whole = bound_at.unsplit()  # of a mechanism: its tape, without the detour of a split
        return bound_at.rate(x, u, infused) if whole is None else whole(x, u) + infused


class Field(nn.Module):
    """dx/dt = A(θ) x + B(θ) u + Σ k + ε(x, u, c) + infused, in state units per time."""

    def __init__(self, model: HybridModel) -> None:
        super().__init__()
        self.sum, self.one = _Sum(model), model_axes(model)

    def forward(
        self,
        x: Tensor,  # (M, batch, n)
        infused: Tensor,  # (batch, n)
        theta: Tensor | None = None,  # (M, batch, q)
        u: Tensor | None = None,  # (batch, m)
        c: Tensor | None = None,  # (M, batch, r)
    ) -> Tensor:  # (M, batch, n)
        x, theta, c = self.one.put(x), self.one.beside(x, theta), self.one.beside(x, c)
        return self.one.taken(self.sum.rate(self.sum.at(theta, c), x, inputs_of(x, u), infused[None]))


class Jacobian(nn.Module):
    """∂(dx/dt)/∂x, by the closed form of each part; row i holds the slopes of state i's rate.

    Only of a model whose every part brings its slope (`without_slope`): derivatives that torch takes are not traced over a batch
    of any length.
    """

    def __init__(self, model: HybridModel) -> None:
        super().__init__()
        self.sum, self.one = _Sum(model), model_axes(model)

    def forward(
        self,
        x: Tensor,  # (M, batch, n)
        theta: Tensor | None = None,  # (M, batch, q)
        u: Tensor | None = None,  # (batch, m)
        c: Tensor | None = None,  # (M, batch, r)
    ) -> Tensor:  # (M, batch, n, n)
        x, theta, c = self.one.put(x), self.one.beside(x, theta), self.one.beside(x, c)
        return self.one.taken(self.sum.at(theta, c).jacobian(x, inputs_of(x, u)))


class Step(nn.Module):
    """x after one step of length h of the classic Runge–Kutta method (Kutta 1901), inputs and infusions held.

    Its error per step is O(h⁵); it is stable for real slopes −λ where h λ < 2.78.
    """

    def __init__(self, model: HybridModel) -> None:
        super().__init__()
        self.sum, self.one = _Sum(model), model_axes(model)

    def forward(
        self,
        x: Tensor,  # (M, batch, n)
        h: Tensor,  # (batch,), in the model's unit of time
        infused: Tensor,  # (batch, n)
        theta: Tensor | None = None,  # (M, batch, q)
        u: Tensor | None = None,  # (batch, m)
        c: Tensor | None = None,  # (M, batch, r)
    ) -> Tensor:  # (M, batch, n)
        x, theta, c = self.one.put(x), self.one.beside(x, theta), self.one.beside(x, c)
        at, u, infused, h = self.sum.at(theta, c), inputs_of(x, u), infused[None], h[None, :, None]
        k1 = self.sum.rate(at, x, u, infused)
        k2 = self.sum.rate(at, x + 0.5 * h * k1, u, infused)
        k3 = self.sum.rate(at, x + 0.5 * h * k2, u, infused)
        k4 = self.sum.rate(at, x + h * k3, u, infused)
        return self.one.taken(x + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4))


class Observe(nn.Module):
    """y = h(x, θ) and the variance σ²(y, x, u) of a measurement of it.

    Of an ensemble: y of every member; the `mean` of the members, the `aleatoric` variance, the mean of theirs, and the
    `epistemic` one, (1/M) Σ (y_k − mean)²: their sum is the variance of the mixture of all members.
    """

    def __init__(self, model: HybridModel) -> None:
        super().__init__()
        self.observation, self.noise, self.one = model.observation, model.noise, model_axes(model)

    def forward(
        self,
        x: Tensor,  # (M, batch, n)
        theta: Tensor | None = None,  # (M, batch, q)
        u: Tensor | None = None,  # (batch, m)
    ) -> tuple[Tensor, ...]:  # (M, batch, p) first, the others (batch, p)
        x, theta = self.one.put(x), self.one.beside(x, theta)
        states, given = x[:, :, None], inputs_of(x, u)[:, :, None]  # (M, batch, 1, n): one time each
        y = self.observation.seen(states, theta, given)
        variance = self.noise.variance(y, states, given)[:, :, 0]
        y = y[:, :, 0]
        if self.one.single:
            return y[0], variance[0]
        mean = y.mean(0)
        return y, mean, variance.mean(0), (y - mean).square().mean(0)


class Person(nn.Module):
    """θ and c of people: the population's map of their own coordinates η and latents, and covariates in the model's units.

    A covariate outside the range that the map is made for gives NaN.
    """

    def __init__(self, model: HybridModel) -> None:
        super().__init__()
        # not the model itself, whose `context` says the same: all of its weights would be in this program too
        self.population, self.one, self.names = model.population, model_axes(model), tuple(model.uses)
        self.standardised, self.latents = dict(model.covariates), model.latents

    def forward(
        self,
        eta: Tensor | None = None,  # (M, batch, d)
        covariates: Tensor | None = None,  # (batch, k)
        latents: Tensor | None = None,  # (M, batch, l)
    ) -> tuple[Tensor, ...]:  # (M, batch, q), (M, batch, r)
        given = next(value for value in (eta, latents, covariates) if value is not None)
        batch = given.shape[-2]
        eta = given.new_zeros(self.one.members, batch, 0) if eta is None else self.one.put(eta)
        known = {} if covariates is None else dict(zip(self.names, covariates.unbind(-1), strict=True))
        theta = self.population.theta(eta, known)
        theta = theta.expand(self.one.members, batch, theta.shape[-1])
        columns = [
            ((known[k] - c) / s).expand(self.one.members, batch)[..., None] for k, (c, s) in self.standardised.items()
        ]
        if latents is not None:
            columns.append(self.one.put(latents).expand(self.one.members, batch, self.latents))
        outs = (*((theta,) if theta.shape[-1] else ()), *((torch.cat(columns, -1),) if columns else ()))
        return tuple(self.one.taken(out) for out in outs)


class Axes(nn.Module):
    """The axis of members, which one member alone does without."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members, self.single = members, members == 1

    def put(self, value: Tensor) -> Tensor:
        """With an axis of members in front."""
        return value[None] if self.single else value

    def beside(self, x: Tensor, value: Tensor | None) -> Tensor:
        """θ or c of the same rows as x, before `put`; without columns where the model has none."""
        return self.put(x.new_zeros(*x.shape[:-1], 0) if value is None else value)

    def taken(self, value: Tensor) -> Tensor:
        """Without the axis that `put` put there."""
        return value[0] if self.single else value


def model_axes(model: HybridModel) -> Axes:
    """Those of the model's members."""
    return Axes(model.members)


def inputs_of(
    x: Tensor,  # (M, batch, n)
    u: Tensor | None,  # (batch, m)
) -> Tensor:  # (1, batch, m)
    """The inputs, shared by the members; without columns where the model has none."""
    return x.new_zeros(1, x.shape[1], 0) if u is None else u[None]


def without_slope(model: HybridModel) -> tuple[str, ...]:
    """The names of those parts of a model that bring no slope of their own; none of them: it has a `Jacobian`."""
    with torch.no_grad():
        c = torch.zeros(model.members, 1, model.sees, dtype=model.dtype)
        known = [type(term).__name__ for term in model.known if term.at(model.typical, c).slope is None]
    layered = model.residual.vanishes or isinstance(model.residual, LayeredResidual)
    return (*known, *(() if layered else (type(model.residual).__name__,)))
