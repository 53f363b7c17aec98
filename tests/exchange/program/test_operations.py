"""Every operation alike in numpy, torch and C, its slopes those of torch, at kinks and beyond; and the duality of derivatives."""

import ctypes
import math
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.program import Program, adjoint, directional, functions_in_c, lines_in_c, number_in_c, of_tape
from exchange.program.lines import Lines
from exchange.program.operations import FLAT, OPERATIONS
from exchange.program.slopes import SLOPES
from physics.operation import OPERATIONS as OF_TAPES
from physics.tape import Line as TapeLine
from physics.tape import Tape

INF, NAN = math.inf, math.nan
POINTS = np.array([-INF, -30.0, -2.5, -1.0, -0.3, -0.0, 0.0, 1e-300, 0.4, 1.0, 2.5, 30.0, 800.0, INF, NAN])
NUMBERS = {"power": (2.0, 3.0, 4.0, 0.5, -1.0, -2.0, -0.5, 2.7), "hill": (1.0, 0.7, 2.0, 5.3)}
CASES = [(name, number) for name in OPERATIONS for number in NUMBERS.get(name, (None,))]

Torch = Callable[..., torch.Tensor]
# what torch calls them; those of a tape are held against the table of physics
IN_TORCH: Mapping[str, Torch] = {
    **{
        name: getattr(torch, name)
        for name in ("pow", "expm1", "log1p", "erf", "tan", "asin", "acos", "sinh", "cosh", "atan2")
    },
    **{name: getattr(torch, name) for name in ("floor", "sign", "isnan")},
    **{"less": torch.lt, "less_equal": torch.le, "equal": torch.eq, "and": torch.logical_and, "or": torch.logical_or},
    **{"not": torch.logical_not, "where": lambda c, a, b: torch.where(c != 0.0, a, b)},
}


def program_of(name: str, number: float | None) -> Program:
    """One operation on the inputs x."""
    lines = Lines({"x": OPERATIONS[name].arity})
    read = [lines.given("x", i) for i in range(OPERATIONS[name].arity)]
    return lines.program({"z": [lines.write(name, *read, number=number)]})


def points_of(name: str) -> np.ndarray:
    """Every combination of the points, of no more than two arguments; of three with a condition that is 0 or 1."""
    arity = OPERATIONS[name].arity
    columns = [POINTS] * arity if arity < 3 else [np.array([0.0, 1.0]), POINTS, POINTS]
    return np.stack(np.meshgrid(*columns, indexing="ij"), -1).reshape(-1, arity)


def in_torch(name: str, number: float | None, columns: list[torch.Tensor]) -> torch.Tensor:
    """The value as torch has it: by the table of physics, or by its own function."""
    if name in OF_TAPES:
        return torch.as_tensor(OF_TAPES[name].value(*columns, *(() if number is None else (number,))))
    return IN_TORCH[name](*columns).to(torch.float64)


def test_the_list_is_that_of_tapes_and_more() -> None:
    assert list(OF_TAPES) == list(OPERATIONS)[: len(OF_TAPES)]
    assert SLOPES.keys() | FLAT | {"where"} == OPERATIONS.keys()
    assert all(OPERATIONS[k].arity == o.arity and OPERATIONS[k].numbered == o.numbered for k, o in OF_TAPES.items())


@pytest.mark.parametrize(("name", "number"), CASES)
def test_values_and_slopes_are_those_of_torch(name: str, number: float | None) -> None:
    x, program = points_of(name), program_of(name, number)
    columns = [column.clone().requires_grad_() for column in torch.tensor(x).unbind(-1)]
    wanted = in_torch(name, number, columns)
    np.testing.assert_allclose(program.evaluate(x=x)["z"][:, 0], wanted.detach().numpy(), rtol=3e-15, atol=1e-300)
    if name in OF_TAPES:
        more = () if number is None else (number,)
        slopes = OF_TAPES[name].slopes(wanted.detach(), *(c.detach() for c in columns), *more)
        slopes = [torch.as_tensor(s, dtype=torch.float64).expand(len(x)) for s in slopes]
    elif wanted.requires_grad:
        slopes = list(torch.autograd.grad(wanted.sum(), columns, allow_unused=True))
    else:
        slopes = [None] * len(columns)
    for k, slope in enumerate(slopes):
        along = np.zeros_like(x)
        along[:, k] = 1.0
        got = directional(program, ("x",), "z").evaluate(x=x, x_dot=along)["z_dot"][:, 0]
        wants = np.zeros(len(x)) if slope is None else slope.numpy()
        there = np.isfinite(x).all(-1)
        if len(columns) > 1:  # 0 times a slope that is infinite, of an argument that does not move, is no number
            there &= np.isfinite(got)
        assert there.sum() > 2
        np.testing.assert_allclose(got[there], wants[there], rtol=1e-14, atol=1e-300, err_msg=f"{name} {k}")


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Anything of the list, of three inputs x and one u, kept in a range where all of it is finite and smooth."""
    lines = Lines({"x": 3, "u": 1})
    some = [*(lines.given("x", i) for i in range(3)), lines.given("u", 0), lines.constant(0.7)]
    of_positive = ("log", "sqrt", "power", "hill", "divide", "pow", "atan2", "log1p", "saturating")
    names = sorted(OPERATIONS.keys() - {"tan", "asin", "acos", *of_positive})
    for _ in range(draw(st.integers(1, 25))):
        name = draw(st.sampled_from(names))
        read = [draw(st.sampled_from(some)) for _ in range(OPERATIONS[name].arity)]
        new = lines.write(name, *read)
        # what grows is brought back: a chain of exponentials is none of a model
        some.append(lines.write("tanh", new))
        if draw(st.booleans()):
            held = lines.write("add", lines.write("square", some[-1]), lines.constant(0.5))
            more = draw(st.sampled_from(of_positive))
            number = {"power": -1.5, "hill": 2.5}.get(more)
            arguments = (held,) if OPERATIONS[more].arity == 1 else (held, held) if more == "pow" else (some[-1], held)
            some.append(lines.write(more, *arguments, number=number))
    return lines.program({"rate": [draw(st.sampled_from(some)) for _ in range(2)]})


@settings(max_examples=60, deadline=None)
@given(program=programs(), seed=st.integers(0, 2**31))
def test_the_adjoint_is_the_transpose(program: Program, seed: int) -> None:
    """Σ w · J v = Σ v · Jᵀ w, and J v is what differences say, where no branch lies between."""
    drawn = np.random.default_rng(seed)
    at = {"x": drawn.normal(size=(4, 3)), "u": drawn.normal(size=(4, 1))}
    along = {"x_dot": drawn.normal(size=(4, 3)), "u_dot": drawn.normal(size=(4, 1))}
    weights = drawn.normal(size=(4, 2))
    forward = directional(program).evaluate(**at, **along)["rate_dot"]
    back = adjoint(program).evaluate(**at, rate_bar=weights)
    one, other = (
        (weights * forward).sum(-1),
        (back["x_bar"] * along["x_dot"]).sum(-1) + (back["u_bar"] * along["u_dot"])[:, 0],
    )
    size = (np.abs(weights * forward)).sum(-1) + np.abs(back["x_bar"] * along["x_dot"]).sum(-1) + 1.0
    assert (np.abs(one - other) <= 1e-12 * size).all()
    step = 1e-6
    ends = [
        program.evaluate(x=at["x"] + h * along["x_dot"], u=at["u"] + h * along["u_dot"])["rate"] for h in (step, -step)
    ]
    slope = (ends[0] - ends[1]) / (2.0 * step)
    kinked = {line.operation for line in program.code} & {*FLAT, "where", "relu", "abs", "minimum", "maximum"}
    assert kinked or np.allclose(slope, forward, rtol=1e-5, atol=1e-5 * (1.0 + np.abs(forward).max()))


# ---- C

REALS = {"double": (ctypes.c_double, np.float64, 4e-15), "float": (ctypes.c_float, np.float32, 3e-6)}
FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", "-fPIC", "-shared")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Every operation in both types, compiled once."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder: Path = tmp_path_factory.mktemp("c")
    texts = ["#include <math.h>"]
    for real in REALS:
        for k, (name, number) in enumerate(CASES):
            lines = lines_in_c(program_of(name, number), {"x": "x[{i}]", "z": "z[{i}]"}, real)  # type: ignore[arg-type]
            head = f"void f{k}_{real}(const {real} *x, {real} *z);\nvoid f{k}_{real}(const {real} *x, {real} *z)"
            texts.append("\n".join([head, "{", *lines, "}"]))
    (folder / "all.c").write_text("\n".join(texts) + "\n")
    done = subprocess.run(
        [compiler, *FLAGS, "all.c", "-o", "all.so", "-lm"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "all.so"))


@pytest.mark.parametrize("real", REALS)
def test_c_gives_what_numpy_gives(real: str, library: ctypes.CDLL) -> None:
    kind, dtype, within = REALS[real]
    for k, (name, number) in enumerate(CASES):
        x = points_of(name)
        with np.errstate(under="ignore"):
            rounded = x.astype(dtype).astype(np.float64)
        x = rounded[((rounded != 0.0) | (x == 0.0)).all(-1)]
        function, program = getattr(library, f"f{k}_{real}"), program_of(name, number)
        wanted = program.evaluate(x=x)["z"][:, 0]
        got = np.empty(len(x))
        for i, row in enumerate(x):
            z = (kind * 1)()
            function((kind * len(row))(*row), z)
            got[i] = z[0]
        large = np.isfinite(wanted) & (np.abs(wanted) > np.finfo(dtype).max)
        inside = ~large & ~((np.abs(wanted) < np.finfo(dtype).tiny) & (wanted != 0.0))
        np.testing.assert_allclose(
            got[inside], wanted[inside], rtol=within, atol=np.finfo(dtype).tiny, err_msg=f"{name} {number}"
        )


@given(number=st.floats())
def test_a_number_loses_no_digit(number: float) -> None:
    text = number_in_c(number).strip("()")
    if math.isfinite(number):
        back = float.fromhex(text) if "x" in text else float(text)
        assert back.hex() == number.hex()
    else:
        assert text == ("NAN" if math.isnan(number) else "INFINITY" if number > 0 else "-INFINITY")


def test_functions_of_math_are_named() -> None:
    lines = lines_in_c(program_of("softplus", None), {"x": "x[{i}]", "z": "z[{i}]"}, "float")
    assert functions_in_c(lines) == ("expf", "fabsf", "log1pf")
    with pytest.raises(ValueError, match="too large for float"):
        number_in_c(1e300, "float")
    with pytest.raises(ValueError, match=r'names has None for z; write \{"z": "z\[\{i\}\]"\}'):
        lines_in_c(program_of("exp", None), {"x": "x[{i}]"})


# ---- lines


def test_what_is_constant_is_computed_and_what_is_there_is_shared() -> None:
    lines = Lines({"x": 2})
    a, b = lines.given("x", 0), lines.given("x", 1)
    assert lines.write("add", a, b) == lines.write("add", b, a)
    assert lines.number(lines.write("multiply", lines.constant(2.0), lines.constant(3.0))) == 6.0
    assert lines.write("multiply", a, lines.constant(1.0)) == a
    assert lines.write("add", a, lines.write("negate", b)) == lines.write("subtract", a, b)
    # what may be NaN is not taken for 0
    assert lines.number(lines.write("multiply", a, lines.constant(0.0))) is None
    lines.write("exp", b)
    program = lines.program({"y": [lines.write("sin", a)]})
    assert [line.operation for line in program.code] == ["given", "sin"]


def test_a_program_that_is_none_is_refused() -> None:
    line = TapeLine
    with pytest.raises(ValueError, match=r"line 1 is .*one of add"):
        Program({"x": 1}, (line("given", (0, 0)), line("system", (0,))), {"y": (1,)})
    with pytest.raises(ValueError, match="line 0 is"):
        Program({"x": 1}, (line("exp", (0,)),), {"y": (0,)})
    with pytest.raises(ValueError, match="the output y is in lines"):
        Program({"x": 1}, (line("given", (0, 0)),), {"y": (3,)})
    program = Program({"x": 1}, (line("given", (0, 0)),), {"y": (0,)})
    with pytest.raises(ValueError, match="its inputs are x, and u came"):
        program.evaluate(u=[1.0])
    with pytest.raises(ValueError, match=r"x is an array \(\.\.\., 1\)"):
        program.evaluate(x=[1.0, 2.0])
    with pytest.raises(ValueError, match="to is one of the outputs, y"):
        directional(program, ("x",))
    with pytest.raises(ValueError, match="wrt names groups of inputs, x"):
        adjoint(program, "x", "y")


def test_a_tape_keeps_its_slopes_at_kinks() -> None:
    """Of two that are alike a tape's maximum moves with the first: what `BoundTape.jacobian` says."""
    code = (TapeLine("state", (0,)), TapeLine("state", (1,)), TapeLine("maximum", (0, 1)), TapeLine("relu", (0,)))
    tape = Tape(("a", "b"), (), (), code, (2, 3))
    x = torch.zeros(1, 2, dtype=torch.float64)
    J = tape.at(torch.zeros(1, 0, dtype=torch.float64)).jacobian(x, x[:, :0])
    program = directional(of_tape(tape), ("x",))
    rows = [program.evaluate(x=[0.0, 0.0], u=[], theta=[], x_dot=v)["rate_dot"] for v in np.eye(2)]
    assert np.array_equal(np.stack(rows, -1), J[0].numpy())
