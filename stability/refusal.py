"""Why there is no claim: a value, not an exception; it travels as JSON like a claim, and is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stability.entries import entries_of, written
from stability.glance import Summary, glance

Reason = Literal["disproved", "no common metric", "not proved"]


def _summary(refusal: Any) -> Summary:
    return f"Refusal: {refusal.reason}", [
        ("message", refusal.message),
        ("best rate", refusal.best_rate),
        ("this inequality", None if refusal.rate_bound is None else f"at most {refusal.rate_bound:.6g}"),
        ("any metric", None if refusal.metric_cap is None else f"at most {refusal.metric_cap:.6g}"),
        ("counterexample", refusal.counterexample),
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Refusal:
    """Why there is no certificate.

    reason
        "disproved"         a Jacobian at a real state has an eigenvalue that forbids the rate in any constant metric
        "no common metric"  the Jacobians at real states admit no common P at that rate; `counterexample` holds the dual
                            matrices that show it
        "not proved"        neither; the inequality is sufficient, not necessary, and the search may have run out of time
    """

    kind: Literal["refusal"] = "refusal"
    reason: Reason
    message: str
    # index of the system, state, slopes, Jacobian, eigenvalue; or the dual
    counterexample: dict[str, Any] | None = None
    best_rate: float | None = None  # the best rate that the search reached, possibly negative
    rate_bound: float | None = None  # what this inequality can reach at most, where the search found out
    metric_cap: float | None = None  # what no constant metric can exceed, from Jacobians at real states, where it found out

    __repr__, _repr_html_ = glance(_summary)

    def __bool__(self) -> Literal[False]:
        return False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, exact to the last bit; `kind` tells it from a claim."""
        return written(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Refusal":
        """The inverse of `to_dict`. Errors: ValueError for what it does not write."""
        return Refusal(**entries_of(Refusal, data))
