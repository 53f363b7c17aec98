"""Log-normal errors: the density of logarithms, records in logarithms, limits, starts, draws, and who refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from exchange import Bundle, Person, load, save
from hybrid import Concentration, Dose, HybridModel, Log, Mesh, Schedule, rollout
from learned import Constant
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, Record, Search, fit_population, laplace_marginal, last, personalise, read_nonmem
from training.diagnostics import simulated_cohorts
from training.people.conversion import converted

D, NAN = torch.float64, float("nan")
TIMES = (0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0)
UNITS = {"time": "h", "dose": "mg", "concentration": "mg/L"}


def model(sd: float = 0.2, spread=(0.3, 0.2, 0.2)) -> HybridModel:
    backbone = OneCompartmentOral()
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, list(spread)),
        observation=Log(Concentration("plasma", "V"), 1e-3),
        noise=Constant({"log(concentration)": sd}, {"log(concentration)": 0.01}),
    )


def people(m: HybridModel, count: int = 3, seed: int = 1) -> list[Record]:
    """In mg/L, as they would be measured."""
    schedule = Schedule((Dose("gut", 0.0, 300.0),))
    blank = [Record(f"{i}", schedule, TIMES, [1.0] * len(TIMES), "concentration", units=UNITS) for i in range(count)]
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        run = rollout(m, Cohort.of(blank, m).conditions, torch.randn(1, count, 3, generator=g, dtype=D))
        z = torch.randn(run.mean.shape, generator=g, dtype=D)
        y = torch.exp(run.mean + run.variance.sqrt() * z)[0].numpy()
    return [replace(record, values=own) for record, own in zip(blank, y, strict=True)]


def test_the_likelihood_is_that_of_log_normal_measurements_but_for_what_no_parameter_moves() -> None:
    m = model()
    records = people(m)
    cohort = Cohort.of(records, m)
    run = rollout(m, cohort.conditions, torch.zeros(1, 3, 3, dtype=D))
    plain = HybridModel(m.backbone, m.population, observation=Concentration("plasma", "V"), noise=Constant([0.2], [0.01]))
    f = rollout(plain, Cohort.of(records, plain).conditions, torch.zeros(1, 3, 3, dtype=D)).mean[0].detach().numpy()
    y = np.stack([r.values for r in records])
    sd = float(run.variance[0, 0, 0, 0].detach().sqrt())
    density = stats.lognorm(s=sd, scale=f).logpdf(y)
    wanted = -(density + np.log(y) + 0.5 * np.log(2 * np.pi)).sum((-1, -2))
    np.testing.assert_allclose(cohort.nll(run.mean, run.variance, None)[0].detach(), wanted, rtol=1e-9)
    # and in other units of the table everything is the same
    other = [replace(r, values=1000.0 * r.values, units={**UNITS, "concentration": "ug/L"}) for r in records]
    torch.testing.assert_close(Cohort.of(other, m).y, cohort.y, rtol=1e-13, atol=1e-13)
    # who has logarithms names them so
    own = [
        replace(r, values=np.log(r.values), channels="log(concentration)", units={"time": "h", "dose": "mg"})
        for r in records
    ]
    torch.testing.assert_close(Cohort.of(own, m).y, cohort.y, rtol=0.0, atol=0.0)
    assert converted(converted(records[0], m), m).channels == ("log(concentration)",)


def test_limits_are_those_of_logarithms() -> None:
    m = model()
    records = people(m)
    values, upper, lower = records[0].values.copy(), np.full((7, 1), NAN), np.full((7, 1), NAN)
    values[5:], upper[5:], lower[6] = NAN, 2.0, 0.0
    cohort = Cohort.of([replace(records[0], values=values, upper=upper, lower=lower), *records[1:]], m)
    assert cohort.limits is not None
    assert cohort.limits[0, 5, 0].tolist() == [-np.inf, pytest.approx(np.log(2.0))]
    assert cohort.limits[0, 6, 0].tolist() == [-np.inf, pytest.approx(np.log(2.0))]  # 0 says nothing of a logarithm
    run = rollout(m, cohort.conditions, torch.zeros(1, 3, 3, dtype=D))
    mean, sd = run.mean[0, 0, :, 0].detach().numpy(), run.variance[0, 0, :, 0].detach().sqrt().numpy()
    f = np.exp(mean)
    wanted = -stats.lognorm(s=sd[5:], scale=f[5:]).logcdf(2.0).sum()
    logs = np.log(values[:5, 0])
    wanted -= (stats.norm(mean[:5], sd[:5]).logpdf(logs) + 0.5 * np.log(2 * np.pi)).sum()
    assert float(cohort.nll(run.mean, run.variance, None)[0, 0].detach()) == pytest.approx(wanted, rel=1e-10)
    with pytest.raises(ValueError, match="m4"):
        Cohort.of(records, m, censoring="m4")


@pytest.mark.parametrize("value", [0.0, -0.1])
def test_what_has_no_logarithm_is_refused_with_its_person_and_time(value: float) -> None:
    m = model()
    record = people(m, 1)[0]
    values = record.values.copy()
    values[3] = value
    with pytest.raises(ValueError, match=r"record 0: concentration was measured at .* at time 4"):
        Cohort.of([replace(record, values=values)], m)
    values[3], upper = NAN, np.full((7, 1), NAN)
    upper[3] = value
    with pytest.raises(ValueError, match="has its upper limit"):
        Cohort.of([replace(record, values=values, upper=upper)], m)
    with pytest.raises(ValueError, match="Log: least"):
        Log(Concentration("plasma", "V"), value)


def test_a_baseline_sets_the_start_that_was_measured() -> None:
    m = model()
    record = Record("a", Schedule((Dose("gut", 1.0, 300.0),)), (0.0, 2.0), [3.0, 8.0], "concentration", units=UNITS)
    cohort = Cohort.of([record], m)
    assert m.starts_from == (True,)
    run = rollout(m, cohort.conditions, torch.zeros(1, 1, 3, dtype=D))
    x0 = m.initial(run.theta, cohort.conditions.baseline)[0, 0, 1]
    torch.testing.assert_close((x0 / run.theta[0, 0, 2]).detach(), torch.tensor(3.0, dtype=D), rtol=1e-12, atol=0.0)
    assert bool(torch.isnan(cohort.y[0, 0, 0])) or cohort.unscored == (1,)


def test_before_a_dose_the_logarithm_is_that_of_least() -> None:
    m = model()
    y = m.observation.mean(torch.tensor([[[[0.0, 0.0], [0.0, 31.5]]]], dtype=D), m.typical)
    torch.testing.assert_close(y[0, 0, :, 0], torch.log(torch.tensor([1e-3, 31.5 / float(m.typical[0, 0, 2])], dtype=D)))


def test_draws_have_the_median_and_the_coefficient_of_variation_of_a_log_normal() -> None:
    m = model(0.2, spread=(1e-4,) * 3)
    cohort = Cohort.of(people(m, 1), m)
    drawn = simulated_cohorts(m, cohort, 4000, torch.Generator().manual_seed(0))
    assert drawn.about.channels == ("log(concentration)",)
    assert drawn.about.units == ("1",)
    y = drawn.values[:, 0, :, 0].exp()
    f = rollout(m, cohort.conditions, torch.zeros(1, 1, 3, dtype=D)).mean[0, 0, :, 0].detach().exp()
    # standard error of a median of 4,000: 1.25 · .2/√4000 = .004; of a standard deviation over the mean: about .0025
    torch.testing.assert_close(y.median(0).values, f, rtol=0.02, atol=0.0)
    cv = float(np.sqrt(np.expm1(0.2**2 + 0.01**2)))
    torch.testing.assert_close(y.std(0) / y.mean(0), torch.full((7,), cv, dtype=D), rtol=0.06, atol=0.0)


def test_a_population_is_fitted_and_kept(tmp_path: Path) -> None:
    m = model(0.4)
    records = people(model(0.2), 30)
    cohort = Cohort.of(records, m)
    fitted = last(fit_population(m, cohort, search=Search(steps=25)))
    (_, sd), = fitted.model.noise.estimates().values()
    assert float(sd.detach()) == pytest.approx(0.2, rel=0.25)  # 210 values, 90 effects: standard error 6 %
    before, after = (float(laplace_marginal(one, cohort).value.sum().detach()) for one in (m, fitted.model))
    assert after < before
    known = personalise(fitted.model, cohort.people(torch.tensor([0])))
    person = Person("0", cohort.records[0].schedule, {}, (NAN,))
    found = load(save(Bundle(fitted.model, (person,), known, Mesh(0.5, 0.1)), tmp_path / "a.twin"))
    assert isinstance(found.model.observation, Log)
    prediction = found.forecast("0", cohort.records[0].schedule, TIMES)
    assert prediction.units == ("1",)


def test_a_table_is_read_by_a_model_of_logarithms(tmp_path: Path) -> None:
    """What a table declares never negative was measured so; its logarithm may be negative."""
    path = tmp_path / "people.csv"
    path.write_text("ID,TIME,AMT,DV,EVID,CMT\n1,0,100,.,1,1\n1,1,0,2,0,2\n1,3,0,0.5,0,2\n")
    records = read_nonmem(path, units={"TIME": "h", "AMT": "mg", "DV": "mg/L"})
    assert records[0].nonnegative == ("concentration",)
    cohort = Cohort.of(records, model())
    assert cohort.records[0].nonnegative == ()
    torch.testing.assert_close(cohort.y[0, :, 0], torch.tensor([2.0, 0.5], dtype=torch.float64).log())


def test_the_cure_of_positions_is_one_that_works() -> None:
    m = model()
    for count, cure in ((1, [0]), (3, [0, 1])):
        cohort = Cohort.of(people(m, count), m)
        with pytest.raises(ValueError, match=rf"write torch\.tensor\(\[{', '.join(map(str, cure))}\]\)"):
            cohort.people(torch.tensor([count]))
        assert len(cohort.people(torch.tensor(cure)).ids) == len(cure)
