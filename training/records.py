"""People: what was done to each, what was measured, and what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from hybrid import Conditions, HybridModel, Mesh, Schedule, build_segments
from hybrid.schedule import as_float


@dataclass(frozen=True)
class Record:
    """One person.

    `id`; `schedule`; `times` (T,) increasing, in the record's time unit; `values` (T, p), NaN where a channel was not
    measured; `channels` (p,) their names; `covariates` by name; `units`: UCUM codes for "time", every channel, and
    whatever else is known ("dose", covariates).
    What is measured at or before the first dose is the baseline: it informs the initial state and is not scored.
    Errors: `ValueError` for times that do not increase, shapes that do not match, non-finite numbers, negative
    concentrations being left to the reader of the file.
    """

    id: str
    schedule: Schedule
    times: np.ndarray
    values: np.ndarray
    channels: tuple[str, ...]
    covariates: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        times = np.asarray(self.times, dtype=np.float64)
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)
        if times.ndim != 1 or values.shape != (len(times), len(self.channels)) or len(times) == 0:
            raise ValueError(
                f"record {self.id}: needs times (T,) and values (T, {len(self.channels)}) with T ≥ 1, got {times.shape} "
                f"and {values.shape}"
            )
        if not np.isfinite(times).all() or np.isinf(values).any():
            raise ValueError(f"record {self.id}: times must be finite and values finite or missing (NaN)")
        if (np.diff(times) <= 0).any():
            k = int(np.argmax(np.diff(times) <= 0))
            raise ValueError(
                f"record {self.id}: observation times must increase, and {times[k]:g} is followed by {times[k + 1]:g}; "
                "sort them, and put channels of one time in one row"
            )
        if times[0] < self.schedule.start:
            raise ValueError(f"record {self.id}: observed at {times[0]:g}, before it starts at {self.schedule.start:g}")
        if not np.isfinite(values).any():
            raise ValueError(f"record {self.id}: no channel was ever measured; leave the person out")

    @property
    def first_dose(self) -> float:
        """The time of the first dose; without any, the record's start."""
        return min((as_float(d.time) for d in self.schedule.doses), default=self.schedule.start)

    @property
    def scored(self) -> np.ndarray:  # (T,)
        """True where an observation is after the first dose, so that a model can be judged by it."""
        return self.times > self.first_dose

    @property
    def baseline(self) -> np.ndarray:  # (p,)
        """The last value of each channel before the first dose, 0 where none was taken."""
        before = self.values[~self.scored]
        found = [column[np.isfinite(column)] for column in before.T]
        return np.array([c[-1] if len(c) else 0.0 for c in found])

    def until(self, time: float) -> "Record":
        """The same person as known at `time`: later observations are missing."""
        values = np.where(self.times[:, None] <= time, self.values, np.nan)
        if not np.isfinite(values).any():
            raise ValueError(f"record {self.id}: nothing was measured up to {time:g}; ask for a later time")
        return replace(self, values=values)


@dataclass(frozen=True)
class Cohort:
    """N records as one padded batch.

    `records`; `conditions` (segments, covariates, baseline); `times` (N, T), padded with each record's last time; `y`
    (N, T, p), NaN where missing, padded or not scored. Law: a cohort of one gives what the record gives.
    """

    records: tuple[Record, ...]
    conditions: Conditions
    times: Tensor
    y: Tensor

    @staticmethod
    def of(records: Sequence[Record], model: HybridModel, mesh: Mesh | None = None) -> "Cohort":
        """The batch of these records, cut for this model, in float64 and where the model is.

        Errors: `ValueError` for no record, equal ids, channels or units that are not the model's, covariates that only
        some records have.
        """
        if not records:
            raise ValueError("a cohort needs at least one record, got none")
        ids = [r.id for r in records]
        if len(set(ids)) < len(ids):
            raise ValueError(f"record ids must differ, and {sorted({i for i in ids if ids.count(i) > 1})} repeat")
        for record in records:
            _require_units(record, model)
        names = sorted(records[0].covariates)
        for record in records:
            if sorted(record.covariates) != names:
                raise ValueError(
                    f"record {record.id} has the covariates {sorted(record.covariates)} and record {records[0].id} has "
                    f"{names}; give every person the same ones"
                )
        backbone = model.backbone
        segments = build_segments(
            [r.schedule for r in records], [r.times.tolist() for r in records], backbone.states, backbone.inputs, mesh
        )
        T, p = max(len(r.times) for r in records), len(model.observation.channels)
        times = torch.empty(len(records), T, dtype=torch.float64)
        y = torch.full((len(records), T, p), torch.nan, dtype=torch.float64)
        for i, record in enumerate(records):
            times[i] = float(record.times[-1])
            times[i, : len(record.times)] = torch.from_numpy(record.times)
            scored = np.where(record.scored[:, None], record.values, np.nan)
            y[i, : len(record.times)] = torch.from_numpy(scored)
        covariates = {k: torch.tensor([r.covariates[k] for r in records], dtype=torch.float64) for k in names}
        baseline = torch.from_numpy(np.stack([r.baseline for r in records]))
        cohort = Cohort(tuple(records), Conditions(segments, covariates, baseline), times, y)
        return cohort if model.device == y.device else cohort.to(model.device)

    @property
    def mask(self) -> Tensor:  # (N, T, p)
        """True where there is something to score."""
        return torch.isfinite(self.y)

    @property
    def ids(self) -> tuple[str, ...]:
        """The people's ids."""
        return tuple(r.id for r in self.records)

    def until(self, time: float) -> "Cohort":
        """What was known at `time`: later observations are missing."""
        return replace(self, y=torch.where(self.times[..., None] <= time, self.y, torch.nan))

    def after(self, time: float) -> "Cohort":
        """What came after `time`: earlier observations are missing."""
        return replace(self, y=torch.where(self.times[..., None] > time, self.y, torch.nan))

    def people(self, index: Tensor) -> "Cohort":
        """The chosen people."""
        return Cohort(
            tuple(self.records[i] for i in index.tolist()),
            self.conditions.people(index),
            self.times[index],
            self.y[index],
        )

    def to(self, *where: torch.device | str | torch.dtype) -> "Cohort":
        """The same batch on a device, in a type, or both: those of the model."""
        like = self.y.new_zeros(())
        for one in where:
            like = like.to(one)
        return Cohort(self.records, self.conditions.to(like), self.times.to(like), self.y.to(like))


def _require_units(record: Record, model: HybridModel) -> None:
    if record.channels != model.observation.channels:
        raise ValueError(
            f"record {record.id} measures {list(record.channels)} and the model predicts "
            f"{list(model.observation.channels)}; name the channels alike"
        )
    backbone = model.backbone
    wanted = {"time": backbone.time_unit, **dict(zip(model.observation.channels, model.observation.units, strict=True))}
    dosed = sorted({d.state for d in record.schedule.doses})
    unknown = [s for s in dosed if s not in backbone.states]
    if unknown:
        raise ValueError(
            f"record {record.id}: a dose goes into {unknown}; the compartments of {type(backbone).__name__} are "
            f"{list(backbone.states)}"
        )
    if dosed:
        wanted["dose"] = backbone.state_units[backbone.states.index(dosed[0])]
    for name, unit in wanted.items():
        have = record.units.get(name)
        if have is not None and have != unit:
            raise ValueError(
                f"record {record.id}: {name} is in {have} and the model needs {unit}; convert the column and say "
                f"{unit}, or correct the stated unit"
            )
