"""Pictures: what is drawn is what the prediction says; files are PNGs of the stated size."""

import ast
import math
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, optimize, stats

from homeostat import gallery, pictures
from homeostat.pictures import (
    Bands,
    Exceedance,
    Phase,
    Reliability,
    band_axes,
    distance_axes,
    field_axes,
    figure_of,
    flow,
    frequency_axes,
    hero_axes,
    member_mean_field,
    nearby,
    observed_panel_axes,
    people_axes,
    person_axes,
    phase_axes,
    quantile_axes,
    reliability_axes,
    rings_axes,
    save,
    schedule_axes,
    what_if_axes,
    write_picture,
)
from homeostat.pictures.colours import INK, PAGE
from homeostat.pictures.in_words import people_in_words
from homeostat.pictures.people import pages, people_handles
from homeostat.pictures.phase import phase_handles
from homeostat.pictures.style import DPI, cut_apart, cut_to, grid_shape, label, new_figure, text_width, wrapped
from homeostat.pictures.what_if import chance
from homeostat.study.evaluation import score
from hybrid import Concentration, Dose, HybridModel, Prediction, Schedule, simulate
from learned import MLP, AdditiveProportional
from learned.ensemble import Ensemble, select
from physics import LogNormalPopulation, OneCompartmentOral
from training import Record
from training.trust.calibration import calibration_null_band, expected_calibration_error, reliability_curve

laws = settings(deadline=None, max_examples=15, derandomize=True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(M: int = 3, S: int = 2, N: int = 2, T: int = 12, p: int = 1, *, padded: int = 0, seed: int = 0) -> Prediction:
    """Made-up curves that rise and fall, at times 0, 2, 4 …"""
    g = generator(seed)
    t = 2.0 * torch.arange(T, dtype=torch.float64)
    scale = torch.exp(0.3 * torch.randn((M, S, N, 1, p), generator=g, dtype=torch.float64))
    mean = 8.0 * scale * (torch.exp(-0.08 * t) - torch.exp(-0.9 * t))[:, None]
    mask = torch.ones(N, T, dtype=torch.bool)
    if padded:
        mask[-1, -padded:] = False
    return Prediction(mean, 0.1 + 0.01 * mean.square(), t.expand(N, T), mask, ("drug",) * p, ("mg/L",) * p)


def people(N: int, *, names: tuple[str, ...] | None = None) -> list[Record]:
    times = np.array([0.0, 1.0, 3.0, 8.0, 20.0])
    return [
        Record(
            names[i] if names else str(i + 1),
            Schedule((Dose("gut", 0.0, 320.0),)),
            times,
            np.array([[0.0], [5.0], [6.5], [math.nan], [1.0 + 0.1 * i]]),
            ("drug",),
            units={"time": "h"},
        )
        for i in range(N)
    ]


def png_size(path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-8:-4] == b"IEND"
    return struct.unpack(">II", data[16:24])


def artists(axes, gid: str) -> list:
    return axes.findobj(lambda a: a.get_gid() == gid)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_what_a_notebook_draws_with_does_not_matter(tmp_path):
    """MPLBACKEND is inherited from a notebook by every command that is started in it, installed or not."""
    code = """
import os, sys, exchange, training  # what takes long to load, and does not look at MPLBACKEND
assert not any(name.startswith("matplotlib") for name in sys.modules)
for k, backend in enumerate(sys.argv[1:]):
    child = os.fork()
    if child == 0:
        os.environ["MPLBACKEND"] = backend
        from homeostat.pictures.picture import save
        from homeostat.pictures.style import new_figure
        figure = new_figure(3, 2)
        figure.subplots()
        save(figure, f"{k}.png")
        assert "matplotlib.pyplot" not in sys.modules
        assert os.environ["MPLBACKEND"] == backend
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0, backend
"""
    backends = ("module://matplotlib_inline.backend_inline", "")  # one that is not installed, and none
    done = subprocess.run([sys.executable, "-c", code, *backends], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [png_size(tmp_path / f"{k}.png") for k in range(2)] == [(3 * DPI, 2 * DPI)] * 2


def test_people_are_drawn_on_clocks_of_their_own():
    """Dots of a record that began a year into the table's clock stand where its forecast does, and the axis says since when."""
    bands = Bands.of(build(), level=0.8)
    late = Schedule((Dose("gut", 8760.3, 320.0),), start=8760.3)
    late = replace(people(1)[0], schedule=late, times=people(1)[0].times + 8760.3)
    figure = new_figure(4.0, 3.0)
    for axes, record in zip(figure.subplots(1, 2), (people(1)[0], late), strict=True):
        person_axes(bands, record, axes=axes, person=0, channel=0, forecast_from=3.0)
    for gid in ("known", "unseen"):
        plain, shifted = (line.get_xdata() for axes in figure.axes for line in artists(axes, gid))
        assert len(plain) > 0
        np.testing.assert_array_equal(plain, shifted)


def test_what_lies_beyond_a_limit_is_marked_there():
    """A triangle at each limit, filled where the forecast knew it, and the legend and the words say what it is."""
    record = people(1)[0]
    lower, upper = (np.full(record.values.shape, np.nan) for _ in range(2))
    values = record.values.copy()
    values[[0, 1, -1], 0] = np.nan
    upper[0, 0], upper[-1, 0], lower[1, 0] = 2.0, 40.0, 30.0
    record = replace(record, values=values, lower=lower, upper=upper)
    prediction = build(N=1)
    since = float(record.on_own_clock().times[1])
    (axes,) = people_axes(prediction, [record], forecast_from=since)
    marks = {(line.get_marker(), line.get_markerfacecolor()): line for line in artists(axes, "limited")}
    assert {key: line.get_ydata().tolist() for key, line in marks.items()} == {
        ("v", INK): [2.0], ("^", INK): [30.0], ("v", PAGE): [40.0]
    }
    assert axes.get_ylim()[1] > 40.0
    assert any("beyond it" in str(one.get_label()) for one in people_handles(0.8, 5.0, "h", False, [record]))
    assert not any("beyond it" in str(one.get_label()) for one in people_handles(0.8, 5.0, "h", False, people(1)))
    assert "3 more are only known to lie beyond a limit" in people_in_words(prediction, [record], forecast_from=since)


def outline(collection) -> set[tuple[float, float]]:
    (path,) = collection.get_paths()
    return {(float(x), float(y)) for x, y in path.vertices}


# ------------------------------------------------------------------ bands


def test_the_total_band_and_the_median_are_the_mixtures_own_quantiles():
    prediction = build(padded=3)
    bands = Bands.of(prediction, level=0.8)
    mean, sd = prediction.mean[..., 0].numpy(), prediction.variance[..., 0].sqrt().numpy()
    for i, k in ((0, 0), (0, 5), (1, 8)):
        for level, value in ((0.1, bands.total[0, i, k]), (0.5, bands.median[i, k]), (0.9, bands.total[1, i, k])):
            components = stats.norm(mean[:, :, i, k], sd[:, :, i, k])
            root = optimize.brentq(lambda y, c=components, a=level: c.cdf(y).mean() - a, -50.0, 50.0, xtol=1e-13)
            assert value == pytest.approx(root, abs=1e-9)  # the root finder's tolerance, with room


def test_the_inner_band_is_the_spread_of_the_noise_free_curves():
    prediction = build(4, 5)
    bands = Bands.of(prediction, level=0.6)
    for i, k in ((0, 3), (1, 11)):
        curves = sorted(float(prediction.mean[m, s, i, k, 0]) for m in range(4) for s in range(5))
        for end, level in enumerate((0.2, 0.8)):  # the textbook's linear interpolation between order statistics
            place = level * (len(curves) - 1)
            low = int(place)
            naive = curves[low] + (place - low) * (curves[low + 1] - curves[low])
            assert bands.ignorance[end, i, k] == pytest.approx(naive, rel=1e-12)


def test_one_member_and_one_draw_leave_noise_alone():
    prediction = build(1, 1)
    bands = Bands.of(prediction, level=0.9)
    mean, sd = prediction.mean[0, 0, ..., 0].numpy(), prediction.variance[0, 0, ..., 0].sqrt().numpy()
    assert np.array_equal(bands.ignorance[0], bands.ignorance[1])
    np.testing.assert_allclose(bands.ignorance[0], mean, rtol=1e-14)
    np.testing.assert_allclose(bands.total, stats.norm.ppf([[[0.05]], [[0.95]]], mean, sd), rtol=1e-9, atol=1e-9)


def test_what_is_drawn_is_what_was_computed_and_padding_is_not_drawn():
    prediction = build(padded=4)
    bands = Bands.of(prediction)
    for person, length in ((0, 12), (1, 8)):
        axes = new_figure(3, 3).subplots()
        band_axes(bands, person, axes=axes)
        low, high = prediction.interval(0.8)
        t = prediction.times[person, :length].numpy()
        (total,), (inner,), (line,) = (artists(axes, gid) for gid in ("total", "ignorance", "median"))
        expected = {(float(x), float(y)) for v in (low, high) for x, y in zip(t, v[person, :length, 0], strict=True)}
        assert outline(total) == expected
        assert outline(inner) == {
            (float(x), float(y)) for v in bands.ignorance for x, y in zip(t, v[person, :length], strict=True)
        }
        assert np.array_equal(line.get_xdata(), t)
        assert np.array_equal(line.get_ydata(), prediction.quantile((0.5,))[0, person, :length, 0].numpy())


def test_each_channel_has_its_own_bands():
    prediction = build(p=2)
    assert np.array_equal(Bands.of(prediction, channel=1).total[1], prediction.interval(0.8)[1][..., 1].numpy())
    with pytest.raises(ValueError, match="Channel 2 was asked for; the prediction has 2"):
        Bands.of(prediction, channel=2)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        Bands.of(prediction, level=1.0)


def test_a_channel_that_is_never_negative_is_cut_at_0(monkeypatch):
    """The quantiles of max(y, 0): a Gaussian reaches below 0 where little is there, and nothing measured does."""
    prediction = build()
    whole, cut = Bands.of(prediction), Bands.of(prediction, nonnegative=("drug",))
    assert whole.total.min() < 0.0
    assert cut.total.min() == 0.0
    assert (whole.cut, cut.cut) == (False, True)
    for name in ("total", "ignorance", "median"):
        assert np.array_equal(getattr(cut, name), np.maximum(getattr(whole, name), 0.0))
    assert not Bands.of(prediction, nonnegative=("another",)).cut
    from homeostat.pictures import sheet as module

    shown = []
    monkeypatch.setattr(module, "header", lambda figure, *_, handles, **__: shown.append((figure, handles)))
    declared = [replace(r, nonnegative=("drug",)) for r in people(2)]
    for records in (declared, [declared[0], people(2)[1]]):  # what one of them does not declare is of nobody
        people_axes(prediction, records, forecast_from=5.0, title="x")
    (first, said), (second, silent) = shown
    assert any("cut at 0" in h.get_label() for h in said)
    assert not any("cut at 0" in h.get_label() for h in silent)
    assert first.axes[0].get_ylim()[0] == 0.0 > second.axes[0].get_ylim()[0]


# ------------------------------------------------------------------ people


@pytest.mark.parametrize(
    ("until", "known", "unseen"), [(3.0, [0, 1, 3], [20]), (None, [0, 1, 3, 20], []), (0.0, [0], [1, 3, 20])]
)
def test_dots_are_filled_up_to_the_forecast_and_open_after_it(until, known, unseen):
    axes = new_figure(3, 3).subplots()
    person_axes(Bands.of(build()), people(2)[1], axes=axes, person=1, channel=0, forecast_from=until)
    (filled,), (open_,) = artists(axes, "known"), artists(axes, "unseen")
    assert list(filled.get_xdata()) == known  # a value that is missing (at 8) is not drawn
    assert list(open_.get_xdata()) == unseen
    assert filled.get_markerfacecolor() != PAGE
    assert open_.get_markerfacecolor() == PAGE
    lines = artists(axes, "forecast_from")
    assert [line.get_xdata()[0] for line in lines] == ([] if until is None else [until])


@pytest.mark.parametrize("count", [1, 5, 12])
def test_people_are_drawn_as_a_png_of_the_stated_size(tmp_path, count):
    panels = people_axes(build(N=count), people(count), forecast_from=5.0, title="Seen")
    path = save(figure_of(panels), tmp_path / "a" / "people.png")
    width, height = png_size(path)
    assert width == {1: 9, 5: 12, 12: 12}[count] * DPI
    assert height > 300 * grid_shape(count)[0]


def test_a_single_gaussian_is_drawn_and_the_same_picture_has_the_same_bytes(tmp_path):
    prediction, records = build(1, 1, 1), people(1)
    first, again = (
        save(figure_of(people_axes(prediction, records, forecast_from=None, title="One")), tmp_path / name)
        for name in ("1.png", "2.png")
    )
    assert first.read_bytes() == again.read_bytes()


def test_many_people_go_page_by_page_and_nobody_is_left_out():
    """Each picture has at most 24 people and a title of its own; together they have everyone, in order, once."""
    assert pages("people", 24) == [("people", range(24), "")]
    shared = pages("people", 121)
    assert [i for _, which, _ in shared for i in which] == list(range(121))
    assert max(len(which) for _, which, _ in shared) == 24
    assert [name for name, _, _ in shared] == [f"people-{k}" for k in range(1, 7)]
    words = [words for *_, words in shared]
    assert (words[0], words[5]) == (": people 1 to 24 of 121", ": people 121 to 121 of 121")
    assert len(set(words)) == 6
    with pytest.raises(ValueError, match="25 people were to be drawn in one picture, which has room for 1 to 24"):
        people_axes(build(N=25), people(25))


def test_what_everything_was_known_to_is_not_called_a_forecast():
    known, ahead = (people_handles(0.8, since, "h") for since in (None, 5.0))
    assert not any("forecast" in str(one.get_label()) for one in known)
    assert any("median forecast" in str(one.get_label()) for one in ahead)


def test_text_from_outside_is_text(tmp_path):
    names = ("$\\frac{1}{", "Zoë & <b>")
    panels = people_axes(
        build(), people(2, names=names), forecast_from=4.0, title="Costs $5 and $\\alpha_", subtitle="$x^{"
    )
    path = save(figure_of(panels), tmp_path / "p.png")
    assert png_size(path)[0] > 0


def test_people_and_records_must_be_the_same():
    with pytest.raises(ValueError, match="for 2 people and 3 records"):
        people_axes(build(N=2), people(3), forecast_from=None, title="x")


# ------------------------------------------------------------------ reliability


def events(n: int = 300, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    return p, (rng.random(n) < p).astype(float), rng.random(n)


def test_the_diagram_shows_the_calibration_modules_numbers():
    p, y, pit = events()
    numbers = Reliability.of(p, y, pit, event="above 5", bins=6, draws=200)
    curve = reliability_curve(p, y, bins=6)
    axes = new_figure(4, 4).subplots()
    frequency_axes(numbers, axes=axes)
    (dots,) = artists(axes, "bins")
    assert np.array_equal(dots.get_offsets(), np.stack([curve.mean_probability, curve.mean_outcome], 1))
    np.testing.assert_allclose(dots.get_sizes() / dots.get_sizes()[0], curve.count / curve.count[0])
    (null,) = artists(axes, "null")
    assert len(null.get_segments()) == 6
    assert numbers.error.observed == expected_calibration_error(p, y, bins=6)
    assert f"{numbers.error.observed:.3f}" in "".join(t.get_text() for t in axes.texts)


def test_fractions_and_their_band_are_those_of_a_count():
    p, y, pit = events()
    pit[::7] = np.nan
    numbers = Reliability.of(p, y, pit, event="e", bins=5, levels=10, draws=4000)
    kept = pit[~np.isnan(pit)]
    for j, a in enumerate((np.arange(10) + 0.5) / 10):
        assert numbers.fraction[j] == sum(v <= a for v in kept) / len(kept)
        exact = stats.binom(len(kept), a).ppf([0.025, 0.975]) / len(kept)
        # the band is a sample quantile of 4,000 counts: within two counts of the exact one
        np.testing.assert_allclose(numbers.fraction_band[:, j], exact, atol=2.0 / len(kept))
    axes = new_figure(4, 4).subplots()
    quantile_axes(numbers, axes=axes)
    assert np.array_equal(artists(axes, "fraction")[0].get_ydata(), numbers.fraction)


def test_a_dependent_cohort_needs_and_uses_its_joint_draws():
    p, y, pit = (v.reshape(30, 10) for v in events())
    groups = np.arange(30)[:, None]
    with pytest.raises(ValueError, match="no joint draws"):
        Reliability.of(p, y, pit, event="e", groups=groups)
    rng = np.random.default_rng(0)
    shared = np.repeat(rng.random((400, 30, 1)), 10, axis=2)  # everyone's ten events stand or fall together
    wide = Reliability.of(
        p,
        y,
        pit,
        event="e",
        bins=5,
        groups=groups,
        joint_outcome=(shared < p).astype(float),
        joint_pit=shared,
        draws=400,
    )
    narrow = Reliability.of(p, y, pit, event="e", bins=5, draws=400)
    # ten times fewer independent transforms: the band is √10 = 3.2 times as wide, up to sampling
    assert np.ptp(wide.fraction_band, axis=0)[10] > 2.0 * np.ptp(narrow.fraction_band, axis=0)[10]


def test_points_outside_their_own_grey_are_counted_apart_from_the_error():
    """An error inside its band, over points that leave theirs: each is said of itself."""
    rng = np.random.default_rng(2)
    p, pit = rng.random(400), np.clip(rng.random(400) ** 1.05, 0.0, 1.0)
    numbers = Reliability.of(p, (rng.random(400) < p).astype(float), pit, event="above 5", bins=10, draws=500)
    axes = new_figure(5, 4).subplots(1, 2)
    reliability_axes(numbers, axes=axes)
    for one, seen, points, (low, high), error, strays in (
        (
            axes[0],
            numbers.curve.mean_outcome,
            10,
            (numbers.curve.null_lower, numbers.curve.null_upper),
            numbers.error,
            None,
        ),
        (axes[1], numbers.fraction, 20, numbers.fraction_band, numbers.quantile_error, numbers.fraction_strays),
    ):
        outside = int(((seen < low) | (seen > high)).sum())
        words = "".join(t.get_text() for t in one.texts)
        assert f"{outside} of {points} points outside their own grey (up to " in words
        assert f"{error.lower:.3f} to {error.upper:.3f})" in words
        assert "in brackets: 95\u00a0% of perfect forecasters" in words
        assert max(map(len, words.split("\n"))) < 60  # or the axes give way to the words
        assert strays is None or strays.observed == outside
        assert "inside the band" not in words


def test_a_null_band_of_other_bins_is_refused():
    p, y, pit = events()
    null = calibration_null_band(p, outcome=y, generator=generator(), bins=10, draws=50)
    assert Reliability.of(p, y, pit, event="e", null=null, bins=10, draws=50).error == null
    with pytest.raises(ValueError, match="other bins or events"):
        Reliability.of(p, y, pit, event="e", null=null, bins=7, draws=50)


def test_reliability_is_drawn(tmp_path):
    p, y, pit = events(40)
    numbers = Reliability.of(p, y, pit, event="above 5 mg/L", bins=4)
    path = save(figure_of(reliability_axes(numbers, title="Is it?")), tmp_path / "r.png")
    assert png_size(path)[0] == 11 * DPI


# ------------------------------------------------------------------ phase

A = np.array([[-1.5, 0.0], [1.5, -0.1]])


def linear(x: np.ndarray) -> np.ndarray:
    return x @ A.T


def metric(rate: float) -> np.ndarray:
    """P with (A + λI)ᵀP + P(A + λI) = −I: contraction at λ, by Lyapunov's theorem."""
    return linalg.solve_continuous_lyapunov((A + rate * np.eye(2)).T, -np.eye(2))


def phase(rate: float | None = 0.05) -> Phase:
    P = None if rate is None else metric(0.05)
    starts = [[[300.0, 10.0], [290.0, 60.0]], [[50.0, 200.0], [40.0, 280.0]]]
    return Phase.of(
        linear,
        starts,
        np.linspace(0, 20, 81),
        metric=P,
        rate=rate,
        states=("gut", "plasma"),
        units=("mg", "mg"),
        time_unit="h",
    )


def test_flow_is_the_matrix_exponential():
    times = np.array([0.0, 0.3, 2.0, 9.0])
    starts = np.array([[300.0, 0.0], [10.0, 100.0]])
    paths = flow(linear, starts, times)
    for k, t in enumerate(times):
        # relative to the largest coordinate, as promised
        np.testing.assert_allclose(paths[:, k], starts @ linalg.expm(A * t).T, atol=1e-6 * 300.0, rtol=0.0)


def test_a_field_that_blows_up_is_refused():
    with pytest.raises(ValueError, match="did not settle"):
        flow(lambda x: x**2, [[1.0, 1.0]], [0.0, 2.0])  # the solution ends at t = 1


@laws
@given(st.floats(0.1, 10.0), st.floats(0.1, 10.0), st.floats(-0.9, 0.9), st.floats(1e-3, 1e3))
def test_every_point_of_an_ellipse_has_the_metrics_radius(a, d, correlation, radius):
    P = np.array([[a, correlation * math.sqrt(a * d)], [correlation * math.sqrt(a * d), d]])
    base = replace(phase(None), metric=P, rate=1.0)
    centre = np.array([3.0, -2.0])
    delta = base.ellipse(centre, radius) - centre
    # one digit lost to the subtraction of the centre, which may be a thousand times the radius
    np.testing.assert_allclose(np.einsum("ki,ij,kj->k", delta, P, delta), radius**2, rtol=1e-8)
    first, second = nearby(centre, P, radius)
    assert np.array_equal(first, centre)
    assert (second - first) @ P @ (second - first) == pytest.approx(radius**2, rel=1e-8)
    # along the long axis: no point of that ellipse is farther away
    assert np.linalg.norm(delta, axis=1).max() <= np.linalg.norm(second - first) * (1 + 1e-8)


def test_a_true_promise_is_kept_and_a_false_one_is_seen():
    assert phase().kept
    false = replace(phase(), rate=0.5)  # the slow eigenvalue is 0.1: no metric proves this
    assert not false.kept
    assert np.array_equal(false.distance, phase().distance)
    flat = phase()
    for pair in range(2):
        for k in (0, 40, 80):
            d = flat.pairs[pair, 1, k] - flat.pairs[pair, 0, k]
            assert flat.distance[pair, k] == pytest.approx(math.sqrt(d @ flat.metric @ d), rel=1e-12)
            bound = flat.distance[pair, 0] * math.exp(-0.05 * 0.25 * k)
            assert flat.promise[pair, k] == pytest.approx(bound, rel=1e-12)


def test_ellipses_shrink_around_the_first_trajectory_and_hold_the_second():
    axes = new_figure(5, 4).subplots()
    shown = phase()
    field_axes(shown, axes=axes, ellipses=3)
    patches = artists(axes, "promise")
    assert len(patches) == 3
    radii = []
    for patch in patches:
        points = patch.get_xy()[:-1]
        centre = (points.min(0) + points.max(0)) / 2
        k = int(np.argmin(np.linalg.norm(shown.pairs[0, 0] - centre, axis=1)))
        delta = shown.ellipse(shown.pairs[0, 0, k], float(shown.promise[0, k])) - points[:181]
        assert np.abs(delta).max() < 1e-9
        radii.append(float(shown.promise[0, k]))
    assert radii == sorted(radii, reverse=True)
    assert radii[-1] < radii[0]
    assert len(artists(axes, "first")) == len(artists(axes, "second")) == 2


def test_the_distance_panel_shows_distances_under_the_promise():
    axes = new_figure(5, 4).subplots()
    shown = phase()
    distance_axes(shown, axes=axes)
    (promise,) = artists(axes, "promise")
    for k, line in enumerate(artists(axes, "distance")):
        np.testing.assert_allclose(line.get_ydata(), shown.distance[k] / shown.distance[k, 0])
        assert (line.get_ydata() <= promise.get_ydata() * (1 + 1e-6)).all()


@pytest.mark.parametrize("rate", [0.05, None])
def test_phase_is_drawn_with_and_without_a_certificate(tmp_path, rate):
    path = save(figure_of(phase_axes(phase(rate), title="Two starts meet")), tmp_path / "p.png")
    assert png_size(path)[0] == (8 if rate is None else 12) * DPI


@pytest.mark.parametrize("rate", [0.05, None])
def test_no_promise_is_titled_where_none_is_drawn(tmp_path, monkeypatch, rate):
    said = {}
    monkeypatch.setattr(gallery.figures, "phase_axes", lambda phase, **words: said.update(words))
    monkeypatch.setattr(gallery.figures, "hero_axes", lambda *_, title, **__: said.update(hero=title))
    monkeypatch.setattr(gallery.figures, "written", lambda *_, **words: said.update(caption=words["caption"]))
    p, y, pit = events(20)
    numbers = Reliability.of(p, y, pit, event="e", bins=2, draws=20)
    gallery.hero_picture(
        tmp_path, build(), people(2), numbers, phase(rate), gallery.Asked("drug", "mg/L", 5.0, 3.0, "h")
    )
    gallery.phase_picture(tmp_path, phase(rate), "n " * 300)
    caption = said["caption"]
    words = " ".join(said.values())
    assert ("proved" in words) is (rate is not None)
    assert ("proof" in caption.replace("without a proof", "")) is (rate is not None)
    assert len(said["title"]) < 200


def test_phase_refuses_what_it_cannot_draw():
    good = phase()
    with pytest.raises(ValueError, match="both, or neither"):
        replace(good, rate=None)
    with pytest.raises(ValueError, match="positive definite"):
        replace(good, metric=np.diag([1.0, -1.0]))
    with pytest.raises(ValueError, match="still has its axis"):
        replace(good, pairs=good.pairs[0])
    with pytest.raises(ValueError, match=r"\(pairs, 2, 2\)"):
        Phase.of(linear, [[1.0, 2.0]], [0.0, 1.0], states=("a", "b"), units=("1", "1"), time_unit="h")
    with pytest.raises(ValueError, match="no metric"):
        _ = phase(None).distance


def test_the_mean_field_is_the_average_of_the_members_and_drives_the_simulation():
    g = generator(3)
    backbone = OneCompartmentOral()
    population = LogNormalPopulation(backbone.physical, (0.4, 0.3, 0.3), {"V": {"WT": (70.0, 1.0)}})
    residual = MLP(2, 0, 1, (5,), separable=True, state_scale=128.0, generator=g)
    model = HybridModel(
        backbone,
        population,
        residual,
        observation=Concentration(1, 2),
        noise=AdditiveProportional((0.3,), (0.1,), (0.1,)),
        covariates={"WT": (70.0, 20.0)},
    )
    model = Ensemble(3).stack(model, g)
    personal = 0.3 * torch.randn((3, 1, model.personal), generator=g, dtype=torch.float64)
    field = member_mean_field(model, personal, {"WT": 80.0})
    x = np.array([[100.0, 50.0], [3.0, 200.0], [0.0, 0.0]])
    step, rates = 1e-4, []
    for m in range(3):
        one, own = select(model, torch.tensor([m])), personal[m : m + 1]
        covariates = {"WT": torch.tensor([80.0], dtype=torch.float64)}
        theta, context = one.theta(own, covariates), one.context(own, covariates)
        rows = []
        for start in x:
            with torch.no_grad():
                path = simulate(one, Schedule(), (0.0, step), theta[0, 0], torch.tensor(start), c=context[0, 0])
            rows.append(((path[1] - path[0]) / step).numpy())
        rates.append(rows)
    # a forward difference: off by step/2 times the second derivative, here at most a few hundred mg/h²
    np.testing.assert_allclose(field(x), np.mean(rates, 0), atol=step * 1000.0)


# ------------------------------------------------------------------ what if, hero


def test_exceedance_of_a_gaussian_is_its_closed_form():
    prediction = build(1, 1)
    flat = replace(
        prediction, mean=torch.full_like(prediction.mean, 3.0), variance=torch.full_like(prediction.mean, 4.0)
    )
    found = Exceedance.of(flat, 5.0, person=1, channel=0)
    above = stats.norm.sf(5.0, 3.0, 2.0)
    assert found.probability == pytest.approx(above, rel=1e-12)
    assert found.duration == pytest.approx(above * 22.0, rel=1e-12)  # the same probability from 0 to 22
    rising = Exceedance.of(prediction, 4.0, person=0, channel=0)
    k = int(prediction.mean[0, 0, 0, :, 0].argmax())
    assert rising.peak_time == float(prediction.times[0, k])
    assert rising.peak == pytest.approx(float(prediction.mean[0, 0, 0, k, 0]), rel=1e-9)


def test_a_schedule_shows_its_threshold_and_doses():
    axes = new_figure(4, 4).subplots()
    schedule = Schedule((Dose("gut", 0.0, 100.0), Dose("gut", 6.0, 100.0), Dose("gut", 900.0, 100.0)))
    schedule_axes(Bands.of(build()), axes=axes, person=0, threshold=7.0, schedule=schedule)
    assert list(artists(axes, "threshold")[0].get_ydata()) == [7.0, 7.0]
    assert list(artists(axes, "doses")[0].get_xdata()) == [0.0, 6.0]  # what comes after the picture is not beside it
    assert chance(0.001) == "below 1\u00a0%"
    assert chance(0.999) == "above 99\u00a0%"
    assert chance(0.337) == "34\u00a0%"


@pytest.mark.parametrize("count", [1, 3])
def test_what_if_is_drawn(tmp_path, count):
    predictions = {f"{k} doses": build(seed=k) for k in range(count)}
    panels = what_if_axes(predictions, threshold=5.0, person=1, time_unit="h", title="What if?")
    path = save(figure_of(panels), tmp_path / "w.png")
    assert png_size(path)[0] == (9 if count == 1 else 12) * DPI


def test_times_beyond_what_was_trained_are_hatched_and_their_panel_says_so(monkeypatch):
    from homeostat.pictures import sheet as module

    shown = []
    monkeypatch.setattr(module, "header", lambda figure, *_, handles, **__: shown.append((figure, handles)))
    spans = {"more": [(1.0, 4.0), (6.0, 9.0)], "only the dose": []}
    names = ("as given", "more", "only the dose")
    predictions = {name: build(seed=k) for k, name in enumerate(names)}
    options = {"threshold": 5.0, "time_unit": "h", "nonnegative": ("drug",)}
    what_if_axes(predictions, beyond=spans, **options)
    what_if_axes(predictions, **options)
    (marked, handles), (plain, others) = shown
    for axes, name in zip(marked.axes, names, strict=True):
        assert [(p.get_x(), p.get_x() + p.get_width()) for p in artists(axes, "beyond")] == spans.get(name, [])
        words = "".join(t.get_text() for t in axes.texts)
        assert ("BEYOND WHAT WAS TRAINED" in words) is (name in spans)
        assert "P(measured above 5 mg/L then)" in words
    assert "beyond what was trained" in [h.get_label() for h in handles]
    assert "beyond what was trained" not in [h.get_label() for h in others]
    assert not any(artists(axes, "beyond") for axes in plain.axes)
    assert any("cut at 0" in h.get_label() for h in handles)


def test_what_if_refuses_nothing_and_strangers():
    with pytest.raises(ValueError, match="from 1 to 8"):
        what_if_axes({})
    with pytest.raises(ValueError, match="the same names"):
        what_if_axes({"a": build()}, schedules={"b": Schedule()})


def test_the_wide_picture_is_drawn(tmp_path):
    p, y, pit = events(60)
    numbers = Reliability.of(p, y, pit, event="above 5", bins=5, draws=100)
    panels = hero_axes(build(N=3), people(3), numbers, phase(), forecast_from=5.0, people=(2, 0), title="All in one")
    path = save(figure_of(panels), tmp_path / "hero.png")
    assert png_size(path)[0] == 16 * DPI
    with pytest.raises(ValueError, match="room for 1 to 3"):
        hero_axes(build(N=3), people(3), numbers, phase(), forecast_from=None, people=(), title="x")


# ------------------------------------------------------------------ style


@pytest.mark.parametrize("count", range(1, 25))
def test_every_number_of_panels_fits_its_grid(count):
    rows, columns = grid_shape(count)
    assert rows * columns >= count > (rows - 1) * columns
    assert columns <= 6


def test_lines_are_broken_to_measure_and_lose_no_word():
    text = "A title that is longer than a line and has to be broken somewhere"
    lines = wrapped(text, 15.0, 3.0, bold=True)
    assert " ".join(lines) == text
    assert len(lines) > 1
    assert wrapped(text, 15.0, 30.0) == [text]


def test_names_that_differ_in_their_middle_are_still_told_apart_once_cut():
    names = [f"the trial in the north, person {i:02d}, second visit of the year" for i in range(12)] + ["Person 7"]
    assert len({cut_to(name, 10.0, 2.0) for name in names}) == 2
    shown = cut_apart(names, 10.0, 2.0)
    assert len({*shown}) == 13
    assert all(text_width(one, 10.0) <= 2.0 for one in shown)
    assert all(f"{i:02d}" in one for i, one in enumerate(shown[:12]))
    assert cut_apart(["short", "short", "x" * 80], 10.0, 2.0)[:2] == ["short", "short"]


def test_a_panel_of_people_whose_names_differ_in_their_middle_tells_who_they_are():
    names = [f"a trial whose name is long, person {i:02d}, and its second visit" for i in range(12)]
    records = [replace(r, id=name) for r, name in zip(people(12), names, strict=True)]
    panels = people_axes(replace(build(N=12), ids=tuple(names)), records, forecast_from=5.0)
    assert len({axes.get_title(loc="left") for axes in panels}) == 12


def test_the_legend_names_the_certificate_beside_both_panels():
    labels = [str(one.get_label()) for one in phase_handles(phase())]
    assert [one for one in labels if one.startswith("certificate")] == [
        "certificate: the second stays inside",
        "certificate: the distance stays below",
    ]


def test_a_picture_shows_itself_in_a_notebook_and_its_fields_without_its_files(tmp_path):
    panels = people_axes(build(N=2), people(2), title="Two")
    one = write_picture(figure_of(panels), tmp_path, "two", title="Two <of> them", caption="Read so.", alt='Seen "here".')
    shown = one._repr_html_()
    assert "data:image/svg+xml;base64," in shown
    assert 'alt="Seen &quot;here&quot;."' in shown
    assert "Two &lt;of&gt; them" in shown
    assert "background:#fff" in shown
    one.svg.unlink()
    assert one._repr_html_().startswith("<table>")


def test_a_name_is_cut_to_its_room_and_keeps_both_ends():
    name = "a very long identity of somebody from hospital 7"
    assert cut_to(name, 10.0, 20.0) == name
    cut = cut_to(name, 10.0, 2.0)
    assert text_width(cut, 10.0) <= 2.0
    first, last = cut.split("…")
    assert name.startswith(first)
    assert name.endswith(last)
    assert min(len(first), len(last)) > 3


def test_two_channels_are_never_in_one_calibration_picture(tmp_path):
    g = generator(4)
    prediction = replace(build(N=8, p=2), channels=("drug", "metabolite"))
    y = prediction.sample(1, g)[0]
    y[0, 3, 1] = math.nan
    evaluation = score(prediction, y, 5.0, g, paths=60)
    asked = gallery.Asked("drug", "mg/L", 5.0, 3.0, "h")
    whole = gallery.reliability_numbers(evaluation, asked)
    for k, count in enumerate((96, 95)):
        numbers = gallery.reliability_numbers(evaluation, asked, k)
        assert numbers.observations == count
        alone = torch.isfinite(y[..., k])
        assert numbers.curve.mean_outcome @ numbers.curve.count == pytest.approx(float((y[..., k][alone] > 5.0).sum()))
        assert numbers.event == f"{prediction.channels[k]} above 5 mg/L"
    assert whole.observations == 191
    found = gallery.reliability_pictures(tmp_path, evaluation, asked)
    assert [one.svg.name for one in found] == ["reliability-channel1.svg", "reliability-channel2.svg"]
    for what in ("title", "caption", "alt"):
        assert len({getattr(one, what) for one in found}) == 2


def test_labels_carry_units_and_dimensionless_ones_do_not():
    assert label("plasma_glucose", "mmol/L") == "Plasma glucose (mmol/L)"
    assert label("fraction", "1") == label("fraction", None) == "Fraction"


def test_only_png_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.png"):
        save(new_figure(1, 1), tmp_path / "a.pdf")


def test_no_global_state_and_no_pyplot(tmp_path):
    before = matplotlib.rcParams.copy()
    save(figure_of(people_axes(build(N=1), people(1), forecast_from=4.0, title="One")), tmp_path / "p.svg")
    assert matplotlib.rcParams.copy() == before
    for file in Path(pictures.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            origin = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            assert not any("pyplot" in name or "pylab" in name for name in (*names, origin))


# ------------------------------------------------------------------ on given axes


def test_a_picture_is_drawn_on_the_axes_that_it_is_given():
    figure = new_figure(6.0, 3.0)
    mine = figure.subplots(1, 2)
    assert people_axes(build(), people(2), axes=mine, forecast_from=3.0) == list(mine)
    assert [len(artists(axes, "median")) for axes in mine] == [1, 1]
    assert figure_of(list(mine)) is figure
    assert figure.get_size_inches().tolist() == [6.0, 3.0]
    words = mine[1].get_legend_handles_labels()[1]
    assert words == ["known", "unseen"]
    with pytest.raises(ValueError, match="1 axes were given and the picture has 2 panels"):
        people_axes(build(), people(2), axes=mine[0])
    with pytest.raises(ValueError, match="holds a Figure; a picture is drawn on matplotlib axes"):
        people_axes(build(), people(2), axes=[figure, figure])
    with pytest.raises(ValueError, match="head a figure of the picture's own"):
        people_axes(build(), people(2), axes=mine, title="Mine")
    with pytest.raises(ValueError, match="no panels on a figure"):
        figure_of([])
    with pytest.raises(ValueError, match="each of panels must be a Axes"):
        figure_of([figure])
    assert figure_of(mine[0]) is figure


def test_panels_of_a_row_and_a_column_say_their_units_once_and_have_the_same_limits():
    panels = people_axes(build(N=5), people(5), forecast_from=3.0)
    assert len({(a.get_xlim(), a.get_ylim()) for a in panels}) == 1
    assert [bool(a.get_ylabel()) for a in panels] == [True, False, False, True, False]
    assert [bool(a.get_xlabel()) for a in panels] == [False, False, True, True, True]
    assert panels[0].get_ylabel() == "Drug (mg/L)"
    assert panels[3].get_xlabel() == "Time since first dose (h)"


def test_what_was_measured_and_how_far_training_reached_is_marked():
    """Full dots under the record's own schedule, open ones under another; doses larger than any in training stand out."""
    (record,) = people(1)
    given, doubled = record.schedule, record.schedule.scaled("gut", 2.0)
    panels = what_if_axes(
        {"as given": build(N=1), "doubled": build(N=1, seed=1)},
        schedules={"as given": given, "doubled": doubled},
        largest={"gut": 320.0},
        until=20.0,
        measured=record,
    )
    for axes, full, larger in zip(panels, (True, False), (0, 1), strict=True):
        (seen,) = artists(axes, "measured")
        assert list(seen.get_xdata()) == [0.0, 1.0, 3.0, 20.0]  # what is missing is not drawn
        assert (seen.get_markerfacecolor() != PAGE) is full
        assert len(artists(axes, "doses")) == 1 - larger
        assert len(artists(axes, "doses_beyond")) == larger
        assert [line.get_xdata()[0] for line in artists(axes, "until")] == [20.0]
    words = [text.get_text() for text in figure_of(panels).legends[0].get_texts()]
    for said in (
        "measured",
        "measured, under what was given",
        "dose larger than any in training",
        "last measured in training",
    ):
        assert said in words


@pytest.mark.parametrize(
    "panel",
    [
        band_axes, person_axes, schedule_axes, field_axes, distance_axes, frequency_axes, quantile_axes, rings_axes,
        observed_panel_axes,
    ],
)  # fmt: skip
def test_a_single_panel_of_the_wrong_kind_is_answered_in_words(panel):
    arguments = (3, people(1)[0]) if panel is person_axes else (3,)
    with pytest.raises(ValueError, match=f"{panel.__name__}: .* must be a"):
        panel(*arguments)


def test_a_person_who_is_not_there_is_answered_in_words():
    with pytest.raises(ValueError, match="Person 9 was asked for; the bands are of 2"):
        band_axes(Bands.of(build(N=2)), 9)
