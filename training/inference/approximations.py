"""Which approximation of the marginal likelihood a number is by."""

from typing import Literal

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from physics.arguments import quote, require_choice, require_kind, require_number, require_tensor
from training.inference.quadrature import quadrature_marginal
from training.marginal.laplace import Marginal, laplace_marginal
from training.people.cohort import Cohort

# focei: Laplace's method with the Fisher information · laplace: with the Hessian · quadrature: adaptive Gauss–Hermite
Approximation = Literal["focei", "laplace", "quadrature"]

NAMES: tuple[Approximation, ...] = ("focei", "laplace", "quadrature")


def marginal(
    model: HybridModel,
    cohort: Cohort,
    approximation: Approximation,
    *,
    nodes: int = 13,
    start: Tensor | None = None,  # (M, N, d)
    solver: Solver | None = None,
) -> Marginal:
    """−log p(y_i) of every person by the approximation of this name: `laplace_marginal` or `quadrature_marginal`."""
    if approximation == "quadrature":
        return quadrature_marginal(model, cohort, nodes=nodes, start=start, solver=solver)
    return laplace_marginal(
        model, cohort, start=start, curvature="fisher" if approximation == "focei" else "observed", solver=solver
    )


def copies_of_each(approximation: Approximation, nodes: int, d: int) -> int:
    """How many times a person is simulated for one value, at the most at once."""
    if approximation == "quadrature":
        return max(int(nodes**d), 2 * d + 1)
    return 2 * d + 1 if approximation == "focei" else 4 * d + 1 + d * (d - 1)


def require_approximation(approximation: object, nodes: object, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, for an approximation or a number of nodes that there is not."""
    require_choice(approximation, NAMES, f"{name}: approximation")
    require_number(nodes, f"{name}: nodes", least=1.0, most=100.0, whole=True)


def people_counted_in(
    weights: Tensor | None,  # (M, N)
    model: HybridModel,
    cohort: Cohort,
    name: str,
) -> Tensor:  # (M, N)
    """How often each member counts each person; once where nobody says otherwise.

    Errors: `ValueError`, beginning with `name`, for weights of another shape, negative ones, or a member that counts nobody.
    """
    M, N = model.members, cohort.conditions.size
    if weights is None:
        return torch.ones(M, N, dtype=torch.float64, device=cohort.y.device)
    require_tensor(weights, f"{name}: weights", "torch.ones(M, N)")
    require_kind(weights, Tensor, f"{name}: weights", "torch.ones(M, N)")
    good = weights.shape == (M, N) and bool((torch.isfinite(weights) & (weights >= 0.0)).all())
    if not good or not bool((weights.sum(1) > 0.0).all()):
        raise ValueError(
            f"{name}: weights say how often each member counts each person, (M, N) = ({M}, {N}), finite, not negative, "
            f"and not all 0 for a member; got {quote(weights)}; write torch.ones({M}, {N})"
        )
    return weights.to(cohort.y)
