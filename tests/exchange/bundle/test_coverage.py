"""`homeostat check` holds a certificate beside the bundle's own people: what was not certified is said, whoever does it."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from benchmarks.corruptions.content import rehashed
from exchange import Bundle, Outside, Person, load, save
from exchange.bundle.dose_means import is_mean
from homeostat.bundles.checked import examine_bundle
from homeostat.bundles.uncertified import outside_certificates
from homeostat.cli import app
from hybrid import Concentration, Dose, HybridModel, Mesh, Schedule, Signal
from learned import AdditiveProportional, Ensemble
from physics import LogNormalPopulation, OneCompartmentOral
from stability import Box, Certificate, Inputs, Refusal, certify
from tests.builders import pair_of
from training import Personal

REGION, INPUTS = Box([-40.0, -40.0], [40.0, 40.0]), Inputs([0.0], [3.0], [[2.0, 0.0], [0.0, 1.0]], 12.0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def schedule(*doses: Dose, level: float = 1.0) -> Schedule:
    return Schedule(doses, {"glucose": Signal((0.0, 5.0), (0.5, level))})


SCHEDULES = {
    "Ada": schedule(Dose("gut", 0.0, 2.0), Dose("gut", 12.0, 1.5), Dose("plasma", 24.0, 1.0)),
    "Bob": schedule(Dose("gut", 2.1, 0.4), Dose("gut", 14.1, 0.4), level=3.0),  # 14.1 − 2.1 is less than 12 in floats
    "Eve": schedule(),
}


def bundle_for(model: HybridModel, schedules: dict[str, Schedule], certificate: Certificate | None = None) -> Bundle:
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(3))
    N, d = len(schedules), model.personal
    known = Personal(
        torch.zeros(2, N, d, dtype=torch.float64),
        torch.eye(d, dtype=torch.float64).expand(2, N, d, d).clone(),
        torch.zeros(2, N, dtype=torch.float64),
        torch.ones(2, N, dtype=torch.bool),
    )
    people = tuple(Person(id, s, {}, (0.0,)) for id, s in schedules.items())
    return Bundle(stack, people, known, Mesh(0.5, 0.1), () if certificate is None else (certificate,))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    plain = bundle_for(pair_of(), SCHEDULES)
    certificate = certify(plain.system(), None, REGION, INPUTS, seconds=20.0)
    assert isinstance(certificate, Certificate), certificate.message
    return replace(plain, claims=(certificate,))


def with_people(bundle: Bundle, schedules: dict[str, Schedule]) -> Bundle:
    """The same people under other schedules: what is certified of their systems stays so."""
    people = tuple(replace(p, schedule=schedules.get(p.id, p.schedule)) for p in bundle.people)
    return replace(bundle, people=people)


def edited(path: Path, changes: dict[str, Callable[[Any], Any]]) -> Path:
    """The file with entries changed by hand, and a manifest that fits."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for name, change in changes.items():
        value = json.loads(content[name])
        content[name] = json.dumps(change(value) or value).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in rehashed(content).items():
            archive.writestr(name, data)
    return path


def test_people_within_what_was_certified_are_covered(bundle: Bundle, tmp_path: Path) -> None:
    path = save(bundle, tmp_path / "a.twin")
    found = examine_bundle(path)
    assert (found.good, found.reason) == (True, load(path).certificate.claim)  # type: ignore[union-attr]
    done = run("check", path, "--json")
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["proved"], answer["covered"], answer["outside"], answer["notes"]) == (0, True, True, [], [])


@pytest.mark.parametrize(
    ("who", "other", "what", "words"),
    [
        ("Ada", SCHEDULES["Ada"].scaled("gut", 50.0), "doses", "a dose of 100 mg gut at 0 h, and the certificate covers 2 mg"),
        ("Bob", schedule(Dose("gut", 2.1, 2.0001)), "doses", "2.0001 mg gut"),
        ("Bob", schedule(Dose("gut", 5.0, 1.5), Dose("plasma", 5.0, 0.9)), "doses", "1.5 mg gut and 0.9 mg plasma at 5 h"),
        ("Bob", schedule(Dose("gut", 5.0, 1.0), Dose("gut", 16.0, 1.0)), "doses", "11 h apart, at 16 h"),
        ("Bob", schedule(Dose("gut", 5.0, 1.0, lag=2.0), Dose("gut", 18.0, 1.0)), "doses", "11 h apart, at 18 h"),
        ("Eve", schedule(Dose("gut", 1.0, 1.0, duration=0.5)), "infusions", "1 mg go into gut as an infusion from 1 h"),
        ("Eve", schedule(level=3.1), "inputs", "input glucose goes from 0.5 to 3.1 mmol/L, and the certificate covers 0 to 3"),
        ("Eve", schedule(level=-0.1), "inputs", "from -0.1 to 0.5"),
    ],
)
def test_what_lies_outside_is_said_of_the_person(
    bundle: Bundle, tmp_path: Path, who: str, other: Schedule, what: str, words: str
) -> None:
    path = save(with_people(bundle, {who: other}), tmp_path / "a.twin")
    found = examine_bundle(path)
    assert found.proved  # of the arrays it is as true as it was
    assert not found.good
    assert [(one.person, one.what) for one in found.outside] == [(who, what)]
    assert words in found.outside[0].sentence
    done = run("check", path)
    assert done.exit_code == 1
    assert done.stdout.startswith("NOT COVERED: the certificate is proved, and does not cover 1 of 3 people:\n")
    assert f"person {who}: " in done.stdout
    answer = json.loads(run("check", path, "--json").stdout)
    assert (answer["proved"], answer["covered"], answer["outside"][0]["person"]) == (True, False, who)
    assert not examine_bundle(path).good


def test_a_question_beyond_the_certificate_is_marked(bundle: Bundle, tmp_path: Path) -> None:
    """Less of a dose, farther apart, is covered; more, nearer, or at another level is said, in words and as values."""
    own = SCHEDULES["Ada"]
    asked = {
        "as given": own,
        "half": own.scaled("gut", 0.5),
        "more": own.scaled("gut", 50.0),
        "nearer": schedule(Dose("gut", 0.0, 2.0), Dose("gut", 9.0, 1.0)),
        "sweeter": replace(own, inputs={"glucose": Signal((0.0, 5.0), (0.5, 4.0))}),
    }
    found = outside_certificates(bundle, 0, asked)
    assert (found["as given"], found["half"]) == ([], [])
    assert found["more"][0].startswith("has a dose of 100 mg gut at 0 h, and the certificate covers 2 mg gut")
    assert "doses 9 h apart, at 9 h, and the certificate covers doses at least 12 h apart" in found["nearer"][0]
    assert "goes from 0.5 to 4 mmol/L, and the certificate covers 0 to 3 mmol/L" in found["sweeter"][0]
    assert not any(outside_certificates(replace(bundle, claims=()), 0, asked).values())
    path = save(bundle, tmp_path / "a.twin")
    picture = tmp_path / "x.svg"
    done = run("simulate", path, "--person", "Ada", "--do", "scale gut by 50", "--picture", picture)
    assert done.exit_code == 0, done.output
    assert "Outside what is certified: has a dose of 100 mg gut at 0 h" in done.stdout
    assert "OUTSIDE WHAT IS CERTIFIED" in picture.read_text()
    values = json.loads(run("simulate", path, "--person", "Ada", "--do", "scale gut by 0.5", "--json").stdout)
    assert values["outside_certificates"] == []
    assert "Outside" not in run("simulate", path, "--person", "Ada", "--do", "scale gut by 0.5").stdout


def test_two_doses_at_once_are_one(bundle: Bundle) -> None:
    """Half of either is a mean of the two; all of both is not."""
    fits = schedule(Dose("gut", 5.0, 1.0), Dose("plasma", 5.0, 0.5))
    assert with_people(bundle, {"Eve": fits}).outside() == []
    twice = schedule(Dose("gut", 5.0, 1.0), Dose("gut", 5.0, 1.0), Dose("plasma", 17.0, 0.0))
    assert with_people(bundle, {"Eve": twice}).outside() == []
    over = schedule(Dose("gut", 5.0, 1.0), Dose("gut", 5.0, 1.1))
    assert [one.what for one in with_people(bundle, {"Eve": over}).outside()] == ["doses"]


def test_other_units_than_those_of_the_certificate_are_said(bundle: Bundle, tmp_path: Path) -> None:
    """Hours renamed minutes, in the file or in Python, leave every number, and so the proof, as they were."""

    def renamed(about: dict[str, Any]) -> None:
        about["structure"]["backbone"]["config"]["time_unit"] = "min"
        about["units"]["time"] = "min"

    path = edited(save(bundle, tmp_path / "a.twin"), {"model.json": renamed})
    script = replace(bundle, model=bundle_for(pair_of("min"), SCHEDULES).model)
    for file in (path, save(script, tmp_path / "b.twin")):
        found = examine_bundle(file)
        assert found.proved
        assert not found.good
        assert [(one.person, one.what) for one in found.outside] == [(None, "units")]
        assert "made with time in h, and the model has min" in found.text
        assert run("check", file).exit_code == 1
        assert "% per h or more" in run("inspect", file).stdout  # a rate stays per the unit in which it was proved
    # made anew, it is per minute
    done = run("certify", path, "--rate", "0.05", "--write")
    assert done.exit_code == 0, done.output
    assert "% per min or more" in done.stdout
    assert run("check", path).exit_code == 0

    def grams(about: dict[str, Any]) -> None:
        about["structure"]["backbone"]["config"]["state_units"] = ["g", "g"]
        about["structure"]["observation"]["config"]["units"] = ["g"]
        about["units"]["states"] = {"gut": "g", "plasma": "g"}
        about["units"]["channels"] = {"plasma": "g"}

    found = examine_bundle(edited(save(bundle, tmp_path / "c.twin"), {"model.json": grams}))
    assert "the states in gut [mg], plasma [mg], and the model has gut [g], plasma [g]" in found.text


def test_a_bundle_of_before_says_that_it_does_not_know_its_units(bundle: Bundle, tmp_path: Path) -> None:
    path = edited(save(bundle, tmp_path / "a.twin"), {"proof.json": lambda proof: proof["claims"][0].pop("units") and proof})
    done = run("check", path)
    assert done.exit_code == 0, done.output
    assert "does not say in which units its certificate was made" in done.stdout
    again = save(load(path), tmp_path / "b.twin")  # and saving it again does not make it know
    assert "does not say in which units" in examine_bundle(again).text
    assert run("certify", path, "--rate", "0.05", "--write").exit_code == 0
    assert examine_bundle(path).notes == ()


def test_a_certificate_about_all_states_covers_whatever_is_given(bundle: Bundle) -> None:
    certificate = certify(bundle.system())
    assert isinstance(certificate, Certificate)
    everything = schedule(Dose("gut", 0.0, 1e6), Dose("plasma", 0.5, 1e6, duration=3.0), level=1e4)
    assert replace(with_people(bundle, {"Ada": everything}), claims=(certificate,)).outside() == []


def test_without_certified_doses_the_first_one_belongs_to_the_start(bundle: Bundle) -> None:
    certificate = certify(bundle.system(), None, REGION, Inputs([0.0], [3.0]), seconds=20.0)
    assert isinstance(certificate, Certificate)

    def outside(*doses: Dose) -> list[Outside]:
        return replace(with_people(bundle, {"Ada": schedule(*doses), "Bob": schedule()}), claims=(certificate,)).outside()

    assert outside() == outside(Dose("gut", 0.0, 5.0)) == []
    assert [one.what for one in outside(Dose("gut", 0.0, 50.0))] == ["start"]
    later = outside(Dose("gut", 0.0, 3.0), Dose("gut", 8.0, 3.0), Dose("gut", 9.0, 3.0))
    assert [one.sentence for one in later] == [
        "has 2 doses, the first of 3 mg gut at 8 h, and the certificate covers none",
    ]


def test_doses_at_multiples_of_the_gap_and_starts_between_curves(bundle: Bundle) -> None:
    """Of a certificate whose trajectories stay between curves: where they start is said, and when doses come."""
    certificate = certify(bundle.system(), None, REGION, Inputs([0.0], [3.0]), seconds=20.0)
    assert isinstance(certificate, Certificate)
    stays = {"set": "order", "doses": True, "lower": [0.0, 0.0], "upper": [1.0, 1.0], "curves": []}
    inputs = Inputs([0.0], [3.0], [[5.0, 0.0]], 8.0, exactly=True)
    region = {**certificate.region, "inputs": inputs.to_dict(), "stays": stays}  # type: ignore[dict-item]
    taken = replace(certificate, region=region, claim="")

    def outside(*doses: Dose) -> list[str]:
        found = replace(with_people(bundle, {"Ada": schedule(*doses), "Bob": schedule()}), claims=(taken,)).outside()
        return [one.sentence for one in found]

    assert outside(Dose("gut", 0.0, 5.0), Dose("gut", 16.0, 3.0)) == []
    assert outside(Dose("gut", 0.0, 5.0), Dose("gut", 9.0, 3.0)) == [
        "has a dose at 9 h, and the certificate covers doses at multiples of 8 h since the start",
    ]
    small = replace(taken, region={**region, "stays": {**stays, "lower": [0.5, 0.5]}}, claim="")
    said = replace(with_people(bundle, {"Ada": schedule(), "Bob": schedule()}), claims=(small,)).outside()
    assert {one.what for one in said} == {"start"}
    assert "in the box [0.5, 0.5] to [1.0, 1.0]" in said[0].sentence


# ---- starts and parameters of a population -----------------------------------------------------------------------------


def oral(baselines: dict[str, float]) -> Bundle:
    """People whose volume follows their weight, with drug in the plasma when they begin."""
    backbone = OneCompartmentOral(parameters="clearance")
    population = LogNormalPopulation(backbone, {"ka": 0.6, "CL": 0.2, "V": 0.2}, {"CL": {"WT": (70.0, 0.75, "kg")}})
    model = HybridModel(
        backbone, population, observation=Concentration("plasma", "V"), noise=AdditiveProportional([0.5], [0.1], [0.02])
    )
    plain = bundle_for(model, dict.fromkeys(baselines, Schedule()))
    given = enumerate(zip(plain.people, baselines.values(), strict=True))
    people = tuple(replace(p, baseline=(b,), covariates={"WT": 60.0 + k}) for k, (p, b) in given)
    return replace(plain, people=people)


def test_starts_outside_of_the_region_are_said() -> None:
    plain = oral({"Ada": 1.0, "Bob": 30.0})
    box = Box([0.0, 0.0], [10.0, 600.0])  # Bob begins with 30 mg/L in some 30 L
    certificate = certify(plain.system(), None, box, seconds=20.0)
    assert isinstance(certificate, Certificate)
    assert certificate.region["stays"]["set"] == "box"  # type: ignore[index]
    found = replace(plain, claims=(certificate,)).outside()
    assert [(one.person, one.what) for one in found] == [("Bob", "start")]
    assert "starts at 0 mg gut and " in found[0].sentence
    ball = certify(plain.system(), None, Box([-600.0, -600.0], [600.0, 600.0]), Inputs([], [], [[10.0, 0.0]], 24.0), seconds=20.0)
    assert isinstance(ball, Certificate)
    found = replace(plain, claims=(ball,)).outside()
    assert [(one.person, one.what) for one in found] == [("Bob", "start")]
    assert " in P" in found[0].sentence


def test_someone_whose_parameters_are_others_is_named(tmp_path: Path) -> None:
    plain = oral({"Ada": 1.0, "Bob": 2.0, "Eve": 3.0})
    certificate = certify(plain.system())
    assert isinstance(certificate, Certificate)
    path = save(replace(plain, claims=(certificate,)), tmp_path / "a.twin")
    assert examine_bundle(path).good

    def heavier(about: dict[str, Any]) -> None:
        about["people"][1]["covariates"]["WT"] = 90.0

    found = examine_bundle(edited(path, {"model.json": heavier}))
    assert not found.proved
    assert [(one.person, one.what) for one in found.outside] == [("Bob", "parameters")]
    assert found.text.startswith("REFUSED: the digest")
    assert "person Bob: " in found.text


# ---- asking for doses at the shell -------------------------------------------------------------------------------------


def test_whoever_asks_for_doses_gets_them_or_exit_code_1(bundle: Bundle, tmp_path: Path) -> None:
    path, region = save(replace(bundle, claims=()), tmp_path / "a.twin"), tmp_path / "region.json"
    asked = {"lower": [-20.0, -20.0], "upper": [20.0, 20.0], "inputs": {"lower": [0.0], "upper": [1.0], "doses": [[50.0, 0.0]]}}
    asked["inputs"]["gap"] = 24.0  # type: ignore[index]
    region.write_text(json.dumps(asked))
    done = run("certify", path, "--region", region, "--rate", "0.2", "--write")
    assert done.exit_code == 1
    assert "The doses that were asked for are not covered." in done.stdout
    assert "Without doses it is proved" in done.stdout
    assert "Proved" not in done.stdout
    assert isinstance(load(path).certificate, Refusal)
    # what is proved of a region is held beside the bundle's people at once
    asked["inputs"] = {"lower": [0.0], "upper": [1.0]}
    region.write_text(json.dumps(asked))
    done = run("certify", path, "--region", region, "--rate", "0.2", "--json")
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["certified"]) == (0, True)
    assert {(one["person"], one["what"]) for one in answer["outside"]} == {("Ada", "doses"), ("Bob", "doses"), ("Bob", "inputs")}
    text = run("certify", path, "--region", region, "--rate", "0.2").stdout
    assert "The certificate does not cover 2 of 3 people." in text


# ---- means of doses ----------------------------------------------------------------------------------------------------


@settings(derandomize=True, max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 4), count=st.integers(1, 6))
def test_means_of_doses(seed: int, n: int, count: int) -> None:
    """A mean of some doses and of none is one; beyond a face of the hull, whose normal says how far it reaches, none is."""
    rng = np.random.default_rng(seed)
    doses = rng.integers(-8, 9, (count, n)).astype(float)
    shares = rng.dirichlet(np.ones(count + 1))[:count]
    assert is_mean(shares @ doses, doses)
    for dose in doses:
        assert is_mean(dose, doses)
        assert is_mean(dose / 4, doses)
    normal = rng.normal(size=n)
    reach = max(0.0, float((doses @ normal).max()))
    beyond = normal * (reach / (normal @ normal) + 1e-6)
    assert not is_mean(beyond, doses)
    assert is_mean(np.zeros(n), doses)
