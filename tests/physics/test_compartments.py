"""Flows between compartments: what they add up to, what is monotone, and what is refused by name."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from physics import Compartments, Parameter, TapedMechanism
from physics.operations import saturating

K = (Parameter("k", "/h", 0.5, 0.1, 2.0), Parameter("V", "L", 3.0, 1.0, 9.0))


def made(flows: Any, states: tuple[str, ...] = ("a", "b"), inputs: tuple[str, ...] = ("r",)) -> Compartments:
    kind = type(
        "Mine",
        (Compartments,),
        {
            "time_unit": "h",
            "states": dict.fromkeys(states, "mg"),
            "inputs": dict.fromkeys(inputs, "mg/h"),
            "physical": K,
            "amount": 10.0,
            "flows": flows,
        },
    )
    return kind()


OUT = ("b", None, "k")


def test_flows_add_up() -> None:
    mechanism = made(
        (
            (None, "a", "r"),
            ("a", "b", "k/V"),
            ("b", "a", "k*V"),
            OUT,
            ("a", None, lambda x, u, t: t.k * saturating(x.a)),
        )
    )
    x, u, theta = np.array([2.0, 5.0]), np.array([0.7]), np.array([0.5, 3.0])
    there, back, out, lost = 0.5 / 3.0 * 2.0, 0.5 * 3.0 * 5.0, 0.5 * 5.0, 0.5 * 2.0 / 3.0
    found = mechanism.tape.plain(x, u, theta)
    assert np.allclose(found, [0.7 - there + back - lost, there - back - out], rtol=1e-15, atol=1e-15)
    assert mechanism.scale == {"a": 10.0, "b": 10.0}
    assert mechanism.signs == {"a": 1, "b": 1}
    assert TapedMechanism(json.loads(json.dumps(mechanism.to_dict()))).tape == mechanism.tape


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 4)).filter(lambda e: e[0] != e[1]), max_size=9))
def test_a_is_stable_exactly_if_nothing_is_trapped(arrows: set[tuple[int, int]]) -> None:
    states = ("a", "b", "c", "d")
    flows = tuple((states[i], None if j == 4 else states[j], "k") for i, j in sorted(arrows))
    A = np.zeros((4, 4))
    for i, j in arrows:
        A[i, i] -= 1.0
        if j < 4:
            A[j, i] += 1.0
    stable = np.linalg.eigvals(A).real.max() < -1e-3  # the slowest of such small graphs is far above it
    if not stable:
        with pytest.raises(ValueError, match="nothing leaves"):
            made(flows, states, ())
        return
    mechanism = made(flows, states, ())
    x = torch.ones(1, 4, dtype=torch.float64)
    J = mechanism.tape.at(torch.ones(1, 2, dtype=torch.float64)).jacobian(x, x[:, :0])[0].numpy()
    assert np.allclose(J, A, rtol=0.0, atol=1e-15)


@pytest.mark.parametrize(
    ("flow", "monotone"),
    [
        (lambda x, u, t: t.k * saturating(x.a / t.V), True),
        (lambda x, u, t: t.k * x.a / (1.0 + x.a * x.a), False),  # falls where there is much
        (lambda x, u, t: t.k * x.a * x.b, False),  # more in b, less in a
    ],
)
def test_signs_are_said_only_where_they_hold(flow: Callable[..., Any], monotone: bool) -> None:
    assert made((("a", "b", flow), OUT)).signs == ({"a": 1, "b": 1} if monotone else None)


@pytest.mark.parametrize(
    ("flows", "says"),
    [
        ((("a", "b", "k"), ("b", "a", "k")), "nothing leaves a and b"),
        (
            (("a", None, "k"), ("a", "b", "k")),
            'nothing leaves b, so that what is there stays for ever; add a flow out, ("b", None',
        ),
        ((("a", "b", "q"), OUT), "'q' is no product or quotient of V, k"),
        ((("a", "b", "k/"), OUT), "no product or quotient"),
        ((("a", "b", "r"), OUT), "'r' is no product"),  # an input is no rate constant
        (((None, "b", "s"), ("a", "b", "k"), OUT), "of V, k, r"),
        ((("a", "c", "k"), OUT), "the compartments are a, b, or None"),
        ((("a", "a", "k"), OUT), "moves nothing"),
        (((None, None, "r"), OUT), "moves nothing"),
        ((("a", "b", 0.5), OUT), "a text or a function"),
        ((("a", "b"), OUT), "each flow is (from, to, rate)"),
        ("a", "flows must be a tuple or list"),
        ((("a", "b", lambda x, u, t: t.k), OUT), "is 0.5 where a is empty"),
        ((("a", "b", lambda x, u, t: t.q * x.a), OUT), "'q' is none of the parameters"),
    ],
)
def test_flows_that_are_none(flows: Any, says: str) -> None:
    with pytest.raises(ValueError, match="Mine") as caught:
        made(flows)
    assert says in str(caught.value)


@pytest.mark.parametrize("what", ["states", "flows", "amount"])
def test_what_a_class_forgot(what: str) -> None:
    body = {"time_unit": "h", "states": {"a": "mg"}, "physical": K, "amount": 1.0, "flows": (("a", None, "k"),)}
    kind = type("Mine", (Compartments,), {name: value for name, value in body.items() if name != what})
    with pytest.raises(ValueError, match=f"Mine: {what} is not set"):
        kind()
