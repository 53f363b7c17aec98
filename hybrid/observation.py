"""What is measured of the state."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from learned.joints import name_or_place, places
from physics import Backbone
from physics.arguments import quote, require_kind, require_names, require_number, require_shape, require_text
from physics.glance import built_with, glance
from physics.units import convert, factor, over, require


class Observation(nn.Module, ABC):
    """The mean of the measured channels, y = h(x, θ), and what inputs and covariates add to it.

    Attributes: `channels` and `units`, names and UCUM codes (p,); `linear`, whether h is linear in x, but for h at x = 0;
    `sees_inputs`, whether it reads the inputs of its time, and `covariates` that it reads, each with its UCUM code, or None where
    nobody said it: neither, but where a member says so, which then overrides `seen`.
    Law: linear where it says so.
    """

    channels: tuple[str, ...]
    units: tuple[str, ...]
    linear: bool
    sees_inputs: bool = False
    covariates: Mapping[str, str | None] = MappingProxyType({})

    __repr__, _repr_html_ = glance(built_with)

    @abstractmethod
    def mean(
        self,
        x: Tensor,  # (M, N, T, n)
        theta: Tensor,  # (M, N, q)
    ) -> Tensor:  # (M, N, T, p)
        """h(x, θ), where nothing else is read."""

    def seen(
        self,
        x: Tensor,  # (M, N, T, n)
        theta: Tensor,  # (M, N, q)
        u: Tensor | None = None,  # (1, N, T, m)
        covariates: Mapping[str, Tensor] | None = None,  # each (N,)
    ) -> Tensor:  # (M, N, T, p)
        """What is measured of people with these inputs at these times, and these covariates."""
        return self.mean(x, theta)

    def offset(
        self,
        theta: Tensor,  # (M, N, q)
        u: Tensor | None = None,  # (1, N, T, m)
        covariates: Mapping[str, Tensor] | None = None,  # each (N,)
    ) -> Tensor | None:  # (M|1, N|1, T|1, p)
        """What is measured beside what the states of `measured` show; None: nothing. A baseline without it is of these."""
        return None

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments as plain JSON values."""


@runtime_checkable
class JoinsBackbone(Protocol):
    """An observation that looks for its states and parameters by name, and whose units must be those of what it reads.

    `measured`: for each channel, the state that it shows, the parameter that it is over (None: none), and the factor to the
    channel's unit.
    """

    measured: tuple[tuple[int, int | None, float], ...]

    def joined(self, backbone: Backbone) -> Self:
        """The observation as this backbone has it: names resolved, units checked, their factor known."""


class States(Observation):
    """y_j = x_{i_j}: some states themselves, each in its channel's unit.

    Arguments: `index` (p,), the states by name, ("plasma",), or by position; names and units of the channels, by default the
    states' own where these are named. A unit that differs from the state's by a factor is converted.
    By position nothing else says which state is meant: a channel that has the name of one state and the position of another
    is refused.
    Errors: `ValueError`, when the model is built, for states that are not there and units that do not join.
    """

    def __init__(
        self,
        index: Sequence[int | str],
        channels: Sequence[str] | None = None,
        units: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(index, str):
            raise ValueError(f"States: needs a sequence of states, and got the text {index[:60]!r}; write ({index[:60]!r},)")
        if isinstance(index, Mapping | set) or not isinstance(index, Iterable):
            raise ValueError(f"States: needs a sequence of states, and got {str(index)[:60]}; write (\"plasma\",)")
        index = [name_or_place(i, "States: index") for i in (index.tolist() if isinstance(index, Tensor) else index)]
        channels = None if channels is None else require_names(channels, "States: channels", 'channels=["y"]')
        units = None if units is None else [require(u, "States: units") if u != "" else u for u in _listed(units, "units")]
        named = [i for i in index if isinstance(i, str)]
        if len(named) not in (0, len(index)) or (not named and (channels is None or units is None)):
            raise ValueError(f"States: give all states by name, or by position with channels and units, got {quote(index)}")
        channels = named if channels is None else channels
        units = [""] * len(index) if units is None else units
        if not len(index) == len(channels) == len(units) or len(index) == 0:
            said = f"{quote(index)}, {quote(channels)}, {quote(units)}"
            raise ValueError(f"States: needs one channel and unit per index, got {said}")
        for channel, unit in zip(channels, units, strict=True):
            if unit:
                require(unit, f"States: {channel}")
        self.given = tuple(name_or_place(i, "States: index") for i in index)
        self.channels, self.units = tuple(channels), tuple(units)  # "" until the backbone says it
        self.linear = True
        self.index: tuple[int, ...] = tuple(i for i in self.given if not isinstance(i, str))
        self.measured: tuple[tuple[int, int | None, float], ...] = tuple((i, None, 1.0) for i in self.index)
        self.ratio: Tensor | None
        self.register_buffer("ratio", None, persistent=False)

    def joined(self, backbone: Backbone) -> "States":
        """These states of this backbone, each by its place, in the unit asked for."""
        require_kind(backbone, Backbone, "States.joined: backbone", "OneCompartmentOral()")
        index = places(self.given, backbone.states, "States: index")
        own = [backbone.state_units[i] for i in index]
        for i, channel in zip(index, self.channels, strict=True):
            if channel in backbone.states and backbone.states[i] != channel:
                raise ValueError(
                    f"States: the channel {channel} shows the state {backbone.states[i]}, and there is a state {channel}; write "
                    f"States(({channel!r},), …), or give the channel another name"
                )
        units = [unit or mine for unit, mine in zip(self.units, own, strict=True)]
        ratios = [
            factor(mine, unit, f"States: the state {backbone.states[i]}")
            for i, mine, unit in zip(index, own, units, strict=True)
        ]
        found = States(self.given, self.channels, units)
        found.index = index
        found.measured = tuple((i, None, convert(1.0, r)) for i, r in zip(index, ratios, strict=True))
        if any(r != 1 for r in ratios):
            found.register_buffer("ratio", torch.tensor([m[2] for m in found.measured], dtype=torch.float64), persistent=False)
        return found

    def mean(self, x: Tensor, theta: Tensor) -> Tensor:
        _require_joined(self.index, "States")
        _require_seen(x, theta, max(self.index), -1, "States")
        y = x[..., list(self.index)]
        return y if self.ratio is None else y * self.ratio

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        return {"measured": self.measured or self.given, "channels": self.channels, "units": self.units}

    def config(self) -> dict[str, Any]:
        return {"index": list(self.given), "channels": list(self.channels), "units": list(self.units)}


class Concentration(Observation):
    """y = x_i / V: the amount in compartment `state` over the volume θ_`volume`, in `unit`.

    Arguments: `state` and `volume` by name, Concentration("plasma", "V"), or by position; name and UCUM code of the channel;
    `molar_mass` in g/mol where the state is in grams and the channel in moles, or the other way round.
    The unit of the state over that of the volume must become `unit` by a factor, which is applied. Positions are accepted
    where that holds and where a baseline comes back as it was measured: of two compartments in mg, the one is meant that the
    backbone fills from the baseline. Where positions do not say enough, names do.
    Errors: `ValueError`, when the model is built, for names and positions that are not there and units that do not join.
    """

    def __init__(
        self,
        state: int | str,
        volume: int | str,
        channel: str = "concentration",
        unit: str = "mg/L",
        *,
        molar_mass: float | None = None,
    ) -> None:
        super().__init__()
        self.state, self.volume = name_or_place(state, "Concentration: state"), name_or_place(volume, "Concentration: volume")
        if molar_mass is not None:
            require_number(molar_mass, "Concentration: molar_mass, in g/mol,", above=0.0)
        require_text(channel, "Concentration: channel", '"concentration"')
        self.molar_mass = None if molar_mass is None else float(molar_mass)
        self.channels, self.units, self.linear = (channel,), (require(unit, f"Concentration: {channel}"),), True
        at = (self.state, self.volume)
        self.at: tuple[int, ...] = () if any(isinstance(one, str) for one in at) else tuple(int(one) for one in at)
        self.ratio = 1.0
        self.measured: tuple[tuple[int, int | None, float], ...] = ((self.at[0], self.at[1], 1.0),) if self.at else ()

    def joined(self, backbone: Backbone) -> "Concentration":
        """This concentration of this backbone: state and parameter by their places, in the unit asked for."""
        require_kind(backbone, Backbone, "Concentration.joined: backbone", "OneCompartmentOral()")
        names = [p.name for p in backbone.physical]
        (state,) = places((self.state,), backbone.states, "Concentration: state")
        (volume,) = places((self.volume,), names, "Concentration: volume")
        what = f"Concentration: {backbone.states[state]} over {names[volume]}"
        natural = over(backbone.state_units[state], backbone.physical[volume].unit)
        plain = f"{backbone.state_units[state]}/{backbone.physical[volume].unit}"
        found = Concentration(self.state, self.volume, self.channels[0], self.units[0], molar_mass=self.molar_mass)
        if not backbone.physical[volume].positive:
            raise ValueError(
                f"Concentration: {names[volume]} is a volume, and its box is not positive: {backbone.physical[volume].low:g} to "
                f"{backbone.physical[volume].high:g}; name the volume, or give it a positive box"
            )
        found.at = (state, volume)
        if plain != self.units[0]:  # else the codes say it themselves
            try:
                found.ratio = convert(1.0, factor(natural, self.units[0], what, molar_mass=self.molar_mass))
            except ValueError as error:
                hint = "; Concentration(…, molar_mass=…) states one, in g/mol" if "molar mass" in str(error) else ""
                raise ValueError(f"{error}{hint}") from error
        found.measured = ((state, volume, found.ratio),)
        if self.at:
            found._require_meant(backbone)
        return found

    def _require_meant(self, backbone: Backbone) -> None:
        """A bare position is the compartment that the backbone fills from this channel's baseline, where it fills any."""
        theta = torch.tensor([p.typical for p in backbone.physical], dtype=torch.float64)
        nothing, one = (torch.full((1,), value, dtype=torch.float64) for value in (0.0, 1.0))
        filled = backbone.initial(theta, one) - backbone.initial(theta, nothing)
        if bool((filled != 0.0).any()) and float(filled[self.at[0]]) == 0.0:
            meant = backbone.states[int(filled.abs().argmax())]
            raise ValueError(
                f"Concentration: position {self.at[0]} is {backbone.states[self.at[0]]}, and {type(backbone).__name__} starts "
                f"{meant} from what is measured beforehand; write Concentration({backbone.states[self.at[0]]!r}, …) if it is "
                f"meant, else Concentration({meant!r}, …)"
            )

    def mean(self, x: Tensor, theta: Tensor) -> Tensor:
        _require_joined(self.at, "Concentration")
        state, volume = self.at
        _require_seen(x, theta, state, volume, "Concentration")
        y = x[..., state, None] / theta[..., None, volume, None]
        return y if self.ratio == 1.0 else y * self.ratio

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        at = self.measured or (self.state, self.volume)
        return {"measured": at, "channels": self.channels, "units": self.units}

    def config(self) -> dict[str, Any]:
        said = {"state": self.state, "volume": self.volume, "channel": self.channels[0], "unit": self.units[0]}
        return said if self.molar_mass is None else {**said, "molar_mass": self.molar_mass}


def require_held(observation: Observation, form: str, *, inputs: bool = False) -> None:
    """Raise `ValueError` for an observation that reads what a form has no place for; `inputs`: whether it has one for these."""
    beside = [f"the covariate {name}" for name in observation.covariates]
    if observation.sees_inputs and not inputs:
        beside.insert(0, "inputs")
    if beside:
        raise ValueError(
            f"{form}: what this model measures depends on {' and '.join(beside)} beside states and θ, and this form has no place "
            "for that; export it with an offset by a number or a θ, and add the rest to its y"
        )


def _require_joined(positions: tuple[int, ...], name: str) -> None:
    if not positions:
        raise ValueError(
            f"{name}: its names are resolved when a HybridModel is built with it, which has not happened; build the model, or "
            "give positions"
        )


def _listed(values: object, what: str) -> list[Any]:
    if isinstance(values, str | Mapping | set) or not isinstance(values, Iterable):
        raise ValueError(f"States: {what} is a list, one for each channel, even of one, and is {quote(values)}; write {what}=[…]")
    return list(values)


def _require_seen(x: Tensor, theta: Tensor, state: int, parameter: int, name: str) -> None:
    """Raise `ValueError` unless x (..., T, n) and θ (..., q) hold what is read of them, for the same members and people."""
    require_shape(x, f"{name}.mean: x", ..., "T", "n", write="rollout(…).states")
    require_shape(theta, f"{name}.mean: theta", ..., "q", write="rollout(…).theta", like=x)
    if x.shape[-1] <= state or theta.shape[-1] <= parameter:
        reads = f"state {state}" + (f" and parameter {parameter}" if parameter >= 0 else "")
        raise ValueError(
            f"{name}.mean reads {reads}, counted from 0, and got x {tuple(x.shape)} and theta {tuple(theta.shape)}; give "
            "rollout(…).states and .theta"
        )
    if not all(a == b or 1 in (a, b) for a, b in zip(x.shape[-3::-1], theta.shape[-2::-1], strict=False)):
        raise ValueError(f"{name}.mean: x {tuple(x.shape)} and theta {tuple(theta.shape)} are of different people; give the same")
