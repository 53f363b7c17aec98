"""Contracts of residuals, ensembles and noise: the layers are the function, and it vanishes where it is declared to."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch import Tensor, nn

from hybrid import HybridModel, Mesh, Schedule, States, Torchdiffeq, simulate
from learned import (
    MLP,
    AdditiveProportional,
    Constant,
    Ensemble,
    LayeredResidual,
    Layers,
    NeuralNoise,
    Residual,
    concatenate,
    select,
)
from learned.laws.rebuilt import rebuilt
from physics import LinearBackbone, SharedPopulation
from tests.builders import NOISE_BUILDERS, RESIDUAL_BUILDERS

F64 = torch.float64

def members() -> list[tuple[str, Residual]]:
    return [(name, build()) for name, build in RESIDUAL_BUILDERS.items()]


@pytest.fixture(params=list(RESIDUAL_BUILDERS))
def residual(request) -> Residual:
    """Two members with weights as large as training makes them."""
    one = RESIDUAL_BUILDERS[request.param]()
    stacked = Ensemble(2).stack(one, torch.Generator().manual_seed(7))
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(8), dtype=F64))
    return stacked


def points(residual: Residual, M: int = 2, N: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    behind = 0 if residual.seen_theta is None else residual.seen_theta.count
    sizes = (residual.states, residual.inputs, residual.covariates + behind)
    x, u, c = (3.0 * torch.randn(M, N, size, generator=generator, dtype=F64) for size in sizes)
    return x, u, c


PHI = {
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0.0),
    "sigmoid": lambda v: 0.5 * (1.0 + np.tanh(0.5 * v)),
    "softplus": lambda v: np.logaddexp(0.0, v),
    "silu": lambda v: v / (1.0 + np.exp(-v)),
    "gelu": lambda v: v * norm.cdf(v),
}


def plain(layers: Layers, m: int, x: np.ndarray, u: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The layers of one member for one person, as a textbook writes them."""
    W = [w.detach().numpy()[m % w.shape[0]] for w in layers.weights]
    b = [v.detach().numpy()[m % v.shape[0]] for v in layers.biases]
    U, C = (v.detach().numpy()[m % v.shape[0]] for v in (layers.input_weights, layers.covariate_weights))
    S = np.zeros((len(x), len(x))) if layers.skip is None else layers.skip.detach().numpy()[m % len(layers.skip)]

    def rest(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        v = W[0] @ x + b[0]
        v = v + U @ u if U.shape[1] else v
        v = v + C @ c if C.shape[1] else v
        for weight, bias in zip(W[1:], b[1:], strict=True):
            v = weight @ PHI[layers.activation](v) + bias
        return v + S @ x

    return rest(x, u) - (rest(0.0 * x, 0.0 * u) if layers.vanishes_at_origin else 0.0)


# ---- laws of every residual


def test_it_vanishes_exactly_where_it_is_declared_to(residual):
    x, u, c = points(residual)
    at_origin = residual(torch.zeros_like(x), torch.zeros_like(u), 10.0 * c)
    if residual.vanishes_at_origin:
        assert (at_origin == 0.0).all()  # without any rounding
    else:
        assert (at_origin[..., list(residual.acts_on)] != 0.0).any()


def test_the_layers_evaluated_plainly_are_the_forward_pass(residual):
    assert isinstance(residual, LayeredResidual)
    x, u, c = points(residual)
    have = residual(x, u, c).detach().numpy()
    layers = residual.layers()
    for m in range(2):
        for i in range(x.shape[1]):
            want = plain(layers, m, *(v[m, i].numpy() for v in (x, u, c)))
            # float64 sums of some ten terms of size ten
            np.testing.assert_allclose(have[m, i], want, rtol=1e-12, atol=1e-12 * max(1.0, np.abs(want).max()))


def test_the_plain_biases_with_c_folded_in_are_the_same_function(residual):
    x, u, c = points(residual)
    field = residual.layers().at(c)
    v = x @ field.weights[0].mT + field.biases()[0]
    for weight, bias in zip(field.weights[1:], field.biases()[1:], strict=True):
        v = torch.from_numpy(PHI[field.activation](v.detach().numpy())) @ weight.mT + bias
    v = v if field.skip is None else v + x @ field.skip.mT
    want = residual(x, torch.zeros_like(u), c)
    torch.testing.assert_close(v.expand_as(want), want, rtol=1e-12, atol=1e-12 * float(want.detach().abs().max() + 1.0))


# ---- laws of particular ones


def test_what_the_masks_leave_out():
    one = RESIDUAL_BUILDERS["softplus on one state"]()
    x, u, c = points(one, M=1)
    assert (one(x, u, c)[..., [0, 2]] == 0.0).all()
    assert (one(x, u, c)[..., 1] != 0.0).all()
    blind = RESIDUAL_BUILDERS["of inputs alone"]()
    x, u, c = points(blind, M=1)
    assert torch.equal(blind(x, u, c), blind(x + 5.0, u, c))
    assert not torch.equal(blind(x, u, c), blind(x, u + 5.0, c))
    some = RESIDUAL_BUILDERS["of one input"]()
    x, u, c = points(some, M=1)
    other = u + torch.tensor([5.0, -3.0, 0.0], dtype=F64)
    assert torch.equal(some(x, u, c), some(x, other, c))
    assert not torch.equal(some(x, u, c), some(x, u + 1.0, c))


@pytest.mark.parametrize("name", [name for name, residual in members() if isinstance(residual, MLP)])
def test_an_mlp_is_its_formula(name):
    # ε_i = ρ s_i net_i(x/s, u/r, c) with the trainable tensors as they are and the masks that the arguments name
    mlp = RESIDUAL_BUILDERS[name]()
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(8), dtype=F64))
    s, r = np.array(mlp.state_scale), np.array(mlp.input_scale)
    weights = [w.detach().numpy()[0].copy() for w in mlp.weights]
    biases = [b.detach().numpy()[0] for b in mlp.biases]
    U, C = (w.detach().numpy()[0] for w in (mlp.input_weights, mlp.covariate_weights))
    seen = np.array([float(k in mlp.sees_inputs) for k in range(mlp.inputs)])
    active = np.array([float(k in mlp.acts_on) for k in range(mlp.states)])
    told = mlp.sees_states
    looked_at = np.array([float(told if isinstance(told, bool) else k in told) for k in range(mlp.states)])
    if mlp.separable:  # unit j belongs to state j mod n
        for weight in weights:
            out, into = np.indices(weight.shape) % mlp.states
            weight *= out == into

    def net(x: np.ndarray, u: np.ndarray, c: np.ndarray) -> np.ndarray:
        v = weights[0] @ (x / s * looked_at) + U @ (u / r * seen) + C @ c + biases[0]
        for k, weight in enumerate(weights[1:], 1):
            v = weight @ PHI[mlp.activation](v) + (biases[k] if k < len(biases) else 0.0)
        return mlp.rate_scale * s * active * v

    x, u, c = points(mlp, M=1)
    have = mlp(x, u, c).detach().numpy()[0]
    for i in range(x.shape[1]):
        at = [v[0, i].numpy() for v in (x, u, c)]
        want = net(*at) - (net(0.0 * at[0], 0.0 * at[1], at[2]) if mlp.vanishes_at_origin else 0.0)
        np.testing.assert_allclose(have[i], want, rtol=1e-12, atol=1e-12 * max(1.0, np.abs(want).max()))
    assert len(biases) == len(weights) - mlp.vanishes_at_origin


def test_separable_sees_its_own_state_alone(residual):
    if not getattr(residual, "separable", False):
        residual = Ensemble(2).stack(RESIDUAL_BUILDERS["separable"](), torch.Generator().manual_seed(2))
    x, u, c = points(residual)
    rate = residual(x, u, c)
    for i in range(residual.states):
        moved = x + 7.0
        moved[..., i] = x[..., i]
        torch.testing.assert_close(residual(moved, u, c)[..., i], rate[..., i], rtol=0.0, atol=0.0)
        face = x.clone()
        face[..., i] = 0.0
        assert (residual(face, u, c)[..., i] == 0.0).all()


@settings(deadline=None, max_examples=8, derandomize=True)
@given(st.integers(0, 2**20), st.sampled_from(list(PHI)))
def test_separable_keeps_amounts_from_going_below_zero(seed, activation):
    # a compartmental backbone: what leaves 1 reaches 2, off the diagonal nothing is negative
    generator = torch.Generator().manual_seed(seed)
    model = HybridModel(
        LinearBackbone([[-1.0, 0.2], [0.7, -0.5]]),
        SharedPopulation(),
        MLP(2, 0, 0, (6,), activation, separable=True, rate_scale=4.0, generator=generator),
        observation=States([0], ["y"], ["1"]),
        noise=AdditiveProportional([0.1], [0.1], [0.01]),
    )
    with torch.no_grad():
        for weight in model.residual.weights:
            weight.mul_(2.0)
        x0 = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1e-6, 1e-6]], dtype=F64)
        times = [[0.2 * k for k in range(1, 11)]] * 3
        theta = torch.zeros(3, 0, dtype=F64)
        x = simulate(model, [Schedule()] * 3, times, theta, x0, solver=Torchdiffeq("rk4"), mesh=Mesh(0.02))
    assert x.min() >= 0.0


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=2), st.floats(1e-3, 1e3), st.integers(0, 100))
def test_scales_are_powers_of_two_and_nothing_but_units(scales, rate, seed):
    # ε in other units is the same numbers: ε(s x; s) = ρ s ε(x; 1), exactly, since a power of two only moves exponents
    one = MLP(2, 0, 0, (5,), generator=torch.Generator().manual_seed(seed))
    scaled = MLP(2, 0, 0, (5,), state_scale=scales, rate_scale=rate, generator=torch.Generator().manual_seed(seed))
    s = torch.tensor(scaled.state_scale, dtype=F64)
    x, u, c = points(one, M=1)
    assert torch.equal(scaled(s * x, u, c), scaled.rate_scale * s * one(x, u, c))
    for asked, taken in zip([*scales, rate], [*scaled.state_scale, scaled.rate_scale], strict=True):
        assert 0.5**0.5 * 0.999 < taken / asked < 2.0**0.5 * 1.001  # the nearest power of two
        assert np.frexp(taken)[0] == 0.5


def test_zero_is_zero():
    zero = RESIDUAL_BUILDERS["zero"]()
    assert list(zero.parameters()) == []
    assert not zero(*points(zero)).any()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MLP(0), "states ≥ 1"),
        (lambda: MLP(2, hidden=()), "hidden widths ≥ 1"),
        (lambda: MLP(2, hidden=(0,)), "hidden widths ≥ 1"),
        (lambda: MLP(2, activation="cosine"), "unknown activation 'cosine'"),
        (lambda: MLP(3, hidden=(2,), separable=True), "one hidden unit per state"),
        (lambda: MLP(2, 1, separable=True, sees_states=False), "separable needs sees_states"),
        (lambda: MLP(2, acts_on=[2]), "acts_on names states"),
        (lambda: MLP(2, acts_on=[]), "acts_on names states"),
        (lambda: MLP(2, state_scale=[1.0]), "state_scale needs 2 positive"),
        (lambda: MLP(2, 1, input_scale=0.0), "input_scale needs 1 positive"),
        (lambda: MLP(2, state_scale=float("nan")), "state_scale needs 2 positive"),
        (lambda: MLP(2, rate_scale=0.0), "rate_scale"),
        (lambda: MLP(2, rate_scale=-1.0), "rate_scale"),
        (lambda: MLP(2, rate_scale=float("inf")), "rate_scale"),
        (lambda: Ensemble(0), "members ≥ 1"),
        (lambda: Ensemble(2, folds=1), "folds = 0 or ≥ 2"),
        (lambda: Ensemble(2, "jackknife"), "'bootstrap', 'anchored' or 'init'"),
    ],
)
def test_what_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


# ---- ensembles


def parameters_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in module.named_parameters()}


def test_members_are_stacked_and_taken_apart(residual):
    one = RESIDUAL_BUILDERS["tanh"]()
    stack = Ensemble(3, "init").stack(one, torch.Generator().manual_seed(0))
    apart = [select(stack, torch.tensor([m])) for m in range(3)]
    for name, value in parameters_of(concatenate(apart)).items():
        assert torch.equal(value, parameters_of(stack)[name])
    for name, value in parameters_of(select(stack, torch.tensor([2, 0]))).items():
        assert torch.equal(value, parameters_of(stack)[name][[2, 0]])
    # one member is the single residual, drawn from the same generator
    single = Ensemble(1).stack(one, torch.Generator().manual_seed(5))
    one.reset(torch.Generator().manual_seed(5))
    x, u, c = points(one, M=1)
    assert torch.equal(single(x, u, c), one(x, u, c))
    # members differ, and changing one leaves the others alone
    assert not torch.equal(apart[0](x, u, c), apart[1](x, u, c))
    before = stack(x, u, c)[1:].detach().clone()
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter[0] += 1.0
    assert torch.equal(stack(x, u, c)[1:], before)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(3, 20), st.integers(1, 4), st.sampled_from([0, 2, 3]), st.integers(0, 1000))
def test_how_often_each_member_counts_each_person(people, count, folds, seed):
    generator = torch.Generator().manual_seed(seed)
    ensemble = Ensemble(count, "bootstrap", folds)
    fold = ensemble.fold_of(people, generator) if folds else None
    weights = ensemble.record_weights(people, generator, fold)
    assert weights.shape == (ensemble.stacked, people) == (count * max(folds, 1), people)
    for m, row in enumerate(weights):
        held_out = torch.zeros(people, dtype=torch.bool) if fold is None else fold == m // count
        seen = int((~held_out).sum())
        assert (row[held_out] == 0.0).all()
        assert row.sum() == seen  # a bootstrap draws as many as there are
        if seen >= 3:
            assert seen > int((row > 0).sum()) >= seen / 2
    if fold is not None:
        sizes = torch.bincount(fold, minlength=folds)
        assert sizes.max() - sizes.min() <= 1
    same = Ensemble(count, "init", folds).record_weights(people, generator, fold)
    assert set(same.unique().tolist()) <= {0.0, 1.0}
    assert (same > 0).sum() == weights.sum()


def test_more_folds_than_people():
    with pytest.raises(ValueError, match="at least as many people"):
        Ensemble(1, folds=5).fold_of(4, torch.Generator())
    with pytest.raises(ValueError, match="say which fold"):
        Ensemble(1, folds=2).record_weights(4, torch.Generator())


# ---- noise


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.floats(-40.0, 5.0), st.floats(-40.0, 5.0), st.floats(-1e3, 1e3))
@pytest.mark.parametrize("name", NOISE_BUILDERS)
def test_noise_is_never_below_its_floor(name, first, second, y):
    head = NOISE_BUILDERS[name]()
    with torch.no_grad():
        for parameter, value in zip(head.parameters(), itertools.cycle((first, second))):
            parameter.fill_(value)
    mean = torch.full((2, 3, 4, head.channels), y, dtype=F64)
    nothing = torch.zeros(2, 3, 4, 1, dtype=F64)
    variance = head.variance(mean, nothing, nothing)
    assert variance.shape == mean.shape
    assert (variance >= head.floor.square()).all()
    again = rebuilt(head, name)
    assert torch.equal(again.variance(mean, nothing, nothing), variance)


def test_the_combined_error_model_and_its_deterministic_limit():
    head = NOISE_BUILDERS["additive and proportional"]()
    y = torch.tensor([[[[5.0, -20.0]]]], dtype=F64)
    want = [0.05**2 + 0.3**2 + (0.1 * 5.0) ** 2, 0.5**2 + 2.0**2 + (0.2 * 20.0) ** 2]
    assert head.variance(y, y, y)[0, 0, 0].tolist() == pytest.approx(want, rel=1e-12)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(-400.0)  # the limit: standard deviations of e^{−400}
    assert torch.equal(head.variance(y, y, y)[0, 0, 0], head.floor.square())


def test_constant_noise_and_its_deterministic_limit():
    head = NOISE_BUILDERS["constant"]()
    y = torch.tensor([[[[5.0, -20.0], [0.0, 3.0]]]], dtype=F64)
    want = [0.05**2 + 0.3**2, 0.5**2 + 2.0**2]
    assert head.variance(y, y, y)[0, 0].tolist() == [pytest.approx(want, rel=1e-12)] * 2
    with torch.no_grad():
        head.log_sd.fill_(-400.0)
    assert torch.equal(head.variance(y, y, y)[0, 0, 0], head.floor.square())


def test_neural_noise_is_its_formula_and_starts_near_the_constant():
    head = Ensemble(2).stack(NOISE_BUILDERS["neural"](), torch.Generator().manual_seed(3))
    g = torch.Generator().manual_seed(4)
    y, x = torch.randn(2, 3, 4, 2, generator=g, dtype=F64), torch.randn(2, 3, 4, 1, generator=g, dtype=F64)
    u = torch.randn(1, 3, 4, 1, generator=g, dtype=F64)
    got = head.variance(4.0 * y, x, u).detach().numpy()
    (W, V), (b, c) = ([p.detach().numpy() for p in ps] for ps in (head.weights, head.biases))
    for m, i, t in np.ndindex(2, 3, 4):
        seen = np.array([y[m, i, t, 0], 4.0 * y[m, i, t, 1] / 30.0, x[m, i, t, 0], u[0, i, t, 0] / 2.0])
        net = V[m] @ np.tanh(W[m] @ seen + b[m]) + c[m]
        want = np.array([0.05, 0.5]) ** 2 + (np.array([0.3, 2.0]) * np.log1p(np.exp(net))) ** 2
        assert got[m, i, t] == pytest.approx(want, rel=1e-12)
    # three hidden units of size one, through output weights of .1/√3, move the net by .1 and its softplus by 6 %
    assert np.abs(np.sqrt(got) / np.hypot([0.05, 0.5], [0.3, 2.0]) - 1.0).max() < 0.3
    assert not np.array_equal(got[0], got[1])  # members are drawn apart
    with torch.no_grad():
        head.biases[-1].fill_(-800.0)
    assert torch.equal(head.variance(y, x, u), head.floor.square().expand(2, 3, 4, 2))


def test_neural_noise_does_not_see_inputs_that_it_was_not_told_of():
    head = NeuralNoise([0.3], [0.1], 1)
    y, u = torch.ones(1, 2, 3, 1, dtype=F64), torch.randn(1, 2, 3, 2, dtype=F64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(head.variance(y, y, u), head.variance(y, y, 0.0 * u))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Constant([0.1], [0.0]),
        lambda: Constant([0.1, 0.2], [0.1]),
        lambda: NeuralNoise([0.1], [float("nan")], 1),
        lambda: NeuralNoise([0.1], [0.1], 0),
        lambda: NeuralNoise([0.1], [0.1], 1, hidden=()),
        lambda: NeuralNoise([0.1], [0.1], 2, state_scale=[1.0]),
    ],
)
def test_noise_arguments_are_checked(build):
    with pytest.raises(ValueError, match="needs"):
        build()


def test_the_slope_of_layers_is_their_derivative(residual: Residual) -> None:
    """In closed form, for every activation, with a skip and without, against automatic differentiation."""
    if not isinstance(residual, LayeredResidual):
        pytest.skip("has no layers")
    x, u, c = points(residual, N=3, seed=2)
    field = residual.layers().at(c)
    at = x.requires_grad_()
    rows = [
        torch.autograd.grad(v.sum(), at, retain_graph=True, materialize_grads=True, allow_unused=True)[0]
        for v in field(at, u).unbind(-1)
    ]
    torch.testing.assert_close(field.jacobian(at, u), torch.stack(rows, -2), rtol=1e-12, atol=1e-14)


def test_sees_inputs_is_part_of_the_configuration() -> None:
    chosen = MLP(2, 3, 1, (4,), sees_inputs=(2, 0))
    rebuilt = MLP(**chosen.config())
    rebuilt.load_state_dict(chosen.state_dict())
    u = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, c = torch.ones(1, 5, 2, dtype=torch.float64), torch.ones(1, 5, 1, dtype=torch.float64)
    assert torch.equal(rebuilt(x, u, c), chosen(x, u, c))
    assert torch.equal(chosen(x, u + torch.tensor([0.0, 9.0, 0.0]), c), chosen(x, u, c))
    blind = MLP(2, 3, 1, (4,), sees_inputs=())
    assert torch.equal(blind(x, u, c), blind(x, 2.0 * u, c))
    for inputs, wrong in ((3, (3,)), (3, (-1,)), (0, (0,))):
        with pytest.raises(ValueError, match="sees_inputs"):
            MLP(2, inputs, 1, (4,), sees_inputs=wrong)
