"""What each member is taught, and by what it is judged: people's weights and measurements, for members that are taught alike."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, Solver
from learned import select
from physics.arguments import quote
from training.anchor import Anchor
from training.objective import Objective, people_counted
from training.people.cohort import Cohort, in_float64
from training.people.information import sensitivity
from training.people.likelihoods import Likelihood, gaussian_nll
from training.people.mode import modes


@dataclass(frozen=True)
class Lesson:
    """Of `members` (k,), which have it in common: the measurements that teach, and the looks at what judges.

    `whole`, all that was measured · `taught`, the cohort whose likelihood is made small · at a look everyone's coordinates come
    from `known`, and `asked` is scored, of those who judge, `judges` (k, N) · `every`: whether it is of all members, in their
    order.
    """

    members: Tensor
    whole: Cohort
    taught: Cohort
    known: Cohort
    asked: Cohort
    judges: Tensor
    every: bool

    @property
    def count(self) -> Tensor:  # (k,)
        """How many measurements judge each member."""
        return (self.judges * self.asked.informative.sum((-1, -2))).sum(1)


@dataclass(frozen=True)
class Lessons:
    """The `weights` (M, N) of who teaches, their sum `everyone` (M, 1) over all processes, and a `Lesson` for members alike."""

    weights: Tensor
    everyone: Tensor
    parts: tuple[Lesson, ...]

    @property
    def share(self) -> Tensor:  # (M, N)
        """The weights, whose sum over everyone is 1."""
        return self.weights / self.everyone

    @cached_property
    def alike(self) -> bool:
        """Are all members taught, and judged, by the same?"""
        judges = self.of_members(lambda lesson: lesson.judges)
        same = bool((self.weights == self.weights[:1]).all() and (judges == judges[:1]).all())
        return same and len(self.parts) == 1

    def of_members(self, each: Callable[[Lesson], Tensor]) -> Tensor:  # (M, …)
        """What `each` says of the members of every part, (k, …), put in the members' order."""
        if len(self.parts) == 1:
            return each(self.parts[0])
        found = torch.cat([each(part) for part in self.parts])
        return found[torch.argsort(torch.cat([part.members for part in self.parts]))]


def lessons(
    objective: Objective,
    cohort: Cohort,
    members: int,
    name: str,
    total: Callable[[Tensor], Tensor] = lambda part: part,
) -> Lessons:
    """What the objective asks each member to learn from this cohort, and by what it is judged.

    `name`: the fit that asks, with which a sentence begins · `total` sums over the processes that share the people. Who has
    measurements that judge and none that teach weighs 0.
    Errors: `ValueError` as `people_counted`; for a mask of another shape, one that takes no measurement, and one that leaves a
    member nothing to learn from.
    """
    M, (N, T) = members, cohort.times.shape
    weights, held_out, everyone = people_counted(objective, cohort.y, (M, N), name, total)
    all_of_them = torch.arange(M, device=cohort.y.device)
    if objective.judged is None:
        at = objective.forecast_from
        known, asked = (cohort, cohort) if at is None else (cohort.until(at), cohort.after(at))
        return Lessons(weights, everyone, (Lesson(all_of_them, cohort, cohort, known, asked, held_out, True),))
    judged = objective.judged.to(cohort.y.device)
    if judged.shape not in ((N, T), (M, N, T), (1, N, T)):
        raise ValueError(
            f"{name}: judged needs shape (N, T) = {(N, T)}, or (M, N, T) = {(M, N, T)}, got {tuple(judged.shape)}; write "
            "judged_tail(cohort) of this cohort"
        )
    judged = judged.expand(M, N, T)
    there = cohort.informative.any(-1)  # (N, T)
    teach, judge = (there & ~judged).any(-1), (there & judged).any(-1)  # (M, N)
    weights = torch.where(judge & ~teach, 0.0, weights)
    everyone = total(weights.sum(1, keepdim=True))
    if not bool(total(judge.sum(1).to(weights)).sum() > 0):
        raise ValueError(f"{name}: judged takes no measurement, so that nothing would judge; write judged_tail(cohort)")
    left = total(((weights > 0) & teach).sum(1).to(weights))
    for m in torch.nonzero(left == 0)[:, 0].tolist():
        whose = "" if M == 1 else f" for member {m}"
        raise ValueError(f"{name}: judged leaves nothing to learn from{whose}: it takes every measurement of those who count")
    parts = []
    rest = list(range(M))
    while rest:
        mask = judged[rest[0]]
        same = [m for m in rest if torch.equal(judged[m], mask)]
        rest = [m for m in rest if m not in same]
        rows = torch.tensor(same, device=cohort.y.device)
        taught, asked = cohort.without(mask), cohort.only(mask)
        parts.append(Lesson(rows, cohort, taught, taught, asked, judge[rows], len(same) == M))
    return Lessons(weights, everyone, tuple(parts))


def scored(
    lesson: Lesson,
    run: Rollout,
    likelihood: Likelihood,
    anchors: Anchor | None,
    name: str,
) -> Tensor:  # (k, N)
    """−log p(y | η) of what teaches the lesson's members, by the likelihood that is asked for, out of a simulation of all.

    Errors: `ValueError`, which begins with `name`, for a likelihood that cannot score these, or gives another shape.
    """
    y, mean, variance, correlation = lesson.taught.y, run.mean, run.variance, run.correlation
    if not lesson.every:
        mean, variance = mean[lesson.members], variance[lesson.members]
        correlation = correlation if correlation is None or len(correlation) == 1 else correlation[lesson.members]
        anchors = None if anchors is None else anchors.members(lesson.members)
    beyond = lesson.taught.limits is not None or lesson.taught.censoring == "m4"
    if beyond and (anchors is not None or likelihood is not gaussian_nll):
        what = "this likelihood scores numbers" if anchors is None else "anchors move every measurement by a draw of its noise"
        raise ValueError(
            f"{name}: some values are only known to lie between limits, and {what}; write likelihood=gaussian_nll without "
            'anchors, or leave such values out, Cohort.of(records, model, censoring="m1")'
        )
    if correlation is not None and (anchors is not None or likelihood is not gaussian_nll):
        what = "this likelihood scores each channel alone" if anchors is None else "anchors move each channel by itself"
        raise ValueError(
            f"{name}: the errors of channels at one time are correlated (Correlated), and {what}; write likelihood=gaussian_nll "
            "without anchors, or take the head without Correlated"
        )
    if beyond or correlation is not None:
        return lesson.taught.nll(mean, variance, correlation)
    if anchors is not None:
        return anchors.likelihood(likelihood, y, mean, variance)
    try:
        each = likelihood(y, mean, variance)
    except (TypeError, NotImplementedError) as error:
        why = str(error)[:100]
        raise ValueError(f"{name}: likelihood cannot score (y, mean, variance): {why}; write gaussian_nll") from error
    if not isinstance(each, Tensor) or each.shape != mean.shape[:2]:
        shape = tuple(mean.shape[:2])
        raise ValueError(f"{name}: likelihood gives one number a member and person, {shape}, and gave {quote(each)}")
    return each


def looked(
    taught: Lessons,
    model: HybridModel,
    warm: Tensor | None,  # (M, N, d)
    solver: Solver | None,
    total: Callable[[Tensor], Tensor] = lambda part: part,
) -> tuple[Tensor, Tensor]:  # (M,), (M, N, d)
    """Every member's look: `judgement` of each part."""
    found = []
    for part in taught.parts:
        alone = model if part.every else select(model, part.members)
        begin = warm if warm is None or part.every else warm[part.members]
        found.append(judgement(alone, part, begin, solver, total))
    if len(found) == 1:
        return found[0]
    back = torch.argsort(torch.cat([part.members for part in taught.parts]))
    return torch.cat([score for score, _ in found])[back], torch.cat([mode for _, mode in found])[back]


def judgement(
    model: HybridModel,
    lesson: Lesson,
    warm: Tensor | None,  # (k, N, d)
    solver: Solver | None,
    total: Callable[[Tensor], Tensor] = lambda part: part,
) -> tuple[Tensor, Tensor]:  # (k,), (k, N, d)
    """Mean −log predictive density per measurement that judges each of these members, and everyone's coordinates.

    `model`: of these members alone · `warm`, where the search for coordinates begins: the last look's.
    NaN for a member that nothing judges.
    """
    model, known = in_float64(model, lesson.known)
    asked = in_float64(model, lesson.asked)[1]
    # a few damped steps suffice: the next look goes on from here; all of them, so that nobody waits for who else converged
    found = modes(model, known, start=warm, iterations=4, tolerance=0.0, solver=solver)
    with torch.no_grad():
        # a forecaster does not know the person exactly: their posterior widens what is predicted (to first order)
        s = sensitivity(model, asked.conditions, found.mode, solver)
        if s.correlation is None:
            own = torch.einsum("mntpi,mnij,mntpj->mntp", s.mean_slope, found.covariance, s.mean_slope)
            each = asked.nll(s.mean, s.variance + own, None)  # (k, N)
        else:  # of all channels of one time together
            sd = s.variance.sqrt()
            noise = sd[..., :, None] * s.correlation[:, None, None] * sd[..., None, :]
            spread = noise + torch.einsum("mntpi,mnij,mntqj->mntpq", s.mean_slope, found.covariance, s.mean_slope)
            widths = spread.diagonal(dim1=-2, dim2=-1)
            scale = widths.sqrt()
            each = asked.nll(s.mean, widths, spread / (scale[..., :, None] * scale[..., None, :]))
    count = total(lesson.count)
    score = total(torch.where(lesson.judges, each, 0.0).sum(1)) / count.clamp(min=1)
    return torch.where(count > 0, score, torch.nan), found.mode.contiguous()
