"""Which classes a bundle may name, and how a model is described without a line of code."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hybrid import OBSERVATIONS, HybridModel
from learned import NOISES, PROCESS_NOISES, RESIDUALS
from physics import BACKBONES, POPULATIONS
from physics.arguments import quote, require_kind

BUILTIN: Mapping[str, type[nn.Module]] = {
    family_member.__name__: family_member
    for family in (BACKBONES, POPULATIONS, RESIDUALS, OBSERVATIONS, NOISES, PROCESS_NOISES)
    for family_member in family
}
# arguments that a class did not take at first, and what it then did: a bundle that names none of them keeps that meaning
_EARLIER: Mapping[str, Mapping[str, Any]] = {
    "LogNormalPopulation": {"bend": "tanh"},
    "OneCompartmentOral": {"ka": [0.3, 4.0], "ke": [0.02, 0.25], "V": [5.0, 200.0], "faster": None},
}
_PARTS = ("backbone", "population", "residual", "observation", "noise")


def describe(model: HybridModel) -> dict[str, Any]:
    """The model's structure as plain JSON values: class names and constructor arguments, no weights."""
    require_kind(model, HybridModel, "describe: model", "describe(model)")
    parts, process = {name: getattr(model, name) for name in _PARTS}, model.process
    return {
        **{name: {"class": type(part).__name__, "config": part.config()} for name, part in parts.items()},
        # only where there is any: a model without is described as it was before
        **({} if process is None else {"process": {"class": type(process).__name__, "config": process.config()}}),
        "latents": model.latents,
        "covariates": {name: list(given) for name, given in model.standardised.items()},
    }


def rebuild(
    structure: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    structures: Mapping[str, type[nn.Module]] = BUILTIN,
) -> HybridModel:
    """The model that `describe` described, with these trainable tensors, whose first axis is the members'.

    Errors: `ValueError` for a class that `structures` does not list, arguments that do not fit, tensors that are missing,
    unexpected or of the wrong shape.
    """
    require_kind(structure, Mapping, "rebuild: structure", "describe(model)")
    require_kind(structures, Mapping, "rebuild: structures", "BUILTIN, or {**BUILTIN, 'Name': Class}")
    require_kind(weights, Mapping, "rebuild: weights", "dict(model.named_parameters())")
    for name, weight in weights.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor) or weight.is_meta:
            raise ValueError(f"rebuild: weights are tensors by name, and {quote(name)} is {quote(weight)}; save it again")
    # a description of a few bytes may ask for any amount of memory; what the weights cannot fill is not built at all
    largest = max(10_000, *(w.numel() for w in weights.values())) if weights else 10_000
    excessive = [v for v in _integers(structure) if abs(v) > largest]
    if excessive:
        raise ValueError(f"the structure speaks of {excessive[0]}, and no weight has more than {largest} numbers; save it again")
    try:
        named = (*_PARTS, "process") if "process" in structure else _PARTS
        parts: dict[str, Any] = {name: _build(structure[name], structures) for name in named}
        model = HybridModel(
            parts["backbone"],
            parts["population"],
            parts["residual"],
            observation=parts["observation"],
            noise=parts["noise"],
            latents=structure["latents"],
            covariates=structure["covariates"],
            process=parts.get("process"),
        )
    # RuntimeError and MemoryError: sizes that torch cannot make
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError, RuntimeError, MemoryError) as error:
        raise ValueError(
            f"the structure does not describe a model: {error!r}; save it again with this version"
        ) from error
    wanted = dict(model.named_parameters())
    if wanted.keys() != weights.keys():
        raise ValueError(f"the weights do not fit the structure: {sorted(wanted.keys() ^ weights.keys())} differ")
    sizes = {w.shape[0] for w in weights.values() if w.ndim}
    if len(sizes) > 1 or 0 in sizes:
        raise ValueError(f"the weights need one number of members, 1 or more, and have {sorted(sizes)}")
    for name, parameter in wanted.items():
        given = weights[name]
        if given.shape[1:] != parameter.shape[1:] or given.dtype != torch.float64 or not torch.isfinite(given).all():
            raise ValueError(
                f"weight {name} has shape {tuple(given.shape)} and type {given.dtype}; (members, "
                f"{', '.join(map(str, parameter.shape[1:]))}) of finite float64 are needed"
            )
        parameter.data = given.clone()
    return model


def _integers(value: object) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _integers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _integers(inner)


def _build(part: Mapping[str, Any], structures: Mapping[str, type[nn.Module]]) -> nn.Module:
    if part["class"] not in structures:
        raise ValueError(
            f"unknown structure {part['class']!r}; this program knows {', '.join(sorted(structures))}. If it is yours, pass "
            "it: load(path, structures={**BUILTIN, 'Name': Class})"
        )
    config, earlier = part["config"], _EARLIER.get(part["class"], {})
    return structures[part["class"]](**(config if earlier.keys() & config.keys() else {**earlier, **config}))
