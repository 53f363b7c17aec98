"""The objective of people's coordinates around where they are: its value, gradient and information, or why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid import HybridModel, SimulationError, Solver
from learned import select
from training.people.cohort import Cohort
from training.people.information import copies, difference_offsets, expand, simulate_copies, slopes
from training.people.posterior import Personal


@dataclass(frozen=True)
class Gaussian:
    """What is known beforehand, N(mean, precision⁻¹): mean (M, N, d), precision (M, N, d, d), deviations (M, N, d)."""

    mean: Tensor
    precision: Tensor
    deviation: Tensor

    @staticmethod
    def of(known: Personal) -> "Gaussian":
        covariance = known.covariance
        return Gaussian(known.mode, torch.linalg.inv(covariance), covariance.diagonal(dim1=-2, dim2=-1).sqrt())

    def people(self, index: Tensor) -> "Gaussian":
        return Gaussian(self.mean[:, index], self.precision[:, index], self.deviation[:, index])


@dataclass(frozen=True)
class Batch:
    """Where some people are: η (M, n, d), φ (M, n), gradient (M, n, d), information (M, n, d, d).

    φ is infinite where the simulation failed, and `reasons` says why, by the person's row.
    """

    eta: Tensor
    value: Tensor
    gradient: Tensor
    information: Tensor
    reasons: dict[int, str]

    @staticmethod
    def at(model: HybridModel, cohort: Cohort, eta: Tensor, gaussian: Gaussian, solver: Solver | None) -> "Batch":
        """φ and its derivatives for everyone, infinite for those who cannot be simulated."""
        M, n, d = eta.shape
        try:
            moved = copies(eta, difference_offsets(eta))
            run = simulate_copies(model, cohort.conditions, moved, n, solver, on_failure="return")
        except SimulationError as error:  # an adaptive solver may give up on a batch without a name: look in halves
            if n > 1:
                halves = torch.arange(n, device=eta.device).chunk(2)
                parts = [Batch.at(model, cohort.people(h), eta[:, h], gaussian.people(h), solver) for h in halves]
                return Batch._joined(parts, list(halves))
            lost = eta.new_full((M, 1), torch.inf)
            found = Batch(
                eta, lost, torch.zeros_like(eta), gaussian.precision, {0: f"person {cohort.ids[0]}: {error}"}
            )
            return found if M == 1 else Batch._by_member(model, cohort, eta, gaussian, solver)
        value, gradient, information = expand(cohort, slopes(run, n, d), eta, gaussian.mean, gaussian.precision)
        why = {
            f.record % n: str(f).removeprefix(f"record {f.record}: ") for f in run.failures
        }  # copies repeat the order
        found = Batch._checked(cohort, eta, value, gradient, information, why)
        # a record that fails as one for all members: who fails under one must not fail under the others
        together = sorted({f.record % n for f in run.failures if f.members is None})
        if M == 1 or not together:
            return found
        rows = torch.tensor(together, device=eta.device)
        again = Batch._by_member(model, cohort.people(rows), eta[:, rows], gaussian.people(rows), solver)
        return found.placed(again, rows)

    @staticmethod
    def _by_member(
        model: HybridModel, cohort: Cohort, eta: Tensor, gaussian: Gaussian, solver: Solver | None
    ) -> "Batch":
        """The same, member after member."""
        each = []
        for m in range(eta.shape[0]):
            own = Gaussian(gaussian.mean[[m]], gaussian.precision[[m]], gaussian.deviation[[m]])
            each.append(Batch.at(select(model, torch.tensor([m])), cohort, eta[[m]], own, solver))
        return Batch(
            eta,
            torch.cat([p.value for p in each]),
            torch.cat([p.gradient for p in each]),
            torch.cat([p.information for p in each]),
            {k: why for p in reversed(each) for k, why in p.reasons.items()},
        )

    @staticmethod
    def _checked(
        cohort: Cohort, eta: Tensor, value: Tensor, gradient: Tensor, information: Tensor, why: dict[int, str]
    ) -> "Batch":
        good = torch.isfinite(value) & torch.isfinite(gradient).all(-1) & torch.isfinite(information).all(-1).all(-1)
        if bool(good.all()):
            return Batch(eta, value, gradient, information, {})
        eye = torch.eye(eta.shape[-1], dtype=eta.dtype, device=eta.device)
        bad = torch.nonzero(~good.all(0))[:, 0].tolist()
        silent = "the likelihood is not finite: a prediction or its variance is not"
        return Batch(
            eta,
            torch.where(good, value, torch.inf),
            torch.where(good[..., None], gradient, 0.0),
            torch.where(good[..., None, None], information, eye),
            {k: f"person {cohort.ids[k]}: {why.get(k, silent)}" for k in bad},
        )

    @staticmethod
    def _joined(parts: Sequence["Batch"], order: Sequence[Tensor]) -> "Batch":
        back = torch.argsort(torch.cat(list(order)))
        reasons = {
            int(rows[k]): why for part, rows in zip(parts, order, strict=True) for k, why in part.reasons.items()
        }
        return Batch(
            torch.cat([p.eta for p in parts], 1)[:, back],
            torch.cat([p.value for p in parts], 1)[:, back],
            torch.cat([p.gradient for p in parts], 1)[:, back],
            torch.cat([p.information for p in parts], 1)[:, back],
            reasons,
        )

    def people(self, index: Tensor) -> "Batch":
        """The chosen people."""
        reasons = {k: self.reasons[i] for k, i in enumerate(index.tolist()) if i in self.reasons}
        return Batch(
            self.eta[:, index], self.value[:, index], self.gradient[:, index], self.information[:, index], reasons
        )

    def placed(self, part: "Batch", rows: Tensor) -> "Batch":
        """This batch with `part` in the place of these people."""
        if part is self:
            return self
        reasons = self.reasons | {int(rows[k]): why for k, why in part.reasons.items()}
        return Batch(
            self.eta.index_copy(1, rows, part.eta),
            self.value.index_copy(1, rows, part.value),
            self.gradient.index_copy(1, rows, part.gradient),
            self.information.index_copy(1, rows, part.information),
            reasons,
        )

    def moved(self, trial: "Batch", better: Tensor) -> "Batch":
        """Everyone where they were, or at the trial where that is better (M, n)."""
        return Batch(
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
