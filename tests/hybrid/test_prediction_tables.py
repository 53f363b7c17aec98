"""A prediction as a long table and as an array with names says what the prediction says."""

import json
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from hybrid import Prediction
from training.trust import Outcome, score_table, scores_by_horizon, uncertainty_report


def prediction(times: torch.Tensor | None = None, **changes: object) -> Prediction:
    """Three people, two channels, four times of which the second person's last one is padding."""
    g = torch.Generator().manual_seed(3)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1, 3] = False
    made = Prediction(
        mean=5.0 + torch.randn(4, 2, 3, 4, 2, generator=g, dtype=torch.float64),
        variance=0.1 + torch.rand(4, 2, 3, 4, 2, generator=g, dtype=torch.float64),
        times=torch.arange(12.0).reshape(3, 4) if times is None else times,
        mask=mask,
        channels=("glucose", "insulin"),
        units=("mmol/L", "pmol/L"),
        ids=("Ann", "Ben", "Cem"),
        time_unit="min",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_long_table_has_a_row_for_each_real_time_and_channel() -> None:
    p = prediction()
    frame = p.to_frame(level=0.8)
    assert len(frame) == 2 * 11
    assert list(frame.columns[:5]) == ["person", "time", "time_unit", "channel", "unit"]
    assert not frame.isna().any().any()
    row = frame[(frame.person == "Ben") & (frame.time == 6.0) & (frame.channel == "insulin")].iloc[0]
    lower, upper = p.interval(0.8)
    at = (1, 2, 1)
    assert (row.unit, row.time_unit, row.level) == ("pmol/L", "min", 0.8)
    want = {"mean": p.point, "sd": p.total.sqrt(), "lower": lower, "upper": upper, "epistemic_sd": p.epistemic.sqrt()}
    assert {k: row[k] for k in want} == {k: float(v[at]) for k, v in want.items()}
    parts = frame.aleatoric_sd**2 + frame.epistemic_sd**2 + frame.personal_sd**2
    assert np.allclose(frame.sd**2, parts, rtol=1e-12)


def test_people_without_ids_are_counted() -> None:
    assert set(prediction(ids=None).to_frame().person) == {0, 1, 2}


def test_an_array_has_a_name_for_every_axis() -> None:
    p = prediction()
    data = p.to_xarray()
    assert dict(data.sizes) == {"member": 4, "draw": 2, "person": 3, "time": 4, "channel": 2}
    one = data["mean"].sel(person="Cem", channel="glucose")
    assert np.array_equal(one, p.mean[:, :, 2, :, 0])
    assert np.isnan(data["variance"].sel(person="Ben").isel(time=3)).all()
    assert data["unit"].sel(channel="insulin") == "pmol/L"
    assert data["when"].attrs["units"] == "min"
    assert "time" not in data.coords  # everyone's own
    # the law of total variance, by names
    point, spread = data["mean"].mean(("member", "draw")), data["mean"].var(("member", "draw"))
    assert np.allclose(point, p.point, equal_nan=True)
    assert np.allclose(spread + data["variance"].mean(("member", "draw")), p.total, equal_nan=True)


def test_times_of_everyone_are_a_coordinate_and_one_unit_an_attribute() -> None:
    shared = prediction(times=torch.arange(4.0).expand(3, 4), mask=torch.ones(3, 4, dtype=torch.bool), units=("mg/L", "mg/L"))
    data = shared.to_xarray()
    assert data["mean"].sel(time=2.0, person="Ann").dims == ("member", "draw", "channel")
    assert data["mean"].attrs["units"] == "mg/L"
    assert data["variance"].attrs["units"] == "(mg/L).(mg/L)"


def test_scores_are_frames_and_still_what_they_were() -> None:
    p = prediction(units=("mg/L", "mg/L"))
    g = torch.Generator().manual_seed(5)
    outcome = Outcome(p, p.sample(1, g)[0], p.ids or ())
    scores = score_table(outcome)
    frame = scores.to_frame().set_index("score")
    assert frame.value.to_dict() == dict(scores)
    assert frame.unit[["crps", "sharpness_80", "nll", "coverage_80"]].tolist() == ["mg/L", "mg/L", "1", "1"]
    assert json.loads(json.dumps(scores)) == scores
    rows = scores_by_horizon(outcome)
    table = rows.to_frame()
    assert len(table) == len(rows)
    assert table.crps.tolist() == [row.scores["crps"] for row in rows]
    assert asdict(rows[0])["scores"] == rows[0].scores
    report = uncertainty_report(outcome, generator=g, replicates=40)
    found = report.to_frame()
    here = found[(found.channel == "glucose") & (found.horizon == "all")].set_index("statistic")
    assert here.value["crps"] == report.channels[0].crps
    assert here.upper["coverage_80"] == report.channels[0].coverage["0.8"].upper


@pytest.mark.parametrize(("name", "call"), [("pandas", "to_frame"), ("xarray", "to_xarray")])
def test_what_is_not_installed_is_said_with_what_to_install(name: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"Prediction.{call} needs {name}.*pip install 'homeostat\[frames\]'"):
        getattr(prediction(), call)()
