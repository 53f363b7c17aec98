"""The same fit on one device or on many: torch's launcher says how many processes there are, and this script does the rest.

    python examples/many_devices.py                                                       # one process
    torchrun --standalone --nproc-per-node 2 examples/many_devices.py                     # two, on this machine's CPU
    torchrun --standalone --nproc-per-node 8 examples/many_devices.py --device cuda       # one GPU each
    torchrun --standalone --nproc-per-node 2 examples/many_devices.py --share people

By default the processes share out the members, which do not influence each other: nothing is exchanged until the end, and the
result is that of one process. `--share people` shares out the people instead, for cohorts that one device cannot hold:
gradients are summed over processes at every step.

Stopped or killed, the same command goes on where it was; delete the checkpoints in the folder to start anew.
"""

import argparse
from pathlib import Path

import torch

from exchange import Bundle, save
from homeostat.data import THEOPHYLLINE_UNITS, theophylline
from hybrid import Concentration, HybridModel, RungeKutta
from learned import MLP, AdditiveProportional, Ensemble, select
from physics import LogNormalPopulation, OneCompartmentOral
from training import (
    Checkpoint,
    Cohort,
    Looks,
    Objective,
    Search,
    Shard,
    Stability,
    fit,
    gather_members,
    log_steps,
    personalise,
    read_nonmem,
)

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--device", default="cpu", help="cpu or cuda")
arguments.add_argument("--share", choices=["members", "people"], default="members", help="what the processes share out")
arguments.add_argument("--members", type=int, default=8)
arguments.add_argument("--steps", type=int, default=120, help="training steps at most")
arguments.add_argument("--out", type=Path, default=Path("runs/many"), help="where the bundle and the checkpoints go")
arguments.add_argument("--log", action="store_true", help="curves for TensorBoard, in OUT/log")
chosen = arguments.parse_args()

with Shard.from_env(chosen.device) as shard:
    # 1 · the same people, model and draws in every process: the seed sees to it
    generator = torch.Generator().manual_seed(2026)
    records = read_nonmem(theophylline(), units=THEOPHYLLINE_UNITS)
    backbone = OneCompartmentOral()
    template = HybridModel(
        backbone,
        LogNormalPopulation(backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}, powers={"V": {"WT": (70.0, 1.0, "kg")}}),
        MLP(hidden=(8,), activation="tanh", separable=True, state_scale=320.0, rate_scale=0.08),
        observation=Concentration("plasma", "V", channel="concentration", unit="mg/L"),
        noise=AdditiveProportional(additive=[0.5], proportional=[0.1], floor=[0.03]),
    )
    everyone, solver = Cohort.of(records, template), RungeKutta("rk4")
    ensemble = Ensemble(chosen.members)
    whole = ensemble.stack(template, generator)
    weights = ensemble.record_weights(len(records), generator)
    stability = Stability.of(template.to(shard.device), everyone.to(shard.device).conditions.covariates)

    # 2 · this process's part
    if chosen.share == "members":
        mine = shard.part(whole.members)
        model, cohort, counts, sums = select(whole, mine), everyone, weights[mine], None
    else:
        mine = shard.part(len(records))
        model, cohort, counts, sums = whole, everyone.people(mine), weights[:, mine], shard

    # 3 · train it: who is not in a member's resample judges when it stops
    steps = fit(
        model.to(shard.device),
        cohort.to(shard.device),
        objective=Objective(weights=counts, held_out=counts == 0, stability=stability, forecast_from=2.5),
        search=Search(steps=chosen.steps, rate=0.03, solver=solver, shard=sums),
        looks=Looks(every=15, checkpoint=Checkpoint(shard.path(chosen.out / "fit.checkpoint"))),
    )
    for step in log_steps(steps, shard.path(chosen.out / "log")) if chosen.log else steps:
        if shard.first and step.index % 15 == 0:
            print(f"step {step.index:3d}  loss {float(step.loss.mean()):.3f}  unseen {float(step.held_out.mean()):.3f}")

    # 4 · together again: every member, in the order of the draws
    best = step.best.model if chosen.share == "people" else gather_members(step.best.model, shard)

    # 5 · one of them personalises and saves
    if shard.first:
        best, cohort = best.to("cpu"), everyone.to("cpu")
        people = personalise(best, cohort, solver=solver)
        bundle = Bundle.of(best, cohort, people, provenance={"table": "theophylline.csv", "seed": 2026}, solver=solver)
        print("saved", save(bundle, chosen.out / "model.twin"))
