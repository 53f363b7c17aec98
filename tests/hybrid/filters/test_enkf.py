"""Particles: near the Kalman filter as 1/√P, nobody's numbers depend on company, and laws that points do not see."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid import Interval, Mesh, RungeKutta, segments_of
from hybrid.filters import UKF, Belief, EnKF, Followed, along
from hybrid.filters.laws import problem
from learned import Residual
from physics import LinearBackbone
from tests.hybrid.filters.followed import F64, observed
from tests.hybrid.filters.test_ekf import oral


def belief_of(people: int, members: int = 1) -> Belief:
    root = torch.tensor([[0.5, 0.0, 0.0], [0.1, 0.4, 0.0], [-0.2, 0.1, 0.3]], dtype=F64)
    mean = torch.linspace(0.2, 1.0, 3 * people, dtype=F64).view(1, people, 3).expand(members, -1, -1)
    return Belief(mean, root.expand(members, people, 3, 3), torch.zeros(people, dtype=F64), 3)


def lengths(people: int) -> Tensor:  # (N, 5)
    return torch.from_numpy(np.random.default_rng(0).uniform(0.1, 1.0, (people, 5)))


def values(people: int) -> Tensor:  # (N, 5, 2)
    y = torch.from_numpy(np.random.default_rng(1).normal(size=(people, 5, 2)))
    y[:, 2, 0] = math.nan
    return y


def test_the_distance_to_the_kalman_filter_falls_with_the_root_of_the_particles() -> None:
    """64 people of a linear model, one draw each: their rms distance at 25, 100 and 400 particles."""
    N = 64
    people = Followed.of(problem(), N)
    start, segments, y = belief_of(1).people(torch.zeros(N, dtype=torch.long)), None, values(1).expand(N, -1, -1)
    segments = segments_of(lengths(1).expand(N, -1), 3)
    with torch.no_grad():
        exact = along(UKF(people), start, segments, y)
        assert exact.mean is not None
        assert exact.root is not None
        sd = (exact.root @ exact.root.mT).diagonal(dim1=-2, dim2=-1).sqrt()
        off = []
        for P in (25, 100, 400):
            found = along(EnKF(people, particles=P, seed=3), start, segments, y)
            assert found.mean is not None
            off.append(float(((found.mean - exact.mean) / sd).square().mean().sqrt()))
            # over 64 independent people the mean of each state at each time is within 4 of its errors, and a bias of order 1/P
            bias = ((found.mean - exact.mean) / sd).mean((0, 1))
            assert float(bias.abs().max()) <= 4.0 * off[-1] / math.sqrt(N) + 5.0 / P
    # a rms over 64 people is known to some 1/√(2 · 64) = 9 %, so a ratio of two to 13 %; a factor of 4 in P is one of 2
    for more, fewer in itertools.pairwise(off):
        assert 1.4 <= more / fewer <= 2.8
    assert off[-1] <= 0.14  # 1.7/√P as measured


def test_nobodys_numbers_depend_on_company_to_the_bit() -> None:
    """Alone, among 40, in another order, and after a break: the same particles."""
    N = 40
    model = problem()
    whole, y, dt = Followed.of(model, N), values(N), lengths(N)

    def run(filter: EnKF, belief: Belief, dt: Tensor, y: Tensor) -> Belief:
        with torch.no_grad():
            for k in range(dt.shape[1]):
                belief = filter.predict(belief, Interval.of(dt[:, k], 3))
                belief, _ = filter.update(belief, y[:, k])
        return belief

    keys = torch.arange(100, 100 + N)
    filter = EnKF(whole, particles=24, keys=keys)
    among = run(filter, belief_of(N), dt, y)
    assert among.particles is not None
    for index in (torch.tensor([7]), torch.tensor([12, 7]), torch.arange(N).flip(0)):
        some = run(filter.of(index), belief_of(N).people(index), dt[index], y[index])
        assert some.particles is not None
        assert torch.equal(some.particles, among.particles[:, index])
        assert torch.equal(some.mean, among.mean[:, index])
        assert torch.equal(some.root, among.root[:, index])
    half = run(filter, belief_of(N), dt[:, :2], y[:, :2])
    again = run(EnKF(whole, particles=24, keys=keys), half, dt[:, 2:], y[:, 2:])  # from what was kept
    assert again.particles is not None
    assert torch.equal(again.particles, among.particles)
    other = run(EnKF(whole, particles=24, keys=keys, seed=1), belief_of(N), dt, y)
    assert not torch.equal(other.mean, among.mean)


def test_members_have_numbers_of_their_own_and_a_stacked_model_its_own_weights() -> None:
    model = oral(3)
    people = Followed.of(model, 2, mesh=Mesh(0.2), solver=RungeKutta("rk4"))
    mean = torch.tensor([300.0, 40.0, 0.1, -0.2, 0.3], dtype=F64).expand(1, 2, 5)
    root = torch.diag(torch.tensor([20.0, 10.0, 0.9, 0.8, 0.7], dtype=F64)).expand(1, 2, 5, 5)
    start = Belief(mean, root, torch.zeros(2, dtype=F64), 2)
    with torch.no_grad():
        after = EnKF(people, particles=30).predict(start, Interval.of(torch.tensor([0.3, 0.5], dtype=F64), 2))
        after, said = EnKF(people, particles=30).update(after, torch.tensor([[7.0], [math.nan]], dtype=F64))
    assert after.mean.shape == (3, 2, 5)
    assert said.log_likelihood.shape == (3, 2)
    assert not torch.equal(after.mean[0], after.mean[1])
    assert bool((said.log_likelihood[:, 1] == 0.0).all())


class DoubleWell(Residual):
    """ε = 2 x − x³ beside A = −1: dx/dt = x − x³, which rests at −1 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = 1, 0, 0, True

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return 2.0 * x - x**3

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, object]:
        return {}


def fokker_planck(start: np.ndarray, at: np.ndarray, g: float, time: float) -> np.ndarray:
    """The density after a time on a grid, by central differences of the flux and small implicit steps."""
    n, d = len(at), at[1] - at[0]
    L = np.zeros((n, n))
    middle = 0.5 * (at[1:] + at[:-1])
    f = middle - middle**3
    for i in range(n - 1):  # flux f p − ½ g² p' between two cells
        L[i, i : i + 2] -= np.array([0.5 * f[i] + 0.5 * g**2 / d, 0.5 * f[i] - 0.5 * g**2 / d]) / d
        L[i + 1, i : i + 2] += np.array([0.5 * f[i] + 0.5 * g**2 / d, 0.5 * f[i] - 0.5 * g**2 / d]) / d
    steps = 400
    once = np.linalg.solve(np.eye(n) - 0.5 * time / steps * L, np.eye(n) + 0.5 * time / steps * L)
    return np.linalg.matrix_power(once, steps) @ start


def test_two_ways_to_go_stay_two() -> None:
    """From the ridge between two wells: moments up to the sixth are those of the equation of Fokker and Planck."""
    g, time, N, P = 0.5, 3.0, 8, 2000
    model = observed(
        LinearBackbone([[-1.0]], states=["x"], state_units=["1"], time_unit="s"), DoubleWell(), seen=("x",), sd=0.3, g=(g,)
    )
    people = Followed.of(model, N, mesh=Mesh(0.05), solver=RungeKutta("rk4"))
    start = Belief(torch.zeros(1, N, 1, dtype=F64), torch.full((1, N, 1, 1), 0.2, dtype=F64), torch.zeros(N, dtype=F64), 1)
    with torch.no_grad():
        after = EnKF(people, particles=P).predict(start, Interval.of(torch.full((N,), time, dtype=F64), 1))
    at = np.linspace(-2.5, 2.5, 401)
    density = np.exp(-0.5 * (at / 0.2) ** 2)
    density = fokker_planck(density / density.sum(), at, g, time)
    assert after.particles is not None
    x = after.particles.flatten().numpy()
    for power in (2, 4, 6):
        wanted = float((density * at**power).sum())
        spread = float((density * at ** (2 * power)).sum() - wanted**2) ** 0.5
        # 4 standard errors of 16,000 draws, and .01 for the weak order of steps of .05
        assert abs((x**power).mean() - wanted) <= 4.0 * spread / math.sqrt(len(x)) + 0.01
    kurtosis = (x**4).mean() / (x**2).mean() ** 2
    assert kurtosis < 1.6  # of a Gaussian it is 3, and two points have 1


def test_coordinates_drift_with_their_prior_as_the_law_that_stays() -> None:
    model = oral()
    people = Followed.of(model, 50, mesh=Mesh(0.2), solver=RungeKutta("rk4"), drift=0.5)
    mean = torch.tensor([300.0, 40.0, 2.0, -2.0, 0.0], dtype=F64).expand(1, 50, 5)
    root = torch.diag(torch.tensor([20.0, 10.0, 0.1, 0.1, 1.0], dtype=F64)).expand(1, 50, 5, 5)
    start = Belief(mean, root, torch.zeros(50, dtype=F64), 2)
    with torch.no_grad():
        after = EnKF(people, particles=60).predict(start, Interval.of(torch.full((50,), 1.0, dtype=F64), 2))
    kept = math.exp(-2.0)
    eta = after.mean[0, :, 2:]
    variance = after.covariance[0].diagonal(dim1=-2, dim2=-1)[:, 2:]
    # numbers are drawn with their very mean and covariance: what is left is what chance correlates, over 50 people
    torch.testing.assert_close(eta.mean(0), torch.tensor([2.0 * kept, -2.0 * kept, 0.0], dtype=F64), rtol=0.0, atol=1e-10)
    wanted = 1.0 - kept**2 * (1.0 - torch.tensor([0.01, 0.01, 1.0], dtype=F64))
    assert float((variance.mean(0) - wanted).abs().max()) <= 0.08


def test_a_particle_that_diverges_loses_its_person_alone() -> None:
    model = observed(
        LinearBackbone([[-1.0]], states=["x"], state_units=["1"], time_unit="s"), DoubleWell(), seen=("x",), sd=0.3, g=(0.5,)
    )
    people = Followed.of(model, 3, mesh=Mesh(0.5), solver=RungeKutta("rk4"))
    root = torch.tensor([0.2, 40.0, 0.3], dtype=F64).view(1, 3, 1, 1)  # steps of .5 do not hold x = 40
    start = Belief(torch.zeros(1, 3, 1, dtype=F64), root, torch.zeros(3, dtype=F64), 1)
    interval = Interval.of(torch.full((3,), 2.0, dtype=F64), 1)
    filter = EnKF(people, particles=40)
    with torch.no_grad():
        after = filter.predict(start, interval)
        after, said = filter.update(after, torch.full((3, 1), 0.5, dtype=F64))
        calm = filter.predict(replace(start, root=root.clamp(max=0.3)), interval)
        calm, _ = filter.update(calm, torch.full((3, 1), 0.5, dtype=F64))
    assert after.lost.tolist() == [False, True, False]
    assert said.count.tolist() == [[1, 0, 1]]
    assert bool(torch.isnan(said.log_likelihood[:, 1]).all())
    assert torch.equal(after.mean[:, ::2], calm.mean[:, ::2])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"particles": 4}, "particles, how many"),
        ({"particles": 2.5}, "particles, how many"),
        ({"seed": 0.5}, "seed"),
        ({"keys": torch.zeros(3)}, "keys"),
        ({"keys": torch.zeros(3, dtype=torch.long)}, "keys"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"EnKF: {sentence}"):
        EnKF(Followed.of(problem(), 2), **given)  # type: ignore[arg-type]


def test_other_particles_than_the_filters_are_refused() -> None:
    people = Followed.of(problem(), 1)
    interval = Interval.of(torch.tensor([0.5], dtype=F64), 3)
    with torch.no_grad():
        before = EnKF(people, particles=20).predict(belief_of(1), interval)
        with pytest.raises(ValueError, match="the belief has 20 particles and the filter 30"):
            EnKF(people, particles=30).predict(before, interval)
        again = EnKF(people, particles=30).predict(replace(before, particles=None), interval)
    assert again.particles is not None
    assert again.particles.shape == (1, 1, 3, 30)


def test_as_many_particles_in_a_float_are_as_many() -> None:
    people, interval = Followed.of(problem(), 1), Interval.of(torch.tensor([0.5], dtype=F64), 3)
    with torch.no_grad():
        one, other = (EnKF(people, particles=p).predict(belief_of(1), interval) for p in (10, 10.0))  # type: ignore[arg-type]
    assert torch.equal(one.mean, other.mean)


def test_steps_shorter_than_float32_tells_times_apart_draw_numbers_of_their_own() -> None:
    """Half a year from the origin in minutes a float32 stands still for steps of .01; the time is kept in float64."""
    model = observed(
        LinearBackbone([[-1.0]], states=["x"], state_units=["1"], time_unit="min"), None, seen=("x",), sd=0.3, g=(0.5,)
    ).to(torch.float32)
    people = Followed.of(model, 1)
    start = Belief(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1, 1), torch.full((1,), 3e5), 1)
    filters, beliefs = (EnKF(people, particles=200), UKF(people)), [start, start]
    with torch.no_grad():
        for _ in range(60):
            beliefs = [f.predict(b, Interval.of(torch.full((1,), 0.01), 1)) for f, b in zip(filters, beliefs, strict=True)]
    for belief in beliefs:
        assert float(belief.time) == pytest.approx(300000.6, abs=1e-6)
        assert belief.to(torch.zeros(1)).time.dtype == F64
    cloud, exact = (float(b.covariance) for b in beliefs)
    # 200 particles know a variance to 1/√100 of it; the same number at every step makes it some 40 times as large
    assert cloud == pytest.approx(exact, rel=0.5)


def test_a_step_in_which_time_stands_still_is_refused() -> None:
    people = Followed.of(problem(), 1)
    late = replace(belief_of(1), time=torch.full((1,), 1e9, dtype=F64))
    with torch.no_grad(), pytest.raises(ValueError, match=r"step of 1e-08 is shorter than float64 tells times apart at 1e\+09"):
        EnKF(people, particles=10).predict(late, Interval.of(torch.full((1,), 1e-8, dtype=F64), 3))


def test_a_gradient_along_a_stretch_of_no_length_is_that_of_what_is_not_drawn() -> None:
    """A path's noise goes with √h, which has no derivative at 0: the flow's is left, and it is that of differences."""
    model = observed(LinearBackbone([[-1.0, 0.2], [0.3, -0.6]]), None, seen=("x1",), sd=0.3, g=(0.2, 0.1))
    quiet = observed(LinearBackbone([[-1.0, 0.2], [0.3, -0.6]]), None, seen=("x1",), sd=0.3, g=(0.0, 0.0))
    y = torch.full((1, 1), 0.5, dtype=F64)
    root = torch.tensor([[0.4, 0.0], [0.1, 0.3]], dtype=F64).expand(1, 1, 2, 2)
    start = Belief(torch.ones(1, 1, 2, dtype=F64), root, torch.zeros(1, dtype=F64), 2)
    with torch.no_grad():
        start = EnKF(Followed.of(model, 1), particles=50).predict(start, Interval.of(torch.ones(1, dtype=F64), 2))

    def said(kind: EnKF, h: torch.Tensor) -> torch.Tensor:
        return kind.update(kind.predict(start, Interval.of(h, 2)), y)[1].log_likelihood.sum()

    h = torch.zeros(1, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(said(EnKF(Followed.of(model, 1), particles=50), h), h)
    still = EnKF(Followed.of(quiet, 1), particles=50)
    with torch.no_grad():  # one-sided, of second order: 1e-8 of truncation and as much of rounding
        at = [float(said(still, torch.tensor([k * 1e-4], dtype=F64))) for k in range(3)]
    assert float(slope) == pytest.approx((4.0 * at[1] - 3.0 * at[0] - at[2]) / 2e-4, rel=1e-5)
