"""1,000 new people, 10 concentrations each, θ of size 3: modes and Laplace covariances.

The model is one compartment with absorption plus an MLP residual; the truth is simulated from the same model with people
drawn from its population, and noise. Claim: less than 10 s on 2 cores.
"""

import sys
import time

import numpy as np
import torch

from benchmarks import race
from benchmarks.peers import ours
from hybrid import Concentration, Dose, HybridModel, Schedule, conditions_of, rollout
from learned import MLP, AdditiveProportional
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, Record, personalise

WANTED = 10.0
HIDDEN = (16, 16)
UNITS = {"time": "h", "dose": "mg", "concentration": "mg/L"}


def model() -> HybridModel:
    """The model of the population, everything but the people known."""
    backbone = OneCompartmentOral(ka=(0.3, 4.0), ke=(0.02, 0.25), V=(5.0, 200.0))
    residual = MLP(states=2, hidden=HIDDEN, separable=True, state_scale=256.0, rate_scale=0.06)
    return HybridModel(
        backbone,
        LogNormalPopulation(backbone, spread={"ka": 0.4, "ke": 0.3, "V": 0.25}),
        residual,
        observation=Concentration("plasma", "V", channel="concentration", unit="mg/L"),
        noise=AdditiveProportional(additive=[0.2], proportional=[0.1], floor=[0.05]),
    )


def people(model: HybridModel, count: int) -> tuple[list[Record], torch.Tensor]:
    """Simulated records and the true coordinates (N, d) behind them."""
    generator = torch.Generator().manual_seed(4)
    random = np.random.default_rng(4)
    truth = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    schedules = [Schedule((Dose("gut", 0.0, float(d)),)) for d in random.uniform(200.0, 400.0, count)]
    times = np.sort(random.uniform(0.2, 24.0, (count, 10)), axis=1)
    with torch.no_grad():
        conditions = conditions_of(model, schedules, times.tolist(), mesh=ours.COHORT.mesh)
        run = rollout(model, conditions, truth[None], ours.COHORT.solver)
        noise = torch.randn(run.mean.shape, generator=generator, dtype=torch.float64)
        values = (run.mean + run.variance.sqrt() * noise)[0].numpy()
    records = [Record(str(i), schedules[i], times[i], values[i], ("concentration",), units=UNITS) for i in range(count)]
    return records, truth


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("personalise", __doc__)
    report = race.Report("personalise", "A thousand new people")
    count = 50 if setup.quick else 1000
    template = model()
    setup.progress(f"personalise: simulating {count:,} people")
    records, truth = people(template, count)
    times = []
    for run in range(setup.runs):
        setup.progress(f"personalise: run {run + 1} of {setup.runs}")
        begin = time.perf_counter()
        cohort = Cohort.of(records, template, ours.COHORT.mesh)
        found = personalise(template, cohort, solver=ours.COHORT.solver)
        times.append(time.perf_counter() - begin)
    off = (found.mode[0] - truth)[..., None]  # (N, 3, 1)
    distance = (off.mT @ torch.linalg.solve(found.covariance[0], off))[:, 0, 0]
    # with a Laplace posterior that is right, the truth is inside the 90 % ellipsoid of χ² with 3 degrees for 90 %
    inside = float((distance < 6.251).double().mean())
    converged = float(found.converged.double().mean())
    seconds = race.middle(times)
    report.figures = {
        f"{count:,} people, s, median": seconds,
        "least, s": min(times),
        "most, s": max(times),
        "share converged": converged,
        "share whose truth is in the 90 % ellipsoid": inside,
    }
    report.wrong = converged < 0.99 or not 0.8 < inside < 0.97
    report.target(f"{count:,} people in less than {WANTED:g} s", f"{seconds:.1f} s", seconds < WANTED)
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
