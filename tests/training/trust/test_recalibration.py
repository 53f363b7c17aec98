"""Recalibration against closed forms, independent implementations, and guarantees that hold whatever the data are."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from hybrid.prediction import Prediction
from training.trust import Horizons, Outcome, mean_scores
from training.trust.recalibration import (
    AdaptiveConformal,
    CrossScaling,
    FittedOn,
    Followed,
    IsotonicEvents,
    Scaling,
    SplitConformal,
    conformal_quantile,
    people_needed,
    pool_adjacent_violators,
    recalibration_from_dict,
    scale_parts,
)
from training.trust.recalibration.factors import DOUBT, FLOOR

laws = settings(deadline=None, max_examples=40, derandomize=True)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ids(count: int, prefix: str = "P") -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


def cohort(N: int = 40, T: int = 6, M: int = 5, S: int = 3, p: int = 1, *, seed: int = 0) -> Prediction:
    """Noise of variance about 1; members and draws disagree more the later it is, each in its own way."""
    g = seeded(seed)
    t = torch.arange(T, dtype=torch.float64)
    growing = (0.3 * t)[None, None, None, :, None] * torch.randn((M, 1, N, 1, p), generator=g, dtype=torch.float64)
    falling = 1.5 * torch.exp(-t)[:, None] * torch.randn((M, S, N, 1, p), generator=g, dtype=torch.float64)
    return Prediction(
        growing + falling,
        0.5 + torch.rand((M, S, N, T, p), generator=g, dtype=torch.float64),
        t.expand(N, T),
        torch.ones(N, T, dtype=torch.bool),
        tuple(f"y{c}" for c in range(p)),
        ("mg/L",) * p,
    )


# ---- who it was fitted on


def test_the_record_knows_its_people_and_its_data_under_other_names():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(4, 3, 1))
    y[1, 2] = math.nan
    record = FittedOn.of(ids(4), y)
    assert (record.people, record.observations) == (("P0", "P1", "P2", "P3"), 11)
    record.refuse(["Q1"], y[:1], in_sample=False)
    with pytest.raises(ValueError, match=r"fitted on 1 of these people \(P3\)"):
        record.refuse(["Q1", "P3"], in_sample=False)
    record.refuse(["P3"], in_sample=True)
    with pytest.raises(ValueError, match="under other ids"):
        record.refuse(ids(4, "Q"), y[[2, 0, 3, 1]], in_sample=False)  # in another order, too
    assert FittedOn.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    with pytest.raises(ValueError, match="3 ids came with 4 rows"):
        FittedOn.of(ids(3), y)
    with pytest.raises(ValueError, match="Nothing was observed"):
        FittedOn.of(ids(4), y * math.nan)


def fitted_members():
    prediction = cohort(p=2)
    y = prediction.sample(1, seeded(1))[0]
    y[0, 0, 0] = math.nan
    chance = prediction.exceeds(0.5)
    yield Scaling.fit(Outcome(prediction, y, ids(40))), prediction, lambda r, who, **k: r.apply(prediction, who, **k)
    events = IsotonicEvents.fit(chance, torch.where(y.isnan(), y, (y > 0.5).double()), ids(40))
    yield events, chance, lambda r, who, **k: r.apply(chance, who, **k)
    for horizons in (Horizons.of(prediction), None):
        split = SplitConformal.fit(Outcome(prediction, y, ids(40)), horizons=horizons)
        yield split, prediction, lambda r, who, **k: r.interval(prediction, who, **k)
    adaptive = AdaptiveConformal.fit(Outcome(prediction, y, ids(40)))
    later = prediction.sample(1, seeded(2))[0]
    yield adaptive, prediction, lambda r, who, **k: r.follow(Outcome(prediction, later, who), **k)


def arrays(result) -> list[np.ndarray]:
    """Whatever a recalibration gives, as arrays."""
    if isinstance(result, Prediction):
        return [result.mean.numpy(), result.variance.numpy()]
    if isinstance(result, Followed):
        return [result.lower, result.upper, result.missed, result.alpha]
    return list(result) if isinstance(result, tuple) else [result]


def test_each_refuses_its_own_people_and_comes_back_from_json():
    for member, _, use in fitted_members():
        with pytest.raises(ValueError, match="Judge it by people it has not seen"):
            use(member, [*ids(39, "Q"), "P7"])
        use(member, ids(40), in_sample=True)
        first = use(member, ids(40, "Q"))
        back = recalibration_from_dict(json.loads(json.dumps(member.to_dict(), allow_nan=False)))
        assert type(back) is type(member)
        assert back.to_dict() == member.to_dict()
        again = use(back, ids(40, "Q"))
        for ours, theirs in zip(arrays(first), arrays(again), strict=True):
            assert np.array_equal(ours, theirs, equal_nan=True)
    with pytest.raises(ValueError, match="'platt' is not known"):
        recalibration_from_dict({"kind": "platt"})


# ---- scaling


@laws
@given(st.tuples(*[st.floats(0.0, 30.0)] * 3), st.integers(0, 100))
def test_scaling_multiplies_each_part_by_its_factor(factors, seed):
    prediction = cohort(3, 4, 4, 3, 2, seed=seed)
    a, e, s = (max(factors[0], 0.01), *factors[1:])
    scaled = scale_parts(prediction, a, e, s)
    for name, factor in (("aleatoric", a), ("epistemic", e), ("personal", s)):
        expected = factor * getattr(prediction, name)
        assert torch.allclose(getattr(scaled, name), expected, rtol=1e-11, atol=1e-13)
    assert torch.allclose(scaled.point, prediction.point, rtol=1e-11, atol=1e-12)
    same = scale_parts(prediction, 1.0, 1.0, 1.0)
    assert torch.equal(same.mean, prediction.mean)
    assert torch.equal(same.variance, prediction.variance)


@pytest.mark.parametrize("score", ["nll", "crps"])
def test_scaling_of_one_gaussian_is_the_closed_form(score):
    # One member, one draw: the NLL is smallest at a = mean (y − μ)²/σ².
    g = seeded(3)
    shape = (1, 1, 60, 5, 1)
    truth = Prediction(
        torch.randn(shape, generator=g, dtype=torch.float64),
        torch.rand(shape, generator=g, dtype=torch.float64) + 0.3,
        torch.zeros(60, 5),
        torch.ones(60, 5, dtype=torch.bool),
        ("y",),
        ("1",),
    )
    y = truth.sample(1, g)[0]
    fitted = Scaling.fit(Outcome(replace(truth, variance=truth.variance / 4.0), y, ids(60)), score=score)
    z2 = float(((y - truth.mean[0, 0]).square() / (truth.variance[0, 0] / 4.0)).mean())
    n, doubt = 300, math.log(4.0)

    def slope(log_a: float) -> float:  # of ½ Σ (log a + z²/a) + (log a)²/2 log²4
        return 0.5 * n * (1.0 - z2 * math.exp(-log_a)) + log_a / doubt**2

    if score == "nll":
        log_a = optimize.brentq(slope, -5.0, 5.0, xtol=1e-13)
        assert math.log(fitted.aleatoric[0]) == pytest.approx(log_a, abs=1e-6)
        # The sandwich by hand: a person's slope is Σ_t ½ (1 − z²/a), the Hessian ½ n z²/a + 1/log²4.
        person = (0.5 - 0.5 * (y - truth.mean[0, 0]).square() / (truth.variance[0, 0] / 4.0) * math.exp(-log_a)).sum((1, 2))
        spread = float(person.square().sum()) * (60 / 59) + doubt**-2
        assert fitted.covariance[0][0][0] == pytest.approx(
            spread / (0.5 * n * z2 * math.exp(-log_a) + doubt**-2) ** 2, rel=1e-4
        )
        assert fitted.aleatoric[0] == pytest.approx(z2, rel=0.02)  # 300 observations outvote the doubt
    else:
        assert fitted.aleatoric[0] == pytest.approx(4.0, rel=0.25)
    assert fitted.epistemic == fitted.personal == (1.0,)
    assert "aleatoric variance is taken times" in fitted.sentences()[0]
    assert len(fitted.sentences()) == 1  # parts that are not there get no sentence


def naive(mean, variance, y, score="nll"):
    """What a scaling minimises, per observation, in numpy and scipy: for u (3,), or (3, R) at once."""
    M, S, G = mean.shape
    member = mean.mean(1, keepdims=True)
    centre = member.mean(0, keepdims=True)

    def scores(u):
        a, e, s = (np.exp(v)[..., None] for v in np.asarray(u))
        lift = (slice(None), slice(None), *([None] * (a.ndim - 1)), slice(None))
        mu = centre[lift] + np.sqrt(e) * (member - centre)[lift] + np.sqrt(s) * (mean - member)[lift]
        v = a * variance[lift]
        if score == "nll":
            density = -0.5 * (np.square(y - mu) / v + np.log(2.0 * math.pi * v))
            return -special.logsumexp(density, axis=(0, 1)) + math.log(M * S)
        mu, v = mu.reshape(M * S, *mu.shape[2:]), np.broadcast_to(v, mu.shape).reshape(M * S, *mu.shape[2:])

        def distance(d, w):
            return d * (2.0 * stats.norm.cdf(d / np.sqrt(w)) - 1.0) + 2.0 * np.sqrt(w) * stats.norm.pdf(d / np.sqrt(w))

        pairs = distance(mu[:, None] - mu[None], v[:, None] + v[None]).mean((0, 1))
        return distance(y - mu, v).mean(0) - 0.5 * pairs

    unit = 1.0 if score == "nll" else float(scores(np.zeros(3)).mean())

    def f(u):
        return scores(u).mean(-1) + unit * np.square(u).sum(0) / (2.0 * math.log(4.0) ** 2 * G)

    return f


def brute(f, members, draws, count=21):
    """The lowest value anywhere in the box: a dense grid, then scipy from its thirty lowest points."""
    low = math.log(1e-4)
    ends = ((low, 6.0), (-9.0, 6.0), (-9.0, 6.0))
    there = (True, members > 1, draws > 1)
    axes = [np.linspace(*end, count) if k else np.zeros(1) for end, k in zip(ends, there, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    value = np.concatenate([f(part) for part in np.array_split(grid, max(1, grid.shape[1] // 2000), axis=1)])
    steps = 1e-6 * np.concatenate([np.zeros((3, 1)), np.eye(3), -np.eye(3)], 1)

    def with_slope(u):
        """The value and central differences, in one call."""
        around = f(u[:, None] + steps)
        return around[0], np.where(there, around[1:4] - around[4:], 0.0) / 2e-6

    bounds = [(low, None), *((None, None) if k else (0.0, 0.0) for k in there[1:])]
    found = [
        optimize.minimize(
            with_slope, grid[:, k], jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10}
        )
        for k in np.argsort(value)[:30]
    ]
    return min(found, key=lambda r: r.fun)


def alone(prediction, y):
    """One channel's mean and variance (M, S, G) and observations (G,), as numpy."""
    M, S = prediction.mean.shape[:2]
    return (
        prediction.mean[..., 0].reshape(M, S, -1).numpy(),
        prediction.variance[..., 0].reshape(M, S, -1).numpy(),
        y[..., 0].flatten().numpy(),
    )


def logs(fitted):
    return np.log([fitted.aleatoric[0], fitted.epistemic[0], fitted.personal[0]])


def repeated(times):
    """Two people, again and again, observed as if there were no noise: the fewest that a density can fall without end on."""
    prediction = cohort(2, 1, 3, 2)
    rows = [0, 1] * times
    return prediction.people(rows), (prediction.point + 0.01)[rows]


def hard(kind):
    """A cohort and observations of it whose score has several minima, or no end without a floor."""
    if kind == "repeated":
        return repeated(20)
    people, draws = {"on a member": (3, 1), "noiseless": (4, 2), "far away": (3, 2), "few": (2, 3)}[kind]
    prediction = cohort(people, 2, 3, draws, seed=8)
    y = prediction.sample(1, seeded(9))[0]
    if kind == "on a member":
        y = prediction.mean[torch.arange(people) % 3, 0, torch.arange(people)]
    if kind == "noiseless":
        y = prediction.point
    return prediction, 100.0 * y if kind == "far away" else y


KINDS = ("repeated", "on a member", "noiseless", "far away", "few")


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_is_that_of_an_independent_minimiser(kind):
    prediction, y = hard(kind)
    f = naive(*alone(prediction, y))
    fitted = Scaling.fit(Outcome(prediction, y, ids(len(y))))
    best = brute(f, *prediction.mean.shape[:2])
    assert float(f(logs(fitted))) == pytest.approx(best.fun, abs=1e-6)
    assert fitted.after[0] == pytest.approx(float(f(logs(fitted))) - np.square(logs(fitted)).sum() / (2 * DOUBT**2 * y.numel()))


@pytest.mark.parametrize("kind", ["noiseless", "few"])
def test_the_optimum_of_the_crps_is_that_of_an_independent_minimiser(kind):
    prediction, y = hard(kind)
    f = naive(*alone(prediction, y), "crps")
    fitted = Scaling.fit(Outcome(prediction, y, ids(len(y))), score="crps")
    assert float(f(logs(fitted))) == pytest.approx(brute(f, *prediction.mean.shape[:2], count=9).fun, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_and_the_order_of_people_do_not_move_the_factors(kind):
    prediction, y = hard(kind)
    expected, g = logs(Scaling.fit(Outcome(prediction, y, ids(len(y))))), seeded(3)
    for _ in range(1 if kind == "repeated" else 2):
        order = torch.randperm(len(y), generator=g)
        near = [1.0 + 1e-15 * torch.randn(v.shape, generator=g, dtype=torch.float64) for v in (prediction.mean, y)]
        moved = replace(prediction, mean=prediction.mean * near[0]).people(order)
        found = Scaling.fit(Outcome(moved, (y * near[1])[order], ids(len(y))))
        assert logs(found) == pytest.approx(expected, abs=1e-6)


def test_the_noise_has_a_floor_below_which_no_scaling_goes():
    many, one = repeated(200)[0], cohort(30, 5, 1, 1)
    for prediction, y in ((many, many.mean[2, 1]), (one, one.point)):  # on a component, exactly
        fitted = Scaling.fit(Outcome(prediction, y, ids(len(y))))
        assert fitted.aleatoric[0] == pytest.approx(FLOOR, rel=1e-12)
        assert fitted.covariance[0][0][0] == 0.0  # it is held there
        lowest = 0.5 * math.log(2.0 * math.pi * FLOOR * float(prediction.variance.min()))
        assert lowest <= fitted.after[0] <= fitted.before[0]
        assert "the least that a scaling may reach" in fitted.sentences()[0]
        moved = fitted.perturbed(prediction, seeded(1))
        assert bool((moved.variance > 0.0).all())
    # noise in plenty is not at the floor, whatever the unit
    prediction = cohort(40)
    y = prediction.sample(1, seeded(1))[0]
    expected = logs(Scaling.fit(Outcome(prediction, y, ids(40))))
    for unit in (1e-9, 1e9):
        other = replace(prediction, mean=unit * prediction.mean, variance=unit**2 * prediction.variance)
        assert logs(Scaling.fit(Outcome(other, unit * y, ids(40)))) == pytest.approx(expected, abs=1e-6)


def test_of_equally_low_minima_the_rule_chooses_and_not_rounding():
    # Two members and two draws, mirrored: what the epistemic part may do for the observation, the personal one may, too.
    mean = torch.tensor([[3.0, 0.0], [0.0, -3.0]], dtype=torch.float64)[..., None, None, None]
    alike = Prediction(mean, torch.ones_like(mean), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), ("y",), ("1",))
    rows = [0] * 50
    forecasts, y = alike.people(rows), torch.full((50, 1, 1), 0.7, dtype=torch.float64)
    found = Scaling.fit(Outcome(forecasts, y, ids(50)))
    u = logs(found)
    f = naive(*alone(forecasts, y))
    assert float(f(u)) == pytest.approx(float(f(u[[0, 2, 1]])), abs=1e-12)  # the mirrored one is as low
    assert abs(u[1] - u[2]) > 0.1  # and another
    assert u[1] > u[2]  # the larger epistemic factor
    near = 1.0 + 1e-15 * torch.randn(50, 1, 1, generator=seeded(), dtype=torch.float64)
    assert logs(Scaling.fit(Outcome(forecasts, y * near, ids(50)))) == pytest.approx(u, abs=1e-6)


def test_few_people_leave_the_factors_near_one():
    # the penalty is of the total score: what one observation may gain, ½ log 1/a, is stopped at log 1/a = ½ log²4
    prediction, y = repeated(1)
    fitted = Scaling.fit(Outcome(prediction, y, ids(2)))
    assert all(0.05 < factor <= 1.0 for factor in (*fitted.aleatoric, *fitted.epistemic, *fitted.personal))
    assert np.square(logs(fitted)).sum() <= 2.0 * DOUBT**2 * 2 * (fitted.before[0] - fitted.after[0]) + 1e-12
    many, seen = repeated(200)
    assert Scaling.fit(Outcome(many, seen, ids(400))).aleatoric[0] < fitted.aleatoric[0]
    assert "they hardly settle it" in fitted.sentences()[1]


def test_scaling_finds_each_part_that_was_distorted():
    truth = cohort(1500, 8, 6, 4, seed=4)
    y = truth.sample(1, seeded(5))[0]
    wrong = scale_parts(truth, 0.5, 4.0, 0.25)
    fitted = Scaling.fit(Outcome(wrong, y, ids(1500)))
    for name, factor, k in (("aleatoric", 2.0, 0), ("epistemic", 0.25, 1), ("personal", 4.0, 2)):
        sd = math.sqrt(fitted.covariance[0][k][k])
        assert sd < 0.5
        assert abs(math.log(getattr(fitted, name)[0] / factor)) < 4.0 * sd
    # On people never seen it gives back what the distortion took.
    new = cohort(500, 8, 6, 4, seed=6)
    seen = new.sample(1, seeded(7))[0]
    bad = scale_parts(new, 0.5, 4.0, 0.25)
    mended = fitted.apply(bad, ids(500, "Q"))
    scores = [float(np.nanmean(mean_scores(Outcome(x, seen, ids(len(seen))))["nll"])) for x in (new, mended, bad)]
    assert scores[1] - scores[0] < 0.05 * (scores[2] - scores[0])


@settings(deadline=None, max_examples=12, derandomize=True)
@given(st.integers(0, 1000), st.sampled_from(["nll", "crps"]), st.floats(-4.0, 4.0))
def test_scaling_is_never_worse_on_the_people_it_was_fitted_on(seed, score, shift):
    prediction = cohort(6, 4, 3, 2, seed=seed)
    y = prediction.sample(1, seeded(seed))[0] + shift
    fitted = Scaling.fit(Outcome(prediction, y, ids(6)), score=score)
    assert fitted.after[0] <= fitted.before[0]
    found = float(np.nanmean(mean_scores(Outcome(fitted.apply(prediction, ids(6), in_sample=True), y, ids(6)))[score]))
    assert found == pytest.approx(fitted.after[0], rel=1e-9)
    assert all(0.0 < f < math.inf for f in (*fitted.aleatoric, *fitted.epistemic, *fitted.personal))


def test_cross_scaling_never_uses_a_persons_own_observations():
    prediction = cohort(9, 4, 3, 2)
    y = prediction.sample(1, seeded(1))[0]
    people = [*ids(7), "P0", "P1"]  # two have two records, which stay together
    cross = CrossScaling.fit(Outcome(prediction, y, people), folds=4, generator=seeded(2))
    assert sorted(np.bincount(list(cross.fold.values())).tolist()) == [1, 2, 2, 2]
    assert cross.people == tuple(ids(7))
    for name, k in cross.fold.items():
        assert name not in cross.scalings[k].people
        assert set(cross.scalings[k].people) == {p for p in cross.fold if cross.fold[p] != k}
    scaled = cross.apply(prediction, people)
    for i, name in enumerate(people):
        alone = cross.scalings[cross.fold[name]].apply(prediction.people([i]), [name])
        assert torch.equal(scaled.people([i]).mean, alone.mean)
        assert torch.equal(scaled.people([i]).variance, alone.variance)
    changed = y.clone()
    changed[3] += 5.0
    again = CrossScaling.fit(Outcome(prediction, changed, people), folds=4, generator=seeded(2)).apply(prediction, people)
    assert torch.equal(again.people([3]).variance, scaled.people([3]).variance)
    assert not torch.equal(again.variance, scaled.variance)
    back = recalibration_from_dict(json.loads(json.dumps(cross.to_dict(), allow_nan=False)))
    assert back == cross
    with pytest.raises(ValueError, match=r"in no fold \(Q\)"):
        cross.apply(prediction.people([0]), ["Q"])
    with pytest.raises(ValueError, match="write folds=2 to 7"):
        CrossScaling.fit(Outcome(prediction, y, people), folds=8, generator=seeded())


def test_perturbed_scalings_spread_as_the_covariance_says():
    prediction = cohort(12, 5, 4, 3)
    fitted = Scaling.fit(Outcome(prediction, prediction.sample(1, seeded(1))[0], ids(12)))
    g, found = seeded(2), []
    for _ in range(400):
        moved = fitted.perturbed(prediction, g)
        found.append(math.log(float(moved.aleatoric[0, 0, 0] / prediction.aleatoric[0, 0, 0])))
    expected = fitted.covariance[0][0][0]
    assert np.var(found) == pytest.approx(expected, rel=4 * math.sqrt(2 / 400))


# ---- isotonic


@laws
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 9.0)), min_size=1, max_size=30))
def test_pool_adjacent_violators_is_scipys(pairs):
    mean, weight = np.array(pairs).T
    expected = optimize.isotonic_regression(mean, weights=weight).x
    assert pool_adjacent_violators(mean, weight) == pytest.approx(expected, rel=1e-10, abs=1e-11)


@laws
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 1)), min_size=2, max_size=40))
def test_isotonic_keeps_order_and_is_never_worse_on_its_own_people(pairs):
    p, y = np.array([a / 10 for a, _ in pairs]), np.array([float(b) for _, b in pairs])
    if y.min() == y.max():
        with pytest.raises(ValueError, match="a monotone map fitted to them says"):
            IsotonicEvents.fit(p, y, ids(len(p)))
        return
    fitted = IsotonicEvents.fit(p, y, ids(len(p)))
    own = fitted.apply(p, ids(len(p)), in_sample=True)
    assert np.mean((own - y) ** 2) <= np.mean((p - y) ** 2) + 1e-14
    grid = fitted.apply(np.linspace(0, 1, 101), ids(101, "Q"))
    assert (np.diff(grid) >= 0.0).all()
    assert grid.min() >= 0.0
    assert grid.max() <= 1.0
    # At the stated probabilities it is weighted isotonic regression of their frequencies, ties together.
    _, place, count = np.unique(p, return_inverse=True, return_counts=True)
    expected = optimize.isotonic_regression(np.bincount(place, y) / count, weights=count.astype(float)).x
    assert own == pytest.approx(expected[place], abs=1e-12)


def test_isotonic_mends_a_distortion_and_says_what_few_events_say():
    rng = np.random.default_rng(1)
    truth = rng.uniform(size=8000)
    y = (rng.uniform(size=8000) < truth).astype(float)
    fitted = IsotonicEvents.fit(truth[:6000] ** 3, y[:6000], ids(6000))
    mended = fitted.apply(truth[6000:] ** 3, ids(2000, "Q"))
    assert np.abs(mended - truth[6000:]).mean() < 0.03
    small = IsotonicEvents.fit([0.1, 0.2, 0.3, 0.8, math.nan], [0, 0, 0, 1, math.nan], ids(5))
    assert (small.count, small.happened, small.end_counts) == (4, 1, (3, 1))
    first, last = small.sentences()[1:]
    assert "up to 0.3 are mapped to 0 on the strength of 3 events: a true rate 0.63 away" in first
    assert "from 0.8 are mapped to 1 on the strength of 1 events: a true rate 0.95 away" in last
    assert np.isnan(small.apply([math.nan], ["Q"])).all()
    with pytest.raises(ValueError, match="lie in"):
        small.apply([1.5], ["Q"])


# ---- horizons


def test_horizons_hold_every_time_once():
    prediction = cohort(3, 4)
    each = Horizons.of(prediction)
    assert len(each) == 4
    assert each.index(prediction.times)[0].tolist() == [0, 1, 2, 3]
    few = Horizons.of(cohort(3, 40), count=5)
    assert np.bincount(few.index(np.arange(40))).tolist() == [8] * 5
    assert few.index([-1.0, 40.0, math.nan]).tolist()[:2] == [-1, -1]
    one = Horizons.of(cohort(3, 1))
    assert (len(one), one.index([0.0, 1.0]).tolist()) == (1, [0, -1])
    assert Horizons.from_dict(few.to_dict()) == few
    assert Horizons((0.0, 0.5, 2.0)).labels == ("0–0.5", "0.5–2")
    for wrong in ((0.0,), (1.0, 0.0), (0.0, 0.0, 1.0), (0.0, math.inf)):
        with pytest.raises(ValueError, match="at least two finite ones that increase"):
            Horizons(wrong)


# ---- split conformal


@laws
@given(st.integers(1, 40), st.floats(0.01, 0.99))
def test_conformal_quantile_covers_exactly_as_often_as_its_rank(n, level):
    # Of n + 1 exchangeable scores the last is equally likely to have each rank: leave each out once.
    scores = np.arange(n + 1.0)
    covered = np.mean([x <= conformal_quantile(np.delete(scores, i), level) for i, x in enumerate(scores)])
    assert covered >= level - 1e-12
    assert covered <= level + 1.0 / (n + 1) + 1e-9
    assert math.isinf(conformal_quantile(scores[:n], level)) == (n < people_needed(level))


def test_ninety_five_per_cent_needs_nineteen_people():
    assert [people_needed(level) for level in (0.5, 0.8, 0.9, 0.95)] == [1, 4, 9, 19]
    assert math.isinf(conformal_quantile(np.arange(18.0), 0.95))
    assert conformal_quantile(np.arange(19.0), 0.95) == 18.0
    prediction = cohort(18, 3)
    y = prediction.sample(1, seeded())[0]
    y[0, 0] = math.nan
    split = SplitConformal.fit(Outcome(prediction, y, ids(18)), horizons=Horizons.of(prediction))
    lower, upper = split.interval(prediction, ids(18, "Q"), 0.95)
    assert np.isinf(lower).all()
    assert np.isinf(upper).all()
    sentences = split.sentences(0.95)
    assert len(sentences) == 3
    assert "needs at least 19 calibration people and there are 17" in sentences[0]
    assert split.sentences(0.9) == []


@pytest.mark.parametrize("kind", ["residual", "quantile"])
@pytest.mark.parametrize("path", [False, True])
def test_split_conformal_covers_new_people_whatever_the_model(kind, path):
    # A forecaster that is wrong in mean and spread, skewed noise, correlated times; n = 29 people, level .8: rank 24 of 30.
    g, covered = seeded(8), []
    for _ in range(150):
        prediction = cohort(49, 4, 2, 1, seed=int(torch.randint(10**6, (1,), generator=g)))
        common = torch.randn((49, 1, 1), generator=g, dtype=torch.float64)
        y = 2.0 + torch.exp(common + 0.5 * torch.randn((49, 4, 1), generator=g, dtype=torch.float64))
        known, new = list(range(29)), list(range(29, 49))
        horizons = None if path else Horizons.of(prediction)
        split = SplitConformal.fit(Outcome(prediction.people(known), y[known], ids(29)), horizons=horizons, kind=kind)
        lower, upper = split.interval(prediction.people(new), ids(20, "Q"), 0.8)
        inside = (y[new].numpy() >= lower) & (y[new].numpy() <= upper)
        covered.append(inside.all(1).mean() if path else inside[:, 2].mean())
    # The mean is exactly 24/30; the data sets are independent, so their own spread is the error.
    assert np.mean(covered) == pytest.approx(0.8, abs=4 * np.std(covered) / math.sqrt(150))


def test_split_conformal_counts_people_and_not_points():
    # Ten people with 20 records each that repeat one residual: the quantile is that of ten numbers.
    base = cohort(10, 2, 2, 1)
    y = base.sample(1, seeded(1))[0]
    index = [i for i in range(10) for _ in range(20)]
    many = SplitConformal.fit(Outcome(base.people(index), y[index], [f"P{i}" for i in index]), horizons=Horizons.of(base))
    once = SplitConformal.fit(Outcome(base, y, ids(10)), horizons=Horizons.of(base))
    assert np.array_equal(many.factor(0.8), once.factor(0.8))
    assert np.isinf(many.factor(0.95)).all()


def test_coverage_band_allows_for_the_calibration_sets_own_luck():
    g, inside, wrong, widths = seeded(9), 0, 0, []
    for repeat in range(60):
        prediction = cohort(40, 5, 3, 1, seed=repeat)
        y = prediction.sample(1, g)[0]
        known, new = list(range(15)), list(range(15, 40))
        horizons = Horizons.of(prediction)
        split = SplitConformal.fit(Outcome(prediction.people(known), y[known], ids(15)), horizons=horizons)
        after = prediction.people(new)
        band = split.coverage(Outcome(after, y[new], ids(25, "Q")), 0.8, generator=g, draws=200)
        assert band.gates == 5
        inside += band.passes
        widths.append(float((band.upper - band.lower).mean()))
        bad = after.point + 4.0 * (y[new] - after.point)  # people unlike those it was calibrated on
        wrong += split.coverage(Outcome(after, bad, ids(25, "Q")), 0.8, generator=g, draws=200).passes
    assert stats.binomtest(inside, 60, 0.95).pvalue > 1e-3
    assert wrong == 0
    # Wider than a binomial band of 25 people at five gates, which takes the quantile for the truth.
    assert np.mean(widths) > 2 * 2.57 * math.sqrt(0.16 / 25)
    with pytest.raises(ValueError, match="under other ids"):
        split.coverage(Outcome(prediction.people(known), y[known], ids(15, "Q")), 0.8, generator=g)


def test_split_conformal_refuses_what_was_not_calibrated():
    prediction = cohort(30, 4)
    y = prediction.sample(1, seeded())[0]
    split = SplitConformal.fit(Outcome(prediction, y, ids(30)), horizons=Horizons((0.0, 3.0)))
    later = replace(prediction, times=prediction.times + 2.0)
    with pytest.raises(ValueError, match=r"60 times .* are outside the horizons 0 to 3"):
        split.interval(later, ids(30, "Q"))
    assert np.isnan(split.interval(later.during(0, 3), ids(30, "Q"))[0][:, 2:]).all()
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        split.interval(prediction, ids(30, "Q"), 90)
    with pytest.raises(ValueError, match="channels"):
        split.interval(replace(prediction, channels=("other",)), ids(30, "Q"))
    with pytest.raises(ValueError, match="kind is"):
        SplitConformal.fit(Outcome(prediction, y, ids(30)), horizons=None, kind="cqr")
    with pytest.raises(ValueError, match="infinite values"):
        SplitConformal.fit(Outcome(prediction, y + math.inf, ids(30)), horizons=None)


# ---- adaptive conformal


def stream(T: int) -> Prediction:
    mean = torch.zeros(1, 1, 1, T, 1, dtype=torch.float64)
    mask = torch.ones(1, T, dtype=torch.bool)
    return Prediction(mean, torch.ones_like(mean), torch.arange(float(T))[None], mask, ("y",), ("1",))


def follower(target: float = 0.1, gamma: float = 0.05, scores: int = 30) -> AdaptiveConformal:
    kept = tuple(np.linspace(0.0, 3.0, scores).tolist())
    return AdaptiveConformal((kept,), ("y",), target, gamma, FittedOn(("P0",), scores, ""))


@laws
@given(
    st.lists(st.one_of(st.floats(-6, 6), st.sampled_from([0.0, 1e9])), min_size=1, max_size=200),
    st.floats(0.02, 0.5),
    st.floats(0.005, 0.5),
    st.integers(1, 40),
)
def test_adaptive_rate_of_misses_is_bounded_for_any_sequence(values, target, gamma, scores):
    one, T = follower(target, gamma, scores), len(values)
    y = torch.tensor(values, dtype=torch.float64).reshape(1, T, 1)
    found = one.follow(Outcome(stream(T), y, ["Q"]))
    assert abs(found.missed.mean() - target) <= one.bound(T) + 1e-12
    assert -gamma - 1e-12 <= float(found.alpha[0, 0]) <= 1.0 + gamma + 1e-12
    # The naive loop, one observation after the other.
    alpha, kept = target, np.array(one.scores[0])
    for t, value in enumerate(values):
        q = math.inf if alpha <= 0 else -math.inf if alpha >= 1 else float(conformal_quantile(kept, 1.0 - alpha))
        missed = not abs(value) <= q
        assert found.missed[0, t, 0] == missed
        assert found.upper[0, t, 0] == q
        alpha += gamma * (target - missed)
    assert found.alpha[0, 0] == pytest.approx(alpha, abs=1e-12)


def test_adaptive_against_an_adversary_that_misses_whenever_it_can():
    # Clipped to [0, 1] the interval stays finite and the adversary always wins; unclipped it becomes everything.
    one, T = follower(0.1, 0.05), 2000
    found = one.follow(Outcome(stream(T), torch.full((1, T, 1), 1e9, dtype=torch.float64), ["Q"]))
    assert abs(found.missed.mean() - 0.1) <= one.bound(T)
    assert np.isinf(found.upper).any()
    easy = one.follow(Outcome(stream(T), torch.zeros(1, T, 1), ["Q"]))
    assert abs(easy.missed.mean() - 0.1) <= one.bound(T)  # misses by saying nothing at all
    assert (easy.upper < easy.lower).any()


def test_adaptive_in_two_pieces_is_one_and_a_missing_observation_changes_nothing():
    one, T = follower(), 60
    y = 2.5 * torch.randn((1, T, 1), generator=seeded(3), dtype=torch.float64)
    whole = one.follow(Outcome(stream(T), y, ["Q"]))
    first = one.follow(Outcome(stream(25), y[:, :25], ["Q"]))
    second = one.follow(Outcome(stream(35), y[:, 25:], ["Q"]), alpha=first.alpha)
    assert np.array_equal(np.concatenate([first.upper, second.upper], 1), whole.upper)
    gaps = torch.cat([y[:, :25], torch.full((1, 5, 1), math.nan), y[:, 25:]], 1)
    found = one.follow(Outcome(stream(T + 5), gaps, ["Q"]))
    assert np.array_equal(found.alpha, whole.alpha)
    assert np.isnan(found.missed[0, 25:30]).all()
    assert (found.upper[0, 25:30] == found.upper[0, 30]).all()
    for call, sentence in (
        (lambda: one.follow(Outcome(stream(25), y[:, :25], ["P0"])), "Judge it by people"),
        (lambda: one.follow(Outcome(stream(25), y[:, :25], ["Q"]), alpha=[0.1]), "one finite number per person"),
        (lambda: replace(one, gamma=0.0), "the step is above 0"),
        (lambda: replace(one, target=1.0), "strictly between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
