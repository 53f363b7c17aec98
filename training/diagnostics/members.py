"""Whose numbers these are, where a model has several members, and which people everything could be computed of."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hybrid import Conditions, HybridModel, Log, Rollout, Solver, rollout
from learned import select
from physics.arguments import require_kind, require_number, require_same_people
from training.people.cohort import Cohort, in_float64
from training.people.mode import personalise
from training.people.posterior import Personal

ROWS = 4096  # people of one simulation: more need memory, and are no faster


@dataclass(frozen=True)
class About:
    """What every diagnostic says of itself: of whom, in which units, of which members.

    `ids` (N,) · `channels`, `units` (p,) · `time_unit` · `members`, in words: "one member", "member 3 of 8" or "the mixture of 8
    members" · `failed`, index → why, of the people whose numbers are NaN ·
    `logarithms`: whether what is measured is the logarithm of something.
    """

    ids: tuple[str, ...]
    channels: tuple[str, ...]
    units: tuple[str, ...]
    time_unit: str
    members: str
    failed: dict[int, str] = field(default_factory=dict)
    logarithms: bool = False


def chosen(model: HybridModel, cohort: Cohort, member: int | None, name: str) -> tuple[HybridModel, Cohort, About]:
    """The model in float64, of the members that are asked for, and what is said of them.

    `member`: its place, from 0; None, by default, is the equally weighted mixture of all.
    """
    model, cohort = in_float64(model, cohort)
    M = model.members
    words = "one member" if M == 1 else f"the mixture of {M} members"
    if member is not None:
        require_number(member, f"{name}: member, its place, from 0,", least=0.0, most=M - 1.0, whole=True)
        words = "one member" if M == 1 else f"member {int(member) + 1} of {M}"
        model = select(model, torch.tensor([int(member)])) if M > 1 else model
    observed = model.observation
    logs, clock = isinstance(observed, Log), model.backbone.time_unit
    return model, cohort, About(cohort.ids, observed.channels, observed.units, clock, words, logarithms=logs)


def personal_of(
    model: HybridModel,
    cohort: Cohort,
    personal: Personal | None,
    member: int | None,
    solver: Solver | None,
    name: str,
) -> Personal:
    """Everyone's own coordinates under the chosen members: those given, which are of all members, or found now."""
    if personal is None:
        return personalise(model, cohort, solver=solver)
    require_kind(personal, Personal, f"{name}: personal", "personalise(model, cohort)")
    require_same_people(personal.ids, cohort.ids, f"{name}: personal and the cohort", "give personal.people(index) in its order")
    M, N, d = personal.mode.shape
    if (N, d) != (len(cohort.ids), model.personal):
        raise ValueError(
            f"{name}: personal is of {N} people with {d} coordinates, and the cohort of {len(cohort.ids)} with {model.personal}; "
            "write personalise(model, cohort)"
        )
    if member is not None and M > 1 and int(member) < M:
        at = [int(member)]
        personal = Personal(
            personal.mode[at],
            personal.covariance[at],
            personal.objective[at],
            personal.converged[at],
            personal.failed,
            personal.ids,
        )
    if personal.mode.shape[0] != model.members:
        raise ValueError(
            f"{name}: personal is of {M} members and the model has {model.members}; write personalise(model, cohort)"
        )
    return personal


def simulated_rows(
    model: HybridModel,
    conditions: Conditions,
    personal: Tensor,  # (M, R, d)
    solver: Solver | None,
) -> tuple[Rollout, dict[int, str]]:
    """One simulation, with NaN for rows that fail and why they do."""
    with torch.no_grad():
        run = rollout(model, conditions, personal, solver, on_failure="return")
    return run, {one.record: one.sentence for one in run.failures}


def without(about: About, failed: dict[int, str]) -> About:
    """The same with more people of whom there are no numbers."""
    return replace(about, failed={**about.failed, **failed})
