"""The variables of an FMU: a value reference is a place in `Memory.value` of `sources/instance.h`, in the order there.

A single member has `plasma`, `der(plasma)`, `theta.ka`, `y.concentration`, `variance.concentration`. An ensemble has the states,
rates, θ, context and η of each member, `member1.plasma` …, channels of each, `member1.y.concentration`, and over the members
`y.concentration` (the mean), `aleatoric.concentration` and `epistemic.concentration`, in both `u.NAME` and `infused.STATE`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exchange.bundle.bundle import Bundle
from exchange.fmu.names import numbered, part, require_distinct
from exchange.fmu.span import Span, span_of
from exchange.fmu.units import rate_of
from exchange.selection import Selected, ranges_of
from hybrid import HybridModel
from physics.units import times

Array = NDArray[np.float64]
Causality = Literal["independent", "parameter", "input", "output", "local"]
Variability = Literal["continuous", "discrete", "tunable"]


@dataclass(frozen=True)
class Variable:
    """One variable, as modelDescription.xml states it; `derivative`: the reference of the state whose rate it is."""

    name: str
    reference: int
    causality: Causality
    variability: Variability
    description: str
    unit: str | None = None
    initial: Literal["exact", "calculated"] | None = None
    start: float | None = None
    nominal: float | None = None
    low: float | None = None
    high: float | None = None
    derivative: int | None = None
    boolean: bool = False


@dataclass(frozen=True)
class Group:
    """Variables after one another: the macro `V_…` of their first place in C, and what they are."""

    macro: str
    variables: tuple[Variable, ...]


@dataclass(frozen=True)
class Variables:
    """All of them: `groups` in the order of their places, `switch`, the Boolean `by_population` where there is one.

    `span`: how long it runs where nobody says it.
    """

    groups: tuple[Group, ...]
    switch: Variable | None
    span: Span

    @property
    def all(self) -> tuple[Variable, ...]:
        """Every variable, in the order of the value references."""
        found = [v for group in self.groups for v in group.variables]
        return tuple(found if self.switch is None else [*found, self.switch])

    @property
    def count(self) -> int:
        """How many places `Memory.value` has."""
        return sum(len(group.variables) for group in self.groups)

    def named(self, macro: str) -> tuple[Variable, ...]:
        """The variables of one group."""
        return next(group.variables for group in self.groups if group.macro == macro)

    @property
    def moved_by(self) -> dict[str, tuple[Variable, ...]]:
        """For every rate and output, by name, the states and inputs that it moves with, in the order of their references.

        A rate and a channel of a member move with its own states; what is of all members with all of them.
        """
        states, levels, infused = (self.named(macro) for macro in ("V_STATE", "V_INPUT", "V_INFUSED"))
        n, found = len(infused), dict[str, tuple[Variable, ...]]()
        for i, rate in enumerate(self.named("V_RATE")):
            own = i // n * n
            found[rate.name] = (*states[own : own + n], *levels, infused[i % n])
        for group in self.groups:
            for i, variable in enumerate(group.variables):
                if group.macro == "V_OF_MEMBER":
                    own = i // len(self.named("V_OUTPUT")) * n
                    found[variable.name] = states[own : own + n]
                elif group.macro in ("V_OUTPUT", "V_EPISTEMIC"):
                    found[variable.name] = states
                elif group.macro == "V_VARIANCE":
                    found[variable.name] = (*states, *levels)
        return found


@dataclass(frozen=True)
class _Column:
    """Variables that differ in name, unit and numbers alone."""

    names: Sequence[str]
    causality: Causality
    variability: Variability
    descriptions: Sequence[str]
    units: Sequence[str | None]
    start: Sequence[float] | None = None
    nominal: Sequence[float] | None = None
    box: Sequence[tuple[float | None, float | None]] | None = None
    derivative: int | None = None  # the reference of the first state
    calculated: bool = False

    def at(self, first: int) -> Iterator[Variable]:
        initial: Literal["exact", "calculated"] | None = "calculated" if self.calculated else "exact"
        for i, name in enumerate(self.names):
            yield Variable(
                name,
                first + i,
                self.causality,
                self.variability,
                self.descriptions[i],
                self.units[i],
                None if self.causality in ("input", "independent") else initial,
                None if self.start is None else float(self.start[i]),
                None if self.nominal is None else float(self.nominal[i]),
                None if self.box is None else self.box[i][0],
                None if self.box is None else self.box[i][1],
                None if self.derivative is None else self.derivative + i,
            )


def variables_of(bundle: Bundle, chosen: Selected, *, by_population: bool, starts: bool = True) -> Variables:
    """The variables of these members; `by_population`: the population's map among them, with its switch; `starts`: does the
    header say where someone starts?

    Errors: `ValueError` for names that FMI has no place for, and for two that are the same.
    """
    model, span = chosen.model, span_of(bundle, chosen)
    M = len(chosen.theta)
    owners = [f"member{member + 1}." for member in chosen.members] if M > 1 else [""]
    groups, place = list[Group](), 0
    known = ranges_of(bundle, model) if by_population else {}
    for macro, columns in _columns(model, chosen, owners, span, by_population, known):
        found = list[Variable]()
        for column in columns:
            found += column.at(place + len(found))
        groups.append(Group(macro, tuple(found)))
        place += len(found)
    words = (
        "true: theta and context are what the population's map makes of eta, latents and covariates, and are read so, whatever "
        "they were set to. Set before or while initialising, "
    ) + (
        "states that nobody sets start from what the model says at that theta, from the same baseline"
        if starts
        else "it leaves the states' starts as they are stated here: where the model starts is the solution of an equation, "
        "which is not in this FMU, so set them"
    )
    switch = Variable("by_population", place, "parameter", "tunable", words, initial="exact", start=0.0, boolean=True)
    variables = Variables(tuple(groups), switch if by_population else None, span)
    require_distinct([v.name for v in variables.all])
    return variables


def _columns(
    model: HybridModel,
    chosen: Selected,
    owners: Sequence[str],
    span: Span,
    mapped: bool,
    known: Mapping[str, tuple[float, float]],  # the range of covariates among the bundle's people
) -> Iterator[tuple[str, list[_Column]]]:
    backbone, observation, time = model.backbone, model.observation, model.backbone.time_unit
    states, units = [part(name, "the state") for name in backbone.states], list(backbone.state_units)
    rates = [rate_of(unit, time) for unit in units]
    inputs, parameters = [part(name, "the input") for name in backbone.inputs], backbone.physical
    channels, measured = [part(name, "the channel") for name in observation.channels], list(observation.units)
    squared = [times(unit, unit) for unit in measured]
    seen = [part(name, "the covariate") for name in model.covariates] + numbered(model.latents, "latent")
    x0, theta, c = (tensor.tolist() for tensor in (chosen.x0, chosen.theta, chosen.c))
    clock = [f"time, in the unit {time}"]
    yield "V_TIME", [_Column(["time"], "independent", "continuous", clock, [time])]
    yield (
        "V_STATE",
        [
            _Column(
                [owner + name for name in states],
                "local",
                "continuous",
                _each(states, "state"),
                units,
                x0[m],
                span.nominal,
            )
            for m, owner in enumerate(owners)
        ],
    )
    yield (
        "V_RATE",
        [
            _Column(
                [f"{owner}der({name})" if not owner else f"der({owner}{name})" for name in states],
                *("local", "continuous", _each(states, "rate of"), rates),
                derivative=1 + m * len(states),
                calculated=True,
            )
            for m, owner in enumerate(owners)
        ],
    )
    yield (
        "V_INPUT",
        [
            _Column(
                [f"u.{name}" for name in inputs],
                "input",
                "continuous",
                [f"input {name}; its start is {chosen.begins}" for name in inputs],
                list(backbone.input_units),
                chosen.inputs,
            )
        ],
    )
    into = _each(states, "what runs into the state")
    yield (
        "V_INFUSED",
        [_Column([f"infused.{name}" for name in states], "input", "continuous", into, rates, [0.0] * len(states))],
    )
    yield (
        "V_THETA",
        [
            _Column(
                [f"{owner}theta.{part(p.name, 'the parameter')}" for p in parameters],
                *(
                    "parameter",
                    "tunable",
                    [p.source or f"parameter {p.name}" for p in parameters],
                    [p.unit for p in parameters],
                ),
                start=theta[m],
                nominal=[abs(p.typical) or max(abs(p.low), abs(p.high)) for p in parameters],  # a positive size
                box=[
                    (min(p.low, v), max(p.high, v)) for p, v in zip(parameters, theta[m], strict=True)
                ],  # rounding of the map
            )
            for m, owner in enumerate(owners)
        ],
    )
    shown = [f"({name} − {a:g})/{s:g}, as the residual sees it" for name, (a, s) in model.covariates.items()]
    shown += ["latent coordinate of the person"] * model.latents
    yield (
        "V_CONTEXT",
        [
            _Column([f"{owner}context.{name}" for name in seen], "parameter", "tunable", shown, ["1"] * len(seen), c[m])
            for m, owner in enumerate(owners)
        ],
    )
    yield from _population(model, chosen, owners, mapped, known)
    step = "the longest internal step in co-simulation, which is taken as two halves; a second solution takes it whole"
    yield (
        "V_STEP",
        [
            _Column(
                ["step"], "parameter", "tunable", [step], [time], [span.step], box=[(span.step * 1e-9, span.stop * 1e3)]
            )
        ],
    )
    stated = _each(
        states, "estimate of the error of co-simulation: twice the largest distance so far from a solution by whole steps, in"
    )
    yield (
        "V_ERROR",
        [
            _Column(
                [f"{owner}step_error.{name}" for name in states], "local", "discrete", stated, units, calculated=True
            )
            for owner in owners
        ],
    )
    yield "V_OUTPUT", [_outputs("y", channels, "mean of the channel" if len(owners) > 1 else "channel", measured)]
    if len(owners) == 1:
        yield "V_VARIANCE", [_outputs("variance", channels, "variance of a measurement, its noise alone, of", squared)]
        return
    yield "V_VARIANCE", [_outputs("aleatoric", channels, "mean of the members' variances of a measurement of", squared)]
    yield (
        "V_EPISTEMIC",
        [_outputs("epistemic", channels, "variance over the members (divided by their number) of", squared)],
    )
    yield "V_OF_MEMBER", [_outputs(f"{owner}y", channels, "channel", measured) for owner in owners]


def _outputs(kind: str, channels: Sequence[str], words: str, units: Sequence[str]) -> _Column:
    names = [f"{kind}.{name}" for name in channels]
    return _Column(names, "output", "continuous", _each(channels, words), list(units), calculated=True)


def _population(
    model: HybridModel,
    chosen: Selected,
    owners: Sequence[str],
    mapped: bool,
    ranges: Mapping[str, tuple[float, float]],
) -> Iterator[tuple[str, list[_Column]]]:
    parameters = model.backbone.physical
    d, latents = model.population.dimension, model.latents
    effects = model.population.effects or tuple(p.name for p in parameters)
    own = [f"eta.{part(name, 'the parameter')}" for name in effects] if d == len(effects) else numbered(d, "eta")
    names = [*own, *numbered(latents, "latent")] if mapped else []
    words = ["coordinate of a person, standard normal in the population; read where by_population is true"] * len(names)
    yield (
        "V_ETA",
        [
            _Column(
                [owner + name for name in names],
                "parameter",
                "tunable",
                words,
                ["1"] * len(names),
                chosen.personal[m].tolist(),
            )
            for m, owner in enumerate(owners)
        ],
    )
    known = chosen.covariates if mapped else {}
    uses = model.uses
    yield (
        "V_COVARIATE",
        [
            _Column(
                [f"covariate.{part(name, 'the covariate')}" for name in known],
                *("parameter", "tunable", [_covariate(name, uses[name], ranges.get(name)) for name in known]),
                units=[uses[name] for name in known],
                start=list(known.values()),
                box=[_box(model.population.ranges.get(name), value) for name, value in known.items()],
            )
        ],
    )


def _each(names: Sequence[str], words: str) -> list[str]:
    return [f"{words} {name}" for name in names]


def _covariate(name: str, unit: str | None, seen: tuple[float, float] | None) -> str:
    words = f"read where by_population is true: the covariate {name}"
    if seen is None:
        return f"{words}; nobody of the bundle's people has it stated"
    low, high, each = *(f"{end:.4g}" for end in seen), "" if unit in (None, "1") else f" {unit}"
    return f"{words}; of the bundle's people from {low} to {high}{each}, and beyond that the map extrapolates"


def _box(stated: tuple[float, float] | None, value: float) -> tuple[float | None, float | None]:
    """The range that the population states, which holds the start."""
    return (None, None) if stated is None else (min(stated[0], value), max(stated[1], value))
