"""How a person's parameters differ from one occasion to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from physics.arguments import quote, require_kind, require_number, require_text
from physics.glance import glance

OCCASION = "occasion"  # the covariate that says which it is, 1, 2, …


@dataclass(frozen=True)
class Occasions:
    """Inter-occasion variability: on the scale of parameter j, + ω_j κ_jo in occasion o, κ_jo ~ N(0, 1), all independent.

    Arguments: `spread`, the standard deviation ω of each parameter that differs between a person's occasions, {"CL": 0.15};
    `count`, how many occasions a person may have. The o-th occasion of a record is the covariate "occasion" with the value o.
    """

    spread: Mapping[str, float]
    count: int

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        write = 'Occasions({"CL": 0.15}, count=3)'
        require_kind(self.spread, Mapping, "Occasions: spread", write)
        if not self.spread:
            raise ValueError(f"Occasions: no parameter differs between occasions; write {write}, or leave occasions out")
        for name, value in self.spread.items():
            require_text(name, "Occasions: the name of a parameter", write)
            require_number(value, f"Occasions: the spread of {name}", above=0.0)
        require_number(self.count, "Occasions: count, of a person's occasions,", least=2.0, most=1000.0, whole=True)
        object.__setattr__(self, "spread", {name: float(value) for name, value in self.spread.items()})
        object.__setattr__(self, "count", int(self.count))


def occasions_of(given: object, where: str) -> Occasions | None:
    """The occasions as they were given, or as a bundle wrote them down. Errors: `ValueError`, beginning with `where`."""
    if given is None or isinstance(given, Occasions):
        return given
    if isinstance(given, Mapping) and set(given) == {f.name for f in fields(Occasions)}:
        return Occasions(**given)
    raise ValueError(f'{where}: occasions is {quote(given)}; write Occasions({{"CL": 0.15}}, count=3)')


class Within(nn.Module):
    """diag(ω) κ of a person's occasions; `log_spread` (M, w) is trainable, by a likelihood integrated over κ, where `learn`.

    Arguments: `occasions`; `names` (w,), their parameters in the order of θ; `learn`.
    """

    def __init__(self, occasions: Occasions, names: tuple[str, ...], learn: bool) -> None:
        super().__init__()
        self.names, self.count, self.learn = names, occasions.count, learn
        self.log_spread: Tensor
        found = torch.tensor([[occasions.spread[name] for name in names]], dtype=torch.float64).log()
        if learn:
            self.log_spread = nn.Parameter(found, requires_grad=False)
        else:
            self.register_buffer("log_spread", found)

    @property
    def dimension(self) -> int:
        """How many coordinates a person has: w in each occasion, one occasion after the other."""
        return len(self.names) * self.count

    @property
    def effects(self) -> tuple[str, ...]:
        """What these coordinates are called."""
        return tuple(f"{name} in occasion {o}" for o in range(1, self.count + 1) for name in self.names)

    @property
    def omega(self) -> Tensor:  # (M|1, w)
        """ω."""
        return self.log_spread.exp()

    def deviations(
        self,
        kappa: Tensor,  # (M, N, count·w)
        occasion: Tensor,  # (N,), 1, 2, …
    ) -> Tensor:  # (M, N, w)
        """ω κ of the occasion."""
        w = len(self.names)
        found = torch.zeros_like(kappa[..., :w])
        for o in range(self.count):  # a sum and not a look-up: it is what an exported program can do
            found = found + kappa[..., o * w : (o + 1) * w] * (occasion == o + 1).to(kappa)[:, None]
        return self.omega[:, None, :] * found

    def admissible(self, occasion: Tensor) -> Tensor:  # (N,) bool
        """Is it one of them?"""
        return torch.stack([occasion == o for o in range(1, self.count + 1)]).any(0)

    def estimates(self) -> dict[str, tuple[str, Tensor]]:
        """ω of each, where it is learned."""
        if not self.learn:
            return {}
        return {f"iov({name})": ("log", self.omega[:, j]) for j, name in enumerate(self.names)}

    def refused(self, occasion: Tensor) -> str:
        """Why one that is not among them cannot be read."""
        worst: Any = occasion[~self.admissible(occasion)][0]
        return (
            f"the occasion is {float(worst):g} for somebody, and this population knows 1 to {self.count}; write "
            f"Occasions(…, count={max(self.count + 1, int(worst) if torch.isfinite(worst) else 0)}), or correct the table"
        )
