"""A model in a few lines."""

from typing import Any

from physics.glance import Summary, with_units


def summary_of(model: Any) -> Summary:
    """A model's equation, and its parts by name and unit."""
    beside = "".join(f" + {type(term).__name__}" for term in model.known) + ("" if model.residual.vanishes else " + ε(x, u, c)")
    seen = [*(f"{name} ({unit})" if unit else name for name, unit in model.uses.items()), f"latents {model.latents}"]
    count = sum(p[0].numel() for p in model.parameters())
    known = "A(θ) x + B(θ) u" if model.mechanism is None else f"{model.mechanism.name}(x, u; θ)"
    named = type(model.backbone).__name__ if model.mechanism is None else model.mechanism.name
    return f"HybridModel: dx/dt = {known}{beside}, members {model.members}", [
        ("backbone" if model.mechanism is None else "mechanism", f"{named}, time in {model.backbone.time_unit}"),
        ("states", with_units(model.backbone.states, model.backbone.state_units)),
        ("inputs", with_units(model.backbone.inputs, model.backbone.input_units)),
        ("θ", ", ".join(f"{p.name} ({p.unit})" for p in model.backbone.physical)),
        ("population", f"{type(model.population).__name__}, coordinates of a person {model.personal}; {', '.join(seen)}"),
        ("residual", type(model.residual).__name__),
        ("observed", with_units(model.observation.channels, model.observation.units)),
        ("noise", ", ".join(type(part).__name__ for part in (model.noise, model.process) if part is not None)),
        ("trained", f"{count} numbers in each member, {str(model.dtype).removeprefix('torch.')} on {model.device}"),
    ]
