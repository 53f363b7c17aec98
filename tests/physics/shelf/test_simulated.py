"""Every entry of the shelf, simulated with all defaults, is its tape solved tightly by scipy."""

import numpy as np
import pytest
import torch

from hybrid import HybridModel, Schedule, Signal, States, simulate
from learned import Constant
from physics import MECHANISMS, Mechanism, SharedPopulation
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
