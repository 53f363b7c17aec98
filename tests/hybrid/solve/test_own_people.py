"""A linear model with θ of their own for very many people: one exact step per observation, in little memory."""

import pytest
import torch

from hybrid import Concentration, Dose, HybridModel, Mesh, Schedule, conditions_of
from hybrid.solve.plain_march import plain_march
from hybrid.solve.schemes import exponential_matrices
from hybrid.solve.schemes.exponentials import KROGSTAD
from learned import AdditiveProportional
from physics import LogNormalPopulation
from physics.shelf import ThreeCompartments


@pytest.mark.parametrize("M", [1, 2])
def test_the_numbers_are_those_of_all_matrices(M: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: where gradients are asked for, everyone's matrices of every stage and step are made."""
    monkeypatch.setattr(exponential_matrices, "_AT_ONCE", 20)  # a few people at a time
    mechanism, N = ThreeCompartments(), 12
    population = LogNormalPopulation(mechanism, spread={p.name: 0.3 for p in mechanism.physical})
    seen = {"observation": Concentration("plasma", "V1", "c"), "noise": AdditiveProportional([0.5], [0.1], [0.03])}
    model = HybridModel(mechanism, population, **seen)
    schedules = [
        Schedule((Dose("plasma", 0.0, 300.0), Dose("plasma", 1.0 + 0.1 * i, 30.0, duration=1.0))) for i in range(N)
    ]
    given = conditions_of(model, schedules, [[0.5, 1.0, 1.5, 4.0, 7.0]] * N, mesh=Mesh(24.0))
    g = torch.Generator().manual_seed(0)
    theta = model.theta(0.3 * torch.randn(M, N, model.personal, dtype=torch.float64, generator=g), {}).detach()
    start, runs = torch.zeros(M, N, 3, dtype=torch.float64), []
    for differentiated in (False, True):
        field = model.bind(given.segments, theta.clone().requires_grad_(differentiated), theta.new_zeros(M, N, 0))
        runs.append(plain_march(field, start, KROGSTAD, dense=True))
    assert runs[1].x.requires_grad
    assert not runs[0].x.requires_grad
    assert torch.equal(runs[0].x, runs[1].x.detach())
    assert runs[0].slopes is not None
    assert runs[1].slopes is not None
    assert torch.equal(runs[0].slopes, runs[1].slopes.detach())
