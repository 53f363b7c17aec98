"""The filter of Beneš: a nonlinear problem whose exact posterior is known in closed form, and how near filters come to it."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from hybrid.filters import FILTERS, Belief, Filter, Followed
from tests.hybrid.filters.followed import F64, Array, benes_model, stepped

X0, R, EVERY = 0.5, 0.5, 0.5


@dataclass(frozen=True)
class Exact:
    """The posterior after every measurement (T, N), and the log-likelihood of all until then (T, N)."""

    mean: Array
    variance: Array
    log_likelihood: Array


def exact(y: Array, every: float, x0: float, r: float) -> Exact:
    """Beneš's filter, from the Kalman filter of Brownian motion.

    dx = tanh x dt + dW has the law of Brownian motion from x₀ reweighted by cosh x(t) / cosh x₀ e^{−t/2} (Girsanov, since
    tanh² + tanh′ = 1). So the posterior is N(m, P) cosh x, normalised, with (m, P, ℓ) of the Kalman filter of Brownian motion:
    ∫ N(x; m, P) cosh x dx = cosh m e^{P/2}. Beneš, Stochastics 5 (1981) 65.
    """
    m, P, log_likelihood = np.full(y.shape[1], x0), 0.0, np.zeros(y.shape[1])
    found = []
    for k, seen in enumerate(y):
        P = P + every
        S, value = P + r, seen - m
        log_likelihood = log_likelihood - 0.5 * (value**2 / S + np.log(2.0 * np.pi * S))
        m, P = m + P / S * value, P * r / S
        weight = np.log(np.cosh(m)) + P / 2.0 - np.log(np.cosh(x0)) - (k + 1) * every / 2.0
        found.append((m + P * np.tanh(m), P + P**2 * (1.0 - np.tanh(m) ** 2), log_likelihood + weight))
    return Exact(*(np.stack(one) for one in zip(*found, strict=True)))


def paths(people: int, samples: int, seed: int) -> tuple[Array, Array]:
    """States and measurements (T, N) of paths that are drawn exactly.

    The transition density of dx = tanh x dt + dW is the mixture of Brownian motions with drift +1 and −1 with probabilities
    (1 ± tanh x₀)/2, and so is the law of the whole path: a drift that is drawn once.
    """
    rng = np.random.default_rng(seed)
    drift = np.where(rng.random(people) < 0.5 * (1.0 + np.tanh(X0)), 1.0, -1.0)
    steps = drift * EVERY + np.sqrt(EVERY) * rng.standard_normal((samples, people))
    states = X0 + np.cumsum(steps, 0)
    return states, states + np.sqrt(R) * rng.standard_normal(states.shape)


def followed(kind: type[Filter], y: Array, every: float, r: float, steps: int):
    """What the filter says of measurements (T, N), and the mean and variance of the state."""
    people = y.shape[1]
    filter = kind(Followed.of(benes_model(r**0.5), people))
    root = torch.zeros(1, people, 1, 1, dtype=F64)  # x₀ is known
    start = Belief(torch.full((1, people, 1), X0, dtype=F64), root, torch.zeros(people, dtype=F64), 1)
    run = stepped(filter, start, y[..., None], every, steps)
    return run.means[:, 0, :, 0], run.roots[:, 0, :, 0, 0] ** 2, run.log_likelihood[:, 0].sum(0)


VECTOR = {  # x₀ = .5, R = .3, every .5
    "y": (0.9, 1.4, 0.2, -0.6, -1.1),
    "mean": (0.8690904286, 1.3768103227, 0.5952155618, -0.3304962462, -1.0012491392),
    "variance": (0.2084737198, 0.2221105190, 0.2457951363, 0.2522825915, 0.2340716413),
    "log_likelihood": -7.1745601444,
}


def test_the_closed_form_gives_the_published_vector() -> None:
    found = exact(np.array(VECTOR["y"])[:, None], 0.5, 0.5, 0.3)
    assert found.mean[:, 0] == pytest.approx(VECTOR["mean"], abs=6e-11)
    assert found.variance[:, 0] == pytest.approx(VECTOR["variance"], abs=6e-11)
    assert found.log_likelihood[-1, 0] == pytest.approx(VECTOR["log_likelihood"], abs=6e-11)


def test_the_closed_form_is_bayes_rule_by_quadrature() -> None:
    """One measurement: prior density as a mixture, times the likelihood, integrated numerically."""
    y, r, t = 0.9, 0.3, 0.5

    def joint(x: float) -> float:
        prior = sum(
            0.5 * (1.0 + s * np.tanh(X0)) * np.exp(-((x - X0 - s * t) ** 2) / (2 * t)) / np.sqrt(2 * np.pi * t)
            for s in (1.0, -1.0)
        )
        return float(prior * np.exp(-((y - x) ** 2) / (2 * r)) / np.sqrt(2 * np.pi * r))

    def moment(k: int) -> float:
        return quad(lambda x: x**k * joint(x), -10.0, 10.0, epsabs=1e-13, epsrel=1e-13, limit=200)[0]

    whole, first, second = (moment(k) for k in range(3))
    found = exact(np.array([[y]]), t, X0, r)
    assert found.log_likelihood[0, 0] == pytest.approx(np.log(whole), abs=1e-11)
    assert found.mean[0, 0] == pytest.approx(first / whole, abs=1e-11)
    assert found.variance[0, 0] == pytest.approx(second / whole - (first / whole) ** 2, abs=1e-11)


# What a filter that takes the posterior to be Gaussian may lose. By six seeds of 2,000 paths a textbook EKF is at a distance of
# .0286 ± .0007 and loses .0016 ± .0003 nats an observation, a UKF is at .0236 ± .0005 and .0010 ± .0002, and the NEES of both is
# 1.000 ± .004: every bar is four of these standard deviations away or more.
BARS = {"EKF": (0.032, 0.003), "UKF": (0.026, 0.002)}


@pytest.mark.parametrize("kind", [k for k in FILTERS if k.__name__ in BARS], ids=lambda k: k.__name__)
def test_filters_come_near_the_exact_posterior(kind: type[Filter]) -> None:
    distance, loss = BARS[kind.__name__]
    states, y = paths(2000, 20, seed=1)
    right = exact(y, EVERY, X0, R)
    mean, variance, log_likelihood = followed(kind, y, EVERY, R, steps=10)
    assert np.sqrt(((mean - right.mean) ** 2).mean()) <= distance
    assert -0.0005 <= (right.log_likelihood[-1] - log_likelihood).mean() / len(y) <= loss
    nees = ((states - mean) ** 2 / variance).mean()
    assert 0.96 <= nees <= 1.045
