"""The claim of a contracting step: one step of a solver takes the distance in P to at most ρ of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import stability.proof as checker
from stability.arguments import number
from stability.claims.claim import Array, Claim, Progress
from stability.claims.words import behind, named, per, summary_of, systems_of
from stability.decay import rounded
from stability.entries import own_arrays
from stability.glance import Summary, glance
from stability.proof import Budget, Verdict
from stability.proof.step import NOT_COVERED, statement


def _summary(claim: Any) -> Summary:
    found = f"{claim.method} of {claim.step:g}, factor {rounded(claim.factor, 6, 'up')}"
    return summary_of(claim, found, [("systems", systems_of(claim.leading)), ("metric", claim.metric)])


@dataclass(frozen=True, kw_only=True, eq=False)
class Step(Claim):
    """A candidate proof that a solver's step contracts; `check(step, system)` says whether it is one."""

    method: str  # "euler" or "rk4"
    step: float  # h, in time
    factor: float  # ρ < 1
    metric: Array  # P (n, n)
    multipliers: Array  # (V, s·H), one per stage and hidden unit
    slope_range: tuple[float, float]
    leading: tuple[int, ...]
    digest: str
    not_covered: tuple[str, ...] = NOT_COVERED
    claim: str = ""  # written from the numbers when left empty
    kind: Literal["step"] = "step"

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        own_arrays(self)
        if not self.claim:
            shape = len(self.metric), len(self.multipliers)
            object.__setattr__(self, "claim", statement(self.method, self.step, self.factor, *shape))

    @property
    def rate(self) -> float:
        """−log ρ / h, to hold beside the rate of the differential equation, per unit of time.

        Errors: ValueError for a step or a factor that is not positive, of which there is none.
        """
        factor = number(self.factor, "the factor of the step", "a finite positive one, ρ < 1", above=0.0)
        return -float(np.log(factor)) / number(self.step, "the step", "a finite positive one, in time", above=0.0)

    def prove(self, system: object, *, budget: Budget | None = None, progress: Progress | None = None) -> Verdict:
        """By the inequality of the loop with one copy of the units per stage: `stability.proof.step`."""
        return checker.prove(self, system, budget=budget, progress=progress)

    def in_words(self, time_unit: str) -> str:
        """"under the same inputs and doses, one step of rk4 of .1 h takes the distance in P … to at most … of itself"."""
        step = f"{self.step!r}{behind(time_unit)}"
        return (
            f"under the same inputs and doses, one step of {self.method} of {step} takes the distance in P between any two "
            f"states of one person and member to at most {rounded(self.factor, 6, 'up')} of itself"
        )

    def details(self, time_unit: str, states: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Of which computation it speaks, and the rate to hold beside that of the differential equation."""
        named(states, len(self.metric))
        rate = f"{rounded(self.rate, 4, 'down')} per {per(time_unit)}"
        return (
            "It is about a solver's steps of this size and method, not about the differential equation.",
            f"Step by step the distance falls at {rate}, about.",
        )
