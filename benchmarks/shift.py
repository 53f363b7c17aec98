"""The flag of another cohort: how often people like those of the training are flagged, and how surely others are.

Run: `python -m benchmarks.shift` (about two minutes on two cores); `--people 1000`, `--training 300`.

One compartment by mouth, V and CL read the weight, log-normal people, five measurements of each; an ensemble of four, the
population fitted (FOCE) to the training's people and members apart by as much as these settle it. The reference is made of the
training alone.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hybrid import Concentration, Dose, HybridModel, Schedule, predict
from learned import AdditiveProportional, Ensemble
from physics import LogNormalPopulation, OneCompartmentOral
from training import Cohort, Personal, Record, Search, fit_population, last, personalise
from training.shift import Reference, compared, simulated

OMEGA = (0.5, 0.25, 0.2)
TYPICAL = (1.5, 2.8, 32.0)  # ka, CL, V
TIMES = (0.5, 1.5, 4.0, 9.0, 18.0)
NOISE = (0.1, 0.08)


def blank() -> HybridModel:
    """The model before it is fitted."""
    backbone = OneCompartmentOral(parameters="clearance")
    by_weight = {"V": {"WT": (70.0, 1.0, "kg")}, "CL": {"WT": (70.0, 0.75, "kg")}}
    population = LogNormalPopulation(backbone.physical, list(OMEGA), by_weight, learn_spread=True)
    noise = AdditiveProportional([NOISE[0]], [NOISE[1]], [0.01])
    return HybridModel(backbone, population, None, observation=Concentration(1, 2), noise=noise)


@dataclass(frozen=True)
class World:
    """Who people are: drawn anew for every cohort from one generator."""

    rng: np.random.Generator

    def records(
        self,
        count: int,
        *,
        weights: np.ndarray | None = None,
        eta: np.ndarray | None = None,  # (count, 3)
        times: Sequence[float] = TIMES,
        dose: float = 320.0,
        name: str = "p",
    ) -> tuple[Record, ...]:
        """People by the closed form of Bateman (1910), measured with additive and proportional noise."""
        wt = self.weights(count) if weights is None else weights
        eta = self.rng.standard_normal((count, 3)) if eta is None else eta
        ka, cl, v = (np.array(TYPICAL) * np.exp(np.array(OMEGA) * eta)).T
        cl, v = cl * (wt / 70.0) ** 0.75, v * wt / 70.0
        amounts = dose * self.rng.uniform(0.9, 1.1, count)
        t = np.asarray(times)
        found = []
        for i in range(count):
            ke = cl[i] / v[i]
            mean = amounts[i] * ka[i] / (v[i] * (ka[i] - ke)) * (np.exp(-ke * t) - np.exp(-ka[i] * t))
            values = mean + np.hypot(NOISE[0], NOISE[1] * mean) * self.rng.standard_normal(len(t))
            units = {"time": "h", "concentration": "mg/L", "WT": "kg", "AGE": "a"}
            given = {"WT": float(wt[i]), "AGE": float(self.rng.normal(45.0, 11.0))}
            schedule = Schedule((Dose("gut", 0.0, float(amounts[i])),))
            found.append(Record(f"{name}{i}", schedule, t, values[:, None], ("concentration",), given, units))
        return tuple(found)

    def weights(self, count: int) -> np.ndarray:
        """Of people like those of the training."""
        return np.asarray(70.0 * np.exp(0.18 * self.rng.standard_normal(count)))


def trained(world: World, count: int) -> tuple[HybridModel, Cohort, Personal]:
    """An ensemble whose population is fitted to people of this world."""
    model = blank()
    records = world.records(count, name="t")
    fitted = last(fit_population(model, Cohort.of(records, model), search=Search(steps=60))).model
    generator = torch.Generator().manual_seed(5)
    stack = Ensemble(4).stack(fitted, generator)
    with torch.no_grad():  # as far apart as so many people settle the typical values
        for parameter in stack.population.parameters():
            if parameter.shape[-1] == 3 and parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter += noise * parameter.new_tensor(OMEGA) / count**0.5
    cohort = Cohort.of(records, stack)
    return stack, cohort, personalise(stack, cohort)


def flags(reference: Reference, model: HybridModel, records: Sequence[Record]) -> tuple[float, dict[str, float]]:
    """Which share of these people is flagged, and by what."""
    cohort = Cohort.of(list(records), model)
    personal = personalise(model, cohort)
    found = compared(predict(model, cohort, personal.mode[:, None]), reference, model, cohort, personal=personal).shift
    assert found is not None
    looks = sorted({reason.look for one in found for reason in one.reasons})
    by = {look: float(np.mean([any(r.look == look for r in one.reasons) for one in found])) for look in looks}
    return float(np.mean([one.flagged is True for one in found])), by


def moved(records: Sequence[Record], world: World, far: float, law: str) -> np.ndarray:  # (N, 3)
    """η of the typical person of a cohort whose kinetics are `far` prior standard deviations away, as five measurements see it.

    Directions of η are drawn evenly; the shift δ is such that √(Δᵀ S⁻¹ Δ) = far. "linear": Δ = G δ and S = G Gᵀ + R, with the
    slopes G and the noise R of the typical person: the law as it is linearised there. "whole": Δ the change of the noiseless
    measurements themselves and S their covariance by 2,000 draws of η and noise; a direction in which they cannot move so far (a
    concentration does not go below 0) is drawn anew.
    """
    N = len(records)
    wt = np.array([r.covariates["WT"] for r in records])
    dose = np.array([float(r.schedule.doses[0].amount) for r in records])
    t = np.asarray(TIMES)

    def curve(eta: np.ndarray) -> np.ndarray:  # (..., N, 3) -> (..., N, T)
        ka, cl, v = np.moveaxis(np.array(TYPICAL) * np.exp(np.array(OMEGA) * eta), -1, 0)
        cl, v = cl * (wt / 70.0) ** 0.75, v * wt / 70.0
        ke = cl / v
        scale = dose * ka / (v * (ka - ke))
        return np.asarray(scale[..., None] * (np.exp(-ke[..., None] * t) - np.exp(-ka[..., None] * t)))

    way = world.rng.standard_normal((N, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    start = curve(np.zeros((N, 3)))
    if law == "linear":
        h = 1e-5
        G = np.stack([(curve(h * e * np.ones((N, 1))) - curve(-h * e * np.ones((N, 1)))) / (2 * h) for e in np.eye(3)], -1)
        R = NOISE[0] ** 2 + NOISE[1] ** 2 * start**2
        S = G @ G.transpose(0, 2, 1) + R[:, :, None] * np.eye(len(t))
        change = np.einsum("ntj,nj->nt", G, way)
        one = np.sqrt(np.einsum("nt,nts,ns->n", change, np.linalg.inv(S), change))
        return np.asarray(far * way / one[:, None])
    draws = curve(world.rng.standard_normal((2000, N, 3)))
    centre = draws - draws.mean(0)
    noise = (NOISE[0] ** 2 + NOISE[1] ** 2 * draws**2).mean(0)  # (N, T)
    S = np.einsum("rnt,rns->nts", centre, centre) / len(draws) + noise[:, :, None] * np.eye(len(t))
    inverse = np.linalg.inv(S)

    def distance(size: np.ndarray, way: np.ndarray) -> np.ndarray:
        change = curve(size[:, None] * way) - start
        return np.asarray(np.sqrt(np.einsum("nt,nts,ns->n", change, inverse, change)))

    found, missing = np.zeros((N, 3)), np.ones(N, dtype=bool)
    while missing.any():
        way = world.rng.standard_normal((N, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        low, high = np.zeros(N), np.full(N, 10.0)
        for _ in range(40):
            middle = 0.5 * (low + high)
            near = distance(middle, way) < far
            low, high = np.where(near, middle, low), np.where(near, high, middle)
        got = missing & (high < 9.99)
        found[got], missing = (high[:, None] * way)[got], missing & ~got
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--training", type=int, default=300)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--simulated", type=int, default=2000, help="people whose limits these are; 0: those of chi-squared")
    parser.add_argument("--kinetics", action="store_true", help="the same cohort and 5 sd alone")
    asked = parser.parse_args()
    N, began = asked.people, time.perf_counter()
    world = World(np.random.default_rng(asked.seed))
    model, cohort, personal = trained(world, asked.training)
    generator = torch.Generator().manual_seed(asked.seed)
    drawn = simulated(model, cohort, generator, people=asked.simulated) if asked.simulated else None
    reference = Reference.of(model, cohort, personal, simulated=drawn)
    print(f"training: {'; '.join(reference.sentences())}; {reference.own}, {reference.rest}; {time.perf_counter() - began:.0f} s")

    def row(name: str, records: Sequence[Record]) -> None:
        share, by = flags(reference, model, records)
        said = ", ".join(f"{look} {100 * part:.1f} %" for look, part in by.items())
        print(f"{name:64s} {100 * share:6.1f} %   {said}", flush=True)

    row("same cohort", world.records(N))
    far_off = (5.0,) if asked.kinetics else (1.0, 2.0, 3.0, 4.0, 5.0)
    if not asked.kinetics:
        others(row, world, reference, cohort, N)
    for law in ("linear", "whole"):
        for far in far_off:
            weights = world.weights(N)
            people = world.records(N, weights=weights)
            eta = moved(people, world, far, law) + world.rng.standard_normal((N, 3))
            name = f"kinetics moved by {far:g} sd as five measurements see it ({law} law)"
            row(name, world.records(N, weights=weights, eta=eta))
    print(f"{time.perf_counter() - began:.0f} s")


def others(row: Callable[[str, Sequence[Record]], None], world: World, reference: Reference, cohort: Cohort, N: int) -> None:
    """The rows that are not of kinetics."""
    weights = np.array([r.covariates["WT"] for r in cohort.records])
    for beyond in (0.0, 0.05):
        low, high = np.percentile(weights, 1.0) * (1.0 - beyond), np.percentile(weights, 99.0) * (1.0 + beyond)
        far = world.rng.uniform(0.0, 0.3, N)
        row(
            f"weight beyond the 1st-99th percentile, from {100 * beyond:g} % to 30 % more",
            world.records(N, weights=np.where(world.rng.random(N) < 0.5, low * (1.0 - far), high * (1.0 + far))),
        )
    low, high = reference.covariates["WT"]
    far = world.rng.uniform(1e-6, 0.3, N)
    row("weight beyond the box as it is stated", world.records(
        N, weights=np.where(world.rng.random(N) < 0.5, low * (1.0 - far), high * (1.0 + far))))
    halved = sorted({t / 2.0 for t in TIMES} | set(TIMES))
    row("sampled at twice the rate", world.records(N, times=halved))
    row("twice the dose", world.records(N, dose=640.0))


if __name__ == "__main__":
    main()
