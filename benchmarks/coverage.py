"""Do 95 % intervals from standard errors hold the truth in 95 % of studies? Simulated studies, each fitted by two approximations.

    python -m benchmarks.coverage --studies 1000 --file runs/coverage.jsonl --seconds 600

One line of the file is one study; what is there is not done again, so that it runs in pieces, and several processes may each
take a part (`--part 0/2`, `--part 1/2`, with a file each). With `--read` it only prints the table of the files.

A study: 60 people, one oral dose of 320 mg, eight samples each; ka shared, CL and V log-normal and correlated, additive noise.
Drawn by the closed form in numpy. Claims: fixed effects 92–97.5 %, log ω and artanh ρ 90.5–97.5 %, none farther than 3 binomial
standard deviations from the same interval computed from the likelihood by quadrature (its own optimum, its own curvature).
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.race import MISSED, OK
from hybrid import Concentration, Dose, HybridModel, RungeKutta, Schedule, SimulationError
from learned import Constant
from physics import LogNormal, MixedPopulation, OneCompartmentOral, Shared
from training import Cohort, Record, last
from training.inference import Approximation, polish, standard_errors

PEOPLE, DOSE = 60, 320.0
TIMES = np.array([0.25, 0.75, 1.5, 3.0, 5.0, 8.0, 12.0, 24.0])
TRUTH = {"ka": 1.5, "CL": 2.8, "V": 32.0, "omega(CL)": 0.3, "omega(V)": 0.2, "corr(CL,V)": 0.5, "additive(concentration)": 0.5}
FIXED, SPREAD = (0.92, 0.975), (0.905, 0.975)
BY: tuple[tuple[Approximation, int], ...] = (("focei", 1), ("quadrature", 7))
UNITS = {"time": "h", "concentration": "mg/L", "dose": "mg"}


def model_of() -> HybridModel:
    """At the truth: a search from there finds the optimum that a fit would, in fewer steps."""
    backbone = OneCompartmentOral(
        parameters="clearance", ka=(0.02, 100.0), CL=(0.03, 300.0), faster=None, typical={n: TRUTH[n] for n in ("ka", "CL", "V")}
    )
    population = MixedPopulation(
        backbone,
        {"ka": Shared(), "CL": LogNormal(TRUTH["omega(CL)"]), "V": LogNormal(TRUTH["omega(V)"])},
        correlated=[("CL", "V")],
        omega={("CL", "V"): TRUTH["corr(CL,V)"] * TRUTH["omega(CL)"] * TRUTH["omega(V)"]},
    )
    noise = Constant([TRUTH["additive(concentration)"]], [1e-6])
    return HybridModel(backbone, population, observation=Concentration("plasma", "V"), noise=noise)


def study(seed: int) -> list[Record]:
    """Sixty people, by the closed form."""
    rng = np.random.default_rng([17, seed])
    one, other = rng.standard_normal((2, PEOPLE))
    rho = TRUTH["corr(CL,V)"]
    CL = TRUTH["CL"] * np.exp(TRUTH["omega(CL)"] * one)
    V = TRUTH["V"] * np.exp(TRUTH["omega(V)"] * (rho * one + math.sqrt(1.0 - rho**2) * other))
    ka, ke = TRUTH["ka"], (CL / V)[:, None]
    mean = DOSE * ka / (V[:, None] * (ka - ke)) * (np.exp(-ke * TIMES) - np.exp(-ka * TIMES))
    y = mean + TRUTH["additive(concentration)"] * rng.standard_normal(mean.shape)
    schedule = Schedule((Dose("gut", 0.0, DOSE),))
    return [Record(f"P{i}", schedule, TIMES, row[:, None], ("concentration",), units=UNITS) for i, row in enumerate(y)]


def judged(seed: int) -> dict[str, Any]:
    """One study: estimate and interval of everything by either approximation, or why there is none."""
    line: dict[str, Any] = {"seed": seed}
    model, solver = model_of(), RungeKutta("rk4")
    cohort = Cohort.of(study(seed), model)
    start = None
    for approximation, nodes in BY:
        try:
            how: dict[str, Any] = {"approximation": approximation, "nodes": nodes, "solver": solver}
            fitted = last(polish(model, cohort, start=start, tolerance=1e-4, **how))
            found = standard_errors(fitted.model, cohort, start=fitted.personal, **how)
        except SimulationError as error:
            line[approximation] = str(error)
            continue
        model, start = fitted.model, fitted.personal
        ends = found.interval(0.95)[0].tolist()
        line[approximation] = {
            "value": dict(zip(found.names, found.value[0].tolist(), strict=True)),
            "interval": dict(zip(found.names, ends, strict=True)),
            "away": float(found.away[0]),
        }
    return line


def table(lines: list[dict[str, Any]]) -> tuple[str, bool]:
    """How often each interval holds the truth, in Markdown, and whether all of it is as claimed."""
    rows = ["| | FOCEI | quadrature | differ by, in binomial sd | claim |", "|---|---|---|---|---|"]
    good = True
    whole = [line for line in lines if all(isinstance(line[a], dict) and line[a]["away"] < 0.01 for a, _ in BY)]
    n = len(whole)
    for name, truth in TRUTH.items():
        shares = []
        for approximation, _ in BY:
            ends = [line[approximation]["interval"][name] for line in whole]
            shares.append(sum(low <= truth <= high for low, high in ends) / max(1, n))
        low, high = SPREAD if name.startswith(("omega", "corr")) else FIXED
        apart = (shares[0] - shares[1]) / math.sqrt(max(1e-9, shares[1] * (1.0 - shares[1])) / max(1, n))
        fine = low <= shares[0] <= high and abs(apart) <= 3.0
        good = good and fine
        mark = "" if fine else " **missed**"
        rows.append(f"| {name} | {shares[0]:.1%} | {shares[1]:.1%} | {apart:+.1f} | {low:.1%}–{high:.1%}{mark} |")
    rows.append(f"\n{n} studies; {len(lines) - n} more ended beside an optimum, or without one, under either approximation.")
    return "\n".join(rows), good


def main() -> int:
    """Go on with the file until all studies of this part are there, or the time is over; print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.split("\n")[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--file", type=Path, nargs="+", default=[Path("runs/coverage.jsonl")], help="the first is written")
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--part", default="0/1", help="k/K: every K-th study from the k-th on")
    parser.add_argument("--read", action="store_true", help="only the table of what there is")
    a = parser.parse_args()
    missing = [str(file) for file in a.file if not file.exists()]
    if a.read and missing:
        parser.error(f"--read: there is no {', '.join(missing)}")
    torch.set_num_threads(1)
    k, K = (int(v) for v in a.part.split("/"))
    lines = [json.loads(text) for file in a.file if file.exists() for text in file.read_text().splitlines()]
    begun, done = time.monotonic(), {line["seed"] for line in lines}
    a.file[0].parent.mkdir(parents=True, exist_ok=True)
    for seed in range(k, 0 if a.read else a.studies, K):
        if seed in done:
            continue
        if time.monotonic() - begun > a.seconds:
            break
        lines.append(judged(seed))
        with a.file[0].open("a") as out:
            out.write(json.dumps(lines[-1]) + "\n")
    text, good = table(lines)
    print(text)
    return OK if good else MISSED


if __name__ == "__main__":
    sys.exit(main())
