"""θ that says how doses arrive in records that change on the way, are reset, or begin in a steady state: closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from exchange.bundle.person import Person, read, written
from hybrid import (
    Concentration,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    integrate,
    rollout,
    simulate,
)
from hybrid.schedules.schedule_text import format_schedule, parse_schedule
from hybrid.schedules.steady import Steady
from learned import Constant
from physics import (
    Administered,
    LinearisedBackbone,
    LogNormal,
    MichaelisMenten,
    MixedPopulation,
    Occasions,
    OneCompartmentOral,
    Parameter,
    PowerOf,
    Shared,
)
from training import Cohort, Record, laplace_marginal, personalise, read_nonmem

D = torch.float64
LAG = Parameter("Tlag", "h", 0.5, 0.01, 4.0)
F = Parameter("F", "1", 0.8, 0.05, 1.5)
F2 = Parameter("F2", "1", 0.6, 0.05, 1.5)
D2 = Parameter("D2", "h", 2.0, 0.1, 24.0)
FINE = Exponential(rtol=1e-9)
TIMES = [0.6, 2.0, 12.0, 13.0, 24.0, 24.75, 25.0, 27.0, 30.0, 36.0, 47.0]


def swallowed(theta: Tensor, since: float) -> float:
    """Bateman's curve of one unit that arrived `since` ago."""
    ka, CL, V = (float(v) for v in theta[:3])
    ke = CL / V
    return ka / (ka - ke) * (math.exp(-ke * since) - math.exp(-ka * since)) if since > 0.0 else 0.0


def infused(theta: Tensor, since: float, lasts: float) -> float:
    """What is there of one unit that runs into plasma over `lasts` since then."""
    ke = float(theta[1] / theta[2])
    return (1.0 - math.exp(-ke * min(max(since, 0.0), lasts))) / (ke * lasts) * math.exp(-ke * max(since - lasts, 0.0))


def model_of(
    occasions: dict[str, float] | None = None, covariates: dict[str, list[PowerOf]] | None = None, **given: object
) -> HybridModel:
    backbone = Administered(OneCompartmentOral(parameters="clearance"), start="empty", **given)  # type: ignore[arg-type]
    spread = {p.name: LogNormal(0.2) if p.name in ("CL", "F") else Shared() for p in backbone.physical}
    more = {} if occasions is None else {"occasions": Occasions(occasions, 2)}
    population = MixedPopulation(backbone, spread, covariates=covariates or {}, **more)  # type: ignore[arg-type]
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=Constant([0.1], [0.01]))


def cohort_of(model: HybridModel, schedule: Schedule, mesh: Mesh | None = None, **said: object) -> Cohort:
    record = Record("1", schedule, TIMES, np.ones(len(TIMES)), "concentration", **said)  # type: ignore[arg-type]
    return Cohort.of([record], model, mesh)


def thetas(model: HybridModel, personal: Tensor) -> tuple[Tensor, Tensor]:
    first, second = (model.theta(personal, {"occasion": torch.tensor([o], dtype=D)})[0, 0].detach() for o in (1.0, 2.0))
    return first, second


@pytest.mark.parametrize("solver", [FINE, RungeKutta("rk4")], ids=["exponential", "rk4"])
def test_each_dose_arrives_as_the_occasion_says_in_which_it_was_given(solver: object) -> None:
    """F and the duration of an infusion differ between occasions, and an infusion is under way when the second one begins."""
    model = model_of({"F": 0.4, "D2": 0.3}, fraction={"gut": F}, duration={"plasma": D2}, lag={"gut": LAG})
    schedule = Schedule((Dose("gut", 0.0, 100.0), Dose("plasma", 23.0, 50.0, modelled="duration"), Dose("gut", 24.0, 100.0),
                         Dose("plasma", 26.0, 40.0, modelled="duration")))
    cohort = cohort_of(model, schedule, mesh=Mesh(None) if solver is FINE else Mesh(0.05), occasions=(0.0, 24.0))
    personal = torch.tensor([[[0.5, -0.4, 0.3, -0.6, 0.8, 1.1]]], dtype=D)[..., : model.personal]
    one, two = thetas(model, personal)
    names = [p.name for p in model.backbone.physical]
    lag, share, lasts = names.index("Tlag"), names.index("F"), names.index("D2")
    assert float(one[share]) != pytest.approx(float(two[share]), rel=0.01)
    assert float(one[lasts]) != pytest.approx(float(two[lasts]), rel=0.01)
    right = [
        (100.0 * float(one[share]) * swallowed(one, t - float(one[lag])) + 50.0 * infused(one, t - 23.0, float(one[lasts]))
         + 100.0 * float(two[share]) * swallowed(one, t - 24.0 - float(one[lag]))
         + 40.0 * infused(one, t - 26.0, float(two[lasts])))
        / float(one[2])
        for t in TIMES
    ]
    run = rollout(model, cohort.conditions, personal, solver)  # type: ignore[arg-type]
    # rk4: (ka · step)⁴/120 of the dose
    np.testing.assert_allclose(run.mean[0, 0, :, 0].detach(), right, rtol=0.0, atol=1e-8 if solver is FINE else 1e-4)


def test_a_fraction_follows_a_covariate_that_changes() -> None:
    model = model_of(covariates={"F": [PowerOf("WT", 70.0, 1.0, unit="kg")]}, fraction={"gut": F})
    twice = Schedule((Dose("gut", 0.0, 100.0), Dose("gut", 24.0, 100.0)))
    cohort, typical = cohort_of(model, twice, changing={"WT": ([0.0, 24.0], [70.0, 50.0])}), torch.zeros(1, 1, 2, dtype=D)
    theta = [model.theta(typical, {"WT": torch.tensor([w], dtype=D)})[0, 0].detach() for w in (70.0, 50.0)]
    run = rollout(model, cohort.conditions, typical, FINE)
    right = [sum(100.0 * float(p[3]) * swallowed(p, t - s) for p, s in zip(theta, (0.0, 24.0), strict=True)) / float(theta[0][2])
             for t in TIMES]
    np.testing.assert_allclose(run.mean[0, 0, :, 0].detach(), right, rtol=1e-8)


THETA = torch.tensor([1.5, 2.7, 31.0, 0.7, 0.6, 0.8], dtype=D)  # ka, CL, V, Tlag, F, F2
WHOLE = {"lag": {"gut": LAG}, "fraction": {"gut": F, "plasma": F2}}


@pytest.mark.parametrize("mesh", [Mesh(None), Mesh(None, observed=False), Mesh(0.05)], ids=["whole", "unobserved", "steps"])
def test_a_reset_takes_back_what_has_yet_to_arrive(mesh: Mesh) -> None:
    """A tablet of just before, and the rest of an infusion."""
    schedule = Schedule((Dose("gut", 0.0, 100.0), Dose("gut", 5.5, 80.0), Dose("plasma", 4.0, 60.0, duration=4.0),
                         Dose("gut", 6.0, 50.0)), resets=(6.0,))
    times = [1.0, 5.0, 6.0, 6.5, 6.7, 7.0, 9.0]
    model = model_of(**WHOLE)
    solver = FINE if mesh.step is None else RungeKutta("rk4")
    found = simulate(model, schedule, times, THETA, solver=solver, mesh=mesh)[:, 1]
    right = [
        60.0 * swallowed(THETA, t - 0.7) + 48.0 * infused(THETA, t - 4.0, 4.0) if t <= 6.0 else 30.0 * swallowed(THETA, t - 6.7)
        for t in times
    ]
    np.testing.assert_allclose(found, right, rtol=0.0, atol=1e-7 if mesh.step is None else 1e-3)


@pytest.mark.parametrize(("kept", "lasts"), [("duration", 4.0), ("rate", 3.2)])
@pytest.mark.parametrize("settled", [False, True])
def test_what_was_said_of_an_infusion_stays_under_a_fraction(kept: str, lasts: float, settled: bool) -> None:
    """Of 100 mg over 4 h .8 arrive: over 4 h at 20 mg/h, or at the 25 mg/h that were said, over 3.2 h; at steady state too."""
    model = model_of(**WHOLE)
    dose = Dose("plasma", 1.0, 100.0, duration=4.0, kept=kept)  # type: ignore[arg-type]
    steady = (Steady("plasma", 1.0, 100.0, 12.0, 4.0, kept=kept),) if settled else ()  # type: ignore[arg-type]
    times = [1.0, 3.0, 4.0, 4.5, 6.0, 11.0]
    theta = THETA.clone().requires_grad_()
    found = simulate(model, Schedule((dose,), steady=steady), times, theta, solver=FINE)[:, 1]
    right = [sum(80.0 * infused(THETA, t - 1.0 + 12.0 * k, lasts) for k in range(60 if settled else 1)) for t in times]
    np.testing.assert_allclose(found.detach(), right, rtol=1e-8)
    (slope,) = torch.autograd.grad(found[[1, 2, 3, 5]].sum(), theta)
    ends = []
    for share in (0.8 + 1e-5, 0.8 - 1e-5):
        at = torch.cat([THETA[:5], torch.tensor([share], dtype=D)])
        ends.append(float(simulate(model, Schedule((dose,), steady=steady), times, at, solver=FINE)[[1, 2, 3, 5], 1].sum()))
    assert float(slope[5]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("added", [False, True])
def test_an_infusion_that_never_stopped_has_its_rate_whatever_the_fraction_is(added: bool) -> None:
    """Of 24 mg/h there are 24/ke mg, and no slope in F; beside it F of what is swallowed arrives."""
    steady = (Steady("plasma", 1.0, 24.0, 1.0, 1.0, added=added, kept="always"),)
    theta, times = THETA.clone().requires_grad_(), [1.0, 1.5, 5.0]
    found = simulate(model_of(fraction={"plasma": F}), Schedule(steady=steady), times, theta[[0, 1, 2, 5]], solver=FINE)[:, 1]
    ke = float(THETA[1] / THETA[2])
    np.testing.assert_allclose(found.detach(), [24.0 / ke * math.exp(-ke * (t - 1.0)) for t in times], rtol=1e-9)
    (slope,) = torch.autograd.grad(found.sum(), theta)
    assert float(slope[5]) == 0.0
    assert float(slope[1]) != 0.0
    twice = Schedule((Dose("plasma", 1.0, 100.0),), steady=steady)
    both = simulate(model_of(fraction={"plasma": F}), twice, times, THETA[[0, 1, 2, 5]], solver=FINE)[:, 1]
    after = [0.0, *(80.0 * math.exp(-ke * (t - 1.0)) for t in times[1:])]
    np.testing.assert_allclose(both - found.detach(), after, rtol=1e-9, atol=1e-9)


def test_a_table_says_of_an_infusion_that_it_never_stopped(tmp_path: Path) -> None:
    """AMT 0, RATE and SS: no amount of which a part could arrive."""
    rows = "ID,TIME,AMT,DV,EVID,CMT,RATE,II,SS\n1,0,0,.,1,2,5,0,1\n1,2,0,1.5,0,2,.,.,.\n"
    (tmp_path / "drip.csv").write_text(rows)
    units = {"TIME": "h", "AMT": "mg", "DV": "mg/L"}
    (record,) = read_nonmem(tmp_path / "drip.csv", units=units, compartments={1: "gut", 2: "plasma"})
    assert record.schedule.steady == (Steady("plasma", 0.0, 5.0, 1.0, 1.0, kept="always"),)
    model = model_of(fraction={"plasma": F})
    nobody = torch.zeros(1, 1, model.population.dimension, dtype=D)
    CL, V = model.theta(nobody, {})[0, 0, 1:3].tolist()
    seen = rollout(model, Cohort.of([record], model).conditions, nobody, FINE).mean[0, 0, 0, 0]
    assert seen.item() == pytest.approx(5.0 / CL * math.exp(-2.0 * CL / V), rel=1e-9)


@pytest.mark.parametrize("linear", [True, False])
def test_a_fraction_scales_the_doses_of_a_steady_state(linear: bool) -> None:
    """As the same doses in smaller amounts, and in a Michaelis–Menten model too."""
    bent = LinearisedBackbone(MichaelisMenten(), x={"gut": 0.0, "plasma": 200.0})
    inner, into = OneCompartmentOral(parameters="clearance") if linear else bent, "gut"
    whole = Administered(inner, fraction={into: F}, start="empty")
    spread = {p.name: Shared() for p in whole.physical}
    observed = Concentration("plasma", "V")
    model = HybridModel(whole, MixedPopulation(whole, spread), observation=observed, noise=Constant([0.1], [0.01]))
    plain = HybridModel(inner, MixedPopulation(inner, {p.name: Shared() for p in inner.physical}), observation=observed,
                        noise=Constant([0.1], [0.01]))
    typical = torch.tensor([p.typical for p in inner.physical], dtype=D)
    theta = torch.cat([typical, torch.tensor([0.6], dtype=D)])
    hour = 1.0 if linear else 1.0 / 24.0  # Michaelis–Menten's numbers are by the day
    times = [hour * t for t in (2.5, 5.0, 9.0)]

    def given(amount: float) -> Schedule:
        return Schedule((Dose(into, 2.0 * hour, amount),), steady=(Steady(into, 2.0 * hour, amount, 8.0 * hour),), resets=(hour,))

    found = simulate(model, given(20.0), times, theta)
    torch.testing.assert_close(found, simulate(plain, given(12.0), times, typical), rtol=2e-6, atol=0.0)


def test_gradients_of_everything_together_are_finite_differences() -> None:
    model = model_of({"F": 0.4}, lag={"gut": LAG}, fraction={"gut": F, "plasma": F2})
    schedule = Schedule(
        (Dose("gut", 0.0, 100.0), Dose("plasma", 3.0, 40.0, 2.0, kept="rate"), Dose("gut", 24.0, 100.0),
         Dose("plasma", 28.0, 30.0)),
        resets=(26.0,), steady=(Steady("plasma", 28.0, 30.0, 6.0, 2.0, kept="rate"),),
    )
    cohort = cohort_of(model, schedule, occasions=(0.0, 24.0))
    eta = torch.tensor([[[0.3, -0.4, 0.8, -0.5]]], dtype=D)
    weight = torch.linspace(1.0, 2.0, len(TIMES), dtype=D)[:, None]

    def value(at: Tensor) -> Tensor:
        return (rollout(model, cohort.conditions, at, FINE).mean * weight).sum()

    along = eta.clone().requires_grad_()
    typical = next(p for n, p in model.named_parameters() if n.endswith("shift"))
    mine, own = torch.autograd.grad(value(along), [along, typical])
    for j in range(eta.shape[-1]):
        step = torch.zeros_like(eta)
        step[..., j] = 1e-5
        with torch.no_grad():
            difference = float(value(eta + step) - value(eta - step)) / 2e-5
        assert float(mine[0, 0, j]) == pytest.approx(difference, rel=1e-6, abs=1e-8)
        assert abs(difference) > 1e-6  # everything is seen
    for j in range(typical.shape[-1]):
        kept = typical.data.clone()
        with torch.no_grad():
            ends = []
            for s in (1e-5, -1e-5):
                typical.data[0, j] = kept[0, j] + s
                ends.append(float(value(eta)))
                typical.data.copy_(kept)
        assert float(own[0, j]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-8)


def test_people_and_their_marginal_with_f_by_occasion_are_those_of_as_many_people() -> None:
    """Where nobody differs but between occasions, and everything is reset between them, two occasions are two people."""

    def of(count: int) -> HybridModel:
        backbone = Administered(OneCompartmentOral(parameters="clearance"), start="empty", fraction={"gut": F})
        spread = {p.name: Shared() for p in backbone.physical}
        if count == 1:
            spread = {**spread, "F": LogNormal(0.4)}
            population = MixedPopulation(backbone, spread)
        else:
            population = MixedPopulation(backbone, spread, occasions=Occasions({"F": 0.4}, 2))
        return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=Constant([0.1], [0.01]))

    times, y = [1.0, 3.0, 8.0], [1.4, 2.1, 1.6]
    together, alone = of(2), of(1)
    twice = Schedule((Dose("gut", 0.0, 100.0), Dose("gut", 1000.0, 100.0)), resets=(1000.0,))
    whole_times, whole_y = [*times, *(t + 1000.0 for t in times)], [*y, *(0.7 * v for v in y)]
    both = Cohort.of([Record("1", twice, whole_times, whole_y, "concentration", occasions=(0.0, 1000.0))], together)
    once = Schedule((Dose("gut", 0.0, 100.0),))
    each = Cohort.of([Record(str(k), once, times, [s * v for v in y], "concentration") for k, s in enumerate((1.0, 0.7))], alone)
    whole, parts = laplace_marginal(together, both), laplace_marginal(alone, each)
    assert whole.value.sum().item() == pytest.approx(parts.value.sum().item(), rel=1e-6)
    known, apart = personalise(together, both), personalise(alone, each)
    torch.testing.assert_close(known.mode[0, 0], apart.mode[0, :, 0], rtol=0.0, atol=1e-5)


# --- what cannot be: one sentence each


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="Tlag is a lag and changes within a record, by occasion"):
        cohort_of(model_of({"Tlag": 0.2}, lag={"gut": LAG}), Schedule((Dose("gut", 0.0, 100.0),)), occasions=(0.0, 24.0))
    heavy = model_of(covariates={"Tlag": [PowerOf("WT", 70.0, 1.0, unit="kg")]}, lag={"gut": LAG})
    with pytest.raises(ValueError, match="by WT"):
        cohort_of(heavy, Schedule((Dose("gut", 0.0, 100.0),)), changing={"WT": ([0.0, 24.0], [70.0, 60.0])})
    settled = Schedule((Dose("gut", 0.0, 100.0),), steady=(Steady("gut", 0.0, 100.0, 12.0),))
    with pytest.raises(ValueError, match="has a lag there"):
        simulate(model_of(**WHOLE), settled, [1.0], THETA)
    always = Schedule(steady=(Steady("plasma", 0.0, 24.0, 1.0, 1.0, kept="rate"),))
    with pytest.raises(ValueError, match="without a pause"):
        simulate(model_of(**WHOLE), always, [1.0], THETA)
    running = Schedule((Dose("plasma", 0.0, 100.0, 4.0, kept="rate"),))
    with pytest.raises(ValueError, match="a part of one whose rate was said"):
        simulate(model_of(**WHOLE), running.since(1.0), [2.0], THETA)
    assert simulate(model_of(**WHOLE), running.do({"gut": [Dose("gut", 1.0, 10.0)]}, since=1.0), [2.0], THETA).isfinite().all()
    with pytest.raises(ValueError, match="its rate is kept and it has none"):
        Dose("plasma", 0.0, 100.0, kept="rate")
    with pytest.raises(ValueError, match="runs for all of the interval"):
        Steady("plasma", 0.0, 24.0, 2.0, 1.0, kept="always")
    with pytest.raises(ValueError, match="its rate is kept and it has none"):
        Steady("plasma", 0.0, 100.0, 12.0, kept="rate")
    # a fraction above 1 with which one infusion runs into the next: a failure with a reason, of that person alone
    two = [Schedule(steady=(Steady("plasma", 0.0, 100.0, every, 4.0, kept="rate"),)) for every in (5.0, 12.0)]
    beyond = THETA.clone()
    beyond[5] = 1.4
    solution = integrate(model_of(**WHOLE), two, [[1.0], [1.0]], beyond)
    assert [f.record for f in solution.failures] == [0]
    assert solution.states[0, 1].isfinite().all()


def test_a_rate_that_was_said_is_written_and_read_again() -> None:
    schedule = Schedule((Dose("plasma", 0.0, 100.0, 4.0, kept="rate"), Dose("plasma", 8.0, 100.0, 4.0)),
                        steady=(Steady("plasma", 0.0, 100.0, 8.0, 4.0, kept="rate"), Steady("gut", 0.0, 10.0, 8.0, 0.0, True),
                                Steady("plasma", 9.0, 24.0, 1.0, 1.0, kept="always"),
                                Steady("gut", 9.0, 24.0, 1.0, 1.0, added=True, kept="always")))
    for units in ({}, {"plasma": "mg", "gut": "mg", "time": "h"}):
        text = format_schedule(schedule, units=units)
        assert parse_schedule(text, states=("gut", "plasma"), inputs=(), base=Schedule(), units=units) == schedule
    person = Person("1", schedule, {}, (0.0,))
    assert read(written(person)).schedule == schedule
    assert schedule.scaled("plasma", 2.0).doses[0].kept == "rate"
    assert schedule.since(2.0).doses[0].kept == "cut"
