"""A claim as a stranger would add it: one file, and one word in CLAIMS. Every |x_i| decays alone where A is diagonal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stability import Budget, Claim, Lure, Verdict


@dataclass(frozen=True, kw_only=True, eq=False)
class Slowest(Claim):
    """Every state of a diagonal linear system decays at `rate` or faster."""

    kind: Literal["slowest"] = "slowest"
    rate: float  # per unit of time
    digest: str
    not_covered: tuple[str, ...] = ("the discretisation",)
    claim: str = ""

    def __post_init__(self) -> None:
        if not self.claim:
            object.__setattr__(self, "claim", f"Every state decays at {self.rate!r} or faster.")

    def prove(
        self, system: object, *, budget: Budget | None = None, progress: Callable[[str], None] | None = None
    ) -> Verdict:
        """By the diagonal itself, which is compared, not computed."""
        lure = Lure.of(system)
        if lure.digest() != self.digest:
            return Verdict(False, "the digest is not that of the system")
        diagonal = np.diagonal(lure.A, axis1=-2, axis2=-1)
        if lure.weights or (diagonal[..., None] * np.eye(lure.states) != lure.A).any():
            return Verdict(False, "the system is not diagonal and linear")
        if self.claim != Slowest(rate=self.rate, digest=self.digest).claim:
            return Verdict(False, "the claim is not the sentence that the numbers support")
        good = 0 < self.rate <= -diagonal.max()
        return Verdict(bool(good), self.claim if good else "a state is slower", self.rate, lure.leading[0] if lure.leading else 1)

    def in_words(self, time_unit: str) -> str:
        """In one sentence."""
        return f"every state decays at {self.rate:g} per {time_unit} or faster"

    def details(self, time_unit: str, states: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Nothing more."""
        return ()
