"""From a population to a person: θ = θ(η, covariates), with η a priori standard normal."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from physics.arguments import quote, require_kind, require_number
from physics.backbone import Backbone
from physics.glance import built_with, glance
from physics.mechanism import Mechanism
from physics.parameter import Parameter


class Population(nn.Module, ABC):
    """How the parameters θ of the people of one population are spread.

    Attributes: `dimension`, the size of η, the person's own coordinates; η = 0 is the typical person. `by_marginal`, the
    names of the trainable tensors that only a likelihood integrated over η determines: they do not ask for a gradient.
    `covariates`, the covariates that θ reads, each with its UCUM unit, or None where nobody said it. `ranges`, the
    least and most of those outside of which θ refuses or answers NaN. `gives`, name and unit of
    each θ_j in the order of θ, or None where the population does not say: a model joins it to its backbone by them.
    Law: θ(η, covariates) stays inside `box` for every real η.
    Every trainable tensor has a leading member axis (1 until an ensemble stacks it).
    """

    dimension: int
    by_marginal: tuple[str, ...] = ()
    covariates: Mapping[str, str | None] = MappingProxyType({})
    ranges: Mapping[str, tuple[float, float]] = MappingProxyType({})
    gives: tuple[tuple[str, str], ...] | None = None

    __repr__, _repr_html_ = glance(built_with)

    @abstractmethod
    def theta(
        self,
        eta: Tensor,  # (M, N, dimension)
        covariates: dict[str, Tensor],  # each (N,)
    ) -> Tensor:  # (M, N, q)
        """The parameters of every person under every member."""

    @abstractmethod
    def log_prior(
        self,
        eta: Tensor,  # (M, N, dimension)
    ) -> Tensor:  # (M, N)
        """log p(η) up to a constant that does not depend on any trainable number."""

    @property
    @abstractmethod
    def box(self) -> Tensor:  # (q, 2)
        """The compact box of θ, low and high ends."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""


def parameters_of(
    given: Backbone | Mechanism | Sequence[Parameter | Mapping[str, Any]],
) -> tuple[Parameter, ...]:
    """The parameters of a backbone or a mechanism, or those given, which a bundle brings back as plain mappings."""
    if isinstance(given, Backbone | Mechanism):
        return given.physical
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise ValueError(
            f"a population is of a backbone's parameters, and got {quote(given)}; write "
            "LogNormalPopulation(backbone, spread={…})"
        )
    found = []
    for one in given:
        require_kind(one, (Parameter, Mapping), "a population: each of parameters", "backbone.physical")
        try:
            found.append(one if isinstance(one, Parameter) else Parameter(**one))
        except TypeError as error:
            said = quote(sorted(str(name) for name in one)) if isinstance(one, Mapping) else quote(one)
            raise ValueError(f"a parameter has name, unit, typical, low and high, and this has {said}") from error
    return tuple(found)


def by_parameter(
    given: Mapping[str, float],
    names: Sequence[str],
    where: str,
) -> list[float]:
    """One number for each parameter, in their order. Errors: `ValueError`, beginning with `where`, for names that differ."""
    if set(given) != set(names):
        unknown, absent = [n for n in given if n not in names], [n for n in names if n not in given]
        said = [f"names {quote(unknown[0])}"] if unknown else []
        said += [f"lacks {absent[0]!r}"] if absent else []
        raise ValueError(f"{where} {' and '.join(said)}; give one number for each of {', '.join(names) or 'no parameter'}")
    for name in names:
        require_number(given[name], f"{where}: {name}")
    return [float(given[name]) for name in names]
