"""How far the training of a bundle reached, and whether a question goes beyond it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from exchange import Bundle, Person
from homeostat.bundles.predicted import mesh_of, most_steps
from hybrid import Conditions, HybridModel, Schedule, build_segments, conditions_of, field_spread, rollout
from hybrid.defaults import predicting
from hybrid.schedules.dose import as_float
from physics.arguments import quote
from training.people.clock import origin_of, since

POINTS = 97  # times at which a path is looked at, equally far apart
AFTER, SPAN, MOST = 160, 40.0, 2_000  # and after each jump: at most so many, over so many octaves, and so many in all
SPARE = 0.01  # of a range's width: between two of these times a path goes a little higher and lower
MORE = 1.1  # times the members' largest disagreement in training: the same, for the field
BLOCK = 2**16  # points of the field at once

CRITERION = (
    "Compared with the bundle's people, each under their own schedule as far as they were measured, at every member's most "
    "likely parameters: the largest single dose into each compartment, and the range of each input and of each state, with 1 % "
    "to spare; and the largest standard deviation of the members' vector fields at one person's parameters, in the "
    "states' scales, 1.1 times which counts as more. Each state and input is looked at by itself: what is inside may still be a "
    "combination that nobody had."
)


@dataclass(frozen=True, eq=False)
class Beyond:
    """Where one person's schedule leaves what was trained; nothing found where it does not.

    `doses` (asked, largest of training) by compartment, `inputs` and `states` ((low, high) asked, (low, high) of training) by
    name, each of those alone that go beyond · `disagreement`, the largest standard deviation of the members' fields along the
    path over the largest in training, None where members have nothing to disagree about · `spans`, the times from and to which
    a state or the disagreement is beyond · `learned`, whether the model has a learned part, and how many `members`.
    """

    doses: Mapping[str, tuple[float, float]]
    inputs: Mapping[str, tuple[tuple[float, float], tuple[float, float]]]
    states: Mapping[str, tuple[tuple[float, float], tuple[float, float]]]
    disagreement: float | None
    spans: tuple[tuple[float, float], ...]
    units: Mapping[str, str]
    learned: bool = True
    members: int = 2

    def __bool__(self) -> bool:
        return bool(self.doses or self.inputs or self.states) or (self.disagreement or 0.0) > MORE

    def at(self, time: float) -> bool:
        """Is a state, or the members' disagreement, beyond at this time?"""
        return any(begin <= time <= end for begin, end in self.spans)

    def reasons(self) -> list[str]:
        """What goes beyond, each in a few words with its numbers."""
        found = []
        for name, (asked, trained) in self.doses.items():
            unit = self._unit(name)
            known = f"at most {trained:.5g}{unit} in training" if trained > 0.0 else "nobody had one in training"
            times = f" ({_times(asked / trained)})" if trained > 0.0 else ""
            found.append(f"a dose of {asked:.5g}{unit} into {name}, {known}{times}")
        for what, these in (("the input ", self.inputs), ("", self.states)):
            for name, ((low, high), (least, most)) in these.items():
                unit = self._unit(name)
                found.append(f"{what}{name} from {low:.5g} to {high:.5g}{unit}, in training {least:.5g} to {most:.5g}{unit}")
        if found and self.disagreement is not None:
            more = self.disagreement > MORE
            found.append(
                f"the members' vector fields differ by up to {self.disagreement:.2g} times as much as anywhere in training"
                + ("" if more else ", which is no more than there: where nobody was, they may agree and be wrong together")
            )
        elif self.disagreement is not None and self.disagreement > MORE:
            found.append(f"the members' vector fields differ up to {self.disagreement:.2g} times as much as anywhere in training")
        return found

    def sentence(self) -> str:
        """All of it as one warning; "" where nothing goes beyond."""
        if not self:
            return ""
        return f"Beyond what was trained: {'; '.join(self.reasons())}. {self.why()}: they may be far too narrow."

    def why(self) -> str:
        """Why intervals say little there, of what the model consists of."""
        return extrapolating(self.learned, self.members)

    def _unit(self, name: str) -> str:
        unit = self.units.get(name, "1")
        return "" if unit in ("", "1") else f" {unit}"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "beyond": bool(self),
            "sentence": self.sentence(),
            "doses": {k: {"asked": a, "trained": t, "unit": self.units.get(k)} for k, (a, t) in self.doses.items()},
            **{
                what: {k: {"asked": list(a), "trained": list(t), "unit": self.units.get(k)} for k, (a, t) in these.items()}
                for what, these in (("inputs", self.inputs), ("states", self.states))
            },
            "field_disagreement": self.disagreement,
            "times": [list(span) for span in self.spans],
            "criterion": CRITERION,
        }


def extrapolating(learned: bool, members: int) -> str:
    """What is beyond training, and what the intervals there can show, as the beginning of a sentence."""
    what = "the learned part extrapolates" if learned else "what was fitted is used where it was not fitted"
    shows = "only what the members disagree about" if members > 1 else "nothing of whether the model still holds"
    return f"There {what}, and the intervals show {shows}"


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times as much"


@dataclass(frozen=True, eq=False)
class Reach:
    """What a bundle's people went through in training, as its model has them: see `CRITERION`.

    `doses`, the largest into each compartment that had any · `inputs` (2, m) and `states` (2, n), lowest and highest ·
    `scale` (n,) of the states · `spread`, the largest standard deviation over members of the vector field, each state's in its
    scale, None where members have nothing to disagree about.
    """

    doses: Mapping[str, float]
    inputs: np.ndarray
    states: np.ndarray
    scale: Tensor
    spread: float | None

    @staticmethod
    def of(bundle: Bundle, end: float) -> "Reach":
        """Everyone's own schedule, until they were last measured, or until `end` where a bundle does not say when that was.

        Errors: `ValueError` for a bundle without people.
        """
        if not bundle.people:
            raise ValueError("the bundle holds nobody, so that nothing is known of what it was trained on")
        people = tuple(replace(p, schedule=_own(p.schedule)) for p in bundle.people)
        for p in people:
            _require_measured(bundle, p)
        bundle = replace(bundle, people=people, mesh=mesh_of(bundle))
        grids = [_grid(p.schedule, end if p.until is None else p.until) for p in people]
        paths = _Paths.of(bundle, bundle.conditions(_padded(grids)), bundle.personal.mode, "return")
        there = torch.isfinite(paths.states).all(-1).numpy()  # (M, N, T)
        x, u = paths.states.numpy()[there], paths.inputs.flatten(0, 1).numpy()
        if not len(x):
            raise ValueError("nobody in the bundle can be simulated under their own schedule; train the model again")
        states, inputs = (np.stack([v.min(0), v.max(0)]) for v in (x, u))
        scale = torch.from_numpy(np.abs(states).max(0))
        scale = torch.where(scale > 0.0, scale, scale.max().clamp_min(1e-300))
        spread = float(paths.spread(bundle.model, scale).numpy()[there].max())
        return Reach(_largest([p.schedule for p in people]), inputs, states, scale, spread if spread > 0.0 else None)

    def beyond(
        self,
        bundle: Bundle,
        schedules: Sequence[Schedule],  # N
        ends: Sequence[float],  # N
        mode: Tensor,  # (M, N, d)
        *,
        covariates: Mapping[str, Sequence[float]],  # each N
        baseline: Tensor,  # (N, p)
        given: Conditions | None = None,
    ) -> list[Beyond]:
        """N people, each under a schedule until an end, compared; `given`, what is known of them, where some of it changes on
        the way.
        """
        model, backbone = bundle.model, bundle.model.backbone
        grids = [_grid(schedule, end) for schedule, end in zip(schedules, ends, strict=True)]
        asked, mesh = _padded(grids), mesh_of(bundle)
        if given is None or given.changes is None:
            conditions = conditions_of(model, schedules, asked, covariates=covariates, baseline=baseline, mesh=mesh)
        else:
            names = (backbone.states, backbone.inputs)
            segments = build_segments(schedules, asked, *names, mesh, delivery=model.delivery, turns=given.turns)
            conditions = given.recut(segments, torch.tensor(asked, dtype=torch.float64, device=given.baseline.device))
        paths = _Paths.of(bundle, conditions, mode)
        along = None if self.spread is None else paths.spread(model, self.scale).numpy() / self.spread  # (M, N, T)
        units = dict(zip((*backbone.states, *backbone.inputs), (*backbone.state_units, *backbone.input_units), strict=True))
        found = []
        for i, (schedule, times) in enumerate(zip(schedules, grids, strict=True)):
            T = len(times)
            x, u = paths.states[:, i, :T].numpy(), paths.inputs[i, :T].numpy()  # (M, T, n), (T, m)
            outside = np.asarray(_outside(x, self.states).any((0, 2)) | _outside(u, self.inputs).any(1))  # (T,)
            ratio = None
            if along is not None:
                here = along[:, i, :T].max(0)
                ratio, outside = float(here.max()), outside | (here > MORE)
            doses = {
                name: (amount, self.doses.get(name, 0.0))
                for name, amount in _largest([schedule]).items()
                if amount > self.doses.get(name, 0.0) * (1.0 + SPARE)
            }
            inputs = _leaving(backbone.inputs, u, self.inputs)
            states = _leaving(backbone.states, x.reshape(-1, x.shape[-1]), self.states)
            found.append(
                Beyond(doses, inputs, states, ratio, _spans(times, outside), units, not model.residual.vanishes, model.members)
            )
        return found


@dataclass(frozen=True, eq=False)
class _Paths:
    """Paths of N people under every member: `states` (M, N, T, n), `inputs` (N, T, m), and at one `theta` (N, q) and `context`
    (N, r) for each person, or (N, T, q) and (N, T, r) where they change on the way, those of the members' mean. On the
    processor; NaN where someone cannot be simulated.
    """

    states: Tensor
    inputs: Tensor
    theta: Tensor
    context: Tensor

    @staticmethod
    def of(
        bundle: Bundle, conditions: Conditions, mode: Tensor, on_failure: Literal["raise", "return"] = "raise"
    ) -> "_Paths":
        model = bundle.model
        solver, mode = predicting(bundle.solver, model.dtype), mode.to(model.device)
        with torch.no_grad():
            run = rollout(model, conditions, mode, solver, on_failure=on_failure)
        states = run.states.cpu()
        inputs = run.inputs.cpu()[0].expand(states.shape[1], states.shape[2], -1)
        N = states.shape[1]
        theta, context = (v.cpu().mean(0) for v in (run.theta, run.context))  # (N|1, q), or (N, P, q) where they change
        if conditions.changes is None:
            theta, context = theta.expand(N, -1), context.expand(N, -1)
        else:
            rows, read = torch.arange(N)[:, None], conditions.changes.reading.cpu()  # (N, T)
            theta, context = theta.expand(N, -1, -1)[rows, read], context.expand(N, -1, -1)[rows, read]
        return _Paths(states, inputs, theta, context)

    def spread(self, model: HybridModel, scale: Tensor) -> Tensor:  # (M, N, T)
        """The standard deviation over members of the field's learned part, the root of the mean over states in their scales."""
        lead = self.states.shape[:-1]
        model = copy.deepcopy(model).to("cpu")

        def everywhere(value: Tensor) -> Tensor:  # (M, N, T, …), (N, T, …) or (N, …) -> (points, …)
            value = value[:, None] if value.ndim == 2 else value
            return value.expand(*lead, value.shape[-1]).flatten(0, -2)

        x, u, c, theta = (everywhere(v) for v in (self.states, self.inputs, self.context, self.theta))
        found = [
            field_spread(model, x[k : k + BLOCK], u[k : k + BLOCK], c[k : k + BLOCK], theta[k : k + BLOCK])
            for k in range(0, len(x), BLOCK)
        ]
        return (torch.cat(found) / scale.square()).mean(-1).sqrt().reshape(lead)


def _grid(schedule: Schedule, end: float) -> list[float]:
    """Times from a schedule's start to `end`: equally far apart, and in every stretch without a jump the closer together the
    nearer to its begin. A peak stands where the rates put it, however long the record is.
    """
    start, end = schedule.start, max(end, schedule.start)
    jumps = [as_float(d.arrival) for d in schedule.doses]
    jumps += [as_float(d.arrival) + as_float(d.duration) for d in schedule.doses]
    jumps += [t for signal in schedule.inputs.values() for t in signal.times]
    jumps += [*schedule.resets, *(one.time for one in schedule.steady)]
    edges = sorted({start, *(t for t in jumps if start <= t < end), end})
    octaves = np.arange(max(8, min(AFTER, MOST // len(edges))))
    parts = np.exp2(-octaves * (SPAN / len(octaves)))[:-1]  # of a stretch: from all of it to 2^−SPAN
    close = [a + (b - a) * parts for a, b in pairwise(edges)]
    just_after = [a + 1e-9 * (b - a) for a, b in pairwise(edges)]
    return sorted({*np.linspace(start, end, POINTS).tolist(), *edges, *np.concatenate([*close, just_after]).tolist()})


def _require_measured(bundle: Bundle, person: Person) -> None:
    """A stranger's file may say that somebody was measured for a million years."""
    step, until, most = bundle.mesh.step, person.until, most_steps(bundle)
    if step is not None and until is not None and not (until - person.schedule.start) / step <= most:
        raise ValueError(
            f"person {quote(person.id)} of the bundle was last measured at {until:g}, more than {most:,} steps of the model's "
            f"{step:.3g} after the start: that is no time of a record; save the bundle again"
        )


def _own(schedule: Schedule) -> Schedule:
    """On the person's own clock, where a script has kept the table's."""
    return since(schedule, np.array([schedule.start]), origin_of(schedule))[0]


def _padded(grids: Sequence[Sequence[float]]) -> list[list[float]]:
    """All as long as the longest, which the last time fills up."""
    longest = max(map(len, grids))
    return [[*grid, *[grid[-1]] * (longest - len(grid))] for grid in grids]


def _largest(schedules: Sequence[Schedule]) -> dict[str, float]:
    """The largest dose into each compartment that gets any."""
    found: dict[str, float] = {}
    for dose in (d for schedule in schedules for d in schedule.given):
        found[dose.state] = max(found.get(dose.state, 0.0), as_float(dose.amount))
    return found


def _outside(values: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Which of the last axis' entries leave the range (2, …) by more than can be seen between two times."""
    spare = SPARE * (reach[1] - reach[0]) + 1e-9 * np.abs(reach).max(0, initial=0.0)
    found: np.ndarray = (values < reach[0] - spare) | (values > reach[1] + spare)
    return found


def _leaving(
    names: Sequence[str], values: np.ndarray, reach: np.ndarray
) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
    """By name the range of values (K, n) and that of training, where the first leaves the second."""
    out = np.asarray(_outside(values, reach).any(0))
    found = {}
    for j in np.flatnonzero(out).tolist():
        ends = np.array([values[:, j].min(), values[:, j].max(), *reach[:, j]])
        ends[np.abs(ends) < 1e-9 * np.abs(ends).max()] = 0.0  # what rounding leaves of 0
        low, high, least, most = ends.tolist()
        found[names[j]] = (low, high), (least, most)
    return found


def _spans(times: Sequence[float], outside: np.ndarray) -> tuple[tuple[float, float], ...]:
    """The times from and to which something is outside, in runs; each ends at the first time that is inside again."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], outside, [False]]).astype(int)))
    last = len(times) - 1
    return tuple((float(times[a]), float(times[min(b, last)])) for a, b in zip(edges[::2], edges[1::2], strict=True))
