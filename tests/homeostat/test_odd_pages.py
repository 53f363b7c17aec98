"""Pages of what is missing, alone, or too many: each is made, and says so."""

import json
import re
from pathlib import Path
from typing import Any

import torch

from exchange import Bundle, save
from homeostat.bundles.reported import report_on
from hybrid import HybridModel, Mesh, States
from learned import AdditiveProportional, Ensemble
from physics import LinearBackbone, LogNormalPopulation
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


def reported(folder: Path, bundle: Bundle, people: int) -> tuple[str, dict[str, Any]]:
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    for k in range(people):
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
