"""One valid call of every public name and method of `learned`, tiny."""

from typing import Any

import torch

import learned
from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import D, generator
from learned import (
    MLP,
    AdditiveProportional,
    Combined1,
    Combined2,
    Constant,
    ContractingMLP,
    Correlated,
    DiagonalDiffusion,
    Ensemble,
    Joint,
    NeuralNoise,
    SumOfResiduals,
    Zero,
)


def rows() -> dict[str, Call]:
    joint = Joint(("a", "b"), ("u",), ("y",), 1)
    x, u, c = (torch.full((1, 3, k), 0.1, dtype=D) for k in (2, 1, 1))
    vertices = [[[-1.0, 0.2], [0.0, -2.0]]]
    mlp, zero = MLP(2, 1, 1, (4,)), Zero(2, 1, 1)
    contracting = ContractingMLP(2, 1, 1, (4,), vertices=vertices)
    of_theta = [{"name": "V", "at": 0, "low": 5.0, "high": 200.0}]
    heads = (
        AdditiveProportional([0.5], [0.1], [0.03]),
        Constant([0.5], [0.03]),
        Combined1([0.5], [0.1], [0.03]),
        NeuralNoise([0.5], [0.03], 2, 1),
    )
    noise = DiagonalDiffusion([0.1, 0.2], [0.1, 0.1])
    seen = {"y": torch.full((1, 3, 4, 1), 2.0, dtype=D), "x": torch.full((1, 3, 4, 2), 0.5, dtype=D),
            "u": torch.full((1, 3, 4, 1), 0.1, dtype=D)}
    layers = mlp.layers()
    rows: dict[str, Any] = {
        "MLP": lambda: (MLP, {
            "states": 2, "inputs": 1, "covariates": 1, "hidden": (4,), "activation": "tanh", "vanishes_at_origin": True,
            "separable": False, "sees_states": (0, 1), "sees_inputs": (0,), "acts_on": (0, 1), "sees_theta": of_theta,
            "state_scale": (1.0, 2.0), "input_scale": (1.0,), "rate_scale": 1.0, "generator": generator()}),
        "ContractingMLP": lambda: (ContractingMLP, {
            "states": 2, "inputs": 1, "covariates": 1, "hidden": (4,), "activation": "tanh", "vertices": vertices,
            "metric": [[1.0, 0.0], [0.0, 1.0]], "rate": 0.3, "learn_metric": False, "vanishes_at_origin": True,
            "sees_inputs": (0,), "sees_theta": of_theta,
            "state_scale": (1.0, 2.0), "input_scale": (1.0,), "rate_scale": 1.0, "generator": generator()}),
        "SumOfResiduals": lambda: (SumOfResiduals, {"terms": [MLP(2, 1, 1, (4,)), MLP(2, 1, 1, (3,))]}),
        "Zero": lambda: (Zero, {"states": 2, "inputs": 1, "covariates": 1}),
        "AdditiveProportional": lambda: (AdditiveProportional, {"additive": [0.5], "proportional": [0.1], "floor": [0.03]}),
        "Combined1": lambda: (Combined1, {"additive": [0.5], "proportional": [0.1], "floor": [0.03]}),
        "Combined2": lambda: (Combined2, {"additive": [0.5], "proportional": [0.1], "floor": [0.03]}),
        "Correlated": lambda: (Correlated, {
            "head": Constant([0.5, 0.2], [0.03, 0.01]), "start": [[1.0, 0.3], [0.3, 1.0]]}),
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
        "Joint": lambda: (Joint, {
            "states": ("a", "b"), "inputs": ("u",), "channels": ("y",), "covariates": 1, "boxes": {"V": (5.0, 200.0)}}),
        "Layers.at": lambda: (layers.at, {"c": c.clone()}),
        "Field.__call__": lambda: (layers.at(c), {"x": x.clone(), "u": u.clone()}),
        "Field.jacobian": lambda: (layers.at(c).jacobian, {"x": x.clone(), "u": u.clone()}),
        "check_noise": Call(lambda: (learned.check_noise, {
            "head": heads[1], "states": 2, "inputs": 1, "generator": generator()}), dear=True),
        "check_process_noise": lambda: (learned.check_process_noise, {"process": noise, "generator": generator()}),
        "check_residual": Call(lambda: (learned.check_residual, {
            "residual": mlp, "parameters": 0, "generator": generator()}), dear=True),
        "concatenate": lambda: (learned.concatenate, {"modules": [MLP(2, 1, 1, (4,)), MLP(2, 1, 1, (4,))]}),
        "select": lambda: (learned.select, {"module": Ensemble(3).stack(mlp, generator()), "members": torch.tensor([0, 2])}),
    }
    for part in (mlp, contracting, SumOfResiduals([mlp, MLP(2, 1, 1, (3,))]), zero):
        name = type(part).__name__
        rows[f"{name}.forward"] = lambda part=part: (part.forward, {"x": x.clone(), "u": u.clone(), "c": c.clone()})
        rows[f"{name}.reset"] = lambda part=part: (part.reset, {"generator": generator()})
        if name != "Zero":
            rows[f"{name}.joined"] = lambda part=part: (part.joined, {"joint": joint})
    for head in heads:
        for name in {type(head).__name__, "Combined2" if isinstance(head, Combined2) else type(head).__name__}:
            rows[f"{name}.variance"] = lambda head=head: (head.variance, {k: v.clone() for k, v in seen.items()})
            rows[f"{name}.reset"] = lambda head=head: (head.reset, {"generator": generator()})
            rows[f"{name}.joined"] = lambda head=head: (head.joined, {"joint": joint})
    both = Correlated(Constant([0.5, 0.2], [0.03, 0.01]), [[1.0, 0.3], [0.3, 1.0]])
    two = {**seen, "y": torch.full((1, 3, 4, 2), 2.0, dtype=D)}
    rows["Correlated.variance"] = lambda: (both.variance, {k: v.clone() for k, v in two.items()})
    rows["Correlated.reset"] = lambda: (both.reset, {"generator": generator()})
    rows["Correlated.joined"] = lambda: (both.joined, {"joint": Joint(("a", "b"), ("u",), ("y", "z"), 1)})
    return of("learned", rows)
