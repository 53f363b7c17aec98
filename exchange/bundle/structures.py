"""Which classes a bundle may name, and how a model is described without a line of code."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hybrid import OBSERVATIONS, TERMS, HybridModel
from learned import NOISES, PROCESS_NOISES, RESIDUALS
from physics import BACKBONES, POPULATIONS, Administered, LinearisedBackbone
from physics.arguments import InputError, quote, require_kind

_AROUND: tuple[type[nn.Module], ...] = (LinearisedBackbone, Administered)  # backbones that are made of something
# the classes of ours that a bundle may name, by their names: `load(path, structures={**BUILTIN, "Mine": Mine})`
BUILTIN: Mapping[str, type[nn.Module]] = {
    family_member.__name__: family_member
    # what a mechanism is beside A and B follows from its tape, which is in the configuration
    for family in (BACKBONES, _AROUND, POPULATIONS, RESIDUALS, OBSERVATIONS, NOISES, PROCESS_NOISES, TERMS)
    for family_member in family
}
# arguments that a class did not take at first, and what it then did: a bundle that names none of them keeps that meaning
_EARLIER: Mapping[str, Mapping[str, Any]] = {
    "LogNormalPopulation": {"bend": "tanh"},
    "OneCompartmentOral": {"ka": [0.3, 4.0], "ke": [0.02, 0.25], "V": [5.0, 200.0], "faster": None},
}
LARGEST = 1e100  # of a weight or a person's coordinate: products of three overflow beyond it, and a solver takes no step
_FREE = 4_000_000  # numbers of one matrix that are nothing to any machine, 32 MB: what may be built before it is compared
_PARTS = ("backbone", "population", "residual", "observation", "noise")


def describe(model: HybridModel) -> dict[str, Any]:
    """The model's structure as plain JSON values: class names and constructor arguments, no weights."""
    require_kind(model, HybridModel, "describe: model", "describe(model)")
    parts, process = {name: getattr(model, name) for name in _PARTS}, model.process
    return {
        **{name: {"class": type(part).__name__, "config": part.config()} for name, part in parts.items()},
        # only where there is any: a model without is described as it was before
        **({} if process is None else {"process": {"class": type(process).__name__, "config": process.config()}}),
        **({"known": [{"class": type(t).__name__, "config": t.config()} for t in model.known]} if model.known else {}),
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
    whole = sorted(map(abs, _integers(structure)))
    if whole and whole[-1] > largest:
        raise ValueError(f"the structure speaks of {whole[-1]}, and no weight has more than {largest} numbers; save it again")
    # two of them are the sides of a matrix, and every one in a list may be a layer
    total = sum(w.numel() for w in weights.values())
    if len(whole) > 1000 + total or (len(whole) > 1 and whole[-1] * whole[-2] > _FREE + 4 * total):
        raise ValueError(f"the structure speaks of more than its {total} weights can fill, as {whole[-2:]}; save it again")
    try:
        unknown = structure.keys() - {*_PARTS, "process", "known", "latents", "covariates"}
        if unknown:
            raise ValueError(f"the structure has {quote(sorted(unknown))} besides a model's parts; use the version that wrote it")
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
            known=[_build(part, structures) for part in structure.get("known", ())],  # type: ignore[misc]  # refused if none
        )
    # RuntimeError and MemoryError: sizes that torch cannot make
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError, RuntimeError, MemoryError) as error:
        raise ValueError(
            f"the structure does not describe a model: {error!r:.200}; save it again with this version"
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
        if given.numel() and float(given.detach().abs().max()) > LARGEST:
            raise ValueError(f"weight {name} has a value beyond {LARGEST:g}, with which no model computes; train it again")
        parameter.data = given.clone()
    return model


def _integers(value: object) -> Iterator[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name != "tape":  # places of lines, which make nothing: a tape bounds them itself
                yield from _integers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _integers(inner)


def _build(part: Mapping[str, Any], structures: Mapping[str, type[nn.Module]]) -> nn.Module:
    if part.keys() != {"class", "config"}:
        raise ValueError(f"a part of the structure has {quote(sorted(part))}, and class and config are needed; save it again")
    if part["class"] not in structures:
        raise InputError(
            f"unknown structure {quote(part['class'])}; this program knows {', '.join(sorted(structures))}",
            "if it is yours, pass it: load(path, structures={**BUILTIN, 'Name': Class})",
            "if it is yours, say where its code is, which then runs: --structures FILE.py:NAME or --structures MODULE:NAME",
        )
    # a backbone around another holds that one's description, a sum those of its terms
    config = {name: _within(given, structures) for name, given in part["config"].items()}
    earlier = _EARLIER.get(part["class"], {})
    return structures[part["class"]](**(config if earlier.keys() & config.keys() else {**earlier, **config}))


def _within(given: Any, structures: Mapping[str, type[nn.Module]]) -> Any:
    """An argument as it is, or the part that it describes, or such parts in a list."""
    described = [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, Mapping)]
    if not described or any(one.keys() != {"class", "config"} for one in described):
        return given
    return [_build(one, structures) for one in given] if isinstance(given, list) else _build(given, structures)
