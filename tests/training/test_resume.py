"""`homeostat fit`, interrupted or killed, goes on where it was: the bundle is that of a run without a break."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner, Result

from exchange import Bundle, load
from homeostat.cli import app
from homeostat.data import theophylline
from homeostat.progress import watched
from hybrid import HybridModel
from training import Fitted, Step
from training.trust.verdicts import Verdict

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ("hybrid.checkpoint", "backbone.checkpoint")


def command(folder: Path, *more: str) -> list[str]:
    # three people are too few to be recalibrated, which is a function of the forecasts that are compared here anyway
    table = folder / "three.csv"
    if not table.exists():
        lines = theophylline().read_text().splitlines()
        table.write_text("\n".join([lines[0], *(x for x in lines[1:] if int(x.split(",")[0]) <= 3)]))
    small = ["--members", "2", "--folds", "2", "--steps", "16", "--hidden", "4", "--threshold", "5"]
    return ["fit", str(table), "--units", "TIME=h,AMT=mg,DV=mg/L", *small, "--out", str(folder / "out"), *more]


def run(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(app, command(folder, *more))


@pytest.fixture(autouse=True, scope="module")
def without_a_page() -> Iterator[None]:
    """What is saved is looked at here; the pictures, a third of the command's time, are `test_cli.py`'s."""

    def page(folder: Path, *_: Any, verdicts: Sequence[Verdict], **__: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text("\n".join(map(str, verdicts)))
        return folder / "report.html"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("homeostat.study.fit_table.write_page", page)
        patch.setattr("homeostat.bundles.reported.write_page", page)
        yield


def left(folder: Path) -> set[str]:
    return {name for name in CHECKPOINTS if (folder / "out" / name).exists()}


def same(a: Bundle, b: Bundle) -> bool:
    pairs = [*zip(a.model.parameters(), b.model.parameters(), strict=True), (a.personal.mode, b.personal.mode)]
    return all(torch.equal(x, y) for x, y in pairs) and dict(a.calibration) == dict(b.calibration)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same command without a break."""
    folder = tmp_path_factory.mktemp("whole")
    done = run(folder)
    assert done.exit_code == 0, done.output
    assert left(folder) == set()
    return load(folder / "out/model.twin")


@pytest.mark.filterwarnings("default:.*going on from the one before it")  # else a warning is an error in tests
def test_ctrl_c_saves_and_resume_goes_on(whole: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = Progress.update
    count = 0

    def interrupted(self: Progress, *given: Any, **named: Any) -> None:
        nonlocal count
        count += 1
        if count == 7:
            raise KeyboardInterrupt
        update(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", interrupted)
        done = run(tmp_path, "--json")
    assert done.exit_code == 130, done.output
    summary = json.loads(done.stdout)
    mark = "hybrid: interrupted at step 7 of 16"
    assert (summary["interrupted"], summary["cut_short"]) == (True, mark)
    assert "--resume" in done.stderr
    assert f"training was cut short ({mark})" in " ".join(done.stderr.split())
    assert f"Training was cut short ({mark})" in Path(summary["report"]).read_text()
    # one Ctrl-C ends all training: nobody who wants to stop waits for the backbone alone
    assert left(tmp_path) == {"hybrid.checkpoint"}
    assert list(summary["scores"]) == ["hybrid"]
    page = Path(summary["report"]).read_text()
    assert "Not trained to the end, and so left out: backbone alone." in page
    assert "has converged" not in page
    early = load(tmp_path / "out/model.twin")
    assert early.provenance["interrupted"] == mark
    assert "Training was interrupted at step 7 of 16" in early.provenance["not_converged"]
    assert summary["convergence"]["converged"] is False
    assert not same(early, whole)  # what there was after seven steps, in full
    # and whoever uses the bundle is told
    path = tmp_path / "out/model.twin"
    for arguments in (["inspect"], ["check"], ["certify", "--rate", "0.01"], ["simulate"]):
        assert f"training was cut short ({mark})" in CliRunner().invoke(app, [*arguments, str(path)]).stdout.replace("   ", " ")
    for arguments in (["inspect", "--json"], ["simulate", "--json"]):
        assert json.loads(CliRunner().invoke(app, [*arguments, str(path)]).stdout)["cut_short"] == mark
    told = CliRunner().invoke(app, ["report", str(path), "--data", str(tmp_path / "three.csv"), "--json"])
    verdicts = json.loads(told.stdout)["verdicts"]
    assert (verdicts[0]["claim"], verdicts[0]["good"]) == (f"Training was cut short ({mark})", False)
    # which of the two is wanted is not guessed
    done = run(tmp_path)
    assert done.exit_code == 2
    assert done.stderr.startswith("homeostat: ")
    assert "--resume goes on with it, --anew begins anew" in done.stderr
    # other arguments are another training
    done = run(tmp_path, "--resume", "--rate", "0.01")
    assert done.exit_code == 2
    assert "rate was 0.03 and is 0.01" in done.stderr
    assert done.stderr.count("\n") == 1
    assert left(tmp_path) == {"hybrid.checkpoint"}
    # a damaged file is said in a sentence, and the training goes on from the one before it or not at all
    path = tmp_path / "out/hybrid.checkpoint"
    data = path.read_bytes()
    path.write_bytes(data[:1000])
    done = run(tmp_path, "--resume")
    assert done.exit_code == 2
    assert "delete it to start anew" in done.stderr
    path.with_name(path.name + ".previous").write_bytes(data)
    done = run(tmp_path, "--resume", "--json")
    assert done.exit_code == 0, done.output
    assert "homeostat: " in done.stderr
    assert "going on from the one before it, step 7" in done.stderr
    summary = json.loads(done.stdout)
    assert (summary["interrupted"], summary["cut_short"]) == (False, "")
    assert "interrupted" not in load(tmp_path / "out/model.twin").provenance
    assert same(load(tmp_path / "out/model.twin"), whole)
    assert left(tmp_path) == set()
    assert not list((tmp_path / "out").glob("*.previous"))


@pytest.mark.slow  # a checkpoint that is killed at random moments is tested in test_checkpoint
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_and_resumed(whole: Bundle, tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from homeostat.cli import main; main()", *command(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        path = tmp_path / "out/hybrid.checkpoint"
        begun = time.monotonic()
        while not path.exists() and process.poll() is None and time.monotonic() - begun < 60:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert left(tmp_path) == {"hybrid.checkpoint"}
    assert not (tmp_path / "out/model.twin").exists()
    done = run(tmp_path, "--resume")
    assert done.exit_code == 0, done.output
    assert same(load(tmp_path / "out/model.twin"), whole)


def test_anew_begins_anew_and_resume_begins_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/hybrid.checkpoint").write_bytes(b"of an older program")
    other = tmp_path / "other"
    other.mkdir()
    few = ("--steps", "2", "--hidden", "0")  # the law is about the first step
    for folder, option in ((tmp_path, "--anew"), (other, "--resume")):
        done = run(folder, option, *few)
        assert done.exit_code in (0, 1), done.output  # 1: trained, and not certified
        assert left(folder) == set()
    assert same(load(tmp_path / "out/model.twin"), load(other / "out/model.twin"))


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_a_log_without_tensorboard_is_one_sentence(tmp_path: Path) -> None:
    done = run(tmp_path, "--log")
    assert done.exit_code == 2
    assert done.stderr == "homeostat: the log needs tensorboard: pip install 'homeostat[log]'\n"
    assert left(tmp_path) == set()


# ---- the bar ---------------------------------------------------------------------------------------------------------


def test_the_bar_of_a_resumed_fit_begins_where_it_was(model: HybridModel, monkeypatch: pytest.MonkeyPatch) -> None:
    best = Fitted(model, torch.zeros(1, 4, 3))
    shown: list[tuple[float, float | None, int]] = []
    update = Progress.update

    def seen(self: Progress, *given: Any, **named: Any) -> None:
        update(self, *given, **named)
        task = self.tasks[0]
        shown.append((task.completed, task.total, len(task._progress)))

    monkeypatch.setattr(Progress, "update", seen)
    closed = False

    def steps() -> Generator[Step, None, None]:
        nonlocal closed
        try:
            for k in range(40, 44):
                yield Step(k, 50, torch.ones(1), torch.full((1,), torch.nan), 0.1, best)
        finally:
            closed = True

    assert watched(steps(), "x", Console(file=StringIO())) == (best, None)
    assert closed
    assert [s[:2] for s in shown] == [(40, 50), (41, 50), (42, 50), (43, 50), (43, 43)]  # the last: an early end is an end
    assert shown[0][2] <= 1  # forty steps in no time are not what the time left is judged by
