"""The claim of contraction: one metric P in which the distance of any two trajectories shrinks at a rate or faster."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

import stability.proof as checker
from stability.arguments import shown
from stability.claims.claim import Array, Claim, Progress
from stability.claims.words import behind, ends_in_words, named, per, summary_of, systems_of
from stability.decay import decay_in_words, rounded
from stability.entries import own_arrays
from stability.glance import Summary, glance
from stability.proof import NOT_COVERED, Budget, Verdict
from stability.proof.contraction import not_covered, statement
from stability.proof.region.claim import regional_statement
from stability.region import Box, claimed

_KINDS = 4  # kinds of doses that are named; the claim has all


def _caps_of_now(found: dict[str, Any]) -> dict[str, Any]:
    """The caps of an earlier certificate under the names that say what they are.

    Of a claim about all states both mixed slope patterns that no state attains into the sample, and so did what was said of
    P = I: caps of the inequality. Of a regional claim they were of states in the region, the second one for metrics of a limited
    condition number alone.
    """
    if "inequality_cap" in found:
        return found
    if found.get("region") == "global":
        caps = [found.get(name) for name in ("spectral_cap", "metric_cap")]
        known = [cap for cap in caps if isinstance(cap, int | float)]
        refused = None if found.get("identity_refused") else found.get("identity_refused")
        new = {"spectral_cap": None, "metric_cap": None, "inequality_cap": min(known, default=None), "identity_refused": refused}
        return {**found, **new}
    return {**found, "metric_cap": None}


# What the proof that trajectories stay sees of a dose, by the set that is kept.
_OF_DOSES = {
    "ball": "The proof counts a dose by its length in P alone, and less of a dose is shorter.",
    "box": "No dose leads out of the region, however often it comes, and no part of one does.",
    "order": "The curves that are kept hold for any part of a dose, and for none.",
}


def _summary(claim: Any) -> Summary:
    caps = [cap for cap in (claim.metric_cap, claim.spectral_cap) if cap is not None]
    metric = f"P {claim.metric.shape[0]} × {claim.metric.shape[1]}, condition number {rounded(claim.condition, 3, 'up')}"
    rows = [
        ("where", claim.where_in_words()),
        ("systems", systems_of(claim.leading)),
        ("metric", metric),
        ("at most", f"{rounded(min(caps), 4, 'up')}, in any constant metric" if caps else ""),
        ("digest", claim.digest[:16]),
    ]
    return summary_of(claim, f"rate {rounded(claim.rate, 4, 'down')} per unit of time", rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class Certificate(Claim):
    """A candidate proof of contraction; `check(certificate, system)` says whether it is one.

    With this P and, per system, Λ = diag(multipliers), the inequality M ≻ 0 of `stability/README.md` holds, which gives
    √(δxᵀPδx) ≤ e^{−λt} √(δx₀ᵀPδx₀) for each system (Lur'e form; Revay, Wang & Manchester 2023 use the same class).
    √condition bounds the transient growth of the Euclidean distance.
    """

    kind: Literal["certificate"] = "certificate"
    claim: str = ""  # written from the numbers when left empty
    rate: float  # λ, per unit of time
    metric: Array  # P (n, n), symmetric, smallest eigenvalue about 1
    # (V, H), one positive number per hidden unit and system; (V, 0) where cells prove it. With a tape (V, H + K), those of its
    # entries last; by vertices (V·2^K, H), a row for each corner.
    multipliers: Array
    slope_range: tuple[float, float]  # of the activation
    condition: float  # λmax(P)/λmin(P)
    leading: tuple[int, ...]  # members and records of the system; V is the product
    digest: str  # Lure.digest of the system it was made for
    # No constant metric whatever can exceed the first two: from Jacobians at states of the region (or of Rⁿ) with real inputs.
    spectral_cap: float | None  # the smallest −abscissa of one of them; None where none was sampled
    metric_cap: float | None  # the best rate of one metric for all of them, a dual bound; None where it was not found out
    # What this inequality can reach, in the metrics that were searched: it covers slope patterns that no state attains, so that
    # another proof may exceed it. A dual bound; None where the proof is by cells, or where it was not found out.
    inequality_cap: float | None = None
    sampled: int | None = None  # how many Jacobians the first two caps are from
    wide: bool = False  # whether the θ of a tape is a box, all of which is meant
    feedback: str = ""  # how the policy is named, under which the system is, if it is under one
    identity_refused: bool | None  # whether P = I fails: True at a state that was sampled, False by proof; None unknown
    region: str | Mapping[str, Any] = "global"  # or box or ellipsoid, inputs, the kind of proof, the set trajectories stay in
    not_covered: tuple[str, ...] = NOT_COVERED

    _of_now: ClassVar[Callable[[dict[str, Any]], dict[str, Any]]] = staticmethod(_caps_of_now)

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        own_arrays(self)
        if not self.claim:
            size, region = (self.metric.shape[0], math.prod(self.leading)), self.region
            about: Any = {"wide": self.wide, "feedback": self.feedback}
            try:
                regional = None if isinstance(region, str) else regional_statement(self.rate, *size, region, **about)
            except (KeyError, TypeError) as error:
                raise ValueError(
                    f"the region of the certificate is {shown(self.region)}, and no sentence can be made of it "
                    f"({type(error).__name__}: {error}); give what to_dict of a certificate in a region writes."
                ) from error
            object.__setattr__(self, "claim", regional or statement(self.rate, *size, **about))
        object.__setattr__(self, "not_covered", not_covered(self.feedback, self.not_covered))

    def to_dict(self) -> dict[str, Any]:
        """As every claim; `wide` and `feedback` only where there is something to say, as other claims have no such entries."""
        return {name: value for name, value in super().to_dict().items() if name not in ("wide", "feedback") or value}

    @property
    def _stays(self) -> Mapping[str, Any]:
        """The set that is kept. Errors: ValueError where the region does not say it."""
        stays = self.region.get("stays") if isinstance(self.region, Mapping) else None
        needed = {"set", "doses"}
        if isinstance(stays, Mapping) and stays.get("set") == "order":
            needed |= {"lower", "upper"}
        elif isinstance(stays, Mapping) and stays.get("set") != "box":
            needed |= {"centre", "start"}
        if not isinstance(stays, Mapping) or not needed <= stays.keys():
            raise ValueError(
                f"the region of the certificate does not say which set is kept: its stays is {shown(stays)}; give what to_dict "
                "of a certificate in a region writes."
            )
        return stays

    def prove(self, system: object, *, budget: Budget | None = None, progress: Progress | None = None) -> Verdict:
        """By the inequality M ≻ 0, in a region by its slopes or cells and a set that is kept: `stability.proof`."""
        return checker.prove(self, system, budget=budget, progress=progress)

    def in_words(self, time_unit: str) -> str:
        """"under the same inputs and doses, the distance in P between any two trajectories … shrinks by …"."""
        same = "the stated policy and the same external inputs" if self.feedback else "the same inputs"
        whose, under = "any two trajectories of one person and member", f"under {same} and doses"
        if not isinstance(self.region, str):
            whose += " from the stated region"
            under = f"under {same}" + (" and doses as stated" if self._stays["doses"] else ", without doses")
        return f"{under}, the distance in P between {whose} {decay_in_words(self.rate, time_unit)}"

    def details(self, time_unit: str, states: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Where it holds, the metric and the rate, the caps, and what is known of P = I."""
        found = []
        named(states, len(self.metric))
        if not isinstance(self.region, str):
            found.append(f"It holds for {self.where_in_words(states, time_unit)}; the exact sentence is in the certificate.")
            if self._stays["doses"]:
                found.append(_OF_DOSES.get(str(self._stays["set"]), _OF_DOSES["ball"]))
        whose = "any parameters within the stated bounds" if self.wide else "the parameters that were found for them"
        found.append(
            f"One metric P, of condition number {rounded(self.condition, 3, 'up')}, serves every member and every fitted "
            f"person, with {whose}; the distance is √(δxᵀPδx), and it falls like "
            f"e^(−λt) or faster, λ = {rounded(self.rate, 4, 'down')} per {per(time_unit)}."
        )
        found += self.caps_in_words(time_unit)
        if self.identity_refused is not None:
            accepted = "The Euclidean distance, P = I, would serve too, as far as the search says."
            grows = "In the Euclidean distance, P = I, it does not contract: at a state that was sampled that distance grows."
            found.append(grows if self.identity_refused else accepted)
        return tuple(found)

    def caps_in_words(self, time_unit: str) -> list[str]:
        """What limits the rate, in one sentence, if anything is known: this inequality, and any constant metric whatever."""
        unit, own = per(time_unit), self.inequality_cap
        known = [cap for cap in (self.metric_cap, self.spectral_cap) if cap is not None]
        where = "of real states" if isinstance(self.region, str) else "of states in the region"
        above = no_metric_exceeds(min(known), self.sampled, unit, where) if known else ""
        if own is None or (known and float(rounded(own, 4, "up")) >= float(rounded(min(known), 4, "up"))):
            return [above] if known else []  # what this inequality cannot reach nothing can, and one number says both
        most = f"In metrics as round as those searched this inequality can reach at most {rounded(own, 4, 'up')} per {unit}"
        return [f"{most}; another proof may reach more{f', but {above[:1].lower()}{above[1:]}' if known else '.'}"]

    def where_in_words(self, states: Sequence[tuple[str, str]] = (), time_unit: str = "") -> str:
        """The certified states, briefly; the claim has every digit. `states`: names and units, where they are to be said."""
        named(states, len(self.metric))
        behind(time_unit)
        if isinstance(self.region, str):
            return "all states"
        region, inputs = claimed(self.region)
        if isinstance(region, Box):
            lists = list(zip(region.lower.tolist(), region.upper.tolist(), strict=True))
            ends = [ends_in_words(*pair) for pair in lists]
            if states:
                ends = [f"{name} {ends_in_words(*pair, unit)}" for (name, unit), pair in zip(states, lists, strict=True)]
            words = f"states in the box {', '.join(ends)}"
        else:
            words = f"states within {rounded(region.radius, 4, 'down')} of {np.round(region.centre, 4).tolist()} in P"
        stays = self._stays
        if stays["set"] == "order":
            words += f" that start {_box_in_words(stays, states)}"
        elif stays["set"] != "box":
            words += f" that start within {rounded(stays['start'], 4, 'down')} of {np.round(stays['centre'], 4).tolist()} in P"
        if inputs is not None and inputs.doses is not None and stays["doses"]:
            largest, gap = _doses_in_words(inputs.doses, states), rounded(float(inputs.gap or 0.0), 4, "up")
            apart = f"at least {gap}{behind(time_unit)} apart"
            if inputs.exactly:
                apart = f"at multiples of {inputs.gap!r}{behind(time_unit)} since the start"
            return f"{words}, and are kept there under doses of up to {largest}, {apart}"
        return f"{words}, without doses"


def _box_in_words(box: Mapping[str, Any], states: Sequence[tuple[str, str]]) -> str:
    """From which states trajectories may start, rounded inward."""
    names = states or [(f"x[{k}]", "") for k in range(len(box["lower"]))]
    ends = zip(names, box["lower"], box["upper"], strict=True)
    words = (f"{name} {ends_in_words(low, high, unit)}" for (name, unit), low, high in ends)
    return f"in {', '.join(words)}"


def _doses_in_words(doses: Array, states: Sequence[tuple[str, str]]) -> str:  # (D, n)
    """The largest doses, each with the state that it goes into; nothing is printed that is larger than what is covered."""
    said = []
    for dose in doses.tolist():
        parts = []
        for i, amount in enumerate(dose):
            if amount:
                name, unit = states[i] if states else (f"x[{i}]", "")
                parts.append(f"{'-' if amount < 0 else ''}{rounded(abs(amount), 4, 'down')}{behind(unit)} into {name}")
        said.append(" with ".join(parts) or "nothing")
    said = [*dict.fromkeys(said)]
    if len(said) > _KINDS:
        said = [*said[:_KINDS], f"{len(said) - _KINDS} more"]
    return said[0] if len(said) == 1 else f"{', or up to '.join(said)}, or a mean of them"


def no_metric_exceeds(cap: float, sampled: int | None, unit: str = "", where: str = "of real states") -> str:
    """The sentence about states that exist."""
    per = f" per {unit}" if unit else ""
    count = "" if sampled is None else f"{sampled} "
    return f"No constant metric can exceed {rounded(cap, 4, 'up')}{per} (from {count}sampled Jacobians {where}, dual bound)."
