"""The steps in C: their functions of matrices against sixty digits, their orders, and against our own solver."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch

from exchange import Selection, selected
from exchange.c.about import PHI_ERROR
from exchange.c.calling import CompiledHeader
from exchange.c.compiled import compiler, shared_library
from exchange.c.numbers import Real
from exchange.c.steps import steps_in_c
from hybrid import Exponential, Mesh, RungeKutta, Schedule, Signal, conditions_of
from tests.exchange.c.conftest import HeaderOf

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler (CC, cc, gcc, clang)")
N = 3
_AROUND = """\
#include <math.h>
typedef {real} m_real;
#define m_STATES {n}
#define m_SQUARE {n2}
typedef struct {{ {real} L[{n2}]; }} m_person;
static void m_beside(const m_person *o, const {real} *x, const {real} *u, const {real} *f, {real} *r)
{{ int i; (void)o; (void)x; (void)u; for (i = 0; i < {n}; ++i) r[i] = f[i]; }}
static void m_field(const m_person *o, const {real} *x, const {real} *u, const {real} *f, {real} *r)
{{ m_beside(o, x, u, f, r); }}
{steps}
int prepare(m_plan *plan, const {real} *L, {real} h)
{{ m_person o; int i; for (i = 0; i < {n2}; ++i) o.L[i] = L[i]; return m_prepare(plan, &o, h); }}
"""


def planned(folder: Path, real: Real) -> Callable[[np.ndarray, float], np.ndarray | None]:
    """(half, whole, s21, s31, s32, s41, s43, end1, end23, end4) of h L."""
    text = _AROUND.format(real=real, n=N, n2=N * N, steps=steps_in_c("m", real))
    library = ctypes.CDLL(str(shared_library(text, folder / "steps.so")))
    number, kind = (ctypes.c_double, np.float64) if real == "double" else (ctypes.c_float, np.float32)

    def plan(L: np.ndarray, h: float) -> np.ndarray | None:
        found, given = np.zeros(1 + 10 * N * N, kind), np.ascontiguousarray(L, kind)
        if library.prepare(found.ctypes.data_as(ctypes.c_void_p), given.ctypes.data_as(ctypes.c_void_p), number(h)):
            return None
        return found[1:].reshape(10, N, N).astype(np.float64)

    return plan


def exact(L: np.ndarray, h: float) -> np.ndarray:
    """The same, of the exponential of a block matrix in sixty digits (Van Loan, IEEE TAC 23 (1978) 395)."""
    functions = []
    with mpmath.workdps(60):
        for factor in (0.5, 1.0):
            block = mpmath.zeros(4 * N, 4 * N)
            for i in range(N):
                for j in range(N):
                    block[i, j] = mpmath.mpf(float(L[i, j])) * mpmath.mpf(h) * factor
                for k in range(3):
                    block[k * N + i, (k + 1) * N + i] = mpmath.mpf(1)
            whole = mpmath.expm(block)
            functions.append(
                [np.array([[float(whole[i, k * N + j]) for j in range(N)] for i in range(N)]) for k in range(4)]
            )
    (eh, h1, h2, _), (e, p1, p2, p3) = functions
    stages = [0.5 * h1, 0.5 * h1 - h2, h2, p1 - 2 * p2, 2 * p2, p1 - 3 * p2 + 4 * p3, 2 * p2 - 4 * p3, 4 * p3 - p2]
    return np.array([eh, e, *(h * stage for stage in stages)])


def stable(rng: np.random.Generator, size: float) -> np.ndarray:
    """A random L whose eigenvalues have negative real parts, of this norm."""
    L = rng.normal(size=(N, N))
    L -= (np.linalg.eigvals(L).real.max() + 0.05 * np.linalg.norm(L)) * np.eye(N)
    return L * size / np.abs(L).sum(1).max()


@pytest.mark.parametrize(("real", "within"), [("double", PHI_ERROR), ("float", 1e-4)])
def test_functions_of_matrices_are_as_exact_as_the_header_says(tmp_path: Path, real: Real, within: float) -> None:
    plan, rng, worst = planned(tmp_path, real), np.random.default_rng(3), 0.0
    for size in (0.0, 1e-6, 0.3, 1.0, 7.0, 60.0, 999.0):
        L = stable(rng, size) if size else np.zeros((N, N))
        L = L.astype(np.float32).astype(np.float64)
        found, wanted = plan(L, 0.5), exact(L, 0.5)
        assert found is not None
        # of the end's functions, sums in which some of the digits cancel, in parts of the largest of them all
        sizes = np.maximum(np.abs(wanted).max((1, 2)), 0.5 * np.abs(wanted[2:]).max() * (np.arange(10) > 1))
        worst = max(worst, float((np.abs(found - wanted).max((1, 2)) / np.maximum(sizes, 1e-30)).max()))
    assert worst < within
    for L in (np.full((N, N), np.nan), np.full((N, N), 1e30), np.full((N, N), -np.inf)):
        assert plan(L, 1.0) is None


def test_steps_are_those_of_our_solvers(header_of: HeaderOf) -> None:
    """One segment with held inputs, one step: to rounding; and four times half the step makes the error 2^4 times smaller."""
    bundle, path_of_it = header_of("contracting")
    header = CompiledHeader(path_of_it)
    model, chosen = bundle.model, selected(bundle, Selection(person="Ada"))
    h, u, x0 = 0.5, 0.7, np.array([0.4, -3.0])
    end = {}
    for name, solver in (("rk4", RungeKutta("rk4")), ("exponential", Exponential())):
        inputs = {model.backbone.inputs[0]: Signal((0.0,), (u,), "held")}
        given = conditions_of(model, [Schedule(inputs=inputs)], [[0.0, h]], mesh=Mesh(h))
        field = model.bind(given.segments, chosen.theta[:, None], chosen.c[:, None])
        with torch.no_grad():
            solved = solver.solve(field, torch.tensor(x0).expand(2, 1, 2))
        end[name] = solved.states[:, 0, -1].numpy() if solved.states.ndim == 4 else solved.states[:, -1].numpy()
    for k in range(2):
        person = header.bind(k)

        def path(step: Callable[[np.ndarray, float], np.ndarray], count: int) -> np.ndarray:
            x = x0
            for _ in range(count):
                x = step(x, h / count)
            return x

        steps = {
            "rk4": lambda x, s, person=person: person("step_rk4", x, [u], None, s),
            "exponential": lambda x, s, person=person: person.exponential(x, [u], s),
        }
        fine = path(steps["rk4"], 400)
        for name, step in steps.items():
            np.testing.assert_allclose(path(step, 1), end[name][k], rtol=1e-13, atol=1e-13)
            errors = [np.abs(path(step, count) - fine).max() for count in (1, 2, 4)]
            assert np.log2(errors[1] / errors[2]) > 3.6
