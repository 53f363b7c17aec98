"""The shell fits a mechanism as it fits a backbone; its bundle holds the tape, and nothing of the user's Python."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from exchange import load
from homeostat.cli import app
from homeostat.study.backbones import backbone_named
from hybrid import Dose, HybridModel, Schedule, States, simulate
from learned import AdditiveProportional
from physics import LinearisedBackbone, SharedPopulation, TapedMechanism, check_mechanism
from stability import Lure
from tests.homeostat.own_mechanism import TwoWays

PLACE = f"{Path(__file__).with_name('own_mechanism.py')}:TwoWays"
TRUE = {"ka": 1.2, "ke": 0.12, "Vmax": 18.0}
TIMES = (0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 9.0, 14.0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


TAPED = "tape" in {one.name for one in fields(Lure)}  # what every fit asks for a certificate


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people of the same known θ, measured with an error of .5 mg, fitted at the shell."""
    rng, folder, mechanism = np.random.default_rng(3), tmp_path_factory.mktemp("own"), TwoWays()
    seen = {"observation": States(["plasma"]), "noise": AdditiveProportional([0.5], [0.1], [0.1])}
    model = HybridModel(mechanism, SharedPopulation(mechanism, values=TRUE), **seen)
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    for person, dose in enumerate((100.0, 150.0, 200.0, 250.0)):
        rows.append(f"{person},0,{dose},.,1,1")
        theta = torch.tensor(list(TRUE.values()), dtype=torch.float64)
        x = simulate(model, Schedule(doses=(Dose("gut", 0.0, dose),)), TIMES, theta)[:, 1]
        rows += [f"{person},{t},.,{v + 0.5 * rng.standard_normal():.4f},0,2" for t, v in zip(TIMES, x.tolist(), strict=True)]
    (folder / "table.csv").write_text("\n".join(rows))
    out, small = folder / "out", ["--members", "2", "--folds", "2", "--hidden", "0", "--steps", "5"]

    def page(folder: Path, *_: Any, **__: Any) -> Path:
        return folder / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("homeostat.study.fit_table.write_page", page)
        units = ["--units", "TIME=h,AMT=mg,DV=mg", "--channels", "2=plasma"]
        done = run("fit", folder / "table.csv", "--backbone", PLACE, *units, *small, "--out", out)
    assert done.exit_code in (0, 1), done.output
    return out


def test_a_mechanism_by_its_name_or_its_place() -> None:
    check_mechanism(TwoWays())
    own, ours = backbone_named(PLACE), backbone_named("MichaelisMenten")
    assert isinstance(own, LinearisedBackbone)
    assert own.mechanism.name == "TwoWays"
    assert isinstance(ours, LinearisedBackbone)
    with pytest.raises(ValueError, match=r"choose one of .*MichaelisMenten"):
        backbone_named("Michaelis")


@pytest.mark.skipif(not TAPED, reason="stability takes no tapes yet")
def test_fit_inspect_simulate_and_check(fitted: Path) -> None:
    (path,) = fitted.glob("*.twin*")
    bundle = load(path)  # no --structures: the tape is inside, and nothing runs
    assert isinstance(bundle.model.mechanism, TapedMechanism)
    assert bundle.model.mechanism.tape == TwoWays().tape
    told = run("inspect", path)
    assert told.exit_code == 0, told.output
    assert "model      TwoWays + Zero" in told.stdout
    assert "bends in the rate of plasma; learned beside it: nothing" in told.stdout
    ahead = run("simulate", path, "--person", "0", "--do", "dose gut 100 mg at 20 h", "--until", "30", "--json")
    assert ahead.exit_code == 0, ahead.output
    assert np.isfinite(np.array(json.loads(ahead.stdout)["times"], dtype=float)).all()
    report = run("report", path, fitted.parent / "table.csv", "--channels", "2=plasma", "--out", fitted / "page")
    assert report.exit_code in (0, 1), report.output
