"""What exported models measure: an offset by a number or a θ everywhere, by inputs where they have a place, else a refusal."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from exchange import Bundle, CHeader, Fmu, Onnx, Sbml, Selection, TorchProgram, load, save, selected
from exchange.torch_program.programs import programs_of
from hybrid import Concentration, HybridModel, Offset, States
from learned import Constant
from physics import Administered, OneCompartmentOral, Parameter, SharedPopulation
from tests.exchange.bundle.test_bundle import MODELS, bundle_for, predictions
from tests.hybrid.test_offset import driven

ADA = Selection(person="Ada")


def test_a_bundle_brings_it_back(tmp_path: Path) -> None:
    for model in (MODELS["offset"](), driven()):
        bundle = bundle_for(model)
        if "z" in model.uses:
            bundle = with_z(bundle)
        again = load(save(bundle, tmp_path / f"{len(model.uses)}{model.personal}.twin"))
        for (mean, variance), (mean2, variance2) in zip(predictions(bundle), predictions(again), strict=True):
            assert torch.equal(mean, mean2)
            assert torch.equal(variance, variance2)


def with_z(bundle: Bundle) -> Bundle:
    people = tuple(replace(one, covariates={**one.covariates, "z": 4.0 - k}) for k, one in enumerate(bundle.people))
    return replace(bundle, people=people)


def test_a_program_of_torch_adds_inputs() -> None:
    """Feedthrough: y = 3 … + .25 u, at u's own time."""
    model = by_input()
    program = programs_of(selected(bundle_for(model), Selection(member=0)))["observe"].exported.module()
    x, u = torch.rand(5, 2, dtype=torch.float64), torch.rand(5, 1, dtype=torch.float64)
    y, _ = program(x=x, u=u)
    assert torch.allclose(y, torch.stack([x[:, 1] + 1.5 + 0.25 * u[:, 0], x[:, 0]], 1), rtol=1e-14)


def by_input() -> HybridModel:
    model = driven()
    observation = Offset(States(("b", "a"), ("second", "first")), 1.5, channel="second", inputs={"u": 0.25})
    return HybridModel(model.backbone, model.population, observation=observation, noise=model.noise)


@pytest.mark.parametrize("form", [CHeader, Fmu, Sbml, Onnx, TorchProgram])
def test_what_has_no_place_for_it_refuses(form: Callable[..., object], tmp_path: Path) -> None:
    export = form(ADA)
    name = tmp_path / f"model{export.suffix}"  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="the covariate z beside states and θ"):
        export.write(with_z(bundle_for(driven())), name)  # type: ignore[attr-defined]
    if form in (CHeader, Fmu, Sbml):
        with pytest.raises(ValueError, match="depends on inputs beside states and θ"):
            export.write(bundle_for(by_input()), name)  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_sbml_has_an_offset_by_a_theta(tmp_path: Path) -> None:
    roadrunner = pytest.importorskip("roadrunner")
    backbone = Administered(OneCompartmentOral(), observed=(Parameter("E0", "mg/L", 0.7, -3.0, 6.0),))
    observation = Offset(Concentration("plasma", "V"), "E0")
    population = SharedPopulation(backbone, {p.name: p.typical for p in backbone.physical})
    model = HybridModel(backbone, population, observation=observation, noise=Constant([0.4], [0.02]))
    bundle = bundle_for(model)
    chosen = selected(bundle, Selection(member=0, person="Ada"))
    path = Sbml(Selection(member=0, person="Ada")).write(bundle, tmp_path / "model.xml").path
    runner = roadrunner.RoadRunner(path.read_text())
    y = next(float(runner[name]) for name in runner.model.getGlobalParameterIds() if name.startswith("y_"))
    state, theta = chosen.x0[0].tolist(), chosen.theta[0].tolist()
    assert y == pytest.approx(state[1] / theta[2] + theta[3], rel=1e-12)
    assert np.isfinite(y)
