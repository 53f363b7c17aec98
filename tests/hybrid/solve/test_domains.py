"""A rate that has no value below 0, of a state that begins there."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from hybrid import HybridModel, RungeKutta, Schedule, Signal, States, simulate
from learned import AdditiveProportional
from physics import Mechanism, Parameter, SharedPopulation
from physics.operations import hill

F64 = torch.float64


class Forced(Mechanism):
    """An input lets it rise as t⁵, and a power of it, no whole one, takes it away."""

    time_unit = "h"
    states = {"x": "mg"}
    inputs = {"u": "mg/L"}
    physical = (Parameter("k", "/h", 0.5, 0.01, 5.0),)
    scale = {"x": 1.0}
    starts_empty = True

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"x": hill(u.u, 4.0) - theta.k * x.x * (1.0 + 0.3 * x.x**1.5)}


@pytest.mark.parametrize("points", [([0.0, 10.0], [0.0, 2.0]), ([0.0, 10.0, 20.0], [0.0, 0.0, 2.0])])
def test_no_look_of_a_step_falls_out_of_the_domain(points: tuple[list[float], list[float]]) -> None:
    mechanism = Forced()
    seen = {"observation": States(["x"]), "noise": AdditiveProportional([0.1], [0.1], [0.03])}
    model = HybridModel(mechanism, SharedPopulation(mechanism, values={"k": 0.5}), **seen)
    given = Schedule(inputs={"u": Signal(*points)}), [5.0, 10.0, 15.0, 20.0], torch.tensor([0.5], dtype=F64)
    with torch.no_grad():
        found, want = simulate(model, *given), simulate(model, *given, solver=RungeKutta("tsit5", rtol=1e-9))
    torch.testing.assert_close(found, want, rtol=0.0, atol=2e-6)
