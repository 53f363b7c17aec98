"""A filter down the columns of records: held against the joint density of all measurements, which knows no recursion."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.stats import multivariate_normal
from torch import Tensor

from hybrid import (
    Concentration,
    Conditions,
    Dose,
    HybridModel,
    Mesh,
    Schedule,
    Signal,
    States,
    build_segments,
    conditions_of,
)
from hybrid.filters import EKF, UKF, Belief, EnKF, Followed, Track, along, follow, smooth, starting_belief
from hybrid.filters.laws import Bend, problem
from hybrid.filters.readings import Kept, Readings
from learned import MLP, Constant, DiagonalDiffusion, Ensemble
from physics import LinearBackbone, OneCompartmentOral, SharedPopulation
from tests.builders import oral_of, oral_people
from training import Cohort

F64 = torch.float64
A = np.array([[-1.0, 0.4], [0.3, -0.5]])
B = np.array([[1.0], [0.0]])
G = np.array([0.6, 0.0])  # the second state is driven by the first alone
SD, FLOOR = np.array([0.2, 0.3]), 1e-3
START, ROOT = np.array([1.0, -0.5]), np.array([[0.7, 0.0], [0.2, 0.4]])


def linear(residual=None, process=True) -> HybridModel:
    return HybridModel(
        LinearBackbone(A.tolist(), B.tolist(), states=("a", "b"), inputs=("u",)),
        SharedPopulation(),
        residual,
        observation=States([0, 1], ["y1", "y2"], ["1", "1"]),
        noise=Constant(SD.tolist(), [FLOOR, FLOOR]),
        process=DiagonalDiffusion(G.tolist()) if process else None,
    )


# ---- people: doses, an infusion, a held input, replicates, missing channels, a measurement at the start and one with a dose

SCHEDULES = [
    Schedule((Dose("a", 1.0, 2.0), Dose("b", 2.0, 1.5, 1.0)), {"u": Signal([0.0, 1.7], [0.5, -1.0], "held")}),
    Schedule((Dose("a", 0.0, 1.0),), {"u": Signal([0.0], [0.0], "held")}),
    Schedule((), {"u": Signal([0.0, 0.4, 3.0], [1.0, 0.0, 2.0], "held")}),
]
TIMES = [[0.0, 0.4, 1.0, 1.0, 2.5, 4.0], [0.3, 0.9, 1.1, 2.0, 5.0], [0.2, 3.5]]


def drawn(seed: int = 0) -> Tensor:  # (N, T, p), NaN where nothing was measured, or is padding
    chance = np.random.default_rng(seed)
    y = np.full((3, 6, 2), np.nan)
    for i, times in enumerate(TIMES):
        y[i, : len(times)] = chance.normal(size=(len(times), 2))
    y[0, 1, 0] = y[0, 4, 1] = y[1, 2, 1] = np.nan
    y[1, 3] = np.nan  # asked for, and not measured at all
    return torch.from_numpy(y)


def cut(mesh: Mesh | None = None):
    return build_segments(SCHEDULES, TIMES, ("a", "b"), ("u",), mesh)


def beliefs(people: int = 3, members: int = 1) -> Belief:
    mean, root = torch.from_numpy(START), torch.from_numpy(ROOT)
    return Belief(mean.expand(members, people, 2), root.expand(members, people, 2, 2), torch.zeros(people, dtype=F64), 2)


class Record:
    """One record's states at its measurements as one Gaussian: means and covariances from expm alone."""

    def __init__(self, schedule: Schedule, times: list[float]) -> None:
        signal = schedule.inputs["u"]
        doses = [(d.time, d) for d in schedule.doses]
        ends = [d.time + d.duration for _, d in doses if d.duration]
        knots = sorted({0.0, *times, *(t for t, _ in doses), *ends, *signal.times})
        x, P = START.copy(), ROOT @ ROOT.T
        self.mean: dict[float, np.ndarray] = {}
        self.cov: dict[float, np.ndarray] = {}
        for now, after in itertools.pairwise([*knots, knots[-1] + 1.0]):
            self.mean[now], self.cov[now] = x, P
            x = x + sum((d.amount * np.eye(2)[("a", "b").index(d.state)] for t, d in doses if t == now and not d.duration), 0.0)
            u = [v for t, v in zip(signal.times, signal.values, strict=True) if t <= now][-1]
            b = B[:, 0] * u
            for t, d in doses:
                if d.duration and t <= now < t + d.duration:
                    b = b + d.amount / d.duration * np.eye(2)[("a", "b").index(d.state)]
            h = after - now
            whole = expm(np.block([[A, b[:, None]], [np.zeros((1, 3))]]) * h)
            x = whole[:2, :2] @ x + whole[:2, 2]
            loan = expm(np.block([[-A, np.diag(G**2)], [np.zeros((2, 2)), A.T]]) * h)  # Van Loan, ‖A h‖ is small here
            F = loan[2:, 2:].T
            P = F @ P @ F.T + F @ loan[:2, 2:]

    def joint(self, times: list[float]) -> tuple[np.ndarray, np.ndarray]:  # (2L,), (2L, 2L)
        mean = np.concatenate([self.mean[t] for t in times])
        S = np.zeros((2 * len(times), 2 * len(times)))
        for j, s in enumerate(times):
            for k, t in enumerate(times[: j + 1]):
                block = expm(A * (s - t)) @ self.cov[t]
                S[2 * j : 2 * j + 2, 2 * k : 2 * k + 2] = block
                S[2 * k : 2 * k + 2, 2 * j : 2 * j + 2] = block.T
        return mean, S


def given(i: int, y: np.ndarray, upto: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The last state given the first `upto` measurements, by the formula for a conditional Gaussian, and log p of these."""
    times = TIMES[i]
    m, S = Record(SCHEDULES[i], times).joint([*times[:upto], times[min(upto, len(times) - 1)]])
    flat = y[i, :upto].ravel()
    seen = np.flatnonzero(np.isfinite(flat))
    R = np.diag(np.tile(SD**2 + FLOOR**2, upto)[seen])
    Y, C = S[np.ix_(seen, seen)] + R, S[-2:, seen]
    gain = np.linalg.solve(Y, C.T).T
    log = multivariate_normal.logpdf(flat[seen], m[seen], Y) if len(seen) else 0.0
    return m[-2:] + gain @ (flat[seen] - m[seen]), S[-2:, -2:] - gain @ C.T, float(log)


@pytest.mark.parametrize("filter", [UKF, EKF])
@pytest.mark.parametrize("mesh", [None, Mesh(0.3), Mesh(0.5, 0.05, 0.3)])
def test_every_belief_is_the_conditional_law_of_the_joint_gaussian(filter, mesh) -> None:
    y = drawn()
    people = Followed.of(linear(), 3)
    with torch.no_grad():
        track = along(filter(people), beliefs(), cut(mesh), y, keep="all")
    values = y.numpy()
    for i, times in enumerate(TIMES):
        assert track.times[i, : len(times)].tolist() == pytest.approx(times, abs=1e-12)
        for k in range(len(times)):
            before, P, earlier = given(i, values, k)
            # what is asked is the state at the time of the k-th measurement
            assert track.predicted_mean[0, i, k].numpy() == pytest.approx(before, abs=1e-10)
            L = track.predicted_root[0, i, k]
            assert (L @ L.mT).numpy() == pytest.approx(P, abs=1e-10)
            m, S = Record(SCHEDULES[i], times).joint(times[: k + 1])
            flat = values[i, : k + 1].ravel()
            seen = np.flatnonzero(np.isfinite(flat))
            Y = S[np.ix_(seen, seen)] + np.diag(np.tile(SD**2 + FLOOR**2, k + 1)[seen])
            gain = np.linalg.solve(Y, S[-2:, seen].T).T
            assert track.mean[0, i, k].numpy() == pytest.approx(m[-2:] + gain @ (flat[seen] - m[seen]), abs=1e-10)
            L = track.root[0, i, k]
            assert (L @ L.mT).numpy() == pytest.approx(S[-2:, -2:] - gain @ S[-2:, seen].T, abs=1e-10)
            count = int(np.isfinite(values[i, k]).sum())
            assert int(track.innovation.count[0, i, k]) == count
            later = multivariate_normal.logpdf(flat[seen], m[seen], Y) if len(seen) else 0.0
            assert float(track.innovation.log_likelihood[0, i, k]) == pytest.approx(later - earlier, abs=1e-9)
        assert float(track.log_likelihood[0, i]) == pytest.approx(given(i, values, len(times))[2], abs=1e-9)
        # padding repeats the last
        rest = track.mean[0, i, len(times) - 1 :]
        assert torch.equal(rest, rest[:1].expand_as(rest))
        assert not bool(track.innovation.count[0, i, len(times) :].any())
    none = track.innovation
    assert bool(torch.isnan(none.value[0, 1, 3]).all() & torch.isnan(none.by_channel[0, 1, 3]).all())
    assert torch.equal(none.root[0, 1, 3], torch.eye(2, dtype=F64))
    assert (float(none.nis[0, 1, 3]), float(none.log_likelihood[0, 1, 3])) == (0.0, 0.0)


def test_the_smoother_reads_a_track_with_irregular_times() -> None:
    y = drawn(3)
    people = Followed.of(linear(), 3)
    with torch.no_grad():
        track = along(UKF(people), beliefs(), cut(Mesh(0.3)), y, keep="all")
        mean, root = smooth(track)
    values = y.numpy()
    for i, times in enumerate(TIMES):
        m, S = Record(SCHEDULES[i], times).joint(times)
        flat = values[i, : len(times)].ravel()
        seen = np.flatnonzero(np.isfinite(flat))
        Y = S[np.ix_(seen, seen)] + np.diag(np.tile(SD**2 + FLOOR**2, len(times))[seen])
        gain = np.linalg.solve(Y, S[:, seen].T).T
        all_means, all_covs = m + gain @ (flat[seen] - m[seen]), S - gain @ S[:, seen].T
        for k in range(len(times)):
            assert mean[0, i, k].numpy() == pytest.approx(all_means[2 * k : 2 * k + 2], abs=1e-8)
            got = (root[0, i, k] @ root[0, i, k].mT).numpy()
            assert got == pytest.approx(all_covs[2 * k : 2 * k + 2, 2 * k : 2 * k + 2], abs=1e-8)


def test_a_person_alone_is_the_person_in_company() -> None:
    y, people = drawn(1), Followed.of(linear(bent()), 3, mesh=Mesh(0.3, 0.05))
    with torch.no_grad():
        together = along(UKF(people), beliefs(), cut(Mesh(0.3, 0.05)), y)
        for i in range(3):
            one = torch.tensor([i])
            segments = build_segments([SCHEDULES[i]], [TIMES[i]], ("a", "b"), ("u",), Mesh(0.3, 0.05))
            alone = along(UKF(people.people(one)), beliefs(1), segments, y[one, : len(TIMES[i])])
            T = len(TIMES[i])
            # products of one row may run another kernel than those of three
            torch.testing.assert_close(alone.mean[:, 0], together.mean[:, i, :T], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(alone.root[:, 0], together.root[:, i, :T], rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(alone.log_likelihood[:, 0], together.log_likelihood[:, i], rtol=1e-12, atol=1e-12)


def bent(seed: int = 0) -> MLP:
    return MLP(2, 1, hidden=(4,), rate_scale=0.5, state_scale=1.0, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("gradient", [False, True])
def test_what_is_kept_changes_nothing(gradient: bool) -> None:
    y, people = drawn(2), Followed.of(linear(bent()), 3)
    with torch.set_grad_enabled(gradient):
        tracks = {keep: along(UKF(people), beliefs(), cut(Mesh(0.3)), y, keep=keep) for keep in ("last", "filtered", "all")}
    last, filtered, everything = tracks.values()
    assert (last.mean, last.root, last.innovation, last.predicted_mean, last.backward) == (None,) * 5
    assert (filtered.predicted_mean, filtered.predicted_root, filtered.backward) == (None,) * 3
    for track in (filtered, everything):
        assert torch.equal(track.last.mean, last.last.mean)
        assert torch.equal(track.last.root, last.last.root)
        assert torch.equal(track.log_likelihood, last.log_likelihood)
        assert torch.equal(track.mean[:, :, -1], track.last.mean)
        # summed in another order
        torch.testing.assert_close(track.innovation.log_likelihood.sum(-1), track.log_likelihood, rtol=1e-13, atol=1e-13)
    assert torch.equal(filtered.mean, everything.mean)
    assert torch.equal(filtered.innovation.value.nan_to_num(), everything.innovation.value.nan_to_num())
    assert last.last.time.tolist() == pytest.approx([t[-1] for t in TIMES], abs=1e-12)
    assert not bool(last.lost.any())


def test_without_a_gradient_it_is_the_same() -> None:
    y, people = drawn(2), Followed.of(linear(bent()), 3)
    tracks = []
    for gradient in (False, True):
        with torch.set_grad_enabled(gradient):
            tracks.append(along(UKF(people), beliefs(), cut(Mesh(0.3)), y, keep="all"))
    for name in ("mean", "root", "predicted_mean", "predicted_root", "times"):
        torch.testing.assert_close(*(getattr(t, name).detach() for t in tracks), rtol=1e-13, atol=1e-13)
    for name in ("value", "root", "nis", "log_likelihood", "by_channel"):
        values = (getattr(t.innovation, name).detach() for t in tracks)
        torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_a_measurement_comes_before_a_dose_of_its_time() -> None:
    people = Followed.of(linear(), 1)
    schedule = Schedule((Dose("a", 1.0, 100.0),), SCHEDULES[1].inputs)
    segments = build_segments([schedule], [[1.0, 1.5]], ("a", "b"), ("u",))
    y = torch.tensor([[[0.2, 0.1], [np.nan, np.nan]]], dtype=F64)
    with torch.no_grad():
        nothing = build_segments([SCHEDULES[1].do({"a": []})], [[1.0, 1.5]], ("a", "b"), ("u",))
        track, without = (along(UKF(people), beliefs(1), s, y) for s in (segments, nothing))
    assert torch.equal(track.mean[:, :, 0], without.mean[:, :, 0])
    assert float(track.mean[0, 0, 1, 0] - without.mean[0, 0, 1, 0]) == pytest.approx(100.0 * expm(A * 0.5)[0, 0], rel=1e-10)


def test_splitting_where_nothing_is_measured_changes_nothing() -> None:
    # a linear model is exact in any steps; with a residual one step differs from its halves in second order (points are drawn
    # anew at each), so a whole record in first: half the step, half the difference
    y = drawn(4)
    for residual, close in ((None, 1e-11), (bent(), 0.02)):
        people = Followed.of(linear(residual), 3, mesh=Mesh(0.2))
        with torch.no_grad():
            tracks = [along(UKF(people), beliefs(), cut(Mesh(h)), y) for h in (0.2, 0.1, 0.05)]
            whole = along(UKF(people), beliefs(), cut(), y)  # cut by the people's mesh where it has to be
        for name in ("mean", "log_likelihood"):
            first, second, third = (getattr(t, name) for t in tracks)
            torch.testing.assert_close(first, second, rtol=0.0, atol=close)
            torch.testing.assert_close(first, getattr(whole, name), rtol=0.0, atol=1e-11)
            if residual is not None:
                assert float((second - third).norm()) < 0.65 * float((first - second).norm())


def test_members_have_measurements_of_their_own() -> None:
    model = linear(bent())
    many = Ensemble(2, "init").stack(model, torch.Generator().manual_seed(5))
    first, second = drawn(5), drawn(6)
    with torch.no_grad():
        both = along(UKF(Followed.of(many, 3)), beliefs(), cut(Mesh(0.3)), torch.stack([first, second]))
        each = [along(UKF(Followed.of(many, 3)), beliefs(members=2), cut(Mesh(0.3)), y) for y in (first, second)]
        shared = along(UKF(Followed.of(model, 3)), beliefs(), cut(Mesh(0.3)), torch.stack([first, second]))
    for m in range(2):
        torch.testing.assert_close(both.mean[m], each[m].mean[m], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(both.log_likelihood[m], each[m].log_likelihood[m], rtol=1e-12, atol=1e-12)
    assert shared.mean.shape == (2, 3, 6, 2)
    # and gaps of their own, of which each member's degrees of freedom are counted
    first[:, 2], second[:, 4] = torch.nan, torch.nan
    with torch.no_grad():
        both = along(UKF(Followed.of(model, 3)), beliefs(), cut(Mesh(0.3)), torch.stack([first, second]))
    assert both.innovation is not None
    assert torch.equal(both.innovation.count, torch.stack([first, second]).isfinite().sum(-1))
    assert torch.equal(both.innovation.nis == 0.0, both.innovation.count == 0)


def test_who_diverges_is_marked_and_the_others_go_on() -> None:
    model = problem(Bend())  # infinite at once at a state of 100
    people = Followed.of(model, 3, mesh=Mesh(0.2))
    doses = [(), (Dose("x3", 0.5, 1e3),), ()]
    times = [[0.4, 1.0, 1.5]] * 3
    segments = build_segments([Schedule(d) for d in doses], times, model.backbone.states, (), Mesh(0.2))
    without = build_segments([Schedule()] * 3, times, model.backbone.states, (), Mesh(0.2))
    y = torch.full((3, 3, 2), 0.1, dtype=F64)
    root = 0.1 * torch.eye(3, dtype=F64).expand(1, 3, 3, 3)
    start = Belief(torch.zeros(1, 3, 3, dtype=F64), root, torch.zeros(3, dtype=F64), 3)
    with torch.no_grad():
        lost, fine = (along(UKF(people), start, s, y, keep="all") for s in (segments, without))
    assert lost.lost.tolist() == [False, True, False]
    assert not bool(fine.lost.any())
    assert bool(torch.isfinite(lost.mean[:, 1, 0]).all())  # before it happened
    assert bool(torch.isnan(lost.mean[:, 1, 1:]).all())
    assert bool(torch.isnan(lost.log_likelihood[:, 1]).all())
    others = torch.tensor([0, 2])
    for name in ("mean", "root", "predicted_mean", "log_likelihood"):
        assert torch.equal(getattr(lost, name)[:, others], getattr(fine, name)[:, others]), name


# ---- derivatives


def test_gradients_are_those_of_differences() -> None:
    model, y, who = linear(bent()), drawn(7)[:2], torch.arange(2)
    mesh = Mesh(0.8)

    def value(dose: Tensor, amount: Tensor, mean: Tensor) -> Tensor:
        first = Schedule((Dose("a", dose, amount), Dose("b", 2.0, 1.5, 1.0)), SCHEDULES[0].inputs)
        segments = build_segments([first, SCHEDULES[1]], TIMES[:2], ("a", "b"), ("u",), mesh)
        start = replace(beliefs().people(who), mean=mean)
        track = along(UKF(Followed.of(model, 2, mesh=mesh)), start, segments, y, keep="all")
        return track.log_likelihood.sum() + track.mean.square().sum() + track.innovation.log_likelihood.sum()  # what is kept, too

    named = dict(model.named_parameters())
    weights = next(p for name, p in named.items() if name.startswith("residual"))
    leaves = [torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.73, 2.0)]
    leaves += [beliefs(2).mean.clone().requires_grad_(), named["process.log_scale"], named["noise.log_sd"], weights]
    gradients = torch.autograd.grad(value(*leaves[:3]), leaves)
    chance = torch.Generator().manual_seed(0)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        assert bool(torch.isfinite(gradient).all())
        push, found = torch.randn(leaf.shape, generator=chance, dtype=F64), []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                leaf += step * push
                found.append(float(value(*leaves[:3])))
                leaf -= step * push
        # differences of 1e-5 leave 1e-10 of the third derivative and 1e-11 of the value
        assert float((gradient * push).sum()) == pytest.approx((found[0] - found[1]) / 2e-5, rel=1e-6, abs=1e-6)


# ---- the door for people of a cohort


def test_the_baseline_is_not_taken_twice() -> None:
    backbone, ke, V, g = OneCompartmentOral(), 0.5, 20.0, 6.0
    model = HybridModel(
        backbone,
        SharedPopulation(backbone, values={"ka": 1.5, "ke": ke, "V": V}),
        observation=Concentration("plasma", "V"),
        noise=Constant([0.4], [FLOOR]),
        process=DiagonalDiffusion({"plasma": g}),
    )
    assert model.starts_from == (True,)
    times, value = [[0.0, 1.0]], 2.0
    given = conditions_of(model, [Schedule()], times, baseline=torch.tensor([[value]], dtype=F64))
    y = torch.tensor([[[value], [1.0]]], dtype=F64)
    people = Followed.of(model, 1)
    with torch.no_grad():
        track = follow(UKF(people), given, y, keep="all")
    variance = 0.4**2 + FLOOR**2
    # the measurement alone makes the first belief, and at its own time adds nothing to it
    assert float(track.mean[0, 0, 0, 1]) / V == pytest.approx(value, abs=1e-12)
    assert float(track.last.covariance.shape[-1]) == 2
    assert float(track.root[0, 0, 0, 1].square().sum()) / V**2 == pytest.approx(variance, rel=1e-12)
    assert int(track.innovation.count[0, 0, 0]) == 0
    a = math.exp(-ke)
    P = a * a * variance + g**2 / (2 * ke * V**2) * (1 - a * a)
    expected = a * value + P / (P + variance) * (1.0 - a * value)
    assert float(track.mean[0, 0, 1, 1]) / V == pytest.approx(expected, rel=1e-10)
    # where no baseline is given the same measurement is an update like any other
    nothing = replace(given, baseline=torch.full((1, 1), torch.nan, dtype=F64))
    with torch.no_grad():
        updated = follow(UKF(people), nothing, y, spread={"plasma": 5.0 * V})
    assert int(updated.innovation.count[0, 0, 0]) == 1
    assert float(updated.root[0, 0, 0, 1].square().sum()) / V**2 == pytest.approx(1.0 / (1.0 / 25.0 + 1.0 / variance), rel=1e-10)


def test_a_cohort_is_followed_in_three_lines() -> None:
    model = oral_of(process=DiagonalDiffusion({"gut": 2.0, "plasma": 3.0}))
    cohort = Cohort.of(oral_people(3), model)
    people = Followed.of(model, cohort.conditions.size, covariates=cohort.conditions.covariates)
    with torch.no_grad():
        track = follow(UKF(people), cohort.conditions, cohort.y)
        start = starting_belief(people, baseline=cohort.conditions.baseline)
        by_hand = along(UKF(people), start, cohort.conditions.segments, cohort.y)
    assert isinstance(track, Track)
    assert torch.equal(track.mean, by_hand.mean)
    assert torch.equal(track.times, cohort.times)
    assert int(track.innovation.count.sum()) == int(cohort.mask.sum())
    # of the population's spread little is left after six measurements
    assert bool((track.last.covariance.diagonal(dim1=-2, dim2=-1)[..., 2:] < 0.9).all())


def test_people_with_baselines_and_clocks_of_their_own() -> None:
    model = oral_of(process=DiagonalDiffusion({"gut": 2.0, "plasma": 3.0}))
    people = oral_people(2)
    early = replace(
        people[0],
        schedule=Schedule((Dose("gut", 3.0, 300.0),)),
        times=np.array([1.0, 4.0, 6.0]),
        values=np.array([[0.5], [6.0], [5.0]]),
    )
    cohort = Cohort.of([early, people[1]], model)
    assert cohort.conditions.segments.start[:, 0].tolist() == [-2.0, 0.0]  # from the baseline on, the first dose at 0
    followed = Followed.of(model, 2)
    with torch.no_grad():
        track = follow(UKF(followed), cohort.conditions, cohort.y)
    assert torch.equal(track.times, cohort.times)
    assert not bool(track.lost.any())


def test_particles_go_along_too() -> None:
    people = Followed.of(linear(), 3)
    y = drawn()
    with torch.no_grad():
        exact = along(EKF(people), beliefs(), cut(), y)
        track = along(EnKF(people, particles=4000, seed=1), beliefs(), cut(), y, keep="all")
    assert track.backward is None
    with pytest.raises(ValueError, match="smooth: this track"):
        smooth(track)
    # 4,000 particles know a mean to 1.6 % of a standard deviation; of 6 updates the worst of 36 stays below 12 %
    sd = exact.root.square().sum(-1).sqrt()
    assert float(((track.mean - exact.mean).abs() / sd).max()) < 0.12


# ---- the order of measurements


def test_stages_of_replicates_and_of_what_is_missing() -> None:
    boundary = np.array([[0, 2, 2, 3], [1, 1, 3, 4]])
    measured = np.array([[True, True, True, False], [True, False, True, True]])
    found = Readings.of(boundary, measured, 5)
    assert [[places.tolist() for places in slots] for slots in found.taken] == [
        [[0, -1]],
        [[-1, 0]],
        [[1, -1], [2, -1]],
        [[-1, 2]],
        [[-1, 3]],
    ]
    # stages: boundary 0 has 0, 1; 1 has 2, 3; 2 has 4, 5, 6; 3 has 7, 8; 4 has 9, 10
    assert found.before.tolist() == [[0, 4, 5, 7], [2, 3, 7, 9]]
    assert found.after.tolist() == [[1, 5, 6, 7], [3, 3, 8, 10]]
    assert found.update.tolist() == [[0, 2, 3, -1], [1, -1, 4, 5]]
    assert found.opens.tolist() == [[True, True, False, True], [True, False, True, True]]


def test_what_all_have_at_one_boundary_is_one_update_whoever_lacks_it() -> None:
    found = Readings.of(np.array([[1, 2], [1, 2]]), np.array([[True, False], [False, False]]), 3)
    assert [len(slots) for slots in found.taken] == [0, 1, 0]
    assert found.taken[1][0].tolist() == [0, 0]
    assert found.update.tolist() == [[0, -1], [0, -1]]


@pytest.mark.parametrize("gradient", [False, True])
def test_what_is_kept_comes_back_where_it_was_asked(gradient: bool) -> None:
    stage = np.array([[0, 3, 3, 5], [1, 2, 4, 5]])
    with torch.set_grad_enabled(gradient):
        kept = Kept(stage, torch.zeros(1, dtype=F64))
        for s in range(7):
            kept.put(s, {"v": s + 0.1 * torch.arange(2, dtype=F64)[None, :, None]})
        whole = kept.whole()["v"]
    assert torch.equal(whole[0, :, :, 0], torch.from_numpy(stage) + 0.1 * torch.arange(2, dtype=F64)[:, None])


# ---- what is refused


def asked(**changed):
    people = Followed.of(linear(), 3)
    call = {"filter": UKF(people), "start": beliefs(), "segments": cut(), "y": drawn()} | changed
    keep = call.pop("keep", "last")
    return along(*call.values(), keep=keep)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filter": EKF(Followed.of(linear(), 2))}, "the belief is of"),
        ({"filter": UKF}, "along: filter must be a Filter"),
        ({"start": beliefs(2)}, "the belief is of"),
        ({"start": replace(beliefs(), time=torch.full((3,), 2.0, dtype=F64))}, r"of time 2, and the segments begin at 0"),
        ({"segments": 3}, "along: segments must be a Segments"),
        ({"segments": cut(Mesh(0.3, observed=False))}, "inside the segments"),
        ({"y": drawn()[:, :4]}, "along: y"),
        ({"y": drawn()[None].expand(3, -1, -1, -1)}, None),
        ({"y": drawn()[None, None]}, r"give \(N, T, p\)"),
        ({"keep": "some"}, "along: keep"),
    ],
)
def test_what_cannot_be_followed(change, words) -> None:
    if words is None:
        with torch.no_grad():
            assert asked(**change).log_likelihood.shape == (3, 3)
        return
    with pytest.raises(ValueError, match=words):
        asked(**change)


def test_other_people_than_the_filters() -> None:
    model = linear()
    given = Conditions(cut(), {}, torch.full((3, 2), torch.nan, dtype=F64))
    with pytest.raises(ValueError, match="the filter is of 2 people and the conditions of 3"):
        follow(UKF(Followed.of(model, 2)), given, drawn())
    with pytest.raises(ValueError, match="follow: conditions"):
        follow(UKF(Followed.of(model, 2)), cut(), drawn())
    with pytest.raises(ValueError, match="follow: filter"):
        follow(model, given, drawn())


@pytest.mark.parametrize("whole", [False, True])
def test_an_infinite_measurement_is_refused_and_not_taken_for_a_gap(whole: bool) -> None:
    y = drawn()
    y[0, 0, :] = torch.inf if whole else torch.tensor([torch.inf, 1.0])
    with pytest.raises(ValueError, match="along: y holds infinite values; write NaN"):
        along(UKF(Followed.of(linear(bent()), 3)), beliefs(), cut(Mesh(0.3)), y)
