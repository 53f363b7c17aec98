"""What the twin says of a person: what would be measured, how sure that is, whether it fits, what a late event changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from scipy.special import gammaincinv, ndtri
from torch import Tensor

from hybrid import Shift
from hybrid.mixture import mixture_quantile
from hybrid.observation import Observation
from physics.glance import glance
from twin.ahead import Seen
from twin.clock import Microseconds
from twin.log.events import Event
from twin.log.times import time_text

CONSISTENT = 0.95  # of the band of NIS


@dataclass(frozen=True, slots=True)
class Band:
    """A measurement of one channel, in its unit: the mean, and the central interval of the mixture over members."""

    mean: float
    low: float
    high: float
    unit: str

    __repr__, _repr_html_ = glance()


@dataclass(frozen=True, slots=True)
class Consistency:
    """Normalised innovations squared of `count` numbers, the mean over members, beside the central 95 % of χ² with as many
    degrees of freedom: what a model that is right shows of each member. Members that disagree show more.
    """

    nis: float
    count: int

    __repr__, _repr_html_ = glance()

    @property
    def band(self) -> tuple[float, float]:
        """The central 95 % of χ² with `count` degrees of freedom."""
        return chi_square_band(self.count)

    @property
    def inside(self) -> bool:
        """Is `nis` in the band?"""
        low, high = self.band
        return low <= self.nis <= high


@lru_cache(maxsize=4096)
def chi_square_band(count: int) -> tuple[float, float]:
    """The central 95 % of χ² with that many degrees of freedom."""
    tail = 0.5 * (1.0 - CONSISTENT)
    return 2.0 * float(gammaincinv(0.5 * count, tail)), 2.0 * float(gammaincinv(0.5 * count, 1.0 - tail))


@dataclass(frozen=True)
class Estimate:
    """What is believed of `patient` at `time` (µs since 1970, UTC).

    `time`: None where it was not said and nothing counts of the person ·
    `channels`: what a measurement would be, by name, before what arrives at that very time; empty while the filter waits ·
    `level` of the bands · `last` and `overall`: how well the last measurement, and all since the start, agreed with what was
    predicted · `evidence` (M,): each member's log-likelihood of everything seen; members stay equally likely ·
    `effective`: when the last event was true · `arrived`: when the last that counted came · `certified`: what the bundle's
    certificate says of this person, in a sentence · `held`: None, or why this is an old belief, or none · `waits`:
    inputs that must be told before the filter starts · `notes`, what else must be known to read the numbers · `shift`: whether
    the person looks like those on whom the model was trained, by what came to them up to then.
    """

    patient: str
    time: Microseconds | None
    channels: Mapping[str, Band] = field(default_factory=dict)
    level: float = 0.9
    last: Consistency | None = None
    overall: Consistency | None = None
    evidence: tuple[float, ...] = ()
    effective: Microseconds | None = None
    arrived: Microseconds | None = None
    certified: str = ""
    held: str | None = None
    waits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shift: Shift = field(default_factory=Shift)

    __repr__, _repr_html_ = glance()

    @property
    def nis(self) -> float | None:
        """Of the last measurement."""
        return None if self.last is None else self.last.nis

    @property
    def nis_band(self) -> tuple[float, float] | None:
        """The 95 % of χ² for the last measurement."""
        return None if self.last is None else self.last.band

    @property
    def lag(self) -> float | None:
        """Seconds from when the newest event was true to when the last one came; of a late one less than how late it was."""
        return None if self.arrived is None or self.effective is None else (self.arrived - self.effective) / 1e6

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; what there is nothing of is left out."""
        channels = {
            name: {"mean": b.mean, "low": b.low, "high": b.high, "unit": b.unit} for name, b in self.channels.items()
        }
        time = None if self.time is None else time_text(self.time)
        found: dict[str, Any] = {"patient": self.patient, "time": time, "channels": channels, "nis": self.nis}
        if self.nis_band is not None:
            found["nis_band"] = list(self.nis_band)
        for name in ("held", "certified"):
            if getattr(self, name):
                found[name] = getattr(self, name)
        for name in ("waits", "notes"):
            if getattr(self, name):
                found[name] = list(getattr(self, name))
        found["shift"] = self.shift.to_dict()
        return found


@dataclass(frozen=True)
class Moved:
    """What a channel was believed to be before an arrival and after it, at one `time`, in the channel's unit."""

    before: float
    after: float
    unit: str
    time: Microseconds

    __repr__, _repr_html_ = glance()


@dataclass(frozen=True)
class Change:
    """What an arrival did: its `verdict` ("new", "duplicate", "older version" or "refused") and the `reason` ·
    `estimate`, of a person whose log it changed · `moved`: what a late, corrected or withdrawn result changed of what was
    believed at the person's newest time before it, by channel; empty where it changed nothing of the past · `replayed`: how
    many times of theirs were gone through again · `new`: nothing was known of this person · `effective`: when the event was
    true (µs, UTC), by its source's clock with the offset that was known when it came; None where it was refused or withdraws.

    Of events of one person that arrive together, `estimate`, `moved` and `replayed` are those of all of them; let them arrive
    one by one to be told of each.
    """

    event: Event
    verdict: str
    reason: str | None = None
    estimate: Estimate | None = None
    moved: Mapping[str, Moved] = field(default_factory=dict)
    replayed: int = 0
    new: bool = False
    effective: Microseconds | None = None

    __repr__, _repr_html_ = glance()


def shown(observation: Observation, seen: Seen, level: float, cut: Tensor) -> list[tuple[dict[str, Band], tuple[str, ...]]]:
    """Of every person the channels, none where they are beyond any number, and what must be known to read them."""
    finite = seen.finite[:, None]
    mean, variance, noise = (torch.where(finite, v, 1.0) for v in (seen.mean, seen.variance, seen.noise))
    *numbers, outside = bands(mean, variance, noise, level, cut)
    rows = zip(*(v.tolist() for v in (finite[:, 0], seen.mean.mean(0), outside, *numbers)), strict=True)
    found: list[tuple[dict[str, Band], tuple[str, ...]]] = []
    for is_number, believed, below, *parts in rows:
        each = list(zip(observation.channels, observation.units, *parts, strict=True)) if is_number else []
        channels = {name: Band(middle, low, high, unit) for name, unit, middle, low, high in each}
        found.append((channels, tuple(_outside(*one) for one in zip(each, believed, below, strict=False) if one[-1])))
    return found


def _outside(row: tuple[str, str, float, float, float], believed: float, below: bool) -> str:
    return (
        f"of {row[0]}, which is never below 0, the filter believes {believed:.3g} {row[1]}, and shown is what a measurement of 0 "
        "would be; a wrong dose or result leads there, which is to be corrected or withdrawn, or a model that does not fit"
    )


def bands(
    mean: Tensor,  # (M, N, p)
    variance: Tensor,  # (M, N, p)
    noise: Tensor,  # (M, N, p)
    level: float,
    cut: Tensor,  # (p,) bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # (N, p) each
    """Mean, central interval of the mixture over members, and whether all of that lies below 0 in a channel that cannot.

    Channels that are never below 0 are cut there, and what is measured of a 0 still has its noise: of a belief that lies below
    0 the upper end is that of a measurement of 0, by `noise`, the variance of measuring alone, of the surest member.
    """
    M, N, p = mean.shape
    tail = 0.5 * (1.0 - level)
    # the upper quantile is the mirrored mixture's lower one: both in one solve
    both = torch.cat([mean.reshape(M, -1), -mean.reshape(M, -1)], 1)
    found = mixture_quantile(tail, both, torch.cat([variance.reshape(M, -1)] * 2, 1))
    low, high = found[: N * p].reshape(N, p), -found[N * p :].reshape(N, p)
    outside = cut & (high < 0.0)
    of_nothing = -float(ndtri(tail)) * noise.amin(0).sqrt()
    high = torch.where(cut & (mean < 0.0).any(0), torch.maximum(high, of_nothing), high)

    def above(value: Tensor) -> Tensor:
        return torch.where(cut & (value < 0.0), 0.0, value)

    return above(mean.mean(0)), above(low), above(high), outside
