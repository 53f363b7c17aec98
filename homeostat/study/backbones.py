"""A backbone by its name at the shell, and which numbers of a table mean its compartments and channels."""

from collections.abc import Mapping
from typing import Any

from homeostat.own_structures import own_class
from hybrid import HybridModel
from physics import BACKBONES, Backbone
from physics.arguments import quote


def backbone_named(name: str, config: Mapping[str, Any] | None = None) -> Backbone:
    """A built-in backbone by its class name, or one of the user's own by FILE.py:NAME or MODULE:NAME, which runs that code.

    Errors: `ValueError` that lists the names, and for arguments that do not fit.
    """
    known = {b.__name__: b for b in BACKBONES}
    own = ":" in name
    if not own and name not in known:
        raise ValueError(
            f"unknown backbone {quote(name)}; choose one of {', '.join(known)}, or name your own, whose code then runs: "
            "--backbone FILE.py:NAME or --backbone MODULE:NAME"
        )
    kind = own_class(name, "--backbone", Backbone) if own else known[name]
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(
            f"{name}: its constructor's arguments do not fit: they go by name, and are {quote(config)}; write a JSON object, as "
            '{"A": [[-1.0]], "states": ["x"]} for a LinearBackbone: see --backbone-config'
        )
    try:
        return kind(**(config or {}))
    except TypeError as error:
        raise ValueError(f"{name}: its constructor's arguments do not fit ({error}); see --backbone-config") from error
    except ValueError:
        raise
    except Exception as error:  # whatever code of the user's does
        if not own:
            raise
        said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise ValueError(f"--backbone {name} cannot be made ({said}); correct the class, or --backbone-config") from error


def compartments_of(backbone: Backbone) -> dict[int | str, str]:
    """The states by the numbers that a table gives them in CMT: the backbone's, or in their order from 1."""
    return {**backbone.defaults.compartments} or dict(enumerate(backbone.states, 1))


def channels_of(backbone: Backbone) -> dict[int | str, str]:
    """The channels by the numbers of the states that they show; 2=concentration where the backbone does not say."""
    numbers = {name: k for k, name in compartments_of(backbone).items()}
    shown = {numbers.get(one.state, backbone.states.index(one.state) + 1): one.channel for one in backbone.defaults.observed}
    return shown or {2: "concentration"}


def channels_shown(model: HybridModel) -> dict[int | str, str]:
    """A model's channels by the numbers of the states that they show; those of its backbone where it does not say which."""
    numbers = {name: k for k, name in compartments_of(model.backbone).items()}
    states = [model.backbone.states[at] for at, *_ in getattr(model.observation, "measured", ())]
    if len(states) != len(model.observation.channels) or not numbers.keys() >= set(states):
        return channels_of(model.backbone)
    return {numbers[state]: channel for state, channel in zip(states, model.observation.channels, strict=True)}
