"""What a certificate says, in plain language."""

from collections.abc import Sequence

import numpy as np

from exchange import Outside
from homeostat.wording import behind
from stability import Box, Certificate, Refusal, decay_in_words
from stability.claims.certificate import no_metric_exceeds
from stability.decay import rounded
from stability.region import claimed
from training.trust.verdicts import Verdict

_SHOWN = 6  # sentences about what a certificate does not cover, on a page; `homeostat check` has all of them


def certificate_verdict(
    certificate: Certificate | Refusal,
    best: float | None,
    time_unit: str,
    states: Sequence[tuple[str, str]] = (),  # names and units
) -> Verdict:
    """The certificate, which is taken to be proved, or its refusal, in plain language."""
    if isinstance(certificate, Refusal):
        detail = f"Refused ({certificate.reason}): {certificate.message}"
        return Verdict("Contraction is not certified", False, detail, ("certificate",))
    per = "unit of time" if time_unit in ("", "1") else time_unit
    parts = [
        f"One metric P, of condition number {rounded(certificate.condition, 3, 'up')}, serves every member and every fitted "
        "person, with the parameters that were found for them; the distance is √(δxᵀPδx), and it falls like "
        f"e^(−λt) or faster, λ = {rounded(certificate.rate, 4, 'down')} per {per}."
    ]
    if best is not None and best > certificate.rate:
        given, most = 100 * (1.0 - certificate.rate / best), rounded(best, 4, "down")
        parts.append(f"The best rate certified is {most} per {per}; {given:.0f} % of it were given for a rounder metric.")
    parts.extend(caps_in_words(certificate, per))
    if certificate.identity_refused is not None:
        accepted = "The Euclidean distance, P = I, would serve too, as far as the search says."
        grows = "In the Euclidean distance, P = I, it does not contract: at a state that was sampled that distance grows."
        parts.append(grows if certificate.identity_refused else accepted)
    parts.append("Not covered: " + "; ".join(certificate.not_covered) + ".")
    if not isinstance(certificate.region, str):
        where = where_in_words(certificate, states, time_unit)
        parts.insert(0, f"It holds for {where}; the exact sentence is in the certificate.")
    return Verdict(f"Proved: {certificate_claim(certificate, time_unit)}", True, " ".join(parts), ("certificate",))


def certificate_claim(certificate: Certificate, time_unit: str) -> str:
    """What the certificate says, in one sentence."""
    whose, under = "any two trajectories of one person and member", "under the same inputs and doses"
    if not isinstance(certificate.region, str):
        whose += " from the stated region"
        under = "under the same inputs" + (" and doses as stated" if certificate.region["stays"]["doses"] else ", without doses")
    return f"{under}, the distance in P between {whose} {decay_in_words(certificate.rate, time_unit)}"


def caps_in_words(certificate: Certificate, unit: str) -> list[str]:
    """What limits the rate, one sentence each: this inequality, and any constant metric whatever."""
    found = []
    if certificate.inequality_cap is not None:
        cap = certificate.inequality_cap
        most = f"{rounded(cap, 4, 'up')} per {unit}"
        found.append(f"In metrics as round as those searched this inequality can reach at most {most}; others may go beyond.")
    known = [cap for cap in (certificate.metric_cap, certificate.spectral_cap) if cap is not None]
    if known:
        where = "of real states" if isinstance(certificate.region, str) else "of states in the region"
        found.append(no_metric_exceeds(min(known), certificate.sampled, unit, where))
    return found


def where_in_words(certificate: Certificate, states: Sequence[tuple[str, str]] = (), time_unit: str = "") -> str:
    """The certified states, briefly; the claim has every digit. `states`: names and units, where they are to be said."""
    if isinstance(certificate.region, str):
        return "all states"
    region, inputs = claimed(certificate.region)
    if isinstance(region, Box):
        lists = region.lower.tolist(), region.upper.tolist()
        ends = [f"{rounded(a, 4, 'up')} to {rounded(b, 4, 'down')}" for a, b in zip(*lists, strict=True)]
        if states:
            ends = [f"{name} {end}{behind(unit)}" for (name, unit), end in zip(states, ends, strict=True)]
        words = f"states in the box {', '.join(ends)}"
    else:
        words = f"states within {rounded(region.radius, 4, 'down')} of {np.round(region.centre, 4).tolist()} in P"
    stays = certificate.region["stays"]
    if stays["set"] != "box":
        words += f" that start within {rounded(stays['start'], 4, 'down')} of {np.round(stays['centre'], 4).tolist()} in P"
    if inputs is not None and inputs.doses is not None and stays["doses"]:
        largest, gap = rounded(float(inputs.doses.max()), 4, "down"), rounded(float(inputs.gap or 0.0), 4, "up")
        units = {unit for _, unit in states}
        largest += behind(units.pop()) if len(units) == 1 else ""
        words += f", and are kept there under doses of up to {largest}, at least {gap}{behind(time_unit)} apart"
    else:
        words += ", without doses"
    return words


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
