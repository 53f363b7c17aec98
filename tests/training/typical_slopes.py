"""Slopes along the typical values of a population, beside those of differences."""

from collections.abc import Callable

import torch
from torch import Tensor

from hybrid import HybridModel


def slopes_and_differences(model: HybridModel, value: Callable[[], Tensor], h: float = 1e-4) -> tuple[Tensor, Tensor]:  # (q,)
    """Of a value of one member, whose only trainable tensor of the population is that of its typical values."""
    (place,) = [p for p in model.population.parameters() if p.requires_grad]
    (slope,) = torch.autograd.grad(value(), place)
    differences = torch.zeros_like(slope)
    for k in range(place.shape[-1]):
        ends = []
        for side in (h, -2.0 * h):
            with torch.no_grad():
                place[0, k] += side
            ends.append(float(value().detach()))
        with torch.no_grad():
            place[0, k] += h
        differences[0, k] = (ends[0] - ends[1]) / (2.0 * h)
    return slope[0], differences[0]
