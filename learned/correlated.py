"""Measurement errors of several channels that belong together at one time."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from learned.joints import Joins, Joint, places, require_joined
from learned.noise import Estimates, NoiseHead
from learned.sizes import generator_of, number_of, shown

Correlations = Mapping[tuple[str, str], float] | Sequence[Sequence[float]]  # by pairs of channels, or the whole matrix
_APART = 1e-3  # κ: a correlation of ±1 would leave a direction without noise, in which no likelihood has a maximum


class Correlated(NoiseHead):
    """Σ = D R D: the errors of all channels at one time together, D = diag σ of the `head` within, R learned and constant.

    What is measured at one time in one sample shares its handling, weighing or dilution, so that errors go together; what is
    measured at two times is independent. The density of any of the channels together is that of their block of Σ: a channel that
    is missing takes no part.

    R = (1 − κ) L Lᵀ + κ I with κ = 0.001, the rows of the lower triangle L those of I + W made of length 1, W strictly lower:
    every correlation matrix whose smallest eigenvalue is above κ, for every W. Hence |ρ| < 1 − κ, and no variance of any
    combination of errors is below κ times the least of the head's floors².

    Arguments: `head`, what says σ² of each channel; `start`, where learning starts: {("y1", "y2"): 0.3}, 0 for pairs that are
    left out, or the whole matrix in the order of the head's channels; by default 0. Trainable: those of the head, and W,
    (M, p(p−1)/2).
    Errors: `ValueError` for fewer than two channels, names that are not those of the channels, and correlations that no errors
    can have together.
    Law: each channel alone is as the head within has it.
    Source: Beal & Sheiner, NONMEM Users Guides (L2: "level-two records", whose errors are correlated).
    """

    def __init__(self, head: NoiseHead, start: Correlations | None = None) -> None:
        super().__init__()
        if not isinstance(head, NoiseHead) or isinstance(head, Correlated):
            raise ValueError(
                f"Correlated: head says the variance of each channel, and is {shown(head)}; write Correlated(Combined1(…))"
            )
        if head.channels < 2:
            raise ValueError("Correlated: errors of two or more channels are correlated, and this head has one; write the head")
        self.head, self.channels = head, head.channels
        self.called: tuple[str, ...] | None = getattr(head, "called", None)
        self.waiting: dict[tuple[str, str], float] | None = None
        count = self.channels * (self.channels - 1) // 2
        self.free = nn.Parameter(torch.zeros(1, count, dtype=torch.float64))
        if isinstance(start, Mapping):
            self.waiting = {_pair(pair): number_of(value, f"Correlated: start of {shown(pair)}") for pair, value in start.items()}
            if self.called is not None:
                self._resolve(self.called)
        else:
            R = torch.eye(self.channels, dtype=torch.float64) if start is None else _matrix(start, self.channels)
            self._begin(R[None])
        self._sizes()

    @property
    def floor(self) -> Tensor:  # type: ignore[override]
        """That of the head within."""
        return self.head.floor

    def _sizes(self) -> None:
        for what in ("states", "inputs"):  # a head that reads the state is made for so many
            if hasattr(self.head, what):
                setattr(self, what, getattr(self.head, what))

    def _begin(self, R: Tensor) -> None:  # (M, p, p)
        """W of this correlation matrix."""
        inner = (R - _APART * torch.eye(self.channels, dtype=R.dtype, device=R.device)) / (1.0 - _APART)
        L, wrong = torch.linalg.cholesky_ex(inner)
        if bool((wrong > 0).any()):
            raise ValueError(
                f"Correlated: start is {shown(R[0].tolist())}, and no errors are correlated so: a correlation matrix has 1 on "
                f"its diagonal and no eigenvalue below {_APART:g} here; give smaller correlations"
            )
        row, column = torch.tril_indices(self.channels, self.channels, -1, device=R.device)
        W = L / L.diagonal(dim1=-2, dim2=-1)[..., None]
        self.free.data = W[:, row, column].to(self.free)
        self.start = R[0].tolist()

    def _resolve(self, names: Sequence[str]) -> None:
        """The correlations that were given by name, where these are the channels."""
        R = torch.eye(self.channels, dtype=torch.float64)
        for pair, value in (self.waiting or {}).items():
            i, j = places(pair, names, "Correlated: start")
            if float(R[i, j]) != 0.0:
                raise ValueError(f"Correlated: start gives the correlation of {pair[0]} and {pair[1]} twice; give it once")
            R[i, j] = R[j, i] = value
        self.waiting = None
        self._begin(R[None])

    def joined(self, joint: Joint) -> "Correlated":
        """This head with its channels in the model's order."""
        if not isinstance(joint, Joint):
            raise ValueError(f"Correlated.joined: joint is a Joint, which a HybridModel makes of names, and got {shown(joint)}")
        head = self.head.joined(joint) if isinstance(self.head, Joins) else self.head
        if head is self.head and self.called in (None, joint.channels) and self.waiting is None:
            self.called = joint.channels
            return self
        found = copy.deepcopy(self)
        found.head, found.called = head, joint.channels
        if found.waiting is not None:
            found._resolve(joint.channels)
        elif self.called not in (None, joint.channels):
            order = list(places(joint.channels, self.called or (), "Correlated"))
            with torch.no_grad():
                R = self.correlation()[:, order][:, :, order]
            start = torch.tensor(self.start, dtype=torch.float64)[order][:, order].tolist()
            found._begin(R)
            found.start = start
        found._sizes()
        return found

    def correlation(self) -> Tensor:  # (M, p, p)
        """R, the correlation matrix of the errors of one time."""
        require_joined(self.waiting, "Correlated", "the whole matrix, or a head with the channels' names")
        row, column = torch.tril_indices(self.channels, self.channels, -1, device=self.free.device)
        eye = torch.eye(self.channels, dtype=self.free.dtype, device=self.free.device)
        W = eye.new_zeros(len(self.free), self.channels, self.channels).index_put(
            (torch.arange(len(self.free), device=row.device)[:, None], row, column), self.free
        )
        L = (eye + W) / (1.0 + W.square().sum(-1, keepdim=True)).sqrt()
        off = (1.0 - _APART) * (L @ L.mT)
        return torch.where(eye > 0.0, 1.0, off)

    def variance(self, y: Tensor, x: Tensor, u: Tensor) -> Tensor:
        return self.head.variance(y, x, u)

    def estimates(self) -> Estimates:
        """Those of the head within, and "corr(y1,y2)" of each pair of channels, where it is learned."""
        found: Estimates = dict(self.head.estimates()) if isinstance(self.head, _Named) else {}
        if self.free.requires_grad:
            names = [str(j + 1) for j in range(self.channels)] if self.called is None else self.called
            R = self.correlation()
            for j in range(self.channels):
                for i in range(j):
                    found[f"corr({names[i]},{names[j]})"] = ("fisher", R[:, i, j])
        return found

    def reset(self, generator: torch.Generator) -> None:
        generator_of(generator, "Correlated.reset: generator")
        self.head.reset(generator)

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        return {"channels": self.called}

    def config(self) -> dict[str, Any]:
        require_joined(self.waiting, "Correlated", "the whole matrix, or a head with the channels' names")
        return {"head": {"class": type(self.head).__name__, "config": self.head.config()}, "start": self.start}


@runtime_checkable
class _Named(Protocol):
    def estimates(self) -> Estimates: ...


def _pair(given: object) -> tuple[str, str]:
    pair = tuple(given) if isinstance(given, tuple | list) else ()
    if len(pair) != 2 or not all(isinstance(one, str) for one in pair):
        raise ValueError(f'Correlated: start is by pairs of channels, and one is {shown(given)}; write {{("y1", "y2"): 0.3}}')
    return pair[0], pair[1]


def _matrix(given: object, p: int) -> Tensor:  # (p, p)
    try:
        R = torch.as_tensor(given, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        said = f"Correlated: start is a matrix of correlations, and is {shown(given)}"
        raise ValueError(f"{said}; write [[1, 0.3], [0.3, 1]]") from error
    ones = R.shape == (p, p) and bool((R.diagonal() == 1.0).all()) and torch.equal(R, R.mT)
    if not ones:
        raise ValueError(
            f"Correlated: start needs the correlations of {p} channels, symmetric with ones on the diagonal, and is "
            f"{shown(given)}; write [[1, 0.3], [0.3, 1]]"
        )
    return R


def correlated(
    z: Tensor,  # (M|1, …, p), independent with variance 1
    correlation: Tensor | None,  # (M, p, p)
) -> Tensor:  # (M, …, p)
    """Draws that are correlated so, of as many that are not: L z with L Lᵀ the correlation matrix; z itself without one."""
    if correlation is None:
        return z
    root = torch.linalg.cholesky(correlation)
    return (root.reshape(len(root), *[1] * (z.ndim - 2), *root.shape[1:]) @ z[..., None])[..., 0]
