"""Populations: from how far off a fit still arrives, and what a large one costs.

    python -m benchmarks.populations starts [DRAWS]     # three models, every number times 3^U(-1, 1), 200 draws of each
    python -m benchmarks.populations thousand           # 1,000 people, two compartments by mouth, FOCE

Data are simulated from the model itself, with fixed seeds. Times are the processor's, with the wall clock and the load beside
them, since a machine may be shared.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from hybrid import Concentration, Dose, HybridModel, Schedule, rollout
from learned import Combined2, select
from physics import Compartments, LogNormalPopulation, Mechanism, Parameter
from physics.shelf import OneCompartmentByMouth, TwoCompartments, TwoCompartmentsByMouth
from training import Cohort, Record, Search, best_of, fit_population, last, several

AT_ONCE = 20  # starts in one batch


class Transit(Compartments):
    """What is swallowed goes through two transit compartments to the plasma, all three at one rate."""

    states = {"gut": "mg", "first": "mg", "second": "mg", "plasma": "mg"}
    time_unit = "h"
    amount = 100.0
    starts_empty = True
    starts = (("plasma", "V"),)
    flows = (("gut", "first", "ktr"), ("first", "second", "ktr"), ("second", "plasma", "ktr"), ("plasma", None, "CL/V"))
    physical = (
        Parameter("ktr", "/h", 2.0, 0.05, 20.0),
        Parameter("CL", "L/h", 2.7, 0.005, 1000.0),
        Parameter("V", "L", 31.5, 0.5, 2000.0),
    )


@dataclass(frozen=True)
class Case:
    """A model whose typical values are the truth, how far people differ, and when they are sampled after what dose."""

    mechanism: type[Mechanism]
    spread: dict[str, float]
    volume: str
    times: tuple[float, ...]
    into: str
    dose: float

    def model(self) -> HybridModel:
        """The truth, ω and noise to be learned."""
        population = LogNormalPopulation(self.mechanism(), self.spread, learn_spread=True)
        noise = Combined2([0.05], [0.1], [1e-4])
        return HybridModel(self.mechanism(), population, observation=Concentration("plasma", self.volume), noise=noise)

    def people(self, count: int, seed: int) -> list[Record]:
        """So many, simulated."""
        schedule, units = Schedule((Dose(self.into, 0.0, self.dose),)), {"time": "h", "concentration": "mg/L"}
        empty = [
            Record(str(i), schedule, self.times, [1.0] * len(self.times), ("concentration",), units=units) for i in range(count)
        ]
        model, generator = self.model(), torch.Generator().manual_seed(seed)
        cohort = Cohort.of(empty, model)
        eta = torch.randn(1, count, model.personal, generator=generator, dtype=torch.float64)
        run = rollout(model, cohort.conditions, eta)
        noise = torch.randn(run.mean[0].shape, generator=generator, dtype=torch.float64)
        y = (run.mean[0] + run.variance[0].sqrt() * noise).abs().detach().numpy()
        return [replace(record, values=y[i]) for i, record in enumerate(empty)]


CASES = {
    "one compartment": Case(
        OneCompartmentByMouth,
        {"ka": 0.5, "CL": 0.3, "V": 0.2},
        *("V", (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 24.0), "gut", 320.0),
    ),
    "two compartments": Case(
        TwoCompartments,
        {"CL": 0.3, "V1": 0.2, "Q": 0.3, "V2": 0.3},
        *("V1", (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 24.0), "plasma", 1000.0),
    ),
    "transit absorption": Case(
        Transit,
        {"ktr": 0.4, "CL": 0.3, "V": 0.2},
        *("V", (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 12.0, 24.0), "gut", 100.0),
    ),
}
LARGE = Case(
    TwoCompartmentsByMouth,
    {"ka": 0.5, "CL": 0.3, "V1": 0.2, "Q": 0.3, "V2": 0.3},
    *("V1", (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 24.0), "gut", 1000.0),
)


def starts(draws: int, people: int = 24) -> None:
    """How many of the starts end within .1 of the best objective known, and what is said of the others."""
    for name, case in CASES.items():
        model = case.model()
        cohort = Cohort.of(case.people(people, seed=1), model)
        many = several(model, draws + 1, torch.Generator().manual_seed(0), spread=3.0)
        begun, ends, why = time.process_time(), [], []
        for first in range(1, draws + 1, AT_ONCE):  # the first of all is the truth, which is no draw
            rows = torch.arange(first, min(first + AT_ONCE, draws + 1))
            found = last(fit_population(select(many, rows), cohort, search=Search(steps=200)))
            best = best_of(found)
            ends.append(best.objective)
            why += list(found.step.ended)  # type: ignore[union-attr]
        end = torch.cat(ends)
        there = end - end.min() <= 0.1
        others = [f"{float(end[k]):.2f} {why[k]}" for k in torch.nonzero(~there)[:, 0].tolist()]
        counts = {one: why.count(one) for one in sorted(set(why))}
        spent = time.process_time() - begun
        arrived = f"{int(there.sum())} of {draws} within .1 of {float(end.min()):.3f}"
        print(f"{name}: {arrived}; {counts}; {spent:.0f} s of the processor", others, flush=True)


def thousand() -> None:
    """1,000 people from a start 1.4 times off in every number."""
    model = LARGE.model()
    cohort = Cohort.of(LARGE.people(1000, seed=1), model)
    start = several(model, 2, torch.Generator().manual_seed(0), spread=1.4)
    processor, wall = time.process_time(), time.perf_counter()
    step = last(fit_population(select(start, torch.tensor([1])), cohort)).step
    spent, took = time.process_time() - processor, time.perf_counter() - wall
    load, value = os.getloadavg()[0], 1000 * float(step.loss[0])  # type: ignore[union-attr]
    print(f"1,000 people: {step.index} evaluations, {step.ended}, -log L {value:.2f}")  # type: ignore[union-attr]
    print(f"{spent:.0f} s of the processor, {took:.0f} s by the clock, {torch.get_num_threads()} threads, load {load:.1f}")


def main(given: Sequence[str]) -> None:
    """Whichever is asked for."""
    if given[:1] == ["starts"]:
        starts(int(given[1]) if len(given) > 1 else 200)
    elif given[:1] == ["thousand"]:
        thousand()
    else:
        print(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
