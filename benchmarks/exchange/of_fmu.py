"""An FMU held against us, by two clients that know nothing of us: FMPy and CasADi."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exchange.subject import Subject, relative
from exchange.stored_system import eigenvalues_of
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
    found["ME gap"] = subject.gap(simulated([subject], path, "ModelExchange")[0][0])
    ((stepped, stated),) = simulated([subject], path, "CoSimulation")
    found["CS gap"] = subject.gap(stepped)
    found["CS gap over what it states"], found["the same, state by state"] = over(subject, stepped, stated)
    found |= _jacobian(subject, path)
    return found


def owners(subjects: Sequence[Subject]) -> list[str]:
    """What stands before the names of each member's variables: nothing where there is one member."""
    return [""] if len(subjects) == 1 else [f"member{one.chosen.members[0] + 1}." for one in subjects]


def simulated(
    subjects: Sequence[Subject],  # one for each member in the file; all are driven as the first is
    path: Path,
    kind: str,
) -> list[tuple[np.ndarray, np.ndarray]]:  # (T, n) twice
    """Each one's path by FMPy, and what the FMU says of the errors of its steps (0 in Model Exchange)."""
    import fmpy

    first = subjects[0]
    names, end, before = list(first.states), float(first.times[-1]), owners(subjects)
    states = [f"{owner}{name}" for owner in before for name in names]
    errors = [f"{owner}step_error.{name}" for owner in before for name in names] if kind == "CoSimulation" else []
    held = (*first.levels, *first.infused)
    named = [*(f"u.{n}" for n in first.inputs), *(f"infused.{n}" for n in names)]
    columns = [("time", np.float64), *((name, np.float64) for name in named)]
    given: Any = np.array([(0.0, *held), (end, *held)], dtype=columns)
    result = fmpy.simulate_fmu(
        str(path),
        validate=False,
        fmi_type=kind,
        start_time=0.0,
        stop_time=end,
        solver="CVode",
        step_size=end / (len(first.times) - 1),
        relative_tolerance=1e-10,
        output_interval=end / (len(first.times) - 1),
        start_values=dict(zip(states, np.concatenate([one.start for one in subjects]).tolist(), strict=True)),
        input=given,
        output=[*states, *errors],
    )
    at = [int(np.abs(result["time"] - t).argmin()) for t in first.times]

    def taken(of: list[str], k: int) -> np.ndarray:
        own = of[k * len(names) : (k + 1) * len(names)]
        return np.stack([result[name][at] for name in own], -1) if own else np.zeros((len(at), len(names)))

    return [(taken(states, k), taken(errors, k)) for k in range(len(subjects))]


def over(subject: Subject, path: np.ndarray, stated: np.ndarray) -> tuple[float, float]:
    """The largest difference from our path over the largest that the FMU states, both over the states' sizes, of which 1e-9 is
    nothing; and state by state, where an error that comes from another state counts for one that states less.
    """
    if not np.isfinite(path).all():
        return float("inf"), float("inf")
    gap, room = np.abs(path - subject.path) / subject.size, stated / subject.size + 1e-9
    return float((gap.max(1) / room.max(1)).max()), float((gap / room).max())


def jacobians(subjects: Sequence[Subject], path: Path) -> tuple[np.ndarray, float]:  # (S, M·n, M·n)
    """∂f/∂x of the whole FMU by the FMI alone, forward and, where it has that, backward, and how far the worst is from torch's:
    each member's block against its own, and 0 off the blocks.
    """
    from exchange.fmu.archive import open_fmu
    from exchange.fmu.running import running

    first, before = subjects[0], owners(subjects)
    points = [one.points(_STATES, 1)[0] for one in subjects]
    u = first.points(_STATES, 1)[1]
    states = [f"{owner}{name}" for owner in before for name in first.states]
    rates = [f"der({owner}{name})" for owner in before for name in first.states]
    forward, backward = [], []
    with running(open_fmu(path)) as fmu:
        fmu.start({f"infused.{n}": float(v) for n, v in zip(first.states, first.infused, strict=True)})
        for k, level in enumerate(u):
            fmu.set({f"u.{n}": float(v) for n, v in zip(first.inputs, level, strict=True)})
            fmu.set_states(dict(zip(states, np.concatenate([x[k] for x in points]).tolist(), strict=True)))
            forward.append(fmu.jacobian(rates, states))
            if fmu.has_adjoint:
                backward.append(fmu.adjoint(rates, states))
    known = np.zeros((_STATES, len(states), len(states)))
    n = len(first.states)
    for k, (one, x) in enumerate(zip(subjects, points, strict=True)):
        known[:, k * n : (k + 1) * n, k * n : (k + 1) * n] = one.jacobians(x, u)
    gaps = [relative(a, b) for found in (forward, backward) if found for a, b in zip(found, known, strict=True)]
    return np.array(forward), max(gaps)


def _jacobian(subject: Subject, path: Path) -> Found:
    """How far it is from torch's, and what the certificate says of it."""
    mine, gap = jacobians([subject], path)
    found: Found = {"Jacobian gap": gap}
    certificate = subject.bundle.certificate
    if isinstance(certificate, Certificate) and certificate.region == "global":
        found["eigenvalue"] = float(eigenvalues_of(certificate.metric, mine, certificate.rate).max())
    return found


def of_casadi(subject: Subject, folder: Path, fmi: int) -> Found:
    """The FMU as CasADi's `DaeBuilder` takes it in: the rate at states, the path by its CVODES."""
    import casadi

    dae, rates = by_casadi([subject], folder / f"model_{fmi}.fmu", folder / f"unpacked_{fmi}")
    found: Found = {"rate gap": rates}
    order, inputs = [subject.states.index(name) for name in dae.x()], _driven(subject, subject.levels)
    state = casadi.MX.sym("x", len(order))
    ode = dae.create("f", ["x", "u"], ["ode"])(state, casadi.DM([inputs[name] for name in dae.u()]))
    options = {"abstol": 1e-12 * float(subject.size.min()), "reltol": 1e-10, "max_num_steps": 200_000}
    solver = casadi.integrator("F", "cvodes", {"x": state, "ode": ode}, 0.0, subject.times[1:].tolist(), options)
    path_there = np.array(solver(x0=subject.start[order])["xf"]).T
    back = np.empty_like(path_there)
    back[:, order] = path_there
    found["path gap"] = subject.gap(np.vstack([subject.start, back]))
    return found


def by_casadi(subjects: Sequence[Subject], path: Path, unpacked: Path) -> tuple[Any, float]:
    """CasADi's `DaeBuilder` of it, and how far its rates are from ours at states, over all members."""
    import casadi

    from exchange.fmu.archive import open_fmu

    unpacked.mkdir(exist_ok=True)
    open_fmu(path).write_to(unpacked)
    dae = casadi.DaeBuilder("model", str(unpacked))
    first = subjects[0]
    names = [f"{owner}{name}" for owner in owners(subjects) for name in first.states]
    order, function = [names.index(name) for name in dae.x()], dae.create("f", ["x", "u"], ["ode"])
    x, u = np.concatenate([one.points(_STATES, 2)[0] for one in subjects], 1), first.points(_STATES, 2)[1]
    known = np.concatenate([one.rates(one.points(_STATES, 2)[0], u) for one in subjects], 1)
    gaps = []
    for point, level, rate in zip(x, u, known, strict=True):
        inputs = _driven(first, level)
        found = np.array(function(point[order], [inputs[name] for name in dae.u()])).ravel()
        gaps.append(relative(found, rate[order]))
    return dae, max(gaps)


def _driven(subject: Subject, levels: np.ndarray) -> dict[str, float]:
    """The inputs by name: at these levels, and so much running into the states."""
    driven = {f"u.{n}": float(v) for n, v in zip(subject.inputs, levels, strict=True)}
    return driven | {f"infused.{n}": float(v) for n, v in zip(subject.states, subject.infused, strict=True)}
