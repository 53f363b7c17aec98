"""`Bundle.of`: what training leaves becomes a bundle, equal to the one that is put together by hand; what is not of each other
is named.
"""

import copy
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hybrid
from exchange import Bundle, Person, load, lure_of, save, solver_named
from exchange.bundle.solvers import name_of, solvers
from hybrid import Exponential, HybridModel, RungeKutta, SemilinearField, Solution, Solver, Torchdiffeq
from learned import Ensemble
from stability import Certificate, certify, lipschitz_bound
from tests.builders import MESH, oral_model, oral_people
from training import Cohort, Personal, forecast, personalise
from training.shift import Reference
from training.trust import Outcome
from training.trust.recalibration import Scaling

Trained = tuple[HybridModel, Cohort, Personal]


@pytest.fixture(scope="module")
def trained() -> Trained:
    """Two members and four people; the second was measured on a clock whose first dose is not at 0."""
    stack = Ensemble(2).stack(oral_model(), torch.Generator().manual_seed(3))
    records = [replace(r, nonnegative=("concentration",)) for r in oral_people(4)]
    moved = replace(records[1].schedule, start=100.0, doses=(replace(records[1].schedule.doses[0], time=100.0),))
    records[1] = replace(records[1], schedule=moved, times=records[1].times + 100.0)
    cohort = Cohort.of(records, stack, MESH)
    return stack, cohort, personalise(stack, cohort, iterations=5)


@pytest.fixture(scope="module")
def certificate(trained: Trained) -> Certificate:
    model, cohort, people = trained
    found = certify(lure_of(model, people.mode, cohort.conditions.covariates))
    assert isinstance(found, Certificate)
    return found


def test_it_is_the_bundle_that_is_put_together_by_hand(trained: Trained, certificate: Certificate, tmp_path: Path) -> None:
    model, cohort, people = trained
    found = Bundle.of(model, cohort, people, claims=[certificate], calibration={"scores": {}}, provenance={"seed": 1})
    rows = cohort.conditions.baseline.tolist()
    until = [float(r.times[np.isfinite(r.values[:, 0])][-1]) for r in cohort.records]
    who = tuple(
        Person(r.id, r.schedule, {}, tuple(row), last) for r, row, last in zip(cohort.records, rows, until, strict=True)
    )
    by_hand = Bundle(
        copy.deepcopy(model),
        who,
        people,
        MESH,
        (certificate,),
        calibration={"scores": {}},
        provenance={"seed": 1},
        nonnegative=("concentration",),
        reference=Reference.of(model, cohort, people),
    )
    one, other = (save(b, tmp_path / name) for b, name in ((found, "a.twin"), (by_hand, "b.twin")))
    assert one.read_bytes() == other.read_bytes()
    assert [p.schedule.doses[0].time for p in load(one).people] == [0.0] * 4  # everybody's own clock
    assert [verdict.proved for _, verdict in load(one).prove()] == [True]


def test_the_model_of_the_caller_is_left_alone(trained: Trained) -> None:
    model, cohort, people = trained
    found = Bundle.of(model, cohort, people)
    with torch.no_grad():
        found.model.residual.weights[0].add_(1.0)
    assert not torch.equal(found.model.residual.weights[0], model.residual.weights[0])
    assert found.provenance == {}
    assert found.solver == RungeKutta("rk4")


def test_who_is_not_of_each_other_is_named(trained: Trained, certificate: Certificate) -> None:
    model, cohort, people = trained
    three = cohort.people(torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"the cohort has 3 people \(P1, P2, P3\) and people 4"):
        Bundle.of(model, three, people)
    with pytest.raises(ValueError, match=r"the cohort has 4 people \(P1, P2, P3, P4\) and people 3"):
        Bundle.of(model, cohort, people.people(torch.tensor([0, 1, 2])))
    third = Ensemble(3).stack(oral_model(), torch.Generator().manual_seed(3))
    with pytest.raises(ValueError, match="the model has 3 members and 3 coordinates a person, and people are of 2 members"):
        Bundle.of(third, cohort, people)
    with pytest.raises(ValueError, match=r"carries float64, .* and the model is torch\.float32"):
        Bundle.of(copy.deepcopy(model).to(torch.float32), cohort, people)
    for wrong in ((cohort, cohort, people), (model, model, people), (model, cohort, people.mode)):
        with pytest.raises(ValueError, match=r"Bundle\.of: "):
            Bundle.of(*wrong)  # type: ignore[arg-type]


def test_a_claim_about_another_system_is_named(trained: Trained, certificate: Certificate) -> None:
    model, cohort, people = trained
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.residual.weights[0][0, 0, 0] += 1e-12
    with pytest.raises(ValueError, match="the claim of the kind 'certificate' is about another system"):
        Bundle.of(changed, cohort, people, claims=[certificate])
    mode = people.mode.clone()
    mode[1, 2, 0] += 1e-12
    with pytest.raises(ValueError, match="is about another system"):
        Bundle.of(model, cohort, replace(people, mode=mode), claims=[certificate])
    refusal = certify(lure_of(model, people.mode, {}), rate=50.0, seconds=2.0)
    assert Bundle.of(model, cohort, people, claims=[refusal]).certificate is refusal
    system = lure_of(model, people.mode, {})
    bound = lipschitz_bound([w[1, 0] for w in system.weights])
    assert Bundle.of(model, cohort, people, claims=[bound]).claims == (bound,)
    with pytest.raises(ValueError, match="the claim of the kind 'lipschitz' is about another system"):
        Bundle.of(model, cohort, people, claims=[lipschitz_bound([2.0 * w[1, 0] for w in system.weights])])
    with pytest.raises(ValueError, match=r"even one, and are Certificate; write \[certify\(system\)\]"):
        Bundle.of(model, cohort, people, claims=certificate)  # type: ignore[arg-type]


def test_a_recalibration_of_others_is_named(trained: Trained) -> None:
    model, cohort, people = trained
    known, later = cohort.until(2.0), cohort.after(2.0)
    prediction, _ = forecast(model, known, later, draws=4, generator=torch.Generator().manual_seed(1))
    scaling = Scaling.fit(Outcome(prediction, later.y, cohort.ids))
    kept = Bundle.of(model, cohort, people, calibration=scaling)
    assert kept.calibration == {"uncertainty": {"scaling": scaling.to_dict()}}
    assert Bundle.of(model, cohort, people, calibration=kept.calibration).calibration == kept.calibration
    strangers = Scaling.fit(Outcome(prediction, later.y, ["P1", "Eve", "P3", "Zoe"]))
    with pytest.raises(ValueError, match=r"fitted on 2 people who are not in the cohort \(Eve, Zoe\)"):
        Bundle.of(model, cohort, people, calibration=strangers)
    for wrong in ({"uncertainty": {"scaling": {"kind": "scaling"}}}, {"uncertainty": {"scaling": 5}}):
        with pytest.raises(ValueError, match="cannot be read"):
            Bundle.of(model, cohort, people, calibration=wrong)
    with pytest.raises(ValueError, match="calibration is plain JSON by name, or a Scaling"):
        Bundle.of(model, cohort, people, calibration=prediction)  # type: ignore[arg-type]


def test_the_solver_is_remembered_by_its_name(trained: Trained, tmp_path: Path) -> None:
    model, cohort, people = trained
    for solver in (RungeKutta("tsit5"), Exponential(), Torchdiffeq("dopri5"), Torchdiffeq("rk4", adjoint=True)):
        found = load(save(Bundle.of(model, cohort, people, solver=solver), tmp_path / "a.twin"))
        assert found.solver == solver
        assert found.provenance == {"settings.solver": name_of(solver)}
    with pytest.raises(ValueError, match=r"RungeKutta\(.*rtol=0.001.* has none of bosh3, dopri5, rk4, tsit5, exponential"):
        Bundle.of(model, cohort, people, solver=RungeKutta("tsit5", rtol=1e-3))
    wrong: Any = "rk4"
    with pytest.raises(ValueError, match="solver"):
        Bundle.of(model, cohort, people, solver=wrong)


def test_every_name_is_that_of_a_solver() -> None:
    assert len(solvers()) == 33
    for name in solvers():
        assert solver_named(name) == solver_named(name_of(solver_named(name)))


@dataclass(frozen=True)
class Toy(Solver):
    """A stranger's solver: error control to a tolerance of its own."""

    @property
    def adaptive(self) -> bool:
        return True

    def solve(self, field: SemilinearField, x0: torch.Tensor) -> Solution:
        return Exponential(rtol=1e-9).solve(field, x0)


def test_a_new_solver_is_one_file_and_one_word(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cohort, people = trained
    with pytest.raises(ValueError, match=r"Toy\(\) has none of"):
        Bundle.of(model, cohort, people, solver=Toy())
    monkeypatch.setattr(hybrid, "SOLVERS", (*hybrid.SOLVERS, Toy))
    found = load(save(Bundle.of(model, cohort, people, solver=Toy()), tmp_path / "a.twin"))
    assert (found.solver, solver_named("toy")) == (Toy(), Toy())
    fine, ours = (b.forecast("P1", None, [1.0, 6.0]).mean for b in (found, Bundle.of(model, cohort, people)))
    assert not torch.equal(fine, ours)
    assert torch.allclose(fine, ours, rtol=1e-5)


def test_what_the_training_looked_like_travels_and_a_bundle_without_it_says_so(trained: Trained, tmp_path: Path) -> None:
    model, cohort, people = trained
    bundle = Bundle.of(model, cohort, people)
    assert bundle.reference == Reference.of(model, cohort, people)
    back = load(save(bundle, tmp_path / "a.twin"))
    assert back.reference == bundle.reference
    who = bundle.people[0]
    (own,) = back.forecast(who.id, None, [1.0, 2.0]).shift or ()
    assert own.flagged is False
    (more,) = back.forecast(who.id, "scale gut by 5", [1.0, 2.0]).shift or ()
    assert [reason.look for reason in more.reasons] == ["given"]
    silent = load(save(replace(bundle, reference=None), tmp_path / "b.twin"))
    assert silent.reference is None
    (unknown,) = silent.forecast(who.id, None, [1.0, 2.0]).shift or ()
    assert unknown.flagged is None
    assert "nothing says what the training looked like" in unknown.sentence()
    with zipfile.ZipFile(tmp_path / "a.twin") as archive:  # an earlier program keeps it without knowing what it is
        assert "reference.json" in json.loads(archive.read("manifest.json"))["optional"]
