"""`MembersLBFGS`: many minima at once, as one of torch's optimisers."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hybrid import SimulationError
from training.loop.members_lbfgs import MembersLBFGS

CURVATURES = torch.tensor([[1.0, 40.0, 3.0, 900.0], [2.0, 5.0, 0.1, 7.0], [30.0, 30.0, 30.0, 1e4]], dtype=torch.float64)  # (M, P)
CENTRES = torch.tensor([[0.3, -1.0, 2.0, 0.1], [1.0, 1.0, -0.4, 0.2], [-0.2, 0.7, 0.0, -1.5]], dtype=torch.float64)


def bowls(x: Tensor, rows: Tensor) -> Tensor:  # (M, 4) -> (M,)
    """Bent bowls, whose minima 0 lie at CENTRES."""
    d = x - CENTRES[rows]
    return (CURVATURES[rows] * d.square()).sum(1) + 10.0 * (d[:, 0] - d[:, 1].square()).square()


def start(rows: Tensor) -> list[Tensor]:
    """Two tensors, of two shapes."""
    begin = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).reshape(3, 4)[rows]
    return [begin[:, :1].clone().requires_grad_(), begin[:, 1:].reshape(-1, 3, 1).clone().requires_grad_()]


def going(
    tensors: list[Tensor], rows: Tensor, lr: float = 0.5, wall: float = math.inf
) -> tuple[Callable[[], Tensor], MembersLBFGS, list[int]]:
    """A step, what takes it, and a list as long as the objective was asked for; beyond `wall` the first cannot be simulated."""
    calls: list[int] = []
    optimiser = MembersLBFGS(tensors, lr, tolerance=1e-7)

    def closure() -> Tensor:
        calls.append(1)
        if float(tensors[0].detach()[0, 0]) > wall:
            raise SimulationError("the first member leaves")
        optimiser.zero_grad()
        value = bowls(torch.cat([tensors[0], tensors[1].flatten(1)], 1), rows)
        value.sum().backward()
        return value

    def step() -> Tensor:
        said: Tensor = optimiser.step(closure)
        return said

    return step, optimiser, calls


def run(rows: Tensor, steps: int, lr: float = 0.5) -> tuple[list[Tensor], Tensor, int]:
    tensors = start(rows)
    step, _, calls = going(tensors, rows, lr)
    loss = torch.tensor([])
    for _ in range(steps):
        loss = step()
    return tensors, loss, len(calls)


def test_every_member_finds_its_minimum_and_then_rests() -> None:
    tensors, loss, calls = run(torch.arange(3), 200)
    torch.testing.assert_close(torch.cat([tensors[0], tensors[1].flatten(1)], 1).detach(), CENTRES, rtol=0, atol=1e-5)
    assert float(loss.max()) < 1e-8
    assert calls < 150  # once all have ended nothing is evaluated


def test_what_is_said_is_the_objective_where_the_tensors_are_and_it_never_rises() -> None:
    rows = torch.arange(3)
    tensors = start(rows)
    step, _, calls = going(tensors, rows)
    before = torch.full((3,), torch.inf, dtype=torch.float64)
    for k in range(30):
        loss = step()
        here = bowls(torch.cat([tensors[0], tensors[1].flatten(1)], 1).detach(), rows)
        torch.testing.assert_close(loss, here, rtol=1e-12, atol=1e-14)
        assert bool((loss <= before).all())
        assert len(calls) <= k + 2
        before = loss


@pytest.mark.parametrize("row", [0, 1, 2])
def test_members_do_not_influence_each_other(row: int) -> None:
    together, _, _ = run(torch.arange(3), 12)
    alone, _, _ = run(torch.tensor([row]), 12)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[row], b[0], rtol=1e-9, atol=1e-12)


def test_one_that_runs_into_what_cannot_be_simulated_keeps_nobody_else() -> None:
    """Its minimum lies beyond; the others go the way that they go without it."""
    rows = torch.arange(3)
    tensors, free = start(rows), start(rows)
    step, _, _ = going(tensors, rows, wall=-0.5)
    without, _, _ = going(free, rows)
    for _ in range(40):
        step()
        without()
        assert float(tensors[0].detach()[0, 0]) <= -0.5
    for a, b in zip(tensors, free, strict=True):
        torch.testing.assert_close(a[1:], b[1:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [math.nan, 1.0, math.inf])
def test_one_without_a_slope_stays_and_keeps_nobody_else(value: float) -> None:
    x = torch.tensor([[1.0], [1.0]], dtype=torch.float64, requires_grad=True)
    optimiser = MembersLBFGS([x], lr=0.5, tolerance=1e-9)

    def closure() -> Tensor:
        optimiser.zero_grad()
        assert bool(torch.isfinite(x.detach()).all())
        loss = x.square().sum(1)
        loss.sum().backward()
        assert x.grad is not None
        x.grad[0] = math.nan
        return torch.cat([loss.new_tensor([value]), loss[1:].detach()])

    for _ in range(20):
        optimiser.step(closure)
    assert float(x.detach()[0]) == 1.0
    assert float(x.detach()[1]) == pytest.approx(0.0, abs=1e-8)


def test_no_step_moves_a_number_by_more_than_the_rate() -> None:
    rows = torch.arange(3)
    tensors = start(rows)
    step, _, _ = going(tensors, rows, lr=0.03)
    for _ in range(20):
        before = [t.detach().clone() for t in tensors]
        step()
        assert all(float((t.detach() - b).abs().max()) <= 0.03 + 1e-15 for t, b in zip(tensors, before, strict=True))


def test_it_goes_on_from_what_its_state_says() -> None:
    rows = torch.arange(3)
    whole, _, _ = run(rows, 9)
    tensors = start(rows)
    step, optimiser, _ = going(tensors, rows)
    for _ in range(5):
        step()
    kept = copy.deepcopy(dict(optimiser.state[tensors[0]]))
    again = [t.detach().clone().requires_grad_() for t in tensors]
    step, other, calls = going(again, rows)
    other.state[again[0]] = kept
    for _ in range(4):
        step()
    assert len(calls) == 4
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_it_says_the_objective_in_the_type_of_its_tensors() -> None:
    x = torch.ones(2, 1, requires_grad=True)
    optimiser = MembersLBFGS([x])

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = x.square().sum(1)
        value.sum().backward()
        return value

    assert optimiser.step(closure).dtype == x.dtype == torch.float32
    assert float(x.detach().max()) == pytest.approx(0.95)


def test_a_trial_that_cannot_be_simulated_is_taken_back_and_the_first_point_is_not_forgiven() -> None:
    x = torch.tensor([[1.0]], dtype=torch.float64, requires_grad=True)
    optimiser = MembersLBFGS([x], lr=1.0)

    def closure() -> Tensor:
        if float(x.detach()) < 0.5:  # the minimum of x² lies beyond
            raise SimulationError("it leaves")
        optimiser.zero_grad()
        value = 100.0 * x.square().sum(1)
        value.sum().backward()
        return value

    for _ in range(60):
        optimiser.step(closure)
        assert float(x.detach()) >= 0.5
    assert float(x.detach()) == pytest.approx(0.5, abs=1e-3)  # steps shrink tenfold at the edge
    with torch.no_grad():
        x.fill_(0.1)
    with pytest.raises(SimulationError, match="leaves"):
        MembersLBFGS([x]).step(closure)
