"""What is known of people's own coordinates: before their data, and after."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel
from physics.arguments import (
    positions,
    quote,
    require_device,
    require_ids,
    require_kind,
    require_number,
    require_people,
    require_shape,
    require_tensor,
)
from physics.glance import Summary, glance


def _summary(known: Any) -> Summary:
    M, N, d = known.mode.shape
    return f"Personal: people {N}, members {M}, own coordinates of each {d}", [
        ("people", known.ids or N),
        ("converged", f"{int(known.converged.sum())} of {M * N}"),
        ("failed", f"{len(known.failed)} of {N}: {next(iter(known.failed.values()))}" if known.failed else None),
        ("mode", known.mode),
        ("covariance", known.covariance),
    ]


@dataclass(frozen=True)
class Personal:
    """What is known of N people's own coordinates under each of M members.

    `mode` (M, N, d), the maximum a posteriori · `covariance` (M, N, d, d), Laplace · `objective` (M, N), −log posterior
    at the mode up to a constant · `converged` (M, N) · `failed`, for the people who could not be simulated under some
    member, by index, why: there their mode and covariance are what was known before, objective 0, not converged · `ids` (N,),
    whose each is, where that is known: then it is compared with the cohort, or the bundle, that they meet.
    """

    mode: Tensor
    covariance: Tensor
    objective: Tensor
    converged: Tensor
    failed: dict[int, str] = field(default_factory=dict)
    ids: tuple[str, ...] | None = None

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        write = "personalise(model, cohort)"
        require_shape(self.mode, "Personal: mode", "M", "N", "d", write=write)
        M, N, d = self.mode.shape
        require_shape(self.covariance, "Personal: covariance", M, N, d, d, write=write, like=self.mode)
        require_shape(self.objective, "Personal: objective", M, N, write=write, like=self.mode)
        if not isinstance(self.converged, Tensor) or self.converged.shape != (M, N) or self.converged.dtype != torch.bool:
            raise ValueError(f"Personal: converged says yes or no, dtype bool and shape {(M, N)}, and is {quote(self.converged)}")
        require_kind(self.failed, dict, "Personal: failed", "{}, or index → why")
        for index in self.failed:
            require_number(index, "Personal: failed, by index,", least=0.0, most=N - 1.0, whole=True)
        object.__setattr__(self, "ids", require_ids(self.ids, N, "Personal: ids"))

    def draws(self, count: int, generator: torch.Generator) -> Tensor:  # (M, S, N, d)
        """Independent draws of the Laplace posterior N(mode, covariance), of these people in their order: a tensor has no ids."""
        M, N, d = self.mode.shape
        require_number(count, "draws: count", least=1.0, most=1e8, whole=True)
        require_kind(generator, torch.Generator, "draws: generator", "torch.Generator().manual_seed(0)")
        count = int(count)
        z = torch.randn(M, count, N, d, 1, generator=generator, dtype=torch.float64, device=generator.device)
        z = z.to(self.mode.device)  # a generator draws where it lives, and nowhere else
        if d == 0:
            return z[..., 0]
        root, failed = torch.linalg.cholesky_ex(self.covariance)  # (M, N, d, d)
        if bool((failed > 0).any()) or not bool(torch.isfinite(self.mode).all()):
            raise ValueError("draws: a mode is not finite, or a covariance not positive definite; personalise these people again")
        return self.mode[:, None] + (root[:, None] @ z)[..., 0]

    def to(self, device: torch.device | str) -> "Personal":
        """The same on another device."""
        require_device(device, "Personal.to: device")
        return replace(
            self,
            mode=self.mode.to(device),
            covariance=self.covariance.to(device),
            objective=self.objective.to(device),
            converged=self.converged.to(device),
        )

    def people(self, index: Tensor) -> "Personal":
        """The same for the chosen people."""
        require_people(index, self.mode.shape[1], "Personal.people: index")
        index = positions(index, self.mode.shape[1])
        who = index.tolist()
        failed = {k: self.failed[i] for k, i in enumerate(who) if i in self.failed}
        ids = None if self.ids is None else tuple(self.ids[i] for i in who)
        return Personal(
            self.mode[:, index], self.covariance[:, index], self.objective[:, index], self.converged[:, index], failed, ids
        )


def prior(
    model: HybridModel,
    people: int,
    *,
    mean: Tensor | None = None,  # (d,), (N, d) or (M, N, d)
    covariance: Tensor | None = None,  # (d, d), (N, d, d) or (M, N, d, d)
) -> Personal:
    """Someone of whom nothing was measured: mode 0, covariance I, or what else is known of them beforehand.

    Errors: `ValueError` for shapes that do not fit, or a covariance that is not symmetric positive definite.
    """
    require_kind(model, HybridModel, "prior: model", "prior(model, people)")
    require_number(people, "prior: people, how many,", least=0.0, most=1e8, whole=True)
    for name, value in (("mean", mean), ("covariance", covariance)):
        require_tensor(value, f"prior: {name}", f"{name}=torch.tensor([…])")
        if value is not None:
            require_shape(value, f"prior: {name}", ..., "d", write=f"{name}=torch.tensor([…])")
    people = int(people)
    M, d = model.members, model.personal
    device = next(iter(model.parameters())).device
    zero = torch.zeros(M, people, dtype=torch.float64, device=device)
    mode, spread = zero[..., None].expand(M, people, d), torch.eye(d, dtype=torch.float64, device=device)
    try:
        if mean is not None:
            mode = mean.to(mode).expand(M, people, d)
        spread = (spread if covariance is None else covariance.to(spread)).expand(M, people, d, d)
    except RuntimeError as error:
        raise ValueError(
            f"prior: a mean (d,), (N, d) or (M, N, d) and a covariance with one more d are needed, with M, N, d = {M}, "
            f"{people}, {d}; got {None if mean is None else tuple(mean.shape)} and "
            f"{None if covariance is None else tuple(covariance.shape)}"
        ) from error
    if not bool(torch.isfinite(mode).all()):
        raise ValueError("prior: the mean must be finite, and is not; write what is known, or leave it out")
    if covariance is not None and d and people:
        uneven = not torch.allclose(spread, spread.mT, rtol=1e-9, atol=0.0)
        uneven = uneven or not bool(torch.isfinite(spread).all())
        if uneven or bool((torch.linalg.cholesky_ex(spread).info > 0).any()) or not bool(torch.isfinite(mode).all()):
            raise ValueError("prior: needs a finite mean and a covariance that is symmetric and positive definite")
    return Personal(mode.clone(), spread.clone(), zero, zero == 0)
