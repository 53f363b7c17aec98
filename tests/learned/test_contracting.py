"""Contracting by construction: whatever the weights, the certificate is proved, and the model does what it says."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from exchange.bundle.structures import describe, rebuild
from hybrid import Exponential, HybridModel, Mesh, Schedule, States, Torchdiffeq, simulate
from hybrid.solve.kernel import Network
from learned import MLP, AdditiveProportional, ContractingMLP, Ensemble
from learned.bent import Bent
from physics import LinearBackbone, SharedPopulation
from stability import Certificate, Lure, certify, check, common_metric
from training.losses import Stability

F64 = torch.float64
A = torch.tensor([[-1.0, 0.5, 0.0], [-0.8, -1.2, 0.3], [0.0, 0.4, -0.6]], dtype=F64)
VERTICES = torch.stack([A, 1.5 * A, A + torch.diag(torch.tensor([0.0, -2.0, -0.1], dtype=F64))])


def shaken(residual: ContractingMLP, scale: float, members: int = 1, seed: int = 0) -> ContractingMLP:
    """Members with weights nowhere near the first ones."""
    residual = Ensemble(members).stack(residual, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in residual.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=F64))
    return residual


def systems(residual: ContractingMLP, vertices: Tensor) -> Lure:
    """Every member (first axis) on every vertex (second)."""
    layers = residual.layers()
    return Lure(
        A=vertices,
        weights=[w[:, None] for w in layers.weights],
        biases=[b[:, None] for b in layers.biases],
        activation=layers.activation,
        input_weights=layers.input_weights[:, None],
        skip=None if layers.skip is None else layers.skip[:, None],
    )


def log_norms(J: np.ndarray, P: np.ndarray) -> np.ndarray:
    """The largest eigenvalue of ½(JᵀP + PJ) relative to P."""
    F = np.linalg.cholesky(P)
    turned = F.T @ J @ np.linalg.inv(F.T)
    return np.linalg.eigvalsh(0.5 * (turned + turned.swapaxes(-1, -2)))[..., -1]


def hybrid_model(residual: ContractingMLP | MLP) -> HybridModel:
    return HybridModel(
        LinearBackbone(A),
        SharedPopulation(),
        residual,
        observation=States(range(3), ["a", "b", "c"], ["1"] * 3),
        noise=AdditiveProportional([0.1] * 3, [0.1] * 3, [0.01] * 3),
    )


def agree(residual: ContractingMLP, value: Callable[[], Tensor], generator: torch.Generator) -> None:
    """The gradient in every trainable tensor, along a random direction, is the central difference."""
    residual.zero_grad()
    value().backward()
    for name, parameter in residual.named_parameters():
        if not parameter.numel():
            continue
        direction = torch.randn(parameter.shape, generator=generator, dtype=F64)
        with torch.no_grad():
            ends = []
            for step in (1e-5, -2e-5):
                parameter.add_(step * direction)
                ends.append(float(value()))
            parameter.add_(1e-5 * direction)
        slope = float((parameter.grad * direction).sum())
        assert slope != 0.0, name
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=2e-5, abs=1e-7), name


# ---- the law


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.sampled_from([0.01, 0.1, 1.0, 10.0, 100.0]),
    st.sampled_from([(6,), (5, 7), (4, 3, 5), (3, 4, 3, 2)]),
    st.sampled_from(["tanh", "relu", "sigmoid", "softplus"]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_every_weight_value_is_certified_for_all_members_and_vertices(scale, hidden, activation, learn_metric, seed):
    made = ContractingMLP(
        3, 1, 0, hidden, activation, vertices=VERTICES, rate=0.2, learn_metric=learn_metric, state_scale=[1.0, 20.0, 0.3]
    )
    if learn_metric and scale > 1.0:
        scale = 1.0  # e^100 is no metric for float64
    residual = shaken(made, scale, 1 if learn_metric else 2, seed)
    metric, multipliers, rate = residual.witness()
    assert rate >= 0.2
    for vertices in (VERTICES, VERTICES.mean(0, keepdim=True)):  # the corners, and a place between them
        system = systems(residual, vertices)
        found = certify(system, 0.2, metric=metric, multipliers=multipliers)
        assert isinstance(found, Certificate)
        assert found.rate == 0.2
        assert check(found, system)
        np.testing.assert_allclose(np.linalg.cond(found.metric), np.linalg.cond(metric), rtol=1e-6)
        best = certify(system, None, metric=metric, multipliers=multipliers)  # the pair's own best is at least what X says
        assert isinstance(best, Certificate)
        assert best.rate >= rate * (1.0 - 1e-3)
        assert check(best, system)
    # sampled Jacobians, slopes anywhere in their range, written without any of ours
    rng, layers = np.random.default_rng(seed), residual.layers()
    top = 0.25 if activation == "sigmoid" else 1.0
    for m in range(len(residual.linear)):
        W = [w.detach().numpy()[m] for w in layers.weights]
        for draw in range(10):
            slopes = [top * (rng.random(len(w)) if draw % 2 else rng.integers(0, 2, len(w))) for w in W[:-1]]
            J = W[0]
            for w, slope in zip(W[1:], slopes, strict=True):
                J = w @ (slope[:, None] * J)
            J = J + layers.skip.detach().numpy()[m]
            # J is a sum that cancels: it is known to the rounding of its terms
            blur = 1e-13 * max(np.abs(J).max(), np.abs(layers.skip.detach().numpy()[m]).max()) * np.linalg.cond(metric)
            assert (log_norms(VERTICES.numpy() + J, metric.numpy()) <= -0.2 + blur).all()


def test_it_is_tight_where_the_exact_answer_is_known():
    # one vertex, no bend left: the rate that this P and Λ prove is the made one plus half of X's least eigenvalue
    residual = shaken(ContractingMLP(3, hidden=(6, 4), vertices=A, rate=0.3), 0.5)
    with torch.no_grad():
        residual.linear.fill_(0.0)
        residual.linear[0] += 10.0 * torch.eye(3)  # Z far outside: S gives way all along
    metric, multipliers, rate = residual.witness()
    assert 0.3 < rate < 0.3 + 0.02
    found = certify(systems(residual, A[None]), None, metric=metric, multipliers=multipliers)
    assert rate * 0.999 < found.rate < rate * 1.01 + 1e-5 * float(residual.layers().skip.detach().abs().max())


def test_a_linear_term_that_is_certified_is_kept_as_it_is():
    # far inside the set S = Z in the metric's coordinates, here P = I, whatever the other weights
    residual = ContractingMLP(3, hidden=(6,), vertices=4.0 * A, metric=torch.eye(3), rate=0.01)
    with torch.no_grad():
        residual.weights[-1].mul_(1e-3)
        residual.linear.copy_(-torch.rand((1, 3, 3), generator=torch.Generator().manual_seed(0), dtype=F64))
    torch.testing.assert_close(residual.layers().skip, 3.0 * residual.linear.detach(), rtol=0, atol=1e-3)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6), st.floats(1e-3, 10.0))
def test_bent_is_positive_and_close_to_the_positive_part(entries, tau):
    K = torch.zeros(3, 3, dtype=F64)
    K[torch.triu_indices(3, 3).unbind()] = torch.tensor(entries, dtype=F64)
    K = K + K.mT
    values, vectors = torch.linalg.eigh(K)
    bent = Bent.apply(K, tau)[0]
    want = (vectors * (0.5 * (values + torch.sqrt(values**2 + 4 * tau**2)))) @ vectors.mT
    torch.testing.assert_close(bent, want, rtol=1e-9, atol=1e-9)
    blur = 1e-12 * float(values.abs().max())
    assert torch.linalg.eigvalsh(bent)[0] > -blur
    positive = (vectors * values.clamp(min=0.0)) @ vectors.mT
    assert torch.linalg.matrix_norm(bent - positive, 2) <= tau + blur


def test_the_derivative_where_eigenvalues_agree():
    for K in (torch.eye(3, dtype=F64), torch.zeros(3, 3, dtype=F64), torch.diag(torch.tensor([1.0, 1.0, -2.0], dtype=F64))):
        turn = torch.rand((3, 3), generator=torch.Generator().manual_seed(1), dtype=F64)
        symmetric = lambda X, K=K: Bent.apply(K + X + X.mT, 0.3)[0]  # noqa: E731
        torch.autograd.gradcheck(symmetric, (torch.zeros_like(turn, requires_grad=True),), atol=1e-6)


@pytest.mark.parametrize("hidden", [(4,), (3, 4)])
@pytest.mark.parametrize("learn_metric", [False, True])
def test_gradients_are_those_of_finite_differences(hidden, learn_metric):
    residual = shaken(
        ContractingMLP(3, 1, 1, hidden, vertices=VERTICES, rate=0.2, learn_metric=learn_metric, vanishes_at_origin=False), 0.7
    )
    generator = torch.Generator().manual_seed(3)
    x, u, c, weight = (torch.randn(1, 4, size, generator=generator, dtype=F64) for size in (3, 1, 1, 3))
    agree(residual, lambda: (weight * residual(x, u, c)).sum(), generator)


# ---- in a model


def test_the_linear_term_joins_A_and_the_solution_is_that_of_the_plain_field():
    residual = shaken(ContractingMLP(3, hidden=(5, 4), vertices=A), 0.5, members=2)
    model = hybrid_model(residual)
    x0 = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 3.0]], dtype=F64)
    theta, times = torch.zeros(2, 0, dtype=F64), [[0.5, 1.5, 4.0]] * 2
    with torch.no_grad():
        ours = simulate(model, [Schedule()] * 2, times, theta, x0, solver=Exponential(rtol=1e-8))

    class Plain(torch.nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            nothing = torch.zeros(2, 2, 0, dtype=F64)
            return x @ A.mT + residual(x, nothing, nothing)

    from torchdiffeq import odeint

    with torch.no_grad():
        start = x0.expand(2, 2, 3)
        plain = odeint(Plain(), start, torch.tensor([0.0, *times[0]], dtype=F64), rtol=1e-8, atol=1e-9)[1:]
        stepped = simulate(model, [Schedule()] * 2, times, theta, x0, solver=Torchdiffeq("dopri5", rtol=1e-8, atol=1e-9))
    torch.testing.assert_close(ours, plain.permute(1, 2, 0, 3), rtol=1e-5, atol=2e-6)  # what the tolerance adds up to
    torch.testing.assert_close(stepped, ours, rtol=1e-5, atol=2e-6)
    with pytest.raises(ValueError, match="add it to A"):
        Network.of(residual.layers().at(torch.zeros(2, 1, 0, dtype=F64)), 2)


def test_gradients_through_the_exponential_steps_reach_every_tensor():
    residual = shaken(ContractingMLP(3, hidden=(4,), vertices=A), 0.5)
    model, theta = hybrid_model(residual), torch.zeros(1, 0, dtype=F64)
    x0, times = torch.tensor([[1.0, -2.0, 0.5]], dtype=F64), [[0.5, 1.0]]

    def loss() -> Tensor:
        found = simulate(model, [Schedule()], times, theta, x0, solver=Exponential(), mesh=Mesh(0.25))
        return found.square().sum()

    agree(residual, loss, torch.Generator().manual_seed(2))


def test_trajectories_come_closer_at_the_rate():
    residual = shaken(ContractingMLP(3, hidden=(8,), vertices=A, rate=0.4), 1.0)
    model = hybrid_model(residual)
    x0 = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 1.0, 2.0]], dtype=F64)
    times = [[0.25 * k for k in range(1, 13)]] * 2
    x = simulate(model, [Schedule()] * 2, times, torch.zeros(2, 0, dtype=F64), x0, solver=Exponential(rtol=1e-9))
    P, _, rate = residual.witness()
    difference = x[0, 0] - x[0, 1]
    distance = torch.einsum("ti,ij,tj->t", difference, P, difference).sqrt().detach()
    first = float(((x0[0] - x0[1]) @ P @ (x0[0] - x0[1])).sqrt())
    assert (distance <= first * torch.exp(-rate * torch.tensor(times[0], dtype=F64)) * (1.0 + 1e-6)).all()


def test_a_trained_model_is_certified_and_survives_its_bundle_and_the_penalty_is_silent():
    model = hybrid_model(ContractingMLP(3, hidden=(8, 6), vertices=A, rate=0.1))
    model = Ensemble(2).stack(model, torch.Generator().manual_seed(0))
    x0, theta = torch.tensor([[1.0, -2.0, 0.5]], dtype=F64), torch.zeros(2, 1, 0, dtype=F64)
    target = torch.tensor([[[0.2, -0.5, 0.9], [0.1, 0.2, 0.6]]], dtype=F64)
    optimiser = torch.optim.Adam(model.residual.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        found = simulate(model, [Schedule()], [[0.5, 1.0]], theta, x0, solver=Exponential(), mesh=Mesh(0.25))
        losses.append((found - target).square().mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.5 * losses[0]
    again = rebuild(json.loads(json.dumps(describe(model))), {k: v.detach() for k, v in model.named_parameters()})
    context = torch.zeros(2, 1, 0, dtype=F64)
    system = Lure.of(again.lure(theta, context))
    metric, multipliers, rate = again.residual.witness()
    found = certify(system, rate, metric=metric, multipliers=multipliers)
    assert isinstance(found, Certificate)
    assert found.rate >= 0.1
    assert check(found, system)
    # the training penalty sees the same system: its margin is a lower bound of the rate, and S is part of it
    strict = Stability(metric, 0.05)
    without = Stability(metric, 0.05).penalty(hybrid_model(MLP(3, hidden=(8, 6))), theta)
    assert without.shape == (2, 1)
    shifted = shaken(ContractingMLP(3, hidden=(4,), vertices=A, metric=metric, rate=5.0), 0.01)
    assert (strict.penalty(hybrid_model(shifted), theta) == 0.0).all()  # only S can bring the rate from A's to 5
    assert (Stability(metric, 4.0).penalty(hybrid_model(shifted), theta) == 0.0).all()
    assert (Stability(metric, 6.0).penalty(hybrid_model(shifted), theta) > 0.0).all()


def test_float32_trains_and_its_float64_copy_is_certified():
    residual = shaken(ContractingMLP(3, hidden=(8, 4), vertices=VERTICES, rate=0.1), 0.5).to(torch.float32)
    optimiser = torch.optim.Adam(residual.parameters(), lr=0.01)
    x = torch.randn((1, 16, 3), generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(1, 16, 0)
    before = residual.linear.detach().clone()
    for _ in range(3):
        loss = (residual(x, nothing, nothing) + x).square().mean()
        assert loss.dtype == torch.float32
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert all(p.dtype == torch.float32 for p in residual.parameters())
    assert not torch.equal(before, residual.linear)
    residual = residual.to(F64)
    metric, multipliers, rate = residual.witness()
    system = systems(residual, VERTICES)
    assert certify(system, rate, metric=metric, multipliers=multipliers)


# ---- choices and refusals


def test_the_metric_and_rate_by_default_and_given():
    residual = ContractingMLP(3, hidden=(4,), vertices=A, state_scale=[1.0, 4.0, 2.0])
    P, _, rate = residual.witness()
    reached = -float(log_norms(A.numpy(), P.numpy()))
    assert residual.rate == pytest.approx(0.5 * reached, rel=1e-9)  # half of what the backbone reaches
    assert rate >= residual.rate
    given, best = common_metric(VERTICES.numpy())
    chosen = ContractingMLP(3, hidden=(4,), vertices=VERTICES, metric=given)
    torch.testing.assert_close(chosen.witness()[0], torch.from_numpy(given), rtol=1e-12, atol=0)
    assert chosen.rate == pytest.approx(0.5 * best, rel=1e-9)
    # the first S is small where the backbone leaves room
    assert chosen.layers().skip.abs().max() < 0.5 * VERTICES.abs().max()


def test_candidates_that_do_not_hold_are_searched_instead():
    residual = shaken(ContractingMLP(3, hidden=(6,), vertices=A, rate=0.3), 1.0)
    system, (metric, multipliers, _) = systems(residual, A[None]), residual.witness()
    found = certify(system, 0.3, metric=metric, multipliers=1e-9 * multipliers)
    assert isinstance(found, Certificate)
    assert check(found, system)  # the climb found others in this metric
    assert not certify(system, 1e3, metric=metric, multipliers=multipliers)
    with pytest.raises(ValueError, match="give both"):
        certify(system, 0.3, multipliers=multipliers)
    with pytest.raises(ValueError, match="systems, units"):
        certify(system, 0.3, metric=metric, multipliers=multipliers[:, :-1])


def test_a_metric_for_each_member_is_none_for_all():
    residual = shaken(ContractingMLP(3, hidden=(4,), vertices=A, learn_metric=True), 0.5, members=2)
    with pytest.raises(ValueError, match="one P"):
        residual.witness()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ContractingMLP(3, activation="silu", vertices=A), r"slopes in \[0, β\]"),
        (lambda: ContractingMLP(3, hidden=(), vertices=A), "hidden widths ≥ 1"),
        (lambda: ContractingMLP(2, vertices=A), r"\(V, 2, 2\)"),
        (lambda: ContractingMLP(3, vertices=A, metric=-torch.eye(3)), "positive definite"),
        (lambda: ContractingMLP(3, vertices=A, metric=torch.eye(2)), r"symmetric \(3, 3\)"),
        (lambda: ContractingMLP(3, vertices=A, rate=-1.0), "positive and finite"),
        (lambda: ContractingMLP(3, vertices=-A), "give a metric"),
        (lambda: ContractingMLP(3, vertices=-A, metric=torch.eye(3)), "rate that S is to add"),
        (lambda: ContractingMLP(3, vertices=A, state_scale=[1.0]), "ContractingMLP: state_scale needs 3 positive"),
    ],
)
def test_what_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_an_unstable_backbone_is_stabilised_where_a_metric_and_a_rate_are_given():
    residual = ContractingMLP(3, hidden=(4,), vertices=-A, metric=torch.eye(3), rate=0.1)
    J = (-A + residual.layers().skip[0]).detach().numpy()
    assert log_norms(J, np.eye(3)) < -0.1
