"""Many people as one padded batch, cut for one model."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from hybrid import Conditions, HybridModel, Log, Mesh, build_segments
from hybrid.defaults import exact
from hybrid.derivative import lasting
from hybrid.frames import is_frame
from hybrid.schedules.dose import SAME
from physics.arguments import (
    quote,
    require_choice,
    require_device,
    require_kind,
    require_number,
    require_people,
    require_shape,
)
from physics.glance import Summary, glance, with_units
from physics.occasions import OCCASION
from training.people.beginning import from_baseline, kept_limits, limits_to_score
from training.people.changing import changes_of, has_occasions
from training.people.conversion import converted
from training.people.likelihoods import gaussian_nll, limits_nll
from training.people.records import Record, counted_from, require_records
from training.people.tables.file_order import Order
from training.people.tables.nonmem import read_nonmem
from training.people.tables.of_model import channels_shown, compartments_of

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

Censoring = Literal["m3", "m4", "m1"]


def _summary(cohort: Any) -> Summary:
    first = cohort.records[0]
    beyond = int(cohort.censored.sum())
    between = f", of these between limits {beyond}" if beyond else ""
    baselines = f", baselines beside them {sum(cohort.unscored)}" if any(cohort.unscored) else ""
    end = f"{cohort.times.max():g} {first.units.get('time', '')} since each one's {counted_from(cohort.records)}"
    return f"Cohort: people {len(cohort.records)}, measurements to score {int(cohort.mask.sum()) + beyond}{between}{baselines}", [
        ("people", cohort.ids),
        ("channels", with_units(first.channels, [first.units.get(name, "?") for name in first.channels])),
        ("times", f"at most {cohort.times.shape[1]} for each, to {end}"),
        ("covariates", ", ".join(cohort.conditions.covariates)),
        ("doses", f"{sum(len(r.schedule.doses) for r in cohort.records)} in all"),
        ("y", cohort.y),
        ("mesh", cohort.conditions.mesh),
    ]


@dataclass(frozen=True)
class Cohort:
    """N records as one padded batch in their model's units, everyone on a clock of their own that reads 0 at `Record.origin`.

    `records`, in those units and on those clocks, each from the last value on that sets its start; `conditions` (segments,
    covariates, baseline); `times` (N, T), padded with each record's last time; `y` (N, T, p), NaN where missing, padded or
    not scored; `unscored` (N,), how many values at or before the first dose are a baseline that sets the start, and so are
    not scored; `limits` (N, T, p, 2), lower and upper, −∞ and +∞ where there is none, or None where nobody's value has any: at
    them `y` is NaN. `censoring`, how they count in everything that is made small: "m3", each with the probability of lying there;
    "m4", that of every value on y > 0 besides; "m1", not at all, for comparison: then `limits` is None.
    Law: a cohort of one gives what the record gives; shifting anybody's times changes nothing.
    """

    records: tuple[Record, ...]
    conditions: Conditions
    times: Tensor
    y: Tensor
    unscored: tuple[int, ...] = ()
    limits: Tensor | None = None
    censoring: Censoring = "m3"

    __repr__, _repr_html_ = glance(_summary)

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
        require_choice(self.censoring, ("m3", "m4", "m1"), "Cohort: censoring")
        if self.censoring == "m1":
            object.__setattr__(self, "limits", None)
        if self.conditions.limited != (self.limits is not None):
            object.__setattr__(self, "conditions", replace(self.conditions, limited=self.limits is not None))
        if self.limits is not None:
            require_shape(self.limits, "Cohort: limits", *self.y.shape, 2, write="Cohort.of(records, model)", like=self.y)
            if self.y.device.type == "cpu" and bool((self.censored & torch.isfinite(self.y)).any()):
                raise ValueError("Cohort: y is NaN where a value has limits; write Cohort.of(records, model)")
        if self.censoring == "m4" and self.y.device.type == "cpu":
            below = bool((self.y <= 0.0).any()) or (self.limits is not None and bool((self.limits[..., 1] <= 0.0).any()))
            if below:
                raise ValueError(
                    "Cohort: m4 conditions every value on being above 0, and one was measured at 0 or below, or has its upper "
                    'limit there; write censoring="m3"'
                )
        if not isinstance(self.unscored, tuple) or not all(isinstance(k, int) for k in self.unscored):
            raise ValueError(f"Cohort: unscored is a count for each person, and is {quote(self.unscored)}; write Cohort.of(…)")

    @staticmethod
    @lasting()
    def of(
        records: Sequence[Record], model: HybridModel, mesh: Mesh | None = None, *, censoring: Censoring = "m3"
    ) -> "Cohort":
        """The batch of these records, cut for this model, in float64 and where the model is: by the mesh given,
        `Mesh.of(model, records)` by default, and none for a linear model in which θ moves doses: it is solved exactly.

        Every quantity is converted to the model's unit first; times that are asked for later (`until`, `after`) are in the
        model's unit too.
        Covariates that no part of the model reads are kept where everybody has them. Those that change on the way
        (`Record.changing`) count from their times on, for whatever reads them; a record's occasions count where the population
        has `occasions`, and are not looked at elsewhere: there θ is the same in all of them.
        `censoring`: how values between limits count.
        Errors: `ValueError` for no record, equal ids, channels that are not the model's, units that do not become its own by a
        factor, a person without a covariate that the model reads, or without the baseline that its backbone starts from.
        """
        require_kind(model, HybridModel, "Cohort.of: model", "Cohort.of(records, model)")
        records = require_records(records, "Cohort.of: records")
        if mesh is not None:
            require_kind(mesh, Mesh, "Cohort.of: mesh", "Mesh(0.1), or none for Mesh.of(model, records)")
        if not records:
            raise ValueError("a cohort needs at least one record, got none")
        if isinstance(model.observation, Log) and censoring == "m4":
            raise ValueError(
                "Cohort.of: m4 conditions values on being above 0, which log-normal ones are, and the model observes logarithms "
                '(Log), which may be below; write censoring="m3"'
            )
        ids = [r.id for r in records]
        if len(set(ids)) < len(ids):
            raise ValueError(f"record ids must differ, and {quote(sorted({i for i in ids if ids.count(i) > 1}))} repeat")
        records = tuple(converted(record, model).on_own_clock() for record in records)
        names = _covariates(records, model)
        backbone, starts = model.backbone, np.array(model.starts_from)
        unscored = tuple(int(np.isfinite(r.values[~r.scored][:, starts]).sum()) for r in records)
        baseline = torch.from_numpy(np.stack([r.baseline for r in records]))
        _require_start(records, model, baseline)
        records = tuple(from_baseline(r, starts) for r in records)
        mesh = (Mesh() if exact(model) else Mesh.of(model, records)) if mesh is None else mesh
        changes = changes_of(records, model)
        segments = build_segments(
            [r.schedule for r in records],
            [r.times.tolist() for r in records],
            backbone.states,
            backbone.inputs,
            mesh,
            delivery=model.delivery,
            turns=() if changes is None else changes.turns,
        )
        T, p = max(len(r.times) for r in records), len(model.observation.channels)
        times = torch.empty(len(records), T, dtype=torch.float64)
        y = torch.full((len(records), T, p), torch.nan, dtype=torch.float64)
        for i, record in enumerate(records):
            times[i] = float(record.times[-1])
            times[i, : len(record.times)] = torch.from_numpy(record.times)
            start = ~record.scored[:, None] & starts  # (T, p) what sets the state that it would be scored against
            y[i, : len(record.times)] = torch.from_numpy(np.where(start, np.nan, record.values))
        known = names if changes is None else [k for k in names if k not in changes.values]
        covariates = {k: torch.tensor([r.covariates[k] for r in records], dtype=torch.float64) for k in known}
        conditions = Conditions(segments, covariates, baseline, mesh, changes)
        if changes is not None and changes.count == 1:  # everyone has one piece: then these are covariates like others
            conditions = replace(conditions, covariates=conditions.begun, changes=None)
        limits = limits_to_score(records, starts, y)
        cohort = Cohort(records, conditions, times, y, unscored, limits, censoring)
        return cohort if model.device == y.device else cohort.to(model.device)

    @staticmethod
    def from_frame(
        frame: "DataFrame",
        model: HybridModel,
        *,
        units: Mapping[str, str],
        compartments: Mapping[int, str] | Mapping[int | str, str] | None = None,
        channels: Mapping[int, str] | Mapping[int | str, str] | None = None,
        covariates: Sequence[str] | None = None,
        order: Order | None = None,
        channel_column: Literal["CMT", "DVID", "YTYPE"] | None = None,
        signed: Sequence[str] = (),
        ignore: Sequence[str] = (),
        mesh: Mesh | None = None,
        censoring: Censoring = "m3",
    ) -> "Cohort":
        """The people of a pandas DataFrame, one row for each dose or measurement, cut for this model.

        `read_nonmem` reads it by the rules of a file: columns ID, TIME, AMT, DV and what else stands there, `units` of the
        columns as UCUM codes, {"TIME": "h", "AMT": "mg", "DV": "mg/L"}, and the other arguments; then it is `Cohort.of`.
        `compartments` and `channels` are by default those of the model: its states by the numbers that its backbone gives them
        (in their order from 1), its channels by the numbers of the states that they show.
        Errors: `ValueError` for what is no DataFrame, and what `read_table` and `Cohort.of` refuse, naming row and cure.
        Law: equals `Cohort.of(read_nonmem(path, …), model)` of the file that the frame was read from.
        """
        require_kind(model, HybridModel, "Cohort.from_frame: model", "Cohort.from_frame(frame, model, units=…)")
        if not is_frame(frame):
            raise ValueError(
                f"Cohort.from_frame: frame is a pandas DataFrame, and is {quote(frame)}; of a file write "
                "Cohort.of(read_nonmem(path, units=…), model), of another library's table frame.to_pandas()"
            )
        records = read_nonmem(
            frame,
            units=units,
            compartments=compartments_of(model.backbone) if compartments is None else compartments,
            channels=channels_shown(model) if channels is None else channels,
            covariates=covariates,
            order=order,
            channel_column=channel_column,
            signed=signed,
            ignore=ignore,
        )
        return Cohort.of(records, model, mesh, censoring=censoring)

    @property
    def mask(self) -> Tensor:  # (N, T, p)
        """True where there is a number to score."""
        return torch.isfinite(self.y)

    @property
    def censored(self) -> Tensor:  # (N, T, p)
        """True where a value is known to lie between limits, and no more."""
        if self.limits is None:
            return torch.zeros_like(self.y, dtype=torch.bool)
        return torch.isfinite(self.limits).any(-1)

    @property
    def informative(self) -> Tensor:  # (N, T, p)
        """True where anything is known: a number, or limits."""
        return self.mask if self.limits is None else self.mask | self.censored

    def nll(
        self,
        mean: Tensor,  # (M, R·N, T, p)
        variance: Tensor,  # (M, R·N, T, p)
        correlation: Tensor | None,  # (M|1, p, p), or of each time (M|1, R·N, T, p, p)
    ) -> Tensor:  # (M, R·N)
        """`gaussian_nll` of all that is known of everyone, or of R copies of them in a row, by this cohort's `censoring`.

        `correlation` of the errors of one time, `rollout(…).correlation`, None where channels are independent.
        """
        require_shape(mean, "Cohort.nll: mean", "M", "R·N", *self.y.shape[1:], write="rollout(…).mean", like=self.y)
        y, limits = self._copies(mean)
        return gaussian_nll(y, mean, variance, limits, self.censoring == "m4", correlation)

    def limits_nll(
        self,
        mean: Tensor,  # (M, R·N, T, p)
        variance: Tensor,
    ) -> Tensor | None:  # (M, R·N)
        """The part of `nll` that is not Gaussian: of values between limits, and of M4's condition; None where there is none."""
        positive = self.censoring == "m4"
        for what, value in (("mean", mean), ("variance", variance)):
            shape = ("M", "R·N", *self.y.shape[1:])
            require_shape(value, f"Cohort.limits_nll: {what}", *shape, write=f"rollout(…).{what}", like=self.y)
        if self.limits is None and not positive:
            return None
        y, limits = self._copies(mean)
        return limits_nll(y, mean, variance, limits, positive)

    def _copies(self, mean: Tensor) -> tuple[Tensor, Tensor | None]:
        """y and limits as often in a row as these means are of the same people."""
        count = mean.shape[1] // max(len(self.y), 1)
        if count == 1:
            return self.y, self.limits
        return self.y.repeat(count, 1, 1), None if self.limits is None else self.limits.repeat(count, 1, 1, 1)

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
        return self._where(self._known(time))

    def after(self, time: float) -> "Cohort":
        """What came after `time` since everyone's origin: earlier observations are missing."""
        return self._where(~self._known(time))

    def without(self, judged: Tensor) -> "Cohort":
        """What is left where `judged` (N, T) bool takes measurements away: those are missing, their times are still asked for."""
        return self._where(~self._chosen(judged, "without")[..., None])

    def only(self, judged: Tensor) -> "Cohort":
        """What `without` takes away: all other observations are missing."""
        return self._where(self._chosen(judged, "only")[..., None])

    def _where(
        self,
        kept: Tensor,  # (N, T, 1) or (N, T, p) bool
    ) -> "Cohort":
        """The same people; what is not kept is missing, its limits too."""
        y = torch.where(kept, self.y, torch.nan)
        return replace(self, y=y, limits=None if self.limits is None else kept_limits(self.limits, kept))

    def _chosen(self, judged: Tensor, name: str) -> Tensor:  # (N, T) bool
        require_kind(judged, Tensor, f"Cohort.{name}: judged", "judged_tail(cohort)")
        if judged.dtype != torch.bool:
            raise ValueError(f"Cohort.{name}: judged says yes or no, dtype bool, and has {judged.dtype}; write judged > 0")
        if judged.shape != self.times.shape:
            have, need = tuple(judged.shape), tuple(self.times.shape)
            raise ValueError(f"Cohort.{name}: judged needs shape (N, T) = {need}, got {have}; write judged_tail(cohort)")
        return judged.to(self.y.device)

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
            None if self.limits is None else self.limits[index],
            self.censoring,
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
        limits = None if self.limits is None else self.limits.to(like)
        return replace(self, conditions=self.conditions.to(like), times=self.times.to(like), y=self.y.to(like), limits=limits)


def _covariates(records: Sequence[Record], model: HybridModel) -> list[str]:
    """The covariates to keep: what the model reads, and what everybody has."""
    read = model.uses.keys() - ({OCCASION} if has_occasions(model) else set())  # of those `changes_of` speaks
    for record in records:
        missing = sorted(read - record.covariates.keys() - record.changing.keys())
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
                model.initial(typical[None, None], given[None], *model.anybody)
            except ValueError as error:
                raise ValueError(f"record {record.id}: {error}") from error


def in_float64(model: HybridModel, cohort: Cohort) -> tuple[HybridModel, Cohort]:
    """The same model and people in float64; copies where they are of another type."""
    if model.dtype != torch.float64:
        model = copy.deepcopy(model).to(torch.float64)
    return model, cohort if cohort.y.dtype == torch.float64 else cohort.to(torch.float64)
