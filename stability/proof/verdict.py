"""What the checker says."""

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What the checker says: `proved`, the reason in one sentence, the rate and the number of systems it speaks about.

    `decided` is False where the budget ended before the proof did; then the reason begins with "not decided", and nothing is
    said about whether the claim is true.
    """

    proved: bool
    reason: str
    rate: float | None = None
    systems: int | None = None
    decided: bool = True

    def __repr__(self) -> str:
        """The sentence in lines of a screen's width, at most ten."""
        more = "" if self.rate is None else f" (rate {self.rate:.6g}, systems {self.systems})"
        return "\n  ".join(textwrap.wrap(f"Verdict{more}: {self}", 108, max_lines=10, placeholder=" …"))

    def __bool__(self) -> bool:
        return self.proved

    def __str__(self) -> str:
        """In one line, as the shell prints it."""
        return f"{'proved' if self.proved else 'refused'}: {self.reason}" if self.decided else self.reason


def undecided(why: object) -> Verdict:
    """The verdict where the budget, or the arithmetic that was asked for, does not suffice."""
    return Verdict(False, f"not decided: {why}", decided=False)
