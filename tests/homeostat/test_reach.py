"""What a bundle was trained on, and what goes beyond it."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from exchange import Bundle, Person, load, save
from homeostat.bundles.reach import CRITERION, Beyond, Reach
from homeostat.gallery import beyond_training
from hybrid import Concentration, Dose, HybridModel, Mesh, Schedule, Signal, States
from learned import MLP, AdditiveProportional, Ensemble
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from training import Personal

UNTIL = 24.0


def personal_of(model: HybridModel, people: int) -> Personal:
    M, d = model.members, model.personal
    g = torch.Generator().manual_seed(5)
    return Personal(
        0.1 * torch.randn(M, people, d, generator=g, dtype=torch.float64),
        0.01 * torch.eye(d, dtype=torch.float64).expand(M, people, d, d).contiguous(),
        torch.zeros(M, people, dtype=torch.float64),
        torch.ones(M, people, dtype=torch.bool),
    )


def oral(members: int = 3, *, residual: bool = True) -> Bundle:
    """Three people, one dose each of 250, 300 and 350 mg into the gut."""
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.4, 0.2, 0.2]),
        MLP(2, hidden=(4,), separable=True, state_scale=300.0, rate_scale=0.05) if residual else None,
        observation=Concentration(1, 2),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )
    stack = Ensemble(members).stack(model, torch.Generator().manual_seed(3))
    people = tuple(
        Person(str(k), Schedule((Dose("gut", 0.0, 250.0 + 50.0 * k),)), {}, (0.0,), UNTIL) for k in range(3)
    )
    return Bundle(stack, people, personal_of(stack, 3), Mesh(0.5, 0.1), nonnegative=("concentration",))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return oral()


@pytest.fixture(scope="module")
def reach(bundle: Bundle) -> Reach:
    return Reach.of(bundle, UNTIL)


def beyond(
    reach: Reach, bundle: Bundle, schedules: Sequence[Schedule], ends: Sequence[float], persons: Sequence[int]
) -> list[Beyond]:
    """Several questions at once, each to a person of the bundle: as `beyond_training` asks them one by one."""
    baseline = torch.zeros(len(persons), 1, dtype=torch.float64)
    return reach.beyond(bundle, schedules, ends, bundle.personal.mode[:, list(persons)], covariates={}, baseline=baseline)


def test_nobody_goes_beyond_their_own_training(reach: Reach, bundle: Bundle) -> None:
    # also when they are followed for longer, on a grid of other times: what decays to 0 stays inside
    persons, ends = zip(*itertools.product(range(3), (UNTIL, 36.0, 11.3)), strict=True)
    together = beyond(reach, bundle, [bundle.people[k].schedule for k in persons], ends, persons)
    (alone,) = beyond_training(bundle, 1, {"own": bundle.people[1].schedule}, 36.0).values()
    for found in (*together, alone):
        assert not found
        assert found.sentence() == ""
        assert found.spans == ()
        assert found.disagreement is not None
        assert found.disagreement <= 1.1


@pytest.mark.parametrize("times", [1.5, 100.0])
def test_a_larger_dose_is_beyond_in_dose_state_and_field(bundle: Bundle, times: float) -> None:
    given = bundle.people[2].schedule
    (found,) = beyond_training(bundle, 2, {"more": given.scaled("gut", times)}, 36.0).values()
    assert found
    assert found.doses == {"gut": (350.0 * times, 350.0)}
    (low, high), (least, most) = found.states["gut"]
    # just after the dose, which is read a millionth of the span later
    assert high == pytest.approx(350.0 * times, rel=1e-4)
    assert (low, least) == (0.0, 0.0)
    assert most == pytest.approx(350.0, rel=1e-4)
    assert "plasma" in found.states
    (first, middle), *_ = found.spans
    assert 0.0 < first < 1e-3  # before, the dose is not there yet
    assert found.at(0.5 * (first + middle))
    assert not found.at(0.0)
    assert found.at(36.0) is (times == 100.0)  # a hundred times as much is not gone by then
    said = found.sentence()
    assert said.startswith(f"Beyond what was trained: a dose of {350.0 * times:.5g} mg into gut, at most 350 mg in training")
    assert f"({times:.3g} times as much)" in said
    assert "mg, in training" in said
    if times == 100.0:
        assert found.disagreement is not None
        assert found.disagreement > 1.1
        assert f"differ by up to {found.disagreement:.2g} times as much" in said
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (data["beyond"], data["doses"]["gut"]["unit"], data["criterion"]) == (True, "mg", CRITERION)
    assert data["sentence"] == said


def test_a_compartment_that_nobody_was_dosed_into(bundle: Bundle) -> None:
    """A small dose, whose states everybody passed through: the dose alone is new."""
    schedule = Schedule((Dose("plasma", 0.0, 20.0),))
    (found,) = beyond_training(bundle, 0, {"iv": schedule}, UNTIL).values()
    assert found.doses == {"plasma": (20.0, 0.0)}
    assert "a dose of 20 mg into plasma, nobody had one in training" in found.sentence()
    assert (found.states, found.spans) == ({}, ())


def test_what_extrapolates_is_what_there_is(bundle: Bundle) -> None:
    """Without a learned part nothing learned extrapolates, and one member disagrees with nobody."""
    schedule = {"more": Schedule((Dose("gut", 0.0, 3500.0),))}
    (found,) = beyond_training(bundle, 0, schedule, UNTIL).values()
    assert "There the learned part extrapolates, and the intervals show only what the members disagree about" in found.sentence()
    alone = oral(1, residual=False)
    (found,) = beyond_training(alone, 0, schedule, UNTIL).values()
    assert "There what was fitted is used where it was not fitted, and the intervals show nothing of whether" in found.sentence()


def test_doses_that_add_up_are_beyond_in_state_though_each_is_small(bundle: Bundle) -> None:
    schedule = Schedule(Dose("gut", 0.0, 300.0).repeated(8, 3.0))
    (found,) = beyond_training(bundle, 0, {"often": schedule}, UNTIL).values()
    assert found.doses == {}
    assert "plasma" in found.states
    assert found.spans[-1][1] == UNTIL


def test_a_smaller_dose_is_inside(bundle: Bundle) -> None:
    (found,) = beyond_training(bundle, 2, {"half": bundle.people[2].schedule.scaled("gut", 0.5)}, UNTIL).values()
    assert not found


def test_what_was_not_measured_was_not_trained(bundle: Bundle) -> None:
    """People followed for half an hour never had the peak of the plasma that comes later."""
    short = replace(bundle, people=tuple(replace(p, until=0.5) for p in bundle.people))
    own = {"own": short.people[0].schedule}
    (found,) = beyond_training(short, 0, own, UNTIL).values()
    assert set(found.states) == {"plasma"}
    assert found.spans[0][0] > 0.5
    # a bundle that does not say how long they were followed is taken to have gone as far as is asked
    unknown = replace(bundle, people=tuple(replace(p, until=None) for p in bundle.people))
    (found,) = beyond_training(unknown, 0, own, UNTIL).values()
    assert not found


@pytest.mark.parametrize("made", [lambda: oral(1), lambda: oral(3, residual=False)])
def test_members_that_cannot_disagree_leave_the_range_to_speak(made) -> None:
    bundle = made()
    (found,) = beyond_training(bundle, 0, {"more": bundle.people[0].schedule.scaled("gut", 100.0)}, UNTIL).values()
    assert found
    assert found.disagreement is None
    assert "members' vector fields" not in found.sentence()


def test_an_input_beyond_its_range_is_named_with_its_unit() -> None:
    model = HybridModel(
        LinearBackbone(
            [[-0.5]], [[1.0]], states=("x",), inputs=("u",), state_units=("mg",), input_units=("mg/h",), time_unit="h"
        ),
        SharedPopulation(),
        MLP(1, inputs=1, hidden=(3,), state_scale=1.0, input_scale=1.0, rate_scale=0.05),
        observation=States([0], ["y"], ["mg"]),
        noise=AdditiveProportional([0.5], [0.1], [0.02]),
    )
    stack = Ensemble(2).stack(model, torch.Generator().manual_seed(1))
    people = tuple(
        Person(str(k), Schedule(inputs={"u": Signal((0.0, 4.0), (1.0, 2.0 + k), "held")}), {}, (0.0,), 8.0) for k in range(2)
    )
    bundle = Bundle(stack, people, personal_of(stack, 2), Mesh(0.5))
    own = people[0].schedule
    asked = {"own": own, "more": own.do(inputs={"u": Signal((0.0, 4.0), (1.0, 30.0), "held")})}
    found = beyond_training(bundle, 0, asked, 8.0)
    assert not found["own"]
    assert found["more"].inputs == {"u": ((1.0, 30.0), (1.0, 3.0))}
    assert "the input u from 1 to 30 mg/h, in training 1 to 3 mg/h" in found["more"].sentence()
    assert found["more"].spans[0][0] == pytest.approx(4.0, abs=0.1)


def test_a_bundle_carries_what_is_needed(bundle: Bundle, tmp_path) -> None:
    again = load(save(bundle, tmp_path / "a.twin"))
    assert [p.until for p in again.people] == [UNTIL] * 3
    assert again.nonnegative == ("concentration",)
    one, other = (Reach.of(b, 36.0) for b in (bundle, again))
    assert one.doses == other.doses
    assert (one.states == other.states).all()
    assert one.spread == other.spread
    with pytest.raises(ValueError, match="holds nobody"):
        Reach.of(replace(bundle, people=(), personal=personal_of(bundle.model, 0)), 1.0)


@pytest.mark.parametrize("until", [168.0, 1000.0, 1e4])
def test_a_peak_is_seen_however_long_people_are_followed(bundle: Bundle, reach: Reach, until: float) -> None:
    followed = replace(bundle, people=tuple(replace(p, until=until) for p in bundle.people))
    long = Reach.of(followed, UNTIL)
    assert long.states[1] == pytest.approx(reach.states[1], rel=2e-3)


def test_a_peak_is_seen_however_long_the_question_is(bundle: Bundle, reach: Reach) -> None:
    twice = Schedule((Dose("gut", 0.0, 340.0), Dose("gut", 4.0, 340.0)))
    for found in beyond(reach, bundle, [twice] * 3, (24.0, 600.0, 5000.0), [0] * 3):
        assert found.states["plasma"][0][1] > reach.states[1, 1]
