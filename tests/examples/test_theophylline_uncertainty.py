"""The theophylline forecasts of people never seen, before and after recalibration by the others."""

import pytest
import torch
from rich.console import Console

from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from homeostat.study import Settings, evaluate, train
from homeostat.study.recipe import backbone_named, hybrid_recipe
from training import read_nonmem
from training.trust.horizons import Horizons
from training.trust.recalibration.cross_scaling import CrossScaling
from training.trust.recalibration.scaling import mean_scores
from training.trust.score_rows import paired_difference
from training.trust.uncertainty_report import uncertainty_report


@pytest.mark.slow
def test_recalibrated_intervals_are_inside_one_band_and_scores_are_no_worse():
    records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)
    settings = Settings(forecast_from=2.5)
    recipe = hybrid_recipe(backbone_named("OneCompartmentOral"), records)
    found = evaluate(train(recipe, records, settings, Console(quiet=True)), settings, 5.0)
    people, generator = [r.id for r in records], torch.Generator().manual_seed(0)
    horizons = Horizons((2.5, 4.0, 6.0, 8.0, 10.0, 16.0, 30.0))
    cross = CrossScaling.fit(found.prediction, found.y, people, folds=len(people), generator=generator)
    mended = cross.apply(found.prediction, people)
    report = uncertainty_report(
        mended,
        found.y,
        people,
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
    after, before = mean_scores(mended, found.y), mean_scores(found.prediction, found.y)
    for name in ("nll", "crps"):
        assert paired_difference(after[name], before[name], people, generator=generator).no_worse
