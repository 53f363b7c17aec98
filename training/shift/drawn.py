"""People drawn from a model, measured as those of its training were: how far people are from the law when nothing is wrong."""

import math
from dataclasses import replace

import torch

from hybrid import HybridModel, Solver, rollout
from hybrid.defaults import predicting
from learned import select
from physics.arguments import require_generator, require_kind, require_number
from training.people import Cohort, Personal, personalise
from training.people.arguments import require_fit
from training.people.cohort import in_float64


def simulated(
    model: HybridModel,
    cohort: Cohort,
    generator: torch.Generator,
    *,
    people: int = 1000,
    solver: Solver | None = None,
) -> tuple[Cohort, Personal]:
    """About so many people of the model's own law, with the doses, covariates and times of a training, and `personalise` of them.

    y* = μ(η*) + noise with η* ~ N(0, I), each under one of the members, measured where the training's people were. It takes as
    long as personalising so many people does. Who cannot be simulated is left out.
    Returns what `Reference.of(…, simulated=…)` takes.
    Errors: `ValueError` for arguments that do not fit, and for models with process noise or correlated errors, whose draws are no
    independent measurements about a curve.
    """
    require_kind(model, HybridModel, "simulated: model", "simulated(model, cohort, generator)")
    require_fit(model, cohort, "simulated", solver)
    require_generator(generator, "simulated: generator")
    require_number(people, "simulated: people, how many,", least=1.0, most=1e6, whole=True)
    model, cohort = in_float64(model, cohort)
    if model.process is not None:
        raise ValueError("simulated: the model has process noise, and no curve of its own to measure; leave simulated= out")
    N = len(cohort.ids)
    index = torch.arange(N).repeat(math.ceil(int(people) / N))
    many = replace(cohort.people(index), limits=None)
    whose = torch.randint(model.members, (len(index),), generator=generator)
    eta = torch.randn(1, len(index), model.personal, generator=generator, dtype=torch.float64).to(many.y)
    y = torch.full_like(many.y, torch.nan)
    noise = torch.randn(many.y.shape, generator=generator, dtype=torch.float64).to(many.y)
    with torch.no_grad():
        for m in range(model.members):
            rows = torch.nonzero(whose == m)[:, 0]
            if not len(rows):
                continue
            one = select(model, torch.tensor([m])) if model.members > 1 else model
            at = rows.to(y.device)
            run = rollout(one, many.conditions.people(at), eta[:, at], predicting(solver, model.dtype), on_failure="return")
            if run.correlation is not None:
                raise ValueError("simulated: errors of the model are correlated between channels; leave simulated= out")
            y[at] = run.mean[0] + run.variance[0].sqrt() * noise[at]
    drawn = replace(many, y=torch.where(many.mask, y, torch.nan))
    return drawn, personalise(model, drawn, solver=solver)
