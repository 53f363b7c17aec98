"""How long a model runs, in what size and steps, where nobody says it: of the bundle's own people."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch

from exchange.bundle.bundle import Bundle
from exchange.selection import Selected
from hybrid.schedules.dose import as_float

_FINE, _STEPS = 0.1, 2000.0  # a step times the fastest rate; the most steps of a default experiment


@dataclass(frozen=True)
class Span:
    """`stop`, when a default experiment ends · `step`, the internal step of co-simulation · `nominal` (n,), the states' size ·
    `levels` (m,), the size of inputs: the middle of the levels that the bundle's people begin at.
    """

    stop: float
    step: float
    nominal: tuple[float, ...]
    levels: tuple[float, ...]


def span_of(bundle: Bundle, chosen: Selected) -> Span:
    """A default experiment lasts as long as the people were measured (the middle one of them), else five times the slowest rate.

    Its internal step is a tenth of the fastest rate's time, where the field's slopes at the start are taken, and no less than a
    2,000th of the experiment.
    """
    model = chosen.model
    levels = _levels(bundle, chosen)
    u = torch.tensor([levels], dtype=torch.float64)[None]
    side = model.at(chosen.theta[:, None], chosen.c[:, None])
    slopes = side.jacobian(chosen.x0[:, None], u.expand(len(chosen.theta), 1, -1))
    rates = torch.linalg.eigvals(slopes.nan_to_num(0.0, 0.0, 0.0)).abs().flatten().tolist()
    slow = [float(-r) for r in torch.linalg.eigvals(side.A).real.flatten().tolist() if r < 0.0]
    ends = [p.until - p.schedule.start for p in bundle.people if p.until is not None and p.until > p.schedule.start]
    stop = _rounded(median(ends)) if ends else _rounded(5.0 / min(slow)) if slow else 1.0
    fast = max([r for r in rates if math.isfinite(r)], default=0.0)
    return Span(
        stop,
        _rounded(max(min(stop, _FINE / fast if fast > 0.0 else stop), stop / _STEPS)),
        _nominal(bundle, chosen),
        levels,
    )


def _rounded(value: float) -> float:
    """Two digits are enough of what nobody measured."""
    return float(f"{value:.2g}")


def _levels(bundle: Bundle, chosen: Selected) -> tuple[float, ...]:
    """The levels that the bundle's people begin at, the middle one of each; 0 where there is nobody."""
    names = chosen.model.backbone.inputs
    begun = [
        [float(p.schedule.inputs[name].values[0]) for p in bundle.people if name in p.schedule.inputs] for name in names
    ]
    return tuple(float(median(values)) if values else 0.0 for values in begun)


def _nominal(bundle: Bundle, chosen: Selected) -> tuple[float, ...]:
    """The size of each state: of a mechanism as it says, else the largest start or dose, also of another state in that unit."""
    backbone, mechanism = chosen.model.backbone, chosen.model.mechanism
    if mechanism is not None:
        return tuple(abs(float(mechanism.scale[name])) or 1.0 for name in backbone.states)
    largest = chosen.x0.abs().nan_to_num(0.0).amax(0).tolist()
    for person in bundle.people:
        for dose in person.schedule.given:
            at = list(backbone.states).index(dose.state)
            largest[at] = max(largest[at], abs(as_float(dose.amount)))
    return tuple(_or_alike(largest, backbone.state_units, i) for i in range(len(largest)))


def _or_alike(largest: Sequence[float], units: Sequence[str], i: int) -> float:
    alike = max(value for value, unit in zip(largest, units, strict=True) if unit == units[i])
    return largest[i] or alike or 1.0
