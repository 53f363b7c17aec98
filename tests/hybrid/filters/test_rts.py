"""The smoother: the posterior of all states together where all is linear, whatever is singular, missing or cut in pieces."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hybrid.filters.gaussian import condition
from hybrid.filters.rts import Backward, backward, corrected, smooth
from hybrid.triangular import tria

F64 = torch.float64


@dataclass(frozen=True)
class Walk:
    """z₀ ~ N(m, L Lᵀ), then z ← F z + G w, y = H z + σ v: of T steps, in numpy."""

    mean: np.ndarray  # (z,)
    root: np.ndarray  # (z, z)
    F: np.ndarray  # (T, z, z)
    G: np.ndarray  # (T, z, r)
    H: np.ndarray  # (p, z)
    sd: np.ndarray  # (p,)
    y: np.ndarray  # (T, p), NaN where missing


def drawn(seed: int, z: int, T: int, p: int = 2, r: int | None = None) -> Walk:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(T, p))
    y[rng.uniform(size=y.shape) < 0.3] = np.nan
    return Walk(
        rng.normal(size=z),
        np.tril(rng.normal(size=(z, z))) + np.eye(z),
        0.6 * rng.normal(size=(T, z, z)) + 0.5 * np.eye(z),
        rng.normal(size=(T, z, z if r is None else r)),
        rng.normal(size=(p, z)),
        rng.uniform(0.2, 1.0, p),
        y,
    )


def batch(walk: Walk) -> tuple[np.ndarray, np.ndarray]:  # (T, z), (T, z, z)
    """Every state's posterior from one Gaussian of all noises together: z_t = mean + D_t e with e ~ N(0, I), conditioned on y."""
    T, z = walk.F.shape[:2]
    r = walk.G.shape[-1]
    mean, D = walk.mean, np.concatenate([walk.root, np.zeros((z, T * r))], 1)
    means, columns, rows, values, noise = [], [], [], [], []
    for t in range(T):
        mean, D = walk.F[t] @ mean, walk.F[t] @ D
        D[:, z + t * r : z + (t + 1) * r] = walk.G[t]
        means.append(mean)
        columns.append(D.copy())
        for j in np.flatnonzero(~np.isnan(walk.y[t])):
            rows.append(walk.H[j] @ D)
            values.append(walk.y[t, j] - walk.H[j] @ mean)
            noise.append(walk.sd[j])
    width = z + T * r
    if rows:
        # e given y, by least squares: |e|² + |(v − R e)/σ|²
        R = np.stack(rows) / np.array(noise)[:, None]
        precision = np.eye(width) + R.T @ R
        e, S = np.linalg.solve(precision, R.T @ (np.array(values) / np.array(noise))), np.linalg.inv(precision)
    else:
        e, S = np.zeros(width), np.eye(width)
    return np.stack([m + D @ e for m, D in zip(means, columns, strict=True)]), np.stack([D @ S @ D.T for D in columns])


@dataclass(frozen=True)
class Kept:
    mean: Tensor
    root: Tensor
    predicted_mean: Tensor
    backward: Backward | None


def filtered(walk: Walk, pieces: int = 1) -> Kept:
    """A Kalman filter on our arrays, everything of one person under one member; each step in pieces: F = F · I · I …"""
    mean, root = (torch.from_numpy(v) for v in (walk.mean, walk.root))
    H, sd = torch.from_numpy(walk.H), torch.from_numpy(walk.sd)
    means, roots, predicted, laws = [], [], [], []
    for F, G, y in zip(*(torch.from_numpy(v) for v in (walk.F, walk.G, walk.y)), strict=True):
        law = backward(root, F @ root, G)
        mean, root = F @ mean, tria(torch.cat([F @ root, G], -1))
        for _ in range(pieces - 1):
            still = backward(root, root, root.new_zeros(len(mean), 0))
            law = law.then(still)
        laws.append(law)
        predicted.append(mean)
        found = condition(mean, root, y, H @ mean, H @ root, sd)
        mean, root = found.mean, found.root
        means.append(mean)
        roots.append(root)

    def stacked(values: list[Tensor]) -> Tensor:  # (1, 1, T, …)
        return torch.stack(values)[None, None]

    laws_together = Backward(stacked([law.gain for law in laws]), stacked([law.root for law in laws]))
    return Kept(stacked(means), stacked(roots), stacked(predicted), laws_together)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 7), st.integers(1, 3))
def test_the_smoothed_states_are_the_posterior_of_all_states_together(seed: int, z: int, T: int, pieces: int) -> None:
    walk = drawn(seed, z, T)
    track = filtered(walk, pieces)
    mean, root = smooth(track)
    wanted, S = batch(walk)
    size = np.abs(S).max() + np.abs(wanted).max() + 1.0
    assert np.abs(mean[0, 0].numpy() - wanted).max() <= 1e-9 * size
    assert np.abs((root @ root.mT)[0, 0].numpy() - S).max() <= 1e-9 * size
    assert torch.equal(mean[:, :, -1], track.mean[:, :, -1])
    assert torch.equal(root[:, :, -1], track.root[:, :, -1])
    # knowing more never makes anything less sure; rounding of a variance aside
    before = (track.root @ track.root.mT).diagonal(dim1=-2, dim2=-1)
    assert bool(((root @ root.mT).diagonal(dim1=-2, dim2=-1) <= before * (1.0 + 1e-9) + 1e-12).all())


@pytest.mark.parametrize(
    "what", ["a state known exactly", "a state twice", "nothing drives", "a state lost on the way", "nothing is known to move"]
)
def test_what_is_singular_is_smoothed_as_well(what: str) -> None:
    walk = drawn(3, 3, 6, r=2)
    root, F, G = walk.root.copy(), walk.F.copy(), walk.G.copy()
    if what == "a state known exactly":  # constant, no variance, no noise
        root[1], root[:, 1], F[:, 1], G[:, 1] = 0.0, 0.0, np.eye(3)[1], 0.0
    if what == "a state twice":  # the third is always twice the first
        root[2], F[:, 2], G[:, 2] = 2.0 * root[0], 2.0 * F[:, 0], 2.0 * G[:, 0]
    if what == "nothing drives":
        G[:] = 0.0
    if what == "a state lost on the way":  # F singular, and nothing drives where it ends
        F[2, 1], G[2, 1] = 0.0, 0.0
        F[4, 2], G[4, 2] = F[4, 0], G[4, 0]
    if what == "nothing is known to move":
        G[:], F[:] = 0.0, np.eye(3)
    walk = Walk(walk.mean, root, F, G, walk.H, walk.sd, walk.y)
    mean, found = smooth(filtered(walk, 2))
    wanted, S = batch(walk)
    # a gain through what rounding alone tells apart loses half the digits at most: states of size 1 to 10
    assert np.abs(mean[0, 0].numpy() - wanted).max() <= 1e-8
    assert np.abs((found @ found.mT)[0, 0].numpy() - S).max() <= 1e-8


def test_the_laws_are_those_of_the_textbook() -> None:
    rng = np.random.default_rng(1)
    L, F, G = (torch.from_numpy(rng.normal(size=s)) for s in ((7, 3, 3), (7, 3, 3), (7, 3, 2)))
    law = backward(L, F @ L, G)
    P = L @ L.mT
    ahead = F @ P @ F.mT + G @ G.mT
    gain = P @ F.mT @ torch.linalg.inv(ahead)  # Särkkä & Svensson 2023, eq. 12.3
    # 1e-9: the naive inverse squares the condition of some of these
    torch.testing.assert_close(law.gain, gain, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(law.root @ law.root.mT, P - gain @ ahead @ gain.mT, rtol=1e-9, atol=1e-9)
    # what a later state was predicted to be changes nothing
    mean = torch.from_numpy(rng.normal(size=(7, 3)))
    after = (F @ mean[..., None])[..., 0]
    again, root = corrected(mean, law, after, (after, tria(torch.cat([F @ L, G], -1))))
    assert torch.equal(again, mean)
    torch.testing.assert_close(root @ root.mT, P, rtol=1e-10, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_laws_compose_in_any_grouping(seed: int, z: int) -> None:
    rng = np.random.default_rng(seed)
    root = torch.from_numpy(rng.normal(size=(z, z)))
    laws = []
    for _ in range(3):
        F, G = (torch.from_numpy(rng.normal(size=(z, z))) for _ in range(2))
        laws.append(backward(root, F @ root, G))
        root = tria(torch.cat([F @ root, G], -1))
    a, b, c = laws
    left, right = a.then(b).then(c), a.then(b.then(c))
    torch.testing.assert_close(left.gain, right.gain, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(left.root @ left.root.mT, right.root @ right.root.mT, rtol=1e-10, atol=1e-10)


def test_the_gradient_is_finite_and_that_of_differences() -> None:
    walk = drawn(5, 3, 4, r=2)
    F, G, root = walk.F.copy(), walk.G.copy(), walk.root.copy()
    root[2], root[:, 2], F[:, 2], G[:, 2] = 0.0, 0.0, np.eye(3)[2], 0.0  # a state that nothing moves, known exactly

    def total(scale: Tensor) -> Tensor:  # of the gain, the root, and what they make of a later state
        value = scale.new_zeros(())
        S, m = torch.from_numpy(root) * scale, torch.from_numpy(walk.mean) * scale
        for Ft, Gt in zip(torch.from_numpy(F), torch.from_numpy(G), strict=True):
            A = Ft * scale
            law = backward(S, A @ S, Gt)
            after = tria(torch.cat([A @ S, Gt], -1))
            found, less = corrected(m, law, A @ m, (A @ m + after[:, 0], 0.5 * after))
            value = value + found.sum() + (less @ less.mT).sum() + law.gain.square().sum()
            S, m = after, A @ m
        return value

    at = torch.ones((), dtype=F64, requires_grad=True)
    (found,) = torch.autograd.grad(total(at), at)
    h = 1e-5
    wanted = (total(at.detach() + h) - total(at.detach() - h)) / (2.0 * h)
    assert float(found) == pytest.approx(float(wanted), rel=1e-7)


def test_what_cannot_be_smoothed_is_refused() -> None:
    track = filtered(drawn(0, 2, 3))
    with pytest.raises(ValueError, match=r"smooth: .*keep=\"all\""):
        smooth(Kept(track.mean, track.root, track.predicted_mean, None))
    eye = torch.eye(2, dtype=F64)
    with pytest.raises(ValueError, match="backward: before"):
        backward(eye[:1], eye, eye)
    with pytest.raises(ValueError, match="backward: noise"):
        backward(eye, eye, eye[:1])
