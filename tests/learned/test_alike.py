"""What is no trainable tensor is one for all members: models that differ in it are not joined, and all others are."""

import copy
from typing import Any

import pytest
import torch

from hybrid import Concentration, HybridModel, Log, Offset, States
from learned import (
    MLP,
    AdditiveProportional,
    Combined1,
    Constant,
    Correlated,
    DiagonalDiffusion,
    NeuralNoise,
    SumOfResiduals,
    concatenate,
)
from physics import (
    Administered,
    CategoryOf,
    Fixed,
    LogNormal,
    LogNormalPopulation,
    MixedPopulation,
    Normal,
    Occasions,
    OneCompartmentOral,
    Parameter,
    PowerOf,
    Shared,
    SharedPopulation,
)


def oral(*, lag: float = 0.8, most: float = 8.0, start: str = "empty", **more: Any) -> Administered:
    return Administered(
        OneCompartmentOral(faster=None), lag={"gut": Parameter("lag", "h", lag, 0.01, most)}, start=start, **more
    )


def whole(
    backbone: Administered | None = None, *, effects: dict[str, Any] | None = None, noise: Any = None, observation: Any = None,
    residual: Any = None, process: Any = None, joined: dict[str, Any] | None = None, **population: Any,
) -> HybridModel:
    backbone = backbone or oral()
    laws = {p.name: Shared() for p in backbone.physical} | {"V": LogNormal(0.2)} | (effects or {})
    return HybridModel(
        backbone,
        MixedPopulation(backbone, laws, **population),
        residual,
        observation=observation or Concentration("plasma", "V"),
        noise=noise or Combined1([0.2], [0.05], [0.01]),
        process=process,
        **(joined or {}),
    )


def weight(exponent: float, reference: float = 70.0, **more: Any) -> dict[str, Any]:
    return {"covariates": {"V": [PowerOf("WT", reference, exponent, unit="kg", **more)]}}


def powers(exponent: float, spread: float = 0.3, learn: bool = True) -> LogNormalPopulation:
    return LogNormalPopulation(
        OneCompartmentOral(faster=None), spread={"ka": None, "ke": spread, "V": 0.2},
        powers={"V": {"WT": (70.0, exponent)}}, learn_spread=learn,
    )


def net(**more: Any) -> MLP:
    return MLP(2, 0, 0, hidden=(3,), generator=torch.Generator().manual_seed(0), **more)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (lambda: whole(oral(lag=0.8)), lambda: whole(oral(lag=1.6)), r"backbone: lag\.gut\.typical is 0\.8 and 1\.6"),
        (lambda: whole(oral()), lambda: whole(oral(most=9.0)), r"backbone: lag\.gut\.high is 8\.0 and 9\.0"),
        (lambda: whole(oral()), lambda: whole(oral(start="backbone")), "backbone: start is 'empty' and 'backbone'"),
        (lambda: whole(**weight(0.75)), lambda: whole(**weight(1.0)), r"population: covariates\.WT on V\.exponent is 0\.75"),
        (
            lambda: whole(**weight(0.75, learn=True)), lambda: whole(**weight(0.75, 60.0, learn=True)),
            r"population: covariates\.WT on V\.reference is 70\.0 and 60\.0",
        ),
        (
            lambda: whole(covariates={"V": [CategoryOf("SEX", {0: 0.0, 1: 0.2}, learn=True)]}),
            lambda: whole(covariates={"V": [CategoryOf("SEX", {1: 0.0, 0: 0.2}, learn=True)]}),
            "population: covariates.SEX on V.levels",
        ),
        (lambda: whole(effects={"V": LogNormal(0.2)}), lambda: whole(effects={"V": Normal(0.2)}), r"population: effects\.V is"),
        (lambda: whole(learn_spread=False), lambda: whole(effects={"V": LogNormal(0.5)}, learn_spread=False),
         r"population: effects\.V\.spread is 0\.2 and 0\.5"),
        (
            lambda: whole(occasions=Occasions({"ke": 0.2}, 2)), lambda: whole(occasions=Occasions({"V": 0.2}, 2)),
            "population: occasions",
        ),
        (lambda: whole(), lambda: whole(noise=Combined1([0.2], [0.05], [0.02])), r"noise: floor\[0\] is 0\.01 and 0\.02"),
        (lambda: whole(), lambda: whole(noise=AdditiveProportional([0.2], [0.05], [0.01])), "noise is Combined1 and Additive"),
        (
            lambda: whole(), lambda: whole(observation=Concentration("plasma", "V", unit="ug/L")), "observation: measured.0.2 is",
        ),
        (lambda: whole(), lambda: whole(observation=States(("plasma",))), "observation is Concentration and States"),
        (
            lambda: whole(observation=Offset(Concentration("plasma", "V"), 0.2)),
            lambda: whole(observation=Offset(Concentration("plasma", "V"), 0.1)), r"observation: by is 0\.2 and 0\.1",
        ),
        (
            lambda: whole(observation=Log(Concentration("plasma", "V"), 0.001)),
            lambda: whole(observation=Log(Concentration("plasma", "V"), 0.01)), r"observation: least is 0\.001 and 0\.01",
        ),
        (
            lambda: whole(residual=net(state_scale=[1.0, 1.0])), lambda: whole(residual=net(state_scale=[1.0, 2.0])),
            r"residual: state_scale\.1 is 1\.0 and 2\.0",
        ),
        (
            lambda: whole(residual=SumOfResiduals([net(), net(state_scale=1.0)])),
            lambda: whole(residual=SumOfResiduals([net(), net(state_scale=2.0)])), "state_scale",
        ),
        (
            lambda: whole(process=DiagonalDiffusion([0.1, 0.2])), lambda: whole(process=DiagonalDiffusion([0.0, 0.2])),
            r"process: on\[0\] is 1\.0 and 0\.0",
        ),
        (
            lambda: whole(noise=NeuralNoise([0.2], [0.01])), lambda: whole(noise=NeuralNoise([0.3], [0.01])),
            r"noise: sd\.0 is|noise: sd\[0\] is",
        ),
        (
            lambda: whole(residual=MLP(2, 0, 1, hidden=(3,)), joined={"covariates": {"WT": (70.0, 20.0, "kg")}}),
            lambda: whole(residual=MLP(2, 0, 1, hidden=(3,)), joined={"covariates": {"WT": (70.0, 10.0, "kg")}}),
            r"HybridModel: covariates\.WT\.1 is 20\.0 and 10\.0",
        ),
        (lambda: powers(0.75), lambda: powers(1.0), r"LogNormalPopulation: powers\.V\.WT\.1 is 0\.75 and 1"),
        (lambda: powers(0.75, 0.3, False), lambda: powers(0.75, 0.4, False), r"LogNormalPopulation: spread\.1 is 0\.3 and 0\.4"),
        (
            lambda: SharedPopulation(OneCompartmentOral(faster=None), values={"ka": 1.0, "ke": 0.1, "V": 30.0}, learned=("ka",)),
            lambda: SharedPopulation(OneCompartmentOral(faster=None), values={"ka": 1.0, "ke": 0.1, "V": 40.0}, learned=("ka",)),
            r"SharedPopulation: values\.V is 30\.0 and 40\.0",
        ),
        (lambda: whole().to(torch.float32), whole, "torch.float32', .* of torch.float64'. differ in their trainable tensors"),
    ],
)
def test_models_that_differ_in_what_is_not_trainable_are_not_joined(one: Any, other: Any, said: str) -> None:
    first, second = one(), other()
    with pytest.raises(ValueError, match=f"concatenate: .*(?:{said})"):
        concatenate([first, copy.deepcopy(first), second])
    with pytest.raises(ValueError, match="concatenate: "):
        concatenate([second, first])
    assert len(next(concatenate([first, copy.deepcopy(first)]).parameters())) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # where learning starts
        (lambda: whole(), lambda: whole(effects={"V": LogNormal(0.5)})),
        (lambda: whole(**weight(0.75, learn=True)), lambda: whole(**weight(0.1, learn=True))),
        (
            lambda: whole(covariates={"V": [CategoryOf("SEX", {0: 0.0, 1: 0.2}, learn=True)]}),
            lambda: whole(covariates={"V": [CategoryOf("SEX", {0: 0.0, 1: 0.4}, learn=True)]}),
        ),
        (
            lambda: whole(effects={"ke": LogNormal(0.2)}, correlated=[("ke", "V")], omega={("ke", "V"): 0.01}),
            lambda: whole(effects={"ke": LogNormal(0.3)}, correlated=[("ke", "V")], omega={("ke", "V"): -0.02}),
        ),
        (lambda: whole(occasions=Occasions({"ke": 0.2}, 2)), lambda: whole(occasions=Occasions({"ke": 0.4}, 2))),
        (lambda: whole(), lambda: whole(noise=Combined1([0.7], [0.3], [0.01]))),
        (lambda: whole(noise=Constant([0.7], [0.1])), lambda: whole(noise=Constant([0.2], [0.1]))),
        (lambda: whole(process=DiagonalDiffusion([0.1, 0.2])), lambda: whole(process=DiagonalDiffusion([0.5, 0.3]))),
        (lambda: powers(0.75, 0.3), lambda: powers(0.75, 0.5)),
        (
            lambda: Correlated(Constant({"a": 1.0, "b": 2.0}, {"a": 0.1, "b": 0.2}), {("a", "b"): 0.3}),
            lambda: Correlated(Constant({"a": 2.0, "b": 2.0}, {"a": 0.1, "b": 0.2})),
        ),
        # one thing said in two ways
        (
            lambda: whole(),
            lambda: whole(
                observation=Concentration(1, 2), noise=Combined1(*({"concentration": v} for v in (0.3, 0.1, 0.01)))
            ),
        ),
        (lambda: whole(observation=States(("plasma",))), lambda: whole(observation=States([1], ["plasma"], ["mg"]))),
        (lambda: whole(residual=net()), lambda: whole(residual=MLP(2, 0, 0, hidden=(3,)))),
        (
            lambda: whole(residual=MLP(hidden=(3,), sees_states=("plasma",))), lambda: whole(residual=net(sees_states=[1])),
        ),
    ],
)
def test_starts_and_ways_of_saying_do_not_matter(one: Any, other: Any) -> None:
    first, second = one(), other()
    both = concatenate([first, second])
    for name, p in both.named_parameters():
        assert torch.equal(p, torch.cat([first.get_parameter(name), second.get_parameter(name)]))



def test_fixed_values_of_a_parameter_are_of_all_members() -> None:
    with pytest.raises(ValueError, match=r"backbone: lag\.gut\.typical"):
        concatenate([whole(oral(lag=v), effects={"lag": Fixed()}) for v in (0.5, 0.7)])
