"""The drift of η: its stationary law, what it forgets, and what it does to the states."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import expm, solve_continuous_lyapunov
from torch import Tensor

from hybrid import HybridModel, Interval, Mesh, States
from hybrid.filters import EKF, UKF, Belief, Filter, Followed
from hybrid.filters.drift import HalfDrift
from hybrid.filters.moved import Moved
from learned import Constant, DiagonalDiffusion, Residual
from physics import LinearBackbone, SharedPopulation
from tests.hybrid.filters.followed import F64

A, C, G = np.array([[-1.0, 0.3], [0.2, -0.5]]), np.array([[0.7, 0.0], [-0.4, 0.9]]), np.array([0.3, 0.1])
KINDS = (UKF, EKF)


class Pushed(Residual):
    """ε = C η: with it the states and the drifting coordinates are one linear system."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = 2, 0, 2, False

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        return (c @ torch.from_numpy(C).T).expand(x.shape)

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {}


def followed(tau: float | None, *, residual: bool = True) -> Followed:
    model = HybridModel(
        LinearBackbone(A),
        SharedPopulation(),
        Pushed() if residual else None,
        observation=States([0], ["y"], ["1"]),
        noise=Constant([0.3], [0.01]),
        process=DiagonalDiffusion(G),
        latents=2,
    )
    return Followed.of(model, 1, mesh=Mesh(1.0), drift=tau)


def belief() -> Belief:
    root = torch.tensor([[0.5, 0, 0, 0], [0.1, 0.4, 0, 0], [0.2, -0.1, 0.6, 0], [0, 0.1, 0.2, 0.3]], dtype=F64)
    return Belief(torch.tensor([[[0.5, -0.2, 1.0, -0.5]]], dtype=F64), root[None, None], torch.zeros(1, dtype=F64), 2)


def run(filter: Filter, start: Belief, time: float, steps: int) -> Belief:
    with torch.no_grad():
        for _ in range(steps):
            start = filter.predict(start, Interval.of(torch.tensor([time / steps], dtype=F64), 2, meshed=True))
    return start


def exact(start: Belief, tau: float, time: float) -> tuple[np.ndarray, np.ndarray]:
    """The joint linear system (x, η): x' = A x + C η + g w, η' = −η/τ + √(2/τ) w."""
    whole = np.block([[A, C], [np.zeros((2, 2)), -np.eye(2) / tau]])
    D = np.diag([*G**2, 2.0 / tau, 2.0 / tau])
    stationary, F = solve_continuous_lyapunov(whole, -D), expm(whole * time)
    m, P = start.mean[0, 0].numpy(), start.covariance[0, 0].numpy()
    return F @ m, F @ P @ F.T + stationary - F @ stationary @ F.T


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_with_the_states_it_is_right_to_second_order(kind: type[Filter]) -> None:
    tau, time = 0.8, 1.6
    mean, P = exact(belief(), tau, time)
    errors = []
    for steps in (8, 16, 32, 64):
        found = run(kind(followed(tau)), belief(), time, steps)
        off = np.abs(found.mean[0, 0].numpy() - mean).max(), np.abs(found.covariance[0, 0].numpy() - P).max()
        errors.append(max(off))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert min(orders) > 1.95, (errors, orders)
    assert errors[-1] < 3e-4


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_eta_alone_is_the_process_exactly(kind: type[Filter]) -> None:
    tau, time = 0.8, 5.0
    found = run(kind(followed(tau, residual=False)), belief(), time, 1)  # one step, six times τ
    mean, P = exact(belief(), tau, time)
    assert found.personal[0, 0].numpy() == pytest.approx(mean[2:], rel=1e-14)
    assert found.covariance[0, 0, 2:, 2:].numpy() == pytest.approx(P[2:, 2:], rel=1e-13)


def test_the_prior_stays_what_it_is() -> None:
    start = Belief(torch.zeros(1, 1, 4, dtype=F64), torch.eye(4, dtype=F64)[None, None], torch.zeros(1, dtype=F64), 2)
    found = run(UKF(followed(0.8, residual=False)), start, 3.0, 30)
    assert torch.allclose(found.covariance[0, 0, 2:, 2:], torch.eye(2, dtype=F64), atol=1e-14)
    assert float(found.covariance[0, 0, :2, 2:].abs().max()) == 0.0
    assert found.personal.abs().max() == 0.0


def test_what_is_known_of_a_person_is_forgotten_within_the_time_constant() -> None:
    tau = 2.0
    start = belief()
    found = run(UKF(followed(tau, residual=False)), start, tau, 20)
    assert torch.allclose(found.personal, math.exp(-1.0) * start.personal, rtol=1e-13)
    far = run(UKF(followed(tau, residual=False)), start, 40.0 * tau, 40)
    assert torch.allclose(far.covariance[0, 0, 2:, 2:], torch.eye(2, dtype=F64), atol=1e-14)


def test_without_a_drift_eta_is_carried_to_the_bit() -> None:
    found = run(UKF(followed(None)), belief(), 1.0, 7)
    assert torch.equal(found.personal, belief().personal)
    own, before = (b.covariance[0, 0, 2:, 2:] for b in (found, belief()))
    assert torch.allclose(own, before, rtol=1e-14)


def test_the_root_of_half_a_drift_is_that_of_its_covariance() -> None:
    """The half before a step turns the last rows of the triangle alone."""
    start = belief()
    half = HalfDrift.of(torch.tensor([0.7], dtype=F64), 0.8, 2)
    moved, root = half.before(start.mean, start.root)
    columns = torch.cat([moved.after, moved.noise], -1)
    assert torch.allclose(root @ root.mT, columns @ columns.mT, atol=1e-15)
    assert torch.equal(root, root.tril())
    assert bool((root.diagonal(dim1=-2, dim2=-1) >= 0.0).all())
    again = half.after(Moved(moved.mean, root, root, root[..., :0]))
    keep = math.exp(-0.7 / 0.8)
    expected = keep**2 * start.covariance[0, 0, 2:, 2:] + (1.0 - keep**2) * torch.eye(2, dtype=F64)
    found = again.root()
    assert torch.allclose((found @ found.mT)[0, 0, 2:, 2:], expected, atol=1e-15)
    assert torch.allclose(again.mean[0, 0, 2:], keep * start.personal[0, 0], rtol=1e-15)


def test_steps_are_no_longer_than_a_part_of_the_time_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    cut = Interval.cut

    def watched(self: Interval, mesh: Mesh, since: Tensor | None = None) -> list[Interval]:
        found = cut(self, mesh, since)
        lengths.extend(float(piece.dt.max()) for piece in found)
        return found

    monkeypatch.setattr(Interval, "cut", watched)
    UKF(followed(0.5)).predict(belief(), Interval.of(torch.tensor([2.0], dtype=F64), 2))
    assert max(lengths) <= 0.05 * (1.0 + 1e-9)


def test_a_filter_that_is_told_that_nothing_changes_stops_listening() -> None:
    """With a drift what a measurement teaches of η stays worth something; without one it goes to 0."""
    y = torch.tensor([[0.4]], dtype=F64)
    left = {}
    for tau in (None, 1.0):
        filter, at = UKF(followed(tau)), belief()
        with torch.no_grad():
            for _ in range(120):
                at, _ = filter.update(run(filter, at, 0.2, 1), y)
        left[tau] = float(at.covariance[0, 0, 2:, 2:].diagonal().sum())
    assert left[None] < 0.2 * left[1.0]
