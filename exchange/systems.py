"""What a claim is about: the arrays of a model and its people, made anew of the weights."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid import HybridModel
from physics.arguments import require_covariates, require_kind, require_shape
from stability import Claim, Lure
from stability.proof.lipschitz import digest


def lure_of(
    model: HybridModel,
    personal: Tensor,  # (M, N, d)
    covariates: dict[str, Tensor],  # each (N,)
) -> Lure:
    """The arrays that a certificate of this model for these people is about."""
    require_kind(model, HybridModel, "lure_of: model", "lure_of(model, personal.mode, cohort.conditions.covariates)")
    require_shape(personal, "lure_of: personal", "M", "N", model.personal, write="Personal.mode")
    if personal.dtype != model.dtype:
        raise ValueError(f"lure_of: personal is {personal.dtype} and the model {model.dtype}; write personal.to(model.dtype)")
    require_covariates(covariates, personal.shape[1], "lure_of: covariates")
    personal = personal.to(model.device)
    covariates = {name: value.to(model.device) for name, value in covariates.items()}
    with torch.no_grad():
        return Lure(**model.lure(model.theta(personal, covariates), model.context(personal, covariates)))


def about(claim: Claim, system: Lure) -> Lure | Mapping[str, Any] | None:
    """What a claim is about, by its digest: the system of all members and people, or the learned layers of one of them.

    None where it is about neither: the arrays were changed after it was made, or it was made of others.
    """
    if claim.digest == system.digest():
        return system
    return next((layers for layers, names in _layers(system) if claim.digest in names), None)


def _layers(system: Lure) -> Iterator[tuple[dict[str, Any], tuple[str, str]]]:
    """The learned layers of each member and person, with what a bound of them is known by: without biases, and in a region with."""
    flat = system.flatten()
    for v in range(flat.A.shape[0]) if flat.weights else ():
        skip = None if flat.skip is None else flat.skip[v]
        weights, biases = [w[v] for w in flat.weights], [b[v] for b in flat.biases]
        optional = {"skip": skip, "input_weights": None if flat.input_weights is None else flat.input_weights[v]}
        there = {name: array for name, array in optional.items() if array is not None}
        layers = {"weights": weights, "biases": biases, "activation": flat.activation, **there}
        yield layers, (digest(weights, flat.activation, None, skip), digest(weights, flat.activation, biases, skip))


def plain(system: Lure | Mapping[str, Any]) -> dict[str, Any]:
    """What a claim is about as lists, numbers and texts, for JSON."""
    return system.to_dict() if isinstance(system, Lure) else {name: _lists(value) for name, value in system.items()}


def _lists(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_lists(one) for one in value] if isinstance(value, list) else value
