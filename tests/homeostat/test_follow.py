"""`homeostat follow`: estimates a line, dead letters, and a stream that is taken up again where it was left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import jsonschema
import pytest
from typer.testing import Result

from exchange import Bundle, load, save
from homeostat.follow.followed import people_of
from homeostat.follow.lines import Line, waiting_lines
from homeostat.follow.schemas import schema_text
from hybrid import Concentration, Dose, HybridModel, Schedule
from learned import AdditiveProportional, DiagonalDiffusion
from physics import LogNormalPopulation, OneCompartmentOral
from tests.homeostat.shell import run as shell
from training import Cohort, Record, prior
from twin import Twin
from twin.log import read_event

ROOT = Path(__file__).parents[2]
FLOOR = ["--process-floor", "mg=5"]


def bundle_of(process: bool, weight: bool = False) -> Bundle:
    """One oral dose, two people of the fit, nothing learned."""
    backbone = OneCompartmentOral()
    powers = {"powers": {"V": {"WT": (70.0, 1.0, "kg")}}} if weight else {}
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone, spread={"ka": 0.4, "ke": 0.3, "V": 0.2}, **powers),
        observation=Concentration("plasma", "V", channel="concentration", unit="mg/L"),
        noise=AdditiveProportional(additive=[0.25], proportional=[0.05], floor=[0.03]),
        process=DiagonalDiffusion({"plasma": 9.0}) if process else None,
    )
    units = {"time": "h", "dose": "mg", "concentration": "mg/L", **({"WT": "kg"} if weight else {})}
    given = Schedule((Dose("gut", 0.0, 320.0),))
    records = [
        Record(id, given, [1.0, 6.0], [8.0, 5.0], "concentration", {"WT": 70.0} if weight else {}, units, ("concentration",))
        for id in ("P1", "P2")
    ]
    cohort = Cohort.of(records, model)
    return Bundle.of(model, cohort, prior(model, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("follow")
    save(bundle_of(process=True), folder / "model.twin")
    save(bundle_of(process=False), folder / "quiet.twin")
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> list[dict[str, Any]]:
    """What is said of a night that nothing interrupts."""
    return lines_of(run(folder / "model.twin", "--stream", written(folder / "night.ndjson", night())))


def event(patient: str, id: str, hour: float, value: float | None = None, **more: Any) -> dict[str, Any]:
    """A measurement of the evening of 1 March 2026, or what `more` makes of it."""
    minutes = round(60 * hour)
    stamp = f"2026-03-{1 + (20 * 60 + minutes) // 1440:02d}T{(20 + minutes // 60) % 24:02d}:{minutes % 60:02d}:00Z"
    found = {"patient": patient, "source": "lab", "id": id, "kind": "measurement", "time": stamp}
    if value is not None:
        found |= {"channel": "concentration", "value": value, "unit": "mg/L"}
    return {**found, **more}


def dose(patient: str, hour: float = 0.0, amount: float = 320.0) -> dict[str, Any]:
    found = event(patient, f"capsule at {hour}", hour, amount, source="ward", kind="dose", compartment="gut", unit="mg")
    del found["channel"]
    return found


def night(people: Sequence[str] = ("anna", "ben")) -> list[dict[str, Any]]:
    """Doses and results, out of order, one corrected and one withdrawn."""
    found = [dose(who) for who in people]
    for hour in (1.0, 4.0, 2.0, 8.0, 6.0):
        found += [event(who, f"tube {hour}", hour, round(9.0 - 0.5 * hour + 0.3 * k, 3)) for k, who in enumerate(people)]
    found.append(event(people[0], "tube 4.0", 4.0, 7.5, version=2))
    found.append(event(people[1], "tube 2.0", 2.0, kind="withdrawal", version=2))
    return found


def written(path: Path, events: Sequence[Mapping[str, Any] | str]) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in events))
    return path


run = partial(shell, "follow")


def lines_of(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def last_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The last channels that were said of everybody."""
    return {line["patient"]: (line["time"], line["channels"]) for line in lines}


# ---- what is printed -------------------------------------------------------------------------------------------------


def test_an_estimate_a_line(folder: Path, tmp_path: Path) -> None:
    done = run(folder / "model.twin", "--stream", written(tmp_path / "night.ndjson", night()))
    assert done.exit_code == 0
    lines = lines_of(done)
    assert [line["line"] for line in lines] == list(range(1, 15))
    estimate = jsonschema.Draft202012Validator(json.loads(schema_text("estimate")))
    for line in lines:
        estimate.validate(line)
        band = line["channels"]["concentration"]
        assert band["low"] <= band["mean"] <= band["high"]
        assert band["unit"] == "mg/L"
    # what comes in order changes nothing of what was said; what is late, corrected or withdrawn may
    assert [bool(line["changed"]) for line in lines] == [False] * 6 + [True] * 2 + [False] * 2 + [True] * 4
    late = lines[6]["changed"][0]
    assert (late["channel"], late["time"], late["unit"]) == ("concentration", lines[4]["time"], "mg/L")
    assert late["before"] == lines[4]["channels"]["concentration"]["mean"]
    assert late["after"] == lines[6]["channels"]["concentration"]["mean"]
    assert done.stderr == "homeostat: followed to the end: 14 lines, 14 changes, 0 known before, 0 rejected\n"


def test_the_twin_says_the_same(folder: Path, whole: list[dict[str, Any]]) -> None:
    """The command adds nothing to `Twin`, and how much is waiting changes no line."""
    twin = Twin(load(folder / "model.twin"))
    expected = []
    for one in night():
        (change,) = twin.arrive(read_event(one))
        assert change.estimate is not None
        expected.append(change.estimate.to_dict()["channels"])
    assert [line["channels"] for line in whole] == expected
    text = "".join(json.dumps(one) + "\n" for one in night()[:4])
    done = run(folder / "model.twin", "--stream", "-", "--json", given=text)
    assert [line["channels"] for line in lines_of(done)] == expected[:4]


def test_the_level_is_the_bands(folder: Path, tmp_path: Path) -> None:
    stream = written(tmp_path / "night.ndjson", night()[:4])
    wide, narrow = (lines_of(run(folder / "model.twin", "--stream", stream, "--level", a))[-1] for a in ("0.99", "0.5"))
    assert (wide["level"], narrow["level"]) == (0.99, 0.5)
    wide, narrow = (one["channels"]["concentration"] for one in (wide, narrow))
    assert wide["mean"] == narrow["mean"]
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


@pytest.mark.parametrize("name", ["ekf", "enkf"])
def test_other_filters(name: str, folder: Path, tmp_path: Path) -> None:
    stream = written(tmp_path / "n", night()[:6])
    done = run(folder / "model.twin", "--stream", stream, "--filter", name, "--drift", "30d")
    assert done.exit_code == 0, done.stderr
    assert len(lines_of(done)) == 6


# ---- what cannot be followed -----------------------------------------------------------------------------------------


def test_dead_letters_have_their_numbers_and_the_stream_goes_on(folder: Path, tmp_path: Path) -> None:
    good = event("anna", "1", 1.0, 8.0)
    bad = {
        "nonsense": "is not JSON",
        "[1, 2]": "no object",
        json.dumps({**good, "id": "2", "time": "2026-03-01T21:00:00"}): "without a zone",
        json.dumps({**good, "id": "3", "channel": "glucose"}): "glucose",
        json.dumps({**good, "id": "4", "unit": "mm[Hg]"}): "mm[Hg]",
        json.dumps({**good, "id": "5", "value": -1.0}): "-1",
        json.dumps({**good, "id": "6", "value": 1e400}).replace("Infinity", "1e999"): "finite",
        json.dumps({**good, "id": "7", "time": "2199-01-01T00:00:00Z"}): "",
        json.dumps({**good, "value": 9.0}): "same identity and version",
        json.dumps({**dose("anna"), "compartment": "liver"}): "liver",
        "x" * 70_000: "longer than 65,536 bytes",
    }  # fmt: skip
    stream = written(tmp_path / "mixed.ndjson", [dose("anna"), "", good, *bad, event("anna", "8", 2.0, 7.5)])
    with stream.open("ab") as file:
        file.write(b'\xff\xfe{"patient"\n' + json.dumps(event("anna", "9", 3.0, 7.0)).encode())
    rejects = tmp_path / "rejects.ndjson"
    done = run(folder / "model.twin", "--stream", stream, "--rejects", rejects)
    assert done.exit_code == 0
    n = len(bad)
    assert [line["line"] for line in lines_of(done)] == [1, 3, 4 + n, 6 + n]
    letters = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [letter["line"] for letter in letters] == [*range(4, 4 + n), 5 + n]
    for letter, (text, words) in zip(letters, bad.items(), strict=False):
        assert words in letter["reason"], letter
        assert letter["text"] == text if len(text) < 1000 else len(letter["text"]) < 1100
    assert letters[-1]["text"] == '\\xff\\xfe{"patient"'
    assert done.stderr == f"homeostat: followed to the end: {n + 5} lines, 4 changes, 0 known before, {n + 1} rejected\n"
    # without a file each is a sentence; with it again, what is there is added to
    said = run(folder / "model.twin", "--stream", stream).stderr.splitlines()
    assert [line.split(":")[1] for line in said[:-1]] == [f" line {letter['line']}" for letter in letters]
    run(folder / "model.twin", "--stream", stream, "--rejects", rejects)
    assert len(rejects.read_text().splitlines()) == 2 * (n + 1)


def test_a_model_without_process_noise_needs_a_floor_and_runs_with_one(folder: Path, tmp_path: Path) -> None:
    stream = written(tmp_path / "night.ndjson", night()[:4])
    done = run(folder / "quiet.twin", "--stream", stream, "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert "no process noise" in error["message"]
    assert error["cure"].startswith("write --process-floor mg=VALUE")
    done = run(folder / "quiet.twin", "--stream", stream, *FLOOR)
    assert done.exit_code == 0
    assert len(lines_of(done)) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stream", "nowhere.ndjson"], "nowhere.ndjson: there is no such place"),
        (["--stream", "."], ".: this is a folder, where a file is needed"),
        (["--stream", "night.ndjson", "--log", "nowhere/x.db"], "nowhere/x.db"),
        (["--stream", "night.ndjson", "--log", "night.ndjson"], "is what is read, and would be lost; name another file with"),
        (["--stream", "night.ndjson", "--rejects", "night.ndjson"], "name another file with --rejects"),
        (["--stream", "night.ndjson", "--log", "a.db", "--rejects", "./a.db"], "name another file with --rejects"),
        (["--stream", "night.ndjson", "--log", "text.txt"], "text.txt"),
        (["--stream", "night.ndjson", "--rejects", "."], "this is a folder, where a file is needed"),
        (["--stream", "night.ndjson", "--people", "nowhere.json"], "nowhere.json: there is no such place"),
        (["--stream", "night.ndjson", "--people", "text.txt"], "--people text.txt must be JSON"),
        (["--stream", "night.ndjson", "--filter", "kalman"], "--filter"),
        (["--stream", "night.ndjson", "--horizon", "0 d"], "horizon"),
        (["--stream", "night.ndjson", "--horizon", "long"], "--horizon 'long' is no stretch of time"),
        (["--stream", "night.ndjson", "--level", "2"], "--level 2 is not a number from 0.01 to 0.999"),
        (["--stream", "night.ndjson", "--sources", ","], "--sources ',' names nobody"),
        (["--schema", "events"], "--schema"),
        ([], "needs --stream, and it is missing"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    arguments: list[str], words: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "night.ndjson", night())
    (tmp_path / "text.txt").write_text("a text that is no database, and no JSON either\n" * 100)
    (tmp_path / "a.db").touch()
    done = run(*([] if "--schema" in arguments else [folder / "model.twin"]), *arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert words in done.stderr.splitlines()[-1]
    assert written(tmp_path / "again", night()).read_text() == (tmp_path / "night.ndjson").read_text()


def test_an_empty_stream_is_followed_to_its_end(folder: Path) -> None:
    for given in ("", "\n\n", " \r\n"):
        done = run(folder / "model.twin", "--stream", "-", given=given)
        assert (done.exit_code, done.stdout) == (0, "")
        assert "0 lines, 0 changes" in done.stderr


def test_who_may_be_followed(tmp_path: Path) -> None:
    """A model that reads covariates follows whom it knows, or is told of."""
    save(bundle_of(process=True, weight=True), tmp_path / "model.twin")
    stream = written(tmp_path / "night.ndjson", [event("P1", "1", 1.0, 8.0), event("anna", "1", 1.0, 8.0)])
    done = run(tmp_path / "model.twin", "--stream", stream)
    assert [line["patient"] for line in lines_of(done)] == ["P1"]
    assert "line 2: the person 'anna' is unknown, and the model reads WT; say them with --people\n" in done.stderr
    (tmp_path / "people.json").write_text('{"anna": {"covariates": {"WT": 60}}}')
    done = run(tmp_path / "model.twin", "--stream", stream, "--people", tmp_path / "people.json")
    assert [line["patient"] for line in lines_of(done)] == ["anna"]
    assert "line 1: the person 'P1' is unknown" in done.stderr
    done = run(tmp_path / "model.twin", "--stream", stream, "--sources", "ward")
    assert "line 1: the source 'lab' is unknown" in done.stderr
    for text in ("[]", "{}", '{"anna": 3}', '{"anna": {"weight": 3}}', '{"anna": {"covariates": {"WT": "heavy"}}}'):
        with pytest.raises(ValueError, match=r"--people people.json.*; write \{\"anna\""):
            people_of(text.encode(), "--people people.json")
    (tmp_path / "people.json").write_text('{"anna": {"inputs": {}}}')
    done = run(tmp_path / "model.twin", "--stream", stream, "--people", tmp_path / "people.json")
    assert done.exit_code == 2
    assert "people.json: the person 'anna': the model reads WT; correct what the file says of them\n" in done.stderr


def test_of_whom_all_is_withdrawn_nothing_is_said_but_that(folder: Path, tmp_path: Path) -> None:
    told = [event("anna", "tube", 1.0, 8.0), event("anna", "tube", 1.0, kind="withdrawal", version=2)]
    line = lines_of(run(folder / "model.twin", "--stream", written(tmp_path / "two.ndjson", told)))[1]
    jsonschema.Draft202012Validator(json.loads(schema_text("estimate"))).validate(line)
    assert (line["time"], line["channels"], line["changed"]) == (None, {}, [])
    assert line["notes"] == ["nothing that counts was told of this person"]
    assert "held" not in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is a device of Linux")
def test_dead_letters_that_cannot_be_written_are_named(folder: Path, tmp_path: Path) -> None:
    stream = written(tmp_path / "bad.ndjson", ["nonsense", "nonsense"])
    done = run(folder / "model.twin", "--stream", stream, "--rejects", "/dev/full")
    assert done.exit_code == 2
    assert "/dev/full: No space left on device" in done.stderr


# ---- stopped and taken up again --------------------------------------------------------------------------------------


def test_a_log_goes_on_and_knows_what_it_knew(folder: Path, tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    log = ["--log", tmp_path / "night.db"]
    begun = run(folder / "model.twin", "--stream", written(tmp_path / "some.ndjson", night()[:5]), *log)
    again = run(folder / "model.twin", "--stream", written(tmp_path / "night.ndjson", night()), *log)
    assert [line["line"] for line in lines_of(again)] == list(range(6, 15))
    assert "14 lines, 9 changes, 5 known before, 0 rejected" in again.stderr
    assert last_of([*lines_of(begun), *lines_of(again)]) == last_of(whole)
    silent = run(folder / "model.twin", "--stream", tmp_path / "night.ndjson", *log)
    assert (silent.exit_code, silent.stdout) == (0, "")
    present = lines_of(run(folder / "model.twin", "--stream", "-", "--present", *log, given=""))
    assert last_of(present) == last_of(whole)
    estimate = jsonschema.Draft202012Validator(json.loads(schema_text("estimate")))
    assert [list(estimate.iter_errors(line)) for line in present] == [[], []]
    for other in (["--filter", "ekf"], ["--process-floor", "mg=1"], ["--horizon", "2d"]):
        refused = run(folder / "model.twin", "--stream", "-", *log, *other, given="")
        assert refused.exit_code == 2, other
        assert "night.db" in refused.stderr


@pytest.fixture
def usual() -> Iterator[None]:
    """The handlers of a shell's foreground, whatever this process was started with."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@pytest.mark.skipif(os.name != "posix", reason="signals as a shell on POSIX sends them")
@pytest.mark.usefixtures("usual")
@SIGNALS
def test_interrupted_and_taken_up_again_ends_where_an_uninterrupted_run_does(
    number: int, code: int, folder: Path, tmp_path: Path, whole: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def seven_and_a_signal(stream: BinaryIO) -> Iterator[list[Line]]:
        """Lines that come one by one; where the eighth is waited for, the signal comes."""
        for line in [line for lines in waiting_lines(stream) for line in lines][:7]:
            yield [line]
        os.kill(os.getpid(), number)
        time.sleep(5.0)

    log = ["--log", tmp_path / "night.db"]
    with monkeypatch.context() as patched:
        patched.setattr("homeostat.follow.followed.waiting_lines", seven_and_a_signal)
        done = run(folder / "model.twin", "--stream", folder / "night.ndjson", "--json", *log)
    assert done.exit_code == code, done.stderr
    *seen, said = lines_of(done)
    assert len(seen) == 7
    assert said["error"]["exit"] == code
    assert done.stderr.endswith("night.db; the same command goes on from there\n"), done.stderr
    again = run(folder / "model.twin", "--stream", folder / "night.ndjson", *log)
    assert [line["line"] for line in lines_of(again)] == list(range(8, 15))
    assert last_of([*seen, *lines_of(again)]) == last_of(whole)


@pytest.mark.usefixtures("usual")
@pytest.mark.parametrize(("ends", "code"), [("the disk is full", 2), ("Ctrl-C", 130)])
def test_what_was_taken_before_the_end_is_said(
    ends: str, code: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ben the first of a window is taken with anna's first, and waits to be said behind her second."""
    told = [dose("anna"), event("anna", "1", 1.0, 8.0), "nonsense", dose("ben"), event("ben", "1", 1.0, 8.3)]
    stream, log = written(tmp_path / "five.ndjson", told), ["--log", tmp_path / "five.db"]
    arrive = Twin.arrive

    def once(self: Twin, events: Any) -> Any:
        if ends == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)  # it waits for the end of the round
        elif self.people:
            raise OSError(28, "the disk is full")
        return arrive(self, events)

    with monkeypatch.context() as patched:
        patched.setattr(Twin, "arrive", once)
        done = run(folder / "model.twin", "--stream", stream, "--json", *log)
    assert done.exit_code == code, done.stderr
    begun = [line["line"] for line in lines_of(done) if "line" in line]
    assert begun == [1, 4]
    again = run(folder / "model.twin", "--stream", stream, *log)
    assert sorted([*begun, *(line["line"] for line in lines_of(again))]) == [1, 2, 4, 5]


def program(folder: Path, *arguments: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # a shell in the background has its children ignore Ctrl-C; a terminal does not
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from homeostat.__main__ import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "follow", str(folder / "model.twin"), *(str(a) for a in arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as a shell on POSIX sends them")
@SIGNALS
def test_a_real_process_is_interrupted(
    number: int, code: int, folder: Path, tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    child = program(folder, "--stream", "-", "--json", "--log", tmp_path / "night.db")
    assert child.stdin is not None
    assert child.stdout is not None
    seen = []
    for one in night()[:7]:  # each is answered before the next is there
        child.stdin.write(json.dumps(one) + "\n")
        child.stdin.flush()
        seen.append(json.loads(child.stdout.readline()))
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == code, err
    assert json.loads(out)["error"]["exit"] == code
    assert err.endswith("night.db; the same command goes on from there\n"), err
    again = run(folder / "model.twin", "--stream", folder / "night.ndjson", "--log", tmp_path / "night.db")
    assert last_of([*seen, *lines_of(again)]) == last_of(whole)


def require_kept(folder: Path, log: Path) -> None:
    """What was taken is kept, whether anybody read of it or not."""
    given = "".join(json.dumps(one) + "\n" for one in (dose("anna"), event("anna", "1", 1.0, 8.0)))
    again = run(folder / "model.twin", "--stream", "-", "--log", log, given=given)
    assert "2 lines, 0 changes, 2 known before" in again.stderr


def test_what_nobody_reads_is_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    def to_a_reader_who_goes_away(text: str, **_: object) -> None:
        said.append(text)
        if len(said) == 2:
            raise BrokenPipeError

    monkeypatch.setattr("homeostat.commands.follow.say", to_a_reader_who_goes_away)
    given = "".join(json.dumps(one) + "\n" for one in (dose("anna"), event("anna", "1", 1.0, 8.0)))
    done = run(folder / "model.twin", "--stream", "-", "--log", tmp_path / "night.db", given=given)
    assert (done.exit_code, done.stderr) == (141, "")
    monkeypatch.undo()
    require_kept(folder, tmp_path / "night.db")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is a signal's number there")
def test_a_reader_who_goes_away_ends_a_real_process(folder: Path, tmp_path: Path) -> None:
    child = program(folder, "--stream", "-", "--log", tmp_path / "night.db")
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(dose("anna")) + "\n")
    child.stdin.flush()
    child.stdout.readline()
    child.stdout.close()
    child.stdin.write(json.dumps(event("anna", "1", 1.0, 8.0)) + "\n")
    child.stdin.flush()
    assert child.wait(60) == 141
    assert child.stderr is not None
    assert child.stderr.read() == ""
    child.stdin.close()
    child.stderr.close()
    require_kept(folder, tmp_path / "night.db")


# ---- schemas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["event", "estimate"])
def test_a_schema_is_printed_without_a_bundle(which: str) -> None:
    done = run("--schema", which)
    assert done.exit_code == 0
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")


def test_what_is_read_is_as_the_schema_says() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema_text("event")))
    assert [list(validator.iter_errors(one)) for one in night()] == [[]] * 14

