"""What is given, as parameters of the person: lag, bioavailability, how long or how fast it runs in, and the first amounts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from physics.arguments import quote, require_choice, require_kind, require_shape, require_together
from physics.backbone import Backbone
from physics.linear_backbone import LinearBackbone
from physics.linearised_backbone import LinearisedBackbone
from physics.mechanism import Mechanism
from physics.one_compartment_oral import OneCompartmentOral
from physics.parameter import Parameter
from physics.units import factor
from physics.van_cauter import VanCauter

Given = Mapping[str, Parameter | Mapping[str, Any]]

# those that a configuration may name; the tuple of the family, `physics.BACKBONES`, would be a circle here
OURS: tuple[type[Backbone], ...] = (LinearBackbone, OneCompartmentOral, VanCauter, LinearisedBackbone)

_KINDS = ("lag", "fraction", "duration", "rate", "initial")


@dataclass(frozen=True)
class Delivery:
    """Which of θ says how doses arrive in which state: for each kind, the pairs (place of the state, place in θ)."""

    lag: tuple[tuple[int, int], ...] = ()
    fraction: tuple[tuple[int, int], ...] = ()
    duration: tuple[tuple[int, int], ...] = ()
    rate: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        """Does θ say anything of doses?"""
        return bool(self.lag or self.fraction or self.duration or self.rate)


NO_DELIVERY = Delivery()


class Administered(Backbone):
    """A backbone of whose person θ also says how doses arrive, and what is there at the start.

    dx/dt = A(θ) x + B(θ) u is that of the backbone within. Of an amount D that is given into a state at t, F·D arrives at t + T:
    at once, or as an infusion, of which F leaves what the dose says it was given by (`Dose.kept`): over the stated duration at
    F·D/duration, or at the stated rate (RATE in tables) for F·D/rate. Where the dose leaves its duration to the model
    (`Dose.modelled`: RATE −2 and −1 in tables), `duration` is how long F·D runs in, and `rate` how fast, for F·D/rate.
    T, F, durations and rates are parameters of the person like all others: they have boxes, spread and covariates, and every
    solution is differentiable in them, also where a dose passes an observation or another dose. At such a moment the
    likelihood has a kink or a step, as the measured curve has. Where θ changes within a record (an occasion, a covariate) a dose
    arrives as it says at the time of giving; a lag is one number of a person, and not into a state that has a steady state.

    Arguments
    - `backbone`, or a `Mechanism`; or, of a built-in backbone, what `config` says of it: {"class": …, "config": …}.
    - `lag`, by the states that doses go into: T, in the backbone's time unit · `fraction`: F, without a unit (bioavailability; it
      may be above 1 where it is relative to another form) · `duration` · `rate`, in the state's unit per time.
    - `initial`, by state: the amount there at the start, in the state's unit, in place of what the backbone says.
    - `observed`: parameters of the person that neither the backbone nor a dose reads, and the observation does, as an offset E0
      (`hybrid.Offset`), in units that the observation checks. A model whose observation does not read one is refused.
    - `start`: "backbone", everything else begins as the backbone within says, from what was measured at or before the start;
      "empty", at 0. What does not set the start is scored like any other value (`HybridModel.starts_from`).
    One parameter may stand at several states, written the same at each.
    `physical` is that of the backbone within, then these, kind by kind in the order given, those observed last.
    `matrices` and `hull` do not read them: what is proved of all within holds for every one of their values.
    Errors: `ValueError` for states that there are none of, units that are not those said above, a parameter that may be
    negative, two parameters of one name, `duration` and `rate` of one state, and a backbone that is one of these already.
    Law: with lag 0, fraction 1 and no amount of its own at the start it is the backbone within.
    Source: Beal & Sheiner, NONMEM Users Guide, part IV (ALAG, F, D, R as additional parameters of a compartment).
    """

    def __init__(
        self,
        backbone: Backbone | Mechanism | Mapping[str, Any],
        *,
        lag: Given | None = None,
        fraction: Given | None = None,
        duration: Given | None = None,
        rate: Given | None = None,
        initial: Given | None = None,
        observed: Sequence[Parameter | Mapping[str, Any]] = (),
        start: Literal["backbone", "empty"] = "backbone",
    ) -> None:
        super().__init__()
        write = "Administered(OneCompartmentOral(), lag={…})"
        require_kind(backbone, (Backbone, Mechanism, Mapping), "Administered: backbone", write)
        backbone = _named(backbone) if isinstance(backbone, Mapping) else backbone
        if isinstance(backbone, Administered):
            raise ValueError(
                "Administered: the backbone is administered already; give all its parameters at once, "
                "Administered(backbone, lag={…}, fraction={…})"
            )
        require_choice(start, ("backbone", "empty"), "Administered: start")
        within: Backbone = LinearisedBackbone(backbone) if isinstance(backbone, Mechanism) else backbone
        self.start_with = start
        self._within = {"class": type(within).__name__, "config": within.config()}
        self._given = {
            kind: _parameters(kind, given, within)
            for kind, given in zip(_KINDS, (lag, fraction, duration, rate, initial), strict=True)
        }
        both = sorted(self._given["duration"].keys() & self._given["rate"].keys())
        if both:
            raise ValueError(
                f"Administered: {both[0]} has a duration and a rate, and one follows from the other; leave one of them out"
            )
        own: dict[str, Parameter] = {}
        self._observed = _of_observation(observed)
        self.observed_names = tuple(p.name for p in self._observed)
        for one in (*(p for by_state in self._given.values() for p in by_state.values()), *self._observed):
            if any(one.name == p.name for p in within.physical) or own.get(one.name, one) != one:
                raise ValueError(f"Administered: there are two parameters {quote(one.name)} that differ; call one otherwise")
            own[one.name] = one
        self._q = len(within.physical)
        self.physical = (*within.physical, *own.values())
        # a mechanism's tape takes all of θ, and reads what it read before
        self.within = _widened(within, tuple(own.values())) if isinstance(within, LinearisedBackbone) and own else within
        self.states, self.state_units = tuple(within.states), tuple(within.state_units)
        self.inputs, self.input_units = tuple(within.inputs), tuple(within.input_units)
        self.time_unit, self.starts, self.defaults = within.time_unit, within.starts, within.defaults
        names = [p.name for p in self.physical]
        places = {
            kind: tuple((self.states.index(state), names.index(p.name)) for state, p in by_state.items())
            for kind, by_state in self._given.items()
        }
        self._initial = places.pop("initial")
        self.delivery = Delivery(**places)

    @property
    def linearised(self) -> LinearisedBackbone | None:
        """The backbone within, where it is that of a mechanism, which takes all of θ."""
        return self.within if isinstance(self.within, LinearisedBackbone) else None

    @property
    def first(self) -> dict[str, str]:
        """The parameter that is the amount at the start, for each state that has one."""
        return {self.states[state]: self.physical[place].name for state, place in self._initial}

    def _inner(self, theta: Tensor) -> Tensor:
        """What of θ the backbone within takes."""
        require_shape(theta, "Administered: theta", ..., len(self.physical), write="model.theta(personal, covariates)")
        return theta[..., : len(self.within.physical)]

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return self.within.matrices(self._inner(theta))

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        for end, which in ((lower, "lower"), (upper, "upper")):
            require_shape(end, f"Administered: {which}", len(self.physical), write="torch.tensor([…]), one for each parameter")
        within = len(self.within.physical)
        return self.within.hull(lower[:within], upper[:within])

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        self._inner(theta)  # which says what is wrong with it
        within = self.linearised
        u = theta.new_zeros(0) if within is None else within.u.to(theta)
        return self.start(theta, baseline, u)

    def start(
        self,
        theta: Tensor,  # (..., q)
        baseline: Tensor,  # (..., p)
        u: Tensor,  # (..., m)
    ) -> Tensor:  # (..., n)
        """`initial` of a person with these inputs at the start, which the equilibrium of a mechanism depends on.

        Errors: `ValueError` as the backbone within raises, where it is asked.
        """
        inner = self._inner(theta)
        require_shape(baseline, "Administered: baseline", ..., "p", write="conditions.baseline, NaN where nothing was")
        require_together(theta, baseline, "Administered: theta and baseline")
        within = self.linearised
        if self.start_with == "empty":
            lead = torch.broadcast_shapes(theta.shape[:-1], baseline.shape[:-1])
            x = theta.new_zeros(*lead, len(self.states))
        elif within is not None:
            x = within.start(inner, baseline, u)
        else:
            x = self.within.initial(inner, baseline)
        if not self._initial:
            return x
        columns = list(x.expand(*torch.broadcast_shapes(x.shape[:-1], theta.shape[:-1]), -1).unbind(-1))
        for state, place in self._initial:
            columns[state] = theta[..., place].expand(columns[state].shape)
        return torch.stack(columns, -1)

    def around(self, backbone: Backbone) -> "Administered":
        """The same of another backbone, which has the same states: of other typical values, for example."""
        return Administered(backbone, **self._given, observed=self._observed, start=self.start_with)

    def config(self) -> dict[str, Any]:
        given = {kind: {s: asdict(p) for s, p in by_state.items()} for kind, by_state in self._given.items()}
        observed = [asdict(p) for p in self._observed]
        return {"backbone": self._within, **given, "observed": observed, "start": self.start_with}


def _named(said: Mapping[str, Any]) -> Backbone:
    """A backbone of ours by its class and configuration."""
    kinds = {one.__name__: one for one in OURS}
    if said.keys() != {"class", "config"} or said["class"] not in kinds or not isinstance(said["config"], Mapping):
        raise ValueError(
            f"Administered: backbone is {quote(said)}; by class and config there are {', '.join(kinds)}, and one of your own is "
            "given as it is"
        )
    return kinds[said["class"]](**said["config"])


def linearised_of(backbone: Backbone) -> LinearisedBackbone | None:
    """The backbone of a mechanism behind this one, which takes all of its θ; None where no mechanism is."""
    if isinstance(backbone, Administered):
        return backbone.linearised
    return backbone if isinstance(backbone, LinearisedBackbone) else None


def delivery_of(backbone: Backbone) -> Delivery:
    """What θ says of doses: nothing, but for an `Administered` backbone."""
    return backbone.delivery if isinstance(backbone, Administered) else NO_DELIVERY


def _parameters(kind: str, given: object, within: Backbone) -> dict[str, Parameter]:
    """The parameters of one kind by their states, in units that are those of the backbone."""
    time = within.time_unit
    write = f'{kind}={{{within.states[0]!r}: Parameter("P", …)}}'
    if given is None:
        return {}
    require_kind(given, Mapping, f"Administered: {kind}", write)
    assert isinstance(given, Mapping)  # for the type checker: just required
    found = {}
    for state, one in given.items():
        if state not in within.states:
            raise ValueError(
                f"Administered: {kind} names {quote(state)}, and the states are {', '.join(within.states)}; write one of these"
            )
        require_kind(one, (Parameter, Mapping), f"Administered: {kind} of {state}", write)
        try:
            one = one if isinstance(one, Parameter) else Parameter(**one)
        except TypeError as error:
            raise ValueError(f"Administered: {kind} of {state} is {quote(one)}; write {write}") from error
        amount = within.state_units[within.states.index(state)]
        unit = {"lag": time, "duration": time, "fraction": "1", "rate": f"{amount}/{time}", "initial": amount}[kind]
        by = factor(one.unit, unit, f"Administered: {kind} of {state}")
        if by != 1:
            raise ValueError(
                f"Administered: {kind} of {state} is in {one.unit}, and here in {unit}: its number would be taken as it is; "
                f"write Parameter({one.name!r}, {unit!r}, …) with the numbers times {float(by):g}"
            )
        if kind != "initial" and (one.low < 0.0 or (one.low == 0.0 and kind in ("duration", "rate"))):
            raise ValueError(
                f"Administered: {kind} of {state} runs from {one.low:g}, and it cannot be "
                f"{'negative' if one.low < 0 else '0'}; write a higher low end"
            )
        found[str(state)] = one
    return found


def _of_observation(observed: object) -> tuple[Parameter, ...]:
    """The parameters that the observation alone reads."""
    write = 'observed=(Parameter("E0", "mg/L", …),)'
    if isinstance(observed, Mapping | str) or not isinstance(observed, Sequence):
        raise ValueError(f"Administered: observed is a sequence of parameters, and is {quote(observed)}; write {write}")
    found = list[Parameter]()
    for one in observed:
        require_kind(one, (Parameter, Mapping), "Administered: each of observed", write)
        try:
            found.append(one if isinstance(one, Parameter) else Parameter(**one))
        except TypeError as error:
            raise ValueError(f"Administered: observed has {quote(one)}; write {write}") from error
    names = [p.name for p in found]
    if len(set(names)) < len(names):
        raise ValueError(f"Administered: observed names {', '.join(names)}, one of them twice; give each once")
    return tuple(found)


def _widened(within: LinearisedBackbone, own: tuple[Parameter, ...]) -> LinearisedBackbone:
    """The same with more parameters, which its tape takes and nothing reads."""
    config = within.config()
    mechanism = dict(config["mechanism"])
    tape = dict(mechanism["tape"])
    mechanism["tape"] = tape | {"parameters": [*tape["parameters"], *(p.name for p in own)]}
    mechanism["physical"] = [*mechanism["physical"], *(asdict(p) for p in own)]
    return LinearisedBackbone(mechanism, config["x"], config["u"])
