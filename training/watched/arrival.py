"""Whether a fit has arrived: values first, the sentences from them."""

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel
from physics import MixedPopulation, Population
from physics.arguments import quote, require_kind, require_names, require_same_people, require_shape, require_tensor
from physics.glance import glance
from training.fitting import Step, require_steps
from training.people.posterior import Personal

_FAR, _FAR_SPREADS = 1.0, 0.1  # standard errors, and spreads: many people know a typical value better than anyone needs
_FALL, _FALL_EACH = 0.5, 0.01  # of the objective of everyone together, and of each person's, in units of log likelihood


@dataclass(frozen=True)
class Convergence:
    """How far a fit still is from where its own people would have it.

    `names` (q,) of the parameters · `away` (M, q): how many standard errors the typical value of each would still move, in
    one Newton step of the objective in which everyone's own coordinates are at their best, and `moves` (M, q) how many of
    the spreads ω between people, or occasions · `fall` (M,): by how much the objective of everyone together fell in the
    last tenth of the steps, in three at least, or in all where there were fewer, NaN where nobody kept count · `people`, how many
    they are · `unfinished`: the ids of those whose own coordinates were not found under some member.
    A member has arrived where no typical value is more than one standard error and a tenth of ω away, and the objective fell by
    at most ½, which no likelihood could tell apart, or .01 a person; the fit has, where more than half of its members have.
    """

    names: tuple[str, ...]
    away: Tensor
    moves: Tensor
    fall: Tensor
    people: int
    unfinished: tuple[str, ...]

    __repr__, _repr_html_ = glance()

    @property
    def far(self) -> Tensor:  # (M, q) bool
        """Which typical values are; those too whose distance is no number."""
        return ~((self.away.abs() <= _FAR) | (self.moves.abs() <= _FAR_SPREADS))

    @property
    def falling(self) -> Tensor:  # (M,) bool
        """Whose objective still fell."""
        return self.fall > max(_FALL, _FALL_EACH * self.people)

    @property
    def arrived(self) -> Tensor:  # (M,) bool
        """Which members have."""
        return ~(self.far.any(1) | self.falling)

    @property
    def converged(self) -> bool:
        """Have more than half of the members, and everyone's own search?"""
        return bool(2 * int(self.arrived.sum()) > len(self.arrived)) and not self.unfinished

    @property
    def where(self) -> str:
        """In which members the fit has arrived, "in all 8 members" or "in 5 of 8 members"; "" where there is one."""
        M, arrived = len(self.fall), int(self.arrived.sum())
        return "" if M == 1 else f"in all {M} members" if arrived == M else f"in {arrived} of {M} members"

    def as_found(self) -> str:
        """What was found of those that have arrived, and how far each of the others still is, in one sentence."""
        M, arrived = len(self.fall), int(self.arrived.sum())
        still = []
        if self.names:
            least = "its standard error and more than a tenth of the spread between people"
            still.append(f"no typical value would move by more than {least}")
        if not bool(self.fall.isnan().all()):
            limit = max(_FALL, _FALL_EACH * self.people)
            still.append(f"the objective of everyone together fell by {limit:.2g} or less in the last steps")
        if not still:
            return "Everyone's own parameters were found."
        found = " and ".join(still)
        found = f"{self.where[:1].upper()}{self.where[1:]} {found}" if M > 1 else f"{found[:1].upper()}{found[1:]}"
        if arrived == M:
            return f"{found}."
        others = []
        for j, name in enumerate(self.names):
            which = self.far[:, j]
            if bool(which.any()):
                most = float(self.away[which, j].abs().max())
                said = f"is up to {most:.1f} standard errors away"
                said = said if math.isfinite(most) else "is where the objective has no minimum"
                others.append(f"{_in(int(which.sum()), M)}the typical {name} {said}")
        if bool(self.falling.any()):
            most = float(self.fall[self.falling].max())
            others.append(f"{_in(int(self.falling.sum()), M)}the objective still fell by up to {most:.2g}")
        return f"{found}; {', '.join(others)}."

    def sentences(self) -> list[str]:
        """In words; nothing where all is well."""
        found, M = [], len(self.fall)
        missing = M - int(self.arrived.sum())
        if 2 * missing >= M and missing:
            parts = []
            for j, name in enumerate(self.names):
                if 2 * int(self.far[:, j].sum()) >= M:
                    far = float(self.away[self.far[:, j], j].median())
                    side = f"is {abs(far):.1f} standard errors too {'low' if far > 0 else 'high'}"
                    side = side if math.isfinite(far) else "is where the objective has no minimum"
                    parts.append(f"{_in(int(self.far[:, j].sum()), M)}the typical {name} {side}")
            if 2 * int(self.falling.sum()) >= M:
                fall = float(self.fall[self.falling].median())
                whose = " (their median)" if M > 1 else ""
                parts.append(
                    f"{_in(int(self.falling.sum()), M)}the objective still fell by {fall:.2g}{whose} in the last steps"
                )
            why = "; ".join(parts) or "each for a reason of its own"
            found.append(f"The fit has not converged in {missing} of {M} members: {why}. Give it more steps, or a better start.")
        if self.unfinished:
            some = ", ".join(self.unfinished[:5]) + (" …" if len(self.unfinished) > 5 else "")
            whose = "1 person" if len(self.unfinished) == 1 else f"{len(self.unfinished)} people"
            found.append(f"The search for the own parameters of {whose} has not converged: {some}.")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "converged": self.converged,
            "members_arrived": int(self.arrived.sum()),
            "members": len(self.fall),
            "standard_errors_away": {n: self.away[:, j].tolist() for j, n in enumerate(self.names)},
            "spreads_away": {n: self.moves[:, j].tolist() for j, n in enumerate(self.names)},
            "fall": None if bool(self.fall.isnan().all()) else self.fall.tolist(),
            "people_not_converged": list(self.unfinished),
            "sentences": self.sentences(),
        }


def _in(count: int, members: int) -> str:
    return f"in {count} of {members} " if members > 1 else ""


def convergence(
    model: HybridModel,
    personal: Personal,
    people: Sequence[str],
    *,
    weights: Tensor | None = None,  # (M, N)
    losses: Sequence[Tensor] = (),  # each (M,)
) -> Convergence:
    """How far the typical values, the objective and everyone's own coordinates are from where they would end.

    With the modes e_i and Laplace covariances C_i of the people, in units of η: where everyone is at their mode, moving the
    typical value by δ changes the objective by −δᵀ Σ w_i e_i + ½ δᵀ Σ w_i (I − C_i) δ, since the prior pulls e_i exactly as
    hard as the data pull back, and I − C_i = (I + (C_i⁻¹ − I)⁻¹)⁻¹ is what curvature is left once the person follows. So the
    Newton step is (Σ w (I − C))⁻¹ Σ w e, and its standard errors are the roots of the diagonal of that inverse. At a maximum of
    the joint likelihood the weighted mean of the modes is 0. Where there are occasions, these are the rows and the block of η
    alone, with C the whole covariance's: κ follows, as everyone's other coordinates do. What differs between occasions and not
    between people moves with its κ of every occasion, and ω is then that between occasions. Penalties on the residual and for
    stability are not counted, nor are parameters that everyone shares in every occasion and coefficients of covariates: these
    are taken to be where they are. Where effects are correlated, the step and its errors are those of each parameter, L δ.

    Arguments: `model`; `personal`, everyone's coordinates under it (`personalise`); `people`, their ids; `weights`, how often
    each member counted each person, 1 for all; `losses`, the `Step.loss` of every step (`recorded` collects them).
    Returns a `Convergence`; `away` is empty for a population whose typical values are not trained.
    Law: changing the names, order or weights of zero of people changes nothing; moving a typical value by one standard error
    from the maximum moves `away` by one, where the model is linear.
    Source: Newton's step of the profiled objective; Lindstrom & Bates, Biometrics 46 (1990) 673 (the objective).
    """
    require_kind(model, HybridModel, "convergence: model", "convergence(model, personal, cohort.ids)")
    require_kind(personal, Personal, "convergence: personal", "personalise(model, cohort)")
    people = require_names(people, "convergence: people", "cohort.ids")
    M, N, d = personal.mode.shape
    if d != model.personal or (1 not in (M, model.members) and model.members != M):
        raise ValueError(
            f"convergence: personal is of {M} members with {d} coordinates each and the model has {model.members} and "
            f"{model.personal}; personalise with this model"
        )
    if weights is not None:
        require_tensor(weights, "convergence: weights", "torch.ones(M, N)")
        require_shape(weights, "convergence: weights", M, N, write="torch.ones(M, N)")
        if not bool((torch.isfinite(weights) & (weights >= 0)).all()):
            raise ValueError("convergence: weights must be finite and not negative; write those of the fit")
    if isinstance(losses, Tensor | str) or not isinstance(losses, Sequence):
        raise ValueError(f"convergence: losses is a list, the loss of every step, and is {quote(losses)}; write losses=[…]")
    for loss in losses:
        require_shape(loss, "convergence: each of losses", "M", write="Step.loss")
    if len(people) != N:
        raise ValueError(f"convergence: people names {len(people)} people and personal holds {N}; write cohort.ids")
    write = "give the ids in the order of personal, personal.ids"
    require_same_people(personal.ids, people, "convergence: personal and people", write)
    q = model.population.dimension
    bad = torch.nonzero(~personal.converged.all(0))[:, 0].tolist()
    unfinished = tuple(people[i] for i in sorted({*bad, *personal.failed}))
    fall = torch.full((M,), torch.nan, dtype=torch.float64)
    if len(losses) >= 2:
        back = min(len(losses) - 1, max(3, len(losses) // 10))  # one step of a short fit says little
        fall = N * (losses[-1 - back] - losses[-1]).detach().to("cpu", torch.float64)
    names, moving, L = _typical(model.population)
    if not names or N == 0:
        nothing = torch.zeros(M, 0, dtype=torch.float64)
        return Convergence((), nothing, nothing, fall, N, unfinished)
    mode = personal.mode[..., :q].to("cpu", torch.float64)
    curvature = torch.eye(q, dtype=torch.float64) - personal.covariance[..., :q, :q].to("cpu", torch.float64)
    w = torch.ones(M, N, dtype=torch.float64) if weights is None else weights.to("cpu", torch.float64)
    known = [i not in personal.failed for i in range(N)]
    w = w * torch.tensor(known, dtype=torch.float64)
    # what moves with a typical value is chosen before anything is inverted: all other coordinates follow, and C knows how
    whole = torch.einsum("mn,mnij->mij", w, curvature)
    # a typical value of which the data say nothing has no error to be measured by: it is held where it is
    information = moving.mT @ whole @ moving + 1e-9 * torch.eye(len(names), dtype=torch.float64)
    inverse = torch.linalg.inv(information)
    step = inverse @ moving.mT @ torch.einsum("mn,mni->mi", w, mode)[..., None]
    # from coordinates of η to the parameters' own scales, where Ω may join several
    moved, error = (L @ step)[..., 0], (L @ inverse @ L.mT).diagonal(dim1=-2, dim2=-1).sqrt()
    spreads = (L @ L.mT).diagonal(dim1=-2, dim2=-1).sqrt()
    return Convergence(names, moved / error, moved / spreads, fall, N, unfinished)


def _typical(population: Population) -> tuple[tuple[str, ...], Tensor, Tensor]:
    """The k typical values whose distance can be said: `names`, `moving` (q, k) and `L` (M|1, k, k).

    Moving them by L δ, on their scales, moves everyone's parameters as adding `moving` δ to everyone's coordinates does: to η
    of what differs between people, and to κ of every occasion of what differs between occasions alone.
    """
    factor, effects, q = population.factor, population.effects, population.dimension
    if factor is None or len(effects) != q:
        return (), torch.zeros(q, 0, dtype=torch.float64), torch.zeros(1, 0, 0, dtype=torch.float64)
    within = population.within if isinstance(population, MixedPopulation) else None
    first = q - (0 if within is None else within.dimension)  # η comes before κ
    names, columns = list(effects[:first]), list(torch.eye(q, dtype=torch.float64)[:first])
    L = factor.detach().to("cpu", torch.float64)[..., :first, :first]
    if within is not None:
        alone = [j for j, name in enumerate(within.names) if name not in names]
        names += [within.names[j] for j in alone]
        columns += [torch.eye(len(within.names), dtype=torch.float64)[j].repeat(within.count) for j in alone]
        columns[first:] = [torch.cat([torch.zeros(first, dtype=torch.float64), one]) for one in columns[first:]]
        omega = torch.diag_embed(within.omega.detach().to("cpu", torch.float64)[:, alone])  # (M|1, a, a)
        own, rows = len(alone), max(len(L), len(omega))
        L = torch.nn.functional.pad(L, (0, own, 0, own)).expand(rows, -1, -1)
        L = L + torch.nn.functional.pad(omega, (first, 0, first, 0))
    return tuple(names), torch.stack(columns, 1), L


def recorded(
    steps: Generator[Step, None, None],
    losses: list[Tensor],
) -> Generator[Step, None, None]:
    """The same steps, whose losses are put into `losses` as they come by."""
    require_steps(steps, "recorded: steps")
    require_kind(losses, list, "recorded: losses", "losses = [], into which they are put")
    with closing(steps):
        for step in steps:
            losses.append(step.loss.detach().clone())
            yield step
