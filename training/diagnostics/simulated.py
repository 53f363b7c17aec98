"""Cohorts drawn from a model: the same people, doses, covariates and times, with other η and other noise."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid import Conditions, HybridModel, Solver, sample_paths
from hybrid.defaults import predicting
from hybrid.threads import of_conditions, threads_by
from learned import select
from learned.correlated import correlated
from physics.arguments import positions, require_generator, require_number, require_people
from physics.glance import Summary, glance
from training.diagnostics.members import ROWS, About, chosen, simulated_rows
from training.people.arguments import require_fit
from training.people.cohort import Cohort

FEW = 0.05  # a share of draws that may fail before a person is left out: what is left then hardly differs from the law


def _summary(drawn: "SimulatedCohorts") -> Summary:
    K, N, T, _ = drawn.values.shape
    return f"SimulatedCohorts: {K} of {N} people at up to {T} times, from {drawn.about.members}", [
        ("channels", ", ".join(drawn.about.channels)),
        ("measurements", int(torch.isfinite(drawn.y).sum())),
        ("failed", f"{len(drawn.about.failed)} of {N}" if drawn.about.failed else None),
        ("values", drawn.values),
    ]


@dataclass(frozen=True, eq=False)
class SimulatedCohorts:
    """K cohorts drawn from a model, beside the cohort that was measured.

    `values` (K, N, T, p), a measurement at every time that is real, whether or not there was one; NaN at padding and for people
    in `about.failed` · `y` (N, T, p), what was measured, NaN elsewhere and for people in `about.failed` · `limits`
    (N, T, p, 2), between which a value lies that was not measured as a number, ±∞ for none; None where no value does ·
    `population` (N, T, p), PRED, the prediction for η = 0 · `times` (N, T) since everyone's origin · `member` (K,), of which
    member each cohort is · `about`.
    """

    values: Tensor
    y: Tensor
    limits: Tensor | None
    population: Tensor
    times: Tensor
    member: Tensor
    about: About

    __repr__, _repr_html_ = glance(_summary)

    @property
    def measured(self) -> Tensor:  # (N, T, p)
        """True where something was measured, or is known to lie between limits."""
        there = torch.isfinite(self.y)
        return there if self.limits is None else there | torch.isfinite(self.limits).any(-1)

    def people(self, index: Tensor) -> "SimulatedCohorts":
        """The same for the chosen people: those of one dose, one sex, one study."""
        require_people(index, self.y.shape[0], "SimulatedCohorts.people: index")
        index = positions(index, self.y.shape[0])
        failed = {k: self.about.failed[i] for k, i in enumerate(index.tolist()) if i in self.about.failed}
        return replace(
            self,
            values=self.values[:, index],
            y=self.y[index],
            limits=None if self.limits is None else self.limits[index],
            population=self.population[index],
            times=self.times[index],
            about=replace(self.about, ids=tuple(self.about.ids[i] for i in index.tolist()), failed=failed),
        )


@threads_by(of_conditions)
def simulated_cohorts(
    model: HybridModel,
    cohort: Cohort,
    draws: int,
    generator: torch.Generator,
    *,
    member: int | None = None,
    solver: Solver | None = None,
) -> SimulatedCohorts:
    """Draw whole cohorts from a fitted model: what it says of people like these before anything of them is measured.

    y* = h(x(θ(η*, c)), θ) + noise with η* ~ N(0, I) of each person, their own doses, inputs, covariates and times, and noise as
    the head has it; with process noise the whole path is drawn. A cohort is drawn under one member, whom all its people share.
    Where a measured baseline sets somebody's start, every draw starts there.
    Arguments: `draws` K, how many cohorts (1,000 are usual); `generator`, of everything random; `member`, its place from 0, by
    default every cohort draws one of the members, so that together they are of the mixture; `solver`, of the simulation, taken
    where it adapts its steps: a draw may be faster than anybody for whom the mesh was made.
    Returns `SimulatedCohorts`, for `predictive_check` and `npde`. A person of whom more than 5 % of the draws cannot be simulated
    is left out, and stands in `about.failed`; where it is fewer, another draw of that person takes the place of each.
    Errors: `ValueError` for arguments that do not fit.
    Law: the draws of a person, averaged, are the mean of the population's law at their covariates; another generator with the
    same seed gives the same cohorts.
    """
    require_fit(model, cohort, "simulated_cohorts", solver)
    require_number(draws, "simulated_cohorts: draws, how many cohorts,", least=1.0, most=1e6, whole=True)
    require_generator(generator, "simulated_cohorts: generator")
    model, cohort, about = chosen(model, cohort, member, "simulated_cohorts")
    K, N, M, d = int(draws), len(cohort.ids), model.members, model.personal
    like, by = cohort.y, predicting(solver, model.dtype)
    whose = torch.randint(M, (K,), generator=generator, device=generator.device).cpu()
    values = like.new_full((K, *like.shape), torch.nan)
    why: dict[int, str] = {}
    for m in range(M):
        one = select(model, torch.tensor([m])) if M > 1 else model
        for part in torch.nonzero(whose == m)[:, 0].split(max(1, ROWS // max(N, 1))):
            rows = torch.arange(N, device=like.device).repeat(len(part))
            eta = torch.randn(1, len(rows), d, generator=generator, dtype=torch.float64, device=generator.device).to(like)
            found, failures = _measurements(one, cohort.conditions.people(rows), eta, generator, by)
            values[part.to(like.device)] = found.reshape(len(part), *like.shape)
            for row, reason in failures.items():
                why.setdefault(row % N if N else 0, reason)
    values = torch.where(cohort.real[..., None], values, torch.nan)
    lost = (torch.isnan(values) & cohort.real[..., None]).flatten(2).any(2).double().mean(0)  # (N,)
    failed = {
        i: f"{share:.0%} of its draws cannot be simulated: {why.get(i, 'not finite')}"
        for i, share in enumerate(lost.tolist())
        if share > FEW
    }
    typical, unseen = simulated_rows(model, cohort.conditions, like.new_zeros(M, N, d), by)
    failed |= {i: f"the person with η = 0 cannot be simulated: {reason}" for i, reason in unseen.items() if i not in failed}
    values = _stood_in(values, cohort.real, failed, generator)
    y, gone = like.clone(), torch.tensor(sorted(failed), dtype=torch.long, device=like.device)
    y[gone], values[:, gone] = torch.nan, torch.nan
    limits = getattr(cohort, "limits", None)
    if limits is not None:
        limits = limits.clone()
        limits[gone] = torch.tensor([-torch.inf, torch.inf]).to(limits)
    population = torch.where(cohort.real[..., None], typical.mean.mean(0), torch.nan)
    population[gone] = torch.nan
    return SimulatedCohorts(values, y, limits, population, cohort.times, whose, replace(about, failed=failed))


def _stood_in(
    values: Tensor,  # (K, N, T, p)
    real: Tensor,  # (N, T)
    failed: dict[int, str],
    generator: torch.Generator,
) -> Tensor:
    """Where a draw of a person has no numbers, another one of that person, drawn from those that have."""
    wrong = (torch.isnan(values) & real[..., None]).flatten(2).any(2)  # (K, N)
    for i in torch.nonzero(wrong.any(0))[:, 0].tolist():
        if i not in failed:
            have, lack = torch.nonzero(~wrong[:, i])[:, 0], torch.nonzero(wrong[:, i])[:, 0]
            which = torch.randint(len(have), (len(lack),), generator=generator, device=generator.device).to(have.device)
            values[lack, i] = values[have[which], i]
    return values


def _measurements(
    model: HybridModel,
    conditions: Conditions,
    eta: Tensor,  # (1, R, d)
    generator: torch.Generator,
    solver: Solver,
) -> tuple[Tensor, dict[int, str]]:  # (R, T, p)
    """One measurement of each row at each of its times, and which rows have none."""
    if model.process is not None:
        return sample_paths(model, conditions, eta, 1, generator, solver=solver).measurement[0, 0], {}
    run, failures = simulated_rows(model, conditions, eta, solver)
    noise = torch.randn(run.mean.shape, generator=generator, dtype=torch.float64, device=generator.device).to(run.mean)
    return (run.mean + run.variance.sqrt() * correlated(noise, run.correlation))[0], failures
