"""People: what was done to each, what was measured, and what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from hybrid import Conditions, HybridModel, Mesh, Schedule, build_segments
from hybrid.schedule import as_float
from physics.units import require
from training.conversion import converted


@dataclass(frozen=True)
class Record:
    """One person.

    `id`; `schedule`; `times` (T,) increasing, in the record's time unit; `values` (T, p), NaN where a channel was not
    measured; `channels` (p,) their names; `covariates` by name; `units`: UCUM codes for "time", every channel, and
    whatever else is known: "dose", inputs and covariates by their names. A `Cohort` has everybody in its model's units
    (`training.conversion`); what no unit is stated of is taken to be in the model's.
    What is measured at or before the first dose is the baseline: it informs the initial state and is not scored.
    Errors: `ValueError` for times that do not increase, shapes that do not match, non-finite numbers, units that are not UCUM;
    negative concentrations being left to the reader of the file.
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
        for name, unit in self.units.items():
            require(unit, f"record {self.id}: the unit of {name}")
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
    """N records as one padded batch, in the units of the model that it is for.

    `records`, in those units; `conditions` (segments, covariates, baseline); `times` (N, T), padded with each record's last
    time; `y` (N, T, p), NaN where missing, padded or not scored. Law: a cohort of one gives what the record gives.
    """

    records: tuple[Record, ...]
    conditions: Conditions
    times: Tensor
    y: Tensor

    @staticmethod
    def of(records: Sequence[Record], model: HybridModel, mesh: Mesh | None = None) -> "Cohort":
        """The batch of these records, cut for this model: by the mesh given, `Mesh.of(model, records)` by default.

        Every quantity is converted to the model's unit first; times that are asked for later (`until`, `after`) are in the
        model's unit too.
        Errors: `ValueError` for no record, equal ids, channels that are not the model's, units that do not become its own by a
        factor, covariates that only some records have.
        """
        if not records:
            raise ValueError("a cohort needs at least one record, got none")
        ids = [r.id for r in records]
        if len(set(ids)) < len(ids):
            raise ValueError(f"record ids must differ, and {sorted({i for i in ids if ids.count(i) > 1})} repeat")
        records = tuple(converted(record, model) for record in records)
        names = sorted(records[0].covariates)
        for record in records:
            if sorted(record.covariates) != names:
                raise ValueError(
                    f"record {record.id} has the covariates {sorted(record.covariates)} and record {records[0].id} has "
                    f"{names}; give every person the same ones"
                )
        backbone = model.backbone
        mesh = Mesh.of(model, records) if mesh is None else mesh
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
        return Cohort(tuple(records), Conditions(segments, covariates, baseline, mesh), times, y)

    @property
    def mask(self) -> Tensor:  # (N, T, p)
        """True where there is something to score."""
        return torch.isfinite(self.y)

    @property
    def mesh(self) -> Mesh:
        """What cut these people, and must cut them wherever else the same solver runs; `Mesh()` where nothing did."""
        return self.conditions.mesh or Mesh()

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
