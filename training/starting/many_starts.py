"""Many starts in one batch: copies of a model as members, and the best of what became of them."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel
from learned import Residual, select
from learned.ensemble import concatenate
from physics.arguments import require_generator, require_kind, require_number
from physics.glance import Summary, glance
from training.fitted import Fitted


def several(model: HybridModel, count: int, generator: torch.Generator, spread: float = 3.0) -> HybridModel:
    """`count` copies of a model as members, of which each fit searches from a place of its own, all in one computation.

    The first is the model as it is. Of each other one, every typical value that is learned is multiplied by
    `spread`^u, u uniform in (−1, 1), on the scale of its population (of one that may be negative, which has no factors, a quarter
    of its box is taken for log 3); so are the spreads ω and the noises where they are learned; and what starts at random (a
    residual's weights) is drawn anew. Where that would lie outside a box, the population bends it back inside.
    Arguments: `model` of one member · `count` ≥ 1 · `generator` · `spread`, a factor above 1.
    Returns a model to fit: `best_of` chooses. `select(several(…), torch.tensor([k]))` is the k-th start.
    Errors: `ValueError` for a model that is stacked already, and one in which nothing is learned.
    """
    require_kind(model, HybridModel, "several: model", "several(model, 8, generator)")
    require_number(count, "several: count", least=1.0, most=1e6, whole=True)
    require_generator(generator, "several: generator")
    require_number(spread, "several: spread, a factor,", above=1.0)
    if model.members != 1:
        raise ValueError(f"several: the model has {model.members} members already; give one, select(model, torch.tensor([0]))")
    moved = [name for name, p in model.named_parameters() if p.numel()]
    if not moved:
        raise ValueError("several: nothing in the model is learned, so that every start would be the same")
    widest = math.log(float(spread))
    steps = _scales(model)
    found = [copy.deepcopy(model)]
    for _ in range(int(count) - 1):
        one = copy.deepcopy(model)
        for part in one.modules():
            if isinstance(part, Residual):
                part.reset(generator)
        with torch.no_grad():
            for name, p in one.named_parameters():
                if name in steps:
                    u = 2.0 * torch.rand(p.shape, generator=generator, dtype=torch.float64, device=generator.device) - 1.0
                    p.add_((widest * u).to(p) * steps[name].to(p))
        found.append(one)
    return concatenate(found)


def _scales(model: HybridModel) -> dict[str, Tensor]:
    """How far a factor e moves each trainable tensor whose numbers are typical values, spreads or noises."""
    population, found = model.population, {}
    for name, p in model.named_parameters():
        if name == "population.shift":
            found[name] = torch.tensor([_step(population, j) for j in range(p.shape[-1])], dtype=torch.float64)
        elif name.rsplit(".", 1)[-1].startswith("log_") and name.split(".")[0] in ("population", "noise", "process"):
            found[name] = torch.ones(())
    return found


def _step(population: Any, j: int) -> float:
    scales = getattr(population, "scales", None)
    if scales is None or scales[j] != "linear":
        return 1.0
    low, high = population.box[j].tolist()
    return 0.25 * (high - low) / math.log(3.0)


@dataclass(frozen=True)
class Best:
    """The member that ended lowest.

    `fitted`, it alone · `member`, which it was · `objective` (M,), each member's at the end, of all people together · `agree`
    (M,): whether it is within `within` of the least · `sentence`, in words.
    """

    fitted: Fitted
    member: int
    objective: Tensor
    agree: Tensor
    within: float
    sentence: str

    __repr__, _repr_html_ = glance(lambda best: _summary(best))


def _summary(best: Any) -> Summary:
    return f"Best: member {best.member} of {len(best.objective)}", [("objective", best.objective), ("agree", best.agree)]


def best_of(fitted: Fitted, *, people: float | None = None, within: float = 0.1) -> Best:
    """The best of several searches, and whether the others arrived at the same place.

    Arguments: `fitted`, what `last(fit_population(several(…), …))`, or `last` of another fit, left: its `step` has every member's
    objective per person, and, of `fit_population`, why its search is over · `people`, the sum of their weights, by which that is
    multiplied, by default their number · `within`: objectives that differ by no more are of one optimum, by default .1 nats of
    everyone's together.
    Returns a `Best`. Errors: `ValueError` for what no fit left, and where no objective is finite.
    """
    require_kind(fitted, Fitted, "best_of: fitted", "last(fit_population(several(model, 8, generator), cohort))")
    if fitted.step is None:
        raise ValueError("best_of: fitted has no step, and so no objectives; write best_of(last(fit_population(…)))")
    require_number(within, "best_of: within", above=0.0)
    if people is not None:
        require_number(people, "best_of: people, the sum of their weights,", above=0.0)
    people = float(fitted.personal.shape[1] if people is None else people)
    M, loss, ended = fitted.model.members, fitted.step.loss, getattr(fitted.step, "ended", ())
    objective = float(people) * loss.detach().to("cpu", torch.float64)
    known = torch.isfinite(objective)
    if not bool(known.any()):
        raise ValueError("best_of: no member has an objective that is finite; start nearer, several(…, spread=1.5)")
    member = int(torch.where(known, objective, torch.inf).argmin())
    agree = known & (objective - objective[member] <= float(within))
    row = torch.tensor([member], device=fitted.personal.device)
    alone = Fitted(select(fitted.model, row), fitted.personal[row])
    words = f"{int(agree.sum())} of {M} starts ended at the same objective, {float(objective[member]):.4g} (within {within:g})."
    for m in torch.nonzero(~agree)[:, 0].tolist():
        why = ended[m] if m < len(ended) else ""
        what = "a different optimum" if why in ("converged", "flat", "judged") else "not converged"
        words += f" Start {m}: {float(objective[m]):.4g}, {what}."
    return Best(alone, member, objective, agree, float(within), words)
