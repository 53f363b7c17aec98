"""The split of a prediction's variance, held against truths that are known in closed form."""

import functools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid import HybridModel, Mesh, Prediction, Schedule, States, conditions_of, field_spread, predict
from learned import MLP, Constant, DiagonalDiffusion, Ensemble, Zero
from physics import Backbone, LinearBackbone, LogNormalPopulation, OneCompartmentOral, Parameter, SharedPopulation
from physics.hull import corners

F64 = torch.float64
RATE, SCALE, START, ASKED = 1.0, 0.5, 2.0, 1.0  # λ, s, x0 and t of the reference
EVERY = 0.1  # time between two values of a record


class Relaxation(Backbone):
    """dx/dt = −λ x, starting at 2."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.state_units, self.inputs, self.input_units = ("x",), ("1",), (), ()
        self.time_unit, self.physical = "1", (Parameter("rate", "1", 1.0, 1e-3, 1e3),)

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return -theta[..., None], theta.new_zeros(*theta.shape[:-1], 1, 0)

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        return self.matrices(corners(lower, upper))[0]

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        return torch.full((*theta.shape[:-1], 1), START, dtype=theta.dtype)

    def config(self) -> dict:
        return {}


def model() -> HybridModel:
    backbone = Relaxation()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [1.0], bend="tanh"),  # whose bend can be undone in closed form
        observation=States([0], ["x"], ["1"]),
        noise=Constant([1e-4], [1e-4]),
        process=DiagonalDiffusion([SCALE]),
    )


def posterior_rates(rng: np.random.Generator, length: float, sets: int, members: int) -> np.ndarray:  # (M, N)
    """Draws of λ given a record of this length, for many records: the exact posterior under a flat prior, on a fine grid.

    A record is a stationary autoregression, x_{k+1} = φ x_k + e with φ = e^{−λΔ}, Var e = v(1 − φ²), v = s²/2λ.
    """
    count = round(length / EVERY)
    phi, v = math.exp(-RATE * EVERY), SCALE**2 / (2.0 * RATE)
    x = math.sqrt(v) * rng.standard_normal(sets)
    first, squares, products, last = x, np.zeros(sets), np.zeros(sets), x
    for _ in range(count):
        new = phi * last + math.sqrt(v * (1.0 - phi**2)) * rng.standard_normal(sets)
        squares, products, last = squares + last**2, products + last * new, new
    ends = squares - first**2 + last**2  # Σ x_{k+1}²
    grid = np.geomspace(0.1, 10.0, 2000)[:, None]
    f, w = np.exp(-grid * EVERY), SCALE**2 / (2.0 * grid)
    noise = w * (1.0 - f**2)
    log = -0.5 * (count * np.log(noise) + (ends - 2.0 * f * products + f**2 * squares) / noise + np.log(w) + first**2 / w)
    density = np.exp(log - log.max(0)) * grid  # a flat prior of λ on a grid that is even in log λ
    cumulated = np.cumsum(density, 0) / density.sum(0)
    level = rng.uniform(size=(members, sets))
    return np.stack([np.interp(level[:, i], cumulated[:, i], grid[:, 0]) for i in range(sets)], 1)


@functools.cache
def forecasts(length: float, sets: int = 600, members: int = 16) -> Prediction:
    """Of x at t = 1 from x0 = 2, by members who each have a rate of the posterior: one "person" a data set."""
    built = model()
    rng = np.random.default_rng(int(length))
    rates = torch.from_numpy(posterior_rates(rng, length, sets, members))
    population = built.population
    # the population's own bend undone: η is such that θ is the rate drawn
    bent = population.half_width * torch.atanh((rates.log()[..., None] - population.centre) / population.half_width)
    eta = bent + population.centre - population.log_typical
    torch.testing.assert_close(population.theta(eta, {})[..., 0], rates, rtol=1e-10, atol=0.0)
    conditions = conditions_of(built, [Schedule()] * sets, [[ASKED]] * sets, mesh=Mesh(0.05))
    times = torch.full((sets, 1), ASKED, dtype=F64)
    return predict(built, conditions, eta[:, None], times=times, mask=times > 0)


LENGTHS = (50.0, 100.0, 200.0, 400.0, 800.0)


def test_ornstein_uhlenbeck_longer_records_teach_the_rate_and_leave_the_noise() -> None:
    epistemic = [float(forecasts(T).epistemic_posterior.mean()) for T in LENGTHS]
    slope = np.polyfit(np.log(LENGTHS), np.log(epistemic), 1)[0]
    assert -1.15 <= slope <= -0.85, f"slope {slope:.3f}"
    truth = SCALE**2 * (1.0 - math.exp(-2.0 * RATE * ASKED)) / (2.0 * RATE)
    assert truth == pytest.approx(0.1081, abs=5e-5)
    for T in LENGTHS:
        assert float(forecasts(T).aleatoric.mean()) == pytest.approx(truth, rel=0.03), T
    # and not the slope alone: t² e^{−2λt} x0² · 2λ/T to first order, which the longest records are in; 600 data sets of 16
    # members know a variance to √(2/(600·15)) = 1.5 %, and the second order is of the order 1/(λT)
    for T, found in zip(LENGTHS[2:], epistemic[2:], strict=True):
        assert found == pytest.approx(ASKED**2 * math.exp(-2.0 * RATE * ASKED) * START**2 * 2.0 * RATE / T, rel=0.06 + 4.0 / T)
    # what the two are is the total's parts, and nothing is personal: the rate is the model's here
    whole = forecasts(50.0)
    torch.testing.assert_close(whole.total, whole.aleatoric + whole.epistemic, rtol=1e-12, atol=0.0)


# ---- the vector field's own spread


def test_field_spread_is_the_variance_over_members() -> None:
    backbone = OneCompartmentOral()
    one = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.4, 0.2, 0.2]),
        MLP(2, covariates=1, hidden=(4,), state_scale=2.0),
        observation=States([0], ["gut"], ["mg"]),
        noise=Constant([0.1], [0.1]),
        latents=1,
    )
    stack = Ensemble(5).stack(one, torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(2)
    x, c = torch.randn(3, 4, 2, generator=g, dtype=F64), torch.randn(3, 4, 1, generator=g, dtype=F64)
    theta = torch.rand(5, 3, 4, 3, generator=g, dtype=F64) + 0.5
    got = field_spread(stack, x, None, c, theta)
    assert got.shape == x.shape
    values = np.zeros((5, 3, 4, 2))
    for m, i, j in np.ndindex(5, 3, 4):
        A, _ = backbone.matrices(theta[m, i, j])
        with torch.no_grad():
            e = stack.residual(x[i, j].expand(5, 1, 2), torch.zeros(1, 1, 0, dtype=F64), c[i, j].expand(5, 1, 1))[m, 0]
        values[m, i, j] = (A @ x[i, j] + e).numpy()
    assert got.numpy() == pytest.approx(values.var(0), rel=1e-10)
    # a point is alone, and a θ that all share drops out of a linear backbone
    torch.testing.assert_close(field_spread(stack, x[1, 2], None, c[1, 2], theta[:, 1, 2]), got[1, 2], rtol=1e-10, atol=0.0)
    a, b = field_spread(stack, x, None, c, theta[0]), field_spread(stack, x, None, c)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        stack.population.shift[2] += 0.5
    assert not torch.allclose(field_spread(stack, x, None, c), b)
    assert field_spread(one, x, None, c).abs().max() == 0.0
    for name, arguments in {"x": (x[..., :1],), "c": (x, None, c[0]), "theta": (x, None, c, theta[..., :2])}.items():
        with pytest.raises(ValueError, match=f"{name} needs"):
            field_spread(stack, *arguments)


def test_contraction_hides_from_a_long_forecast_what_the_field_shows() -> None:
    residual = MLP(1, inputs=1, hidden=(4,), state_scale=1.0)
    shared = {"observation": States([0], ["x"], ["1"]), "noise": Constant([0.1], [0.1])}
    one = HybridModel(LinearBackbone([[-1.0]], [[0.0]]), SharedPopulation(), residual, **shared)
    stack = Ensemble(6).stack(one, torch.Generator().manual_seed(3))
    x = torch.linspace(-2.0, 2.0, 5, dtype=F64)[:, None]
    spread = field_spread(stack, x, torch.zeros(5, 1, dtype=F64))
    assert spread[2, 0] == 0.0  # all vanish at the origin, where a contracting path ends
    assert (spread[[0, 1, 3, 4]] > 1e-6).all()
    alone = HybridModel(LinearBackbone([[-1.0]]), SharedPopulation(), Zero(1), **shared)
    assert field_spread(alone, x).abs().max() == 0.0
