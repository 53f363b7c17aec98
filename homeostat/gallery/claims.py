"""What a claim says, in plain language, and what it leaves out."""

from collections.abc import Sequence

import numpy as np

from exchange import Outside
from stability import Box, Certificate, Claim, Refusal
from stability.decay import rounded
from stability.region import claimed
from training.trust.verdicts import Verdict

_SHOWN = 6  # sentences about what a certificate does not cover, on a page; `homeostat check` has all of them


def claim_verdict(
    claim: Claim | Refusal,
    time_unit: str,
    states: Sequence[tuple[str, str]] = (),  # names and units
    *,
    best: float | None = None,
    proved: bool = True,
) -> Verdict:
    """A claim of any kind, or a refusal, in plain language.

    `time_unit`, in which the claim was made · `best`, the best rate that was certified, where a little of it was given away ·
    `proved`, whether the checker proved it, as it is taken to have.
    """
    if isinstance(claim, Refusal):
        detail = f"Refused ({claim.reason}): {claim.message}"
        return Verdict("Contraction is not certified", False, detail, ("certificate",))
    if not proved:
        detail = "A search found one, and the independent checker does not prove it: nothing may be relied on."
        return Verdict(f"The {named(claim.kind)} is not proved", False, detail, ("certificate",))
    parts = [f"{one}{'' if one.endswith('.') else '.'}" for one in claim.details(time_unit, states)]
    rate = getattr(claim, "rate", None)
    if best is not None and rate is not None and best > rate:
        per = "unit of time" if time_unit in ("", "1") else time_unit
        given, most = 100 * (1.0 - rate / best), rounded(best, 4, "down")
        said = f"The best rate certified is {most} per {per}; {given:.0f} % of it were given for a rounder metric."
        parts.insert(1 if claim.everywhere else 2, said)  # behind the sentences of where it holds, and at which rate
    parts.append("Not covered: " + "; ".join(claim.not_covered) + ".")
    return Verdict(f"Proved: {claim.in_words(time_unit)}", True, " ".join(parts), ("certificate",))


def named(kind: str) -> str:
    """What a claim of this kind is called beside others."""
    return "certificate" if kind == "certificate" else f"claim ({kind})"


def speaks_of(
    certificate: Certificate,
    starts: np.ndarray,  # (..., n)
) -> bool:
    """Does the certificate say anything of trajectories from these states: are they in the set that is kept?"""
    if isinstance(certificate.region, str):
        return True
    stays = certificate.region["stays"]
    if stays["set"] == "box":
        box, _ = claimed(certificate.region)
        return isinstance(box, Box) and bool(((starts >= box.lower) & (starts <= box.upper)).all())
    if stays["set"] == "order":
        return bool(((starts >= np.asarray(stays["lower"])) & (starts <= np.asarray(stays["upper"]))).all())
    away = np.asarray(starts, dtype=np.float64) - np.asarray(stays["centre"])
    metric = np.asarray(certificate.metric)
    return bool((np.sqrt(np.einsum("...i,ij,...j->...", away, metric, away)) <= stays["start"]).all())


def outside_verdicts(outside: Sequence[Outside], people: int) -> list[Verdict]:
    """What the certificate does not cover of so many people whom it is shown beside; none where it covers all of it."""
    if not outside:
        return []
    detail = " ".join(f"{one}." for one in outside[:_SHOWN])
    if len(outside) > _SHOWN:
        detail += f" And {len(outside) - _SHOWN} more."
    return [Verdict(f"The certificate does not cover {whom(outside, people)}", False, detail, ("certificate", "outside"))]


def whom(outside: Sequence[Outside], people: int) -> str:
    """"2 of 12 people", or all of them where something is outside that is everyone's."""
    if any(one.person is None for one in outside):
        return "these people at all"
    return f"{len({one.person for one in outside})} of {people} people"
