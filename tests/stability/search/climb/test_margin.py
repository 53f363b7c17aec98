"""The training penalty: sound in its metric, right in its gradient, quick, and defined where weights are zero."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from stability import Lure, contraction_margin
from stability.lure import SLOPES
from stability.search.climb.interior_point import climb


def draw(seed: int, widths: list[int], n: int, *, gain: float = 0.3) -> tuple[Tensor, list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = [n, *widths, n]
    weights = [gain * torch.randn(o, i, generator=generator, dtype=torch.float64) for i, o in pairwise(sizes)]
    A = -2.0 * torch.eye(n, dtype=torch.float64) + 0.3 * torch.randn(n, n, generator=generator, dtype=torch.float64)
    G = torch.randn(n, n, generator=generator, dtype=torch.float64)
    return A, weights, G @ G.mT + torch.eye(n, dtype=torch.float64)


def best_rate(A: Tensor, weights: list[Tensor], P: Tensor, activation: str) -> float:
    """What the inequality reaches in this metric with the best multipliers, from above (the climb's dual bound)."""
    system = Lure(A=A, weights=weights, biases=[np.zeros(w.shape[-2]) for w in weights], activation=activation)
    return climb(system.loop(), P.numpy(), fixed=True, tolerance=1e-5).bound


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize("widths", [[5], [16], [4, 3], [3, 4, 3]])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_never_above_the_best_rate_and_not_far_below(activation: str, widths: list[int], n: int) -> None:
    A, weights, P = draw(n + len(widths), widths, n)
    found = contraction_margin(A, weights, P, activation).item()
    best = best_rate(A, weights, P, activation)
    linear = contraction_margin(A, [], P).item()
    assert found <= best + 1e-9
    # The residual costs linear − best with the best multipliers. With explicit ones it may cost more, up to a factor that
    # is 4 on these draws (one number per layer is crude), and never less.
    assert linear - found <= 4.0 * (linear - best) + 0.2 * abs(best)


@pytest.mark.parametrize("widths", [[6], [4, 3]])
def test_equals_the_dense_schur_complement_with_the_same_multipliers(widths: list[int]) -> None:
    """The textbook formula with explicit Λ, inverted densely, in original coordinates."""
    A, weights, P = draw(5, widths, 3)
    loop = Lure(A=A, weights=weights, biases=[np.zeros(w.shape[-2]) for w in weights]).loop()
    E, W, N, p = loop.E[0], loop.W[0], loop.N[0], P.numpy()
    inverse = np.linalg.inv(p)

    def margin(L: np.ndarray) -> float:
        R = 2 * np.diag(L) - np.diag(L) @ N - N.T @ np.diag(L)
        S = p @ E + W.T @ np.diag(L)
        Q = A.numpy().T @ p + p @ A.numpy() + S @ np.linalg.solve(R, S.T)
        return float(-0.5 * np.linalg.eigvals(inverse @ Q).real.max())

    if len(widths) == 1:
        b, c = p @ E, W  # |b| in P⁻¹ over |c| in P⁻¹, unit by unit
        L = np.sqrt(np.einsum("ij,ik,kj->j", b, inverse, b) / np.einsum("ji,ik,jk->j", c, inverse, c))
    else:
        t = np.concatenate([np.ones(4), np.full(3, 1 / np.linalg.norm(weights[1].numpy(), 2) ** 2)])
        R = 2 * np.diag(t) - np.diag(t) @ N - N.T @ np.diag(t)
        X = p @ E @ np.linalg.solve(R, E.T @ p)
        Z = W.T @ np.diag(t) @ np.linalg.solve(R, np.diag(t) @ W)
        L = t * np.sqrt(np.trace(inverse @ X) / np.trace(inverse @ Z))
    # 1e-5: the guards that keep gradients finite (1e-6 under the roots, and on ‖W‖²).
    assert contraction_margin(A, weights, P).item() == pytest.approx(margin(L), rel=1e-5)


@pytest.mark.parametrize("widths", [[5], [4, 3]])
@pytest.mark.parametrize("n", [2, 3])
def test_gradient_is_that_of_finite_differences(widths: list[int], n: int) -> None:
    A, weights, P = draw(9, widths, n)
    inputs = tuple(w.clone().requires_grad_() for w in (A, *weights))
    assert torch.autograd.gradcheck(lambda a, *w: contraction_margin(a, w, P), inputs, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("widths", [[4], [4, 3]])
@pytest.mark.parametrize("zero", ["all", "first", "last", "unit", "middle"])
def test_gradients_are_finite_at_zero_weights_and_dead_units(widths: list[int], zero: str) -> None:
    A, weights, P = draw(2, widths, 2)
    for k, w in enumerate(weights):
        if zero == "all" or (zero == "first" and k == 0) or (zero == "last" and k == len(weights) - 1):
            w.zero_()
        if zero == "middle" and 0 < k < len(weights) - 1:
            w.zero_()
    if zero == "unit":
        weights[0][1] = 0.0
        weights[-1][:, -1] = 0.0
    inputs = [w.requires_grad_() for w in (A, *weights)]
    value = contraction_margin(A, weights, P)
    value.backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in inputs)
    if zero in ("all", "last"):
        assert value.item() == pytest.approx(contraction_margin(A, [], P).item(), abs=1e-4)


def test_repeated_eigenvalues_have_finite_gradients() -> None:
    for n in (1, 2, 3):
        A = (-torch.eye(n, dtype=torch.float64)).requires_grad_()
        value = contraction_margin(A, [], torch.eye(n, dtype=torch.float64))
        value.backward()
        assert value.item() == pytest.approx(1.0, abs=1e-9)
        assert A.grad is not None
        assert A.grad.isfinite().all()


def test_one_weight_is_linear() -> None:
    A, weights, P = draw(1, [], 2)
    assert contraction_margin(A, weights, P).item() == contraction_margin(A + weights[0], [], P).item()


def test_leading_axes_broadcast() -> None:
    P = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    members = [draw(k, [3], 2) for k in range(3)]
    records = [draw(10 + k, [3], 2)[0] for k in range(4)]
    weights = [torch.stack([m[1][k] for m in members])[:, None] for k in range(2)]
    together = contraction_margin(torch.stack(records)[None], weights, P)
    assert together.shape == (3, 4)
    for i, (_, w, _) in enumerate(members):
        for j, A in enumerate(records):
            assert together[i, j].item() == pytest.approx(contraction_margin(A, w, P).item(), rel=1e-12)


def test_arguments_are_refused_with_a_reason() -> None:
    A, weights, P = draw(1, [3], 2)
    with pytest.raises(ValueError, match="slope range"):
        contraction_margin(A, weights, P, "mish")
    with pytest.raises(ValueError, match=r"\(2, 2\) is needed"):
        contraction_margin(A, weights, torch.eye(3))
    with pytest.raises(ValueError, match="positive definite"):
        contraction_margin(A, weights, -P)
    with pytest.raises(ValueError, match="states"):
        contraction_margin(A, [w[:, :1] for w in weights], P)
