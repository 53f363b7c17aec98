"""Ω: how the effects of a population are spread, and go together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from physics.arguments import quote, require_kind, require_number


class Between(nn.Module):
    """Ω = L Lᵀ with L = diag(ω) K, K the Cholesky factor of the correlation matrix.

    Row i of K is (k_i1, …, k_i,i−1, 1)/√(1 + Σ k²), with a free number k for each pair of effects in one block and 0 elsewhere:
    every choice of log ω and k is one positive definite Ω, and every such Ω has one. With `learn`, `log_spread` (M, d) and
    `pairs` (M, K) are trainable tensors that do not ask for a gradient: only a likelihood integrated over η determines them.

    Arguments: `names` of the effects (d,); `spreads` ω (d,); `blocks`, sequences of names that are correlated with each other;
    `omega`, covariances of pairs in one block (0 for those not named); `learn`; `where`, who speaks in errors.
    Errors: `ValueError` for names that are no effects, that stand in two blocks or twice, pairs that stand in no block, and an Ω
    that is not positive definite.
    Source: the rows normalised as in Pinheiro & Bates, Stat. Comput. 6 (1996) 289 (unconstrained parametrisations).
    """

    def __init__(
        self,
        names: Sequence[str],
        spreads: Sequence[float],
        blocks: Sequence[Sequence[str]],
        omega: Mapping[tuple[str, str], float] | Sequence[Sequence[Any]] | None,
        learn: bool,
        where: str,
    ) -> None:
        super().__init__()
        self.names, self.learn = tuple(names), learn
        self.blocks = _blocks(blocks, names, where)
        self.covariances = _covariances(omega, self.blocks, names, where)
        d = len(names)
        together = {name: i for i, block in enumerate(self.blocks) for name in block}
        rows, columns = [], []
        for i in range(d):
            for j in range(i):
                if names[i] in together and together.get(names[i]) == together.get(names[j]):
                    rows.append(i)
                    columns.append(j)
        self.places = tuple(zip(rows, columns, strict=True))
        Omega = torch.diag(torch.tensor([float(s) ** 2 for s in spreads], dtype=torch.float64).reshape(d))
        for (one, other), value in self.covariances.items():
            i, j = self.names.index(one), self.names.index(other)
            Omega[i, j] = Omega[j, i] = value
        L, info = torch.linalg.cholesky_ex(Omega)
        if int(info) != 0 or not bool(torch.isfinite(L).all()):
            least = float(torch.linalg.eigvalsh(Omega)[0])
            raise ValueError(
                f"{where}: Ω is not positive definite (its least eigenvalue is {least:.3g}); likely a covariance is larger than "
                "its two spreads allow, |cov| < ω₁ ω₂, or a correlation was given for it: omega holds covariances"
            )
        K = L / L.diagonal()[:, None]
        pairs = torch.tensor([float(K[i, j]) for i, j in self.places], dtype=torch.float64)
        log_spread = Omega.diagonal().log() / 2
        self.log_spread: Tensor
        self.pairs: Tensor
        for name, tensor in (("log_spread", log_spread[None]), ("pairs", pairs[None])):
            if learn and tensor.numel():
                setattr(self, name, nn.Parameter(tensor, requires_grad=False))
            else:
                self.register_buffer(name, tensor)

    @property
    def trainable(self) -> tuple[str, ...]:
        """The names of the trainable tensors."""
        return tuple(name for name, _ in self.named_parameters())

    @property
    def omega(self) -> Tensor:  # (M|1, d)
        """The spreads ω."""
        return self.log_spread.exp()

    @property
    def factor(self) -> Tensor:  # (M|1, d, d)
        """L, lower triangular."""
        if not self.places:
            return torch.diag_embed(self.omega)
        return self.omega[..., None] * self._unit_factor

    @property
    def _unit_factor(self) -> Tensor:  # (M|1, d, d)
        """K."""
        d, zero = len(self.names), self.pairs.new_zeros(self.pairs.shape[:1])
        at = {place: self.pairs[:, k] for k, place in enumerate(self.places)}
        rows = torch.stack([torch.stack([at.get((i, j), zero + float(i == j)) for j in range(d)], -1) for i in range(d)], -2)
        return rows / rows.square().sum(-1, keepdim=True).sqrt()

    def deviations(
        self,
        eta: Tensor,  # (M, N, d)
    ) -> Tensor:  # (M, N, d)
        """L η."""
        if not self.places:
            return self.omega[:, None, :] * eta
        return (self.factor[:, None] * eta[..., None, :]).sum(-1)

    def estimates(self) -> dict[str, tuple[str, Tensor]]:
        """ω of each effect and the correlations in each block, where they are learned."""
        if not self.learn:
            return {}
        found: dict[str, tuple[str, Tensor]] = {
            f"omega({name})": ("log", self.omega[:, j]) for j, name in enumerate(self.names)
        }
        if self.places:
            K = self._unit_factor
            correlation = K @ K.mT
            for i, j in sorted(self.places, key=lambda place: (place[1], place[0])):
                found[f"corr({self.names[j]},{self.names[i]})"] = ("fisher", correlation[:, i, j])
        return found


def _blocks(given: object, names: Sequence[str], where: str) -> tuple[tuple[str, ...], ...]:
    write = 'correlated=[("CL", "V")]'
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ValueError(f"{where}: correlated is a list of blocks of names, and is {quote(given)}; write {write}")
    found = []
    for block in given:
        if isinstance(block, str) or not isinstance(block, Sequence) or len(block) < 2:
            raise ValueError(f"{where}: a block of correlated names two effects or more, and is {quote(block)}; write {write}")
        unknown = [n for n in block if n not in names]
        if unknown:
            raise ValueError(
                f"{where}: correlated names {quote(unknown[0])}, which has no spread; {', '.join(names) or 'nobody'} has one"
            )
        found.append(tuple(block))
    flat = [n for block in found for n in block]
    twice = sorted({n for n in flat if flat.count(n) > 1})
    if twice:
        raise ValueError(f"{where}: correlated names {quote(twice[0])} twice; join its blocks into one")
    return tuple(found)


def _covariances(
    given: object, blocks: Sequence[Sequence[str]], names: Sequence[str], where: str
) -> dict[tuple[str, str], float]:
    if given is None:
        return {}
    write = 'omega={("CL", "V"): 0.02}'
    triples: list[tuple[Any, ...]]
    if isinstance(given, Mapping):
        triples = [(*pair, value) if isinstance(pair, tuple) else (pair, value) for pair, value in given.items()]
    else:
        require_kind(given, (list, tuple), f"{where}: omega", write)
        triples = [tuple(row) if isinstance(row, list | tuple) else (row,) for row in given]  # type: ignore[attr-defined]
    found: dict[tuple[str, str], float] = {}
    for row in triples:
        if len(row) != 3 or row[0] not in names or row[1] not in names or row[0] == row[1]:
            raise ValueError(
                f"{where}: omega holds the covariance of each pair of two effects with a spread ({', '.join(names)}), and has "
                f"{quote(row)}; write {write}"
            )
        one, other, value = row
        require_number(value, f"{where}: the covariance of {one} and {other}")
        if not any(one in block and other in block for block in blocks):
            raise ValueError(
                f"{where}: omega holds a covariance of {one} and {other}, which stand in no block; write correlated=[({one!r}, "
                f"{other!r})]"
            )
        if (one, other) in found or (other, one) in found:
            raise ValueError(f"{where}: omega holds the covariance of {one} and {other} twice; give it once")
        if not math.isfinite(float(value)):
            raise ValueError(f"{where}: the covariance of {one} and {other} is {value}; give a finite one")
        found[one, other] = float(value)
    return found
