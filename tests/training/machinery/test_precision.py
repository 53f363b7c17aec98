"""Training in float32, and the residual's products in bfloat16: near to float64 where nothing is proved."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hybrid import HybridModel, rollout
from learned import Ensemble
from tests.builders import as_values
from training import Checkpoint, Cohort, Search, Stability, Step, fit
from training.machinery.precision import in_bfloat16


def last(steps: Iterator[Step]) -> Step:
    *_, final = steps
    return final


def single(model: HybridModel) -> HybridModel:
    return copy.deepcopy(model).to(torch.float32)  # a module's own `to` changes it in place


@pytest.fixture
def stack(model: HybridModel) -> HybridModel:
    return Ensemble(2).stack(model, torch.Generator().manual_seed(3))


def given(model: HybridModel) -> dict:
    held_out = torch.eye(4, dtype=torch.bool)[:2]
    weights = (~held_out).to(torch.float64)
    stability = Stability.of(model, {})
    return {"weights": weights, "held_out": held_out, "every": 5, "forecast_from": 1.0, "stability": stability}


def test_float32_trains_and_agrees_loosely_with_float64(stack: HybridModel, cohort: Cohort) -> None:
    double = last(fit(stack, cohort, **as_values(steps=10, **given(stack))))
    model = single(stack)
    simple = cohort.to(torch.float32)
    assert simple.y.dtype == simple.times.dtype == simple.conditions.baseline.dtype == torch.float32
    assert simple.conditions.segments.boundary.dtype == torch.long
    # what simulates is another's; where it does not do float32, this says nothing of the fit
    run = rollout(model, simple.conditions, torch.zeros(2, 4, 3))
    if run.mean.dtype != torch.float32:
        pytest.skip(f"the simulation of a float32 model is {run.mean.dtype}")
    step = last(fit(model, simple, **as_values(steps=10, **given(stack))))
    assert step.loss.dtype == step.best.personal.dtype == torch.float32
    assert {p.dtype for p in step.best.model.parameters()} == {torch.float32}
    assert step.held_out.dtype == torch.float64  # whoever judges does it in float64
    # 1e-7 per operation and a few hundred of them, summed over 24 measurements
    torch.testing.assert_close(step.loss.double(), double.loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(step.held_out, double.held_out, rtol=1e-3, atol=1e-3)
    # Adam's steps have the size of the rate, whatever the gradient's: 10 × .05, of which a thousandth
    for a, b in zip(step.best.model.parameters(), double.best.model.parameters(), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3)


def test_the_metric_of_a_float32_model_is_the_float64_one(stack: HybridModel) -> None:
    a, b = Stability.of(stack, {}), Stability.of(single(stack), {})
    assert a.metric.dtype == b.metric.dtype == torch.float64
    assert abs(a.rate - b.rate) < 1e-3 * a.rate


def test_float32_is_resumed_bit_for_bit(stack: HybridModel, cohort: Cohort, tmp_path: Path) -> None:
    model, simple, arguments = single(stack), cohort.to(torch.float32), given(stack)
    whole = last(fit(model, simple, **as_values(steps=6, **arguments)))
    checkpoint = Checkpoint(tmp_path / "fit.checkpoint", every=2)
    for step in fit(model, simple, **as_values(steps=6, **arguments, checkpoint=checkpoint)):
        if step.index == 4:
            break
    resumed = last(fit(model, simple, **as_values(steps=6, **arguments, checkpoint=checkpoint)))
    for a, b in zip(resumed.best.model.parameters(), whole.best.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(resumed.loss, whole.loss)


def test_a_cohort_of_another_type_is_refused(stack: HybridModel, cohort: Cohort) -> None:
    with pytest.raises(ValueError, match=r"torch.float64 and the cohort torch.float32; write cohort.to\(torch.float64\)"):
        next(fit(stack, cohort.to(torch.float32)))
    moved = cohort.to("cpu", torch.float32).to("cpu")
    assert moved.y.dtype == torch.float32  # a device alone keeps the type


def test_bfloat16_touches_the_learned_part_alone(stack: HybridModel, cohort: Cohort) -> None:
    model, simple = single(stack), cohort.to(torch.float32)
    eta = torch.zeros(2, 4, 3)
    mixed = in_bfloat16(model)
    assert all(a is b for a, b in zip(mixed.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        model.residual.weights[-1] *= 10.0  # else a residual that starts near zero shows nothing
        plain, rough = (rollout(m, simple.conditions, eta) for m in (model, mixed))
        change = ((rough.mean - plain.mean).abs() / plain.mean.abs().clamp(min=0.1)).max()
        # 8 bits of a residual that is some per cent of the field
        assert 1e-6 < float(change) < 2e-2
        x, u, c = simple.conditions.baseline.new_ones(2, 4, 2) * 100.0, torch.zeros(1, 4, 0), torch.zeros(2, 4, 0)
        exact, near = model.residual(x, u, c), mixed.residual(x, u, c)
        assert near.dtype == torch.float32
        assert not torch.equal(exact, near)
        torch.testing.assert_close(near, exact, rtol=3e-2, atol=3e-2 * float(exact.abs().max()))
        # without the learned part nothing changes at all
        model.residual.weights[-1] *= 0.0
        plain, rough = (rollout(m, simple.conditions, eta) for m in (model, mixed))
    torch.testing.assert_close(rough.mean, plain.mean, rtol=1e-6, atol=1e-6)


def test_a_fit_in_bfloat16_goes_the_same_way(stack: HybridModel, cohort: Cohort) -> None:
    model, simple = single(stack), cohort.to(torch.float32)
    fine = last(fit(model, simple, **as_values(steps=10, **given(stack))))
    rough = last(fit(model, simple, **as_values(steps=10, bfloat16=True, **given(stack))))
    assert {p.dtype for p in rough.best.model.parameters()} == {torch.float32}
    assert type(rough.best.model.residual) is type(model.residual)  # what is kept is the plain model
    assert not torch.equal(rough.loss, fine.loss)
    torch.testing.assert_close(rough.loss, fine.loss, rtol=0.0, atol=0.05)
    torch.testing.assert_close(rough.held_out, fine.held_out, rtol=0.0, atol=0.05)


def test_bfloat16_is_not_for_float64(stack: HybridModel, cohort: Cohort) -> None:
    with pytest.raises(ValueError, match="bfloat16 is for float32 models"):
        next(fit(stack, cohort, search=Search(bfloat16=True)))


def test_a_backbone_alone_has_nothing_to_round(model: HybridModel) -> None:
    alone = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise).to(torch.float32)
    assert in_bfloat16(alone) is alone
