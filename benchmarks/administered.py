"""Lag, transit and shared θ come back: simulated cohorts, each fitted, every parameter against its truth in standard errors.

Each cohort: 40 people, 100 mg by mouth, 10 samples; a depot that empties through 2 transits into the plasma, all at ktr (learned,
shared by everyone), CL and V log-normal (.25, .2), the lag log-normal (.2), constant noise. The spread is learned. FOCEI.
Reported: z = (log estimate − log truth)/standard error for each, their largest and their mean over cohorts. To reach: no |z|
above 3.5, and |mean z| within .45 of 50 cohorts.

    python benchmarks/administered.py --cohorts 50
"""

import argparse
import math
import time

import numpy as np
import torch

from hybrid import Concentration, Dose, Exponential, HybridModel, Schedule, simulate
from learned import AdditiveProportional
from physics import Administered, Compartments, LogNormalPopulation, Parameter
from training import Cohort, Record, Search, fit_population, laplace_marginal

TIMES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 24.0)
TRUTH = {"ktr": 3.0, "CL": 3.0, "V": 30.0, "Tlag": 0.6}
PEOPLE = 40


class Chain(Compartments):
    """A depot that empties into the plasma through two transits, all at one rate."""

    time_unit = "h"
    states = dict.fromkeys(("depot", "first", "second", "plasma"), "mg")
    flows = (("depot", "first", "ktr"), ("first", "second", "ktr"), ("second", "plasma", "ktr"), ("plasma", None, "CL/V"))
    amount = 100.0
    starts_empty = True

    def __init__(self, *physical: Parameter) -> None:
        self.physical = physical
        super().__init__()


def model_of(values: dict[str, float]) -> HybridModel:
    """A chain of three equal rates into the plasma, whose doses arrive late."""
    low, high = {name: v / 30.0 for name, v in TRUTH.items()}, {name: v * 30.0 for name, v in TRUTH.items()}
    units = {"ktr": "/h", "CL": "L/h", "V": "L", "Tlag": "h"}
    own = {n: Parameter(n, units[n], values[n], low[n], high[n]) for n in TRUTH}
    chain = Chain(own["ktr"], own["CL"], own["V"])
    backbone = Administered(chain, lag={"depot": own["Tlag"]})
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone, {"ktr": None, "CL": 0.25, "V": 0.2, "Tlag": 0.2}, learn_spread=True),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.05], [0.05], [0.002]),
    )


def cohort_of(model: HybridModel, seed: int) -> list[Record]:
    """People drawn from the model."""
    generator = torch.Generator().manual_seed(seed)
    theta = model.theta(torch.randn(1, PEOPLE, model.personal, generator=generator, dtype=torch.float64), {}).detach()
    schedule = Schedule((Dose("depot", 0.0, 100.0),))
    states = simulate(model, [schedule] * PEOPLE, [list(TIMES)] * PEOPLE, theta)
    mean = model.observation.mean(states, theta).detach()
    noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    y = (mean + model.noise.variance(mean, states, mean[..., :0]).detach().sqrt() * noise)[0].numpy()
    return [Record(f"{i}", schedule, np.array(TIMES), y[i], ("concentration",)) for i in range(PEOPLE)]


def errors_of(model: HybridModel, cohort: Cohort, start: torch.Tensor) -> list[float]:
    """Standard errors of log θ: the inverse of the marginal likelihood's Hessian in all that was learned, by central differences
    of its exact gradient.
    """
    for name in model.population.by_marginal:
        model.population.get_parameter(name).requires_grad_()
    learned = [p for p in model.parameters() if p.requires_grad]
    sizes = [p.numel() for p in learned]

    def slope() -> torch.Tensor:
        value = laplace_marginal(model, cohort, start=start, solver=Exponential()).value.sum()
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, learned)])

    rows, h = [], 1e-3
    for p, size in zip(learned, sizes, strict=True):
        for k in range(size):
            ends = []
            for side in (h, -2.0 * h, h):
                with torch.no_grad():
                    p.view(-1)[k] += side
                if side != h or not ends:
                    ends.append(slope())
            rows.append((ends[0] - ends[1]) / (2.0 * h))
    hessian = torch.stack(rows)
    covariance = torch.linalg.inv(0.5 * (hessian + hessian.mT))
    eta = torch.zeros(1, 1, model.personal, dtype=torch.float64)
    jacobian = []
    for j in range(len(TRUTH)):
        slopes = torch.autograd.grad(model.theta(eta, {})[0, 0, j].log(), learned, allow_unused=True)
        each = [torch.zeros_like(p) if g is None else g for p, g in zip(learned, slopes, strict=True)]
        jacobian.append(torch.cat([g.reshape(-1) for g in each]))
    J = torch.stack(jacobian)
    return [float(v) for v in (J @ covariance @ J.mT).diagonal().sqrt()]


def main() -> None:
    """Fit and report."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--cohorts", type=int, default=50)
    ask.add_argument("--first", type=int, default=0)
    asked = ask.parse_args()
    found: dict[str, list[float]] = {name: [] for name in TRUTH}
    start = {name: v * factor for (name, v), factor in zip(TRUTH.items(), (0.7, 1.3, 0.8, 1.4), strict=True)}
    solver = Exponential()  # exact for a linear model, whatever a shared rate becomes: it has no spread to make a mesh for
    for seed in range(asked.first, asked.first + asked.cohorts):
        began = time.perf_counter()
        truth, model = model_of(TRUTH), model_of(start)
        cohort = Cohort.of(cohort_of(truth, seed), model)
        *_, last = fit_population(model, cohort, search=Search(solver=solver, steps=150))
        errors, said = errors_of(last.best.model, cohort, last.best.personal), []
        values = last.best.model.theta(torch.zeros(1, 1, model.personal, dtype=torch.float64), {})[0, 0].tolist()
        for (name, value), one, error in zip(TRUTH.items(), values, errors, strict=True):
            z = (math.log(one) - math.log(value)) / error
            found[name].append(z)
            said.append(f"{name} {one:.4g} (z {z:+.2f})")
        took = time.perf_counter() - began
        print(f"cohort {seed}: {', '.join(said)}; {last.ended[0]}, {last.index} steps, {took:.0f} s", flush=True)
    for name, z in found.items():
        print(f"{name}: largest |z| {max(map(abs, z)):.2f}, mean z {sum(z) / len(z):+.2f} of {len(z)} cohorts")


if __name__ == "__main__":
    main()
