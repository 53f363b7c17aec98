"""The report's judgement: both reports, what recalibration changes, its verdicts, tables and pictures, and the field's rings."""

import json
import re
import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from homeostat.gallery import Asked
from homeostat.gallery import figures as module
from homeostat.gallery.judged import (
    Judged,
    conventions_table,
    judge_uncertainty,
    passes_in_words,
    pictures_of,
    rings_of,
    scores_table,
    verdicts_of,
)
from homeostat.gallery.made import Made
from homeostat.gallery.report import write_report
from homeostat.pictures import Rings
from homeostat.pictures.style import DPI
from hybrid import HybridModel, Prediction, rollout
from learned import MLP, AdditiveProportional, Ensemble
from learned.ensemble import concatenate, select
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, personalise
from training.trust import Outcome, mean_scores
from training.trust.channel_verdicts import channel_verdicts, coverage_verdict
from training.trust.recalibration import Scaling
from training.trust.verdicts import Verdict, verdicts_about

ASKED = Asked("drug", "mg/L", 5.0, None, "h")
PEOPLE = tuple(f"P{i}" for i in range(12))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def forecast(N: int = 12, T: int = 6, *, seed: int = 0) -> Prediction:
    """Four members and three draws of each person, at 0, 2, 4 … h; the members and the person last along the path."""
    g = generator(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    mean = 5.0 + normal(1, 1, N, 1, 1) + 0.5 * normal(4, 1, N, 1, 1) + 0.4 * normal(4, 3, N, 1, 1)
    mean = mean * (1.0 - 0.05 * torch.arange(T, dtype=torch.float64))[:, None]
    times = 2.0 * torch.arange(T, dtype=torch.float64).expand(N, T)
    return Prediction(
        mean, torch.full_like(mean, 0.5), times, torch.ones(N, T, dtype=torch.bool), ("drug",), ("mg/L",)
    )


def overconfident(prediction: Prediction, factor: float = 0.02) -> Prediction:
    """A fiftieth of the noise, as its author believes."""
    return replace(prediction, variance=factor * prediction.variance)


@pytest.fixture(scope="module")
def truth() -> tuple[Prediction, torch.Tensor]:
    """A forecast that is right, and what was measured; two measurements are missing."""
    prediction = forecast()
    y = prediction.sample(1, generator(1))[0]
    y[2, 4] = y[7, 0] = torch.nan
    return prediction, y


@pytest.fixture(scope="module")
def right(truth: tuple[Prediction, torch.Tensor]) -> Judged:
    return judge_uncertainty(*truth, PEOPLE, ASKED, resample="bootstrap")


@pytest.fixture(scope="module")
def wrong(truth: tuple[Prediction, torch.Tensor]) -> Judged:
    return judge_uncertainty(overconfident(truth[0]), truth[1], PEOPLE, ASKED, resample="bootstrap")


def test_the_reports_are_of_the_forecast_and_of_everyone_scaled_by_the_others(truth, right, wrong):
    prediction, y = truth
    pooled = {name: float(np.nanmean(v)) for name, v in mean_scores(Outcome(prediction, y, PEOPLE)).items()}
    channel = right.before.channels[0]
    assert (channel.nll, channel.crps) == pytest.approx((pooled["nll"], pooled["crps"]), rel=1e-12)
    assert (right.before.people, right.before.observations) == (12, 70)
    assert channel.events.threshold == ASKED.threshold
    assert [row.level for row in channel.coverage_by_horizon[::6]] == [0.8, 0.95]
    for judged in (right, wrong):
        # twelve people, ten folds: everyone is in one, and the report says that its factors came from people
        assert set(judged.after.fitted_on) == set(PEOPLE)
        assert judged.before.fitted_on == ()
        assert judged.after.horizon_edges == judged.before.horizon_edges
        for name in ("nll", "crps"):
            first, second = (getattr(report.channels[0], name) for report in (judged.before, judged.after))
            mean, low, high = judged.change[name]
            assert mean == pytest.approx(second - first, rel=1e-9, abs=1e-12)
            assert low <= mean <= high
        assert set(judged.scaling.people) == set(PEOPLE)


def test_recalibration_mends_who_is_overconfident_and_leaves_who_is_right(right, wrong):
    assert right.before.failed == 0
    # too little noise by a factor of 50; the prior of the factors' logarithms is log 4 wide and 70 observations outweigh it
    assert wrong.before.failed > 0
    assert 10.0 < wrong.scaling.aleatoric[0] < 100.0
    assert 0.5 < right.scaling.aleatoric[0] < 2.0
    assert wrong.after.failed == 0
    assert wrong.change["nll"][2] < 0.0
    assert wrong.change["crps"][2] < 0.0
    # three factors of a right forecaster, from eleven people: they cost about 3/(2·70) nats a measurement, more as these depend
    assert abs(right.change["nll"][0]) < 0.1 < 1.0 < -wrong.change["nll"][0]


def test_it_is_the_same_again_and_plain_values(truth, right):
    again = judge_uncertainty(*truth, PEOPLE, ASKED, resample="bootstrap")
    assert again.to_dict() == right.to_dict()
    assert Scaling.from_dict(right.to_dict()["scaling"]) == right.scaling
    other = judge_uncertainty(*truth, PEOPLE, ASKED, resample="bootstrap", seed=4)
    assert other.scaling == right.scaling  # of everyone: no random number has a say
    assert other.before.channels[0].nll == right.before.channels[0].nll
    assert other.to_dict() != right.to_dict()


def test_too_few_people_are_not_recalibrated(truth, tmp_path):
    prediction, y = truth
    few = prediction.people([0, 1, 2])
    # one person with two records is one person
    for forecasts, seen, people in (
        (few, y[:3], PEOPLE[:3]),
        (prediction.people(range(6)), y[:6], ("a", "b", "c") * 2),
    ):
        judged = judge_uncertainty(forecasts, seen, people, ASKED)
        assert (judged.after, judged.scaling, judged.change) == (None, None, {})
        assert judged.before.people == 3
        assert judged.to_dict()["after"] is None
        words = " ".join(v.claim for v in verdicts_of(judged))
        assert "Recalibra" not in words
        assert "below 10 a horizon's numbers say little" in words
        assert " h: 3 people only" in words
        assert [p.png.name for p in pictures_of(tmp_path, judged, ASKED, None)] == ["horizons.png", "ignorance.png"]
    four = judge_uncertainty(prediction.people(range(4)), y[:4], PEOPLE[:4], ASKED)
    assert four.after is not None


def test_a_scaling_that_was_applied_widens_the_band_and_is_not_fitted_again(truth):
    prediction, y = truth
    apart, later = forecast(seed=5), [f"Q{i}" for i in range(12)]
    scaling = Scaling.fit(Outcome(apart, apart.sample(1, generator(6))[0], later))
    mended = scaling.apply(prediction, PEOPLE)
    judged = judge_uncertainty(mended, y, PEOPLE, ASKED, recalibrate=False, calibration=scaling)
    assert (judged.after, judged.scaling, judged.change) == (None, None, {})
    assert "allows for other calibration people" in judged.before.verdicts[0].detail
    assert set(judged.before.fitted_on) == set(later)
    plain = judge_uncertainty(mended, y, PEOPLE, ASKED, recalibrate=False)
    wide, narrow = (j.before.channels[0].zms for j in (judged, plain))
    assert wide.upper - wide.lower > narrow.upper - narrow.lower
    with pytest.raises(ValueError, match="fitted on 12 of these people"):
        judge_uncertainty(apart, y, later, ASKED, recalibrate=False, calibration=scaling)


def test_a_threshold_of_no_channel_is_refused(truth):
    with pytest.raises(ValueError, match="thresholds names"):
        judge_uncertainty(*truth, PEOPLE, replace(ASKED, channel="glucose"))


# ---- what is said


def colour_of(verdicts: Sequence[Verdict], words: str) -> bool | None:
    (found,) = [v.good for v in verdicts if words in v.claim]
    return found


def test_verdicts_have_the_colour_of_what_they_say(right, wrong):
    good, bad = verdicts_of(right), verdicts_of(wrong)
    assert colour_of(good, f"The stated uncertainty passes all {right.before.gates} gates") is True
    assert colour_of(bad, f"The stated uncertainty fails {wrong.before.failed} of {wrong.before.gates} gates") is False
    assert colour_of(bad, f"Recalibrated by the other people, the uncertainty passes all {wrong.after.gates}") is True
    assert colour_of(bad, "Recalibration makes the NLL better") is True
    assert colour_of(good, "What new people's forecasts are scaled by") is None
    assert colour_of(good, "Drug: the 80 % interval covers") is True
    assert any("outside its null band" in v.claim for v in bad)
    assert all(v.good is False for v in bad if "outside its null band" in v.claim)
    assert colour_of(bad, "of the variance") is None
    sentences = [v.claim[:1].upper() + v.claim[1:] for v in right.before.verdicts[1:]]
    assert [v.claim for v in good][1 : 1 + len(sentences)] == sentences


def test_gates_that_pass_together_say_how_many_are_outside_their_own_band(right):
    before = right.before
    (channel,) = before.channels
    assert len(channel.every_gate) == before.gates
    inside = replace(channel.zms, observed=channel.zms.mean, alone_lower=0.0, alone_upper=9.0)
    hint = replace(inside, observed=channel.zms.upper - 1e-6, alone_upper=channel.zms.mean)
    claims = {}
    for name, one in (("none", inside), ("one", hint)):
        report = replace(before, channels=(replace(channel, zms=one),))
        claims[name] = passes_in_words(report)
    others = before.outside_alone - bool(channel.zms.place_alone)
    assert claims["one"][1] is True
    assert f"gates together, though {others + 1} of them" in claims["one"][0]
    assert f"outside {'its' if others == 0 else 'their'} own band (of a perfect forecaster about 2 are)" in claims["one"][0]
    assert (f"though {others} of them" in claims["none"][0]) == (others > 0)
    assert passes_in_words(replace(report, failed=2))[0].startswith("fails 2 of ")


def test_to_pass_with_one_person_or_within_wide_bands_is_no_news(right):
    alone = replace(right.before, people=1, undecided=15)
    words, good = passes_in_words(alone)
    assert good is None
    assert words == (
        f"cannot be judged with one person: 15 of {alone.gates} gates cannot decide, and to fail none of the other "
        f"{alone.gates - 15} says little"
    )
    (channel,) = right.before.channels
    wide = {level: replace(gate, lower=0.11, upper=1.0) for level, gate in channel.coverage.items()}
    few = replace(right.before, people=5, channels=(replace(channel, coverage=wide),))
    assert passes_in_words(few)[1] is None
    gate = replace(wide["0.8"], observed=0.89, alone_lower=0.2, alone_upper=1.0)
    for people, why in ((1, "one person is no sample of people"), (5, "so wide a band holds nearly every forecaster")):
        verdict = coverage_verdict("y", "0.8", gate, people)
        assert verdict.good is None
        assert verdict.claim.endswith(f"inside its null band of 11–100 % (all gates together), and {why}")
    assert coverage_verdict("y", "0.8", replace(gate, lower=0.6), 5).good is True
    assert coverage_verdict("y", "0.8", replace(gate, lower=0.9, upper=1.0), 1).good is False  # to lie outside is


HARMLESS = (
    "minutes outside range",
    "wrong-way rectifier",
    "not worse, no evidence against it",
    "missing, misses, recalibrate",
    "innovation foretells gates of the variance",
    "mmol/L [no unit]: 5 %",
    "good. ✗",
)


@pytest.mark.parametrize("name", HARMLESS)
def test_names_have_no_say_in_the_colour(right, wrong, tmp_path, name):
    colour = {True: "good", False: "bad", None: "neutral"}
    for plain in (right, wrong):
        channel = replace(plain.before.channels[0], channel=name, unit="wrong, outside")
        verdicts = (plain.before.verdicts[0], *channel_verdicts(channel), *(f.verdict for f in plain.before.flags))
        found = verdicts_of(replace(plain, before=replace(plain.before, channels=(channel,), verdicts=verdicts)))
        expected = verdicts_of(plain)
        assert [v.good for v in found] == [v.good for v in expected]
        assert [v.about for v in found] == [tuple(name if a == "drug" else a for a in v.about) for v in expected]
        page = write_report(tmp_path / "r.html", title="t", opening=["x"], made=Made.now("f(…)"), verdicts=found)
        source = page.read_text("utf-8")
        assert re.findall('<li class="([a-z]+)">', source) == [colour[v.good] for v in expected]


def test_names_of_channels_units_and_people_have_no_say_in_a_whole_judgement(truth):
    people = tuple(f"misses {p} outside, not described" for p in PEOPLE)
    plain = judge_uncertainty(*truth, PEOPLE, ASKED, resample="bootstrap", recalibrate=False)
    renamed = replace(truth[0], channels=("minutes outside range",), units=("no, wrong",))
    asked = replace(ASKED, channel="minutes outside range")
    judged = judge_uncertainty(renamed, truth[1], people, asked, resample="bootstrap", recalibrate=False)
    assert [v.good for v in verdicts_of(judged)] == [v.good for v in verdicts_of(plain)]
    assert verdicts_about(verdicts_of(judged), "coverage", "minutes outside range", "0.8")[0].good is True


def test_flags_have_their_own_judgement_and_replace_the_gate_that_says_the_same(truth):
    # residuals that last along a person's path: one channel is called so, although its name speaks of the other's fault
    prediction, y = truth
    lasting = replace(prediction, mean=prediction.mean.mean((0, 1), keepdim=True).expand_as(prediction.mean))
    both = replace(
        lasting,
        mean=torch.cat([lasting.mean, prediction.mean], -1),
        variance=torch.cat([lasting.variance, prediction.variance], -1),
        channels=("innovations", "drug"),
        units=("mg/L", "mg/L"),
    )
    g = generator(2)
    slow = lasting.point + 2.0 * torch.randn(12, 1, 1, generator=g, dtype=torch.float64)
    judged = judge_uncertainty(both, torch.cat([slow, y], -1), PEOPLE, ASKED, resample="init", recalibrate=False)
    flags = {(f.name, f.channel): f.good for f in judged.before.flags}
    assert flags["residuals_correlated", "innovations"] is False
    assert ("residuals_correlated", "drug") not in flags
    assert flags["epistemic_not_measured", None] is None
    verdicts = verdicts_of(judged)
    assert len(verdicts_about(judged.before.verdicts, "innovations", "innovations")) == 1
    assert verdicts_about(verdicts, "innovations", "innovations") == []  # the flag says it, and what it means
    assert [v.good for v in verdicts_about(verdicts, "flag", "residuals_correlated")] == [False]


def test_a_verdict_is_plain_values(right):
    for verdict in verdicts_of(right):
        data = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
        assert data == {"claim": verdict.claim, "good": verdict.good, "detail": verdict.detail, "about": list(verdict.about)}
        assert str(verdict).startswith(f"{verdict.claim}.")
    first = right.to_dict()["before"]["verdicts"][0]
    assert (first["good"], list(first["about"])) == (True, ["gates"])
    assert [v.about for v in verdicts_about(verdicts_of(right), "gates")] == [("gates", "as it is"), ("gates", "recalibrated")]


def test_a_recalibration_that_harms_is_called_worse(right):
    judged = replace(right, change={"nll": (0.2, 0.1, 0.3), "crps": (0.0, -0.1, 0.1)})
    verdicts = verdicts_of(judged)
    assert colour_of(verdicts, "Recalibration makes the NLL worse") is False
    assert colour_of(verdicts, "Recalibration makes the CRPS neither") is None
    (detail,) = [v.detail for v in verdicts if "NLL worse" in v.claim]
    assert "+0.200, 95 % interval over people +0.100 to +0.300" in detail


def test_members_that_differ_by_first_weights_alone_are_pointed_out(truth):
    judged = judge_uncertainty(*truth, PEOPLE, ASKED, resample="init", recalibrate=False)
    assert any("first weights alone" in v.claim for v in verdicts_of(judged))


def test_the_table_has_every_horizons_own_scores(truth, right):
    prediction, y = truth
    table = scores_table(right, ASKED)
    assert len(table.rows) == 6  # six times, six horizons
    squares = ((y - prediction.point) ** 2)[..., 0].numpy()
    scores = mean_scores(Outcome(prediction, y, PEOPLE))
    for k, row in enumerate(table.rows):
        seen = int(torch.isfinite(y[:, k]).sum())
        assert row[1:3] == [seen, seen]
        naive = [np.nanmean(scores[name][:, k]) for name in ("nll", "crps")]
        naive += [np.nanmean(squares[:, k]) ** 0.5, np.nanmean(squares[:, k] / prediction.total[:, k, 0].numpy())]
        assert row[3:7] == pytest.approx(naive, rel=1e-12)
        shares = [r.share.observed for r in right.before.channels[0].coverage_by_horizon if r.horizon == row[0]]
        assert table.full.rows[k] == [*row[:7], *shares]  # the file has numbers
        assert row[7:] == [f"{100 * share:.0f} %" for share in shares]
    assert [table.columns[k] for k in (0, 4, 5)] == ["horizon (h)", "CRPS (mg/L)", "RMSE (mg/L)"]
    assert table.columns[7:] == ["in 80 %", "in 95 %"]
    assert "h since the first dose." in table.note


# ---- what is drawn


def png_size(path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[-8:-4] == b"IEND"
    return struct.unpack(">II", data[16:24])


def test_the_pictures_show_the_reports_numbers(tmp_path, monkeypatch, wrong):
    figures, whole = [], module.write_picture

    def noted(figure, *words, **said):
        figures.append(figure)
        return whole(figure, *words, **said)

    monkeypatch.setattr(module, "write_picture", noted)
    rings = Rings(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.4, 0.9]), 1.5)
    found = pictures_of(tmp_path, wrong, ASKED, rings)
    assert [p.png.name for p in found] == ["horizons.png", "horizons_recalibrated.png", "ignorance.png"]
    assert all(p.png.parent == tmp_path and png_size(p.png)[0] == 11 * DPI and p.caption for p in found)
    assert len({p.title for p in found}) == len({p.caption for p in found}) == 3

    def drawn(figure, gid: str) -> list:
        return figure.findobj(lambda a: a.get_gid() == gid)

    for figure, report in zip(figures[:2], (wrong.before, wrong.after), strict=True):
        channel = report.channels[0]
        for level, dots in zip((0.8, 0.95), drawn(figure, "coverage"), strict=True):
            rows = [r for r in channel.coverage_by_horizon if r.level == level]
            assert list(dots.get_ydata()) == [r.share.observed for r in rows]
        for level, line in zip((0.8, 0.95), drawn(figure, "width"), strict=True):
            rows = [r for r in channel.coverage_by_horizon if r.level == level]
            assert list(line.get_ydata()) == [r.sharpness for r in rows]
        bars = drawn(figure, "split")
        heights = [bar.get_height() for bar in bars]
        rows = channel.split_by_horizon
        parts = ("aleatoric", "personal", "epistemic")
        assert heights == pytest.approx([getattr(r, part) for part in parts for r in rows])
        (error,) = drawn(figure, "error")
        assert list(error.get_ydata()) == [r.squared_error for r in rows]
        assert sum(bar.get_height() for bar in drawn(figure, "pit")) == pytest.approx(1.0)
        assert len(drawn(figure, "null")) == 3  # a band below the dots of either level, one over the histogram
    (line,), (edge,) = drawn(figures[2], "rings"), drawn(figures[2], "seen")
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1.0, 2.0, 3.0], [0.1, 0.4, 0.9])
    assert edge.get_width() == 1.5
    assert len(drawn(figures[2], "split")) == 3 * len(wrong.before.channels[0].split_by_value)


def test_every_channel_has_pictures_of_its_own(tmp_path, right):
    (one,) = right.before.channels
    both = replace(right.before, channels=(one, replace(one, channel="other", unit="L"), replace(one, channel="unseen", count=0)))
    rings = Rings(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.4, 0.9]), 1.5)
    found = pictures_of(tmp_path, replace(right, before=both, after=None), ASKED, rings)
    stems = ["horizons-channel1", "horizons-channel2", "ignorance-channel1", "ignorance-channel2"]
    assert [p.name for p in found] == stems
    assert len({p.title for p in found}) == len({p.caption for p in found}) == 4
    assert [p.caption.startswith("Of other alone.") for p in found] == [False, True, False, True]
    assert ["the members' spread" in p.alt for p in found] == [False, False, True, False]  # the field has no channel


# ---- the field away from the data


def test_rings_are_around_the_states_that_were_seen(model, cohort):
    two = Ensemble(members=2).stack(model, generator())
    y = cohort.y.clone()
    y[0, :3] = torch.nan
    cohort = replace(cohort, y=y)
    personal = personalise(two, cohort)
    rings = rings_of(two, cohort, personal)
    with torch.no_grad():
        states = rollout(two, cohort.conditions, personal.mode).states[0].numpy()
    seen = states[np.isfinite(y[..., 0].numpy())]  # of the first member, where something was measured
    assert len(seen) < states.shape[0] * states.shape[1]
    off = seen - seen.mean(0)
    distance = np.sqrt(np.einsum("ki,ij,kj->k", off, np.linalg.inv(np.cov(seen.T)), off))
    # the rings' covariance has 1e-9 of the squared scales added, so that it can be inverted for whoever stands still
    assert rings.edge == pytest.approx(np.quantile(distance, 0.95), rel=1e-5)
    assert rings.radius.shape == rings.spread.shape == (12,)
    assert rings.radius[-1] == pytest.approx(3.0 * rings.edge)
    assert (np.diff(rings.radius) > 0.0).all()
    assert (rings.spread > 0.0).all()
    other = rings_of(two, cohort, personal, seed=6)
    # 256 directions of a ring: a mean of squares that vary by about their mean is off by 1/16 and its root by 1/32; two of them
    np.testing.assert_allclose(other.spread, rings.spread, rtol=5.0 * 2**0.5 / 32)
    assert other.edge == rings.edge


def test_members_that_agree_have_no_spread_and_twice_the_disagreement_is_twice_the_spread(model, cohort):
    first = Ensemble(members=2).stack(model, generator())
    alike = select(first, torch.tensor([0, 0]))
    personal = personalise(alike, cohort)
    assert rings_of(alike, cohort, personal).spread == pytest.approx(np.zeros(12), abs=1e-12)
    spreads = []
    for size in (0.01, 0.02):
        moved = select(first, torch.tensor([0]))
        with torch.no_grad():
            moved.residual.weights[-1].mul_(1.0 + size)
        pair = concatenate([select(first, torch.tensor([0])), moved])
        # the states are the first member's, and its people are the same in both
        spreads.append(rings_of(pair, cohort, personal).spread)
    np.testing.assert_allclose(spreads[1], 2.0 * spreads[0], rtol=0.05)


def test_rings_are_left_out_where_they_cannot_be_drawn(model, cohort):
    personal = personalise(model, cohort)
    assert rings_of(model, cohort, personal) is None  # one member has nobody to disagree with
    covariate = HybridModel(
        OneCompartmentOral(),
        LogNormalPopulation(OneCompartmentOral().physical, (0.4, 0.2, 0.2)),
        MLP(2, covariates=1, hidden=(4,), state_scale=300.0, rate_scale=0.1),
        observation=model.observation,
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
        latents=1,
    )
    stacked = Ensemble(members=2).stack(covariate, generator())
    asked = Cohort.of(cohort.records, stacked)
    assert rings_of(stacked, asked, personalise(stacked, asked)) is None


def test_every_number_has_its_convention(right):
    table = conventions_table(right)
    assert len(table.rows) == len(right.before.conventions) > 4
    assert all(what and convention for what, convention in table.rows)
