"""Joints by name and unit: a part that could be taken for another one is refused, and one that is named finds its place."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from exchange import describe, rebuild
from hybrid import Concentration, Dose, HybridModel, Observation, Schedule, States, simulate
from learned import (
    MLP,
    AdditiveProportional,
    Constant,
    ContractingMLP,
    DiagonalDiffusion,
    Ensemble,
    NeuralNoise,
    NoiseHead,
)
from physics import (
    LinearBackbone,
    LogNormalPopulation,
    OneCompartmentOral,
    Parameter,
    Population,
    SharedPopulation,
    VanCauter,
    VanCauterPopulation,
)

F64 = torch.float64
ORAL = OneCompartmentOral()
SPREAD = {"ka": 0.6, "ke": 0.2, "V": 0.2}
NOISE = AdditiveProportional([0.5], [0.1], [0.03])


def oral(
    population: Population | None = None,
    residual: Any = None,
    observation: Observation | None = None,
    noise: NoiseHead = NOISE,
    **options: Any,
) -> HybridModel:
    return HybridModel(
        ORAL,
        population or LogNormalPopulation(ORAL, SPREAD),
        residual,
        observation=observation or Concentration("plasma", "V"),
        noise=noise,
        **options,
    )


def two_inputs(**options: Any) -> HybridModel:
    """VanCauter with what a test puts into it: two states, the inputs basal and glucose."""
    given: dict[str, Any] = {
        "observation": States(("plasma",), ["C-peptide"]),
        "noise": AdditiveProportional([0.05], [0.05], [0.01]),
        **options,
    }
    return HybridModel(VanCauter(), VanCauterPopulation(), **given)


def concentration(model: HybridModel, theta: list[float]) -> float:
    """What the model measures 2 h after 320 mg."""
    schedule = Schedule((Dose("gut", 0.0, 320.0),))
    person = torch.tensor(theta, dtype=F64)
    x = simulate(model, schedule, [2.0], person, torch.zeros(2, dtype=F64))
    return float(model.observation.mean(x[None, None], person[None, None]).detach())


# ---- populations -----------------------------------------------------------------------------------------------------


def test_a_spread_by_name_is_the_spread_in_order() -> None:
    named = LogNormalPopulation(ORAL, {"V": 0.3, "ka": 0.6, "ke": 0.2})
    listed = LogNormalPopulation(ORAL.physical, [0.6, 0.2, 0.3])
    assert named.config() == listed.config()
    assert LogNormalPopulation(ORAL.physical, {"V": 0.3, "ka": 0.6, "ke": 0.2}).config() == listed.config()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LogNormalPopulation(ORAL, [0.6, 0.2, 0.2]), r'write spread=\{"ka": …, "ke": …, "V": …\}'),
        (lambda: LogNormalPopulation(ORAL, {"ka": 0.6}), "lacks 'ke'"),
        (lambda: LogNormalPopulation(ORAL, {**SPREAD, "Q": 0.1}), "names 'Q'"),
        (lambda: LogNormalPopulation(ORAL, {**SPREAD, "ka": -0.1}), "positive spread"),
        (lambda: LogNormalPopulation(ORAL, SPREAD, {"V": {"WT": (70.0, 1.0, "kgs")}}), "write 'kg'"),
        (lambda: LogNormalPopulation(ORAL, SPREAD, {"V": {"WT": (70.0,)}}), "needs reference, exponent"),
        (lambda: LogNormalPopulation(ORAL, SPREAD, {"V": {"WT": ("kg", 70.0, 1.0)}}), "needs reference, exponent"),
        (lambda: LogNormalPopulation(ORAL, SPREAD, {"V": {"WT": (0.0, 1.0)}}), "give a positive one"),
        (
            lambda: LogNormalPopulation(ORAL, SPREAD, {"V": {"WT": (70.0, 1.0, "kg")}, "ke": {"WT": (7e4, 1.0, "g")}}),
            "stands in kg and in g",
        ),
        (lambda: SharedPopulation(ORAL, [1.5, 0.086, 31.5]), r'values=\{"ka": …, "ke": …, "V": …\}'),
        (lambda: SharedPopulation(ORAL, {"ka": 1.5}), "lacks 'ke'"),
        (lambda: SharedPopulation(values={"ka": 1.5}), r"SharedPopulation\(backbone, values="),
    ],
)
def test_populations_that_are_refused(make: Callable[[], Population], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_population_in_another_order_is_refused() -> None:
    ka, ke, V = ORAL.physical
    with pytest.raises(ValueError, match=r"gives \(V, ke, ka\), the backbone reads \(ka, ke, V\), in another order"):
        oral(LogNormalPopulation([V, ke, ka], [0.2, 0.2, 0.6]))
    with pytest.raises(ValueError, match="by other names"):
        oral(LogNormalPopulation([replace(ka, above=""), Parameter("k", "/h", 0.086, 0.02, 0.25), V], [0.6, 0.2, 0.2]))
    with pytest.raises(ValueError, match="by other names"):
        oral(LogNormalPopulation([ka, ke], [0.6, 0.2]))
    with pytest.raises(ValueError, match="gives V in mL and the backbone reads it in L"):
        oral(LogNormalPopulation([ka, ke, Parameter("V", "mL", 31500.0, 5000.0, 2e5)], [0.6, 0.2, 0.2]))
    with pytest.raises(ValueError, match="population's V is in kg and L is needed: one measures mass, the other length³"):
        oral(LogNormalPopulation([ka, ke, Parameter("V", "kg", 31.5, 5.0, 200.0)], [0.6, 0.2, 0.2]))
    same = LogNormalPopulation([ka, Parameter("ke", "h-1", 0.086, 0.02, 0.25), V], [0.6, 0.2, 0.2])
    assert oral(same).population is same  # another code of the same unit
    with pytest.raises(ValueError, match="by other names"):
        HybridModel(ORAL, VanCauterPopulation(), observation=Concentration(1, 2), noise=NOISE)


def test_values_by_position_must_lie_in_the_box_of_their_place() -> None:
    named = SharedPopulation(ORAL, values={"V": 31.5, "ke": 0.086, "ka": 1.5})
    assert named.values.tolist() == [1.5, 0.086, 31.5]
    assert oral(SharedPopulation([1.5, 0.086, 31.5])).population.box[:, 0].tolist() == [1.5, 0.086, 31.5]
    with pytest.raises(ValueError, match="likely the values stand in another order"):
        oral(SharedPopulation([31.5, 0.086, 1.5]))
    with pytest.raises(ValueError, match="reads 3 parameters and the population gives 2"):
        oral(SharedPopulation([1.5, 0.086]))


def test_a_covariate_has_one_unit_in_a_model() -> None:
    powers = {"V": {"WT": (70.0, 1.0, "kg")}, "ke": {"WT": (70.0, -0.25)}}
    population = LogNormalPopulation(ORAL, SPREAD, powers)
    assert dict(population.covariates) == {"WT": "kg"}
    model = oral(population, MLP(hidden=(4,)), covariates={"WT": (70.0, 20.0), "AGE": (40.0, 10.0, "a")})
    assert model.uses == {"WT": "kg", "AGE": "a"}
    assert model.covariates == {"WT": (70.0, 20.0), "AGE": (40.0, 10.0)}
    with pytest.raises(ValueError, match="WT is read in g by the residual and in kg by the population"):
        oral(population, MLP(hidden=(4,)), covariates={"WT": (7e4, 2e4, "g")})
    with pytest.raises(ValueError, match="needs centre, positive size and their unit"):
        oral(population, MLP(hidden=(4,)), covariates={"WT": (70.0, 0.0, "kg")})


# ---- observations ----------------------------------------------------------------------------------------------------


def test_a_concentration_by_name_is_the_one_by_position() -> None:
    theta = [1.5, 0.086, 31.5]
    want = concentration(oral(observation=Concentration(1, 2)), theta)
    bateman = 320.0 * 1.5 / (31.5 * (1.5 - 0.086)) * (math.exp(-2 * 0.086) - math.exp(-2 * 1.5))
    assert want == pytest.approx(bateman, rel=1e-5)
    assert concentration(oral(observation=Concentration("plasma", "V")), theta) == want
    assert concentration(oral(observation=Concentration(1, "V")), theta) == want


@pytest.mark.parametrize(("unit", "ratio"), [("mg/L", 1.0), ("ug/mL", 1.0), ("ng/mL", 1000.0), ("g/L", 1e-3), ("mg/dL", 0.1)])
def test_a_concentration_in_another_unit_is_converted(unit: str, ratio: float) -> None:
    theta = [1.5, 0.086, 31.5]
    want = ratio * concentration(oral(), theta)
    model = oral(observation=Concentration("plasma", "V", unit=unit))
    assert model.observation.units == (unit,)
    assert concentration(model, theta) == pytest.approx(want, rel=1e-14)
    # and the baseline, which is measured in that unit, starts the same amount
    person = torch.tensor([[theta]], dtype=F64)
    start = model.initial(person, torch.tensor([[2.0 * ratio]], dtype=F64))
    assert start[0, 0].tolist() == pytest.approx([0.0, 63.0], rel=1e-14)


def test_a_molar_concentration_needs_a_molar_mass() -> None:
    with pytest.raises(ValueError, match=r"molar mass, which is not stated.*Concentration\(…, molar_mass=…\)"):
        oral(observation=Concentration("plasma", "V", unit="mol/m3"))
    theta = [1.5, 0.086, 31.5]
    molar = oral(observation=Concentration("plasma", "V", unit="umol/L", molar_mass=180.164))
    assert concentration(molar, theta) == pytest.approx(concentration(oral(), theta) / 180.164 * 1e3, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Concentration(0, 1), "gut over ke .* one measures mass × time, the other mass per length³"),
        (lambda: Concentration(1, 0), "plasma over ka"),
        (lambda: Concentration(7, 2), "state names '7', and there are: 0 gut, 1 plasma"),
        (lambda: Concentration(-1, 2), "state names '-1'"),
        (lambda: Concentration(1.5, 2), "state is a name, or a position as a whole number, and is '1.5'"),
        (lambda: Concentration(True, 2), "state is a name, or a position"),
        (lambda: Concentration(1, None), "volume is a name, or a position"),
        (lambda: States([None], ["a"], ["mg"]), "index is a name, or a position"),
        (lambda: Concentration(1, 3), "volume names '3', and there are: 0 ka, 1 ke, 2 V"),
        (lambda: Concentration("brain", "V"), "state names 'brain', and there are: 0 gut, 1 plasma"),
        (lambda: Concentration("plasma", "Q"), "volume names 'Q'"),
        (lambda: Concentration("plasma", "V", unit="mcg/mL"), "write 'ug/mL'"),
        (lambda: Concentration("plasma", "V", unit="mg/ML"), "slip of capitals"),
        # both compartments are in mg: of a bare position, the one that a baseline fills is meant
        (lambda: Concentration(0, 2), r"position 0 is gut.*starts plasma .* write Concentration\('gut', …\)"),
        (lambda: States([0], ["plasma"], ["mg"]), "the channel plasma shows the state gut"),
        (lambda: States([2], ["plasma"], ["mg"]), "names '2', and there are: 0 gut, 1 plasma"),
        (lambda: States(("plasma",), ["c"], ["mg/L"]), "state plasma is in mg and mg/L is needed"),
        (lambda: States(("brain",)), "names 'brain'"),
        (lambda: States(("plasma", "plasma")), "names one twice"),
        (lambda: States("plasma"), r"write \('plasma',\)"),
        (lambda: States(("plasma", 0), ["a", "b"], ["mg", "mg"]), "all states by name, or by position"),
        (lambda: States([1]), "by position with channels and units"),
    ],
)
def test_observations_that_are_refused(make: Callable[[], Observation], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        oral(observation=make())


def test_gut_over_volume_is_measured_where_it_is_said_by_name() -> None:
    model = oral(observation=Concentration("gut", "V"))
    assert concentration(model, [1.5, 0.086, 31.5]) == pytest.approx(320.0 * math.exp(-3.0) / 31.5, rel=1e-5)


def test_states_by_name_have_the_names_and_units_of_the_states() -> None:
    model = oral(observation=States(("plasma", "gut")), noise=Constant({"gut": 2.0, "plasma": 1.0}, {"gut": 0.2, "plasma": 0.1}))
    assert (model.observation.channels, model.observation.units) == (("plasma", "gut"), ("mg", "mg"))
    grams = oral(observation=States(("plasma",), ["amount"], ["g"]))
    x, theta = torch.tensor([[[[1.0, 250.0]]]], dtype=F64), torch.ones(1, 1, 3, dtype=F64)
    assert grams.observation.mean(x, theta).item() == 0.25
    assert model.observation.mean(x, theta).tolist() == [[[[250.0, 1.0]]]]


@pytest.mark.parametrize(
    ("channels", "units", "baseline"),
    [(("plasma", "gut"), ("mg", "mg"), [30.0, 7.0]), (("gut", "plasma"), ("g", "g"), [0.007, 0.03]), (("gut",), ("mg",), [7.0])],
)
def test_a_baseline_starts_the_state_that_it_was_measured_of(channels, units, baseline) -> None:
    """Whatever the order of the channels, and an amount is no concentration."""
    noise = Constant([1.0] * len(channels), [0.1] * len(channels))
    model = oral(observation=States(channels, channels, units), noise=noise)
    theta = torch.tensor([[[1.5, 0.086, 31.5]]], dtype=F64)
    start = model.initial(theta, torch.tensor([baseline], dtype=F64))[0, 0]
    assert start.tolist() == pytest.approx([0.0, 30.0 if "plasma" in channels else 0.0], rel=1e-14)


# ---- residuals, noise, process noise ---------------------------------------------------------------------------------


def test_a_residual_by_name_is_the_one_by_position() -> None:
    named = two_inputs(
        residual=MLP(
            hidden=(5,),
            acts_on=("plasma",),
            sees_inputs=("glucose",),
            state_scale={"second": 2.0, "plasma": 1.0},
            input_scale={"glucose": 8.0, "basal": 0.5},
        ),
        latents=1,
    )
    placed = two_inputs(
        residual=MLP(2, 2, 1, (5,), acts_on=[0], sees_inputs=[1], state_scale=[1.0, 2.0], input_scale=[0.5, 8.0]), latents=1
    )
    for a, b in zip(named.residual.state_dict().values(), placed.residual.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    x, u, c = torch.randn(1, 3, 2, dtype=F64), torch.randn(1, 3, 2, dtype=F64), torch.randn(1, 3, 1, dtype=F64)
    assert torch.equal(named.residual(x, u, c), placed.residual(x, u, c))
    assert float(named.residual(x, u, c)[..., 1].detach().abs().max()) == 0.0  # acts on plasma alone


@pytest.mark.parametrize(
    ("residual", "sentence"),
    [
        (lambda: MLP(acts_on=("brain",)), "acts_on names 'brain', and there are: 0 plasma, 1 second"),
        (lambda: MLP(acts_on=("plasma", "plasma")), "names one twice"),
        (lambda: MLP(acts_on="plasma"), r"write \('plasma',\)"),
        (lambda: MLP(sees_inputs=("insulin",)), "sees_inputs names 'insulin', and there are: 0 basal, 1 glucose"),
        (lambda: MLP(state_scale={"plasma": 1.0}), "state_scale lacks 'second'"),
        (lambda: MLP(3, acts_on=("plasma",)), "made for 3 states, and the model's are plasma, second"),
        (
            lambda: ContractingMLP(3, hidden=(4,), vertices=[[-1.0]], state_scale={"plasma": 1.0, "second": 1.0}),
            "ContractingMLP: made for 3 states, and the model's are plasma, second",
        ),
        (lambda: MLP(inputs=2), "give all three sizes"),
        (lambda: ContractingMLP(inputs=2, vertices=[[-1.0]]), "ContractingMLP: give all three sizes"),
        (lambda: MLP(acts_on=(0.5,)), "acts_on is a name, or a position"),
        (lambda: MLP(2, acts_on=(None,)), "acts_on is a name, or a position"),
        (lambda: ContractingMLP(vertices=[[-1.0]], state_scale={"x": 1.0}), "state_scale names 'x'"),
    ],
)
def test_residuals_that_are_refused(residual: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        two_inputs(residual=residual())


def test_what_waits_for_a_model_says_so() -> None:
    zero = torch.zeros(1, 1, 2, dtype=F64)
    for waiting in (MLP(hidden=(3,)), MLP(2, acts_on=("plasma",)), ContractingMLP(vertices=[[-1.0, 0.0], [0.0, -1.0]])):
        for use in (waiting.layers, waiting.config, lambda w=waiting: w(zero, zero, zero)):
            with pytest.raises(ValueError, match="when a HybridModel is built"):
                use()
        with pytest.raises(ValueError, match="when a HybridModel is built"):
            Ensemble(2).stack(waiting, torch.Generator())
    with pytest.raises(ValueError, match="when a HybridModel is built"):
        Concentration("plasma", "V").mean(zero, zero)
    with pytest.raises(ValueError, match="when a HybridModel is built"):
        NeuralNoise([1.0], [0.1]).variance(zero, zero, zero)
    with pytest.raises(ValueError, match="when a HybridModel is built"):
        DiagonalDiffusion({"plasma": 1.0}).diffusion(zero)


def test_a_residual_that_was_resolved_for_another_order_is_not_taken_over() -> None:
    residual = two_inputs(residual=MLP(hidden=(3,), acts_on=("second",))).residual
    swapped = LinearBackbone(
        [[-1.0, 0.0], [0.0, -2.0]],
        [[1.0, 0.0], [0.0, 0.0]],
        states=("second", "plasma"),
        inputs=("basal", "glucose"),
        state_units=("nmol/L", "nmol/L"),
    )
    with pytest.raises(ValueError, match="resolved for a model with another order"):
        HybridModel(swapped, SharedPopulation(), residual, observation=States(("plasma",)), noise=NOISE)


def test_noise_by_channel_finds_its_channel() -> None:
    observation = States(("plasma", "gut"))
    y = torch.zeros(1, 1, 1, 2, dtype=F64)
    one = AdditiveProportional({"gut": 3.0, "plasma": 1.0}, {"plasma": 0.1, "gut": 0.2}, {"gut": 0.3, "plasma": 0.1})
    found = oral(observation=observation, noise=one).noise
    assert found.variance(y, y, y)[0, 0, 0].tolist() == pytest.approx([1.0 + 0.01, 9.0 + 0.09], rel=1e-14)
    assert list(found.config()["additive"]) == ["plasma", "gut"]
    many = Ensemble(2).stack(one, torch.Generator())  # members keep theirs
    with torch.no_grad():
        many.log_additive[1] += 1.0
    moved = oral(observation=observation, noise=many).noise
    assert torch.equal(moved.log_additive.detach(), many.log_additive.detach()[:, [1, 0]])
    constant = oral(observation=observation, noise=Constant({"gut": 3.0, "plasma": 1.0}, {"gut": 0.3, "plasma": 0.1})).noise
    assert constant.variance(y, y, y)[0, 0, 0].tolist() == pytest.approx([1.01, 9.09], rel=1e-14)
    sizes = {"plasma": 5.0, "gut": 9.0}
    neural = NeuralNoise({"gut": 3.0, "plasma": 1.0}, {"gut": 0.3, "plasma": 0.1}, channel_scale=sizes, state_scale=sizes)
    neural = oral(observation=observation, noise=neural).noise
    assert (neural.start, neural.floor.tolist()) == ([1.0, 3.0], [0.1, 0.3])
    assert neural.scales == ((5.0, 9.0), (9.0, 5.0), ())  # channels are (plasma, gut), states (gut, plasma)


@pytest.mark.parametrize(
    ("noise", "sentence"),
    [
        (lambda: AdditiveProportional({"effect": 1.0}, {"effect": 0.1}, {"effect": 0.1}), "noise is given for effect"),
        (lambda: AdditiveProportional({"concentration": 1.0}, [0.1], [0.1]), "all by the channels' names"),
        (lambda: Constant({"concentration": 1.0}, {"effect": 0.1}), "names 'effect'"),
        (lambda: NeuralNoise([1.0], [0.1], 3), r"the noise is made for \(states, inputs\) = \(3, 0\)"),
        (lambda: Constant([1.0, 2.0], [0.1, 0.1]), "1 channels are observed, noise is given for 2"),
    ],
)
def test_noise_that_is_refused(noise: Callable[[], NoiseHead], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        oral(noise=noise())


def test_process_noise_drives_the_states_that_it_names() -> None:
    model = oral(process=DiagonalDiffusion({"plasma": 2.0}, {"plasma": 0.1}))
    assert model.process is not None
    g = model.process.diffusion(torch.tensor([[[100.0, 100.0]]], dtype=F64))
    assert g[0, 0].tolist() == pytest.approx([0.0, 104.0**0.5], rel=1e-14)
    with pytest.raises(ValueError, match="scale names 'brain'"):
        oral(process=DiagonalDiffusion({"brain": 2.0}))


# ---- bundles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: oral(
            LogNormalPopulation(ORAL, SPREAD, {"V": {"WT": (70.0, 1.0, "kg")}}),
            MLP(hidden=(4,), acts_on=("plasma",), state_scale={"gut": 300.0, "plasma": 300.0}),
            Concentration("plasma", "V", unit="ng/mL"),
            AdditiveProportional({"concentration": 500.0}, {"concentration": 0.1}, {"concentration": 30.0}),
            covariates={"WT": (70.0, 20.0, "kg"), "AGE": (40.0, 10.0)},
            process=DiagonalDiffusion({"plasma": 2.0}),
        ),
        lambda: oral(
            SharedPopulation(ORAL, values={"V": 31.5, "ke": 0.086, "ka": 1.5}),
            MLP(2, 0, 0, (4,), acts_on=[1]),
            Concentration(1, 2, unit="umol/L", molar_mass=180.164),
        ),
        lambda: two_inputs(
            residual=MLP(hidden=(4,), sees_inputs=("glucose",)),
            observation=States(("second", "plasma"), units=("nmol/L", "umol/L")),
            noise=NeuralNoise({"plasma": 0.1, "second": 0.2}, {"plasma": 0.01, "second": 0.02}),
        ),
        lambda: two_inputs(residual=ContractingMLP(hidden=(4,), vertices=[[-0.1, 0.0], [0.0, -0.1]], rate=0.01)),
    ],
)
def test_both_forms_come_back_from_a_description(make: Callable[[], HybridModel]) -> None:
    model = make()
    described = describe(model)
    again = rebuild(json.loads(json.dumps(described)), dict(model.named_parameters()))
    assert describe(again) == described
    assert again.uses == model.uses
    x, theta = torch.rand(1, 1, 3, 2, dtype=F64), torch.rand(1, 1, 3, dtype=F64) + 1.0
    assert torch.equal(again.observation.mean(x, theta), model.observation.mean(x, theta))
    u, c = torch.rand(1, 3, model.residual.inputs, dtype=F64), torch.rand(1, 3, model.residual.covariates, dtype=F64)
    assert torch.equal(again.residual(x[0], u, c), model.residual(x[0], u, c))
    y = torch.rand(1, 1, 3, len(model.observation.channels), dtype=F64)
    inputs = torch.rand(1, 1, 3, len(model.backbone.inputs), dtype=F64)
    assert torch.equal(again.noise.variance(y, x, inputs), model.noise.variance(y, x, inputs))


def test_a_population_of_a_wider_box_than_the_backbone_is_refused() -> None:
    """Else `rollout` takes people whom `simulate` refuses, and a rate may be negative."""
    narrow, wide = OneCompartmentOral(ka=(0.3, 4.0)), OneCompartmentOral()
    noise = AdditiveProportional([0.5], [0.1], [0.03])
    spread = {"ka": 0.3, "ke": 0.2, "V": 0.2}
    with pytest.raises(ValueError, match=r"gives ka from 0\.05 to 20 /h and the box of the backbone is 0\.3 to 4"):
        HybridModel(narrow, LogNormalPopulation(wide, spread=spread), observation=Concentration("plasma", "V"), noise=noise)
    HybridModel(wide, LogNormalPopulation(narrow, spread=spread), observation=Concentration("plasma", "V"), noise=noise)
    fixed = SharedPopulation(wide, values={"ka": -1.0, "ke": 0.1, "V": 30.0})
    with pytest.raises(ValueError, match="gives ka from -1 to -1"):
        HybridModel(wide, fixed, observation=Concentration("plasma", "V"), noise=noise)
