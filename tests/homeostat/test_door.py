"""The door: how the program is called, what it says when it cannot, and what never gets through."""

import errno
import io
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import homeostat
from benchmarks.corruptions.content import ordinary
from exchange import Bundle, load, save
from homeostat import commands
from homeostat.cli import app, offer
from homeostat.commands import Answer, Command
from homeostat.data import theophylline
from homeostat.door import Door, print_json
from homeostat.options import BundleFile, Json
from homeostat.plain_text import json_shown, shown
from hybrid import HybridModel
from tests.homeostat.shell import run

ROOT = Path(__file__).parents[2]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
UNITS = ["--units", "TIME=h,AMT=mg,DV=mg/L"]
TABLE = str(theophylline())
PROGRAM = [sys.executable, "-m", "homeostat"]
SHIP = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066\u200b\x7f"  # what a terminal or a reader would be misled by


@pytest.fixture(scope="module")
def plain() -> Bundle:
    return ordinary()


@pytest.fixture(scope="module")
def bundle(plain: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(plain, tmp_path_factory.mktemp("door") / "model.twin")


# ---- how it is called ------------------------------------------------------------------------------------------------


def test_the_version_has_one_place() -> None:
    assert run("--version").stdout == f"homeostat {homeostat.__version__}\n"
    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"homeostat {homeostat.__version__}\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "homeostat/__init__.py"


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_option_has_help_and_the_help_is_all_there(command: str | None) -> None:
    """Square brackets are no style: homeostat[log] and [[-1.0]] are shown as they are written."""
    long, short = (run(*([command] if command else []), flag) for flag in ("--help", "-h"))
    assert (long.exit_code, short.exit_code, long.stdout) == (0, 0, short.stdout)
    described = COMMANDS[command] if command else typer.main.get_command(app)
    seen = re.sub(r"\s", "", long.stdout)
    texts = [p.help for p in described.params]
    assert all(texts)
    for text in (*texts, described.help, described.epilog):
        assert re.sub(r"\s", "", text) in seen


def test_the_shell_completes() -> None:
    env = {"_HOMEOSTAT_COMPLETE": "complete_bash", "COMP_WORDS": "homeostat simu", "COMP_CWORD": "1"}
    assert run(env=env).stdout.split() == ["simulate"]
    assert "_HOMEOSTAT_COMPLETE" in run(env={"_HOMEOSTAT_COMPLETE": "source_bash"}).stdout


# ---- what it says when it cannot -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (["check", "nowhere.twin"], "train one with `homeostat demo` or `homeostat fit`"),
        (["fit", TABLE, *UNITS, "--backbone", "Foo"], "choose one of"),
        (["fit", TABLE, "--units", "TIME=h"], "--units TIME=h,AMT=mg,DV=mg/L"),
        (["fit", TABLE], "homeostat fit --help"),
        (["fit", TABLE, *UNITS, "--members", "1"], "homeostat fit --help"),
        (["fit", TABLE, *UNITS, "--members", str(10**12)], "homeostat fit --help"),
        (["simulate", "x.twin", "--points", "100000000"], "homeostat simulate --help"),
        (["simulate", "x.twin", "--nonsense"], "homeostat simulate --help"),
        (["frobnicate"], "homeostat --help"),
    ],
)
def test_with_json_an_error_is_an_object_too(arguments: list[str], cure: str) -> None:
    done = run(*arguments, "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert error.keys() == {"message", "cure", "exit"}
    assert error["exit"] == 2
    assert cure in error["cure"]
    assert error["message"]
    assert error["message"][:60] in done.stderr
    assert run(*arguments).stdout == ""


def test_a_schedule_keeps_its_caret_in_json(bundle: Path) -> None:
    done = run("simulate", bundle, "--do", "dose 1 -> stomach @ 0", "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert error["cure"] == "the model's are gut, plasma"
    assert error["message"].endswith("^")


class Odd(Exception):
    """An error that no one thought of."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 70),
        (KeyError("x"), 70),
        (RecursionError("maximum recursion depth exceeded"), 70),
        (OverflowError("int too large"), 70),
        (AssertionError(), 70),
        (ArithmeticError("found but not proved"), 70),
        (Odd("a\nb"), 70),
        (MemoryError(), 2),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 2),
        (ValueError("x"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "/somewhere/model.twin"), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_error_leaves_as_refused(error: Exception, code: int, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python ends with 1 after an error, and 1 says that a proof was refused."""

    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("homeostat.bundles.checked.examine_bundle", broken)
    done = run("check", bundle)
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr.startswith("homeostat: ")
    assert done.stderr.count("\n") == 1
    assert ("HOMEOSTAT_TRACEBACK=1" in done.stderr) == (code == 70)
    assert json.loads(run("check", bundle, "--json").stdout)["error"]["exit"] == code
    assert "Traceback" in run("check", bundle, env={"HOMEOSTAT_TRACEBACK": "1"}).stderr
    if isinstance(error, OSError):
        assert "/somewhere/model.twin: No space left on device; make room" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_under_standard_output() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PROGRAM, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == "homeostat: standard output: No space left on device; make room on the disk, or write elsewhere\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(("arguments", "stream"), [(["bogus", "--json"], "stdout"), (["bogus"], "stderr"), ([], "stderr")])
def test_wrong_use_that_nobody_can_be_told_is_no_refusal(arguments: list[str], stream: str) -> None:
    with open("/dev/full", "w") as full:
        given = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: full}
        assert subprocess.run([*PROGRAM, *arguments], cwd=ROOT, **given).returncode == 2  # type: ignore[call-overload]


def test_a_reader_that_has_gone_is_no_refusal() -> None:
    for arguments in (["--help"], ["--version"]):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as end:
            done = subprocess.run([*PROGRAM, *arguments], stdout=end, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        assert (done.returncode, done.stderr) == (141, "")


def test_numbers_that_are_not_finite_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [float("nan"), 1.5, {"b": float("inf")}], "c": True})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"a": [None, 1.5, {"b": None}], "c": True}


HEAD = "ID,TIME,AMT,DV,EVID,CMT"


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (["1,0,320,.,1,7", "1,2,.,8,0,2"], [], "--compartments 1=gut,2=plasma,7=depot"),
        (["1,0,320,.,1,1", "1,2,.,8,0,9"], [], "--channels 2=concentration,9=effect"),
        (["1,0,320,.,1,1", "1,2,.,-8,0,2"], [], "--signed concentration"),
        (["1,0,320,.,1,1", "1,2,.,8,0,2"], ["--signed", "effect"], "--signed names ['effect']"),
        (["1,0,320,.,1,1", "1,2,.,8,0,2"], ["--ignore", "DV"], "leave them out of --ignore"),
        (["1,0,320,.,1,1", "1,2,.,8,0,2"], ["--compartments", "1=stomach"], "--compartments 1=gut"),
        (["1,0,320,.,1,1", "1,2,.,8,0,2"], ["--channels", ""], "--channels 2=concentration"),
        (["1,0,320,.,1,1", "1,2,.,8,0,2", "1,3e5,.,8,0,2"], [], "is TIME in another unit than --units says"),
        (["1,0,320,.,1,1", "1,2,.,8,0,2", "1,2e9,.,8,0,2"], [], "is TIME in another unit than --units says"),
    ],
)
def test_cures_are_in_the_words_of_the_shell(rows: list[str], options: list[str], words: str, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("\n".join([HEAD, *rows, *("2" + r[1:] for r in rows)]) + "\n")
    done = run("fit", table, *UNITS, "--out", tmp_path, *options, "--members", "2", "--folds", "2", "--steps", "2")
    assert done.exit_code == 2
    assert words in done.stderr
    for python in ("read_nonmem", "={", "Mesh(", "Cohort", "signed or", "channel_column"):
        assert python not in done.stderr.replace(words, "")


def test_a_failed_simulation_names_options(tmp_path: Path) -> None:
    few = ["--members", "2", "--folds", "2", "--steps", "3", "--hidden", "4"]
    done = run("fit", TABLE, *UNITS, *few, "--rate", "1e300", "--out", tmp_path, "--json")
    assert done.exit_code == 2
    assert "--solver exponential" in json.loads(done.stdout)["error"]["cure"]
    assert "Mesh" not in done.stderr


# ---- what is too much ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["--until", "1e9"],
        ["--until", "1e300"],
        ["--points", "100000000"],
        ["--do", "split gut in 10000 every 1; split gut in 10000 every .001"],
        ["--do", "dose 1 -> gut @ 0 every .001 x 9000; dose 1 -> gut @ 0 every .001 x 9000"],
        ["--do", "dose 1 -> gut @ 0 every .001 x 1000000000"],
        ["--do", "x" * 100_000],
    ],
    ids=lambda o: " ".join(o)[:40],
)
def test_what_is_too_much_is_refused_before_it_is_made(bundle: Path, options: list[str]) -> None:
    done = run("simulate", bundle, *options)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert len(done.stderr) < 2000


@pytest.mark.parametrize(
    "options",
    [
        ["--hidden", "1000000000"],
        ["--hidden", "20000,20000"],
        ["--hidden", "9" * 3000],
        ["--hidden", "0,0"],
        ["--backbone-config", "[" * 50_000],
        ["--backbone-config", '{"A": ' + "[" * 20_000],
        ["--backbone-config", '{"A": [[-1' + "0" * 5000 + "]]}"],
        ["--backbone-config", '{"A": [[NaN]]}'],
        ["--backbone-config", '{"A": [[-1]], "A": [[-2]]}'],
    ],
    ids=lambda o: " ".join(o)[:40],
)
def test_arguments_that_no_machine_could_serve(options: list[str], tmp_path: Path) -> None:
    done = run("fit", TABLE, *UNITS, *options, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert options[0] in done.stderr
    assert len(done.stderr) < 1000
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "\n" + "1,0,320,.,1,1\n" + "".join(f"1,{k},1,.,1,1,9999,.001\n" for k in range(300)),
        HEAD + ",X" * 20_000 + "\n1,0,320,.,1,1\n",
        HEAD + "\n1,0,320,.,1," + '"' + "x" * 200_000 + '"\n',
        HEAD + "\n" + "1," * 100_000 + "\n",
    ],
    ids=["many additional doses", "many columns", "a long cell", "a long row"],
)
def test_tables_that_ask_for_too_much(text: str, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(text.replace(HEAD + "\n", HEAD + ",ADDL,II\n") if "9999" in text else text)
    done = run("fit", table, *UNITS, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert len(done.stderr) < 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["simulate", "BUNDLE", "--points", "2", "--picture", "a file/x.png"], "a file: a file stands there, where a folder is"),
        (["simulate", "BUNDLE", "--points", "2", "--picture", "a file/b/x.png"], "a part of this path is a file, where"),
        (["simulate", "BUNDLE", "--points", "2", "--picture", "a folder.png"], "a folder.png: this is a folder, where a file is"),
        (["simulate", "BUNDLE", "--points", "2", "--picture", f"{'x' * 300}.png"], "too long for the system; write a shorter"),
        (["report", "BUNDLE", "--data", TABLE, "--out", "a file"], "a file is a file, where a folder is needed;"),
        (["certify", "BUNDLE", "--region", "nowhere"], "nowhere cannot be read: there is no such file; give the path of a JSON"),
        (["certify", "BUNDLE", "--region", "a file"], "a file cannot be used as a region: it is not JSON"),
    ],
)
def test_a_place_that_cannot_be_used_has_a_cure(
    arguments: list[str], words: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("x")
    Path("a folder.png").mkdir()
    done = run(*(bundle if word == "BUNDLE" else word for word in arguments), *(UNITS if arguments[0] == "report" else []))
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "; " in done.stderr  # and the cure
    assert "Errno" not in done.stderr


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero here")
def test_what_never_ends_is_no_input(bundle: Path, tmp_path: Path) -> None:
    assert run("fit", "/dev/zero", *UNITS, "--out", tmp_path / "out").exit_code == 2
    assert run("check", "/dev/zero").exit_code == 2
    done = run("certify", bundle, "--region", "/dev/zero")
    assert done.exit_code == 2
    assert "cannot be used as a region" in done.stderr


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"lower": [' + "-1," * 400_000 + "-1]}", '{"lower": [-1e999], "upper": [1]}', "\x00"]
)
def test_region_files_that_ask_for_too_much(bundle: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "region.json").write_text(text)
    done = run("certify", bundle, "--region", tmp_path / "region.json")
    assert done.exit_code == 2
    assert "region.json cannot be used as a region" in done.stderr


# ---- what never gets through -----------------------------------------------------------------------------------------


def harmless(text: str) -> bool:
    return all(c in "\n\t" or c.isprintable() for c in text)


def test_text_of_others_is_shown_as_codes() -> None:
    assert shown("a\tb\nc 80 % №") == "a\tb\nc 80 % №"
    assert shown("a\nb", lines=False) == r"a\nb"
    assert harmless(shown(SHIP))
    assert shown(SHIP).startswith(r"\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe")
    for text in (SHIP, "\ud800", "𝕏\U000e0001", "plain"):
        escaped = json_shown(json.dumps({"a": text}, ensure_ascii=False))
        assert harmless(escaped)
        assert json.loads(escaped) == {"a": text}


def test_a_foreign_bundle_does_not_steer_the_terminal(plain: Bundle, tmp_path: Path) -> None:
    table = {"crps": 0.5, "nll": 1.0, "coverage_80": 0.8}
    about = {"note": SHIP, SHIP: "x", "lines": "a\ncertified  by everyone", "settings.solver": f"rk4{SHIP}"}
    claim = replace(plain.certificate, claim=SHIP)  # type: ignore[type-var]
    about["interrupted"] = "step 3)\nproved: For every pair of trajectories"
    path = save(replace(plain, provenance=about, calibration={"scores": {SHIP: table}}, claims=(claim,)), tmp_path / "a.twin")
    for arguments in (["inspect"], ["inspect", "--json"], ["check"], ["check", "--json"], ["simulate"], ["simulate", "--json"]):
        done = run(arguments[0], path, *arguments[1:])
        assert harmless(done.stdout)
        assert harmless(done.stderr)
    text = run("inspect", path).stdout
    assert r"\x1b[2J" in text
    assert text.count("\ncertified ") == 1  # a value has no line of its own
    for command in ("inspect", "check", "simulate"):
        assert "\nproved: For every" not in run(command, path).stdout
    assert json.loads(run("inspect", path, "--json").stdout)["provenance"] == about


@pytest.mark.parametrize("name", [SHIP, "a\nproved: yes", "", "x" * 300, "\u202ex"], ids=ascii)
def test_names_are_one_line_of_text(plain: Bundle, tmp_path: Path, name: str) -> None:
    said = "Person: id is a text" if not name else "a person's id is one line"
    with pytest.raises(ValueError, match=said) as caught:
        save(replace(plain, people=(replace(plain.people[0], id=name), *plain.people[1:])), tmp_path / "a.twin")
    assert harmless(str(caught.value))
    assert not list(tmp_path.iterdir())
    # whoever writes a file by hand is not asked by `save`
    path = save(plain, tmp_path / "b.twin")
    with zipfile.ZipFile(path) as archive:
        content = {n: archive.read(n) for n in archive.namelist()}
    about = json.loads(content["model.json"])
    about["people"][0]["id"] = name
    from benchmarks.corruptions.content import packed

    path.write_bytes(packed({**content, "model.json": json.dumps(about).encode()}))
    for command in ("inspect", "check", "simulate"):
        done = run(command, path)
        assert done.exit_code == 2
        assert said in done.stderr
        assert harmless(done.stderr)


def test_a_foreign_table_does_not_steer_the_terminal(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    row = ["0,320,.,1,1", "2,.,8,0,2"]
    for text in ("\n".join([HEAD, *(f"a{SHIP},{r}" for r in row), *(f"b,{r}" for r in row)]), f"ID,TIME,{SHIP}\n1,2,3"):
        table.write_text(text)
        done = run("fit", table, *UNITS, "--out", tmp_path / "out")
        assert done.exit_code == 2
        assert harmless(done.stderr)
        assert not (tmp_path / "out").exists()  # before training, not after
    assert harmless(run("check", f"nowhere{SHIP}").stderr)
    assert harmless(run("check", f"nowhere{SHIP}", f"--{SHIP}").stderr)


# ---- files whole or not at all ---------------------------------------------------------------------------------------


def test_a_full_disk_leaves_what_was_there(plain: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(plain, tmp_path / "model.twin")
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = zipfile.ZipFile.writestr
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    done = run("certify", path, "--rate", "0.001", "--write", "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["message"] == f"{path}: No space left on device"
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.twin"]
    monkeypatch.setattr(zipfile.ZipFile, "writestr", real)
    # the disk may also fill while the archive is closed, and while a picture or a page is written
    monkeypatch.setattr(zipfile.ZipFile, "_write_end_record", full)
    with pytest.raises(OSError, match=r"model\.twin"):
        save(plain, path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    monkeypatch.setattr("PIL.Image.Image.save", full)
    done = run("simulate", path, "--picture", tmp_path / "x.png")
    assert done.exit_code == 2
    assert f"{tmp_path / 'x.png'}: No space left" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["model.twin"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_checkpoint_on_a_full_disk_names_itself(tmp_path: Path) -> None:
    from training.machinery.checkpoint import Checkpoint, Saved

    (tmp_path / "a.checkpoint.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.checkpoint'"):
        Checkpoint(tmp_path / "a.checkpoint").write({}, Saved(1, {}, {}))
    assert not list(tmp_path.iterdir())


# ---- a class of the user's own ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The file that the page on classes of one's own shows, and a bundle whose model has that class."""
    page = (ROOT / "docs" / "own_structures.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.S)[0]
    file = tmp_path_factory.mktemp("own") / "saturating.py"
    file.write_text(code)
    found: dict[str, Any] = {"__name__": "saturating"}
    exec(compile(code, str(file), "exec"), found)
    before = ordinary()
    residual = found["Saturating"](2, 300.0)
    model = before.model
    parts = {"observation": model.observation, "noise": model.noise}
    new = HybridModel(model.backbone, model.population, residual, **parts)
    for parameter in residual.parameters():
        parameter.data = parameter.data.expand(2, *parameter.shape[1:]).clone() + 1.0
    return file, save(replace(before, model=new, claims=()), file.parent / "own.twin")


def test_a_class_of_ones_own_works_at_the_shell(own: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file, path = own
    done = run("check", path)
    assert done.exit_code == 2
    assert "unknown structure 'Saturating'" in done.stderr
    assert "--structures FILE.py:NAME" in done.stderr
    assert "load(path" not in done.stderr
    with pytest.raises(ValueError, match=r"load\(path, structures="):
        load(path)
    by_file = ["--structures", f"{file}:Saturating"]
    assert "Saturating, 2 members" in run("inspect", path, *by_file).stdout
    assert run("simulate", path, "--points", "3", *by_file, *by_file).exit_code == 0
    done = run("certify", path, "--write", *by_file)
    assert done.exit_code == 0, done.output
    assert run("check", path, *by_file).exit_code == 0
    monkeypatch.syspath_prepend(file.parent)
    assert run("check", path, "--structures", "saturating:Saturating").exit_code == 0


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("Saturating", "FILE.py:NAME"),
        (":Saturating", "FILE.py:NAME"),
        ("nowhere.py:Saturating", "there is no file nowhere.py; check the path, seen from "),
        ("no.such.module:Saturating", "there is no module no.such.module; check its name, or write FILE.py:NAME"),
        ("{file}:Nothing", "Nothing is no class"),
        ("{file}:torch", "torch is no class"),
        ("learned:MLP", "MLP is the name of a class of homeostat"),
        ("{broken}:X", "cannot be run (ZeroDivisionError: division by zero)"),
        ("{other}:Saturating", "two classes are called Saturating"),
    ],
)
def test_a_place_without_such_a_class(own: tuple[Path, Path], tmp_path: Path, place: str, words: str) -> None:
    file, path = own
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "other.py").write_text(file.read_text())
    where = place.format(file=file, broken=tmp_path / "broken.py", other=tmp_path / "other.py")
    done = run("inspect", path, "--structures", f"{file}:Saturating", "--structures", where)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert io.StringIO(done.stderr).read().startswith("homeostat: --structures")


@pytest.mark.parametrize("code", [0, 1])
def test_a_class_of_ones_own_does_not_end_the_program(bundle: Path, tmp_path: Path, code: int) -> None:
    """0 would say that a proof holds, and 1 that it was refused."""
    (tmp_path / "own.py").write_text(f"import sys\nsys.exit({code})\n")
    done = run("check", bundle, "--structures", f"{tmp_path / 'own.py'}:Mine", "--json")
    assert done.exit_code == 2
    assert "SystemExit" in json.loads(done.stdout)["error"]["message"]


def test_a_record_of_a_million_years_is_no_record(plain: Bundle, tmp_path: Path) -> None:
    people = tuple(replace(p, until=2.5e7) for p in plain.people)
    path = save(replace(plain, people=people), tmp_path / "a.twin")
    done = run("simulate", path, "--points", "2")
    assert done.exit_code == 2
    assert "was last measured at 2.5e+07" in done.stderr


# ---- a new command -----------------------------------------------------------------------------------------------------


def test_a_new_command_is_one_file() -> None:
    """Its function gives values; help, `--json`, exit codes and sentences for errors are the program's."""

    def count(path: BundleFile, letter: str = "a", as_json: Json = False) -> Answer:
        """Count a letter in a file's name."""
        if len(letter) != 1:
            raise ValueError(f"{letter!r} is no letter; write --letter a")
        found = path.name.count(letter)
        return Answer({"found": found}, f"{found} times", 0 if found else 1, ["counted"])

    program = typer.Typer(cls=Door, rich_markup_mode=None)
    program.callback()(lambda: None)
    offer(Command(count, "homeostat count a.twin"), program)

    def asked(*arguments: str) -> Result:
        return CliRunner().invoke(program, ["count", *arguments])

    done = asked("aa.twin")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "2 times\n", "homeostat: counted\n")
    assert json.loads(asked("aa.twin", "--json").stdout) == {"found": 2}
    assert asked("aa.twin", "--letter", "z").exit_code == 1
    done = asked("aa.twin", "--letter", "zz", "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["cure"]) == (2, "write --letter a")
    text = " ".join(asked("--help").stdout.split())
    assert "Count a letter in a file's name." in text
    assert "Example: homeostat count a.twin" in text
    assert "--letter" in text
    assert [c.name for c in commands.COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "foo"], "there is no demo 'foo'; write homeostat demo theophylline, or homeostat demo c-peptide"),
        (["frobnicate"], "there is no command 'frobnicate'; write one of demo, identify, fit, certify, check, report, "),
        (["demo", "--fold", "3"], "homeostat demo has no option --fold; write --folds"),
        (["demo", "--members", "1"], "--members 1 is not a whole number from 2 to 1024; "),
        (["demo", "--members=2.5"], "--members 2.5 is not a whole number from 2 to 1024; "),
        (["certify", "x.twin", "--rate", "fast"], "--rate fast is not a number; "),
        (["certify", "x.twin", "--seconds", "0"], "--seconds 0 is not a number of 0.1 or more; "),
        (["fit", TABLE], "homeostat fit needs --units, and it is missing; "),
        (["fit"], "homeostat fit needs TABLE, and it is missing; "),
        (["check", "a.twin", "b.twin"], "b.twin"),
    ],
)
def test_wrong_use_is_said_in_our_words(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("homeostat: ")
    assert words in done.stderr
    assert not re.search(r"Value error|Input should|Invalid value|\benum\b|parse", done.stderr)  # typer's and pydantic's


def test_a_demo_s_name_is_the_same_in_capitals() -> None:
    assert "the c-peptide demo is trained with rk4" in run("demo", "C-Peptide", "--solver", "dopri5").stderr


@pytest.mark.parametrize("command", [["demo"], ["demo", "c-peptide"], ["fit", TABLE, *UNITS]])
@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--device", "banana"], "there is no device 'banana'; write --device cpu"),
        (["--device", "cuda:77"], "device cuda:77: this torch sees no such GPU; write --device cpu"),
        (["--device", "meta"], "there is no device 'meta'; write --device cpu"),
        (["--solver", "rk5"], "rk"),
    ],
)
def test_what_there_is_not_is_known_before_anything_is_written_or_trained(
    command: list[str], option: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: object, **__: object) -> None:
        raise AssertionError("training began")

    for name in ("homeostat.demo.train", "homeostat.demo.SecondProcess", "homeostat.c_peptide.demo.SecondProcess"):
        monkeypatch.setattr(name, trained)
    monkeypatch.setattr("homeostat.study.fit_table.train", trained)
    done = run(*command, *option, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_cannot_be_written_is_known_before_the_search(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def searched(*_: object, **__: object) -> None:
        raise AssertionError("the search began")

    def full(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("homeostat.bundles.certified.certify_rounded", searched)
    monkeypatch.setattr("homeostat.places.tempfile.TemporaryFile", full)
    done = run("certify", bundle, "--write")
    assert done.exit_code == 2
    assert "nothing can be written in " in done.stderr
    assert "leave --write out" in done.stderr
