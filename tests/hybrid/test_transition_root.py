"""e^J and the root of what white noise makes along it: high precision, the Lyapunov identity, `transition`, everyone's bits."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm, solve_continuous_lyapunov
from torch import Tensor

from hybrid.propagate import transition, transition_root

# torch's own forward mode compiles parts of itself at its first use
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

F64 = torch.float64
NORMS = (1e-6, 1e-3, 1 / 64, 0.05, 0.2, 0.5, 0.51, 3.0, 30.0, 100.0)


def drawn(seed: int, n: int, k: int, norm: float, *, decays: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """J of that norm (the largest sum of a row), stable where it `decays`, and G with `k` columns and as many driven states."""
    rng = np.random.default_rng(seed)
    J = rng.normal(size=(n, n))
    if decays:
        J -= (0.1 + max(np.linalg.eigvals(J).real.max(), 0.0)) * np.eye(n)
    G = np.zeros((n, k))
    G[rng.permutation(n)[:k], np.arange(k)] = rng.uniform(0.3, 2.0, k)
    return J * norm / np.abs(J).sum(-1).max(), G


def exact(J: np.ndarray, G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """e^J and ∫₀¹ e^{Js} G Gᵀ e^{Jᵀs} ds in 160 digits, by Van Loan's exponential, which may lose as many as it likes."""
    n = len(J)
    with mpmath.workdps(160):
        block = mpmath.zeros(2 * n)
        D = mpmath.matrix(G.tolist()) * mpmath.matrix(G.T.tolist())
        for i in range(n):
            for j in range(n):
                block[i, j], block[n + i, n + j], block[i, n + j] = -mpmath.mpf(J[i, j]), mpmath.mpf(J[j, i]), D[i, j]
        E = mpmath.expm(block)
        F = E[n:, n:].T
        Q = F * E[:n, n:]
        return (np.array(m.tolist(), dtype=np.float64) for m in (F, Q))  # type: ignore[return-value]


def square(R: Tensor) -> np.ndarray:
    return (R @ R.mT).numpy()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 1), (4, 4), (6, 2)])
def test_high_precision(n: int, k: int, norm: float) -> None:
    """1e-12 of the largest entry; to 3, entry by entry, beside the standard deviations of the two states: of what noise reaches
    over others too, which is small by as many powers of ‖J‖. From there halving loses some ‖J‖ ε of e^J, and a state's own size
    is that of the fastest of it.
    """
    J, G = drawn(3, n, k, norm)
    F, Q = exact(J, G)
    e, R = transition_root(torch.from_numpy(J), torch.from_numpy(G))
    assert torch.equal(R, R.tril())
    assert np.abs(e.numpy() - F).max() < 1e-12 * np.abs(F).max() + 1e-15 * (norm > 30.0)
    error = np.abs(square(R) - Q)
    assert error.max() < 1e-12 * np.abs(Q).max()
    if norm <= 3.0:
        sd = np.sqrt(np.diag(Q))
        assert (error / (sd[:, None] * sd)).max() < 1e-12


@pytest.mark.parametrize("norm", [0.3, 5.0, 40.0])
def test_what_grows(norm: float) -> None:
    J, G = drawn(5, 4, 2, norm, decays=False)
    assert np.linalg.eigvals(J).real.max() > 0.0
    F, Q = exact(J, G)
    e, R = transition_root(torch.from_numpy(J), torch.from_numpy(G))
    assert np.abs(e.numpy() - F).max() < 1e-12 * np.abs(F).max()
    assert np.abs(square(R) - Q).max() < 1e-12 * np.abs(Q).max()


@pytest.mark.parametrize("norm", [1e-3, 0.3, 0.5])
def test_a_chain_of_states_of_which_noise_drives_the_first(norm: float) -> None:
    """Of the last state of a chain of n the variance is norm^(2n−2)/((n−1)!² (2n−1)): down to 1e-48 of the first one's."""
    for n in (2, 4, 12) if norm == 0.3 else (2, 4, 8):
        J = np.diag(np.full(n - 1, 0.5 * norm), -1) - 0.5 * norm * np.eye(n)
        F, Q = exact(J, np.eye(n)[:, :1])
        e, R = transition_root(torch.from_numpy(J), torch.eye(n, dtype=F64)[:, :1])
        sd = np.sqrt(np.diag(Q))
        assert (np.abs(square(R) - Q) / (sd[:, None] * sd)).max() < 1e-12
        np.testing.assert_allclose(e.numpy(), F, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_however_many_states_noise_reaches_over_others(dtype: torch.dtype) -> None:
    """Factorials of as many terms as there are states leave int64 at 21 and float64 at 171."""
    for n in (9, 10, 12, 16, 24, 175):
        J = (torch.diag(torch.ones(n - 1), -1) - torch.eye(n)).to(dtype) * 0.25
        e, R = transition_root(J, torch.eye(n, dtype=dtype)[:, :1])
        assert bool(torch.isfinite(R).all())
        atol = 4.0 * float(torch.finfo(dtype).eps)
        torch.testing.assert_close(e, torch.linalg.matrix_exp(J.double()).to(dtype), rtol=0.0, atol=atol)
        # the first two states alone are those of a chain of two
        two = transition_root(J[:2, :2], torch.eye(2, dtype=dtype)[:, :1])[1]
        torch.testing.assert_close(R[:2, :2], two, rtol=atol, atol=atol)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 6), share=st.floats(0.0, 1.0), power=st.floats(-6.0, 2.0))
def test_lyapunov(seed: int, n: int, share: float, power: float) -> None:
    """Q = P∞ − e^J P∞ e^{Jᵀ}, J P∞ + P∞ Jᵀ = −G Gᵀ; P∞ is known to its condition, and the difference to ε P∞."""
    J, G = drawn(seed, n, max(1, round(share * n)), 10.0**power)
    stationary = solve_continuous_lyapunov(J, -G @ G.T)
    F = expm(J)
    e, R = transition_root(torch.from_numpy(J), torch.from_numpy(G))
    slowest = -np.linalg.eigvals(J).real.max() / np.linalg.norm(J)
    tolerance = 1e-13 * np.abs(stationary).max() * (1.0 + 1.0 / slowest)
    assert np.abs(square(R) - (stationary - F @ stationary @ F.T)).max() < tolerance
    assert np.abs(e.numpy() - F).max() < 1e-13 * (1.0 + 10.0**power)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 7), k=st.integers(1, 9))
def test_it_is_the_root_of_transition(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    J = torch.from_numpy(rng.normal(size=(6, n, n)) * np.array([0.0, 0.01, 0.05, 0.2, 1.0, 5.0])[:, None, None])
    G = torch.from_numpy(rng.normal(size=(n, k)))
    e, R = transition_root(J, G)  # one G for all
    same, Q = transition(J, (G @ G.mT).expand(6, n, n))
    torch.testing.assert_close(e, same, rtol=1e-11, atol=1e-13 * float(same.abs().max()))
    for a, b in zip(R @ R.mT, Q, strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-11 * float(b.abs().max()))
    halves = transition_root(J[:, None] * torch.tensor([0.5, 1.0], dtype=F64)[:, None, None], G * 1.0)
    first, half = halves[1][:, 0] * 0.5**0.5, halves[0][:, 0]  # cut in two: over half the time each
    whole = first @ first.mT + half @ first @ first.mT @ half.mT - R @ R.mT
    assert float(whole.abs().max()) < 1e-12 * float((R @ R.mT).abs().max())


def test_nothing_moves_or_nothing_drives() -> None:
    G = torch.diag_embed(torch.tensor([0.3, 0.0, 1e-160, 2.0], dtype=F64))
    e, R = transition_root(torch.zeros(4, 4, dtype=F64), G)
    assert torch.equal(e, torch.eye(4, dtype=F64))
    assert torch.equal(R, G)
    J = torch.from_numpy(drawn(1, 4, 1, 2.0)[0])
    e, R = transition_root(J, torch.zeros(4, 1, dtype=F64))
    assert torch.equal(R, torch.zeros(4, 4, dtype=F64))
    assert torch.allclose(e, torch.linalg.matrix_exp(J), rtol=1e-13, atol=0.0)


def test_gradients() -> None:
    """Undriven states included, and what the root is a root of: finite differences, and every way to ask torch."""
    torch.manual_seed(0)
    J = torch.randn(3, 3, 3, dtype=F64) * torch.tensor([0.005, 0.1, 0.8], dtype=F64)[:, None, None]
    G = torch.zeros(3, 3, 1, dtype=F64)
    G[:, 0] = 0.7
    J, G = J.requires_grad_(), G.requires_grad_()

    def f(J: Tensor, G: Tensor) -> tuple[Tensor, Tensor]:
        e, R = transition_root(J, G)
        return e, R @ R.mT

    assert torch.autograd.gradcheck(f, (J, G), eps=1e-7, atol=1e-6, rtol=1e-6)
    want = torch.autograd.functional.jacobian(f, (J, G))
    same = torch.autograd.functional.jacobian(lambda J, G: transition(J, G @ G.mT), (J, G))
    for asked in (torch.func.jacrev(f, (0, 1))(J, G), torch.func.jacfwd(f, (0, 1))(J, G), same):
        for a, b in zip(want, asked, strict=True):
            for c, d in zip(a, b, strict=True):
                torch.testing.assert_close(c, d, rtol=1e-9, atol=1e-10)
    one = torch.func.vmap(f)(J, G)
    torch.testing.assert_close(one[1], f(J, G)[1], rtol=1e-11, atol=1e-13)


def test_gradient_where_a_state_is_neither_driven_nor_reached() -> None:
    J = torch.diag(torch.tensor([-1.0, -2.0], dtype=F64)).requires_grad_()
    G = torch.tensor([[0.5], [0.0]], dtype=F64, requires_grad=True)
    e, R = transition_root(J, G)
    gradients = torch.autograd.grad((R @ R.mT).trace() + e.sum(), (J, G))
    want = torch.autograd.grad(transition(J, G @ G.mT)[1].trace() + transition(J, G @ G.mT)[0].sum(), (J, G))
    for found, exact_one in zip(gradients, want, strict=True):
        torch.testing.assert_close(found, exact_one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nobodys_bits_depend_on_the_others(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(2)
    sizes = 10.0 ** rng.uniform(-4.0, 0.9, size=(12_000, 1, 1))  # e^J below the largest float32
    J, G = (torch.from_numpy(v).to(dtype) for v in (rng.normal(size=(12_000, 4, 4)) * sizes, rng.normal(size=(12_000, 4, 2))))
    e, R = transition_root(J, G)
    for count in (1, 2, 16, 17, 1000):
        for first in (0, 9000):
            some = slice(first, first + count)
            alone = transition_root(J[some], G[some])
            assert torch.equal(alone[0], e[some])
            assert torch.equal(alone[1], R[some])
    asked = transition_root(J[:100].clone().requires_grad_(), G[:100])
    assert torch.equal(asked[0].detach(), e[:100])
    assert torch.equal(asked[1].detach(), R[:100])
    with torch.no_grad():
        assert torch.equal(transition_root(J, G)[1], R)


def test_float32_beside_float64() -> None:
    J, G = (torch.from_numpy(v) for v in drawn(4, 4, 2, 2.0))
    wide, narrow = transition_root(J, G), transition_root(J.float(), G.float())
    for a, b in zip(wide, narrow, strict=True):
        torch.testing.assert_close(a.float(), b, rtol=0.0, atol=2e-6 * float(a.abs().max()))


def test_what_is_not_finite_stays_alone() -> None:
    rng = np.random.default_rng(6)
    J, G = torch.from_numpy(rng.normal(size=(7, 3, 3))), torch.from_numpy(rng.normal(size=(7, 3, 2)))
    e, R = transition_root(J, G)
    J[1, 0, 0], J[2, 1, 1], J[3] = torch.nan, torch.inf, J[3] * 1e12
    G[4, 0, 0] = torch.nan
    f, S = transition_root(J, G)
    others = [0, 5, 6]
    assert torch.equal(e[others], f[others])
    assert torch.equal(R[others], S[others])
    assert bool(torch.isnan(f[1:4]).flatten(1).any(1).all())
    assert bool(torch.isnan(S[1:5]).flatten(1).any(1).all())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transition_root(1.0, torch.eye(2)), "transition_root: J must be a tensor"),  # type: ignore[arg-type]
        (lambda: transition_root(torch.zeros(2, 3), torch.eye(2)), "transition_root: J must be a tensor"),
        (lambda: transition_root(torch.eye(2), torch.eye(3)), r"transition_root: G must be a tensor .* \(..., 2, k\)"),
        (lambda: transition_root(torch.eye(2), torch.eye(2).double()), "J is torch.float32 and G torch.float64"),
        (lambda: transition_root(torch.eye(2), torch.zeros(2, 0)), "G has no column; give"),
        (lambda: transition_root(torch.zeros(3, 2, 2), torch.zeros(4, 2, 1)), r"\(3, 2, 2\) and \(4, 2, 1\); give as many"),
    ],
)
def test_what_does_not_go_together(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
