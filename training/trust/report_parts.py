"""The numbers of an uncertainty report, as plain values that JSON can hold."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, final

from hybrid.frames import frame_of
from physics.glance import Summary, glance
from training.trust.null_band import NullBand
from training.trust.verdicts import Verdict

if TYPE_CHECKING:
    from hybrid.frames import DataFrame


WIDE = 0.5  # of a share: a band wider than this holds so much that to lie inside it says nothing


@final
@dataclass(frozen=True)
class Gate:
    """A statistic beside what a perfect forecaster of this sample shows: its mean, and the one band over all gates of a page.

    `alone_lower`, `alone_upper`: the central 95 % of this statistic by itself, which is narrower · `decides`: False where
    the band holds whatever can be observed, as a share of one person's measurements may be anything from 0 to 1.
    """

    observed: float
    mean: float
    lower: float
    upper: float
    alone_lower: float = math.nan
    alone_upper: float = math.nan
    decides: bool = True

    __repr__, _repr_html_ = glance()

    @property
    def place(self) -> str:
        """ "below" or "above" the band, or "" inside it and where there is nothing to see (NaN)."""
        return "below" if self.observed < self.lower else "above" if self.observed > self.upper else ""

    @property
    def place_alone(self) -> str:
        """ "below" or "above" the 95 % of this statistic by itself: of many right ones, one in twenty is."""
        return "below" if self.observed < self.alone_lower else "above" if self.observed > self.alone_upper else ""

    def tells(self, people: int) -> bool:
        """Is a share inside its band news? Not of one person, who is no sample of people, nor where the band is that wide."""
        return self.decides and people > 1 and min(self.upper, 1.0) - max(self.lower, 0.0) <= WIDE

    def decimals(self, least: int = 2, *, scale: float = 1.0) -> int:
        """As many decimals, `least` to nine, as show what was observed outside each band that it is outside of.

        With fewer, 0.534 above 0.526 reads "0.53 (to 0.53)" and contradicts its own verdict. `scale`, 100 for per cent.
        """
        bounds = [{"below": self.lower, "above": self.upper}.get(self.place, math.nan)]
        bounds.append({"below": self.alone_lower, "above": self.alone_upper}.get(self.place_alone, math.nan))
        for digits in range(least, 9):
            if all(f"{scale * self.observed:.{digits}f}" != f"{scale * bound:.{digits}f}" for bound in bounds):
                return digits
        return 9


@final
@dataclass(frozen=True)
class CoverageRow:
    """One horizon and level: share inside beside its band, and mean width of the interval (`sharpness`)."""

    horizon: str
    level: float
    count: int  # observations
    records: int  # people, not rows, with any
    share: Gate
    sharpness: float


@final
@dataclass(frozen=True)
class ScoreRow:
    """One horizon: proper scores of its observations."""

    horizon: str
    count: int
    records: int
    nll: float
    crps: float
    rmse: float
    zms: float


@final
@dataclass(frozen=True)
class SplitRow:
    """Mean variances in one group of places, and the mean squared error where something was observed there (else NaN)."""

    group: str
    count: int
    aleatoric: float
    epistemic: float
    personal: float
    epistemic_posterior: float  # 1/(M − 1) and free of the draws' noise; may be negative, NaN with one member
    squared_error: float


@final
@dataclass(frozen=True)
class Histogram:
    """Probability integral transforms in equal bins of [0, 1]: the share of each beside its band."""

    share: tuple[Gate, ...]


@final
@dataclass(frozen=True)
class Events:
    """Forecasts of "above `threshold`": reliability per bin with its pointwise band, ECE, Brier score and its parts.

    `resolution` has the band of forecasts that know nothing of who has the event: outcomes dealt to forecasts at random.
    """

    threshold: float
    convention: str
    mean_probability: tuple[float, ...]
    mean_outcome: tuple[float, ...]
    count: tuple[int, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    error: Gate
    brier: float
    reliability: float
    resolution: NullBand
    uncertainty: float  # 0 where all outcomes are alike


@final
@dataclass(frozen=True)
class ChannelReport:
    """Everything about one channel, in its unit; every `Gate` has its part of the one band over the whole page, by person."""

    channel: str
    unit: str
    count: int
    records: int
    nll: float
    crps: float
    rmse: float
    energy_score: float  # of whole paths, mean over people
    zms: Gate
    ence: Gate
    quantile_error: Gate
    autocorrelation: Gate  # of neighbouring standardised innovations
    coverage: dict[str, Gate]  # by level, "0.8"
    path_coverage: dict[str, Gate]  # every observation of a person inside its interval
    pit: Histogram
    events: Events
    by_horizon: tuple[ScoreRow, ...]
    coverage_by_horizon: tuple[CoverageRow, ...]
    split_by_horizon: tuple[SplitRow, ...]
    split_by_value: tuple[SplitRow, ...]
    split_by_distance: tuple[SplitRow, ...]  # empty where no distance from the data was given

    __repr__, _repr_html_ = glance()

    @property
    def every_gate(self) -> tuple[Gate, ...]:
        """All of its statistics that have a band."""
        single = (self.zms, self.ence, self.quantile_error, self.autocorrelation, self.events.error)
        by_horizon = (row.share for row in self.coverage_by_horizon)
        return (*single, *self.coverage.values(), *self.path_coverage.values(), *self.pit.share, *by_horizon)


@final
@dataclass(frozen=True)
class Flag:
    """Something that the numbers cannot be trusted about: one of the names of `training.trust.controls`, and why.

    `good`: False where the numbers speak against the forecast, None where they say nothing · `channel`, where it is of one.
    """

    name: str
    sentence: str
    good: bool | None = None
    channel: str | None = None

    @property
    def verdict(self) -> Verdict:
        """As a verdict, about ("flag", name, channel)."""
        about = ("flag", self.name) if self.channel is None else ("flag", self.name, self.channel)
        return Verdict(self.sentence.rstrip("."), self.good, about=about)


def _summary(report: Any) -> Summary:
    title = f"UncertaintyReport: people {report.people}, observations {report.observations}"
    first, *others = report.verdicts
    good = sum(bool(v.good) for v in others)
    unable = f", {report.undecided} cannot be" if report.undecided else ""
    return f"{title}; {report.failed} of {report.gates} statistics are outside their band{unable}", [
        *((c.channel, _scores(c)) for c in report.channels[:3]),
        ("together", first.claim),
        *(("bad", v.claim) for v in others if v.good is False),
        ("beside them", f"{good} good, {sum(v.good is None for v in others)} neither: print(*report.verdicts, sep='\\n')"),
        ("fitted on", report.fitted_on or None),
    ]


def _scores(channel: ChannelReport) -> str:
    covered = ", ".join(f"{100 * gate.observed:.0f} % in {100 * float(level):g} %" for level, gate in channel.coverage.items())
    return f"NLL {channel.nll:.3g}, CRPS {channel.crps:.3g} {channel.unit}, RMSE {channel.rmse:.3g} {channel.unit}; {covered}"


@final
@dataclass(frozen=True)
class UncertaintyReport:
    """Is the uncertainty right? `gates`: how many statistics one band holds; `failed`, how many of them are outside;
    `undecided`, of how many the band holds whatever can be observed, so that they pass nobody.
    """

    people: int
    observations: int
    horizon_edges: tuple[float, ...]
    members: int
    draws: int
    band_level: float
    replicates: int
    gates: int
    failed: int
    undecided: int
    channels: tuple[ChannelReport, ...]
    flags: tuple[Flag, ...]
    verdicts: tuple[Verdict, ...]  # of all gates together, then of every channel, then the flags
    conventions: tuple[tuple[str, str], ...]  # what, and how it is defined, to be printed with it
    fitted_on: tuple[str, ...]  # the people that a recalibration before this was fitted on

    __repr__, _repr_html_ = glance(_summary)

    @property
    def outside_alone(self) -> int:
        """How many of the statistics that can decide lie outside the 95 % of perfect forecasters by themselves, as one in twenty
        does of a right one.
        """
        return sum(gate.decides and bool(gate.place_alone) for channel in self.channels for gate in channel.every_gate)

    @property
    def tells(self) -> bool:
        """Is to fail no gate news? Not where every share of the intervals is one of those that are none (`Gate.tells`)."""
        return any(gate.tells(self.people) for channel in self.channels for gate in channel.coverage.values())

    def to_frame(self) -> "DataFrame":
        """One row for each statistic, as a pandas DataFrame: channel, unit, horizon, statistic, value, lower, upper, place.

        Scores are in the channel's unit or in none, and have no band (NaN); shares and the like are beside the one of a perfect
        forecaster, and `place` says "below" or "above" it.
        """
        found = [row for channel in self.channels for row in _statistics(channel)]
        names = ("channel", "unit", "horizon", "statistic", "value", "lower", "upper", "place")
        return frame_of({name: [row[k] for row in found] for k, name in enumerate(names)}, "UncertaintyReport.to_frame")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; a number that does not exist is None."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


def _statistics(channel: ChannelReport) -> Iterator[tuple[Any, ...]]:
    def bare(horizon: str, row: ChannelReport | ScoreRow) -> Iterator[tuple[Any, ...]]:
        for name in ("nll", "crps", "rmse"):
            unit = "1" if name == "nll" else channel.unit
            yield channel.channel, unit, horizon, name, getattr(row, name), math.nan, math.nan, ""

    def gate(horizon: str, name: str, one: Gate) -> tuple[Any, ...]:
        return channel.channel, "1", horizon, name, one.observed, one.lower, one.upper, one.place

    yield from bare("all", channel)
    for name in ("zms", "ence", "quantile_error", "autocorrelation"):
        yield gate("all", name, getattr(channel, name))
    yield from (gate("all", f"coverage_{100 * float(level):g}", one) for level, one in channel.coverage.items())
    yield from (gate("all", f"path_coverage_{100 * float(level):g}", one) for level, one in channel.path_coverage.items())
    for row in channel.by_horizon:
        yield from bare(row.horizon, row)
    yield from (gate(row.horizon, f"coverage_{100 * row.level:g}", row.share) for row in channel.coverage_by_horizon)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
