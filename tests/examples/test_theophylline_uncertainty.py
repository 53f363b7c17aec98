"""The theophylline forecasts of people never seen, before and after recalibration by the others."""

from dataclasses import replace

import pytest
import torch
from rich.console import Console

from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from homeostat.study import Settings, evaluate, train
from homeostat.study.backbones import backbone_named
from homeostat.study.recipe import hybrid_recipe
from training import read_nonmem
from training.trust import Horizons, Outcome, mean_scores, paired_difference, uncertainty_report
from training.trust.recalibration import CrossScaling


@pytest.mark.slow
def test_recalibrated_intervals_are_inside_one_band_and_scores_are_no_worse():
    records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)
    settings = Settings(forecast_from=2.5)
    recipe = hybrid_recipe(backbone_named("OneCompartmentOral"), records)
    found = evaluate(train(recipe, records, settings, Console(quiet=True)), settings, 5.0)
    people, generator = [r.id for r in records], torch.Generator().manual_seed(0)
    horizons = Horizons((2.5, 4.0, 6.0, 8.0, 10.0, 16.0, 30.0))
    stated = Outcome(found.prediction, found.y, people)
    cross = CrossScaling.fit(stated, folds=len(people), generator=generator)
    mended = replace(stated, prediction=cross.apply(found.prediction, people))
    report = uncertainty_report(
        mended,
        generator=generator,
        horizons=horizons,
        thresholds={"concentration": 5.0},
        calibration=cross,
        resample="bootstrap",
    )
    rows = [r for r in report.channels[0].coverage_by_horizon if r.level in (0.8, 0.95)]
    assert len(rows) == 12
    assert [r for r in rows if r.share.place] == []
    assert report.failed == 0
    after, before = mean_scores(mended), mean_scores(stated)
    for name in ("nll", "crps"):
        assert paired_difference(after[name], before[name], people, generator=generator).no_worse
