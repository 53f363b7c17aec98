"""The claim of a Lipschitz bound: how far apart the values of a layered network can be at two points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import stability.proof as checker
from stability.claims.claim import Array, Claim, Progress
from stability.claims.words import behind, named, summary_of
from stability.decay import rounded
from stability.entries import own_arrays
from stability.glance import Summary, glance
from stability.proof import Budget, Verdict


def _summary(claim: Any) -> Summary:
    rows = [("hidden units", len(claim.multipliers)), ("where", claim.region or "everywhere"), ("least", claim.floor)]
    return summary_of(claim, rounded(claim.bound, 4, "up"), rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class LipschitzBound(Claim):
    """A candidate proof that a network is `bound`-Lipschitz; `check(bound, {"weights": …, "activation": …})` says whether.

    In a region the system holds "biases" as well, and "skip" where a linear term is part of what is bounded.
    """

    kind: Literal["lipschitz"] = "lipschitz"
    claim: str = ""
    bound: float  # γ: |f(x') − f(x)| ≤ γ |x' − x|, Euclidean, for any two points, or any two of the region
    multipliers: Array  # (H,), one positive number per hidden unit
    slope_range: tuple[float, float]  # of the activation
    # of the weights and the activation, in a region of the biases too, and a linear term: `stability.proof.lipschitz.digest`
    digest: str
    floor: float  # about the least bound this inequality can give (computed in float64, not proved); 0 where unknown
    region: Mapping[str, Any] | None = None  # what `Box.to_dict` writes; None for all of Rⁿ

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        own_arrays(self)

    @property
    def not_covered(self) -> tuple[str, ...]:  # type: ignore[override]  # every bound has the same
        """What the sentence does not say; not written, for every bound has the same."""
        return (
            "the differential equation: the statement is about the layers' values, not about trajectories",
            "deployment in lower precision than the stored float64 arrays",
        )

    def prove(self, system: object, *, budget: Budget | None = None, progress: Progress | None = None) -> Verdict:
        """By the inequality with γ²I in the place of the metric: `stability.proof.lipschitz`."""
        return checker.prove(self, system, budget=budget, progress=progress)

    def in_words(self, time_unit: str) -> str:
        """"the learned part's values at any two points … differ by at most … times their distance"."""
        behind(time_unit)
        where = "" if self.everywhere else " of the stated box"
        return (
            f"the values of the layers at any two points{where} differ, in Euclidean length, by at most "
            f"{rounded(self.bound, 4, 'up')} times the distance of the points"
        )

    def details(self, time_unit: str, states: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """What this inequality can give at least, where it is known."""
        behind(time_unit)
        named(states, None)
        if not self.floor > 0:
            return ()
        return (f"This inequality can give no bound below about {self.floor:.4g}.",)
