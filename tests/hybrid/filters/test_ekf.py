"""The EKF against one written naively: the derivative of the very step that is taken, η's part included."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid import Concentration, HybridModel, Interval, Mesh, RungeKutta, States, segments_of, transition
from hybrid.filters import EKF, UKF, Belief, Followed, along, smooth
from hybrid.filters.flow import carried, seen
from learned import MLP, Constant, DiagonalDiffusion, Ensemble
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from tests.builders import BOXES, SPREAD
from tests.hybrid.filters.followed import F64

PEOPLE = 3


def oral(members: int = 1) -> HybridModel:
    """η beside the states, a residual with layers, a measurement over a parameter that nobody knows."""
    backbone = OneCompartmentOral(**BOXES)
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, SPREAD),
        MLP(2, 0, 0, (5,), state_scale=[200.0, 200.0], rate_scale=40.0),
        observation=Concentration("plasma", "V"),
        noise=Constant([0.3], [0.01]),
        process=DiagonalDiffusion([3.0, 8.0]),
    )
    return Ensemble(members, "init").stack(model, torch.Generator().manual_seed(5))


def start(members: int = 1) -> Belief:
    rng = np.random.default_rng(2)
    mean = np.array([300.0, 40.0, 0.1, -0.2, 0.3]) + rng.normal(size=(members, PEOPLE, 5)) * [20.0, 5.0, 0.1, 0.1, 0.1]
    root = np.tril(0.05 * rng.normal(size=(members, PEOPLE, 5, 5))) + np.diag([20.0, 10.0, 0.9, 0.8, 0.7])
    return Belief(torch.from_numpy(mean), torch.from_numpy(root), torch.zeros(PEOPLE, dtype=F64), 2)


def followed(model: HybridModel) -> Followed:
    return Followed.of(model, PEOPLE, mesh=Mesh(0.2), solver=RungeKutta("rk4"))


def undriven(people: Followed) -> Tensor:  # (1, N, 1, 0)
    return torch.zeros(1, people.size, 1, 0, dtype=F64)


def test_deviations_go_by_the_derivative_of_the_step_that_is_taken() -> None:
    people, belief = followed(oral(2)), start(2)
    interval = Interval.of(torch.tensor([0.1, 0.2, 0.15], dtype=F64), 2, meshed=True)
    with torch.no_grad():
        moved = EKF(people).step(belief.mean, belief.root, interval)
        columns = []
        for j in range(5):
            e = 1e-4 * torch.eye(5, dtype=F64)[j] * torch.tensor([100.0, 100.0, 1.0, 1.0, 1.0], dtype=F64)
            both = torch.stack([belief.mean + e, belief.mean - e], 2)
            up, down = carried(people, both, interval).unbind(2)
            columns.append((up - down) / (2.0 * e[j]))
        F = torch.stack(columns, -1)  # (M, N, n, z)
        assert torch.equal(moved.before, belief.root)
        torch.testing.assert_close(moved.after[..., :2, :], F @ belief.root, rtol=1e-7, atol=1e-6)
        assert torch.equal(moved.after[..., 2:, :], belief.root[..., 2:, :])
        torch.testing.assert_close(moved.mean[..., :2], carried(people, belief.mean[:, :, None], interval)[:, :, 0])
        assert torch.equal(moved.mean[..., 2:], belief.mean[..., 2:])


def test_a_measurement_is_taken_by_its_slope_in_states_and_coordinates() -> None:
    people, belief = followed(oral(2)), start(2)
    y = torch.tensor([[5.0], [math.nan], [9.0]], dtype=F64)
    with torch.no_grad():
        after, said = EKF(people).update(belief, y)
        columns = []
        for j in range(5):
            e = 1e-4 * torch.eye(5, dtype=F64)[j] * torch.tensor([100.0, 100.0, 1.0, 1.0, 1.0], dtype=F64)
            up, down = seen(people, torch.stack([belief.mean + e, belief.mean - e], 2), undriven(people)).unbind(2)
            columns.append((up - down) / (2.0 * e[j]))
        H = torch.stack(columns, -1)  # (M, N, 1, z)
        predicted = seen(people, belief.mean[:, :, None], undriven(people))[:, :, 0]
        P = belief.covariance
        S = H @ P @ H.mT + 0.3**2 + 0.01**2
        K = P @ H.mT / S  # Särkkä & Svensson 2023, eq. 7.29
        value = torch.where(torch.isnan(y), 0.0, y - predicted)
        there = ~torch.isnan(y[:, 0])
        torch.testing.assert_close(
            after.mean[:, there], (belief.mean + (K @ value[..., None])[..., 0])[:, there], rtol=1e-8, atol=1e-8
        )
        torch.testing.assert_close(after.covariance[:, there], (P - K @ S @ K.mT)[:, there], rtol=1e-7, atol=1e-7)
        assert torch.equal(after.mean[:, 1], belief.mean[:, 1])
        assert torch.equal(after.root[:, 1], belief.root[:, 1])
        torch.testing.assert_close(said.root[:, there, 0, 0], S[:, there, 0, 0].sqrt(), rtol=1e-8, atol=0.0)
        assert said.count.tolist() == [[1, 0, 1]] * 2


def columns_of(model: HybridModel) -> tuple[list[float], Tensor]:
    """Lengths of stretches and measurements at their ends."""
    rng = np.random.default_rng(4)
    y = torch.from_numpy(rng.uniform(3.0, 10.0, (PEOPLE, 6, len(model.observation.channels))))
    y[1, 2], y[2, 5] = math.nan, math.nan
    return [0.3, 0.2, 0.55, 0.4, 0.25, 0.3], y


def test_the_gradient_of_the_likelihood_is_that_of_differences() -> None:
    """By weights, g, σ, the first belief and a dose."""
    model = oral()
    lengths, y = columns_of(model)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def total(scale: Tensor) -> Tensor:
        belief = start()
        belief = Belief(belief.mean * scale, belief.root * scale, belief.time, 2)
        value = scale.new_zeros(())
        for k, h in enumerate(lengths):
            jump = torch.zeros(PEOPLE, 2, dtype=F64)
            jump[:, 0] = 50.0 * (k == 2)
            interval = Interval.of(torch.full((PEOPLE,), h, dtype=F64), 2, jump=jump * scale)
            belief = filter.predict(belief, interval)
            belief, said = filter.update(belief, y[:, k])
            value = value + said.log_likelihood.sum()
        return value

    filter, one = EKF(followed(model)), torch.ones((), dtype=F64, requires_grad=True)
    gradients = torch.autograd.grad(total(one), [one, *parameters], allow_unused=True, materialize_grads=True)
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    rng, h = torch.Generator().manual_seed(0), 1e-5
    directions = [torch.randn(p.shape, generator=rng, dtype=F64) for p in parameters]
    wanted = sum(float((g * d).sum()) for g, d in zip(gradients[1:], directions, strict=True)) + float(gradients[0])
    ends = []
    with torch.no_grad():
        for sign in (h, -h):
            for p, d in zip(parameters, directions, strict=True):
                p += sign * d
            ends.append(float(total(1.0 + sign * torch.ones((), dtype=F64))))
            for p, d in zip(parameters, directions, strict=True):
                p -= sign * d
    assert (ends[0] - ends[1]) / (2.0 * h) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("make", [UKF, EKF], ids=["UKF", "EKF"])
def test_smoothing_a_bent_model_is_surer_than_filtering_and_nearer_to_the_truth(make: type[EKF] | type[UKF]) -> None:
    """300 people of an oral model without residual, whose truth is drawn from the filter's own law."""
    N, T, h = 300, 8, 0.5
    backbone = OneCompartmentOral(**BOXES)
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, SPREAD),
        observation=Concentration("plasma", "V"),
        noise=Constant([0.4], [0.01]),
        process=DiagonalDiffusion([3.0, 8.0]),
    )
    people = Followed.of(model, N)
    rng = np.random.default_rng(0)
    mean = torch.tensor([300.0, 20.0, 0.0, 0.0, 0.0], dtype=F64).expand(1, N, 5)
    root = torch.diag(torch.tensor([15.0, 10.0, 0.7, 0.7, 0.7], dtype=F64))
    interval = Interval.of(torch.full((N,), h, dtype=F64), 2, meshed=True)
    z = mean + torch.from_numpy(rng.standard_normal((1, N, 5))) @ root
    truth, y = [], []
    with torch.no_grad():
        for _ in range(T):
            for _ in range(4):  # of Heun's kind: noise of g √h beside the exact flow
                part = Interval.of(interval.dt / 4, 2, meshed=True)
                x = carried(people, z[:, :, None], part)[:, :, 0]
                x = x + torch.from_numpy(rng.standard_normal((1, N, 2))) * torch.tensor([3.0, 8.0], dtype=F64) * (h / 4) ** 0.5
                z = torch.cat([x, z[..., 2:]], -1)
            truth.append(z)
            noise = 0.4 * torch.from_numpy(rng.standard_normal((1, N, 1)))
            y.append(seen(people, z[:, :, None], undriven(people))[:, :, 0] + noise)
        belief = Belief(mean, root.expand(1, N, 5, 5), torch.zeros(N, dtype=F64), 2)
        segments = segments_of(torch.full((N, T), h, dtype=F64), 2)
        track = along(make(people), belief, segments, torch.stack(y, 2), keep="all")
        mean_then, root_then = smooth(track)
    assert track.mean is not None
    assert track.root is not None
    truth = torch.stack(truth, 2)
    var, var_then = ((L @ L.mT).diagonal(dim1=-2, dim2=-1) for L in (track.root, root_then))
    assert bool((var_then <= var * (1.0 + 1e-9)).all())
    off, off_then = ((truth - m).square().mean((0, 1)) for m in (track.mean, mean_then))
    assert bool((off_then[:-1].sum(0) < off[:-1].sum(0)).all())  # every state and coordinate, over the times before the last
    # as sure as it may be: 300 × 7 correlated squares of each component, mild nonlinearity; a band that a filter of twice or
    # half the variance is far from
    each = (truth - mean_then).square()[:, :, :-1] / var_then[:, :, :-1]
    assert bool(((each.mean((0, 1, 2)) > 0.75) & (each.mean((0, 1, 2)) < 1.35)).all())


def test_a_linear_model_is_smoothed_alike_on_any_mesh_and_equals_least_squares() -> None:
    """Along irregular times with missing channels: one Gaussian of all states, and pieces between that change nothing."""
    A = [[-1.0, 0.4, 0.0], [0.3, -0.6, 0.0], [0.5, 0.0, -2.0]]
    model = HybridModel(
        LinearBackbone(A),
        SharedPopulation(),
        observation=States(["x2", "x3"]),
        noise=Constant([0.3, 0.2], [1e-9, 1e-9]),
        process=DiagonalDiffusion([0.5, 0.0, 0.2]),
    )
    rng = np.random.default_rng(1)
    dt = torch.from_numpy(rng.uniform(0.05, 1.5, (2, 6)))
    y = torch.from_numpy(rng.normal(size=(2, 6, 2)))
    y[0, 1, 0], y[1, 3], y[1, 5] = math.nan, math.nan, math.nan
    root = torch.tensor([[0.5, 0.0, 0.0], [0.1, 0.4, 0.0], [-0.2, 0.1, 0.3]], dtype=F64)
    belief = Belief(torch.full((1, 2, 3), 0.3, dtype=F64), root.expand(1, 2, 3, 3), torch.zeros(2, dtype=F64), 3)
    found = []
    with torch.no_grad():
        for make in (UKF, EKF):
            for mesh in (None, Mesh(0.1)):
                segments = segments_of(dt, 3, mesh=mesh)
                found.append(smooth(along(make(Followed.of(model, 2)), belief, segments, y, keep="all")))
    for mean, L in found[1:]:
        torch.testing.assert_close(mean, found[0][0], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(L @ L.mT, found[0][1] @ found[0][1].mT, rtol=1e-10, atol=1e-10)
    # z_t = F_t … F_1 z_0 + Σ F … w, everything of one person as one Gaussian

    for i in range(2):
        J, D = torch.tensor(A, dtype=F64), torch.diag(torch.tensor([0.5, 0.0, 0.2], dtype=F64)).square()
        moves = [transition(J * h, D * h) for h in dt[i]]
        joint = torch.zeros(18, 18, dtype=F64)
        m, P = belief.mean[0, i], belief.covariance[0, i]
        means, marginals = [], []
        for F, Q in moves:
            m, P = F @ m, F @ P @ F.mT + Q
            means.append(m)
            marginals.append(P)
        for a in range(6):
            cross = marginals[a]
            for b in range(a, 6):
                cross = cross if b == a else moves[b][0] @ cross
                joint[3 * b : 3 * b + 3, 3 * a : 3 * a + 3] = cross
                joint[3 * a : 3 * a + 3, 3 * b : 3 * b + 3] = cross.mT
        H = torch.block_diag(*[torch.eye(3, dtype=F64)[1:]] * 6)
        there = ~torch.isnan(y[i].flatten())
        H, R = H[there], torch.diag(torch.tensor([0.3, 0.2] * 6, dtype=F64)[there].square())
        S = H @ joint @ H.mT + R
        K = torch.linalg.solve(S, H @ joint).mT
        wanted = torch.cat(means) + K @ (y[i].flatten()[there] - H @ torch.cat(means))
        left = joint - K @ S @ K.mT
        torch.testing.assert_close(found[0][0][0, i].flatten(), wanted, rtol=1e-9, atol=1e-9)
        blocks = torch.stack([left[3 * t : 3 * t + 3, 3 * t : 3 * t + 3] for t in range(6)])
        torch.testing.assert_close((found[0][1] @ found[0][1].mT)[0, i], blocks, rtol=1e-9, atol=1e-9)


def test_who_is_lost_on_the_way_is_smoothed_up_to_there() -> None:
    model = oral()
    lengths, y = columns_of(model)
    segments = segments_of(torch.tensor([lengths] * PEOPLE, dtype=F64), 2, mesh=Mesh(0.2))
    people = followed(model)
    with torch.no_grad():
        whole = along(UKF(people), start(), segments, y, keep="all")
        jump = torch.zeros(PEOPLE, 6, 2, dtype=F64)
        jump[1, 3, 0] = 1e308  # what arrives at the fourth stretch of the second is beyond all numbers
        broken = segments_of(torch.tensor([lengths] * PEOPLE, dtype=F64), 2, mesh=Mesh(0.2), jump=jump)
        part = along(UKF(people), start(), broken, y, keep="all")
        mean, _ = smooth(part)
        mean_whole, _ = smooth(whole)
        three = segments_of(torch.tensor([lengths[:3]] * PEOPLE, dtype=F64), 2, mesh=Mesh(0.2))
        mean_short, _ = smooth(along(UKF(people), start(), three, y[:, :3], keep="all"))
    assert part.lost.tolist() == [False, True, False]
    assert bool(torch.isnan(mean[:, 1, 3:]).all())
    torch.testing.assert_close(mean[:, 1, :3], mean_short[:, 1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mean[:, ::2], mean_whole[:, ::2], rtol=1e-12, atol=1e-12)
