"""What people bring, in float32: what is simulated and fitted is near to float64, and what needs float64 takes it or says so."""

import pytest
import torch
from torch import Tensor

from tests.studies import STUDIES, Ask, Study, foretold, moved, searched, simulated
from training import laplace_marginal, sensitivity
from training.inference import quadrature_marginal, standard_errors
from training.people import observed_information

SINGLE = torch.float32


def both(study: Study, ask: Ask) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    made = study.made()
    return ask(study, *moved(study, *made, torch.float64)), ask(study, *moved(study, *made, SINGLE))


def near(double: dict[str, Tensor], single: dict[str, Tensor], within: float) -> None:
    assert double.keys() == single.keys()
    for key, value in double.items():
        size = 1.0 + float(value.detach().abs().nan_to_num().amax()) if value.numel() else 1.0
        torch.testing.assert_close(
            single[key].detach().double() / size,
            value.detach().double() / size,
            rtol=0.0,
            atol=within,
            equal_nan=True,
            msg=f"{key}: {single[key]} in float32, {value} in float64",
        )


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_in_float32_is_near_to_that_in_float64(name: str) -> None:
    double, single = both(STUDIES[name], simulated)
    assert {value.dtype for value in single.values()} == {SINGLE}
    # some hundred operations of 6e-8 each; the worst seen is 1e-5, a slope of channels that err together
    near(double, single, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_fits_in_float32_go_the_way_of_those_in_float64(name: str) -> None:
    double, single = both(STUDIES[name], searched)
    assert {value.dtype for value in single.values()} == {SINGLE}
    # Adam's steps have the size of the rate, whatever the gradient's: of 2 × .05 a hundredth
    near({key: value for key, value in double.items() if key in single}, single, 2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_forecasts_and_diagnostics_of_a_model_in_float32_are_those_of_float64(name: str) -> None:
    study = STUDIES[name]
    double, single = both(study, foretold)
    # a number that lies between two draws may change its rank: one of 31 of NPDE's
    near({k: v for k, v in double.items() if k != "npde"}, {k: v for k, v in single.items() if k != "npde"}, 2e-3)


def test_what_takes_differences_refuses_float32() -> None:
    study = STUDIES["every scale"]
    model, cohort = moved(study, *study.made(), SINGLE)
    eta = torch.zeros(2, 3, model.personal, dtype=SINGLE)
    asks = (
        lambda: sensitivity(model, cohort.conditions, eta),
        lambda: observed_information(model, cohort, eta),
        lambda: laplace_marginal(model, cohort),
        lambda: quadrature_marginal(model, cohort, nodes=3),
        lambda: standard_errors(model, cohort),
    )
    for ask in asks:
        with pytest.raises(ValueError, match=r"need(s)? float64.*model\.to\(torch\.float64\)"):
            ask()
