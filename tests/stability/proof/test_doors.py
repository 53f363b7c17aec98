"""What the checker must see before it proves: exponents, tables, the parts of a system and of a claim, and its budget."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from physics.tape import Tape
from stability import (
    Box,
    Budget,
    Certificate,
    Lure,
    Policy,
    RegionalRate,
    certify,
    check,
    close_loop,
    lipschitz_bound,
    prove,
    read_claim,
    regional_rate,
)
from stability.proof import activation, rational
from stability.proof.budget import Meter, NotDecided
from stability.proof.command import main
from stability.proof.feedback import lines_with, read_policy, substituted
from stability.proof.rational import exactly
from stability.proof.reading import Unusable
from stability.proof.region.unbounded import RANGES
from stability.proof.system import read_system
from stability.proof.tape import read_tape
from stability.proof.units import UNITS, Network, beside
from stability.search.states import attack


def tape(
    states: list[str], inputs: list[str], parameters: list[str], code: list[Any], rate: list[int]
) -> dict[str, Any]:
    return {"tape": 1, "states": states, "inputs": inputs, "parameters": parameters, "code": code, "rate": rate}


SINK = tape(["x"], [], ["a"], [["state", 0], ["parameter", 0], ["multiply", 0, 1], ["negate", 2]], [3])
OPEN = Lure(A=[[-1.0]], B=[[1.0]], weights=[], biases=[])
MIXED = Lure(
    A=[[-2.0]],
    weights=[[[1.0]], [[1.0]]],
    biases=[[0.0], [0.0]],
    activation="tanh",
    branches=[{"weights": [[[0.3]], [[1.0]]], "biases": [[0.0], [0.0]], "activation": "relu"}],
)


def proved(found: Any) -> Any:
    assert found
    return found


@pytest.mark.parametrize("exponent", [2.0**53, 2.0**53 + 2, 2.0**54, -(2.0**53)])
def test_exponents_whose_parity_is_lost_one_less_are_refused(exponent: float) -> None:
    """n − 1 of a whole |n| ≥ 2⁵³ may round to an even number, and vⁿ would have a slope of the wrong sign below 0."""
    code = [["state", 0], ["power", 0, exponent], ["negate", 1]]
    written = tape(["x"], [], [], code, [2])
    with pytest.raises(Unusable, match="exponent"):
        read_tape(written)
    with pytest.raises(ValueError, match="exponent"):
        Tape.from_dict(written)
    code[1][2] = (
        float(np.nextafter(exponent, 0.0)) if exponent in (2.0**53, -(2.0**53)) else np.sign(exponent) * 2.0**52
    )
    read_tape(written)
    Tape.from_dict(written)


def test_tables_of_activations_know_every_unit() -> None:
    for table in (RANGES, activation.FUNCTIONS, activation.EXTREMES, rational.RANGES, attack.STEEP):
        assert set(UNITS) <= set(table)
    v = np.linspace(-40.0, 40.0, 401)
    for name, (low, high) in RANGES.items():
        values = activation.FUNCTIONS[name][0](v)
        assert (low <= values).all()
        assert (values <= high).all()


def test_a_policy_of_identities_over_a_box_without_an_end() -> None:
    code: list[Any] = [["state", 0], ["state", 1], ["input", 0], ["negate", 0], ["add", 3, 2], ["negate", 1]]
    loop = Lure(
        A=np.zeros((2, 2)), B=[[0.0], [1.0]], weights=[], biases=[], tape=tape(["a", "b"], ["u"], [], code, [4, 5])
    )
    closed = close_loop(loop, Policy.saturating([[0.1, 0.0]], lower=[0.0], upper=[1.0]))
    found = certify(closed, region=Box([0.0, 0.0], [np.inf, np.inf]), seconds=1)  # raises nothing
    assert not found or check(found, closed)


@pytest.mark.parametrize("system", [close_loop(OPEN, Policy.linear([[-1.0]])), MIXED], ids=["policy", "branches"])
def test_rational_arithmetic_sees_what_the_checker_sees(system: Lure, tmp_path: Path) -> None:
    found = proved(certify(system))
    assert check(found, system)
    assert exactly(found, system)
    assert not exactly(replace(found, rate=found.rate * 3, claim=""), system)
    file = tmp_path / "proof.json"
    file.write_text(json.dumps({"certificate": found.to_dict(), "system": system.to_dict()}))
    assert main([str(file), "--exact"]) == 0


def test_rational_arithmetic_says_that_it_does_not_judge_tapes() -> None:
    system = Lure(A=[[0.0]], weights=[], biases=[], tape=SINK, theta=[1.0])
    found = proved(certify(system))
    with pytest.raises(ValueError, match="tape"):
        exactly(found, system)


def test_rational_slopes_of_each_unit() -> None:
    stack = read_system(MIXED, mixed=True)
    low, high = rational.slopes_of(stack, list(stack.slope_range))
    assert list(low) == [Fraction(0)] * 2
    assert list(high) == [Fraction(1)] * 2


def test_lipschitz_bounds_are_of_one_network() -> None:
    """The digest is of the first network alone, so what else a system has must not be there."""
    network: dict[str, Any] = {"weights": MIXED.weights, "activation": "tanh"}
    bound = lipschitz_bound(MIXED.weights, "tanh")
    felt = Lure(A=[[-1.0]], weights=MIXED.weights, biases=MIXED.biases, input_weights=[[1.0]])
    closed = close_loop(felt, Policy.linear([[50.0]]))
    taped = Lure(A=[[0.0]], weights=MIXED.weights, biases=MIXED.biases, tape=SINK, theta=[1.0])
    assert prove(bound, network)
    assert prove(bound, felt)
    for system, what in ((MIXED, "branches"), (closed, "policy"), (taped, "tape")):
        for form in (system, system.to_dict(), SimpleNamespace(**system.to_dict())):
            verdict = prove(bound, form)
            assert not verdict
            assert what in verdict.reason


ODD: list[dict[str, Any]] = [
    {"wide": True},
    {"feedback": "u[0] = kappa(x)"},
    {"feedback": [[]]},
    {"wide": 1e308},
    {"wide": 0},
]


@pytest.mark.parametrize("change", ODD, ids=str)
def test_what_a_claim_says_of_its_parameters_and_policy_is_held_against_the_system(change: dict[str, Any]) -> None:
    system = Lure(A=[[0.0]], weights=[], biases=[], tape=SINK, theta=[1.0])
    for found in (proved(certify(system)), proved(regional_rate(system, Box([0.0], [1.0]), seconds=1))):
        written = found.to_dict()
        verdict = prove({**written, **change}, system)
        assert not verdict
        assert next(iter(change)) in verdict.reason
        assert prove(written, system)


def test_a_policy_and_a_box_of_parameters_that_a_claim_leaves_out() -> None:
    code: list[Any] = [["state", 0], ["input", 0], ["negate", 0]]
    open_loop = Lure(A=[[0.0]], B=[[1.0]], weights=[], biases=[], tape=tape(["x"], ["u"], [], code, [2]))
    closed = close_loop(open_loop, Policy.linear([[-1.0]]))
    wide = Lure(A=[[0.0]], weights=[], biases=[], tape=SINK, theta=[1.0], theta_upper=[2.0])
    for system, name, value in ((closed, "feedback", ""), (wide, "wide", False)):
        certificate, rate = certify(system), regional_rate(system, Box([0.0], [1.0]), seconds=1)
        assert isinstance(certificate, Certificate)
        assert isinstance(rate, RegionalRate)
        for found in (certificate, rate):
            assert check(found, system)
            assert check(read_claim(found.to_dict()), system)
            assert name in prove(replace(found, **{name: value}), system).reason


def test_a_policy_is_seen_wherever_it_stands() -> None:
    policy = {"inputs": [0], "weights": [[[5.0]]], "biases": [[0.0]]}
    found = proved(certify(OPEN))
    written = OPEN.to_dict()
    assert prove(found, SimpleNamespace(**written))
    nested = SimpleNamespace(system={**written, "policy": policy}, inputs=[0], weights=[[[1.0]]], biases=[[0.0]])
    for system in (
        SimpleNamespace(**written, policy=policy),
        {**written, "policy": policy},
        SimpleNamespace(**written, feedback=nested),
        SimpleNamespace(**written, feedback=SimpleNamespace(**{**vars(nested), "system": written}), policy=policy),
        SimpleNamespace(**written, feedback=policy),
    ):
        assert not prove(found, system)
    seen = read_system(SimpleNamespace(**written, policy=policy), mixed=True, policies=True)
    assert seen.digest == read_system({**written, "policy": policy}, mixed=True, policies=True).digest != OPEN.digest()


def test_lines_of_a_policy_are_counted_before_they_are_written() -> None:
    rng = np.random.default_rng(0)
    weights = [np.round(rng.normal(size=s)) for s in ((4, 2), (4, 4), (1, 4))]  # with zeros and ones
    biases = [np.array([0.0, 1.0, 0.0, -1.0]), np.zeros(4), np.zeros(1)]
    weights[1][2] = 0.0
    names = [["tanh", "silu", "identity", "relu"], ["softplus"] * 4]
    given = {
        "inputs": [0],
        "weights": [w.tolist() for w in weights],
        "biases": [b.tolist() for b in biases],
        "activation": names,
    }
    policy = read_policy(given, 2, 2)
    code: list[Any] = [["state", 0], ["input", 0], ["input", 1], ["add", 1, 2], ["state", 1], ["negate", 4]]
    own = read_tape(tape(["a", "b"], ["u", "v"], [], code, [3, 5]))
    assert lines_with(own, policy) == len(substituted(own, policy).code)
    with pytest.raises(NotDecided):
        substituted(own, policy, Meter(Budget(bytes=100)))


def test_the_budget_is_asked_before_leading_axes_are_multiplied() -> None:
    def network(*lead: int) -> Network:
        weights = np.broadcast_to(0.1, (*lead, 2, 2)), np.broadcast_to(0.1, (*lead, 2, 2))
        return Network(weights, (np.zeros(2), np.zeros(2)), "tanh", None)

    networks = [network(300, 1), network(1, 300)]
    with pytest.raises(NotDecided):
        beside(networks, Meter(Budget(bytes=10**5)))
    system: dict[str, Any] = {"A": -np.eye(2), "weights": [], "biases": []}
    system["branches"] = [{"weights": one.weights, "biases": one.biases, "activation": "tanh"} for one in networks]
    verdict = prove(proved(certify(OPEN)).to_dict(), system, budget=Budget(bytes=10**5))
    assert not verdict.decided
