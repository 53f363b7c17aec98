"""The claim of a rate on a region: how fast two trajectories approach while both are there; no certificate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import stability.proof as checker
from stability.arguments import shown
from stability.claims.claim import Array, Claim, Progress
from stability.claims.words import ends_in_words, named, per, summary_of, systems_of
from stability.decay import decay_in_words, rounded
from stability.entries import own_arrays
from stability.glance import Summary, glance
from stability.proof import Budget, Verdict
from stability.proof.contraction import not_covered
from stability.proof.region.rate import NOT_COVERED, statement


def _summary(claim: Any) -> Summary:
    metric = f"P {claim.metric.shape[0]} × {claim.metric.shape[1]}, condition number {rounded(claim.condition, 3, 'up')}"
    rows = [("where", claim.where_in_words()), ("systems", systems_of(claim.leading)), ("metric", metric)]
    return summary_of(claim, f"rate {rounded(claim.rate, 4, 'down')} per unit of time, while both stay", rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionalRate(Claim):
    """A candidate proof of a rate on a region; `check(claim, system)` says whether it is one.

    With this P and these multipliers the inequality of `stability/proof/known.py` holds over the whole box, its levels of the
    input and every θ of the systems, or with this P alone that of `stability/proof/region/cells.py` on each cell of it:
    √(δxᵀPδx) shrinks at the rate for as long as both trajectories are in the box. That they
    stay there is not proved: it is no certificate.
    """

    kind: Literal["rate on a region"] = "rate on a region"
    claim: str = ""  # written from the numbers when left empty
    rate: float  # λ, per unit of time
    metric: Array  # P (n, n), symmetric
    # (V, H + K): the layers' units, then the tape's entries; by vertices (V·2^K, H), a row for each corner; by cells (V, 0)
    multipliers: Array
    slope_range: tuple[float, float]  # of the activation
    condition: float  # λmax(P)/λmin(P), in the states' own units
    leading: tuple[int, ...]  # members and records of the system; V is the product
    digest: str  # Lure.digest of the system it was made for
    region: Mapping[str, Any]  # a box, lower and upper with None where it has no end; inputs: their levels, or None; the proof
    wide: bool = False  # whether θ is a box, all of which is meant
    feedback: str = ""  # how the policy is named, under which the system is, if it is under one
    spectral_cap: float | None = None  # the smallest −abscissa at a state of the region: no metric exceeds it
    metric_cap: float | None = None  # the best rate of one metric for all of those that were sampled; None where not found out
    sampled: int | None = None  # how many Jacobians
    not_covered: tuple[str, ...] = NOT_COVERED

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        own_arrays(self)
        if not self.claim:
            size = self.metric.shape[0], math.prod(self.leading)
            try:
                words = statement(self.rate, *size, self.region, wide=self.wide, feedback=self.feedback)
            except (KeyError, TypeError) as error:
                raise ValueError(
                    f"the region of the rate is {shown(self.region)}, and no sentence can be made of it "
                    f"({type(error).__name__}: {error}); give what to_dict of a rate on a region writes."
                ) from error
            object.__setattr__(self, "claim", words)
        object.__setattr__(self, "not_covered", not_covered(self.feedback, self.not_covered))

    def to_dict(self) -> dict[str, Any]:
        """As every claim; `feedback` only of a system under a policy."""
        return {name: value for name, value in super().to_dict().items() if name != "feedback" or value}

    def prove(self, system: object, *, budget: Budget | None = None, progress: Progress | None = None) -> Verdict:
        """By the inequality over the box, the tape's entries as units or corners, or by cells: `stability.proof.region.rate`."""
        return checker.prove(self, system, budget=budget, progress=progress)

    def in_words(self, time_unit: str) -> str:
        """"under the same inputs and doses, for as long as both are in the stated region, the distance in P …"."""
        same = "the stated policy and the same external inputs" if self.feedback else "the same inputs"
        return (
            f"under {same} and doses, and for as long as both stay in the stated region, which is not proved, the "
            f"distance in P between any two trajectories of one person and member {decay_in_words(self.rate, time_unit)}"
        )

    def details(self, time_unit: str, states: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Where it holds, the metric, the rate, and what limits it."""
        ways = {"vertices": "by the corners of the box that the slopes span", "cells": "cell by cell of the region"}
        corners = ways.get(str(self.region.get("proof")), "slope by slope")
        unit = per(time_unit)
        found = [
            f"It is a rate on a region, not a certificate: it speaks of {self.where_in_words(states)}, while both trajectories "
            "are there.",
            f"One metric P, of condition number {rounded(self.condition, 3, 'up')} in the states' own units, serves every member "
            f"and every person; it is proved {corners}, and the distance √(δxᵀPδx) falls like e^(−λt) or faster, λ = "
            f"{rounded(self.rate, 4, 'down')} per {unit}.",
        ]
        known = [cap for cap in (self.metric_cap, self.spectral_cap) if cap is not None]
        if known:
            count = "" if self.sampled is None else f"{self.sampled} "
            found.append(
                f"No constant metric can exceed {rounded(min(known), 4, 'up')} per {unit} there: so the search found from {count}"
                "sampled Jacobians at states of the region, and check does not look at it."
            )
        return tuple(found)

    def where_in_words(self, states: Sequence[tuple[str, str]] = ()) -> str:
        """The box, briefly; the claim has every digit. `states`: names and units."""
        names = named(states, len(self.metric))
        ends = zip(names, self.region["lower"], self.region["upper"], strict=True)
        return f"states in the box {', '.join(f'{name} {ends_in_words(low, high, unit)}' for (name, unit), low, high in ends)}"
