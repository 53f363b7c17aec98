"""Residuals where the law of the measurements is known in closed form, and where the model is wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid import Concentration, HybridModel
from learned import AdditiveProportional, DiagonalDiffusion, Ensemble
from physics import Administered, LogNormalPopulation, OneCompartmentOral, Parameter
from tests.builders import BOXES
from tests.training.diagnostics.studies import linear, measured_by, oral
from tests.training.people.test_personalise import TIGHT
from training import personalise
from training.diagnostics import fitted_curves, residuals
from training.diagnostics.npde import kolmogorov

D = torch.float64


def textbook(y: torch.Tensor, C: torch.Tensor, root: str) -> torch.Tensor:
    """C^{−1/2} y of the entries that are there, person by person, with numpy."""
    found = np.full(y.shape, np.nan)
    for i, row in enumerate(y.numpy()):
        here = np.isfinite(row)
        cov = C.numpy()[np.ix_(here, here)]
        values, vectors = np.linalg.eigh(cov)
        inverse = vectors @ np.diag(values**-0.5) @ vectors.T if root == "symmetric" else np.linalg.inv(np.linalg.cholesky(cov))
        found[i, here] = inverse @ row[here]
    return torch.from_numpy(found)


@pytest.mark.parametrize("channels", [1, 2])
def test_of_a_linear_mixed_model_cwres_are_exact(channels: int) -> None:
    """E y = 0 and Cov y = Z Zᵀ + σ² I, whatever the data; missing measurements take no part."""
    model, cohort, _, C = linear(2, 4, channels=channels)
    y = cohort.y.clone()
    y[1, 2, 0] = y[2, 0] = torch.nan
    cohort = replace(cohort, y=y)
    personal = personalise(model, cohort, solver=TIGHT)
    for root in ("symmetric", "cholesky"):
        found = residuals(model, cohort, personal, root=root, solver=TIGHT)  # type: ignore[arg-type]
        # 1e-7: differences along η leave 1e-10 of a slope, and the covariance's condition is a few hundred
        torch.testing.assert_close(found.cwres.flatten(1), textbook(y.flatten(1), C, root), atol=1e-7, rtol=0.0, equal_nan=True)
    torch.testing.assert_close(found.cpred, torch.zeros_like(y), atol=1e-8, rtol=0.0)
    torch.testing.assert_close(found.pred, torch.zeros_like(y), atol=1e-12, rtol=0.0)
    there = torch.isfinite(y)
    torch.testing.assert_close(found.iwres[there], ((y - found.ipred) / 0.3)[there], atol=1e-9, rtol=0.0)


def test_cwres_do_not_depend_on_where_a_linear_model_was_linearised() -> None:
    model, cohort, _, _ = linear(2, 3)
    personal = personalise(model, cohort, solver=TIGHT)
    moved = replace(personal, mode=personal.mode + 1.0)
    one, other = (residuals(model, cohort, p, solver=TIGHT).cwres for p in (personal, moved))
    torch.testing.assert_close(one, other, atol=1e-7, rtol=0.0)


def test_of_a_right_model_cwres_are_standard_normal_and_of_a_wrong_one_they_are_not() -> None:
    """A linear model, where they are exactly independent: 400 people × 4 times against Kolmogorov's 99.9 % bound."""
    model, cohort, _, _ = linear(2, 400, seed=3)
    cwres = residuals(model, cohort).cwres.flatten()
    n = len(cwres)
    bound = np.sqrt(np.log(2.0 / 0.001) / (2.0 * n))  # Massart (1990)
    assert kolmogorov(torch.special.ndtr(cwres).numpy()[None])[0] < bound
    wrong = measured_by(oral(), 150, 5)
    early = residuals(oral(ka=3.0), wrong).cwres[:, 0, 0]  # absorbed faster than these people do: less is measured early
    assert early.mean() / (early.std() / len(early) ** 0.5) < -5.0


def test_doubled_spread_makes_cwres_narrow() -> None:
    cohort = measured_by(oral(), 150, 6)
    right, wide = (residuals(oral(spread), cohort).cwres for spread in ((0.3,) * 3, (0.6,) * 3))
    # a variance of 900 dependent values, of which 150 people are independent: its relative error is below √(2/150) = .12
    assert abs(float(right.var()) - 1.0) < 0.36
    assert float(wide.var()) < float(right.var()) - 0.15


def test_of_members_the_mixture_or_one() -> None:
    """Moments of the mixture are those of the members, added up by hand; each alone is the single model."""
    generator = torch.Generator().manual_seed(0)
    single = oral()
    model = Ensemble(3).stack(single, generator)
    with torch.no_grad():
        model.population.shift += 0.2 * torch.randn(model.population.shift.shape, generator=generator, dtype=D)
    cohort = measured_by(single, 4, 1)
    personal = personalise(model, cohort)
    parts = [residuals(model, cohort, personal, member=m) for m in range(3)]
    whole = residuals(model, cohort, personal)
    assert whole.about.members == "the mixture of 3 members"
    assert [one.about.members for one in parts] == ["member 1 of 3", "member 2 of 3", "member 3 of 3"]
    for name in ("pred", "cpred", "ipred"):
        torch.testing.assert_close(getattr(whole, name), torch.stack([getattr(p, name) for p in parts]).mean(0))
    sd = [(p.y - p.ipred) / p.iwres for p in parts]
    mean = torch.stack([p.ipred for p in parts])
    variance = torch.stack([v.square() for v in sd]).mean(0) + mean.var(0, correction=0)
    torch.testing.assert_close(whole.iwres, (whole.y - mean.mean(0)) / variance.sqrt())
    torch.testing.assert_close(parts[1].eta, personal.mode[[1]])


def test_what_is_left_out_and_who_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person of whom nothing is known, one person alone, and one who failed: the others are as they would be without."""
    model = oral()
    cohort = measured_by(model, 5, 2)
    y = cohort.y.clone()
    y[1], y[2, 3] = torch.nan, torch.nan
    cohort = replace(cohort, y=y)
    personal = personalise(model, cohort)
    whole = residuals(model, cohort, personal)
    assert torch.isnan(whole.cwres[1]).all()
    assert torch.isfinite(whole.ipred[1]).all()
    assert torch.equal(torch.isfinite(whole.cwres), torch.isfinite(y))
    assert len(whole.to_frame()) == int(torch.isfinite(y).sum())
    alone = residuals(model, cohort.people(torch.tensor([2])), personal.people(torch.tensor([2])))
    torch.testing.assert_close(alone.cwres[0], whole.cwres[2], equal_nan=True)
    lost = residuals(model, cohort, replace(personal, failed={3: "it cannot be simulated"}))
    assert torch.isnan(lost.cwres[3]).all()
    assert lost.about.failed == {3: "it cannot be simulated"}
    keep = [0, 2, 4]
    torch.testing.assert_close(lost.cwres[keep], whole.cwres[keep], equal_nan=True)
    curves = fitted_curves(model, cohort, personal, points=25)
    assert curves.times[:, -1].tolist() == [12.0] * 5
    torch.testing.assert_close(curves.individual[0, -1], whole.ipred[0, -1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(curves.population[0, -1], whole.pred[0, -1], rtol=1e-4, atol=1e-5)


def test_what_has_no_answer_is_refused_in_a_sentence() -> None:
    cohort = measured_by(oral(), 3, 1)
    with pytest.raises(ValueError, match=r"process noise.*npde"):
        residuals(oral(process=DiagonalDiffusion([1.0, 1.0])), cohort)
    with pytest.raises(ValueError, match="member, its place"):
        residuals(oral(), cohort, member=1)
    with pytest.raises(ValueError, match="personal"):
        residuals(oral(), cohort, personalise(oral(), cohort.people(torch.tensor([0, 1]))))


def test_curves_of_people_whose_doses_arrive_late_are_those_of_their_own_lag() -> None:
    """A lag of θ: nothing before it, and the individual curve meets IPRED at the last measurement."""
    backbone = Administered(OneCompartmentOral(**BOXES), lag={"gut": Parameter("Tlag", "h", 0.5, 0.01, 4.0)})
    population = LogNormalPopulation(backbone, {"ka": 0.3, "ke": 0.3, "V": 0.3, "Tlag": 0.2})
    noise = AdditiveProportional([0.1], [0.1], [0.02])
    model = HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=noise)
    cohort = measured_by(model, 4, 1, times=(1.5, 3.0, 6.0, 12.0))
    personal = personalise(model, cohort)
    curves, found = fitted_curves(model, cohort, personal, points=49), residuals(model, cohort, personal)
    early = curves.times[0] < 0.5
    assert int(early.sum()) == 2
    assert not curves.population[:, early].any()
    torch.testing.assert_close(curves.individual[:, -1], found.ipred[:, -1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(curves.population[:, -1], found.pred[:, -1], rtol=1e-3, atol=1e-4)
