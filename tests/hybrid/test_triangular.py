"""The lower triangular root of X Xᵀ: the textbook's by QR, at every rank and scale, with everyone's bits their own."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import hybrid.triangular
from hybrid.triangular import tria

# torch's own forward mode compiles parts of itself at its first use
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

F64 = torch.float64
EPS = float(np.finfo(np.float64).eps)


def by_qr(X: Tensor) -> Tensor:
    """R of a QR decomposition of Xᵀ, with the signs that make its diagonal positive: for rows that are independent."""
    R = torch.linalg.qr(X.mT, mode="reduced").R
    return (R * torch.where(R.diagonal(dim1=-2, dim2=-1) < 0.0, -1.0, 1.0)[..., :, None]).mT


def gap(L: Tensor, X: Tensor) -> float:
    """The largest |L Lᵀ − X Xᵀ| beside the lengths of the two rows, in extended precision."""
    wide = X.detach().to(F64).numpy().astype(np.longdouble)
    wide_L = L.detach().to(F64).numpy().astype(np.longdouble)
    size = np.sqrt((wide**2).sum(-1))
    size = np.where(size == 0.0, 1.0, size)
    wide, wide_L = wide / size[..., None], wide_L / size[..., None]
    return float(np.abs(wide_L @ wide_L.swapaxes(-1, -2) - wide @ wide.swapaxes(-1, -2)).max(initial=0.0))


def dependent(seed: int, n: int, k: int) -> Tensor:
    """Three matrices (n, k) of whose rows some are 0, some repeat, some are sums of others, with a column of zeros."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3, n, k)) * 10.0 ** rng.integers(-3, 4, size=(3, n, 1))
    for m in range(3):
        for i in range(n):
            kind = rng.integers(0, 5)
            if kind == 0:
                X[m, i] = 0.0
            elif kind == 1 and i:
                X[m, i] = -2.0 * X[m, rng.integers(0, i)]
            elif kind == 2 and i > 1:
                X[m, i] = X[m, :i].sum(0)
    X[:, :, rng.integers(0, k)] = 0.0
    return torch.from_numpy(X)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 8), more=st.integers(0, 20))
def test_it_is_that_of_a_qr_decomposition(seed: int, n: int, more: int) -> None:
    X = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 3, n, n + more)))
    L = tria(X)
    assert L.shape == (2, 3, n, n)
    assert torch.equal(L, L.tril())
    assert bool((L.diagonal(dim1=-2, dim2=-1) > 0.0).all())
    assert gap(L, X) < 40.0 * EPS  # some n rounding errors of unit rows
    # a triangle moves by its condition number times that
    worst = float(torch.linalg.cond(X).max())
    torch.testing.assert_close(L, by_qr(X), rtol=0.0, atol=100.0 * EPS * worst * float(X.abs().max()))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 7), k=st.integers(1, 12))
def test_rows_that_depend_on_others_have_a_column_of_zeros(seed: int, n: int, k: int) -> None:
    X = dependent(seed, n, k)
    L = tria(X)
    assert torch.equal(L, L.tril())
    assert bool((L.diagonal(dim1=-2, dim2=-1) >= 0.0).all())
    assert gap(L, X) < 8.0 * n * 4.0 * EPS * k  # what is left of a dependent row is dropped: 8 n ε of its largest number
    none = L.diagonal(dim1=-2, dim2=-1) == 0.0
    assert bool((L.abs().amax(-2)[none] == 0.0).all())
    assert int((~none).sum(-1).max()) <= min(k, n)
    zero = (X == 0.0).all(-1)
    assert bool((L[zero] == 0.0).all())
    kept = torch.linalg.matrix_rank(X / X.abs().amax(-1, keepdim=True).clamp(min=1e-300))
    assert torch.equal((~none).sum(-1), kept)


@pytest.mark.parametrize("case", ["dependent", "more rows than columns", "zero rows last"])
def test_gradient_of_what_is_made_of_a_singular_root(case: str) -> None:
    """f(L Lᵀ) has the gradient of f(X Xᵀ) and that of finite differences, where what depends on others goes on doing so."""
    torch.manual_seed(1)
    a = torch.randn(4, 6, dtype=F64, requires_grad=True)
    b = torch.randn(6, 2, dtype=F64, requires_grad=True)
    S, T = torch.randn(2, 6, 6, dtype=F64)

    def X() -> Tensor:
        one, two, three, four = a
        if case == "dependent":
            return torch.stack([one, 2.0 * one, 0.0 * one, two, one - three, three * four, one + two])[:6]
        if case == "more rows than columns":
            return b
        return torch.stack([one, two, three, four, 0.0 * one, 0.0 * one])

    def f(P: Tensor) -> Tensor:
        return (S * P).sum() + torch.sin(0.1 * (T * P)).sum()

    def through(L: Tensor) -> Tensor:
        return f(L @ L.mT)

    moved = b if case == "more rows than columns" else a
    (found,) = torch.autograd.grad(through(tria(X())), moved)
    (exact,) = torch.autograd.grad(f(X() @ X().mT), moved)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)
    direction = torch.randn_like(moved)
    step = 1e-6  # of a central difference of numbers of about 10: rounding 1e-9, the third derivative 1e-11
    values = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            moved += sign * step * direction
            values.append(float(through(tria(X()))))
            moved -= sign * step * direction
    assert (values[0] - values[1]) / (2.0 * step) == pytest.approx(float((found * direction).sum()), rel=1e-6, abs=1e-6)


def test_derivatives_of_the_triangle_itself() -> None:
    torch.manual_seed(2)
    X = torch.randn(5, 3, 7, dtype=F64, requires_grad=True)
    weights = torch.randn(5, 3, 3, dtype=F64)
    (ours,) = torch.autograd.grad((weights * tria(X)).sum(), X)
    (other,) = torch.autograd.grad((weights * by_qr(X)).sum(), X)
    torch.testing.assert_close(ours, other, rtol=1e-10, atol=1e-10)
    assert torch.autograd.gradcheck(tria, X)
    assert torch.autograd.gradgradcheck(tria, X)
    reverse = torch.func.jacrev(tria)(X.detach())
    torch.testing.assert_close(torch.func.jacfwd(tria)(X.detach()), reverse, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.autograd.functional.jacobian(tria, X), reverse, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.func.vmap(tria)(X.detach()), tria(X), rtol=1e-13, atol=1e-13)


def test_a_row_that_leaves_the_span_of_others_has_a_finite_gradient_that_knows_nothing_of_it() -> None:
    X = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(tria(X).sum(), X)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=F64) / 5.0**0.5, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("sizes", [(4, 12), (7, 5), (1, 1), (5, 6)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nobodys_bits_depend_on_the_others(sizes: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    X = torch.randn(20_000, *sizes, dtype=F64).to(dtype)
    X[::7, 0] = 0.0
    weights = torch.randn(*sizes[:1], *sizes[:1], dtype=F64).to(dtype)

    def both(X: Tensor) -> tuple[Tensor, Tensor]:
        X = X.clone().requires_grad_()
        L = tria(X)
        return tria(X.detach()), torch.autograd.grad((weights * L).sum(), X)[0]

    L, gradient = both(X)
    assert torch.equal(L, tria(X.clone().requires_grad_()).detach())  # with and without a derivative
    for count in (1, 2, 3, 15, 16, 17, 100, 1000, 1001):
        for first in (0, 5, 7000):
            some = slice(first, first + count)
            alone, its = both(X[some])
            assert torch.equal(alone, L[some])
            assert torch.equal(its, gradient[some])
    layout = X.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(tria(layout), L)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            monkeypatch.setattr(hybrid.triangular, "_CHUNK", 1 << 22)  # so that torch shares the work among them
            assert torch.equal(tria(X), L)
    finally:
        torch.set_num_threads(before)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(seed=st.integers(0, 2**31), span=st.sampled_from([3, 30, 150]))
def test_every_row_has_a_scale_of_its_own(seed: int, span: int) -> None:
    rng = np.random.default_rng(seed)
    X = torch.from_numpy(rng.normal(size=(4, 5, 9)))
    scale = torch.from_numpy(2.0 ** rng.integers(-int(span * 3.3), int(span * 3.3) + 1, size=(4, 5, 1)))
    assert torch.equal(tria(scale * X), scale * tria(X))  # by powers of two: to the bit
    if span <= 30:
        assert torch.equal(tria((scale * X).float()), scale.float() * tria(X.float()))


def test_nan_and_infinity_stay_where_they_are() -> None:
    torch.manual_seed(4)
    X = torch.randn(50, 4, 9, dtype=F64)
    L = tria(X)
    for bad in (torch.nan, torch.inf, -torch.inf):
        spoilt = X.clone()
        spoilt[7, 2, 3] = bad
        found = tria(spoilt)
        others = torch.arange(50) != 7
        assert torch.equal(found[others], L[others])
        assert torch.equal(found[7, :2], L[7, :2])  # rows before it know nothing of it
        assert bool(torch.isnan(found[7].diagonal()[2:]).all())


def test_what_holds_nothing() -> None:
    assert tria(torch.zeros(0, 3, 4)).shape == (0, 3, 3)
    assert tria(torch.zeros(2, 0, 4)).shape == (2, 0, 0)
    assert torch.equal(tria(torch.zeros(2, 3, 1)), torch.zeros(2, 3, 3))
    X = torch.zeros(0, 3, 4, requires_grad=True)
    assert torch.autograd.grad(tria(X).sum(), X)[0].shape == X.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tria([[1.0]]), "tria: X must be a tensor"),  # type: ignore[arg-type]
        (lambda: tria(torch.zeros(3)), r"tria: X must be a tensor .* \(..., n, k\)"),
        (lambda: tria(torch.zeros(3, 0)), r"one column or more, .* \(3, 0\); write"),
        (lambda: tria(torch.zeros(3, 2, dtype=torch.float16)), "float64 or float32 numbers .* torch.float16"),
        (lambda: tria(torch.zeros(3, 2, dtype=torch.int64)), "tria: X must be a tensor of real numbers"),
    ],
)
def test_what_is_no_matrix(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
