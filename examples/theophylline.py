"""Twelve people, one oral dose of theophylline: a hybrid model from table to certified bundle, top to bottom.

    python examples/theophylline.py [--device cuda]

This script is the configuration: copy it and change what you need. `homeostat demo` does the same and more (baselines,
pictures, a report).
"""

import argparse
from dataclasses import replace

import numpy as np
import torch

from exchange import Bundle, lure_of, save
from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from hybrid import Concentration, HybridModel, predict
from learned import MLP, AdditiveProportional
from physics import LogNormalPopulation, OneCompartmentOral
from stability import Certificate, certify, check, decay_in_words
from training import (
    Cohort,
    Looks,
    Objective,
    Plan,
    Search,
    Stability,
    at_ends,
    convergence,
    fit,
    forecast_unseen,
    personalise,
    read_nonmem,
    starting_values,
)
from training.trust import Outcome, score_table

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--device", default="cpu", help="cpu or cuda")
arguments.add_argument("--steps", type=int, default=120, help="training steps at most")
arguments.add_argument("--out", default="runs/example/model.twin", help="where the bundle goes")
chosen = arguments.parse_args()
generator = torch.Generator().manual_seed(2026)

# 1 · the people: any table in the pharmacometric column convention
records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)

# 2 · the model: dx/dt = A(θ) x + ε(x), with ε(0) = 0 and every amount staying ≥ 0
powers = {"V": {"WT": (70.0, 1.0, "kg")}}
start = starting_values(records, OneCompartmentOral(), powers)  # typical values from the data: where the fit starts
print(start.sentence)
backbone = start.backbone
population = LogNormalPopulation(backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}, powers=powers)
residual = MLP(hidden=(8,), activation="tanh", separable=True, state_scale=320.0, rate_scale=0.08)
template = HybridModel(
    backbone,
    population,
    residual,
    observation=Concentration("plasma", "V", channel="concentration", unit="mg/L"),
    noise=AdditiveProportional(additive=[0.5], proportional=[0.1], floor=[0.03]),
)
cohort = Cohort.of(records, template).to(chosen.device)  # cut into steps for the fastest rates that these people can have

# 3 · train 8 members, and 6 folds of 8 that never see their fold's people, all in one computation
plan = Plan.of(people=len(records), members=8, folds=6, generator=generator)
stack = plan.stack(template, generator).to(chosen.device)
for step in fit(
    stack,
    cohort,
    objective=Objective(
        weights=plan.weights,
        held_out=plan.held_out,
        stability=Stability.of(template.to(chosen.device), cohort.conditions.covariates),
        forecast_from=2.5,
    ),
    search=Search(steps=chosen.steps, rate=0.03),
    looks=Looks(every=15),
):
    if step.index % 15 == 0:
        print(f"step {step.index:3d}  loss {float(step.loss.mean()):.3f}  unseen {float(step.held_out.mean()):.3f}")
model = plan.final(step.best.model)
people = personalise(model, cohort)
for sentence in convergence(model, people, cohort.ids, weights=plan.weights[: plan.members]).sentences():
    print(sentence)
for end in at_ends(model, cohort, people.mode):
    print(end.sentence())

# 4 · certify every member and every person with one metric, and have the stranger check it
system = lure_of(model, people.mode, cohort.conditions.covariates)
certificate = certify(system)
if isinstance(certificate, Certificate):
    print(f"certified: the distance in P {decay_in_words(certificate.rate, 'h')}; proved again: {check(certificate, system)}")
else:
    print(f"refused: {certificate.message}")

# 5 · judge on people whom no member has seen, forecast from the samples of the first 2.5 h after their dose
known, later = cohort.until(2.5), cohort.after(2.5)
unseen = forecast_unseen(plan, step.best.model, known, later, generator=generator)
for name, value in score_table(Outcome.of(unseen, later)).items():
    print(f"{name:28s} {value:.3f}")

# 6 · what if everyone's dose had been doubled?
doubled = [replace(r, schedule=r.schedule.scaled("gut", 2.0)) for r in records]
prediction = predict(model, Cohort.of(doubled, model).to(chosen.device), people.draws(16, generator))
print("doubled, the first person:", np.round(prediction.point[0, :, 0].cpu().numpy(), 2), "mg/L")

# 7 · save it all
bundle = Bundle.of(model, cohort, people, claims=[certificate], provenance={"table": "theophylline.csv", "seed": 2026})
print("saved", save(bundle, chosen.out))
