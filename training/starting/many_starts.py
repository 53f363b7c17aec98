"""Many starts in one batch: copies of a model as members, and the best of what became of them."""

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hybrid import HybridModel
from learned import Residual, select
from learned.ensemble import concatenate
from physics.arguments import require_generator, require_kind, require_number
from physics.glance import Summary, glance
from training.fitted import Compared, Fitted

_LEVEL = 1e-3  # of the slope: what ends flat at ten times the default tolerance is as good as converged
_UNFINISHED = {
    "out of steps": "its steps were used up",
    "short": "no step made it less",
    "flat": "ten steps gained next to nothing, though it is not level there",
}


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
    """The member to keep.

    `fitted`, it alone · `member`, which it was · `by`: "judged", what judges chose it, or "objective" · `objective` (M,), each
    member's at the end of its search, of all people together, NaN where it has none · `held_out` (M,), what judges says of each
    member's best, NaN where nothing does · `agree` (M,): whether it ended with an objective that differs from that of the kept
    one by no more than `within` · `sentence`, in words.
    """

    fitted: Fitted
    member: int
    by: Literal["judged", "objective"]
    objective: Tensor
    held_out: Tensor
    agree: Tensor
    within: float
    sentence: str

    __repr__, _repr_html_ = glance(lambda best: _summary(best))


def _summary(best: Any) -> Summary:
    rows = [("by", best.by), ("objective", best.objective), ("held out", best.held_out), ("agree", best.agree)]
    return f"Best: member {best.member} of {len(best.objective)}", rows


def best_of(fitted: Fitted, *, people: float | None = None, within: float = 0.1) -> Best:
    """The best of several searches, and whether the others arrived at the same place.

    Where something judges (`Objective.held_out`, `Objective.judged`) the member whose best it likes most is kept, as every
    member is kept at what it liked most of its own search; else the one with the least objective. Of members that are alike
    to the last bit the first is kept. A member whose objective is no number has failed, and is never kept.
    Arguments: `fitted`, what `last(fit_population(several(…), …))`, or `last` of another fit, left: its `step` has every member's
    objective per person, what judges says of it, and why its search is over · `people`, by which the objective is multiplied, by
    default the sum of the weights of those who teach · `within`: objectives that differ by no more are of one optimum, by default
    .1 nats of everyone's together.
    Returns a `Best`, whose sentence names the one that is kept, and says of each that ended elsewhere what is known: "a
    different optimum" of a search that had arrived (`fit_population`), "not converged" of one that could have and had not, and
    by what it was stopped of `fit` and `shoot`, which take their steps and do not ask whether they have arrived.
    Errors: `ValueError` for what no fit left, where no objective is finite, and for members that were taught or judged by
    different people or measurements, whose numbers cannot be compared.
    Law: the order of the members does not matter, but for ties.
    """
    require_kind(fitted, Fitted, "best_of: fitted", "last(fit_population(several(model, 8, generator), cohort))")
    step = fitted.step
    if step is None:
        raise ValueError("best_of: fitted has no step, and so no objectives; write best_of(last(fit_population(…)))")
    require_number(within, "best_of: within", above=0.0)
    if people is not None:
        require_number(people, "best_of: people, the sum of their weights,", above=0.0)
    M, loss = fitted.model.members, step.loss.detach().to("cpu", torch.float64)
    compared: Compared | None = getattr(step, "compared", None)
    if compared is not None and not compared.alike and M > 1:
        raise ValueError(
            "best_of: the members were not taught and judged by the same people and measurements (weights, held_out, judged or "
            "anchors differ between them), so that their numbers cannot be compared; give every start the same row, or keep all "
            "members as an ensemble"
        )
    count = fitted.personal.shape[1] if compared is None else compared.people.detach().to("cpu", torch.float64)
    objective = loss * (count if people is None else float(people))
    objective = torch.where(torch.isfinite(objective), objective, torch.nan)
    known = torch.isfinite(objective)
    if not bool(known.any()):
        raise ValueError("best_of: no member has an objective that is finite; start nearer, several(…, spread=1.5)")
    held_out = torch.full_like(objective, torch.nan) if compared is None else compared.held_out.detach().to(objective)
    judged = known & torch.isfinite(held_out)
    by: Literal["judged", "objective"] = "judged" if bool(judged.any()) else "objective"
    told = torch.where(judged, held_out, torch.inf) if by == "judged" else torch.where(known, objective, torch.inf)
    member = int(torch.nonzero(told == told.min())[0, 0])  # of ties the first, whatever argmin would say
    agree = known & ((objective - objective[member]).abs() <= float(within))
    row = torch.tensor([member], device=fitted.personal.device)
    alone = Fitted(select(fitted.model, row), fitted.personal[row])
    numbers = (member, by, objective, held_out, agree, float(within))
    return Best(alone, *numbers, _in_words(step, *numbers))


def _in_words(step: Any, member: int, by: str, objective: Tensor, held_out: Tensor, agree: Tensor, within: float) -> str:
    M, told = len(objective), [f"{float(v):.2f}" if abs(float(v)) >= 1.0 else f"{float(v):.4g}" for v in objective]
    its = told[member]
    if M == 1:
        words = f"There is one start, which ended at {its}: whether there is a lower place, only others would show."
        how = _stopped(step, 0)
        return f"{words} It is {how}." if how.startswith("not converged") else words
    words = f"Start {member} of {M} (counted from 0) is kept: "
    if by == "judged":
        others = ", ".join(f"{float(held_out[m]):.4g} of start {m}" for m in range(M) if m != member)
        words += f"what judges says {float(held_out[member]):.4g} of it, and {others}. It ended at {its}."
    else:
        words += f"it ended lowest, at {its}."
    words += f" {int(agree.sum())} of {M} starts ended there (within {within:g})."
    for m in torch.nonzero(~agree)[:, 0].tolist():
        there = bool(torch.isfinite(objective[m]))
        what = f"{told[m]}, {_stopped(step, m)}" if there else "failed, its objective is no number"
        words += f" Start {m}: {what}."
    if not hasattr(step, "converged") and not bool(agree.all()):
        words += " This fit takes its steps and does not ask whether it has arrived: more steps would show."
    return words


def _stopped(step: Any, m: int) -> str:
    """What a search that ended elsewhere has found, as far as that is known."""
    ended = getattr(step, "ended", ())
    why = ended[m] if m < len(ended) else ""
    if why == "judged":
        return "stopped by what judges"
    if not hasattr(step, "converged"):
        return "stopped by its steps" if why == "out of steps" else "stopped on its way"
    level = why == "flat" and float(step.slope[m]) <= _LEVEL
    if why == "converged" or level or (not why and bool(step.converged[m])):
        return "a different optimum"
    return f"not converged ({_UNFINISHED.get(why, 'its search was interrupted')})"
