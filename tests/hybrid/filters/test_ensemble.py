"""Particles and a measurement: mean and covariance of the Kalman filter, whatever the order of channels; what is missing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.filters.ensemble import assimilated, summed, whitened
from hybrid.filters.gaussian import condition

F64 = torch.float64


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 3), st.integers(6, 30))
def test_a_measurement_moves_mean_and_covariance_as_it_moves_a_gaussian(seed: int, z: int, p: int, P: int) -> None:
    rng = np.random.default_rng(seed)
    particles, shown, y = (torch.from_numpy(rng.normal(size=s)) for s in ((2, 3, z, P), (2, 3, p, P), (2, 3, p)))
    y[torch.from_numpy(rng.uniform(size=(2, 3, p)) < 0.3)] = torch.nan
    noise = torch.from_numpy(rng.uniform(0.1, 2.0, (2, 3, p)))
    mean, away = summed(particles)
    predicted, shadow = summed(shown)
    wanted = condition(mean, away, y, predicted, shadow, noise)
    order = torch.from_numpy(rng.permutation(p))
    for some in (slice(None), order):
        after = assimilated(particles, shown[..., some, :], y[..., some], noise[..., some])
        found, left = summed(after)
        torch.testing.assert_close(found, wanted.mean, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(left @ left.mT, wanted.root @ wanted.root.mT, rtol=1e-10, atol=1e-10)
    none = torch.isnan(y).all(-1)
    assert torch.equal(after[none], particles[none])


def test_it_is_the_formula_of_whitaker_and_hamill() -> None:
    rng = np.random.default_rng(0)
    X, s = rng.normal(size=(3, 12)), rng.normal(size=12)
    y, sd = 0.7, 0.5
    away, show = X - X.mean(1, keepdims=True), s - s.mean()
    PH, HPH = away @ show / 11.0, show @ show / 11.0
    K = PH / (HPH + sd**2)
    less = K / (1.0 + np.sqrt(sd**2 / (HPH + sd**2)))  # their eq. 13
    wanted = (X.mean(1) + K * (y - s.mean()))[:, None] + away - np.outer(less, show)
    found = assimilated(*(torch.from_numpy(v) for v in (X, s[None], np.array([y]), np.array([sd]))))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-13, atol=1e-13)


def test_whitened_draws_have_the_very_mean_and_covariance() -> None:
    drawn = torch.randn(2, 3, 4, 9, generator=torch.Generator().manual_seed(0), dtype=F64)
    mean, away = summed(whitened(drawn))
    assert float(mean.abs().max()) <= 1e-14
    torch.testing.assert_close(away @ away.mT, torch.eye(4, dtype=F64).expand(2, 3, 4, 4), rtol=0.0, atol=1e-13)
    with pytest.raises(ValueError, match="whitened: 4 particles have no covariance of 4 components"):
        whitened(drawn[..., :4])


def test_the_gradient_is_that_of_differences() -> None:
    rng = np.random.default_rng(2)
    X = torch.from_numpy(rng.normal(size=(1, 2, 3, 8)))
    y = torch.tensor([[[0.3, torch.nan], [0.1, -1.0]]], dtype=F64)

    def total(particles: torch.Tensor, sd: torch.Tensor) -> torch.Tensor:
        return assimilated(particles, particles[..., :2, :].square(), y, sd.expand(1, 2, 2)).square().sum()

    sd = torch.tensor([0.5, 0.8], dtype=F64)
    assert torch.autograd.gradcheck(total, (X.requires_grad_(), sd.requires_grad_()))


def test_other_sizes_are_refused() -> None:
    X = torch.zeros(3, 8, dtype=F64)
    with pytest.raises(ValueError, match="assimilated: shown"):
        assimilated(X, X[:, :7], X[:, 0], X[:, 0] + 1.0)
    with pytest.raises(ValueError, match="assimilated: noise"):
        assimilated(X, X[:2], X[:2, 0], X[:, 0] + 1.0)
