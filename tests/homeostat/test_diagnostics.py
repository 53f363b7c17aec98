"""The pictures and the page of a population's diagnostics: their numbers, their words, and what is missing said."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from homeostat.gallery.diagnostics import diagnostics_section, population_sentences, population_verdicts
from homeostat.gallery.made import Made
from homeostat.gallery.report import write_report
from homeostat.pictures import curves_axes, eta_axes, npde_axes, predictive_check_axes, residuals_axes, what_if_axes
from homeostat.pictures.diagnostics.in_words import (
    curves_in_words,
    eta_in_words,
    npde_in_words,
    predictive_check_in_words,
    residuals_in_words,
)
from homeostat.study.diagnosed import Diagnosed, diagnosed
from hybrid import Dose, Schedule, predict
from learned import DiagonalDiffusion, Ensemble
from tests.training.diagnostics.studies import linear, measured_by, oral
from training import Cohort, personalise
from training.diagnostics import fitted_curves


def found_of(people: int = 20, *, wrong: bool = False) -> Diagnosed:
    truth = oral()
    cohort = measured_by(truth, people, 3, doses=(100.0, 300.0, 900.0))
    model = oral((0.7, 0.7, 0.7)) if wrong else truth
    found = diagnosed(model, cohort, personalise(model, cohort))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def right() -> Diagnosed:
    return found_of()


def drawn(panel: object, gid: str) -> list[object]:
    return [one for one in panel.get_children() if one.get_gid() == gid]  # type: ignore[attr-defined]


def test_what_is_drawn_is_what_was_computed(right: Diagnosed) -> None:
    checks = right.checks["concentration"]
    panels = predictive_check_axes(checks)
    assert len(panels) == 2
    for panel, check in zip(panels, checks.values(), strict=True):
        lines = drawn(panel, "quantile")
        np.testing.assert_array_equal([line.get_ydata() for line in lines], check.observed)  # type: ignore[attr-defined]
        assert len(drawn(panel, "band")) == 3
        (rings,) = drawn(panel, "outside")
        assert len(rings.get_xdata()) == int(check.strays.observed)  # type: ignore[attr-defined]
    assert right.errors is not None
    assert right.residuals is not None
    assert right.curves is not None
    assert right.eta is not None
    (dots,) = drawn(npde_axes(right.errors)[1], "measured")
    assert sorted(dots.get_ydata()) == sorted(right.errors.npde.flatten().tolist())  # type: ignore[attr-defined]
    panels = residuals_axes(right.residuals)
    (dots,) = drawn(panels[1], "measured")
    assert sorted(dots.get_xdata()) == sorted(right.residuals.ipred.flatten().tolist())  # type: ignore[attr-defined]
    panels = curves_axes(right.curves, [0, 3])
    (line,) = drawn(panels[1], "individual")
    np.testing.assert_array_equal(line.get_ydata(), right.curves.individual[3, :, 0])  # type: ignore[attr-defined]
    assert len(eta_axes(right.eta)) == 3  # three parameters and one covariate, the dose
    for refused, words in (
        (lambda: npde_axes(right.errors, channel=1), "channel is a place"),  # type: ignore[arg-type]
        (lambda: predictive_check_axes({}), "from 1 to 3"),
        (lambda: curves_axes(right.curves, [99]), "people are from 1 to 24"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=words):
            refused()


def test_words_have_the_numbers(right: Diagnosed) -> None:
    assert right.errors is not None
    assert right.residuals is not None
    assert right.curves is not None
    assert right.eta is not None
    checks = right.checks["concentration"]
    words = predictive_check_in_words(checks)
    assert f"{checks['as measured'].strays.observed:.0f} of 18 quantiles lie outside" in words
    band = right.errors.statistics["concentration"]["standard deviation"]
    assert f"standard deviation {band.observed:.3g}" in npde_in_words(right.errors)
    assert "120 measurements of concentration" in residuals_in_words(right.residuals)
    assert curves_in_words(right.curves, range(3)).startswith("3 panels, one a person, of concentration in mg/L with 18")
    assert "rank correlation" in eta_in_words(right.eta)


def test_a_page_has_the_section_and_csv_that_pandas_takes(right: Diagnosed, tmp_path: Path) -> None:
    section = diagnostics_section(tmp_path, right, "first dose", fitted_on=True)
    made = Made("homeostat fit", "2026-01-01T00:00:00Z", "0")
    page = write_report(tmp_path / "report.html", title="A page", opening=["One sentence."], made=made, sections=[section])
    assert "Is the population right?" in page.read_text()
    assert len(section.pictures) == 5
    assert all(one.svg.exists() and one.alt for one in section.pictures)
    written = tmp_path / "tables" / "predictions-and-residuals-of-every-measurement.csv"
    with written.open() as stream:
        rows = list(csv.DictReader(stream))
    assert right.residuals is not None
    assert len(rows) == int(torch.isfinite(right.residuals.y).sum())
    assert float(rows[7]["CWRES"]) == right.residuals.cwres[1, 1, 0].item()
    assert set(rows[0]) >= {"person", "time (h)", "measured (mg/L)", "PRED (mg/L)", "IPRED (mg/L)", "IWRES", "NPDE"}
    json.dumps(right.to_dict(), allow_nan=False)


def test_a_right_population_has_no_verdict_and_a_wrong_one_has(right: Diagnosed) -> None:
    assert population_verdicts(right) == []
    assert population_verdicts(None) == []
    wrong = found_of(100, wrong=True)
    (verdict,) = population_verdicts(wrong)
    assert verdict.good is False
    assert "does not describe concentration" in verdict.claim
    assert "too wide" in verdict.detail
    assert any("is not as the model says" in one for one in population_sentences(wrong))


@pytest.mark.usefixtures("without_drawing")
def test_of_members_one_person_several_channels_and_what_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says of which members; what is refused is one sentence of it, and the rest is there."""
    monkeypatch.setattr("homeostat.study.diagnosed.DRAWS", 60)
    model = Ensemble(2).stack(oral(), torch.Generator().manual_seed(0))
    cohort = measured_by(oral(), 1, 4)
    found = diagnosed(model, cohort, personalise(model, cohort))
    assert found is not None
    assert found.errors is not None
    assert found.errors.about.members == "the mixture of 2 members"
    assert found.eta is None
    assert len(diagnostics_section(tmp_path, found, "first dose", fitted_on=False).pictures) == 4
    model, cohort, _, _ = linear(2, 12, channels=2)
    y = cohort.y.clone()
    y[3] = y[:, 1, 0] = torch.nan
    cohort = replace(cohort, y=y)
    found = diagnosed(model, cohort, personalise(model, cohort))
    assert found is not None
    assert list(found.checks) == ["y", "z"]
    assert len(diagnostics_section(tmp_path, found, "start", fitted_on=False).pictures) == 8
    noisy = oral(process=DiagonalDiffusion([1.0, 1.0]))
    cohort = measured_by(oral(), 3, 4)
    found = diagnosed(noisy, cohort, personalise(noisy, cohort))
    assert found is not None
    assert found.residuals is None
    assert found.errors is not None
    assert any("process noise" in one for one in found.missing)
    assert len(diagnostics_section(tmp_path, found, "first dose", fitted_on=False).pictures) >= 3


def test_values_beyond_limits_are_drawn_where_curves_and_what_ifs_are() -> None:
    """A triangle at the limit, which points to where the value lies, and the words count them."""
    model = oral()
    cohort = measured_by(model, 2, 3)
    records = []
    for record in cohort.records:
        values, lower, upper = record.values.copy(), np.full_like(record.values, -np.inf), np.full_like(record.values, np.inf)
        upper[-1], lower[1] = 0.4, 3.0
        values[-1] = values[1] = np.nan
        records.append(replace(record, values=values, lower=lower, upper=upper))
    limited = Cohort.of(records, model)
    fits = fitted_curves(model, limited)
    for panel in curves_axes(fits, [0, 1]):
        marks = {line.get_marker(): line for line in drawn(panel, "limited")}  # type: ignore[attr-defined]
        assert list(marks["v"].get_ydata()) == [0.4]
        assert list(marks["v"].get_xdata()) == [12.0]
        assert list(marks["^"].get_ydata()) == [3.0]
    assert "4 more are only known to lie beyond a limit: a triangle there." in curves_in_words(fits, [0, 1])
    assert "beyond a limit" not in curves_in_words(fitted_curves(model, cohort), [0, 1])
    assert not drawn(curves_axes(fitted_curves(model, cohort), [0])[0], "limited")
    prediction = predict(model, limited, personalise(model, limited).mode[:, None])
    given = records[0].schedule
    named = {"as given": given, "twice": Schedule((Dose("gut", 0.0, 600.0),))}
    first = prediction.people([0])
    panels = what_if_axes({"as given": first, "twice": first}, schedules=named, measured=records[0])
    for panel, filled in zip(panels, (True, False), strict=True):
        marks = {line.get_marker(): line for line in drawn(panel, "limited")}  # type: ignore[attr-defined]
        assert list(marks["v"].get_ydata()) == [0.4]
        assert (marks["v"].get_markerfacecolor() == marks["v"].get_markeredgecolor()) == filled
        low, high = panel.get_ylim()
        assert low <= 0.4 < 3.0 <= high
