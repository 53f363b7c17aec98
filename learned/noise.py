"""Measurement noise: the variance of a measurement of each channel."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from learned.glance import built_with, glance
from learned.joints import Joint, in_order, places
from learned.sizes import column_of, shown, tensor_of

PerChannel = Mapping[str, float] | Sequence[float]  # by the channels' names, or in their order
Estimates = dict[str, tuple[str, Tensor]]  # name → (scale: "log", "logit", "linear" or "fisher", value (M,), differentiable)


def per_channel(given: Mapping[str, PerChannel], where: str) -> tuple[tuple[str, ...] | None, list[list[float]]]:
    """The channels' names, None where numbers came in order, and the numbers of each option as a list.

    Errors: `ValueError`, beginning with `where`, for some by name and some in order, or names that differ.
    """
    named = {option: v for option, v in given.items() if isinstance(v, Mapping)}
    listed = [list(column_of(v, f"{where}: {option}")) for option, v in given.items() if not isinstance(v, Mapping)]
    if named and listed:
        raise ValueError(f"{where}: give {', '.join(given)} all by the channels' names, or all in the channels' order")
    if not named:
        return None, listed
    names = tuple(next(iter(named.values())))
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: numbers go by the channels' names, and got {shown(names)}; write {{'concentration': 0.5}}")
    return names, [in_order(v, names, f"{where}: {option}") for option, v in named.items()]


def channel_order(names: tuple[str, ...] | None, joint: Joint, where: str) -> list[int] | None:
    """Which of a head's own channels each of the model's is; None where nothing has to move.

    Errors: `ValueError`, beginning with `where`, for other channels than the model's.
    """
    if not isinstance(joint, Joint):
        raise ValueError(f"{where}.joined: joint is a Joint, which a HybridModel makes of its names, and got {shown(joint)}")
    if names is None or names == joint.channels:
        return None
    if set(names) != set(joint.channels):
        raise ValueError(f"{where}: noise is given for {', '.join(names)}, and the channels are {', '.join(joint.channels)}")
    return list(places(joint.channels, names, where))


class Called(Protocol):
    """A head whose numbers go by its channels' names: those that it was given, and what a model calls them."""

    names: tuple[str, ...] | None
    called: tuple[str, ...] | None

    def parameters(self) -> Iterator[nn.Parameter]: ...
    def buffers(self) -> Iterator[Tensor]: ...


_Head = TypeVar("_Head", bound=Called)


def called(head: _Head, joint: Joint) -> _Head:
    """The head that knows what its channels are called; another one, of the same tensors, where it has other names already."""
    if head.called not in (None, joint.channels):
        head = copy.copy(head)
    head.called = joint.channels
    return head


def reordered(head: _Head, joint: Joint, order: Sequence[int]) -> _Head:
    """A copy of the head with every number of its channels in the model's `order`, by the names that the model has."""
    found = copy.deepcopy(head)
    found.names = joint.channels
    for tensor in (*found.parameters(), *found.buffers()):
        tensor.data = tensor.data[..., order]
    return called(found, joint)


def by_channel(given: Mapping[str, Sequence[float]], names: Sequence[str] | None) -> dict[str, Any]:
    """A head's arguments as plain JSON values: by the channels' names where it was given them so."""
    return dict(given) if names is None else {k: dict(zip(names, values, strict=True)) for k, values in given.items()}


def learned_sizes(
    sizes: Mapping[str, tuple[Tensor, Tensor]],  # what it is called → the trainable tensor and the size it stands for, (M, p)
    channels: Sequence[str] | None,
) -> Estimates:
    """Each positive size of each channel by name, such as "additive(concentration)"; what is fixed is left out.

    A head that no model was built with does not know its channels' names, and counts them from 1.
    """
    found: Estimates = {}
    for what, (trained, value) in sizes.items():
        names = [str(j + 1) for j in range(value.shape[-1])] if channels is None else channels
        if trained.requires_grad:
            found |= {f"{what}({name})": ("log", value[:, j]) for j, name in enumerate(names)}
    return found


class NoiseHead(nn.Module, ABC):
    """σ²(y, x, u), the variance of a measurement of each channel.

    Attributes: `channels` p; `floor` (p,), the standard deviation that no fit can go below: without it a flexible mean
    drives the likelihood to infinity on a record that it can pass through.
    Law: never below the floor, `floor²`; the deterministic limit, in which nothing learned is left, gives the floor.
    Every trainable tensor has a leading member axis (1 until an ensemble stacks it).
    """

    channels: int
    floor: Tensor

    __repr__, _repr_html_ = glance(built_with)

    @abstractmethod
    def variance(
        self,
        y: Tensor,  # (M, N, T, p) predicted mean
        x: Tensor,  # (M, N, T, n)
        u: Tensor,  # (M|1, N, T, m)
    ) -> Tensor:  # (M, N, T, p)
        """The variance, in the channel's unit squared."""

    def correlation(self) -> Tensor | None:  # (M, p, p)
        """How the errors of the channels at one time are correlated; None, as by default, where they are independent."""
        return None

    @abstractmethod
    def reset(self, generator: torch.Generator) -> None:
        """Draw anew what starts at random; what starts where the caller said stays as it is."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""


def require_seen(head: NoiseHead, y: Tensor, members: int) -> None:
    """Raise `ValueError` unless y (M, N, T, p) is of the head's channels and members."""
    tensor_of(y, f"{type(head).__name__}: y", "M", "N", "T", head.channels)
    if 1 not in (len(y), members) and len(y) != members:
        raise ValueError(f"{type(head).__name__}: y is of {len(y)} members and the head of {members}; give as many, or one")
