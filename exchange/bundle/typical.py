"""The typical person of a bundle: the reference covariates, and θ at η = 0 as it was fitted, member by member."""

from statistics import median_low

import torch
from torch import Tensor

from exchange.bundle.bundle import Bundle
from hybrid import HybridModel
from physics.arguments import quote


def reference_covariates(bundle: Bundle, model: HybridModel) -> dict[str, float]:
    """Every covariate that the model reads at its reference: of a power, of its standardisation, or the middle one.

    Errors: `ValueError` for a covariate of which nobody says a value.
    """
    stated: dict[str, float] = {name: float(value) for name, value in model.population.references.items()}
    for name, (centre, _) in model.covariates.items():
        stated.setdefault(name, float(centre))
    for name in model.uses:
        # the middle one, and not a mean of two: of a yes or no there is none in between
        values = [person.covariates[name] for person in bundle.people if name in person.covariates]
        if name not in stated and values:
            stated[name] = float(median_low(values))
    lacks = [name for name in model.uses if name not in stated]
    if lacks:
        raise ValueError(
            f"selected: nobody says what {quote(lacks[0])} of a typical person is; choose one of the bundle's people, "
            "Selection(person=…)"
        )
    return {name: stated[name] for name in model.uses}


def typical_theta(bundle: Bundle, model: HybridModel) -> Tensor:  # (M, q)
    """θ at η = 0 and the reference covariates under each member of the model. Errors: as `reference_covariates`."""
    personal = torch.zeros(model.members, 1, model.personal, dtype=model.dtype, device=model.device)
    known = reference_covariates(bundle, model)
    covariates = {name: personal.new_tensor([value]) for name, value in known.items()}
    with torch.no_grad():
        return model.theta(personal, covariates)[:, 0].to("cpu", torch.float64)


def by_member(values: Tensor, most: int = 8) -> str:  # (M,)
    """One number a member, of four digits; one alone where all agree, and the ends of more than `most`."""
    shown = [f"{value:.4g}" for value in values.tolist()]
    if len(set(shown)) == 1:
        return shown[0]
    if len(shown) > most:
        return f"{float(values.min()):.4g} to {float(values.max()):.4g} over {len(shown)} members"
    return ", ".join(shown)
