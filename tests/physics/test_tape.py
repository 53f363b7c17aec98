"""A tape is the Python that it was traced from, in torch, numpy and JSON; what it cannot hold is refused by its line."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from physics.mechanism import Mechanism, TapedMechanism
from physics.operation import OPERATIONS
from physics.operations import (
    atan,
    cos,
    exp,
    hill,
    log,
    maximum,
    minimum,
    relu,
    saturating,
    sigmoid,
    sin,
    softplus,
    sqrt,
    square,
    tanh,
)
from physics.parameter import Parameter
from physics.tape import Line, Tape
from physics.trace import Named, trace


class Everything(Mechanism):
    """Every operation, each on values where it is smooth."""

    time_unit = "h"
    states = {"a": "mg", "b": "mg"}
    inputs = {"r": "mg/h"}
    physical = (Parameter("k", "/h", 0.5, 0.1, 2.0), Parameter("V", "L", 3.0, 1.0, 9.0))
    scale = {"a": 2.0, "b": 1.0}
    signs = {"a": 1, "b": -1}
    typical_inputs = {"r": 0.4}
    starts = (("a", "V"),)
    source = "made up"

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        v, w = x.a / theta.V, x.b * theta.k
        first = exp(-v) + log(1.0 + v) - sqrt(w) * sin(v) + cos(w) / (2 + atan(v)) + 0.3 * tanh(w - v)
        second = (
            sigmoid(v) * softplus(w) + relu(v - 0.2) - abs(w - 3.1) + minimum(v, w) * maximum(v, 0.7) + minimum(2.0, w)
        )
        third = (
            saturating(v)
            + hill(w, 1.5) * hill(v, 3)
            + square(v)
            + x.b**3
            - x.a**0.75
            + (+x["a"]) ** 1
            + (1.5 - x.b) ** 2
        )
        return {"a": first - theta.k * x.a + u.r, "b": second - third + 2 * (3.0 - u.r) + 1.0 / theta.V}


def plain_python(mechanism: Mechanism, x: np.ndarray, u: np.ndarray, theta: np.ndarray) -> np.ndarray:
    named = [
        Named("values", dict(zip(names, np.moveaxis(values, -1, 0), strict=True)))
        for names, values in (
            (mechanism.states, x),
            (mechanism.inputs, u),
            ([p.name for p in mechanism.physical], theta),
        )
    ]
    found = mechanism.rate(*named)
    return np.stack(np.broadcast_arrays(*(found[s] for s in mechanism.states)), -1)


def points(count: int = 1000) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(0.1 + 3.0 * torch.rand(count, k, generator=generator, dtype=torch.float64) for k in (2, 1, 2))


def test_torch_numpy_and_python_agree() -> None:
    tape, (x, u, theta) = Everything().tape, points()
    python = plain_python(Everything(), x.numpy(), u.numpy(), theta.numpy())
    assert {line.operation for line in tape.code} >= set(OPERATIONS)
    size = 1e-13 * (1.0 + np.abs(python))  # some twenty terms of size 1, each right to a few roundings
    assert (np.abs(tape.evaluate(x, u, theta).numpy() - python) <= size).all()
    assert (np.abs(tape.plain(x, u, theta) - python) <= size).all()


def test_slopes_are_the_derivatives() -> None:
    tape, (x, u, theta) = Everything().tape, points(50)
    for by_inputs in (False, True):
        found = tape.at(theta).jacobian(x, u, by_inputs=by_inputs)
        automatic = torch.func.vmap(torch.func.jacrev(tape.evaluate, argnums=int(by_inputs)))(x, u, theta)
        assert torch.allclose(found, automatic, rtol=1e-12, atol=1e-12)
    # and they can be differentiated in turn, in θ too
    theta = theta[:3].clone().requires_grad_()
    found = tape.at(theta).jacobian(x[:3], u[:3])
    assert torch.autograd.grad(found.sum(), theta)[0].isfinite().all()


def test_kinks_and_edges_keep_gradients_finite() -> None:
    tape = trace(lambda x, u, t: {"a": hill(x.a, 1.5) + relu(x.a) + abs(x.a) + maximum(x.a, 0.0)}, ["a"], [], [])
    x = torch.tensor([[-1.0], [0.0], [1e-320], [1e300]], dtype=torch.float64, requires_grad=True)
    value = tape.evaluate(x, x[:, :0], x[:, :0])
    assert value.isfinite().all()
    assert torch.autograd.grad(value.sum(), x)[0].isfinite().all()
    assert tape.at(x[:, :0]).jacobian(x, x[:, :0]).isfinite().all()
    assert value[0, 0] == 1.0  # |−1| alone: a Hill function is 0 below 0
    single = x.detach().float()
    assert tape.evaluate(single, single[:, :0], single[:, :0])[:3].isfinite().all()


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 2))
def test_leading_axes_broadcast(M: int, N: int, S: int) -> None:
    """People and members may share a row of x, u or θ."""
    tape = Everything().tape
    generator = torch.Generator().manual_seed(M + 10 * N + 100 * S)
    x, u, theta = (
        0.1 + torch.rand(*lead, k, generator=generator, dtype=torch.float64)
        for lead, k in (((M, N), 2), ((1, N), 1), ((M if S > 1 else 1, 1), 2))
    )
    whole = [v.expand(M, N, v.shape[-1]) for v in (x, u, theta)]
    assert torch.equal(tape.evaluate(x, u, theta), tape.evaluate(*whole))
    found = tape.at(theta).jacobian(x, u)
    assert found.shape == (M, N, 2, 2)
    assert torch.equal(found, tape.at(whole[2]).jacobian(*whole[:2]))


def test_rates_that_nothing_moves() -> None:
    tape = trace(lambda x, u, t: {"a": 0, "b": t.k}, ["a", "b"], [], ["k"])
    x, theta = torch.ones(4, 3, 2), torch.full((1, 3, 1), 2.0)
    assert torch.equal(tape.evaluate(x, x[..., :0], theta), torch.tensor([0.0, 2.0]).expand(4, 3, 2))
    assert torch.equal(tape.at(theta).jacobian(x, x[..., :0]), torch.zeros(4, 3, 2, 2))


def test_a_tape_travels_as_json() -> None:
    mechanism, (x, u, theta) = Everything(), points(20)
    text = json.dumps(mechanism.to_dict(), allow_nan=False)
    again = TapedMechanism(json.loads(text))
    assert json.dumps(again.to_dict(), allow_nan=False) == text  # tracing the replayed tape gives the same tape
    assert torch.equal(again.tape.evaluate(x, u, theta), mechanism.tape.evaluate(x, u, theta))
    assert "Everything" in repr(again)
    assert "log" in repr(again.tape)


def test_a_hill_function_of_exponent_one_has_its_slope_at_0() -> None:
    tape = trace(lambda x, u, t: {"a": -hill(x.a, 1.0)}, ["a"], [], [])
    x = torch.tensor([[0.0], [1.0], [-1.0]], dtype=torch.float64, requires_grad=True)
    found = tape.at(x[:, :0]).jacobian(x, x[:, :0])[:, 0, 0]
    assert found.tolist() == [-1.0, -0.25, 0.0]
    assert torch.equal(torch.autograd.grad(tape.evaluate(x, x[:, :0], x[:, :0]).sum(), x)[0][:, 0], found)


def test_what_is_equal_is_recorded_once() -> None:
    tape = trace(lambda x, u, t: {"a": exp(x.a) + exp(x.a), "b": 2.0 * 3.0 * log(2.0) * x.b}, ["a", "b"], [], [])
    operations = [line.operation for line in tape.code]
    assert operations.count("exp") == 1
    assert "log" not in operations  # constants are computed


@pytest.mark.parametrize(
    ("rate", "says"),
    [
        (
            lambda x, u, t: {"a": math.exp(x.a)},
            "`math.exp` needs a value, and a tape has none yet; use physics.operations.exp",
        ),
        (
            lambda x, u, t: {"a": np.exp(x.a)},
            "`np.exp` needs a value, and a tape has none yet; use physics.operations.exp",
        ),
        (lambda x, u, t: {"a": np.sinh(x.a)}, "functions come from physics.operations"),
        (lambda x, u, t: {"a": math.erf(x.a)}, "operation that is not listed"),
        (lambda x, u, t: {"a": torch.exp(x.a)}, "use physics.operations.exp"),
        (lambda x, u, t: {"a": np.float64(2.0) * x.a + np.maximum(x.a, 0.0)}, "use physics.operations.maximum"),
        (lambda x, u, t: {"a": x.a if x.a > 0 else 0.0}, "`x.a > 0` compares values, and a tape has no branches"),
        (lambda x, u, t: {"a": x.a if x.a else 0.0}, "no branches"),
        (lambda x, u, t: {"a": x.a if x.a == u.r else 0.0}, "no branches"),
        (lambda x, u, t: {"a": max(x.a, 0.0)}, "use physics.operations.maximum"),
        (lambda x, u, t: {"a": x.a**t.n}, "exp(n * log(v))"),
        (lambda x, u, t: {"a": 2.0**x.a}, "exp(v * log(2.0))"),
        (lambda x, u, t: {"a": x.a // 2}, "not listed"),
        (lambda x, u, t: {"a": x.a / 0.0}, "divides by 0"),
        (lambda x, u, t: {"a": x.b}, "'b' is none of the states; there are: a"),
        (lambda x, u, t: {"a": x.a + "1"}, "neither a number"),
        (lambda x, u, t: {"a": hill(x.a, 0.0)}, "must be above 0"),
        (lambda x, u, t: {"a": hill(x.a, t.n)}, "{\"a\": hill(x.a, t.n)}, "),
        (lambda x, u, t: {"a": log(0.0) * x.a}, "-inf"),
        (lambda x, u, t: {"b": x.a}, "gives no rate of a"),
        (lambda x, u, t: {"a": x.a, "b": x.a}, "which is no state"),
        (lambda x, u, t: {"a": None}, "neither a number"),
        (lambda x, u, t: -x.a, "must be a Mapping"),
    ],
)
def test_what_no_tape_can_hold(rate: Callable[..., Any], says: str) -> None:
    with pytest.raises(ValueError, match=r"^mine") as caught:
        trace(rate, ["a"], ["r"], ["n"], "mine")
    assert says in str(caught.value)


def test_the_line_at_fault_is_quoted() -> None:
    class Mine(Everything):
        def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
            out = math.sqrt(x.a)
            return {"a": -out, "b": -x.b}

    with pytest.raises(ValueError, match=r"^Mine: line \d+, `out = math.sqrt\(x.a\)`"):
        Mine().tape  # noqa: B018, it is traced where it is asked for


@pytest.mark.parametrize(
    "line",
    [
        Line("erf", (0,)),
        Line("exp", (2,)),
        Line("exp", (0, 1)),
        Line("exp", (-1,)),
        Line("add", (0,)),
        Line("power", (0,)),
        Line("exp", (0,), 2.0),
        Line("hill", (0,), -1.0),
        Line("constant", (), math.inf),
        Line("state", (1,)),
        Line("input", (0,)),
    ],
)
def test_lines_that_are_none(line: Line) -> None:
    with pytest.raises(ValueError, match="Tape: line 1"):
        Tape(("a",), (), (), (Line("state", (0,)), line), (0,))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("scale", {"a": 1.0}, "lacks b"),
        ("scale", {"a": 1.0, "b": 0.0}, "above 0"),
        ("signs", {"a": 1, "b": 2}, "+1 or −1"),
        ("states", {"a": "mg", "b": "furlong"}, "furlong"),
        ("states", {}, "states are none"),
        ("inputs", ("r",), "Mapping"),
        ("typical_inputs", {"q": 1.0}, "'q'"),
        ("starts", (("c", None),), "starts"),
        ("physical", (1.0,), "Parameter"),
    ],
)
def test_mechanisms_that_do_not_fit_together(name: str, value: Any, says: str) -> None:
    mechanism = Everything()
    setattr(mechanism, name, value)
    with pytest.raises(ValueError, match="Everything") as caught:
        mechanism.tape  # noqa: B018
    assert says in str(caught.value)


@pytest.mark.parametrize("entry", ["tape", "scale", "states", "physical", "starts"])
def test_a_file_that_is_no_mechanism(entry: str) -> None:
    data = Everything().to_dict()
    for broken in ({k: v for k, v in data.items() if k != entry}, {**data, entry: 3}, {**data, "more": 1}):
        with pytest.raises(ValueError, match="Mechanism"):
            TapedMechanism(broken)
