"""`homeostat export`: which form, of whom, where to, and what it says when it cannot."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.corruptions.content import ordinary
from exchange import EXPORTS, Bundle, Export, load, save
from homeostat.bundles import exported
from tests.exchange.own_export import Matrices
from tests.homeostat.shell import run


@pytest.fixture(scope="module")
def plain() -> Bundle:
    return ordinary()


@pytest.fixture
def bundle(plain: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle in a folder of its own, and one form more than there are."""
    monkeypatch.setattr(exported, "EXPORTS", (*EXPORTS, Matrices))
    return save(plain, tmp_path / "model.twin")


def refused(*arguments: object) -> dict[str, Any]:
    done = run("export", *arguments, "--json")
    assert done.exit_code == 2, done.output
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    return error


def test_the_help_has_every_form() -> None:
    text = run("export", "--help").stdout
    for kind in EXPORTS:
        assert f" {kind.name}: " in f" {' '.join(text.split())}", (
            "a new form has a sentence in homeostat/commands/export.py"
        )


def test_it_is_written_beside_the_bundle(bundle: Path) -> None:
    done = run("export", bundle, "--to", "matrices", "--json")
    target = bundle.with_suffix(".json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    size = target.stat().st_size
    assert said == {
        **{"to": "matrices", "path": str(target), "bytes": size, "files": [{"path": str(target), "bytes": size}]},
        **{"certified": True, "member": "all", "theta": "typical", "sentences": []},
    }
    assert len(json.loads(target.read_text())["A"]) == 2
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["model.json", "model.twin"]
    options = ["--member", "1", "--theta", "№ 2", "--out", bundle.parent / "a b" / "é.json"]
    one = run("export", bundle, "--to", "matrices", *options)
    assert one.exit_code == 0, one.output
    assert one.stdout.startswith("matrices: ")
    again = json.loads(run("export", bundle, "--to", "matrices", *options, "--replace", "--json").stdout)
    assert (again["member"], again["theta"]) == (1, "№ 2")
    assert len(json.loads((bundle.parent / "a b" / "é.json").read_text())["A"]) == 1


def test_what_is_there_stays_unless_it_is_to_be_replaced(bundle: Path) -> None:
    target = bundle.with_suffix(".json")
    target.write_text("mine")
    error = refused(bundle, "--to", "matrices")
    assert error["cure"] == "name another file behind --out, or write over it with --replace"
    assert target.read_text() == "mine"
    assert run("export", bundle, "--to", "matrices", "--replace").exit_code == 0
    assert target.read_text() != "mine"
    assert "--out" in refused(bundle, "--to", "matrices", "--out", bundle.parent)["cure"]


@pytest.mark.parametrize(("word", "there"), [("torch", "q.field.pt2"), ("torch", "q.step.pt2"), ("onnx", "q.field.onnx")])
def test_of_several_files_any_that_is_there_stays(bundle: Path, word: str, there: str) -> None:
    if word == "onnx":
        pytest.importorskip("onnx", reason="the extra onnx is not installed")
    target = bundle.with_name(there)
    target.write_text("mine")
    for name in ("q", "q.field"):
        error = refused(bundle, "--to", word, "--out", target.with_name(f"{name}{target.suffix}"))
        assert error["cure"] == "name another file behind --out, or write over it with --replace"
    assert target.read_text() == "mine"


@pytest.mark.parametrize("kind", [*EXPORTS, Matrices], ids=lambda kind: str(kind.name))
def test_the_bundle_itself_is_never_written_over(bundle: Path, kind: type[Export]) -> None:
    before, hard = bundle.read_bytes(), bundle.with_name(f"hard{kind.suffix}")
    bundle.with_name(f"link{kind.suffix}").symlink_to(bundle)
    hard.hardlink_to(bundle)
    for target in (bundle.with_name(f"link{kind.suffix}"), hard):
        error = refused(bundle, "--to", kind.name, "--out", target, "--replace")
        assert "is what is read, and would be lost" in error["message"]
    named = bundle.rename(bundle.with_name(f"q.field{kind.suffix}"))  # what one of several files would be called
    for target in (named, bundle.with_name(f"q{kind.suffix}")):
        assert "would be lost" in refused(named, "--to", kind.name, "--out", target, "--replace")["message"]
    assert named.read_bytes() == before


@pytest.mark.parametrize(("ending", "whose"), [(".fmu", "--to fmu"), (".twin", "a bundle"), (".XML", "--to sbml")])
def test_an_ending_of_another_form_is_refused(bundle: Path, ending: str, whose: str) -> None:
    error = refused(bundle, "--to", "c", "--out", bundle.with_name(f"a{ending}"))
    assert f"ends as what {whose} writes" in error["message"]
    assert error["cure"] == "write --out a.h"


def test_no_certificate_is_said(bundle: Path) -> None:
    save(replace(load(bundle), claims=()), bundle)
    done = run("export", bundle, "--to", "matrices")
    assert done.exit_code == 0
    assert done.stderr.startswith("homeostat: not certified: ")


@pytest.mark.parametrize(
    ("options", "problem", "cure"),
    [
        (["--to", "matlab"], "there is no form 'matlab'", "write --to and one of c"),
        (["--to", "C"], "there is no form 'C'", "write --to and one of c"),
        ([], "--to", "homeostat export --help"),
        (["--to", "matrices", "--fmi", "2"], "--fmi is of ", "leave it out"),
        (["--to", "fmu", "--fmi", "4"], "--fmi 4 is none of 3 and 2", "write --fmi 3"),
        (["--to", "c", "--precision", "half"], "--precision half is none of", "write --precision float64"),
        (["--to", "c", "--name", "for"], "'for'", "write --name model"),
        (["--to", "matrices", "--member", "2"], "members 0 to 1", "write one of them, or all"),
        (["--to", "matrices", "--member", "-1"], "'-1' is no member", "write all"),
        (["--to", "matrices", "--member", "first"], "'first' is no member", "write all"),
        (["--to", "matrices", "--theta", "Bob"], "nobody of this bundle", "write typical, or one of Ada, № 2, 3"),
        (["--to", "matrices", "--theta", ""], "nobody of this bundle", "write typical"),
    ],
)
def test_what_cannot_be_meant(bundle: Path, options: list[str], problem: str, cure: str) -> None:
    error = refused(bundle, *options)
    assert problem in error["message"]
    assert cure in error["cure"]
    assert [p.name for p in bundle.parent.iterdir()] == ["model.twin"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_takes_nothing(bundle: Path) -> None:
    bundle.parent.chmod(0o500)
    try:
        assert "nothing can be written in" in refused(bundle, "--to", "matrices")["message"]
    finally:
        bundle.parent.chmod(0o700)


def test_a_file_that_is_no_bundle(bundle: Path) -> None:
    (bundle.parent / "x").write_text("x")
    assert "not a whole bundle" in refused(bundle.parent / "x", "--to", "matrices")["message"]
    assert "no such file" in refused(bundle.parent / "none", "--to", "matrices")["message"]
