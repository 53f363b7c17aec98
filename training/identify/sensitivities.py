"""How every measurement of a design depends on a person's parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hybrid import Exponential, HybridModel, Solver
from hybrid.frames import frame_of
from hybrid.solve.solver import require_solver
from hybrid.threads import of_slopes, threads_by
from physics.arguments import require_kind
from physics.glance import Summary, glance
from training.identify.design import Design, Sampled, sampled
from training.identify.moved import STEP, derivatives, moved_people, stencil
from training.people.information import copies, simulate_copies

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

Scales = tuple[str, ...]


def simulating() -> Solver:
    """The solver of this room, where none is named: a weak direction is the small difference of two large slopes."""
    return Exponential(rtol=1e-8)


def _summary(found: "Sensitivities") -> Summary:
    N, T, p, _ = found.mean_slope.shape
    largest = found.mean_slope.abs().nan_to_num().amax((0, 1, 2))
    return f"Sensitivities: arms {N}, times {T}, channels {p}", [
        (name, f"at most {float(largest[j]):.4g} {'for a factor of e' if scale == 'log' else 'for 1 of its unit'}")
        for j, (name, scale) in enumerate(zip(found.names, found.scales, strict=True))
    ]


@dataclass(frozen=True)
class Sensitivities:
    """Means and variances of the measurements of N arms and their derivatives along q parameters; NaN where nothing is measured.

    `names` (q,), `scales` (q,): "log", ∂/∂ log θ_j, or "linear", ∂/∂θ_j, of a parameter that may be negative · `value`
    (N, q) · `times` (N, T) · `mean`, `variance` (N, T, p) · `mean_slope`, `variance_slope` (N, T, p, q), in the channel's unit,
    and its square · `error` (N, T, p, q), how far two stencils differ in `mean_slope`.
    """

    names: tuple[str, ...]
    scales: Scales
    value: Tensor
    times: Tensor
    mean: Tensor
    variance: Tensor
    mean_slope: Tensor
    variance_slope: Tensor
    error: Tensor

    __repr__, _repr_html_ = glance(_summary)

    def to_frame(self) -> "DataFrame":
        """One row for each measurement, as a pandas DataFrame: arm, time, channel by number, mean, variance, a column each."""
        N, T, p, _ = self.mean_slope.shape
        there = torch.isfinite(self.mean).flatten().tolist()
        rows = [i for i, one in enumerate(there) if one]
        columns: dict[str, list[Any]] = {
            "arm": [i // (T * p) + 1 for i in rows],
            "time": self.times[..., None].expand(N, T, p).flatten()[rows].tolist(),
            "channel": [i % p + 1 for i in rows],
            "mean": self.mean.flatten()[rows].tolist(),
            "variance": self.variance.flatten()[rows].tolist(),
        }
        for j, name in enumerate(self.names):
            columns[name] = self.mean_slope[..., j].flatten()[rows].tolist()
        return frame_of(columns, "Sensitivities.to_frame")


def require_one(model: HybridModel, name: str, solver: Solver | None) -> None:
    """Errors: `ValueError`, beginning with `name`, for what this room has no answer to."""
    require_kind(model, HybridModel, f"{name}: model", f"{name}(model, design)")
    require_solver(solver, name)
    if model.dtype != torch.float64:
        raise ValueError(
            f"{name}: small slopes are told from none in float64, and the model is {model.dtype}; write "
            "model.to(torch.float64)"
        )
    if model.members > 1:
        raise ValueError(
            f"{name}: the model has {model.members} members, and each has parameters of its own; write "
            "learned.select(model, torch.tensor([0]))"
        )
    if model.process is not None:
        raise ValueError(
            f"{name}: under process noise measurements err together, and this information takes them to err each by itself; "
            "leave `process` out"
        )
    if model.noise.correlation() is not None:
        raise ValueError(
            f"{name}: channels of this model err together at one time (Correlated), and this information takes each to err by "
            "itself; write HybridModel(…, noise=head) with the head within"
        )


@threads_by(of_slopes)
def sensitivities(
    model: HybridModel,
    design: Design,
    parameters: Sequence[str] | None = None,
    *,
    solver: Solver | None = None,
) -> Sensitivities:
    """∂ mean/∂ log θ_j (∂θ_j where the box of θ_j reaches below 0) of the typical person of every arm, and of its variance.

    By differences of order four out of one simulation of all moved people. They agree with closed forms to about 1e-9 of the
    largest value, or as far as the solver is exact.
    Arguments: `design`, an `Arm`, several, or a `Cohort` · `parameters`, by name, all by default · `solver`,
    Exponential(rtol=1e-8) by default.
    Errors: `ValueError` for a design that does not fit the model, several members, process noise, float32, unknown parameters.
    Law: a residual takes part: what it makes of a parameter is in the slope.
    """
    require_one(model, "sensitivities", solver)
    cut = sampled(model, design, "sensitivities")
    slopes = slopes_of(model, cut, parameters, "sensitivities", solver)
    size = slopes.size
    hidden = torch.where(cut.there, 0.0, torch.nan)
    return Sensitivities(
        slopes.names,
        slopes.scales,
        slopes.value,
        cut.times,
        slopes.mean + hidden,
        slopes.variance + hidden,
        slopes.mean_slope / size + hidden[..., None],
        slopes.variance_slope / size + hidden[..., None],
        slopes.error.abs() / size + hidden[..., None],
    )


@dataclass(frozen=True)
class Slopes:
    """Derivatives along coordinates z that are all of order 1: ∂θ_j = `size`_j ∂z_j where the scale is "linear"."""

    names: tuple[str, ...]
    scales: Scales
    size: Tensor  # (q,)
    value: Tensor  # (N, q)
    mean: Tensor  # (N, T, p)
    variance: Tensor
    mean_slope: Tensor  # (N, T, p, q)
    variance_slope: Tensor
    error: Tensor  # (N, T, p, q), of the mean's
    variance_error: Tensor


def slopes_of(
    model: HybridModel, cut: Sampled, parameters: Sequence[str] | None, name: str, solver: Solver | None
) -> Slopes:
    """Of the typical person of every arm."""
    trial, names, scales, sizes = moved_people(model, parameters, name)
    q, N = len(names), cut.conditions.size
    with torch.no_grad():
        still = torch.zeros(1, N, trial.personal, dtype=torch.float64, device=model.device)
        offsets = still.new_zeros(6 * q + 1, trial.personal)
        offsets[:, :q] = stencil(q, STEP, still)  # what follows are latents, at 0
        run = simulate_copies(trial, cut.conditions, copies(still, offsets), N, solver or simulating())
    shape = (len(offsets), N, *run.mean.shape[2:])
    mean, variance = run.mean[0].reshape(shape), run.variance[0].reshape(shape)
    (by_mean, error), (by_variance, variance_error) = derivatives(mean, STEP), derivatives(variance, STEP)
    places = [[p.name for p in model.backbone.physical].index(one) for one in names]
    size = still.new_tensor(sizes)
    value = run.theta[0].reshape(len(offsets), N, -1)[0][:, places]
    along = [t.movedim(0, -1) for t in (by_mean, by_variance, error, variance_error)]
    return Slopes(names, scales, size, value, mean[0], variance[0], *along)
