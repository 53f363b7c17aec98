"""One valid call of every public name and method of `hybrid.filters`, tiny."""

import copy
from typing import Any

import torch

from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import D, world
from hybrid import Interval, Mesh, RungeKutta
from hybrid.filters import (
    EKF,
    UKF,
    Belief,
    EnKF,
    Followed,
    along,
    check_filter,
    follow,
    smooth,
    starting_belief,
)
from learned import DiagonalDiffusion


def rows() -> dict[str, Call]:
    w = world()
    given, N = w.cohort.conditions, w.cohort.conditions.size
    model = copy.deepcopy(w.model)
    model.process = DiagonalDiffusion([1.0, 1.0])
    people = Followed.of(model, N, covariates=given.covariates, mesh=Mesh(0.5))
    with torch.no_grad():
        start = starting_belief(people, baseline=given.baseline)
        track = along(UKF(people), start, given.segments, w.cohort.y, keep="all")
    start = Belief(start.mean.detach(), start.root.detach(), start.time, start.states)
    d, some, like = model.personal, torch.tensor([0, 2]), torch.zeros((), dtype=D)
    one = Interval.of(torch.full((N,), 0.5, dtype=D), 2, meshed=True)
    y = torch.full((N, 1), 5.0, dtype=D)
    said = UKF(people).update(start, y)[1]
    personal = (torch.zeros(1, N, d, dtype=D), torch.eye(d, dtype=D).repeat(1, N, 1, 1))
    found: dict[str, Any] = {
        "Belief": lambda: (Belief, {"mean": start.mean, "root": start.root, "time": start.time, "states": 2}),
        "Belief.people": lambda: (start.people, {"index": some}),
        "Belief.to": lambda: (start.to, {"like": like}),
        "Followed.of": lambda: (Followed.of, {
            "model": model, "people": N, "covariates": dict(given.covariates), "mesh": Mesh(0.5), "solver": RungeKutta("rk4"),
            "drift": 100.0, "floor": {"gut": 0.1}}),
        "Followed.people": lambda: (people.people, {"index": some}),
        "Followed.driven": lambda: (people.driven, {"x": torch.ones(1, N, 2, dtype=D)}),
        "Innovation.people": lambda: (said.people, {"index": some}),
        "UKF": lambda: (UKF, {"people": people}),
        "EKF": lambda: (EKF, {"people": people}),
        "EnKF": lambda: (EnKF, {"people": people, "particles": 16, "seed": 1, "keys": torch.arange(N)}),
        "EnKF.of": lambda: (EnKF(people, particles=16).of, {"index": some}),
        "along": Call(lambda: (along, {"filter": UKF(people), "start": start, "segments": given.segments, "y": w.cohort.y,
                                       "keep": "last"}), dear=True),
        "follow": Call(lambda: (follow, {"filter": UKF(people), "conditions": given, "y": w.cohort.y, "personal": personal,
                                         "spread": {"gut": 1.0}, "keep": "last"}), dear=True),
        "check_filter": Call(lambda: (check_filter, {"make": UKF, "accuracy": 1e-8}), dear=True),
        "smooth": lambda: (smooth, {"track": track}),
        "starting_belief": lambda: (starting_belief, {
            "people": people, "baseline": given.baseline, "personal": personal, "inputs": None, "spread": {"gut": 1.0},
            "time": torch.zeros(N, dtype=D)}),
    }
    for filter in (UKF(people), EKF(people), EnKF(people, particles=16)):
        name = type(filter).__name__
        found[f"{name}.predict"] = Call(lambda f=filter: (f.predict, {"belief": start, "interval": one}), dear=True)
        found[f"{name}.update"] = Call(lambda f=filter: (f.update, {"belief": start, "y": y}), dear=True)
    return of("hybrid.filters", found)
