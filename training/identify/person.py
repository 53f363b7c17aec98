"""What a design tells of one person."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from hybrid.threads import of_slopes, threads_by
from physics.arguments import require_choice, require_flag
from training.identify.design import Design, Sampled, sampled
from training.identify.information import Information
from training.identify.moved import STEP, derivatives, stencil
from training.identify.sensitivities import require_one, simulating, slopes_of
from training.inference.estimates import effects_of
from training.people.information import copies, simulate_copies


@threads_by(of_slopes)
def person_information(
    model: HybridModel,
    design: Design,
    parameters: Sequence[str] | None = None,
    *,
    of: Literal["theta", "eta"] = "theta",
    prior: bool = False,
    solver: Solver | None = None,
) -> Information:
    """The Fisher information of one person who has been in every arm: Σ [μ' μ'ᵀ/v + ½ v' v'ᵀ/v²] over what is measured.

    With of="theta" μ' is the derivative along log θ_j (θ_j where its box is not positive) of the typical person of each arm, and
    noise is taken as known: what a record determines of a θ that nobody has told anything of. With of="eta" it is along the
    person's own coordinates, and with `prior` their N(0, I) is added: what a forecast of a person will know. Its inverse's
    diagonal is then the share of the spread between people that stays.
    Arms are occasions of one person here, so that each counts once whatever its `people` says.

    Arguments: `design`, an `Arm`, several, or a `Cohort` · `parameters`, which of θ are not known, by name, all by default; of
    η all are asked.
    Errors: `ValueError` as `sensitivities`; for `parameters` or a prior that have no meaning for what is asked of, and a model
    without η.
    Law: the information of two arms is the sum of that of each.
    """
    require_one(model, "person_information", solver)
    require_choice(of, ("theta", "eta"), "person_information: of")
    require_flag(prior, "person_information: prior")
    cut = sampled(model, design, "person_information")
    if of == "eta":
        return _of_eta(model, cut, parameters, prior, solver)
    if prior:
        raise ValueError('person_information: θ has no prior of its own, η has; write of="eta", prior=True')
    slopes = slopes_of(model, cut, parameters, "person_information", solver)
    if bool((slopes.value - slopes.value[:1]).abs().amax() > 1e-9 * slopes.value.abs().amax()):
        raise ValueError(
            "person_information: the arms are of people with other covariates, who have other θ, and one person has one; give "
            "one covariate, or write population_information(model, design)"
        )
    along = (slopes.mean_slope, slopes.variance_slope)
    root, error = _root(cut, slopes.variance, along, (slopes.error, slopes.variance_error))
    names, scales, value = slopes.names, slopes.scales, slopes.value[0]
    return Information("one person's parameters", names, scales, value, slopes.size, root, error, int(cut.there.sum()))


def _of_eta(
    model: HybridModel, cut: Sampled, parameters: Sequence[str] | None, prior: bool, solver: Solver | None
) -> Information:
    if parameters is not None:
        raise ValueError('person_information: of="eta" asks of all of η; leave parameters out')
    d, N = model.personal, cut.conditions.size
    if not d:
        raise ValueError('person_information: this model\'s people differ in nothing, and have no η; write of="theta"')
    with torch.no_grad():
        still = torch.zeros(1, N, d, dtype=torch.float64, device=model.device)
        run = simulate_copies(model, cut.conditions, copies(still, stencil(d, STEP, still)), N, solver or simulating())
    shape = (6 * d + 1, N, *run.mean.shape[2:])
    mean, variance = run.mean[0].reshape(shape), run.variance[0].reshape(shape)
    pairs = [derivatives(value, STEP) for value in (mean, variance)]
    found, errors = ((pairs[0][k].movedim(0, -1), pairs[1][k].movedim(0, -1)) for k in (0, 1))
    root, error = _root(cut, variance[0], found, errors)
    if prior:
        root = torch.cat([root, torch.eye(d, dtype=root.dtype, device=root.device)])
    effects = effects_of(model)
    names = tuple(f"η({n})" for n in effects) + tuple(f"latent {k + 1}" for k in range(d - len(effects)))
    zero = root.new_zeros(d)
    scales = ("linear",) * d
    return Information("one person's η", names, scales, zero, zero + 1.0, root, error, int(cut.there.sum()), prior)


def _root(
    cut: Sampled,
    variance: Tensor,  # (N, T, p)
    slopes: tuple[Tensor, Tensor],  # (N, T, p, q) of the mean, of the variance
    errors: tuple[Tensor, Tensor],
) -> tuple[Tensor, float]:
    """Rows μ'/σ and v'/(√2 v), and the spectral norm of what they may be wrong by."""
    there = cut.there
    v = variance[there][:, None]
    rows = [torch.cat([m[there] / v.sqrt(), w[there] / (2.0**0.5 * v)]) for m, w in (slopes, errors)]
    return rows[0], float(torch.linalg.matrix_norm(rows[1], 2)) if rows[1].numel() else 0.0
