"""The six textbook cases: rank, directions and words, each derived beside its test.

Of one person's parameters unless a test says that the population's are meant. The logarithm of every parameter is its
coordinate, so that a direction (1, 1) is a factor that both have.
"""

import math

import pytest
import torch
from torch import Tensor

from hybrid import Dose, Schedule
from learned import AdditiveProportional
from physics import OneCompartmentOral, Parameter, series
from physics.shelf import EffectCompartment, MichaelisMenten, OneCompartment, TwoCompartments
from tests.training.identify.textbook import F64, by_mouth, concentration, dosed, population, swallowed
from training.identify import Arm, Information, other_optima, person_information, population_information

RICH = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 24.0)


def unit(way: Tensor) -> Tensor:
    return way / way.norm() * way[int(way.abs().argmax())].sign()


def space_of(rows: Tensor) -> Tensor:
    """The projector on what these rows span."""
    basis = torch.linalg.qr(rows.mT).Q
    return basis @ basis.mT


# --- F and V by mouth alone: what is measured is F D/V times a function of ka and ke


def test_f_and_v_by_mouth_alone_of_one_person() -> None:
    found = person_information(concentration(swallowed()), dosed(*RICH), ("ke", "V", "F"))
    assert (found.rank, len(found.names)) == (2, 3)
    torch.testing.assert_close(found.unseen, torch.tensor([[0.0, 1.0, 1.0]], dtype=F64), atol=1e-8, rtol=0.0)
    assert found.sentences() == ["These data cannot tell V from F, only their ratio V/F."]
    assert torch.isinf(found.se).tolist() == [False, True, True]
    assert found.log_det == -math.inf
    # with a dose into the plasma V is seen, and F with it
    both = [dosed(*RICH), dosed(*RICH, state="plasma")]
    assert person_information(concentration(swallowed()), both, ("ke", "V", "F")).rank == 3


def test_f_and_v_by_mouth_alone_of_the_population() -> None:
    # log(F/V) ~ N(log of the typical ratio, ω_F² + ω_V²): the likelihood holds still along (V, F) = (1, 1), and along what leaves
    # the sum of squares, ω_V² d log ω_V + ω_F² d log ω_F = 0. The bend of V and F before the ends of their boxes is 2.5e-4 of it.
    model = concentration(swallowed(), population=population(swallowed(), V=0.2, F=0.4))
    found = population_information(model, dosed(*RICH, people=50))
    expected = torch.zeros(2, len(found.names), dtype=F64)
    place = found.names.index
    expected[0, [place("V"), place("F")]] = 1.0
    expected[1, place("omega(V)")], expected[1, place("omega(F)")] = 1.0 / 0.2**2, -1.0 / 0.4**2
    assert found.rank == len(found.names) - 2
    torch.testing.assert_close(space_of(found.unseen), space_of(expected), atol=2e-3, rtol=0.0)
    assert "These data cannot tell V from F, only their ratio V/F." in found.sentences()


# --- Vmax and Km at low dose: C' = −Vmax/V · C/(Km + C) is −Vmax/(V Km) · C but for C/Km


def slow(dose: float) -> Information:
    arm = dosed(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, state="plasma", amount=dose)
    share = AdditiveProportional([1e-9], [0.1], [1e-9])  # noise that is 10 % of whatever is measured
    return person_information(concentration(MichaelisMenten(), noise=share), arm, ("Vmax", "Km", "V"))


def test_vmax_and_km_at_low_dose_of_one_person() -> None:
    found = slow(20.0)  # C is at most 20/50 = a tenth of Km = 4
    assert found.rank == 3  # numerically full
    assert len(found.weak) == 1
    expected = torch.tensor([1.0, 1.0, 0.0], dtype=F64) / math.sqrt(2.0)
    # the direction is off by no more than the share C/Km of the slopes by which the two differ
    torch.testing.assert_close(unit(found.weak[0]), expected, atol=0.1, rtol=0.0)
    assert float(found.rse[:2].min()) > 1.0
    (said,) = found.sentences()
    assert said.startswith("These data hardly tell Vmax from Km, only their ratio Vmax/Km (expected RSE")
    assert not found.good
    # a factor of both, e^s, changes the rate r by r C/(Km + C) s alone: while noise is a share of C, that is of the order of the
    # dose, and the error inverse to it, but for a share of C/Km, here 1 %
    errors = [float(slow(dose).rse[0]) for dose in (2.0, 1.0)]
    assert errors[1] / errors[0] == pytest.approx(2.0, rel=0.02)
    # at a dose that saturates both are seen
    assert slow(300.0).good


def test_vmax_and_km_at_low_dose_of_the_population() -> None:
    arm = Arm(Schedule((Dose("plasma", 0.0, 5.0),)), (0.02, 0.05, 0.1, 0.2, 0.5, 1.0), people=50)
    model = concentration(MichaelisMenten(), population=population(MichaelisMenten()))
    found = population_information(model, arm)
    ways = [way for way in found.weak if abs(float(way[found.names.index("Vmax")])) > 0.5]
    (way,) = ways
    both = way[[found.names.index("Vmax"), found.names.index("Km")]]
    torch.testing.assert_close(unit(both), torch.tensor([1.0, 1.0], dtype=F64) / math.sqrt(2.0), atol=0.03, rtol=0.0)
    assert float(found.rse[found.names.index("Vmax")]) > 1.0


# --- an effect compartment whose response is not measured: it takes nothing out of the plasma


class Hourly(EffectCompartment):
    """The effect compartment in the drug's unit of time."""

    time_unit = "h"
    physical = (Parameter("ke0", "/h", 27.0, 0.3, 600.0),)


def test_an_effect_compartment_without_response() -> None:
    chained = series(OneCompartment(), Hourly(), {"C": "plasma/V"})
    arm = dosed(0.5, 1.0, 2.0, 4.0, 8.0, state="plasma")
    found = person_information(concentration(chained), arm)
    assert found.names == ("CL", "V", "ke0")
    assert found.rank == 2
    torch.testing.assert_close(found.unseen, torch.tensor([[0.0, 0.0, 1.0]], dtype=F64), atol=1e-12, rtol=0.0)
    assert found.sentences() == ["These data tell nothing of ke0."]
    assert torch.isfinite(found.se).tolist() == [True, True, False]
    # of the population: neither its typical value nor its spread
    people = population_information(
        concentration(chained, population=population(chained)), Arm(arm.schedule, arm.times, 40)
    )
    said = people.sentences()
    assert "These data tell nothing of ke0." in said
    assert "These data tell nothing of omega(ke0)." in said
    assert people.rank == len(people.names) - 2


# --- two compartments sampled late: (D/V1) [A e^{−αt} + (1 − A) e^{−βt}] without its first term is B e^{−βt}


def late_part(logs: Tensor) -> Tensor:
    """β and log B of (CL, V1, Q, V2), given in logarithms."""
    CL, V1, Q, V2 = logs.exp()
    k10, k12, k21 = CL / V1, Q / V1, Q / V2
    total = k10 + k12 + k21
    root = (total.square() - 4.0 * k10 * k21).sqrt()
    alpha, beta = (total + root) / 2.0, (total - root) / 2.0
    return torch.stack([beta, ((k21 - beta) / (alpha - beta) / V1).log()])


def test_two_compartments_sampled_late() -> None:
    model = concentration(TwoCompartments(), "V1")
    found = person_information(model, dosed(24.0, 30.0, 36.0, 48.0, state="plasma", amount=1000.0))
    typical = torch.tensor([p.typical for p in TwoCompartments.physical], dtype=F64).log()
    seen = torch.func.jacrev(late_part)(typical)  # (2, 4)
    assert found.rank == 2
    # α = 1.47/h: what is left of the first term at 24 h is e^{−31} of it, below what slopes are known to
    unseen = torch.eye(4, dtype=F64) - space_of(seen)
    torch.testing.assert_close(space_of(found.unseen), unseen, atol=1e-6, rtol=0.0)
    assert len(found.sentences()) == 2
    # from 4 h on something is left of it: the rank is full, and two directions are weak
    later = person_information(model, dosed(4.0, 8.0, 12.0, 16.0, 24.0, state="plasma", amount=1000.0))
    assert later.rank == 4
    assert len(later.weak) == 2
    assert float(later.rse.max()) > 1.0
    assert person_information(
        model, dosed(0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, state="plasma", amount=1000.0)
    ).good


# --- ka without a sample before the peak: D ka/(V (ka − ke)) e^{−ke t}, its factor A seen as one number


def test_ka_without_a_sample_before_the_peak() -> None:
    # d log A = −ke/(ka − ke) d log ka − d log V at the same ke: (ka, V) = (1, −ke/(ka − ke)) leaves it
    ka, ke = 1.2, 0.1
    found = person_information(concentration(by_mouth()), dosed(40.0, 50.0, 60.0))  # e^{−48} of the gut is left
    assert found.rank == 2
    expected = torch.tensor([[1.0, 0.0, -ke / (ka - ke)]], dtype=F64)
    torch.testing.assert_close(found.unseen, expected, atol=1e-6, rtol=0.0)
    assert found.sentences()[0] == "These data cannot tell ka from V, only ka·V^11, near these values."
    # after the peak at log(ka/ke)/(ka − ke) = 2.3 h something is left: full rank, and ka not to 100 %
    after = person_information(concentration(by_mouth()), dosed(4.0, 8.0, 12.0, 24.0))
    assert after.rank == 3
    assert float(after.rse[0]) > 1.0
    assert after.sentences()[0].startswith("These data hardly tell anything of ka (expected RSE")
    # one sample before it is enough
    assert person_information(concentration(by_mouth()), dosed(0.5, 4.0, 8.0, 12.0, 24.0)).good
    # of the population, fifty people after the peak
    model = concentration(by_mouth(), population=population(by_mouth()))
    people = population_information(model, dosed(6.0, 8.0, 12.0, 24.0, people=50))
    assert any(one.startswith("These data hardly tell anything of ka") for one in people.sentences())


# --- flip-flop: full rank, and two optima with one curve


def test_flip_flop_has_full_rank_and_two_optima_with_one_curve() -> None:
    arm = dosed(*RICH)
    assert person_information(concentration(by_mouth()), arm).good  # nothing that a curvature could show
    # (ka, ke, V) and (ke, ka, V ke/ka) have the same curve: D ka/(V (ka − ke)) is symmetric so
    found = other_optima(concentration(by_mouth()), arm, starts=0)  # from the swapped start alone
    assert found.starts == 1
    torch.testing.assert_close(
        found.others, torch.tensor([[0.1, 1.2, 20.0 * 0.1 / 1.2]], dtype=F64), atol=0.0, rtol=1e-4
    )
    assert found.forbidden == ("",)
    (said,) = found.sentences()
    assert "gives the same data, and nothing keeps it out" in said
    # a population that keeps ka above ke says so
    backbone = by_mouth("ka")
    kept = other_optima(concentration(backbone, population=population(backbone)), arm, starts=0)
    assert kept.forbidden == ("ka is kept above ke",)
    # where a dose into the plasma tells the two apart there is no other
    both = [arm, dosed(*RICH, state="plasma")]
    assert not len(other_optima(concentration(by_mouth()), both, starts=8).others)


def test_flip_flop_of_a_clearance_is_found_from_a_quotient() -> None:
    backbone = OneCompartmentOral(
        parameters="clearance", faster=None, typical={"ka": 1.2, "CL": 2.0, "V": 20.0}, V=(0.5, 2000.0)
    )
    found = other_optima(concentration(backbone), dosed(*RICH), starts=0)
    # ka' = CL/V, CL' = CL (the dose's whole curve has the same area), V' = CL/ka
    torch.testing.assert_close(found.others, torch.tensor([[0.1, 2.0, 2.0 / 1.2]], dtype=F64), atol=0.0, rtol=1e-4)


def test_other_optima_refuses_a_line() -> None:
    with pytest.raises(ValueError, match="a whole line of parameters: These data cannot tell V from F"):
        other_optima(concentration(swallowed()), dosed(*RICH))
