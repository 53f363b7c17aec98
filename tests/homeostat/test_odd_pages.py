"""Pages of what is missing, alone, or too many: each is made, and says so."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from exchange import Bundle, save
from homeostat.bundles import reported as module_of_report
from homeostat.bundles.reported import report_on
from homeostat.gallery import figures
from homeostat.gallery import page as module_of_page
from homeostat.pictures import people_axes
from hybrid import HybridModel, Mesh, States
from learned import AdditiveProportional, Ensemble
from physics import LinearBackbone, LogNormalPopulation
from tests.homeostat.test_pictures import build, people, phase
from tests.homeostat.test_reach import personal_of

LONG = "a_channel_whose_name_is_as_long_as_only_a_laboratory_can_make_it_" * 2


def bare(name: str = "plasma") -> Bundle:
    """A model without a residual, and a bundle without people, claims, scores or provenance."""
    backbone = LinearBackbone([[-1.0, 0.0], [1.0, -0.3]], states=("gut", name), state_units=("mg", "mg"), time_unit="h")
    noise = AdditiveProportional([0.5], [0.1], [0.02])
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone, spread={p.name: 0.2 for p in backbone.physical}),
        None,
        observation=States((name,)),
        noise=noise,
    )
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(5))
    return Bundle(stack, (), personal_of(stack, 0), Mesh(0.5, 0.1))


def reported(folder: Path, bundle: Bundle, count: int) -> tuple[str, dict[str, Any]]:
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    for k in range(count):
        rows += [f"{k},0,{20 + k % 7},.,1,1"]
        rows += [
            f"{k},{t},.,{v + 0.1 * (k % 5):.1f},0,2" for t, v in ((0.5, 4.1), (1, 6.3), (2, 8.9), (4, 7.2), (8, 3.0))
        ]
    (folder / "t.csv").write_text("\n".join(rows))
    units = {"TIME": "h", "AMT": "mg", "DV": "mg"}
    path = save(bundle, folder / "m.twin")
    summary = report_on(path, folder / "t.csv", folder=folder / "page", units=units, threshold=5.0, forecast_from=1.0)
    page = Path(summary["report"]).read_text("utf-8")
    return page, json.loads((folder / "page" / "report.json").read_text("utf-8"))


def test_what_a_table_cannot_hold_is_said_before_it_is_read(tmp_path: Path) -> None:
    states = {"states": ("plasma",), "state_units": ("mg",), "time_unit": "h"}
    driven = LinearBackbone([[-0.5]], [[1.0]], inputs=("u",), input_units=("mg/h",), **states)
    model = HybridModel(
        driven,
        LogNormalPopulation(driven, spread={p.name: 0.2 for p in driven.physical}),
        None,
        observation=States(("plasma",)),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(5))
    with pytest.raises(ValueError, match=r"m\.twin: its model needs inputs \(u\), and without people the bundle does not say"):
        reported(tmp_path, Bundle(stack, (), personal_of(stack, 0), Mesh(0.5, 0.1)), 2)


def test_one_person_under_a_bundle_of_nothing_else(tmp_path: Path) -> None:
    page, said = reported(tmp_path, bare(LONG), 1)
    for words in (
        "Nothing is proved of this model: the bundle holds no certificate",
        "The bundle holds none of the people it was trained on",
        "The bundle brings no scores of its own",
        "forecasts of one person",
        LONG,
    ):
        assert words in page
    assert "nan" not in re.sub(r"<[^>]*>", " ", page).lower().split()
    assert said["opening"][1].startswith("Nothing is proved of this model")
    assert "of one person with 5 measurements" in said["opening"][0]
    # two bands for one coverage, and each says which it is
    assert "(by this share alone, 95 of 100 perfect forecasters have" in said["opening"][2]
    covers = [v["claim"] for v in said["verdicts"] if v["about"][0] == "coverage"]
    assert covers
    # of one person a share may be anything: it has no mark, and is not counted among the gates that are passed
    unable = [v for v in said["verdicts"] if v["about"][0] == "coverage" and "cannot say (one person)" in v["claim"]]
    assert [v["about"][2] for v in unable] == ["0.8"]
    assert unable[0]["good"] is None
    assert all("(all gates together)" in claim for claim in covers if claim != unable[0]["claim"])
    (gates,) = (v["claim"] for v in said["verdicts"] if v["about"][0] == "gates")
    report = said["uncertainty"]["before"]
    able = report["gates"] - report["undecided"]
    assert 0 < able < report["gates"]
    assert report["failed"] == 0
    assert [v["good"] for v in said["verdicts"] if v["about"][0] == "gates"] == [None]  # with one person that is no news
    for words, what in ((gates, "gates"), (said["opening"][2], "gates of calibration")):
        assert f"{report['undecided']} of {report['gates']} {what} cannot decide" in words
        assert f"cannot be judged with one person: {report['undecided']}" in words
        assert f"to fail none of the other {able} says little" in words
    unknown = "Whether the model has seen this person in training is not known"
    assert [v["claim"] for v in said["verdicts"] if v["about"][0] == "people unknown"] == [unknown]
    assert sum(v["about"][0] == "people" for v in said["verdicts"]) == 1  # one line for all horizons


def test_a_section_of_trajectories_promises_no_proof_where_there_is_none(tmp_path: Path) -> None:
    proved, not_proved = (module_of_page.proof_section(tmp_path, phase(rate), "1") for rate in (0.05, None))
    assert proved.title.startswith("The proof")
    assert not_proved.title.endswith("of which nothing is proved")


def test_of_too_many_people_the_first_are_drawn_and_all_are_in_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = people_axes(build(1, 1, 1), people(1), forecast_from=None)
    monkeypatch.setattr(figures, "people_axes", lambda *_, **__: empty)  # what is drawn is looked at elsewhere
    for module in (module_of_page, module_of_report):
        monkeypatch.setattr(module, "DRAWN", 30)
    page, said = reported(tmp_path, bare(), 40)
    assert "The first 30 of 40 people are drawn; the tables&#x27; files have everybody." in page
    assert [p["name"] for p in said["pictures"] if p["name"].startswith("people-")] == ["people-1", "people-2"]
    with (tmp_path / "page/tables/forecasts-beside-what-was-measured.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 40  # those after 1 h
    assert [*rows[0]][:2] == ["person", "time (h)"]
    assert len({row["person"] for row in rows}) == 40
    assert "The first 24 of 120 rows; the files have all of them." in page


@pytest.mark.slow
@pytest.mark.parametrize(("count", "most"), [(12, 500_000), (500, 5_000_000)])
def test_a_page_is_no_larger_than_it_must_be(tmp_path: Path, count: int, most: int) -> None:
    page, said = reported(tmp_path, bare(), count)
    assert len(page.encode()) < most
    assert (
        len({p["title"] for p in said["pictures"]})
        == len({p["caption"] for p in said["pictures"]})
        == len(said["pictures"])
    )
