"""The C-peptide forecasts' intervals: who may teach what, and on real people, before and after recalibration."""

import importlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from rich.console import Console

from homeostat.c_peptide import study
from homeostat.c_peptide.beta import AHEAD
from homeostat.c_peptide.model import STEPS, build
from homeostat.c_peptide.model import people as people_of
from homeostat.data import ohashi
from hybrid import Schedule, Signal, rollout
from training import Personal, Plan, Record
from training.people.tables.ohashi import TIMES, Ohashi, read_ohashi

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with `cpeptide` beside it, as Python finds both when it is run."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("cpeptide_uncertainty")


def person(i: int, rng: np.random.Generator) -> Record:
    """Someone made up, whose C-peptide follows glucose by a factor of their own."""
    rise = (0.0, 4.0, 5.0, 3.0, 1.5) * (1.0 + 0.3 * rng.standard_normal(5))
    values = 0.5 + rng.lognormal(-1.5, 0.4) * np.array([0.0, 3.0, 6.0, 6.0, 4.0]) + 0.05 * rng.standard_normal(5)
    inputs = {
        "basal": Signal((0.0,), (float(values[0]),)),
        "glucose": Signal(TIMES, (0.0, *(float(r) for r in rise[1:]))),
    }
    covariates = {"age": 40.0 + i, "type2": float(i % 2)}
    return Record(
        str(i), Schedule(inputs=inputs), np.array(TIMES), values[:, None], ("C-peptide",), covariates, {"time": "min"}
    )


@pytest.fixture
def made_up() -> Ohashi:
    rng = np.random.default_rng(0)
    everyone = tuple(person(i, rng) for i in range(14))
    return Ohashi(everyone[:8], everyone[8:], {})


def test_everyone_is_forecast_by_the_members_that_never_saw_them(
    example: ModuleType, made_up: Ohashi, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    plan = Plan.of(8, 2, 3, generator)
    stack = plan.stack(build(), generator)
    cohort = people_of(made_up.train, stack)
    found = study.fit_beta

    def settled(*arguments: object) -> Personal:
        """β without doubt, so that every draw of it is its mode."""
        beta = found(*arguments)
        return replace(beta, covariance=torch.full_like(beta.covariance, 1e-24))

    monkeypatch.setattr(study, "fit_beta", settled)
    prediction = study.forecast_unseen(study.Ensembles(plan, stack, cohort, None), example.DRAWS, generator)
    assert prediction.mean.shape == (2, example.DRAWS, 8, 5, 1)
    for i in range(8):
        own = plan.unseen(stack, int(plan.fold[i]))
        alone = cohort.people(torch.tensor([i]))
        beta = found(own, alone, AHEAD, 60.0).mode
        with torch.no_grad():
            run = rollout(own, alone.conditions, beta)
        for drawn, one in ((prediction.mean, run.mean), (prediction.variance, run.variance)):
            expected = one[:, None, 0].expand(-1, example.DRAWS, -1, -1)
            # the search for β ends within 1e-4 of its standard deviation, in whoever's company
            torch.testing.assert_close(drawn[:, :, i], expected, atol=1e-3, rtol=1e-3)


def test_a_later_sample_has_no_say_in_a_forecast_and_test_people_have_none_in_the_factors(
    example: ModuleType, made_up: Ohashi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "MEMBERS", 2)
    monkeypatch.setattr(example, "FOLDS", 3)
    monkeypatch.setattr(example, "DRAWS", 4)
    # who has a say is looked at, and not how fine the bands are
    monkeypatch.setattr(example, "uncertainty_report", partial(example.uncertainty_report, replicates=100))
    trained: set[str] = set()
    whole = study.train

    def noted(model: object, cohort: object, *rest: object) -> object:
        trained.update(cohort.ids)  # type: ignore[attr-defined]
        return whole(model, cohort, *rest)

    monkeypatch.setattr(study, "train", noted)
    changed = tuple(replace(r, values=r.values + np.array([0.0, 0.0, 0.0, 0.3, 0.3])[:, None]) for r in made_up.test)
    (first, scaling), (second, again) = (
        example.study(data, 2, 0, "cpu", Console(quiet=True)) for data in (made_up, replace(made_up, test=changed))
    )
    train, test = ([r.id for r in people] for people in (made_up.train, made_up.test))
    assert trained == set(train)
    assert set(scaling.people) == set(train)
    assert scaling == again
    a, b = (judged["test people"].after for judged in (first, second))
    assert set(a.fitted_on) == set(train)
    assert (a.people, a.observations) == (len(test), 2 * len(test))  # 90 and 120 min
    rows, others = (report.channels[0].coverage_by_horizon for report in (a, b))
    assert [(r.level, r.horizon, r.count) for r in rows] == [
        (level, horizon, 6) for level in (0.8, 0.95) for horizon in ("75–105", "105–135")
    ]
    # the same forecasts, to the last bit, of other outcomes
    assert [r.sharpness for r in rows] == [r.sharpness for r in others]
    assert a.channels[0].nll != b.channels[0].nll
    console = Console(record=True, width=80)
    console.print(example.table_of("test people", first["test people"]))
    text = console.export_text()
    assert "…" not in text  # it fits
    for name, value in first["test people"].change.items():
        assert f"{value.difference:+.3f} [{value.lower:+.3f}, {value.upper:+.3f}]" in text, name


@pytest.mark.parametrize("arguments", [["--data", "nowhere"]])
def test_without_data_it_says_where_they_are(
    example: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main(arguments) == 2
    assert "ohashi_OGTT.csv" in capsys.readouterr().err


@pytest.mark.slow
def test_recalibrated_intervals_are_inside_one_band_and_scores_are_no_worse(example: ModuleType) -> None:
    """Training people by the others, test people by training people. Of all gates, those of coverage: two horizons, two levels.

    Not asked for is that every gate of the page is inside. A person's error at 90 min is nearly that at 120 min, among
    training people (innovations correlate by .8), which no factor mends; and test people are easier than training people, so
    that what these need is too wide for those (the PIT; and their CRPS is no worse by a hair, −.0007 at the lower end).
    """
    found, scaling = example.study(read_ohashi(ohashi()), STEPS, 0, "cpu", Console(quiet=True))
    assert len(scaling.people) == 82
    for count, judged in zip((82, 35), found.values(), strict=True):
        assert judged.after.people == count
        rows = judged.after.channels[0].coverage_by_horizon
        assert len(rows) == 4
        assert [r for r in rows if r.share.place] == []
        assert all(change.no_worse for change in judged.change.values())
    # before, the training people's page says what is wrong, and why recalibrating was called for
    training = found["training people, cross-validated"]
    before, after = (report.channels[0] for report in (training.before, training.after))
    assert before.zms.place == "above"
    assert after.zms.place == ""
    assert after.autocorrelation.observed > 0.5
