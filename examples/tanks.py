"""Two coupled tanks that overflow: a proof for the learned model, and what it costs in error and coverage.

    python examples/tanks.py              # three seeds, about four minutes on one core
    python examples/tanks.py --quick      # one seed, two records and few steps

The recipe, levels h in cm, time in min, pump u in V, tanks of one area:

    dh₁ = (g u − a₁ √h₁ − o₁) dt + s dW₁,   o₁ = k (h₁ − H)₊   spills over the rim of the upper tank, 60 % of it into the lower
    dh₂ = (a₁ √h₁ + 0.6 o₁ − a₂ √h₂ − o₂) dt + s dW₂,   o₂ = k (h₂ − H)₊   spills out of the lower tank

with g = 1, a₁ = 1.5, a₂ = 1.4, H = 10, k = 1, s = 0.05 and levels that are measured every minute with a standard deviation of
0.1 cm. The tanks begin empty, and the pump takes another voltage every six minutes. What is known is written down as one would
without a look at the data: two linear tanks, their rates the slopes at 5 cm. That outflow goes by a root and that tanks have rims
is learned in two ways: by one network that sees and changes everything, and by a sum of two, of which ε₁ sees the upper level and
acts on both, and ε₂ sees the lower level and acts on it alone.

Four records of 48 minutes teach. Two ensembles of five members are trained from the same weights on the same records: one free,
one with the penalty that keeps it where it can be certified. Both are judged on records that nobody learned from: eight with
pumps of the same range, and eight with more (up to 9 V in place of 5.5), where levels go beyond those of the training. What came
out is in docs/does_the_certificate_pay.md.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch

from hybrid import HybridModel, Mesh, Schedule, Signal, States, predict
from learned import MLP, Constant, Ensemble, SumOfResiduals
from physics import LinearBackbone, SharedPopulation
from stability import certify, check
from training import Cohort, Objective, Record, Search, Stability, fit, last
from training.trust import Outcome, score_table

GAIN, UPPER, LOWER, RIM, SPILL, INTO_LOWER = 1.0, 1.5, 1.4, 10.0, 1.0, 0.6
DRIVEN, MEASURED = 0.05, 0.1  # standard deviations: per √min of the process, and of a measured level
SAME, MORE = (0.8, 5.5), (4.0, 9.0)  # V
MEMBERS, STEPS, RECORDS = 5, 250, 4


def simulated(count: int, volts: tuple[float, float], rng: np.random.Generator, minutes: int = 48) -> list[Record]:
    """Records of the true tanks, by Euler–Maruyama steps of 0.6 s."""
    step, times = 0.01, np.arange(1.0, minutes + 1.0)
    begins = np.arange(0.0, minutes, 6.0)
    levels = rng.uniform(*volts, (count, len(begins)))
    h, path = np.zeros((count, 2)), []
    for k in range(round(minutes / step)):
        u = levels[:, min(int(k * step / 6.0), len(begins) - 1)]
        out, over = np.sqrt(h) * (UPPER, LOWER), SPILL * np.maximum(h - RIM, 0.0)
        into = np.stack([GAIN * u, out[:, 0] + INTO_LOWER * over[:, 0]], 1)
        h = h + step * (into - out - over) + DRIVEN * np.sqrt(step) * rng.standard_normal(h.shape)
        h = np.maximum(h, 0.0)  # a tank cannot be less than empty
        if (k + 1) % round(1.0 / step) == 0:
            path.append(h)
    seen = np.stack(path, 1) + MEASURED * rng.standard_normal((count, len(times), 2))  # (N, T, 2)
    units = {"time": "min", "upper": "cm", "lower": "cm", "pump": "V"}
    pumps = [Signal(np.append(begins, minutes), np.append(row, row[-1]), "held") for row in levels]
    rows = zip(pumps, seen, strict=True)
    return [
        Record(f"run {i + 1}", Schedule(inputs={"pump": pump}), times, y, ("upper", "lower"), units=units)
        for i, (pump, y) in enumerate(rows)
    ]


def tanks(residual: MLP | SumOfResiduals | None) -> HybridModel:
    """Two linear tanks, their rates a/(2 √5) the slopes at 5 cm, and what is learned beside them."""
    first, second = (a / (2.0 * np.sqrt(5.0)) for a in (UPPER, LOWER))
    backbone = LinearBackbone(
        *([[-first, 0.0], [first, -second]], [[GAIN], [0.0]]),
        states=("upper", "lower"),
        inputs=("pump",),
        state_units=("cm", "cm"),
        input_units=("V",),
        time_unit="min",
    )
    noise = Constant(sd={"upper": 0.3, "lower": 0.3}, floor={"upper": 0.03, "lower": 0.03})
    return HybridModel(backbone, SharedPopulation(), residual, observation=States(("upper", "lower")), noise=noise)


def untold() -> MLP:
    """The same without being told which level acts where: every tank may see both levels and the pump."""
    scales = {"state_scale": 4.0, "input_scale": 4.0, "rate_scale": 0.25}
    return MLP(hidden=(16,), activation="softplus", **scales)


def told() -> SumOfResiduals:
    """What each tank's level does beyond a linear outflow. An empty tank gives nothing: ε vanishes at the origin."""
    return SumOfResiduals(
        [
            MLP(hidden=(8,), activation="softplus", sees_states=("upper",), sees_inputs=(), state_scale=4.0, rate_scale=0.25),
            MLP(
                hidden=(8,),
                activation="softplus",
                sees_states=("lower",),
                sees_inputs=(),
                acts_on=("lower",),
                state_scale=4.0,
                rate_scale=0.25,
            ),
        ]
    )


@dataclass(frozen=True)
class Row:
    """One model's numbers: errors in cm, shares of measurements inside their intervals, and the rate that is proved, per min."""

    name: str
    rmse: tuple[float, float]  # on held-out records of the same range, and beyond it
    crps: tuple[float, float]
    coverage_80: tuple[float, float]
    coverage_95: tuple[float, float]
    rate: float  # NaN: no certificate

    def __str__(self) -> str:
        numbers = [f"{a:6.3f} {b:6.3f}" for a, b in (self.rmse, self.crps, self.coverage_80, self.coverage_95)]
        return f"{self.name:<22}{'   '.join(numbers)}   " + ("no certificate" if np.isnan(self.rate) else f"{self.rate:.3f}/min")


def judged(name: str, model: HybridModel, cohorts: tuple[Cohort, Cohort]) -> Row:
    """The model on held-out records, same range and beyond, and whether it is proved to contract, everywhere."""
    tables = []
    for cohort in cohorts:
        nobody = torch.zeros(model.members, 1, len(cohort.ids), 0, dtype=torch.float64)  # tanks differ in nothing
        tables.append(score_table(Outcome.of(predict(model, cohort, nobody), cohort)))
    system = model.lure(torch.zeros(0))
    claim = certify(system)
    rate = claim.rate if claim and check(claim, system) else float("nan")
    first, second = tables

    def both(number: str) -> tuple[float, float]:
        return float(first[number]), float(second[number])

    return Row(name, both("rmse"), both("crps"), both("coverage_80"), both("coverage_95"), rate)


def study(seed: int, residual: MLP | SumOfResiduals, steps: int = STEPS, records: int = RECORDS) -> list[Row]:
    """The backbone alone, and the free and the certified ensemble, of one seed's records."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    stack = Ensemble(MEMBERS).stack(tanks(residual), generator)
    mesh = Mesh(0.5)
    taught = Cohort.of(simulated(records, SAME, rng), stack, mesh)
    cohorts = (Cohort.of(simulated(8, SAME, rng), stack, mesh), Cohort.of(simulated(8, MORE, rng), stack, mesh))
    weights = Ensemble(MEMBERS).record_weights(records, generator)  # everyone learns from another draw of the records
    penalty = Stability.of(stack, taught.conditions.covariates)
    found = []
    for name, given, stability in (
        ("linear tanks alone", Ensemble(MEMBERS).stack(tanks(None), generator), None),
        ("free", stack, None),
        ("penalised, certified", stack, penalty),
    ):
        objective = Objective(weights=weights, stability=stability, least_residual=0.0)
        model = last(fit(given, taught, objective, Search(steps=steps, rate=0.05))).model
        found.append(judged(name, model, cohorts))
    return found


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="one seed, two records and 25 steps")
    arguments.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    arguments.add_argument("--steps", type=int, default=STEPS)
    arguments.add_argument("--records", type=int, default=RECORDS)
    chosen = arguments.parse_args()
    seeds, steps, records = (1, 25, 2) if chosen.quick else (chosen.seeds, chosen.steps, chosen.records)
    heads = ("rmse (cm)", "crps (cm)", "within 80 %", "within 95 %")
    print(f"{'held out and beyond':<22}{''.join(f'{head:<16}' for head in heads)}proved rate")
    for seed in range(seeds):
        for name, residual in (("one network that sees all", untold()), ("each level where it acts", told())):
            print(f"seed {seed}, {name}")
            for row in study(seed, residual, steps, records):
                print(row, flush=True)
