"""What a claim is about: the arrays of a model and its people, made anew of the weights."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
    """The arrays that a certificate of this model for these people is about.

    They are computed on the CPU wherever the model is, as they will be by whoever checks: another device rounds another way,
    and the last bit is part of a claim.
    """
    require_kind(model, HybridModel, "lure_of: model", "lure_of(model, personal.mode, cohort.conditions.covariates)")
    require_shape(personal, "lure_of: personal", "M", "N", model.personal, write="Personal.mode")
    if personal.dtype != model.dtype:
        raise ValueError(f"lure_of: personal is {personal.dtype} and the model {model.dtype}; write personal.to(model.dtype)")
    require_covariates(covariates, personal.shape[1], "lure_of: covariates")
    model = model if model.device.type == "cpu" else copy.deepcopy(model).to("cpu")
    personal, covariates = personal.to("cpu"), {name: value.to("cpu") for name, value in covariates.items()}
    with torch.no_grad():
        return Lure.of(model.lure(model.theta(personal, covariates), model.context(personal, covariates)))


@dataclass(frozen=True)
class Subjects:
    """Everything that a claim of a bundle can be about: the system of all members and people, and the learned layers of each."""

    system: Lure

    def of(self, claim: Claim) -> Lure | Mapping[str, Any] | None:
        """What the claim is about, by its digest; None where it is about none of them: the arrays were changed after it was
        made, or it was made of others.
        """
        return self.system if claim.digest == self.digest else self.layers.get(claim.digest)

    @cached_property
    def digest(self) -> str:
        """Of the system."""
        return self.system.digest()

    @cached_property
    def layers(self) -> dict[str, dict[str, Any]]:
        """The layers of each member and person, by the digests of their bounds: without biases, and with them, in a region."""
        flat, found = self.system.flatten(), dict[str, dict[str, Any]]()
        if not isinstance(flat.activation, str):  # bounds are of layers with one activation
            return found
        for v in range(flat.A.shape[0]) if flat.weights else ():
            weights, biases = [w[v] for w in flat.weights], [b[v] for b in flat.biases]
            skip = None if flat.skip is None else flat.skip[v]
            # inputs that no unit sees do not move its slopes
            inputs = None if flat.input_weights is None or not flat.input_weights[v].any() else flat.input_weights[v]
            there = {name: array for name, array in (("skip", skip), ("input_weights", inputs)) if array is not None}
            layers = {"weights": weights, "biases": biases, "activation": flat.activation, **there}
            for name in (digest(weights, flat.activation, None, skip), digest(weights, flat.activation, biases, skip)):
                found.setdefault(name, layers)
        return found


def plain(system: Lure | Mapping[str, Any]) -> dict[str, Any]:
    """What a claim is about as lists, numbers and texts, for JSON."""
    return system.to_dict() if isinstance(system, Lure) else {name: _lists(value) for name, value in system.items()}


def _lists(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_lists(one) for one in value] if isinstance(value, list) else value
