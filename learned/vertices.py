"""What a contracting residual is told of its backbone: matrices at the corners of θ, and a metric in which they contract."""

from typing import Any

import torch
from torch import Tensor

from learned.sizes import matrix_of


def log_norms(A: Tensor, F: Tensor) -> Tensor:
    """FᵀAF⁻ᵀ and its transpose, added: its largest eigenvalue is twice the logarithmic norm of A in P = F Fᵀ."""
    turned = F.mT @ torch.linalg.solve_triangular(F, A.mT, upper=False).mT
    return turned + turned.mT


def matrices_of(vertices: Any, n: int) -> Tensor:  # (V, n, n)
    """The vertices as they are needed. Errors: `ValueError` for other shapes, and what is not finite."""
    A = matrix_of(vertices, "ContractingMLP: vertices")
    A = A[None] if A.ndim == 2 else A
    if A.ndim != 3 or A.shape[1:] != (n, n) or len(A) == 0 or not torch.isfinite(A).all():
        raise ValueError(
            f"ContractingMLP: the vertices have shape {tuple(A.shape)}; give the backbone's matrices A, finite, as (V, {n}, {n})"
        )
    return A


def positive(P: Tensor, n: int) -> Tensor:  # (n, n)
    """The metric, exactly symmetric. Errors: `ValueError` for another shape, and one that is not positive definite."""
    P = P.detach().to("cpu").clone()
    if P.shape != (n, n) or not torch.isfinite(P).all() or not torch.allclose(P, P.mT, rtol=1e-9, atol=0.0):
        raise ValueError(f"ContractingMLP: the metric has shape {tuple(P.shape)}; give a finite symmetric ({n}, {n}) matrix")
    P = 0.5 * (P + P.mT)
    least = float(torch.linalg.eigvalsh(P)[0])
    if not (least > 0 and int(torch.linalg.cholesky_ex(P).info) == 0):
        raise ValueError(f"ContractingMLP: the metric has the eigenvalue {least:.3g}; it needs to be positive definite")
    return P


def default_metric(
    A: Tensor,  # (n, n)
    rate: float | None,
    scale: Tensor,  # (n,)
) -> Tensor:  # (n, n)
    """P with (A + κI)ᵀP + P(A + κI) = −diag(1/s²): contracting at κ, by Lyapunov's theorem."""
    decay = -float(torch.linalg.eigvals(A).real.max())
    if not decay > 0:
        raise ValueError(
            f"ContractingMLP: the mean of the vertices has an eigenvalue with real part {-decay:.3g}, so it has no metric of "
            "its own; give a metric"
        )
    n = len(A)
    eye = torch.eye(n, dtype=torch.float64)
    shifted = A + min(rate or 0.5 * decay, 0.9 * decay) * eye
    # vec(BᵀP + PB) = (Bᵀ ⊗ I + I ⊗ Bᵀ) vec P
    left = torch.kron(shifted.mT.contiguous(), eye) + torch.kron(eye, shifted.mT.contiguous())
    P = torch.linalg.solve(left, -torch.diag(scale**-2.0).reshape(-1)).reshape(n, n)
    return 0.5 * (P + P.mT)
