"""Fitting what a filter runs on: process noise, noise heads, and weights where asked, by the filter's own log-likelihood."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, SimulationError
from hybrid.filters import UKF, EnKF, Filter, Followed, Track, follow
from hybrid.threads import of_cohort, threads_by
from learned import select
from physics.arguments import require_callable, require_flag, require_kind, require_number, require_shape
from physics.glance import Summary, glance
from training.fitted import Compared, Fitted
from training.looks import Looks
from training.loop.descent import NOT_OF_LBFGS, LineSearch, Point, descend, flat, place, reasons_in_words
from training.losses import Stability, residual_share
from training.objective import Objective, people_counted
from training.people.arguments import require_fit, require_numbers, require_untouched
from training.people.cohort import Cohort
from training.search import Search

# what of `Objective`, `Search` and `Looks` this search has not
_WITHOUT = {
    **NOT_OF_LBFGS,
    "likelihood": "the likelihood is the filter's own",
    "anchors": "the members are no draws of a posterior here",
    "forecast_from": "every measurement is forecast from those before it, of held-out people too",
    "bfloat16": "a line search needs float64",
    "checkpoint": "the search is short, and keeps no file; keep `InnovationStep.best` as the loop goes",
    "judged": "a filter forecasts every measurement from those before it: hold people out",
    "decay": "the likelihood of a filter alone is made small; shrink the weights in fit",
    "sparsity": "the likelihood of a filter alone is made small; shrink the weights in fit",
}
_NEARER = "start nearer: process noise and noise of the size that the measurements show"
_UNSEEN = 0.01  # nats a person
_AT_ONCE = 60_000_000  # numbers that one gradient may keep, about half a gigabyte: people are taken in parts


def _summary(step: Any) -> Summary:
    more = [("slope", step.slope), ("converged", step.converged), ("on held-out people", step.held_out), ("ended", step.ended)]
    return f"InnovationStep {step.index} of {step.total}", [("loss", step.loss), *more, ("best", step.best.model)]


@dataclass(frozen=True)
class InnovationStep:
    """One step of `innovation_fit`.

    `index` of at most `total` · `loss` (M,) each member's objective where its search is, in nats a person · `slope` (M,) its
    largest derivative there · `converged` (M,) · `held_out` (M,) the mean of −log p of its held-out people there, NaN without
    any · `best`, the fit to keep if the search ends here; its `personal` (M, N, d) are the filter's means of η at the ends of the
    records · `ended` (M,) why each member's search is over, as in `PopulationStep`, or "" where it goes on · `unseen`, when it is
    over under every member, the states of whose g no measurement shows anything under some: of ten times as much nobody's
    measurements would be a hundredth of a nat less likely. It is small; how small nobody can say · `compared`, by what members
    may be compared.
    """

    index: int
    total: int
    loss: Tensor
    slope: Tensor
    converged: Tensor
    held_out: Tensor
    best: Fitted
    ended: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    compared: Compared | None = None

    __repr__, _repr_html_ = glance(_summary)

    def sentences(self) -> list[str]:
        """What a reader of the result must know of the search, in words; nothing where every member has arrived."""
        said = reasons_in_words(self.ended, self.slope, _NEARER, level=1e-2)
        if self.unseen:
            said.append(
                f"The process noise of {', '.join(self.unseen)} is so small that the measurements show nothing of it, and the "
                "search cannot move it from there: if that is where it began, begin with more, of the size by which the "
                "measurements leave what is predicted."
            )
        return said


@threads_by(of_cohort)
def innovation_fit(
    model: HybridModel,
    cohort: Cohort,
    objective: Objective = Objective(),
    search: Search = Search(),
    looks: Looks = Looks(),
    *,
    filter: Callable[[Followed], Filter] = UKF,
    weights: bool = False,
    y: Tensor | None = None,  # (M, N, T, p)
    spread: Mapping[str, float] | None = None,
    floor: Mapping[str, float] | None = None,
    drift: float | None = None,
    tolerance: float = 1e-3,
    longest: float = 0.5,
) -> Iterator[InnovationStep]:
    """Fit every member's process noise and noise heads by what a filter says of every measurement before it is seen.

    Member m minimises the weighted mean over people of −log p(y_i) = −Σ_k log N(y_k − ŷ_k; 0, S_k): each measurement's own
    prediction error, against the covariance that the filter gave it. Whatever has drifted since the measurement before is process
    noise g, whatever has not is noise of the measurement: how errors follow one another along a record tells them apart. `fit`
    and `fit_population` look at each time by itself, and see the sum of both alone. η is part of the filter's state, with its
    prior, so that it is integrated out.

    What is fitted: every trainable number of `model.process` and `model.noise`. A g of 0 stays 0, floors of noise stay floors.
    `weights=True`: everything that is trainable, the residual and the typical values too (and the spread ω of a population with
    `learn_spread=True`); then `least_residual` and `stability` count as in `fit_population`, along the filter's own means.

    Begin with sizes that are too large rather than too small: where a g is so small that no measurement shows it, the objective
    is level along its logarithm, and a search that begins there ends there as "converged"; the last step's `unseen` names it.

    A model must be followed by the noises that it was fitted with: weights of `fit` beside a g that is fitted here are those of a
    model whose errors were taken for noise of measurements; where the two differ much, go on with `weights=True`.

    Arguments
    - `objective`: `weights` (M, N), how often each member counts each person, and `held_out`, those by whom it is judged: the
      same filter predicts their measurements. `least_residual` and `stability` only with `weights=True`.
    - `search`: at most so many `steps`, each one evaluation for all members at once (100 where it does not say), and the
      `solver`. `looks`: the `patience` (10 where it does not say). L-BFGS with Armijo's condition, as in `fit_population`: a
      member is finished when no derivative is above `tolerance`, when ten steps gained next to nothing, or when its step has
      shrunk to nothing. `longest`: no step moves any number by more (they are logarithms and weights of order 1).
    - `filter`: the class, or a function that makes the filter of these people, lambda people: EnKF(people, seed=0).
    - `y`: what each member has measured in place of the cohort's, NaN where nothing was: records drawn for each member.
    - `spread`, `floor`, `drift`: as in `follow` and `Followed.of`; with a `floor` a model without process noise has its noise
      heads fitted.

    Yields an `InnovationStep` after every evaluation; that of the last says in `ended` and `sentences()` how each member's search
    ended. Interrupting the loop loses nothing: every step's `best` is complete, and going on from it is calling this with it.
    Errors: `ValueError` for a model without process noise, types other than float64, shapes and numbers that cannot be, and what
    this search has not; `SimulationError` that names the person whom the filter loses at the very start.
    Law: members do not influence each other; a person with weight 0 does not influence the member.
    Source: Schweppe, IEEE Trans. Inf. Theory 11 (1965) 61 (the likelihood); Kristensen, Madsen & Jørgensen, Automatica 40 (2004)
    225 (parameters of stochastic differential equations by it); Overgaard, Jonsson, Tornøe & Madsen, J. Pharmacokinet.
    Pharmacodyn. 32 (2005) 85 (people).
    """
    name = "innovation_fit"
    require_fit(model, cohort, name)
    require_kind(objective, Objective, f"{name}: objective", f"{name}(model, cohort, Objective(weights=…))")
    require_kind(search, Search, f"{name}: search", f"{name}(model, cohort, search=Search(steps=100))")
    require_kind(looks, Looks, f"{name}: looks", f"{name}(model, cohort, looks=Looks(patience=10))")
    for value in (objective, search, looks):
        require_untouched(value, name, _WITHOUT)
    require_flag(weights, f"{name}: weights, whether the residual and the typical values are fitted too,")
    if not weights and objective.stability is not None:
        raise ValueError(f"{name}: stability has no meaning where only noises are fitted; leave it out, or write weights=True")
    for what, size in (("tolerance", tolerance), ("longest", longest)):
        require_number(size, f"{name}: {what}", above=0.0)
    if model.dtype != torch.float64 or cohort.y.dtype != torch.float64:
        raise ValueError(
            f"{name}: a line search needs float64, and the model is {model.dtype} and the cohort {cohort.y.dtype}; write "
            "model.to(torch.float64) and cohort.to(torch.float64)"
        )
    require_numbers(cohort, name, "a filter takes numbers")
    if model.process is None and floor is None:
        states = ", ".join(f"{state!r}: …" for state in model.backbone.states)
        raise ValueError(
            f"{name}: this model has no process noise, and there is no g to fit; build it with process=DiagonalDiffusion("
            f"{{{states}}}), the sizes where learning starts, or give a floor, which stays as it is, to fit its noise heads alone"
        )
    steps = 100 if search.steps is None else search.steps
    patience = 10 if looks.patience is None else looks.patience
    M, N = model.members, cohort.conditions.size
    counted, held_out, everyone = people_counted(objective, cohort.y, (M, N), name)
    if y is not None:
        require_shape(y, f"{name}: y", M, *cohort.y.shape, write="records of every member", like=cohort.y)
        if y.dtype != torch.float64 or bool(torch.isinf(y).any()):
            raise ValueError(f"{name}: y is float64, and finite or NaN where nothing was measured; write y.to(torch.float64)")
    trial = copy.deepcopy(model)
    names = _trained(trial, weights, M)
    people = Followed.of(
        trial,
        N,
        covariates={k: v for k, v in cohort.conditions.covariates.items() if k in model.uses},
        mesh=cohort.conditions.mesh,
        solver=search.solver,
        drift=drift,
        floor=floor,
    )
    require_callable(filter, f"{name}: filter", "filter=UKF, or lambda people: EnKF(people, seed=0)", people)
    stability = None if objective.stability is None else objective.stability.to(cohort.y.device)
    least = objective.least_residual if weights and not model.residual.vanishes else 0.0
    whole = Innovations(
        filter, people, cohort, cohort.y[None] if y is None else y, counted / everyone, held_out, spread, least, stability
    )
    whole = whole.scaled() if least else whole
    point = flat(trial, names)
    first = whole.at(names)
    if not bool(torch.isfinite(first.loss).all()):
        raise SimulationError(f"innovation_fit cannot begin: the filter loses {whole.lost()} at these noises and weights")
    best = copy.deepcopy(model)  # what asks for gradients in it stays as it was

    def objective_at(point: Tensor, _: Tensor) -> Point:
        place(trial, names, point)
        return whole.at(names)

    alike = y is None and all(bool((v == v[:1]).all()) for v in (counted, held_out))
    searching = LineSearch(
        point, first, held_out.any(1), patience=patience, tolerance=float(tolerance), longest=float(longest)
    )
    for step in descend(objective_at, searching, steps):
        place(best, names, step.best)
        fitted = Fitted(copy.deepcopy(best), step.carried.clone())
        unseen: tuple[str, ...] = ()
        if all(step.ended):
            place(trial, names, step.best)
            unseen = whole.unseen()
        yield InnovationStep(
            *(step.index, steps, step.loss, step.slope, step.converged, step.held_out, fitted, step.ended, unseen),
            Compared(torch.where(held_out.any(1), step.judgement, torch.nan), everyone[:, 0], alike),
        )


def _trained(model: HybridModel, weights: bool, members: int) -> list[str]:
    """The names of what is fitted."""
    if weights:
        for name in model.population.by_marginal:
            model.population.get_parameter(name).requires_grad_()
    there = [name for name, p in model.named_parameters() if p.requires_grad and p.numel()]
    names = [name for name in there if weights or name.split(".")[0] in ("process", "noise")]
    if not names:
        raise ValueError("innovation_fit: nothing of the process noise and noise heads asks to be trained; write weights=True")
    for name in names:
        have = model.get_parameter(name).shape[0]
        if have != members:
            raise ValueError(f"innovation_fit: {name} has {have} members and the model {members}")
    return names


@dataclass(frozen=True)
class Innovations:
    """The weighted mean of −log p(y_i) by a filter, with what weights cost besides, and that of who is held out.

    `y` (M|1, N, T, p) · `share`, `held_out` (M, N) · `scale` (M, 1, 1, n) of the states, held for the whole fit.
    """

    filter: Callable[[Followed], Filter]
    people: Followed
    cohort: Cohort
    y: Tensor
    share: Tensor
    held_out: Tensor
    spread: Mapping[str, float] | None
    least_residual: float
    stability: Stability | None
    scale: Tensor | None = None

    def at(self, names: Sequence[str]) -> Point:
        """The objective and its gradient along the named parameters, everyone's η at the end beside them."""
        model, M = self.people.model, self.people.model.members
        trained = [model.get_parameter(name) for name in names]
        loss, judged = self.share.new_zeros(M), self.share.new_zeros(M)
        gradient = torch.cat([torch.zeros_like(p).reshape(M, -1) for p in trained], 1)
        ends = []
        for rows in self._parts():
            share, held_out = self.share[:, rows], self.held_out[:, rows]
            track = self._followed(rows, keep="filtered" if self.least_residual else "last")
            if M > 1 and bool(track.lost.any()):
                return self._apart(names)  # who is lost under one member is so under all: those go on without that one
            each = self._each(track, rows)
            part = (share * torch.where(share > 0, each, 0.0)).sum(1)
            asked = part.sum()
            if not asked.requires_grad:  # nobody of these is left
                asked = asked + 0.0 * trained[0].sum()
            found = torch.autograd.grad(asked, trained, allow_unused=True)
            flats = [torch.zeros_like(p) if g is None else g for p, g in zip(trained, found, strict=True)]
            gradient = gradient + torch.cat([g.reshape(M, -1) for g in flats], 1)
            loss = loss + part.detach()
            said = -track.log_likelihood.detach()
            judged = judged + torch.where(held_out, said.nan_to_num(nan=torch.inf), 0.0).sum(1)
            ends.append(track.last.personal.detach().expand(M, -1, -1))
        good = torch.isfinite(loss) & torch.isfinite(gradient).all(1)
        return Point(
            torch.where(good, loss, torch.inf),
            judged / self.held_out.sum(1),  # 0/0 is NaN: nobody judges
            torch.where(good[:, None], gradient, 0.0),
            torch.cat(ends, 1),
        )

    def lost(self) -> str:
        """Whom the filter loses, by their ids."""
        found: set[int] = set()
        with torch.no_grad():
            for rows in self._parts():
                gone = ~self._followed(rows, keep="last").log_likelihood.isfinite() & (self.share[:, rows] > 0)
                found |= set(rows[gone.any(0)].tolist())
        return ", ".join(self.cohort.ids[i] for i in sorted(found)[:5]) + (" …" if len(found) > 5 else "")

    def scaled(self) -> "Innovations":
        """With the scale of the states along the filter's means, as it is now."""
        square = torch.zeros_like(self.share[:, 0])[:, None, None, None]
        with torch.no_grad():
            for rows in self._parts():
                run = self._run(self._followed(rows, keep="filtered"), rows, torch.arange(len(rows), device=rows.device))
                here = torch.isfinite(run.states).flatten(2).all(-1) & (self.share[:, rows] > 0)
                states = torch.where(here[..., None, None], run.states, 0.0)
                weight = (self.share[:, rows] * here)[:, :, None, None]
                square = square + (weight * states.square().mean(2, keepdim=True)).sum(1, keepdim=True)
        return replace(self, scale=square + 1e-12)

    def unseen(self) -> tuple[str, ...]:
        """The states of whose g the measurements show nothing under some member; see `InnovationStep`."""
        model, people = self.people.model, self.people
        if model.process is None:
            return ()
        found = []
        with torch.no_grad():
            loss, g = self._now()
            for i in torch.nonzero(g > 0.0)[:, 0].tolist():
                floor = people.floor.clone()
                floor[i] = (floor[i].square() + 99.0 * g[i].square()).sqrt()
                more, _ = replace(self, people=replace(people, floor=floor))._now()
                if bool(((more - loss).abs() < _UNSEEN).any()):
                    found.append(model.backbone.states[i])
        return tuple(found)

    def _now(self) -> tuple[Tensor, Tensor]:  # (M,), (n,)
        """The weighted mean of −log p, and the model's own g at the ends of the records, the largest of all."""
        loss, g = self.share.new_zeros(len(self.share)), torch.zeros_like(self.people.floor)
        for rows in self._parts():
            track, share = self._followed(rows, keep="last"), self.share[:, rows]
            loss = loss + (share * torch.where((share > 0) & ~track.lost, -track.log_likelihood, 0.0)).sum(1)
            if self.people.model.process is not None:
                own = self.people.model.process.diffusion(track.last.x)
                g = torch.maximum(g, own.nan_to_num(nan=0.0).flatten(0, 1).amax(0))
        return loss, g

    def _parts(self) -> tuple[Tensor, ...]:
        """The people in parts whose gradients need no more memory than there is."""
        people, (N, K) = self.people, self.cohort.conditions.segments.dt.shape
        z = people.states + people.model.personal
        widest = max([people.states, *(max(p.shape[1:]) for p in people.model.residual.parameters() if p.ndim > 1)])
        each = people.model.members * K * (2 * z * (8 * widest + 4 * z) + 40 * z * z)
        most = max(1, min(N, _AT_ONCE // each))
        return torch.arange(N, device=self.y.device).split(most)

    def _followed(self, rows: Tensor, keep: Any) -> Track:
        made = self.filter(self.people)
        # particles are drawn by keys of people, who keep theirs in any company
        filter = made.of(rows) if isinstance(made, EnKF) else self.filter(self.people.people(rows))
        return follow(filter, self.cohort.conditions.people(rows), self.y[:, rows], spread=self.spread, keep=keep)

    def _each(self, track: Track, rows: Tensor) -> Tensor:  # (M, N)
        each = -track.log_likelihood
        here = torch.nonzero(~track.lost)[:, 0]  # of who is lost there are no states, and NaN has no derivative that is 0
        if not len(here):
            return each
        if self.least_residual:
            run = self._run(track, rows, here)
            share = residual_share(self.people.model, run, self.share[:, rows[here]], scale=self.scale, hold_field=False)
            each = each.index_add(1, here, self.least_residual * share.expand(len(each), -1))
        if self.stability is not None:
            people = self.people.people(rows[here])
            theta = people.model.theta(track.last.personal[:, here], people.covariates)
            each = each.index_add(1, here, self.stability.penalty(people.model, theta).expand(len(each), len(here)))
        return each

    def _run(self, track: Track, rows: Tensor, here: Tensor) -> Rollout:
        """What the filter took some of these people to do, as a simulation would have it."""
        people = self.people.people(rows[here])
        segments, personal = self.cohort.conditions.segments.people(rows[here]), track.last.personal[:, here]
        model = people.model
        assert track.mean is not None  # it was kept
        theta, context = model.theta(personal, people.covariates), model.context(personal, people.covariates)
        states, inputs = track.mean[:, here, :, : people.states], segments.read_inputs()
        mean = model.observation.seen(states, theta, inputs, people.covariates)
        infused = segments.read_rates() if segments.infused else None
        return Rollout(theta, context, states, inputs, mean, model.noise.variance(mean, states, inputs), infused=infused)

    def _apart(self, names: Sequence[str]) -> Point:
        """The same, the members in two halves, each by itself."""
        M = self.people.model.members
        found = []
        for rows in torch.arange(M, device=self.y.device).tensor_split(2):
            alone = replace(
                self,
                people=replace(self.people, model=select(self.people.model, rows)),
                y=self.y if len(self.y) == 1 else self.y[rows],
                share=self.share[rows],
                held_out=self.held_out[rows],
                scale=None if self.scale is None else self.scale[rows],
            )
            found.append(alone.at(names))
        return Point(*(torch.cat([getattr(p, f) for p in found]) for f in ("loss", "held_out", "gradient", "carried")))
