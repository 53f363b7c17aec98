"""The public doors on a GPU beside the same on the processor, float64: are the numbers the same, and which is faster?

People, model and draws are those of `personalise.py`. Whatever is given is the processor's, moved: every answer is compared
with the processor's before and after it is timed. Where a graph can be captured, it is run, and beside it the same operation
by operation. Sizes are members × people. `--device cpu` shows what the script does where there is no GPU.
"""

import argparse
import copy
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks import race
from benchmarks.peers import ours
from benchmarks.peers.reference import Answer
from benchmarks.personalise import model, people
from hybrid import Exponential, HybridModel, Mesh, RungeKutta, Solver, Torchdiffeq, rollout
from learned import Ensemble
from training import Cohort, Looks, Objective, Search, fit, gaussian_nll, personalise
from training.machinery.unit import unit

VALUE, GRADIENT = 1e-8, 1e-6  # relative to the largest: sums in another order, and nothing else
MEMBERS = 8
STEPS = 40
RK4 = RungeKutta("rk4")
MESH = replace(ours.COHORT.mesh, step=0.6)  # a fit moves rates, and its steps must be fine enough for those
OBSERVED = replace(MESH, observed=True)  # torchdiffeq knows states at the ends of steps alone
SOLVERS: dict[str, Solver] = {
    "rk4": RK4,
    "tsit5 to a tolerance": RungeKutta("tsit5", rtol=1e-4),
    "exponential": Exponential(),
    "exponential to a tolerance": Exponential(rtol=1e-4),
    "torchdiffeq rk4": Torchdiffeq("rk4"),
    "torchdiffeq dopri5": Torchdiffeq("dopri5"),
}
# what was found, one number of it, and gradients or other parts of it by name
Found = tuple[Tensor, Tensor, dict[str, Tensor | None]]


def answer(raw: object) -> Answer:
    """As float64 arrays, what was simulated as a share of its largest value."""
    states, loss, gradients = raw  # type: ignore[misc]
    arrays = {name: g.detach().cpu().numpy() for name, g in gradients.items() if g is not None and g.numel()}
    found = states.detach().cpu().numpy()
    return Answer(found / np.abs(found).max(), float(loss.detach().sum()), arrays)


def waited(work: Callable[[], Found], device: torch.device) -> race.Work:
    """The work, and all of it: a GPU answers before it has computed."""

    def done() -> object:
        found = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return found

    return done


def contestant(name: str, work: Callable[[], Found], device: torch.device) -> race.Contestant:
    return race.Contestant(name, waited(work, device), answer, ours=True)


def gradient(stack: HybridModel, cohort: Cohort, solver: Solver, *, capture: bool) -> tuple[Callable[[], Found], str]:
    """What every step of a fit does, and how it runs."""
    N, d = cohort.conditions.size, stack.population.dimension
    personal = torch.zeros(stack.members, N, d, dtype=torch.float64, device=cohort.y.device, requires_grad=True)
    leaves = {**dict(stack.named_parameters()), "personal": personal}
    seen: list[Tensor] = []

    def objective() -> Tensor:
        run = rollout(stack, cohort.conditions, personal, solver)
        seen[:] = [run.mean.detach()]
        return (gaussian_nll(cohort.y, run.mean, run.variance) - stack.log_prior(personal)).mean(1)

    whole = unit(objective, list(leaves.values()), capture=capture)

    def work() -> Found:
        loss = whole()
        return seen[0], loss, {name: p.grad for name, p in leaves.items()}

    return work, "one graph" if whole.captured else "operation by operation"


def simulation(stack: HybridModel, cohort: Cohort) -> Callable[[], Found]:
    def work() -> Found:
        with torch.no_grad():
            zero = cohort.y.new_zeros(stack.members, cohort.conditions.size, stack.population.dimension)
            run = rollout(stack, cohort.conditions, zero, RK4)
            return run.mean, run.mean.mean(), {"variance": run.variance}

    return work


def whole_fit(stack: HybridModel, cohort: Cohort, steps: int) -> Callable[[], Found]:
    def work() -> Found:
        *_, step = fit(stack, cohort, objective=Objective(), search=Search(steps=steps), looks=Looks(every=steps))
        return step.best.personal, step.loss, dict(step.best.model.named_parameters())

    return work


def new_people(stack: HybridModel, cohort: Cohort) -> Callable[[], Found]:
    def work() -> Found:
        found = personalise(stack, cohort, solver=RK4)
        return found.mode, found.objective, {"covariance": found.covariance}

    return work


def main() -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device", default="cuda", type=torch.device)
    own, rest = parser.parse_known_args()
    setup = race.settings("devices", f"{__doc__}\n--device DEVICE: the other one (cuda)", rest)
    device = own.device
    if device.type == "cuda" and not torch.cuda.is_available():
        print("devices: torch finds no CUDA device here; run it where there is one, with a build of torch for CUDA")
        return race.SKIPPED
    report = race.Report("devices", "The public doors on a GPU and on the processor (float64)")
    if device.type == "cuda":
        report.notes.append(f"{torch.cuda.get_device_name(device)}.")
    template = model()
    most = 256 if setup.quick else 2048
    setup.progress(f"devices: simulating {most:,} people")
    records, _ = people(template, most)

    def both(members: int, count: int, mesh: Mesh = MESH) -> list[tuple[str, HybridModel, Cohort, torch.device]]:
        stack = Ensemble(members).stack(template, torch.Generator().manual_seed(1))
        cohort = Cohort.of(records[:count], stack, mesh)
        moved = copy.deepcopy(stack).to(device), cohort.to(device)
        return [("processor", stack, cohort, torch.device("cpu")), (f"{device.type}", *moved, device)]

    def compared(case: str, made: list[race.Contestant], *, loosely: float = 1.0) -> None:
        here, *others = made
        right = answer(here.work())
        rows = race.race(made, right, case, report, setup, value=loosely * VALUE, gradient=loosely * GRADIENT)
        times = {r.name: r.median for r in rows if r.median}
        setup.progress(f"devices, {case}: " + ", ".join(f"{name} {t:.4g} ms" for name, t in times.items()))
        if here.name in times and len(times) > 1:
            best = min(times[c.name] for c in others if c.name in times)
            report.figures[f"{case}: processor's time ÷ {device.type}'s"] = times[here.name] / best

    def of_gradient(case: str, members: int, count: int, solver: Solver, mesh: Mesh = MESH) -> None:
        made = []
        for name, stack, cohort, where in both(members, count, mesh):
            for capture in (False, True) if where.type == "cuda" else (False,):
                work, how = gradient(stack, cohort, solver, capture=capture)
                if not capture or how == "one graph":
                    made.append(contestant(name if where.type == "cpu" else f"{name}, {how}", work, where))
                else:
                    report.notes.append(f"{case}: no graph could be captured.")
        # steps to a tolerance ask whether an error is small enough: rounding decides otherwise now and then
        compared(case, made, loosely=1e4 if "tolerance" in case or "dopri5" in case else 1.0)

    def of_simulation(case: str, members: int, count: int) -> None:
        compared(case, [contestant(name, simulation(s, c), where) for name, s, c, where in both(members, count)])

    def of_fit(case: str, members: int, count: int) -> None:
        made = [contestant(name, whole_fit(s, c, STEPS), where) for name, s, c, where in both(members, count)]
        compared(case, made, loosely=1e2)

    def of_people(case: str, members: int, count: int) -> None:
        made = [contestant(name, new_people(s, c), where) for name, s, c, where in both(members, count)]
        compared(case, made, loosely=1e2)

    sizes = [count for count in (12, 256, 2048) if count <= most]
    cases: list[tuple[str, Callable[[str], None]]] = [
        *(_sized("value and gradient", of_gradient, m, n, RK4) for m, n in ((56, 12), *((MEMBERS, n) for n in sizes))),
        *(_sized("simulation", of_simulation, MEMBERS, n) for n in sizes),
        *(_sized("personalise", of_people, 1, n) for n in sizes),
        *(_sized(f"fit, {STEPS} steps", of_fit, MEMBERS, n) for n in sizes),
        *(_sized(name, of_gradient, MEMBERS, 64, solver, OBSERVED) for name, solver in SOLVERS.items()),
    ]
    for case, run in cases:
        try:
            run(case)
        except (RuntimeError, ValueError) as error:  # the other cases are measured all the same
            report.wrong = True
            report.notes.append(f"{case}: {type(error).__name__}: {str(error)[:500]}\n")
            setup.progress(f"devices, {report.notes[-1]}")
    return setup.finish(report)


def _sized(
    name: str, run: Callable[..., None], members: int, count: int, *more: object
) -> tuple[str, Callable[[str], None]]:
    return f"{name}, {members} × {count:,}", lambda case: run(case, members, count, *more)


if __name__ == "__main__":
    sys.exit(main())
