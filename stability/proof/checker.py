"""Claims of every kind, each to the file that proves it."""

from collections.abc import Callable

import numpy as np

from stability.proof import gain, lipschitz, step, weighted_l1
from stability.proof.budget import Budget, Meter, NotDecided
from stability.proof.contraction import prove_everywhere
from stability.proof.reading import Unusable, get, shown
from stability.proof.region import prove_in_region
from stability.proof.system import read_system
from stability.proof.verdict import Verdict, undecided


def check(certificate: object, system: object, *, budget: Budget | None = None) -> bool:
    """True only if the certificate is proved for this system in outward-rounded arithmetic, within the budget; see `prove`."""
    return prove(certificate, system, budget=budget).proved


def prove(
    certificate: object,  # a Certificate, or the dictionary it writes
    system: object,  # a Lure, or the dictionary it writes
    *,
    budget: Budget | None = None,  # cells, seconds and bytes; None for those of `Budget()`
    progress: Callable[[str], None] | None = None,  # told how far the proof is, beyond a second; None for silence
) -> Verdict:
    """Prove the certificate's claim for the system, or say why it is refused.

    Demands: the digest of the system's arrays; the activation's own slope range; region "global"; one multiplier vector
    per system, all finite and positive; P = Pᵀ exactly and proved positive definite; λ finite and positive; M ≻ 0 proved for
    every system; and the stated condition number, caps, claim and exclusions consistent with all that. Never raises on bad
    values: what cannot be read is refused. What the budget does not suffice for is `decided=False`, with a reason that begins
    with "not decided"; nothing is allocated by the product of the arrays' leading axes before the budget was asked.
    Law: accepted ⇒ the inequality holds in real arithmetic.
    Source: verified Cholesky after Rump, Verification of positive definiteness, BIT 46 (2006).
    """
    try:
        return judge(certificate, system, Meter(budget or Budget(), progress))
    except Unusable as error:
        return Verdict(False, str(error))


def judge(claim: object, system: object, meter: Meter) -> Verdict:
    """The same with a meter of the caller's. Errors: Unusable for what is not a claim and a system at all."""
    kind = get(claim, "kind", "certificate")
    if not isinstance(kind, str) or kind not in JUDGES:
        raise Unusable(f"a claim of the kind {shown(kind)} is not one that this checker knows")
    try:
        return JUDGES[kind](claim, system, meter)
    except NotDecided as error:
        return undecided(error)
    except MemoryError:
        return undecided("this machine has less memory than the budget allows")
    except RecursionError as error:
        raise Unusable("the claim or the system is nested too deeply") from error
    except np.linalg.LinAlgError as error:  # of values that are no proof: a factorisation or an iteration that does not end
        raise Unusable(f"the claim's numbers cannot be used: {error}") from error


@np.errstate(all="ignore")  # overflow and NaN are meant to arrive at the comparisons, where they refuse
def _judge_certificate(claim: object, system: object, meter: Meter) -> Verdict:
    stack, region = read_system(system), get(claim, "region")
    if isinstance(region, str) and region == "global":
        return prove_everywhere(claim, stack, meter)
    return prove_in_region(claim, stack, meter=meter)


# Each kind of claim, as its `kind` says, and what proves it.
JUDGES: dict[str, Callable[[object, object, Meter], Verdict]] = {
    "certificate": _judge_certificate,
    "lipschitz": lipschitz.judge,
    "tube": gain.judge,
    "l2": gain.judge,
    "weighted l1": weighted_l1.judge,
    "step": step.judge,
}
