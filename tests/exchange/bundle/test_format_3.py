"""Format 3: what earlier ones hold is read, what later ones add is kept, and equal content is equal bytes anywhere."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.corruptions.content import entries, ordinary, packed
from exchange import Bundle, content_hash, load, save
from exchange.files.archive import content_of
from exchange.files.schema import require_schema, schema_of
from homeostat.bundles.checked import examine_bundle
from stability import Refusal

FORMAT_2 = Path(__file__).parent / "format_2"  # what the program before format 3 wrote of two bundles, and what it forecast
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return ordinary()


@pytest.fixture(scope="module")
def content(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return entries(save(bundle, tmp_path_factory.mktemp("made") / "a.twin"))


# ---- what is before --------------------------------------------------------------------------------------------------


def test_a_bundle_of_format_2_is_what_it_was(tmp_path: Path) -> None:
    old = load(FORMAT_2 / "claims.twin")
    assert [claim.kind for claim in old.claims] == ["certificate", "step", "lipschitz"]
    assert examine_bundle(FORMAT_2 / "claims.twin").good
    asked = json.loads((FORMAT_2 / "forecast.json").read_text())
    found = old.forecast("№ 2", "scale gut by 2", asked["times"], draws=3)
    assert torch.allclose(found.mean[:, :, 0, :, 0], torch.tensor(asked["mean"], dtype=torch.float64), rtol=1e-9, atol=0.0)
    new = save(old, tmp_path / "new.twin")
    again = load(new)
    assert json.loads(entries(new)["manifest.json"])["version"] == 3
    assert [a.to_dict() for a in again.claims] == [b.to_dict() for b in old.claims]
    for name in ("people", "calibration", "provenance", "nonnegative", "mesh"):
        assert getattr(again, name) == getattr(old, name)
    assert torch.equal(again.forecast("Ada", None, [1.0, 5.0]).mean, old.forecast("Ada", None, [1.0, 5.0]).mean)
    assert examine_bundle(new).text == examine_bundle(FORMAT_2 / "claims.twin").text


def test_a_refusal_and_who_failed_of_format_2(tmp_path: Path) -> None:
    old = load(FORMAT_2 / "refusal.twin")
    again = load(save(old, tmp_path / "a.twin"))
    assert isinstance(again.certificate, Refusal)
    assert again.personal.failed == old.personal.failed == {1: "could not be simulated"}
    assert again.nonnegative == old.nonnegative == ("concentration",)


def test_a_file_of_format_2_holds_nothing_of_format_3(content: Mapping[str, bytes], tmp_path: Path) -> None:
    before = entries(FORMAT_2 / "claims.twin")
    for more in ({"card.md": b"x"}, {"signature.json": b"{}"}, {"alarms.json": b"{}"}):
        (tmp_path / "a.twin").write_bytes(packed({**before, **more}))
        with pytest.raises(ValueError, match=r"a\.twin: (unexpected|the hash)"):
            load(tmp_path / "a.twin")


def test_the_files_of_format_2_are_small() -> None:
    sizes = {file.name: file.stat().st_size for file in FORMAT_2.iterdir()}
    assert set(sizes) == {"claims.twin", "refusal.twin", "forecast.json"}
    assert sum(sizes.values()) < 20_000


# ---- what comes later ------------------------------------------------------------------------------------------------


def with_entries(content: Mapping[str, bytes], new: Mapping[str, bytes], optional: bool) -> bytes:
    manifest = json.loads(content["manifest.json"])
    manifest["optional"] += list(new) if optional else []
    return packed({**content, **new, "manifest.json": json.dumps(manifest).encode()})


def test_optional_entries_that_are_not_known_are_kept(content: Mapping[str, bytes], bundle: Bundle, tmp_path: Path) -> None:
    new = {"alarms.json": b'{"above": [10.0, "mg/L"]}', "notes.v2.bin": bytes(range(256))}
    (tmp_path / "a.twin").write_bytes(with_entries(content, new, True))
    found = load(tmp_path / "a.twin")
    assert found.others == new
    again = save(found, tmp_path / "b.twin")
    assert {name: data for name, data in entries(again).items() if name in new} == new
    assert set(json.loads(entries(again)["manifest.json"])["optional"]) == {"card.md", *new}
    assert load(again).others == new
    assert content_hash(found) != content_hash(bundle)  # they are content
    assert save(replace(bundle, others=new), tmp_path / "c.twin").read_bytes() == again.read_bytes()


def test_required_entries_that_are_not_known_are_refused(content: Mapping[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.twin").write_bytes(with_entries(content, {"units2.json": b"{}"}, False))
    with pytest.raises(ValueError, match=r"a\.twin: it holds units2\.json, which this program does not know.* call optional"):
        load(tmp_path / "a.twin")


@pytest.mark.parametrize(
    "others",
    [{"../x": b""}, {"model.json": b""}, {"signature.json": b""}, {"X.json": b""}, {"x": b""}, {"x.json": "text"}, {3: b""}, [],
     {"con.json": b""}, {"lpt1.a.txt": b""},
     {f"x{k}.json": b"" for k in range(17)}],
    ids=lambda o: repr(o)[:20],
)  # fmt: skip
def test_others_that_no_file_could_hold(bundle: Bundle, others: object) -> None:
    with pytest.raises(ValueError, match="Bundle: "):
        replace(bundle, others=others)


def changed(content: Mapping[str, bytes], new: Mapping[str, bytes]) -> bytes:
    """A file whose entries were changed, with a manifest that agrees."""
    found = {**content, **new}
    manifest = json.loads(content["manifest.json"])
    return packed({**found, "manifest.json": json.dumps({**manifest, "content": content_of(found)}).encode()})


def test_a_card_that_was_changed_is_said(content: Mapping[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.twin").write_bytes(changed(content, {"card.md": b"# Approved for everything\n"}))
    found = examine_bundle(tmp_path / "a.twin")
    assert found.good
    assert found.to_dict()["card_follows"] is False
    assert "the card in the file is not the one that its content gives" in found.text
    save(load(tmp_path / "a.twin"), tmp_path / "a.twin")
    assert examine_bundle(tmp_path / "a.twin").card is True


@pytest.mark.parametrize("which", [0, 1])
def test_systems_that_the_weights_do_not_give_are_not_good(
    content: Mapping[str, bytes], tmp_path: Path, which: int
) -> None:
    proof = json.loads(content["proof.json"])
    assert examine_bundle(FORMAT_2 / "claims.twin").strange == 0
    proof["systems"][which]["weights"][0] = [[7.0]]
    (tmp_path / "a.twin").write_bytes(changed(content, {"proof.json": json.dumps(proof).encode()}))
    found = examine_bundle(tmp_path / "a.twin")
    assert (found.proved, found.good, found.strange) == (True, False, 1)
    assert "NOT WHAT OTHERS READ: proof.json states a system that" in found.text


# ---- equal content, equal bytes --------------------------------------------------------------------------------------


def backwards(value: object) -> object:
    """The same plain JSON value, every mapping in the other order."""
    if isinstance(value, Mapping):
        return {name: backwards(value[name]) for name in reversed(list(value))}
    return [backwards(one) for one in value] if isinstance(value, list) else value


def test_the_order_of_names_changes_no_byte(bundle: Bundle, tmp_path: Path) -> None:
    people = tuple(replace(p, covariates={"WT": p.covariates["WT"], "AGE": 30.0}) for p in bundle.people)
    one = replace(bundle, people=people, others={"a.json": b"1", "b.json": b"2"})
    about = {"calibration": backwards(one.calibration), "provenance": backwards(one.provenance)}
    mirrored = tuple(replace(p, covariates=backwards(p.covariates)) for p in people)  # type: ignore[arg-type]
    other = replace(one, people=mirrored, others={"b.json": b"2", "a.json": b"1"}, **about)  # type: ignore[arg-type]
    assert list(other.provenance) != list(one.provenance)
    assert save(one, tmp_path / "a.twin").read_bytes() == save(other, tmp_path / "b.twin").read_bytes()


ASKED = """
import sys, torch
from exchange import load, save
for threads in (1, 2):
    torch.set_num_threads(threads)
    bundle = load(sys.argv[1])
    save(bundle, f"{threads}.twin")
    said = [bundle.forecast(p.id, text, [1.0, 4.0, 12.0], draws=3) for p in bundle.people for text in (None, "scale gut by 2")]
    torch.save([(p.mean, p.variance) for p in said], f"{threads}.pt")
"""


@pytest.mark.slow
def test_another_process_and_folder_give_the_same_to_the_last_bit(bundle: Bundle, tmp_path: Path) -> None:
    """Predictions, and the bytes that are written: one and two threads, hashes of texts in another order."""
    path, folder = save(bundle, tmp_path / "a.twin"), tmp_path / "elsewhere"
    folder.mkdir()
    environment = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "5", "PATH": "", "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", ASKED, "../a.twin"], cwd=folder, env=environment, check=True)
    here = [bundle.forecast(p.id, t, [1.0, 4.0, 12.0], draws=3) for p in bundle.people for t in (None, "scale gut by 2")]
    for threads in (1, 2):
        assert (folder / f"{threads}.twin").read_bytes() == path.read_bytes()
        said = torch.load(folder / f"{threads}.pt")
        assert all(torch.equal(mean, p.mean) and torch.equal(v, p.variance) for (mean, v), p in zip(said, here, strict=True))


# ---- the published schemas -------------------------------------------------------------------------------------------


def test_what_is_written_is_as_the_schemas_say(content: Mapping[str, bytes]) -> None:
    import jsonschema

    for name in ("manifest.json", "model.json", "proof.json", "calibration.json", "signature.json"):
        jsonschema.Draft202012Validator.check_schema(schema_of(name))
        if name in content:
            require_schema(json.loads(content[name]), name)
    require_schema(json.loads(entries(FORMAT_2 / "refusal.twin")["proof.json"]), "proof.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("content"), "'content' is a required property"),
        (lambda m: m.update(surprise=1), "manifest.json: .*'surprise' was unexpected"),
        (lambda m: m["sha256"].update({"model.json": "ab"}), r"at sha256/model\.json: 'ab'"),
        (lambda m: m.update(optional=[5]), "at optional/0: 5 is not of type 'string'"),
        (lambda m: m["optional"].append("x.json"), "calls .*x.json.* optional and has no hash of it"),
        (lambda m: m.update(content="0" * 64), "the content's hash does not match"),
    ],
)
def test_a_manifest_that_is_not_as_its_schema_says(content: Mapping[str, bytes], tmp_path: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    manifest = json.loads(content["manifest.json"])
    change(manifest)
    path = tmp_path / "a.twin"
    path.write_bytes(packed({**content, "manifest.json": json.dumps(manifest).encode()}, rehash=False))
    with pytest.raises(ValueError, match=words) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_card_is_not_needed_and_not_believed(content: Mapping[str, bytes], bundle: Bundle, tmp_path: Path) -> None:
    for card in ({}, {"card.md": b"# Certified for everything \xff"}):
        changed = {name: data for name, data in {**content, **card}.items() if card or name != "card.md"}
        (tmp_path / "a.twin").write_bytes(packed(changed))
        assert save(load(tmp_path / "a.twin"), tmp_path / "b.twin").read_bytes() == save(bundle, tmp_path / "c.twin").read_bytes()
    with zipfile.ZipFile(tmp_path / "b.twin") as archive:
        assert archive.namelist()[-1] == "card.md"
