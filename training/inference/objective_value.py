"""The objective function value of the field, −2 log L, with everything that two of them must share to be compared."""

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from physics.arguments import require_choice, require_tensor
from physics.glance import Summary, glance
from training.inference.approximations import Approximation, marginal, people_counted_in, require_approximation
from training.inference.estimates import effects_of, jacobian, trained
from training.inference.taken import Taken, taken
from training.machinery.checkpoint import plain
from training.marginal.laplace import require_float64
from training.people.arguments import require_fit
from training.people.cohort import Cohort


def _summary(found: Any) -> Summary:
    return f"ObjectiveValue by {found.described}", [
        ("OFV", found.ofv),
        ("AIC", found.aic),
        ("people", found.people),
        ("measurements", found.measurements),
        ("between limits", found.between or None),
        ("estimated", f"{len(found.estimated)}: {', '.join(found.estimated)}"),
    ]


@dataclass(frozen=True)
class ObjectiveValue:
    """−2 log L of M members, and what it is of.

    `ofv` (M,), the objective function value of the field's programs: −2 log L without n log 2π, n the measurements ·
    `each` (M, N), what every person adds to it · `approximation` of the likelihood, and `nodes` of quadrature (0 of the others) ·
    `measurements` n, `between`, how many values more are known to lie between limits, and `people` N · `data`, the digest of what
    was measured, of whom and when · `estimated`, the names of the estimated numbers · `spreads`, the parameters that have an η,
    learned spread or not · `held`, how many weights of networks were taken as known: no criterion here counts them · `taken`,
    what else was: structure, start, observation, noise head, covariate models and numbers that are held, so that two nested
    models are told from two that are not.
    """

    ofv: Tensor
    each: Tensor
    approximation: Approximation
    nodes: int
    measurements: int
    between: int
    people: int
    data: str
    estimated: tuple[str, ...]
    spreads: tuple[str, ...]
    held: int
    taken: Taken = field(default_factory=Taken)

    __repr__, _repr_html_ = glance(_summary)

    @property
    def described(self) -> str:
        """The approximation in words."""
        words = {
            "focei": "FOCE with interaction",
            "laplace": "Laplace's method",
            "quadrature": f"quadrature with {self.nodes} nodes",
        }
        return words[self.approximation]

    @property
    def minus_two_log_likelihood(self) -> Tensor:  # (M,)
        """−2 log L whole, as a density in the units of what was measured: OFV + n log 2π."""
        return self.ofv + self.measurements * math.log(2.0 * math.pi)

    @property
    def aic(self) -> Tensor:  # (M,)
        """Akaike's criterion, −2 log L + 2·(estimated numbers), with the constant n log 2π.

        A number of which these data say nothing, of a category that nobody has, counts too, as it does in `bic`:
        `StandardErrors.sentences` names it, and without it the criterion is the smaller one.
        """
        return self.minus_two_log_likelihood + 2.0 * len(self.estimated)

    def bic(self, count: Literal["people", "measurements", "mixed"]) -> Tensor:  # (M,)
        """Bayes's criterion, −2 log L + Σ log(n) over the estimated numbers, with the constant n log 2π.

        What n is must be said, since programs differ: the `people` (Monolix's BIC), the `measurements` (nlmixr2's), or `mixed`:
        people for what describes them (spreads, correlations, covariates, typical values of what has a spread), measurements
        for the rest (noise, and what is the same in everybody).
        Source: Schwarz, Ann. Stat. 6 (1978) 461; Delattre, Lavielle & Poursat, Electron. J. Stat. 8 (2014) 456, equation 5.
        """
        require_choice(count, ("people", "measurements", "mixed"), "ObjectiveValue.bic: count")
        several, all_of = math.log(self.people), math.log(max(1, self.measurements + self.between))
        if count != "mixed":
            return self.minus_two_log_likelihood + len(self.estimated) * (several if count == "people" else all_of)
        of_people = sum(_of_people(name, self.spreads) for name in self.estimated)
        return self.minus_two_log_likelihood + of_people * several + (len(self.estimated) - of_people) * all_of


def _of_people(name: str, spreads: tuple[str, ...]) -> bool:
    """Does this number describe how people differ?"""
    if name.startswith("corr("):  # of two parameters, or of the errors of two channels
        return all(one in spreads for one in name.removeprefix("corr(").removesuffix(")").split(","))
    return name.startswith(("omega(", "iov(")) or name in spreads or name.rpartition(" on ")[2] in spreads


def objective_value(
    model: HybridModel,
    cohort: Cohort,
    *,
    approximation: Approximation = "focei",
    nodes: int = 13,
    weights: Tensor | None = None,  # (M, N)
    start: Tensor | None = None,  # (M, N, d)
    solver: Solver | None = None,
) -> ObjectiveValue:
    """The objective function value of the field: 2 Σ_i w_i [−log p(y_i)] − n log 2π, with every η integrated out.

    Arguments as in `polish`. The number is that of the approximation and of nothing else: on theophylline three of them differ by
    1.7, so a program's OFV is compared with the same approximation's alone.
    Errors: `ValueError` for shapes and numbers that cannot be, or a model that estimates nothing; and where somebody who counts
    cannot be simulated.
    Source: Beal & Sheiner, NONMEM Users Guides (1989–2009), part VII (the convention).
    """
    require_fit(model, cohort, "objective_value", solver)
    require_float64(model, cohort)
    require_approximation(approximation, nodes, "objective_value")
    require_tensor(start, "objective_value: start (M, N, d)", "Marginal.mode of an earlier call")
    counted = people_counted_in(weights, model, cohort, "objective_value")
    trial, names, held = trained(model, "objective_value")
    with torch.no_grad():
        found = marginal(model, cohort, approximation, nodes=nodes, start=start, solver=solver)
    lost = [i for i in found.failed if bool((counted[:, i] > 0.0).any())]
    if lost:
        raise ValueError(
            f"objective_value: the likelihood has no value: {found.failed[lost[0]]}; leave this person out by weights"
        )
    there = cohort.mask.sum((-1, -2)).to(found.value.dtype)  # (N,)
    own = 2.0 * found.value.detach() - math.log(2.0 * math.pi) * there
    each = torch.where(counted > 0.0, counted * own, 0.0)
    estimated, _, _, _ = jacobian(trial, names)
    return ObjectiveValue(
        each.sum(1),
        each,
        approximation,
        int(nodes) if approximation == "quadrature" else 0,
        round(float((counted[0] * there).sum())),
        round(float((counted[0] * cohort.censored.sum((-1, -2))).sum())),
        round(float(counted[0].sum())),
        _digest(cohort, counted),
        estimated,
        effects_of(model),
        held,
        taken(model, estimated),
    )


def _digest(cohort: Cohort, counted: Tensor) -> str:
    """Of who was given what, measured when, with what result; how limits count, and how often each person does."""
    made = hashlib.sha256(repr(cohort.ids).encode())
    for value in (cohort.times, torch.nan_to_num(cohort.y, nan=-1.25e300), counted):
        made.update(value.detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    if cohort.limits is not None:
        made.update(cohort.limits.detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    made.update(cohort.censoring.encode())
    # the records' own: their segments differ where one of two models moves the doses
    made.update(json.dumps(plain([record.schedule for record in cohort.records])).encode())
    return made.hexdigest()
