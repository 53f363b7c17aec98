"""From people and draws of their coordinates to what is expected of them, and how sure that is."""

from typing import Any, Protocol

import torch
from torch import Tensor

from hybrid.conditions import Conditions
from hybrid.derivative import values_of
from hybrid.model import HybridModel
from hybrid.model_arguments import require_given
from hybrid.prediction import Prediction
from hybrid.simulate import rollout
from hybrid.solve.solver import Solver
from hybrid.threads import of_conditions, threads_by
from physics import capture
from physics.arguments import quote, require_shape


class Asked(Protocol):
    """People, and the times at which they are asked: what a prediction needs of a cohort."""

    @property
    def conditions(self) -> Conditions:
        """What is given about them."""

    @property
    def times(self) -> Tensor:  # (N, T)
        """The times, for which the conditions are cut."""

    @property
    def real(self) -> Tensor:  # (N, T) bool
        """True where a time is asked for, False where it is padding."""


@threads_by(of_conditions)
def predict(
    model: HybridModel,
    cohort: Asked | Conditions,
    draws: Tensor,  # (M, S, N, d)
    *,
    times: Tensor | None = None,  # (N, T)
    mask: Tensor | None = None,  # (N, T)
    solver: Solver | None = None,
) -> Prediction:
    """The predictive distribution over members m and draws s of every person's own coordinates.

    `cohort`: the people, with the times at which they are asked and which of those are padding: a `Cohort`. Bare
    `Conditions` are asked at `times`, those for which they are cut, and `mask` says which of these are real. `mask` may also
    narrow a cohort's.
    `draws`: of these people, in this order: a tensor cannot say whose it is, and those of others are not noticed.
    `solver`: `Exponential(rtol=1e-6)` by default (1e-4 in float32), whatever the mesh of the conditions.
    Returns a `Prediction`, which carries the cohort's `ids`; of bare conditions it has none.
    Errors: `ValueError` for shapes that do not fit and draws that are not finite; `SimulationError`, naming record and time.
    """
    ids = getattr(cohort, "ids", None)  # conditions do not know whose they are, nor need what is asked
    conditions, times, mask = _asked(cohort, times, mask)
    require_given(model, conditions, "predict")
    if not isinstance(draws, Tensor) or draws.ndim != 4:
        raise ValueError(
            f"predict: draws needs shape (M, S, N, d), members and draws of the people's own coordinates, got {quote(draws)}; "
            "Personal.draws(16, generator) gives it, and Personal.mode[:, None] the modes alone"
        )
    if not len(draws) or (draws.shape[0] not in (1, model.members) and model.members != 1):
        raise ValueError(
            f"predict: draws are of {draws.shape[0]} members and the model has {model.members}; give them as many, or one for all"
        )
    N, d = conditions.size, model.personal
    require_shape(draws, "predict: draws", "M", "S", N, d, write="Personal.draws(16, generator)", like=conditions.baseline)
    if not draws.shape[1]:
        raise ValueError("predict: draws has none of anybody, S = 0; write Personal.draws(16, generator)")
    if not capture.capturing() and not bool(torch.isfinite(values_of(draws)).all()):
        raise ValueError("predict: draws holds NaN or infinity; give finite coordinates, as Personal.draws(16, generator)")
    _require_times(times, mask, N, conditions.segments.segment.shape[1])
    draws = draws.expand(max(len(draws), model.members), *draws.shape[1:])
    M, S, N, d = draws.shape
    repeated = torch.arange(N, device=draws.device).repeat(S)  # the draws of one person are copies of that person
    with torch.no_grad():
        run = rollout(model, conditions.people(repeated), draws.reshape(M, S * N, d), solver)
    shape = (M, S, N, *run.mean.shape[2:])
    return Prediction(
        mean=run.mean.reshape(shape),
        variance=run.variance.reshape(shape),
        times=times,
        mask=mask,
        channels=model.observation.channels,
        units=model.observation.units,
        ids=ids,
        time_unit=model.backbone.time_unit,
        correlation=None if run.correlation is None else run.correlation[:, None].expand(M, N, -1, -1),
    )


def _asked(cohort: Asked | Conditions, times: Any, mask: Any) -> tuple[Conditions, Any, Any]:
    """What is given, the times, and which of them are real."""
    if isinstance(cohort, Conditions):
        return cohort, times, mask
    conditions = getattr(cohort, "conditions", None)
    if not isinstance(conditions, Conditions):
        raise ValueError(
            f"predict: cohort is a Cohort, or Conditions with times and mask beside them, and is {quote(cohort)}; write "
            "Cohort.of(records, model), or conditions_of(model, schedules, times)"
        )
    if times is not None:
        raise ValueError("predict: a cohort is asked at its own times; leave times out, or give cohort.conditions with others")
    if mask is None or not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != cohort.real.shape:
        return conditions, cohort.times, cohort.real if mask is None else mask
    return conditions, cohort.times, cohort.real & mask


def _require_times(times: Tensor, mask: Tensor, N: int, T: int) -> None:
    """Raise `ValueError` unless these are the times (N, T) of the conditions, and which of them are real."""
    require_shape(times, "predict: times", N, T, write="cohort.times")
    if not isinstance(mask, Tensor) or mask.shape != (N, T) or mask.dtype != torch.bool or mask.is_meta:
        raise ValueError(
            f"predict: mask says yes or no of every time, dtype bool and shape ({N}, {T}), and is {quote(mask)}"
            + (f" of {mask.dtype}" if isinstance(mask, Tensor) else "")
            + "; write torch.ones_like(cohort.times, dtype=torch.bool)"
        )
