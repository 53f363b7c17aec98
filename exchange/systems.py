"""What a claim is about: the arrays of a model and its people, made anew of the weights."""

import torch
from torch import Tensor

from hybrid import HybridModel
from physics.arguments import require_covariates, require_kind, require_shape
from stability import Lure


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
        return Lure.of(model.lure(model.theta(personal, covariates), model.context(personal, covariates)))
