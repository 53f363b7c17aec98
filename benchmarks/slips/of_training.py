"""One valid call of every public name and method of `training`, tiny."""

import copy
import dataclasses
from datetime import timedelta
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

import training
from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import D, generator, schedule, world
from hybrid import (
    Mesh,
    RungeKutta,
    rollout,
)
from hybrid.filters import UKF
from learned import DiagonalDiffusion
from training import (
    Anchor,
    Checkpoint,
    Cohort,
    Personal,
    Plan,
    Record,
    Shard,
    Stability,
    prior,
)
from training.machinery.checkpoint import Saved


def rows() -> dict[str, Call]:
    w = world()
    model, cohort, known, N = w.model, w.cohort, w.known, len(w.people)
    given, segments = cohort.conditions, cohort.conditions.segments
    ones, nobody = torch.ones(1, N, dtype=D), torch.zeros(1, N, dtype=torch.bool)
    run = rollout(model, given, known.mode, RungeKutta("rk4"))
    run = type(run)(**{k: v.detach() if isinstance(v, Tensor) else v for k, v in vars(run).items()})
    solver = RungeKutta("rk4")
    anchor = Anchor.of(model, cohort, generator(), variance=1.0)
    plan = Plan.of(N, 2, 2, generator())
    stacked = plan.stack(model, generator())
    penalty = Stability.of(model, given.covariates)
    cut = training.windows(segments, 2)
    rows_mean, rows_variance = run.mean, run.variance
    limits = torch.tensor([-torch.inf, torch.inf], dtype=D).expand(*cohort.y.shape, 2).clone()
    limits[..., 1] = torch.where(torch.isnan(cohort.y), 0.5, torch.inf)
    limited = dataclasses.replace(cohort, limits=limits)
    three = {"y": cohort.y, "mean": rows_mean, "variance": rows_variance}
    table = w.folder / "table.csv"
    table.write_text("ID,TIME,AMT,DV,EVID,WT\n1,0,320,.,1,70\n1,1,.,5,0,70\n1,2,.,8,0,70\n")
    read = {"path": str(table), "units": {"TIME": "h", "AMT": "mg", "DV": "mg/L", "WT": "kg"},
            "compartments": {1: "gut"}, "channels": {1: "concentration"}, "covariates": ["WT"], "order": "dose-first",
            "channel_column": None, "signed": (), "ignore": ()}
    at = Checkpoint(w.folder / "fit.checkpoint")
    state = Saved(1, {"a": 1.0}, {"t": torch.zeros(2)})
    print_of = {"model": "x"}
    at.write(print_of, state)
    shard = Shard()
    objective = {"likelihood": training.gaussian_nll, "anchors": None, "stability": penalty, "least_residual": 1.0,
                 "forecast_from": 1.0, "weights": ones, "held_out": nobody, "judged": None,
                 "decay": 0.01, "sparsity": 0.01}
    search = {"optimiser": torch.optim.Adam, "rate": 0.05, "schedule": None, "clip": 10.0, "steps": 1, "solver": solver,
              "bfloat16": False, "capture": False, "shard": shard}
    looks = {"every": 20, "patience": 5, "checkpoint": at}
    counted = training.Objective(weights=ones, held_out=nobody, stability=penalty)
    once, soon = training.Search(steps=1, solver=solver), training.Looks(patience=5)
    fit = {"model": model, "cohort": cohort, "objective": counted, "search": once, "looks": soon}
    noisy = copy.deepcopy(model)
    noisy.process = DiagonalDiffusion([1.0, 1.0])
    return of("training", {
        "Anchor": lambda: (Anchor, {"centre": dict(anchor.centre), "precision": dict(anchor.precision),
                                    "personal": anchor.personal, "noise": anchor.noise}),
        "Anchor.of": Call(lambda: (Anchor.of, {"model": model, "cohort": cohort, "generator": generator(), "variance": 1.0}),
                          dear=True),
        "Anchor.to": lambda: (anchor.to, {"like": torch.zeros((), dtype=D)}),
        "Anchor.require": lambda: (anchor.require, {"members": 1, "measurements": cohort.y.shape}),
        "Anchor.penalty": lambda: (anchor.penalty, {"model": model}),
        "Anchor.likelihood": lambda: (anchor.likelihood, {"loss": training.gaussian_nll, **three}),
        "Anchor.members": lambda: (anchor.members, {"index": torch.tensor([0])}),
        "Anchor.people": lambda: (anchor.people, {"index": torch.tensor([0, 2])}),
        "Checkpoint": lambda: (Checkpoint, {"path": w.folder / "other.checkpoint", "every": 20}),
        "Checkpoint.write": lambda: (Checkpoint(w.folder / "written.checkpoint").write, {"fingerprint": dict(print_of),
                                                                                        "saved": state}),
        "Checkpoint.read": lambda: (at.read, {"fingerprint": dict(print_of)}),
        "Checkpoint.back_to": lambda: (at.back_to, {"saved": state}),
        "Cohort": lambda: (Cohort, {"records": cohort.records, "conditions": given, "times": cohort.times, "y": cohort.y,
                                    "unscored": cohort.unscored, "limits": limited.limits, "censoring": "m3"}),
        "Cohort.of": Call(lambda: (Cohort.of, {
            "records": w.people, "model": model, "mesh": Mesh(0.5), "censoring": "m3"}), dear=True),
        "Cohort.nll": lambda: (limited.nll, {"mean": rows_mean, "variance": rows_variance, "correlation": None}),
        "Cohort.limits_nll": lambda: (limited.limits_nll, {"mean": rows_mean, "variance": rows_variance}),
        "Cohort.from_frame": Call(lambda: (Cohort.from_frame, {
            "frame": import_module("pandas").read_csv(table), "model": w.model, "units": dict(read["units"]),
            "compartments": {1: "gut"}, "channels": {1: "concentration"}, "covariates": ["WT"], "order": "dose-first",
            "channel_column": None, "signed": (), "ignore": (), "mesh": Mesh(0.5)}), dear=True),
        "Cohort.until": lambda: (cohort.until, {"time": 2.0}),
        "Cohort.after": lambda: (cohort.after, {"time": 2.0}),
        "Cohort.without": lambda: (cohort.without, {"judged": training.judged_tail(cohort)}),
        "Cohort.only": lambda: (cohort.only, {"judged": training.judged_tail(cohort)}),
        "Cohort.people": lambda: (cohort.people, {"index": torch.tensor([0, 2])}),
        "Cohort.to": Call(lambda: (cohort.to, {"where": ("cpu", D)}), star="where"),
        "Personal": lambda: (Personal, {"mode": known.mode, "covariance": known.covariance, "objective": known.objective,
                                        "converged": known.converged, "failed": {}, "ids": known.ids}),
        "Personal.draws": lambda: (known.draws, {"count": 2, "generator": generator()}),
        "Personal.to": lambda: (known.to, {"device": "cpu"}),
        "Personal.people": lambda: (known.people, {"index": torch.tensor([0, 2])}),
        "Plan": lambda: (Plan, {"members": 2, "folds": 2, "weights": plan.weights, "held_out": plan.held_out,
                                "fold": plan.fold}),
        "Plan.of": lambda: (Plan.of, {"people": N, "members": 2, "folds": 2, "generator": generator()}),
        "Plan.stack": lambda: (plan.stack, {"template": model, "generator": generator()}),
        "Plan.final": lambda: (plan.final, {"model": stacked}),
        "Plan.unseen": lambda: (plan.unseen, {"model": stacked, "k": 1}),
        "Record": lambda: (Record, {
            "id": "1", "schedule": schedule(), "times": np.array([1.0, 2.0]), "values": np.array([[5.0], [8.0]]),
            "channels": ("concentration",), "covariates": {"WT": 70.0}, "units": {"time": "h", "concentration": "mg/L"},
            "lower": None, "upper": None, "occasions": (0.0, 1.0),
            "changing": {"AGE": (np.array([0.0, 1.0]), np.array([40.0, 41.0]))},
            "read_with": {"occasion": np.array([2.0, np.nan])}}),
        "Record.until": lambda: (w.people[0].until, {"time": 2.0}),
        "Shard": lambda: (Shard, {"rank": 0, "world": 1, "device": torch.device("cpu")}),
        "Shard.from_env": lambda: (Shard.from_env, {"device": "cpu", "timeout": timedelta(hours=2)}),
        "Shard.part": lambda: (shard.part, {"count": 4}),
        "Shard.path": lambda: (shard.path, {"path": "fit.checkpoint"}),
        "Shard.total": lambda: (shard.total, {"tensor": torch.ones(2)}),
        "Shard.gather": lambda: (shard.gather, {"tensor": torch.ones(2), "dim": 0}),
        "Shard.alike": lambda: (shard.alike, {"module": model}),
        "Shard.latest_common": lambda: (shard.latest_common, {"indices": [3, 2]}),
        "Stability": lambda: (Stability, {"metric": penalty.metric, "rate": 0.05, "weight": 10.0}),
        "Stability.of": Call(lambda: (Stability.of, {"model": model, "covariates": dict(given.covariates), "share": 0.5,
                                                     "weight": 10.0}), dear=True),
        "Stability.to": lambda: (penalty.to, {"device": torch.device("cpu")}),
        "Stability.penalty": lambda: (penalty.penalty, {"model": model, "theta": run.theta}),
        "Windows.conditions": lambda: (cut.conditions, {"given": given}),
        "Windows.stack": lambda: (cut.stack, {"x0": torch.zeros(1, N, 2, dtype=D), "starts": torch.zeros(1, N, 1, 2, dtype=D)}),
        "Windows.back": lambda: (cut.back, {"states": torch.zeros(1, 2 * N, cut.segments.segment.shape[1], 2, dtype=D)}),
        "at_ends": lambda: (training.at_ends, {"model": model, "cohort": cohort, "personal": known.mode}),
        "at_times": lambda: (training.at_times, {"cohort": cohort, "conditions": given, "times": cohort.times}),
        "best_of": lambda: (training.best_of, {"fitted": training.last(training.fit(**fit)), "people": 3.0, "within": 0.1}),
        "beta_nll": lambda: (training.beta_nll, {"beta": 0.5}),
        "convergence": lambda: (training.convergence, {
            "model": model, "personal": known, "people": cohort.ids, "weights": ones,
            "losses": [torch.tensor([float(k)], dtype=D) for k in range(20, 0, -1)]}),
        "far_covariates": lambda: (training.people.far_covariates, {"records": w.people, "model": model}),
        "fit": Call(lambda: (training.fit, dict(fit)), dear=True),
        "fit_population": Call(lambda: (training.fit_population, {
            **fit, "tolerance": 1e-4, "longest": 0.5, "curvature": "fisher", "start": known.mode}), dear=True),
        "forecast": Call(lambda: (training.forecast, {"model": model, "known": cohort, "asked": cohort, "draws": 2,
                                                      "generator": generator(), "solver": solver}), dear=True),
        "forecast_unseen": Call(lambda: (training.forecast_unseen, {
            "plan": plan, "model": stacked, "known": cohort, "asked": cohort, "draws": 2, "generator": generator(),
            "solver": solver}), dear=True),
        "gather_members": lambda: (training.gather_members, {"module": model, "shard": shard}),
        "gaussian_crps": lambda: (training.gaussian_crps, dict(three)),
        "gaussian_nll": lambda: (training.gaussian_nll, {
            **three, "limits": limits, "positive": False, "correlation": None}),
        "innovation_fit": Call(lambda: (training.innovation_fit, {
            **fit, "model": noisy, "filter": UKF, "weights": True, "y": cohort.y[None], "spread": {"gut": 1.0},
            "floor": {"gut": 0.1}, "drift": 100.0, "tolerance": 1e-3, "longest": 0.5}), dear=True),
        "judged_blocks": lambda: (training.judged_blocks, {"cohort": cohort, "generator": generator(), "length": 1,
                                                           "share": 0.5}),
        "judged_people": lambda: (training.judged_people, {"cohort": cohort, "generator": generator(), "share": 0.5}),
        "judged_records": lambda: (training.judged_records, {"cohort": cohort, "ids": [cohort.ids[0]]}),
        "judged_tail": lambda: (training.judged_tail, {"cohort": cohort, "share": 0.5}),
        "laplace_marginal": Call(lambda: (training.laplace_marginal, {
            "model": model, "cohort": cohort, "start": known.mode, "curvature": "fisher", "iterations": 3, "solver": solver}),
            dear=True),
        "last": lambda: (training.last, {"steps": training.fit(**fit)}),
        "Looks": lambda: (training.Looks, dict(looks)),
        "log_steps": lambda: (training.log_steps, {"steps": (s for s in ()), "folder": str(w.folder / "log")}),
        "Objective": lambda: (training.Objective, dict(objective)),
        "observed_information": Call(lambda: (training.observed_information, {
            "model": model, "cohort": cohort, "personal": known.mode, "precision": torch.eye(3, dtype=D).expand(1, N, 3, 3),
            "solver": solver}), dear=True),
        "personalise": Call(lambda: (training.personalise, {
            "model": model, "cohort": cohort, "start": known.mode, "before": prior(model, N), "curvature": "fisher",
            "iterations": 3, "tolerance": 1e-4, "solver": solver}), dear=True),
        "prior": lambda: (prior, {"model": model, "people": N, "mean": torch.zeros(3, dtype=D),
                                  "covariance": torch.eye(3, dtype=D)}),
        "read_nonmem": lambda: (training.read_nonmem, dict(read)),
        "read_table": lambda: (training.read_table, dict(read)),
        "recorded": lambda: (training.recorded, {"steps": (s for s in ()), "losses": []}),
        "residual_share": lambda: (training.residual_share, {
            "model": model, "run": run, "weights": ones, "everyone": lambda part: part,
            "scale": torch.ones(1, 1, 1, 2, dtype=D), "hold_field": True}),
        "Search": lambda: (training.Search, dict(search)),
        "sensitivity": Call(lambda: (training.sensitivity, {"model": model, "conditions": given, "personal": known.mode,
                                                            "solver": solver}), dear=True),
        "several": lambda: (training.several, {"model": model, "count": 2, "generator": generator(), "spread": 3.0}),
        "shoot": Call(lambda: (training.shoot, {
            "model": model, "cohort": cohort, "objective": training.Objective(weights=ones, stability=penalty), "search": once,
            "looks": training.Looks(), "count": 2, "by": "time", "personal": known.mode, "starts": None, "scale": None,
            "rounds": 1, "polish": 1, "stiffness": 10.0, "growth": 4.0}), dear=True),
        "StartEncoder": lambda: (training.StartEncoder, {"lags": 4, "hidden": 8}),
        "starting_values": Call(lambda: (training.starting_values, {
            "records": w.people, "backbone": w.backbone, "powers": {"V": {"WT": (70.0, 1.0, "kg")}}}), dear=True),
        "windows": lambda: (training.windows, {"segments": segments, "count": 2, "by": "time"}),
    })
