"""What a fit left at an end of its range: there the box speaks, and not the data."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hybrid import HybridModel
from physics import Backbone, OneCompartmentOral
from physics.arguments import require_shape, require_tensor
from physics.glance import glance
from training.people.arguments import require_fit
from training.people.cohort import Cohort
from training.people.covariates import far_covariates

_EDGE = 0.05  # the outermost part of a box, of the logarithm's width
_TIE = 0.1  # log(θ/bound) below which two parameters that are kept in order are as good as equal
_NO_SPREAD = 0.01  # ω: people who differ by 1 % cannot be told apart from people who do not


@dataclass(frozen=True)
class AtEnd:
    """One parameter of θ at an end of its range.

    `what`: the "typical" value, "people" (their ids in `people`), or the learned "spread" ω · `name` and `unit` of the
    parameter · `end`: the "low" or "high" end of its box, or the "bound" of another parameter that it is kept above · `value`,
    the typical value, the median of these people's, or ω · `limit`, the end, or for ω where it begins to mean little ·
    `members` of `of` members for which this is so (for people: more than half of them) · `cause`, a sentence on what is behind
    it where more is known than the box.
    """

    what: Literal["typical", "people", "spread"]
    name: str
    unit: str
    end: Literal["low", "high", "bound"]
    value: float
    limit: float
    members: int
    of: int
    people: tuple[str, ...] = ()
    cause: str = ""

    __repr__, _repr_html_ = glance()

    def sentence(self) -> str:
        """In words, with what to do."""
        return f"{self._where()} {self.cause}".rstrip()

    def _where(self) -> str:
        which = "" if self.members == self.of else f" (in {self.members} of {self.of} members)"
        if self.what == "spread" and self.end == "low":
            return f"The data show no spread of {self.name} between people: ω = {self.value:.2g}{which}."
        if self.what == "spread":
            return (
                f"The spread of {self.name} between people is as wide as its box: ω = {self.value:.3g}{which}. "
                f"Widen the box of {self.name}, or hold its spread."
            )
        if self.what == "people":
            some = ", ".join(self.people[:5]) + (" …" if len(self.people) > 5 else "")
            whose = f"{self.name} of " + (f"person {some}" if len(self.people) == 1 else f"{len(self.people)} people ({some})")
        else:
            whose = f"The typical {self.name}{which}"
        if self.end == "bound":
            return f"{whose} cannot be told apart from what it is kept above: {self.value:.3g} {self.unit}."
        return (
            f"{whose} is at the {self.end} end of its range, {self.limit:.3g} {self.unit}: {self.value:.3g} {self.unit}. "
            f"Widen the box of {self.name}, or look at the units and doses."
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "people": list(self.people), "sentence": self.sentence()}


def at_ends(
    model: HybridModel,
    cohort: Cohort,
    personal: Tensor | None = None,  # (M, N, d)
) -> tuple[AtEnd, ...]:
    """The typical values, people and learned spreads that lie at an end of their range.

    Where the ends are those that a drug leaves which is absorbed more slowly than it is eliminated (flip-flop), or those of a
    covariate that is far from its reference (`training.people.far_covariates`), `cause` says so, once.
    A value is at an end where it lies in the outermost twentieth of its box (in logarithms, where the parameter is kept in
    them), or less than 10 % above a parameter that it is kept above. The typical value is that of η = 0 and the cohort's median
    covariates. A learned spread ω is at an end where it is below .01 (of a normal parameter: a thousandth of its box), or above
    half of the half-width of the box of log θ or of a normal θ, so that the ends hold people whom two standard deviations hold;
    of a logit, where two of them from the middle of the box reach its outermost twentieth. A population that has nothing of its
    own to fit has no ends.
    Arguments: `model`; `cohort`; `personal`, the people's coordinates (`Personal.mode`, `Fitted.personal`), or None.
    Returns one `AtEnd` for each, typical values first.
    Law: none where every θ is in the middle of its box; the order of people and members does not matter.
    """
    require_fit(model, cohort, "at_ends")
    require_tensor(personal, "at_ends: personal", "Personal.mode, or Fitted.personal")
    if personal is not None:
        N, d = cohort.conditions.size, model.personal
        require_shape(personal, "at_ends: personal", "M", N, d, write="Personal.mode, or Fitted.personal")
        if len(personal) not in (1, model.members):
            raise ValueError(f"at_ends: personal is of {len(personal)} members and the model has {model.members}; give as many")
    population, backbone = model.population, model.backbone
    if not backbone.physical or (population.dimension == 0 and not list(population.parameters())):
        return ()
    return _with_causes(_all_ends(model, cohort, personal), model, cohort)


def _all_ends(model: HybridModel, cohort: Cohort, personal: Tensor | None) -> list[AtEnd]:
    population, backbone = model.population, model.backbone
    M = model.members
    logs = torch.tensor([scale == "log" for scale in population.scales])

    def placed(theta: Tensor) -> Tensor:  # (..., q)
        """θ where its place in the box is measured: the logarithm of what is kept in logarithms."""
        return torch.where(logs, torch.where(logs, theta, 1.0).log(), theta)

    ends = population.box.to("cpu", torch.float64)
    low, high = placed(ends.mT)
    free = (high > low).tolist()
    found: list[AtEnd] = []
    with torch.no_grad():
        covariates = cohort.conditions.middle
        like = next(iter((*population.parameters(), *population.buffers())))
        middle = population.theta(like.new_zeros(M, 1, population.dimension), covariates)
        typical = middle.to("cpu", torch.float64).expand(M, 1, len(free))
        people, pieces = None, 1
        if personal is not None and personal.shape[1]:
            own = model.theta(*cohort.conditions.by_piece(personal.to(like)))
            people = own.to("cpu", torch.float64).expand(M, own.shape[1], len(free))
            pieces = own.shape[1] // personal.shape[1]
    for theta, what in ((typical, "typical"), (people, "people")):
        if theta is None:
            continue
        for j, parameter in enumerate(backbone.physical):
            if not free[j]:
                continue
            place = (placed(theta)[..., j] - low[j]) / (high[j] - low[j])  # (M, N)
            cases = [("low", place < _EDGE, ends[j, 0]), ("high", place > 1.0 - _EDGE, ends[j, 1])]
            bound = population.bound(theta, j)
            if bound is not None:
                cases.append(("bound", (theta[..., j] / bound).log() < _TIE, bound.median()))
            for end, there, limit in cases:
                if what == "typical":
                    at, ids = there[:, 0], ()
                else:
                    rows = torch.nonzero(2 * there.sum(0) > M)[:, 0]
                    at, ids = there[:, rows].any(1), tuple(dict.fromkeys(cohort.ids[i // pieces] for i in rows.tolist()))
                    there = there & (2 * there.sum(0) > M)
                if bool(at.any()):
                    value = float(theta[..., j][there].median())
                    names = (parameter.name, parameter.unit)
                    found.append(AtEnd(what, *names, end, value, float(limit), int(at.sum()), M, ids))  # type: ignore[arg-type]
    if population.omega is not None and population.learn_spread:
        omega = population.omega.detach().to("cpu", torch.float64)
        for j, parameter in enumerate(backbone.physical):
            if parameter.name not in population.effects:
                continue
            least, widest = _spreads_within(population.scales[j], float(high[j] - low[j]))
            for kind, at, edge in (("low", omega[:, j] < least, least), ("high", omega[:, j] > widest, widest)):
                if bool(at.any()):
                    value = float(omega[at, j].median())
                    names = (parameter.name, parameter.unit)
                    found.append(AtEnd("spread", *names, kind, value, edge, int(at.sum()), len(at)))  # type: ignore[arg-type]
    return found


def _with_causes(found: list[AtEnd], model: HybridModel, cohort: Cohort) -> tuple[AtEnd, ...]:
    far = {parameter: one for one in far_covariates(cohort.records, model) for parameter in one.parameters}
    told: set[str] = set()
    for k, end in enumerate(found):
        if end.what == "spread":
            continue
        if end.name in far and (end.what == "typical" or set(end.people) & set(far[end.name].people)):
            cause = far[end.name].sentence()  # a cause that is seen, and not a conjecture
        else:
            cause = _exchanged(model.backbone, end)
        if cause not in told:
            found[k] = replace(end, cause=cause)
        told.add(cause)
    return tuple(found)


def _exchanged(backbone: Backbone, end: AtEnd) -> str:
    """The flip-flop, where an end is one that it would leave: the curve of (ka, ke, V) is also that of (ke, ka, V·ke/ka)."""
    if not isinstance(backbone, OneCompartmentOral):
        return ""
    boxes = {p.name: p.low * p.high for p in backbone.physical}
    depot = backbone.faster == "ke" or (backbone.faster is None and boxes["ka"] < boxes.get("ke", 0.0))
    if not depot and (end.name, end.end) in {("ka", "low"), ("ke", "low"), ("V", "high"), ("ka", "bound")}:
        clearance = backbone.by_clearance
        ke, ke_json = ("", "") if clearance else ("ke=(0.05, 20.0), ", '"ke": [0.05, 20.0], ')
        kind, kind_json = ('parameters="clearance", ', '"parameters": "clearance", ') if clearance else ("", "")
        return (
            "If the drug is absorbed more slowly than it is eliminated (a depot, a slow-release tablet), the two rates have "
            f'changed places (flip-flop): write OneCompartmentOral(ka=(0.0005, 5.0), {ke}{kind}faster="ke"), or '
            f"--backbone-config '{{\"ka\": [0.0005, 5.0], {ke_json}{kind_json}\"faster\": \"ke\"}}'."
        )
    if depot and (end.name, end.end) in {("ka", "low"), ("ke", "high"), ("V", "low"), ("ke", "bound"), ("CL", "bound")}:
        kind = 'parameters="clearance"' if backbone.by_clearance else ""
        return (
            "If the drug is absorbed faster than it is eliminated after all, the two rates have changed places (flip-flop): "
            f"write OneCompartmentOral({kind}), without faster=\"ke\"."
        )
    return ""


def _spreads_within(scale: str, width: float) -> tuple[float, float]:
    """Below and above which ω says little, on a parameter's scale, in a box that is so wide there."""
    if scale == "logit":  # two standard deviations then reach the outermost twentieths of the box
        return _NO_SPREAD, 0.5 * math.log(1.0 / _EDGE - 1.0)
    return _NO_SPREAD if scale == "log" else _NO_SPREAD * 0.1 * width, 0.25 * width
