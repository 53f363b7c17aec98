"""A new person: their own coordinates from their own data, with the population and the network frozen."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from hybrid import HybridModel, SimulationError, Solver
from hybrid.defaults import differentiating
from hybrid.threads import of_slopes, threads_by
from learned import select
from physics.arguments import (
    quote,
    require_choice,
    require_device,
    require_kind,
    require_number,
    require_people,
    require_shape,
    require_tensor,
)
from training.people.arguments import require_fit
from training.people.records import Cohort
from training.people.sensitivity import (
    copies,
    difference_offsets,
    expand,
    observed_information,
    sensitivity,
    simulate_copies,
    slopes,
)

__all__ = ["Curvature", "Personal", "personalise", "prior", "sensitivity"]

Curvature = Literal["fisher", "observed"]


@dataclass(frozen=True)
class Personal:
    """What is known of N people's own coordinates under each of M members.

    `mode` (M, N, d), the maximum a posteriori · `covariance` (M, N, d, d), Laplace · `objective` (M, N), −log posterior
    at the mode up to a constant · `converged` (M, N) · `failed`, for the people who could not be simulated under some
    member, by index, why: there their mode and covariance are what was known before, objective 0, not converged.
    """

    mode: Tensor
    covariance: Tensor
    objective: Tensor
    converged: Tensor
    failed: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        write = "personalise(model, cohort)"
        require_shape(self.mode, "Personal: mode", "M", "N", "d", write=write)
        M, N, d = self.mode.shape
        require_shape(self.covariance, "Personal: covariance", M, N, d, d, write=write, like=self.mode)
        require_shape(self.objective, "Personal: objective", M, N, write=write, like=self.mode)
        if not isinstance(self.converged, Tensor) or self.converged.shape != (M, N) or self.converged.dtype != torch.bool:
            raise ValueError(f"Personal: converged says yes or no, dtype bool and shape {(M, N)}, and is {quote(self.converged)}")
        require_kind(self.failed, dict, "Personal: failed", "{}, or index → why")
        for index in self.failed:
            require_number(index, "Personal: failed, by index,", least=0.0, most=N - 1.0, whole=True)

    def draws(self, count: int, generator: torch.Generator) -> Tensor:  # (M, S, N, d)
        """Independent draws of the Laplace posterior N(mode, covariance)."""
        M, N, d = self.mode.shape
        require_number(count, "draws: count", least=1.0, most=1e8, whole=True)
        require_kind(generator, torch.Generator, "draws: generator", "torch.Generator().manual_seed(0)")
        count = int(count)
        z = torch.randn(M, count, N, d, 1, generator=generator, dtype=torch.float64, device=generator.device)
        z = z.to(self.mode.device)  # a generator draws where it lives, and nowhere else
        if d == 0:
            return z[..., 0]
        root, failed = torch.linalg.cholesky_ex(self.covariance)  # (M, N, d, d)
        if bool((failed > 0).any()) or not bool(torch.isfinite(self.mode).all()):
            raise ValueError("draws: a mode is not finite, or a covariance not positive definite; personalise these people again")
        return self.mode[:, None] + (root[:, None] @ z)[..., 0]

    def to(self, device: torch.device | str) -> "Personal":
        """The same on another device."""
        require_device(device, "Personal.to: device")
        return replace(
            self,
            mode=self.mode.to(device),
            covariance=self.covariance.to(device),
            objective=self.objective.to(device),
            converged=self.converged.to(device),
        )

    def people(self, index: Tensor) -> "Personal":
        """The same for the chosen people."""
        require_people(index, self.mode.shape[1], "Personal.people: index")
        index = torch.nonzero(index)[:, 0] if index.dtype == torch.bool else index
        failed = {k: self.failed[i] for k, i in enumerate(index.tolist()) if i in self.failed}
        return Personal(
            self.mode[:, index], self.covariance[:, index], self.objective[:, index], self.converged[:, index], failed
        )


def prior(
    model: HybridModel,
    people: int,
    *,
    mean: Tensor | None = None,  # (d,), (N, d) or (M, N, d)
    covariance: Tensor | None = None,  # (d, d), (N, d, d) or (M, N, d, d)
) -> Personal:
    """Someone of whom nothing was measured: mode 0, covariance I, or what else is known of them beforehand.

    Errors: `ValueError` for shapes that do not fit, or a covariance that is not symmetric positive definite.
    """
    require_kind(model, HybridModel, "prior: model", "prior(model, people)")
    require_number(people, "prior: people, how many,", least=0.0, most=1e8, whole=True)
    for name, value in (("mean", mean), ("covariance", covariance)):
        require_tensor(value, f"prior: {name}", f"{name}=torch.tensor([…])")
        if value is not None:
            require_shape(value, f"prior: {name}", ..., "d", write=f"{name}=torch.tensor([…])")
    people = int(people)
    M, d = model.members, model.personal
    device = next(iter(model.parameters())).device
    zero = torch.zeros(M, people, dtype=torch.float64, device=device)
    mode, spread = zero[..., None].expand(M, people, d), torch.eye(d, dtype=torch.float64, device=device)
    try:
        if mean is not None:
            mode = mean.to(mode).expand(M, people, d)
        spread = (spread if covariance is None else covariance.to(spread)).expand(M, people, d, d)
    except RuntimeError as error:
        raise ValueError(
            f"prior: a mean (d,), (N, d) or (M, N, d) and a covariance with one more d are needed, with M, N, d = {M}, "
            f"{people}, {d}; got {None if mean is None else tuple(mean.shape)} and "
            f"{None if covariance is None else tuple(covariance.shape)}"
        ) from error
    if not bool(torch.isfinite(mode).all()):
        raise ValueError("prior: the mean must be finite, and is not; write what is known, or leave it out")
    if covariance is not None and d and people:
        uneven = not torch.allclose(spread, spread.mT, rtol=1e-9, atol=0.0)
        uneven = uneven or not bool(torch.isfinite(spread).all())
        if uneven or bool((torch.linalg.cholesky_ex(spread).info > 0).any()) or not bool(torch.isfinite(mode).all()):
            raise ValueError("prior: needs a finite mean and a covariance that is symmetric and positive definite")
    return Personal(mode.clone(), spread.clone(), zero, zero == 0)


def in_float64(model: HybridModel, cohort: Cohort) -> tuple[HybridModel, Cohort]:
    """The same model and people in float64; copies where they are of another type."""
    if model.dtype != torch.float64:
        model = copy.deepcopy(model).to(torch.float64)
    return model, cohort if cohort.y.dtype == torch.float64 else cohort.to(torch.float64)


@threads_by(of_slopes)
def personalise(
    model: HybridModel,
    cohort: Cohort,
    *,
    start: Tensor | None = None,  # (M, N, d)
    before: Personal | None = None,
    curvature: Curvature = "fisher",
    iterations: int = 40,
    tolerance: float = 1e-4,
    solver: Solver | None = None,
) -> Personal:
    """Maximum a posteriori coordinates of every person under every member, all at once, with Laplace covariances.

    Minimises φ(η) = Σ_t ½[(y_t − μ_t)²/v_t + log v_t] + ½(η − m)ᵀC⁻¹(η − m) by Fisher scoring with Levenberg–Marquardt
    damping, each person and member with their own: with μ' and v' the derivatives along η, the gradient is
    g = Σ_t [−e μ'/v + ½ v'(1 − e²/v)/v] + C⁻¹(η − m) and the Fisher information H = Σ_t [μ'μ'ᵀ/v + ½ v'v'ᵀ/v²] + C⁻¹.
    A person is converged when a step was accepted at whose beginning the Newton decrement √(gᵀH⁻¹g), the distance to the
    mode in standard deviations of the person's own posterior, was at most `tolerance`. Who is converged is not moved any
    more, and as soon as fewer than half of the people simulated are not, those alone are simulated on.

    Arguments
    - `model`; `cohort`, whose NaN observations do not count; `start`, where to begin (the prior's mean).
    - `before`: what is known of these people without these data, m and C (`prior`: 0 and I). The posterior of earlier
      data is such knowledge.
    - `curvature` of the covariance at the mode: the inverse of the Fisher information, or of the "observed" one, the
      Hessian of φ, by central differences of its exact gradient. They differ where the model misfits a person: there the
      observed one is the curvature that φ has. Where it is not positive definite (the search ended at no minimum) the
      Fisher information stands in.
    - at most `iterations`; `tolerance`.

    Everything is float64, and so is the result: of a model in another type a float64 copy is taken, since differences of
    1e-5 and the inverse of an information matrix are beyond float32.
    A person who cannot be simulated stops nobody: a step that leads there is not taken, and a beginning that lies there
    is tried again at the prior's mean before the reason ends up in `failed`.
    Errors: `ValueError` for shapes that do not fit.
    Law: with a mean that is linear in η and constant noise, the result is the exact Gaussian posterior, and data in two
    parts, the first part's result before the second, give what they give at once. A person's result is their own,
    whoever else is there (fixed-step solvers; an adaptive one shares its steps).
    Source: Osborne, Int. Stat. Rev. 60 (1992) 99 (Fisher's method of scoring); Nielsen, IMM-REP-1999-05 (1999) (damping);
    Boyd & Vandenberghe, Convex Optimization (2004) § 9.5.1 (decrement); MacKay, Neural Comput. 4 (1992) 448 (Laplace);
    Efron & Hinkley, Biometrika 65 (1978) 457 (observed against expected information).
    """
    require_fit(model, cohort, "personalise", solver)
    require_number(iterations, "personalise: iterations", least=0.0, whole=True)
    require_number(tolerance, "personalise: tolerance", least=0.0)
    iterations, tolerance = int(iterations), float(tolerance)
    require_tensor(start, "personalise: start", "Personal.mode of an earlier search")
    if start is not None and not start.is_floating_point():
        raise ValueError(f"personalise: start is {start.dtype}, and coordinates are real numbers; write start.to(torch.float64)")
    if before is not None:
        require_kind(before, Personal, "personalise: before", "prior(model, people), or what personalise gave for earlier data")
    solver = solver or differentiating()  # one for all rounds: it keeps its buffers between them
    model, cohort = in_float64(model, cohort)
    M, N, d = model.members, cohort.conditions.size, model.personal
    known = prior(model, N) if before is None else before.to(model.device)
    if known.mode.shape != (M, N, d) or known.covariance.shape != (M, N, d, d):
        raise ValueError(
            f"personalise: before needs a mode (M, N, d) = {(M, N, d)} and a covariance with one more d, got "
            f"{tuple(known.mode.shape)} and {tuple(known.covariance.shape)}"
        )
    if start is not None and start.shape != (M, N, d):
        raise ValueError(f"personalise: start needs shape (M, N, d) = {(M, N, d)}, got {tuple(start.shape)}")
    require_choice(curvature, ("fisher", "observed"), "personalise: curvature")
    if start is not None and not bool(torch.isfinite(start).all()):
        raise ValueError("personalise: start must be finite, and is not; write Personal.mode of an earlier search")
    if N == 0:
        return known
    whole = cohort
    with torch.no_grad():
        gaussian = _Gaussian.of(known)
        at = known.mode if start is None else start.detach().to(known.mode, copy=True)
        batch = _Batch.at(model, cohort, at, gaussian, solver)
        lost = torch.nonzero(torch.isinf(batch.value).any(0))[:, 0]
        if start is not None and len(lost):
            again = _Batch.at(model, cohort.people(lost), known.mode[:, lost], gaussian.people(lost), solver)
            batch = batch.placed(again, lost)
        failed = {i: batch.reasons[i] for i in torch.nonzero(torch.isinf(batch.value).any(0))[:, 0].tolist()}
        usable = torch.isfinite(batch.value)  # (M, N)
        hopeless = ~usable.any(0)
        converged = usable.clone() if d == 0 else torch.zeros_like(usable)
        found = batch
        rows = torch.arange(N, device=usable.device)  # who is in the batch
        damping = torch.full((M, N), 1e-3, dtype=torch.float64, device=usable.device)
        unfinished = usable & ~converged
        for _ in range(iterations):
            busy = unfinished.any(0)
            count = int(busy.sum())
            if count == 0:
                break
            # whoever failed under every member would fail in every step again
            if 2 * count < len(rows) or bool(hopeless[rows].any()):
                found, keep = found.placed(batch, rows), torch.nonzero(busy)[:, 0]
                rows, batch = rows[keep], batch.people(keep)
                gaussian, cohort = gaussian.people(keep), cohort.people(keep)
                damping, unfinished = damping[:, keep], unfinished[:, keep]
            batch, damping, done = _improve(model, cohort, batch, damping, unfinished, gaussian, tolerance, solver)
            converged[:, rows] |= done
            unfinished = unfinished & ~done
        found = found.placed(batch, rows)
    if d == 0:
        return Personal(found.eta, known.covariance, torch.where(usable, found.value, 0.0), converged, failed)
    information = found.information
    if curvature == "observed":
        observed = observed_information(model, whole, found.eta, torch.linalg.inv(known.covariance), solver=solver)
        definite = torch.linalg.cholesky_ex(observed).info == 0  # NaN is not
        information = torch.where(definite[..., None, None], observed, information)
    return Personal(
        torch.where(usable[..., None], found.eta, known.mode),
        torch.where(usable[..., None, None], torch.linalg.inv(information), known.covariance),
        torch.where(usable, found.value, 0.0),
        converged,
        failed,
    )


def _improve(
    model: HybridModel,
    cohort: Cohort,
    at: "_Batch",
    damping: Tensor,  # (M, N)
    unfinished: Tensor,  # (M, N)
    gaussian: "_Gaussian",
    tolerance: float,
    solver: Solver | None,
) -> tuple["_Batch", Tensor, Tensor]:
    """One damped step of the unfinished: where they then are, their damping, and who has converged."""
    diagonal = torch.diag_embed(at.information.diagonal(dim1=-2, dim2=-1))
    step = -torch.linalg.solve(at.information + damping[..., None, None] * diagonal, at.gradient[..., None])[..., 0]
    # no single step needs to be longer than two standard deviations of what was known before
    longest = 2.0 * gaussian.deviation
    step = torch.where(unfinished[..., None], torch.maximum(torch.minimum(step, longest), -longest), 0.0)
    trial = _Batch.at(model, cohort, at.eta + step, gaussian, solver)
    decrement = at.decrement()
    promised = -(at.gradient * step).sum(-1) - 0.5 * ((at.information @ step[..., None])[..., 0] * step).sum(-1)
    # what the step promises may be less than the rounding of φ: then the gradient says whether it was good
    blind = promised <= 1e-13 * (1.0 + at.value.abs())
    better = unfinished & ((trial.value <= at.value) | (blind & (trial.decrement() <= decrement)))
    better = better & torch.isfinite(trial.value)
    gain = (at.value - trial.value) / promised.clamp(min=1e-300)
    # The information is not the curvature: where the model misfits, a whole step overshoots and is still better.
    # The gain, as a share of what the quadratic promised, says so: near 1 trust more, below ½ less (Nielsen 1999).
    factor = (1.0 - (2.0 * gain - 1.0).clamp(-1.0, 1.0) ** 3).clamp(min=0.1)
    damping = torch.where(better, damping * factor, damping * 10.0).clamp(1e-9, 1e9)
    done = unfinished & (decrement <= tolerance) & (better | blind)
    return at.moved(trial, better), damping, done


@dataclass(frozen=True)
class _Gaussian:
    """What is known beforehand, N(mean, precision⁻¹): mean (M, N, d), precision (M, N, d, d), deviations (M, N, d)."""

    mean: Tensor
    precision: Tensor
    deviation: Tensor

    @staticmethod
    def of(known: Personal) -> "_Gaussian":
        covariance = known.covariance
        return _Gaussian(known.mode, torch.linalg.inv(covariance), covariance.diagonal(dim1=-2, dim2=-1).sqrt())

    def people(self, index: Tensor) -> "_Gaussian":
        return _Gaussian(self.mean[:, index], self.precision[:, index], self.deviation[:, index])


@dataclass(frozen=True)
class _Batch:
    """Where some people are: η (M, n, d), φ (M, n), gradient (M, n, d), information (M, n, d, d).

    φ is infinite where the simulation failed, and `reasons` says why, by the person's row.
    """

    eta: Tensor
    value: Tensor
    gradient: Tensor
    information: Tensor
    reasons: dict[int, str]

    @staticmethod
    def at(model: HybridModel, cohort: Cohort, eta: Tensor, gaussian: _Gaussian, solver: Solver | None) -> "_Batch":
        """φ and its derivatives for everyone, infinite for those who cannot be simulated."""
        M, n, d = eta.shape
        try:
            moved = copies(eta, difference_offsets(eta))
            run = simulate_copies(model, cohort.conditions, moved, n, solver, on_failure="return")
        except SimulationError as error:  # an adaptive solver may give up on a batch without a name: look in halves
            if n > 1:
                halves = torch.arange(n, device=eta.device).chunk(2)
                parts = [_Batch.at(model, cohort.people(h), eta[:, h], gaussian.people(h), solver) for h in halves]
                return _Batch._joined(parts, list(halves))
            lost = eta.new_full((M, 1), torch.inf)
            found = _Batch(
                eta, lost, torch.zeros_like(eta), gaussian.precision, {0: f"person {cohort.ids[0]}: {error}"}
            )
            return found if M == 1 else _Batch._by_member(model, cohort, eta, gaussian, solver)
        value, gradient, information = expand(cohort.y, slopes(run, n, d), eta, gaussian.mean, gaussian.precision)
        why = {
            f.record % n: str(f).removeprefix(f"record {f.record}: ") for f in run.failures
        }  # copies repeat the order
        found = _Batch._checked(cohort, eta, value, gradient, information, why)
        # a record that fails as one for all members: who fails under one must not fail under the others
        together = sorted({f.record % n for f in run.failures if f.members is None})
        if M == 1 or not together:
            return found
        rows = torch.tensor(together, device=eta.device)
        again = _Batch._by_member(model, cohort.people(rows), eta[:, rows], gaussian.people(rows), solver)
        return found.placed(again, rows)

    @staticmethod
    def _by_member(
        model: HybridModel, cohort: Cohort, eta: Tensor, gaussian: _Gaussian, solver: Solver | None
    ) -> "_Batch":
        """The same, member after member."""
        each = []
        for m in range(eta.shape[0]):
            own = _Gaussian(gaussian.mean[[m]], gaussian.precision[[m]], gaussian.deviation[[m]])
            each.append(_Batch.at(select(model, torch.tensor([m])), cohort, eta[[m]], own, solver))
        return _Batch(
            eta,
            torch.cat([p.value for p in each]),
            torch.cat([p.gradient for p in each]),
            torch.cat([p.information for p in each]),
            {k: why for p in reversed(each) for k, why in p.reasons.items()},
        )

    @staticmethod
    def _checked(
        cohort: Cohort, eta: Tensor, value: Tensor, gradient: Tensor, information: Tensor, why: dict[int, str]
    ) -> "_Batch":
        good = torch.isfinite(value) & torch.isfinite(gradient).all(-1) & torch.isfinite(information).all(-1).all(-1)
        if bool(good.all()):
            return _Batch(eta, value, gradient, information, {})
        eye = torch.eye(eta.shape[-1], dtype=eta.dtype, device=eta.device)
        bad = torch.nonzero(~good.all(0))[:, 0].tolist()
        silent = "the likelihood is not finite: a prediction or its variance is not"
        return _Batch(
            eta,
            torch.where(good, value, torch.inf),
            torch.where(good[..., None], gradient, 0.0),
            torch.where(good[..., None, None], information, eye),
            {k: f"person {cohort.ids[k]}: {why.get(k, silent)}" for k in bad},
        )

    @staticmethod
    def _joined(parts: Sequence["_Batch"], order: Sequence[Tensor]) -> "_Batch":
        back = torch.argsort(torch.cat(list(order)))
        reasons = {
            int(rows[k]): why for part, rows in zip(parts, order, strict=True) for k, why in part.reasons.items()
        }
        return _Batch(
            torch.cat([p.eta for p in parts], 1)[:, back],
            torch.cat([p.value for p in parts], 1)[:, back],
            torch.cat([p.gradient for p in parts], 1)[:, back],
            torch.cat([p.information for p in parts], 1)[:, back],
            reasons,
        )

    def people(self, index: Tensor) -> "_Batch":
        """The chosen people."""
        reasons = {k: self.reasons[i] for k, i in enumerate(index.tolist()) if i in self.reasons}
        return _Batch(
            self.eta[:, index], self.value[:, index], self.gradient[:, index], self.information[:, index], reasons
        )

    def placed(self, part: "_Batch", rows: Tensor) -> "_Batch":
        """This batch with `part` in the place of these people."""
        if part is self:
            return self
        reasons = self.reasons | {int(rows[k]): why for k, why in part.reasons.items()}
        return _Batch(
            self.eta.index_copy(1, rows, part.eta),
            self.value.index_copy(1, rows, part.value),
            self.gradient.index_copy(1, rows, part.gradient),
            self.information.index_copy(1, rows, part.information),
            reasons,
        )

    def moved(self, trial: "_Batch", better: Tensor) -> "_Batch":
        """Everyone where they were, or at the trial where that is better (M, n)."""
        return _Batch(
            torch.where(better[..., None], trial.eta, self.eta),
            torch.where(better, trial.value, self.value),
            torch.where(better[..., None], trial.gradient, self.gradient),
            torch.where(better[..., None, None], trial.information, self.information),
            {},
        )

    def decrement(self) -> Tensor:  # (M, n)
        """√(gᵀH⁻¹g): how far the mode of the quadratic is, in its standard deviations."""
        step = torch.linalg.solve(self.information, self.gradient[..., None])[..., 0]
        return (self.gradient * step).sum(-1).clamp(min=0.0).sqrt()
