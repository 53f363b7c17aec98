"""FMUs of random bundles in the hands of FMPy and CasADi, held against our own solution, Jacobian and proof.

    python -m benchmarks.exchange.fmus [COUNT] [--first SEED]

One line a bundle, the worst of each column at the end. Version, members and method come in turn. What is compared:

- `messages`: messages of FMPy's validate_fmu;
- `exchange`: states by FMPy's CVODE, and `stepped`, by co-simulation, against our solution at rtol 1e-10, under an infusion into
  every state and inputs at their levels; the first over each state's largest value, the second over the sum of its stated step
  error and 1e-8 of that value;
- `jacobian`: by getDirectionalDerivative and, row by row, by getAdjointDerivative; `casadi`: its Jacobian and rates; against
  ours, over the largest entry;
- `inequality`: the largest eigenvalue of L⁻¹(PJ + JᵀP + 2λP)L⁻ᵀ at states of the region, by `check_fmu`.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.exchange.random_bundles import choice_of, random_bundle
from exchange import Bundle, Selection, selected
from exchange.fmu.archive import open_fmu
from exchange.fmu.checked import check_fmu
from exchange.fmu.fmu import Fmu
from exchange.fmu.running import running
from exchange.selection import Selected
from hybrid import Dose, Exponential, Mesh, Schedule, Signal, conditions_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """What one FMU came to: 0 is best; NaN where there was nothing to compare."""

    messages: int
    exchange: float
    stepped: float
    jacobian: float
    casadi: float
    inequality: float
    seconds: float
    bytes: int


def figures(
    bundle: Bundle, folder: Path, *, fmi: int, member: int | None, step: str = "exponential", casadi: bool = True
) -> Figures:
    """Write one FMU, and have every client use it."""
    from fmpy.validation import validate_fmu

    path, began = folder / "tried.fmu", time.perf_counter()
    selection = Selection(member=member)
    Fmu(selection, fmi=fmi, step=step, replace=True).write(bundle, path)  # type: ignore[arg-type]  # of a benchmark's own loop
    seconds = time.perf_counter() - began
    chosen = selected(bundle, selection)
    exchange, stepped = simulated(path, chosen)
    checked = check_fmu(path, run=True, states=8)
    rebuilt = checked.rebuilt
    eigenvalue = np.nan if rebuilt is None or rebuilt.eigenvalue is None else rebuilt.eigenvalue
    jacobian = max(jacobians(path, chosen), 0.0 if rebuilt is None else rebuilt.off)
    imported = by_casadi(path, chosen, folder) if casadi else np.nan
    messages = len(validate_fmu(str(path)))
    return Figures(messages, exchange, stepped, jacobian, imported, eigenvalue, seconds, path.stat().st_size)


def _names(chosen: Selected) -> tuple[list[str], list[str]]:
    from exchange.fmu.names import part

    states, M = [part(name, "state") for name in chosen.model.backbone.states], len(chosen.members)
    owners = [f"member{m + 1}." for m in chosen.members] if M > 1 else [""]
    return [f"{owner}{name}" for owner in owners for name in states], [f"infused.{name}" for name in states]


def simulated(path: Path, chosen: Selected) -> tuple[float, float]:
    """ME and CS against our own solution: over the largest of each state, and over the stated error."""
    from fmpy import read_model_description, simulate_fmu

    description = read_model_description(str(path))
    start = {v.name: float(v.start) for v in description.modelVariables if v.start is not None and v.type != "Boolean"}
    nominal = {v.name: float(v.nominal) for v in description.modelVariables if v.nominal is not None}
    states, into = _names(chosen)
    stop = float(description.defaultExperiment.stopTime)
    rates = {name: 0.2 * nominal[states[k]] / stop for k, name in enumerate(into)}
    times = np.linspace(0.0, stop, 11)
    ours = solution(chosen, [start[name] for name in _levels(chosen)], list(rates.values()), times)
    errors = [f"step_error.{name}" if "." not in name else name.replace(".", ".step_error.", 1) for name in states]
    every = {"start_values": rates, "stop_time": stop, "output_interval": stop / 500}
    found = simulate_fmu(str(path), fmi_type="ModelExchange", relative_tolerance=1e-11, output=states, **every)
    stepped = simulate_fmu(str(path), fmi_type="CoSimulation", output=[*states, *errors], **every)
    if not np.isfinite(ours).all():
        return np.nan, np.nan  # our own solution ends: there is nothing to compare
    exchange, worst = 0.0, 0.0
    for k, name in enumerate(states):
        largest = float(np.abs(ours[:, k]).max()) or 1.0
        exchange = max(exchange, _worst(_at(found, name, times) - ours[:, k], largest))
        said = _at(stepped, errors[k], times) + 1e-8 * largest
        worst = max(worst, _worst(_at(stepped, name, times) - ours[:, k], said))
    return exchange, worst


def _worst(gap: Array, over: Array | float) -> float:
    """The largest, infinite where one is no number: `max` passes over NaN."""
    found = float((np.abs(gap) / over).max())
    return found if np.isfinite(found) else np.inf


def _at(result: Array, name: str, times: Array) -> Array:
    at = np.array([int(np.abs(result["time"] - t).argmin()) for t in times])  # type: ignore[call-overload]
    return np.asarray(result[name])[at]  # type: ignore[call-overload]


def _levels(chosen: Selected) -> list[str]:
    from exchange.fmu.names import part

    return [f"u.{part(name, 'input')}" for name in chosen.model.backbone.inputs]


def solution(chosen: Selected, levels: Sequence[float], rates: Sequence[float], times: Array) -> Array:  # (T, M·n)
    """Our own, by error control at 1e-10: inputs at their levels, and so much running into every state."""
    model, stop = chosen.model, float(times[-1])
    backbone = model.backbone
    doses = [
        Dose(state=s, time=0.0, amount=r * stop, duration=stop)
        for s, r in zip(backbone.states, rates, strict=True)
        if r
    ]
    inputs = {name: Signal([0.0], [level]) for name, level in zip(backbone.inputs, levels, strict=True)}
    schedule = Schedule(doses=tuple(doses), inputs=inputs)
    covariates = {name: [value] for name, value in chosen.covariates.items()}
    given = conditions_of(model, [schedule], [times.tolist()], covariates=covariates, mesh=Mesh(observed=True))
    field = model.bind(given.segments, chosen.theta[:, None], chosen.c[:, None])
    found = Exponential(rtol=1e-10).solve(field, chosen.x0[:, None])
    return found.states[:, 0].permute(1, 0, 2).reshape(len(times), -1).detach().numpy()


def jacobians(path: Path, chosen: Selected) -> float:
    """∂rates/∂states of the whole FMU at three states, block by block, against ours; off the blocks it is 0."""
    states, _ = _names(chosen)
    rates = [f"der({name})" for name in states]
    worst, draw = 0.0, np.random.default_rng(0)
    opened = open_fmu(path)
    levels = _levels(chosen)
    with running(opened) as fmu:
        fmu.start({})
        u = torch.from_numpy(fmu.get(levels)) if levels else torch.zeros(0, dtype=torch.float64)
        for _ in range(3):
            x = chosen.x0.numpy() + (1.0 + np.abs(chosen.x0.numpy())) * draw.uniform(-0.5, 0.5, chosen.x0.shape)
            fmu.set_states(dict(zip(states, x.reshape(-1).tolist(), strict=True)))
            known = whole_jacobian(chosen, x, u)
            mine = fmu.jacobian(rates, states)
            worst = max(worst, float(np.abs(mine - known).max()) / max(float(np.abs(known).max()), 1e-300))
            if fmu.has_adjoint:
                across = fmu.adjoint(rates, states)
                worst = max(worst, float(np.abs(across - mine).max()) / max(float(np.abs(known).max()), 1e-300))
    return worst


def whole_jacobian(chosen: Selected, x: Array, u: torch.Tensor) -> Array:  # (M·n, M·n)
    """Ours, of all members as one system."""
    side = chosen.model.at(chosen.theta[:, None], chosen.c[:, None])
    J = (
        side.jacobian(torch.from_numpy(x)[:, None], u.expand(len(x), 1, -1))
        .expand(len(x), 1, -1, -1)[:, 0]
        .detach()
        .numpy()
    )
    M, n = len(x), x.shape[1]
    found = np.zeros((M * n, M * n))
    for m in range(M):
        found[m * n : (m + 1) * n, m * n : (m + 1) * n] = J[m]
    return found


def by_casadi(path: Path, chosen: Selected, folder: Path) -> float:
    """Rates and Jacobian as CasADi's DaeBuilder imports them."""
    import casadi

    here = Path(tempfile.mkdtemp(dir=folder))
    open_fmu(path).write_to(here)
    dae = casadi.DaeBuilder("tried", str(here))
    function = dae.create("f", ["x", "u"], ["ode", "jac_ode_x"])
    x = chosen.x0.numpy() * 1.1 + 0.1
    inputs = dae.u()
    start = {name: float(dae.attribute("start", name)) for name in inputs}
    u = np.array([start[name] for name in inputs])
    rate, J = (np.asarray(one, dtype=np.float64) for one in function(x.reshape(-1), u))
    m = len(_levels(chosen))
    level = torch.tensor([start[name] for name in _levels(chosen)], dtype=torch.float64).reshape(m)
    known = whole_jacobian(chosen, x, level)
    side = chosen.model.at(chosen.theta[:, None], chosen.c[:, None])
    ours = side.rate(torch.from_numpy(x)[:, None], level.expand(len(x), 1, -1)).detach().numpy().reshape(-1)
    off = float(np.abs(J - known).max()) / max(float(np.abs(known).max()), 1e-300)
    return max(off, float(np.abs(rate.reshape(-1) - ours).max()) / max(float(np.abs(ours).max()), 1e-300))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of many; 1 where one is beyond what is asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exchange.fmus", description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=200)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = [one.name for one in fields(Figures)]
    found, failures = list[Figures](), 0
    for seed in range(options.first, options.first + options.count):
        bundle = random_bundle(seed)
        with tempfile.TemporaryDirectory() as folder:
            try:
                method = "rk4" if seed % 5 == 4 else "exponential"
                one = figures(bundle, Path(folder), fmi=3 - seed % 2, member=(0, None)[seed // 2 % 2], step=method)
            except Exception as error:  # a benchmark goes on, and counts
                failures += 1
                print(f"{seed}: {choice_of(seed)}: {type(error).__name__}: {str(error)[:300]}", flush=True)
                continue
        found.append(one)
        print(
            f"{seed}: {choice_of(seed)}: {', '.join(f'{n} {v:.3g}' for n, v in zip(names, astuple(one), strict=True))}",
            flush=True,
        )
    worst = [max((v for v in column if v == v), default=np.nan) for column in zip(*map(astuple, found), strict=True)]
    print(
        f"worst of {len(found)}, {failures} failed: {', '.join(f'{n} {v:.3g}' for n, v in zip(names, worst, strict=True))}"
    )
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
