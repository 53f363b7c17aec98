"""What designs tell of a backbone's parameters before anything is fitted: the model asked, the answers, and the same in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from homeostat.study.backbones import name_of, observation_of, require_driven
from hybrid import HybridModel, Schedule
from hybrid.schedules.schedule_text import format_schedule, parse_schedule, schedule_units
from learned import AdditiveProportional, Constant, NoiseHead
from physics import Administered, Backbone, Fixed, LogNormal, MixedPopulation, Normal, Parameter, Shared
from physics.arguments import counted, quote
from physics.effects import Effect
from physics.glance import glance
from training.identify import Arm, Comparison, Information, Optima, compare_designs, other_optima
from training.people.tables.of_model import channels_of

_SPREAD = 0.3  # of log θ between people, where a backbone does not say
_NOTHING = 1e-12  # of a channel: noise that is not there


@dataclass(frozen=True)
class Asked:
    """What is asked of a backbone: the typical `values` of θ, which are `known`, the `fraction` of doses by state, the `spread`.

    `additive`, `proportional`: noise by channel, or one for all under "" · `channels`, which are measured, () for the backbone's.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    known: Sequence[str] = ()
    fraction: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    additive: Mapping[str, float] = field(default_factory=dict)
    proportional: Mapping[str, float] = field(default_factory=dict)
    channels: Sequence[str] = ()

    __repr__, _repr_html_ = glance()


@dataclass(frozen=True)
class Identified:
    """The answers: of one `person`, of the `population` where it was asked about, and the best design's other `optima`."""

    model: HybridModel
    schedule: str
    designs: Mapping[str, Arm]
    person: Comparison
    population: Comparison | None
    optima: Optima | None
    notes: tuple[str, ...] = ()

    __repr__, _repr_html_ = glance()

    @property
    def decides(self) -> Comparison:
        """Whose information was asked for: the population's where there is one."""
        return self.population or self.person

    @property
    def good(self) -> bool:
        """Does the best design see everything to 100 %, noise apart, and one set of parameters only?"""
        alone = self.optima is None or all(self.optima.forbidden)
        best = self.decides.designs[self.decides.best]
        noise = ("additive(", "proportional(")
        errors = [float(best.rse[j]) for j, name in enumerate(best.names) if not name.startswith(noise)]
        return alone and all(error <= 1.0 for error in errors)  # what is not seen has an infinite one

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "backbone": name_of(self.model.backbone),
            "schedule": self.schedule,
            "time_unit": self.model.backbone.time_unit,
            "times": {name: _times(arm) for name, arm in self.designs.items()},
            "best": self.decides.best,
            "identified": self.good,
            "person": self.person.to_dict(),
            "population": None if self.population is None else self.population.to_dict(),
            "other_optima": None if self.optima is None else self.optima.to_dict(),
            "notes": list(self.notes),
        }

    def in_words(self) -> str:
        """The same as lines of text."""
        unit, lines = self.model.backbone.time_unit, [f"given      {self.schedule or 'nothing'}"]
        for name, arm in self.designs.items():
            lines.append(f"{name:<10} {', '.join(f'{t:g}' for t in _times(arm))} {unit}")
        for whose, found in (("one person, noise known", self.person), ("the population", self.population)):
            if found is None:
                continue
            size = counted(next(iter(self.designs.values())).people, "person", "people")
            people = "" if found is self.person else f" of {size}"
            for name, one in found.designs.items():
                efficiency = found.efficiency[name]
                beside = (
                    ""
                    if len(found.designs) == 1 or math.isnan(efficiency)
                    else f", D-efficiency {100.0 * efficiency:.0f} %"
                )
                lines += ["", f"{name}: what it tells of {whose}{people}: rank {one.rank} of {len(one.names)}{beside}"]
                lines += _table(one)
                lines += [f"  {sentence}" for sentence in one.sentences()]
        lines.append("")
        if len(self.designs) > 1:
            lines.append(f"The best of them is {self.decides.best}.")
        if self.optima is not None:
            lines += self.optima.sentences() or [
                f"From {self.optima.starts} other starts no other parameters of one person were found that give the same data."
            ]
        return "\n".join(lines)


def _table(one: Information) -> list[str]:
    wide = max(len(name) for name in one.names)
    rows = [f"  {'':<{wide}}  {'value':>10}  {'expected RSE':>14}"]
    for name, value, rse in zip(one.names, one.value.tolist(), one.rse.tolist(), strict=True):
        said = "not seen" if math.isinf(rse) else "above 1000 %" if rse > 10.0 else f"{100.0 * rse:.1f} %"
        rows.append(f"  {name:<{wide}}  {value:10.4g}  {said:>14}")
    return rows


def _times(arm: Arm) -> list[float]:
    return [float(t) for t in arm.times]  # one row for all channels, at the shell


def identify(
    backbone: Backbone,
    given: str,
    times: Mapping[str, Sequence[float]],
    *,
    people: int | None = None,
    asked: Asked | None = None,
    starts: int = 16,
) -> Identified:
    """What each design tells: of one person, and of a population where `people` says how many.

    Arguments: `given`, doses and inputs in the words of `homeostat grammar` · `times` of each design, by name, in the
    backbone's unit · `asked`: about which values, and how exact measurements are · `starts` of the search for other optima.
    Errors: `ValueError` for a text that is no schedule, names that there are none of, values outside of their boxes, and noise
    that nobody stated.
    """
    asked = Asked() if asked is None else asked
    units = schedule_units(backbone)
    schedule = parse_schedule(given, states=backbone.states, inputs=backbone.inputs, base=Schedule(), units=units)
    require_driven(backbone, schedule.inputs)
    model, notes = asked_model(backbone, asked)
    designs = {name: Arm(schedule, row, people or 1) for name, row in times.items()}
    unknown = tuple(p.name for p in model.backbone.physical if p.name not in asked.known)
    if not unknown:
        raise ValueError("--known names every parameter, so that nothing is asked; leave one out")
    person = compare_designs(model, designs, unknown, of="theta")
    population = None if people is None else compare_designs(model, designs)
    best = (population or person).best
    whole = person.designs[best].rank == len(unknown)
    optima = other_optima(model, designs[best], unknown, starts=starts) if whole else None
    return Identified(model, format_schedule(schedule, units=units), designs, person, population, optima, notes)


def asked_model(backbone: Backbone, asked: Asked) -> tuple[HybridModel, tuple[str, ...]]:
    """The backbone with people and noise as asked, and what a reader must know of it."""
    shares = {}
    for state, value in asked.fraction.items():
        name = "F" if len(asked.fraction) == 1 else f"F_{state}"
        if not 0.01 < value < 10.0:
            raise ValueError(f"--fraction {state}={value:g}: a share lies between .01 and 10; write {state}=0.8")
        shares[state] = Parameter(name, "1", value, 0.01, 10.0)
    backbone = Administered(backbone, fraction=shares) if shares else backbone
    names = [p.name for p in backbone.physical]
    for option, said in (("--values", asked.values), ("--known", asked.known), ("--spread", asked.spread)):
        stray = [name for name in said if name not in names]
        if stray:
            raise ValueError(f"{option} names {quote(stray[0])}, and the parameters are {', '.join(names) or 'none'}")
    physical = []
    for one in backbone.physical:
        value = asked.values.get(one.name, one.typical)
        if not one.low < value < one.high:
            raise ValueError(
                f"--values {one.name}={value:g}: its box is {one.low:g} to {one.high:g} {one.unit}; write a value inside, or "
                "widen the box with --backbone-config where the backbone has it"
            )
        physical.append(replace(one, typical=value))
    effects = {one.name: _effect(one, backbone, asked) for one in physical}
    observation = observation_of(backbone, asked.channels or [*dict.fromkeys(channels_of(backbone).values())])
    noise, notes = _noise(list(observation.channels), asked)
    model = HybridModel(backbone, MixedPopulation(physical, effects), observation=observation, noise=noise)
    return model, notes


def _effect(one: Parameter, backbone: Backbone, asked: Asked) -> Effect:
    if one.name in asked.known:
        return Fixed()
    spread = asked.spread.get(one.name, backbone.defaults.spread.get(one.name, _SPREAD if one.positive else 0.0))
    if not 0.0 <= spread < math.inf:
        raise ValueError(
            f"--spread {one.name}={spread:g} is no standard deviation between people; write 0.3, or 0 for none"
        )
    if spread == 0.0:
        return Shared()
    return LogNormal(spread) if one.positive else Normal(spread)


def _noise(channels: Sequence[str], asked: Asked) -> tuple[NoiseHead, tuple[str, ...]]:
    for option, said in (("--additive", asked.additive), ("--proportional", asked.proportional)):
        for name, value in said.items():
            if name and name not in channels:
                raise ValueError(f"{option} names {quote(name)}, and what is measured is {', '.join(channels)}")
            if not 0.0 < value < math.inf:
                raise ValueError(
                    f"{option} {value:g} is no standard deviation; write a positive one, or leave the option out"
                )
    sizes = {
        c: (asked.additive.get(c, asked.additive.get("")), asked.proportional.get(c, asked.proportional.get("")))
        for c in channels
    }
    silent = [c for c, (a, b) in sizes.items() if a is None and b is None]
    if silent:
        raise ValueError(
            f"how exact measurements of {silent[0]} are decides every answer, and was not said; write --proportional 0.1 (a "
            "share of the value), --additive 0.2 (in its unit), or both"
        )
    floor = [_NOTHING] * len(channels)
    additive = [_NOTHING if sizes[c][0] is None else sizes[c][0] for c in channels]
    shares = [sizes[c][1] for c in channels]
    if all(b is None for b in shares):
        return Constant(additive, floor), ()  # type: ignore[arg-type]
    head = AdditiveProportional(additive, [1e-9 if b is None else b for b in shares], floor)  # type: ignore[arg-type]
    # what was not said is not estimated; of several channels only what all have
    head.log_additive.requires_grad_(all(sizes[c][0] is not None for c in channels))
    head.log_proportional.requires_grad_(all(b is not None for b in shares))
    relative = [c for c in channels if sizes[c][0] is None]
    note = f"Noise of {', '.join(relative)} is a share of the value, however small that is: late values may count for more than "
    return head, (f"{note}an assay tells; say with --additive what it cannot tell from nothing.",) if relative else ()


def draw(found: Identified, path: Path) -> Path:
    """Expected errors of all designs as one picture."""
    from homeostat.pictures import expected_errors_axes, figure_of, save

    whose = "one person" if found.population is None else "the population"
    axes = expected_errors_axes(
        found.decides.designs, title=f"What the designs tell of {whose}", subtitle=found.schedule or None
    )
    return save(figure_of(axes), path)
