"""A judgement as a value: what is said, whether it is good news, what stands behind it, and what it is about."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from physics.glance import glance


@final
@dataclass(frozen=True)
class Verdict:
    """What was judged, made where it is judged: whoever shows it chooses the colour and never reads the words for it.

    `claim`, a sentence that a reader without statistics can act on, without its full stop · `good`: True, False, or None where
    it is neither · `detail`, the numbers behind it as sentences, "" where the claim has them · `about`, what was judged and
    of which channel, level or horizon, most general first, e.g. `("coverage", "glucose", "0.8")`: programs choose by it.
    Names of channels and people are the user's own and may hold any words: they stand in `claim` and have no say in `good`.
    """

    claim: str
    good: bool | None
    detail: str = ""
    about: tuple[str, ...] = ()

    __repr__, _repr_html_ = glance()

    def __str__(self) -> str:
        return f"{self.claim}. {self.detail}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"claim": self.claim, "good": self.good, "detail": self.detail, "about": list(self.about)}


def verdicts_about(verdicts: Iterable[Verdict], *what: str) -> list[Verdict]:
    """Those whose `about` begins with these names."""
    return [v for v in verdicts if v.about[: len(what)] == what]
