"""Predictions and residuals of every measurement: PRED, IPRED, CPRED, IWRES and CWRES."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from hybrid.defaults import differentiating
from hybrid.frames import frame_of
from hybrid.threads import of_slopes, threads_by
from physics.arguments import InputError, require_choice
from physics.glance import Summary, glance
from training.diagnostics.members import ROWS, About, chosen, personal_of, simulated_rows, without
from training.people.arguments import require_fit
from training.people.cohort import Cohort
from training.people.information import copies, difference_offsets, simulate_copies, slopes
from training.people.posterior import Personal

if TYPE_CHECKING:
    from hybrid.frames import DataFrame

Root = Literal["symmetric", "cholesky"]
_LONG = 2000  # measurements of one person whose covariance, 32 MB of it, is still taken apart
_NAMES = ("pred", "cpred", "ipred", "iwres", "cwres")


def _summary(found: "Residuals") -> Summary:
    there = torch.isfinite(found.cwres)
    rows: list[tuple[str, object]] = [("channels", ", ".join(found.about.channels))]
    for name in ("iwres", "cwres"):
        value = getattr(found, name)[there]
        if len(value) > 1:
            rows.append((name, f"mean {value.mean():.3g}, standard deviation {value.std():.3g}"))
    rows.append(("failed", f"{len(found.about.failed)} of {len(found.about.ids)}" if found.about.failed else None))
    return f"Residuals of {int(there.sum())} measurements of {len(found.about.ids)} people, {found.about.members}", rows


@dataclass(frozen=True, eq=False)
class Residuals:
    """What was measured beside what was predicted of it, each (N, T, p); NaN where nothing was measured, and for who failed.

    In the channel's unit: `y` · `pred`, of the person with η = 0 and these covariates · `ipred`, of the person as their own data
    have them · `cpred`, the population's mean as the conditional linearisation has it. In standard deviations: `iwres`
    (y − ipred)/σ, `cwres`. The predictions stand at every time that is real. `times` (N, T) since everyone's origin · `eta`
    (M, N, d), where everyone was linearised · `about`, of which members.
    """

    y: Tensor
    pred: Tensor
    cpred: Tensor
    ipred: Tensor
    iwres: Tensor
    cwres: Tensor
    times: Tensor
    eta: Tensor
    about: About

    __repr__, _repr_html_ = glance(_summary)

    def to_frame(self) -> "DataFrame":
        """One row for each measurement, as a pandas DataFrame: person, time and its unit, channel and unit, y, PRED, CPRED,
        IPRED, IWRES, CWRES (the last two without a unit).
        """
        columns = long_columns(self.y, self.times, self.about)
        there = torch.isfinite(self.y).cpu()
        for name in ("y", *_NAMES):
            columns[name] = getattr(self, name).cpu()[there].tolist()
        return frame_of(columns, "Residuals.to_frame")


def long_columns(y: Tensor, times: Tensor, about: About) -> dict[str, list[Any]]:
    """Person, time and channel of every measurement that is there, in rows."""
    person, time, channel = (v.tolist() for v in torch.nonzero(torch.isfinite(y).cpu(), as_tuple=True))
    at = times.cpu()
    return {
        "person": [about.ids[i] for i in person],
        "time": at[person, time].tolist(),
        "time_unit": [about.time_unit] * len(person),
        "channel": [about.channels[c] for c in channel],
        "unit": [about.units[c] for c in channel],
    }


@threads_by(of_slopes)
def residuals(
    model: HybridModel,
    cohort: Cohort,
    personal: Personal | None = None,
    *,
    member: int | None = None,
    root: Root = "symmetric",
    solver: Solver | None = None,
) -> Residuals:
    """Predictions and weighted residuals of everyone's measurements.

    With f the mean and V the variance of a measurement given η, f̂ and V̂ at everyone's most likely η̂, and G = ∂f/∂η there:
    PRED = f(0), IPRED = f̂, IWRES = (y − f̂)/√V̂; y has, linearised at η̂, the mean CPRED = f̂ − G η̂ and the covariance
    C = G Gᵀ + V̂ of all of a person's measurements together (η ~ N(0, I): ω is inside G; V̂ is diagonal but for what errors of
    one time have in common, `Correlated`), and CWRES = C^{−1/2}(y − CPRED).
    This is FOCE with interaction. What a right model leaves has mean 0 and variance 1 and no correlation, up to the
    linearisation; IWRES has less variance than 1 where few data of each let η̂ follow the noise (the shrinkage of ε).
    Arguments
    - `personal`: what `personalise(model, cohort)` gave for all of the model's members; found now where it is left out.
    - `member`, its place from 0; by default the equally weighted mixture of all: the means of f(0), f̂ and CPRED over members,
      and variances within members plus those between.
    - `root`: "symmetric", as the source has it, which does not depend on the order of the measurements (of several channels it
      does on their units), or "cholesky", by which each is judged given those before it. `solver` as in `personalise`.
    Errors: `ValueError` for a model with process noise, whose measurements are correlated along time in another way; for more
    than 2,000 measurements of one person; for arguments that do not fit.
    Law: where f is linear in η and V constant, CPRED and C are the population's own mean and covariance, whatever η̂, and CWRES
    of a right model are independent N(0, 1).
    Source: Hooker, Staatz & Karlsson, Pharm. Res. 24 (2007) 2187, equations 4 to 8.
    """
    require_fit(model, cohort, "residuals", solver)
    require_choice(root, ("symmetric", "cholesky"), "residuals: root")
    if model.process is not None:
        raise InputError(
            "residuals: this model has process noise, by which measurements are correlated along time beyond what η "
            "does, and CWRES would take them for independent",
            "write npde(simulated_cohorts(model, cohort, 1000, generator), generator), which draws whole paths",
        )
    T, p = cohort.y.shape[1:]
    if T * p > _LONG:
        raise InputError(
            f"residuals: somebody has {T * p} places for measurements, and the covariance of all of them together is "
            f"taken apart for up to {_LONG}",
            "look at shorter records, or at the innovations of a filter (homeostat follow)",
        )
    model, cohort, about = chosen(model, cohort, member, "residuals")
    personal = personal_of(model, cohort, personal, member, solver, "residuals")
    N, M, d = len(cohort.ids), model.members, model.personal
    eta = personal.mode.to(cohort.y)
    failed = dict(personal.failed)
    parts = []
    most = max(1, min(ROWS // (2 * d + 2), 2**22 // max((T * p) ** 2 * M, 1)))
    for rows in torch.arange(N, device=eta.device).split(most):
        one, lost = _of_some(model, cohort.people(rows), eta[:, rows], root, solver)
        failed |= {int(rows[k]): why for k, why in lost.items() if int(rows[k]) not in failed}
        parts.append(one)
    shape = (0, T, p)
    found = [torch.cat([part[k] for part in parts]) if parts else eta.new_zeros(shape) for k in range(len(_NAMES))]
    gone = torch.tensor(sorted(failed), dtype=torch.long, device=eta.device)
    y = cohort.y.clone()
    for value in (y, *found):
        value[gone] = torch.nan
    pred, cpred, ipred = (torch.where(cohort.real[..., None], v, torch.nan) for v in found[:3])
    iwres, cwres = (torch.where(torch.isfinite(y), v, torch.nan) for v in found[3:])
    return Residuals(y, pred, cpred, ipred, iwres, cwres, cohort.times, eta, without(about, failed))


def _of_some(
    model: HybridModel,
    cohort: Cohort,
    eta: Tensor,  # (M, N, d)
    root: Root,
    solver: Solver | None,
) -> tuple[tuple[Tensor, ...], dict[int, str]]:  # each (N, T, p)
    """PRED, CPRED, IPRED, IWRES and CWRES, and why there are none."""
    M, N, d = eta.shape
    with torch.no_grad():
        moved = copies(eta, difference_offsets(eta))
        run = simulate_copies(model, cohort.conditions, moved, N, solver, on_failure="return")
        at = slopes(run, N, d)
        typical, unseen = simulated_rows(model, cohort.conditions, eta.new_zeros(M, N, d), solver or differentiating(model))
        failed = {one.record % N: one.sentence for one in run.failures} | unseen
        y = cohort.y
        ipred, variance = at.mean.mean(0), at.variance.mean(0) + at.mean.var(0, correction=0)
        iwres = (y - ipred) / variance.sqrt()
        slope = at.mean_slope.flatten(2, 3)  # (M, N, L, d)
        middle = at.mean.flatten(2) - (slope @ eta[..., None])[..., 0]  # (M, N, L)
        cpred = middle.mean(0)
        between = middle - cpred
        C = (slope @ slope.mT).mean(0) + _noise(at.variance, at.correlation)
        C = C + between.movedim(0, -1) @ between.movedim(0, -1).mT / M
        there = torch.isfinite(y.flatten(1)) & torch.isfinite(cpred)
        error = torch.where(there, y.flatten(1) - cpred, 0.0)
        cwres = whitened(error[None], C, there, root)[0]
    shape = y.shape
    return (typical.mean.mean(0), cpred.reshape(shape), ipred, iwres, cwres.reshape(shape)), failed


def _noise(
    variance: Tensor,  # (M, N, T, p)
    correlation: Tensor | None,  # (M|1, p, p)
) -> Tensor:  # (N, T·p, T·p)
    """The covariance of everyone's errors, the mean over members: errors of one time may go together, those of two do not."""
    if correlation is None:
        return torch.diag_embed(variance.flatten(2).mean(0))
    N, T, p = variance.shape[1:]
    sd = variance.sqrt()
    each = (sd[..., :, None] * correlation[:, None, None] * sd[..., None, :]).mean(0)  # (N, T, p, p)
    found = each.new_zeros(N, T, p, T, p)
    at = torch.arange(T, device=each.device)
    found[:, at, :, at] = each.movedim(1, 0)
    return found.reshape(N, T * p, T * p)


def whitened(
    error: Tensor,  # (K, N, L), 0 where nothing is there
    covariance: Tensor,  # (N, L, L)
    there: Tensor,  # (N, L)
    root: Root,
) -> Tensor:  # (K, N, L)
    """C^{−1/2} e of the entries that are there; the others take no part, and come out 0.

    Errors: `ValueError` for a covariance that is not positive definite.
    """
    L = covariance.shape[-1]
    eye = torch.eye(L, dtype=covariance.dtype, device=covariance.device)
    C = torch.where(there[:, :, None] & there[:, None, :], covariance, eye)
    scale = C.diagonal(dim1=-2, dim2=-1).sqrt()  # so that channels in small and in large units are one problem
    if root == "cholesky":
        lower, wrong = torch.linalg.cholesky_ex(C / (scale[:, :, None] * scale[:, None, :]))
        if bool((wrong > 0).any()):
            raise _singular()
        return torch.linalg.solve_triangular(lower, (error / scale).movedim(0, -1), upper=False).movedim(-1, 0)
    values, vectors = torch.linalg.eigh(C)
    if bool((values <= 0.0).any()):
        raise _singular()
    return (error[..., None, :] @ vectors @ (vectors / values.sqrt()[:, None]).mT)[..., 0, :]


def _singular() -> InputError:
    return InputError(
        "the covariance of somebody's measurements is not positive definite: two of them are one measurement, or "
        "there are as many as draws",
        "give more draws, or leave replicates out",
    )
