"""A Gaussian conditioned in root form: the textbook's update, missing channels, bad condition, singular ones, everyone's bits."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hybrid.filters.gaussian import Conditioned, condition
from hybrid.triangular import tria

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

F64 = torch.float64
NAN = float("nan")


def drawn(seed: int, z: int, k: int, p: int, e: int = 0, people: int = 5) -> tuple[list[Tensor], Tensor]:
    """mean, root, y, predicted, shadow and noise of some people, and deviations of y alone."""
    rng = np.random.default_rng(seed)
    shapes = ((people, z), (people, z, k), (people, p), (people, p), (people, p, k))
    arrays = [torch.from_numpy(rng.normal(size=s)) for s in shapes]
    noise = torch.from_numpy(rng.uniform(0.2, 2.0, size=(people, p)))
    return [*arrays, noise], torch.from_numpy(rng.normal(size=(people, p, e)))


def naive(arrays: list[Tensor], beside: Tensor, i: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Kalman's update of one person by covariances, of the channels that are there: mean, covariance, NIS, log-likelihood."""
    mean, root, y, predicted, shadow, noise = (v[i].numpy() for v in arrays)
    seen = ~np.isnan(y)
    H, own, r, v = shadow[seen], beside[i].numpy()[seen], noise[seen], (y - predicted)[seen]
    P, V, C = root @ root.T, H @ H.T + own @ own.T + np.diag(r**2), root @ H.T
    K = C @ np.linalg.inv(V)
    nis = float(v @ np.linalg.solve(V, v))
    _sign, logdet = np.linalg.slogdet(V)
    return mean + K @ v, P - K @ V @ K.T, nis, float(-0.5 * (nis + logdet + seen.sum() * np.log(2.0 * np.pi)))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    z=st.integers(1, 6),
    more=st.integers(0, 5),
    p=st.integers(1, 4),
    e=st.integers(0, 3),
    missing=st.floats(0.0, 0.8),
)
def test_it_is_the_textbooks_update(seed: int, z: int, more: int, p: int, e: int, missing: float) -> None:
    arrays, beside = drawn(seed, z, z + more, p, e)
    gone = torch.from_numpy(np.random.default_rng(seed + 1).uniform(size=(5, p)) < missing)
    arrays[2] = torch.where(gone, NAN, arrays[2])
    found = condition(*arrays, beside=beside if e else None)
    assert torch.equal(torch.isnan(found.value), gone)
    assert torch.equal(torch.isnan(found.by_channel), gone)
    assert torch.equal(found.count, (~gone).sum(-1))
    assert found.count.dtype == torch.int64
    assert torch.equal(found.root, found.root.tril()) or bool(gone.all(-1).any())
    for i in range(5):
        if gone[i].all():
            continue
        mean, covariance, nis, log_likelihood = naive(arrays, beside, i)
        P = found.root[i] @ found.root[i].T
        np.testing.assert_allclose(found.mean[i].numpy(), mean, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(P.numpy(), covariance, rtol=1e-10, atol=1e-10)
        assert float(found.nis[i]) == pytest.approx(nis, rel=1e-10)
        assert float(found.log_likelihood[i]) == pytest.approx(log_likelihood, rel=1e-10, abs=1e-10)
        V = found.innovation_root[i]
        full = arrays[4][i] @ arrays[4][i].T + beside[i] @ beside[i].T + torch.diag(arrays[5][i].square())
        both = ~gone[i][:, None] & ~gone[i]
        assert torch.equal(V[gone[i]], torch.eye(p, dtype=F64)[gone[i]])
        torch.testing.assert_close((V @ V.T)[both], full[both], rtol=1e-12, atol=1e-12)
        for j in (~gone[i]).nonzero()[:, 0]:
            normal = torch.distributions.Normal(arrays[3][i, j], full[j, j].sqrt())
            assert float(found.by_channel[i, j]) == pytest.approx(float(normal.log_prob(arrays[2][i, j])), rel=1e-11)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=st.integers(0, 2**31), e=st.integers(0, 3))
def test_a_missing_channel_is_as_if_it_were_not_there(seed: int, e: int) -> None:
    arrays, beside = drawn(seed, 3, 5, 3, e)
    mean, root, y, predicted, shadow, noise = arrays
    y, noise, shadow = y.clone(), noise.clone(), shadow.clone()
    y[:, 1] = NAN
    noise[:, 1], shadow[:, 1] = 1e300, -7e200  # what nobody is to look at
    rest = [0, 2]
    with_it = condition(mean, root, y, predicted, shadow, noise, beside=beside)
    without = condition(mean, root, y[:, rest], predicted[:, rest], shadow[:, rest], noise[:, rest], beside=beside[:, rest])
    for a, b in (
        (with_it.mean, without.mean),
        (with_it.root, without.root),
        (with_it.nis, without.nis),
        (with_it.log_likelihood, without.log_likelihood),
        (with_it.by_channel[:, rest], without.by_channel),
        (with_it.innovation_root[:, rest][:, :, rest], without.innovation_root),
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_channels_one_after_another_are_all_at_once() -> None:
    """log p(y₁, y₂) = log p(y₁) + log p(y₂ | y₁), and the posterior does not know in which order it came."""
    (mean, root, y, _, _, noise), _ = drawn(4, 3, 3, 2)
    H = torch.randn(2, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    together = condition(mean, root, y, mean @ H.T, H @ root, noise)
    total = torch.zeros(5, dtype=F64)
    for j in (1, 0):
        h = H[j : j + 1]
        one = condition(mean, root, y[:, j : j + 1], mean @ h.T, h @ root, noise[:, j : j + 1])
        mean, root, total = one.mean, one.root, total + one.log_likelihood
    torch.testing.assert_close(mean, together.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(root @ root.mT, together.root @ together.root.mT, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(total, together.log_likelihood, rtol=1e-12, atol=1e-12)


def test_where_nothing_is_seen_the_belief_is_the_same_to_the_bit() -> None:
    arrays, beside = drawn(5, 4, 4, 2, 3)
    arrays[2][1] = NAN
    arrays[0][3], arrays[2][3] = NAN, NAN  # a belief that is lost stays as lost as it was
    found = condition(*arrays, beside=beside)
    assert torch.equal(found.mean[1], arrays[0][1])
    assert torch.equal(found.root[[1, 3]], arrays[1][[1, 3]])
    assert bool(torch.isnan(found.mean[3]).all())
    for i in (1, 3):
        assert (float(found.nis[i]), int(found.count[i]), float(found.log_likelihood[i])) == (0.0, 0, 0.0)
    wide, _ = drawn(5, 2, 6, 1)
    wide[2][:] = NAN
    assert torch.equal(condition(*wide).root, tria(wide[1]))
    none = condition(arrays[0], arrays[1], *(v[..., :0] for v in arrays[2:4]), arrays[4][:, :0], arrays[5][..., :0])
    assert torch.equal(none.root, arrays[1])
    assert none.innovation_root.shape == (5, 0, 0)
    assert bool((none.log_likelihood == 0.0).all())


def exact_covariance(delta: float) -> np.ndarray:
    """I − Hᵀ(H Hᵀ + δ² I)⁻¹ H of Dyer and McReynolds's example, of the float64 numbers, in fractions."""
    H = [[Fraction(1)] * 3, [Fraction(1), Fraction(1), Fraction(1.0 + delta)]]
    V = [[sum(a * b for a, b in zip(H[i], H[j], strict=True)) + Fraction(delta) ** 2 * (i == j) for j in (0, 1)] for i in (0, 1)]
    det = V[0][0] * V[1][1] - V[0][1] * V[1][0]
    inverse = [[V[1][1] / det, -V[0][1] / det], [-V[1][0] / det, V[0][0] / det]]
    return np.array(
        [
            [float((i == j) - sum(H[a][i] * inverse[a][b] * H[b][j] for a in (0, 1) for b in (0, 1))) for j in range(3)]
            for i in range(3)
        ]
    )


@pytest.mark.parametrize(("delta", "bar"), [(1e-6, 1e-8), (1e-8, 1e-7)])
def test_dyer_and_mcreynolds(delta: float, bar: float) -> None:
    """Two measurements that differ by δ, of noise δ: the root keeps the digits that the plain form loses.

    Source: Dyer & McReynolds, J. Optim. Theory Appl. 3 (1969) 444.
    """
    H = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0 + delta]], dtype=F64)
    zero, eye = torch.zeros(3, dtype=F64), torch.eye(3, dtype=F64)
    found = condition(zero, eye, zero[:2], zero[:2], H, torch.full((2,), delta, dtype=F64))
    assert bool((found.root.diagonal() > 0.0).all())
    exact = exact_covariance(delta)

    def worst(P: np.ndarray) -> float:
        error = (np.abs(P - exact) / np.abs(exact)).max()
        return float(error) if np.isfinite(error) else np.inf

    assert worst((found.root @ found.root.T).numpy()) < bar
    h = H.numpy()
    V = h @ h.T + delta**2 * np.eye(2)
    det = V[0, 0] * V[1, 1] - V[0, 1] * V[1, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        K = h.T @ (np.array([[V[1, 1], -V[0, 1]], [-V[1, 0], V[0, 0]]]) / det)
        assert worst(np.eye(3) - K @ h) > bar


def test_what_is_certain() -> None:
    """A channel without noise of a state that is known has no density; the others are as if it were not there."""
    root = torch.diag(torch.tensor([0.0, 1.0], dtype=F64))
    mean, noise = torch.tensor([2.0, 0.5], dtype=F64), torch.tensor([0.0, 0.3], dtype=F64)

    def of(*y: float) -> Conditioned:
        return condition(mean, root, torch.tensor(y, dtype=F64), mean, root, noise)

    other = of(NAN, 0.9)
    for first, log_likelihood, nis in ((2.0, torch.inf, float(other.nis)), (2.5, -torch.inf, torch.inf)):
        found = of(first, 0.9)
        torch.testing.assert_close(found.mean, other.mean, rtol=1e-14, atol=0.0)
        torch.testing.assert_close(found.root, other.root, rtol=1e-14, atol=0.0)
        assert float(found.log_likelihood) == log_likelihood
        assert float(found.nis) == pytest.approx(nis)
        assert float(found.by_channel[0]) == log_likelihood
        assert float(found.by_channel[1]) == pytest.approx(float(other.log_likelihood))
    # one that agrees does not excuse one that does not
    twice = condition(mean, root * 0.0, torch.tensor([2.0, 0.9], dtype=F64), mean, root * 0.0, noise * 0.0)
    assert (float(twice.log_likelihood), float(twice.nis)) == (-torch.inf, torch.inf)
    assert torch.equal(twice.mean, mean)


def test_nan_stays_with_whose_it_is() -> None:
    arrays, beside = drawn(6, 3, 3, 2, 2)
    whole = condition(*arrays, beside=beside)
    for which in (0, 1, 3, 4, 5):
        spoilt = [v.clone() for v in arrays]
        spoilt[which][2] = NAN
        found = condition(*spoilt, beside=beside)
        others = torch.arange(5) != 2
        for name in ("mean", "root", "nis", "log_likelihood", "innovation_root"):
            assert torch.equal(getattr(found, name)[others], getattr(whole, name)[others])
        assert bool(torch.isnan(found.mean[2]).all())


@pytest.mark.parametrize("p", [1, 3])
def test_nobodys_bits_depend_on_the_others(p: int) -> None:
    arrays, beside = drawn(7, 4, 4, p, 4, people=4000)
    arrays[2][::3, 0] = NAN
    everyone = condition(*arrays, beside=beside)
    for count in (1, 2, 16, 17, 1000):
        some = slice(13, 13 + count)
        alone = condition(*(v[some] for v in arrays), beside=beside[some])
        for name in ("mean", "root", "nis", "log_likelihood", "innovation_root", "by_channel"):
            torch.testing.assert_close(getattr(alone, name), getattr(everyone, name)[some], rtol=0.0, atol=0.0, equal_nan=True)


def test_gradients() -> None:
    arrays, beside = drawn(8, 3, 3, 2, 2, people=3)
    arrays[1] = arrays[1].tril()
    arrays[2][0, 1], arrays[2][1] = NAN, NAN
    y = arrays.pop(2)
    inputs = [v.requires_grad_() for v in (*arrays, beside)]

    def f(mean: Tensor, root: Tensor, predicted: Tensor, shadow: Tensor, noise: Tensor, beside: Tensor) -> tuple[Tensor, ...]:
        found = condition(mean, root, y, predicted, shadow, noise, beside=beside)
        return found.mean, found.root @ found.root.mT, found.nis, found.log_likelihood, found.by_channel.nan_to_num(0.0)

    assert torch.autograd.gradcheck(f, inputs, eps=1e-6, atol=1e-7, rtol=1e-6)


def test_gradients_of_a_belief_that_is_certain_in_a_direction() -> None:
    """A state that is known and moves with nothing: no gradient is NaN, and the others have those of the smaller problem."""
    (mean, root, y, predicted, shadow, noise), _ = drawn(9, 3, 3, 1)
    root = root.tril()
    root[:, 1] = 0.0
    inputs = [v.clone().requires_grad_() for v in (mean, root, predicted, shadow, noise)]
    found = condition(inputs[0], inputs[1], y, *inputs[2:])
    gradients = torch.autograd.grad(found.log_likelihood.sum() + found.mean.sum() + (found.root @ found.root.mT).sum(), inputs)
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    fewer = [v.clone().requires_grad_() for v in (mean[:, [0, 2]], root[:, [0, 2]], predicted, shadow, noise)]
    small = condition(fewer[0], fewer[1], y, *fewer[2:])
    total = small.log_likelihood.sum() + small.mean.sum() + (small.root @ small.root.mT).sum()
    for a, b in zip(gradients[2:], torch.autograd.grad(total, fewer)[2:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_float32_beside_float64() -> None:
    arrays, beside = drawn(10, 4, 4, 2, 2)
    wide, narrow = condition(*arrays, beside=beside), condition(*(v.float() for v in arrays), beside=beside.float())
    for name in ("mean", "nis", "log_likelihood", "by_channel"):
        torch.testing.assert_close(getattr(wide, name).float(), getattr(narrow, name), rtol=1e-4, atol=1e-4)
        assert getattr(narrow, name).dtype == torch.float32


def test_leading_axes_broadcast() -> None:
    arrays, _ = drawn(11, 3, 3, 2)
    mean, root, y, predicted, shadow, noise = arrays
    y[0] = NAN
    found = condition(mean.expand(2, 5, 3), root[None], y[None], predicted, shadow, noise)  # two members, one y
    assert found.mean.shape == (2, 5, 3)
    assert found.root.shape == (2, 5, 3, 3)
    assert found.nis.shape == found.count.shape == found.log_likelihood.shape == (2, 5)
    assert found.value.shape == found.by_channel.shape == (2, 5, 2)
    assert found.innovation_root.shape == (2, 5, 2, 2)
    assert torch.equal(found.mean[0], condition(*arrays).mean)


@pytest.mark.parametrize(
    ("which", "value", "message"),
    [
        (0, [0.0], "condition: mean must be a tensor"),
        (1, torch.eye(2, dtype=F64), r"condition: root must be a tensor .* \(..., 3, k\)"),
        (3, torch.zeros(5, 1, dtype=F64), r"condition: predicted must be a tensor .* \(..., 2\)"),
        (4, torch.zeros(5, 2, 4, dtype=F64), r"condition: shadow must be a tensor .* \(..., 2, 3\)"),
        (5, torch.zeros(5, 2), "mean is torch.float64 and noise torch.float32; give all of one type"),
        (5, torch.zeros(4, 2, dtype=F64), "before their last axes; give as many"),
    ],
)
def test_what_does_not_go_together(which: int, value: object, message: str) -> None:
    arrays: list[object] = list(drawn(12, 3, 3, 2)[0])
    arrays[which] = value
    call: Callable[..., Conditioned] = condition
    with pytest.raises(ValueError, match=message):
        call(*arrays)
