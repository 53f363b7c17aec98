"""What a design tells of a population: typical values, spreads, correlations, coefficients and noise."""

from typing import Literal

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from hybrid.threads import of_slopes, threads_by
from learned import select
from physics.arguments import require_choice
from training.identify.design import Design, Sampled, sampled
from training.identify.information import Information
from training.identify.moved import POINTS, STEP, WIDE, derivatives, stencil
from training.identify.sensitivities import require_one, simulating
from training.inference.estimates import jacobian, trained, united
from training.loop.descent import flat, place
from training.people.information import copies, simulate_copies

# of η: the stencil loses (2h)⁴/30 of the fifth derivative along it, 3e-10, alike wherever the population is moved to, and
# rounds by 1e-14, which differences along the population's numbers make 1e-10
_OWN = 5e-3
_ROWS = 40_000  # simulated at once


@threads_by(of_slopes)
def population_information(
    model: HybridModel,
    design: Design,
    *,
    kind: Literal["reduced", "full"] = "reduced",
    solver: Solver | None = None,
) -> Information:
    """The Fisher information of everything that a population estimates with a name, by first order.

    Linearised at η = 0 a person's data are N(f, C), C = G Gᵀ + diag(v), with f their mean at η = 0, G = ∂f/∂η, v the noise:
    I_ab = Σ people [f_aᵀ C⁻¹ f_b + ½ tr(C⁻¹ C_a C⁻¹ C_b)], f_a and C_a derivatives along the numbers of the population, which are
    brought to the names and scales of `training.inference.standard_errors` by the delta method. "full" is this. "reduced" takes
    C not to depend on what moves the mean (typical values, coefficients): fixed effects and variances then tell nothing of each
    other. Against simulated studies it is the better of the two, the full one promising too small errors of some (Nyberg et
    al.), and it is what programs of the field compute by default.
    It asks what a study tells where the model's own numbers are true; weights of networks are taken as known.

    Arguments: `design`, an `Arm`, several, or a `Cohort` · `kind`, as above.
    Errors: `ValueError` as `sensitivities`, and for a model of which nothing with a name is estimated.
    Law: of people who differ in nothing, without η, C is the noise alone; twice the people have twice the information, so
    that every error is smaller by √2.
    Source: Mentré, Mallet & Baccar, Biometrika 84 (1997) 429; Retout & Mentré, J. Biopharm. Stat. 13 (2003) 209; Nyberg et al.,
    Br. J. Clin. Pharmacol. 79 (2015) 6.
    """
    require_one(model, "population_information", solver)
    require_choice(kind, ("reduced", "full"), "population_information: kind")
    cut = sampled(model, design, "population_information")
    trial, names, _ = trained(model, "population_information")
    told, scales, value, J = jacobian(trial, names)
    point = flat(trial, names)  # (1, P)
    P = point.shape[1]
    if J.shape[1] != P or int(torch.linalg.matrix_rank(J[0])) < P:
        raise ValueError(
            f"population_information: {P} numbers are estimated and {J.shape[1]} names tell of them, so that errors of the names "
            "are not errors of the numbers; hold what has no name, .requires_grad_(False)"
        )
    fixed = torch.cat([torch.full((trial.get_parameter(n)[0].numel(),), _moves_the_mean(trial, n)) for n in names])
    unit = torch.where(united(trial, names), point[0].abs().clamp(min=1.0), 1.0)
    aside = select(trial, torch.zeros(6 * P + 1, dtype=torch.long))
    place(aside, names, point + stencil(P, STEP, point) * unit)
    mean, variance, slope = _moments(aside, cut, solver)
    by_mean, mean_error = derivatives(mean, STEP)
    size = torch.where((value[0] != 0.0) & _linear(scales, value), value[0].abs(), 1.0)
    to_names = torch.linalg.inv(J[0] * unit / size[:, None])  # (P, E): z of numbers per z of names
    roots: list[Tensor] = []
    errors: list[Tensor] = []
    for n in range(cut.conditions.size):
        there = cut.there[n].flatten()
        if not bool(there.any()):
            continue
        G = slope[:, n].flatten(1, 2)[:, there]  # (R, k, d)
        C = G @ G.mT + torch.diag_embed(variance[:, n].flatten(1)[:, there])
        by_C, C_error = derivatives(C, STEP)
        if kind == "reduced":
            by_C[fixed], C_error[fixed] = 0.0, 0.0
        L = torch.linalg.cholesky(C[0])
        weight = cut.people[n].sqrt()
        for f, D, into in (
            (by_mean[:, n], by_C, roots),
            (mean_error[:, n], C_error, errors),
        ):
            first = torch.linalg.solve_triangular(L, f.flatten(1)[:, there].mT, upper=False)  # (k, P)
            inner = torch.linalg.solve_triangular(L, D, upper=False)
            inner = torch.linalg.solve_triangular(L, inner.mT, upper=False)  # (P, k, k)
            into.append(weight * torch.cat([first, inner.flatten(1).mT / 2.0**0.5]) @ to_names)
    root, error = _short(torch.cat(roots)), _short(torch.cat(errors))
    return Information(
        "the population's",
        told,
        scales,
        value[0],
        size,
        root,
        float(torch.linalg.matrix_norm(error, 2)),
        cut.count,
    )


def _moves_the_mean(model: HybridModel, name: str) -> bool:
    """Is a tensor one of fixed effects, not of Ω or of noise?"""
    spread = {f"population.{own}" for own in model.population.by_marginal}
    return name not in spread and not name.startswith("noise.")


def _linear(scales: tuple[str, ...], like: Tensor) -> Tensor:  # (E,) bool
    return torch.tensor([scale == "linear" for scale in scales], device=like.device)


def _moments(
    model: HybridModel, cut: Sampled, solver: Solver | None
) -> tuple[Tensor, Tensor, Tensor]:  # (R, N, T, p) twice, (R, N, T, p, d)
    """Mean, variance of noise and slope along η at η = 0 under every one of R members."""
    R, N, d = model.members, cut.conditions.size, model.personal
    means, variances, slopes = [], [], []
    weights = cut.times.new_tensor([w for w in WIDE if w]) / _OWN
    for some in torch.arange(N, device=model.device).split(max(1, _ROWS // (R * (4 * d + 1)))):
        with torch.no_grad():
            still = torch.zeros(R, len(some), d, dtype=torch.float64, device=model.device)
            offsets = _around(d, still)
            moved = copies(still, offsets)
            run = simulate_copies(model, cut.conditions.people(some), moved, len(some), solver or simulating())
        mean = run.mean.reshape(R, len(offsets), len(some), *run.mean.shape[2:])
        means.append(mean[:, 0])
        variances.append(run.variance.reshape(mean.shape)[:, 0])
        around = mean[:, 1:].reshape(R, d, 4, *mean.shape[2:])
        slopes.append(torch.einsum("w,rdwntp->rntpd", weights, around))
    return torch.cat(means, 1), torch.cat(variances, 1), torch.cat(slopes, 1)


def _around(d: int, like: Tensor) -> Tensor:  # (4d + 1, d)
    """0, then the points of the wide stencil along each coordinate of η."""
    eye = torch.eye(d, dtype=like.dtype, device=like.device)
    points = like.new_tensor([p for p, w in zip(POINTS, WIDE, strict=True) if w])[:, None, None] * (_OWN * eye)
    return torch.cat([eye.new_zeros(1, d), points.movedim(0, 1).reshape(4 * d, d)])


def _short(root: Tensor) -> Tensor:
    """A root of the same information with no more rows than columns."""
    return root if len(root) <= root.shape[1] else torch.linalg.qr(root, mode="r").R
