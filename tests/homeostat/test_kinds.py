"""`homeostat check` knows what it is given: by its name, and by what is in it; of an FMU nothing runs unasked."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

import homeostat.bundles.artefacts
from benchmarks.corruptions.content import ordinary
from exchange import EXPORTS, save
from homeostat.bundles.artefacts import Examined
from homeostat.bundles.kinds import kind_of
from tests.homeostat.shell import run


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(name, "x" * 1000)
    return path


def test_kinds(tmp_path: Path) -> None:
    bundle = save(ordinary(), tmp_path / "model.twin")
    assert kind_of(bundle) == "bundle"
    assert kind_of(bundle.rename(tmp_path / "model.zip")) == "bundle"
    assert kind_of(tmp_path / "nowhere") == kind_of(tmp_path) == "bundle"  # whose reader says what is wrong
    renamed = archive(tmp_path / "renamed.zip", "documentation/index.html", "modelDescription.xml")
    assert kind_of(renamed) == "fmu"
    (tmp_path / "empty.fmu").touch()
    assert kind_of(tmp_path / "empty.fmu") == "fmu"
    (tmp_path / "x.onnx").write_bytes(b"\x08\x0a")
    assert kind_of(tmp_path / "x.onnx") == "onnx"
    for bytes_ in (b"", b"PK", b"PK\x03\x04", b"PK\x03\x04" + b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04" + b"PK\x05\x06"):
        (tmp_path / "odd").write_bytes(bytes_)
        assert kind_of(tmp_path / "odd") == "bundle"


@pytest.mark.parametrize("suffix", [kind.suffix for kind in EXPORTS if kind.suffix not in (".fmu", ".onnx")])
def test_what_cannot_be_checked_by_itself_says_what_can(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"x{suffix}").write_text("x")
    done = run("check", tmp_path / f"x{suffix}", "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["cure"].startswith("check the bundle that it was made from")


def test_code_runs_where_it_is_asked_for_and_only_of_an_fmu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []

    def examine(path: Path, kind: str, *, run: bool) -> Examined:
        seen.append((path.name, kind, run))
        return Examined(run, {"good": run}, "words")

    monkeypatch.setattr(homeostat.bundles.artefacts, "examine_artefact", examine)
    fmu, graph = archive(tmp_path / "x.fmu", "modelDescription.xml"), tmp_path / "x.onnx"
    graph.write_bytes(b"x")
    assert [run("check", fmu).exit_code, run("check", fmu, "--run").exit_code, run("check", graph).exit_code] == [1, 0, 1]
    assert seen == [("x.fmu", "fmu", False), ("x.fmu", "fmu", True), ("x.onnx", "onnx", False)]
    for arguments in ([graph, "--run"], [tmp_path / "model.twin", "--run"], [fmu, "--structures", "x.py:X"]):
        done = run("check", *arguments)
        assert done.exit_code == 2
        assert done.stderr.endswith("leave it out\n")
    assert len(seen) == 3
