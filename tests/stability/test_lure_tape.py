"""A system with a tape: what it holds and refuses, its digest by both implementations, JSON; other claims refuse it."""

import hashlib
import json
import struct
from typing import Any

import numpy as np
import pytest

from stability import Lure, falsify, metric_cap, spectral_cap, weighted_l1
from stability.proof.reading import Unusable
from stability.proof.system import read_system

# gut' = −ka gut, plasma' = ka gut − Vmax sat(plasma/KmV) + u
MICHAELIS_MENTEN: dict[str, Any] = {
    "tape": 1,
    "states": ["gut", "plasma"],
    "inputs": ["infusion"],
    "parameters": ["ka", "Vmax", "KmV"],
    "code": [
        ["state", 0],
        ["state", 1],
        ["input", 0],
        ["parameter", 0],
        ["parameter", 1],
        ["parameter", 2],
        ["multiply", 3, 0],
        ["negate", 6],
        ["divide", 1, 5],
        ["saturating", 8],
        ["multiply", 4, 9],
        ["subtract", 6, 10],
        ["add", 11, 2],
        ["constant", 2],
    ],
    "rate": [7, 12],
}


def system(**more: Any) -> Lure:
    given: dict[str, Any] = {
        "A": np.zeros((2, 2)),
        "weights": [],
        "biases": [],
        "tape": MICHAELIS_MENTEN,
        "theta": [12.0, 500.0, 200.0],
    }
    return Lure(**(given | more))


def test_both_implementations_of_the_digest_agree_on_tapes_and_tell_them_apart() -> None:
    seen = set()
    for one in (
        system(),
        system(theta=[[12.0, 500.0, 200.0]]),
        system(theta_upper=[12.0, 500.0, 200.0]),
        system(theta=[12.0, 500.0, 201.0]),
        system(tape=MICHAELIS_MENTEN | {"states": ["plasma", "gut"]}),
        system(tape=MICHAELIS_MENTEN | {"code": [*MICHAELIS_MENTEN["code"][:-1], ["constant", 2.5]]}),
        system(tape=MICHAELIS_MENTEN | {"rate": [12, 7]}),
        Lure(A=-np.eye(2), weights=[], biases=[]),
    ):
        assert one.digest() == read_system(one, tapes=True).digest == read_system(one.to_dict(), tapes=True).digest
        seen.add(one.digest())
    assert len(seen) == 8
    assert system(scale=[300.0, 100.0]).digest() == system().digest()


def test_the_digest_is_that_of_the_documented_bytes() -> None:
    tape = {"tape": 1, "states": ["ä"], "inputs": [], "parameters": ["k"], "rate": [3]}
    tape["code"] = [["state", 0], ["parameter", 0], ["power", 0, 2.0], ["multiply", 1, 2]]
    one = Lure(A=[[-1.0]], weights=[], biases=[], tape=tape, theta=[0.5])
    said = b"lure 1\nactivation tanh\nA 1,1\n" + struct.pack("<d", -1.0) + b"B none\ninput_weights none\n"
    said += "tape\nstates 1\n2 ä\ninputs 0\nparameters 1\n1 k\ncode 4\nstate 0\nparameter 0\npower 0\n".encode()
    said += struct.pack("<d", 2.0) + b"multiply 1 2\nrate 3\ntheta 1\n" + struct.pack("<d", 0.5) + b"theta_upper none\n"
    assert one.digest() == hashlib.sha256(said).hexdigest()


def test_json_flattening_and_stacks_keep_the_tape() -> None:
    one = system(theta=[[[12.0, 500.0, 200.0]], [[9.0, 400.0, 200.0]]], theta_upper=[13.0, 600.0, 220.0], scale=[300.0, 100.0])
    again = Lure.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again.digest() == one.digest()
    assert Lure.of(one.to_dict()).leading == (2, 1)
    np.testing.assert_array_equal(again.scale, [300.0, 100.0])
    flat = one.flatten()
    assert flat.theta is not None
    assert flat.theta_upper is not None
    assert flat.theta.shape == flat.theta_upper.shape == (2, 3)
    np.testing.assert_array_equal(one.one(1).theta, [9.0, 400.0, 200.0])
    assert Lure.stack([system(), system(theta=[9.0, 400.0, 200.0])]).leading == (2,)
    with pytest.raises(ValueError, match="different tapes"):
        Lure.stack([system(), system(tape=MICHAELIS_MENTEN | {"states": ["a", "b"]})])
    with pytest.raises(ValueError, match="differ in structure"):
        Lure.stack([system(), system(theta_upper=[13.0, 600.0, 220.0])])


def test_the_jacobian_takes_that_of_the_tape() -> None:
    known = np.array([[-12.0, 0.0], [12.0, -2.5]])
    np.testing.assert_array_equal(system(A=-np.eye(2)).jacobian([], known), known - np.eye(2))
    with pytest.raises(ValueError, match="give `known`"):
        system().jacobian([])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"theta": None}, "give theta"),
        ({"theta": [1.0, 2.0]}, "3 parameters"),
        ({"theta_upper": [11.0, 600.0, 300.0]}, "above that of theta_upper"),
        ({"theta_upper": [[13.0, 600.0]]}, "3 parameters"),
        ({"tape": None}, "theta belongs to a tape"),
        ({"A": np.zeros((3, 3))}, "2 states and A 3"),
        ({"B": np.zeros((2, 2))}, "2 inputs and the tape 1"),
        ({"scale": [1.0, 0.0]}, "above 0"),
        ({"scale": [1.0]}, "above 0"),
        ({"tape": {"tape": 1}}, "a tape has the entries"),
        ({"tape": 5}, "the tape is 5"),
        ({"tape": MICHAELIS_MENTEN | {"code": [["evil", 0]]}}, "evil"),
    ],
)
def test_what_is_no_such_system_is_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        system(**more)


def test_the_checker_reads_what_the_system_writes_and_refuses_the_rest() -> None:
    stack = read_system(system(theta=[[12.0, 500.0, 200.0], [9.0, 400.0, 200.0]], theta_upper=[13.0, 600.0, 220.0]), tapes=True)
    assert stack.count == 2
    assert stack.inputs == 1
    assert stack.wide
    assert stack.theta is not None
    np.testing.assert_array_equal(stack.theta[0][:], [[12.0, 500.0, 200.0], [9.0, 400.0, 200.0]])
    np.testing.assert_array_equal(stack.theta[1][1], [13.0, 600.0, 220.0])
    for change in (
        {"theta": None},
        {"theta": [1.0]},
        {"tape": None},
        {"theta_upper": [1.0, 1.0, 1.0]},
        {"A": np.zeros((3, 3)).tolist()},
        {"theta": [12.0, 500.0, float("nan")]},
    ):
        with pytest.raises(Unusable):
            read_system(system().to_dict() | change, tapes=True)


def test_claims_that_do_not_see_a_tape_refuse_one() -> None:
    with pytest.raises(Unusable, match="has a tape"):
        read_system(system())
    for search in (spectral_cap, metric_cap, weighted_l1, falsify):
        with pytest.raises(ValueError, match="has a tape, for which there is no"):
            search(system())
