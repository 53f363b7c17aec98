"""All claims behind one door: which there are, how one is read back, and how it is judged."""

from collections.abc import Callable, Mapping
from typing import Any

import stability.proof as checker
from stability.arguments import shown
from stability.claims.certificate import Certificate
from stability.claims.claim import Claim
from stability.claims.gain import Gain
from stability.claims.lipschitz import LipschitzBound
from stability.claims.regional_rate import RegionalRate
from stability.claims.step import Step
from stability.claims.weighted_l1 import WeightedL1
from stability.proof import Budget, Verdict
from stability.proof.checker import JUDGES

# A new claim is one file and one word here (a tube is a kind of Gain).
CLAIMS: tuple[type[Claim], ...] = (Certificate, RegionalRate, Gain, WeightedL1, Step, LipschitzBound)

__all__ = [
    "CLAIMS",
    "Certificate",
    "Claim",
    "Gain",
    "LipschitzBound",
    "RegionalRate",
    "Step",
    "WeightedL1",
    "check",
    "prove",
    "read_claim",
]


def read_claim(data: Mapping[str, Any]) -> Claim:
    """The claim that `to_dict` wrote, of whatever kind; whether it is true is for `prove` to say.

    Errors: ValueError for a kind that is not known, naming those that are, and for what is not as `to_dict` writes it. A
    refusal is none: read it with `Refusal.from_dict`.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"a claim is read from what its to_dict writes, and this is {shown(data)}.")
    cls = _class_of(data.get("kind"))
    if cls is None:
        known = ", ".join(kind for one in CLAIMS for kind in one.kinds())
        raise ValueError(f"a claim of the kind {shown(data.get('kind'))} is not known; there are {known}.")
    return cls.from_dict(data)


def prove(
    claim: object,  # a Claim, or the dictionary it writes
    system: object,  # a Lure, what it writes, or the arrays that a model's lure returns
    *,
    budget: Budget | None = None,  # cells, seconds and bytes; None for those of `Budget()`
    progress: Callable[[str], None] | None = None,  # told how far the proof is, beyond a second; None for silence
) -> Verdict:
    """Prove a claim of any kind for the system, or say why it is refused; `stability.proof.prove` judges those of ours.

    Never raises on bad values: what cannot be read is refused, in the verdict's reason. What the budget does not suffice for is
    `decided=False`, with a reason that begins with "not decided".
    Errors: ValueError for a budget that is none.
    Law: accepted ⇒ the claim's sentence holds in real arithmetic.
    """
    if budget is not None and not isinstance(budget, Budget):
        raise ValueError(f"the budget is {shown(budget)}; give Budget(cells=…, seconds=…, bytes=…).")
    if isinstance(claim, Claim):
        return claim.prove(system, budget=budget, progress=progress)
    kind = claim.get("kind") if isinstance(claim, Mapping) else None
    if isinstance(claim, Mapping) and isinstance(kind, str) and kind not in JUDGES and _class_of(kind) is not None:
        try:
            read = read_claim(claim)
            if read.to_dict() != dict(claim):  # what is judged is what stands there, not what is made of it
                return Verdict(False, "the dictionary is not what the claim that is read from it writes")
        except ValueError as error:
            return Verdict(False, str(error).rstrip("."))
        return read.prove(system, budget=budget, progress=progress)
    return checker.prove(claim, system, budget=budget, progress=progress)


def check(claim: object, system: object, *, budget: Budget | None = None) -> bool:
    """True only if the claim is proved for this system within the budget; `prove` gives the reason as well."""
    return prove(claim, system, budget=budget).proved


def _class_of(kind: object) -> type[Claim] | None:
    return next((one for one in CLAIMS if isinstance(kind, str) and kind in one.kinds()), None)
