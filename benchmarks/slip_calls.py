"""One valid call of every public name and method, tiny, for `slips.py` to spoil one argument at a time."""

import inspect
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import exchange
import hybrid
import learned
import physics
import stability
import training
from benchmarks.slips import PACKAGES, Call
from benchmarks.slips_taken import TAKEN
from hybrid import (
    Concentration,
    Conditions,
    Dose,
    Exponential,
    HybridModel,
    Mesh,
    Prediction,
    RungeKutta,
    Schedule,
    Signal,
    States,
    Torchdiffeq,
    build_segments,
    conditions_of,
    integrate,
    predict,
    rollout,
)
from learned import (
    MLP,
    AdditiveProportional,
    Constant,
    ContractingMLP,
    DiagonalDiffusion,
    Ensemble,
    Joint,
    NeuralNoise,
    Zero,
)
from physics import (
    LinearBackbone,
    LogNormalPopulation,
    OneCompartmentOral,
    SharedPopulation,
    VanCauter,
    VanCauterPopulation,
)
from stability import Box, Certificate, Lure, Refusal, certify
from training import (
    Anchor,
    Checkpoint,
    Cohort,
    Personal,
    Plan,
    Record,
    Shard,
    Stability,
    personalise,
    prior,
)
from training.machinery.checkpoint import Saved
from training.trust import Outcome, recalibration
from training.trust.recalibration import (
    AdaptiveConformal,
    CrossScaling,
    FittedOn,
    IsotonicEvents,
    Scaling,
    SplitConformal,
)

D = torch.float64
# what a caller does not make: results, whose fields are filled by the function that returns them, and interfaces
RESULTS = {
    "hybrid": ("Cause", "Failure", "Parts", "Paths", "RightHandSide", "Rollout", "Segments", "SimulationError", "Solution"),
    "stability": ("Certificate", "Counterexample", "Gain", "LipschitzBound", "Refusal", "Step", "Verdict", "WeightedL1"),
    "learned": ("Field", "Layers"),
    "exchange": ("Outside",),
    "training": (
        *("AtEnd", "Convergence", "FarCovariate", "Fitted", "Marginal"),
        *("PopulationStep", "ShootingStep", "Start", "Step", "Table", "Windows"),
    ),
    "training.trust.recalibration": (
        *("AdaptiveConformal", "CrossScaling", "Followed", "IsotonicEvents", "Scaling", "SplitConformal"),
    ),
}
MODULES = (*PACKAGES, "training.trust.recalibration")


def exported() -> Iterator[tuple[str, Any]]:
    """Every public name with what it stands for: "hybrid.Dose"."""
    for module in MODULES:
        there = import_module(module)
        for name in getattr(there, "__all__", ()):
            yield f"{module}.{name}", getattr(there, name)


def public() -> dict[str, Callable[..., Any]]:
    """Every public call by its name: functions, constructors, and methods that take an argument."""
    found: dict[str, Callable[..., Any]] = {}
    for name, thing in exported():
        module, short = name.rsplit(".", 1)
        if inspect.isclass(thing):
            interface = inspect.isabstract(thing) or getattr(thing, "_is_protocol", False)
            if interface:
                continue
            if short not in RESULTS.get(module, ()) and _takes_any(thing):
                found[name] = thing
            for method, function in _methods(thing):
                found[f"{name}.{method}"] = function
        elif inspect.isfunction(thing):
            found[name] = thing
    return found


def _takes_any(function: Callable[..., Any]) -> bool:
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]
    handed_on = all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters) and len(parameters) == 2
    return bool(parameters) and not handed_on  # *args and **kwargs are those of torch's Module, which takes none


def _methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    seen: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.split(".")[0] not in PACKAGES:
            continue
        for name, value in vars(base).items():
            if (name.startswith("_") and name != "__call__") or name in seen:
                continue
            seen.add(name)
            if name in getattr(cls, "__dataclass_fields__", ()):  # a field whose default is a function
                continue
            function = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            if inspect.isfunction(function) and _takes_any(function):
                yield name, function


def unlisted() -> list[str]:
    """Public calls that no row of the table makes."""
    return sorted(public().keys() - calls().keys())


# --- what the calls are made with ---


@dataclass(frozen=True)
class World:
    """A few tiny things that the calls share."""

    backbone: OneCompartmentOral
    population: LogNormalPopulation
    model: HybridModel
    stack: HybridModel
    people: list[Record]
    cohort: Cohort
    known: Personal
    theta: Tensor
    prediction: Prediction
    y: Tensor
    system: Lure
    certificate: Certificate
    folder: Path


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def schedule() -> Schedule:
    return Schedule((Dose("gut", 0.0, 320.0),))


def records() -> list[Record]:
    units = {"time": "h", "concentration": "mg/L", "dose": "mg", "WT": "kg"}
    values = ([5.0, 8.0, 6.0], [4.0, 7.0, 5.5], [6.0, 9.0, 6.5], [5.5, 8.5, 5.0])
    return [
        Record(str(i), schedule(), np.array([1.0, 2.0, 6.0]), np.array([v]).T, ("concentration",), {"WT": 70.0 + i}, units)
        for i, v in enumerate(values)
    ]


@cache
def world() -> World:
    """All of it, made once."""
    backbone = OneCompartmentOral()
    powers = {"V": {"WT": (70.0, 1.0, "kg")}}
    population = LogNormalPopulation(backbone, spread={"ka": 0.6, "ke": 0.2, "V": 0.2}, powers=powers)
    model = HybridModel(
        backbone,
        population,
        MLP(hidden=(4,), state_scale=256.0, rate_scale=0.01),
        observation=Concentration("plasma", "V"),
        noise=AdditiveProportional([0.5], [0.1], [0.03]),
        covariates={"WT": (70.0, 20.0, "kg")},
    )
    people = records()
    cohort = Cohort.of(people, model)
    known = personalise(model, cohort, iterations=3)
    stack = Ensemble(2).stack(model, generator())
    both = prior(stack, len(people)).draws(2, generator())
    prediction = predict(stack, cohort, both, solver=RungeKutta("rk4"))
    system = Lure(
        A=[[-2.0, 0.5], [0.3, -1.5]],
        weights=[[[0.3, 0.1], [0.2, -0.4], [0.1, 0.1]], [[0.2, 0.1, 0.3], [0.1, -0.2, 0.1]]],
        biases=[[0.1, 0.2, -0.1], [0.0, 0.0]],
        B=[[1.0], [0.0]],
        input_weights=[[0.1], [0.2], [0.1]],
    )
    certificate = certify(system, seconds=5.0)
    if not isinstance(certificate, Certificate):
        raise ValueError(f"the tiny system has no certificate: {certificate.message}")
    theta = torch.tensor([[[1.5, 0.086, 31.5]]], dtype=D)
    return World(
        *(backbone, population, model, stack, people, cohort, known, theta, prediction, cohort.y, system, certificate),
        Path(tempfile.mkdtemp(prefix="slips")),
    )


def others() -> dict[str, Any]:
    """Objects of this project's own kinds, to stand where another belongs."""
    w = world()
    return {
        "a model": w.model,
        "a cohort": w.cohort,
        "records": w.people,
        "a prediction": w.prediction,
        "a schedule": schedule(),
        "a personal": w.known,
        "a system": w.system,
        "a solver": RungeKutta("rk4"),
    }


@cache
def calls() -> Mapping[str, Call]:
    """The table, by package, each row with what its call may take (`slips_taken.py`)."""
    rows = {**_physics(), **_learned(), **_hybrid(), **_training(), **_recalibration(), **_exchange(), **_stability()}
    return {name: replace(row, taken=TAKEN.get(name, {})) for name, row in rows.items()}


def _of(module: str, rows: Mapping[str, Call | Callable[[], Any]]) -> dict[str, Call]:
    return {f"{module}.{name}": row if isinstance(row, Call) else Call(row) for name, row in rows.items()}



def _physics() -> dict[str, Call]:
    w = world()
    eta, cov = torch.zeros(1, 4, 3, dtype=D), {"WT": torch.tensor([70.0, 71.0, 72.0, 73.0], dtype=D)}
    low, high = torch.tensor([1.0, 0.05, 20.0], dtype=D), torch.tensor([2.0, 0.1, 40.0], dtype=D)
    line = LinearBackbone([[-1.0, 0.2], [0.0, -2.0]], [[1.0], [0.0]])
    shared = SharedPopulation([1.0, 2.0])
    vc, vcp = VanCauter(), VanCauterPopulation()
    rates = torch.tensor([[[0.06, 0.05, 0.05]]], dtype=D)
    status = {"age": torch.tensor([40.0, 50.0], dtype=D), "type2": torch.tensor([0.0, 1.0], dtype=D)}
    none = torch.zeros(1, 2, 0, dtype=D)
    return _of("physics", {
        "LinearBackbone": lambda: (LinearBackbone, {
            "A": [[-1.0, 0.2], [0.0, -2.0]], "B": [[1.0], [0.0]], "states": ["a", "b"], "inputs": ["u"],
            "state_units": ["mg", "mg"], "input_units": ["mg"], "time_unit": "h"}),
        "LinearBackbone.matrices": lambda: (line.matrices, {"theta": none}),
        "LinearBackbone.hull": lambda: (line.hull, {"lower": torch.zeros(0, dtype=D), "upper": torch.zeros(0, dtype=D)}),
        "LinearBackbone.initial": lambda: (line.initial, {"theta": none, "baseline": torch.zeros(2, 1, dtype=D)}),
        "LogNormalPopulation": lambda: (LogNormalPopulation, {
            "parameters": w.backbone, "spread": {"ka": 0.6, "ke": 0.2, "V": 0.2}, "powers": {"V": {"WT": (70.0, 1.0, "kg")}},
            "learn_spread": False, "bend": "late"}),
        "LogNormalPopulation.theta": lambda: (w.population.theta, {"eta": eta, "covariates": dict(cov)}),
        "LogNormalPopulation.log_prior": lambda: (w.population.log_prior, {"eta": eta}),
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
        "SharedPopulation": lambda: (SharedPopulation, {"parameters": w.backbone, "values": {"ka": 1.5, "ke": 0.1, "V": 30.0}}),
        "SharedPopulation.theta": lambda: (shared.theta, {"eta": none, "covariates": {}}),
        "SharedPopulation.log_prior": lambda: (shared.log_prior, {"eta": none}),
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


def _learned() -> dict[str, Call]:
    joint = Joint(("a", "b"), ("u",), ("y",), 1)
    x, u, c = (torch.full((1, 3, k), 0.1, dtype=D) for k in (2, 1, 1))
    vertices = [[[-1.0, 0.2], [0.0, -2.0]]]
    mlp, zero = MLP(2, 1, 1, (4,)), Zero(2, 1, 1)
    contracting = ContractingMLP(2, 1, 1, (4,), vertices=vertices)
    heads = (AdditiveProportional([0.5], [0.1], [0.03]), Constant([0.5], [0.03]), NeuralNoise([0.5], [0.03], 2, 1))
    noise = DiagonalDiffusion([0.1, 0.2], [0.1, 0.1])
    seen = {"y": torch.full((1, 3, 4, 1), 2.0, dtype=D), "x": torch.full((1, 3, 4, 2), 0.5, dtype=D),
            "u": torch.full((1, 3, 4, 1), 0.1, dtype=D)}
    layers = mlp.layers()
    rows: dict[str, Any] = {
        "MLP": lambda: (MLP, {
            "states": 2, "inputs": 1, "covariates": 1, "hidden": (4,), "activation": "tanh", "vanishes_at_origin": True,
            "separable": False, "sees_states": True, "sees_inputs": (0,), "acts_on": (0, 1), "state_scale": (1.0, 2.0),
            "input_scale": (1.0,), "rate_scale": 1.0, "generator": generator()}),
        "ContractingMLP": lambda: (ContractingMLP, {
            "states": 2, "inputs": 1, "covariates": 1, "hidden": (4,), "activation": "tanh", "vertices": vertices,
            "metric": [[1.0, 0.0], [0.0, 1.0]], "rate": 0.3, "learn_metric": False, "vanishes_at_origin": True,
            "state_scale": (1.0, 2.0), "input_scale": (1.0,), "rate_scale": 1.0, "generator": generator()}),
        "Zero": lambda: (Zero, {"states": 2, "inputs": 1, "covariates": 1}),
        "AdditiveProportional": lambda: (AdditiveProportional, {"additive": [0.5], "proportional": [0.1], "floor": [0.03]}),
        "Constant": lambda: (Constant, {"sd": [0.5], "floor": [0.03]}),
        "NeuralNoise": lambda: (NeuralNoise, {
            "sd": [0.5], "floor": [0.03], "states": 2, "inputs": 1, "hidden": (4,), "channel_scale": [1.0],
            "state_scale": [1.0, 1.0], "input_scale": [1.0], "generator": generator()}),
        "DiagonalDiffusion": lambda: (DiagonalDiffusion, {"scale": [0.1, 0.2], "proportional": [0.1, 0.1]}),
        "DiagonalDiffusion.joined": lambda: (noise.joined, {"joint": joint}),
        "DiagonalDiffusion.diffusion": lambda: (noise.diffusion, {"x": x.clone()}),
        "Ensemble": lambda: (Ensemble, {"members": 3, "resample": "bootstrap", "folds": 2}),
        "Ensemble.stack": lambda: (Ensemble(3).stack, {"module": MLP(2, 1, 1, (4,)), "generator": generator()}),
        "Ensemble.fold_of": lambda: (Ensemble(3, folds=2).fold_of, {"people": 4, "generator": generator()}),
        "Ensemble.record_weights": lambda: (Ensemble(3, folds=2).record_weights, {
            "people": 4, "generator": generator(), "fold": torch.tensor([0, 1, 0, 1])}),
        "Joint": lambda: (Joint, {"states": ("a", "b"), "inputs": ("u",), "channels": ("y",), "covariates": 1}),
        "Layers.at": lambda: (layers.at, {"c": c.clone()}),
        "Field.__call__": lambda: (layers.at(c), {"x": x.clone(), "u": u.clone()}),
        "Field.jacobian": lambda: (layers.at(c).jacobian, {"x": x.clone(), "u": u.clone()}),
        "check_noise": Call(lambda: (learned.check_noise, {
            "head": heads[1], "states": 2, "inputs": 1, "generator": generator()}), dear=True),
        "check_process_noise": lambda: (learned.check_process_noise, {"process": noise, "generator": generator()}),
        "check_residual": Call(lambda: (learned.check_residual, {"residual": mlp, "generator": generator()}), dear=True),
        "concatenate": lambda: (learned.concatenate, {"modules": [MLP(2, 1, 1, (4,)), MLP(2, 1, 1, (4,))]}),
        "select": lambda: (learned.select, {"module": Ensemble(3).stack(mlp, generator()), "members": torch.tensor([0, 2])}),
    }
    for part in (mlp, contracting, zero):
        name = type(part).__name__
        rows[f"{name}.forward"] = lambda part=part: (part.forward, {"x": x.clone(), "u": u.clone(), "c": c.clone()})
        rows[f"{name}.reset"] = lambda part=part: (part.reset, {"generator": generator()})
        if name != "Zero":
            rows[f"{name}.joined"] = lambda part=part: (part.joined, {"joint": joint})
    for head in heads:
        name = type(head).__name__
        rows[f"{name}.variance"] = lambda head=head: (head.variance, {k: v.clone() for k, v in seen.items()})
        rows[f"{name}.reset"] = lambda head=head: (head.reset, {"generator": generator()})
        rows[f"{name}.joined"] = lambda head=head: (head.joined, {"joint": joint})
    return _of("learned", rows)


def _hybrid() -> dict[str, Call]:
    w = world()
    given, model, segments = w.cohort.conditions, w.model, w.cohort.conditions.segments
    mode = w.known.mode
    theta, c = model.theta(mode, given.covariates).detach(), model.context(mode, given.covariates).detach()
    field, terms = model.bind(segments, theta, c), model.at(theta, c)
    x = torch.full((1, 4, 2), 10.0, dtype=D)
    u, net = torch.zeros(1, 4, field.B.shape[-1], dtype=D), field.network
    held = Signal((0.0, 1.0, 4.0), (1.0, 2.0, 3.0), "held")
    dose = Dose("gut", 0.0, 320.0)
    states, amount = States([0], ["y"], ["mg"]), Concentration("plasma", "V").joined(w.backbone)
    seen = {"x": torch.full((1, 4, 3, 2), 10.0, dtype=D), "theta": theta}
    failure = hybrid.Failure(0, 1.0, hybrid.Cause.NOT_FINITE)
    p = w.prediction
    mask = torch.ones_like(w.cohort.times, dtype=torch.bool)
    index, part = torch.zeros(4, 1, dtype=torch.long), torch.zeros(4, 1, dtype=D)
    everyone = {"schedules": [schedule()] * 4, "times": [[1.0, 2.0]] * 4}
    ends = torch.zeros(1, 4, segments.dt.shape[1] + 1, 2, dtype=D)
    rows: dict[str, Any] = {
        "check_observation": lambda: (hybrid.check_observation, {
            "observation": Concentration("plasma", "V"), "backbone": w.backbone, "generator": generator()}),
        "check_solver": Call(lambda: (hybrid.check_solver, {"solver": RungeKutta("bosh3"), "order": 3, "accuracy": 1e-3}),
                             dear=True),
        "Concentration": lambda: (Concentration, {"state": "plasma", "volume": "V", "channel": "concentration", "unit": "mg/L",
                                                  "molar_mass": 180.0}),
        "Concentration.joined": lambda: (Concentration("plasma", "V").joined, {"backbone": w.backbone}),
        "Concentration.mean": lambda: (amount.mean, dict(seen)),
        "States": lambda: (States, {"index": ["plasma"], "channels": ["y"], "units": ["mg"]}),
        "States.joined": lambda: (states.joined, {"backbone": w.backbone}),
        "States.mean": lambda: (states.mean, dict(seen)),
        "Conditions": lambda: (Conditions, {"segments": segments, "covariates": dict(given.covariates),
                                            "baseline": given.baseline, "mesh": given.mesh}),
        "Conditions.to": lambda: (given.to, {"like": torch.zeros((), dtype=D)}),
        "Conditions.people": lambda: (given.people, {"index": torch.tensor([0, 2])}),
        "Dose": lambda: (Dose, {"state": "gut", "time": 0.0, "amount": 320.0, "duration": 1.0, "lag": 0.25}),
        "Dose.repeated": lambda: (dose.repeated, {"count": 3, "interval": 12.0}),
        "Signal": lambda: (Signal, {"times": (0.0, 1.0), "values": (1.0, 2.0), "kind": "held"}),
        "Signal.at": lambda: (held.at, {"time": 1.0, "side": "left"}),
        "Signal.sample": lambda: (held.sample, {"times": np.array([0.5, 1.0]), "side": "left"}),
        "Schedule": lambda: (Schedule, {"doses": (dose,), "inputs": {"u": held}, "start": 0.0}),
        "Schedule.do": lambda: (
            lambda change, inputs, since: schedule().do(change, inputs=inputs, since=since),
            {"change": {"gut": [dose]}, "inputs": {"u": held}, "since": 0.0}),
        "Schedule.added": lambda: (lambda dose: schedule().added(dose), {"dose": dose}),
        "Schedule.since": lambda: (schedule().since, {"time": 1.0}),
        "Signal.since": lambda: (held.since, {"time": 1.0}),
        "Signal.followed": lambda: (held.followed, {"later": held, "time": 1.0}),
        "Schedule.scaled": lambda: (schedule().scaled, {"state": "gut", "factor": 2.0}),
        "Schedule.split": lambda: (schedule().split, {"state": "gut", "parts": 2, "interval": 1.0}),
        "Schedule.into": lambda: (schedule().into, {"state": "gut"}),
        "Exponential": lambda: (Exponential, {"rtol": 1e-6, "atol": 1e-8, "chunk": 4, "max_steps": 100}),
        "RungeKutta": lambda: (RungeKutta, {"method": "tsit5", "rtol": 1e-6, "atol": 1e-8, "chunk": 4, "max_steps": 100,
                                            "compiled": False}),
        "Torchdiffeq": lambda: (Torchdiffeq, {"method": "rk4", "rtol": 1e-6, "atol": 1e-8, "adjoint": False, "steps": 2}),
        "HybridModel": lambda: (HybridModel, {
            "backbone": w.backbone, "population": w.population, "residual": MLP(hidden=(4,)),
            "observation": Concentration("plasma", "V"), "noise": AdditiveProportional([0.5], [0.1], [0.03]), "latents": 1,
            "covariates": {"WT": (70.0, 20.0, "kg")}, "process": DiagonalDiffusion([0.1, 0.2])}),
        "HybridModel.theta": lambda: (model.theta, {"personal": mode.clone(), "covariates": dict(given.covariates)}),
        "HybridModel.context": lambda: (model.context, {"personal": mode.clone(), "covariates": dict(given.covariates)}),
        "HybridModel.log_prior": lambda: (model.log_prior, {"personal": mode.clone()}),
        "HybridModel.initial": lambda: (model.initial, {"theta": theta.clone(), "baseline": given.baseline}),
        "HybridModel.bind": lambda: (model.bind, {"segments": segments, "theta": theta, "c": c}),
        "HybridModel.at": lambda: (model.at, {"theta": theta, "c": c, "points": 1}),
        "HybridModel.lure": lambda: (model.lure, {"theta": theta.clone(), "c": c.clone()}),
        "Mesh": lambda: (Mesh, {"step": 0.5, "first": 0.1, "growth": 0.25, "observed": True}),
        "Mesh.of": lambda: (Mesh.of, {"model": model, "records": w.people}),
        "Mesh.fastest": lambda: (Mesh.fastest, {"model": model, "covariates": dict(given.covariates), "people": 4}),
        "Mesh.cuts": lambda: (Mesh(0.5, 0.1).cuts, {"begin": 0.0, "end": 4.0}),
        "Prediction": lambda: (Prediction, {"mean": p.mean, "variance": p.variance, "times": p.times, "mask": p.mask,
                                            "channels": p.channels, "units": p.units}),
        "Prediction.cdf": lambda: (p.cdf, {"y": w.y}),
        "Prediction.log_prob": lambda: (p.log_prob, {"y": w.y}),
        "Prediction.crps": lambda: (p.crps, {"y": w.y}),
        "Prediction.exceeds": lambda: (p.exceeds, {"threshold": 5.0}),
        "Prediction.crosses": lambda: (p.crosses, {"threshold": 5.0, "side": "above", "measured": True}),
        "Prediction.quantile": lambda: (p.quantile, {"levels": (0.1, 0.9)}),
        "Prediction.interval": lambda: (p.interval, {"level": 0.9}),
        "Prediction.sample": lambda: (p.sample, {"count": 3, "generator": generator(), "shared_member": False}),
        "Prediction.to": lambda: (p.to, {"device": "cpu"}),
        "Prediction.members": lambda: (p.members, {"indices": [0, 1]}),
        "Prediction.people": lambda: (p.people, {"indices": [0, 2]}),
        "Prediction.during": lambda: (p.during, {"start": 1.5, "end": 3.0}),
        "Segments.people": lambda: (segments.people, {"index": torch.tensor([0, 2])}),
        "Segments.to": lambda: (segments.to, {"like": torch.zeros((), dtype=D)}),
        "Segments.read": lambda: (segments.read, {"states": ends}),
        "Segments.padded": lambda: (segments.padded, {"K": segments.dt.shape[1] + 2, "T": 5}),
        "Segments.refine": lambda: (segments.refine, {"segment": index, "begin": part, "end": part + 1.0}),
        "SemilinearField": lambda: (hybrid.SemilinearField, {"A": field.A, "B": field.B, "residual": field.learned,
                                                             "segments": segments, "tensors": (c,)}),
        "BoundTerm": lambda: (hybrid.BoundTerm, {"value": net, "slope": net.jacobian, "layers": net}),
        "BoundTerm.rate": lambda: (terms.learned.rate, {"x": x, "u": u}),
        "BoundTerm.jacobian": lambda: (terms.learned.jacobian, {"x": x, "u": u}),
        "RightHandSide.parts": lambda: (terms.parts, {"x": x, "u": u, "infused": torch.ones_like(x)}),
        "RightHandSide.rate": lambda: (terms.rate, {"x": x, "u": u, "infused": torch.ones_like(x)}),
        "RightHandSide.jacobian": lambda: (terms.jacobian, {"x": x, "u": u}),
        "SemilinearField.on": lambda: (field.on, {"segments": segments}),
        "SemilinearField.without": lambda: (field.without, {"failures": [failure]}),
        "SemilinearField.slowed": lambda: (field.slowed, {"factor": torch.ones(1, 4, dtype=D)}),
        "SemilinearField.depends_on": lambda: (field.depends_on, {"k": 0, "x": x}),
        "SemilinearField.driving": lambda: (field.driving, {"k": 0}),
        "SemilinearField.input": lambda: (field.input, {"t": 0.5}),
        "SemilinearField.forcing": lambda: (field.forcing, {"t": 0.5}),
        "SemilinearField.residual": lambda: (field.residual, {"t": 0.5, "x": x}),
        "SemilinearField.__call__": lambda: (field, {"t": 0.5, "x": x}),
        "SemilinearField.within": lambda: (field.within, {"k": 0, "s": 0.5, "x": x}),
        "SemilinearField.linear": lambda: (field.linear, {"x": x}),
        "SemilinearField.nonlinear": lambda: (field.nonlinear, {"k": 0, "s": 0.5, "x": x}),
        "SemilinearField.nonlinear_at": lambda: (field.nonlinear_at, {
            "index": torch.zeros(4, dtype=torch.long), "s": torch.full((4,), 0.5, dtype=D), "x": x}),
        "build_segments": lambda: (build_segments, {**everyone, "states": ("gut", "plasma"), "inputs": (), "mesh": Mesh(0.5)}),
        "conditions_of": lambda: (conditions_of, {"model": model, **everyone, "covariates": {"WT": [70.0, 71.0, 72.0, 73.0]},
                                                  "baseline": torch.zeros(4, 1, dtype=D), "mesh": Mesh(0.5)}),
        "field_spread": lambda: (hybrid.field_spread, {
            "model": w.stack, "x": torch.zeros(3, 2, dtype=D) + 100.0, "u": torch.zeros(3, 0, dtype=D),
            "c": torch.zeros(3, 1, dtype=D), "theta": w.theta[0].expand(3, -1).clone()}),
        "integrate": Call(lambda: (integrate, {
            "model": model, **everyone, "theta": w.theta[0, 0].clone(), "start": torch.zeros(2, dtype=D),
            "c": torch.zeros(1, dtype=D), "solver": RungeKutta("rk4"), "mesh": Mesh(0.1)}), dear=True),
        "simulate": Call(lambda: (hybrid.simulate, {
            "model": model, "schedule": schedule(), "times": [1.0, 2.0],
            "theta": w.theta[0, 0].clone(), "start": torch.zeros(2, dtype=D), "c": torch.zeros(1, dtype=D),
            "solver": RungeKutta("rk4"), "mesh": Mesh(0.1)}),
            dear=True),
        "predict": Call(lambda: (predict, {
            "model": model, "cohort": given, "draws": mode[:, None].clone(), "times": w.cohort.times, "mask": mask,
            "solver": RungeKutta("rk4")}), dear=True),
        "rollout": Call(lambda: (rollout, {"model": model, "conditions": given, "personal": mode.clone(),
                                           "solver": RungeKutta("rk4"), "on_failure": "raise"}), dear=True),
        "sample_paths": Call(lambda: (hybrid.sample_paths, {
            "model": model, "conditions": given, "personal": mode.clone(), "count": 2, "generator": generator(),
            "solver": RungeKutta("rk4")}), dear=True),
    }
    for solver in (RungeKutta("rk4"), Exponential(), Torchdiffeq("rk4")):
        rows[f"{type(solver).__name__}.solve"] = Call(
            lambda solver=solver: (solver.solve, {"field": field, "x0": torch.zeros(1, 4, 2, dtype=D)}), dear=True)
    return _of("hybrid", rows)


def _training() -> dict[str, Call]:
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
                 "forecast_from": 1.0, "weights": ones, "held_out": nobody}
    search = {"optimiser": torch.optim.Adam, "rate": 0.05, "schedule": None, "clip": 10.0, "steps": 1, "solver": solver,
              "bfloat16": False, "capture": False, "shard": shard}
    looks = {"every": 20, "patience": 5, "checkpoint": at}
    counted = training.Objective(weights=ones, held_out=nobody, stability=penalty)
    once, soon = training.Search(steps=1, solver=solver), training.Looks(patience=5)
    fit = {"model": model, "cohort": cohort, "objective": counted, "search": once, "looks": soon}
    return _of("training", {
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
                                    "unscored": cohort.unscored}),
        "Cohort.of": Call(lambda: (Cohort.of, {"records": w.people, "model": model, "mesh": Mesh(0.5)}), dear=True),
        "Cohort.until": lambda: (cohort.until, {"time": 2.0}),
        "Cohort.after": lambda: (cohort.after, {"time": 2.0}),
        "Cohort.people": lambda: (cohort.people, {"index": torch.tensor([0, 2])}),
        "Cohort.to": Call(lambda: (cohort.to, {"where": ("cpu", D)}), star="where"),
        "Personal": lambda: (Personal, {"mode": known.mode, "covariance": known.covariance, "objective": known.objective,
                                        "converged": known.converged, "failed": {}}),
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
            "channels": ("concentration",), "covariates": {"WT": 70.0}, "units": {"time": "h", "concentration": "mg/L"}}),
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
        "gaussian_nll": lambda: (training.gaussian_nll, dict(three)),
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
        "shoot": Call(lambda: (training.shoot, {
            "model": model, "cohort": cohort, "objective": training.Objective(weights=ones, stability=penalty), "search": once,
            "count": 2, "by": "time", "personal": known.mode, "starts": None, "scale": None, "rounds": 1, "polish": 1,
            "stiffness": 10.0, "growth": 4.0}), dear=True),
        "starting_values": Call(lambda: (training.starting_values, {
            "records": w.people, "backbone": w.backbone, "powers": {"V": {"WT": (70.0, 1.0, "kg")}}}), dear=True),
        "windows": lambda: (training.windows, {"segments": segments, "count": 2, "by": "time"}),
    })


def _recalibration() -> dict[str, Call]:
    w = world()
    p, y, ids, new = w.prediction, w.y, list(w.cohort.ids), ["a", "b", "c", "d"]
    chance = torch.rand(4, 3, generator=generator(), dtype=D).numpy()
    came = (chance > 0.5).astype(float)
    outcome, unseen = Outcome(p, y, ids), Outcome(p, y + 1.0, new)
    scaling = Scaling.fit(outcome)
    cross = CrossScaling.fit(outcome, folds=2, generator=generator())
    events = IsotonicEvents.fit(chance, came, ids)
    split = SplitConformal.fit(outcome, horizons=None)
    adaptive = AdaptiveConformal.fit(outcome)
    fitted = FittedOn.of(ids, y)
    rows: dict[str, Any] = {
        "FittedOn": lambda: (FittedOn, {"people": ("1",), "observations": 3, "digest": "0" * 64}),
        "FittedOn.of": Call(lambda: (FittedOn.of, {"people": ids, "observed": y, "beside": (y,)}), star="beside"),
        "FittedOn.refuse": Call(lambda: (fitted.refuse, {"people": new, "data": (y + 1.0,), "in_sample": False}), star="data"),
        "Scaling.fit": Call(lambda: (Scaling.fit, {"outcome": outcome, "score": "nll"}), dear=True),
        "Scaling.refuse": lambda: (scaling.refuse, {"people": new, "observed": y + 1.0}),
        "Scaling.apply": lambda: (scaling.apply, {"prediction": p, "people": new, "in_sample": False}),
        "Scaling.perturbed": lambda: (scaling.perturbed, {"prediction": p, "generator": generator()}),
        "CrossScaling.fit": Call(lambda: (CrossScaling.fit, {
            "outcome": outcome, "folds": 2, "generator": generator(), "score": "nll"}), dear=True),
        "CrossScaling.refuse": lambda: (cross.refuse, {"people": ids, "observed": y + 1.0}),
        "CrossScaling.apply": lambda: (cross.apply, {"prediction": p, "people": ids}),
        "CrossScaling.perturbed": lambda: (cross.perturbed, {"prediction": p, "generator": generator()}),
        "IsotonicEvents.fit": lambda: (IsotonicEvents.fit, {"probability": chance, "outcome": came, "people": ids}),
        "IsotonicEvents.apply": lambda: (events.apply, {"probability": chance, "people": new, "in_sample": False}),
        "SplitConformal.fit": lambda: (SplitConformal.fit, {
            "outcome": outcome, "horizons": None, "kind": "residual", "base": 0.8}),
        "SplitConformal.factor": lambda: (split.factor, {"level": 0.5}),
        "SplitConformal.interval": lambda: (split.interval, {"prediction": p, "people": new, "level": 0.5, "in_sample": False}),
        "SplitConformal.coverage": lambda: (split.coverage, {
            "outcome": unseen, "level": 0.5, "generator": generator(), "draws": 20,
            "band_level": 0.9, "in_sample": False}),
        "SplitConformal.sentences": lambda: (split.sentences, {"level": 0.95}),
        "AdaptiveConformal.fit": lambda: (AdaptiveConformal.fit, {"outcome": outcome, "target": 0.1, "gamma": 0.02}),
        "AdaptiveConformal.factor": lambda: (adaptive.factor, {"alpha": np.array([0.5]), "channel": 0}),
        "AdaptiveConformal.follow": lambda: (adaptive.follow, {
            "outcome": unseen, "alpha": np.full((4, 1), 0.5), "in_sample": False}),
        "AdaptiveConformal.bound": lambda: (adaptive.bound, {"observations": 10, "alpha": 0.1}),
        "conformal_quantile": lambda: (recalibration.conformal_quantile, {"scores": np.arange(6.0)[:, None], "level": 0.5}),
        "people_needed": lambda: (recalibration.people_needed, {"level": 0.9}),
        "pool_adjacent_violators": lambda: (recalibration.pool_adjacent_violators, {
            "mean": np.array([0.1, 0.4, 0.3]), "weight": np.ones(3)}),
        "recalibration_from_dict": lambda: (recalibration.recalibration_from_dict, {"data": scaling.to_dict()}),
        "scale_parts": lambda: (recalibration.scale_parts, {"prediction": p, "aleatoric": [1.1], "epistemic": [1.2],
                                                            "personal": [0.9]}),
    }
    for one in (scaling, cross, events, split, adaptive, fitted):
        rows[f"{type(one).__name__}.from_dict"] = lambda one=one: (type(one).from_dict, {"data": one.to_dict()})
    return _of("training.trust.recalibration", rows)


def _exchange() -> dict[str, Call]:
    w = world()
    person = {"id": "1", "schedule": schedule(), "covariates": {"WT": 70.0}, "baseline": (float("nan"),)}
    people = tuple(
        exchange.Person(r.id, r.schedule, dict(r.covariates), tuple(r.baseline.tolist())) for r in w.cohort.records
    )
    bundle = exchange.Bundle(w.model, people, w.known, w.cohort.mesh)
    certified = exchange.Bundle(w.model, people, w.known, w.cohort.mesh, [w.certificate])
    kept = exchange.save(bundle, w.folder / "kept.twin")
    weights = {name: p.detach() for name, p in w.model.named_parameters()}
    return _of("exchange", {
        "Person": lambda: (exchange.Person, dict(person)),
        "Bundle": lambda: (exchange.Bundle, {"model": w.model, "people": people, "personal": w.known, "mesh": w.cohort.mesh,
                                             "claims": [], "calibration": {"a": 1.0}, "provenance": {"a": "b"}}),
        "Bundle.of": lambda: (exchange.Bundle.of, {"model": w.model, "cohort": w.cohort, "people": w.known, "claims": [],
                                                   "calibration": {"a": 1.0}, "provenance": {"a": "b"}, "solver": None}),
        "Bundle.forecast": lambda: (bundle.forecast, {"person": w.cohort.ids[0], "schedule": "", "times": [1.0, 2.0],
                                                      "draws": 2, "seed": 7}),
        "Bundle.prove": lambda: (bundle.prove, {}),
        "Bundle.units_made_in": lambda: (certified.units_made_in, {"claim": w.certificate}),
        "solver_named": lambda: (exchange.solver_named, {"name": "rk4"}),
        "units_of": lambda: (exchange.units_of, {"model": w.model}),
        "Bundle.conditions": lambda: (bundle.conditions, {"times": [[1.0, 2.0]] * 4}),
        "Bundle.person": lambda: (bundle.person, {"id": "1"}),
        "save": Call(lambda: (exchange.save, {"bundle": bundle, "path": str(w.folder / "a.twin")}), dear=True),
        "load": Call(lambda: (exchange.load, {"path": str(kept), "structures": dict(exchange.BUILTIN)}), dear=True),
        "lure_of": lambda: (exchange.lure_of, {"model": w.model, "personal": w.known.mode,
                                               "covariates": dict(w.cohort.conditions.covariates)}),
        "describe": lambda: (exchange.describe, {"model": w.model}),
        "rebuild": lambda: (exchange.rebuild, {"structure": exchange.describe(w.model), "weights": dict(weights),
                                               "structures": dict(exchange.BUILTIN)}),
    })


def _stability() -> dict[str, Call]:
    w = world()
    system, certificate = w.system, w.certificate
    A = torch.tensor(system.A.copy(), dtype=D)
    weights = [torch.tensor(v.copy(), dtype=D) for v in system.weights]
    metric = torch.tensor(certificate.metric.copy(), dtype=D)
    multipliers = [torch.tensor(certificate.multipliers[0].copy(), dtype=D)]
    torch_call = {"A": A, "weights": weights, "metric": metric}
    region = Box([-1.0, -1.0], [1.0, 1.0])
    inputs = stability.Inputs([-0.01], [0.01])
    plain = [np.asarray(v) for v in system.weights]
    rows: dict[str, Any] = {
        "Box": lambda: (Box, {"lower": np.array([-1.0, -1.0]), "upper": np.array([1.0, 1.0])}),
        "Ellipsoid": lambda: (stability.Ellipsoid, {"centre": np.array([0.0, 0.0]), "radius": 1.0}),
        "Inputs": lambda: (stability.Inputs, {"lower": np.array([0.0]), "upper": np.array([1.0]),
                                              "doses": np.array([[1.0, 0.0]]), "gap": 2.0}),
        "Inputs.from_dict": lambda: (stability.Inputs.from_dict, {"data": inputs.to_dict()}),
        "Lure": lambda: (Lure, {
            "A": system.A, "weights": system.weights, "biases": system.biases, "activation": "tanh", "B": system.B,
            "input_weights": system.input_weights, "skip": np.zeros((2, 2))}),
        "Lure.of": lambda: (Lure.of, {"system": system.to_dict()}),
        "Lure.stack": lambda: (Lure.stack, {"systems": [system, system]}),
        "Lure.jacobian": lambda: (system.jacobian, {"slopes": [np.ones(3)]}),
        "Lure.from_dict": lambda: (Lure.from_dict, {"data": system.to_dict()}),
        "best_multipliers": Call(lambda: (stability.best_multipliers, {
            **torch_call, "activation": "tanh", "seconds": 1.0, "small": 256}), dear=True),
        "certify": Call(lambda: (certify, {
            "system": system, "rate": 0.5, "region": None, "inputs": None, "seconds": 2.0, "metric": certificate.metric,
            "multipliers": certificate.multipliers, "condition": 1e4}), dear=True),
        "certify_step": Call(lambda: (stability.certify_step, {
            "certificate": certificate, "system": system, "step": 0.1, "method": "rk4", "seconds": 2.0}), dear=True),
        "Budget": lambda: (stability.Budget, {"cells": 1000, "seconds": 1.0, "bytes": 1_000_000}),
        "decay_in_words": lambda: (stability.decay_in_words, {"rate": 0.5, "unit": "h"}),
        "check": lambda: (stability.check, {"claim": certificate, "system": system}),
        "common_metric": Call(lambda: (stability.common_metric, {
            "jacobians": system.A[None], "rate": 0.5, "condition": 1e4, "seconds": 2.0}), dear=True),
        "contraction_barrier": lambda: (stability.contraction_barrier, {
            **torch_call, "multipliers": multipliers, "rate": 0.5, "activation": "tanh"}),
        "contraction_margin": lambda: (stability.contraction_margin, {**torch_call, "activation": "tanh"}),
        "contraction_rate": lambda: (stability.contraction_rate, {**torch_call, "multipliers": multipliers,
                                                                  "activation": "tanh"}),
        "prove": lambda: (stability.prove, {"claim": certificate, "system": system.to_dict(),
                                            "budget": stability.Budget(cells=1000)}),
        "read_claim": lambda: (stability.read_claim, {"data": certificate.to_dict()}),
        "exactly": lambda: (stability.exactly, {"certificate": certificate, "system": system}),
        "falsify": Call(lambda: (stability.falsify, {"system": system, "rate": 0.5, "region": region, "seconds": 0.3,
                                                     "seed": 0}), dear=True),
        "l2_gain": Call(lambda: (stability.l2_gain, {"certificate": certificate, "system": system, "output": np.eye(2),
                                                     "search": False, "seconds": 1.0}), dear=True),
        "lipschitz_bound": Call(lambda: (stability.lipschitz_bound, {
            "weights": plain, "activation": "tanh", "region": region, "biases": [np.asarray(b) for b in system.biases],
            "seconds": 1.0}), dear=True),
        "metric_cap": Call(lambda: (stability.metric_cap, {"system": system, "samples": 16, "seed": 0, "seconds": 1.0}),
                           dear=True),
        "multi_affine": lambda: (stability.multi_affine, {
            "A": lambda theta: np.diag(-theta), "lower": [1.0, 2.0], "upper": [2.0, 3.0]}),
        "spectral_cap": Call(lambda: (stability.spectral_cap, {"system": system, "samples": 16, "seed": 0}), dear=True),
        "tube": Call(lambda: (stability.tube, {"certificate": certificate, "system": system, "search": False, "state": 0,
                                               "seconds": 1.0}), dear=True),
        "vertices": lambda: (stability.vertices, {"lower": [[-2.0, 0.1], [0.0, -1.0]], "upper": [[-1.0, 0.1], [0.0, -1.0]]}),
        "weighted_l1": Call(lambda: (stability.weighted_l1, {"system": system, "rate": 0.5}), dear=True),
    }
    claims = (certificate, stability.tube(certificate, system), stability.lipschitz_bound(plain, seconds=1.0),
              Refusal(reason="not proved", message="Nothing was found."),
              stability.certify_step(certificate, system, 0.1, seconds=2.0),
              stability.weighted_l1(system))
    for claim in claims:
        rows[f"{type(claim).__name__}.from_dict"] = lambda claim=claim: (type(claim).from_dict, {"data": claim.to_dict()})
    names = [("a", "mg"), ("b", "mg")]
    for claim in (one for one in claims if isinstance(one, stability.Claim)):
        about = {"weights": plain, "activation": "tanh"} if claim.kind == "lipschitz" else system
        rows |= {f"{type(claim).__name__}.{name}": lambda call=call, given=given: (call, dict(given)) for name, call, given in (
            ("prove", claim.prove, {"system": about, "budget": stability.Budget(cells=1000)}),
            ("in_words", claim.in_words, {"time_unit": "h"}),
            ("details", claim.details, {"time_unit": "h", "states": names}),
        )}
    rows |= {
        "Certificate.caps_in_words": lambda: (certificate.caps_in_words, {"time_unit": "h"}),
        "Certificate.where_in_words": lambda: (certificate.where_in_words, {"states": names, "time_unit": "h"}),
    }
    return _of("stability", rows)
