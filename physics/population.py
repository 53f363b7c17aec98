"""From a population to a person: θ = θ(η, covariates), with η a priori standard normal."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from physics.arguments import quote, require_kind, require_number, require_shape, require_text
from physics.backbone import Backbone
from physics.bends import Order
from physics.effects import Scale
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
    `effects`, the names of the parameters that the coordinates of η spread, in their order, () where nobody said them; `orders`,
    which parameters are kept above which; `learn_spread`, is the spread trainable?
    Law: θ(η, covariates) stays inside `box` for every real η.
    Every trainable tensor has a leading member axis (1 until an ensemble stacks it).
    """

    dimension: int
    by_marginal: tuple[str, ...] = ()
    covariates: Mapping[str, str | None] = MappingProxyType({})
    ranges: Mapping[str, tuple[float, float]] = MappingProxyType({})
    gives: tuple[tuple[str, str], ...] | None = None
    effects: tuple[str, ...] = ()
    orders: tuple[Order, ...] = ()
    learn_spread: bool = False

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

    @property
    def scales(self) -> tuple[Scale, ...]:  # (q,)
        """The scale of each θ_j: "log" where its box is positive and nothing else is said, "logit" within its box, "linear"."""
        return tuple("log" if low > 0.0 else "linear" for low in self.box[:, 0].tolist())

    @property
    def factor(self) -> Tensor | None:  # (M|1, d, d)
        """The lower triangular L with Ω = L Lᵀ; None for a population that states no spread."""
        return None

    @property
    def omega_matrix(self) -> Tensor | None:  # (M|1, d, d)
        """Ω, the covariance between people of the `effects` on their scales; None for a population that states no spread."""
        L = self.factor
        return None if L is None else L @ L.mT

    @property
    def omega(self) -> Tensor | None:  # (M|1, q)
        """The standard deviation of each θ_j between people, on its scale: 0 where everyone has the same; None as in `factor`."""
        return None

    @property
    def references(self) -> Mapping[str, float]:
        """The value of each covariate at which it does nothing, of those of which that is said."""
        return {}

    @property
    def moved_by(self) -> Mapping[str, tuple[str, ...]]:
        """For each covariate the parameters that it moves, where the population says it."""
        return {}

    def plausible(
        self,
        covariate: str,
    ) -> tuple[float, float] | None:
        """From where to where values of a covariate are no surprise; None where nothing is said: outside a slip is likely."""
        require_text(covariate, f"{type(self).__name__}: covariate", '"WT"')
        return None

    def deviations(
        self,
        eta: Tensor,  # (M, N, dimension)
    ) -> Tensor:  # (M, N, dimension)
        """L η: how far people are from the typical person on the effects' scales, which programs of the field call η.

        Errors: `ValueError` for a population that states no spread.
        """
        require_shape(eta, f"{type(self).__name__}: eta", "M", "N", self.dimension, write="Personal.mode[..., :dimension]")
        L = self.factor
        if not self.dimension:
            return eta
        if L is None:
            raise ValueError(f"{type(self).__name__} states no spread between people: η itself is all that there is")
        return (L[:, None] * eta[..., None, :]).sum(-1)

    def bound(
        self,
        theta: Tensor,  # (..., q)
        parameter: int,
    ) -> Tensor | None:  # (...)
        """What θ_j is kept above in everyone, None where it is free."""
        q = len(self.box)
        require_shape(theta, f"{type(self).__name__}: theta", ..., q, write="model.theta(personal, covariates)")
        require_number(parameter, f"{type(self).__name__}: parameter, by its place,", least=0.0, most=q - 1.0, whole=True)
        for order in self.orders:
            if order.upper == parameter:
                found = theta[..., order.first]
                for i, sign in order.rest:
                    found = found * theta[..., i] if sign > 0 else found / theta[..., i]
                return found
        return None

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


def require_positive(parameters: Sequence[Parameter], who: str) -> None:
    """Raise `ValueError`, beginning with `who`, for a parameter whose box is not positive."""
    for parameter in parameters:
        if not parameter.positive:
            raise ValueError(
                f"{who}: the logarithm of {parameter.name} is taken, and its box is {parameter.low:g} to {parameter.high:g} "
                f"{parameter.unit}; give it a positive box, or write MixedPopulation(…, {{{parameter.name!r}: Normal(…)}})"
            )


def by_parameter(
    given: Mapping[str, float | None],
    names: Sequence[str],
    where: str,
    none: bool = False,
) -> list[Any]:
    """One number for each parameter, in their order; or None, where `none` allows it.

    Errors: `ValueError`, beginning with `where`, for names that differ.
    """
    if set(given) != set(names):
        unknown, absent = [n for n in given if n not in names], [n for n in names if n not in given]
        said = [f"names {quote(unknown[0])}"] if unknown else []
        said += [f"lacks {absent[0]!r}"] if absent else []
        raise ValueError(f"{where} {' and '.join(said)}; give one number for each of {', '.join(names) or 'no parameter'}")
    for name in names:
        if given[name] is not None or not none:
            require_number(given[name], f"{where}: {name}")
    return [None if given[name] is None else float(given[name]) for name in names]  # type: ignore[arg-type]  # looked at
