"""Ours beside what is published, on the 35 test people of the published split, and what the hybrid has to beat."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from homeostat.c_peptide.agreement import (
    Estimate,
    agreement,
    consensus,
    interval,
    mean_over,
    root_difference,
    root_mean_over,
    squared_errors,
)
from homeostat.c_peptide.beta import AHEAD, ALL_FIVE, FIRST_PHASE, means
from homeostat.c_peptide.model import FORECAST_FROM, people
from homeostat.c_peptide.rivals import Proportional, as_predicted, carried_forward, steady, values_of
from hybrid import HybridModel, Torchdiffeq, rollout
from training import Cohort, Plan
from training.people import Ohashi

OURS, LAST, KINETICS, PROPORTIONAL = (
    "hybrid",
    "last value carried forward",
    "kinetics alone",
    "secretion ∝ rise of glucose",
)
KNOWN = 3  # samples up to `FORECAST_FROM`


@dataclass(frozen=True, eq=False)
class Figures:
    """The three figures by model, each with a 95 % interval over people.

    `squared_error`: of one test person over the samples, β (or b) from all five, nmol²/L² · `forecast`: RMSE at 90 and 120 min
    of the test people from the samples of the first hour, nmol/L · `difference`: of that RMSE, hybrid less rival, on the same
    draws of people · `rank`: |Spearman ρ| of β with the clamp's first phase, everyone who has it, and `rank_test`, the
    test people among them · `order`, `first_phase` (n,): what `rank` is of · `apart`: how far C-peptide by the steps of
    training is from that by dopri5 to 1e-8, and `noise`, the root of the mean variance of the noise there, nmol/L.
    """

    squared_error: dict[str, Estimate]
    forecast: dict[str, Estimate]
    difference: dict[str, Estimate]
    rank: Estimate
    rank_test: Estimate
    order: np.ndarray
    first_phase: np.ndarray
    apart: float
    noise: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, each figure as [value, lower, upper]."""
        by_model = {name: getattr(self, name) for name in ("squared_error", "forecast", "difference")}
        return {
            **{name: {k: one.to_list() for k, one in found.items()} for name, found in by_model.items()},
            "rank": self.rank.to_list(),
            "rank_test": self.rank_test.to_list(),
            "rank_people": int(self.order.size),
            "solver_apart": self.apart,
            "noise": self.noise,
        }


def figures_of(model: HybridModel, cohort: Cohort, data: Ohashi, seed: int) -> Figures:
    """The figures of this ensemble, whose predictions are averaged; `cohort`: the training people.

    The network is frozen, and β is found for each person and member.
    """
    test = people(data.test, model)
    full, exact = means(model, test, ALL_FIVE, 120.0)
    ahead, _ = means(model, test, AHEAD, FORECAST_FROM)
    y, simple = values_of(data.test), Proportional.of(data.train)
    fitted = {OURS: full.mean(0)} | {
        name: as_predicted(values, full)
        for name, values in (
            (PROPORTIONAL, simple.predict(data.test, ALL_FIVE, y.shape[1])),
            (KINETICS, steady(y)),
        )
    }
    forecasts = {OURS: ahead.mean(0)} | {
        name: as_predicted(values, full)
        for name, values in (
            (PROPORTIONAL, simple.predict(data.test, AHEAD, KNOWN)),
            (LAST, carried_forward(y, KNOWN)),
            (KINETICS, steady(y)),
        )
    }
    whole = {name: squared_errors(mean, test).sum(1) for name, mean in fitted.items()}
    later = {name: squared_errors(mean, test)[:, KNOWN:].mean(1) for name, mean in forecasts.items()}
    rng, N = np.random.default_rng(seed), len(data.test)

    # β against the clamp, for everyone who has the index: the published number is of training and test people together
    (_, beta_train), (_, beta) = (means(model, c, FIRST_PHASE, 120.0) for c in (cohort, test))
    order = consensus(torch.cat([beta_train, beta], 1).cpu().numpy())
    index = np.array([data.first_phase.get(r.id, np.nan) for r in (*data.train, *data.test)])
    clamped = np.isfinite(index)
    tested = clamped & (np.arange(len(index)) >= len(data.train))

    with torch.no_grad():  # the same people under an adaptive solver
        fine = rollout(model, test.conditions, exact[..., None], Torchdiffeq("dopri5", rtol=1e-8, atol=1e-9))
    return Figures(
        squared_error={name: interval(partial(mean_over, e), N, rng) for name, e in whole.items()},
        forecast={name: interval(partial(root_mean_over, e), N, rng) for name, e in later.items()},
        difference={
            name: interval(partial(root_difference, later[OURS], e), N, rng)
            for name, e in later.items()
            if name != OURS
        },
        rank=agreement(order[clamped], index[clamped], rng),
        rank_test=agreement(order[tested], index[tested], rng),
        order=order[clamped],
        first_phase=index[clamped],
        apart=float((fine.mean[..., 0] - full).abs().max()),
        noise=float(fine.variance[..., 0][..., test.mask[..., 0]].mean().sqrt()),
    )


def unseen_differences(
    ahead: Tensor,  # (N, T)
    plan: Plan,
    data: Ohashi,
    seed: int,
) -> dict[str, Estimate]:
    """RMSE at 90 and 120 min of the training people less that of each rival. `ahead`: by the members that never saw them.

    A proportion is of the same folds: its mean and spread come from the people of the others.
    """
    y = values_of(data.train)
    simple = np.zeros_like(y)
    for k in range(plan.folds):
        inside = (plan.fold == k).numpy()
        own, rest = ([r for r, i in zip(data.train, inside, strict=True) if i == which] for which in (True, False))
        if own:
            simple[inside] = Proportional.of(rest).predict(own, AHEAD, KNOWN)
    rivals = {PROPORTIONAL: simple, LAST: carried_forward(y, KNOWN), KINETICS: steady(y)}
    errors = {name: ((values - y) ** 2)[:, KNOWN:].mean(1) for name, values in rivals.items()}
    ours = ((ahead.cpu().numpy() - y) ** 2)[:, KNOWN:].mean(1)
    rng = np.random.default_rng(seed)
    return {name: interval(partial(root_difference, ours, e), len(y), rng) for name, e in errors.items()}
