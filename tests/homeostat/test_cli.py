"""The command line: exit codes, one sentence for wrong input, JSON alone on standard output."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

from exchange import Bundle, load, save
from homeostat.bundles.reach import Reach
from homeostat.cli import app, main
from homeostat.commands import COMMANDS
from homeostat.data import theophylline
from stability import Certificate, Refusal
from tests.homeostat.shell import run

# none of these is lost
PROMISED = {"demo", "fit", "certify", "check", "report", "simulate", "follow", "inspect", "sign", "export", "import", "grammar"}
PROMISED |= {"identify"}
NAMES = [command.name for command in COMMANDS]
UNITS = ["--units", "TIME=h,AMT=mg,DV=mg/L"]
SMALL = ["--members", "2", "--folds", "2", "--steps", "3", "--hidden", "4"]
TABLE = str(theophylline())


def json_of(done: Result) -> Any:
    """Standard output holds one JSON value and nothing else."""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any]]:
    """A bundle made by `homeostat fit` from four people of the table in the package, and what the command said."""
    folder = tmp_path_factory.mktemp("fitted")
    lines = Path(TABLE).read_text().splitlines()
    (folder / "four.csv").write_text("\n".join([lines[0], *(x for x in lines[1:] if int(x.split(",")[0]) <= 4)]))
    done = run("fit", folder / "four.csv", *UNITS, *SMALL, "--out", folder, "--threshold", "5", "--json")
    assert done.exit_code == 0, done.output
    return folder / "model.twin", json_of(done)


@pytest.fixture(scope="module")
def bundle(fitted: tuple[Path, Mapping[str, Any]]) -> Path:
    return fitted[0]


@pytest.fixture(scope="module")
def unstable(bundle: Path) -> Path:
    """The same bundle with a residual that is far too large for any metric, and no certificate."""
    loaded = load(bundle)
    with torch.no_grad():
        loaded.model.residual.weights[-1].abs_().add_(1.0).mul_(50.0)
        loaded.model.residual.weights[0].abs_().add_(1.0)
    return save(replace(loaded, claims=()), bundle.parent / "unstable.twin")


@pytest.fixture(autouse=True, scope="module")
def training_is_traced_once() -> Iterator[None]:
    """How far a bundle's training reached is the same for every question to it, and half of what a question costs.

    `test_reach.py` looks at what is found.
    """
    found: dict[tuple[str, float], Reach] = {}

    def of(bundle: Bundle, end: float) -> Reach:
        digest = hashlib.sha256(repr((bundle.people, bundle.mesh, bundle.solver)).encode())
        for part in (*bundle.model.parameters(), bundle.personal.mode):
            digest.update(part.detach().numpy().tobytes())
        key = digest.hexdigest(), end
        if key not in found:
            found[key] = traced(bundle, end)
        return found[key]

    traced = Reach.of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reach, "of", staticmethod(of))
        yield


# ---- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", NAMES)
def test_help_has_an_example_that_is_that_command(command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert f"Example: homeostat {command}" in " ".join(done.stdout.split())


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.exit_code == 0
    assert all(command in done.stdout for command in NAMES)
    assert {c.name or c.callback.__name__ for c in app.registered_commands} == set(NAMES) >= PROMISED


def test_without_a_command_there_is_help_and_exit_code_2() -> None:
    assert run().exit_code == 2
    assert run("frobnicate").exit_code == 2


# ---- what goes well --------------------------------------------------------------------------------------------------


def test_fit_says_what_it_did(fitted: tuple[Path, Mapping[str, Any]]) -> None:
    path, summary = fitted
    assert summary["certified"] is True
    assert summary["rate"] > 0.0
    assert summary["refusal"] is None
    assert summary["interrupted"] is False
    assert set(summary["scores"]) == {"hybrid", "backbone alone"}
    assert summary["bundle"] == str(path)
    page = Path(summary["report"]).read_text()
    assert page.startswith("<!")
    assert "CRPS (mg/L)" in page
    assert "horizon (h)" in page
    assert "are cut at 0, below which it is declared never to be" in page
    # one definition of the error of stated risks on one page
    assert set(re.findall(r"(\d+) equal-mass bins", page)) == {"15"}
    # three steps are no fit: where it began and how far it is are values, and sentences on the page
    assert summary["start"]["people"] == 4
    assert summary["start"]["sentence"] in page
    assert summary["convergence"]["members"] == 2
    said = "has converged" if summary["convergence"]["converged"] else "has not converged"
    assert f"The fit {said}" in page
    assert summary["ends"] == []
    loaded = load(path)
    assert loaded.model.members == 2
    assert [p.id for p in loaded.people] == ["1", "2", "3", "4"]
    assert isinstance(loaded.certificate, Certificate)
    assert loaded.certificate.rate == summary["rate"]
    assert loaded.provenance["table"] == "four.csv"
    assert loaded.provenance["settings.steps"] == 3
    assert str(Path.home()) not in json.dumps(dict(loaded.provenance))


def test_check_proves_and_refuses(bundle: Path, unstable: Path) -> None:
    done = run("check", bundle, "--json")
    assert (done.exit_code, json_of(done)["proved"]) == (0, True)
    assert run("check", bundle).stdout.startswith("proved: ")
    changed = load(bundle)
    with torch.no_grad():
        changed.model.residual.weights[-1][0, 0, 0] += 1e-9
    path = save(changed, bundle.parent / "changed.twin")
    done = run("check", path, "--json")
    assert (done.exit_code, json_of(done)["proved"]) == (1, False)
    assert run("check", path).stdout.startswith("REFUSED: ")
    done = run("check", unstable)
    assert done.exit_code == 2  # nothing was claimed
    assert "homeostat certify" in done.stderr


def test_certify_refuses_a_large_residual(unstable: Path) -> None:
    path = unstable.parent / "refused.twin"
    shutil.copy(unstable, path)
    done = run("certify", path, "--json", "--write", "--seconds", "20")
    answer = json_of(done)
    assert (done.exit_code, answer["certified"], answer["kind"]) == (1, False, "refusal")
    assert answer["message"]
    assert isinstance(load(path).certificate, Refusal)
    done = run("check", path)
    assert done.exit_code == 1
    assert "refusal" in done.stdout


def test_certify_proves_an_asked_rate_and_refuses_a_faster_one(bundle: Path) -> None:
    path = bundle.parent / "again.twin"
    shutil.copy(bundle, path)
    done = run("certify", path, "--rate", "0.001", "--write", "--json")
    assert (done.exit_code, json_of(done)["rate"]) == (0, 0.001)
    assert run("check", path).exit_code == 0
    before = path.read_bytes()
    done = run("certify", path, "--rate", "5")
    assert done.exit_code == 1
    assert path.read_bytes() == before  # nothing is written unasked
    done = run("certify", path, "--rate", "5", "--write")
    assert done.exit_code == 1
    assert "keeps the certificate" in done.stdout
    assert path.read_bytes() == before  # and what is proved is not lost to what was asked in vain


def test_certify_in_a_region_file(bundle: Path, tmp_path: Path) -> None:
    path, region = tmp_path / "regional.twin", tmp_path / "region.json"
    shutil.copy(bundle, path)
    region.write_text(json.dumps({"lower": [-50.0, -50.0], "upper": [500.0, 500.0]}))
    done = run("certify", path, "--region", region, "--rate", "0.001", "--write", "--json")
    assert done.exit_code == 0, done.output
    answer = json_of(done)
    assert (done.exit_code, answer["region"]["kind"]) == (0, "box")
    # it is proved, and nobody's dose of some 320 mg is within what trajectories may start from
    done = run("check", path)
    assert done.exit_code == 1
    assert done.stdout.startswith("NOT COVERED: the certificate is proved, and does not cover 4 of 4 people:\n")
    assert "-50.0" in done.stdout
    region.write_text(json.dumps({"lower": [-5000.0, -5000.0], "upper": [5000.0, 5000.0]}))
    assert run("certify", path, "--region", region, "--rate", "0.001", "--write").exit_code == 0
    assert run("check", path).exit_code == 0
    region.write_text(json.dumps({"lower": [1.0, 1.0], "upper": [0.0, 2.0]}))
    done = run("certify", path, "--region", region)
    assert done.exit_code == 2
    assert "lower[0]" in done.stderr


def test_inspect(bundle: Path) -> None:
    about = json_of(run("inspect", bundle, "--json"))
    assert about["members"] == 2
    assert about["people"] == ["1", "2", "3", "4"]
    assert about["structure"]["backbone"]["class"] == "OneCompartmentOral"
    assert about["certificate"]["kind"] == "certificate"
    text = run("inspect", bundle)
    assert text.exit_code == 0
    assert "gut [mg], plasma [mg]; time in h" in text.stdout
    assert "concentration [mg/L], never below 0" in text.stdout
    assert (about["units"]["channels"], about["nonnegative"]) == ({"concentration": "mg/L"}, ["concentration"])
    assert re.search(r"CRPS \d\.\d+ mg/L", text.stdout)
    other = save(replace(load(bundle), calibration={"scores": {"mine": {"mae": 0.1}}}), bundle.parent / "other.twin")
    assert run("inspect", other).exit_code == 0  # a script's own scores are no reason to fail


def test_simulate_answers_what_if(bundle: Path, tmp_path: Path) -> None:
    plain = json_of(run("simulate", bundle, "--points", "5", "--until", "12", "--json"))
    double = json_of(run("simulate", bundle, "--points", "5", "--until", "12", "--do", "scale gut by 2", "--json"))
    assert plain["person"] == "1"
    assert plain["time"] == [0.0, 3.0, 6.0, 9.0, 12.0]
    a, b = (answer["channels"]["concentration"] for answer in (plain, double))
    assert a["unit"] == "mg/L"
    for low, mean, high in zip(a["lower"], a["mean"], a["upper"], strict=True):
        assert low < mean < high
    # nothing is there at this person's start: a Gaussian is half below 0, where no concentration is, and is cut
    empty = json_of(run("simulate", bundle, "--person", "2", "--points", "2", "--json"))["channels"]["concentration"]
    assert (empty["mean"][0], empty["lower"][0], empty["cut_at_zero"]) == (0.0, 0.0, True)
    assert empty["upper"][0] > 0.0
    assert all(v >= 0.0 for key in ("aleatoric_sd", "epistemic_sd", "personal_sd") for v in a[key])
    assert all(two > 1.5 * one for one, two in zip(a["mean"][1:], b["mean"][1:], strict=True))
    wide = json_of(run("simulate", bundle, "--points", "5", "--until", "12", "--level", "0.95", "--json"))
    assert wide["channels"]["concentration"]["upper"][2] > a["upper"][2]
    done = run("simulate", bundle, "--person", "3", "--picture", tmp_path / "x.png")
    assert done.exit_code == 0
    assert done.stdout.startswith("person 3: ")
    assert "(standard deviations), all in mg/L" in done.stdout
    assert "Intervals of concentration are cut at 0" in done.stdout
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_simulate_marks_what_was_not_trained(bundle: Path, tmp_path: Path) -> None:
    asked = ["--do", "scale gut by 100", "--until", "24", "--points", "5"]
    done = run("simulate", bundle, *asked, "--picture", tmp_path / "x.png")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[2].startswith("Beyond what was trained: a dose of ")
    assert "mg into gut, at most " in lines[2]
    rows = [line for line in lines if re.match(r" +\d", line)]
    assert [row.endswith("*") for row in rows] == [False, True, True, True, True]  # at its own time the dose is not there yet
    answer = json_of(run("simulate", bundle, *asked, "--json"))["beyond_training"]
    assert answer["beyond"] is True
    assert answer["sentence"] == lines[2]
    assert answer["times"][0][1] == 24.0
    own = run("simulate", bundle, "--until", "24")
    assert "Beyond" not in own.stdout
    assert "*" not in own.stdout
    assert json_of(run("simulate", bundle, "--json"))["beyond_training"]["beyond"] is False


@pytest.fixture
def without_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """For reports of which the numbers alone are looked at: `reported` has its page drawn."""
    monkeypatch.setattr("homeostat.bundles.reported.write_page", lambda folder, *_, **__: _made(folder) / "report.html")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def reported(bundle: Path) -> tuple[Path, Result]:
    """The report on the people of the bundle, and where it is."""
    folder = bundle.parent / "reported"
    return folder, run("report", bundle, "--data", bundle.parent / "four.csv", "--out", folder, "--json")


def test_report(reported: tuple[Path, Result]) -> None:
    folder, done = reported
    assert done.exit_code == 0, done.output
    summary = json_of(done)
    sentence = "4 values at or before the first dose are the baseline and are not scored."
    assert summary["notes"] == [sentence]
    assert f"homeostat: {sentence}" in done.stderr
    page = (folder / "report.html").read_text()
    assert sentence in page
    assert "h since the first dose" in page
    assert summary["people_seen_in_training"] == ["1", "2", "3", "4"]
    assert summary["scores"]["count"] > 20
    for name in ("report.html", "report.json", "people.png", "reliability.png"):
        assert (folder / name).stat().st_size > 1000
    assert summary["people_beyond_training"] == {}  # they are those of the training
    written = json.loads((folder / "report.json").read_text())
    assert written["scores"] == summary["scores"]
    assert all(v.keys() == {"claim", "good", "detail", "about"} for v in written["verdicts"])


def test_a_fit_that_has_not_converged_is_said_wherever_its_bundle_goes(
    bundle: Path, reported: tuple[Path, Result], tmp_path: Path
) -> None:
    loaded = load(bundle)
    assert "not converged" in loaded.provenance["not_converged"]  # it had few steps
    assert "Beware: the fit of this model had not converged" in (reported[0] / "report.html").read_text()
    assert "The fit has not converged" in run("inspect", bundle).stdout
    page = (reported[0] / "report.html").read_text()
    assert "4 of 4 people have ids that the model was trained on" in page
    assert "calibration, below" not in page  # the bundle's own scores are not on this page
    arrived = {name: value for name, value in loaded.provenance.items() if name != "not_converged"}
    path = save(replace(loaded, provenance=arrived), tmp_path / "arrived.twin")
    assert "not converged" not in run("inspect", path).stdout


@pytest.mark.usefixtures("without_a_page")
def test_people_on_other_clocks_have_the_same_report(bundle: Path, reported: tuple[Path, Result], tmp_path: Path) -> None:
    """Late enrolment, and a table whose clock began a year earlier, change no score; nor do columns that nothing needs."""
    lines = (bundle.parent / "four.csv").read_text().splitlines()
    rows = [x.split(",") for x in lines[1:]]
    late = [[r[0], f"{float(r[1]) + 8760.0 + 100 * int(r[0]):.2f}", *r[2:], str(k), "x"] for k, r in enumerate(rows)]
    table = tmp_path / "late.csv"
    table.write_text("\n".join([lines[0] + ",ROW,NOTE", *(",".join(r) for r in late)]))
    plain = reported[1]
    options = ["--covariates", "WT", "--ignore", "NOTE", "--order", "observation-first"]
    other = run("report", bundle, "--data", table, "--out", tmp_path / "b", "--json", *options)
    assert (plain.exit_code, other.exit_code) == (0, 0), other.output
    a, b = json_of(plain), json_of(other)
    assert b["scores"] == pytest.approx(a["scores"], rel=1e-9, nan_ok=True)
    assert b["forecast_from"] == pytest.approx(a["forecast_from"], rel=1e-9)
    assert [note.split(" is left out: ")[0] for note in b["notes"][:2]] == ["column NOTE", "column ROW"]
    assert all(f"homeostat: {note}" in other.stderr for note in b["notes"])
    assert json_of(run("simulate", bundle, "--json"))["time_since"] == "first dose"


@pytest.mark.usefixtures("without_drawing")
def test_an_empty_start_scores_the_baseline_and_is_said(tmp_path: Path) -> None:
    table, out = tmp_path / "people.csv", tmp_path / "out"
    table.write_text(
        "ID,TIME,AMT,DV,EVID,CMT\n1,0,.,.1,0,2\n1,0,320,.,1,1\n1,2,.,8,0,2\n1,8,.,5,0,2\n"
        "2,0,320,.,1,1\n2,2,.,7,0,2\n2,8,.,4,0,2\n"
    )
    common = ("fit", table, *UNITS, *SMALL, "--hidden", "0", "--json")
    done = run(*common, "--start", "empty", "--out", out)
    assert done.exit_code in (0, 1), done.output
    said = "Everybody starts with nothing in any state: values before the first dose are scored like any other."
    assert said in json_of(done)["notes"]
    assert not any("is the baseline" in note for note in json_of(done)["notes"])
    assert said in (out / "report.html").read_text()
    assert f"start      {said}\n" in run("inspect", out / "model.twin").stdout
    model = load(out / "model.twin").model
    assert not any(model.starts_from)
    assert "--start is backbone or empty" in run(*common, "--start", "full", "--out", out).output


@pytest.mark.usefixtures("without_drawing")
def test_columns_that_no_part_of_the_model_reads_stop_no_fit(tmp_path: Path) -> None:
    """A time since the dose changes and an age is missing."""
    table = tmp_path / "people.csv"
    table.write_text(
        "ID,TIME,TAD,AMT,DV,EVID,CMT,AGE\n1,0,0,320,.,1,1,.\n1,2,2,.,8,0,2,.\n1,8,8,.,5,0,2,.\n"
        "2,0,0,320,.,1,1,44\n2,2,2,.,7,0,2,44\n2,8,8,.,4,0,2,44\n"
    )
    done = run("fit", table, *UNITS, *SMALL, "--hidden", "0", "--json", "--out", tmp_path / "out")
    assert done.exit_code in (0, 1), done.output  # 1: fitted, and not certified
    assert json_of(done)["scores"]["backbone alone"]["count"] == 2
    assert "TAD" not in done.stderr  # it changes, and is kept as what changes
    assert "homeostat: column AGE is left out: person 1 has no value\n" in done.stderr
    assert (tmp_path / "out" / "people.png").exists()


def test_by_default_there_are_no_more_folds_than_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three people of a table in which one was measured once, last of all."""
    seen = []

    def train(*given: Any, **_: Any) -> Any:
        seen.append(given[2])
        raise ValueError("trained")

    monkeypatch.setattr("homeostat.study.fit_table.train", train)
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    for person, times in enumerate(((1, 4, 8), (2, 5, 8), (24,))):
        rows.append(f"{person},0,320,.,1,1")
        rows += [f"{person},{t},.,{320 / 30 * 0.9**t:.4g},0,2" for t in times]
    (tmp_path / "three.csv").write_text("\n".join(rows) + "\n")
    small = ["--members", "2", "--steps", "1", "--hidden", "0"]
    for options in ([], ["--folds", "2"], ["--folds", "4"]):
        done = run("fit", tmp_path / "three.csv", *UNITS, *small, *options, "--out", tmp_path / "out")
        assert done.exit_code == 2
    assert "4 folds were asked for and there are 3 people" in done.stderr
    assert [(s.folds, s.forecast_from) for s in seen] == [(3, 2.0), (2, 2.0)]


def test_the_shell_reads_a_table_as_python_does(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every argument of the reader reaches it, from `fit` and from `report`; what is not given stays its default."""
    import homeostat.bundles.reported
    import training.people.tables.nonmem

    seen: list[dict[str, Any]] = []

    def read(path: Path, **given: Any) -> Any:
        seen.append(given)
        raise ValueError("read")

    monkeypatch.setattr(training.people.tables.nonmem, "read_table", read)
    monkeypatch.setattr(homeostat.bundles.reported, "read_table", read)
    monkeypatch.setattr(homeostat.bundles.reported, "load", lambda *_: load(bundle))
    for command in (["fit", TABLE], ["report", "x.twin", "--data", TABLE]):
        options = ["--covariates", "WT, AGE", "--order", "file", "--signed", "effect", "--ignore", "A,B"]
        options += ["--channels", "1=a,second=a"]
        assert run(*command, *UNITS, *options).exit_code == 2
        assert run(*command, *UNITS).exit_code == 2
        assert run(*command, *UNITS, "--covariates", "").exit_code == 2
    for full, plain, none in (seen[:3], seen[3:]):
        assert (full["covariates"], full["order"], full["signed"], full["ignore"], full["channels"]) == (
            ["WT", "AGE"],
            "file",
            ["effect"],
            ["A", "B"],
            {1: "a", "second": "a"},
        )
        assert plain["order"] is plain["covariates"] is None
        assert none["covariates"] == []


def test_simulate_counts_from_the_persons_own_dose(bundle: Path, tmp_path: Path) -> None:
    """A bundle made by a script can hold schedules on the table's clock: the answer counts from the dose all the same."""
    loaded = load(bundle)
    who = loaded.people[0]
    late = replace(who.schedule, doses=tuple(replace(d, time=d.time + 100.7) for d in who.schedule.doses), start=100.7)
    path = save(replace(loaded, people=(replace(who, schedule=late), *loaded.people[1:])), tmp_path / "late.twin")
    plain, other = (json_of(run("simulate", b, "--until", "12", "--points", "5", "--json")) for b in (bundle, path))
    assert plain == other
    done = run("simulate", path, "--do", "dose 100 mg -> gut @ 12", "--until", "24")
    assert done.exit_code == 0
    assert "times in h since the first dose as it was given" in done.stdout
    assert run("simulate", path, "--until", "0").exit_code == 2


@pytest.mark.usefixtures("without_a_page")
def test_a_report_does_not_depend_on_the_units_of_its_table(
    bundle: Path, reported: tuple[Path, Result], tmp_path: Path
) -> None:
    four = (bundle.parent / "four.csv").read_text().splitlines()
    names = four[0].split(",")
    by = {"TIME": 60.0, "AMT": 1e-3, "DV": 1e3, "WT": 1.0 / 0.45359237}

    def other(line: str) -> str:
        cells = zip(names, line.split(","), strict=True)
        return ",".join(repr(float(v) * by[n]) if n in by and v not in ("", ".") else v for n, v in cells)

    rows = [other(line) for line in four[1:]]
    (tmp_path / "other.csv").write_text("\n".join([four[0], *rows]))
    units = "TIME=min,AMT=g,DV=ng/mL,WT=[lb_av]"
    done = run("report", bundle, "--data", tmp_path / "other.csv", "--units", units, "--out", tmp_path / "r", "--json")
    assert done.exit_code == 0, done.output
    want, have = json_of(reported[1]), json_of(done)
    assert have["scores"] == pytest.approx(want["scores"], rel=1e-8, nan_ok=True)
    assert have["forecast_from"] == pytest.approx(want["forecast_from"], rel=1e-12)


def test_grammar() -> None:
    assert "dose" in json_of(run("grammar", "--json"))["grammar"]
    assert run("grammar").stdout.startswith(json_of(run("grammar", "--json"))["grammar"])


# ---- what goes wrong -------------------------------------------------------------------------------------------------


FIT = ["fit", TABLE, *UNITS, *SMALL]
LINEAR = [*FIT, "--backbone", "LinearBackbone", "--backbone-config"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nowhere.twin"], "no such file"),
        (["check", TABLE], "not a whole bundle"),
        (["inspect", TABLE], "not a whole bundle"),
        (["certify", "."], "not a whole bundle"),
        (["simulate", "nowhere.twin"], "no such file"),
        (["report", "nowhere.twin", "--data", TABLE], "no such file"),
        (["fit", "nowhere.csv", *UNITS], "no such file"),
        (["fit", ".", *UNITS], "cannot be read"),
        (["fit", TABLE, "--units", "TIME=h"], "AMT"),
        ([*FIT, "--solver", "rk5"], "no solver 'rk5'"),
        ([*FIT, "--solver", "torchdiffeq:leapfrog"], "METHOD one of euler"),
        (["fit", TABLE, "--units", "TIME"], "NAME=VALUE"),
        (["fit", TABLE, "--units", "TIME=mg,AMT=mg,DV=mg/L"], "time is in mg and h is needed"),
        (["fit", TABLE, "--units", "TIME=hr,AMT=mg,DV=mg/L"], "the unit of TIME: 'hr' is not a UCUM code; write 'h'"),
        ([*FIT, "--backbone", "Foo"], "unknown backbone 'Foo'; choose one of"),
        ([*FIT, "--backbone", "VanCauter"], "VanCauter needs inputs"),
        ([*FIT, "--backbone-config", "{"], "must be JSON"),
        ([*FIT, "--backbone-config", "[1]"], "arguments do not fit: they go by name, and are [1]; write a JSON object"),
        ([*FIT, "--backbone-config", '"A"'], "arguments do not fit: they go by name, and are 'A'"),
        ([*FIT, "--backbone-config", '{"B": 1}'], "arguments do not fit: it takes no 'B'; it takes "),
        ([*LINEAR, '{"states": ["x"]}'], "arguments do not fit: it needs A; it takes "),
        ([*FIT, "--folds", "13"], "13 folds were asked for and there are 12 people"),
        ([*LINEAR, '{"A": [["x"]]}'], "A must be a matrix of numbers"),
        ([*LINEAR, '{"A": [[1.0]]}'], "not Hurwitz"),
        ([*LINEAR, '{"A": [[-1.0]]}'], "name its states like the channels"),
        ([*FIT, "--hidden", "a"], "--hidden 'a' is not made of whole numbers: 'a' is none; write 8, or 16,16, or 0 for none"),
        ([*FIT, "--hidden", "8,"], "'' is none; write 8"),
        ([*FIT, "--hidden", "²"], "'²' is none; write 8"),
        ([*FIT, "--channels", "²=concentration"], "CMT is 2 on an observation, and the channels are"),
        ([*FIT, "--hidden", "-3"], "hidden"),
        ([*FIT, "--compartments", "x=gut"], "CMT is 1"),
        ([*FIT, "--order", "backwards"], "--order 'backwards' is not one of file"),
        ([*FIT, "--covariates", "HT"], "HT"),
        ([*FIT, "--ignore", "HT"], "HT"),
        ([*FIT, "--signed", "effect"], "effect"),
        ([*FIT, "--compartments", "1=stomach"], "stomach"),
        ([*FIT, "--forecast-from", "1000"], "forecasts from 1000 h since the first dose leave nothing to forecast"),
        ([*FIT, "--forecast-from", "nan"], "leave nothing"),
        ([*FIT, "--threshold", "nan"], "threshold"),
        ([*FIT, "--device", "banana"], "there is no device 'banana'; write --device cpu"),
        ([*FIT, "--rate", "nan"], "--rate nan is no learning rate; write a positive one, as 0.03"),
        ([*FIT, "--out", TABLE], "theophylline.csv is a file, where a folder is needed; name another folder with --out"),
        ([*FIT, "--out", f"{TABLE}/sub"], f"is a file, where a folder is needed, so that {TABLE}/sub cannot be made in it; name"),
        ([*FIT, "--out", "x" * 300], "this name is too long for the system; write a shorter one"),
        (["demo", "--out", TABLE], "theophylline.csv is a file, where a folder is needed; name another folder with --out"),
        (["demo", "c-peptide", "--out", TABLE], "theophylline.csv is a file, where a folder is needed; name another"),
    ],
)
def test_wrong_input_is_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("homeostat: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    if arguments[0] != "demo":  # whose first line says what it is
        assert done.stdout == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_one_sentence() -> None:
    done = run(*FIT, "--device", "cuda")
    assert done.exit_code == 2
    assert "no such GPU" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--person", "99"], "no person '99' in this bundle; it has 1, 2"),
        (["--do", "dose 3 g -> gut @ 0"], "g"),
        (["--do", "dose 1 mg -> stomach @ 0"], "stomach"),
        (["--do", "rubbish"], "rubbish"),
        (["--until", "-1"], "--until -1"),
        (["--until", "nan"], "--until nan"),
        (["--until", "inf"], "--until inf"),
        (["--until", "1e9"], "a slip of the end or of the unit of time"),
        (["--picture", "x.foo"], ".png"),
    ],
)
def test_wrong_questions_are_answered_so(bundle: Path, arguments: list[str], words: str) -> None:
    done = run("simulate", bundle, *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("homeostat: ")
    assert words in done.stderr


def test_a_long_question_is_quoted_around_the_slip(bundle: Path) -> None:
    doses = "; ".join(f"dose {k + 1} mg -> gut @ {k}" for k in range(200))
    for text, words in (
        (f"{doses}; dose 1 mg -> stomach @ 0; {doses}", "'stomach'"),
        (f"dose 1 mg -> {'x' * 3000} @ 0", "xxxx"),
        (f"{'rubbish ' * 500}", "'rubbish'"),
        (f"dose {'1' * 3000} mg -> gut @ 0", "1111"),
    ):
        done = run("simulate", bundle, "--do", text)
        assert done.exit_code == 2
        assert words in done.stderr
        said, shown, caret = done.stderr.rstrip("\n").split("\n")
        assert max(map(len, (said, shown, caret))) < 260
        assert shown[caret.index("^")] in text
        assert "…" in shown
    # more than any title has room for; the first six hours of it are simulated as all of it is
    assert run("simulate", bundle, "--do", doses, "--until", "6", "--picture", bundle.parent / "long.png").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [["fit", TABLE], [*FIT, "--members", "1"], [*FIT, "--seed", "-1"], [*FIT, "--seed", str(2**70)], ["fit", *UNITS]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Usage:" in done.stderr
    assert done.stdout == ""


def test_a_table_without_the_units_of_the_model(bundle: Path) -> None:
    done = run("report", bundle, "--data", TABLE, "--units", "TIME=h,AMT=mmol,DV=mg/L")
    assert done.exit_code == 2
    assert "the dose into gut is in mmol and mg is needed" in done.stderr


def test_a_failing_simulation_names_the_person(tmp_path: Path) -> None:
    done = run(*FIT, "--rate", "1e300", "--out", tmp_path)
    assert done.exit_code == 2
    assert re.match(r"homeostat: person \d+: (the state is not finite|the step of .* beyond 2\.79)", done.stderr)


def test_an_interrupt_before_anything_is_one_sentence(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("homeostat.bundles.certified.certify_bundle", interrupted)
    done = run("certify", bundle)
    assert done.exit_code == 130
    assert done.stderr == "homeostat: interrupted; nothing was written\n"


def test_as_a_program_in_a_terminal_without_unicode(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # ✓ that cannot be shown does not end a run, and exit codes reach the shell
    program = [sys.executable, "-c", "from homeostat.cli import main; main()"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*program, "check", str(bundle)], capture_output=True, text=True, env=environment)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    monkeypatch.setattr(sys, "argv", ["homeostat", "check", "nowhere.twin"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2


@pytest.mark.usefixtures("without_drawing")
def test_doses_into_the_plasma_alone_make_a_whole_report(tmp_path: Path) -> None:
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    for person, volume in enumerate((28.0, 30.0, 33.0, 35.0)):
        rows.append(f"{person},0,320,.,1,2")
        rows += [f"{person},{t},.,{320 / volume * 0.9**t:.4g},0,2" for t in (1, 2, 4, 8, 12)]
    (tmp_path / "iv.csv").write_text("\n".join(rows) + "\n")
    done = run("fit", tmp_path / "iv.csv", *UNITS, *SMALL, "--out", tmp_path / "iv", "--json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "iv" / "ignorance.png").exists()
    done = run("report", tmp_path / "iv" / "model.twin", "--data", tmp_path / "iv.csv", "--json")
    assert done.exit_code == 0, done.output


@pytest.mark.usefixtures("without_a_page")
def test_what_is_odd_about_people_is_named(bundle: Path, tmp_path: Path) -> None:
    """A covariate that no part of the model uses, one that nobody can have, and a dose beyond training."""
    lines = (bundle.parent / "four.csv").read_text().splitlines()
    header = lines[0].split(",")
    rows = [[*line.split(","), "1"] for line in lines[1:]]
    weight, amount = header.index("WT"), header.index("AMT")
    for row in rows:
        row[weight] = "1e9" if row[0] == "2" else row[weight]
        if row[0] == "3" and row[amount] not in (".", ""):
            row[amount] = str(100.0 * float(row[amount]))
    (tmp_path / "more.csv").write_text("\n".join([f"{lines[0]},FOOD", *map(",".join, rows)]) + "\n")
    done = run("report", bundle, "--data", tmp_path / "more.csv", "--out", tmp_path / "report", "--json")
    assert done.exit_code == 0, done.output
    answer = json_of(done)
    for said in (
        "column FOOD was read as a covariate and changes nothing: no part of the model uses it.",
        "WT of person 2 is 1e+09 kg, and the model is made for about 70 kg: look at the table, and at the unit of WT.",
    ):
        assert said in answer["notes"]
        assert f"homeostat: {said}" in done.stderr
    (end,) = (e for e in answer["ends"] if e["name"] == "V")
    assert "2" in end["people"]
    assert end["cause"] == answer["notes"][0]
    # and who goes beyond what the model was trained on: a person with a hundred times the dose
    beyond = answer["people_beyond_training"]
    assert beyond["3"]["doses"]["gut"]["asked"] > 50.0 * beyond["3"]["doses"]["gut"]["trained"]
    assert not {"1", "4"} & set(beyond)  # they are as they were in the training
    claims = [v["claim"] for v in answer["verdicts"]]
    assert f"{len(beyond)} of 4 people {'go' if len(beyond) > 1 else 'goes'} beyond what the model was trained on" in claims
    assert "a dose of " in next(v["detail"] for v in answer["verdicts"] if v["about"] == ["beyond training"])
    assert (answer["cut_at_zero"], answer["unit"], answer["time_unit"]) == (["concentration"], "mg/L", "h")


@pytest.mark.parametrize("option", ["--units", "--backbone", "--order", "--channels"])
def test_a_message_quotes_little_of_a_long_argument(option: str) -> None:
    done = run("fit", TABLE, *UNITS, option, "x" * 3000)
    assert done.exit_code == 2
    assert "x" * 50 in done.stderr
    assert "x" * 200 not in done.stderr
