"""How far people's own numbers are drawn to the typical ones, and residuals to zero: what pictures of them may still show."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel, Solver, rollout
from hybrid.defaults import differentiating
from physics.arguments import require_kind, require_same_people
from physics.glance import Summary, glance
from physics.occasions import OCCASION
from training.inference.estimates import effects_of
from training.people.arguments import require_fit
from training.people.cohort import Cohort, in_float64
from training.people.posterior import Personal

_MUCH = (
    0.3  # beyond this the field takes pictures of η against anything for misleading (Savic & Karlsson 2009: 20 to 30 %)
)


def _summary(found: Any) -> Summary:
    return "Shrinkage", [
        *((f"η of {n}", found.eta[:, j]) for j, n in enumerate(found.effects[:6])),
        *((f"ε of {n}", found.epsilon[:, j]) for j, n in enumerate(found.channels[:3])),
    ]


@dataclass(frozen=True)
class Shrinkage:
    """1 − the standard deviation of what is estimated of people, by that of the population.

    `effects` (d,) and `eta` (M, d): of each parameter's deviation η at people's modes, 0 where data say all and 1 where they say
    nothing · `channels` (p,) and `epsilon` (M, p): 1 − the standard deviation of (y − μ)/σ at the modes, 0 where the residuals
    are as large as the noise, near 1 where every person's curve passes through what was measured. NaN with fewer than two
    people, or values.
    """

    effects: tuple[str, ...]
    eta: Tensor
    channels: tuple[str, ...]
    epsilon: Tensor

    __repr__, _repr_html_ = glance(_summary)

    def sentences(self) -> list[str]:
        """What a reader of pictures must know; nothing where people's own data speak."""
        some = [
            (n, float(self.eta[:, j].median()))
            for j, n in enumerate(self.effects)
            if float(self.eta[:, j].median()) > _MUCH
        ]
        if not some:
            return []
        said = ", ".join(f"{name} ({value:.0%})" for name, value in some)
        return [
            f"η shrinkage is large for {said}: people's own values of these lie near the typical one because their data say "
            "little, so "
            "pictures of η, against covariates too, can show relations that are not there and hide such as are."
        ]


def shrinkage(model: HybridModel, cohort: Cohort, personal: Personal, *, solver: Solver | None = None) -> Shrinkage:
    """Shrinkage of η and of ε at people's modes, as 1 − sd, the standard deviation with N − 1 about the mean.

    With η standard normal a priori, and L η the deviations on the scales of the parameters (L the Cholesky factor of Ω), that of
    parameter j is 1 − sd_i((L η̂_i)_j)/ω_j, people who could not be simulated left out, and of an occasion's effect those who
    were not measured in it or after it: theirs is 0 because there is nothing to be drawn from, which is no shrinkage.
    Arguments: `model`, `cohort`; `personal`, `personalise(model, cohort)`.
    Errors: `ValueError` for people of another cohort.
    Source: Savic & Karlsson, AAPS J. 11 (2009) 558, equations 1 and 2.
    """
    require_fit(model, cohort, "shrinkage", solver)
    require_kind(personal, Personal, "shrinkage: personal", "personalise(model, cohort)")
    M, N, d = model.members, cohort.conditions.size, model.personal
    if personal.mode.shape != (M, N, d):
        raise ValueError(
            f"shrinkage: personal is of {tuple(personal.mode.shape)} and the model and cohort of (M, N, d) = {(M, N, d)}; write "
            "personalise(model, cohort)"
        )
    require_same_people(
        personal.ids, cohort.ids, "shrinkage: personal and the cohort", "give personalise(model, cohort)"
    )
    model, cohort = in_float64(model, cohort)
    rows = torch.tensor(
        [i for i in range(N) if i not in personal.failed], dtype=torch.long, device=personal.mode.device
    )
    mode, some = personal.mode[:, rows], cohort.people(rows) if len(rows) < N else cohort
    eta = mode[..., : model.population.dimension]
    with torch.no_grad():
        factor = _factor(model, eta)
        deviations, spread = eta @ factor.mT, factor.square().sum(-1).sqrt()
        run = rollout(model, some.conditions, mode, solver or differentiating(model))
        z = (some.y - run.mean) / run.variance.sqrt()  # (M, N, T, p)
    channels = tuple(model.observation.channels)
    own = [[_sd(column[torch.isfinite(column)]) for column in member.flatten(0, 1).unbind(-1)] for member in z]
    epsilon = torch.tensor(own, dtype=torch.float64, device=mode.device).reshape(M, len(channels))
    effects = effects_of(model)
    sd = torch.full_like(spread, torch.nan)
    for j, name in enumerate(effects):
        there = _reached(name, some)
        if bool(there.all()):
            sd[:, j] = deviations[..., j].std(1) if len(rows) > 1 else torch.nan
            continue
        for m, own in enumerate(deviations[..., j]):
            sd[m, j] = _sd(own[there & (own != 0.0)])
    return Shrinkage(effects, 1.0 - sd / spread, channels, 1.0 - epsilon)


def _reached(effect: str, cohort: Cohort) -> Tensor:  # (N,) bool
    """Who was measured in the occasion that an effect is of, or after it; everyone, for an effect that is of none."""
    _, of_one, number = effect.partition(" in occasion ")
    changes = cohort.conditions.changes
    if not of_one or changes is None or OCCASION not in changes.values:
        return torch.ones(cohort.conditions.size, dtype=torch.bool, device=cohort.y.device)
    occasion = changes.values[OCCASION].gather(1, changes.reading)  # (N, T)
    seen = cohort.mask.any(-1) | cohort.censored.any(-1)
    return ((occasion >= float(number)) & seen).any(1)


def _sd(values: Tensor) -> float:
    return float(values.std()) if len(values) > 1 else float("nan")


def _factor(model: HybridModel, eta: Tensor) -> Tensor:  # (M, d, d)
    """L with Ω = L Lᵀ, or the identity where the population states no spread: η has then that of 1."""
    d, factor = eta.shape[-1], model.population.factor
    found = torch.eye(d, dtype=eta.dtype, device=eta.device) if factor is None else factor.detach()
    return found.expand(len(eta), d, d)
