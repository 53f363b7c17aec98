"""One valid call of every public name and method of `training.trust`, tiny."""

from typing import Any

import numpy as np
import torch

from benchmarks.slips.attempt import Call, of
from benchmarks.slips.world import D, generator, world
from training.trust import Outcome, recalibration
from training.trust.recalibration import (
    AdaptiveConformal,
    CrossScaling,
    FittedOn,
    IsotonicEvents,
    Scaling,
    SplitConformal,
)


def rows() -> dict[str, Call]:
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
    return of("training.trust.recalibration", rows)
