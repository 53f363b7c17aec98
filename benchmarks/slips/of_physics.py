"""One valid call of every public name and method of `physics`, tiny."""


import torch

import physics
from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import D, generator, world
from physics import (
    LinearBackbone,
    LogitNormal,
    LogNormal,
    LogNormalPopulation,
    MixedPopulation,
    OneCompartmentOral,
    PowerOf,
    SharedPopulation,
    VanCauter,
    VanCauterPopulation,
)


def rows() -> dict[str, Call]:
    w = world()
    eta, cov = torch.zeros(1, 4, 3, dtype=D), {"WT": torch.tensor([70.0, 71.0, 72.0, 73.0], dtype=D)}
    low, high = torch.tensor([1.0, 0.05, 20.0], dtype=D), torch.tensor([2.0, 0.1, 40.0], dtype=D)
    line = LinearBackbone([[-1.0, 0.2], [0.0, -2.0]], [[1.0], [0.0]])
    shared = SharedPopulation([1.0, 2.0])
    vc, vcp = VanCauter(), VanCauterPopulation()
    rates = torch.tensor([[[0.06, 0.05, 0.05]]], dtype=D)
    status = {"age": torch.tensor([40.0, 50.0], dtype=D), "type2": torch.tensor([0.0, 1.0], dtype=D)}
    none = torch.zeros(1, 2, 0, dtype=D)
    mixed = MixedPopulation(
        w.backbone, {"ka": LogNormal(0.5), "ke": LogNormal(0.3), "V": LogitNormal(0.4)}, correlated=[("ke", "V")],
        covariates={"ke": [PowerOf("WT", 70.0, 0.5, unit="kg")]})
    populations = {
        **{"LogNormalPopulation": w.population, "MixedPopulation": mixed, "SharedPopulation": shared, "VanCauterPopulation": vcp},
        **{"MarshPopulation": physics.MarshPopulation(), "SchniderPopulation": physics.SchniderPopulation()},
    }
    late = physics.Administered(w.backbone, lag={"gut": physics.Parameter("Tlag", "h", 0.5, 0.01, 4.0)})
    late_theta = torch.tensor([[[1.5, 0.1, 30.0, 0.5]]], dtype=D)
    asked: dict[str, Call | object] = {}
    for name, one in populations.items():
        q = len(one.box)
        asked |= {
            f"{name}.bound": lambda one=one, q=q: (one.bound, {"theta": torch.ones(1, 2, q, dtype=D), "parameter": 0}),
            f"{name}.deviations": lambda one=one: (one.deviations, {"eta": torch.zeros(1, 2, one.dimension, dtype=D)}),
            f"{name}.plausible": lambda one=one: (one.plausible, {"covariate": "WT"}),
        }
    return of("physics", {
        **asked,
        "CategoryOf": lambda: (physics.CategoryOf, {
            "covariate": "SEX", "levels": {0.0: 0.0, 1.0: -0.2}, "unit": "1", "learn": True}),
        "ExponentialOf": lambda: (physics.ExponentialOf, {
            "covariate": "AGE", "reference": 40.0, "slope": -0.01, "unit": "a", "learn": True}),
        "LinearOf": lambda: (physics.LinearOf, {
            "covariate": "AGE", "reference": 40.0, "slope": -0.01, "unit": "a", "learn": True}),
        "PowerOf": lambda: (PowerOf, {"covariate": "WT", "reference": 70.0, "exponent": 0.75, "unit": "kg", "learn": False}),
        "Occasions": lambda: (physics.Occasions, {"spread": {"CL": 0.15}, "count": 3}),
        "LogNormal": lambda: (LogNormal, {"spread": 0.3}),
        "LogitNormal": lambda: (LogitNormal, {"spread": 0.3}),
        "Normal": lambda: (physics.Normal, {"spread": 2.0}),
        "MixedPopulation": lambda: (MixedPopulation, {
            "parameters": w.backbone, "effects": {"ka": LogNormal(0.5), "ke": LogNormal(0.3), "V": LogitNormal(0.4)},
            "correlated": [("ke", "V")], "omega": {("ke", "V"): 0.02},
            "covariates": {"ke": [PowerOf("WT", 70.0, 0.5, unit="kg")]}, "learn_spread": True,
            "occasions": physics.Occasions({"V": 0.2}, 2)}),
        "MixedPopulation.theta": lambda: (mixed.theta, {"eta": eta, "covariates": dict(cov)}),
        "MixedPopulation.log_prior": lambda: (mixed.log_prior, {"eta": eta}),
        "Defaults": lambda: (physics.Defaults, {
            "observed": (physics.Observed("plasma", "V"),), "compartments": {1: "gut"}, "spread": {"V": 0.2},
            "powers": {"V": {"WT": (70.0, 1.0, "kg")}}, "amounts": True}),
        "LinearBackbone": lambda: (LinearBackbone, {
            "A": [[-1.0, 0.2], [0.0, -2.0]], "B": [[1.0], [0.0]], "states": ["a", "b"], "inputs": ["u"],
            "state_units": ["mg", "mg"], "input_units": ["mg"], "time_unit": "h"}),
        "Administered": lambda: (physics.Administered, {
            "backbone": w.backbone, "lag": {"gut": physics.Parameter("Tlag", "h", 0.5, 0.01, 4.0)},
            "fraction": {"gut": physics.Parameter("F", "1", 0.8, 0.05, 1.5)},
            "duration": {"plasma": physics.Parameter("D", "h", 2.0, 0.1, 24.0)},
            "rate": {"gut": physics.Parameter("R", "mg/h", 50.0, 1.0, 1e4)},
            "initial": {"plasma": physics.Parameter("A0", "mg", 20.0, 1.0, 300.0)},
            "observed": (physics.Parameter("E0", "mg/L", 0.5, -3.0, 6.0),), "start": "empty"}),
        "Administered.matrices": lambda: (late.matrices, {"theta": late_theta.clone()}),
        "Administered.hull": lambda: (late.hull, {"lower": late_theta[0, 0] * 0.9, "upper": late_theta[0, 0] * 1.1}),
        "Administered.initial": lambda: (late.initial, {"theta": late_theta.clone(),
                                                        "baseline": torch.tensor([[0.5]], dtype=D)}),
        "Administered.start": lambda: (late.start, {"theta": late_theta.clone(), "baseline": torch.tensor([[0.5]], dtype=D),
                                                    "u": torch.zeros(1, 1, 0, dtype=D)}),
        "Administered.around": lambda: (late.around, {"backbone": w.backbone}),
        "LinearBackbone.matrices": lambda: (line.matrices, {"theta": none}),
        "LinearBackbone.hull": lambda: (line.hull, {"lower": torch.zeros(0, dtype=D), "upper": torch.zeros(0, dtype=D)}),
        "LinearBackbone.initial": lambda: (line.initial, {"theta": none, "baseline": torch.zeros(2, 1, dtype=D)}),
        "LogNormalPopulation": lambda: (LogNormalPopulation, {
            "parameters": w.backbone, "spread": {"ka": 0.6, "ke": 0.2, "V": 0.2}, "powers": {"V": {"WT": (70.0, 1.0, "kg")}},
            "learn_spread": False, "bend": "late"}),
        "LogNormalPopulation.theta": lambda: (w.population.theta, {"eta": eta, "covariates": dict(cov)}),
        "LogNormalPopulation.log_prior": lambda: (w.population.log_prior, {"eta": eta}),
        "Observed": lambda: (physics.Observed, {"state": "plasma", "volume": "V", "channel": "concentration", "unit": "mg/L"}),
        "OneCompartmentOral": lambda: (OneCompartmentOral, {
            "ka": (0.3, 4.0), "ke": (0.02, 0.25), "V": (5.0, 200.0), "CL": (0.005, 1000.0), "parameters": "rates",
            "faster": "ka", "typical": {"ka": 1.5, "ke": 0.1, "V": 30.0}}),
        "OneCompartmentOral.rates": lambda: (w.backbone.rates, {"theta": w.theta.clone()}),
        "OneCompartmentOral.matrices": lambda: (w.backbone.matrices, {"theta": w.theta.clone()}),
        "OneCompartmentOral.hull": lambda: (w.backbone.hull, {"lower": low.clone(), "upper": high.clone()}),
        "OneCompartmentOral.initial": lambda: (w.backbone.initial, {"theta": w.theta.clone(),
                                                                    "baseline": torch.tensor([[0.5]], dtype=D)}),
        "Parameter": lambda: (physics.Parameter, {"name": "ka", "unit": "/h", "typical": 1.0, "low": 0.1, "high": 10.0,
                                                  "source": "a book", "above": "ke"}),
        "SharedPopulation": lambda: (SharedPopulation, {
            "parameters": w.backbone, "values": {"ka": 1.5, "ke": 0.1, "V": 30.0}, "learned": ("ka",)}),
        "SharedPopulation.theta": lambda: (shared.theta, {"eta": none, "covariates": {}}),
        "SharedPopulation.log_prior": lambda: (shared.log_prior, {"eta": none}),
        "VanCauter": lambda: (VanCauter, {"residual_inputs": {"slope": "mmol/L/min"}}),
        "VanCauter.matrices": lambda: (vc.matrices, {"theta": rates.clone()}),
        "VanCauter.hull": lambda: (vc.hull, {"lower": rates[0, 0] * 0.9, "upper": rates[0, 0] * 1.1}),
        "VanCauter.initial": lambda: (vc.initial, {"theta": rates.clone(), "baseline": torch.tensor([[0.5]], dtype=D)}),
        "VanCauterPopulation.theta": lambda: (vcp.theta, {"eta": none, "covariates": dict(status)}),
        "VanCauterPopulation.enclose": lambda: (vcp.enclose, {"youngest": 30.0, "oldest": 40.0, "type2": (0.0, 1.0)}),
        "VanCauterPopulation.log_prior": lambda: (vcp.log_prior, {"eta": none}),
        "check_backbone": lambda: (physics.check_backbone, {"backbone": w.backbone, "draws": 4, "generator": generator()}),
        "check_population": lambda: (physics.check_population, {
            "population": w.population, "covariates": dict(cov), "generator": generator()}),
        "require_hurwitz": lambda: (physics.require_hurwitz, {"A": -torch.eye(2, dtype=D), "name": "mine"}),
        "spectral_abscissa": lambda: (physics.spectral_abscissa, {"A": torch.tensor([[-1.0, 0.3], [0.1, -2.0]], dtype=D)}),
    })
