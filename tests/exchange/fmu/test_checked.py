"""What a receiver finds out about an FMU by itself."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exchange.c.compiled import compiler
from exchange.fmu.archive import open_fmu, write_fmu
from exchange.fmu.asked import Rebuilt
from exchange.fmu.checked import check_fmu
from exchange.fmu.extra import FOLDER
from exchange.fmu.linearised import linearised
from exchange.stored_system import sampled_states
from stability import Lure
from tests.exchange.fmu.conftest import Made

can_run = pytest.mark.skipif(compiler() is None, reason="no C compiler")


def rewritten(made: Made, path: Path, change: Callable[[dict[str, bytes]], None], *, rehash: bool = True) -> Path:
    """The FMU with other files inside, its hashes made right again unless told not to."""
    entries = dict(open_fmu(made.path).entries)
    change(entries)
    if rehash:
        name = f"{FOLDER}/hashes.json"
        del entries[name]
        entries[name] = json.dumps({n: hashlib.sha256(d).hexdigest() for n, d in entries.items()}).encode()
    write_fmu(path, entries)
    return path


@can_run
def test_the_certificate_holds_through_the_fmu_s_own_interface(made: Made) -> None:
    pytest.importorskip("fmpy", reason="FMPy, of the extra fmu, is not installed")
    found = check_fmu(made.path, run=True, states=4)
    assert found
    assert found.certified
    assert found.rebuilt is not None
    assert found.rebuilt.off < 1e-12
    assert found.rebuilt.eigenvalue is not None
    assert found.rebuilt.eigenvalue <= 1e-9
    assert any("proved from the stored weights" in sentence for sentence in found.sentences)
    assert "Model card" in found.card


def test_the_stored_weights_alone_need_no_code_to_run(one: Made) -> None:
    found = check_fmu(one.path, run=False)
    assert found
    assert found.rebuilt is None
    assert any("was not run" in sentence for sentence in found.sentences)


@can_run
def test_a_binary_of_another_model_is_found_out(one: Made, tmp_path: Path) -> None:
    """Other code, and the same words about it."""
    pytest.importorskip("fmpy", reason="FMPy, of the extra fmu, is not installed")

    def another(entries: dict[str, bytes]) -> None:
        for name in [n for n in entries if n.startswith("binaries/")]:
            del entries[name]  # it is made of the sources, then
        name = "sources/instance.h"
        own = b"found[AT_RATE(member) + k] += "
        assert own in entries[name]
        entries[name] = entries[name].replace(
            own, b"found[AT_RATE(member) + k] += 0.01 * found[AT_RATE(member) + k] + "
        )

    found = check_fmu(rewritten(one, tmp_path / "other.fmu", another), run=True, states=2)
    assert not found
    assert any("does NOT agree with the stored system" in sentence for sentence in found.sentences)


RATES = "    instance->rates = 1;\n    return 0;"
SLOPES = "    return 0;\n}\n\n/* Two solutions go on"
ALL = "for (int i = 0; i < STATES; i++)"


@can_run
@pytest.mark.parametrize(
    ("before", "more"),
    [
        # whatever the slopes say; no number among them; another field where the file says that no state goes; while stepping
        (RATES, f"    {ALL} value[V_RATE + i] = 5.0 * value[V_STATE + i];\n"),
        (SLOPES, "    if (count > 0) sensitivity[0] = NAN;\n"),
        (RATES, f"    {ALL} if (fabs(value[V_STATE + i]) > 1e3) value[V_RATE + i] += 1.0;\n"),
        ("    value[V_TIME] = until;\n", f"    {ALL} value[V_STATE + i] *= 1.01;\n"),
    ],
    ids=["rates", "nan", "outside", "step"],
)
def test_code_that_tells_a_lie_is_found_out(one: Made, tmp_path: Path, before: str, more: str) -> None:
    pytest.importorskip("fmpy", reason="FMPy, of the extra fmu, is not installed")

    def lies(entries: dict[str, bytes]) -> None:
        for name in [n for n in entries if n.startswith("binaries/")]:
            del entries[name]
        source = entries["sources/instance.h"].decode()
        assert source.count(before) == 1
        entries["sources/instance.h"] = source.replace(before, more + before).encode()
        name = f"{FOLDER}/states.json"
        states = json.loads(entries[name])
        for sample in states["samples"]:
            sample["x"] = [v * 1e-12 for v in sample["x"]]
        entries[name] = json.dumps(states).encode()

    found = check_fmu(rewritten(one, tmp_path / "lies.fmu", lies), run=True, states=8)
    assert not found
    assert "does NOT agree" in found.sentences[-1]


def test_nobody_and_no_unit_is_left_out(ensemble: Made, tmp_path: Path) -> None:
    """What states.json leaves out would not be compared."""

    def one_member(states: dict[str, Any]) -> None:
        del states["members"][1]

    def twice(states: dict[str, Any]) -> None:
        states["members"][1] = states["members"][0]

    def one_person(states: dict[str, Any]) -> None:
        states["people"] = {name: [rows[:1] for rows in value] for name, value in states["people"].items()}

    def fortnight(states: dict[str, Any]) -> None:
        states["time"] = "fortnight"

    def of(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
        def changed(entries: dict[str, bytes]) -> None:
            name = f"{FOLDER}/states.json"
            states = json.loads(entries[name])
            change(states)
            entries[name] = json.dumps(states).encode()

        return changed

    def described(entries: dict[str, bytes]) -> None:
        name = "modelDescription.xml"
        entries[name] = entries[name].replace(b'unit="h"', b'unit="min"').replace(b'name="h"', b'name="min"')

    def claimed(entries: dict[str, bytes]) -> None:
        name = f"{FOLDER}/proof.json"
        proof = json.loads(entries[name])
        proof["claims"][0]["units"]["time"] = "min"
        entries[name] = json.dumps(proof).encode()

    changes = [*map(of, (one_member, twice, one_person, fortnight)), described, claimed]
    words = ["continuous states", "continuous states", "people", "fortnight", "unit", "made in 'min'"]
    for k, (change, said) in enumerate(zip(changes, words, strict=True)):
        with pytest.raises(ValueError, match=said):
            check_fmu(rewritten(ensemble, tmp_path / f"{k}.fmu", change), run=False)


@can_run
def test_without_a_certificate_nothing_is_said_to_be_compared(one: Made, tmp_path: Path) -> None:
    pytest.importorskip("fmpy", reason="FMPy, of the extra fmu, is not installed")

    def without(entries: dict[str, bytes]) -> None:
        del entries[f"{FOLDER}/proof.json"]

    found = check_fmu(rewritten(one, tmp_path / "plain.fmu", without), run=True, states=2)
    assert found.rebuilt is not None
    assert (found.certified, found.rebuilt.compared) == (False, False)
    assert "nothing is stored that its code could be compared with" in found.sentences[-1]


def test_what_is_not_finite_is_not_the_same_and_is_json() -> None:
    found = Rebuilt(1, float("inf"), float("nan"), rates=0.0, inputs=0.0, step=0.0)
    assert not found
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["off"] == "not finite"
    assert not Rebuilt(0, 0.0, None, rates=0.0, inputs=0.0, step=0.0)  # nothing was asked


def test_softplus_is_that_of_the_code() -> None:
    """v beyond 20, where a proof has log(1 + eᵛ)."""
    system = Lure(
        A=[[-1.0]], weights=[[[1.0]], [[-0.125]], [[2.0]]], biases=[[0.0], [0.0], [0.0]], activation="softplus"
    )
    x, sigmoid = 20.5, lambda v: 1.0 / (1.0 + np.exp(-v))
    rate, J, _ = linearised(system, np.array([[x]]), np.zeros((1, 0)))
    np.testing.assert_allclose(rate[0], [-x + 2.0 * np.log1p(np.exp(-0.125 * x))], rtol=1e-15)
    np.testing.assert_allclose(J[0, 0], [-1.0 - 0.25 * sigmoid(-0.125 * x) * sigmoid(x)], rtol=1e-14)


def test_a_claim_of_more_than_is_true_is_refused(one: Made, tmp_path: Path) -> None:
    def faster(entries: dict[str, bytes]) -> None:
        name = f"{FOLDER}/proof.json"
        proof = json.loads(entries[name])
        claim = proof["claims"][0]["claim"]
        claim["rate"] *= 3.0
        entries[name] = json.dumps(proof).encode()

    found = check_fmu(rewritten(one, tmp_path / "faster.fmu", faster), run=False)
    assert not found
    assert any("NOT proved" in sentence for sentence in found.sentences)


def test_what_was_changed_or_added_is_named(one: Made, tmp_path: Path) -> None:
    def changed(entries: dict[str, bytes]) -> None:
        entries[f"{FOLDER}/card.md"] += b"It cures."

    def added(entries: dict[str, bytes]) -> None:
        entries["resources/more.txt"] = b"x"

    def lacking(entries: dict[str, bytes]) -> None:
        del entries[f"{FOLDER}/states.json"]

    for k, (change, words) in enumerate(((changed, "card.md"), (added, "more.txt"), (lacking, "states.json"))):
        path = rewritten(one, tmp_path / f"{k}.fmu", change, rehash=False)
        with pytest.raises(ValueError, match=words):
            check_fmu(path, run=False)


def raw(path: Path, files: Mapping[str, bytes], *, mode: int = 0o644, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data, method)
    return path


@pytest.mark.parametrize(
    ("files", "mode", "method", "words"),
    [
        ({"../out.txt": b""}, 0o644, zipfile.ZIP_DEFLATED, "lead out"),
        ({"/etc/out.txt": b""}, 0o644, zipfile.ZIP_DEFLATED, "lead out"),
        ({"a/../../out.txt": b""}, 0o644, zipfile.ZIP_DEFLATED, "lead out"),
        ({"C:out.txt": b""}, 0o644, zipfile.ZIP_DEFLATED, "lead out"),
        ({"a\\..\\out.txt": b""}, 0o644, zipfile.ZIP_DEFLATED, "lead out"),
        ({"link": b"/etc/passwd"}, 0o120777, zipfile.ZIP_DEFLATED, "link"),
        ({"a": b"", "A": b""}, 0o644, zipfile.ZIP_DEFLATED, "twice"),
        ({"a": b"x" * 1000}, 0o644, zipfile.ZIP_LZMA, "packed"),
        ({"a.xml": b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"}, 0o644, zipfile.ZIP_DEFLATED, "document type"),
        ({"a": b"\0" * 30_000_000}, 0o644, zipfile.ZIP_DEFLATED, "claim"),
        ({f"f{k}": b"" for k in range(2100)}, 0o644, zipfile.ZIP_STORED, "files inside"),
    ],
)
def test_a_file_that_means_harm_is_not_opened(
    tmp_path: Path, files: dict[str, bytes], mode: int, method: int, words: str
) -> None:
    path = raw(tmp_path / "odd.fmu", files, mode=mode, method=method)
    with pytest.raises(ValueError, match=words):
        open_fmu(path)
    assert [p.name for p in tmp_path.iterdir()] == ["odd.fmu"]


def test_what_is_no_fmu_is_said(one: Made, tmp_path: Path) -> None:
    cut = tmp_path / "cut.fmu"
    cut.write_bytes(one.path.read_bytes()[:-100])
    for path in (cut, tmp_path, tmp_path / "none.fmu"):
        with pytest.raises(ValueError, match=str(path)):
            check_fmu(path, run=False)
    with pytest.raises(ValueError, match="no extra/"):
        check_fmu(raw(tmp_path / "other.fmu", {"modelDescription.xml": b"<a/>"}), run=False)


def test_samples_lie_in_the_region() -> None:
    P, n = np.array([[2.0, 0.5], [0.5, 1.0]]), 2
    x, u = sampled_states("global", P, nominal=[1.0, 10.0], levels=[3.0], count=50, seed=1)
    assert (x.shape, u.shape) == ((50, n), (50, 1))
    assert not x[0].any()
    ball = {"kind": "ellipsoid", "centre": [1.0, 2.0], "radius": 0.5, "inputs": None}
    x, _ = sampled_states(ball, P, nominal=[1.0, 1.0], levels=[], count=200, seed=1)
    off = x - np.array([1.0, 2.0])
    length = np.sqrt(np.einsum("si,ij,sj->s", off, P, off))
    assert 0.4 < length.max() <= 0.5
    box = {"kind": "box", "lower": [0.0, None], "upper": [2.0, 5.0], "inputs": {"lower": [1.0], "upper": [2.0]}}
    x, u = sampled_states(box, P, nominal=[1.0, 1.0], levels=[0.0], count=200, seed=1)
    assert (x[:, 0].min() >= 0.0, x[:, 0].max() <= 2.0, x[:, 1].min() >= -10.0, x[:, 1].max() <= 5.0) == (True,) * 4
    assert (u.min() >= 1.0, u.max() <= 2.0) == (True, True)
