"""`homeostat sign`, and `check --signed-by`: whose file it is, and exit 2 where that is not so."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.corruptions.content import ordinary
from exchange import load, new_key, save, signed_by
from tests.homeostat.shell import run

pytest.importorskip("cryptography", reason="signatures need the extra `sign`")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(ordinary(), tmp_path_factory.mktemp("plain") / "model.twin")


@pytest.fixture
def bundle(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(plain, tmp_path / "model.twin"))


def test_signed_with_a_new_key_it_is_checked_by_its_public_half(bundle: Path, tmp_path: Path) -> None:
    key = tmp_path / "twin.key"
    done = run("sign", bundle, "--key", key, "--new-key", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["by"] == signed_by(bundle)
    assert said["made"] == f"{key}.pub"
    assert "is the private key" in done.stderr
    without = json.loads(run("check", bundle, "--json").stdout)
    checked = run("check", bundle, "--signed-by", f"{key}.pub", "--json")
    assert json.loads(checked.stdout) == {**without, "signed_content": said["content"]}
    assert run("check", bundle, "--signed-by", f"{key}.pub").stdout.startswith(f"signed with the key of {key}.pub: content")
    assert "--signed-by" in run("inspect", bundle).stdout


def test_what_is_not_so_is_exit_2(bundle: Path, tmp_path: Path) -> None:
    own, other = tmp_path / "own.key", new_key(tmp_path / "other.key")
    done = run("check", bundle, "--signed-by", other)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "it is not signed; whoever wrote it signs it with `homeostat sign FILE --key KEY`" in done.stderr
    assert run("sign", bundle, "--key", own, "--new-key").exit_code == 0
    done = run("check", bundle, "--signed-by", other)
    assert done.exit_code == 2
    assert "somebody else's signature" in done.stderr
    save(replace(load(bundle)), bundle)
    assert run("check", bundle, "--signed-by", f"{own}.pub").exit_code == 2
    graph = tmp_path / "x.onnx"
    graph.write_bytes(b"")
    done = run("check", graph, "--signed-by", other)
    assert done.exit_code == 2
    assert "--signed-by is of a bundle" in done.stderr


def test_what_cannot_be_signed_leaves_no_key(bundle: Path, tmp_path: Path) -> None:
    key, text = tmp_path / "a.key", tmp_path / "a.txt"
    text.write_text("no bundle")
    for arguments in ([text], [bundle, "--out", text], [bundle, "--out", tmp_path], [tmp_path / "nowhere.twin"]):
        assert run("sign", *arguments, "--key", key, "--new-key").exit_code == 2
    done = run("sign", bundle, "--key", key)
    assert done.exit_code == 2
    assert "--new-key` makes a key" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "model.twin"]
    assert run("sign", bundle, "--key", key, "--new-key", "--out", text, "--replace").exit_code == 0
    assert signed_by(bundle) is None
    assert signed_by(text) is not None
    done = run("sign", bundle, "--key", key, "--new-key")
    assert done.exit_code == 2
    assert "without --new-key" in done.stderr
