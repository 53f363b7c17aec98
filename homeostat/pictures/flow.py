"""The vector field of one person, and trajectories along it."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hybrid import HybridModel
from physics.arguments import quote, require_kind, require_number, require_shape, require_text

Array = NDArray[np.float64]
Field = Callable[[Array], Array]  # (K, 2) -> (K, 2)


def member_mean_field(
    model: HybridModel,
    personal: torch.Tensor,  # (M|1, 1, d)
    covariates: Mapping[str, float] | None = None,
    *,
    u: Sequence[float] | None = None,  # (m,)
) -> Field:
    """dx/dt of one person, averaged over the members' vector fields, with the inputs held at u (0 by default).

    (1/M) Σ_m of the sum of each member's terms, A(θ_m) x + B(θ_m) u + ε_m(x, u, c_m). Members are averaged as vector
    fields, never as parameters. Where one P certifies every member at a rate, it certifies their average at that rate
    too: the condition JᵀP + PJ ⪯ −2λP is linear in the Jacobian J.
    Errors: `ValueError` for coordinates of another model, of other members or of several people, a covariate that is no
    number, and as many inputs as the model has not.
    """
    require_kind(model, HybridModel, "member_mean_field: model", "member_mean_field(bundle.model, …)")
    write = "bundle.personal.mode[:, [0]]"
    require_shape(personal, "member_mean_field: personal", "M", 1, model.personal, write=f"{write}, of one person")
    if personal.shape[0] not in (1, model.members) and model.members > 1:
        raise ValueError(
            f"member_mean_field: personal is of {personal.shape[0]} members and the model has {model.members}; write {write}"
        )
    require_kind(covariates, (Mapping, type(None)), "member_mean_field: covariates", '{"WT": 70.0}, or None')
    for name, value in (covariates or {}).items():
        require_text(name, "member_mean_field: covariates: a name", '{"WT": 70.0}')
        require_number(value, f"member_mean_field: covariates: {name}")
    inputs = model.backbone.inputs
    held_at = [0.0] * len(inputs) if u is None else _numbers(u, len(inputs))
    where, personal = model.device, personal.to(model.device)
    values = {k: torch.tensor([float(v)], dtype=torch.float64, device=where) for k, v in (covariates or {}).items()}
    members = max(model.members, personal.shape[0])
    with torch.no_grad():
        theta, context = model.theta(personal, values), model.context(personal, values)
        terms = model.at(theta, context)  # bound once
    held = torch.tensor(held_at, dtype=torch.float64, device=where)

    def field(x: Array) -> Array:
        with torch.no_grad():
            state = torch.as_tensor(np.asarray(x, dtype=np.float64), device=where)
            state = state.expand(members, -1, -1)  # K places as K people
            mean: Array = terms.rate(state, held.expand(members, state.shape[1], -1)).mean(0).cpu().numpy()
        return mean

    return field


def _numbers(u: object, count: int) -> list[float]:
    if isinstance(u, str | bytes | Mapping) or not isinstance(u, Iterable):
        raise ValueError(f"member_mean_field: u is a list of {count} numbers, one an input, and is {quote(u)}; write u=[0.0]")
    found = list(u)
    for value in found:
        require_number(value, "member_mean_field: each of u")
    if len(found) != count:
        raise ValueError(
            f"member_mean_field: u has {len(found)} numbers and the model {count} inputs; give one each, or u=None for 0"
        )
    return [float(value) for value in found]


def flow(
    field: Field,
    starts: ArrayLike,  # (K, 2)
    times: ArrayLike,  # (T,)
) -> Array:  # (K, T, 2)
    """Trajectories of dx/dt = field(x) from each start, by the classic fourth-order Runge–Kutta method.

    Steps are halved until that moves no point by more than 1e-6 of the largest coordinate; the finer path, which is
    kept, is then off by a fifteenth of that (the method's order), less than a picture shows.
    Errors: `ValueError` where 2¹² steps between two times are not enough, or the field is not finite.
    """
    x0, t = np.atleast_2d(np.asarray(starts, dtype=np.float64)), np.asarray(times, dtype=np.float64)
    previous = _runge_kutta(field, x0, t, 1)
    for power in range(1, 13):
        following = _runge_kutta(field, x0, t, 2**power)
        with np.errstate(invalid="ignore", over="ignore"):
            change, scale = np.abs(following - previous).max(), np.abs(following).max()
        if np.isfinite(change) and change <= 1e-6 * scale:
            return following
        previous = following
    raise ValueError(
        "Trajectories of the field did not settle with 4,096 steps between two times; the field is stiffer than a picture "
        "wants or grows without bound. Give more times, or trajectories from hybrid.simulate."
    )


def _runge_kutta(field: Field, x0: Array, times: Array, steps: int) -> Array:
    x, path = x0, [x0]
    with np.errstate(invalid="ignore", over="ignore"):  # too large a step may blow up; flow then halves it
        for span in np.diff(times):
            h = span / steps
            for _ in range(steps):
                k1 = field(x)
                k2 = field(x + 0.5 * h * k1)
                k3 = field(x + 0.5 * h * k2)
                k4 = field(x + h * k3)
                x = x + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
            path.append(x)
    return np.stack(path, 1)
