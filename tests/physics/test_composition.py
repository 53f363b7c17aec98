"""Joined mechanisms are their parts with the links written in by hand; what cannot be joined is refused by name."""

from typing import Any

import numpy as np
import pytest

from physics import Mechanism, feedback, parallel, renamed, series
from physics.laws.mechanism import check_mechanism
from physics.shelf import (
    EffectCompartment,
    InhibitedProduction,
    MichaelisMenten,
    OneCompartmentByMouth,
    StimulatedLoss,
    TwoCompartments,
)

X = np.array([120.0, 80.0, 70.0])


def at(mechanism: Mechanism, x: np.ndarray, u: tuple[float, ...] = (), **theta: float) -> dict[str, float]:
    typical = {p.name: p.typical for p in mechanism.physical} | theta
    return dict(
        zip(mechanism.states, mechanism.tape.plain(x, np.array(u), np.array(list(typical.values()))), strict=True)
    )


def test_a_drug_and_what_it_does() -> None:
    both = series(OneCompartmentByMouth(), InhibitedProduction(), {"C": "plasma/V"}, name="Both")
    assert (both.name, tuple(both.states), tuple(both.inputs)) == ("Both", ("gut", "plasma", "response"), ())
    assert [p.name for p in both.physical] == ["ka", "CL", "V", "R0", "kout", "Imax", "IC50"]
    found = at(both, X)
    assert found["plasma"] == at(OneCompartmentByMouth(), X[:2])["plasma"]
    assert found["response"] == at(InhibitedProduction(), X[2:], (80.0 / 31.5,))["response"]
    assert [one.channel for one in both.defaults.observed] == ["concentration", "response"]
    check_mechanism(both, draws=50)


def test_units_and_time_are_brought_to_those_that_are_needed() -> None:
    late = series(TwoCompartments(), EffectCompartment(), {"C": "plasma/V1"})  # hours, and minutes
    found = at(late, np.array([100.0, 0.0, 1.0]))
    assert np.isclose(found["Ce"], 60.0 * 0.456 * (100.0 / 15.9 - 1.0), rtol=1e-15)
    grams = renamed(EffectCompartment(), {"C": "Cp"})
    by_hand = series(TwoCompartments(), grams, {"Cp": lambda x, u, theta: x.plasma / theta.V1})
    assert at(by_hand, np.array([100.0, 0.0, 1.0])) == found


def test_two_drugs_beside_each_other() -> None:
    other = renamed(OneCompartmentByMouth(), {"gut": "gut2", "plasma": "plasma2", "V": "V2", "CL": "CL2"}, name="Other")
    assert (other.name, other.starts) == ("Other", (("plasma2", "V2"),))
    assert {p.name: p.above for p in other.physical}["ka"] == "CL2/V2"
    both = parallel(OneCompartmentByMouth(), other, shared=["ka"])
    assert [p.name for p in both.physical] == ["ka", "CL", "V", "CL2", "V2"]
    assert both.signs == {"gut": 1, "plasma": 1, "gut2": 1, "plasma2": 1}
    found = at(both, np.array([1.0, 2.0, 3.0, 4.0]))
    assert found["plasma2"] == at(OneCompartmentByMouth(), np.array([3.0, 4.0]))["plasma"]


def test_a_loop() -> None:
    loop = feedback(
        renamed(InhibitedProduction(), {"response": "one"}),
        renamed(StimulatedLoss(), {"response": "two", "R0": "R02", "kout": "kout2"}),
        {"C": lambda x, u, theta: x.one / 50.0},
        {"C": lambda x, u, theta: x.two / 80.0},
    )
    assert not loop.inputs
    found = at(loop, np.array([60.0, 40.0]))
    assert found["one"] == at(InhibitedProduction(), np.array([60.0]), (0.5,))["response"]
    assert found["two"] == at(StimulatedLoss(), np.array([40.0]), (1.2,))["response"]
    check_mechanism(loop, draws=50)


DRUG, RESPONSE = OneCompartmentByMouth(), InhibitedProduction()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: parallel(DRUG, DRUG), "both have a state gut; write renamed(second, {'gut': …})"),
        (
            lambda: parallel(DRUG, renamed(MichaelisMenten(), {"gut": "g", "plasma": "p"})),
            "both have a parameter ka; write shared=['ka']",
        ),
        (
            lambda: parallel(DRUG, renamed(MichaelisMenten(), {"gut": "g", "plasma": "p"}), shared=["ka"]),
            "ka cannot be shared",  # /h and /d
        ),
        (lambda: series(DRUG, RESPONSE, {}), "nothing drives InhibitedProduction"),
        (lambda: series(DRUG, RESPONSE, {"D": "plasma/V"}), "has no input 'D'; its inputs are C"),
        (lambda: series(DRUG, RESPONSE, {"C": "plasma/W"}), "names 'W'; there are gut, plasma, response"),
        (lambda: series(DRUG, RESPONSE, {"C": "plasma"}), "is in mg and mg/L is needed"),
        (lambda: series(DRUG, RESPONSE, {"C": 3.0}), "linked to 3.0"),
        (lambda: series(RESPONSE, DRUG, {"C": "response"}), "its inputs are none"),
        (lambda: renamed(DRUG, {"blood": "plasma"}), "has no 'blood'"),
        (lambda: renamed(DRUG, {"gut": "plasma"}), "two names"),
        (lambda: series(DRUG, 3, {"C": "plasma/V"}), "must be a Mechanism"),
    ],
)
def test_what_cannot_be_joined(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        make()
    assert says in str(caught.value)
