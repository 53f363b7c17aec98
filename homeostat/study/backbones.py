"""A backbone by its name at the shell, and how it is seen through a table's channels."""

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from homeostat.own_structures import own_class
from hybrid import Concentration, Observation, States
from physics import (
    BACKBONES,
    MECHANISMS,
    Administered,
    Backbone,
    LinearisedBackbone,
    Mechanism,
    Observed,
    check_mechanism,
)
from physics.administered import linearised_of
from physics.arguments import quote
from physics.laws.backbone import check_backbone


def backbone_named(name: str, config: Mapping[str, Any] | None = None) -> Backbone:
    """A built-in backbone or mechanism by its class name, or one of the user's own by FILE.py:NAME or MODULE:NAME, which runs
    that code. A mechanism comes back as the backbone of its slopes, from which a model makes both parts.

    One's own is held against the laws of its kind before anything is read or trained.
    Errors: `ValueError` that lists the names, for arguments that do not fit, and for one that breaks a law.
    """
    known: dict[str, type[Any]] = {b.__name__: b for b in (*BACKBONES, *MECHANISMS)}
    own = ":" in name
    if not own and name not in known:
        raise ValueError(
            f"unknown backbone {quote(name)}; choose one of {', '.join(known)}, or name your own, whose code then runs: "
            "--backbone FILE.py:NAME or --backbone MODULE:NAME"
        )
    kind = own_class(name, "--backbone", Backbone, Mechanism) if own else known[name]
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(
            f"{name}: its constructor's arguments do not fit: they go by name, and are {quote(config)}; write a JSON object, as "
            '{"A": [[-1.0]], "states": ["x"]} for a LinearBackbone: see --backbone-config'
        )
    takes = inspect.signature(kind).parameters
    if all(p.kind is not p.VAR_KEYWORD for p in takes.values()):
        unknown = [key for key in config or {} if key not in takes]
        lacking = [key for key, p in takes.items() if p.default is p.empty and key not in (config or {})]
        if unknown or lacking:
            why = f"it takes no {quote(unknown[0])}" if unknown else f"it needs {', '.join(lacking)}"
            said = f"it takes {', '.join(takes)}" if takes else "it takes none"
            raise ValueError(f"{name}: its constructor's arguments do not fit: {why}; {said}: see --backbone-config")
    try:
        made: Backbone | Mechanism = kind(**(config or {}))
    except TypeError as error:
        raise ValueError(f"{name}: its constructor's arguments do not fit ({error}); see --backbone-config") from error
    except (Exception, SystemExit) as error:  # ending the program is not an answer either
        if not own:
            raise
        raise _of_own(name, error) from error
    if own:
        try:
            if isinstance(made, Mechanism):
                check_mechanism(made)
            else:
                check_backbone(made)
        except (Exception, SystemExit) as error:
            raise _of_own(name, error) from error
    return LinearisedBackbone(made) if isinstance(made, Mechanism) else made


def begun(backbone: Backbone, start: str, *, own: bool = False) -> Backbone:
    """The backbone with the start that `--start` says: its own, or empty.

    Errors: `ValueError` for another word, and for one's own backbone (`own`), which a bundle could not carry so.
    """
    if start not in ("backbone", "empty"):
        raise ValueError(f"--start is backbone or empty, and is {quote(start)}; write --start empty")
    if start == "backbone":
        return backbone
    if isinstance(backbone, Administered):
        raise ValueError('--start empty: this backbone is Administered, which says its own start; write start="empty" there')
    if own and linearised_of(backbone) is None:
        raise ValueError(
            f"--start empty: a bundle does not carry {type(backbone).__name__}, a backbone of your own, with another start; let "
            "its initial() return zeros and leave starts out"
        )
    return Administered(backbone, start="empty")


def start_notes(backbone: Backbone) -> list[str]:
    """What a reader must know of the start, where it is not the backbone's own; nothing where it is."""
    if not isinstance(backbone, Administered) or backbone.start_with == "backbone":
        return []
    there = ", ".join(f"{state} ({name})" for state, name in backbone.first.items())
    but = f", but for {there}" if there else ""
    return [f"Everybody starts with nothing in any state{but}: values before the first dose are scored like any other."]


def name_of(backbone: Backbone) -> str:
    """What a backbone is called: its class, or the mechanism that it is the linear part of."""
    if (linearised := linearised_of(backbone)) is not None:
        return linearised.mechanism.name
    return type(backbone.within if isinstance(backbone, Administered) else backbone).__name__


def _of_own(name: str, error: BaseException) -> ValueError:
    """What code of the user's did, in a sentence; the house's own sentences as they are."""
    if isinstance(error, ValueError):
        return error
    said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return ValueError(f"--backbone {name} cannot be used ({said}); correct the class, or --backbone-config")


def require_driven(backbone: Backbone, inputs: Collection[str]) -> None:
    """Raise `ValueError` for an input of the backbone that is not among those that everyone is given: a table gives none."""
    absent = [name for name in backbone.inputs if name not in inputs]
    if absent:
        raise ValueError(
            f"{name_of(backbone)} needs inputs ({', '.join(absent)}) that a table of doses and measurements does not hold; "
            "build its model in Python, as examples/cpeptide.py does for VanCauter"
        )


def observation_of(backbone: Backbone, channels: Sequence[str]) -> Observation:
    """How the backbone is seen through a table's channels. Errors: `ValueError` for one that shows nothing of it."""
    name, observed = name_of(backbone), backbone.defaults.observed
    # whatever the table calls it, but for the name of another state
    if len(observed) == 1 and len(channels) == 1 and channels[0] not in set(backbone.states) - {observed[0].state}:
        observed = (replace(observed[0], channel=channels[0]),)
    by_channel = {one.channel: one for one in observed} | {s: Observed(s) for s in backbone.states if not observed}
    missing = [c for c in channels if c not in by_channel]
    if missing and observed:
        many = ", ".join(one.channel for one in observed)
        through = f"one {many}" if len(observed) == 1 else many
        raise ValueError(
            f"{name} is observed through {through}, the table has {quote(list(channels))}; name channels so, as in --channels "
            f"{backbone.states.index(observed[0].state) + 1}={observed[0].channel}, and leave the others out"
        )
    if missing:
        raise ValueError(
            f"channels {missing} are no states of {name}; name its states like the channels, or the channels like its states, as "
            f"in --channels {len(backbone.states)}={backbone.states[-1]} (the number in CMT of what was measured, and its state)"
        )
    shown = [by_channel[c] for c in channels]
    if all(one.volume is None for one in shown):
        return States([one.state for one in shown], channels, [one.unit for one in shown])
    if len(shown) > 1:
        raise ValueError(
            f"{name}: channels {quote(list(channels))} are amounts over volumes, and a model at the shell shows one of them; "
            "name one in --channels, or build the model in Python"
        )
    (one,) = shown
    unit = one.unit or _concentration_unit(backbone, one)
    return Concentration(one.state, str(one.volume), one.channel, unit)


def _concentration_unit(backbone: Backbone, one: Observed) -> str:
    """The unit of an amount over a volume, where the backbone states none for the channel."""
    amount = dict(zip(backbone.states, backbone.state_units, strict=True)).get(one.state)
    volume = {p.name: p.unit for p in backbone.physical}.get(str(one.volume))
    if amount is None or volume is None:
        raise ValueError(
            f"{name_of(backbone)} says that it is observed through {one.state}/{one.volume}, and its states are "
            f"{', '.join(backbone.states)}, its parameters {', '.join(p.name for p in backbone.physical)}; correct its defaults"
        )
    return f"{amount}/{volume}"
