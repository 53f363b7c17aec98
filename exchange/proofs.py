"""The claims of a bundle as `proof.json` holds them, which is what `python -m stability.proof` reads."""

from typing import Any

from exchange.bundle import Bundle
from exchange.json_parts import listed, mapping, only, says
from stability import Certificate, Refusal
from stability.region import claimed

# what it holds, and nothing else: a word that this program does not know may change what all the others mean
_CLAIMS = ({"certificate", "system"}, {"units"}), ({"refusal"}, set[str]())


def proof_of(bundle: Bundle) -> dict[str, Any] | None:
    """The bundle's certificate with the system that it is about, or its refusal, as plain JSON values; None without either."""
    if isinstance(bundle.certificate, Certificate):
        proof = {"certificate": bundle.certificate.to_dict(), "system": bundle.system().to_dict()}
        # one that is of before, and does not say its units, goes on saying nothing
        units = {kind: unit for kind, unit in (bundle.certified_in or {}).items() if kind != "digest"}
        return {**proof, **({"units": units} if units else {})}
    return {"refusal": bundle.certificate.to_dict()} if isinstance(bundle.certificate, Refusal) else None


def proof_in(value: object) -> tuple[Certificate | Refusal, dict[str, Any] | None]:
    """The inverse of `proof_of`, and the units in which it was made. Errors: `ValueError` for what is not as it is written."""
    proof = mapping(value, "proof.json")
    proof = only(proof, *_CLAIMS["refusal" in proof], "proof.json")
    for name in ("slope_range", "leading", "not_covered") if "certificate" in proof else ():
        listed(mapping(proof["certificate"], "the certificate")[name], name)
    certificate: Certificate | Refusal
    certified_in: dict[str, Any] | None = None
    if "refusal" in proof:
        certificate = Refusal.from_dict(proof["refusal"])
    else:
        certificate = Certificate.from_dict(proof["certificate"])
        certified_in = {**mapping(proof.get("units", {}), "units"), "digest": certificate.digest}
    _require_readable(certificate)
    if not says(certificate.to_dict(), proof["refusal" if "refusal" in proof else "certificate"]):
        raise ValueError("proof.json is not what the certificate or refusal that is made of it says; save it again")
    return certificate, certified_in


def _require_readable(claim: Certificate | Refusal) -> None:
    """Its numbers are numbers and its words are words; whether it is true is for `check` to say."""

    def number(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    if isinstance(claim, Refusal):
        rates = (claim.best_rate, claim.rate_bound)
        fine = isinstance(claim.message, str) and all(r is None or number(r) for r in rates)
        fine = fine and isinstance(claim.counterexample, dict | None)
    else:
        n, caps = len(claim.metric), (claim.metric_cap,)
        fine = all(map(number, (claim.rate, claim.condition, claim.spectral_cap, *claim.slope_range)))
        fine = fine and len(claim.slope_range) == 2 and all(c is None or number(c) for c in caps)
        fine = fine and claim.metric.shape == (n, n) and n > 0 and claim.multipliers.ndim == 2
        fine = fine and all(type(k) is int and k >= 0 for k in claim.leading)
        fine = fine and all(isinstance(text, str) for text in (claim.digest, claim.claim, *claim.not_covered))
        fine = fine and isinstance(claim.identity_refused, bool | None)
        if isinstance(claim.region, str):
            fine = fine and claim.region == "global"
        elif fine:
            claimed(claim.region)
    if not fine:
        raise ValueError("the certificate or refusal in proof.json is not as it is written; save it again")
