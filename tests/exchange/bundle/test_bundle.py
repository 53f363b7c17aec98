"""The bundle: what is loaded is what was saved, and nothing else is ever loaded."""

import copy
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.corruptions.content import rehashed
from exchange import BUILTIN, Bundle, Person, describe, load, rebuild, save
from homeostat.bundles.checked import examine_bundle
from hybrid import OBSERVATIONS, Concentration, Dose, HybridModel, Log, Mesh, Offset, Schedule, Signal, States
from learned import (
    MLP,
    NOISES,
    PROCESS_NOISES,
    RESIDUALS,
    AdditiveProportional,
    Combined1,
    Constant,
    ContractingMLP,
    Correlated,
    DiagonalDiffusion,
    Ensemble,
    NeuralNoise,
    SumOfResiduals,
)
from physics import (
    BACKBONES,
    POPULATIONS,
    Administered,
    CategoryOf,
    ExponentialOf,
    LinearBackbone,
    LinearOf,
    LogitNormal,
    LogNormal,
    LogNormalPopulation,
    MixedPopulation,
    Normal,
    OneCompartmentOral,
    Parameter,
    PowerOf,
    Shared,
    SharedPopulation,
    VanCauter,
    VanCauterPopulation,
)
from physics.arguments import InputError
from stability import (
    Certificate,
    Refusal,
    certify,
)
from training import Personal

TIMES = np.linspace(0.0, 12.0, 7).tolist()
# populations of mechanisms, whose bundles tests/hybrid/test_mechanisms.py and tests/homeostat/test_any_mechanism.py save
OF_MECHANISMS = {"MarshPopulation", "SchniderPopulation"}
FAMILIES = (BACKBONES, POPULATIONS, RESIDUALS, OBSERVATIONS, NOISES, PROCESS_NOISES)
ROOT = Path(__file__).parents[3]


def oral(residual: bool = True) -> HybridModel:
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.6, 0.2, 0.2], {"V": {"WT": (70.0, 1.0)}}),
        MLP(2, hidden=(4,), separable=True, state_scale=300.0, rate_scale=0.1) if residual else None,
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )


def linear() -> HybridModel:
    """Every option that the oral model leaves alone: inputs, covariates, latents, relu, two layers, an offset."""
    residual = MLP(
        2,
        inputs=2,
        covariates=3,
        hidden=(5, 3),
        activation="relu",
        vanishes_at_origin=False,
        sees_inputs=[1],
        acts_on=[0],
        state_scale=[0.3, 7.0],
        input_scale=[2.0, 0.1],
        rate_scale=0.02,
    )
    return HybridModel(
        LinearBackbone([[-0.5, 0.1], [0.2, -0.9]], [[1.0, 0.0], [0.0, 0.3]], states=("gut", "b"), time_unit="min"),
        SharedPopulation(),
        residual,
        observation=States([1, 0], ["second", "first"], ["1", "1"]),
        noise=AdditiveProportional([0.5, 0.1], [0.1, 0.2], [0.02, 0.001]),
        latents=2,
        covariates={"WT": (70.0, 20.0)},
    )


def van_cauter() -> HybridModel:
    return HybridModel(
        VanCauter(),
        VanCauterPopulation(),
        MLP(2, inputs=2, hidden=(3,), sees_states=False, activation="sigmoid", rate_scale=0.01),
        observation=States([0], ["c_peptide"], ["nmol/L"]),
        noise=AdditiveProportional([0.05], [0.05], [0.01]),
    )


def contracting() -> HybridModel:
    """A residual with a linear term, made for several backbones."""
    A = [[-0.5, 0.1], [0.2, -0.9]]
    residual = ContractingMLP(
        2, inputs=1, hidden=(4, 3), vertices=[A, [[-0.7, 0.1], [0.3, -0.9]]], rate=0.1, learn_metric=True, state_scale=[0.3, 7.0]
    )
    return HybridModel(
        LinearBackbone(A, [[1.0], [0.3]], states=("gut", "b")),
        SharedPopulation(),
        residual,
        observation=States([1, 0], ["second", "first"], ["1", "1"]),
        noise=AdditiveProportional([0.5, 0.1], [0.1, 0.2], [0.02, 0.001]),
    )


def neural() -> HybridModel:
    """Noise as a network of everything that it can see."""
    model = linear()
    scales = {"channel_scale": [1.0, 3.0], "state_scale": 2.0, "input_scale": [1.0, 0.3]}
    noise = NeuralNoise([0.5, 0.1], [0.02, 0.001], 2, 2, (3, 2), **scales)
    parts = {"observation": model.observation, "latents": 2, "covariates": model.covariates}
    return HybridModel(model.backbone, model.population, model.residual, noise=noise, **parts)


def constant() -> HybridModel:
    model = oral()
    return HybridModel(
        model.backbone, model.population, model.residual, observation=model.observation, noise=Constant([0.4], [0.02])
    )


def added() -> HybridModel:
    """Noise whose standard deviations add."""
    model = oral()
    noise = Combined1([0.4], [0.1], [0.02])
    return HybridModel(model.backbone, model.population, model.residual, observation=model.observation, noise=noise)


def correlated() -> HybridModel:
    """Two channels whose errors go together."""
    model, within = linear(), NeuralNoise([0.5, 0.1], [0.02, 0.001], 2, 2, (3,), channel_scale=[1.0, 3.0])
    parts = {"observation": model.observation, "latents": 2, "covariates": model.covariates}
    noise = Correlated(within, [[1.0, -0.4], [-0.4, 1.0]])
    return HybridModel(model.backbone, model.population, model.residual, noise=noise, **parts)


def logarithms() -> HybridModel:
    """Errors that are log-normal."""
    model = oral()
    seen, noise = Log(Concentration("plasma", "V"), 1e-3), Constant([0.2], [0.01])
    return HybridModel(model.backbone, model.population, model.residual, observation=seen, noise=noise)


def driven() -> HybridModel:
    """Process noise, with both of its parts and a state that is not driven."""
    model, process = linear(), DiagonalDiffusion([0.3, 0.0], [0.1, 0.2])
    parts = {"observation": model.observation, "latents": 2, "covariates": model.covariates}
    return HybridModel(model.backbone, model.population, model.residual, noise=model.noise, process=process, **parts)


def mixed() -> HybridModel:
    """Parameters that are shared, fixed, logit-normal and correlated, and covariates of every kind."""
    model, backbone = oral(residual=False), OneCompartmentOral(parameters="clearance")
    population = MixedPopulation(
        backbone,
        {"ka": Shared(), "CL": LogNormal(0.2), "V": LogitNormal(0.5)},
        correlated=[("CL", "V")],
        omega={("CL", "V"): 0.03},
        covariates={
            "CL": [
                PowerOf("WT", 70.0, 0.75, learn=True),
                ExponentialOf("age", 40.0, -0.01),
                CategoryOf("type2", {0: 0.0, 1: -0.2}, learn=True),
            ],
            "ka": [LinearOf("age", 40.0, 0.004)],
        },
    )
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=model.noise)


def beside() -> HybridModel:
    """An offset that is everyone's own, of which the backbone knows, and one that is a number."""
    model = oral()
    own = Parameter("E0", "mg/L", 0.05, -3.0, 6.0)
    backbone = Administered(OneCompartmentOral(), observed=(own,))
    laws = {"ka": LogNormal(0.6), "ke": LogNormal(0.2), "V": LogNormal(0.2), "E0": Normal(0.02)}
    return HybridModel(
        backbone,
        MixedPopulation(backbone, laws, covariates={"V": [PowerOf("WT", 70.0, 1.0)]}),
        model.residual,
        observation=Offset(Offset(Concentration("plasma", "V"), "E0"), 0.01),
        noise=model.noise,
    )


def administered() -> HybridModel:
    """A lag, a fraction and a first amount as θ, and nothing at the start elsewhere."""
    model = oral(residual=False)
    lag, first = Parameter("Tlag", "h", 0.4, 0.01, 3.0), Parameter("A0", "mg", 3.0, 0.1, 30.0)
    backbone = Administered(
        OneCompartmentOral(),
        lag={"gut": lag},
        fraction={"gut": Parameter("F", "1", 0.7, 0.1, 1.2)},
        initial={"plasma": first},
        start="empty",
    )
    population = LogNormalPopulation(backbone.physical, [0.6, 0.2, 0.2, 0.3, None, 0.1])
    return HybridModel(backbone, population, observation=model.observation, noise=model.noise)


def summed() -> HybridModel:
    """A sum of residuals, each of which sees and acts on something else; two see θ."""
    residual = SumOfResiduals(
        [
            MLP(hidden=(4, 3), sees_states=("gut",), acts_on=("plasma",), sees_theta=("V", "ka"), state_scale=300.0),
            MLP(hidden=(2, 3), sees_states=[1], acts_on=("gut",), sees_theta=("ke",), state_scale={"gut": 3.0, "plasma": 9.0}),
        ]
    )
    model = oral(residual=False)
    parts = {"observation": model.observation, "noise": model.noise, "covariates": {"WT": (70.0, 20.0)}, "latents": 1}
    return HybridModel(model.backbone, model.population, residual, **parts)


def people_for(model: HybridModel) -> tuple[Person, ...]:
    """Two people with doses, an infusion and input signals, wherever the model has them."""
    names, channels = model.backbone.inputs, len(model.observation.channels)
    inputs = {
        name: Signal((0.0, 1.5 + k, 7.0), (0.3, 0.9, 0.1 * k), "held" if k else "linear")
        for k, name in enumerate(names)
    }
    doses = (
        (Dose("gut", 0.25, 100.0 / 3.0), Dose("gut", 3.0, 50.0, duration=1.7)) if "gut" in model.backbone.states else ()
    )
    return tuple(
        Person(
            name,
            Schedule(doses=doses, inputs=inputs),
            {"WT": 61.3 + k, "age": 40.0 + k, "type2": float(k)},
            tuple(0.1 * (k + j + 1) for j in range(channels)),
        )
        for k, name in enumerate(("Ada", "№ 2"))
    )


def bundle_for(model: HybridModel, certificate: Certificate | Refusal | None = None) -> Bundle:
    g = torch.Generator().manual_seed(11)
    stack = Ensemble(2).stack(model, g)
    with torch.no_grad():  # nothing keeps the value that a new model would start with
        for p in stack.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g, dtype=torch.float64))
    d = stack.personal
    half = torch.randn(2, 2, d, d, generator=g, dtype=torch.float64) / 3.0
    personal = Personal(
        0.2 * torch.randn(2, 2, d, generator=g, dtype=torch.float64),
        half @ half.mT + 0.1 * torch.eye(d, dtype=torch.float64),
        torch.randn(2, 2, generator=g, dtype=torch.float64),
        torch.tensor([[True, False], [True, True]]),
    )
    claims = () if certificate is None else (certificate,)
    about = {"calibration": {"scores": {}}, "provenance": {"seed": 1 / 3}}
    return Bundle(stack, people_for(model), personal, Mesh(0.5, 0.1), claims, **about)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    plain = bundle_for(oral())
    certificate = certify(plain.system())
    assert isinstance(certificate, Certificate)
    return replace(plain, claims=(certificate,))


@pytest.fixture(scope="module")
def content(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    return entries(save(bundle, tmp_path_factory.mktemp("content") / "a.twin"))


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def write(path: Path, content: Mapping[str, bytes], *, rehash: bool = True) -> Path:
    """The archive with these entries, its manifest made right again unless told not to."""
    content = rehashed(content) if rehash else content
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def refused(path: Path, words: str = ".") -> str:
    """The bundle is refused by a `ValueError` that names the file in one line."""
    with pytest.raises(ValueError, match=words) as caught:
        load(path)
    sentence = str(caught.value)
    assert type(caught.value) in (ValueError, InputError)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def predictions(bundle: Bundle) -> list[tuple[torch.Tensor, torch.Tensor]]:
    found = []
    for person in bundle.people:
        schedules = [person.schedule]
        if person.schedule.doses:
            schedules.append(person.schedule.scaled("gut", 2.0))
        found += [(p.mean, p.variance) for p in (bundle.forecast(person.id, one, TIMES) for one in schedules)]
    return found


MODELS: dict[str, Callable[[], HybridModel]] = {
    "oral": oral,
    "oral, no residual": lambda: oral(residual=False),
    "linear": linear,
    "VanCauter": van_cauter,
    "contracting": contracting,
    "neural noise": neural,
    "constant noise": constant,
    "noise that adds": added,
    "process noise": driven,
    "log-normal noise": logarithms,
    "correlated noise": correlated,
    "mixed": mixed,
    "offset": beside,
    "administered": administered,
    "sum of residuals": summed,
}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("time", lambda units: {**units, "time": "min"}),
        ("time", lambda units: {**units, "time": None}),
        ("states", lambda units: {**units, "states": {**units["states"], "gut": "g"}}),
        ("states", lambda units: {**units, "states": {}}),
        ("channels", lambda units: {**units, "channels": {"concentration": "ng/mL"}}),
        ("channels", lambda units: {**units, "channels": {"another": "mg/L"}}),
        ("parameters", lambda units: {**units, "parameters": {**units["parameters"], "V": "mL"}}),
        ("covariates", lambda units: {**units, "covariates": {"WT": "g"}}),
        ("weather", lambda units: {**units, "weather": {"rain": "mm"}}),
        *((name, lambda units, name=name: {k: v for k, v in units.items() if k != name}) for name in ("time", "channels")),
        ("time, states, inputs, channels", lambda _: {}),
    ],
)
def test_units_that_are_not_the_models_are_refused(
    content: Mapping[str, bytes], tmp_path: Path, kind: str, change: Callable[[Any], Any]
) -> None:
    about = json.loads(content["model.json"])
    about["units"] = change(about["units"])
    said = refused(write(tmp_path / "a.twin", {**content, "model.json": json.dumps(about).encode()}), kind)
    assert "unit" in said


def test_a_bundle_of_before_says_fewer_units_and_loads(content: Mapping[str, bytes], tmp_path: Path) -> None:
    about = json.loads(content["model.json"])
    about["units"] = {k: about["units"][k] for k in ("time", "states", "inputs", "channels")}
    load(write(tmp_path / "a.twin", {**content, "model.json": json.dumps(about).encode()}))


@pytest.mark.parametrize("value", ["concentration", ["glucose"], [1], {"concentration": 1}, [["concentration"]], None])
def test_nonnegative_names_channels(content: Mapping[str, bytes], tmp_path: Path, value: object) -> None:
    about = json.loads(content["model.json"]) | {"nonnegative": value}
    refused(write(tmp_path / "a.twin", {**content, "model.json": json.dumps(about).encode()}), "nonnegative")


@pytest.mark.parametrize("until", ["24", [24], True, 1e999])
def test_a_time_of_the_last_measurement_is_a_number(content: Mapping[str, bytes], tmp_path: Path, until: object) -> None:
    about = json.loads(content["model.json"])
    about["people"][0]["until"] = until
    refused(write(tmp_path / "a.twin", {**content, "model.json": json.dumps(about).encode()}))


def test_an_id_is_no_page(content: Mapping[str, bytes], tmp_path: Path) -> None:
    about = json.loads(content["model.json"])
    about["people"][0]["id"] = "n " * 600
    said = refused(write(tmp_path / "a.twin", {**content, "model.json": json.dumps(about).encode()}), "at most 100 characters")
    assert said.count("n n") < 100


@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_the_same_to_the_last_bit(name: str, tmp_path: Path) -> None:
    before = bundle_for(MODELS[name]())
    after = load(save(before, tmp_path / "a.twin"))
    for (a, v), (b, w) in zip(predictions(before), predictions(after), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(v, w)
        assert torch.isfinite(a).all()
    assert describe(after.model) == describe(before.model)
    assert after.people == before.people
    assert after.mesh == before.mesh
    assert after.certificate is None
    assert (after.calibration, after.provenance) == (before.calibration, before.provenance)
    for tensor in ("mode", "covariance", "objective", "converged"):
        assert torch.equal(getattr(after.personal, tensor), getattr(before.personal, tensor))
    assert after.personal.failed == before.personal.failed == {}
    assert after.system().digest() == before.system().digest()


def test_a_learned_spread_and_a_failed_person_travel(tmp_path: Path) -> None:
    model = oral()
    model.population = LogNormalPopulation(model.backbone.physical, [0.6, 0.2, 0.2], learn_spread=True)
    before = bundle_for(model)
    before = replace(before, personal=replace(before.personal, failed={1: "person № 2: the state is not finite"}))
    assert before.model.population.log_spread.shape == (2, 3)
    after = load(save(before, tmp_path / "a.twin"))
    assert torch.equal(after.model.population.omega, before.model.population.omega)
    assert not after.model.population.log_spread.requires_grad
    assert after.personal.failed == before.personal.failed
    for (a, v), (b, w) in zip(predictions(before), predictions(after), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(v, w)
    content = entries(save(before, tmp_path / "b.twin"))
    for wrong in ({"2": "nobody"}, {"-1": "nobody"}, {"x": "nobody"}, {"0": 1}, ["0"], "no"):
        about = json.loads(content["model.json"]) | {"failed": wrong}
        refused(write(tmp_path / "c.twin", {**content, "model.json": json.dumps(about).encode()}))
    # whoever lacks the word was written before there was one
    about = json.loads(content["model.json"])
    del about["failed"], about["structure"]["population"]["config"]["learn_spread"]
    with pytest.raises(ValueError, match="differ"):  # and a trained tensor without the structure that it belongs to
        load(write(tmp_path / "d.twin", {**content, "model.json": json.dumps(about).encode()}))


def test_the_models_above_are_every_family_member() -> None:
    members = {c.__name__ for family in FAMILIES for c in family}
    used = {
        part["class"]
        for make in MODELS.values()
        for part in describe(make()).values()
        if isinstance(part, dict) and "class" in part
    }
    assert used == members - OF_MECHANISMS | {"Administered"}
    assert set(BUILTIN) == members | {"LinearisedBackbone", "Administered"}  # tests/homeostat/test_any_mechanism.py


@pytest.mark.parametrize("name", MODELS)
def test_the_same_bundle_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    first = save(bundle_for(MODELS[name]()), tmp_path / "a.twin").read_bytes()
    assert first == save(bundle_for(MODELS[name]()), tmp_path / "b.twin").read_bytes()
    assert first == save(load(tmp_path / "a.twin"), tmp_path / "deep" / "c.twin").read_bytes()
    assert not list(tmp_path.rglob("*.partial"))


def test_certificates_and_refusals_travel(bundle: Bundle, tmp_path: Path) -> None:
    again = load(save(bundle, tmp_path / "a.twin")).certificate
    assert isinstance(again, Certificate)
    assert again.to_dict() == bundle.certificate.to_dict()
    refusal = certify(bundle.system(), rate=5.0, seconds=5.0)
    assert isinstance(refusal, Refusal)
    other = load(save(replace(bundle, claims=(refusal,)), tmp_path / "b.twin"))
    assert isinstance(other.certificate, Refusal)
    assert other.certificate.to_dict() == refusal.to_dict()
    found = examine_bundle(tmp_path / "b.twin")
    assert not found.good
    assert "refusal" in found.text


def test_what_a_bundle_shows_of_a_claim_has_its_unit_of_time(bundle: Bundle) -> None:
    shown = repr(bundle)
    assert "unit of time" not in shown
    assert " per h or more" in " ".join(shown.split())
    # in which the claim was made, whatever the model's is
    minutes = replace(bundle, made_in=((bundle.claims[0], {"time": "min"}),))
    assert " per min or more" in " ".join(repr(minutes).split())


def test_a_model_in_float32_is_not_written_as_what_nobody_can_read(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing was written: .* the model is torch\.float32"):
        save(replace(bundle, model=copy.deepcopy(bundle.model).to(torch.float32)), tmp_path / "x.twin")
    assert not list(tmp_path.iterdir())


def test_what_json_cannot_hold_is_not_saved(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        save(replace(bundle, provenance={"score": float("nan")}), tmp_path / "a.twin")
    assert not list(tmp_path.iterdir())


# ---- damage ---------------------------------------------------------------------------------------------------------


def test_truncation_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    whole = save(bundle, tmp_path / "a.twin").read_bytes()
    broken = tmp_path / "broken.twin"
    for length in sorted({*range(0, len(whole), max(1, len(whole) // 50)), *range(len(whole) - 30, len(whole))}):
        broken.write_bytes(whole[:length])
        refused(broken)


def test_a_flipped_bit_is_refused_or_read_by_nobody(bundle: Bundle, tmp_path: Path) -> None:
    whole = save(bundle, tmp_path / "a.twin").read_bytes()
    reference = entries(tmp_path / "a.twin")
    broken = tmp_path / "broken.twin"
    read = 0
    for k, at in enumerate(range(0, len(whole), max(1, len(whole) // 400))):
        broken.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << k % 8)]) + whole[at + 1 :])
        # a flip in a field of the zip that nobody reads (a date, an attribute) changes nothing; any other is refused
        try:
            load(broken)
        except ValueError:
            continue
        assert entries(broken) == reference
        read += 1
    assert read < 100  # of some 400 flips


def test_a_name_that_is_no_text_is_refused_in_our_words(bundle: Bundle, tmp_path: Path) -> None:
    data = bytearray(save(bundle, tmp_path / "a.twin").read_bytes())
    entry = data.rfind(b"PK\x01\x02")  # an entry of the directory: flags at 8, the name at 46
    data[entry + 9] |= 0x08  # says that the name is UTF-8
    data[entry + 46] |= 0x80  # which it then is not
    (tmp_path / "a.twin").write_bytes(data)
    assert "not a whole bundle" in refused(tmp_path / "a.twin")


@pytest.mark.parametrize("where", ["prefix", "suffix"])
def test_rubbish_around_the_archive_changes_nothing_or_is_refused(bundle: Bundle, tmp_path: Path, where: str) -> None:
    whole = save(bundle, tmp_path / "a.twin").read_bytes()
    around = tmp_path / "b.twin"
    around.write_bytes(b"MZ" * 50 + whole if where == "prefix" else whole + b"\0" * 70000)
    try:
        found = load(around)
    except ValueError:
        return
    assert torch.equal(found.personal.mode, bundle.personal.mode)


def test_what_is_no_bundle_at_all(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "nowhere.twin")
    (tmp_path / "text.twin").write_text("ID,TIME\n1,0\n")
    assert "not a whole bundle" in refused(tmp_path / "text.twin")
    assert "not a whole bundle" in refused(tmp_path)
    with zipfile.ZipFile(tmp_path / "empty.twin", "w"):
        pass
    assert "manifest" in refused(tmp_path / "empty.twin")


SPRUNG: list[str] = []


def spring(word: str) -> str:
    SPRUNG.append(word)
    return word


class Trap:
    """Unpickled, it leaves a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return spring, ("sprung",)


def test_pickles_are_never_read(bundle: Bundle, content: Mapping[str, bytes], tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap()))
    assert SPRUNG == ["sprung"]  # the trap works
    torch.save({"weights": Trap()}, tmp_path / "torch.twin")
    (tmp_path / "pickle.twin").write_bytes(pickle.dumps(Trap()))
    for name in ("weights.safetensors", "model.json", "calibration.json", "proof.json", "manifest.json"):
        write(tmp_path / f"{name}.twin", {**content, name: pickle.dumps(Trap())}, rehash=name != "manifest.json")
    for path in tmp_path.glob("*.twin"):
        refused(path)
    assert SPRUNG == ["sprung"]


# ---- malice and other versions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "evil.pkl", "model.json/", "Model.json", "weights.safetensors\0x"]
)
def test_stray_entries_are_refused(content: Mapping[str, bytes], tmp_path: Path, name: str) -> None:
    folder = tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "b.twin", "w") as archive:
        for known, data in {**content, name: b"x"}.items():
            info = zipfile.ZipInfo("x")
            info.filename = known  # as a hostile writer would, past the module's own clean-up
            archive.writestr(info, data)
    refused(folder / "b.twin")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["b.twin"]  # nothing was written to disk


@pytest.mark.parametrize("name", ["model.json", "manifest.json", "weights.safetensors"])
def test_repeated_entries_are_refused(content: Mapping[str, bytes], tmp_path: Path, name: str) -> None:
    write(tmp_path / "b.twin", content)
    with zipfile.ZipFile(tmp_path / "b.twin", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name, content[name])
    refused(tmp_path / "b.twin", "repeated")


@pytest.mark.parametrize("name", ["manifest.json", "model.json", "weights.safetensors", "calibration.json"])
@pytest.mark.parametrize("rehash", [True, False])
def test_missing_entries_are_refused(content: Mapping[str, bytes], tmp_path: Path, name: str, rehash: bool) -> None:
    rest = {n: d for n, d in content.items() if n != name}
    refused(write(tmp_path / "b.twin", rest, rehash=rehash and "manifest.json" in rest))


def test_a_missing_certificate_is_no_certificate(content: Mapping[str, bytes], tmp_path: Path) -> None:
    rest = {n: d for n, d in content.items() if n != "proof.json"}
    refused(write(tmp_path / "a.twin", rest, rehash=False), "hash of proof.json")
    assert load(write(tmp_path / "b.twin", rest)).certificate is None
    with pytest.raises(ValueError, match="no certificate inside"):
        examine_bundle(tmp_path / "b.twin")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", "proof.json", "calibration.json"])
def test_wrong_hashes_are_refused(content: Mapping[str, bytes], tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "b.twin", {**content, name: content[name] + b" "}, rehash=False)
    refused(path, f"hash of {name}")


@pytest.mark.parametrize(
    "manifest",
    [
        {"version": 99},
        {"version": 0},
        {"version": "1"},
        {"version": 4},
        {"version": 3.0},
        {"content": "0" * 64},
        {"content": 5},
        {"optional": "card.md"},
        {"optional": ["x.json"]},
        {"surprise": 1},
        {"version": True},
        {"version": 1.0},
        {"version": None},
        {"format": "other.twin"},
        {"format": None},
        {"sha256": {}},
        {"sha256": 5},
        {"sha256": ["ab"]},
    ],
)
def test_other_formats_and_versions_are_refused(
    content: Mapping[str, bytes], tmp_path: Path, manifest: dict[str, Any]
) -> None:
    changed = {**json.loads(content["manifest.json"]), **manifest}
    path = write(tmp_path / "b.twin", {**content, "manifest.json": json.dumps(changed).encode()}, rehash=False)
    sentence = refused(path)
    if "version" in manifest:
        assert repr(manifest["version"]) in sentence
        assert "versions 1, 2 and 3" in sentence


@pytest.mark.parametrize("name", ["manifest.json", "model.json", "proof.json", "calibration.json"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"5",
        b"null",
        b'"text"',
        b"{",
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b"{}",
    ],
    ids=lambda d: repr(d[:8]),
)
def test_json_that_is_not_what_was_written(
    content: Mapping[str, bytes], tmp_path: Path, name: str, data: bytes
) -> None:
    path = write(tmp_path / "b.twin", {**content, name: data}, rehash=name != "manifest.json")
    if name == "calibration.json" and data == b"{}":
        load(path)  # an empty calibration is one
    else:
        refused(path)


def mutated(content: Mapping[str, bytes], path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    about = json.loads(content["model.json"])
    change(about)
    return write(path, {**content, "model.json": json.dumps(about).encode()})


PARTS: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("unknown structure 'Mine'", lambda m: m["structure"]["residual"].update({"class": "Mine"})),
    ("unknown structure 'os.system'", lambda m: m["structure"]["noise"].update({"class": "os.system"})),
    (".", lambda m: m["structure"]["residual"].update({"class": ["MLP"]})),
    (".", lambda m: m["structure"]["residual"].update({"class": "OneCompartmentOral", "config": {}})),
    (".", lambda m: m["structure"]["residual"]["config"].update({"generator": 5})),
    ("1000000000, and no weight", lambda m: m["structure"]["residual"]["config"].update({"hidden": [10**9, 10**9]})),
    ("31 digits", lambda m: m["structure"]["residual"]["config"].update({"hidden": [10**30]})),
    (".", lambda m: m["structure"]["residual"]["config"].update({"hidden": [1e300]})),
    (".", lambda m: m["structure"]["residual"]["config"].update({"hidden": [5]})),
    (".", lambda m: m["structure"]["residual"]["config"].update({"states": 2.5})),
    (".", lambda m: m["structure"]["residual"]["config"].update({"state_scale": ["a", 1.0]})),
    (".", lambda m: m["structure"]["population"]["config"].update({"spread": [1.0, [2.0], 3.0]})),
    (".", lambda m: m["structure"]["noise"]["config"].update({"floor": []})),
    (".", lambda m: m["structure"].update({"latents": 1})),
    (".", lambda m: m["structure"].update({"covariates": {"WT": [1.0]}})),
    (".", lambda m: m["structure"].pop("backbone")),
    (".", lambda m: m["structure"]["observation"]["config"].update({"state": 7})),
    (".", lambda m: m["structure"]["observation"]["config"].update({"volume": -9})),
    (".", lambda m: m.update({"structure": []})),
    (".", lambda m: m.pop("people")),
    ("people", lambda m: m.update({"people": []})),
    (".", lambda m: m.update({"people": [1, 2]})),
    ("ids must differ", lambda m: m["people"][1].update({"id": m["people"][0]["id"]})),
    ("id is one line", lambda m: m["people"][0].update({"id": 5})),
    (".", lambda m: m["people"][0].update({"covariates": [1]})),
    ("finite number", lambda m: m["people"][0].update({"covariates": {"WT": "heavy", "age": 1.0, "type2": 0.0}})),
    ("same covariates", lambda m: m["people"][0].update({"covariates": {}})),
    ("baseline", lambda m: m["people"][0].update({"baseline": []})),
    ("finite number", lambda m: m["people"][0].update({"baseline": ["x"]})),
    (".", lambda m: m["people"][0]["schedule"].update({"start": None})),
    ("stomach", lambda m: m["people"][0]["schedule"]["doses"][0].update({"state": "stomach"})),
    (".", lambda m: m["people"][0]["schedule"]["doses"][0].update({"amount": -1.0})),
    (".", lambda m: m["people"][0]["schedule"]["doses"][0].update({"surprise": 1.0})),
    (
        ".",
        lambda m: m["people"][0]["schedule"].update({"inputs": {"u": {"times": [0], "values": [1], "kind": "held"}}}),
    ),
    (".", lambda m: m["mesh"].update({"step": "x"})),
    (".", lambda m: m["mesh"].update({"step": -1.0})),
    (".", lambda m: m.update({"mesh": None})),
    (".", lambda m: m.update({"provenance": 5})),
]


@pytest.mark.parametrize(("words", "change"), PARTS, ids=[str(k) for k in range(len(PARTS))])
def test_parts_that_do_not_fit_are_refused(
    content: Mapping[str, bytes], tmp_path: Path, words: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    refused(mutated(content, tmp_path / "b.twin", change), words)


@settings(deadline=None, max_examples=120, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    value=st.sampled_from([None, True, -1, 0, 3, 2.5, 1e308, -1e-300, "x", "", [], {}, [0.5], {"a": 1}, 10**40]),
)
def test_any_other_value_is_a_value_error_or_harmless(
    content: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory, seed: int, value: object
) -> None:
    # one value anywhere in the description becomes another one: whatever is raised is a ValueError, and what loads predicts
    about = json.loads(content["model.json"])
    rng = np.random.default_rng(seed)
    at: Any = about
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = keys[rng.integers(len(keys))]
        if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.1:
            break
        at = at[key]
    at[key] = value
    path = tmp_path_factory.getbasetemp() / "any.twin"
    try:
        found = load(write(path, {**content, "model.json": json.dumps(about).encode()}))
    except ValueError:
        return
    assert found.model.members == 2
    assert found.conditions().size == 2


def retensored(content: Mapping[str, bytes], path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    tensors = safetensors.torch.load(content["weights.safetensors"])
    change(tensors)
    return write(path, {**content, "weights.safetensors": safetensors.torch.save(tensors)})


def first_member_of_all(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[name] = tensors[name][:0].clone()


WEIGHT = "model.residual.weights.0"
TENSORS: list[tuple[str, Callable[[dict[str, torch.Tensor]], Any]]] = [
    ("finite", lambda t: t[WEIGHT].view(-1)[3:4].fill_(torch.nan)),
    ("finite", lambda t: t["model.noise.log_additive"].fill_(torch.inf)),
    ("float64", lambda t: t.update({WEIGHT: t[WEIGHT].float()})),
    ("shape", lambda t: t.update({WEIGHT: t[WEIGHT].mT.contiguous()})),
    ("members", lambda t: t.update({WEIGHT: t[WEIGHT][:1].clone()})),
    ("members", first_member_of_all),
    ("differ", lambda t: t.pop(WEIGHT)),
    ("differ", lambda t: t.update({"model.extra": torch.zeros(2, 1, dtype=torch.float64)})),
    ("unexpected", lambda t: t.update({"extra": torch.zeros(2, 1, dtype=torch.float64)})),
    ("missing", lambda t: t.pop("personal.mode")),
    ("finite", lambda t: t["personal.mode"].view(-1)[0:1].fill_(torch.nan)),
    ("finite", lambda t: t["personal.covariance"].view(-1)[0:1].fill_(torch.inf)),
    ("positive definite", lambda t: t["personal.covariance"].neg_()),
    ("shape", lambda t: t.update({"personal.mode": t["personal.mode"][:, :1].clone()})),
    ("shape", lambda t: t.update({"personal.covariance": t["personal.covariance"][:, :, :2].clone()})),
    ("shape", lambda t: t.update({"personal.objective": t["personal.objective"][:, :1].clone()})),
    ("bool", lambda t: t.update({"personal.converged": t["personal.converged"].double()})),
]


@pytest.mark.parametrize(("words", "change"), TENSORS, ids=[str(k) for k in range(len(TENSORS))])
def test_tensors_that_do_not_fit_are_refused(
    content: Mapping[str, bytes], tmp_path: Path, words: str, change: Callable[[dict[str, torch.Tensor]], Any]
) -> None:
    refused(retensored(content, tmp_path / "b.twin", change), words)


def test_a_bomb_is_refused_before_it_is_unpacked(content: Mapping[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "b.twin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    raw = path.read_bytes()
    # the central directory's uncompressed size of the second entry, as a claim of 3 GB
    at = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 4) + 24
    path.write_bytes(raw[:at] + (3 * 2**30).to_bytes(4, "little") + raw[at + 4 :])
    refused(path, "its entries claim 3,221,2")


class Mine(MLP):
    """A residual of the user's own."""


def test_a_class_of_the_users_own_is_passed_in(tmp_path: Path) -> None:
    model = oral()
    model.residual = Mine(**model.residual.config())
    before = bundle_for(model)
    path = save(before, tmp_path / "a.twin")
    assert "pass it: load(path, structures=" in refused(path, "unknown structure 'Mine'")
    after = load(path, structures={**BUILTIN, "Mine": Mine})
    assert type(after.model.residual) is Mine
    assert all(torch.equal(a[0], b[0]) for a, b in zip(predictions(before), predictions(after), strict=True))
    # and a smaller list is a smaller list
    with pytest.raises(ValueError, match="unknown structure"):
        load(path, structures={"Mine": Mine})


def test_rebuild_is_the_inverse_of_describe() -> None:
    for make in MODELS.values():
        model = make()
        weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        again = rebuild(json.loads(json.dumps(describe(model))), weights)
        assert describe(again) == describe(model)
        assert all(torch.equal(p, weights[name]) for name, p in again.named_parameters())


# ---- the proof inside ------------------------------------------------------------------------------------------------


def test_a_changed_weight_loses_the_certificate(bundle: Bundle, tmp_path: Path) -> None:
    found = examine_bundle(save(bundle, tmp_path / "a.twin"))
    assert found.good, found.text
    for name in ("weights", "theta"):
        changed = load(tmp_path / "a.twin")
        with torch.no_grad():
            if name == "weights":
                changed.model.residual.weights[0][0, 0, 0] += 1e-12
            else:
                changed.model.population.shift[1, 0] += 1e-12
        # the file is consistent, its certificate is about other numbers
        found = examine_bundle(save(changed, tmp_path / f"{name}.twin"))
        assert not found.good
        assert "digest" in found.text


def test_a_better_claim_than_was_proved_is_refused(
    bundle: Bundle, content: Mapping[str, bytes], tmp_path: Path
) -> None:
    proof = json.loads(content["proof.json"])
    proof["claims"][0]["claim"]["rate"] *= 1.5
    path = write(tmp_path / "b.twin", {**content, "proof.json": json.dumps(proof).encode()})
    assert not examine_bundle(path).good
    # the system that the file writes beside it is not what is believed: the bundle's own weights are
    proof = json.loads(content["proof.json"])
    proof["systems"][0]["weights"] = [(np.array(w) * 1e-6).tolist() for w in proof["systems"][0]["weights"]]
    path = write(tmp_path / "c.twin", {**content, "proof.json": json.dumps(proof).encode()})
    found = examine_bundle(path)
    assert found.proved
    # and who reads the file without us believes it: it is said, and is not good
    assert (found.strange, found.good) == (1, False)


@pytest.mark.parametrize("key", ["rate", "metric", "multipliers", "slope_range", "leading", "digest"])
@pytest.mark.parametrize("value", [None, "x", -1.0, [], [[1.0]], {}], ids=repr)
def test_a_certificate_of_rubbish_is_refused_or_not_proved(
    content: Mapping[str, bytes], tmp_path: Path, key: str, value: object
) -> None:
    proof = json.loads(content["proof.json"])
    proof["claims"][0]["claim"][key] = value
    path = write(tmp_path / "b.twin", {**content, "proof.json": json.dumps(proof).encode()})
    try:
        found = examine_bundle(path)
    except ValueError:
        return
    assert not found.good


def test_a_stranger_proves_the_entry_alone(content: Mapping[str, bytes], tmp_path: Path) -> None:
    # numpy and the standard library: torch and cvxpy are not there to be imported
    (tmp_path / "proof.json").write_bytes(content["proof.json"])
    code = (
        "import runpy, sys\n"
        "for name in ('torch', 'cvxpy', 'scipy'): sys.modules[name] = None\n"
        "sys.argv = ['proof', 'proof.json', '--json']\n"
        "runpy.run_module('stability.proof', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["proved"] is True
    proof = json.loads(content["proof.json"])
    proof["claims"][0]["claim"]["rate"] *= 2.0
    (tmp_path / "false.json").write_text(json.dumps(proof))
    module = [sys.executable, "-m", "stability.proof"]
    done = subprocess.run([*module, "false.json"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "refused" in done.stdout) == (1, True)
    (tmp_path / "none.json").write_text("{}")
    done = subprocess.run([*module, "none.json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_person_is_found_by_id(bundle: Bundle) -> None:
    assert bundle.person("№ 2") == 1
    with pytest.raises(ValueError, match="no person 'Eve' in this bundle; it has Ada, № 2"):
        bundle.person("Eve")
