"""What the hybrid has to beat, against naive versions: an ODE solver of another library, and a search."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from homeostat.c_peptide.rivals import Proportional, carried_forward, responses, steady, values_of
from homeostat.data import ohashi
from physics import VanCauter, VanCauterPopulation
from training.people import read_ohashi

PEOPLE = read_ohashi(ohashi()).train[:3]


def test_the_answer_of_the_kinetics_to_glucose() -> None:
    found = responses(PEOPLE)
    for one, record in zip(found, PEOPLE, strict=True):
        covariates = {n: torch.tensor([record.covariates[n]], dtype=torch.float64) for n in ("age", "type2")}
        theta = VanCauterPopulation().theta(torch.zeros(1, 1, 0, dtype=torch.float64), covariates)
        A = VanCauter().matrices(theta)[0][0, 0].numpy()
        glucose = record.schedule.inputs["glucose"]
        solved = solve_ivp(
            lambda t, x, A=A, glucose=glucose: A @ x + [glucose.at(t), 0.0],
            (0.0, 120.0),
            [0.0, 0.0],
            t_eval=record.times,
            rtol=1e-9,
            atol=1e-11,
            max_step=2.0,
        )
        np.testing.assert_allclose(one, solved.y[0], atol=1e-6)


def test_a_persons_own_proportion_minimises_what_is_said() -> None:
    model, deviations = Proportional.of(PEOPLE), (0.4, 0.4, 0.15, 0.15, 0.15)
    h, y = responses(PEOPLE), values_of(PEOPLE)
    predicted = model.predict(PEOPLE, deviations, 3)
    for one, its_h, its_y in zip(predicted, h, y, strict=True):

        def cost(b: float, its_h: np.ndarray = its_h, its_y: np.ndarray = its_y) -> float:
            errors = (its_y - its_y[0] - b * its_h)[1:3] / deviations[1:3]
            return float((errors**2).sum() + ((b - model.mean) / model.deviation) ** 2)

        best = minimize_scalar(cost, bracket=(0.0, 0.1), tol=1e-12).x
        np.testing.assert_allclose(one, its_y[0] + best * its_h, rtol=1e-6)


def test_values_that_stay() -> None:
    y = values_of(PEOPLE)
    assert (steady(y) == y[:, :1]).all()
    assert (carried_forward(y, 3) == y[:, 2:3]).all()
    assert np.sqrt(((carried_forward(y, 3) - y)[:, 2] ** 2).mean()) == pytest.approx(0.0)
