"""What the search returns: a certificate or a refusal. Values, not exceptions; both travel as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stability.arguments import read_claim, shown
from stability.decay import rounded
from stability.proof.contraction import NOT_COVERED, statement
from stability.proof.regional_claim import regional_statement

Array = NDArray[np.float64]
Reason = Literal["disproved", "no common metric", "not proved"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Certificate:
    """A candidate proof of contraction; `check(certificate, system)` says whether it is one.

    With this P and, per system, Λ = diag(multipliers), the inequality M ≻ 0 of `stability/README.md` holds, which gives
    √(δxᵀPδx) ≤ e^{−λt} √(δx₀ᵀPδx₀) for each system (Lur'e form; Revay, Wang & Manchester 2023 use the same class).
    √condition bounds the transient growth of the Euclidean distance.
    """

    rate: float  # λ, per unit of time
    metric: Array  # P (n, n), symmetric, smallest eigenvalue about 1
    multipliers: Array  # (V, H), one positive number per hidden unit and system; (V, 0) where cells prove it
    slope_range: tuple[float, float]  # of the activation
    condition: float  # λmax(P)/λmin(P)
    leading: tuple[int, ...]  # members and records of the system; V is the product
    digest: str  # Lure.digest of the system it was made for
    # No constant metric whatever can exceed the first two: from Jacobians at states of the region (or of Rⁿ) with real inputs.
    spectral_cap: float | None  # the smallest −abscissa of one of them; None where none was sampled
    metric_cap: float | None  # the best rate of one metric for all of them, a dual bound; None where it was not found out
    identity_refused: bool | None  # whether P = I fails: True at a state that was sampled, False by proof; None unknown
    region: str | Mapping[str, Any] = "global"  # or box or ellipsoid, inputs, the kind of proof, the set trajectories stay in
    not_covered: tuple[str, ...] = NOT_COVERED
    claim: str = field(default="")  # written from the numbers when left empty
    # What this inequality can reach, in the metrics that were searched: it covers slope patterns that no state attains, so that
    # another proof may exceed it. A dual bound; None where the proof is by cells, or where it was not found out.
    inequality_cap: float | None = None
    sampled: int | None = None  # how many Jacobians the first two caps are from

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "metric", np.array(self.metric, dtype=np.float64))
        put(self, "multipliers", np.array(self.multipliers, dtype=np.float64))
        self.metric.setflags(write=False)
        self.multipliers.setflags(write=False)
        if not self.claim:
            size = self.metric.shape[0], self.multipliers.shape[0]
            regional = None if isinstance(self.region, str) else regional_statement(self.rate, *size, self.region)
            put(self, "claim", regional or statement(self.rate, *size))

    def __bool__(self) -> bool:
        return True

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings for JSON, exact to the last bit; `kind` tells it from a refusal."""
        return {
            "kind": "certificate",
            "claim": self.claim,
            "rate": self.rate,
            "metric": self.metric.tolist(),
            "multipliers": self.multipliers.tolist(),
            "slope_range": list(self.slope_range),
            "condition": self.condition,
            "leading": list(self.leading),
            "digest": self.digest,
            "spectral_cap": self.spectral_cap,
            "metric_cap": self.metric_cap,
            "inequality_cap": self.inequality_cap,
            "sampled": self.sampled,
            "identity_refused": self.identity_refused,
            "region": self.region,
            "not_covered": list(self.not_covered),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Certificate":
        """The inverse of `to_dict`. Reads; whether what it reads is true is for `check` to say.

        A certificate that was written before the caps had names of their own is read with the names of now.
        """
        numbers = ("rate", "condition", "spectral_cap", "metric_cap")
        lists, arrays = ("slope_range", "leading", "not_covered"), ("metric", "multipliers")
        fields = _named(_fields(read_claim(data, "certificate", numbers, lists, arrays), "certificate"))
        if not isinstance(fields.get("region", "global"), str | Mapping):
            raise ValueError(f"the region of the certificate is {shown(fields['region'])}; 'global', or what a region writes.")
        try:
            return Certificate(**fields)
        except (TypeError, IndexError) as error:
            raise ValueError(f"this is not a certificate as to_dict writes it: {error}.") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Refusal:
    """Why there is no certificate.

    reason
        "disproved"         a Jacobian at a real state has an eigenvalue that forbids the rate in any constant metric
        "no common metric"  the Jacobians at real states admit no common P at that rate; `counterexample` holds the dual
                            matrices that show it
        "not proved"        neither; the inequality is sufficient, not necessary, and the search may have run out of time
    """

    reason: Reason
    message: str
    counterexample: dict[str, Any] | None = (
        None  # index of the system, state, slopes, Jacobian, eigenvalue; or the dual
    )
    best_rate: float | None = None  # the best rate that the search reached, possibly negative
    rate_bound: float | None = None  # what this inequality can reach at most, where the search found out
    metric_cap: float | None = None  # what no constant metric can exceed, from Jacobians at real states, where it found out

    def __bool__(self) -> bool:
        return False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, exact to the last bit."""
        return {
            "kind": "refusal",
            "reason": self.reason,
            "message": self.message,
            "counterexample": self.counterexample,
            "best_rate": self.best_rate,
            "rate_bound": self.rate_bound,
            "metric_cap": self.metric_cap,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Refusal":
        """The inverse of `to_dict`."""
        fields = _fields(read_claim(data, "refusal", ("best_rate", "rate_bound"), (), ()), "refusal")
        if not isinstance(fields.get("reason"), str) or fields["reason"] not in get_args(Reason):
            raise ValueError(f"the reason {shown(fields.get('reason'))} is not one of {', '.join(get_args(Reason))}.")
        try:
            return Refusal(**fields)
        except TypeError as error:
            raise ValueError(f"this is not a refusal as to_dict writes it: {error}.") from error


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    """The caps of an earlier certificate under the names that say what they are.

    Of a claim about all states both mixed slope patterns that no state attains into the sample, and so did what was said of
    P = I: caps of the inequality. Of a regional claim they were of states in the region, the second one for metrics of a limited
    condition number alone.
    """
    if "inequality_cap" in fields:
        return fields
    if fields.get("region") == "global":
        caps = [fields.get(name) for name in ("spectral_cap", "metric_cap")]
        known = [cap for cap in caps if isinstance(cap, int | float)]
        refused = None if fields.get("identity_refused") else fields.get("identity_refused")
        new = {"spectral_cap": None, "metric_cap": None, "inequality_cap": min(known, default=None), "identity_refused": refused}
        return {**fields, **new}
    return {**fields, "metric_cap": None}


def _fields(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if data.get("kind") != kind:
        raise ValueError(f"the kind is {data.get('kind')!r}, not {kind!r}; read it with the class that wrote it.")
    return {name: value for name, value in data.items() if name != "kind"}


def no_metric_exceeds(cap: float, sampled: int | None, unit: str = "", where: str = "of real states") -> str:
    """The sentence about states that exist."""
    per = f" per {unit}" if unit else ""
    count = "" if sampled is None else f"{sampled} "
    return f"No constant metric can exceed {rounded(cap, 4, 'up')}{per} (from {count}sampled Jacobians {where}, dual bound)."


def as_plain(claim: Any) -> dict[str, Any]:
    """The fields of a claim's dataclass as lists, numbers and strings for JSON, exact to the last bit."""
    found = {f.name: getattr(claim, f.name) for f in fields(claim)}
    return {k: v.tolist() if isinstance(v, np.ndarray) else list(v) if isinstance(v, tuple) else v for k, v in found.items()}
