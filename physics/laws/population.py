"""A population held against its laws: nobody's θ leaves the box, and η is a priori standard normal."""

from collections.abc import Mapping

import torch
from torch import Tensor

from physics.arguments import drawn_from, require_covariates, require_kind
from physics.laws.rebuilt import rebuilt
from physics.population import Population

FAR = (1e300, 1e6, 40.0, 5.0)
MEMBERS = 2


def check_population(
    population: Population,
    covariates: Mapping[str, Tensor] | None = None,  # each (N,)
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless a population keeps the laws of populations.

    `box` is finite, low below high · θ(η, covariates) has the shape (M, N, q) and stays inside `box` for every η, however far ·
    log p(η) is that of the standard normal up to a constant · θ is finite, and its gradient by η too · every trainable tensor
    leads with the member axis · `config` rebuilds it.
    Tried at points, by default the same ones each time, and not proved.
    Arguments: `population` · `covariates` of some people, by name, where θ reads any · `generator`, by default one of its own
    with seed 0.
    """
    require_kind(population, Population, "check_population: population", "LogNormalPopulation(backbone, spread={…})")
    require_covariates({} if covariates is None else covariates, None, "check_population: covariates")
    given = {} if covariates is None else dict(covariates)
    generator = drawn_from(generator, "check_population: generator")
    name = f"check_population: {type(population).__name__}"
    missing = sorted(set(population.covariates) - set(given))
    if missing:
        raise ValueError(f"{name}: θ reads {missing}; give them, covariates={{{missing[0]!r}: torch.tensor([…])}}")
    people = len(next(iter(given.values()))) if given else 3
    _member_axis(population, name)
    _inside(population, given, people, generator, name)
    _standard_normal(population, people, generator, name)
    _same_again(population, given, people, generator, name)


def _member_axis(population: Population, name: str) -> None:
    for which, parameter in population.named_parameters():
        if not parameter.ndim or parameter.shape[0] != 1:
            raise ValueError(
                f"{name}: {which} has the shape {tuple(parameter.shape)}; every trainable tensor has a member axis of size 1 in "
                "front, (1, …)"
            )


def _drawn(population: Population, people: int, generator: torch.Generator) -> Tensor:  # (M, N, d)
    return torch.randn(MEMBERS, people, population.dimension, generator=generator, dtype=torch.float64)


def _inside(
    population: Population, covariates: dict[str, Tensor], people: int, generator: torch.Generator, name: str
) -> None:
    low, high = population.box.detach().unbind(-1)
    if population.box.ndim != 2 or not bool(torch.isfinite(population.box).all()) or not bool((low <= high).all()):
        raise ValueError(f"{name}: box needs finite ends (q, 2), low before high, and is {population.box.tolist()}")
    sign = torch.sign(_drawn(population, people, generator))
    for size in (1.0, *FAR):
        eta = (size * sign if size > 1.0 else _drawn(population, people, generator)).requires_grad_()
        theta = population.theta(eta, covariates)
        if tuple(theta.shape) != (MEMBERS, people, len(low)):
            raise ValueError(
                f"{name}: of η {tuple(eta.shape)} θ is {tuple(theta.shape)}; it needs (members, people, parameters) = "
                f"{(MEMBERS, people, len(low))}"
            )
        outside = ~((theta >= low) & (theta <= high))  # NaN is outside
        if bool(outside.any()):
            i = outside.nonzero()[0].tolist()
            raise ValueError(
                f"{name}: θ_{i[2]} is {float(theta[tuple(i)].detach()):.6g} at η = {eta[i[0], i[1]].tolist()}, outside of its "
                f"box {population.box[i[2]].tolist()}; θ stays inside for every real η: squash it, h·tanh(z/h) about the middle"
            )
        if size <= 5.0 and population.dimension and theta.requires_grad:
            (slope,) = torch.autograd.grad(theta.sum(), eta)
            if not bool(torch.isfinite(slope).all()):
                raise ValueError(f"{name}: the gradient of θ by η is not finite at η = {eta[0, 0].tolist()}")


def _standard_normal(population: Population, people: int, generator: torch.Generator, name: str) -> None:
    one, other = (_drawn(population, people, generator) for _ in range(2))
    have = population.log_prior(one)
    if tuple(have.shape) != (MEMBERS, people):
        raise ValueError(f"{name}: log_prior of η {tuple(one.shape)} needs (members, people), and has {tuple(have.shape)}")
    found = (have - population.log_prior(other)).detach()
    wanted = -0.5 * (one.square().sum(-1) - other.square().sum(-1))
    if not torch.allclose(found, wanted, rtol=1e-9, atol=1e-9):
        raise ValueError(
            f"{name}: log p(η) changes by {float(found[0, 0]):.6g} where the standard normal's changes by "
            f"{float(wanted[0, 0]):.6g}; η is a priori standard normal: log_prior is −½ Σ η² up to a constant"
        )


def _same_again(
    population: Population, covariates: dict[str, Tensor], people: int, generator: torch.Generator, name: str
) -> None:
    again, eta = rebuilt(population, name), _drawn(population, people, generator)
    same = torch.equal(again.theta(eta, covariates), population.theta(eta, covariates))
    if not same or not torch.equal(again.box, population.box) or dict(again.covariates) != dict(population.covariates):
        raise ValueError(
            f"{name}: rebuilt by its configuration and its tensors θ, the box or the covariates differ; config() gives every "
            "argument of the constructor"
        )
