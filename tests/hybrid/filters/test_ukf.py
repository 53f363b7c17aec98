"""The UKF against the Kalman filter, against one written naively, and what must hold to the bit."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm, solve_continuous_lyapunov
from torch import Tensor

from hybrid import Concentration, Exponential, HybridModel, Interval, Mesh, States
from hybrid.filters import UKF, Belief, Filter, Followed, starting_belief
from learned import MLP, Constant, DiagonalDiffusion, Ensemble, NeuralNoise
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import BOXES, SPREAD
from tests.hybrid.filters.followed import F64, Array, observed

# ---- the Kalman filter, as textbooks print it


def step_of(A: Array, D: Array, h: float) -> tuple[Array, Array]:
    """e^{Ah} and Q = ∫ e^{As} D e^{Aᵀs} ds: P − e^{Ah} P e^{Aᵀh} with A P + P Aᵀ = −D where that does not cancel.

    Else by Gauss and Legendre, whose 20 nodes are exact to rounding for ‖A h‖ ≤ 1.
    """
    F = expm(A * h)
    if np.abs(A).sum(1).max() * h > 1.0:
        P = solve_continuous_lyapunov(A, -D)
        return F, P - F @ P @ F.T
    at, weight = np.polynomial.legendre.leggauss(20)
    each = [expm(A * (0.5 * h * (s + 1.0))) for s in at]
    return F, 0.5 * h * sum(w * (e @ D @ e.T) for w, e in zip(weight, each, strict=True))


def forced(A: Array, x: Array, begin: Array, end: Array, h: float) -> Array:
    """The solution of x' = A x + f(t), f linear from `begin` to `end`: one exponential, with two more states 1 and t/h."""
    n = len(A)
    whole = np.zeros((n + 2, n + 2))
    whole[:n, :n], whole[:n, n], whole[:n, n + 1], whole[n + 1, n] = A * h, h * begin, h * (end - begin), 1.0
    return (expm(whole) @ np.concatenate([x, [1.0, 0.0]]))[:n]


def updated(m: Array, P: Array, y: Array, H: Array, R: Array) -> tuple[Array, Array, float, float]:
    """Mean, covariance, log-likelihood and NIS, by Joseph's form of what was seen."""
    seen = ~np.isnan(y)
    if not seen.any():
        return m, P, 0.0, 0.0
    H, R, v = H[seen], R[np.ix_(seen, seen)], y[seen] - H[seen] @ m
    S = H @ P @ H.T + R
    K = np.linalg.solve(S, H @ P).T
    left = np.eye(len(m)) - K @ H
    nis = float(v @ np.linalg.solve(S, v))
    ll = -0.5 * (nis + np.linalg.slogdet(2.0 * np.pi * S)[1])
    return m + K @ v, left @ P @ left.T + K @ R @ K.T, ll, nis


N, TIMES = 3, 5


def system(seed: int) -> tuple[HybridModel, dict[str, Array]]:
    """A random stable system with inputs, boluses, infusions, undriven states and channels that are missing, of N people."""
    rng = np.random.default_rng(seed)
    n, m, p = int(rng.integers(1, 6)), int(rng.integers(0, 3)), int(rng.integers(1, 4))
    p = min(p, n)
    A = rng.standard_normal((n, n))
    A = A - (np.linalg.eigvals(A).real.max() + rng.uniform(0.1, 1.0)) * np.eye(n)
    size = 10.0 ** rng.uniform(-2.0, 2.0)  # of ‖A‖h at the longest stretch
    A = A * size / np.abs(A).sum(1).max()
    B, g = rng.standard_normal((n, m)), rng.uniform(0.1, 1.0, n) * (rng.random(n) < 0.6)
    g[int(rng.integers(n))] = 0.5
    sd = rng.uniform(0.1, 1.0, p)
    seen = rng.choice(n, p, replace=False)
    names = [f"x{k}" for k in range(n)]
    model = HybridModel(
        LinearBackbone(A, B, states=names, inputs=[f"u{k}" for k in range(m)], state_units=["mg"] * n, input_units=["1"] * m),
        SharedPopulation(),
        observation=States([names[k] for k in seen]),
        noise=Constant(sd, [1e-9] * p),
        process=DiagonalDiffusion(g),
    )
    y = rng.standard_normal((TIMES, N, p))
    y[rng.random(y.shape) < 0.3] = np.nan
    return model, {
        **{"A": A, "B": B, "g": g, "sd": np.hypot(sd, 1e-9), "H": np.eye(n)[seen], "y": y},
        "dt": rng.uniform(0.0, 1.0, (TIMES, N)) * (rng.random((TIMES, N)) < 0.9),
        "jump": rng.standard_normal((TIMES, N, n)) * (rng.random((TIMES, N, 1)) < 0.4),
        "rate": rng.standard_normal((TIMES, N, n)) * (rng.random((TIMES, N, 1)) < 0.4),
        "u0": rng.standard_normal((TIMES, N, m)),
        "u1": rng.standard_normal((TIMES, N, m)),
        "mean": rng.standard_normal((N, n)),
        "root": np.tril(rng.standard_normal((N, n, n))),
    }


def intervals(of: dict[str, Array]) -> list[Interval]:
    given = {k: torch.from_numpy(of[k]) for k in ("dt", "jump", "rate", "u0", "u1")}
    return [
        Interval.of(given["dt"][t], given["jump"].shape[-1], jump=given["jump"][t], rate=given["rate"][t],
                    inputs=(given["u0"][t], given["u1"][t]))
        for t in range(len(given["dt"]))
    ]


@pytest.mark.parametrize("block", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 8))])
def test_linear_models_are_the_kalman_filter(block: int) -> None:
    """200 systems in all; 1e-10 of the size of each state and of its standard deviation."""
    for seed in range(25 * block, 25 * (block + 1)):
        model, of = system(seed)
        n, D, R = len(of["A"]), np.diag(of["g"] ** 2), np.diag(of["sd"] ** 2)
        filter = UKF(Followed.of(model, N))
        belief = Belief(torch.from_numpy(of["mean"])[None], _triangle(of["root"])[None], torch.zeros(N, dtype=F64), n)
        m, P = of["mean"].copy(), of["root"] @ of["root"].swapaxes(-1, -2)
        with torch.no_grad():
            for t, interval in enumerate(intervals(of)):
                belief = filter.predict(belief, interval)
                y, u1 = torch.from_numpy(of["y"][t]), torch.from_numpy(of["u1"][t])
                belief, innovation = filter.update(belief, y, inputs=u1)
                for i in range(N):
                    h, u = of["dt"][t, i], (of["u0"][t, i], of["u1"][t, i])
                    F, Q = step_of(of["A"], D, h)
                    begin, end = (of["B"] @ v + of["rate"][t, i] for v in u)
                    m[i] = forced(of["A"], m[i] + of["jump"][t, i], begin, end, h)
                    m[i], P[i], ll, nis = updated(m[i], F @ P[i] @ F.T + Q, of["y"][t, i], of["H"], R)
                    sd = np.sqrt(np.diag(P[i]))
                    size = np.abs(m[i]) + sd + 1e-3
                    assert np.abs(belief.mean[0, i].numpy() - m[i]).max() <= 1e-10 * size.max(), seed
                    scale = np.outer(sd, sd).max()
                    assert np.abs(belief.covariance[0, i].numpy() - P[i]).max() <= 1e-10 * scale, seed
                    assert float(innovation.log_likelihood[0, i]) == pytest.approx(ll, rel=1e-9, abs=1e-9)
                    assert float(innovation.nis[0, i]) == pytest.approx(nis, rel=1e-9, abs=1e-9)
        assert torch.allclose(belief.time, torch.from_numpy(of["dt"].sum(0)), atol=1e-12)


def _triangle(root: Array) -> Tensor:
    """A root with a diagonal of 0 or more."""
    signs = np.sign(np.diagonal(root, axis1=-2, axis2=-1))
    return torch.from_numpy(root * signs[:, None, :])


# ---- one written naively, of a nonlinear model with η


def oral(drift: float | None = None, *, floor: float = 1.5) -> tuple[HybridModel, Followed]:
    """Two states, three coordinates of everyone, a residual and noise that the model has and that the floor adds."""
    backbone = OneCompartmentOral(**BOXES)
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, SPREAD, {"V": {"WT": (70.0, 1.0)}}),
        MLP(2, 0, 1, hidden=(4,), state_scale=100.0, rate_scale=5.0, generator=torch.Generator().manual_seed(0)),
        observation=Concentration("plasma", "V"),
        noise=NeuralNoise([0.3], [0.1], generator=torch.Generator().manual_seed(1)),
        process=DiagonalDiffusion({"plasma": 2.0}, {"plasma": 0.1}),
        latents=1,
    )
    with torch.no_grad():
        for parameter in model.residual.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2), dtype=F64)
    people = Followed.of(
        model, 2, covariates={"WT": torch.tensor([60.0, 90.0], dtype=F64)}, mesh=Mesh(0.2), drift=drift, floor={"gut": floor}
    )
    return model, people


def naive(people: Followed, i: int, m: Array, P: Array, h: float, rate: Array) -> tuple[Array, Array]:
    """One step of the UKF of person i, with covariances instead of roots, by numpy and the model's own right-hand side."""
    model, n, z = people.model, 2, len(m)
    covariates = {k: v[i : i + 1] for k, v in people.covariates.items()}

    def of(point: Array) -> tuple[Tensor, Tensor]:
        eta = torch.from_numpy(point[n:])[None, None]
        return model.theta(eta, covariates), model.context(eta, covariates)

    def f(x: Array, given: tuple[Tensor, Tensor]) -> Array:
        with torch.no_grad():
            value = model.at(*given).rate(torch.from_numpy(x)[None, None], torch.zeros(1, 1, 0, dtype=F64))
        return value[0, 0].numpy() + rate

    def rk4(point: Array) -> Array:
        x, given = point[:n], of(point)
        k1 = f(x, given)
        k2 = f(x + 0.5 * h * k1, given)
        k3 = f(x + 0.5 * h * k2, given)
        k4 = f(x + h * k3, given)
        return np.concatenate([x + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4), point[n:]])

    L = np.linalg.cholesky(P)
    before = [m + s * math.sqrt(z) * L[:, j] for s in (1.0, -1.0) for j in range(z)]
    after = np.stack([rk4(point) for point in before])
    mean = after.mean(0)
    middle = 0.5 * (m + mean)
    given, x = of(middle), middle[:n]
    J = np.stack([(f(x + e, given) - f(x - e, given)) / 2e-4 for e in 1e-4 * np.eye(n)], 1)
    g = people.driven(torch.from_numpy(x)[None, None])[0, 0].detach().numpy()
    at, weight = np.polynomial.legendre.leggauss(20)
    Q = np.zeros((z, z))
    for s, w in zip(at, weight, strict=True):
        e = expm(J * (0.5 * h * (s + 1.0)))
        Q[:n, :n] += 0.5 * h * w * (e * g**2) @ e.T
    return mean, (after - mean).T @ (after - mean) / (2 * z) + Q


@pytest.mark.parametrize("tau", [None, 0.7])
def test_a_step_is_the_naive_one(tau: float | None) -> None:
    model, people = oral(tau)
    rng = np.random.default_rng(3)
    z, h = 6, np.array([0.13, 0.2])
    m = rng.standard_normal((2, z)) * np.array([30.0, 20.0, 0.5, 0.5, 0.5, 0.5]) + np.array([80.0, 60.0, 0, 0, 0, 0])
    root = 0.3 * np.tril(rng.standard_normal((2, z, z))) + np.eye(z)
    root[:, :2] *= 20.0
    jump, rate = np.array([[50.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 7.0], [3.0, 0.0]])
    belief = Belief(torch.from_numpy(m)[None], _triangle(root)[None], torch.zeros(2, dtype=F64), 2)
    interval = Interval.of(
        torch.from_numpy(h), 2, jump=torch.from_numpy(jump), rate=torch.from_numpy(rate), meshed=True
    )
    y = torch.tensor([[1.3], [0.8]], dtype=F64)
    filter = UKF(people)
    with torch.no_grad():
        found = filter.predict(belief, interval)
        after, innovation = filter.update(found, y)
    for i in range(2):
        mean, P = m[i].copy(), root[i] @ root[i].T
        keep = np.ones(z)
        keep[2:] = 1.0 if tau is None else np.exp(-0.5 * h[i] / tau)
        more = np.diag(np.where(np.arange(z) < 2, 0.0, 1.0 - keep**2))
        mean[:2] += jump[i]
        mean, P = naive(people, i, keep * mean, keep[:, None] * P * keep + more, h[i], rate[i])
        mean, P = keep * mean, keep[:, None] * P * keep + more
        sd = np.sqrt(np.diag(P))
        assert np.abs((found.mean[0, i].numpy() - mean) / sd).max() < 1e-10
        # J by differences is right to 1e-9 here, and Q is a small part of P
        assert np.abs((found.covariance[0, i].numpy() - P) / np.outer(sd, sd)).max() < 1e-9
        _update_is_naive(model, people, i, (mean, P), float(y[i, 0]), after, innovation)


def _update_is_naive(model, people, i, law, y, after, innovation) -> None:
    m, P = law
    z = len(m)
    L = np.linalg.cholesky(P)
    points = np.stack([m + s * math.sqrt(z) * L[:, j] for s in (1.0, -1.0) for j in range(z)])
    covariates = {k: v[i : i + 1].expand(2 * z) for k, v in people.covariates.items()}
    V = model.theta(torch.from_numpy(points[None, :, 2:]), covariates)[0, :, 2].detach().numpy()
    shown = points[:, 1] / V
    center = shown.mean()
    with torch.no_grad():
        at = torch.tensor(center, dtype=F64).view(1, 1, 1, 1), torch.from_numpy(m[:2]).view(1, 1, 1, 2)
        R = float(model.noise.variance(*at, torch.zeros(1, 1, 1, 0, dtype=F64)))
    S, C = ((shown - center) ** 2).mean() + R, ((points - m) * (shown - center)[:, None]).mean(0)
    mean, P = m + C / S * (y - center), P - np.outer(C, C) / S
    sd = np.sqrt(np.diag(P))
    assert float(innovation.value[0, i, 0]) == pytest.approx(y - center, rel=1e-8)
    assert float(innovation.root[0, i, 0, 0]) == pytest.approx(math.sqrt(S), rel=1e-8)
    assert np.abs((after.mean[0, i].numpy() - mean) / sd).max() < 1e-8
    assert np.abs((after.covariance[0, i].numpy() - P) / np.outer(sd, sd)).max() < 1e-8


# ---- cut in two


def _gap(filter: Filter, belief: Belief, h: float) -> float:
    """How far one step and two of half the length are from each other, in standard deviations."""
    with torch.no_grad():
        n, N = belief.states, len(belief.time)
        whole = Interval.of(torch.full((N,), h, dtype=F64), n, meshed=True)
        half = Interval.of(torch.full((N,), 0.5 * h, dtype=F64), n, meshed=True)
        one = filter.predict(belief, whole)
        two = filter.predict(filter.predict(belief, half), half)
    sd = one.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    spread = (one.covariance - two.covariance) / (sd[..., None] * sd[..., None, :])
    return max(float(((one.mean - two.mean) / sd).abs().max()), float(spread.abs().max()))


def test_linear_cut_in_two_is_the_same() -> None:
    for seed in range(20):
        model, of = system(seed)
        belief = Belief(
            torch.from_numpy(of["mean"])[None], _triangle(of["root"])[None], torch.zeros(N, dtype=F64), len(of["A"])
        )
        m = of["B"].shape[1]
        filter, h = UKF(Followed.of(model, N)), torch.rand(N, dtype=F64, generator=torch.Generator().manual_seed(seed))
        u = torch.from_numpy(of["u0"][0])
        with torch.no_grad():
            one = filter.predict(belief, Interval.of(h, len(of["A"]), inputs=u))
            two = filter.predict(belief, Interval.of(0.3 * h, len(of["A"]), inputs=u))
            two = filter.predict(two, Interval.of(0.7 * h, len(of["A"]), inputs=u))
        sd = one.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        assert float(((one.mean - two.mean).abs() / (sd + one.mean.abs() + 1e-3)).max()) < 1e-11, (seed, m)
        assert float(((one.covariance - two.covariance).abs() / (sd[..., None] * sd[..., None, :]).amax()).max()) < 1e-11


@pytest.mark.parametrize("tau", [None, 0.7])
def test_bent_cut_in_two_differs_by_the_square_of_its_length(tau: float | None) -> None:
    _, people = oral(tau)
    start = starting_belief(people, spread={"gut": 20.0, "plasma": 10.0})
    start = replace(start, mean=start.mean + torch.tensor([80.0, 60.0, 0.2, 0.1, -0.1, 0.3], dtype=F64))
    gaps = [_gap(UKF(people), start, h) for h in (0.02, 0.01, 0.005, 0.0025)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(gaps)]
    assert min(orders) > 1.8, (gaps, orders)  # 2 in the limit
    assert gaps[-1] < 1e-3


# ---- whose bits


def _bend(people: int, seed: int = 0, hidden: Sequence[int] = (16,)) -> tuple[Followed, Belief, Interval, Tensor]:
    """Two states with a residual; everyone's own belief, length, dose and measurement."""
    g = torch.Generator().manual_seed(seed)
    backbone = LinearBackbone([[-1.0, 0.2], [0.3, -0.6]])
    model = observed(backbone, MLP(2, hidden=hidden, generator=g), seen=("x1",), sd=0.3, g=(0.2, 0.1))
    draw = torch.Generator().manual_seed(1)
    mean = torch.randn(1, people, 2, generator=draw, dtype=F64)
    root = torch.tensor([[0.4, 0.0], [0.1, 0.3]], dtype=F64).expand(1, people, 2, 2)
    jump = torch.rand(people, 2, generator=draw, dtype=F64)
    dt = 0.05 + 0.1 * torch.rand(people, generator=draw, dtype=F64)
    interval = Interval.of(dt, 2, jump=jump, meshed=True)
    y = torch.randn(people, 1, generator=draw, dtype=F64)
    return Followed.of(model, people, mesh=Mesh(0.2)), Belief(mean, root, torch.zeros(people, dtype=F64), 2), interval, y


def _same(a: Belief, b: Belief) -> bool:
    return torch.equal(a.mean, b.mean) and torch.equal(a.root, b.root) and torch.equal(a.time, b.time)


def test_nobody_depends_on_who_is_beside_them() -> None:
    """To the bit, for blocks of 16 people and more, whatever lengths and doses the others have."""
    people, belief, interval, y = _bend(64)
    some = torch.arange(16)
    with torch.no_grad():
        among = UKF(people).predict(belief, interval)
        after, said = UKF(people).update(among, y)
        filter = UKF(people.people(some))
        alone = filter.predict(belief.people(some), interval.people(some))
        own, told = filter.update(alone, y[some])
        alike = UKF(people.people(torch.zeros(16, dtype=torch.long)))  # everyone's length is one: no shorter way is taken
        one = torch.zeros(16, dtype=torch.long)
        copies = alike.predict(belief.people(one), interval.people(one))
    assert _same(among.people(some), alone)
    assert _same(after.people(some), own)
    assert torch.equal(said.nis[:, some], told.nis)
    assert _same(copies.people(torch.tensor([7])), among.people(torch.tensor([0])))


def test_linear_people_do_not_depend_on_each_other_either() -> None:
    """An exponential is scaled by everyone's own norm, not by the largest one that is there."""
    model, of = system(7)
    n, m = len(of["A"]), of["B"].shape[1]
    g = torch.Generator().manual_seed(0)
    dt = torch.rand(40, generator=g, dtype=F64) * torch.logspace(-4, 0, 40, dtype=F64)
    interval = Interval.of(dt, n, inputs=torch.rand(40, m, generator=g, dtype=F64))
    root = torch.eye(n, dtype=F64).expand(1, 40, n, n)
    belief = Belief(torch.randn(1, 40, n, generator=g, dtype=F64), root, torch.zeros(40, dtype=F64), n)
    people, some = Followed.of(model, 40), torch.arange(16)
    with torch.no_grad():
        among = UKF(people).predict(belief, interval)
        alone = UKF(people.people(some)).predict(belief.people(some), interval.people(some))
    assert _same(among.people(some), alone)


def test_who_diverges_is_lost_and_nobody_else_feels_it() -> None:
    people, belief, interval, y = _bend(20)
    far = belief.mean.clone()
    far[:, 3] = 1e308
    weights = [p for p in people.model.parameters() if p.numel()]

    def run(start: Belief, rows: Tensor) -> tuple[Belief, Tensor, list[Tensor]]:
        filter = UKF(people)
        after, said = filter.update(filter.predict(start, interval), y)
        again, told = filter.update(filter.predict(after, interval), y)
        value = (said.log_likelihood + told.log_likelihood)[:, rows].sum()
        return again, value, list(torch.autograd.grad(value, weights, materialize_grads=True))

    others = torch.tensor([i for i in range(20) if i != 3])
    well, value, slopes = run(belief, others)
    ill, same, again = run(replace(belief, mean=far), others)
    assert ill.lost.tolist() == [i == 3 for i in range(20)]
    assert bool(torch.isnan(ill.mean[:, 3]).all() & torch.isnan(ill.root[:, 3]).all())
    assert _same(ill.people(others), well.people(others))
    assert float(value.detach()) == float(same.detach())
    for a, b in zip(slopes, again, strict=True):
        assert bool(torch.isfinite(b).all())
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


def test_an_update_of_somebody_lost_says_nothing() -> None:
    people, belief, _, y = _bend(3)
    mean = belief.mean.clone()
    mean[:, 1] = torch.nan
    after, said = UKF(people).update(replace(belief, mean=mean), y)
    assert after.lost.tolist() == [False, True, False]
    assert said.count.tolist() == [[1, 0, 1]]
    assert torch.isnan(said.log_likelihood[0]).tolist() == [False, True, False]


def test_no_time_changes_no_bit_and_a_dose_moves_the_mean_alone() -> None:
    people, belief, interval, _ = _bend(4)
    still = replace(interval, dt=torch.tensor([0.0, 0.1, 0.0, 0.2], dtype=F64))
    still = replace(still, jump=interval.jump * torch.tensor([[0.0], [1.0], [1.0], [1.0]], dtype=F64))
    found = UKF(people).predict(belief, still)
    assert torch.equal(found.mean[:, 0], belief.mean[:, 0])
    assert torch.equal(found.root[:, 0], belief.root[:, 0])
    assert torch.allclose(found.mean[:, 2], belief.mean[:, 2] + interval.jump[2], rtol=1e-15)
    assert torch.allclose(found.covariance[:, 2], belief.covariance[:, 2], rtol=1e-14)
    assert found.time.tolist() == [0.0, 0.1, 0.0, 0.2]


def test_with_and_without_gradients_the_numbers_are_the_same() -> None:
    people, belief, interval, y = _bend(17)
    filter = UKF(people)
    a, said = filter.update(filter.predict(belief, interval), y)
    with torch.no_grad():
        b, told = filter.update(filter.predict(belief, interval), y)
    with torch.inference_mode():
        c, _ = filter.update(filter.predict(belief, interval), y)
    assert _same(a, b)
    assert torch.equal(a.mean.detach(), c.mean.clone())
    assert torch.equal(said.log_likelihood, told.log_likelihood)


def test_members_are_never_mixed() -> None:
    people, belief, interval, y = _bend(16)
    many = Ensemble(3).stack(people.model, torch.Generator().manual_seed(5))
    both = Followed.of(many, 16, mesh=people.mesh)
    with torch.no_grad():
        filter = UKF(both)
        found, said = filter.update(filter.predict(belief, interval), y)
        for m in range(3):
            one = Ensemble(1).stack(people.model, torch.Generator().manual_seed(5))
            for mine, all_of in zip(one.parameters(), many.parameters(), strict=True):
                mine.copy_(all_of[m : m + 1])
            filter = UKF(Followed.of(one, 16, mesh=people.mesh))
            alone, told = filter.update(filter.predict(belief, interval), y)
            assert torch.allclose(found.mean[m], alone.mean[0], rtol=1e-13, atol=1e-14)
            assert torch.allclose(found.root[m], alone.root[0], rtol=1e-12, atol=1e-13)
            assert torch.allclose(said.nis[m], told.nis[0], rtol=1e-11)
    assert not torch.allclose(found.mean[0], found.mean[1])


def test_a_stretch_of_no_length_has_the_derivative_of_the_step() -> None:
    """A dose that moves away from an observation at its very time: the stretch between is of length 0 now."""
    people, belief, interval, y = _bend(2)
    filter = UKF(people)

    def value(gap: Tensor) -> Tensor:
        first = replace(interval, dt=gap.expand(2), jump=torch.zeros_like(interval.jump))
        rest = replace(interval, dt=interval.dt - gap)
        _, said = filter.update(filter.predict(filter.predict(belief, first), rest), y)
        return said.log_likelihood.sum()

    gap = torch.zeros((), dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(gap), gap)
    with torch.no_grad():
        h = 1e-4  # one-sided, of second order: nothing is before 0
        at = [float(value(torch.tensor(k * h, dtype=F64))) for k in range(4)]
    ahead = (-11.0 * at[0] + 18.0 * at[1] - 9.0 * at[2] + 2.0 * at[3]) / (6.0 * h)
    assert float(slope) == pytest.approx(ahead, rel=1e-6)


def test_single_precision() -> None:
    people, belief, interval, y = _bend(5)
    single = Followed.of(people.model.to(torch.float32), 5, mesh=people.mesh)
    like = torch.zeros((), dtype=torch.float32)
    with torch.no_grad():
        low, said = UKF(single).update(UKF(single).predict(belief.to(like), interval.to(like)), y.float())
        assert low.mean.dtype == said.log_likelihood.dtype == torch.float32
        double = Followed.of(single.model.to(F64), 5, mesh=people.mesh)
        high, told = UKF(double).update(UKF(double).predict(belief, interval), y)
    assert torch.allclose(low.mean.double(), high.mean, atol=1e-5)
    assert torch.allclose(said.log_likelihood.double(), told.log_likelihood, atol=1e-4)


def test_pieces_of_the_mesh_are_steps() -> None:
    people, belief, interval, _ = _bend(3)
    long = replace(interval, dt=torch.tensor([0.7, 0.3, 0.0], dtype=F64), meshed=False)
    found = UKF(people).predict(belief, long)
    step = belief
    for piece in long.cut(people.mesh):
        assert piece.meshed
        step = UKF(people).predict(step, piece)
    assert _same(found, step)


@pytest.mark.parametrize("solver", [None, Exponential(rtol=1e-8)])
def test_what_is_exact_takes_one_step(solver: Exponential | None, monkeypatch: pytest.MonkeyPatch) -> None:
    model, of = system(3)
    people = Followed.of(model, N, solver=solver)
    assert people.exact

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("it is cut")

    monkeypatch.setattr(Interval, "cut", refused)
    n = len(of["A"])
    belief = Belief(torch.zeros(1, N, n, dtype=F64), torch.eye(n, dtype=F64).expand(1, N, n, n), torch.zeros(N, dtype=F64), n)
    u = torch.from_numpy(of["u0"][0])
    UKF(people).predict(belief, Interval.of(torch.full((N,), 3.0, dtype=F64), n, inputs=u))
