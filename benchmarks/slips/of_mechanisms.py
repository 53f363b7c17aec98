"""One valid call of every public name and method of `physics` that is about mechanisms, tiny."""

import torch

import physics
from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import D, generator
from physics.shelf import EffectCompartment, OneCompartment, ParallelElimination


def rows() -> dict[str, Call]:
    mechanism = ParallelElimination()
    tape, backbone = mechanism.tape, physics.LinearisedBackbone(mechanism)
    theta = torch.tensor([[p.typical for p in mechanism.physical]] * 2, dtype=D)
    x, u, none = torch.ones(2, 2, dtype=D), torch.zeros(2, 0, dtype=D), torch.full((2, 1), torch.nan, dtype=D)
    split = physics.linearise(mechanism, x, u, theta)
    eta = torch.zeros(1, 2, 0, dtype=D)
    people = {"weight": 70.0, "age": 40.0, "height": 170.0, "male": 1.0}
    marsh, schnider = physics.MarshPopulation(), physics.SchniderPopulation()
    each = {name: torch.tensor([value, value], dtype=D) for name, value in people.items()}
    plasma, effect = OneCompartment(), EffectCompartment()
    two = physics.renamed(plasma, {"plasma": "blood", "CL": "CL2", "V": "V2"})
    later = physics.renamed(effect, {"Ce": "later", "C": "from", "ke0": "ke1"})
    there = {"C": "plasma/V"}
    return of(
        "physics",
        {
            "LinearisedBackbone": lambda: (
                physics.LinearisedBackbone,
                {"mechanism": mechanism, "x": {"gut": 0.0, "plasma": 10.0}, "u": {}},
            ),
            "LinearisedBackbone.matrices": lambda: (backbone.matrices, {"theta": theta.clone()}),
            "LinearisedBackbone.initial": lambda: (
                backbone.initial,
                {"theta": theta.clone(), "baseline": none.clone()},
            ),
            "LinearisedBackbone.start": lambda: (
                backbone.start,
                {"theta": theta.clone(), "baseline": none.clone(), "u": u.clone()},
            ),
            "Linearised.remainder": lambda: (split.remainder, {"x": x.clone(), "u": u.clone()}),
            "Linearised.slope": lambda: (split.slope, {"x": x.clone(), "u": u.clone()}),
            "MarshPopulation.theta": lambda: (
                marsh.theta,
                {"eta": eta.clone(), "covariates": {"weight": each["weight"]}},
            ),
            "MarshPopulation.log_prior": lambda: (marsh.log_prior, {"eta": eta.clone()}),
            "SchniderPopulation.theta": lambda: (schnider.theta, {"eta": eta.clone(), "covariates": dict(each)}),
            "SchniderPopulation.log_prior": lambda: (schnider.log_prior, {"eta": eta.clone()}),
            "Tape": lambda: (
                physics.Tape,
                {
                    "states": tape.states,
                    "inputs": tape.inputs,
                    "parameters": tape.parameters,
                    "code": tape.code,
                    "rate": tape.rate,
                },
            ),
            "Tape.at": lambda: (tape.at, {"theta": theta.clone()}),
            "Tape.evaluate": lambda: (tape.evaluate, {"x": x.clone(), "u": u.clone(), "theta": theta.clone()}),
            "Tape.plain": lambda: (tape.plain, {"x": x.numpy(), "u": u.numpy(), "theta": theta.numpy()}),
            "Tape.from_dict": lambda: (physics.Tape.from_dict, {"data": tape.to_dict()}),
            "TapedMechanism": lambda: (physics.TapedMechanism, {"data": mechanism.to_dict()}),
            "check_mechanism": lambda: (
                physics.check_mechanism,
                {"mechanism": mechanism, "draws": 4, "generator": generator()},
            ),
            "equilibrium": lambda: (
                physics.equilibrium,
                {"mechanism": mechanism, "u": u.clone(), "theta": theta.clone()},
            ),
            "linearise": lambda: (
                physics.linearise,
                {"mechanism": mechanism, "x": x.clone(), "u": u.clone(), "theta": theta.clone()},
            ),
            "series": lambda: (
                physics.series,
                {"first": plasma, "second": effect, "links": there, "name": "Both", "shared": (), "signs": None},
            ),
            "feedback": lambda: (
                physics.feedback,
                {
                    "first": effect,
                    "second": later,
                    "forward": {"from": "Ce"},
                    "back": {"C": "later"},
                    "name": "Both",
                    "shared": (),
                    "signs": None,
                },
            ),
            "parallel": lambda: (
                physics.parallel,
                {"first": plasma, "second": two, "name": "Both", "shared": (), "signs": None},
            ),
            "renamed": lambda: (physics.renamed, {"mechanism": plasma, "names": {"plasma": "blood"}, "name": "Mine"}),
        },
    )
