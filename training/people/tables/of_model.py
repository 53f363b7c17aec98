"""Which numbers of a table mean a model's compartments and channels, where nobody says."""

from hybrid import HybridModel, Log
from physics import Backbone


def compartments_of(backbone: Backbone) -> dict[int | str, str]:
    """The states by the numbers that a table gives them in CMT: the backbone's, or in their order from 1."""
    return {**backbone.defaults.compartments} or dict(enumerate(backbone.states, 1))


def channels_of(backbone: Backbone) -> dict[int | str, str]:
    """The channels by the numbers of the states that they show; 2=concentration where the backbone does not say."""
    numbers = {name: k for k, name in compartments_of(backbone).items()}
    shown = {numbers.get(one.state, backbone.states.index(one.state) + 1): one.channel for one in backbone.defaults.observed}
    return shown or {2: "concentration"}


def channels_shown(model: HybridModel) -> dict[int | str, str]:
    """A model's channels by the numbers of the states that they show; those of its backbone where it does not say which. Of a
    logarithm it is what is measured.
    """
    seen = model.observation.within if isinstance(model.observation, Log) else model.observation
    numbers = {name: k for k, name in compartments_of(model.backbone).items()}
    states = [model.backbone.states[at] for at, *_ in getattr(seen, "measured", ())]
    if len(states) != len(seen.channels) or not numbers.keys() >= set(states):
        return channels_of(model.backbone)
    return {numbers[state]: channel for state, channel in zip(states, seen.channels, strict=True)}
