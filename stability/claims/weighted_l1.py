"""The claim of contraction in a weighted ℓ1 distance, Σ w_i|δx_i|."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import stability.proof as checker
from stability.claims.claim import Array, Claim, Progress
from stability.claims.words import named, per, summary_of, systems_of
from stability.decay import decay_in_words, rounded
from stability.entries import own_arrays
from stability.glance import Summary, glance
from stability.proof import NOT_COVERED, Budget, Verdict
from stability.proof.weighted_l1 import statement


def _summary(claim: Any) -> Summary:
    found = f"rate {rounded(claim.rate, 4, 'down')} per unit of time"
    return summary_of(claim, found, [("systems", systems_of(claim.leading)), ("weights", claim.weights)])


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedL1(Claim):
    """A proof that Σ w_i|δx_i| shrinks at the rate or faster; `check(certificate, system)` decides it in rationals."""

    rate: float  # λ, per unit of time
    weights: Array  # w (n,), positive, the largest 1
    slope_range: tuple[float, float]
    leading: tuple[int, ...]
    digest: str
    not_covered: tuple[str, ...] = NOT_COVERED
    claim: str = ""  # written from the numbers when left empty
    kind: Literal["weighted l1"] = "weighted l1"

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        own_arrays(self)
        if not self.claim:
            said = statement(self.rate, len(self.weights), int(np.prod(self.leading, dtype=int)))
            object.__setattr__(self, "claim", said)

    def prove(self, system: object, *, budget: Budget | None = None, progress: Progress | None = None) -> Verdict:
        """By column sums of matrices that bound every Jacobian, in rational arithmetic: `stability.proof.weighted_l1`."""
        return checker.prove(self, system, budget=budget, progress=progress)

    def in_words(self, time_unit: str) -> str:
        """"under the same inputs and doses, the distance Σ w|δx| between any two trajectories … shrinks by …"."""
        return (
            "under the same inputs and doses, the distance Σ w|δx| between any two trajectories of one person and member "
            f"{decay_in_words(self.rate, time_unit)}"
        )

    def details(self, time_unit: str, states: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """The rate and the weights."""
        names = named(states, len(self.weights))
        weighed = ", ".join(f"{name} {weight:.3g}" for (name, _), weight in zip(names, self.weights.tolist(), strict=True))
        return (
            f"The distance falls like e^(−λt) or faster, λ = {rounded(self.rate, 4, 'down')} per {per(time_unit)}.",
            f"The weights w are about: {weighed}.",
        )
