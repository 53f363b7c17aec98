"""What a study would measure, before anybody is: who is given what, and when which channel is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hybrid import Conditions, HybridModel, Schedule, conditions_of
from hybrid.schedules.columns import column
from physics.arguments import quote, require_kind, require_number, require_text
from physics.glance import Summary, glance
from physics.occasions import OCCASION
from training.people.cohort import Cohort

_WRITE = "Arm(schedule, times=(0.5, 2.0, 24.0), people=12)"


def _summary(arm: "Arm") -> Summary:
    by = arm.times if isinstance(arm.times, Mapping) else {"every channel": arm.times}
    return f"Arm of {arm.people} people, measured {sum(len(t) for t in by.values())} times", [
        *((name, ", ".join(f"{t:g}" for t in times)) for name, times in by.items()),
        ("given", arm.schedule),
        ("covariates", ", ".join(f"{name} {value:g}" for name, value in arm.covariates.items())),
    ]


@dataclass(frozen=True)
class Arm:
    """People who are alike: all are given `schedule`, and measured at `times`.

    `schedule` · `times`, increasing, in the model's time unit and on the schedule's clock, at which every channel is measured, or
    by channel, {"concentration": (1.0, 4.0), "effect": (4.0, 8.0)}; equal ones are replicates · `people`, how many ·
    `covariates` of each of them, by name, in the model's units · `baseline`, what is measured of a channel at or before the
    start, in its unit, for a model that starts from it: it tells nothing of the parameters.
    Errors: `ValueError` for times that decrease, are not finite or none, and numbers that cannot be.
    """

    schedule: Schedule
    times: Sequence[float] | Mapping[str, Sequence[float]]
    people: int = 1
    covariates: Mapping[str, float] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        require_kind(self.schedule, Schedule, "Arm: schedule", 'Schedule((Dose("gut", 0.0, 320.0),)), or Schedule()')
        require_number(self.people, "Arm: people, how many,", least=1.0, most=1e8, whole=True)
        object.__setattr__(self, "people", int(self.people))
        if isinstance(self.times, Mapping):
            for name in self.times:
                require_text(name, "Arm: times, by channel: a name", '"concentration"')
            object.__setattr__(self, "times", {name: _increasing(times, name) for name, times in self.times.items()})
        else:
            object.__setattr__(self, "times", _increasing(self.times, "every channel"))
        if isinstance(self.times, Mapping) and not any(len(times) for times in self.times.values()):
            raise ValueError(f"Arm: nothing is measured: times are {quote(self.times)}; write {_WRITE}")
        by = self.times.values() if isinstance(self.times, Mapping) else [self.times]
        first = min(times[0] for times in by if len(times))
        if first < self.schedule.start:
            raise ValueError(
                f"Arm: the first time is {first:g}, before the schedule's start at {self.schedule.start:g}, and tells nothing "
                "of it; leave it out, or write Schedule(…, start=…)"
            )
        for what in ("covariates", "baseline"):
            given = getattr(self, what)
            require_kind(given, Mapping, f"Arm: {what}", '{"WT": 70.0}')
            for name, value in given.items():
                require_text(name, f"Arm: {what}: a name", '"WT"')
                require_number(value, f"Arm: {what}: {name}")


def _increasing(times: object, name: str) -> tuple[float, ...]:
    found = np.zeros(0) if isinstance(times, tuple | list) and not times else column(times, f"Arm: times of {name}")
    if not np.isfinite(found).all() or (np.diff(found) < 0.0).any():
        raise ValueError(f"Arm: times of {name} are finite and increase, and are {quote(times)}; write {_WRITE}")
    if not len(found) and name == "every channel":
        raise ValueError(f"Arm: nothing is measured: there are no times; write {_WRITE}")
    return tuple(float(t) for t in found)


Design = Sequence[Arm] | Arm | Cohort


@dataclass(frozen=True)
class Sampled:
    """A design cut for a model.

    `conditions` of one person of each of N arms · `times` (N, T), padded with the last one · `there` (N, T, p), what is
    measured · `people` (N,), how many of each.
    """

    conditions: Conditions
    times: Tensor
    there: Tensor
    people: Tensor

    @property
    def count(self) -> int:
        """Measurements of everybody."""
        return int((self.there.sum((1, 2)) * self.people).sum())


def sampled(model: HybridModel, design: Design, name: str) -> Sampled:
    """Arms cut for a model, or the people of a cohort, each an arm of one: what was measured of them as a number.

    Errors: `ValueError`, beginning with `name`, for what is no design, a channel or covariate that the model does not have or
    lacks, and a design that measures nothing.
    """
    if isinstance(design, Cohort):
        if design.conditions.changes is not None:
            raise ValueError(
                f"{name}: covariates or occasions change within records of this cohort, so that a person has several θ, and this "
                "information is of one; give Arm(…)"
            )
        there = design.mask.clone()
        people = torch.ones(len(there), dtype=torch.float64, device=there.device)
        found = Sampled(design.conditions, design.times, there, people)
    else:
        found = _of_arms(model, design, name)
    if not found.count:
        raise ValueError(f"{name}: this design measures nothing as a number; give times")
    return found


def _of_arms(model: HybridModel, design: object, name: str) -> Sampled:
    arms = [design] if isinstance(design, Arm) else list(design) if isinstance(design, tuple | list) else []
    if not arms or not all(isinstance(arm, Arm) for arm in arms):
        raise ValueError(f"{name}: a design is one Arm or several, or a Cohort, and is {quote(design)}; write {_WRITE}")
    channels, uses = model.observation.channels, model.uses
    rows, masks = [], []
    for arm in arms:
        by = arm.times if isinstance(arm.times, Mapping) else dict.fromkeys(channels, arm.times)
        for kind, given, known in (("times of", by, channels), ("a baseline of", arm.baseline, channels)):
            stray = [c for c in given if c not in known]
            if stray:
                raise ValueError(
                    f"{name}: an arm has {kind} {quote(stray[0])}, and the model's channels are {', '.join(known)}; name one "
                    "of them"
                )
        missing = [c for c in uses if c not in arm.covariates]
        if OCCASION in missing:
            raise ValueError(
                f"{name}: parameters of this model differ between a person's occasions, and an arm is of people in one occasion; "
                f'of the first one write Arm(…, covariates={{"{OCCASION}": 1.0}}); what several occasions of one person tell '
                "together is not computed here"
            )
        if missing:
            raise ValueError(
                f"{name}: the model reads {missing[0]} of everyone; write Arm(…, covariates={{{missing[0]!r}: …}})"
            )
        # a time at which a channel is measured twice stands twice
        most = {
            t: max(list(times).count(t) for times in by.values()) for t in {t for times in by.values() for t in times}
        }
        row = [t for t in sorted(most) for _ in range(most[t])]
        mask = torch.zeros(len(row), len(channels), dtype=torch.bool)
        for channel, times in by.items():
            for t in set(times):
                first = row.index(t)
                mask[first : first + list(times).count(t), channels.index(channel)] = True
        rows.append(row)
        masks.append(mask)
    covariates = {c: [float(arm.covariates[c]) for arm in arms] for c in uses}
    start = torch.full((len(arms), len(channels)), torch.nan, dtype=torch.float64)
    for n, arm in enumerate(arms):
        for channel, value in arm.baseline.items():
            start[n, channels.index(channel)] = float(value)
    schedules = [arm.schedule for arm in arms]
    conditions = conditions_of(model, schedules, rows, covariates=covariates, baseline=start)
    there = torch.zeros(len(arms), max(map(len, rows)), len(channels), dtype=torch.bool)
    for n, mask in enumerate(masks):
        there[n, : len(mask)] = mask
    padded = [[*row, *[row[-1]] * (there.shape[1] - len(row))] for row in rows]
    people = [float(arm.people) for arm in arms]
    times, counts = (torch.tensor(v, dtype=torch.float64, device=model.device) for v in (padded, people))
    return Sampled(conditions, times, there.to(model.device), counts)
