"""From a population to a person: θ = θ(η, covariates), with η a priori standard normal."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn


class Population(nn.Module, ABC):
    """How the parameters θ of the people of one population are spread.

    Attributes: `dimension`, the size of η, the person's own coordinates; η = 0 is the typical person. `by_marginal`, the
    names of the trainable tensors that only a likelihood integrated over η determines: they do not ask for a gradient.
    `covariates`, the covariates that θ reads, each with its UCUM unit, or None where nobody said it.
    Law: θ(η, covariates) stays inside `box` for every real η.
    Every trainable tensor has a leading member axis (1 until an ensemble stacks it).
    """

    dimension: int
    by_marginal: tuple[str, ...] = ()
    covariates: Mapping[str, str | None] = MappingProxyType({})

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
