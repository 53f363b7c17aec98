"""What is given beside a model fits it: the same states, inputs and channels, one device and one type."""

import itertools

from torch import Tensor

from hybrid.conditions import Conditions
from hybrid.model import HybridModel
from physics.arguments import require_kind


def require_given(model: HybridModel, conditions: Conditions, name: str) -> None:
    """Raise `ValueError` unless this is a model, and what is given about people fits it."""
    require_kind(model, HybridModel, f"{name}: model", f"{name}(model, …)")
    require_kind(conditions, Conditions, f"{name}: conditions", "cohort.conditions, or conditions_of(model, schedules, times)")
    s, backbone = conditions.segments, model.backbone
    have = (s.jump.shape[-1], s.u0.shape[-1], conditions.baseline.shape[-1])
    need = (len(backbone.states), len(backbone.inputs), len(model.observation.channels))
    if have != need:
        raise ValueError(
            f"{name}: these conditions have (states, inputs, channels) = {have} and the model has {need}; they were made for "
            "another model: make them for this one, Cohort.of(records, model)"
        )


def require_alike(model: HybridModel, conditions: Conditions, personal: Tensor) -> None:
    """One device and one type for all that is simulated together: torch's own words would name neither part."""
    like = next(itertools.chain(model.parameters(), model.buffers()), personal)
    for name, tensor, cure in (
        ("what is given about the people", conditions.segments.dt, "cohort.to(model.device, model.dtype)"),
        ("their coordinates", personal, "personal.to(model.device, model.dtype)"),
    ):
        if (tensor.device, tensor.dtype) != (like.device, like.dtype):
            raise ValueError(
                f"the model is {like.dtype} on {like.device} and {name} {tensor.dtype} on {tensor.device}; write {cure}"
            )
