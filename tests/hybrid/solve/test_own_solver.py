"""A solver of one's own is one file and one word: simulations, fits and predictions take it as they take ours."""

import itertools

import pytest
import torch
from torch import Tensor

import hybrid
from hybrid import (
    Cause,
    Failure,
    HybridModel,
    Mesh,
    SemilinearField,
    SimulationError,
    Solution,
    Solver,
    conditions_of,
    predict,
    rollout,
    simulate,
)
from hybrid.solve.solver import require_solver
from tests.builders import oral_people
from training import Cohort, Search, fit, last, personalise

D = torch.float64


class Heun(Solver):
    """The explicit method of Heun (1900), order 2, one step a segment; what is not finite is a failure."""

    order = 2

    @property
    def adaptive(self) -> bool:
        return False

    def solve(self, field: SemilinearField, x0: Tensor) -> Solution:
        x, path, segments = x0, [x0], field.segments
        for k in range(segments.dt.shape[1]):
            x = x + segments.jump[None, :, k]
            first = field.within(k, 0.0, x)
            x = x + 0.5 * (first + field.within(k, 1.0, x + first))
            path.append(x)
        lost = ~torch.isfinite(x).all(-1).all(0)
        failures = tuple(Failure(i, 0.0, Cause.NOT_FINITE) for i in lost.nonzero()[:, 0].tolist())
        states = torch.where(lost[None, :, None, None], torch.nan, segments.read(torch.stack(path, 2)))
        return Solution(states, failures)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one word."""
    monkeypatch.setattr(hybrid, "SOLVERS", (*hybrid.SOLVERS, Heun))


def test_its_order_is_the_one_that_it_declares(model: HybridModel) -> None:
    person = oral_people()[0]
    theta = torch.tensor([1.5, 0.086, 31.5], dtype=D)
    exact = simulate(model, person.schedule, [1.0, 6.0], theta, solver=hybrid.Exponential(rtol=1e-10))
    errors = []
    for step in (0.1, 0.05, 0.025):
        found = simulate(model, person.schedule, [1.0, 6.0], theta, solver=Heun(), mesh=Mesh(step))
        errors.append(float((found - exact).detach().abs().max()))
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(4.0, rel=0.15)


def test_it_reaches_fits_and_predictions(model: HybridModel) -> None:
    cohort = Cohort.of(oral_people(), model, Mesh(0.1))
    require_solver(Heun(), "test")
    before = model.residual.weights[0].detach().clone()  # type: ignore[index, union-attr]
    fitted = last(fit(model, cohort, search=Search(steps=3, solver=Heun())))
    assert not torch.equal(fitted.model.residual.weights[0], before)  # type: ignore[index, union-attr]
    people = personalise(fitted.model, cohort, solver=Heun())
    told = predict(fitted.model, cohort, people.mode[:, None], solver=Heun())
    with torch.no_grad():
        run = rollout(fitted.model, cohort.conditions, people.mode, Heun())
    assert torch.equal(told.mean[:, 0], run.mean)


def test_its_failures_name_record_time_and_cause(model: HybridModel) -> None:
    given = conditions_of(model, [person.schedule for person in oral_people()[:2]], [[2.0]] * 2, mesh=Mesh(0.5))
    theta = torch.tensor([[[1.5, 0.086, 31.5], [torch.nan] * 3]], dtype=D)
    found = Heun().solve(model.bind(given.segments, theta, theta[..., :0]), torch.zeros(1, 2, 2, dtype=D))
    assert torch.isfinite(found.states[:, 0]).all()
    with pytest.raises(SimulationError) as caught:
        found.require()
    assert [f.cause for f in caught.value.failures] == [Cause.NOT_FINITE]
    assert {cause.name for cause in Cause} == {"NOT_FINITE", "OUT_OF_STEPS", "COLLAPSED", "UNSTABLE", "SWINGS", "UNSETTLED"}
    with pytest.raises(ValueError, match="Failure: cause must be"):
        Failure(0, 1.0, "broken")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="OUT_OF_STEPS needs numbers"):
        Failure(0, 1.0, Cause.OUT_OF_STEPS)
    assert str(caught.value).startswith("record 1: the state is not finite at time 0. Likely causes")
