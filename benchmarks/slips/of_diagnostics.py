"""One valid call of every public name and method of `training.diagnostics`, tiny."""

import torch

from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import generator, world
from hybrid import RungeKutta
from training import diagnostics


def rows() -> dict[str, Call]:
    w = world()
    solver = RungeKutta("rk4")
    drawn = diagnostics.simulated_cohorts(w.model, w.cohort, 20, generator())
    study = {"model": w.model, "cohort": w.cohort, "personal": w.known, "member": 0, "solver": solver}
    return of("training.diagnostics", {
        "simulated_cohorts": Call(lambda: (diagnostics.simulated_cohorts, {
            "model": w.model, "cohort": w.cohort, "draws": 3, "generator": generator(), "member": 0,
            "solver": solver}), dear=True),
        "SimulatedCohorts.people": lambda: (drawn.people, {"index": torch.tensor([0, 2])}),
        "predictive_check": lambda: (diagnostics.predictive_check, {
            "simulated": drawn, "channel": "concentration", "corrected": True, "bins": 2, "levels": (0.1, 0.5), "band": 0.9}),
        "npde": lambda: (diagnostics.npde, {"simulated": drawn, "generator": generator(), "decorrelate": True, "level": 0.9}),
        "residuals": Call(lambda: (diagnostics.residuals, {**study, "root": "cholesky"}), dear=True),
        "fitted_curves": Call(lambda: (diagnostics.fitted_curves, {**study, "points": 5}), dear=True),
        "eta_against_covariates": Call(lambda: (diagnostics.eta_against_covariates, {
            **study, "generator": generator(), "permutations": 9}), dear=True),
    })
