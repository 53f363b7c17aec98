"""Sigma points: they have the Gaussian's mean and covariance, and what is linear, or of even or odd powers, comes out by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hybrid.filters.sigma_points import halves, moments, points

F64 = torch.float64


def drawn(seed: int, z: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(2, 3, z))), torch.from_numpy(np.tril(rng.normal(size=(2, 3, z, z))))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(seed=st.integers(0, 2**31), z=st.integers(1, 9))
def test_they_have_the_mean_and_the_covariance(seed: int, z: int) -> None:
    mean, root = drawn(seed, z)
    p = points(mean, root)
    assert p.shape == (2, 3, 2 * z, z)
    center, deviations = moments(p)
    torch.testing.assert_close(center, mean, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(deviations @ deviations.mT, root @ root.mT, rtol=1e-12, atol=1e-12)
    same, odd, even = halves(p)
    torch.testing.assert_close(same, mean, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(odd, root, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(even, torch.zeros_like(root), rtol=0.0, atol=1e-13)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(seed=st.integers(0, 2**31), z=st.integers(1, 6), a=st.integers(1, 4))
def test_halves_are_a_turned_pair_of_deviations(seed: int, z: int, a: int) -> None:
    """Of any function: the covariance of P points of equal weight, and the cross covariance with the state, by plain numpy."""
    mean, root = drawn(seed, z)
    p = points(mean, root)
    W = torch.from_numpy(np.random.default_rng(seed + 1).normal(size=(z, a)))
    q = torch.tanh(p @ W) + (p @ W).square()
    center, odd, even = halves(q)
    rows, seen = p.numpy(), q.numpy()
    for m in range(2):
        for i in range(3):
            np.testing.assert_allclose(center[m, i].numpy(), seen[m, i].mean(0), rtol=1e-12, atol=1e-12)
            away, apart = seen[m, i] - seen[m, i].mean(0), rows[m, i] - rows[m, i].mean(0)
            covariance = (odd @ odd.mT + even @ even.mT)[m, i].numpy()
            np.testing.assert_allclose(covariance, away.T @ away / (2 * z), rtol=1e-11, atol=1e-11)
            np.testing.assert_allclose((root @ odd.mT)[m, i].numpy(), apart.T @ away / (2 * z), rtol=1e-11, atol=1e-11)
    plain, deviations = moments(q)
    torch.testing.assert_close(plain, center, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(deviations @ deviations.mT, odd @ odd.mT + even @ even.mT, rtol=1e-11, atol=1e-11)


def test_a_square_has_the_mean_of_the_square() -> None:
    mean, root = torch.tensor([[0.7]], dtype=F64), torch.tensor([[[0.3]]], dtype=F64)
    center, odd, even = halves(points(mean, root).square())
    assert float(center) == pytest.approx(0.7**2 + 0.3**2, rel=1e-14)  # exact to second order
    assert float(odd) == pytest.approx(2.0 * 0.7 * 0.3, rel=1e-14)
    assert float(even.abs()) == pytest.approx(0.0, abs=1e-15)  # of one state: both points have the same square of the deviation


def test_a_state_of_nothing_has_one_point() -> None:
    p = points(torch.zeros(5, 0), torch.zeros(5, 0, 0))
    assert p.shape == (5, 1, 0)
    center, odd, even = halves(torch.ones(5, 1, 2))
    assert torch.equal(center, torch.ones(5, 2))
    assert odd.shape == even.shape == (5, 2, 0)
    assert torch.equal(moments(torch.ones(5, 1, 2))[1], torch.zeros(5, 2, 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nobodys_bits_depend_on_the_others(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mean, root = torch.randn(5000, 5, dtype=F64).to(dtype), torch.randn(5000, 5, 5, dtype=F64).to(dtype)

    def all_of(some: slice) -> tuple[Tensor, ...]:
        p = points(mean[some], root[some])
        return p, *halves(p), *halves(p[..., :1].square())

    everyone = all_of(slice(None))
    for count in (1, 2, 16, 17, 1000):
        some = slice(11, 11 + count)
        for a, b in zip(all_of(some), everyone, strict=True):
            assert torch.equal(a, b[some])


def test_gradients() -> None:
    mean, root = (v[0].requires_grad_() for v in drawn(0, 3))
    assert torch.autograd.gradcheck(lambda m, L: halves(torch.sin(points(m, L))), (mean, root))
    assert torch.autograd.gradcheck(lambda m, L: moments(torch.sin(points(m, L))), (mean, root))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: points([0.0], torch.eye(1)), "points: mean must be a tensor"),  # type: ignore[arg-type]
        (lambda: points(torch.zeros(2), torch.eye(3)), r"points: root must be a tensor .* \(..., 2, 2\)"),
        (lambda: moments(torch.zeros(3)), r"moments: p must be a tensor .* \(..., P, a\)"),
        (lambda: moments(torch.zeros(0, 2)), "moments: p holds no point"),
        (lambda: halves(torch.zeros(3, 2)), "halves: p holds pairs of points, and 3 are given"),
        (lambda: halves(torch.zeros(0, 2)), "halves: p holds pairs of points, and 0 are given"),
    ],
)
def test_what_are_no_points(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
