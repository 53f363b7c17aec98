"""Whether a fit has arrived where parameters differ between occasions: against generalised least squares."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid import Exponential, HybridModel, Schedule, Signal, States
from learned import Constant
from physics import Backbone, Fixed, LinearOf, MixedPopulation, Normal, Occasions, Parameter, Shared
from training import Cohort, Record, convergence, personalise

D = torch.float64
BEGINS, AT = (0.0, 3.0, 6.0), [0.5, 1.5, 3.0, 4.0, 5.5, 6.5, 8.0, 9.0]
EXACT = Exponential(rtol=1e-9)
SD = 0.05


class Pair(Backbone):
    """x' = a − x + c and z' = b − z + c, from nothing: linear in (a, b, c)."""

    states = ("x", "z")
    state_units = ("1", "1")
    inputs = ("one",)
    input_units = ("1",)
    time_unit = "1"
    physical = tuple(Parameter(name, "1", value, -30.0, 30.0) for name, value in (("a", 2.0), ("b", 1.0), ("c", 0.5)))

    def matrices(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        A = -torch.eye(2, dtype=theta.dtype).expand(*theta.shape[:-1], 2, 2)
        return A, torch.stack([theta[..., 0] + theta[..., 2], theta[..., 1] + theta[..., 2]], -1)[..., None]

    def hull(self, lower: Tensor, upper: Tensor) -> Tensor:
        return -torch.eye(2, dtype=lower.dtype)[None]

    def initial(self, theta: Tensor, baseline: Tensor) -> Tensor:
        return theta.new_zeros(*torch.broadcast_shapes(theta.shape[:-1], baseline.shape[:-1]), 2)

    def config(self) -> dict[str, object]:
        return {}


ON = Schedule(inputs={"one": Signal((0.0, 20.0), (1.0, 1.0))})
SLOPE = 0.02
KINDS: dict[str, dict[str, object]] = {
    "both": {"effects": {"a": Normal(1.0), "b": Normal(0.7), "c": Fixed()}, "iov": {"a": 0.6}},
    "both vary": {"effects": {"a": Normal(1.0), "b": Normal(0.7), "c": Fixed()}, "iov": {"a": 0.6, "b": 0.4}},
    "correlated": {
        "effects": {"a": Normal(1.0), "b": Normal(0.7), "c": Fixed()},
        "iov": {"a": 0.6},
        "correlated": [("a", "b")],
        "omega": {("a", "b"): 0.5},
    },
    "b differs between occasions alone": {"effects": {"a": Normal(1.0), "b": Shared(), "c": Fixed()}, "iov": {"b": 0.7}},
    "a covariate moves a": {
        "effects": {"a": Normal(1.0), "b": Normal(0.7), "c": Fixed()},
        "iov": {"a": 0.6},
        "covariates": {"a": [LinearOf("WT", 70.0, SLOPE)]},
    },
    "c is shared": {"effects": {"a": Normal(1.0), "b": Normal(0.7), "c": Shared()}, "iov": {"b": 0.4}},
}


def model_of(effects: dict, iov: dict, **more: object) -> HybridModel:
    backbone = Pair()
    population = MixedPopulation(backbone, effects, occasions=Occasions(iov, count=3), **more)
    return HybridModel(backbone, population, observation=States(["x", "z"]), noise=Constant([SD, SD], [1e-6, 1e-6]))


def cohort_of(model: HybridModel, effects: dict, iov: dict, count: int = 11, **more: object) -> Cohort:
    """Everyone's values by hand, of the model's own law; some leave before their third occasion."""
    rng, records = np.random.default_rng(5), []
    ends, times = [*BEGINS[1:], np.inf], np.array(AT)[:, None]
    X = np.exp(np.minimum(ends, times) - times) - np.exp(np.minimum(BEGINS, times) - times)  # (T, 3)
    for i in range(count):
        T = 5 if i % 4 == 0 else len(AT)
        columns = []
        for name, typical in (("a", 2.0), ("b", 1.0)):
            own = typical + getattr(effects[name], "spread", 0.0) * rng.standard_normal()
            own += SLOPE * (50.0 + 3.0 * i - 70.0) if name in more.get("covariates", {}) else 0.0
            columns.append(X @ (own + 0.5 + iov.get(name, 0.0) * rng.standard_normal(3)))
        y = np.stack(columns, 1) + SD * rng.standard_normal((len(AT), 2))
        given = {"WT": 50.0 + 3.0 * i}
        occasions = BEGINS[: 2 if T == 5 else 3]
        records.append(Record(str(i), ON, AT[:T], y[:T], ("x", "z"), given, occasions=occasions))
    return Cohort.of(records, model)


def found_of(model: HybridModel, cohort: Cohort):
    return convergence(model, personalise(model, cohort, solver=EXACT), cohort.ids)


def by_gls(model: HybridModel, cohort: Cohort, at: Tensor, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Generalised least squares of the linear mixed model: how far the maximum is from `at`, and its standard errors."""
    X = torch.tensor(
        np.exp(np.minimum([*BEGINS[1:], np.inf], np.array(AT)[:, None]) - np.array(AT)[:, None])
        - np.exp(np.minimum(BEGINS, np.array(AT)[:, None]) - np.array(AT)[:, None]),
        dtype=D,
    )
    population = model.population
    where = [("a", "b").index(n) for n in names]
    omega = torch.zeros(2, 2, dtype=D)
    own = list(population.between.names)
    L = population.between.factor[0].detach()
    for i, one in enumerate(own):
        for j, other in enumerate(own):
            omega[("a", "b").index(one), ("a", "b").index(other)] = (L @ L.T)[i, j]
    gamma = {n: float(population.within.omega[0, k].detach()) for k, n in enumerate(population.within.names)}
    information, pull = torch.zeros(len(names), len(names), dtype=D), torch.zeros(len(names), dtype=D)
    for i, y in enumerate(cohort.y):
        there = torch.isfinite(y[:, 0])
        rows = X[there]
        whole = rows.sum(1)
        parts = [gamma.get(n, 0.0) ** 2 * rows @ rows.T for n in ("a", "b")]
        covariance = torch.kron(omega, torch.outer(whole, whole)) + torch.block_diag(*parts)
        covariance = covariance + SD**2 * torch.eye(len(covariance), dtype=D)
        design = torch.block_diag(whole[:, None], whole[:, None])
        left = y[there].T.reshape(-1) - design @ at
        information += (design.T @ torch.linalg.solve(covariance, design))[where][:, where]
        for _, moved in population.moves:
            left[: len(whole)] -= SLOPE * (50.0 + 3.0 * i - moved.reference) * whole
        pull += (design.T @ torch.linalg.solve(covariance, left))[where]
    return torch.linalg.solve(information, pull), torch.linalg.inv(information).diagonal().sqrt()


@pytest.mark.parametrize("kind", KINDS)
def test_away_is_the_step_to_generalised_least_squares_in_its_standard_errors(kind: str) -> None:
    said = KINDS[kind]
    model = model_of(**said)  # type: ignore[arg-type]
    cohort = cohort_of(model, **said)  # type: ignore[arg-type]
    found = found_of(model, cohort)
    assert found.names == ("a", "b")
    # μ is exactly the deviation from `typical` far within the box; a and b stand with c at their typical values
    step, error = by_gls(model, cohort, torch.tensor([2.5, 1.5], dtype=D), found.names)
    # linear and Gaussian: exact but for the solver, and for σ, which has a floor
    torch.testing.assert_close(found.away[0], step / error, rtol=1e-3, atol=1e-3)
    # at the maximum it has arrived, and from e^.3 and e^1 away it has not
    with torch.no_grad():
        model.population.shift[0, :2] += step  # type: ignore[index]
    there = found_of(model, cohort)
    assert there.converged
    assert float(there.away.abs().max()) < 1e-3
    assert float(there.moves.abs().max()) < 1e-3
    for j in range(2):
        for far in (math.expm1(0.3), -math.expm1(1.0)):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                moved.population.shift[0, j] += far  # type: ignore[index]
            off = found_of(moved, cohort)
            assert not off.converged
            assert bool(off.far[0, j])
            assert float(off.away[0, j]) == pytest.approx(-far / float(error[j]), rel=1e-3)
            own = getattr(said["effects"][("a", "b")[j]], "spread", None)  # type: ignore[index]
            assert -far / float(off.moves[0, j]) == pytest.approx(own or said["iov"]["b"], rel=1e-3)  # type: ignore[index]


def test_members_and_covariates_keep_their_own_distance() -> None:
    said = {**KINDS["correlated"]}
    model = model_of(**said)  # type: ignore[arg-type]
    cohort = cohort_of(model, **said)  # type: ignore[arg-type]
    one = personalise(model, cohort, solver=EXACT)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.population.shift[0, 0] += 1.0  # type: ignore[index]
    other = personalise(moved, cohort, solver=EXACT)
    pair = type(one)(
        torch.cat([one.mode, other.mode]),
        torch.cat([one.covariance, other.covariance]),
        torch.cat([one.objective, other.objective]),
        torch.cat([one.converged, other.converged]),
        ids=one.ids,
    )
    found, singles = convergence(model, pair, cohort.ids), [convergence(model, p, cohort.ids) for p in (one, other)]
    torch.testing.assert_close(found.away, torch.cat([s.away for s in singles]))
    torch.testing.assert_close(found.moves, torch.cat([s.moves for s in singles]))
    assert found.arrived.tolist() == [bool(s.arrived) for s in singles]
