"""The gradient of Laplace's method of people in steady state, wherever second derivatives of their predictions stand in it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid import Concentration, Dose, HybridModel, Schedule
from hybrid.schedules.steady import Steady
from learned import Combined1
from physics import Administered, LogitNormal, LogNormal, MixedPopulation, Occasions, OneCompartmentOral, Parameter
from training import Cohort, Record, laplace_marginal

TIMES = np.array([1.3, 5.0, 8.0, 9.5, 10.0, 14.0])
SPREADS = {"ka": LogNormal(0.3), "ke": LogNormal(0.2), "V": LogNormal(0.2)}


def model_of(*, fraction: bool = False, lag: bool = False, occasions: bool = False) -> HybridModel:
    given: dict[str, Any] = {}
    if fraction:
        given["fraction"] = {"gut": Parameter("F", "1", 0.7, 0.0, 1.0)}
    if lag:
        given["lag"] = {"plasma": Parameter("lag", "h", 0.7, 0.1, 5.0)}
    backbone = Administered(OneCompartmentOral(faster=None), start="empty", **given)
    own = SPREADS | ({"F": LogitNormal(0.5)} if fraction else {}) | ({"lag": LogNormal(0.1)} if lag else {})
    return HybridModel(
        backbone,
        MixedPopulation(backbone, own, occasions=Occasions({"V": 0.2}, 2) if occasions else None),
        observation=Concentration("plasma", "V"),
        noise=Combined1([0.2], [0.1], [0.01]),
    )


def person(*, limited: bool = False, lag: bool = False, occasions: bool = False, infused: bool = False) -> Record:
    y, upper = np.array([4.0, 5.0, 3.5, 6.0, 5.0, 4.0])[:, None], np.full((6, 1), np.nan)
    if limited:
        y[5], upper[5] = np.nan, 4.0
    state, over = ("plasma", 2.0) if infused else ("gut", 0.0)
    doses = (Dose(state, 0.0, 300.0, over), *((Dose("plasma", 6.0, 50.0),) if lag else ()))
    return Record(
        id="a",
        schedule=Schedule(doses, steady=(Steady(state, 0.0, 150.0, 9.0, over),)),
        times=TIMES,
        values=y,
        lower=np.full((6, 1), np.nan),
        upper=upper,
        channels=("concentration",),
        occasions=(0.0, 9.0) if occasions else (),
        units={"time": "h", "concentration": "mg/L"},
    )


def slopes(model: HybridModel, cohort: Cohort, curvature: Any) -> tuple[Tensor, Tensor]:
    """By `shift`, as it is returned and by differences of the value."""
    start = laplace_marginal(model, cohort, curvature=curvature).mode
    shift = model.population.get_parameter("shift").requires_grad_()

    def value() -> Tensor:
        return laplace_marginal(model, cohort, start=start, curvature=curvature).value.sum()

    (found,) = torch.autograd.grad(value(), shift)
    differences = torch.zeros_like(found)
    h = 1e-2
    for k in range(shift.shape[1]):
        at = []
        for step in (-2, -1, 1, 2):
            with torch.no_grad():
                shift[0, k] += step * h
            at.append(float(value().detach()))
            with torch.no_grad():
                shift[0, k] -= step * h
        differences[0, k] = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)
    return found, differences


@pytest.mark.parametrize(
    ("model", "record", "curvature", "censoring"),
    [
        ({}, {}, "fisher", "m3"),
        ({}, {}, "observed", "m3"),
        ({}, {"infused": True}, "observed", "m3"),
        ({}, {"limited": True}, "fisher", "m3"),
        ({}, {"limited": True}, "fisher", "m4"),
        ({}, {"limited": True}, "observed", "m4"),
        ({"fraction": True}, {"limited": True}, "fisher", "m3"),
        ({"lag": True}, {"limited": True, "lag": True}, "fisher", "m3"),
        ({"occasions": True}, {"limited": True, "occasions": True}, "fisher", "m3"),
        ({"fraction": True, "occasions": True}, {"occasions": True}, "observed", "m3"),
    ],
)
def test_it_is_that_of_differences(
    model: dict[str, bool], record: dict[str, bool], curvature: Any, censoring: Any
) -> None:
    built = model_of(**model)
    cohort = Cohort.of([person(**record)], built, censoring=censoring)
    found, differences = slopes(built, cohort, curvature)
    # the value's own noise over h, 1e-7/1e-2, and truncation h⁴ f⁽⁵⁾/30
    torch.testing.assert_close(found, differences, rtol=0.0, atol=1e-4 * max(1.0, float(found.norm())))


def test_of_its_own_derivative_it_says_that_there_is_none() -> None:
    model = model_of()
    shift = model.population.get_parameter("shift").requires_grad_()
    value = laplace_marginal(model, Cohort.of([person()], model)).value.sum()
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(value, shift, create_graph=True)
    assert bool(torch.isfinite(torch.autograd.grad(value, shift)[0]).all())
