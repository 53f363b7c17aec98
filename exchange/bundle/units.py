"""The units that a bundle states, and whether they are those of the model as this program builds it."""

from collections.abc import Mapping
from typing import Any

from exchange.files.json_parts import mapping
from hybrid import HybridModel
from physics.arguments import quote, require_kind

_STATED = ("time", "states", "inputs", "channels")  # what every bundle says the units of; later ones say more


def units_of(model: HybridModel) -> dict[str, Any]:
    """The UCUM code of everything that has one, by name: time, states, inputs, parameters, channels and covariates."""
    require_kind(model, HybridModel, "units_of: model", "units_of(model)")
    backbone, observation = model.backbone, model.observation
    return {
        "time": backbone.time_unit,
        "states": dict(zip(backbone.states, backbone.state_units, strict=True)),
        "inputs": dict(zip(backbone.inputs, backbone.input_units, strict=True)),
        "parameters": {p.name: p.unit for p in backbone.physical},
        "channels": dict(zip(observation.channels, observation.units, strict=True)),
        "covariates": {name: unit for name, unit in model.uses.items() if unit is not None},
    }


def require_same_units(saved: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless the units in which the people and weights were saved are those of the model as it was built."""
    saved = mapping(saved, "units")
    missing = [kind for kind in _STATED if kind not in saved]
    if missing:
        raise ValueError(f"the bundle does not say the units of its {', '.join(missing)}; save it again")
    for kind, units in saved.items():
        own = found.get(kind)
        if kind in found and units == own:
            continue
        if isinstance(units, Mapping) and isinstance(own, Mapping):  # of many names those that differ
            units, own = ({k: v for k, v in a.items() if b.get(k) != v} for a, b in ((units, own), (own, units)))
        raise ValueError(
            f"the bundle was saved with the {kind} in {quote(units)}, and this program builds its model with {quote(own)}: other "
            "units; use the version that wrote it, or save it again if it was changed by hand"
        )
