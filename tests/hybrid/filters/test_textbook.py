"""Filters against the textbook's, written plainly in numpy with covariances, and records against the same people step by step.

The noise of a step may be put in by any formula: as steps shrink, all of them follow one law of mean and covariance.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hybrid import Dose, Mesh, Schedule, conditions_of
from hybrid.filters import FILTERS, UKF, Filter, Followed, along
from tests.hybrid.filters.followed import (
    GLUCOSE,
    LORENZ,
    MEALS_BY_STATE,
    VAN_DER_POL,
    Array,
    Run,
    System,
    drawn,
    stepped,
)

Rate = Callable[[Array], Array]


def rk4(rate: Rate, x: Array, h: float) -> Array:
    a = rate(x)
    b = rate(x + 0.5 * h * a)
    c = rate(x + 0.5 * h * b)
    return x + h / 6.0 * (a + 2.0 * b + 2.0 * c + rate(x + h * c))


def slope(rate: Rate, x: Array) -> Array:
    """∂f/∂x (..., n, n) by central differences: f is of degree three at most, where they are exact but for 1e-6 of its square."""
    eye = 1e-3 * np.eye(x.shape[-1])
    return np.stack([(rate(x + e) - rate(x - e)) / 2e-3 for e in eye], -1)


def textbook(system: System, kind: str, y: Array, steps: int) -> tuple[Array, Array, Array]:
    """Means (T, N, n), covariances (T, N, n, n) and log-likelihoods (T, N) of an EKF or a UKF with 2n points at ±√n.

    Särkkä & Svensson, Bayesian Filtering and Smoothing (2023), § 7 and § 8; the noise of a step is g gᵀ h, half of it before and
    half of it after.
    """
    n, N = len(system.mean), y.shape[1]
    h, D = system.step * system.steps / steps, np.diag(np.square(system.g))
    H = np.eye(n)[list(system.seen)]
    m, P = np.broadcast_to(np.asarray(system.mean), (N, n)), np.broadcast_to(system.covariance, (N, n, n))
    kept = []
    for seen in y:
        for _ in range(steps):
            P = P + 0.5 * h * D
            if kind == "UKF":
                away = np.sqrt(n) * np.swapaxes(np.linalg.cholesky(P), -1, -2)
                points = rk4(system.rate, np.concatenate([m[:, None] + away, m[:, None] - away], 1), h)
                m = points.mean(1)
                off = points - m[:, None]
                P = np.swapaxes(off, -1, -2) @ off / (2 * n)
            else:
                F = slope(lambda x: rk4(system.rate, x, h), m)
                m, P = rk4(system.rate, m, h), F @ P @ np.swapaxes(F, -1, -2)
            P = P + 0.5 * h * D
        value = seen - m @ H.T
        S = H @ P @ H.T + system.sd**2 * np.eye(len(H))
        K = np.linalg.solve(S, H @ P).swapaxes(-1, -2)
        nis = np.einsum("ni,ni->n", value, np.linalg.solve(S, value[..., None])[..., 0])
        m = m + np.einsum("nij,nj->ni", K, value)
        kept.append((m, P := P - K @ S @ np.swapaxes(K, -1, -2), -0.5 * (nis + np.linalg.slogdet(2.0 * np.pi * S)[1])))
    means, covariances, logs = (np.stack(one) for one in zip(*kept, strict=True))
    return means, covariances, logs


# what a step leaves: an EKF's is of second order; a UKF forgets at every step how its points leaned, which is of first
ORDERS = {"EKF": 2, "UKF": 1}


@pytest.mark.parametrize("system", [LORENZ, VAN_DER_POL], ids=("Lorenz-63", "Van der Pol"))
@pytest.mark.parametrize("kind", [k for k in FILTERS if k.__name__ in ORDERS], ids=lambda k: k.__name__)
def test_as_steps_shrink_it_is_the_textbooks_filter(kind: type[Filter], system: System) -> None:
    """Two sizes of step and their order tell where each of the two goes as steps vanish, and that is one place."""
    y, name, order = drawn(system, 3, seed=4, samples=2).measured, kind.__name__, ORDERS[kind.__name__]

    def ours(steps: int) -> tuple[Array, ...]:
        filter = kind(Followed.of(system.model(), 3))
        run = stepped(filter, system.start(3), y, system.step * system.steps, steps)
        roots = run.roots[:, 0]
        return run.means[:, 0], roots @ np.swapaxes(roots, -1, -2), run.log_likelihood[:, 0]

    def limit(coarse: tuple[Array, ...], fine: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(b + (b - a) / (2**order - 1) for a, b in zip(coarse, fine, strict=True))

    book = limit(textbook(system, name, y, 160), textbook(system, name, y, 320))
    sd = np.sqrt(np.diagonal(book[1], axis1=-2, axis2=-1))
    scales = (sd, sd[..., :, None] * sd[..., None, :], 1.0)

    def off(found: tuple[Array, ...]) -> list[float]:
        """The largest distances of means, covariances and log-likelihoods, the first two in standard deviations."""
        return [float((np.abs(a - b) / s).max()) for a, b, s in zip(found, book, scales, strict=True)]

    coarse, fine = ours(20), ours(40)
    for one, half, none in zip(off(coarse), off(fine), off(limit(coarse, fine)), strict=True):
        assert one < 0.02
        assert 0.4 < half / one * 2 ** (order - 1) < 0.6  # halving a step leaves a half of it, or a quarter
        assert none < 0.1 * one


def test_meals_by_schedule_are_those_step_by_step() -> None:
    """Schedules of doses, cut by a mesh, down `along`: the glucose system as a user would follow it."""
    people, samples, every = 3, 12, GLUCOSE.step * GLUCOSE.steps
    truth = drawn(GLUCOSE, people, seed=5, samples=samples)
    filter = UKF(Followed.of(GLUCOSE.model(), people))
    run: Run = stepped(filter, GLUCOSE.start(people), truth.measured, every, GLUCOSE.steps, truth.arrived)
    assert truth.arrived.any()
    schedules = [
        Schedule(
            doses=tuple(
                Dose(state, every * k, float(truth.arrived[k, i, place]))
                for k in np.flatnonzero(truth.arrived[:, i].any(-1))
                for state, place in MEALS_BY_STATE.items()
            )
        )
        for i in range(people)
    ]
    times = [[every * (k + 1) for k in range(samples)]] * people
    given = conditions_of(GLUCOSE.model(), schedules, times, mesh=Mesh(GLUCOSE.step))
    with torch.no_grad():
        track = along(filter, GLUCOSE.start(people), given.segments, torch.from_numpy(truth.measured).movedim(0, 1))
    assert track.mean is not None
    assert track.mean[0].movedim(1, 0).numpy() == pytest.approx(run.means[:, 0], rel=1e-9, abs=1e-12)
    assert track.log_likelihood[0].numpy() == pytest.approx(run.log_likelihood[:, 0].sum(0), rel=1e-9)
