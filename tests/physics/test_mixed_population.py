"""Parameters spread each in its own way: the scales, Ω, covariates, what is learned, and what is refused."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learned import Ensemble
from physics import (
    CategoryOf,
    ExponentialOf,
    Fixed,
    LinearOf,
    LogitNormal,
    LogNormal,
    LogNormalPopulation,
    MixedPopulation,
    Normal,
    OneCompartmentOral,
    Parameter,
    PowerOf,
    Shared,
    SharedPopulation,
)
from tests.builders import COVARIATES, POPULATION_BUILDERS, oral_of

F64 = torch.float64
KA, CL, V = (
    Parameter("ka", "/h", 1.5, 0.001, 2000.0),
    Parameter("CL", "L/h", 2.5, 0.002, 4000.0),
    Parameter("V", "L", 31.0, 0.03, 40000.0),
)
F, E0 = Parameter("F", "1", 0.7, 0.0, 1.0), Parameter("E0", "mV", -3.0, -5000.0, 5000.0)
WIDE = (KA, CL, V, F, E0)
EFFECTS = {"ka": LogNormal(0.6), "CL": LogNormal(0.3), "V": LogNormal(0.2), "F": LogitNormal(0.5), "E0": Normal(2.0)}
OMEGA = {("CL", "V"): 0.02, ("CL", "E0"): -0.1}


def mixed(**more: Any) -> MixedPopulation:
    return MixedPopulation(WIDE, EFFECTS, **{"correlated": [("CL", "V", "E0")], "omega": OMEGA, **more})


def moved(population: MixedPopulation, seed: int = 3, size: float = 0.2) -> MixedPopulation:
    """With every trainable tensor somewhere else."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in population.parameters():
            p.add_(size * torch.randn(p.shape, generator=g, dtype=F64))
    return population


# --- the scales and Ω


def test_theta_is_the_textbook_formula() -> None:
    """In boxes so wide that the bend is below rounding: its first term is (x/h)⁸/8, and x/h is below .06 here."""
    population = moved(
        mixed(
            covariates={
                "CL": [PowerOf("WT", 70.0, 0.75, unit="kg"), CategoryOf("male", {0: 0.0, 1: 0.2}, learn=True)],
                "V": [ExponentialOf("age", 40.0, -0.002, learn=True), LinearOf("WT", 70.0, 0.003, unit="kg")],
                "F": [ExponentialOf("age", 40.0, 0.01), CategoryOf("male", {0: 0.0, 1: 0.4})],
                "E0": [LinearOf("WT", 70.0, 0.1, unit="kg", learn=True)],
            }
        ),
        size=0.05,
    )
    WT, age, male = (COVARIATES[name].numpy() for name in ("WT", "age", "male"))
    eta = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(1), dtype=F64)
    found = population.theta(eta, {k: COVARIATES[k] for k in population.covariates})[0].detach().numpy()
    matrix = population.omega_matrix
    assert matrix is not None
    deviations = eta[0].numpy() @ np.linalg.cholesky(matrix[0].detach().numpy()).T
    mu, (sex, old, heavy) = population.shift[0].detach().numpy(), population.coefficients[0].detach().tolist()
    on_cl = 0.75 * np.log(WT / 70.0) + sex * male
    on_v = old * (age - 40.0) + np.log(1.0 + 0.003 * (WT - 70.0))
    logit = math.log(0.7 / 0.3) + mu[3] + deviations[:, 3] + 0.01 * (age - 40.0) + 0.4 * male
    wanted = [
        1.5 * np.exp(mu[0] + deviations[:, 0]),
        2.5 * np.exp(mu[1] + deviations[:, 1] + on_cl),
        31.0 * np.exp(mu[2] + deviations[:, 2] + on_v),
        1.0 / (1.0 + np.exp(-logit)),
        -3.0 + mu[4] + deviations[:, 4] + heavy * (WT - 70.0),
    ]
    # its slope differs from 1 by 9/8 (x/h)⁸, at x/h = .2 by 3e-6, and deviations of logarithms are of order .3
    np.testing.assert_allclose(found, np.stack(wanted, -1), rtol=1e-6)


def test_omega_is_what_was_given_and_stays_positive_definite_wherever_the_search_goes() -> None:
    population = mixed()
    wanted = torch.diag(torch.tensor([0.36, 0.09, 0.04, 0.25, 4.0], dtype=F64))
    for (one, other), value in OMEGA.items():
        i, j = population.effects.index(one), population.effects.index(other)
        wanted[i, j] = wanted[j, i] = value
    assert population.effects == ("ka", "CL", "V", "F", "E0")
    torch.testing.assert_close(population.omega_matrix[0], wanted, rtol=1e-13, atol=1e-15)
    for seed in range(20):
        matrix = moved(mixed(), seed, size=2.0).omega_matrix[0].detach()
        assert float(torch.linalg.eigvalsh(matrix)[0]) > 0.0
        outside = matrix[[0, 3]][:, [1, 2, 4]]  # ka and F stand in no block
        assert torch.equal(outside, torch.zeros_like(outside))


def test_deviations_have_the_covariance_omega() -> None:
    population = moved(mixed())
    eta = torch.randn(1, 200_000, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    found = torch.cov(population.deviations(eta)[0].detach().T)
    matrix = population.omega_matrix[0].detach()
    # the standard error of a covariance is √((Ω_ii Ω_jj + Ω_ij²)/n), and of 15 numbers none lies beyond 4.5 (chance 1e-4)
    error = ((matrix.diagonal()[:, None] * matrix.diagonal() + matrix.square()) / 200_000).sqrt()
    assert bool(((found - matrix).abs() < 4.5 * error).all())


numbers = st.one_of(st.floats(-4.0, 4.0), st.sampled_from([-1e300, -60.0, -20.0, 20.0, 60.0, 1e300]))


@settings(deadline=None, max_examples=80, derandomize=True)
@given(eta=st.lists(numbers, min_size=5, max_size=5), shift=st.lists(st.floats(-6.0, 6.0), min_size=6, max_size=6))
def test_nobody_leaves_the_box_and_orders_hold(eta: list[float], shift: list[float]) -> None:
    population = POPULATION_BUILDERS["mixed"]()
    with torch.no_grad():
        population.shift += torch.tensor([shift], dtype=F64)
    covariates = {name: COVARIATES[name] for name in population.covariates}
    people = torch.tensor(eta, dtype=F64).expand(1, 3, 5)
    theta = population.theta(people, covariates)[0]
    low, high = population.box.unbind(-1)
    assert bool(((theta >= low) & (theta <= high)).all())
    ka, clearance, volume = theta[:, 0], theta[:, 1], theta[:, 2]
    assert bool((ka >= clearance / volume * (1.0 - 1e-12)).all())
    assert torch.equal(theta[:, 6], torch.full((3,), 4.0, dtype=F64))  # Q is fixed


def test_at_the_start_the_typical_person_is_typical() -> None:
    population = MixedPopulation((KA, CL, replace(V, high=33.0), F, E0), {**EFFECTS, "ka": Shared(), "E0": Shared()})
    theta = population.theta(torch.zeros(1, 1, 3, dtype=F64), {})[0, 0]
    torch.testing.assert_close(theta, torch.tensor([1.5, 2.5, 31.0, 0.7, -3.0], dtype=F64), rtol=1e-12, atol=0.0)
    shared = SharedPopulation(OneCompartmentOral(), {"ka": 1.2, "ke": 0.1, "V": 1990.0}, learned=("V",))
    found = shared.theta(torch.zeros(1, 2, 0, dtype=F64), {})
    torch.testing.assert_close(found[0, 0], torch.tensor([1.2, 0.1, 1990.0], dtype=F64), rtol=1e-12, atol=0.0)


def test_log_normal_all_through_is_the_log_normal_population() -> None:
    backbone = OneCompartmentOral(faster=None, ka=(0.001, 4000.0))
    ours = MixedPopulation(
        backbone,
        {"ka": LogNormal(0.6), "ke": LogNormal(0.2), "V": LogNormal(0.2)},
        covariates={"V": [PowerOf("WT", 70.0, 1.0, unit="kg")]},
    )
    theirs = LogNormalPopulation(backbone, {"ka": 0.6, "ke": 0.2, "V": 0.2}, {"V": {"WT": (70.0, 1.0, "kg")}})
    eta = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    given = {"WT": COVARIATES["WT"]}
    # the older one does not begin exactly at the typical value, by its bend: (x/h)⁸/8 of the half-width in logs
    torch.testing.assert_close(ours.theta(eta, given), theirs.theta(eta, given), rtol=1e-3, atol=0.0)


def test_a_shared_parameter_of_a_log_normal_population_is_the_limit_of_no_spread() -> None:
    backbone = OneCompartmentOral()
    none = LogNormalPopulation(backbone, {"ka": None, "ke": 0.3, "V": 0.2}, learn_spread=True)
    small = LogNormalPopulation(backbone, {"ka": 1e-12, "ke": 0.3, "V": 0.2})
    assert (none.dimension, none.effects) == (2, ("ke", "V"))
    eta = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    # 1e-12 of a few deviations
    torch.testing.assert_close(none.theta(eta[..., 1:], {}), small.theta(eta, {}), rtol=1e-11, atol=0.0)
    assert none.omega.tolist() == [[0.0, pytest.approx(0.3), pytest.approx(0.2)]]
    assert set(none.estimates()) == {"ka", "ke", "V", "omega(ke)", "omega(V)"}
    again = LogNormalPopulation(**json.loads(json.dumps(none.config())))
    assert torch.equal(again.theta(eta[..., 1:], {}), none.theta(eta[..., 1:], {}))


# --- what is learned


def test_estimates_are_the_numbers_that_are_learned() -> None:
    population = moved(POPULATION_BUILDERS["mixed"]())
    found = population.estimates()
    assert list(found) == [
        *("ka", "CL", "V", "F", "E0", "n"),
        *("male=1 on CL", "age on V", "WT on E0"),
        *("omega(ka)", "omega(CL)", "omega(V)", "omega(F)", "omega(E0)", "corr(CL,V)", "corr(CL,E0)", "corr(V,E0)"),
    ]
    assert {name: scale for name, (scale, _) in found.items() if "(" not in name} == {
        **dict.fromkeys(("ka", "CL", "V", "n"), "log"),
        **{"F": "logit", "E0": "linear"},
        **dict.fromkeys(("male=1 on CL", "age on V", "WT on E0"), "linear"),
    }
    assert {scale for name, (scale, _) in found.items() if name.startswith("corr")} == {"fisher"}
    Omega = population.omega_matrix[0]
    sd = Omega.diagonal().sqrt()
    torch.testing.assert_close(found["omega(V)"][1][0], sd[2])
    torch.testing.assert_close(found["corr(V,E0)"][1][0], Omega[2, 4] / sd[2] / sd[4])
    for name in population.by_marginal:
        population.get_parameter(name).requires_grad_()
    for name, (_, value) in population.estimates().items():
        slopes = torch.autograd.grad(value.sum(), list(population.parameters()), allow_unused=True, retain_graph=True)
        assert any(s is not None and bool((s != 0.0).any()) for s in slopes), name


def test_the_tensors_of_omega_ask_for_no_gradient() -> None:
    """A joint maximum over η and Ω means nothing."""
    population = mixed()
    assert population.by_marginal == ("between.log_spread", "between.pairs")
    assert [n for n, p in population.named_parameters() if p.requires_grad] == ["shift"]
    held = mixed(learn_spread=False)
    assert held.by_marginal == ()
    assert torch.equal(held.omega_matrix, mixed().omega_matrix)
    assert set(held.estimates()) == {"ka", "CL", "V", "F", "E0"}


@pytest.mark.parametrize("name", ["mixed", "log-normal, one shared", "shared, some learned", "mixed, nobody differs"])
def test_members_do_not_meet(name: str) -> None:
    population = POPULATION_BUILDERS[name]()
    g = torch.Generator().manual_seed(4)
    alone, state = [], {}
    for which, p in population.named_parameters():
        state[which] = p.detach() + 0.1 * torch.randn(3, *p.shape[1:], generator=g, dtype=F64)
    eta = torch.randn(3, 3, population.dimension, generator=g, dtype=F64)
    covariates = {k: COVARIATES[k] for k in population.covariates}

    def at(rows: slice) -> Tensor:
        for which, p in population.named_parameters():
            p.data = state[which][rows]
        return population.theta(eta[rows], covariates).detach()

    together = at(slice(0, 3))
    alone = [at(slice(m, m + 1)) for m in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-14, atol=0.0)


def test_float32_stays_inside() -> None:
    population = POPULATION_BUILDERS["mixed"]().to(torch.float32)
    eta = torch.tensor([-1e30, -3.0, 0.0, 3.0, 1e30]).reshape(1, 5, 1).expand(1, 5, 5)
    covariates = {k: COVARIATES[k][:1].float() for k in population.covariates}
    theta = population.theta(eta, covariates)
    assert theta.dtype == torch.float32
    assert bool(((theta >= population.box[:, 0]) & (theta <= population.box[:, 1])).all())


def test_a_model_takes_signed_parameters_and_stacks() -> None:
    model = oral_of()
    model.population = MixedPopulation(model.backbone, {"ka": Shared(), "ke": LogNormal(0.2), "V": LogitNormal(0.4)})
    stack = Ensemble(3).stack(model, torch.Generator().manual_seed(0))
    theta = stack.theta(torch.zeros(3, 2, 2, dtype=F64), {})
    assert theta.shape == (3, 2, 3)


# --- what is refused


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "Ω is not positive definite": (lambda: mixed(omega={("CL", "V"): 0.09}), "not positive definite"),
    "a covariance outside of any block": (lambda: mixed(omega={("ka", "V"): 0.01}), "stand in no block"),
    "a covariance twice": (lambda: mixed(omega={("CL", "V"): 0.01, ("V", "CL"): 0.01}), "twice"),
    "a covariance with oneself": (lambda: mixed(omega={("V", "V"): 0.01}), "pair of two effects"),
    "a block of one": (lambda: mixed(correlated=[("CL",)]), "two effects or more"),
    "a block of names without a list": (lambda: mixed(correlated="CL"), "list of blocks"),
    "a block of who is not there": (lambda: mixed(correlated=[("CL", "Vd")]), "'Vd'"),
    "two blocks with one name": (lambda: mixed(correlated=[("CL", "V"), ("V", "ka")], omega=None), "'V' twice"),
    "an unknown parameter": (lambda: MixedPopulation(WIDE, {**EFFECTS, "k": Fixed()}), "names 'k'"),
    "a missing one": (lambda: MixedPopulation(WIDE, {"ka": Fixed()}), "lacks 'CL'"),
    "a number for an effect": (lambda: MixedPopulation([KA], {"ka": 0.3}), "write LogNormal"),
    "a spread of 0": (lambda: LogNormal(0.0), "spread"),
    "a spread that is no number": (lambda: Normal(math.nan), "spread"),
    "log-normal where it may be negative": (lambda: MixedPopulation([E0], {"E0": LogNormal(0.2)}), "positive box"),
    "log-normal population of a signed one": (lambda: LogNormalPopulation([E0], [0.2]), "E0 is taken"),
    "a covariate of a fixed one": (
        lambda: MixedPopulation([KA], {"ka": Fixed()}, covariates={"ka": [PowerOf("WT", 70.0, 1.0)]}),
        "Fixed",
    ),
    "covariates of nobody": (lambda: mixed(covariates={"k": []}), "'k'"),
    "a covariate model that is none": (lambda: mixed(covariates={"CL": [("WT", 70.0, 1.0)]}), "write PowerOf"),
    "a covariate twice": (
        lambda: mixed(covariates={"CL": [PowerOf("WT", 70.0, 1.0), ExponentialOf("WT", 70.0, 0.1)]}),
        "moves CL twice",
    ),
    "a covariate in two units": (
        lambda: mixed(covariates={"CL": [PowerOf("WT", 70.0, 1.0, unit="kg")], "V": [PowerOf("WT", 70.0, 1.0, unit="g")]}),
        "in kg and in g",
    ),
    "a category that is a number elsewhere": (
        lambda: mixed(covariates={"CL": [PowerOf("SEX", 70.0, 1.0)], "V": [CategoryOf("SEX", {0: 0.0, 1: 1.0})]}),
        "a category in one parameter",
    ),
    "a power of what may be negative": (lambda: mixed(covariates={"E0": [PowerOf("WT", 70.0, 1.0)]}), "linear scale"),
    "a power on a logit": (lambda: mixed(covariates={"F": [PowerOf("WT", 70.0, 1.0)]}), "logit scale"),
    "a reference of 0 for a power": (lambda: PowerOf("WT", 0.0, 1.0), "logarithm"),
    "a reference level with a number": (lambda: CategoryOf("SEX", {0: 0.1, 1: 0.2}), "reference with 0"),
    "one level": (lambda: CategoryOf("SEX", {0: 0.0}), "two levels"),
    "levels that are none": (lambda: CategoryOf("SEX", "ab"), "levels"),
    "a unit that is none": (lambda: PowerOf("WT", 70.0, 1.0, unit="kilos"), "kilos"),
    "shared, learned, of nobody": (lambda: SharedPopulation(OneCompartmentOral(), None, ("k",)), "'k'"),
    "shared, learned, without parameters": (lambda: SharedPopulation([1.0], learned=True), "needs its box"),
    "shared, learned, outside of its box": (
        lambda: SharedPopulation([KA], {"ka": 5000.0}, True),
        "starts at 5000",
    ),
    "an order of what may be negative": (
        lambda: MixedPopulation([replace(KA, above="E0"), E0], {"ka": Shared(), "E0": Shared()}),
        "not positive",
    ),
    "a box that is no box": (lambda: Parameter("x", "1", 2.0, 3.0, 1.0), "low < typical < high"),
    "a box without an end": (lambda: Parameter("x", "1", 2.0, -math.inf, 3.0), "inf"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_arguments_are_refused_in_one_sentence(what: str) -> None:
    make, said = REFUSED[what]
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("models", "values", "said"),
    [
        ([PowerOf("WT", 70.0, 1.0)], {}, "the records lack"),
        ([PowerOf("WT", 70.0, 1.0)], {"WT": [70.0, 0.0]}, "must be positive"),
        ([PowerOf("WT", 70.0, 1.0)], {"WT": [70.0, math.nan]}, "somebody lacks"),
        ([ExponentialOf("WT", 70.0, 1.0)], {"WT": [70.0, math.nan]}, "somebody lacks"),
        ([CategoryOf("WT", {0: 0.0, 1: 0.1})], {"WT": [1.0, 2.0]}, "a category that was never seen"),
        ([LinearOf("WT", 70.0, -0.1)], {"WT": [70.0, 85.0]}, "not positive for somebody"),
    ],
)
def test_bad_covariates_are_refused_in_one_sentence(models: list[Any], values: dict[str, list[float]], said: str) -> None:
    population = mixed(covariates={"CL": models})
    given = {k: torch.tensor(v, dtype=F64) for k, v in values.items()}
    with pytest.raises(ValueError, match=said):
        population.theta(torch.zeros(1, 2, 5, dtype=F64), given)
