"""One valid call of every public name and method of `training.inference`, tiny."""

from dataclasses import replace

import torch

from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import D, generator, world
from hybrid import Concentration, HybridModel, RungeKutta
from learned import Constant
from physics import LogNormalPopulation
from training import Cohort, Fitted, inference, personalise


def rows() -> dict[str, Call]:
    w = world()
    population = LogNormalPopulation(w.backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}, learn_spread=True)
    model = HybridModel(w.backbone, population, observation=Concentration("plasma", "V"), noise=Constant([0.5], [0.01]))
    cohort, solver = Cohort.of(w.people, model), RungeKutta("rk4")
    known = personalise(model, cohort, iterations=3)
    start = known.mode
    errors = inference.standard_errors(model, cohort, start=start, solver=solver)
    larger = inference.objective_value(model, cohort, start=start, solver=solver)
    smaller = replace(larger, ofv=larger.ofv + 3.0, estimated=larger.estimated[:-1])
    test = inference.likelihood_ratio(smaller, larger)
    study = {"model": model, "cohort": cohort, "approximation": "focei", "nodes": 1, "start": start, "solver": solver}
    weighted = {**study, "weights": torch.ones(1, len(w.people), dtype=D)}
    drawn = inference.bootstrap(model, cohort, 3, generator(), steps=2, solver=solver)
    settled = replace(drawn, arrived=torch.ones_like(drawn.arrived))
    return of("training.inference", {
        "StandardErrors.in_words": lambda: (errors.in_words, {"direction": torch.ones(len(errors.names), dtype=D)}),
        "StandardErrors.interval": lambda: (errors.interval, {"level": 0.9}),
        "ObjectiveValue.bic": lambda: (larger.bic, {"count": "people"}),
        "LikelihoodRatio.sentence": lambda: (test.sentence, {"member": 0}),
        "Bootstrap.interval": lambda: (settled.interval, {"level": 0.9}),
        "bootstrap": Call(lambda: (inference.bootstrap, {
            "model": model, "cohort": cohort, "count": 2, "generator": generator(), "strata": ["a"] * len(w.people),
            "curvature": "fisher", "steps": 1, "tolerance": 1e-4, "together": 2, "start": start, "solver": solver}), dear=True),
        "estimates": lambda: (inference.estimates, {"model": model}),
        "likelihood_ratio": lambda: (inference.likelihood_ratio, {"smaller": smaller, "larger": larger, "ends": []}),
        "objective_value": Call(lambda: (inference.objective_value, dict(weighted)), dear=True),
        "parameter_table": Call(lambda: (inference.parameter_table, {
            "fitted": Fitted(model, start), "cohort": cohort, "level": 0.9, "approximation": "focei", "covariance": "observed",
            "nodes": 1, "solver": solver}), dear=True),
        "polish": Call(lambda: (inference.polish, {**weighted, "steps": 1, "tolerance": 1e-3}), dear=True),
        "quadrature_marginal": Call(lambda: (inference.quadrature_marginal, {
            "model": model, "cohort": cohort, "nodes": 2, "start": start, "iterations": 3, "solver": solver}), dear=True),
        "shrinkage": lambda: (inference.shrinkage, {"model": model, "cohort": cohort, "personal": known, "solver": solver}),
        "standard_errors": Call(lambda: (inference.standard_errors, {**weighted, "covariance": "observed"}), dear=True),
    })
