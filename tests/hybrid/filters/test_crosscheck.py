"""Other people's filters on the same problems: filterpy's, in numpy, and cuthbert's, in JAX, which know nothing of ours.

Two problems: people whose θ is not known, η beside the states, with a flow in closed form; and a pendulum in classical steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from hybrid import Concentration, HybridModel, Interval, Mesh, RungeKutta, States
from hybrid.filters import EKF, UKF, Belief, EnKF, Filter, Followed, Innovation
from hybrid.filters.rts import corrected
from hybrid.filters.stepping import traced
from learned import Constant, DiagonalDiffusion, Residual
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import BOXES, SPREAD

F64 = torch.float64
Array = np.ndarray


@dataclass(frozen=True)
class Problem:
    """z after h, the slope of its states, and what is measured, in any module of arrays (numpy, jax.numpy); `g` of the states."""

    model: Callable[[], HybridModel]
    flow: Callable[[ModuleType, Any, float], Any]  # z (z,) -> (z,)
    slope: Callable[[ModuleType, Any], Any]  # z (z,) -> (n, n), of the states alone
    shown: Callable[[ModuleType, Any], Any]  # z (z,) -> (p,)
    g: tuple[float, ...]
    sd: float
    mean: tuple[float, ...]
    root: Array
    mesh: Mesh

    def noise(self, begin: Array, end: Array, h: float) -> Array:  # (z, z)
        """Q of a step by one exponential of twice the size, with the slope in the middle (Van Loan 1978)."""
        n, z = len(self.g), len(self.mean)
        J, D = self.slope(np, 0.5 * (begin + end)), np.diag(np.square(self.g))
        E = expm(np.block([[-J, D], [np.zeros((n, n)), J.T]]) * h)
        Q = np.zeros((z, z))
        Q[:n, :n] = E[n:, n:].T @ E[:n, n:]
        return 0.5 * (Q + Q.T)


# ---- people who took a dose: ka, ke and V are log-normal in their boxes


def _theta(xp: ModuleType, eta: Any) -> Any:
    low, high = (np.log([BOXES[k][end] for k in ("ka", "ke", "V")]) for end in (0, 1))
    centre, half = 0.5 * (low + high), 0.5 * (high - low)
    typical = np.log([p.typical for p in OneCompartmentOral(**BOXES, faster=None).physical])
    x = (typical + np.array(SPREAD) * eta - centre) / half
    return xp.exp(centre + half * x / (1.0 + x**8) ** 0.125)


def _oral_flow(xp: ModuleType, z: Any, h: float) -> Any:
    ka, ke, _ = _theta(xp, z[2:])
    a, b = xp.exp(-ka * h), xp.exp(-ke * h)
    plasma = b * z[1] + ka / (ka - ke) * (b - a) * z[0]  # Bateman 1910
    return xp.concatenate([xp.stack([a * z[0], plasma]), z[2:]])


def _oral_slope(xp: ModuleType, z: Any) -> Any:
    ka, ke, _ = _theta(xp, z[2:])
    return xp.stack([xp.stack([-ka, 0.0 * ka]), xp.stack([ka, -ke])])


def _oral_model() -> HybridModel:
    backbone = OneCompartmentOral(**BOXES, faster=None)
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, SPREAD),
        observation=Concentration("plasma", "V"),
        noise=Constant([ORAL.sd], [1e-9]),
        process=DiagonalDiffusion(list(ORAL.g)),
    )


ORAL = Problem(
    model=_oral_model,
    flow=_oral_flow,
    slope=_oral_slope,
    shown=lambda xp, z: xp.stack([z[1] / _theta(xp, z[2:])[2]]),
    g=(3.0, 8.0),
    sd=0.3,
    mean=(300.0, 20.0, 0.1, -0.2, 0.3),
    root=np.tril(0.05 * np.ones((5, 5))) + np.diag([20.0, 10.0, 0.9, 0.8, 0.7]),
    mesh=Mesh(1.0),
)


# ---- a pendulum with friction, by steps of the classical method


class Swing(Residual):
    """ε = (0, x₁ − 4 sin x₁) beside A = [[0, 1], [−1, −.4]]."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = 2, 0, 0, True

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(x[..., 0]), x[..., 0] - 4.0 * torch.sin(x[..., 0])], -1)

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {}


def _swing_rate(xp: ModuleType, z: Any) -> Any:
    return xp.stack([z[1], -4.0 * xp.sin(z[0]) - 0.4 * z[1]])


def _swing_flow(xp: ModuleType, z: Any, h: float) -> Any:
    a = _swing_rate(xp, z)
    b = _swing_rate(xp, z + 0.5 * h * a)
    c = _swing_rate(xp, z + 0.5 * h * b)
    return z + h / 6.0 * (a + 2.0 * b + 2.0 * c + _swing_rate(xp, z + h * c))


def _swing_slope(xp: ModuleType, z: Any) -> Any:
    zero = 0.0 * z[0]
    return xp.stack([xp.stack([zero, zero + 1.0]), xp.stack([-4.0 * xp.cos(z[0]), zero - 0.4])])


SWING = Problem(
    model=lambda: HybridModel(
        LinearBackbone([[0.0, 1.0], [-1.0, -0.4]]),
        SharedPopulation(),
        Swing(),
        observation=States(["x1"]),
        noise=Constant([SWING.sd], [1e-9]),
        process=DiagonalDiffusion(list(SWING.g)),
    ),
    flow=_swing_flow,
    slope=_swing_slope,
    shown=lambda xp, z: z[:1],
    g=(0.1, 0.5),
    sd=0.2,
    mean=(0.8, -0.3),
    root=np.array([[0.3, 0.0], [-0.1, 0.5]]),
    mesh=Mesh(0.2),
)
PROBLEMS = {"oral": ORAL, "pendulum": SWING}
STEPS, LENGTH = 25, {"oral": 0.4, "pendulum": 0.15}


def measurements(name: str) -> Array:  # (STEPS, 1)
    """A path with its noise, and every fifth is missing."""
    problem, h = PROBLEMS[name], LENGTH[name]
    rng = np.random.default_rng(3)
    z = np.asarray(problem.mean) + problem.root @ rng.standard_normal(len(problem.mean))
    found = []
    for _ in range(STEPS):
        after = problem.flow(np, z, h)
        z = after + np.linalg.cholesky(problem.noise(z, after, h) + 1e-12 * np.eye(len(z))) @ rng.standard_normal(len(z))
        found.append(problem.shown(np, z) + problem.sd * rng.standard_normal(1))
    y = np.stack(found)
    y[4::5] = np.nan
    return y


# ---- ours


@dataclass(frozen=True)
class Found:
    """Means (T, z) and covariances (T, z, z) after every measurement, smoothed ones, and the log-likelihood of each."""

    mean: Array
    covariance: Array
    smooth_mean: Array
    smooth_covariance: Array
    log_likelihood: Array


def ours(name: str, make: Callable[[Followed], Filter]) -> Found:
    """Our filter and smoother, of one person under one member."""
    problem, h = PROBLEMS[name], LENGTH[name]
    people = Followed.of(problem.model(), 1, mesh=problem.mesh, solver=None if name == "oral" else RungeKutta("rk4"))
    filter = make(people)
    mean, root = (torch.from_numpy(np.asarray(v)).to(F64)[None, None] for v in (problem.mean, problem.root))
    belief = Belief(mean, root, torch.zeros(1, dtype=F64), len(problem.g))
    interval = Interval.of(torch.tensor([h], dtype=F64), len(problem.g), meshed=True)
    beliefs, laws, predicted, said = [], [], [], list[Innovation]()
    with torch.no_grad():
        for y in measurements(name):
            belief, law = traced(filter, belief, interval)
            predicted.append(belief.mean)
            belief, innovation = filter.update(belief, torch.from_numpy(y)[None])
            beliefs.append(belief)
            laws.append(law)
            said.append(innovation)
        later = beliefs[-1].mean, beliefs[-1].root
        smoothed = [later]
        for t in reversed(range(STEPS - 1)):
            later = corrected(beliefs[t].mean, laws[t + 1], predicted[t + 1], later)
            smoothed.append(later)
    smoothed.reverse()
    return Found(
        np.stack([b.mean[0, 0].numpy() for b in beliefs]),
        np.stack([b.covariance[0, 0].numpy() for b in beliefs]),
        np.stack([m[0, 0].numpy() for m, _ in smoothed]),
        np.stack([(L @ L.mT)[0, 0].numpy() for _, L in smoothed]),
        np.array([float(i.log_likelihood) for i in said]),
    )


def agree(mine: Found, theirs: Found, *, smooth: float = 1e-8) -> None:
    """To rounding of forms that add and subtract covariances (theirs): 1e-9 of a standard deviation; smoothers invert one."""
    sd = np.sqrt(np.diagonal(mine.covariance, axis1=1, axis2=2))
    for found, wanted, scale, most in (
        (mine.mean, theirs.mean, sd, 1e-9),
        (mine.covariance, theirs.covariance, sd[:, :, None] * sd[:, None], 1e-9),
        (mine.smooth_mean, theirs.smooth_mean, sd, smooth),
        (mine.smooth_covariance, theirs.smooth_covariance, sd[:, :, None] * sd[:, None], smooth),
        (mine.log_likelihood, theirs.log_likelihood, 1.0, 1e-9),
    ):
        assert np.abs((found - wanted) / scale).max() <= most


# ---- filterpy


@pytest.mark.parametrize("name", PROBLEMS)
def test_our_unscented_filter_and_smoother_are_those_of_filterpy(name: str) -> None:
    kalman = pytest.importorskip("filterpy.kalman", reason="filterpy, of the extra dev, is not installed")
    problem, h, z = PROBLEMS[name], LENGTH[name], len(PROBLEMS[name].mean)
    # α = 1, β = 0, κ = 0: 2z points of equal weight, and none for the one at the centre
    points = kalman.MerweScaledSigmaPoints(z, alpha=1.0, beta=0.0, kappa=0.0)

    def flow(at: Array, dt: float) -> Array:
        return problem.flow(np, at, dt)

    theirs = kalman.UnscentedKalmanFilter(
        dim_x=z, dim_z=1, dt=h, hx=lambda at: problem.shown(np, at), fx=flow, points=points
    )
    theirs.x, theirs.P, theirs.R = np.array(problem.mean), problem.root @ problem.root.T, np.array([[problem.sd**2]])
    means, covariances, noises, logs = [], [], [], []
    for y in measurements(name):
        end = np.mean([flow(at, h) for at in points.sigma_points(theirs.x, theirs.P)[1:]], 0)
        theirs.Q = problem.noise(theirs.x, end, h)
        theirs.predict()
        seen = not np.isnan(y[0])
        theirs.update(y if seen else None)
        means.append(theirs.x.copy())
        covariances.append(theirs.P.copy())
        noises.append(theirs.Q.copy())
        v, S = (theirs.y[0], theirs.S[0, 0]) if seen else (0.0, 1.0)
        logs.append(-0.5 * (v * v / S + math.log(2.0 * math.pi * S)) if seen else 0.0)
    mean, covariance = np.stack(means), np.stack(covariances)
    smooth_mean, smooth_covariance = mean.copy(), covariance.copy()
    for t in reversed(range(STEPS - 1)):  # two at a time, for its smoother takes one Q for all
        theirs.Q = noises[t + 1]
        xs, ps, _ = theirs.rts_smoother(
            np.stack([mean[t], smooth_mean[t + 1]]), np.stack([covariance[t], smooth_covariance[t + 1]])
        )
        smooth_mean[t], smooth_covariance[t] = xs[0], ps[0]
    agree(ours(name, UKF), Found(mean, covariance, smooth_mean, smooth_covariance, np.array(logs)))


def linear() -> tuple[HybridModel, Array, Array]:
    """Three states, two of them driven, with A and g."""
    A, g = np.array([[-1.0, 0.4, 0.0], [0.3, -0.6, 0.0], [0.5, 0.0, -2.0]]), np.array([0.5, 0.0, 0.2])
    model = HybridModel(
        LinearBackbone(A.tolist()),
        SharedPopulation(),
        observation=States(["x2", "x3"]),
        noise=Constant([0.3, 0.2], [1e-9, 1e-9]),
        process=DiagonalDiffusion(g.tolist()),
    )
    return model, A, g


@pytest.mark.parametrize("kind", ["KalmanFilter", "SquareRootKalmanFilter"])
@pytest.mark.parametrize("make", [UKF, EKF], ids=["UKF", "EKF"])
def test_on_a_linear_model_our_filters_are_those_of_filterpy(kind: str, make: Callable[[Followed], Filter]) -> None:
    kalman = pytest.importorskip("filterpy.kalman", reason="filterpy, of the extra dev, is not installed")
    model, A, g = linear()
    rng = np.random.default_rng(0)
    theirs = getattr(kalman, kind)(dim_x=3, dim_z=2)
    theirs.x, theirs.P = np.array([[0.3], [-0.2], [0.5]]), np.diag([0.5, 0.4, 0.3]) ** 2
    theirs.H, theirs.R = np.eye(3)[1:], np.diag([0.3**2, 0.2**2])
    filter, zero = make(Followed.of(model, 1)), torch.zeros(1, dtype=F64)
    start = torch.tensor([[[0.3, -0.2, 0.5]]], dtype=F64), torch.diag(torch.tensor([0.5, 0.4, 0.3], dtype=F64))[None, None]
    belief = Belief(*start, zero, 3)
    for h in rng.uniform(0.1, 1.5, 20):
        E = expm(np.block([[-A, np.diag(g**2)], [np.zeros((3, 3)), A.T]]) * h)
        Q = E[3:, 3:].T @ E[:3, 3:]
        theirs.F, theirs.Q = E[3:, 3:].T, 0.5 * (Q + Q.T)
        y = rng.standard_normal(2)
        theirs.predict()
        theirs.update(y[:, None])
        with torch.no_grad():
            belief = filter.predict(belief, Interval.of(torch.tensor([h], dtype=F64), 3))
            belief, _ = filter.update(belief, torch.from_numpy(y)[None])
        # Van Loan's block exponential of ‖A h‖ ≤ 3 and theirs, which takes Q's Cholesky root
        np.testing.assert_allclose(belief.mean[0, 0].numpy(), theirs.x[:, 0], rtol=0.0, atol=1e-11)
        np.testing.assert_allclose(belief.covariance[0, 0].numpy(), theirs.P, rtol=0.0, atol=1e-11)


# ---- cuthbert


def _noise(xp: ModuleType, J: Any, D: Any, h: float) -> Any:  # (n, n)
    """Q of a step by its series, Σ_k L^k(D) h^{k+1}/(k+1)!, L(D) = J D + D Jᵀ, to ‖J h‖ of 1 or 2: compiles in no time."""
    term = total = D * h
    for k in range(1, 26):
        half = J @ term * (h / (k + 1))
        term = half + half.T
        total = total + term
    return total


def test_our_extended_filter_and_smoother_are_those_of_cuthbert() -> None:
    jax = pytest.importorskip("jax", reason="JAX, below cuthbert, is not installed")
    moments = pytest.importorskip("cuthbert.gaussian.moments", reason="cuthbert, of the extra dev, is not installed")
    cuthbert, jnp = pytest.importorskip("cuthbert"), jax.numpy
    problem, h = ORAL, LENGTH["oral"]
    n, z = len(problem.g), len(problem.mean)

    def noise_root(at: Any) -> Any:
        J, D = problem.slope(jnp, 0.5 * (at + problem.flow(jnp, at, h))), jnp.diag(jnp.square(jnp.array(problem.g)))
        return jnp.zeros((z, z)).at[:n, :n].set(jnp.linalg.cholesky(_noise(jnp, J, D, h)))

    def dynamics(state: Any, _: Any) -> Any:
        root = jax.lax.stop_gradient(noise_root(state.mean))
        return lambda at: (problem.flow(jnp, at, h), root), state.mean

    def observation(state: Any, y: Any) -> Any:
        return lambda at: (problem.shown(jnp, at), jnp.array([[problem.sd]])), state.mean, y

    with jax.enable_x64(True):
        filter = moments.build_filter(jnp.array(problem.mean), jnp.array(problem.root), dynamics, observation)
        y = jnp.array(measurements("oral"))
        states = cuthbert.filter(filter, y, filter.init_prepare())
        smoothed = cuthbert.smoother(moments.build_smoother(dynamics), states)
        logs = np.diff(np.asarray(states.log_normalizing_constant))
        roots = [np.asarray(v.chol_cov)[1:] for v in (states, smoothed)]
        theirs = Found(
            *(np.asarray(states.mean)[1:], roots[0] @ np.swapaxes(roots[0], 1, 2)),
            *(np.asarray(smoothed.mean)[1:], roots[1] @ np.swapaxes(roots[1], 1, 2), logs),
        )
    agree(ours("oral", EKF), theirs)


def test_our_unscented_filter_and_smoother_are_those_of_cuthbert() -> None:
    jax = pytest.importorskip("jax", reason="JAX, below cuthbert, is not installed")
    pytest.importorskip("cuthbertlib", reason="cuthbert, of the extra dev, is not installed")
    from cuthbertlib.kalman import filtering, smoothing
    from cuthbertlib.quadrature import cubature, linearize

    jnp, problem, h = jax.numpy, SWING, LENGTH["pendulum"]

    def flow(at: Any) -> Any:
        return problem.flow(jnp, at, h)

    def step(m: Any, L: Any, y: Any) -> Any:
        end = jnp.mean(jax.vmap(flow)(rule.get_sigma_points(m, L).points), 0)
        J, D = problem.slope(jnp, 0.5 * (m + end)), jnp.diag(jnp.square(jnp.array(problem.g)))
        F, c, Q = linearize.functional(flow, _noise(jnp, J, D, h), m, L @ L.T, rule)
        move = F, c, jnp.linalg.cholesky(Q)
        m, L = filtering.predict(m, L, *move)
        H, d, R = linearize.functional(lambda at: problem.shown(jnp, at), jnp.array([[problem.sd**2]]), m, L @ L.T, rule)
        (m, L), log = filtering.update(m, L, H, d, jnp.linalg.cholesky(R), y)
        return m, L, log, move

    with jax.enable_x64(True):
        rule = cubature.weights(2)
        once, back = jax.jit(step), jax.jit(smoothing.update)
        m, L = jnp.array(problem.mean), jnp.array(problem.root)
        means, roots, logs, steps = [], [], [], []
        for y in measurements("pendulum"):
            m, L, log, move = once(m, L, jnp.array(y))
            means.append(m)
            roots.append(L)
            logs.append(float(log))
            steps.append(move)
        later = means[-1], roots[-1]
        smoothed = [later]
        for t in reversed(range(STEPS - 1)):
            later, _ = back(means[t], roots[t], *later, *steps[t + 1])
            smoothed.append(later)
        smoothed.reverse()

        def whole(some: list[Any]) -> Array:
            return np.stack([np.asarray(v @ v.T) for v in some])

        theirs = Found(
            np.stack([np.asarray(v) for v in means]),
            whole(roots),
            np.stack([np.asarray(v) for v, _ in smoothed]),
            whole([v for _, v in smoothed]),
            np.array(logs),
        )
    agree(ours("pendulum", UKF), theirs)


@pytest.mark.parametrize("name", PROBLEMS)
def test_many_particles_come_near_the_unscented_filter(name: str) -> None:
    """Not the same filter, so no equality: of mildly bent problems the means agree to a part of a standard deviation."""
    problem, h = PROBLEMS[name], LENGTH[name]
    people = Followed.of(problem.model(), 1, mesh=problem.mesh, solver=None if name == "oral" else RungeKutta("rk4"))
    filter = EnKF(people, particles=1000)
    mean, root = (torch.from_numpy(np.asarray(v)).to(F64)[None, None] for v in (problem.mean, problem.root))
    belief = Belief(mean, root, torch.zeros(1, dtype=F64), len(problem.g))
    interval = Interval.of(torch.tensor([h], dtype=F64), len(problem.g), meshed=True)
    found = []
    with torch.no_grad():
        for y in measurements(name):
            belief, _ = filter.update(filter.predict(belief, interval), torch.from_numpy(y)[None])
            found.append(belief.mean[0, 0].numpy())
    wanted = ours(name, UKF)
    sd = np.sqrt(np.diagonal(wanted.covariance, axis1=1, axis2=2))
    # sampling leaves some 2 √(25/1000) = .3 at most over 25 steps, the filters' own nonlinearities about as much
    assert np.abs((np.stack(found) - wanted.mean) / sd).max() <= 0.6
