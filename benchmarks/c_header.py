"""The exported C: the field beside torch and a bare loop, a day of steps beside CasADi's C of the same model.

Claims: the field of n = 4, 64x64 in one call is 50 times as fast as `learned.MLP.forward` at batch 1, and takes at most twice
the time of a bare loop of the same products and activations; 288 five-minute steps take at most 1.1 times those that CasADi
generates; same compiler, same flags.
"""

import ctypes
import itertools
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import casadi
import numpy as np
import torch

from benchmarks import race
from exchange.bundle.bundle import Bundle
from exchange.bundle.person import Person
from exchange.c.compiled import compiler, shared_library
from exchange.c.header import header_of
from exchange.selection import Selection, selected
from hybrid import HybridModel, Mesh, Schedule, States
from learned import MLP, Constant, Layers
from physics import LinearBackbone, SharedPopulation
from training import Personal

STATES, HIDDEN = 4, (64, 64)
STEP, STEPS = 5.0 / 60.0, 288  # hours
FLAGS = {"-O2": ("-std=c99", "-O2"), "-O3 -march=native": ("-std=c99", "-O3", "-march=native")}
CALLS, DAYS = 5000, 5
FASTER, BARE, CASADI = 50.0, 2.0, 1.1


def bundle() -> Bundle:
    """Four states in a chain that empties, and a network of two layers beside it; one member, nobody trained it."""
    rates = np.array([1.5, 0.9, 0.6, 0.3])
    A = np.diag(-rates) + np.diag(0.8 * rates[:-1], -1)
    names = [f"state{k}" for k in range(STATES)]
    model = HybridModel(
        LinearBackbone(A.tolist(), states=names, state_units=["mg"] * STATES, time_unit="h"),
        SharedPopulation(),
        MLP(STATES, hidden=HIDDEN, generator=torch.Generator().manual_seed(5)),
        observation=States(names),
        noise=Constant([0.1] * STATES, [0.01] * STATES),
    )
    nothing = torch.zeros(1, 1, 0, dtype=torch.float64)
    shape = torch.zeros(1, 1, dtype=torch.float64)
    known = Personal(nothing, nothing[..., None].expand(1, 1, 0, 0), shape, shape == 0.0)
    return Bundle(model, (Person("1", Schedule(), {}, (float("nan"),) * STATES),), known, Mesh(STEP))


def ours(header: Path) -> str:
    """A field at a state that moves with what it gives, and a day of steps, around the header."""
    return f"""
#include "{header.name}"
static m_person person;
int begin(void) {{ return m_bind(&person, 0, 0, 0); }}
double field(long count, double *x)
{{
    double rate[m_STATES], u[1] = {{0}};
    long k; int i;
    for (k = 0; k < count; ++k) {{
        m_field(&person, x, u, 0, rate);
        for (i = 0; i < m_STATES; ++i) x[i] += 1e-3 * rate[i];
    }}
    return x[0];
}}
double day(long count, double *x)
{{
    double after[m_STATES], u[1] = {{0}};
    long k; int i;
    for (k = 0; k < count; ++k) {{
        m_step_rk4(&person, x, u, 0, {STEP!r}, after);
        for (i = 0; i < m_STATES; ++i) x[i] = after[i];
    }}
    return x[0];
}}
"""


def bare(layers: Layers, *, by_columns: bool) -> str:
    """The same products and activations, as one writes them by hand: row by row, or column by column."""
    text, sizes = "#include <math.h>\n", [STATES, *HIDDEN, STATES]
    for k, weight in enumerate(layers.weights):
        array = weight[0].detach().numpy()
        values = ", ".join(float(v).hex() for v in (array.T if by_columns else array).reshape(-1))
        bias = ", ".join(float(v).hex() for v in layers.biases[k][0].detach().numpy())
        text += f"static const double w{k}[] = {{{values}}};\nstatic const double b{k}[] = {{{bias}}};\n"
    text += "double field(long count, double *x)\n{\n    long k; int i, j;\n"
    text += "".join(f"    double z{k}[{size}];\n" for k, size in enumerate(sizes))
    text += "    for (k = 0; k < count; ++k) {\n        for (i = 0; i < 4; ++i) z0[i] = x[i];\n"
    for k, (into, out) in enumerate(itertools.pairwise(sizes)):
        if by_columns:
            text += (
                f"        for (i = 0; i < {out}; ++i) z{k + 1}[i] = b{k}[i];\n        for (j = 0; j < {into}; ++j)\n"
            )
            text += f"            for (i = 0; i < {out}; ++i) z{k + 1}[i] += w{k}[j * {out} + i] * z{k}[j];\n"
        else:
            text += f"        for (i = 0; i < {out}; ++i) {{\n            double sum = b{k}[i];\n"
            text += f"            for (j = 0; j < {into}; ++j) sum += w{k}[i * {into} + j] * z{k}[j];\n"
            text += f"            z{k + 1}[i] = sum;\n        }}\n"
        if k + 1 < len(sizes) - 1:
            text += f"        for (i = 0; i < {out}; ++i) z{k + 1}[i] = tanh(z{k + 1}[i]);\n"
    return (
        text + f"        for (i = 0; i < 4; ++i) x[i] += 1e-3 * z{len(sizes) - 1}[i];\n    }}\n    return x[0];\n}}\n"
    )


def by_casadi(layers: Layers, A: np.ndarray, folder: Path, *, scalar: bool) -> str:
    """CasADi's C of a classic Runge–Kutta step of the same field, scalar by scalar or by products, and a day of them."""
    x: Any = (casadi.SX if scalar else casadi.MX).sym("x", STATES)
    weights = [w[0].detach().numpy() for w in layers.weights]
    biases = [b[0].detach().numpy() for b in layers.biases]

    def network(z: Any) -> Any:
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            z = casadi.mtimes(casadi.DM(weight), z) + casadi.DM(bias)
            z = casadi.tanh(z) if k + 1 < len(weights) else z
        return z

    at_zero = casadi.Function("zero", [x], [network(x)])(np.zeros(STATES))
    field = casadi.Function("field", [x], [casadi.mtimes(casadi.DM(A), x) + network(x) - at_zero])
    y: Any = casadi.MX.sym("y", STATES)  # the field is called four times, and not written out four times
    k1 = field(y)
    k2 = field(y + 0.5 * STEP * k1)
    k3 = field(y + 0.5 * STEP * k2)
    k4 = field(y + STEP * k3)
    step = casadi.Function("one_step", [y], [y + STEP / 6.0 * (k1 + 2.0 * (k2 + k3) + k4)])
    maker = casadi.CodeGenerator("step.c", {"with_header": False})
    maker.add(step)
    maker.generate(f"{folder}/")
    return (
        (folder / "step.c").read_text()
        + f"""
double day(long count, double *x)
{{
    double after[{STATES}];
    casadi_real w[{max(1, step.sz_w())}];
    casadi_int iw[{max(1, step.sz_iw())}];
    const casadi_real *arg[{max(1, step.sz_arg())}];
    casadi_real *res[{max(1, step.sz_res())}];
    long k; int i;
    for (k = 0; k < count; ++k) {{
        arg[0] = x; res[0] = after;
        one_step(arg, res, iw, w, 0);
        for (i = 0; i < {STATES}; ++i) x[i] = after[i];
    }}
    return x[0];
}}
"""
    )


def loaded(text: str, folder: Path, name: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    """The C as a library of this process."""
    return ctypes.CDLL(str(shared_library(text, folder / f"{name}.so", flags=flags, include=[folder])))


def run(library: ctypes.CDLL, what: str, count: int) -> np.ndarray:
    """Where `count` calls lead from the same start."""
    x = np.linspace(0.5, 2.0, STATES)
    function = getattr(library, what)
    function.restype, function.argtypes = ctypes.c_double, (ctypes.c_long, ctypes.c_void_p)
    function(count, x.ctypes.data)
    return x


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("c_header", __doc__)
    report = race.Report("c_header", "The exported C")
    torch.set_num_threads(1)
    if compiler() is None:
        print("no C compiler")
        return race.SKIPPED
    made = bundle()
    mlp, chosen = made.model.residual, selected(made, Selection(person="1"))
    layers = chosen.model.residual.layers()  # type: ignore[operator]  # an MLP
    A = chosen.model.backbone.matrices(chosen.theta)[0].numpy().reshape(STATES, STATES)
    x, u, c = (torch.full((1, 1, size), 0.7, dtype=torch.float64) for size in (STATES, 0, 0))
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = Path(name)
        (folder / "m.h").write_text(header_of(made, chosen, Selection(person="1"), prefix="m"))
        report.figures["header, kB"] = (folder / "m.h").stat().st_size / 1e3
        for words, flags in FLAGS.items():
            tag = words.replace(" ", "")
            libraries = {
                "ours": loaded(ours(folder / "m.h"), folder, f"ours{tag}", flags),
                "bare, by columns": loaded(bare(layers, by_columns=True), folder, f"columns{tag}", flags),
                "bare, by rows": loaded(bare(layers, by_columns=False), folder, f"rows{tag}", flags),
                "CasADi, scalar": loaded(by_casadi(layers, A, folder, scalar=True), folder, f"sx{tag}", flags),
                "CasADi, products": loaded(by_casadi(layers, A, folder, scalar=False), folder, f"mx{tag}", flags),
            }
            libraries["ours"].begin()
            days = {k: run(lib, "day", STEPS) for k, lib in libraries.items() if "bare" not in k}
            apart = max(float(np.abs(day - days["ours"]).max() / np.abs(day).max()) for day in days.values())
            report.figures[f"largest difference after a day, {words}"] = apart
            report.wrong = report.wrong or not apart < 1e-11
            work: dict[str, Callable[[], object]] = {
                f"field: {k}": partial(run, lib, "field", CALLS) for k, lib in libraries.items() if "CasADi" not in k
            }
            work["field: MLP.forward"] = lambda: [mlp(x, u, c) for _ in range(100)]
            work |= {
                f"day: {k}": partial(run, lib, "day", DAYS * STEPS) for k, lib in libraries.items() if "bare" not in k
            }
            times = {k: race.middle(v) for k, v in race.timed(work, f"c_header {words}", setup).items()}
            per = {
                k: v / (100 if "MLP" in k else CALLS if "field" in k else DAYS) * 1e3 for k, v in times.items()
            }  # us
            report.figures |= {f"{k}, us, {words}": v for k, v in per.items()}
            faster = per["field: MLP.forward"] / per["field: ours"]
            above = per["field: ours"] / min(v for k, v in per.items() if "bare" in k)
            beside = per["day: ours"] / min(v for k, v in per.items() if "CasADi" in k)
            report.target(f"{FASTER:g} times as fast as MLP.forward, {words}", f"{faster:.1f}", faster >= FASTER)
            report.target(f"at most {BARE:g} times the faster bare loop, {words}", f"{above:.2f}", above <= BARE)
            report.target(f"a day at most {CASADI} times the faster CasADi, {words}", f"{beside:.2f}", beside <= CASADI)
    report.notes.append(f"One call at a time; a day is {STEPS} classic Runge–Kutta steps. {compiler()}.\n")
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
