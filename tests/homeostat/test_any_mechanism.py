"""The shell fits a mechanism as it fits a backbone; its bundle holds the tape, and nothing of the user's Python."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exchange import Bundle, load, save
from exchange.bundle.structures import describe, rebuild
from homeostat.study.backbones import backbone_named
from homeostat.study.known_claims import certify_known
from hybrid import Dose, HybridModel, Schedule, States, simulate
from learned import AdditiveProportional
from physics import LinearisedBackbone, MichaelisMenten, SharedPopulation, TapedMechanism, check_mechanism
from stability import Box, Certificate, Refusal, RegionalRate, regional_rate
from tests.homeostat.own_mechanism import TwoWays
from tests.homeostat.shell import run
from training import Cohort, personalise
from training.people.tables.nonmem import read_table

PLACE = f"{Path(__file__).with_name('own_mechanism.py')}:TwoWays"
TRUE = {"ka": 1.2, "ke": 0.12, "Vmax": 18.0}
TIMES = (0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 9.0, 14.0)


CHANNELS = ["--channels", "2=plasma"]
GIVEN = ["--units", "TIME=h,AMT=mg,DV=mg", *CHANNELS]


def model_of(values: dict[str, float]) -> HybridModel:
    seen = {"observation": States(["plasma"]), "noise": AdditiveProportional([0.5], [0.1], [0.1])}
    return HybridModel(TwoWays(), SharedPopulation(TwoWays(), values=values), **seen)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people of the same known θ, measured with an error of .5 mg."""
    rng, path = np.random.default_rng(3), tmp_path_factory.mktemp("own") / "table.csv"
    rows = ["ID,TIME,AMT,DV,EVID,CMT"]
    for person, dose in enumerate((100.0, 150.0, 200.0, 250.0)):
        rows.append(f"{person},0,{dose},.,1,1")
        theta = torch.tensor(list(TRUE.values()), dtype=torch.float64)
        x = simulate(model_of(TRUE), Schedule(doses=(Dose("gut", 0.0, dose),)), TIMES, theta)[:, 1]
        rows += [
            f"{person},{t},.,{v + 0.5 * rng.standard_normal():.4f},0,2" for t, v in zip(TIMES, x.tolist(), strict=True)
        ]
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def bundle(table: Path) -> Path:
    units = {"TIME": "h", "AMT": "mg", "DV": "mg"}
    records = read_table(table, units=units, channels={2: "plasma"}, compartments={1: "gut", 2: "plasma"}).records
    model = model_of(TRUE)
    cohort = Cohort.of(records, model)
    path = table.with_name("own.twin")
    save(Bundle.of(model, cohort, personalise(model, cohort)), path)
    return path


def test_a_mechanism_by_its_name_or_its_place() -> None:
    check_mechanism(TwoWays())
    own, ours = backbone_named(PLACE), backbone_named("MichaelisMenten")
    assert isinstance(own, LinearisedBackbone)
    assert own.mechanism.name == "TwoWays"
    assert isinstance(ours, LinearisedBackbone)
    with pytest.raises(ValueError, match=r"choose one of .*MichaelisMenten"):
        backbone_named("Michaelis")


def test_a_bundle_is_inspected_simulated_and_reported_without_the_code(bundle: Path, table: Path) -> None:
    read = load(bundle)  # no structures: the tape is inside, and nothing runs
    assert isinstance(read.model.mechanism, TapedMechanism)
    assert read.model.mechanism.tape == TwoWays().tape
    told = run("inspect", bundle)
    assert told.exit_code == 0, told.output
    assert "model      TwoWays + Zero" in told.stdout
    assert "bends in the rate of plasma; learned beside it: nothing" in told.stdout
    ahead = run("simulate", bundle, "--person", "0", "--do", "dose 100 mg -> gut @ 20 h", "--until", "30", "--json")
    assert ahead.exit_code == 0, ahead.output
    assert "certificate" in run("check", bundle).output  # there is none to prove


def test_a_rate_on_a_region_travels_under_its_own_name(bundle: Path, tmp_path: Path) -> None:
    read = load(bundle)
    found = regional_rate(read.system(), Box([0.0, 0.0], [300.0, 300.0]))
    assert isinstance(found, RegionalRate)
    path = save(replace(read, claims=(found,)), tmp_path / "rate.twin")
    again = load(path)
    assert again.certificate is None
    assert again.claims[0].to_dict() == found.to_dict()
    told = run("check", path)
    assert told.exit_code == 1  # it is proved, and is no certificate
    assert told.stdout.startswith("NO CERTIFICATE: ")
    assert "\nrate on a region: proved: " in told.stdout
    assert "that they stay is not proved" in told.output.replace("\n", " ")
    assert "says nothing of" not in told.stdout  # everyone's first dose is in the box


def test_a_tape_that_was_changed_is_refused_in_a_sentence() -> None:
    structure = json.loads(json.dumps(describe(model_of(TRUE))))
    taped = structure["backbone"]["config"]["mechanism"]["tape"]
    for change, said in (
        ({"code": [["system", 0], *taped["code"][1:]]}, "is none of constant, state"),
        ({"rate": [0, 10**9]}, "the line of a rate"),
        ({"tape": 2}, "its version is 2"),
        ({"states": ["gut", "blood"]}, "names other states"),
        ({"code": [["state", 0], ["add", 5, 0], *taped["code"][2:]]}, "earlier lines"),
    ):
        wrong = json.loads(json.dumps(structure))
        wrong["backbone"]["config"]["mechanism"]["tape"] |= change
        with pytest.raises(ValueError, match=said):
            rebuild(wrong, {})


def test_a_half_space_is_certified_with_the_doses_of_the_bundles_people(bundle: Path, tmp_path: Path) -> None:
    read = load(bundle)
    path = save(read, tmp_path / "own.twin")
    done = run("certify", path, "--write")
    assert done.exit_code == 0, done.output
    found = load(path).certificate
    assert isinstance(found, Certificate)
    assert isinstance(found.region, Mapping)
    assert found.region["upper"] == [None, None]
    assert found.region["stays"] == {"set": "box", "doses": True}
    # both ways together at no concentration, the linear one alone at the highest: the slowest person is proved
    assert 0.9 * TRUE["ke"] <= found.rate <= TRUE["ke"]
    assert "gut from 0 mg on" in done.output.replace("\n", " ")
    told = run("check", path)
    assert told.exit_code == 0, told.output
    assert not load(path).outside()
    narrow = tmp_path / "region.json"
    doses = {"lower": [], "upper": [], "doses": [[99, 0]], "gap": 9}
    narrow.write_text(json.dumps({"lower": [0, 0], "upper": [50, 60], "inputs": doses}))
    refused = run("certify", path, "--region", narrow)
    assert refused.exit_code == 1
    assert "that they stay there is not" in refused.output.replace("\n", " ")


def test_where_staying_is_not_proved_the_rate_on_the_trained_box_is_kept(table: Path) -> None:
    """Saturable elimination alone contracts ever more slowly: no half-space has a rate, and doses leave the trained box."""
    units = {"TIME": "d", "AMT": "mg", "DV": "mg"}
    records = read_table(table, units=units, channels={2: "plasma"}, compartments={1: "gut", 2: "plasma"}).records
    known, seen = (
        MichaelisMenten(),
        {"observation": States(["plasma"]), "noise": AdditiveProportional([0.5], [0.1], [0.1])},
    )
    model = HybridModel(
        known, SharedPopulation(known, values={"ka": 12.0, "Vmax": 500.0, "Km": 4.0, "V": 50.0}), **seen
    )
    cohort = Cohort.of(records, model)
    found, rate = certify_known(Bundle.of(model, cohort, personalise(model, cohort)), 14.0, seconds=6.0)
    assert isinstance(found, Refusal)
    assert "that they stay there is not" in found.message, found.message
    assert isinstance(rate, RegionalRate)
    plasma = rate.region["upper"][1]
    assert 0.95 * 500.0 * 200.0 / (200.0 + plasma) ** 2 <= rate.rate <= 500.0 * 200.0 / (200.0 + plasma) ** 2


@pytest.mark.slow
def test_a_fit_at_the_shell(table: Path) -> None:
    small = ["--members", "2", "--folds", "2", "--hidden", "0", "--steps", "5"]
    done = run("fit", table, "--backbone", PLACE, *GIVEN, *small, "--out", table.parent / "out")
    assert done.exit_code in (0, 1), done.output
    assert isinstance(load(table.parent / "out" / "model.twin").certificate, Certificate)
    page = (table.parent / "out" / "report.html").read_text()
    assert "from 0 mg on" in page


def test_a_rate_while_inside_is_asked_written_and_checked_at_the_shell(bundle: Path, tmp_path: Path) -> None:
    path, small, large, open_ = (tmp_path / name for name in ("m.twin", "small.json", "large.json", "open.json"))
    path.write_bytes(bundle.read_bytes())
    small.write_text('{"lower": [0, 0], "upper": [100, 100]}')
    large.write_text('{"lower": [0, 0], "upper": [300, 300]}')
    open_.write_text('{"lower": [0, 0], "upper": [null, null]}')
    before = path.read_bytes()
    found = run("certify", path, "--region", large, "--while-inside")
    assert found.exit_code == 0, found.output
    assert "for as long as" in found.stdout
    assert "stay in the stated region, which is not proved" in " ".join(found.stdout.split())
    assert path.read_bytes() == before  # nothing is written that was not asked
    rates = []
    for file in (large, small, large, open_):
        told = run("certify", path, "--region", file, "--while-inside", "--write", "--json")
        assert told.exit_code == 0, told.output
        values = json.loads(told.stdout)
        assert (values["certified"], values["proved"], values["kind"]) == (False, True, "rate on a region")
        rates.append(values["rate"])
    assert rates[1] > rates[0] > rates[3] > 0.0  # the slope falls with the amount
    claims = load(path).claims
    assert [type(c) for c in claims] == [RegionalRate] * 3  # one for each box
    checked = run("check", path)
    assert checked.exit_code == 1, checked.output  # proved, each of them, and none is a certificate
    assert checked.output.count("rate on a region: proved: ") == 3
    # each is held beside its people: the small box has nobody after the first dose but the one with 100 mg
    assert checked.output.count("it says nothing of 3 of 4 people from the start on") == 1
    assert "person 1: starts, with the dose that is given then, at 150 mg gut and 0 mg plasma" in checked.output
    values = json.loads(run("check", path, "--json").stdout)
    assert (values["proved"], values["certified"], values["covered"]) == (True, False, False)
    assert sorted(len(one["outside"]) for one in values["claims"]) == [0, 0, 3]
    # beside a certificate that covers everyone they take nothing away; beside a refusal they add nothing
    assert run("certify", path, "--write").exit_code == 0
    assert run("check", path).exit_code == 0
    refusal = Refusal(reason="not proved", message="Nothing was found.")
    alone = run("check", save(replace(load(path), claims=(refusal, *claims[:1])), tmp_path / "refused.twin"))
    assert alone.exit_code == 1
    assert "the bundle holds a refusal, not a certificate: Nothing was found." in alone.stdout
    # one that cannot be had is a refusal, and changes nothing
    before = path.read_bytes()
    refused = run("certify", path, "--region", large, "--while-inside", "--rate", "9", "--write")
    assert refused.exit_code == 1, refused.output
    assert "The bundle is left as it is." in refused.stdout
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (None, "--while-inside asks about a box, and none is named"),
        ('{"kind": "ellipsoid", "centre": [0, 0], "radius": 3}', "is an ellipsoid, and --while-inside asks about a box"),
        ('{"lower": [0, 0], "upper": [9, 9], "inputs": {"lower": [], "upper": [], "doses": [[1, 0]], "gap": 2}}', "states doses"),
        ('{"lower": [0], "upper": [9]}', "states"),
        ('{"lower": [0, 0]}', "cannot be used as a region"),
    ],
)
def test_a_rate_while_inside_of_no_box_is_one_sentence(region: str | None, words: str, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(region or "")
    done = run("certify", bundle, "--while-inside", *(["--region", tmp_path / "r.json"] if region else []))
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
