"""A filter down the columns of many people's records: one belief after every measurement of everyone."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from hybrid.conditions import Conditions
from hybrid.cutting.interval import Interval
from hybrid.cutting.mesh import Mesh
from hybrid.cutting.segments import Segments
from hybrid.cutting.stretches import meshed
from hybrid.derivative import array_of
from hybrid.filters.contract import Belief, Filter, Followed, Innovation, require_believed
from hybrid.filters.lost import anyone
from hybrid.filters.readings import Kept, Readings
from hybrid.filters.rts import Backward
from hybrid.filters.start import starting_belief
from hybrid.filters.stepping import OF_DRIFT, Steps, traced
from hybrid.solve.unmesh import unmeshed
from hybrid.threads import threads_by
from physics.arguments import require_choice, require_kind, require_shape
from physics.glance import glance

Keep = Literal["last", "filtered", "all"]


@dataclass(frozen=True)
class Track:
    """What a filter believed of N people under M members at their T measurements each.

    `times` (N, T) in the model's time unit · `last`, the belief at the records' ends · `log_likelihood` (M, N), of all that was
    measured of each person: log p(y₁) + log p(y₂ | y₁) + …, the evidence of the member.
    With keep="filtered" also `mean` (M, N, T, z), and `root` (M, N, T, z, z), after each measurement, and `innovation`, what
    each said of the prediction, with T behind the people in all of its parts. With keep="all" also `predicted_mean` and
    `predicted_root`, before each measurement, and, of a filter that moves a Gaussian in steps, `backward`, for the smoother: the
    law of the state after the measurement before (of the start, for the first), given that before this one.
    Where nothing was measured at a time, the belief before it is that after it, and its innovation is empty: `count` 0, `nis` 0,
    `log_likelihood` 0, NaN for values.
    """

    times: Tensor
    last: Belief
    log_likelihood: Tensor
    mean: Tensor | None = None
    root: Tensor | None = None
    innovation: Innovation | None = None
    predicted_mean: Tensor | None = None
    predicted_root: Tensor | None = None
    backward: Backward | None = None

    __repr__, _repr_html_ = glance()

    @property
    def lost(self) -> Tensor:  # (N,) bool
        """Of whom a prediction diverged on the way, under some member: they are NaN from there on, the others are as without."""
        return self.last.lost


def _people(given: Mapping[str, Any]) -> int:
    """How many people under how many members: the step of each is small, and threads would wait for each other."""
    people = given["filter"].people
    return int(people.size) * int(people.model.members)


@threads_by(_people)
def along(
    filter: Filter,
    start: Belief,
    segments: Segments,
    y: Tensor,  # (M|1, N, T, p) or (N, T, p)
    *,
    keep: Keep = "filtered",
) -> Track:
    """Predict and update down the columns of `segments`, everyone at their own times.

    What is measured at a boundary updates the belief before what arrives there: measurements before doses. Several of one time
    update one after the other.

    Arguments
    - `filter`, `start`: the belief at the segments' beginning, before what arrives there; y must not hold what it was made of
      (`follow` sees to that).
    - `segments`: as `Cohort`, `conditions_of` or `segments_of` cut them, at their observations. One step a segment where they
      are meshed; else they are cut by the mesh of the filter's people. Those of a linear model without a drift of η are exact
      whatever their length, and are not cut more than what happens and is measured asks.
    - `y`, NaN where a channel was not measured; with members in front where each has measurements of its own.
    - `keep`: "last", the belief at the end and the likelihood alone: memory for any number of measurements; "filtered", what is
      believed after each and what it said; "all", also what was predicted, and what a smoother needs.
    Returns a `Track`. Differentiable in the belief, weights, noises, doses and times that are tensors.
    Errors: `ValueError` for shapes, types and people that differ, a belief of another time than the segments' beginning, and
    observations inside the segments. Who diverges is none: `Track.lost`.
    Law: cutting the segments anew where nothing is measured changes nothing; a person alone is the person in company, to the
    bit where the filter keeps that.
    Source: Jazwinski, Stochastic Processes and Filtering Theory (1970) § 8; Schweppe, IEEE Trans. Inf. Theory 11 (1965) 61 (the
    likelihood by innovations).
    """
    require_kind(filter, Filter, "along: filter", "UKF(Followed.of(model, people))")
    require_kind(segments, Segments, "along: segments", "cohort.conditions.segments")
    segments.require_unbroken("along", "follow each stretch as a record of its own, or fit such people by fit_population")
    require_choice(keep, ("last", "filtered", "all"), "along: keep")
    people = filter.people
    require_believed(people, start, "along")
    y = _measurements(people, segments, y, len(start.mean), "along")
    segments = _steps(people, segments)
    _require_time(start, segments)
    boundary = segments.boundary.cpu().numpy()
    if (np.diff(boundary, axis=1) < 0).any():
        raise ValueError("along: somebody's observations are not in the order of time; sort them")
    K = segments.dt.shape[1]
    readings = Readings.of(boundary, torch.isfinite(y.detach()).any(-1).any(0).cpu().numpy(), K + 1)
    inputs = segments.read_inputs()[0] if segments.u0.shape[-1] else None  # (N, T, m)
    walk = _Walk(filter, start, readings, y, inputs, keep)
    walk.measure(0)
    for k in range(K):
        walk.predict(Interval.at(segments, k))
        walk.measure(k + 1)
    ends = (segments.start + segments.dt).gather(1, segments.segment)
    return walk.track(torch.where(segments.fraction == 0, segments.start.gather(1, segments.segment), ends))


@threads_by(_people)
def follow(
    filter: Filter,
    conditions: Conditions,
    y: Tensor,  # (M|1, N, T, p) or (N, T, p)
    *,
    personal: tuple[Tensor, Tensor] | None = None,  # (M|1, N, d), (M|1, N, d, d)
    spread: Mapping[str, float] | Tensor | None = None,
    keep: Keep = "filtered",
) -> Track:
    """A cohort's people from their start down all their measurements: `along`, from the first belief on.

    `follow(UKF(Followed.of(model, N, covariates=cohort.conditions.covariates)), cohort.conditions, cohort.y)`

    The belief starts from the conditions' baseline with its own noise and the prior of η (`starting_belief`). What is measured at
    the record's start of a channel that sets the model's start, where a baseline of it is given, is that baseline, and is not
    taken a second time as an update.
    Arguments: `filter` and `conditions` of the same people, in the same order; `y` as in `along`; `personal`, mean and covariance
    of η, by default the population's: of somebody personalised on these very measurements, that would count them twice; `spread`,
    standard deviations of the states at the start beside what the model and the baseline say; `keep` as in `along`.
    Errors: `ValueError` for people that differ, and what `starting_belief` and `along` refuse.
    """
    require_kind(filter, Filter, "follow: filter", "UKF(Followed.of(model, people, covariates=conditions.covariates))")
    require_kind(conditions, Conditions, "follow: conditions", "cohort.conditions")
    people, segments = filter.people, conditions.segments
    if conditions.limited:
        raise ValueError(
            "follow: of some measurements of these people limits alone are known, and a filter is corrected by numbers: it would "
            'leave them out without a word; leave them out yourself, Cohort.of(records, model, censoring="m1"), or '
            "personalise(model, cohort), which counts them"
        )
    if people.size != conditions.size:
        raise ValueError(f"follow: the filter is of {people.size} people and the conditions of {conditions.size}; give as many")
    for name, value in people.covariates.items():
        given = conditions.covariates.get(name)
        if name in people.model.uses and (given is None or not torch.allclose(given.to(value), value, rtol=1e-6, atol=0.0)):
            raise ValueError(
                f"follow: the filter's people have another {name} than the conditions'; write Followed.of(model, "
                "conditions.size, covariates=conditions.covariates)"
            )
    y = _measurements(people, segments, y, 1, "follow")
    starts = torch.tensor(people.model.starts_from, device=y.device)
    known = starts & torch.isfinite(conditions.baseline)  # (N, p)
    y = torch.where(_at_start(segments)[..., None] & known[:, None], torch.nan, y)
    start = starting_belief(
        people,
        baseline=conditions.baseline,
        personal=personal,
        inputs=segments.u0[:, 0] if segments.u0.shape[-1] else None,
        spread=spread,
        time=segments.start[:, 0],
    )
    return along(filter, start, segments, y, keep=keep)


def _at_start(segments: Segments) -> Tensor:  # (N, T) bool
    """Which observations no time separates from the record's start."""
    passed = torch.cat([torch.zeros_like(segments.dt[:, :1]), segments.dt.cumsum(1)], 1)
    return passed.gather(1, segments.segment) + segments.fraction * segments.dt.gather(1, segments.segment) == 0


def _measurements(people: Followed, segments: Segments, y: Tensor, members: int, name: str) -> Tensor:  # (M|1, N, T, p)
    """y with its members in front. Errors: `ValueError`, beginning with `name`, for what is of others."""
    N, T = segments.segment.shape
    p = len(people.model.observation.channels)
    if people.size != N:
        raise ValueError(f"{name}: the filter is of {people.size} people and the segments of {N}; give as many")
    require_shape(y, f"{name}: y", ..., N, T, p, write="cohort.y, NaN for what was not measured", like=segments.dt)
    if anyone(torch.isinf(y)):
        raise ValueError(f"{name}: y holds infinite values; write NaN where nothing was measured")
    sizes = {people.model.members, members, len(y) if y.ndim == 4 else 1} - {1}
    if y.ndim > 4 or len(sizes) > 1:
        raise ValueError(
            f"{name}: y has the shape {tuple(y.shape)}, the model {people.model.members} members and the belief {members}; give "
            "(N, T, p), or (M, N, T, p) of as many members"
        )
    if not segments.cut:
        raise ValueError(
            f"{name}: the observations lie inside the segments, and a filter takes them at their ends; cut the records at their "
            "observations, Mesh(..., observed=True)"
        )
    return y if y.ndim == 4 else y[None]


def _steps(people: Followed, segments: Segments) -> Segments:
    """The same records in columns of which each is one step."""
    if people.exact:
        return replace(unmeshed(segments), meshed=True)
    begins = np.zeros(len(segments.dt))
    if not segments.meshed:
        segments = meshed(segments, people.mesh, begins)
    if people.drifts and people.drift is not None:  # no mesh of a cohort knows how fast η drifts
        segments = meshed(segments, Mesh(OF_DRIFT * people.drift), begins)
    return segments


def _require_time(start: Belief, segments: Segments) -> None:
    """Raise `ValueError` unless the belief is of the records' beginning."""
    have, need = array_of(start.time).astype(np.float64), array_of(segments.start[:, 0]).astype(np.float64)
    near = 1e-6 if start.mean.dtype == torch.float32 else 1e-9
    far = np.flatnonzero(np.abs(have - need) > near * np.maximum(1.0, np.abs(need)))
    if len(far):
        i = int(far[0])
        raise ValueError(
            f"along: the belief of person {i} is of time {have[i]:g}, and the segments begin at {need[i]:g}; write "
            "starting_belief(people, time=segments.start[:, 0], …), or give the segments from the belief's time on"
        )


class _Walk:
    """The belief on its way down the columns, and what is kept of it."""

    def __init__(
        self,
        filter: Filter,
        start: Belief,
        readings: Readings,
        y: Tensor,  # (M|1, N, T, p)
        inputs: Tensor | None,  # (N, T, m)
        keep: Keep,
    ) -> None:
        self.filter, self.readings, self.y, self.inputs = filter, readings, y, inputs
        N, z, p = len(start.time), start.mean.shape[-1], y.shape[-1]
        M, like = max(filter.people.model.members, len(start.mean), len(y)), start.mean
        self.belief = start
        if len(like) != M:
            drawn = None if start.particles is None else start.particles.expand(M, *start.particles.shape[1:])
            self.belief = replace(start, mean=like.expand(M, N, z), root=start.root.expand(M, N, z, z), particles=drawn)
        self.likelihood = like.new_zeros(M, N)
        self.stage = self.update = 0
        self.after = None if keep == "last" else Kept(readings.after, like)
        self.said = None if keep == "last" else Kept(readings.update, like)
        self.before = Kept(readings.before, like) if keep == "all" else None
        self.laws: Kept | None = None
        if self.said is not None:
            nothing, none = like.new_zeros(M, N), like.new_full((M, N, p), torch.nan)
            count = torch.zeros(M, N, dtype=torch.long, device=like.device)
            self.said.put(-1, _parts(Innovation(none, _eye(like, M, N, p), nothing, count, nothing, none)))
        if keep == "all" and isinstance(filter, Steps):
            self.laws = Kept(np.where(readings.opens, readings.before, -1), like)
            eye = _eye(like, M, N, z)
            self.law = self.same = Backward(eye, torch.zeros_like(eye))
            self.laws.put(-1, {"gain": eye, "root": self.same.root})

    def predict(self, one: Interval) -> None:
        """To the next boundary."""
        if self.laws is None:
            self.belief = self.filter.predict(self.belief, one)
        else:
            self.belief, law = traced(self.filter, self.belief, one)
            self.law = self.law.then(law)

    def measure(self, boundary: int) -> None:
        """What is measured there."""
        if self.laws is not None:
            self.laws.put(self.stage, {"gain": self.law.gain, "root": self.law.root})
            rows = np.flatnonzero((np.where(self.readings.opens, self.readings.before, -1) == self.stage).any(1))
            if len(rows):
                begins = torch.zeros(len(self.belief.time), 1, 1, dtype=torch.bool)
                begins[torch.from_numpy(rows)] = True
                begins = begins.to(self.y.device)
                gain, root = (
                    torch.where(begins, new, old)
                    for new, old in ((self.same.gain, self.law.gain), (self.same.root, self.law.root))
                )
                self.law = Backward(gain, root)
        self._keep()
        for places in self.readings.taken[boundary]:
            self._take(torch.from_numpy(places).to(self.y.device))
        self.stage += 1

    def _take(self, place: Tensor) -> None:  # (N,), −1 for who has nothing here
        rows, at = torch.arange(len(place), device=place.device), place.clamp(min=0)
        y = torch.where((place < 0)[:, None], torch.nan, self.y[:, rows, at])
        inputs = None if self.inputs is None else self.inputs[rows, at]
        self.belief, said = self.filter.update(self.belief, y, inputs=inputs)
        self.likelihood = self.likelihood + said.log_likelihood
        if self.said is not None:
            self.said.put(self.update, _parts(said))
        self.update += 1
        self.stage += 1
        self._keep()

    def _keep(self) -> None:
        for kept in (self.before, self.after):
            if kept is not None:
                kept.put(self.stage, {"mean": self.belief.mean, "root": self.belief.root})

    def track(self, times: Tensor) -> Track:
        """What was kept."""
        if self.after is None or self.said is None:
            return Track(times, self.belief, self.likelihood)
        after, said = self.after.whole(), self.said.whole()
        predicted = {} if self.before is None else self.before.whole()
        return Track(
            times,
            self.belief,
            self.likelihood,
            *(after["mean"], after["root"]),
            Innovation(**said),
            predicted_mean=predicted.get("mean"),
            predicted_root=predicted.get("root"),
            backward=None if self.laws is None else Backward(**self.laws.whole()),
        )


def _parts(said: Innovation) -> dict[str, Tensor]:  # each (M, N, …)
    return {f.name: getattr(said, f.name) for f in fields(said)}


def _eye(like: Tensor, M: int, N: int, size: int) -> Tensor:  # (M, N, size, size)
    return torch.eye(size, dtype=like.dtype, device=like.device).expand(M, N, size, size)
