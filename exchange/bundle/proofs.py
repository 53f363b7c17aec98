"""The claims of a bundle as `proof.json` holds them, which is what `python -m stability.proof` reads.

    {"systems": [SYSTEM, …], "claims": [{"claim": CLAIM, "system": index, "units": {…}} or {"refusal": REFUSAL}, …]}

What several claims are about is written once. Format 1 held {"certificate": …, "system": …, "units": {…}}, or a refusal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import stability.claims as known
from exchange.bundle.systems import Subjects, plain
from exchange.files.json_parts import listed, mapping, only, says
from physics.arguments import quote
from stability import Certificate, Claim, Lure, Refusal, read_claim
from stability.region import claimed

MOST = 1000  # claims of a bundle: a bound for each member of a large ensemble, and more
# what each part holds, and nothing else: a word that this program does not know may change what all the others mean
_PROOF = ({"systems", "claims"}, set[str]())
_CLAIM = ({"claim", "system"}, {"units"})
_REFUSAL = ({"refusal"}, set[str]())
_FORMAT_1 = ({"certificate", "system"}, {"units"})


@dataclass(frozen=True)
class Stated:
    """A claim, or why there is none, and the units of time, states and inputs in which it was made, where they are known."""

    what: Claim | Refusal
    units: Mapping[str, Any]


def require_known(claims: Sequence[Claim | Refusal], name: str) -> None:
    """Raise `ValueError`, beginning with `name`, for a claim of a kind that no other program could read, and for too many."""
    for claim in claims:
        if not isinstance(claim, (*known.CLAIMS, Refusal)):
            kinds = ", ".join(kind for one in known.CLAIMS for kind in one.kinds())
            raise ValueError(
                f"{name}: a claim of the kind {quote(claim.kind)} ({type(claim).__name__}) is not one that a bundle is read "
                f"with; these are {kinds}. Put its class into stability.CLAIMS, or json.dumps(claim.to_dict()) into a file of "
                "its own"
            )
    if len(claims) > MOST:
        raise ValueError(f"{name}: {len(claims)} claims, and a bundle carries at most {MOST}; keep those that matter")


def written(stated: Sequence[Stated], system: Lure | None) -> dict[str, Any]:
    """The claims with what each is about, as plain JSON values; `system`: of the bundle's own people, where there is a claim."""
    systems: list[dict[str, Any]] = []
    claims: list[dict[str, Any]] = []
    places: dict[int, int] = {}
    subjects = None if system is None else Subjects(system)
    for one in stated:
        if isinstance(one.what, Refusal) or subjects is None:
            claims.append({"refusal": one.what.to_dict()})
            continue
        subject = subjects.of(one.what)
        # a claim about other arrays stands beside the bundle's own, for which it will not be proved
        subject = subjects.system if subject is None else subject
        if id(subject) not in places:
            places[id(subject)] = len(systems)
            systems.append(plain(subject))
        # one that is of before, and does not say its units, goes on saying nothing
        units = {"units": dict(one.units)} if one.units else {}
        claims.append({"claim": one.what.to_dict(), "system": places[id(subject)], **units})
    return {"systems": systems, "claims": claims}


def read(value: object, version: int) -> tuple[Stated, ...]:
    """The inverse of `written`, and of what format 1 wrote. Errors: `ValueError` for what is not as it is written."""
    proof = mapping(value, "proof.json")
    if version == 1:
        if "refusal" in proof:
            return (_refused(proof),)
        proof = only(proof, *_FORMAT_1, "proof.json")
        kind = mapping(proof["certificate"], "the certificate").get("kind")
        if kind != "certificate":
            raise ValueError(f"proof.json of format 1 holds a certificate, and its claim is of the kind {quote(kind)}")
        return (_claimed(proof["certificate"], proof.get("units", {})),)
    proof = only(proof, *_PROOF, "proof.json")
    systems, claims = listed(proof["systems"], "systems"), listed(proof["claims"], "claims")
    for system in systems:
        mapping(system, "a system")
    if not 0 < len(claims) <= MOST:
        raise ValueError(f"proof.json holds {len(claims)} claims, and 1 to {MOST} are read; save it again")
    return tuple(_stated(mapping(one, "a claim"), len(systems)) for one in claims)


def with_systems(value: object, version: int) -> tuple[tuple[Stated, ...], tuple[Any, ...]]:
    """What `read` gives, and for each what stands in the file as what it is about, None beside a refusal; from format 2 on."""
    stated = read(value, version)
    proof = mapping(value, "proof.json")
    return stated, tuple(None if "refusal" in one else proof["systems"][one["system"]] for one in proof["claims"])


def certified_in(value: object, version: int) -> Lure | None:
    """The system that stands beside the certificate of contraction; None where there is no such certificate."""
    proof = mapping(value, "proof.json")
    if version == 1:
        return Lure.from_dict(proof["system"])
    found = [one for one in proof["claims"] if "claim" in one and one["claim"]["kind"] in Certificate.kinds()]
    return Lure.from_dict(proof["systems"][found[0]["system"]]) if found else None


def _stated(one: dict[str, Any], systems: int) -> Stated:
    if "refusal" in one:
        return _refused(one)
    one = only(one, *_CLAIM, "a claim")
    place = one["system"]
    if type(place) is not int or not 0 <= place < systems:
        raise ValueError(f"a claim's system is {quote(place)}, and there are {systems}; save it again")
    if one.get("units") == {}:  # one that does not say its units has no such word
        raise ValueError("the units of a claim are {}, and a claim that knows none leaves them out; save it again")
    return _claimed(mapping(one["claim"], "a claim"), one.get("units", {}))


def _refused(value: dict[str, Any]) -> Stated:
    stored = only(value, *_REFUSAL, "a refusal")["refusal"]
    refusal = Refusal.from_dict(stored)
    rates = (refusal.best_rate, refusal.rate_bound)
    fine = isinstance(refusal.message, str) and all(r is None or _is_number(r) for r in rates)
    _require_said(refusal.to_dict(), stored, fine and isinstance(refusal.counterexample, dict | None))
    return Stated(refusal, {})


def _claimed(stored: dict[str, Any], units: object) -> Stated:
    for name in ("slope_range", "leading", "not_covered"):  # a tuple of a text is its letters, and of a mapping its names
        if name in stored:
            listed(stored[name], name)
    claim = read_claim(stored)
    _require_said(claim.to_dict(), stored, _readable(claim))
    return Stated(claim, mapping(units, "units"))


def _require_said(full: dict[str, Any], stored: object, readable: bool) -> None:
    if not readable:
        raise ValueError("a claim or refusal in proof.json is not as it is written; save it again")
    if not says(full, stored):
        raise ValueError("proof.json is not what the claim or refusal that is made of it says; save it again")


def _readable(claim: Claim) -> bool:
    """Are its numbers numbers and its words words? Whether it is true is for `prove` to say."""
    fine = all(isinstance(text, str) for text in (claim.kind, claim.sentence, claim.digest, *claim.not_covered))
    if not isinstance(claim, Certificate) or not fine:
        return fine
    n = len(claim.metric)
    fine = all(map(_is_number, (claim.rate, claim.condition, *claim.slope_range))) and len(claim.slope_range) == 2
    fine = fine and all(cap is None or _is_number(cap) for cap in (claim.spectral_cap, claim.metric_cap))
    fine = fine and claim.metric.shape == (n, n) and n > 0 and claim.multipliers.ndim == 2
    fine = fine and all(type(k) is int and k >= 0 for k in claim.leading) and isinstance(claim.identity_refused, bool | None)
    if isinstance(claim.region, str):
        return fine and claim.region == "global"
    if fine:
        claimed(claim.region)
    return fine


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
