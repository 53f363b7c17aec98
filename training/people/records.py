"""People: what was done to each, what was measured, and what is known of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from torch.nn import Module

from hybrid import Schedule
from hybrid.schedules.columns import as_array
from hybrid.schedules.dose import slack
from physics.arguments import quote, require_kind, require_names, require_number, require_text, shortened
from physics.glance import Summary, glance
from physics.units import require
from training.people.clock import at_or_before, counts_from, origin_of, since
from training.people.limits import limited, limits_of
from training.people.own_values import required_readings

LONGEST_ID = 100  # characters: a longer one is a column that has slipped


def _numbers(value: object, what: str) -> np.ndarray:
    try:
        raw = as_array(value)
        if raw.dtype.kind not in "fiuO":  # an object may be a list with None for what is missing
            raise TypeError
        return raw.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{what} must be numbers in a list, an array or a tensor, got {quote(value)}") from error


def _summary(record: Any) -> Summary:
    said = {name: record.units.get(name, "?") for name in (*record.channels, *record.covariates)}
    counts = zip(record.channels, np.isfinite(record.values).sum(0), strict=True)
    limits = zip(record.channels, record.censored.sum(0), strict=True)
    span = f"{record.times[0]:g} to {record.times[-1]:g} {record.units.get('time', '')}"
    return f"Record {record.id}: times {len(record.times)}, {span}", [
        ("measured", ", ".join(f"{name} ({said[name]}) × {count}" for name, count in counts)),
        ("between limits", ", ".join(f"{name} × {count}" for name, count in limits if count)),
        ("given", record.schedule),
        ("first dose", record.first_dose if record.schedule.doses else "none"),
        ("covariates", ", ".join(f"{name} {value:g} ({said[name]})" for name, value in record.covariates.items())),
        ("occasions", len(record.occasions) or None),
        ("changing", ", ".join(f"{name} ({len(t)} values)" for name, (t, _) in record.changing.items())),
        ("not below 0", ", ".join(record.nonnegative)),
    ]


@dataclass(frozen=True)
class Record:
    """One person.

    `id`; `schedule`; `times` (T,) increasing, in the record's time unit, equal ones for replicates; `values` (T, p), NaN where
    a channel was not measured; `channels` (p,) their names; `covariates` by name; `units`: UCUM codes for "time", every
    channel, and whatever else is known: "dose", inputs and covariates by their names. A `Cohort` has everybody in its model's
    units (`training.people.conversion`); what no unit is stated of is taken to be in the model's.
    `nonnegative`: the channels that are declared never to be below 0 (those that a table's reader was not told are signed):
    what is shown of them is cut there.
    `occasions`: the times at which occasions begin, the first one's too. `changing`: covariates that change on the way, (times,
    values) by name, each value from its time on, the first one at or before the schedule's start, so that nothing holds before
    it was said; no name is in `covariates` besides.
    A measurement at the very time of a change comes first, as it does before a dose, and is of what was until then: the trough
    before the dose that opens an occasion is of the occasion before. `read_with`, by the name of a changing covariate or
    "occasion", (T,): what a measurement says itself, the covariate's value or the number of the occasion from 1 on, and NaN where
    that rule holds: {"occasion": [nan, nan, 2.0]} for one that was taken after the occasion's first dose, at its time.
    Times are on the table's clock, whose zero means nothing; a `Cohort` counts everybody's from their own `origin`.
    `lower`, `upper` (T, p), or None: where a value is NaN and one of them is finite, the value was not measured as a number and
    is known to lie between them (censored: below a limit of quantification, above a range, or in an interval); NaN, −∞ and +∞
    stand where there is no limit. They are in the channel's unit, and `Cohort.censoring` says how they count.
    What is measured at or before the first dose is the `baseline`. Where it sets the state that a person starts from, it is
    not scored; where it does not, it is scored like any other measurement (`HybridModel.starts_from`).
    Errors: `ValueError` for times that decrease, shapes that do not match, non-finite numbers, units that are not UCUM, limits
    beside a value that was measured, lower limits that are not below the upper ones, and covariates or occasions that begin
    after the start;
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
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    occasions: tuple[float, ...] = ()
    changing: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    read_with: Mapping[str, np.ndarray] = field(default_factory=dict)

    if TYPE_CHECKING:  # whatever numpy makes an array of is taken

        def __init__(
            self,
            id: str,
            schedule: Schedule,
            times: ArrayLike,
            values: ArrayLike,
            channels: str | Sequence[str],
            covariates: Mapping[str, float] = ...,
            units: Mapping[str, str] = ...,
            nonnegative: Sequence[str] = (),
            lower: ArrayLike | None = None,
            upper: ArrayLike | None = None,
            occasions: Sequence[float] = (),
            changing: Mapping[str, tuple[ArrayLike, ArrayLike]] = ...,
            read_with: Mapping[str, ArrayLike] = ...,
        ) -> None: ...

    __repr__, _repr_html_ = glance(_summary)

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
        self._require_named(channels)
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
        given = {"lower": self.lower, "upper": self.upper}
        limits = {name: None if v is None else _numbers(v, f"{where}: {name}") for name, v in given.items()}
        lower, upper = limits_of(limits["lower"], limits["upper"], values, channels, where)
        self._require_changes()
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)
        if not np.isfinite(values).any() and lower is None:
            raise ValueError(f"record {self.id}: no channel was ever measured; leave the person out")

    def _require_named(self, channels: tuple[str, ...]) -> None:
        """A unit of something that the record does not have would be passed over without a word."""
        inputs = () if self.schedule is None else tuple(self.schedule.inputs)
        changing = tuple(self.changing) if isinstance(self.changing, Mapping) else ()
        known = dict.fromkeys(("time", "dose", *channels, *self.covariates, *changing, *inputs))
        unknown = [name for name in self.units if name not in known]
        if unknown:
            raise ValueError(
                f"record {quote(self.id)}: units name {quote(unknown)}, which the record does not have; what has a unit in it is "
                f"{shortened(', '.join(known), 400)}; write units={{'time': 'h', …}} by these names"
            )

    def _require_changes(self) -> None:
        """Occasions and changing covariates as numbers, in the order of time."""
        where = f"record {self.id}"
        occasions = _numbers(self.occasions, f"{where}: occasions")
        if occasions.ndim != 1 or not np.isfinite(occasions).all() or (np.diff(occasions) <= 0).any():
            raise ValueError(f"{where}: occasions are the times at which they begin, each later than the one before")
        if len(occasions):
            self._require_begun(occasions, "the occasion", "the first occasion")
        object.__setattr__(self, "occasions", tuple(occasions.tolist()))
        require_kind(self.changing, Mapping, f"{where}: changing", '{"WT": ([0.0, 24.0], [70.0, 68.0])}')
        found = {}
        for name, given in self.changing.items():
            require_text(name, f"{where}: the name of a covariate that changes", '{"WT": ([0.0, 24.0], [70.0, 68.0])}')
            if name in self.covariates:
                raise ValueError(f"{where}: the covariate {name} is one number and changes too; give it once")
            if not isinstance(given, tuple | list) or len(given) != 2:
                raise ValueError(f"{where}: the covariate {name} changes by (times, values), and is {quote(given)}")
            times, values = (_numbers(v, f"{where}: the covariate {name}") for v in given)
            if times.ndim != 1 or times.shape != values.shape or not len(times) or (np.diff(times) <= 0).any():
                raise ValueError(f"{where}: the covariate {name} needs as many values as times, which increase")
            if not (np.isfinite(times).all() and np.isfinite(values).all()):
                raise ValueError(f"{where}: the covariate {name} holds NaN or infinity; leave those points out")
            self._require_begun(times, f"the covariate {name}", f"{values[0]:g}, if that held then, or what did")
            found[name] = (times, values)
        object.__setattr__(self, "changing", found)
        object.__setattr__(self, "read_with", required_readings(self.read_with, self.times, self.occasions, found, where))

    def _require_begun(self, times: np.ndarray, what: str, write: str) -> None:
        """Raise `ValueError` where the first of `times` is after the start: what is said later was not said to hold before."""
        start, first = float(self.schedule.start), float(times[0])
        if first - start > slack(start, first, *self.times.tolist()):
            raise ValueError(
                f"record {self.id}: {what} is not known before {first:g}, and the person starts at {start:g}; begin its times "
                f"at {start:g}, with {write}"
            )

    @property
    def own_times(self) -> np.ndarray:
        """The times of occasions and of changes, one behind the other."""
        return np.concatenate([np.array(self.occasions, dtype=np.float64), *(t for t, _ in self.changing.values())])

    @property
    def censored(self) -> np.ndarray:  # (T, p)
        """True where a value is known to lie between limits, and no more."""
        return limited(self.lower, self.upper, self.values.shape)

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
        if self.origin == 0.0:
            return self
        schedule, times = since(self.schedule, np.concatenate([self.times, self.own_times]), self.origin)
        return on_clock(self, schedule, times[: len(self.times)], times[len(self.times) :])

    @property
    def began(self) -> str:
        """What the person's clock counts from, in words."""
        return counts_from(self.schedule)

    @property
    def scored(self) -> np.ndarray:  # (T,)
        """True where an observation is after the first dose, so that every model can be judged by it; at the time of a steady
        state that comes first too, for what is there then is the model's.
        """
        settled = any(one.time == self.first_dose and not one.added for one in self.schedule.steady)
        return self.times >= self.first_dose if settled else self.times > self.first_dose

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
        known = at_or_before(self.on_own_clock().times, time)[:, None]
        values = np.where(known, self.values, np.nan)
        lower, upper = (None if v is None else np.where(known, v, np.nan) for v in (self.lower, self.upper))
        if not np.isfinite(values).any() and not (self.censored & known).any():
            raise ValueError(
                f"record {self.id}: nothing was measured up to {time:g} since the {self.began}; ask for a later time"
            )
        return replace(self, values=values, lower=lower, upper=upper)


def on_clock(record: Record, schedule: Schedule, times: np.ndarray, moved: np.ndarray) -> Record:
    """The same on another clock; `moved`: the times of `Record.own_times` there."""
    parts = np.split(moved, np.cumsum([len(record.occasions), *(len(t) for t, _ in record.changing.values())])[:-1])
    changing = {name: (at, values) for at, (name, (_, values)) in zip(parts[1:], record.changing.items(), strict=True)}
    return replace(record, schedule=schedule, times=times, occasions=tuple(parts[0].tolist()), changing=changing)


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
