"""Contracts of backbones and populations: stable all over the box, inside the box for every person, and as printed."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import norm
from torch import Tensor

from physics import (
    Backbone,
    LinearBackbone,
    LogNormalPopulation,
    OneCompartmentOral,
    Parameter,
    Population,
    VanCauter,
    VanCauterPopulation,
    require_hurwitz,
    spectral_abscissa,
)
from tests.builders import BACKBONE_BUILDERS, COVARIATES, POPULATION_BUILDERS

F64 = torch.float64


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


EACH_BACKBONE = pytest.mark.parametrize("name", BACKBONE_BUILDERS)
EACH_POPULATION = pytest.mark.parametrize("name", POPULATION_BUILDERS)


@pytest.fixture(params=BACKBONE_BUILDERS)
def backbone(request) -> Backbone:
    return BACKBONE_BUILDERS[request.param]()


@pytest.fixture(params=POPULATION_BUILDERS)
def population(request) -> Population:
    return POPULATION_BUILDERS[request.param]()


def log_normal() -> Population:
    return POPULATION_BUILDERS["log-normal"]()


def in_box(backbone: Backbone, fractions: Tensor) -> Tensor:
    """θ at these fractions (…, q) of the way from the low to the high end, in logarithms."""
    low, high = (tensor(*(getattr(p, end) for p in backbone.physical)).log() for end in ("low", "high"))
    return torch.exp(low + fractions * (high - low))


# ---- backbones


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.data())
@EACH_BACKBONE
def test_hurwitz_for_every_admissible_theta(name, data):
    backbone = BACKBONE_BUILDERS[name]()
    fraction = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))
    theta = in_box(backbone, tensor(*(data.draw(fraction) for _ in backbone.physical)))
    A, _ = backbone.matrices(theta)
    # numpy's eigenvalues are the independent ones
    assert np.linalg.eigvals(A.numpy()).real.max() < 0.0
    require_hurwitz(A, name)


@EACH_BACKBONE
def test_matrices_are_differentiable_in_theta(name):
    backbone = BACKBONE_BUILDERS[name]()
    if not backbone.physical:
        pytest.skip("no θ")
    theta = in_box(backbone, torch.full((len(backbone.physical),), 0.4, dtype=F64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: backbone.matrices(t), theta)


@pytest.mark.parametrize(
    ("A", "sentence"),
    [
        ([[0.1]], "not Hurwitz, an eigenvalue has real part 0.1"),
        ([[0.0]], "not Hurwitz"),
        ([[0.0, 1.0], [-1.0, 0.0]], "not Hurwitz"),  # an undamped oscillator
        ([[-1.0, 1.0], [1.0, -1.0]], "not Hurwitz"),  # two compartments that nothing leaves
        ([[-1.0, float("nan")], [0.0, -1.0]], "non-finite"),
        ([[-1.0, 0.0]], r"needs shape \(n, n\)"),
        ([], "needs shape"),
    ],
)
def test_a_matrix_that_is_not_stable_is_refused(A, sentence):
    with pytest.raises(ValueError, match=sentence):
        LinearBackbone(A)


def test_names_that_do_not_fit_a_linear_backbone():
    with pytest.raises(ValueError, match="needs 2 state names"):
        LinearBackbone([[-1.0, 0.0], [0.0, -1.0]], states=("a",))
    with pytest.raises(ValueError, match="1 inputs need as many names"):
        LinearBackbone([[-1.0]], [[1.0]], inputs=())
    with pytest.raises(ValueError, match=r"B needs shape \(1, m\)"):
        LinearBackbone([[-1.0]], [[1.0], [2.0]])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(1, 5), st.integers(0, 2**20), st.floats(-2.0, 2.0))
def test_the_spectral_abscissa_is_the_largest_real_part(n, seed, margin):
    A = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=F64)
    A = A - (np.linalg.eigvals(A.numpy()).real.max() - margin) * torch.eye(n, dtype=F64)
    # eigenvalues of a small matrix, unless it is close to defective: 1e-16 to the power 1/n at worst, seen 1e-12
    assert spectral_abscissa(A).item() == pytest.approx(margin, abs=1e-7)
    if margin >= 1e-6:
        with pytest.raises(ValueError, match="not Hurwitz"):
            require_hurwitz(A, "A")
    elif margin <= -1e-6:
        require_hurwitz(A, "A")


def test_oral_one_compartment_loses_what_it_should():
    theta = tensor(1.5, 0.08, 30.0)
    A, _ = OneCompartmentOral().matrices(theta)
    assert A.tolist() == [[-1.5, 0.0], [1.5, -0.08]]  # what leaves the gut reaches the plasma
    assert OneCompartmentOral().initial(theta, tensor(2.0)).tolist() == [0.0, 60.0]


@pytest.mark.parametrize(("type2", "short", "fraction"), [(0.0, 4.95, 0.76), (1.0, 4.52, 0.78)])
def test_c_peptide_kinetics_as_printed(type2, short, fraction):
    # Van Cauter et al. 1992, a person of 50 years: long half-life .14·50 + 29.2 = 36.2 min
    long, L = 36.2, math.log(2.0)
    k1 = fraction * L / long + (1.0 - fraction) * L / short
    k0 = (L / short) * (L / long) / k1
    k2 = L / short + L / long - k0 - k1
    covariates = {"age": tensor(50.0), "type2": tensor(type2)}
    theta = VanCauterPopulation().theta(torch.zeros(1, 1, 0, dtype=F64), covariates)[0, 0]
    # the same formula in another order of operations
    assert theta.tolist() == pytest.approx([k0, k1, k2], rel=1e-13)
    A, B = VanCauter().matrices(theta)
    # what the rates are made for: half-lives, and the share of the short one after a bolus
    rates = sorted(-np.linalg.eigvals(A.numpy()).real)
    assert (L / rates[1], L / rates[0]) == pytest.approx((short, long), rel=1e-10)
    for t in (1.0, 10.0, 60.0):
        bolus = expm(A.numpy() * t)[0, 0]
        two_terms = fraction * math.exp(-L / short * t) + (1.0 - fraction) * math.exp(-L / long * t)
        assert bolus == pytest.approx(two_terms, rel=1e-10)
    # basal production holds the initial state still
    x0 = VanCauter().initial(theta, tensor(0.6))
    assert x0[0] == 0.6
    still = A @ x0 + B @ tensor(0.6, 7.0)
    assert still.abs().max() < 1e-15


def test_c_peptide_needs_a_plausible_age():
    eta = torch.zeros(1, 1, 0, dtype=F64)
    with pytest.raises(ValueError, match="ages lie in 10–110 years"):
        VanCauterPopulation().theta(eta, {"age": tensor(5.0), "type2": tensor(0.0)})
    with pytest.raises(ValueError, match=r"type2 is 1 .* or 0, got \[2.0\]"):
        VanCauterPopulation().theta(eta, {"age": tensor(50.0), "type2": tensor(2.0)})
    with pytest.raises(ValueError, match=r"missing: \['type2'\]"):
        VanCauterPopulation().theta(eta, {"age": tensor(50.0)})


# ---- populations


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.data())
@EACH_POPULATION
def test_theta_stays_in_its_box_for_everyone(name, data):
    population = POPULATION_BUILDERS[name]()
    number = st.one_of(st.floats(-1e300, 1e300), st.sampled_from([1e6, -1e6, 40.0, -40.0]), st.floats(-5.0, 5.0))
    eta = tensor(*(data.draw(number) for _ in range(population.dimension))).expand(2, 3, population.dimension)
    theta = population.theta(eta, COVARIATES)
    low, high = population.box.unbind(-1)
    assert theta.shape == (2, 3, len(population.box))
    assert torch.isfinite(population.box).all()
    assert (theta >= low).all()
    assert (theta <= high).all()


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**20))
@EACH_POPULATION
def test_eta_is_standard_normal_up_to_a_constant(name, seed):
    population = POPULATION_BUILDERS[name]()
    eta = torch.randn(2, 3, population.dimension, generator=torch.Generator().manual_seed(seed), dtype=F64)
    have = population.log_prior(eta)
    want = torch.from_numpy(norm.logpdf(eta.numpy()).sum(-1))
    assert have.shape == (2, 3)
    torch.testing.assert_close(have - have[0, 0], want - want[0, 0], rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.floats(-1.5, 1.5), st.floats(0.05, 0.8), st.floats(0.5, 2.0), st.floats(0.2, 5.0), st.floats(2.0, 1e3))
def test_log_normal_in_the_middle_of_its_box(eta, spread, exponent, weight, width):
    # log θ − z is the bend of h tanh(w/h), w the distance of z from the centre: at most |w|³/(3h²)
    V = Parameter("V", "L", 30.0, 30.0 / width, 30.0 * width)
    population = LogNormalPopulation([V], [spread], {"V": {"WT": (70.0, exponent)}})
    covariates = {"WT": tensor(70.0 * weight)}
    theta = population.theta(tensor(eta).reshape(1, 1, 1), covariates).item()
    w = spread * eta + exponent * math.log(weight)
    assert abs(math.log(theta / 30.0) - w) <= abs(w) ** 3 / (3.0 * math.log(width) ** 2) + 1e-13


def test_log_normal_draws_are_log_normal_where_the_box_is_wide():
    ke = Parameter("ke", "/h", 0.1, 1e-9, 1e7)
    population = LogNormalPopulation([ke], [0.4])
    eta = torch.randn(1, 20_000, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
    logs = population.theta(eta, {})[0, :, 0].log()
    # four standard errors: 0.4/√20000 for the mean, 0.4/√40000 for the spread
    assert logs.mean().item() == pytest.approx(math.log(0.1), abs=4 * 0.4 / math.sqrt(20_000))
    assert logs.std().item() == pytest.approx(0.4, abs=4 * 0.4 / math.sqrt(40_000))


def test_what_a_log_normal_population_refuses():
    parameters = OneCompartmentOral().physical
    with pytest.raises(ValueError, match="one positive spread for each of"):
        LogNormalPopulation(parameters, [0.1, 0.0, 0.1])
    with pytest.raises(ValueError, match=r"powers name \['Q'\]"):
        LogNormalPopulation(parameters, [0.1, 0.1, 0.1], {"Q": {"WT": (70.0, 1.0)}})
    with pytest.raises(ValueError, match="depends on the covariate WT, which the records lack"):
        log_normal().theta(torch.zeros(1, 1, 3, dtype=F64), {})
    for wrong in (0.0, -70.0, float("nan")):
        with pytest.raises(ValueError, match="the logarithm of the covariate WT, which must be positive"):
            log_normal().theta(torch.zeros(1, 1, 3, dtype=F64), {"WT": tensor(wrong)})
    with pytest.raises(ValueError, match="needs low < typical < high"):
        Parameter("ka", "/h", 1.0, 2.0, 3.0)
