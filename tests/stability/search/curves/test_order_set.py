"""Certificates whose trajectories stay between two curves: found, said, read again, and refused where they are changed."""

import copy
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from benchmarks.s2008 import region_of, system_of
from physics.shelf import s2008_person
from stability import Box, Certificate, Inputs, Lure, Refusal, certify, check, prove, read_claim
from stability.proof import NOT_COVERED
from stability.proof.region.claim import regional_statement
from stability.proof.tape import plain, read_tape
from tests.stability.search.test_regional_rate import MICHAELIS_MENTEN, bergman, network, saturating

REGION = Box([0.0, 0.0], [330.0, 600.0])
DAILY = Inputs([], [], [[300.0, 0.0]], 1.0)
EXACTLY = Inputs([], [], [[300.0, 0.0]], 1.0, exactly=True)


@cache
def daily(exactly: bool = False) -> Certificate:
    found = certify(saturating(), region=REGION, inputs=EXACTLY if exactly else DAILY)
    assert isinstance(found, Certificate), found
    return found


@pytest.mark.parametrize("exactly", [False, True])
def test_saturable_elimination_under_daily_doses(exactly: bool) -> None:
    """No ball is kept under doses of 99 mg or more a day; the true peak is 400 mg."""
    found = daily(exactly)
    assert 0.154 <= found.rate <= 0.15625
    again = read_claim(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert isinstance(again, Certificate)
    assert check(again, saturating().to_dict())
    assert again.to_dict() == found.to_dict()
    apart = "at multiples of 1.0 since the start exactly, or left out there" if exactly else "at least 1.0 apart"
    assert apart in found.claim
    assert "that start in the box [0.0, 0.0] <= x <=" in found.claim
    assert "both stay in the box [0.0, 0.0] <= x <= [330.0, 600.0]" in found.claim
    said = found.where_in_words([("gut", "mg"), ("plasma", "mg")], "d")
    assert "that start in gut 0 to" in said
    assert ("at multiples of 1.0 d since the start" if exactly else "at least 1 d apart") in said
    assert found.not_covered == NOT_COVERED
    assert len(json.dumps(found.to_dict())) < 10_000


def test_what_does_not_hold_is_refused() -> None:
    """Not in 0 to 300 mg, where the peak of 400 mg is outside, whenever the doses come."""
    found = certify(saturating(), region=Box([0.0, 0.0], [330.0, 300.0]), inputs=EXACTLY)
    assert isinstance(found, Refusal)
    assert "between the curves" in found.message


Change = Callable[[dict[str, Any]], None]


def _curve(region: dict[str, Any]) -> dict[str, Any]:
    return region["stays"]["curves"][0]  # type: ignore[no-any-return]


def _scaled(name: str, factor: float) -> Change:
    def change(region: dict[str, Any]) -> None:
        _curve(region)[name] = (factor * np.array(_curve(region)[name])).tolist()

    return change


CHANGES: dict[str, tuple[Change, str]] = {
    "larger starts": (lambda r: r["stays"].update(upper=[1.0, 300.0]), "do not reach"),
    "starts turned round": (lambda r: r["stays"].update(lower=[0.5, 1.0], upper=[0.1, 2.0]), "not in order"),
    "larger doses": (lambda r: r["inputs"].update(doses=[[310.0, 0.0]]), "begin above"),
    "another gap": (lambda r: r["inputs"].update(gap=0.9), "the gap between doses is 0.9"),
    "no doses, with curves": (lambda r: r["stays"].update(doses=False), "no doses"),
    "a smaller region": (lambda r: r.update(upper=[330.0, 420.0]), "not proved"),
    "no curves": (lambda r: r["stays"].update(curves=[]), "fit together"),
    "too many curves": (lambda r: r["stays"].update(curves=2 * r["stays"]["curves"]), "curves for 2 systems"),
    "lower upper curves": (_scaled("largest", 0.99), "begin above"),
    "slower": (_scaled("knots", 1.1), "the gap between doses"),
    "smaller rests": (_scaled("upper", 0.5), "do not reach"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_is_refused(name: str) -> None:
    change, says = CHANGES[name]
    data = copy.deepcopy(daily().to_dict())
    change(data["region"])
    data["claim"] = regional_statement(data["rate"], 2, 1, data["region"])
    verdict = _verdict(data)
    assert not verdict[0]
    assert says in verdict[1]


def _verdict(data: dict[str, Any]) -> tuple[bool, str]:
    try:
        said = prove(data, saturating())
    except ValueError as error:
        return False, str(error)
    return bool(said), said.reason


def test_gaps_are_not_multiples() -> None:
    """Of doses at multiples alone less is proved: those curves are none for doses at least so far apart, and it is said which."""
    data = copy.deepcopy(daily(exactly=True).to_dict())
    del data["region"]["inputs"]["exactly"]
    assert "sentence" in _verdict(data)[1]
    data["claim"] = regional_statement(data["rate"], 2, 1, data["region"])
    assert _verdict(data)[0]  # of this system the states before a dose are kept without one
    with pytest.raises(ValueError, match="exactly"):
        Inputs([], [], exactly=True)
    with pytest.raises(ValueError, match="exactly"):
        Inputs([], [], [[1.0]], 1.0, exactly="yes")  # type: ignore[arg-type]


def test_people_have_curves_of_their_own_where_none_serve_all() -> None:
    """Who absorbs fast and who absorbs slowly: with the rates of both at once a dose would count several times."""
    system = saturating(theta=[[24.0, 500.0, 200.0], [6.0, 600.0, 250.0]])
    found = certify(system, region=Box([0.0, 0.0], [330.0, 700.0]), inputs=DAILY)
    assert isinstance(found, Certificate), found
    assert len(found.region["stays"]["curves"]) == 2  # type: ignore[index]
    assert check(found, system)
    other = found.to_dict()
    other["region"] = copy.deepcopy(other["region"])
    other["region"]["stays"]["curves"].reverse()
    assert not prove(other, system)


def test_the_minimal_model_between_bounds_of_insulin_and_appearance() -> None:
    """Its box is not kept, glucose falls at (50, .05); what is kept in it is proved by signs: more insulin, less glucose."""
    tape = copy.deepcopy(bergman().to_dict()["tape"])
    tape["inputs"].append("Ra")
    tape["code"] += [["input", 1], ["add", 11, 16]]
    tape["rate"][0] = 17
    system, inputs = bergman(tape=tape), Inputs([10.0, 0.0], [40.0, 2.0])
    found = certify(system, region=Box([50.0, 0.0], [300.0, 0.05]), inputs=inputs)
    assert isinstance(found, Certificate), found
    stays = found.region["stays"]  # type: ignore[index]
    assert stays["set"] == "order"
    assert found.rate >= 0.024
    assert stays["upper"][1] < 0.05
    assert np.allclose(stays["lower"], [50.0, 0.0])
    x = np.random.default_rng(0).uniform(stays["lower"], stays["upper"], (300, 2))
    read, theta = read_tape(tape), np.array(system.theta)
    for k in range(200):  # min, with an input that changes every ten
        u = (
            np.random.default_rng(k // 10).choice([0.0, 1.0], (300, 2)) * np.subtract(inputs.upper, inputs.lower)
            + inputs.lower
        )
        half = x + 0.5 * plain(read, x, u, theta)
        x = x + plain(read, half, u, theta)
        assert (np.subtract(stays["lower"], 1e-6) <= x).all()
        assert (x <= np.add(stays["upper"], 1e-6)).all()


def test_the_minimal_model_beside_a_network() -> None:
    """No signs are known of it over the whole box, and its faces are looked at cell by cell."""
    system = bergman(**network())
    found = certify(system, region=Box([50.0, -0.002], [300.0, 0.05]), inputs=Inputs([10.0], [40.0]))
    assert isinstance(found, Certificate), found
    assert found.region["stays"]["set"] == "order"  # type: ignore[index]
    assert found.rate >= 0.02
    assert check(found, system)


def test_changed_certificates_that_are_accepted_are_true() -> None:
    """Numbers of the region, moved by a little: whatever is accepted holds of trajectories with doses at random times."""
    rng, read, accepted = np.random.default_rng(1), read_tape(MICHAELIS_MENTEN), 0
    base = daily().to_dict()
    for _ in range(40):
        data = copy.deepcopy(base)
        region = data["region"]
        places: list[tuple[list[Any], int]] = []
        for owner in (region["upper"], *region["inputs"]["doses"], region["stays"]["upper"], _curve(region)["upper"]):
            places += [(owner, i) for i in range(2)]
        curve = _curve(region)["largest"]
        places += [(piece[i], k) for piece in curve for i in range(2) for k in range(4)]
        for owner, i in (places[k] for k in rng.choice(len(places), int(rng.integers(1, 3)))):
            owner[i] *= 1.0 + float(rng.choice([-1.0, 1.0])) * 10.0 ** float(rng.uniform(-9.0, -1.0))
        data["claim"] = regional_statement(data["rate"], 2, 1, region)
        if not _verdict(data)[0]:
            continue
        accepted += 1
        x = np.array([region["stays"]["upper"], region["stays"]["lower"]])
        for gap in (1.0, 1.0, 1.7, 1.0, 2.4):
            x = x + np.array(region["inputs"]["doses"])
            for _ in range(int(100 * gap)):
                half = x + 0.005 * plain(read, x, np.zeros((2, 0)), np.array([12.0, 500.0, 200.0]))
                x = x + 0.01 * plain(read, half, np.zeros((2, 0)), np.array([12.0, 500.0, 200.0]))
                assert (x <= np.array(region["upper"])).all()
    assert accepted >= 4


def test_regions_and_systems_without_a_tape_stay_as_they_were() -> None:
    """A box or a ball is tried first: a linear system's certificate says what it said."""
    system = Lure(A=[[-1.0, 0.0], [1.0, -2.0]], weights=[], biases=[])
    found = certify(system, region=Box([-1.0, -1.0], [1.0, 1.0]))
    assert isinstance(found, Certificate)
    assert found.region["stays"] == {"set": "box", "doses": False}  # type: ignore[index]
    dosed = certify(system, region=Box([0.0, 0.0], [4.0, 4.0]), inputs=Inputs([], [], [[2.0, 0.0]], 1.0))
    assert isinstance(dosed, Certificate), dosed
    assert dosed.region["stays"]["set"] == "order"  # type: ignore[index]


def test_ten_states_between_bounds_of_insulin_and_appearance() -> None:
    """S2008, adult#001: insulin .9 to 1.2 times basal, glucose appears at up to .1 mg/kg/min."""
    person = s2008_person("adult#001")
    system, (box, _) = system_of(person), region_of(person)
    inputs = Inputs([0.9 * person.insulin, 0.0], [1.2 * person.insulin, 0.1])
    found = certify(system, region=box, inputs=inputs)
    assert isinstance(found, Certificate), found
    assert found.rate >= 0.0033
    assert found.region["stays"]["set"] == "order"  # type: ignore[index]
    rest = np.array([person.rest[state] for state in person.rest])
    stays = found.region["stays"]  # type: ignore[index]
    assert (np.array(stays["lower"]) < rest).all()
    assert (rest < np.array(stays["upper"])).all()
    assert check(found, system)
