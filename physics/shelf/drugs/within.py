"""Covariates that a published θ is a formula of, held to the range in which it is used."""

from collections.abc import Mapping

import torch
from torch import Tensor

from physics.arguments import quote
from physics.capture import capturing, exporting, nan_outside

Ranges = Mapping[str, tuple[float, float, str]]  # least, most and unit


def require_within(
    who: str,
    covariates: Mapping[str, Tensor],  # each (N,)
    ranges: Ranges,
    people: int,
) -> None:
    """Raise `ValueError`, beginning with `who`, for a covariate that is missing, out of its range, or of other people."""
    missing = [name for name in ranges if name not in covariates]
    if missing:
        raise ValueError(f"{who} needs the covariates {', '.join(ranges)}; missing: {', '.join(missing)}")
    for name, (least, most, unit) in ranges.items():
        values = covariates[name]
        # a shape, for len() of a length that is open while a program is exported would make it a number
        if values.shape[0] not in (1, people):
            raise ValueError(f"{who}: {name} has {len(values)} numbers and eta is of {people} people; give one each")
        if not (capturing() or exporting()) and not bool(((values >= least) & (values <= most)).all()):
            stated = f"{least:g}–{most:g}" + ("" if unit == "1" else f" {unit}")
            raise ValueError(f"{who}: {name} lies in {stated}, got {quote(values.tolist())}")


def require_either(who: str, covariates: Mapping[str, Tensor], name: str, said: str) -> None:
    """Raise `ValueError`, beginning with `who`, for a covariate that is not 0 or 1; `said` is what these stand for."""
    values = covariates[name]
    if not (capturing() or exporting()) and not bool(((values == 0.0) | (values == 1.0)).all()):
        raise ValueError(f"{who}: {name} is {said}, got {quote(values.tolist())}")


def held_within(
    theta: Tensor,  # (N, q)
    covariates: Mapping[str, Tensor],  # each (N,)
    ranges: Ranges,
    either: tuple[str, ...] = (),
) -> Tensor:  # (N, q)
    """θ, and in an exported program, where the two above cannot look, NaN for who is out of the ranges or neither 0 nor 1."""
    if not exporting():
        return theta
    inside = torch.ones(theta.shape[:1], dtype=torch.bool, device=theta.device)
    for name, (least, most, _) in ranges.items():
        inside = inside & (covariates[name] >= least) & (covariates[name] <= most)
    for name in either:
        inside = inside & ((covariates[name] == 0.0) | (covariates[name] == 1.0))
    return nan_outside(theta, inside)
