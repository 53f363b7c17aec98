"""A population alone from the shell, and the table of estimates: what is written, said and refused."""

import csv
import json
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from exchange import load
from homeostat.data import theophylline
from homeostat.gallery.estimates import estimate_tables, estimates_section, known_of
from homeostat.pictures.estimates import Known, estimates_axes, estimates_in_words
from homeostat.progress import held
from homeostat.study.by_likelihood import Optimum, noting, plan_of
from homeostat.study.diagnosed import without_cure
from homeostat.study.estimated import Estimated, estimated, together
from hybrid import SimulationError
from learned import Ensemble, Zero
from physics.arguments import InputError
from tests.homeostat.shell import run
from tests.training.inference.linear import cohort_of, lines
from training import Fitted, last, personalise
from training.inference import parameter_table, polish

UNITS = ["--units", "TIME=h,AMT=mg,DV=mg/L"]
CLEARANCE = ["--backbone-config", '{"parameters": "clearance"}']
ALONE = ["--method", "focei", "--error", "additive", "--start", "empty", "--ignore", "WT", *CLEARANCE, *UNITS]


A = '{"A": [[-1.0, 0.0], [1.0, -0.1]], "states": ["gut", "concentration"], "state_units": ["mg", "mg/L"], "time_unit": "h"}'
NO_PARAMETERS = ["--backbone", "LinearBackbone", "--backbone-config", A]
NO_PARAMETERS += ["--compartments", "1=gut", "--order", "observation-first"]


@pytest.fixture(scope="module")
def fitted(
    tmp_path_factory: pytest.TempPathFactory, undrawn: Callable[[], AbstractContextManager[None]]
) -> tuple[Path, Mapping[str, Any]]:
    """Five people, few evaluations: Newton's steps take it to its optimum all the same."""
    folder = tmp_path_factory.mktemp("alone")
    rows = theophylline().read_text().splitlines()
    table = folder / "five.csv"
    table.write_text("\n".join([rows[0], *(row for row in rows[1:] if int(row.split(",")[0]) <= 5)]))
    with undrawn():
        done = run("fit", table, *ALONE, "--folds", "2", "--steps", "4", "--out", folder, "--json")
    assert done.exit_code == 0, done.output
    return folder, json.loads(done.stdout)


def test_the_shell_fits_a_population_alone(fitted: tuple[Path, Mapping[str, Any]]) -> None:
    folder, said = fitted
    found = said["diagnostics"]["estimates"]
    names = ["ka", "CL", "V", "omega(ka)", "omega(CL)", "omega(V)", "additive(concentration)"]
    assert [row["name"] for row in found["rows"]] == names
    assert said["convergence"]["converged"]
    assert said["convergence"]["away"] <= 5e-4
    assert said["certified"]
    assert set(said["scores"]) == {"population alone"}
    assert any("FOCE with interaction" in note and "additive" in note for note in said["notes"])
    assert any("how uncertain the estimates are" in note for note in said["notes"])
    # the bundle is that model, with its table; the numbers are those of its own likelihood, computed anew
    bundle = load(folder / "model.twin")
    assert bundle.model.members == 1
    assert isinstance(bundle.model.residual, Zero)
    assert bundle.provenance["settings.method"] == "focei"
    assert bundle.provenance["settings.error"] == "additive"
    carried = Estimated.read(bundle.calibration["estimates"])
    assert carried is not None
    assert carried.to_dict() == found
    for row in carried.rows:
        assert row.low is not None
        assert row.high is not None
        # an interval on the scale of the logarithm
        assert math.sqrt(row.low * row.high) == pytest.approx(row.estimate, rel=1e-9)
        assert math.log(row.high / row.low) == pytest.approx(2 * 1.959964 * row.se / row.estimate, rel=1e-6)  # type: ignore[operator]
    assert found["criteria"]["AIC"] == pytest.approx(found["ofv"][0] + 55 * math.log(2 * math.pi) + 14, abs=1e-6)
    page = (folder / "report.html").read_text()
    assert "What was estimated" in page
    assert "omega(CL)" in page
    assert "OneCompartmentOral without a learned part (one member)" in page
    with (folder / "tables" / "estimates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["estimate"]) for row in rows] == [row["estimate"] for row in found["rows"]]


def test_a_report_shows_the_table_that_the_bundle_carries(
    fitted: tuple[Path, Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import homeostat.bundles.reported as reported

    shown: list[Any] = []

    def page(folder: Path, what: Any, **_: Any) -> Path:
        shown.append(what)
        (folder / "report.html").write_text("")
        return folder / "report.html"

    monkeypatch.setattr(reported, "write_page", page)
    folder, said = fitted
    common = ("report", folder / "model.twin", "--data", folder / "five.csv", "--ignore", "WT", "--json")
    done = run(*common, "--out", tmp_path / "a")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["diagnostics"]["estimates"] == said["diagnostics"]["estimates"]
    assert not shown[0].estimated_here
    section = estimates_section(tmp_path, shown[0].diagnosed.estimates, fitted_on=False)
    assert "people whom the model was fitted on" in section.notes[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "saem"], "--method is ensemble, focei, laplace or quadrature, and is 'saem'"),
        (["--method", "focei", "--hidden", "8"], "--hidden is of an ensemble"),
        (["--method", "focei", "--members", "4"], "--members is of an ensemble"),
        (["--method", "laplace", "--rate", ".1"], "--rate is of an ensemble"),
        (["--method", "focei", "--log"], "--log is of an ensemble"),
        (["--error", "additive"], "--error is of a population alone; write --method focei"),
        (["--correlated", "CL,V"], "--correlated is of a population alone"),
        (["--shared", "ka"], "--shared is of a population alone"),
        (["--method", "focei", "--error", "lognormal"], "--error is additive, combined1 or combined2"),
        (["--method", "focei", "--correlated", "CL"], "--correlated names two parameters or more"),
        (["--method", "focei", "--correlated", "CL,V"], "--correlated names 'CL', and the parameters are ka, ke, V"),
        (["--method", "focei", "--shared", "ka,ke,V"], "--shared names every parameter"),
        (
            ["--method", "focei", *NO_PARAMETERS],
            "--method focei: LinearBackbone has no parameters, and a population alone has nothing else to estimate; leave",
        ),
        (["--method", "laplace", *NO_PARAMETERS], "--method laplace: LinearBackbone has no parameters"),
        (["--method", "quadrature", *NO_PARAMETERS], "--method quadrature: LinearBackbone has no parameters"),
        (["--method", "focei", "--shared", "ka", *NO_PARAMETERS], "--method focei: LinearBackbone has no parameters"),
        (["--method", "focei", "--correlated", "CL,V", *NO_PARAMETERS], "--method focei: LinearBackbone has no parameters"),
    ],
)
def test_wrong_combinations_are_one_sentence(options: list[str], words: str, tmp_path: Path) -> None:
    done = run("fit", theophylline(), *UNITS, "--ignore", "WT", "--out", tmp_path / "out", *options)
    assert done.exit_code == 2, done.output
    assert words in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_nobody_is_in_the_fold_that_judges_them() -> None:
    plan = plan_of(7, 3, torch.Generator().manual_seed(0))
    assert plan.weights.shape == (4, 7)
    assert bool((plan.weights[0] == 1).all())
    for k in range(3):
        torch.testing.assert_close(plan.weights[1 + k], (plan.fold != k).to(torch.float64))
    with pytest.raises(ValueError, match="at least 2 people"):
        plan_of(1, 2, torch.Generator())


def test_a_search_that_has_not_arrived_says_so() -> None:
    there = Optimum((), "focei", 1e-8, ())
    assert there.converged
    assert there.sentences() == []
    away = Optimum((), "laplace", 3.0, ("7",), ("out of steps",))
    assert not away.converged
    assert "by 3 as far as its curvature tells. out of steps" in away.sentences()[0]
    assert away.sentences()[1] == "The search for the own coordinates of one person has not converged: 7."
    several = replace(away, unfinished=tuple("1234567"))
    assert several.sentences()[1].endswith("coordinates of 7 people has not converged: 1, 2, 3, 4, 5 ….")
    assert "by how much is not known" in Optimum((), "focei", float("nan"), ()).sentences()[0]


def test_a_fit_that_is_left_is_closed_there_and_then() -> None:
    """Not when the garbage collector comes: a fit with a checkpoint saves as it is closed."""
    said: list[str] = []

    def steps() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
        finally:
            said.append("closed")

    inner, latest = steps(), list[int]()
    noted = noting(inner, latest)
    assert isinstance(noted, Generator)
    with held(noted):
        for step in noted:
            assert latest == [step]
            break
    assert said == ["closed"]
    assert inner.gi_frame is None  # type: ignore[attr-defined]  # it had its end, though it is still held here
    assert list(noting(iter([3, 4]), latest)) == [3, 4]  # what is no generator has nothing to be closed
    assert latest == [4]


def test_no_interval_is_invented() -> None:
    """Away from the optimum there is no interval; what the data cannot see has no error; a network is held, and said to be."""
    model = lines()
    cohort = cohort_of()
    at = last(polish(model, cohort))
    table = parameter_table(at, cohort)
    told = Estimated.of(table)
    seen = [math.isfinite(row.se) for row in table.rows]
    assert any(seen)
    assert [row.low is not None for row in told.rows] == seen
    assert len(told.sentences) == len(table.sentences())
    for errors in (0.5, 5.0):
        away = replace(table, errors=replace(table.errors, away=torch.tensor([errors], dtype=torch.float64)))
        found = Estimated.of(away)
        assert all(row.low is None and row.high is None for row in found.rows)
        assert [row.se is not None for row in found.rows] == [there and errors <= 1.0 for there in seen]
        (estimates, _) = estimate_tables(found)
        assert estimates.rows[0][5:7] == [None, None]
    unseen = replace(
        table,
        rows=tuple(replace(row, se=math.inf, rse=math.inf, low=0.0, high=math.inf) for row in table.rows),
    )
    found = Estimated.of(unseen)
    assert all((row.se, row.rse, row.low, row.high) == (None, None, None, None) for row in found.rows)
    assert not known_of(found)
    with pytest.raises(ValueError, match="nothing to draw"):
        estimates_axes([])
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    again = Estimated.read(json.loads(json.dumps(told.to_dict(), allow_nan=False)))
    assert again == told
    for broken in (None, 3, {}, {**told.to_dict(), "rows": []}, {**told.to_dict(), "ofv": []}, {**told.to_dict(), "level": 2}):
        assert Estimated.read(broken) is None


def test_members_are_told_together_and_drawn(tmp_path: Path) -> None:
    model = lines()
    cohort = cohort_of()
    stack = Ensemble(3).stack(last(polish(model, cohort)).model, torch.Generator().manual_seed(0))
    weights = torch.ones(3, 12, dtype=torch.float64)
    weights[1, :4] = 2.0
    found, why = estimated(stack, cohort, personalise(stack, cohort).mode, weights=weights)
    assert why == ""
    assert found is not None
    assert found.members == 3
    assert found.criteria == {}
    alone = parameter_table(Fitted(stack, personalise(stack, cohort).mode), cohort, weights=weights)
    assert found.ofv == tuple(alone.objective.ofv.tolist())
    assert found.ofv[1] != found.ofv[0]
    section = estimates_section(tmp_path, found, fitted_on=True)
    table = section.tables[0]
    assert "SD of members" in table.columns
    assert table.full is not None
    assert len(table.full.rows) == 3 * len(table.rows)
    # a and b may be negative, and have no ratios; the spreads and the noise have
    assert [one.name for one in known_of(found)] == ["omega(a)", "omega(b)", "additive(y)"]
    assert section.pictures[0].alt.startswith("3 rows, the estimates of 3 members: omega(a)")
    none, why = estimated(stack, cohort, personalise(stack, cohort).mode, most=10)
    assert none is None
    assert "more than the 10 that are computed unasked; write parameter_table(" in why


def test_intervals_are_drawn_as_they_are() -> None:
    known = [Known("CL", "L/h", 2.0, 1.0, 4.0), Known("omega(CL)", "1", 0.5, 0.25, 0.75, (0.25, 0.5, 0.75))]
    panel = estimates_axes(known)
    lines_of = {line.get_gid(): line for line in panel.get_lines()}
    assert list(lines_of["interval"].get_xdata()) == [0.5, 2.0]
    assert list(lines_of["member"].get_xdata()) == [0.5, 1.0, 1.5]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["omega(CL)", "CL"]
    assert estimates_in_words(known, "intervals") == "2 rows, intervals: CL 2 L/h, 1 to 4; omega(CL) 0.5, 0.25 to 0.75."


def test_sentences_of_members_that_differ_in_numbers_are_one() -> None:
    said = ["It falls by 41. Go on (member 0).", "It falls by 3.5. Go on (member 2).", "Other (member 1).", "Of all."]
    assert together(said, 3) == ["In 2 of 3 members, of the first: It falls by 41. Go on.", "In one member: Other.", "Of all."]
    assert together(["As it is (member 0)."], 1) == ["As it is (member 0)."]


@pytest.mark.slow
def test_theophylline_from_the_shell_is_the_fields(tmp_path: Path) -> None:
    """nlmixr2 prints 116.80 for this model and these data; the number asked for is 116.8079, to .02."""
    done = run("fit", theophylline(), *ALONE, "--folds", "2", "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["diagnostics"]["estimates"]
    assert found["ofv"][0] == pytest.approx(116.8079, abs=0.02)
    assert found["measurements"] == 132
    values = {row["name"]: row["estimate"] for row in found["rows"]}
    assert values["CL"] == pytest.approx(2.75, abs=0.02)
    assert values["V"] == pytest.approx(31.8, abs=0.1)


@pytest.mark.usefixtures("without_drawing")
def test_a_table_with_limits_says_what_counts_where(tmp_path: Path) -> None:
    """At the terminal: what n a criterion counts, why a number has no standard error, what no score counts; no Python's cures."""
    rows = theophylline().read_text().splitlines()
    kept = [rows[0] + ",CENS"]
    for row in rows[1:]:
        cells = row.split(",")
        if int(cells[0]) <= 6:
            late = float(cells[1]) > 20.0
            cells[3] = "3" if late else cells[3]
            kept.append(",".join([*cells, "1" if late else "0"]))
    table = tmp_path / "limits.csv"
    table.write_text("\n".join(kept))
    done = run("fit", table, *ALONE, "--folds", "2", "--steps", "4", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    found = Estimated.read(load(tmp_path / "model.twin").calibration["estimates"])
    assert found is not None
    assert found.between == 6
    assert f"BIC, log of {found.measurements + 6} measurements and limits" in said
    assert "BIC, log of 6 people" in said
    assert "Beside what was measured 6 more are only known to lie between limits" in said
    for sentence in found.sentences:
        assert " ".join(sentence.split()) in said
    page = (tmp_path / "report.html").read_text()
    assert "No predictive check: some of concentration is known by a limit alone" in page
    assert "corrected=False" not in page
    assert "simulated.people" not in page


def test_a_refusal_on_a_page_is_its_reason_alone() -> None:
    refused = InputError("predictive_check: it cannot be", "write corrected=False, or check it")
    assert without_cure(refused) == "No predictive check: it cannot be."
    assert without_cure(InputError("residuals: it is noise", "give another model")) == "No residuals: it is noise."
    assert without_cure(SimulationError("person 3: not finite at time 4.")) == "person 3: not finite at time 4."
