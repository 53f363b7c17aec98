"""Where a fit starts: typical values that the data themselves suggest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from physics import Administered, Backbone, LinearisedBackbone, LogNormalPopulation, Mechanism, OneCompartmentOral
from physics.administered import linearised_of
from physics.arguments import require_kind
from physics.glance import glance
from training.people.conversion import in_units
from training.people.records import Record, require_records
from training.starting.closed_form import ByClosedForm, factor_of, least_squares, middle_of
from training.starting.pooled import observation_of, pooled


@dataclass(frozen=True)
class Start:
    """Typical values to start a fit at.

    `backbone`: the one that was given, with these typical values · `values` by name, in the units of `backbone.physical` ·
    `people`, of how many the data were used, 0 where the backbone's own typical values stay · `sentence`, in words.
    """

    backbone: Backbone
    values: Mapping[str, float]
    people: int
    sentence: str

    __repr__, _repr_html_ = glance()

    def to_dict(self) -> dict[str, object]:
        """As plain JSON values."""
        return {"values": dict(self.values), "people": self.people, "sentence": self.sentence}


def starting_values(
    records: Sequence[Record],
    backbone: Backbone | Mechanism,
    powers: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
) -> Start:
    """Typical values of θ from everyone's measurements at once, by least squares.

    For `OneCompartmentOral`: the closed form under each person's own doses (repeated, infused, into gut or plasma, with lags)
    and baseline, everyone with the same θ but for their covariates. Σ ((y − f)/(.2 y + .05 ỹ))², ỹ the median measurement,
    is made small with Huber's weights, from the best point of a grid over the boxes of ka and ke (V follows by linear least
    squares) by Levenberg–Marquardt steps in log θ. What the data do not determine (ka, where nobody was sampled early) stays
    near the backbone's typical value, which counts as one measurement of log θ with a standard deviation of 2. One θ for all lies
    off the middle where people differ (peaks at different times make a broad one, and ka too small), so that then everyone's own
    departures are found, by Gauss–Newton steps with standard deviations of .6 for ka and .3 for the others beforehand, and their
    mean is added, until it is 0.

    For a mechanism of the shelf, or one of one's own, that says in `defaults.observed` what is measured of it: the same pooled
    least squares through its simulations, from the best of 128 points spread over the boxes (two and three compartments into
    the plasma and by mouth, Michaelis–Menten, turnover, …), with one θ for all but for the covariates. Where another point that
    is twice as far in some parameter meets the data as well, as where absorption and another rate change places, the sentence
    names these parameters.

    Arguments: `records`; `backbone`, or a `Mechanism`; `powers`, the covariate powers of the population that will be fitted, as
    `LogNormalPopulation` takes them, so that the values are those at the reference covariates.
    Returns a `Start`; build the population from `start.backbone`. Where the data say nothing (no doses and no baseline, nothing
    measured after a dose) or no such start is known for the backbone, its typical values stay, and the sentence says so.
    Errors: `ValueError` for a covariate that is missing or not positive.
    Law: people without differences and noise give their θ back.
    Source: Sheiner & Beal, J. Pharmacokinet. Biopharm. 8 (1980) 553 (everyone's data at once); Huber (1964).
    """
    if isinstance(backbone, Mechanism):
        backbone = LinearisedBackbone(backbone)
    require_kind(backbone, Backbone, "starting_values: backbone", "starting_values(records, OneCompartmentOral())")
    records = require_records(records, "starting_values: records")
    if powers is not None:
        require_kind(powers, Mapping, "starting_values: powers", '{"V": {"WT": (70.0, 1.0, "kg")}}')
        # which refuses what are no powers of these parameters
        positive = [p for p in backbone.physical if p.positive]
        LogNormalPopulation([replace(p, above="") for p in positive], [0.3] * len(positive), powers)
    for parameter, by in (powers or {}).items():
        require_kind(by, Mapping, f"starting_values: the powers of {parameter}", '{"V": {"WT": (70.0, 1.0, "kg")}}')
    typical = {p.name: p.typical for p in backbone.physical}
    if isinstance(backbone, Administered) and backbone.observed_names:
        beside = ", ".join(backbone.observed_names)
        return Start(
            backbone,
            typical,
            0,
            f"The fit starts at the typical values: what is measured holds {beside} beside what doses make, and no start from "
            "data is known for that.",
        )
    if isinstance(backbone, Administered) and isinstance(backbone.within, OneCompartmentOral):
        inner = {p.name for p in backbone.within.physical}
        found = starting_values(records, backbone.within, {name: by for name, by in (powers or {}).items() if name in inner})
        return replace(found, backbone=backbone.around(found.backbone), values=typical | dict(found.values))
    linearised = linearised_of(backbone)
    name = type(backbone).__name__ if linearised is None else linearised.mechanism.name
    if not backbone.physical:
        return Start(backbone, typical, 0, f"{name} has no parameters to start.")
    if linearised is backbone:
        return _simulated(backbone, records, powers or {}, typical)
    if not isinstance(backbone, OneCompartmentOral):
        return Start(backbone, typical, 0, _unknown(name, "no start from data is known for it"))
    units = {k: v[2] if len(v) == 3 else None for by in (powers or {}).values() for k, v in by.items()}
    if all(len(r.channels) == 1 for r in records):
        records = [in_units(r, backbone, {r.channels[0]: "mg/L"}, units).on_own_clock() for r in records]
    data = ByClosedForm.of(records, backbone, powers or {})
    if data is None:
        return Start(
            backbone,
            typical,
            0,
            f"The fit starts at the typical values of {name}: nobody was measured after a dose through one channel.",
        )
    x = middle_of(data, backbone, least_squares(data, backbone))
    low, high = (np.log([getattr(p, end) for p in backbone.physical]) for end in ("low", "high"))
    edge = 0.02 * (high - low)
    inside = np.clip(x, low + edge, high - edge)
    values = {p.name: float(f"{math.exp(v):.4g}") for p, v in zip(backbone.physical, inside, strict=True)}
    words = ", ".join(f"{p.name} {values[p.name]:.3g} {p.unit}" for p in backbone.physical)
    whose = "1 person" if data.people == 1 else f"{data.people} people"
    sentence = f"The fit starts from the data of {whose} (least squares): {words}."
    ends = [p.name for p, moved in zip(backbone.physical, np.abs(inside - x) > 0, strict=True) if moved]
    if ends:
        its = "its box or beyond: widen it" if len(ends) == 1 else "their boxes or beyond: widen them, or look at the units"
        sentence += f" The data would have {', '.join(ends)} at an end of {its}."
    begun = type(backbone)(**{**backbone.config(), "typical": values})
    return Start(begun, values, data.people, sentence)


def _unknown(name: str, why: str) -> str:
    return (
        f"The fit starts at the typical values of {name}: {why}. Where they are far from these data, write typical values of "
        "your own where it is built."
    )


def _simulated(
    backbone: LinearisedBackbone,
    records: Sequence[Record],
    powers: Mapping[str, Mapping[str, Sequence[Any]]],
    typical: Mapping[str, float],
) -> Start:
    """The start of a mechanism, by least squares through its simulations."""
    name, physical = backbone.mechanism.name, backbone.physical

    def stays(why: str) -> Start:
        return Start(backbone, typical, 0, _unknown(name, why))

    if not all(p.positive for p in physical):
        signed = ", ".join(p.name for p in physical if not p.positive)
        return stays(f"{signed} may be negative, and a start is looked for in logarithms")
    channels = records[0].channels
    observation = observation_of(backbone, channels)
    if observation is None or any(r.channels != channels for r in records):
        return stays(f"it does not say what {', '.join(channels)} shows of it (`defaults`)")
    if any(u not in r.schedule.inputs for u in backbone.inputs for r in records):
        return stays("it needs inputs that these records do not have")
    units = {k: v[2] if len(v) == 3 else None for by in powers.values() for k, v in by.items()}
    shown = dict(zip(observation.channels, observation.units, strict=True))
    records = [in_units(r, backbone, shown, units).on_own_clock() for r in records]
    if any(r.occasions or r.changing or r.schedule.resets for r in records):
        return stays("people begin anew, or change, within these records")
    factors = np.array([[factor_of(r, powers.get(p.name, {})) for p in physical] for r in records])
    found = pooled(backbone, observation, records, factors)
    if found is None:
        return stays("nobody was measured")
    if not found.misfit < found.built_in - 1e-6:
        return stays("least squares found nothing that meets these data better")
    values = {p.name: float(f"{v:.4g}") for p, v in zip(physical, found.theta, strict=True)}
    words = ", ".join(f"{p.name} {values[p.name]:.3g} {p.unit}" for p in physical)
    whose = "1 person" if found.people == 1 else f"{found.people} people"
    sentence = f"The fit starts from the data of {whose} (least squares): {words}."
    if found.other:
        sentence += (
            f" Another start meets them as well, with {', '.join(found.other)} at least twice as large or small: narrow a box "
            "where it is known, and compare several starts."
        )
    ends = [
        p.name
        for p in physical
        if not 0.02 < math.log(values[p.name] / p.low) / max(math.log(p.high / p.low), 1e-12) < 0.98
    ]
    if ends:
        sentence += f" The data would have {', '.join(ends)} at an end of its box or beyond: widen it, or look at the units."
    said = backbone.mechanism.to_dict()
    said["physical"] = [{**one, "typical": values[one["name"]]} for one in said["physical"]]
    x = dict(zip(backbone.states, backbone.x.tolist(), strict=True)) if backbone.mechanism.starts_empty else None
    try:
        begun = LinearisedBackbone(said, x, dict(zip(backbone.inputs, backbone.u.tolist(), strict=True)))
    except ValueError as error:
        return stays(f"least squares led to values at which it has no linear part ({error})")
    return Start(begun, values, found.people, sentence)
