"""The bundle: what is loaded is what was saved, and nothing else is ever loaded."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_tiny import tiny_bundle

from exchange import BUILTIN, Bundle, load, save
from homeostat.study import predict_person
from homeostat.work import check_bundle
from stability import Certificate, certify
from stability.proof import main as proof_main

TIMES = np.linspace(0.0, 12.0, 7).tolist()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    plain = tiny_bundle()
    certificate = certify(plain.system())
    assert isinstance(certificate, Certificate)
    return replace(plain, certificate=certificate)


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def write(path: Path, content: dict[str, bytes], *, rehash: bool = True) -> Path:
    """The archive with these entries, its manifest made right again unless told not to."""
    if rehash:
        manifest = json.loads(content["manifest.json"])
        manifest["sha256"] = {n: hashlib.sha256(d).hexdigest() for n, d in content.items() if n != "manifest.json"}
        content = {**content, "manifest.json": json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_predictions_are_the_same_to_the_last_bit(bundle: Bundle, tmp_path: Path) -> None:
    again = load(save(bundle, tmp_path / "a.twin"))
    schedules = [bundle.people[0].schedule, bundle.people[0].schedule.scaled("gut", 2.0)]
    for a, b in zip(predict_person(bundle, 0, schedules, TIMES), predict_person(again, 0, schedules, TIMES), strict=True):
        assert torch.equal(a.mean, b.mean)
        assert torch.equal(a.variance, b.variance)
    assert again.certificate == bundle.certificate or again.certificate.to_dict() == bundle.certificate.to_dict()
    assert again.people == bundle.people


def test_the_same_bundle_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    first, second = save(bundle, tmp_path / "a.twin"), save(bundle, tmp_path / "b.twin")
    assert first.read_bytes() == second.read_bytes()


def test_truncation_and_flips_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    whole = save(bundle, tmp_path / "a.twin").read_bytes()
    broken = tmp_path / "broken.twin"
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        broken.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"broken\.twin"):
            load(broken)
    reference = entries(tmp_path / "a.twin")
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        broken.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        # a flip in a field of the zip that nobody reads changes nothing; any other one is refused
        try:
            load(broken)
        except ValueError:
            continue
        assert entries(broken) == reference


@pytest.mark.parametrize("name", ["../evil", "evil.pkl"])
def test_stray_entries_are_refused(bundle: Bundle, tmp_path: Path, name: str) -> None:
    content = entries(save(bundle, tmp_path / "a.twin"))
    with pytest.raises(ValueError, match="unexpected"):
        load(write(tmp_path / "b.twin", {**content, name: b"x"}))


def test_version_structure_hash_and_weights_are_checked(bundle: Bundle, tmp_path: Path) -> None:
    content = entries(save(bundle, tmp_path / "a.twin"))
    manifest = {**json.loads(content["manifest.json"]), "version": 99}
    with pytest.raises(ValueError, match="version"):
        load(write(tmp_path / "v.twin", {**content, "manifest.json": json.dumps(manifest).encode()}))
    with pytest.raises(ValueError, match="hash"):
        load(write(tmp_path / "h.twin", {**content, "calibration.json": b'{"a": 1}'}, rehash=False))
    unknown = content["model.json"].replace(b'"MLP"', b'"Mine"')
    path = write(tmp_path / "s.twin", {**content, "model.json": unknown})
    with pytest.raises(ValueError, match="unknown structure 'Mine'"):
        load(path)
    assert type(load(path, structures={**BUILTIN, "Mine": BUILTIN["MLP"]}).model.residual).__name__ == "MLP"
    for missing in ("model.json", "weights.safetensors"):
        with pytest.raises(ValueError):
            load(write(tmp_path / "m.twin", {n: d for n, d in content.items() if n != missing}))


def test_a_changed_weight_loses_the_certificate(bundle: Bundle, tmp_path: Path) -> None:
    proved, _ = check_bundle(save(bundle, tmp_path / "a.twin"))
    assert proved
    changed = load(tmp_path / "a.twin")
    with torch.no_grad():
        changed.model.residual.weights[0][0, 0, 0] += 1e-12
    # the file is consistent, its certificate is about other weights
    proved, reason = check_bundle(save(changed, tmp_path / "b.twin"))
    assert not proved
    assert "digest" in reason


def test_the_stranger_proves_the_entry_alone(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(entries(save(bundle, tmp_path / "a.twin"))["proof.json"])
    assert proof_main([str(tmp_path / "p.json")]) == 0
