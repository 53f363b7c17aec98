"""Where windows start: from data, by least squares against dense algebra, and by an encoder that all windows share."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from hybrid import Dose, HybridModel, Mesh, RungeKutta, Schedule, Signal, States, rollout
from hybrid.problem import Problem
from learned import MLP, Constant, Ensemble, select
from physics import LinearBackbone, SharedPopulation
from training import (
    Checkpoint,
    Cohort,
    Looks,
    Objective,
    Record,
    Search,
    StartEncoder,
    judged_tail,
    last,
    shoot,
    windows,
)
from training.long_records.from_data import chained, starts_from_data
from training.long_records.windowed import rollout_windows, simulated_starts

F64 = torch.float64
EXACT = RungeKutta("rk4")
NOISE = 0.05


def spring(residual: MLP | None = None, stiffness: float = 1.0, damping: float = 0.1) -> HybridModel:
    """x'' = −k x − c x' + u + ε, of which x is measured and the velocity is not."""
    backbone = LinearBackbone([[0.0, 1.0], [-stiffness, -damping]], [[0.0], [1.0]], states=("x", "v"), inputs=("u",))
    observation, noise = States([0], ["x"], ["1"]), Constant([NOISE], [1e-3])
    return HybridModel(backbone, SharedPopulation(), residual, observation=observation, noise=noise)


def driven(count: int, length: int, seed: int, cubic: float = 0.5, missing: bool = False) -> list[Record]:
    """Records of a spring that hardens, driven by random inputs; by scipy, with noise."""
    rng, found = np.random.default_rng(seed), []
    for i in range(count):
        times = 0.25 * np.arange(1, length + 1)
        if missing:  # at times of everyone's own, and not always
            times = np.sort(rng.choice(0.05 * np.arange(1, 5 * length + 1), length, replace=False))
        knots = np.arange(0.0, 0.25 * length + 2.0, 2.0)
        u = rng.uniform(-1.5, 1.5, len(knots))

        def rate(t: float, z: np.ndarray, knots: np.ndarray = knots, u: np.ndarray = u) -> list[float]:
            return [z[1], -z[0] - cubic * z[0] ** 3 - 0.1 * z[1] + float(np.interp(t, knots, u))]

        path = solve_ivp(rate, (0.0, times[-1]), [0.0, 0.0], t_eval=times, rtol=1e-8, atol=1e-10)
        y = path.y[0] + NOISE * rng.standard_normal(length)
        if missing:
            y[rng.random(length) < 0.2] = np.nan
        schedule = Schedule(inputs={"u": Signal(tuple(knots), tuple(u))})
        found.append(Record(f"{seed}-{i}", schedule, times, y[:, None], ("x",)))
    return found


def small() -> MLP:
    return MLP(2, inputs=1, hidden=(4,), generator=torch.Generator().manual_seed(2))


def test_a_chain_is_what_a_dense_solver_makes_of_it() -> None:
    M, N, J, n, rho = 2, 3, 4, 2, 7.0
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape))

    S, b, F, d = draw(M, N, J, n, n), draw(M, N, J, n), draw(M, N, J, n, n), draw(M, N, J, n)
    A = S @ S.mT
    found = chained(A.clone(), b.clone(), F, d, torch.ones(1, N, J, 1, dtype=F64), rho, torch.zeros(M, N, dtype=F64))
    H, g = torch.zeros(M, N, J * n, J * n, dtype=F64), b.reshape(M, N, J * n).clone()
    for j in range(J):
        row = torch.zeros(M, N, n, J * n, dtype=F64)
        row[..., j * n : (j + 1) * n] = -torch.eye(n, dtype=F64)
        if j:
            row[..., (j - 1) * n : j * n] = F[:, :, j]
        H += rho * row.mT @ row
        g -= rho * (row.mT @ d[:, :, j, :, None])[..., 0]
        H[..., j * n : (j + 1) * n, j * n : (j + 1) * n] += A[:, :, j]
    torch.testing.assert_close(found.reshape(M, N, J * n), torch.linalg.solve(H, g), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("missing", [False, True])
def test_starts_from_data_are_the_least_squares_solution(missing: bool) -> None:
    model = Ensemble(2).stack(spring(small()), torch.Generator().manual_seed(1))
    cohort = Cohort.of(driven(3, 24, seed=3, missing=missing), model, Mesh(0.25))
    cut = windows(cohort.conditions.segments, 4)
    personal = torch.zeros(2, 3, 0, dtype=F64)
    begun = simulated_starts(model, cohort.conditions, cut, personal, EXACT).expand(2, -1, -1, -1) + 1.0
    scale, rho = torch.tensor([0.5, 1.5], dtype=F64).expand(1, 1, 1, 2), 10.0
    y = cohort.y.expand(2, -1, -1, -1)
    starts = starts_from_data(model, cohort, cut, personal, begun, y, scale, rho, EXACT)

    def cost(at: torch.Tensor) -> torch.Tensor:
        run, gap = rollout_windows(model, cohort.conditions, cut, personal, at, EXACT)
        known = torch.where(torch.isfinite(y), y, run.mean)
        error = (known - run.mean).square() / run.variance
        return 0.5 * error.sum() + 0.5 * rho * (gap / scale).square().sum()

    starts.requires_grad_()
    (slope,) = torch.autograd.grad(cost(starts), starts)
    begun.requires_grad_()
    (before,) = torch.autograd.grad(cost(begun), begun)
    # ε bends little over a window: what six steps of Gauss and Newton leave is a millionth of where they began
    assert float(slope.abs().max()) < 1e-5 * float(before.abs().max())


def test_the_velocity_that_nobody_measured_is_that_of_the_truth() -> None:
    model = spring()
    records = driven(4, 40, seed=5, cubic=0.0)
    cohort = Cohort.of(records, model, Mesh(0.25))
    cut = windows(cohort.conditions.segments, 5)
    personal = torch.zeros(1, 4, 0, dtype=F64)
    truth = simulated_starts(model, cohort.conditions, cut, personal, EXACT)
    ones = torch.ones(1, 1, 1, 2, dtype=F64)
    found = starts_from_data(model, cohort, cut, personal, torch.zeros_like(truth), cohort.y[None], ones, 10.0, EXACT)
    # eight measurements of a window, each ± .05, and those of the neighbours: of 32 errors none reaches five of these
    assert float((found - truth).abs().max()) < 5 * 0.05
    assert float((found - truth)[..., 1].square().mean().sqrt()) < 0.06 < float(truth[..., 1].std())


def settled(kind: Any, model: HybridModel, cohort: Cohort, **more: Any) -> list[Any]:
    search = more.pop("search", Search(steps=6, solver=EXACT))
    looks, objective = more.pop("looks", Looks()), more.pop("objective", Objective(least_residual=0.0))
    return list(shoot(model, cohort, objective, search, looks, count=4, rounds=2, polish=2, starts=kind, **more))


KINDS: dict[str, Callable[[], Any]] = {"data": lambda: "data", "encoder": StartEncoder, "map": lambda: StartEncoder(3, 0)}


@pytest.mark.parametrize("kind", KINDS)
def test_members_people_of_no_weight_and_what_judges_keep_to_themselves(kind: str) -> None:
    starts = KINDS[kind]()
    model = Ensemble(2).stack(spring(small(), 0.6), torch.Generator().manual_seed(1))
    records = driven(4, 24, seed=3, missing=True)
    cohort = Cohort.of(records, model, Mesh(0.25))
    weights = torch.ones(2, 4, dtype=F64)
    weights[1, 3] = 0.0
    judged = judged_tail(cohort, 0.3)
    objective = Objective(weights=weights, judged=judged, least_residual=0.0)
    both = settled(starts, model, cohort, objective=objective)
    one = replace(objective, weights=weights[1:])
    alone = settled(starts, select(model, torch.tensor([1])), cohort, objective=one)
    for a, b in zip(both, alone, strict=True):
        torch.testing.assert_close(a.loss[1], b.loss[0], rtol=1e-7, atol=0.0)
    # neither a judged measurement nor somebody of no weight says where a member's windows start
    y = cohort.y.clone()
    y[judged] = y[judged] + 5.0
    y[3] = 3.0 * y[3]
    other = settled(starts, select(model, torch.tensor([1])), replace(cohort, y=y), objective=one)
    assert [float(s.loss) for s in other] == [float(s.loss) for s in alone]
    assert not torch.equal(other[-1].held_out, alone[-1].held_out)
    assert all(math.isfinite(float(s.loss[0])) for s in both)


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_saved_and_resumed_is_never_stopped(kind: str, tmp_path: Path) -> None:
    starts, model = KINDS[kind](), spring(small(), 0.6)
    cohort = Cohort.of(driven(3, 24, seed=3), model, Mesh(0.25))
    whole = settled(starts, model, cohort)
    looks = Looks(checkpoint=Checkpoint(tmp_path / "fit.checkpoint", every=1))
    search = Search(steps=6, solver=EXACT)
    for step in shoot(model, cohort, Objective(least_residual=0.0), search, looks, count=4, rounds=2, polish=2, starts=starts):
        if step.index == 3:
            break
    again = settled(starts, model, cohort, looks=looks)
    assert [s.index for s in again] == list(range(3, 9))
    for a, b in zip(whole[2:], again, strict=True):
        assert torch.equal(a.loss, b.loss)
    for p, q in zip(whole[-1].best.model.parameters(), again[-1].best.model.parameters(), strict=True):
        assert torch.equal(p, q)
    if kind != "data":
        with pytest.raises(ValueError, match="checkpoint of another fit"):
            settled(StartEncoder(2), model, cohort, looks=looks)


def test_a_prediction_of_a_record_knows_no_encoder() -> None:
    model = spring(small(), 0.6)
    cohort = Cohort.of(driven(3, 24, seed=3), model, Mesh(0.25))
    fitted = last(shoot(model, cohort, search=Search(steps=4), count=4, rounds=2, polish=2, starts=StartEncoder()))
    assert [n for n, _ in fitted.model.named_parameters()] == [n for n, _ in model.named_parameters()]
    # the spring starts at rest, whatever an encoder would say of its first measurements
    assert torch.equal(Problem.of(fitted.model, cohort.conditions, fitted.personal).start, torch.zeros(1, 3, 2, dtype=F64))
    shown = rollout(fitted.model, cohort.conditions, fitted.personal, EXACT).states
    few = cohort.records[0].values.copy()
    few[:-1] = np.nan
    plain = replace(cohort.records[0], values=few)
    unread = Cohort.of([plain, *cohort.records[1:]], fitted.model, Mesh(0.25))  # nothing measured says anything of a prediction
    torch.testing.assert_close(rollout(fitted.model, unread.conditions, fitted.personal, EXACT).states, shown, rtol=0.0, atol=0.0)


def test_what_an_encoder_cannot_read_is_one_sentence() -> None:
    model = spring(small(), 0.6)
    cohort = Cohort.of(driven(3, 24, seed=3), model, Mesh(0.25))
    with pytest.raises(ValueError, match="shoot: starts"):
        settled("smoothed", model, cohort)
    with pytest.raises(ValueError, match="lags"):
        StartEncoder(0)
    schedule = cohort.records[0].schedule
    pushed = replace(cohort.records[0], schedule=replace(schedule, doses=(Dose("v", 2.0, 1.0),)))
    dosed = Cohort.of([pushed], model, Mesh(0.25))
    with pytest.raises(ValueError, match=r'doses or infusions come between, .* write starts="data"'):
        settled(StartEncoder(), model, dosed)
    assert len(settled("data", model, dosed)) == 8


@pytest.mark.slow
def test_of_fifty_short_records_both_reach_what_free_starts_reach() -> None:
    """Fifty records of forty samples, a wrong spring to begin with; twenty others say how good the forecasts became."""
    records = driven(50, 40, seed=0) + driven(20, 40, seed=1)
    residual = MLP(2, inputs=1, hidden=(8,), generator=torch.Generator().manual_seed(2))
    model = spring(residual, 0.5, 0.2)
    cohort = Cohort.of(records, model, Mesh(0.25))
    weights = torch.ones(1, 70, dtype=F64)
    weights[:, 50:] = 0.0
    objective = Objective(weights=weights, held_out=weights == 0.0, least_residual=0.0)
    search, looks = Search(steps=300, rate=0.02, solver=EXACT), Looks(every=20)
    found = {}
    for name, starts in (("free", None), ("data", "data"), ("encoder", StartEncoder())):
        steps = list(shoot(model, cohort, objective, search, looks, count=5, polish=100, starts=starts))  # type: ignore[arg-type]
        found[name] = (float(steps[0].loss), float(steps[-1].loss), float(steps[-1].compared.held_out))  # type: ignore[union-attr]
    # where they begin: the simulated starts of an unfit model are a hundred times as far
    assert found["data"][0] < 0.05 * found["free"][0]
    # log σ + ½ of the noise is −2.50 a measurement (log 2π left out)
    for name in ("data", "encoder"):
        assert found[name][2] < found["free"][2] + 0.15, found  # 100 steps of a line search arrive at none of the minima
        assert found[name][2] < -2.2, found
        assert found[name][1] < found["free"][1] + 2.0, found
