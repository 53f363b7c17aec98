"""The likelihood of every person by adaptive Gauss–Hermite quadrature: the check on Laplace's method, for few effects."""

import math

import numpy as np
import torch
from torch import Tensor

from hybrid import Exponential, HybridModel, Solver, rollout
from hybrid.defaults import simulating
from hybrid.threads import of_slopes, threads_by
from physics.arguments import require_number, require_tensor
from training.marginal.laplace import Marginal, require_float64
from training.people.arguments import require_fit
from training.people.cohort import Cohort
from training.people.mode import modes

MOST_COORDINATES = 4  # of a person: 13 nodes along each are 28,561 simulations of everybody
_ROWS = 1 << 15  # simulated at once, so that the grid of many people takes no more memory than that of few
_MODE = 1e-3  # how well modes are found, in standard deviations: the grid need not be centred better than its nodes are apart


@threads_by(of_slopes)
def quadrature_marginal(
    model: HybridModel,
    cohort: Cohort,
    *,
    nodes: int = 13,
    start: Tensor | None = None,  # (M, N, d)
    iterations: int = 40,
    solver: Solver | None = None,
) -> Marginal:
    """−log ∫ p(y_i | η) N(η; 0, I) dη of every person, by Gauss–Hermite quadrature around the mode η*.

    With H = (LLᵀ)⁻¹ the Fisher information there, x_k and w_k the nodes and weights of ∫ e^{−x²} f(x) dx ≈ Σ_k w_k f(x_k) in d
    dimensions, and η_k = η* + √2 L x_k:
    p(y_i) ≈ 2^{d/2} det L Σ_k w_k e^{|x_k|²} p(y_i | η_k) N(η_k; 0, I).
    One node is Laplace's approximation with the Fisher information; with more it approaches the integral, however far from
    Gaussian a person's posterior is, as long as it has one mode. Every person is simulated nodes^d times. Values between limits
    count as in `laplace_marginal`.
    The value is differentiable in everything trainable. Its derivative is that of the sum with nodes and weights held,
    Σ_k (posterior weight of node k)·∂[−log p(y_i, η_k)], which approaches the derivative of the integral (Fisher's identity).

    Arguments: `nodes` along each coordinate; `start` of the search for the modes; at most `iterations` of it; `solver`, by
    default exact steps where the model is linear and steps by error control elsewhere: no mesh is made for the outer nodes.
    Returns a `Marginal`; a person of whom one node cannot be simulated is in `failed`.
    Errors: `ValueError` for more than four coordinates (13⁵ simulations of everybody), or a model or cohort that is not
    float64.
    Law: with a mean that is linear in η and constant noise, one node is exact and so is any number. A person's value does not
    depend on who else is there.
    Source: Pinheiro & Bates, J. Comput. Graph. Stat. 4 (1995) 12, section 2.4; Golub & Welsch, Math. Comput. 23 (1969) 221.
    """
    require_fit(model, cohort, "quadrature_marginal", solver)
    require_number(nodes, "quadrature_marginal: nodes", least=1.0, most=100.0, whole=True)
    require_number(iterations, "quadrature_marginal: iterations", least=0.0, whole=True)
    require_tensor(start, "quadrature_marginal: start", "Marginal.mode of an earlier call")
    require_float64(model, cohort)
    d = model.personal
    if d > MOST_COORDINATES:
        raise ValueError(
            f"quadrature_marginal: a person of this model has {d} coordinates, and {int(nodes)} nodes along each are "
            f"{int(nodes) ** d} simulations of everybody; it is for at most {MOST_COORDINATES}: use laplace_marginal"
        )
    solver = solver or _exact(model)
    found = modes(model, cohort, start=start, iterations=int(iterations), tolerance=_MODE, solver=solver)
    x, log_w = _grid(int(nodes), d, found.mode)
    value = found.mode.new_full(found.mode.shape[:2], torch.nan)
    failed = dict(found.failed)
    rows = torch.tensor(
        [i for i in range(cohort.conditions.size) if i not in failed], device=found.mode.device, dtype=torch.long
    )
    each = max(1, _ROWS // (len(x) * model.members))
    for part in rows.split(each) if len(rows) else ():
        some = _integrated(model, cohort.people(part), found.mode[:, part], found.covariance[:, part], x, log_w, solver)
        value = value.index_copy(1, part, some)
        for i in part[~torch.isfinite(some).all(0)].tolist():
            failed[i] = (
                f"person {cohort.ids[i]}: a node of the quadrature cannot be simulated, or has no finite likelihood"
            )
    return Marginal(torch.where(torch.isfinite(value), value, torch.nan), found.mode, found.converged, failed)


def _exact(model: HybridModel) -> Solver:
    """A solver for outer nodes, whose people are faster than those for whom a mesh was made: fixed steps would diverge there."""
    linear = model.residual.vanishes and not model.known and model.curved is None and model.process is None
    return Exponential() if linear else simulating(model.dtype)


def _grid(nodes: int, d: int, like: Tensor) -> tuple[Tensor, Tensor]:  # (K, d), (K,)
    """Nodes x of all d dimensions, and log w + |x|²."""
    x, w = (torch.from_numpy(v).to(like) for v in np.polynomial.hermite.hermgauss(nodes))
    if d == 0:
        return like.new_zeros(1, 0), like.new_zeros(1)
    grid = torch.stack([axis.flatten() for axis in torch.meshgrid(*[x] * d, indexing="ij")], -1)
    weight = torch.stack([axis.flatten() for axis in torch.meshgrid(*[w.log() + x.square()] * d, indexing="ij")], -1)
    return grid, weight.sum(-1)


def _integrated(
    model: HybridModel,
    cohort: Cohort,
    mode: Tensor,  # (M, N, d)
    covariance: Tensor,  # (M, N, d, d)
    x: Tensor,  # (K, d)
    log_w: Tensor,  # (K,)
    solver: Solver,
) -> Tensor:  # (M, N)
    M, N, d = mode.shape
    root = torch.linalg.cholesky(covariance) if d else covariance  # (M, N, d, d)
    eta = mode[:, None] + math.sqrt(2.0) * torch.einsum("mnij,kj->mkni", root, x)  # (M, K, N, d)
    log_f = []
    for some in eta.split(max(1, _ROWS // max(1, M * N)), 1):
        k = some.shape[1]
        who = torch.arange(N, device=mode.device).repeat(k)
        run = rollout(model, cohort.conditions.people(who), some.reshape(M, k * N, d), solver, on_failure="return")
        nll = cohort.nll(run.mean, run.variance, run.correlation).reshape(-1, k, N)
        log_f.append(-nll - 0.5 * some.square().sum(-1))
    summed = torch.logsumexp(log_w[:, None] + torch.cat(log_f, 1), 1)  # (M, N)
    width = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = 0.5 * math.log(2.0 * math.pi) * cohort.mask.to(summed.dtype).sum((-1, -2)) + 0.5 * d * math.log(math.pi)
    return constant - summed - width
