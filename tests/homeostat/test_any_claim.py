"""A claim as a stranger adds it, one file and one word, at the shell: `check`, `inspect` and the report say it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import stability.claims
from exchange import Bundle, Person, load, save
from homeostat.bundles import reported
from hybrid import Dose, HybridModel, Mesh, Schedule, States
from learned import AdditiveProportional, Ensemble
from physics import LinearBackbone, SharedPopulation
from stability import certify
from tests.homeostat.shell import run
from tests.stability.claims.toy_claim import Slowest
from training import Personal


@pytest.fixture(scope="module")
def plain() -> Bundle:
    """Two people under a diagonal linear backbone without a residual."""
    backbone = LinearBackbone(
        [[-1.0, 0.0], [0.0, -1.5]], states=("gut", "plasma"), state_units=("mg", "mg"), time_unit="h"
    )
    noise = AdditiveProportional([0.5], [0.1], [0.02])
    model = HybridModel(backbone, SharedPopulation(), None, observation=States(("plasma",)), noise=noise)
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(5))
    people = tuple(Person(name, Schedule((Dose("plasma", 0.0, 20.0),)), {}, (0.0,)) for name in ("Ada", "Bob"))
    nobody = torch.zeros(2, 2, 0, dtype=torch.float64)
    known = Personal(nobody, torch.zeros(2, 2, 0, 0, dtype=torch.float64), nobody.sum(-1), nobody.sum(-1) == 0.0)
    return Bundle(stack, people, known, Mesh(0.5, 0.1))


@pytest.mark.parametrize(("rate", "good"), [(0.9, True), (1.2, False)])
def test_a_new_claim_reaches_the_shell(
    plain: Bundle, rate: float, good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stability.claims, "CLAIMS", (*stability.claims.CLAIMS, Slowest))
    claim = Slowest(rate=rate, digest=plain.system().digest())
    path = save(replace(plain, claims=(claim, certify(plain.system()))), tmp_path / "a.twin")
    assert load(path).claims[0].kind == "slowest"

    done = run("check", path)
    assert done.exit_code == (0 if good else 1)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("proved: ")  # the certificate, which is spoken of first
    assert lines[1] == (f"slowest: proved: {claim.sentence}" if good else "slowest: REFUSED: a state is slower")
    judged = {one["kind"]: one["proved"] for one in json.loads(run("check", path, "--json").stdout)["claims"]}
    assert judged == {"certificate": True, "slowest": good}

    words = f"every state decays at {rate:g} per h or faster"
    assert f"certified  {words}; `homeostat check` proves it anew" in run("inspect", path).stdout
    assert claim.to_dict() in json.loads(run("inspect", path, "--json").stdout)["claims"]

    seen: list[Any] = []

    def written(folder: Path, *_: Any, verdicts: Any, **__: Any) -> Path:
        seen.extend(verdicts)
        return folder / "report.html"  # its pictures, most of the command's time, are `test_cli.py`'s

    monkeypatch.setattr(reported, "write_page", written)
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    rows += [r for who in ("x", "y") for r in (f"{who},0,20,.,1,2", f"{who},.5,.,9,0,2", f"{who},1,.,4,0,2", f"{who},2,.,1,0,2")]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    done = run("report", path, "--data", tmp_path / "t.csv", "--units", "TIME=h,AMT=mg,DV=mg", "--json")
    assert done.exit_code == 0, done.output
    said = f"Proved: {words}" if good else "The bundle holds a claim (slowest) that is not proved for its own weights and people"
    (found,) = [v for v in seen if v.claim == said]
    assert (found.good, "the discretisation" in found.detail) == (good, good)
