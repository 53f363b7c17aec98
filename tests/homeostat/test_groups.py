"""Scores by group: each half scored by itself, with the band that a perfect forecaster of as few people shows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.corruptions.content import ordinary
from exchange import card
from exchange.files.schema import schema_of
from homeostat.study.evaluation import score
from homeostat.study.groups import halves_of, scores_by_group
from hybrid import Dose, Prediction, Schedule
from training import Record


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def people(weights: list[float], **covariates: list[float]) -> list[Record]:
    return [
        Record(
            str(k), Schedule((Dose("gut", 0.0, 100.0),)), np.arange(1.0, 5.0), np.ones((4, 1)), ("concentration",),
            {"WT": w, **{name: values[k] for name, values in covariates.items()}},
            {"time": "h", "concentration": "mg/L", "WT": "kg"},
        )
        for k, w in enumerate(weights)
    ]  # fmt: skip


def forecast(count: int) -> Prediction:
    g = generator(3)
    mean = 5.0 + torch.randn(2, 3, count, 4, 1, generator=g, dtype=torch.float64)
    t = torch.arange(1.0, 5.0, dtype=torch.float64).expand(count, 4)
    mask = torch.ones(count, 4, dtype=torch.bool)
    return Prediction(mean, torch.full_like(mean, 0.5), t, mask, ("concentration",), ("mg/L",))


def test_each_half_is_scored_by_itself() -> None:
    records, prediction = people([50.0 + k for k in range(12)]), forecast(12)
    y = prediction.sample(1, generator(4))[0]
    y[6:] += 4.0  # the heavier half is not as it is forecast
    y[0, 2:] = torch.nan
    found = scores_by_group("hybrid", score(prediction, y, 5.0, generator(), paths=200), records)
    light, heavy = found["groups"]
    assert (light["group"], heavy["group"]) == ("WT up to 55.5 kg", "WT above 55.5 kg")
    assert (light["people"], light["count"], heavy["people"], heavy["count"]) == (6, 22, 6, 24)
    crps = prediction.crps(y)
    for row, some in ((light, slice(0, 6)), (heavy, slice(6, 12))):
        assert row["crps"]["observed"] == pytest.approx(float(crps[some].nanmean()), rel=1e-12)
        assert row["crps"]["lower"] < row["crps"]["observed"] < row["crps"]["upper"]
        assert 0.0 <= row["coverage"]["lower"] < 0.8 < row["coverage"]["upper"] <= 1.0
    assert light["coverage"]["lower"] <= light["coverage"]["observed"] <= light["coverage"]["upper"]
    assert heavy["coverage"]["observed"] < heavy["coverage"]["lower"]
    told = card(replace(ordinary(), calibration={"groups": found}))
    row = next(line for line in told.splitlines() if line.startswith("| WT above 55.5 kg | concentration | 6 | 24 | "))
    assert row.endswith("**outside** |")


def test_who_is_in_a_half() -> None:
    records = people([60.0, 70.0, 80.0, 90.0, 100.0, 110.0], SEX=[0.0, 1.0, 1.0, 1.0, 0.0, 0.0], SAME=[1.0] * 6)
    found = [(name, words, who.tolist()) for name, words, who in halves_of(records)]
    assert [name for name, *_ in found] == ["SEX", "SEX", "WT", "WT"]
    assert found[0][1:] == ("SEX up to 0.5", [True, False, False, False, True, True])
    mostly = people([60.0] * 7, SIGN=[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    assert [words for _, words, _ in halves_of(mostly)] == ["SIGN up to 0", "SIGN above 0"]
    assert list(halves_of(people([60.0, 70.0, 80.0, 90.0]))) == []  # two are too few for a band
    assert list(halves_of([])) == []


def test_they_are_as_the_schema_says() -> None:
    import jsonschema

    prediction = forecast(8)
    scored = score(prediction, prediction.sample(1, generator(4))[0], 5.0, generator(), paths=50)
    found: dict[str, Any] = {"groups": scores_by_group("hybrid", scored, people([50.0 + k for k in range(8)]))}
    jsonschema.Draft202012Validator(schema_of("calibration.json")).validate(found)
    assert scores_by_group("hybrid", scored, people([50.0] * 8))["groups"] == []
