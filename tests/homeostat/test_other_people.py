"""People of another table whose θ changes on the way: the bundle's certificate and reach are held beside every θ they have."""

import re

import numpy as np
import pytest
import torch
from scipy.linalg import cholesky, eigvalsh, solve_triangular

from exchange import Bundle, lure_of, save
from homeostat.bundles.inspected import inspect_bundle
from homeostat.bundles.these_people import beyond_in, certificate_verdicts
from hybrid import Concentration, Dose, HybridModel, Schedule
from learned import AdditiveProportional
from physics import LogNormalPopulation, OneCompartmentOral
from stability import Box, Certificate, Inputs, certify
from training import Cohort, Personal, Record, personalise
from training.people import prior

TIMES = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 12.0])


def made() -> HybridModel:
    backbone = OneCompartmentOral(parameters="clearance", typical={"ka": 1.5, "CL": 2.8, "V": 32.0})
    powers = {"CL": {"WT": (70.0, 0.75, "kg")}, "V": {"WT": (70.0, 1.0, "kg")}}
    noise = AdditiveProportional([0.3], [0.1], [0.01])
    population = LogNormalPopulation(backbone, {"ka": 0.3, "CL": 0.3, "V": 0.2}, powers)
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=noise)


def person(id: str, *weights: float) -> Record:
    """Whose weight is the first of these, and from 3 h on the second."""
    given = {"WT": weights[0]} if len(weights) == 1 else {}
    changing = {} if given else {"WT": (np.array([0.0, 3.0]), np.array(weights))}
    dose, values = Schedule((Dose("gut", 0.0, 320.0),)), (5.0 * np.exp(-TIMES / 8.0))[:, None]
    return Record(id, dose, TIMES, values, ("concentration",), given, {"WT": "kg"}, changing=changing)


@pytest.fixture(scope="module")
def fitted() -> tuple[HybridModel, Cohort, Personal]:
    model = made()
    cohort = Cohort.of([person("a", 60.0), person("b", 80.0)], model)
    return model, cohort, personalise(model, cohort)


@pytest.fixture(scope="module")
def bundle(fitted: tuple[HybridModel, Cohort, Personal]) -> Bundle:
    model, cohort, personal = fitted
    certificate = certify(lure_of(model, personal.mode, cohort.conditions.covariates))
    assert isinstance(certificate, Certificate)
    return Bundle.of(model, cohort, personal, claims=[certificate])


def test_the_metric_must_serve_every_weight_that_somebody_has(bundle: Bundle) -> None:
    """Against the symmetric part of R A R⁻¹, P = RᵀR, at both weights: the smaller rate is what is proved."""
    model = bundle.model
    cohort = Cohort.of([person("x", 70.0, 120.0)], model)
    mode = prior(model, 1).mode
    good = certificate_verdicts(bundle, mode, cohort)[-1]
    assert good.good
    assert good.claim == "The same metric serves the people of this table"
    assert "each of those that they have as WT changes" in good.detail
    assert isinstance(bundle.certificate, Certificate)
    root = cholesky(bundle.certificate.metric)  # R
    rates = []
    for weight in (70.0, 120.0):
        theta = model.theta(mode, {"WT": torch.tensor([weight], dtype=torch.float64)}).detach()
        ka, CL, V = theta[0, 0].tolist()
        moved = root @ np.array([[-ka, 0.0], [ka, -CL / V]])
        same = solve_triangular(root, moved.T, trans="T").T  # root A root⁻¹
        rates.append(-eigvalsh(0.5 * (same + same.T)).max())
    found = re.search(r"shrinks by ([0-9.]+) % per h", good.detail)
    assert found is not None
    # three digits are shown, and the search gives away a little of the rate
    assert float(found[1]) == pytest.approx(100.0 * -np.expm1(-min(rates)), rel=0.01)
    assert max(rates) > 1.05 * min(rates)  # so that a proof of the first weight alone would be seen


def test_a_weight_that_changes_to_itself_changes_nothing(bundle: Bundle) -> None:
    model = bundle.model
    cohorts = [Cohort.of([person("x", *weights)], model) for weights in ((120.0,), (120.0, 120.0))]
    mode = prior(model, 1).mode
    one, other = (beyond_in(bundle, cohort, mode) for cohort in cohorts)
    assert one.keys() == other.keys() == {"x"}
    assert one["x"].states.keys() == other["x"].states.keys()
    for name, (now, least) in one["x"].states.items():
        assert np.allclose([now, least], other["x"].states[name], rtol=1e-6)  # the solver's steps end at the change


def test_a_certificate_of_a_region_is_not_taken_over(fitted: tuple[HybridModel, Cohort, Personal]) -> None:
    model, cohort, personal = fitted
    system = lure_of(model, personal.mode, cohort.conditions.covariates)
    doses = Inputs([], [], [[320.0, 0.0]], 24.0)
    certificate = certify(system, None, Box([-2000.0, -2000.0], [2000.0, 2000.0]), doses, seconds=20.0)
    assert isinstance(certificate, Certificate), certificate.message
    bundle = Bundle.of(model, cohort, personal, claims=[certificate])
    verdict = certificate_verdicts(bundle, prior(model, 1).mode, Cohort.of([person("x", 70.0, 120.0)], model))[-1]
    assert verdict.good is False
    assert verdict.detail.startswith("WT changes on the way of these people and θ with it")


def test_inspect_says_whom_a_certificate_covers(bundle: Bundle, tmp_path) -> None:
    _, text = inspect_bundle(save(bundle, tmp_path / "own.twin"))
    assert "covers     these people alone, with the parameters of the fit" in text
