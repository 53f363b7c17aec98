"""People: what was done to each, what was measured, and what is known of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module

from hybrid import Conditions, HybridModel, Mesh, Schedule, build_segments
from hybrid.columns import as_array
from hybrid.derivative import lasting
from hybrid.schedule import SAME
from physics.arguments import (
    quote,
    require_device,
    require_kind,
    require_names,
    require_number,
    require_people,
    require_shape,
    require_text,
)
from physics.units import require
from training.people.clock import at_or_before, counts_from, origin_of, since
from training.people.conversion import converted

LONGEST_ID = 100  # characters: a longer one is a column that has slipped


def _numbers(value: object, what: str) -> np.ndarray:
    try:
        raw = as_array(value)
        if raw.dtype.kind not in "fiuO":  # an object may be a list with None for what is missing
            raise TypeError
        return raw.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{what} must be numbers in a list, an array or a tensor, got {quote(value)}") from error


@dataclass(frozen=True)
class Record:
    """One person.

    `id`; `schedule`; `times` (T,) increasing, in the record's time unit, equal ones for replicates; `values` (T, p), NaN where
    a channel was not measured; `channels` (p,) their names; `covariates` by name; `units`: UCUM codes for "time", every
    channel, and whatever else is known: "dose", inputs and covariates by their names. A `Cohort` has everybody in its model's
    units (`training.people.conversion`); what no unit is stated of is taken to be in the model's.
    `nonnegative`: the channels that are declared never to be below 0 (those that a table's reader was not told are signed):
    what is shown of them is cut there.
    Times are on the table's clock, whose zero means nothing; a `Cohort` counts everybody's from their own `origin`.
    What is measured at or before the first dose is the `baseline`. Where it sets the state that a person starts from, it is
    not scored; where it does not, it is scored like any other measurement (`HybridModel.starts_from`).
    Errors: `ValueError` for times that decrease, shapes that do not match, non-finite numbers, units that are not UCUM;
    negative concentrations being left to the reader of the file. Times and values may be lists, arrays, tensors or columns of a
    table, and values of a single channel may lack its axis.
    """

    id: str
    schedule: Schedule
    times: np.ndarray
    values: np.ndarray
    channels: tuple[str, ...]
    covariates: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    nonnegative: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_text(self.id, "Record: id", 'Record("1", …)')
        if len(self.id) > LONGEST_ID:  # every message about a person quotes the id
            length = len(self.id)
            raise ValueError(f"record {quote(self.id)}: an id has at most {LONGEST_ID} characters, and this has {length}")
        where = f"record {self.id}"
        require_kind(self.schedule, Schedule, f"{where}: schedule", 'Schedule((Dose("gut", 0.0, 320.0),)), or Schedule()')
        require_kind(self.covariates, Mapping, f"{where}: covariates", '{"WT": 70.0}')
        require_kind(self.units, Mapping, f"{where}: units", '{"time": "h", "concentration": "mg/L"}')
        if isinstance(self.channels, Mapping | set) or not isinstance(self.channels, Iterable):
            raise ValueError(f'{where}: channels are names, and are {quote(self.channels)}; write ("concentration",)')
        channels = (self.channels,) if isinstance(self.channels, str) else tuple(self.channels)
        require_names(channels, f"{where}: channels", '("concentration",)')
        times, values = _numbers(self.times, f"{where}: times"), _numbers(self.values, f"{where}: values")
        if values.ndim == 1 and len(channels) == 1:
            values = values[:, None]
        for name in (*self.covariates, *self.units):
            require_text(name, f"{where}: the name of a covariate or unit", '{"WT": 70.0}')
        for name, value in self.covariates.items():
            require_number(value, f"{where}: the covariate {name}")
        if not isinstance(self.nonnegative, tuple | list | set | frozenset) or not set(self.nonnegative) <= set(channels):
            raise ValueError(
                f"{where}: nonnegative names channels, of which there are {quote(list(channels))}, and is "
                f'{quote(self.nonnegative)}; write ("concentration",)'
            )
        object.__setattr__(self, "nonnegative", tuple(self.nonnegative))
        object.__setattr__(self, "channels", channels)
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
        if (np.diff(times) < 0).any():
            k = int(np.argmax(np.diff(times) < 0))
            raise ValueError(
                f"record {self.id}: observation times must increase, and {times[k]:g} is followed by {times[k + 1]:g}; "
                "sort them (equal ones are replicates)"
            )
        if times[0] < self.schedule.start:
            raise ValueError(f"record {self.id}: observed at {times[0]:g}, before it starts at {self.schedule.start:g}")
        if not np.isfinite(values).any():
            raise ValueError(f"record {self.id}: no channel was ever measured; leave the person out")

    @property
    def first_dose(self) -> float:
        """The time of the first dose; without any, the record's start."""
        return origin_of(self.schedule)

    @property
    def origin(self) -> float:
        """Where the person's own clock reads 0: at the first dose, without any at the record's start."""
        return self.first_dose

    def on_own_clock(self) -> "Record":
        """The same person with every time, those of the schedule too, counted from `origin`."""
        schedule, times = since(self.schedule, self.times, self.origin)
        return self if self.origin == 0.0 else replace(self, schedule=schedule, times=times)

    @property
    def began(self) -> str:
        """What the person's clock counts from, in words."""
        return counts_from(self.schedule)

    @property
    def scored(self) -> np.ndarray:  # (T,)
        """True where an observation is after the first dose, so that every model can be judged by it."""
        return self.times > self.first_dose

    @property
    def baseline(self) -> np.ndarray:  # (p,)
        """The last value of each channel at or before the first dose, of replicates their mean; NaN where none was taken."""
        found = []
        for column in self.values[~self.scored].T:
            times, values = (v[np.isfinite(column)] for v in (self.times[~self.scored], column))
            found.append(values[times == times[-1]].mean() if len(values) else np.nan)
        return np.array(found)

    def until(self, time: float) -> "Record":
        """The same person as known at `time` since their origin: later observations are missing."""
        require_number(time, "time, since the person's own first dose or start,")
        time = float(time)
        values = np.where(at_or_before(self.on_own_clock().times, time)[:, None], self.values, np.nan)
        if not np.isfinite(values).any():
            raise ValueError(
                f"record {self.id}: nothing was measured up to {time:g} since the {self.began}; ask for a later time"
            )
        return replace(self, values=values)


def require_records(records: object, what: str) -> list[Record]:
    """The records as a list. Errors: `ValueError`, beginning with `what`, for anything else than records."""
    if isinstance(records, str | bytes | Mapping | set | Record | Module) or not isinstance(records, Iterable):
        raise ValueError(f"{what} is a list of records, even of one, and is {quote(records)}; write [record]")
    listed = list(records)
    for record in listed:
        require_kind(record, Record, f"{what}, each of them", "[Record(…)]")
    return listed


def never_negative(records: Sequence[Record]) -> tuple[str, ...]:
    """The channels that all of these people's records declare to be so."""
    return tuple(c for c in records[0].channels if all(c in r.nonnegative for r in records)) if records else ()


def counted_from(records: Sequence[Record]) -> str:
    """What these people's clocks count from, in words: "first dose", "start", or "first dose or start"."""
    return " or ".join(sorted({r.began for r in records}))


@dataclass(frozen=True)
class Cohort:
    """N records as one padded batch in their model's units, everyone on a clock of their own that reads 0 at `Record.origin`.

    `records`, in those units and on those clocks, each from the last value on that sets its start; `conditions` (segments,
    covariates, baseline); `times` (N, T), padded with each record's last time; `y` (N, T, p), NaN where missing, padded or
    not scored; `unscored` (N,), how many values at or before the first dose are a baseline that sets the start, and so are
    not scored.
    Law: a cohort of one gives what the record gives; shifting anybody's times changes nothing.
    """

    records: tuple[Record, ...]
    conditions: Conditions
    times: Tensor
    y: Tensor
    unscored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_kind(self.conditions, Conditions, "Cohort: conditions", "Cohort.of(records, model)")
        N = self.conditions.size
        if not isinstance(self.records, tuple | list) or len(self.records) != N:
            raise ValueError(f"Cohort: records are those of its {N} people, and are {quote(self.records)}; write Cohort.of(…)")
        for record in self.records:
            require_kind(record, Record, "Cohort: each of records", "Cohort.of(records, model)")
        object.__setattr__(self, "records", tuple(self.records))
        require_shape(self.times, "Cohort: times", N, "T", write="Cohort.of(records, model)", like=self.conditions.baseline)
        require_shape(self.y, "Cohort: y", N, self.times.shape[1], "p", write="Cohort.of(records, model)", like=self.times)
        if self.y.shape[2] != self.conditions.baseline.shape[1]:
            raise ValueError(f"Cohort: y has {self.y.shape[2]} channels and its baseline {self.conditions.baseline.shape[1]}")
        if self.y.device.type == "cpu" and (bool(torch.isinf(self.y).any()) or not bool(torch.isfinite(self.times).all())):
            raise ValueError("Cohort: times must be finite, and y finite or NaN where nothing was measured; correct the records")
        if not isinstance(self.unscored, tuple) or not all(isinstance(k, int) for k in self.unscored):
            raise ValueError(f"Cohort: unscored is a count for each person, and is {quote(self.unscored)}; write Cohort.of(…)")

    @staticmethod
    @lasting()
    def of(records: Sequence[Record], model: HybridModel, mesh: Mesh | None = None) -> "Cohort":
        """The batch of these records, cut for this model, in float64 and where the model is: by the mesh given,
        `Mesh.of(model, records)` by default.

        Every quantity is converted to the model's unit first; times that are asked for later (`until`, `after`) are in the
        model's unit too.
        Covariates that no part of the model reads are kept where everybody has them.
        Errors: `ValueError` for no record, equal ids, channels that are not the model's, units that do not become its own by a
        factor, a person without a covariate that the model reads, or without the baseline that its backbone starts from.
        """
        require_kind(model, HybridModel, "Cohort.of: model", "Cohort.of(records, model)")
        records = require_records(records, "Cohort.of: records")
        if mesh is not None:
            require_kind(mesh, Mesh, "Cohort.of: mesh", "Mesh(0.1), or none for Mesh.of(model, records)")
        if not records:
            raise ValueError("a cohort needs at least one record, got none")
        ids = [r.id for r in records]
        if len(set(ids)) < len(ids):
            raise ValueError(f"record ids must differ, and {quote(sorted({i for i in ids if ids.count(i) > 1}))} repeat")
        records = tuple(converted(record, model).on_own_clock() for record in records)
        names = _covariates(records, model)
        backbone, starts = model.backbone, np.array(model.starts_from)
        unscored = tuple(int(np.isfinite(r.values[~r.scored][:, starts]).sum()) for r in records)
        baseline = torch.from_numpy(np.stack([r.baseline for r in records]))
        _require_start(records, model, baseline)
        records = tuple(_from_baseline(r, starts) for r in records)
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
            start = ~record.scored[:, None] & starts  # (T, p) what sets the state that it would be scored against
            y[i, : len(record.times)] = torch.from_numpy(np.where(start, np.nan, record.values))
        covariates = {k: torch.tensor([r.covariates[k] for r in records], dtype=torch.float64) for k in names}
        cohort = Cohort(records, Conditions(segments, covariates, baseline, mesh), times, y, unscored)
        return cohort if model.device == y.device else cohort.to(model.device)

    @property
    def mask(self) -> Tensor:  # (N, T, p)
        """True where there is something to score."""
        return torch.isfinite(self.y)

    @property
    def real(self) -> Tensor:  # (N, T)
        """True where a time is asked for, False where it is padding: the record's last time again, after all of its own."""
        found = torch.ones_like(self.times, dtype=torch.bool)
        for row, there, record in zip(self.times, found, self.records, strict=True):
            own = torch.from_numpy(record.times).to(row)
            L = len(own)
            if len(row) > L and torch.equal(row[:L], own):  # else they are asked at other times (`at_times`)
                there[L:] = row[L:] != own[-1]
        return found

    @property
    def mesh(self) -> Mesh:
        """What cut these people, and must cut them wherever else the same solver runs; `Mesh()` where nothing did."""
        return self.conditions.mesh or Mesh()

    @property
    def ids(self) -> tuple[str, ...]:
        """The people's ids."""
        return tuple(r.id for r in self.records)

    def until(self, time: float) -> "Cohort":
        """What was known at `time` since everyone's origin: later observations are missing."""
        return replace(self, y=torch.where(self._known(time), self.y, torch.nan))

    def after(self, time: float) -> "Cohort":
        """What came after `time` since everyone's origin: earlier observations are missing."""
        return replace(self, y=torch.where(self._known(time), torch.nan, self.y))

    def _known(self, time: float) -> Tensor:  # (N, T, 1)
        require_number(time, "time, since everyone's own first dose or start,")
        time = float(time)
        # what was at `time` before its clock was shifted may be a rounding later now
        return (self.times <= time + SAME * self.times.abs().amax(1, keepdim=True))[..., None]

    def people(self, index: Tensor) -> "Cohort":
        """The chosen people."""
        require_people(index, self.conditions.size, "people: index")
        index = torch.nonzero(index)[:, 0] if index.dtype == torch.bool else index
        return Cohort(
            tuple(self.records[i] for i in index.tolist()),
            self.conditions.people(index),
            self.times[index],
            self.y[index],
            tuple(self.unscored[i] for i in index.tolist()) if len(self.unscored) == len(self.records) else (),
        )

    def to(self, *where: torch.device | str | torch.dtype) -> "Cohort":
        """The same batch on a device, in a type, or both: those of the model."""
        like = self.y.new_zeros(())
        if not where:
            raise ValueError("Cohort.to: needs a device or a type; write cohort.to(model.device, model.dtype)")
        for one in where:
            if not isinstance(one, torch.dtype):
                require_device(one, "Cohort.to: device")
            elif not one.is_floating_point:
                raise ValueError(f"Cohort.to: measurements are real numbers, and {one} is no type of these; write torch.float64")
            like = like.to(one)
        return replace(self, conditions=self.conditions.to(like), times=self.times.to(like), y=self.y.to(like))


def _from_baseline(
    record: Record,
    starts: np.ndarray,  # (p,) bool
) -> Record:
    """The record from its last baseline value on: that value is the state of its own time, not of an earlier row's.

    As it was where nothing was measured that sets the start, or where something is scored before that.
    """
    sets = np.isfinite(record.values) & ~record.scored[:, None] & starts
    if not sets.any():
        return record
    begin = record.times[sets.any(1)][-1]
    before = record.times < begin
    if (not before.any() and begin == record.schedule.start) or np.isfinite(record.values[before][:, ~starts]).any():
        return record
    return replace(
        record,
        schedule=replace(record.schedule, start=float(begin)),
        times=record.times[~before],
        values=record.values[~before],
    )


def _covariates(records: Sequence[Record], model: HybridModel) -> list[str]:
    """The covariates to keep: what the model reads, and what everybody has."""
    for record in records:
        missing = sorted(model.uses.keys() - record.covariates.keys())
        if missing:
            raise ValueError(
                f"record {record.id} lacks the covariates {missing}, which the model reads; give every person a value, or "
                "build the model without them"
            )
    return sorted(set.intersection(*(set(r.covariates) for r in records)))


def _require_start(
    records: Sequence[Record],
    model: HybridModel,
    baseline: Tensor,  # (N, p)
) -> None:
    """The error of a backbone that cannot start without a baseline, with the person's name in it."""
    typical = torch.tensor([p.typical for p in model.backbone.physical], dtype=model.dtype, device=model.device)
    for record, given in zip(records, baseline.to(typical), strict=True):
        if torch.isnan(given).any():
            try:
                model.initial(typical[None, None], given[None])
            except ValueError as error:
                raise ValueError(f"record {record.id}: {error}") from error
