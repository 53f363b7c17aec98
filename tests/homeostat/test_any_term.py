"""A known term and a residual without layers that sees θ, as a stranger adds them: fitted, saved, and read by every command."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from exchange import BUILTIN, Bundle, load, save
from homeostat.bundles import reported
from hybrid import HybridModel
from learned import DiagonalDiffusion, Ensemble, check_residual
from tests.builders import oral_model, oral_people
from tests.homeostat.own_terms import Saturable, Slowed
from tests.homeostat.shell import run
from training import Cohort, Search, fit, last, personalise

OWN = Path(__file__).with_name("own_terms.py")
PLACES = ["--structures", f"{OWN}:Saturable", "--structures", f"{OWN}:Slowed"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """Four people, two members, three steps."""
    plain = oral_model()
    model = HybridModel(
        plain.backbone,
        plain.population,
        Slowed(),
        observation=plain.observation,
        noise=plain.noise,
        process=DiagonalDiffusion([0.0, 1.0]),
        known=(Saturable(2.0, 40.0),),
    )
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(2))
    cohort = Cohort.of(oral_people(), stack)
    fitted = last(fit(stack, cohort, search=Search(steps=3)))
    bundle = Bundle.of(fitted.model, cohort, personalise(fitted.model, cohort))
    return bundle, save(bundle, tmp_path_factory.mktemp("terms") / "own.twin")


def test_the_residual_keeps_the_laws() -> None:
    check_residual(Slowed(), parameters=3)


def test_a_bundle_brings_both_back(kept: tuple[Bundle, Path]) -> None:
    bundle, path = kept
    again = load(path, {**BUILTIN, "Saturable": Saturable, "Slowed": Slowed})
    asked: Any = (bundle.people[0].id, "scale gut by 2", [1.0, 4.0])
    found, wanted = (one.forecast(*asked) for one in (again, bundle))
    assert torch.equal(found.mean, wanted.mean)
    (term,) = again.model.known
    assert isinstance(term, Saturable)
    term.v = 0.0  # the term is asked: without it the answer is another
    other = again.forecast(*asked)
    assert float((other.mean - wanted.mean).abs().max()) > 1e-2


def test_every_command_reads_both(kept: tuple[Bundle, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path = kept
    assert "unknown structure" in run("inspect", path).stderr
    text = run("inspect", path, *PLACES).stdout
    assert "OneCompartmentOral + Saturable + Slowed, driven by DiagonalDiffusion, 2 members" in text
    why = "Saturable and Slowed: no layers, and no bound of the slope"
    assert f"certificate none, and none can be made ({why})" in text
    for command in ("check", "certify"):
        done = run(command, path, *PLACES)
        assert done.exit_code == 2
        assert "Saturable and Slowed" in done.stderr
        assert "homeostat certify" not in done.stderr  # which would refuse as well
    done = run("simulate", path, *PLACES, "--person", "P1", "--do", "scale gut by 2", "--until", 8, "--json")
    assert done.exit_code == 0, done.output
    monkeypatch.setattr(reported, "write_page", lambda folder, *_, **__: folder / "report.html")
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    rows += [r for who in ("x", "y") for r in (f"{who},0,300,.,1,1", f"{who},1,.,5,0,2", f"{who},3,.,6,0,2", f"{who},8,.,4,0,2")]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    units = ["--units", "TIME=h,AMT=mg,DV=mg/L"]
    done = run("report", path, *PLACES, "--data", tmp_path / "t.csv", *units, "--out", tmp_path / "r", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)
