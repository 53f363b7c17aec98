"""An FMU held against us, by two clients that know nothing of us: FMPy and CasADi."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exchange.subject import Subject, relative
from stability import Certificate

Found = dict[str, float | str | None]
_STATES = 8  # at which the Jacobian is asked


def of_fmu(subject: Subject, folder: Path, fmi: int) -> Found:
    """Messages of `validate_fmu`, gaps of Model Exchange and Co-Simulation, of the Jacobian, and the eigenvalue of the claim."""
    import fmpy.validation

    from exchange.fmu.fmu import Fmu

    began = time.perf_counter()
    path = folder / f"model_{fmi}.fmu"
    Fmu(selection=subject.selection, fmi=fmi, replace=True).write(subject.bundle, path)
    found: Found = {"seconds to write": time.perf_counter() - began, "kB": path.stat().st_size / 1e3}
    said = fmpy.validation.validate_fmu(str(path))
    found["messages"] = float(len(said))
    if said:
        found["first message"] = said[0][:300]
    found["ME gap"] = subject.gap(_simulated(subject, path, "ModelExchange")[0])
    stepped, stated = _simulated(subject, path, "CoSimulation")
    found["CS gap"] = subject.gap(stepped)
    found["CS gap over what it states"], found["the same, state by state"] = _over(subject, stepped, stated)
    found |= _jacobian(subject, path)
    return found


def _simulated(subject: Subject, path: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:  # (T, n) twice
    """The path by FMPy, and what the FMU says of the errors of its steps (0 in Model Exchange)."""
    import fmpy

    names, end = list(subject.states), float(subject.times[-1])
    stepwise = kind == "CoSimulation"
    errors = [f"step_error.{name}" for name in names] if stepwise else []
    named = [*(f"u.{n}" for n in subject.inputs), *(f"infused.{n}" for n in names)]
    held = (*subject.levels, *subject.infused)
    columns = [("time", np.float64), *((name, np.float64) for name in named)]
    given: Any = np.array([(0.0, *held), (end, *held)], dtype=columns)
    result = fmpy.simulate_fmu(
        str(path),
        validate=False,
        fmi_type=kind,
        start_time=0.0,
        stop_time=end,
        solver="CVode",
        step_size=end / (len(subject.times) - 1),
        relative_tolerance=1e-10,
        output_interval=end / (len(subject.times) - 1),
        start_values=dict(zip(names, subject.start.tolist(), strict=True)),
        input=given,
        output=[*names, *errors],
    )
    at = [int(np.abs(result["time"] - t).argmin()) for t in subject.times]

    def taken(of: list[str]) -> np.ndarray:
        return np.stack([result[name][at] for name in of], -1) if of else np.zeros((len(at), len(names)))

    return taken(names), taken(errors)


def _over(subject: Subject, path: np.ndarray, stated: np.ndarray) -> tuple[float, float]:
    """The largest difference from our path over the largest that the FMU states, both over the states' sizes, of which 1e-9 is
    nothing; and state by state, where an error that comes from another state counts for one that states less.
    """
    if not np.isfinite(path).all():
        return float("inf"), float("inf")
    gap, room = np.abs(path - subject.path) / subject.size, stated / subject.size + 1e-9
    return float((gap.max(1) / room.max(1)).max()), float((gap / room).max())


def _jacobian(subject: Subject, path: Path) -> Found:
    """∂f/∂x by the FMI alone against torch's, and what the certificate says of it."""
    from exchange.fmu.archive import open_fmu
    from exchange.fmu.running import running

    x, u = subject.points(_STATES, 1)
    states, rates = list(subject.states), [f"der({n})" for n in subject.states]
    mine, slopes = [], []
    with running(open_fmu(path)) as fmu:
        fmu.start({f"infused.{n}": float(v) for n, v in zip(states, subject.infused, strict=True)})
        for point, level in zip(x, u, strict=True):
            fmu.set({f"u.{n}": float(v) for n, v in zip(subject.inputs, level, strict=True)})
            fmu.set_states(dict(zip(states, point.tolist(), strict=True)))
            mine.append(fmu.jacobian(tuple(rates), tuple(states)))
    slopes = subject.jacobians(x, u)
    found: Found = {"Jacobian gap": max(relative(a, b) for a, b in zip(mine, slopes, strict=True))}
    certificate = subject.bundle.certificate
    if isinstance(certificate, Certificate) and certificate.region == "global":
        factor = np.linalg.inv(np.linalg.cholesky(certificate.metric))
        P = certificate.metric
        both = [factor @ (P @ J + J.T @ P + 2.0 * certificate.rate * P) @ factor.T for J in mine]
        found["eigenvalue"] = max(float(np.linalg.eigvalsh(one)[-1]) for one in both)
    return found


def of_casadi(subject: Subject, folder: Path, fmi: int) -> Found:
    """The FMU as CasADi's `DaeBuilder` takes it in: the rate at states, the path by its CVODES."""
    import casadi

    path = folder / f"model_{fmi}.fmu"
    unpacked = folder / f"unpacked_{fmi}"
    from exchange.fmu.archive import open_fmu

    unpacked.mkdir(exist_ok=True)
    open_fmu(path).write_to(unpacked)
    dae = casadi.DaeBuilder("model", str(unpacked))
    names = list(subject.states)
    order = [names.index(name) for name in dae.x()]
    inputs = dae.u()
    function = dae.create("f", ["x", "u"], ["ode"])
    x, u = subject.points(_STATES, 2)

    def level(of: np.ndarray) -> list[float]:
        here = {
            **{f"u.{n}": float(v) for n, v in zip(subject.inputs, of, strict=True)},
            **{f"infused.{n}": float(v) for n, v in zip(names, subject.infused, strict=True)},
        }
        return [here[name] for name in inputs]

    rates = np.array([np.array(function(p[order], level(q))).ravel() for p, q in zip(x, u, strict=True)])
    found: Found = {"rate gap": max(relative(a, b[order]) for a, b in zip(rates, subject.rates(x, u), strict=True))}
    state = casadi.MX.sym("x", len(names))
    ode = function(state, casadi.DM(level(subject.levels)))
    options = {"abstol": 1e-12 * float(subject.size.min()), "reltol": 1e-10, "max_num_steps": 200_000}
    solver = casadi.integrator("F", "cvodes", {"x": state, "ode": ode}, 0.0, subject.times[1:].tolist(), options)
    path_there = np.array(solver(x0=subject.start[order])["xf"]).T
    back = np.empty_like(path_there)
    back[:, order] = path_there
    found["path gap"] = subject.gap(np.vstack([subject.start, back]))
    return found
