"""The claims of a bundle: every kind travels, each is judged by what it is about, and a file of format 1 is read as ever."""

import copy
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import stability.claims
from benchmarks.corruptions.content import rehashed
from exchange import Bundle, Person, load, save
from homeostat.bundles.checked import examine_bundle
from homeostat.bundles.inspected import inspect_bundle
from hybrid import Dose, HybridModel, Mesh, Schedule, Signal, States
from learned import MLP, AdditiveProportional, Ensemble
from physics import LinearBackbone, SharedPopulation
from stability import (
    Box,
    Certificate,
    Claim,
    Refusal,
    certify,
    certify_step,
    l2_gain,
    lipschitz_bound,
    tube,
    weighted_l1,
)
from stability.proof.command import main
from tests.stability.claims.toy_claim import Slowest
from training import Personal

FORMAT_1 = Path(__file__).parent / "format_1"  # what the program before format 2 wrote of one bundle, and what it forecast


def linear(A: list[list[float]], residual: bool) -> Bundle:
    """Two people under one linear backbone with an input, and a small residual where it is asked for."""
    backbone = LinearBackbone(A, [[1.0], [0.0]], states=("gut", "plasma"), inputs=("glucose",), time_unit="h")
    learned = MLP(2, hidden=(3,), sees_inputs=[], inputs=1, state_scale=10.0, rate_scale=0.02) if residual else None
    noise = AdditiveProportional([0.5], [0.1], [0.02])
    model = HybridModel(backbone, SharedPopulation(), learned, observation=States(("plasma",)), noise=noise)
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(5))
    given = Schedule((Dose("gut", 0.0, 2.0),), {"glucose": Signal((0.0,), (1.0,))})
    people = (Person("Ada", given, {}, (0.0,)), Person("Bob", given, {}, (0.0,)))
    d = stack.personal
    known = Personal(
        torch.zeros(2, 2, d, dtype=torch.float64),
        torch.eye(d, dtype=torch.float64).expand(2, 2, d, d).clone(),
        torch.zeros(2, 2, dtype=torch.float64),
        torch.ones(2, 2, dtype=torch.bool),
    )
    return Bundle(stack, people, known, Mesh(0.5, 0.1))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """One claim of every kind; the bounds are of the second member's layers, one of them in a box."""
    plain = linear([[-1.0, 0.1], [0.8, -1.5]], residual=True)
    system = plain.system()
    certificate = certify(system)
    assert isinstance(certificate, Certificate)
    layers, biases = [w[1, 0] for w in system.weights], [b[1, 0] for b in system.biases]
    claims = [
        certificate,
        weighted_l1(system),
        tube(certificate, system),
        l2_gain(certificate, system),
        certify_step(certificate, system, 0.1),
        lipschitz_bound(layers),
        lipschitz_bound(layers, region=Box([-1.0, -1.0], [1.0, 1.0]), biases=biases),
    ]
    assert all(isinstance(claim, Claim) for claim in claims), claims
    return replace(plain, claims=tuple(claims))


def edited(path: Path, proof: Callable[[dict[str, Any]], Any], **manifest: object) -> Path:
    """The file with another `proof.json`, and a manifest that fits."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    value = json.loads(content["proof.json"])
    content["proof.json"] = json.dumps(proof(value) or value).encode()
    content["manifest.json"] = json.dumps(json.loads(content["manifest.json"]) | manifest).encode()
    content = rehashed(content)
    other = path.with_suffix(".edited")
    with zipfile.ZipFile(other, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return other


def test_a_claim_of_every_kind_travels_and_is_proved(bundle: Bundle, tmp_path: Path) -> None:
    kinds = [kind for one in stability.claims.CLAIMS for kind in one.kinds()]
    # a rate on a region is of a mechanism: tests/homeostat/test_any_mechanism.py
    assert {claim.kind for claim in bundle.claims if isinstance(claim, Claim)} == set(kinds) - {"rate on a region"}
    path = save(bundle, tmp_path / "a.twin")
    again = load(path)
    assert [c.to_dict() for c in again.claims] == [c.to_dict() for c in bundle.claims]
    assert [type(c) for c in again.claims] == [type(c) for c in bundle.claims]
    assert save(again, tmp_path / "b.twin").read_bytes() == path.read_bytes()
    verdicts = again.prove()
    assert [claim for claim, _ in verdicts] == list(again.claims)
    for claim, verdict in verdicts:
        assert (verdict.proved, verdict.reason) == (True, claim.sentence)
    found = examine_bundle(path)
    assert found.good
    told = found.to_dict()["claims"]
    assert [one["kind"] for one in told] == [claim.kind for claim in again.claims if isinstance(claim, Claim)]
    for claim in again.claims:
        assert isinstance(claim, Claim)
        assert claim.sentence in found.text
        assert claim.in_words("h") in inspect_bundle(path)[1]
    # what several are about is written once
    with zipfile.ZipFile(path) as archive:
        proof = json.loads(archive.read("proof.json"))
    assert [one["system"] for one in proof["claims"]] == [0, 0, 0, 0, 0, 1, 1]
    assert len(proof["systems"]) == 2


def test_each_claim_is_about_the_bundles_own_weights(bundle: Bundle, tmp_path: Path) -> None:
    changed = replace(bundle, model=copy.deepcopy(bundle.model))
    with torch.no_grad():
        changed.model.residual.weights[0][1, 0, 0] += 1e-12  # of the second member
    path = save(changed, tmp_path / "a.twin")
    assert [verdict.proved for _, verdict in load(path).prove()] == [False] * 7
    assert all("digest" in verdict.reason for _, verdict in load(path).prove())
    found = examine_bundle(path)
    assert not found.good
    assert found.text.count("REFUSED") == 7
    other = replace(bundle, model=copy.deepcopy(bundle.model))
    with torch.no_grad():
        other.model.residual.weights[0][0, 0, 0] += 1e-12  # of the first, whose layers no bound is about
    assert [verdict.proved for _, verdict in other.prove()] == [False] * 5 + [True] * 2


@pytest.mark.parametrize("place", range(7))
def test_a_number_that_is_better_than_proved_is_refused(bundle: Bundle, tmp_path: Path, place: int) -> None:
    names = {"certificate": "rate", "weighted l1": "rate", "tube": "value", "l2": "value", "step": "factor", "lipschitz": "bound"}

    def better(proof: dict[str, Any]) -> None:
        claim = proof["claims"][place]["claim"]
        name = names[claim["kind"]]
        claim[name] *= 1.5 if name == "rate" else 0.7

    found = examine_bundle(edited(save(bundle, tmp_path / "a.twin"), better))
    assert not found.good
    refused = [one["kind"] for one in found.to_dict()["claims"] if not one["proved"]]
    assert refused == [bundle.claims[place].to_dict()["kind"]]


def test_one_claim_that_is_refused_is_enough(bundle: Bundle, tmp_path: Path) -> None:
    wrong = replace(bundle.claims[1], claim="Everything is well.")
    path = save(replace(bundle, claims=(bundle.claims[0], wrong)), tmp_path / "a.twin")
    found = examine_bundle(path)
    assert found.proved
    assert not found.good
    assert "weighted l1: REFUSED: " in found.text


def test_without_a_certificate_other_claims_are_what_is_checked(bundle: Bundle, tmp_path: Path) -> None:
    refusal = certify(bundle.system(), rate=50.0, seconds=2.0)
    assert isinstance(refusal, Refusal)
    asked = replace(bundle, claims=(refusal, bundle.claims[1]))
    assert asked.certificate is refusal
    path = save(asked, tmp_path / "a.twin")
    again = load(path)
    assert [c.to_dict() for c in again.claims] == [c.to_dict() for c in asked.claims]
    found = examine_bundle(path)
    assert found.good
    assert refusal.message in found.text
    alone = examine_bundle(save(replace(bundle, claims=(refusal,)), tmp_path / "b.twin"))
    assert not alone.good
    assert "the bundle holds a refusal" in alone.text
    assert replace(bundle, claims=()).certificate is None
    assert replace(bundle, claims=()).prove() == ()


def test_units_are_kept_for_each_claim(bundle: Bundle, tmp_path: Path) -> None:
    backbone = LinearBackbone(
        [[-1.0, 0.1], [0.8, -1.5]], [[1.0], [0.0]], states=("gut", "plasma"), inputs=("glucose",), time_unit="min"
    )
    model = copy.deepcopy(bundle.model)
    model.backbone = backbone
    # the same numbers, which are now said to be per minute; a claim that is made then says so
    renamed = replace(bundle, model=model)
    new = weighted_l1(renamed.system())
    renamed = replace(renamed, claims=(*bundle.claims[:2], new))
    again = load(save(renamed, tmp_path / "a.twin"))
    assert [again.units_made_in(c)["time"] for c in again.claims if isinstance(c, Claim)] == ["h", "h", "min"]
    said = [str(one) for one in again.outside() if one.what == "units"]
    assert len(said) == 2
    assert said[0].startswith("the certificate was made with time in h, and the model has min")
    assert said[1].startswith("the claim (weighted l1) was made with time in h")


def test_a_new_kind_of_claim_is_one_file_and_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = linear([[-1.0, 0.0], [0.0, -1.5]], residual=False)
    true, false = (Slowest(rate=rate, digest=plain.system().digest()) for rate in (0.9, 1.2))
    named = replace(plain, claims=(true,))
    for path in (tmp_path / "never.twin", tmp_path / "deep" / "never.twin"):
        with pytest.raises(ValueError, match=r"nothing was written.*'slowest'.*certificate, .*tube, l2, weighted l1") as caught:
            save(named, path)
        assert "\n" not in str(caught.value)
        assert not path.exists()
    with monkeypatch.context() as patched:
        patched.setattr(stability.claims, "CLAIMS", (*stability.claims.CLAIMS, Slowest))
        path = save(named, tmp_path / "a.twin")
        again = load(path)
        assert again.claims[0].to_dict() == true.to_dict()
        assert (examine_bundle(path).good, true.sentence in examine_bundle(path).text) == (True, True)
        assert "every state decays at 0.9 per h or faster" in inspect_bundle(path)[1]
        wrong = examine_bundle(save(replace(plain, claims=(false,)), tmp_path / "b.twin"))
        assert (wrong.good, wrong.reason) == (False, "a state is slower")
    with pytest.raises(ValueError, match=r"a\.twin: .*'slowest' is not known; there are certificate, .*tube, l2, weighted l1"):
        load(path)


@pytest.mark.parametrize("claims", ["proved", ["proved"], [None], [{"kind": "certificate"}], 5, None])
def test_what_is_no_claim_is_no_claim_of_a_bundle(bundle: Bundle, claims: Any) -> None:
    with pytest.raises(ValueError, match="claims"):
        replace(bundle, claims=claims)
    with pytest.raises(ValueError, match=r"in a list, even one, and are Certificate; write \[certify\(system\)\]"):
        replace(bundle, claims=bundle.claims[0])  # type: ignore[arg-type]


WRONG: tuple[Callable[[dict[str, Any]], Any], ...] = (
    lambda p: p["claims"][0].update(surprise=1),
    lambda p: p["claims"][0].update(refusal={}),
    lambda p: p["claims"][0].pop("system"),
    lambda p: p["claims"][0].update(system=2),
    lambda p: p["claims"][0].update(system=-1),
    lambda p: p["claims"][0].update(system=True),
    lambda p: p["claims"][0].update(system=0.0),
    lambda p: p["claims"][0].update(units=["h"]),
    lambda p: p["claims"][0].update(units={}),
    lambda p: p["claims"][0].update(claim="certificate"),
    lambda p: p["claims"][4]["claim"].update(kind="lipschitz"),
    lambda p: p["claims"][4]["claim"].update(kind="unheard of"),
    lambda p: p["claims"][4]["claim"].update(surprise=1),
    lambda p: p["claims"][4]["claim"].update(factor="small"),
    lambda p: p["claims"][2]["claim"].update(metric=[["x"]]),
    lambda p: p["claims"][2]["claim"].update(not_covered="all"),
    lambda p: p["claims"][5]["claim"].pop("bound"),
    lambda p: p.update(claims=[]),
    lambda p: p.update(claims={}),
    lambda p: p.update(claims=p["claims"] * 200),
    lambda p: p.update(systems=5),
    lambda p: p.update(systems=[5, 5]),
    lambda p: p.update(surprise=1),
    lambda p: {"certificate": p["claims"][0]["claim"], "system": p["systems"][0]},  # what format 1 held
    lambda p: {"refusal": {"kind": "refusal", "reason": "not proved", "message": "no"}},
)


@pytest.mark.parametrize("change", WRONG, ids=[str(k) for k in range(len(WRONG))])
def test_claims_that_are_not_as_they_are_written_are_refused(
    bundle: Bundle, tmp_path: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    path = edited(save(bundle, tmp_path / "a.twin"), change)
    with pytest.raises(ValueError, match=r"a\.edited: ") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_the_system_beside_a_claim_is_not_what_is_believed(bundle: Bundle, tmp_path: Path) -> None:
    def smaller(proof: dict[str, Any]) -> None:
        proof["systems"][0]["A"] = [[[[-9.0, 0.0], [0.0, -9.0]]]]

    found = examine_bundle(edited(save(bundle, tmp_path / "a.twin"), smaller))
    assert found.proved
    assert (found.strange, found.good) == (1, False)  # who reads the file without us believes it: said, and not good


def test_a_stranger_proves_all_of_them(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(path: Path, *options: str) -> tuple[int, str]:
        with zipfile.ZipFile(path) as archive:
            (tmp_path / "proof.json").write_bytes(archive.read("proof.json"))
        code = main([str(tmp_path / "proof.json"), *options])
        return code, capsys.readouterr().out

    path = save(bundle, tmp_path / "a.twin")
    code, out = asked(path)
    assert (code, out.splitlines()) == (0, [f"proved: {c.sentence}" for c in bundle.claims if isinstance(c, Claim)])
    code, out = asked(path, "--json")
    assert (code, json.loads(out)["proved"], len(json.loads(out)["claims"])) == (0, True, 7)
    false = edited(path, lambda p: p["claims"][3]["claim"].update(value=0.0))
    code, out = asked(false)
    assert (code, [line.split(":")[0] for line in out.splitlines()]) == (1, [*["proved"] * 3, "refused", *["proved"] * 3])
    assert asked(edited(path, lambda p: p["claims"][3].update(system=2)))[0] == 2
    # beside a refusal, which claims nothing, the others are judged; alone it is no claim
    refusal = certify(bundle.system(), rate=50.0, seconds=2.0)
    assert asked(save(replace(bundle, claims=(refusal, bundle.claims[1])), tmp_path / "b.twin"))[0] == 0
    assert asked(save(replace(bundle, claims=(refusal,)), tmp_path / "c.twin"))[0] == 2
    # what is not decided is not refused, and not proved
    assert asked(path, "--exact")[0] == 3


# ---- format 1 --------------------------------------------------------------------------------------------------------


def test_a_bundle_of_format_1_is_what_it_was(tmp_path: Path) -> None:
    old = load(FORMAT_1 / "certificate.twin")
    assert isinstance(old.certificate, Certificate)
    assert old.units_made_in(old.certificate)["time"] == "h"
    assert examine_bundle(FORMAT_1 / "certificate.twin").good
    asked = json.loads((FORMAT_1 / "forecast.json").read_text())
    found = old.forecast(old.people[1].id, old.people[1].schedule.scaled("gut", 2.0), asked["times"], draws=3)
    # to the tolerance of the steps, 1e-6: they look inside themselves since, and are shorter for it
    assert torch.allclose(found.mean[:, :, 0, :, 0], torch.tensor(asked["mean"], dtype=torch.float64), rtol=1e-5, atol=0.0)
    new = save(old, tmp_path / "new.twin")
    with zipfile.ZipFile(new) as archive:
        assert json.loads(archive.read("manifest.json"))["version"] == 3
    again = load(new)
    assert again.claims[0].to_dict() == old.claims[0].to_dict()
    assert again.people == old.people
    assert (again.calibration, again.provenance, again.nonnegative) == (old.calibration, old.provenance, old.nonnegative)
    assert torch.equal(again.forecast("Ada", None, [1.0, 5.0]).mean, old.forecast("Ada", None, [1.0, 5.0]).mean)
    assert examine_bundle(new).text == examine_bundle(FORMAT_1 / "certificate.twin").text


def test_a_refusal_and_silence_about_units_of_format_1(tmp_path: Path) -> None:
    old = load(FORMAT_1 / "refusal.twin")
    assert isinstance(old.certificate, Refusal)
    assert isinstance(load(save(old, tmp_path / "a.twin")).certificate, Refusal)
    (tmp_path / "c.twin").write_bytes((FORMAT_1 / "certificate.twin").read_bytes())
    silent = edited(tmp_path / "c.twin", lambda proof: proof.pop("units") and proof)
    assert "does not say in which units" in examine_bundle(silent).text
    assert "does not say in which units" in examine_bundle(save(load(silent), tmp_path / "d.twin")).text


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.update(surprise=1),
        lambda p: p.pop("system"),
        lambda p: p["certificate"].update(kind="step"),
        lambda p: p["certificate"].update(rate="fast"),
        lambda p: {"systems": [p["system"]], "claims": [{"claim": p["certificate"], "system": 0}]},  # what format 2 holds
    ],
)
def test_what_is_neither_format_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    (tmp_path / "a.twin").write_bytes((FORMAT_1 / "certificate.twin").read_bytes())
    with pytest.raises(ValueError, match=r"a\.edited: "):
        load(edited(tmp_path / "a.twin", change))


def test_the_three_files_of_format_1_are_small() -> None:
    sizes: Mapping[str, int] = {file.name: file.stat().st_size for file in FORMAT_1.iterdir()}
    assert set(sizes) == {"certificate.twin", "refusal.twin", "forecast.json"}
    assert sum(sizes.values()) < 20_000
