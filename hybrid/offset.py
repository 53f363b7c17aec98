"""What is measured beside what a state shows: a constant, a θ of the person, inputs, covariates."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hybrid.log_observation import Log
from hybrid.observation import Concentration, JoinsBackbone, Observation, States
from physics import Backbone
from physics.arguments import quote, require_covariates, require_kind, require_number, require_shape, require_text
from physics.units import convert, factor, over, require

Gain = float | str | None


class Offset(Observation):
    """y = h(x, θ) + o in one channel, o = b + Σ g_k u_k + Σ g_c c: what the channel shows where no state does.

    Arguments
    - `observation` h, `Concentration`, `States` or another `Offset`; or what `config` says of one: {"class": …, "config": …}.
    - `by`, b: a number in the channel's unit, or the name of a θ of the person, as "E0". One that the backbone does not read is
      made known by `Administered(backbone, observed=(Parameter("E0", …),))`.
    - `channel` that it is added to; may be left out where h has one.
    - `inputs`, by name: the gain of each, a number in the channel's unit per the input's, the name of a θ in that unit, or None:
      the input as it is, whose unit then becomes the channel's by a factor.
    - `covariates`, by name: gain and UCUM code, as {"INR_BASE": (1.0, "1")}, gains as above. Where the code is None records may
      not state one either, and the gain is a number.
    A value measured beforehand that sets the start is that without the offset: state = (y₀ − o) by h. It may be below 0, where
    less was measured than the offset.
    Errors: `ValueError` for names that there are none of, units that do not join, and an offset of nothing.
    Law: h(0, θ) = 0 where h is linear, and then y of x = 0 is o.
    """

    def __init__(
        self,
        observation: Observation | Mapping[str, Any],
        by: Gain = None,
        *,
        channel: str | None = None,
        inputs: Mapping[str, Gain] | None = None,
        covariates: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        super().__init__()
        write = 'Offset(Concentration("plasma", "V"), "E0")'
        require_kind(observation, (Observation, Mapping), "Offset: observation", write)
        self.within = _named(observation) if isinstance(observation, Mapping) else observation
        if isinstance(self.within, Log):
            raise ValueError(f"Offset: what is added to a logarithm is a factor; write Log(Offset(…), {self.within.least:g})")
        if not isinstance(self.within, JoinsBackbone):
            raise ValueError(
                f"Offset: {type(self.within).__name__} does not say which states it measures (`measured` and `joined`), so that "
                "a baseline could not be told from its offset; add the offset inside it, or write Concentration or States"
            )
        channels = self.within.channels
        if channel is not None:
            require_text(channel, "Offset: channel", f"channel={channels[0]!r}")
        if channel is None and len(channels) != 1:
            raise ValueError(
                f"Offset: there are the channels {', '.join(channels)}; say which one has it, channel={channels[0]!r}"
            )
        if channel is not None and channel not in channels:
            raise ValueError(f"Offset: there is no channel {quote(channel)}; there are {', '.join(channels)}")
        self.of = 0 if channel is None else channels.index(channel)
        self.by = _gain(by, "by")
        require_kind({} if inputs is None else inputs, Mapping, "Offset: inputs", 'inputs={"u": 0.2}')
        require_kind({} if covariates is None else covariates, Mapping, "Offset: covariates", '{"INR_BASE": (1.0, "1")}')
        for name in inputs or {}:
            require_text(name, "Offset: inputs, each name", 'inputs={"u": 0.2}')
        self.by_input = {name: _gain(gain, f"inputs, {quote(name)}") for name, gain in (inputs or {}).items()}
        self.by_covariate = {name: _of_covariate(name, said) for name, said in (covariates or {}).items()}
        if self.by is None and not self.by_input and not self.by_covariate:
            raise ValueError('Offset: nothing is added; give by, a number or the name of a θ ("E0"), inputs or covariates')
        self.channels, self.units, self.linear = channels, self.within.units, self.within.linear
        self.measured: tuple[tuple[int, int | None, float], ...] = self.within.measured
        self.sees_inputs = self.within.sees_inputs or bool(self.by_input)
        self.covariates = {**self.within.covariates, **{name: unit for name, (_, unit) in self.by_covariate.items()}}
        # known when joined: each term's number or place in θ, and the place of its input
        self._by: float | int | None = self.by if isinstance(self.by, float) else None
        self._of_inputs: tuple[tuple[int, float | int], ...] = ()
        self._of_covariates: tuple[tuple[str, float | int], ...] = ()
        self._joined = False

    def joined(self, backbone: Backbone) -> "Offset":
        """This offset of this backbone: θ and inputs by their places, units checked."""
        require_kind(backbone, Backbone, "Offset.joined: backbone", "OneCompartmentOral()")
        within = self.within
        assert isinstance(within, JoinsBackbone)  # found when it was built
        inside = within.joined(backbone)
        require_kind(inside, Observation, "Offset: observation, joined,", "return an Observation")
        assert isinstance(inside, Observation)
        found = Offset(inside, self.by, channel=self.channels[self.of], inputs=self.by_input, covariates=self.by_covariate)
        unit, names = inside.units[self.of], [p.name for p in backbone.physical]

        def placed(gain: Gain, per: str | None, what: str) -> float | int:
            """A gain as a number, or as the place of its θ: `int`."""
            wanted = unit if per is None else over(unit, per)
            if gain is None:
                return convert(1.0, factor(str(per), unit, what))
            if isinstance(gain, float):
                return gain
            if gain not in names:
                raise ValueError(
                    f"{what} is the θ {quote(gain)}, and the backbone has {', '.join(names) or 'none'}; a θ that only the "
                    f"observation reads is added by Administered(backbone, observed=(Parameter({gain!r}, {unit!r}, …),))"
                )
            place = names.index(gain)
            by = factor(backbone.physical[place].unit, wanted, f"{what}, the θ {gain},")
            if by != 1:
                raise ValueError(
                    f"{what}: {gain} is in {backbone.physical[place].unit}, and {wanted} is needed: its number would be taken as "
                    f"it is; write Parameter({gain!r}, …) in that unit, its numbers times {float(by):g}"
                )
            return place

        found._by = None if self.by is None else placed(self.by, None, f"Offset: by, of {self.channels[self.of]},")
        of_inputs, of_covariates = [], []
        for name, gain in self.by_input.items():
            if name not in backbone.inputs:
                raise ValueError(f"Offset: there is no input {quote(name)}; there are {', '.join(backbone.inputs) or 'none'}")
            place = backbone.inputs.index(name)
            of_inputs.append((place, placed(gain, backbone.input_units[place], f"Offset: the input {name}")))
        for name, (gain, code) in self.by_covariate.items():
            if code is None and not isinstance(gain, float):
                raise ValueError(
                    f"Offset: the covariate {name} has no unit, which {'a θ' if gain else 'None'} as its gain needs; write "
                    f'{{{name!r}: ({gain!r}, "1")}}, with its UCUM code'
                )
            of_covariates.append((name, placed(gain, code, f"Offset: the covariate {name}")))
        found._of_inputs, found._of_covariates, found._joined = tuple(of_inputs), tuple(of_covariates), True
        return found

    def mean(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.seen(x, theta)

    def seen(
        self, x: Tensor, theta: Tensor, u: Tensor | None = None, covariates: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        own = self.within.seen(x, theta, u, covariates)
        return own + self._spread(self._own(theta, u, covariates), own)

    def offset(self, theta: Tensor, u: Tensor | None = None, covariates: Mapping[str, Tensor] | None = None) -> Tensor:
        own = self._own(theta, u, covariates)
        inside = self.within.offset(theta, u, covariates)
        return self._spread(own, own) if inside is None else inside + self._spread(own, own)

    def _spread(self, own: Tensor, like: Tensor) -> Tensor:  # (…, 1) -> (…, p)
        """0 in the other channels."""
        if len(self.channels) == 1:
            return own
        return own * torch.eye(len(self.channels), dtype=like.dtype, device=like.device)[self.of]

    def _own(
        self, theta: Tensor, u: Tensor | None, covariates: Mapping[str, Tensor] | None
    ) -> Tensor:  # (M|1, N|1, T|1, 1)
        """What this offset adds to its channel."""
        if not self._joined:
            raise ValueError("Offset: its names are resolved when a HybridModel is built with it, which has not happened")
        require_shape(theta, "Offset: theta", ..., "q", write="rollout(…).theta")

        def gain(one: float | int) -> Tensor | float:
            return theta[..., None, one, None] if isinstance(one, int) else one

        total = theta.new_zeros(1, 1, 1, 1)
        if self._by is not None:
            total = total + gain(self._by)
        if self._of_inputs:
            if u is None:
                raise ValueError("Offset: this observation reads inputs, and none were given; give u (…, N, T, m)")
            require_shape(u, "Offset: u", ..., "N", "T", "m", write="rollout(…).inputs", like=theta)
            for place, one in self._of_inputs:
                total = total + gain(one) * u[..., place, None]
        if self._of_covariates and covariates is not None:
            require_covariates(covariates, None, "Offset: covariates")
        for name, one in self._of_covariates:
            if covariates is None or name not in covariates:
                raise ValueError(
                    f"Offset: this observation reads the covariate {name}, which was not given; give every person a value, "
                    f"covariates={{{name!r}: …}}"
                )
            total = total + gain(one) * covariates[name].to(theta)[:, None, None]
        return total

    def held(self) -> dict[str, Any]:
        """What no trainable tensor carries, in one form for equal ones."""
        return {k: v for k, v in self.config().items() if k != "observation"}

    def config(self) -> dict[str, Any]:
        return {
            "observation": {"class": type(self.within).__name__, "config": self.within.config()},
            "by": self.by,
            "channel": self.channels[self.of],
            "inputs": dict(self.by_input),
            "covariates": {name: list(said) for name, said in self.by_covariate.items()},
        }


def _named(said: Mapping[str, Any]) -> Observation:
    """An observation of ours by its class and configuration."""
    kinds: dict[str, type[Observation]] = {one.__name__: one for one in (States, Concentration, Offset)}
    if said.keys() != {"class", "config"} or said["class"] not in kinds or not isinstance(said["config"], Mapping):
        raise ValueError(
            f"Offset: observation is {quote(said)}; by class and config there are {', '.join(kinds)}, and one of your own is "
            "given as it is"
        )
    return kinds[said["class"]](**said["config"])


def _gain(gain: object, what: str) -> Gain:
    if gain is None:
        return None
    if isinstance(gain, str):
        require_text(gain, f"Offset: {what}", '"E0", the name of a θ')
        return gain
    require_number(gain, f"Offset: {what}")
    return float(gain)  # type: ignore[arg-type]  # just required


def _of_covariate(name: str, said: Any) -> tuple[Gain, str | None]:
    require_text(name, "Offset: covariates, each name", '{"INR_BASE": (1.0, "1")}')
    if isinstance(said, str) or not isinstance(said, Sequence) or len(said) != 2:
        raise ValueError(
            f'Offset: the covariate {quote(name)} needs a gain and its unit, as {{"INR_BASE": (1.0, "1")}}, and is {quote(said)}'
        )
    gain = _gain(said[0], f"covariates, {quote(name)}")
    return gain, None if said[1] is None else require(said[1], f"Offset: the covariate {name}")
