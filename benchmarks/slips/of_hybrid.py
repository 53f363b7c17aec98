"""One valid call of every public name and method of `hybrid`, tiny."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

import hybrid
from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import D, generator, schedule, world
from hybrid import (
    BoundTerm,
    Concentration,
    Conditions,
    Dose,
    Exponential,
    HybridModel,
    Interval,
    Log,
    Mesh,
    Prediction,
    RungeKutta,
    Schedule,
    Signal,
    States,
    Steady,
    Term,
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
    DiagonalDiffusion,
)


class Fading(Term):
    """−x/(1 + |x|) of every state."""

    def at(self, theta: torch.Tensor, c: torch.Tensor) -> BoundTerm:
        return BoundTerm(lambda x, u: -x / (1.0 + x.abs()))

    def config(self) -> dict[str, Any]:
        return {}


class _Decay:
    """dx = −x dt + dW of two states, on plain arrays."""

    def flow(self, x: Tensor, interval: Interval) -> Tensor:
        return x * torch.exp(-interval.dt)[:, None]

    def slope(self, x: Tensor, u: Tensor) -> Tensor:
        return -self.intensity(x)

    def intensity(self, x: Tensor) -> Tensor:
        return torch.eye(2, dtype=x.dtype).expand(1, x.shape[1], 2, 2)


def rows() -> dict[str, Call]:
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
    beside = hybrid.Offset(amount, 0.5).joined(w.backbone)
    weighed = hybrid.Offset(amount, covariates={"WT": (0.1, "kg")}).joined(w.backbone)
    known = {"u": torch.zeros(1, 4, 3, 0, dtype=D), "covariates": {"WT": torch.full((4,), 70.0, dtype=D)}}
    failure = hybrid.Failure(0, 1.0, hybrid.Cause.NOT_FINITE)
    p = w.prediction
    mask = torch.ones_like(w.cohort.times, dtype=torch.bool)
    index, part = torch.zeros(4, 1, dtype=torch.long), torch.zeros(4, 1, dtype=D)
    everyone = {"schedules": [schedule()] * 4, "times": [[1.0, 2.0]] * 4}
    ends = torch.zeros(1, 4, segments.dt.shape[1] + 1, 2, dtype=D)
    spread = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=D).repeat(4, 1, 1)
    made = Interval.of(torch.full((4,), 0.5, dtype=D), 2)
    rows: dict[str, Any] = {
        "check_observation": lambda: (hybrid.check_observation, {
            "observation": Concentration("plasma", "V"), "backbone": w.backbone, "generator": generator()}),
        "check_solver": Call(lambda: (hybrid.check_solver, {"solver": RungeKutta("bosh3"), "order": 3, "accuracy": 1e-3}),
                             dear=True),
        "check_term": lambda: (hybrid.check_term, {
            "term": Fading(), "backbone": w.backbone, "covariates": 1, "generator": generator()}),
        "Concentration": lambda: (Concentration, {"state": "plasma", "volume": "V", "channel": "concentration", "unit": "mg/L",
                                                  "molar_mass": 180.0}),
        "Log": lambda: (Log, {"within": Concentration("plasma", "V"), "least": 0.001}),
        "Log.joined": lambda: (Log(Concentration("plasma", "V"), 0.001).joined, {"backbone": w.backbone}),
        "Log.mean": lambda: (Log(amount, 0.001).mean, dict(seen)),
        "Log.seen": lambda: (Log(amount, 0.001).seen, dict(seen)),
        "Log.offset": lambda: (Log(amount, 0.001).offset, {"theta": theta}),
        "Concentration.joined": lambda: (Concentration("plasma", "V").joined, {"backbone": w.backbone}),
        "Concentration.mean": lambda: (amount.mean, dict(seen)),
        "Offset": lambda: (hybrid.Offset, {
            "observation": States(["plasma", "gut"]), "by": 0.5, "channel": "gut", "inputs": {"u": 0.25},
            "covariates": {"WT": (0.1, "kg")}}),
        "Offset.joined": lambda: (hybrid.Offset(Concentration("plasma", "V"), 0.5).joined, {"backbone": w.backbone}),
        "Offset.mean": lambda: (beside.mean, dict(seen)),
        "Offset.seen": lambda: (weighed.seen, dict(seen) | dict(known)),
        "Offset.offset": lambda: (weighed.offset, {"theta": theta} | dict(known)),
        "States": lambda: (States, {"index": ["plasma"], "channels": ["y"], "units": ["mg"]}),
        "States.joined": lambda: (states.joined, {"backbone": w.backbone}),
        "States.mean": lambda: (states.mean, dict(seen)),
        "States.seen": lambda: (states.seen, dict(seen)),
        "States.offset": lambda: (states.offset, {"theta": theta}),
        "Concentration.seen": lambda: (amount.seen, dict(seen)),
        "Concentration.offset": lambda: (amount.offset, {"theta": theta}),
        "Conditions": lambda: (Conditions, {"segments": segments, "covariates": dict(given.covariates),
                                            "baseline": given.baseline, "mesh": given.mesh, "limited": False}),
        "Conditions.by_piece": lambda: (given.by_piece, {"personal": torch.zeros(1, given.size, w.model.personal, dtype=D)}),
        "Conditions.recut": lambda: (given.recut, {"segments": segments, "times": w.cohort.times}),
        "Conditions.to": lambda: (given.to, {"like": torch.zeros((), dtype=D)}),
        "Conditions.people": lambda: (given.people, {"index": torch.tensor([0, 2])}),
        "Dose": lambda: (Dose, {"state": "gut", "time": 0.0, "amount": 320.0, "duration": 1.0, "lag": 0.25, "kept": "rate"}),
        "Dose.repeated": lambda: (dose.repeated, {"count": 3, "interval": 12.0}),
        "Signal": lambda: (Signal, {"times": (0.0, 1.0), "values": (1.0, 2.0), "kind": "held"}),
        "Signal.at": lambda: (held.at, {"time": 1.0, "side": "left"}),
        "Signal.sample": lambda: (held.sample, {"times": np.array([0.5, 1.0]), "side": "left"}),
        "Schedule": lambda: (Schedule, {"doses": (dose,), "inputs": {"u": held}, "start": 0.0}),
        "Schedule.begun_anew": lambda: (schedule().begun_anew, {
            "resets": (72.0,), "steady": (Steady("gut", 24.0, 320.0, every=24.0),)}),
        "Schedule.require_unbroken": lambda: (schedule().require_unbroken, {"name": "windows", "cure": "take it out"}),
        "Segments.require_unbroken": lambda: (segments.require_unbroken, {"name": "windows", "cure": "take it out"}),
        "Steady": lambda: (Steady, {"state": "gut", "time": 0.0, "amount": 320.0, "every": 24.0, "duration": 2.0, "added": True,
                                    "kept": "rate"}),
        "Schedule.do": lambda: (
            lambda change, inputs=None, since=None: schedule().do(change, inputs=inputs, since=since),
            {"change": {"gut": [dose]}, "inputs": {"u": held}, "since": 0.0}),
        "Schedule.added": lambda: (lambda dose: schedule().added(dose), {"dose": dose}),
        "Schedule.onwards": lambda: (schedule().onwards, {"time": 1.0, "change": lambda later: later.do("clear gut")}),
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
        "Interval.of": lambda: (Interval.of, {
            "dt": torch.full((4,), 0.5, dtype=D), "states": 2, "jump": x[0].clone(), "rate": x[0].clone(),
            "inputs": (torch.ones(4, 1, dtype=D), torch.zeros(4, 1, dtype=D)), "start": torch.zeros(4, dtype=D), "meshed": True}),
        "Interval.at": lambda: (Interval.at, {"segments": segments, "k": 0}),
        "Interval.cut": lambda: (made.cut, {"mesh": Mesh(0.2), "since": torch.zeros(4, dtype=D)}),
        "Interval.people": lambda: (made.people, {"index": torch.tensor([0, 2])}),
        "Interval.to": lambda: (made.to, {"like": torch.zeros((), dtype=D)}),
        "propagate": lambda: (hybrid.propagate, {
            "field": _Decay(), "x": x.clone(), "S": torch.eye(2, dtype=D).repeat(1, 4, 1, 1),
            "interval": Interval.of(torch.full((4,), 0.5, dtype=D), 2)}),
        "transition": lambda: (hybrid.transition, {"J": -torch.eye(2, dtype=D).repeat(4, 1, 1), "D": spread.clone()}),
        "root": lambda: (hybrid.root, {"Q": spread.clone()}),
        "Mesh": lambda: (Mesh, {"step": 0.5, "first": 0.1, "growth": 0.25, "observed": True}),
        "Mesh.of": lambda: (Mesh.of, {"model": model, "records": w.people}),
        "Mesh.fastest": lambda: (Mesh.fastest, {"model": model, "covariates": dict(given.covariates), "people": 4}),
        "Mesh.cuts": lambda: (Mesh(0.5, 0.1).cuts, {"begin": 0.0, "end": 4.0}),
        "Mesh.parts": lambda: (Mesh(0.5, 0.1).parts, {"begin": np.array([0.0, 1.0]), "end": np.array([4.0, 2.0])}),
        "Prediction": lambda: (Prediction, {"mean": p.mean, "variance": p.variance, "times": p.times, "mask": p.mask,
                                            "channels": p.channels, "units": p.units, "ids": p.ids}),
        "Shift": lambda: (hybrid.Shift, {"reasons": (), "looked": ("given",), "unknown": ""}),
        "ShiftReason": lambda: (hybrid.ShiftReason, {
            "look": "given", "sentence": "twice", "name": "gut", "value": 2.0, "limit": 1.0}),
        "Prediction.cdf": lambda: (p.cdf, {"y": w.y}),
        "Prediction.log_prob": lambda: (p.log_prob, {"y": w.y}),
        "Prediction.crps": lambda: (p.crps, {"y": w.y}),
        "Prediction.exceeds": lambda: (p.exceeds, {"threshold": 5.0}),
        "Prediction.crosses": lambda: (p.crosses, {"threshold": 5.0, "side": "above", "measured": True}),
        "Prediction.quantile": lambda: (p.quantile, {"levels": (0.1, 0.9)}),
        "Prediction.interval": lambda: (p.interval, {"level": 0.9}),
        "Prediction.to_frame": lambda: (p.to_frame, {"level": 0.9}),
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
        "SemilinearField.named": lambda: (field.named, {"some": x[0, 0] > 1.0}),
        "SemilinearField.depends_on": lambda: (field.depends_on, {"k": 0, "x": x}),
        "SemilinearField.driving": lambda: (field.driving, {"k": 0}),
        "SemilinearField.input": lambda: (field.input, {"t": 0.5}),
        "SemilinearField.forcing": lambda: (field.forcing, {"t": 0.5}),
        "SemilinearField.residual": lambda: (field.residual, {"t": 0.5, "x": x}),
        "SemilinearField.__call__": lambda: (field, {"t": 0.5, "x": x}),
        "SemilinearField.rate": lambda: (field.rate, {"k": 0, "s": 0.5, "x": x}),
        "SemilinearField.within": lambda: (field.within, {"k": 0, "s": 0.5, "x": x}),
        "SemilinearField.linear": lambda: (field.linear, {"x": x}),
        "SemilinearField.nonlinear": lambda: (field.nonlinear, {"k": 0, "s": 0.5, "x": x}),
        "SemilinearField.nonlinear_at": lambda: (field.nonlinear_at, {
            "index": torch.zeros(4, dtype=torch.long), "s": torch.full((4,), 0.5, dtype=D), "x": x}),
        "build_segments": lambda: (build_segments, {**everyone, "states": ("gut", "plasma"), "inputs": (), "mesh": Mesh(0.5)}),
        "segments_of": lambda: (hybrid.segments_of, {
            "dt": torch.full((4, 3), 0.5, dtype=D), "states": 2, "jump": torch.ones(4, 3, 2, dtype=D),
            "rate": torch.ones(4, 3, 2, dtype=D), "inputs": (torch.ones(4, 3, 1, dtype=D), torch.zeros(4, 3, 1, dtype=D)),
            "start": torch.zeros(4, dtype=D), "since": torch.zeros(4, dtype=D), "mesh": Mesh(0.2)}),
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
    return of("hybrid", rows)
