"""Ctrl-C: exit code 130 whatever is kept, what is kept is marked, and what was written is named; SIGTERM: 143."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.core import TyperGroup

import homeostat.bundles.certified
import homeostat.demo
import homeostat.study.fit_table
from exchange import load
from homeostat.__main__ import main
from homeostat.data import theophylline
from homeostat.gallery import interrupted_verdicts
from homeostat.interrupted import undisturbed
from homeostat.progress import Interruption, cut_short, watched
from homeostat.study import Settings, train
from homeostat.study.backbones import backbone_named
from homeostat.study.recipe import hybrid_recipe
from hybrid import HybridModel
from stability import certify
from tests.homeostat.shell import run
from training import Cohort, Fitted, Looks, Objective, Record, Search, Step, fit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def usual() -> Generator[None, None, None]:
    """The handlers of a shell's foreground, whatever this process was started with."""
    before = {number: signal.signal(number, usual) for number, usual in USUAL.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


def raising(number: int) -> Callable[..., None]:
    def work(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5.0)  # the signal comes before that is over

    return work


COMMANDS = {
    "certify": ("homeostat.bundles.certified.certify_bundle", ["x.twin"]),
    "check": ("homeostat.bundles.checked.examine_bundle", ["x.twin"]),
    "export": ("homeostat.bundles.exported.export_bundle", ["x.twin", "--to", "c"]),
    "follow": ("homeostat.follow.followed.follow_stream", ["x.twin", "--stream", "-"]),
    "import": ("homeostat.bundles.imported.import_fmu", ["x.fmu", "--records", "x.csv"]),
    "inspect": ("homeostat.bundles.inspected.inspect_bundle", ["x.twin"]),
    "sign": ("homeostat.bundles.signed.sign_bundle", ["x.twin", "--key", "x.key"]),
    "simulate": ("homeostat.bundles.simulated.simulate_person", ["x.twin", "--picture", "x.png"]),
    "report": ("homeostat.bundles.reported.report_on", ["x.twin", "--data", "x.csv"]),
    "fit": ("homeostat.study.fit_table.fit_table", [str(theophylline()), "--units", "TIME=h,AMT=mg,DV=mg/L", "--out", "out"]),
    "demo": ("homeostat.demo.run_demo", ["--out", "out"]),
}


@pytest.mark.usefixtures("usual")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("number", "code", "words"), [(signal.SIGINT, 130, "interrupted; "), (signal.SIGTERM, 143, "ended by ")])
def test_every_command_that_is_stopped_says_so(
    command: str, number: int, code: int, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    name, arguments = COMMANDS[command]
    monkeypatch.setattr(name, raising(number))
    done = run(command, *arguments)
    assert done.exit_code == code
    assert done.stderr.splitlines()[-1].startswith(f"homeostat: {words}")
    assert "nothing was written" in done.stderr
    assert done.stdout == ""
    assert [signal.getsignal(n) for n in USUAL] == list(USUAL.values())  # and the signals are whose they were


@pytest.mark.usefixtures("usual")
def test_what_was_written_before_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "old.png").write_text("of an earlier run")

    def work(*_: object, **__: object) -> None:
        for name in ("model.twin", "hybrid.checkpoint", "model.twin.partial"):
            (tmp_path / name).write_text("x")
        raise KeyboardInterrupt

    monkeypatch.setattr(homeostat.study.fit_table, "fit_table", work)
    done = run("fit", theophylline(), "--units", "TIME=h,AMT=mg,DV=mg/L", "--out", tmp_path)
    assert done.exit_code == 130
    kept = f"{tmp_path / 'hybrid.checkpoint'}, {tmp_path / 'model.twin'}"
    said = f"homeostat: interrupted; written before and kept: {kept}; the same command with --resume goes on with the training\n"
    assert done.stderr.endswith(said)


@pytest.mark.usefixtures("usual")
def test_a_search_that_answers_an_interrupt_is_an_interrupted_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The climb catches Ctrl-C and goes on with the best so far; the command is none that went well for that."""

    def work(*_: object) -> object:
        try:
            raising(signal.SIGINT)()
        except KeyboardInterrupt:
            return certify_one(), "a text", {}
        raise AssertionError("the signal did not come")

    monkeypatch.setattr(homeostat.bundles.certified, "certify_bundle", work)
    done = run("certify", "x.twin")
    assert done.exit_code == 130
    assert done.stdout == "a text\n"
    assert done.stderr == "homeostat: interrupted; the answer is the best that was found until then\n"


def certify_one() -> object:
    from stability import Lure

    return certify(Lure(A=[[-1.0, 0.0], [0.1, -2.0]], weights=[], biases=[]))


@pytest.mark.usefixtures("usual")
def test_what_ignores_ctrl_c_goes_on_ignoring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return certify_one(), "a text", {}

    monkeypatch.setattr(homeostat.bundles.certified, "certify_bundle", work)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` and a script's background do
    assert run("certify", "x.twin").exit_code == 0


@pytest.mark.usefixtures("usual")
def test_what_should_not_be_left_half_done_is_done_first() -> None:
    """A signal waits for the end of the block; a second one does not."""
    done: list[str] = []

    def stopped(times: int, word: str) -> None:
        with undisturbed():
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)
            done.append(word)

    with pytest.raises(KeyboardInterrupt):
        stopped(1, "first")
    with pytest.raises(KeyboardInterrupt):
        stopped(2, "never")
    assert done == ["first"]
    with undisturbed():
        done.append("second")
    with pytest.raises(ValueError, match="own"), undisturbed():
        raise ValueError("its own")
    assert [signal.getsignal(n) for n in USUAL] == list(USUAL.values())


@pytest.mark.parametrize("where", ["make_context", "invoke"])
@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupt_while_the_words_are_read_is_said_too(where: str, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading what reads them takes longer than the words: it ended with 130 and without a sentence, or by the signal."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TyperGroup, where, stopped)
    done = run("check", "x.twin", *(["--json"] if as_json else []))
    assert done.exit_code == 130
    assert done.stderr == "homeostat: interrupted; nothing was written\n"
    assert ("interrupted" in done.stdout) is as_json


def test_an_interrupt_while_the_program_is_loaded_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped:
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setitem(sys.modules, "homeostat.cli", Stopped())
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "homeostat: interrupted; nothing was written\n"


@pytest.mark.skipif(os.name != "posix", reason="the signal is sent as a shell on POSIX does")
@pytest.mark.parametrize(("raised", "code"), [("SystemExit(2)", 2), ("SystemExit(0)", 0), ("KeyboardInterrupt", 130)])
def test_an_interrupt_when_all_is_said_changes_no_exit_code(raised: str, code: int) -> None:
    """A second Ctrl-C, while Python was ending, ended by the signal."""
    lines = f"""
import atexit, os, signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)
cli = types.ModuleType("homeostat.cli")
def ends():
    raise {raised}
cli.main = ends
sys.modules["homeostat.cli"] = cli
atexit.register(os.kill, os.getpid(), signal.SIGINT)
from homeostat.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr


@pytest.mark.usefixtures("usual")
def test_a_library_that_was_stopped_while_it_was_loaded_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: object) -> None:
        try:
            raising(signal.SIGINT)()
        except KeyboardInterrupt:
            raise RecursionError("maximum recursion depth exceeded") from None

    monkeypatch.setattr(homeostat.bundles.certified, "certify_bundle", work)
    done = run("certify", "x.twin")
    assert (done.exit_code, done.stderr) == (130, "homeostat: interrupted; nothing was written\n")


# ---- what is kept ------------------------------------------------------------------------------------------------------


def test_the_bar_says_where_it_was_stopped(model: HybridModel) -> None:
    best = Fitted(model, torch.zeros(1, 4, 3))

    def steps(last: int) -> Generator[Step, None, None]:
        for k in range(1, last + 1):
            yield Step(k, 12, torch.ones(1), torch.full((1,), torch.nan), 0.1, best)
        raise KeyboardInterrupt

    text = StringIO()
    assert watched(steps(10), "hybrid", Console(file=text)) == (best, Interruption(10, 12))
    assert "hybrid: interrupted at step 10 of 12; going on" in text.getvalue()
    assert watched(steps(12), "hybrid", Console(file=text)) == (best, None)  # nothing is missing
    with pytest.raises(KeyboardInterrupt):
        watched(steps(0), "hybrid", Console(file=text))


def test_which_trainings_were_cut_short_in_words() -> None:
    assert cut_short({"hybrid": None, "backbone alone": None}) == ""
    both = cut_short({"hybrid": Interruption(10, 120), "backbone alone": Interruption(3, 120)})
    assert both == "hybrid: interrupted at step 10 of 120; backbone alone: interrupted at step 3 of 120"
    assert interrupted_verdicts("") == []
    (verdict,) = interrupted_verdicts(both, ["neural ODE alone"])
    assert (verdict.good, verdict.claim) == (False, f"Training was cut short ({both})")
    assert "left out: neural ODE alone." in verdict.detail


@pytest.mark.parametrize(("last", "look_every"), [(4, 5), (7, 5), (4, 100)])
def test_before_the_first_look_the_last_step_is_kept(model: HybridModel, cohort: Cohort, last: int, look_every: int) -> None:
    """Ten steps used to end with the weights that training began with, though members had moved; then the best look counts."""
    held = torch.tensor([[True, False, False, False]])
    steps = fit(
        model,
        cohort,
        objective=Objective(weights=(~held).double(), held_out=held),
        search=Search(steps=8),
        looks=Looks(every=look_every, patience=9),
    )
    states: list[list[torch.Tensor]] = [[p.detach() for p in model.parameters()]]

    def stopped() -> Generator[Step, None, None]:
        for step in steps:
            assert step.now is not None
            states.append(list(step.now().model.parameters()))
            yield step
            if step.index == last:
                raise KeyboardInterrupt

    kept, where = watched(stopped(), "hybrid", Console(quiet=True))
    assert where == Interruption(last, 8)
    wanted = states[last if last < look_every else look_every]
    assert all(torch.equal(a, b) for a, b in zip(kept.model.parameters(), wanted, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(wanted, states[0], strict=True))


def test_an_interrupted_study_knows_the_step(
    people: tuple[Record, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import homeostat.study.training

    def stopped(*given: object, **named: object) -> Generator[Step, None, None]:
        for step in fit(*given, **named):  # type: ignore[arg-type]
            yield step
            if step.index == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(homeostat.study.training, "fit", stopped)
    recipe = hybrid_recipe(backbone_named("OneCompartmentOral"), people, hidden=(2,))
    trained = train(recipe, people, Settings(2, 2, 5, forecast_from=2.0), Console(quiet=True))
    assert trained.interrupted == Interruption(2, 5)


@pytest.mark.slow  # the signals themselves, inside one process, are tested above
@pytest.mark.skipif(os.name != "posix", reason="the signal is sent as a shell on POSIX does")
def test_ctrl_c_twice_in_a_real_process(tmp_path: Path) -> None:
    """The first one ends the training, and what is kept is marked as soon as it is saved. The second one ends the command, or the
    search for a certificate, which takes it for the wish to have the best so far.
    """
    lines = theophylline().read_text().splitlines()
    (tmp_path / "two.csv").write_text("\n".join([lines[0], *(x for x in lines[1:] if int(x.split(",")[0]) <= 2)]))
    given = ["fit", "two.csv", "--units", "TIME=h,AMT=mg,DV=mg/L", "--hidden", "0", "--members", "2", "--folds", "2"]
    # a shell in the background has its children ignore Ctrl-C; a terminal does not
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from homeostat.cli import main; main()"
    program = [sys.executable, "-c", code, *given, "--steps", "1000000", "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    path, begun = tmp_path / "out/model.twin", time.monotonic()
    at_first = tmp_path / "out/unfinished-run/model.twin"
    with (
        (tmp_path / "said").open("w") as said,
        subprocess.Popen(program, env=environment, cwd=tmp_path, stdout=said, stderr=said) as process,
    ):
        for file in (tmp_path / "out/hybrid.checkpoint", at_first):
            while not file.exists() and process.poll() is None and time.monotonic() - begun < 240:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
        process.wait(timeout=240)
    text = " ".join((tmp_path / "said").read_text().split())
    assert process.returncode == 130, text
    # who ends the command keeps what was saved where the run was; who ends the search alone has a whole run
    mark = str(load(path if path.exists() else at_first).provenance["interrupted"])
    assert mark.startswith("backbone alone: interrupted at step ")
    assert mark.endswith(" of 1000000")
    assert int(mark.split()[5]) >= 10  # the checkpoint is written every ten steps
    assert mark in text
