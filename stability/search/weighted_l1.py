"""Contraction in a weighted ℓ1 distance, Σ w_i|δx_i|: the natural one of compartments, where matter only moves or leaves.

With one matrix M_v per system that bounds its Jacobians (upper ends on the diagonal, magnitudes beside it; see `proof_l1`),
weights w > 0 contract at λ if wᵀM_v ≤ −λwᵀ for every v. For one M the best λ is minus its Perron root, and w its left Perron
vector. For several, each column j only meets the system that is worst for it, so the best λ is minus the largest Perron root
over all ways to choose column j from any of the systems; the choice is improved until it stays (policy iteration, which
solves the linear programme for every λ at once). The rate is then computed for the weights found, exactly.

Sources: Sandberg, IEEE Transactions on Circuits and Systems 25 (1978), on ℓ1 and compartments; Howard, Dynamic Programming
and Markov Processes (1960), for the iteration; Protasov, SIAM J. Matrix Anal. Appl. 36 (2015), for product families.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from stability.arguments import number
from stability.claims.weighted_l1 import WeightedL1
from stability.lure import Array, System, one_activation
from stability.proof.checker import prove
from stability.proof.reading import Unusable
from stability.proof.system import read_system
from stability.proof.weighted_l1 import majorant, rational
from stability.refusal import Refusal
from stability.search.states.disproof import disproof
from stability.search.states.sampling import sample
from stability.threads import of_system, threads_by


@threads_by(of_system)
def weighted_l1(
    system: System,
    rate: float | None = None,  # 1/time
) -> WeightedL1 | Refusal:
    """Search weights w in which every system contracts in Σ w_i|δx_i|, and prove the rate in rational arithmetic.

    Arguments: `rate` in 1/time, or None for the best one (less up to 0.1 %, for weights that spread less).
    Returns a `WeightedL1` that `check` accepts, or a `Refusal` with the best rate of such distances; where an eigenvalue forbids
    the rate in every distance, with that eigenvalue.
    Errors: ValueError for arguments that cannot be used.
    Law: the rate never exceeds minus the spectral abscissa of any Jacobian of the system.
    """
    system = one_activation(system, "weighted distance")
    if rate is not None:
        rate = number(rate, "the rate", "a finite positive rate in 1/time, or None for the best one", above=0.0)
    stack = read_system(system)
    try:
        bounds = [majorant(stack, v) for v in range(stack.count)]
    except Unusable as error:
        return Refusal(reason="not proved", message=f"{str(error).capitalize()}.")
    M = np.array(bounds, dtype=np.float64)
    scale = max(float(np.abs(M).max()), 1e-300)
    # A little of everything to everything makes the Perron vector positive; the less, the nearer the best rate.
    found = [best_weights(M, share * scale) for share in (1e-2, 1e-3, 1e-4, 1e-5, 1e-7, 1e-9, 1e-11)]
    rates = [reached(M, w) for w in found]
    enough = max(rates) - 1e-3 * abs(max(rates)) if rate is None else min(rate * (1 + 1e-12), max(rates))
    w = next(w for w, r in zip(found, rates, strict=True) if r >= enough)
    exact = rational(w)
    limit = min(-c / x for B in bounds for c, x in zip(exact @ B, exact, strict=True))
    best = _below(limit)
    proved = best if rate is None else float(rate)
    if not 0 < Fraction(proved) <= limit:
        refusal = disproof(system, sample(system), 0.0 if rate is None else rate)
        if refusal is not None:  # an eigenvalue forbids the rate in every norm, not in the metrics √(xᵀPx) alone
            return replace(refusal, message=f"In no weighted l1 distance either: {refusal.message}", best_rate=best)
        wanted = "a positive rate" if rate is None else f"the rate {rate:g}"
        return Refusal(
            reason="not proved",
            message=f"No weights were found for {wanted}: the best weighted l1 distance for these bounds reaches {best:.6g}.",
            best_rate=best,
        )
    certificate = WeightedL1(
        rate=proved, weights=w, slope_range=system.slope_range, leading=system.leading, digest=system.digest()
    )
    verdict = prove(certificate, system)
    return certificate if verdict else Refusal(reason="not proved", message=verdict.reason)


def reached(M: Array, w: Array) -> float:
    """The rate of weights w (n,) over matrices M (V, n, n): the smallest −(wᵀM)_j/w_j."""
    return float((-(w @ M) / w).min())


def best_weights(M: Array, share: float) -> Array:
    """w > 0 with the largest rate over all M + `share`, by policy iteration over the columns."""
    n = M.shape[-1]
    lifted = M + share * (1.0 - np.eye(n))
    w = best = np.ones(n)
    chosen = np.full(n, -1)
    for _ in range(100):
        columns = (w @ lifted).argmax(0)
        if (columns == chosen).all():
            break
        chosen = columns
        mixed = np.stack([lifted[v, :, j] for j, v in enumerate(chosen)], 1)
        values, vectors = np.linalg.eig(mixed.T)
        w = np.abs(vectors[:, values.real.argmax()].real)
        w = np.maximum(w / w.max(), 1e-290)
        best = w if reached(M, w) > reached(M, best) else best
    return best


def _below(exact: Fraction) -> float:
    """The largest double that is not above."""
    value = float(exact)
    return value if Fraction(value) <= exact else float(np.nextafter(value, -np.inf))
