"""What a step of a mechanism costs beside one of an MLP(8) of the same states: `python -m benchmarks.mechanism_steps`.

A thousand people with θ of their own, 50 steps, forward and backward to θ and weights; processor time with one thread, medians of
10 interleaved pairs, with a solver for each (a training loop) and with one for both, which forgets its operations every time.
"""

import statistics
import time

import torch
from torch import Tensor

from hybrid import (
    Concentration,
    Conditions,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    RungeKutta,
    Schedule,
    Solver,
    conditions_of,
    rollout,
)
from learned import MLP, AdditiveProportional
from physics import Backbone, LogNormalPopulation, Mechanism, MichaelisMenten, OneCompartmentOral

Problem = tuple[HybridModel, Conditions, Tensor]
PEOPLE, STEPS, PAIRS = 1000, 50, 10


def problem(known: Backbone | Mechanism, residual: MLP | None, step: float) -> Problem:
    """The model, what is given about its people, and their coordinates."""
    population = LogNormalPopulation(known, spread={p.name: 0.3 for p in known.physical})
    noise = AdditiveProportional([0.5], [0.1], [0.03])
    model = HybridModel(known, population, residual, observation=Concentration("plasma", "V", "c"), noise=noise)
    times = [[step * k for k in range(1, STEPS + 1)]] * PEOPLE
    given = conditions_of(model, [Schedule((Dose("gut", 0.0, 300.0),))] * PEOPLE, times, mesh=Mesh(step))
    generator = torch.Generator().manual_seed(0)
    return model, given, 0.1 * torch.randn(1, PEOPLE, model.personal, generator=generator, dtype=torch.float64)


def cost(one: Problem, solver: Solver) -> float:
    """Microseconds of processor time for a step."""
    model, given, personal = one
    personal = personal.clone().requires_grad_()
    begin = time.process_time()
    loss = rollout(model, given, personal, solver).states.square().mean()
    torch.autograd.grad(loss, [personal, *model.residual.parameters()], allow_unused=True)
    return 1e6 * (time.process_time() - begin) / STEPS


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    pair = problem(MichaelisMenten(), None, 0.01), problem(OneCompartmentOral(), MLP(hidden=(8,)), 0.1)
    makers = {"rk4": lambda: RungeKutta("rk4"), "tsit5": lambda: RungeKutta("tsit5"), "Exponential": Exponential}
    for name, make in makers.items():
        both: Solver = make()
        for how, solvers in (("each its own solver", (make(), make())), ("one for both", (both, both))):
            runs = [[cost(one, solver) for one, solver in zip(pair, solvers, strict=True)] for _ in range(PAIRS + 2)][
                2:
            ]
            mechanism, layers = (statistics.median(column) for column in zip(*runs, strict=True))
            ratio = statistics.median(a / b for a, b in runs)
            print(f"{name:12} {how:20} {mechanism:6.0f} µs {layers:6.0f} µs  ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
