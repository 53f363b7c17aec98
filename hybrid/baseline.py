"""What was measured before the first dose, by the states that a backbone starts from."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hybrid.derivative import values_of
from hybrid.log_observation import Log
from hybrid.observation import JoinsBackbone, Observation
from physics import Backbone, capture


def by_state(
    backbone: Backbone,
    observation: Observation,
    theta: Tensor,  # (M, N, q)
    baseline: Tensor,  # (N, p)
    u: Tensor | None = None,  # (N, m)
    covariates: Mapping[str, Tensor] | None = None,  # each (N,)
) -> Tensor:  # (M|1, N, p') what `Backbone.initial` reads
    """The baseline by the states that it was measured of, in the backbone's units, instead of by the channels' order, and without
    the observation's offset.

    Errors: `ValueError` for inputs or covariates that the offset reads, left out where something was measured.
    """
    if isinstance(observation, Log):  # what sets the start was measured as a logarithm too
        return by_state(backbone, observation.within, theta, baseline.exp(), u, covariates)
    lacks = (observation.sees_inputs and u is None) or bool(observation.covariates and covariates is None)
    if not (lacks and not capture.capturing() and bool(torch.isnan(values_of(baseline)).all())):
        beside = observation.offset(theta, None if u is None else u[..., None, :], covariates)
        baseline = baseline if beside is None else baseline - beside[..., 0, :]
    if not isinstance(observation, JoinsBackbone):
        return baseline
    measured, names = observation.measured, [p.name for p in backbone.physical]
    if backbone.starts is None:
        ratios = [ratio for _, _, ratio in measured]
        return baseline if all(r == 1.0 for r in ratios) else baseline / baseline.new_tensor(ratios)
    columns = []
    for state, volume in backbone.starts:
        place, wanted = backbone.states.index(state), None if volume is None else names.index(volume)
        # the channel that measures it as it is read goes before one that has to be divided or multiplied
        found = sorted((by != wanted, j) for j, (i, by, _) in enumerate(measured) if i == place)
        if not found:
            columns.append(torch.full_like(baseline[..., 0], torch.nan))  # nothing measures it
            continue
        j = found[0][1]
        _, by, ratio = measured[j]
        value = baseline[..., j] if ratio == 1.0 else baseline[..., j] / ratio
        if by != wanted:
            absent = torch.isnan(value)
            value = torch.where(absent, 0.0, value)  # the gradient of what is not there is 0 times it: not NaN
            value = value if by is None else value * theta[..., by]
            value = value if wanted is None else value / theta[..., wanted]
            value = torch.where(absent, torch.nan, value)
        columns.append(value)
    if not columns:
        return baseline
    return torch.stack(torch.broadcast_tensors(*columns), -1)
