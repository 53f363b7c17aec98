"""Values below a limit of quantification: the bias of M3 and of leaving them out (M1), on simulated studies.

    python benchmarks/censoring.py --studies 200 [--seconds 3000] [--json censoring.json]

Each study: 60 people × 8 samples of an oral dose, one compartment, CL and V log-normal between people, noise combined2; the
limit is the 30th percentile of what such studies measure. Fitted by marginal likelihood (Laplace, exact second derivatives),
from typical values 1.3 and 0.8 times the true ones. Printed: mean relative bias of each number over the studies and its
standard error.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

from hybrid import Concentration, Dose, HybridModel, Schedule, rollout
from learned import AdditiveProportional, Zero
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, Record, Search, fit_population, last

PEOPLE, TIMES, DOSE = 60, (0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 18.0, 24.0), 300.0
TRUE = {"ka": 1.5, "CL": 4.0, "V": 32.0, "omega(CL)": 0.3, "omega(V)": 0.2}
UNITS = {"time": "h", "dose": "mg", "concentration": "mg/L"}


def model(ka: float, CL: float, V: float, noise: tuple[float, float]) -> HybridModel:
    """A one-compartment model whose population has these typical values; CL and V vary between people, ka is shared."""
    backbone = OneCompartmentOral(parameters="clearance", typical={"ka": ka, "CL": CL, "V": V})
    population = LogNormalPopulation(backbone.physical, [None, 0.3, 0.2], learn_spread=True)
    return HybridModel(
        backbone,
        population,
        Zero(2, 0, 0),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([noise[0]], [noise[1]], [0.01]),
    )


def simulated(truth: HybridModel, people: int, generator: torch.Generator) -> np.ndarray:  # (N, T)
    """What these people would measure without a limit."""
    schedule = Schedule((Dose("gut", 0.0, DOSE),))
    blank = [Record(str(i), schedule, TIMES, [1.0] * len(TIMES), "concentration", units=UNITS) for i in range(people)]
    eta = torch.randn(1, people, truth.personal, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        run = rollout(truth, Cohort.of(blank, truth).conditions, eta)
        noise = torch.randn(run.mean.shape, generator=generator, dtype=torch.float64)
        found: np.ndarray = (run.mean + run.variance.sqrt() * noise)[0, ..., 0].numpy()
    return found


def fitted(records: list[Record], censoring: str) -> dict[str, float]:
    """The population's numbers by name, fitted to these records."""
    start = model(1.3 * TRUE["ka"], 1.3 * TRUE["CL"], 0.8 * TRUE["V"], (0.3, 0.15))
    cohort = Cohort.of(records, start, censoring=censoring)  # type: ignore[arg-type]
    found = last(fit_population(start, cohort, search=Search(steps=60), curvature="observed", tolerance=1e-3)).model
    names = found.population.estimates()
    return {name: float(names[name][1].detach()) for name in TRUE if name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no study after so many seconds")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    truth = model(TRUE["ka"], TRUE["CL"], TRUE["V"], (0.1, 0.1))
    limit = float(np.quantile(simulated(truth, 2000, torch.Generator().manual_seed(999)), 0.3))
    found: dict[str, list[dict[str, float]]] = {"m3": [], "m1": []}
    shares: list[float] = []
    began = time.perf_counter()
    for study in range(asked.studies):
        if time.perf_counter() - began > asked.seconds:
            break
        y = simulated(truth, PEOPLE, torch.Generator().manual_seed(study))
        below = y < limit
        shares.append(float(below.mean()))
        schedule = Schedule((Dose("gut", 0.0, DOSE),))
        records = [
            Record(
                str(i),
                schedule,
                TIMES,
                np.where(cut, np.nan, own),
                "concentration",
                units=UNITS,
                upper=np.where(cut, limit, np.nan),
            )
            for i, (own, cut) in enumerate(zip(y, below, strict=True))
        ]
        for censoring, every in found.items():
            every.append(fitted(records, censoring))
        if asked.json:
            asked.json.write_text(json.dumps({"limit": limit, "share": float(np.mean(shares)), "found": found}))
        print(study, {k: {n: round(v, 3) for n, v in every[-1].items()} for k, every in found.items()}, flush=True)
    count = len(shares)
    print(f"limit {limit:.3g} mg/L, {np.mean(shares):.1%} below it, {count} studies, {time.perf_counter() - began:.0f} s")
    for censoring, every in found.items():
        for name, true in TRUE.items():
            error = np.array([one[name] / true - 1.0 for one in every if name in one])
            if len(error):
                se = error.std(ddof=1) / math.sqrt(len(error)) if len(error) > 1 else math.nan
                print(f"{censoring} {name}: bias {error.mean():+.2%} (se {se:.2%})")


if __name__ == "__main__":
    main()
