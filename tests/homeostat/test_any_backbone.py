"""The shell fits every backbone: one of the user's own, in a file of their own, or a word in the family's tuple."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm
from typer.testing import Result

from exchange import BUILTIN, load
from homeostat.study import backbones, hybrid_recipe
from hybrid import Dose, Schedule
from physics import LinearBackbone, OneCompartmentOral, VanCauter
from tests.homeostat.shell import run
from training import Record
from training.people.tables.of_model import channels_of, channels_shown, compartments_of

OWN = Path(__file__).with_name("two_compartments.py")
PLACE = f"{OWN}:TwoCompartmentOral"
TRUE = {"ka": 1.0, "ke": 0.3, "k12": 0.3, "k21": 0.25, "V": 30.0}
UNITS = ["--units", "TIME=h,AMT=mg,DV=mg/L"]
SMALL = ["--members", "2", "--folds", "2", "--hidden", "0"]
TIMES = (0.25, 0.5, 1.0, 1.5, 2.5, 4.0, 6.0, 9.0, 14.0, 24.0)


def json_of(done: Result) -> Any:
    return json.loads(done.stdout)


@pytest.fixture(autouse=True, scope="module")
def without_a_page() -> Iterator[None]:
    """What `fit` saves is looked at here; its pictures, half of the command's time, are `test_cli.py`'s. `report` has figures."""

    def page(folder: Path, *_: Any, **__: Any) -> Path:
        return folder / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("homeostat.study.fit_table.write_page", page)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people with nearly the same known θ, two of them given the drug into a vein: the matrix exponential, .5 % of noise."""
    rng = np.random.default_rng(3)
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    for person in range(4):
        ka, ke, k12, k21, V = (v * np.exp(0.05 * rng.standard_normal()) for v in TRUE.values())
        A = np.array([[-ka, 0.0, 0.0], [ka, -(ke + k12), k21], [0.0, k12, -k21]])
        into = 0 if person < 2 else 1
        start = 300.0 * np.eye(3)[into]
        rows.append(f"{person},0,300,.,1,{into + 1}")
        for t in TIMES:
            y = (expm(A * t) @ start)[1] / V * (1.0 + 0.005 * rng.standard_normal())
            rows.append(f"{person},{t},.,{y:.6g},0,2")
    path = tmp_path_factory.mktemp("two") / "people.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def fitted(table: Path) -> tuple[Path, Result]:
    out = table.parent / "out"
    done = run("fit", table, *UNITS, *SMALL, "--backbone", PLACE, "--steps", "25", "--rate", "0.1", "--out", out, "--json")
    return out / "model.twin", done


def test_a_backbone_of_ones_own_is_fitted(fitted: tuple[Path, Result]) -> None:
    path, done = fitted
    assert done.exit_code == 0, done.output
    summary = json_of(done)
    assert summary["certified"] is True
    assert f"read it with --structures {PLACE}" in done.stderr
    with pytest.raises(ValueError, match="unknown structure 'TwoCompartmentOral'"):
        load(path)
    # what the table says it is made of is found again: the middle of everyone's own parameters, under the members' mean
    kind = backbones.backbone_named(PLACE)
    bundle = load(path, {**BUILTIN, "TwoCompartmentOral": type(kind)})
    theta = bundle.model.theta(bundle.personal.mode, {}).detach().log().mean((0, 1)).exp()
    for name, value, true in zip(TRUE, theta.tolist(), TRUE.values(), strict=True):
        assert value == pytest.approx(true, rel=0.15 if name in ("ke", "V") else 0.35), name


@pytest.mark.usefixtures("without_drawing")
def test_every_command_reads_its_bundle(fitted: tuple[Path, Result], table: Path, tmp_path: Path) -> None:
    path, _ = fitted
    own = ["--structures", PLACE]
    for command in ("check", "inspect", "simulate"):
        assert "--structures FILE.py:NAME" in run(command, path).stderr  # a bundle runs nothing by itself
        assert run(command, path, *own).exit_code == 0
    assert "TwoCompartmentOral + Zero, 2 members" in run("inspect", path, *own).stdout
    assert "central [mg]" in run("inspect", path, *own).stdout
    half, whole = (
        json_of(run("simulate", path, *own, "--points", "7", "--do", f"scale gut by {k}", "--json"))["channels"] for k in (1, 2)
    )
    # without a residual the sum is linear: twice the dose is twice the curve
    one, two = (np.array(answer["concentration"]["mean"]) for answer in (half, whole))
    assert two == pytest.approx(2.0 * one, rel=1e-6)
    done = run("report", path, *own, "--data", table, "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert json_of(done)["scores"]["count"] > 20
    assert json_of(done)["unit"] == "mg/L"


def test_a_backbone_in_the_family_is_one_word(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `BACKBONES` names reaches fit, check, report and simulate, without --structures."""
    kind = type(backbones.backbone_named(PLACE))
    toy = type("Toy", (kind,), {"__module__": __name__})
    monkeypatch.setattr(backbones, "BACKBONES", (*backbones.BACKBONES, toy))
    monkeypatch.setitem(BUILTIN, "Toy", toy)  # type: ignore[arg-type]  # which is made of the tuples when `exchange` is imported
    small = [*SMALL, "--steps", "2", "--backbone-config", '{"ke": 0.3}']
    few = tmp_path / "few.csv"
    few.write_text("\n".join(line for line in table.read_text().splitlines() if line[0] in "I12") + "\n")
    done = run("fit", few, *UNITS, *small, "--backbone", "Toy", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    path = tmp_path / "model.twin"
    monkeypatch.setattr("homeostat.bundles.reported.write_page", lambda folder, *_, **__: folder / "report.html")
    (tmp_path / "r").mkdir()
    for arguments in (["check", path], ["simulate", path], ["report", path, "--data", few, "--out", tmp_path / "r"]):
        assert run(*arguments).exit_code == 0
    assert load(path).model.backbone.physical[1].typical == 0.3


def test_numbers_and_names_of_a_table_come_from_the_backbone() -> None:
    assert compartments_of(OneCompartmentOral()) == {1: "gut", 2: "plasma"}
    assert channels_of(OneCompartmentOral()) == {2: "concentration"}
    own = backbones.backbone_named(PLACE)
    assert compartments_of(own) == {1: "gut", 2: "central", 3: "outer"}
    assert channels_of(own) == {2: "concentration"}
    assert channels_of(VanCauter()) == {1: "C-peptide"}


def test_a_linear_backbone_is_observed_through_its_states() -> None:
    """Numbers of the table are those of the states, in `report` too, without a word of it."""
    backbone = LinearBackbone([[-0.4, 0.0], [0.0, -1.0]], states=["x", "y"], state_units=["mg", "g"], time_unit="h")
    schedule = Schedule((Dose("x", 0.0, 100.0),))
    people = [
        Record(name, schedule, np.array([1.0, 2.0]), np.array([[3.0], [2.0]]), ("y",), units={"time": "h", "y": "mg"})
        for name in ("a", "b")
    ]
    model = hybrid_recipe(backbone, people).model
    assert (model.observation.channels, model.observation.units) == (("y",), ("g",))
    assert channels_shown(model) == {2: "y"}
    assert not model.residual.separable  # its states may be of either sign


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backbone", "VanCauter", "--channels", "2=C-peptide"], "VanCauter needs inputs (basal, glucose) that a table"),
        (["--backbone", PLACE, "--channels", "2=a,3=b"], "is observed through one concentration, the table has"),
        (["--backbone", PLACE, "--channels", "2=outer"], "is observed through one concentration, the table has ['outer']"),
        (["--backbone", f"{OWN}:Nothing"], "Nothing is no class of"),
        (["--backbone", f"{OWN}:Backbone"], "Backbone has no config, hull, initial, matrices yet, which every Backbone has"),
        (["--backbone", f"{OWN}:Parameter"], "Parameter is no class of"),
        (["--backbone", "learned:MLP"], "MLP is no class of learned that extends physics.Backbone"),
        (["--backbone", "physics:VanCauter"], "VanCauter is the name of a class of homeostat"),
        (["--backbone", "nowhere.py:Mine"], "--backbone: there is no file nowhere.py; check the path, seen from "),
        (["--backbone", PLACE, "--backbone-config", '{"half": 2}'], "its constructor's arguments do not fit"),
        (["--backbone", PLACE, "--backbone-config", '{"ke": "a"}'], "its constructor's arguments do not fit"),
        (["--backbone", "Mine"], "--backbone FILE.py:NAME or --backbone MODULE:NAME"),
    ],
)
def test_what_is_missing_is_said(options: list[str], words: str, table: Path, tmp_path: Path) -> None:
    done = run("fit", table, *UNITS, *SMALL, *options, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_says_that_it_runs_code() -> None:
    assert "THIS RUNS THAT CODE" in " ".join(run("fit", "--help").stdout.split())


BROKEN = """
from physics import Defaults, Observed
from tests.homeostat.two_compartments import TwoCompartmentOral


class Explodes(TwoCompartmentOral):
    def matrices(self, theta):
        A, B = super().matrices(theta)
        return -A, B


class Fails(TwoCompartmentOral):
    def hull(self, lower, upper):
        return self.nothing


class Leaves(TwoCompartmentOral):
    def __init__(self):
        raise SystemExit(0)


class Misnamed(TwoCompartmentOral):
    def __init__(self):
        super().__init__()
        self.defaults = Defaults((Observed("plasma"),), spread={"Q": 0.2})
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Explodes", "Explodes: is not stable"),
        ("Fails", "cannot be used (AttributeError: 'Fails' object has no attribute 'nothing'); correct the class"),
        ("Leaves", "cannot be used (SystemExit: 0); correct the class"),
        ("Misnamed", "Misnamed: its defaults name ['plasma'], and its states are ['central', 'gut', 'outer']"),
    ],
)
def test_a_backbone_of_ones_own_is_held_against_the_laws(name: str, words: str, table: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    done = run("fit", table, *UNITS, *SMALL, "--backbone", f"{tmp_path / 'broken.py'}:{name}", "--out", tmp_path / "out")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert not (tmp_path / "out").exists()
