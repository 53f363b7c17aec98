"""Sensitivities against the closed form, information against textbook versions, another program's output, and simulated data."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid import Concentration, Dose, HybridModel, Schedule, States
from learned import MLP, AdditiveProportional, Constant, Correlated, DiagonalDiffusion, Ensemble
from physics import (
    Administered,
    LinearBackbone,
    LogNormal,
    LogNormalPopulation,
    MixedPopulation,
    Occasions,
    OneCompartmentOral,
    Parameter,
    SharedPopulation,
)
from tests.training.identify.textbook import F64, by_mouth, concentration, dosed, noise, population, seen_as
from tests.training.inference.linear import TIMES as LINE
from tests.training.inference.linear import cohort_of, lines
from training import Cohort, Record, personalise, prior
from training.identify import (
    Arm,
    compare_designs,
    other_optima,
    person_information,
    population_information,
    sensitivities,
)
from training.inference import standard_errors

TIMES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 24.0)


def bateman(logs: Tensor, times: Tensor, dose: float = 100.0) -> Tensor:
    """The concentration after a dose by mouth, of (ka, ke, V) in logarithms."""
    ka, ke, V = logs.exp().unbind(-1)
    return dose * ka / (V * (ka - ke)) * (torch.exp(-ke * times) - torch.exp(-ka * times))


TYPICAL = torch.tensor([1.2, 0.1, 20.0], dtype=F64).log()
AT = torch.tensor(TIMES, dtype=F64)


# --- sensitivities


def test_sensitivities_are_those_of_the_closed_form() -> None:
    found = sensitivities(concentration(by_mouth()), dosed(*TIMES))
    exact = torch.func.jacrev(lambda logs: bateman(logs, AT))(TYPICAL)  # (T, 3)
    assert (found.names, found.scales) == (("ka", "ke", "V"), ("log",) * 3)
    # order four with steps of 5e-4 loses 2e-15 of a fifth derivative and rounds by 1e-16 · 4/5e-4 ≈ 1e-12
    torch.testing.assert_close(found.mean_slope[0, :, 0], exact, atol=1e-10, rtol=0.0)
    assert float(found.error.amax()) < 1e-10
    mean = bateman(TYPICAL, AT)
    torch.testing.assert_close(found.mean[0, :, 0], mean, atol=1e-12, rtol=0.0)
    torch.testing.assert_close(found.variance_slope[0, :, 0], 0.02 * mean[:, None] * exact, atol=1e-10, rtol=0.0)
    frame = found.to_frame()
    assert list(frame.columns) == ["arm", "time", "channel", "mean", "variance", "ka", "ke", "V"]
    assert frame["time"].tolist() == list(TIMES)


def test_arms_channels_replicates_covariates_and_lag() -> None:
    inner = by_mouth()
    backbone = Administered(inner, lag={"gut": Parameter("Tlag", "h", 0.3, 0.01, 2.0)})
    people = LogNormalPopulation(
        backbone, dict.fromkeys(("ka", "ke", "V", "Tlag"), 0.2), {"V": {"WT": (70.0, 1.0, "kg")}}
    )
    model = seen_as(backbone, States(["gut", "plasma"]), people, Constant([1.0, 1.0], [1e-9, 1e-9]))
    heavy = Arm(Schedule((Dose("gut", 0.0, 100.0),)), {"gut": (1.0,), "plasma": (1.0, 4.0, 4.0)}, 3, {"WT": 140.0})
    light = Arm(heavy.schedule, (0.5,), 2, {"WT": 70.0})
    found = sensitivities(model, (heavy, light), ("ka", "Tlag"))
    there = torch.isfinite(found.mean)
    assert there[0].tolist() == [[True, True], [False, True], [False, True]]
    assert there[1].tolist() == [[True, True], [False, False], [False, False]]
    # gut = 100 e^{−ka (t − Tlag)}: slopes in logarithms −ka (t − Tlag) gut, and ka Tlag gut
    ka, lag = found.value[0].tolist()  # 1.2 and .3, but for the bend before the ends of their boxes
    assert (ka, lag) == pytest.approx((1.2, 0.3), rel=1e-4)
    gut = 100.0 * math.exp(-ka * (1.0 - lag))
    assert found.mean_slope[0, 0, 0].tolist() == pytest.approx([-ka * (1.0 - lag) * gut, ka * lag * gut], rel=1e-7)
    information = population_information(model, (heavy, light))
    assert information.count == 3 * 4 + 2 * 2


def test_a_parameter_of_either_sign_is_counted_in_its_unit() -> None:
    model = lines()
    arm = Arm(Schedule((Dose("x", 0.0, 1.0),)), LINE)
    found = person_information(model, arm)
    x = torch.exp(-torch.tensor(LINE, dtype=F64))
    Z = torch.stack([torch.ones_like(x), x], -1)
    se = torch.linalg.inv(Z.mT @ Z / 0.3**2).diagonal().sqrt()
    assert found.scales == ("linear", "linear")
    torch.testing.assert_close(found.se, se, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(found.rse, se / torch.tensor([1.0, 2.0], dtype=F64), rtol=1e-6, atol=0.0)


# --- one person's information


def test_one_persons_information_is_the_textbooks() -> None:
    model, arm = concentration(by_mouth()), dosed(*TIMES)
    f, J = bateman(TYPICAL, AT), torch.func.jacrev(lambda logs: bateman(logs, AT))(TYPICAL)
    v, w = 0.01**2 + 0.01 * f.square() + 1e-12, 0.02 * f[:, None] * J
    exact = J.mT @ (J / v[:, None]) + 0.5 * w.mT @ (w / v.square()[:, None])
    found = person_information(model, arm)
    torch.testing.assert_close(found.matrix, exact, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.covariance, torch.linalg.inv(exact), rtol=1e-6, atol=0.0)
    assert found.log_det == pytest.approx(float(torch.logdet(exact)), rel=1e-8)
    assert found.condition == pytest.approx(float(torch.linalg.cond(exact)), rel=1e-6)
    # ke with the two others known is its row alone
    alone = person_information(model, arm, ("ke",))
    assert float(alone.se[0]) == pytest.approx(0.1 / math.sqrt(float(exact[1, 1])), rel=1e-8)
    # two arms tell the sum
    late = dosed(30.0, 48.0)
    both = person_information(model, (arm, late)).matrix
    torch.testing.assert_close(both, found.matrix + person_information(model, late).matrix, rtol=1e-8, atol=1e-8)


def test_eta_with_its_prior_is_a_persons_posterior() -> None:
    model = concentration(by_mouth(), population=population(by_mouth(), ka=0.6, ke=0.2, V=0.15))
    arm = dosed(1.0, 8.0)
    found = person_information(model, arm, of="eta", prior=True)
    # at η = 0, where the data are what is expected of that person, Laplace's covariance is the inverse of this information
    record = Record(
        "1",
        arm.schedule,
        np.array(arm.times),
        bateman(TYPICAL, torch.tensor(arm.times, dtype=F64)).numpy(),
        "concentration",
    )
    cohort = Cohort.of([record], model)
    known = personalise(model, cohort, iterations=0)
    torch.testing.assert_close(found.covariance, known.covariance[0, 0], rtol=1e-4, atol=1e-6)
    without = person_information(model, arm, of="eta")
    torch.testing.assert_close(found.matrix, without.matrix + torch.eye(3, dtype=F64), rtol=1e-9, atol=1e-9)
    assert without.rank == 2  # two samples, each with a variance that is a function of its mean
    (said,) = found.sentences()
    assert said.startswith("Of the spread of η(ke) between people 64 % stays after these data")
    assert found.names == ("η(ka)", "η(ke)", "η(V)")


def test_expected_errors_of_one_person_are_those_of_simulated_records() -> None:
    """300 records of one person with known noise, each fitted without a prior: their spread is the expected error."""
    model = concentration(by_mouth(), population=population(by_mouth(), ka=1.0, ke=1.0, V=1.0), noise=noise(0.1))
    arm = dosed(*TIMES)
    expected = person_information(model, arm).se / TYPICAL.exp()  # of the logarithms
    drawn = bateman(TYPICAL, AT) + 0.1 * torch.randn(
        300, len(TIMES), generator=torch.Generator().manual_seed(3), dtype=F64
    )
    records = [Record(str(i), arm.schedule, np.array(TIMES), y.numpy(), "concentration") for i, y in enumerate(drawn)]
    cohort = Cohort.of(records, model)
    nothing = prior(model, 300, covariance=1e6 * torch.eye(3, dtype=F64))
    found = personalise(model, cohort, before=nothing, iterations=100)
    assert bool(found.converged.all())
    theta = model.theta(found.mode, cohort.conditions.covariates)[0].detach().log()
    # the standard deviation of 300 is known to 4 %: four of these, and 2 % for curvature at errors of 2 to 5 %
    torch.testing.assert_close(theta.std(0), expected, rtol=0.18, atol=0.0)
    assert float(((theta.mean(0) - TYPICAL) / expected * math.sqrt(300.0)).abs().max()) < 4.0


# --- the population's information

# NONMEM 7.5.0, $DESIGN GROUPSIZE=32 FIMDIAG=1, the first example of Bauer, Hooker & Mentré's tutorial (CPT Pharmacometrics Syst.
# Pharmacol. 10 (2021) 1452): warfarin, 70 mg by mouth, 1, 4 and 8 h; standard errors as its .ext file prints them
NONMEM = {
    "CL": (0.15, 5.53703e-2),
    "V": (8.0, 3.95603e-1),
    "ka": (1.0, 1.56559e-1),
    "omega(CL)": (0.07, 5.11516e-1),
    "omega(V)": (0.02, 8.47632e-3),
    "omega(ka)": (0.6, 1.62054e-1),
    "proportional(concentration)": (0.01, 2.80589e-3),
}


def warfarin() -> HybridModel:
    """Boxes in whose middle the typical values are, so that no bend is seen in seven figures."""
    backbone = OneCompartmentOral(
        *((0.02, 50.0), (0.0005, 5.0), (0.4, 160.0)),
        CL=(0.0015, 15.0),
        parameters="clearance",
        faster=None,
        typical={"ka": 1.0, "CL": 0.15, "V": 8.0},
    )
    spread = {"ka": math.sqrt(0.6), "CL": math.sqrt(0.07), "V": math.sqrt(0.02)}
    head = AdditiveProportional([math.sqrt(0.001)], [0.1], [1e-9])
    head.log_additive.requires_grad_(False)
    people = LogNormalPopulation(backbone, spread, learn_spread=True)
    return concentration(backbone, population=people, noise=head)


def test_the_populations_information_is_that_of_another_program() -> None:
    found = population_information(warfarin(), dosed(1.0, 4.0, 8.0, amount=70.0, people=32))
    assert set(found.names) == set(NONMEM)
    for name, rse in zip(found.names, found.rse.tolist(), strict=True):
        value, se = NONMEM[name]
        # theirs are of variances, ours of standard deviations: half the relative error
        half = 1.0 if name in ("CL", "V", "ka") else 0.5
        assert rse == pytest.approx(half * se / value, rel=5e-6), name
    # their objective, −log det I in (θ, Ω, σ²): from z = log θ, log ω, log b that is Σ log of each, twice for a variance
    inner = 2.0 * sum(math.log(v) for v, _ in list(NONMEM.values())[:3])
    outer = 2.0 * sum(math.log(2.0 * v) for v, _ in list(NONMEM.values())[3:])
    assert -(found.log_det - inner - outer) == pytest.approx(-39.518205662, abs=1e-4)


def first_order(design: list[tuple[Tensor, float]], point: Tensor, full: bool) -> Tensor:
    """Σ people [fᵀ_a C⁻¹ f_b + ½ tr(C⁻¹ C_a C⁻¹ C_b)] by automatic differentiation of the closed form, written out.

    point: log ka, log ke, log V, log ω of each, log additive, log proportional.
    """
    total = torch.zeros(8, 8, dtype=F64)
    for times, people in design:

        def moments(p: Tensor, held: Tensor, times: Tensor = times) -> tuple[Tensor, Tensor]:
            mean = bateman(p[:3], times)
            around = p[:3] if full else held[:3]
            G = torch.func.jacrev(lambda logs: bateman(logs, times))(around) * p[3:6].exp()
            noise = torch.exp(2.0 * p[6]) + torch.exp(2.0 * p[7]) * bateman(around, times).square()
            return mean, G @ G.mT + torch.diag(noise)

        f, C = torch.func.jacrev(lambda p: moments(p, point))(point)
        inverse = torch.linalg.inv(moments(point, point)[1])
        inner = torch.einsum("ij,jka->ika", inverse, C)
        total = total + people * (f.mT @ inverse @ f + 0.5 * torch.einsum("ija,jib->ab", inner, inner))
    return total


@pytest.mark.parametrize("kind", ["reduced", "full"])
def test_the_populations_information_is_the_textbooks(kind: Any) -> None:
    model = concentration(by_mouth(), population=population(by_mouth(), ka=0.6, ke=0.2, V=0.15))
    arms = [dosed(*TIMES, people=20), dosed(1.0, 6.0, people=50)]
    point = torch.cat([TYPICAL, torch.tensor([0.6, 0.2, 0.15, 0.01, 0.1], dtype=F64).log()])
    exact = first_order([(torch.tensor(arm.times, dtype=F64), arm.people) for arm in arms], point, kind == "full")
    found = population_information(model, arms, kind=kind)
    assert found.names[:6] == ("ka", "ke", "V", "omega(ka)", "omega(ke)", "omega(V)")
    # parameters bend before the ends of their boxes: (distance from the middle/half-width)⁸ is 1e-6 to 3e-4 here
    scale = exact.diagonal().sqrt()
    torch.testing.assert_close(
        found.matrix / scale / scale[:, None], exact / scale / scale[:, None], atol=2e-3, rtol=0.0
    )
    torch.testing.assert_close(found.rse[:6], torch.linalg.inv(exact).diagonal().sqrt()[:6], rtol=2e-3, atol=0.0)
    # twice the people, errors smaller by √2
    twice = population_information(model, [Arm(a.schedule, a.times, 2 * a.people) for a in arms], kind=kind)
    torch.testing.assert_close(twice.se, found.se / math.sqrt(2.0), rtol=1e-7, atol=0.0)


def test_expected_errors_are_those_that_data_then_leave() -> None:
    """Where the mean is linear in η first order is exact: the observed information of 400 people is near the expected one."""
    model, cohort = lines(), cohort_of(seed=4, people=400)
    expected = population_information(model, cohort)
    observed = standard_errors(model, cohort)
    assert expected.names == observed.names
    assert expected.scales == observed.scales
    # each of 400 people's curvature of log ω is about 1 ± 2: a standard error is known to 2/√400/2 = 5 %
    torch.testing.assert_close(observed.se[0], expected.se, rtol=0.2, atol=0.0)
    assert expected.count == int(cohort.mask.sum())


@pytest.mark.slow
def test_expected_errors_of_a_curved_model_are_those_that_data_then_leave() -> None:
    """FOCE's observed information on 400 simulated people beside the reduced first-order one, spreads of 20 to 30 %."""
    backbone = by_mouth("ka")
    head = AdditiveProportional([0.01], [0.1], [1e-6])
    head.log_additive.requires_grad_(False)  # of which these data say nothing
    model = concentration(backbone, population=population(backbone, ka=0.3, ke=0.2, V=0.2), noise=head)
    generator = torch.Generator().manual_seed(7)
    eta = torch.randn(400, 3, generator=generator, dtype=F64) * torch.tensor([0.3, 0.2, 0.2], dtype=F64)
    mean = torch.stack([bateman(TYPICAL + one, AT) for one in eta])
    sd = (0.01**2 + 0.01 * mean.square()).sqrt()
    drawn = mean + sd * torch.randn(mean.shape, generator=generator, dtype=F64)
    arm = dosed(*TIMES, people=400)
    records = [Record(str(i), arm.schedule, np.array(TIMES), y.numpy(), "concentration") for i, y in enumerate(drawn)]
    observed = standard_errors(model, Cohort.of(records, model))
    expected = population_information(model, arm)
    assert expected.names == observed.names
    # both are approximations, the noise of curvature is 5 %; a wrong scale (variance for deviation) is a factor of 2
    torch.testing.assert_close(observed.se[0], expected.se, rtol=0.25, atol=0.0)


# --- several designs


def test_the_best_of_several_designs() -> None:
    model = warfarin()
    designs = {
        "early": dosed(1.0, 4.0, 8.0, amount=70.0, people=32),
        "spread": dosed(0.5, 12.0, 96.0, amount=70.0, people=32),
        "all": dosed(0.5, 1.0, 4.0, 8.0, 12.0, 96.0, amount=70.0, people=32),
    }
    found = compare_designs(model, designs)
    assert found.best == "all"  # one that has all that the others have is no worse
    assert 0.0 < found.efficiency["early"] < found.efficiency["spread"] < found.efficiency["all"] == 1.0
    by = {name: population_information(model, arm) for name, arm in designs.items()}
    ratio = torch.logdet(by["early"].matrix) - torch.logdet(by["all"].matrix)
    assert found.efficiency["early"] == pytest.approx(math.exp(float(ratio) / 7.0), rel=1e-6)
    assert found.sentences()[0].startswith("The best design is all, with 192 measurements; D-efficiency of the others")
    # an efficiency is a share of people: as many times fewer of the best tell as much
    few = {"all": designs["all"], "half": Arm(designs["all"].schedule, designs["all"].times, 16)}
    assert compare_designs(model, few).efficiency["half"] == pytest.approx(0.5, rel=1e-6)
    frame = found.to_frame()
    assert len(frame) == 3 * 7
    person = compare_designs(model, designs, ("CL", "V"), of="theta")
    assert person.designs["early"].names == ("CL", "V")
    blind = compare_designs(model, {"one": dosed(4.0, amount=70.0)}, of="theta")
    assert math.isnan(blind.efficiency["one"])
    assert blind.sentences()[0] == "No design sees everything that is asked."


# --- what is refused


def _two_members() -> HybridModel:
    return Ensemble(2).stack(concentration(by_mouth()), torch.Generator().manual_seed(0))


def _random() -> HybridModel:
    backbone = by_mouth()
    population = SharedPopulation(backbone, {"ka": 1.2, "ke": 0.1, "V": 20.0})
    return HybridModel(
        backbone,
        population,
        observation=Concentration("plasma", "V"),
        noise=Constant([0.1], [1e-3]),
        process=DiagonalDiffusion([0.1, 0.1]),
    )


def _together() -> HybridModel:
    head = Correlated(Constant([1.0, 1.0], [1e-9, 1e-9]))
    return seen_as(by_mouth(), States(["gut", "plasma"]), noise=head)


def _still() -> HybridModel:
    backbone = LinearBackbone([[-1.0]], states=("x",), state_units=("mg",), time_unit="h")
    head = Constant([0.1], [1e-3])
    head.log_sd.requires_grad_(False)
    return HybridModel(backbone, SharedPopulation([]), MLP(1, 0, 0, (2,)), observation=States(["x"]), noise=head)


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Arm(Schedule(), ()), "nothing is measured"),
    (lambda: Arm(Schedule(), {"concentration": ()}), "nothing is measured"),
    (lambda: Arm(Schedule(), (2.0, 1.0)), "increase"),
    (lambda: Arm(Schedule(), "abc"), "must be numbers"),
    (lambda: Arm(Schedule(), 3.5), "must be numbers"),  # type: ignore[arg-type]
    (lambda: Arm(Schedule(), (-1.0, 2.0)), "before the schedule's start at 0"),
    (lambda: Arm(Schedule(), (1.0,), people=0), "how many"),
    (lambda: person_information(concentration(by_mouth()), []), "one Arm or several"),
    (lambda: person_information(concentration(by_mouth()), Arm(Schedule(), {"effect": (1.0,)})), "times of 'effect'"),
    (
        lambda: person_information(concentration(by_mouth()), Arm(Schedule(), (1.0,), baseline={"e": 1.0})),
        "a baseline of 'e'",
    ),
    (lambda: person_information(concentration(by_mouth()), dosed(1.0), ("CL",)), "parameters are among ka, ke, V"),
    (lambda: person_information(concentration(by_mouth()), dosed(1.0), prior=True), "has no prior"),
    (lambda: person_information(concentration(by_mouth()), dosed(1.0), of="eta"), "differ in nothing"),
    (lambda: person_information(_two_members(), dosed(1.0)), "has 2 members"),
    (lambda: sensitivities(_random(), dosed(1.0)), "process noise"),
    (lambda: sensitivities(concentration(by_mouth()).to(torch.float32), dosed(1.0)), "float64"),
    (lambda: sensitivities(_together(), dosed(1.0)), "err together"),
    (lambda: population_information(_still(), Arm(Schedule(), (1.0,))), "no number of this model that has a name"),
    (lambda: compare_designs(warfarin(), {}), "no design was given"),
    (lambda: compare_designs(warfarin(), {"a": dosed(1.0)}, ("CL",)), "are of one person's θ"),
    (lambda: other_optima(concentration(by_mouth()), dosed(1.0), starts=-1), "starts"),
]


@pytest.mark.parametrize(("call", "says"), REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


def test_two_covariates_are_no_one_person() -> None:
    backbone = by_mouth()
    people = LogNormalPopulation(backbone, dict.fromkeys(("ka", "ke", "V"), 0.2), {"V": {"WT": (70.0, 1.0, "kg")}})
    model = concentration(backbone, population=people)
    arms = [Arm(Schedule((Dose("gut", 0.0, 100.0),)), TIMES, covariates={"WT": w}) for w in (50.0, 90.0)]
    with pytest.raises(ValueError, match="other covariates"):
        person_information(model, arms)
    with pytest.raises(ValueError, match="reads WT of everyone"):
        person_information(model, dosed(*TIMES))


def test_of_people_who_differ_in_nothing_it_is_that_of_typical_values_and_noise() -> None:
    """Σ people [J'J/σ² , 2 n] of (log ka, log ke, log V) and log σ: the naive pooled model, by closed form."""
    backbone = by_mouth()
    model = HybridModel(
        backbone,
        SharedPopulation(backbone, learned=True),
        observation=Concentration("plasma", "V"),
        noise=Constant([0.3], [1e-6]),
    )
    found = population_information(model, Arm(dosed(*TIMES).schedule, times=TIMES, people=10))
    J = torch.func.jacrev(lambda logs: bateman(logs, AT))(TYPICAL)
    exact = torch.block_diag(10.0 * J.mT @ J / 0.3**2, torch.tensor([[2.0 * 10.0 * len(TIMES)]], dtype=F64))
    order = [found.names.index(n) for n in ("ka", "ke", "V", "additive(concentration)")]
    torch.testing.assert_close(found.matrix[order][:, order], exact, rtol=1e-6, atol=1e-6)


def test_an_arm_of_a_model_with_occasions_says_which() -> None:
    backbone = by_mouth()
    people = MixedPopulation(backbone, {n: LogNormal(0.3) for n in ("ka", "ke", "V")}, occasions=Occasions({"ke": 0.2}, 2))
    model = HybridModel(backbone, people, observation=Concentration("plasma", "V"), noise=Constant([0.3], [1e-6]))
    with pytest.raises(ValueError, match="several occasions of one person"):
        population_information(model, dosed(*TIMES))
