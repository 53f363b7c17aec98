"""The claim of a gain: what a difference of inputs does to the state, at every time (a tube) or as an energy (an L2 gain)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import stability.proof as checker
from stability.claims.claim import Array, Claim, Progress
from stability.claims.words import behind, named, summary_of, systems_of
from stability.decay import decay_in_words, rounded
from stability.entries import own_arrays
from stability.glance import Summary, glance
from stability.proof import Budget, Verdict
from stability.proof.gain import NOT_COVERED, statement


def _summary(claim: Any) -> Summary:
    output = claim.output if claim.kind == "l2" else None
    rows = [("systems", systems_of(claim.leading)), ("metric", claim.metric), ("output", output)]
    return summary_of(claim, f"{claim.kind}, {rounded(claim.value, 4, 'up')}", rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class Gain(Claim):
    """A candidate bound on what a difference of inputs does to the state; `check(gain, system)` says whether it is one."""

    kind: Literal["tube", "l2"]
    value: float  # tube: √(μ/2λ'), |δx|_P per unit of sup|δu|; l2: γ, |Cδx| per unit of |δu|, as energies
    rate: float  # λ' of the tube, per unit of time; 0 for the L2 gain
    supply: float  # μ
    metric: Array  # P (n, n)
    multipliers: Array  # (V, H)
    output: Array  # C (p, n); (0, n) for the tube
    units: Array  # (n,): |δx_i| ≤ units_i |δx|_P, so a tube has the height units_i · value in state i
    slope_range: tuple[float, float]
    leading: tuple[int, ...]
    digest: str
    not_covered: tuple[str, ...] = NOT_COVERED
    claim: str = ""  # written from the numbers when left empty

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        own_arrays(self)
        put = object.__setattr__
        put(self, "output", self.output.reshape(-1, len(self.metric)))  # an empty list has lost its n
        if not self.claim:
            put(self, "claim", statement(self.kind, self.value, self.rate, len(self.metric), len(self.multipliers)))

    @property
    def per_state(self) -> Array:  # (n,)
        """The height of the tube in each state's own unit, per unit of input. Errors: ValueError for an L2 gain."""
        if self.kind != "tube":
            raise ValueError("an L2 gain bounds an energy, not a height; ask for tube(certificate, system).")
        return self.units * self.value

    def prove(self, system: object, *, budget: Budget | None = None, progress: Progress | None = None) -> Verdict:
        """By the inequality of the certificate bordered by the input: `stability.proof.gain`."""
        return checker.prove(self, system, budget=budget, progress=progress)

    def in_words(self, time_unit: str) -> str:
        """"inputs that differ by at most d keep any two trajectories … within …"."""
        behind(time_unit)
        whose = "any two trajectories of one person and member, under the same doses,"
        if self.kind == "tube":
            return (
                f"where inputs differ by at most d at every time, the distance in P between {whose} stays below "
                f"{rounded(self.value, 4, 'up')} d plus what is left of the first distance, which "
                f"{decay_in_words(self.rate, time_unit)}"
            )
        return (
            f"the difference of the outputs of {whose} has at most {rounded(self.value, 4, 'up')} squared times the energy of "
            "the difference of their inputs, beside what they started with: an energy, which bounds no single moment"
        )

    def details(self, time_unit: str, states: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Of a tube, how far the states can be apart, each in its own unit."""
        behind(time_unit)
        names = named(states, len(self.units))
        if self.kind != "tube":
            return ()
        heights = zip(names, self.per_state.tolist(), strict=True)
        ends = [f"{name} {rounded(height, 4, 'up')}{behind(unit)}" for (name, unit), height in heights]
        return (f"Per unit of the difference of inputs the states stay within {', '.join(ends)} of each other.",)
