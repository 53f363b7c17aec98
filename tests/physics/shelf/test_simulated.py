"""Every entry of the shelf, simulated with all defaults, is its tape solved tightly by scipy."""

import numpy as np
import pytest
import torch

from hybrid import Exponential, HybridModel, Schedule, Signal, States, simulate
from learned import Constant
from physics import MECHANISMS, Mechanism, SharedPopulation
from physics.shelf import CoupledTanks
from tests.physics.shelf.solved import solved


@pytest.mark.parametrize("kind", MECHANISMS, ids=lambda kind: kind.__name__)
def test_the_default_solver_follows(kind: type[Mechanism]) -> None:
    """From half the typical sizes, at typical θ and inputs (half the size of 1 where these are 0), for a time of 3."""
    mechanism = kind()
    typical = {p.name: p.typical for p in mechanism.physical}
    levels = {name: mechanism.typical_inputs.get(name, 0.5) for name in mechanism.inputs}
    start = {state: 0.5 * size for state, size in mechanism.scale.items()}
    states = list(mechanism.states)
    sizes = list(mechanism.scale.values())
    noise = Constant(sizes, floor=sizes)
    model = HybridModel(mechanism, SharedPopulation(mechanism, values=typical), observation=States(states), noise=noise)
    schedule = Schedule(inputs={name: Signal([0.0], [level]) for name, level in levels.items()})
    times = [0.05, 0.4, 3.0]
    theta, x0 = (torch.tensor(list(v.values()), dtype=torch.float64) for v in (typical, start))
    with torch.no_grad():
        found = simulate(model, schedule, times, theta, x0).numpy()
    want = solved(mechanism, start, times, typical, levels)
    for j, state in enumerate(states):
        gap = np.abs(found[:, j] - want[state]).max() / mechanism.scale[state]
        assert gap <= 1e-6, f"{state}: {gap:.2g} of its typical size"


def test_tanks_run_empty() -> None:
    """With the pump off: the last tenth of a millimetre leaves at a rate of 1 /s, for which no solver needs many steps."""
    mechanism = CoupledTanks()
    typical = {p.name: p.typical for p in mechanism.physical}
    seen = {"observation": States(["upper", "lower"]), "noise": Constant([1.0, 1.0], floor=[1.0, 1.0])}
    model = HybridModel(mechanism, SharedPopulation(mechanism, values=typical), **seen)
    times = [30.0, 200.0, 250.0, 400.0]
    off = Schedule(inputs={"q": Signal([0.0], [0.0])})
    theta, x0 = (torch.tensor(v, dtype=torch.float64) for v in (list(typical.values()), [10.0, 15.0]))
    with torch.no_grad():
        found = simulate(model, off, times, theta, x0, solver=Exponential(rtol=1e-6, max_steps=500)).numpy()
    want = solved(mechanism, {"upper": 10.0, "lower": 15.0}, times, typical, {"q": 0.0})
    np.testing.assert_allclose(found, np.stack([want["upper"], want["lower"]], -1), atol=1e-5)  # cm
