"""Claims of every kind, each to the file that proves it.

A file is loaded where a claim asks for it: at the shell, where one claim is proved, loading all would take a tenth of the time.
"""

from collections.abc import Callable

import numpy as np

from stability.proof.budget import Budget, Meter, NotDecided
from stability.proof.contraction import prove_everywhere
from stability.proof.reading import Unusable, get, has, shown, unlike_any
from stability.proof.system import NEEDED, read_system
from stability.proof.verdict import Verdict, undecided


def check(claim: object, system: object, *, budget: Budget | None = None) -> bool:
    """True only if the claim is proved for this system in outward-rounded arithmetic, within the budget.

    Arguments and errors as `prove`, which says in a sentence why not: `prove(claim, system).reason`.
    """
    return prove(claim, system, budget=budget).proved


def prove(
    claim: object,  # a Certificate or another claim, or the dictionary it writes
    system: object,  # a Lure, the dictionary it writes, or the arrays that `model.lure(theta)` returns
    *,
    budget: Budget | None = None,  # cells, seconds and bytes; None for those of `Budget()`
    progress: Callable[[str], None] | None = None,  # told how far the proof is, beyond a second; None for silence
) -> Verdict:
    """Prove the claim for the system, or say why it is refused.

    What each kind demands stands in the file that proves it (`JUDGES`); all of them that the digest, the leading shape, the slope
    range, the sentence and what it does not cover are those of the system and of the numbers. Tensors may keep gradients and lie
    on any device. Never raises on bad values: what cannot be read, is of another system, or is no claim or no system at all is
    refused, and the reason names it. What the budget does not suffice for is `decided=False`, with a reason that begins with "not
    decided"; nothing is allocated by the product of the arrays' leading axes before the budget was asked.
    Errors: ValueError for a budget that is none.
    Law: accepted ⇒ the claim's inequality holds in real arithmetic.
    """
    if budget is not None and not isinstance(budget, Budget):
        raise ValueError(f"the budget is {shown(budget)}; give Budget(cells=…, seconds=…, bytes=…).")
    try:
        return judge(claim, system, Meter(budget or Budget(), progress))
    except Unusable as error:
        return Verdict(False, str(error))


def judge(claim: object, system: object, meter: Meter) -> Verdict:
    """The same with a meter of the caller's. Errors: Unusable for what is not a claim and a system at all."""
    kind = _kind(claim)
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


def _kind(claim: object) -> object:
    """The kind, which a certificate may leave out. Errors: Unusable for a refusal, a system, and whatever else is no claim."""
    kind = get(claim, "kind", "certificate")
    if has(claim, "reason", "message"):
        raise Unusable(f"there is nothing to prove: this is a refusal, {shown(get(claim, 'reason'))}")
    if not isinstance(claim, type) and (has(claim, "kind") or has(claim, "digest", "claim")):
        return kind
    if has(claim, *NEEDED):
        raise Unusable("a system stands where the claim is needed: the claim comes first, as in prove(claim, system)")
    raise Unusable(unlike_any(claim, "claim", "a Certificate or another claim, or the dictionary that its to_dict writes"))


@np.errstate(all="ignore")  # overflow and NaN are meant to arrive at the comparisons, where they refuse
def _contraction(claim: object, system: object, meter: Meter) -> Verdict:
    stack, region = read_system(system, tapes=True, mixed=True, policies=True, meter=meter), get(claim, "region")
    if isinstance(region, str) and region == "global":
        return prove_everywhere(claim, stack, meter)
    from stability.proof.region.contraction import prove_in_region

    return prove_in_region(claim, stack, meter=meter)


def _rate(claim: object, system: object, meter: Meter) -> Verdict:
    from stability.proof.region.rate import judge

    return judge(claim, system, meter)


def _gain(claim: object, system: object, meter: Meter) -> Verdict:
    from stability.proof.gain import judge

    return judge(claim, system, meter)


def _lipschitz(claim: object, system: object, meter: Meter) -> Verdict:
    from stability.proof.lipschitz import judge

    return judge(claim, system, meter)


def _step(claim: object, system: object, meter: Meter) -> Verdict:
    from stability.proof.step import judge

    return judge(claim, system, meter)


def _weighted_l1(claim: object, system: object, meter: Meter) -> Verdict:
    from stability.proof.weighted_l1 import judge

    return judge(claim, system, meter)


# Each kind of claim, as its `kind` says, and what proves it.
JUDGES: dict[str, Callable[[object, object, Meter], Verdict]] = {
    "certificate": _contraction,
    "rate on a region": _rate,
    "lipschitz": _lipschitz,
    "tube": _gain,
    "l2": _gain,
    "weighted l1": _weighted_l1,
    "step": _step,
}
