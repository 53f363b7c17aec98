"""The independent checker: numpy and the standard library, nothing from the search.

For each system it rebuilds, from the certificate and the system's own arrays, with V = [W N] and D = [0 I],

    M = −[ AᵀP + PA + 2λP    P E ]  +  (D − αV)ᵀ Λ (D − βV) + its transpose
         [        ·           0  ]

and proves M ≻ 0 and P ≻ 0 in real arithmetic from floating-point computations (`_proved_positive`). With Λ > 0 diagonal
and slopes in [α, β] the term 2 (δz − αδv)ᵀΛ(δz − βδv) is never positive, so M ≻ 0 gives d/dt(δxᵀPδx) ≤ −2λ δxᵀPδx along
any two trajectories with the same input: contraction at rate λ in √(δxᵀPδx).

    python -m stability.proof FILE [--json] [--exact]      FILE holds {"certificate": …, "system": …}
    exit status: 0 proved, 1 refused, 2 the input cannot be used, 3 not decided (the budget is used up, or --exact was asked
    for and rational arithmetic does not decide claims of this kind, regional ones among them)

Underflow. A relative error bound says nothing of a product that leaves the range of normal numbers, so every sum of products in
the checker's files is covered in one of two ways. Widened: an absolute term is added that exceeds what underflow can take, which
is at most 2⁻¹⁰²² ≈ 2.2e-308 a product (even where the hardware flushes subnormal numbers to zero) times the factors that it
still meets. Or bounded below: each factor is zero, and then so is the product, exactly, or at least so large that the product
is a normal number. Which way a file goes is said where its products stand; `_LARGEST`, `_SMALLEST` and `_TINY` are the limits.
Weighted ℓ1 claims (`proof_l1`) are decided in rational numbers, where nothing underflows.
"""

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Written out again on purpose: the checker does not ask the search what it assumed.
_SLOPES = {
    "tanh": (0.0, 1.0),
    "relu": (0.0, 1.0),
    "sigmoid": (0.0, 0.25),
    "softplus": (0.0, 1.0),
    "silu": (-0.0998394, 1.0998394),  # in truth ±0.09983932…, 1.09983932…
    "gelu": (-0.1289043, 1.1289043),  # in truth ±0.12890415…, 1.12890415…
}

NOT_COVERED = (
    "the discretisation: the statement is about the differential equation, not about a solver's steps",
    "deployment in lower precision than the stored float64 arrays",
    "feedback u = κ(x): the input must be the same signal on both trajectories",
    "member weights that depend on the state",
    "parameters averaged over members or people",
    "process noise",
    "parameters θ estimated jointly with the state x",
)


@dataclass(frozen=True)
class Verdict:
    """What the checker says: `proved`, the reason in one sentence, the rate and the number of systems it speaks about.

    `decided` is False where the budget ended before the proof did; then the reason begins with "not decided", and nothing is
    said about whether the claim is true.
    """

    proved: bool
    reason: str
    rate: float | None = None
    systems: int | None = None
    decided: bool = True

    def __bool__(self) -> bool:
        return self.proved


@dataclass(frozen=True)
class Budget:
    """What one call of the checker may use; beyond it the verdict is "not decided", never "proved".

    With a larger budget more is decided and nothing is accepted that is false; cells and bytes end a proof at the same point on
    every machine, seconds do not.
    Errors: ValueError for what is not a positive number.
    """

    cells: int = 2_000_000  # pieces of a region tried, over all systems, walls and levels of the input together
    seconds: float = 60.0  # since the call, looked at between steps; one step on the largest matrices takes half of that
    bytes: int = 4_000_000_000  # that arrays may take at a time, estimated before they are made

    def __post_init__(self) -> None:
        for name in ("cells", "seconds", "bytes"):
            value = getattr(self, name)
            right = isinstance(value, int) or (isinstance(value, float) and (name == "seconds" or value.is_integer()))
            if isinstance(value, bool) or not right or not (0 < value <= 2**62 or value == math.inf):
                what = "a positive number" if name == "seconds" else "a whole number above 0"
                raise ValueError(f"the budget's {name} are {_shown(value)}; give {what}, as in Budget({name}=1000).")


class Unusable(ValueError):
    """The input is not a certificate and a system at all (as opposed to a false certificate)."""


class NotDecided(Exception):
    """The budget is used up. It ends a proof from wherever it stands, and never leaves `prove`."""


@dataclass
class Meter:
    """What a proof has used of its budget, and to whom it tells how far it is: after a second, and whenever the time doubles."""

    budget: Budget = field(default_factory=Budget)
    progress: Callable[[str], None] | None = None
    begin: float = field(default_factory=lambda: time.monotonic())
    cells: int = 0
    told: float = 1.0

    def look(self, doing: str) -> None:
        """Between two steps: is there time left?"""
        elapsed = time.monotonic() - self.begin
        if elapsed > self.budget.seconds:
            raise NotDecided(f"{self.budget.seconds:g} seconds are used up, {doing}")
        if self.progress is not None and elapsed > self.told:
            self.told = 2.0 * elapsed
            self.progress(f"{elapsed:.0f} of at most {self.budget.seconds:g} s, {self.cells:,} cells: {doing}")

    def cut(self, cells: int, doing: str) -> None:
        """Before so many cells are tried."""
        self.cells += cells
        if self.cells > self.budget.cells:
            raise NotDecided(f"{self.budget.cells:,} cells are used up, {doing}")
        self.look(doing)

    def room(self, size: float, what: str) -> None:
        """Before so many bytes are allocated."""
        if not size <= self.budget.bytes:
            raise NotDecided(f"{what} would take about {size:.1e} bytes, and {self.budget.bytes:.1e} are allowed")

    def matrices(self, size: int, count: int, copies: int, most: int = 4_000_000) -> int:
        """How many matrices of that size to treat at a time: `most` entries in all, unless one alone has more.

        And not too many, since a stack in which one factorisation fails is gone through one by one.
        """
        chunk = min(20_000, max(1, most // max(1, size * size)))
        self.room(8.0 * copies * size * size * min(chunk, count), f"a matrix of {size} rows")
        return chunk


def statement(rate: float, states: int, systems: int) -> str:
    """The sentence that a certificate claims; the checker refuses a certificate that carries another one."""
    return (
        f"For every pair of trajectories in R^{states} with the same inputs, doses, parameters and member, the distance "
        f"sqrt(dx' P dx) shrinks at rate {rate!r} per unit of time or faster, for each of the {systems} systems, "
        "in real arithmetic with the stored float64 arrays."
    )


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
        return _judge(certificate, system, Meter(budget or Budget(), progress))
    except Unusable as error:
        return Verdict(False, str(error))


def undecided(why: object) -> Verdict:
    """The verdict where the budget, or the arithmetic that was asked for, does not suffice."""
    return Verdict(False, f"not decided: {why}", decided=False)


# Claims of other kinds, each proved in a file of its own with the arithmetic of this one: kind → module with `judge`.
_OTHERS: dict[str, str] = {
    "lipschitz": "lipschitz",
    "tube": "gain",
    "l2": "gain",
    "weighted l1": "weighted_l1",
    "step": "step",
}
KINDS = ("certificate", *_OTHERS)


def _judge(claim: object, system: object, meter: Meter) -> Verdict:
    kind = _get(claim, "kind", "certificate")
    if not isinstance(kind, str) or kind not in KINDS:
        raise Unusable(f"a claim of the kind {_shown(kind)} is not one that this checker knows")
    try:
        if kind == "certificate":
            return _prove(claim, system, meter)
        verdict: Verdict = import_module(f"stability.proof.{_OTHERS[kind]}").judge(claim, system, meter)
        return verdict
    except NotDecided as error:
        return undecided(error)
    except MemoryError:
        return undecided("this machine has less memory than the budget allows")
    except RecursionError as error:
        raise Unusable("the claim or the system is nested too deeply") from error
    except np.linalg.LinAlgError as error:  # of values that are no proof: a factorisation or an iteration that does not end
        raise Unusable(f"the claim's numbers cannot be used: {error}") from error


@np.errstate(all="ignore")  # overflow and NaN are meant to arrive at the comparisons, where they refuse
def _prove(certificate: object, system: object, meter: Meter) -> Verdict:
    stack = _read_system(system)
    region = _get(certificate, "region")
    if not (isinstance(region, str) and region == "global"):
        regional: Verdict = import_module("stability.proof.region").prove_in_region(certificate, stack, meter=meter)
        return regional
    rate, P = _number(_get(certificate, "rate")), _array(_get(certificate, "metric"), "metric")
    multipliers = _array(_get(certificate, "multipliers"), "multipliers")
    refusal = _disagreement(certificate, stack, rate, P, multipliers, statement(rate, stack.A.shape[-1], stack.count))
    if refusal:
        return Verdict(False, refusal)
    if not _proved_positive(P[None], np.zeros_like(P[None]))[0]:
        return Verdict(False, "the metric P is not proved positive definite")
    meter.room(float(stack.count), f"{stack.count} systems")
    good = np.ones(stack.count, dtype=bool)
    size = P.shape[0] + multipliers.shape[1]
    for first in range(0, stack.count, chunk := meter.matrices(size, stack.count, 14)):  # some 32 MB per array at a time
        meter.look(f"at system {first} of {stack.count}")
        part = slice(first, first + chunk)
        good[part] = _proved_positive(*_inequality(stack, part, rate, P, multipliers[part]))
        if not good[part].all():
            break
    if not good.all():
        where = tuple(int(i) for i in np.unravel_index(int(np.argmin(good)), stack.leading))
        return Verdict(False, f"the inequality is not proved for system {list(where)}", rate, stack.count)
    return Verdict(True, statement(rate, P.shape[0], stack.count), rate, stack.count)


def _disagreement(
    certificate: object, stack: "_Stack", rate: float, P: Array, multipliers: Array, claim: str, units: int | None = None
) -> str:
    """Everything about a certificate that can be refused without arithmetic; empty if nothing is wrong."""
    n = stack.A.shape[-1]
    if not (math.isfinite(rate) and rate > 0):
        return f"the rate is {rate!r}; a certificate needs a finite positive rate"
    if P.shape != (n, n):
        return f"the metric has shape {P.shape}; the system has {n} states"
    needed = (stack.count, sum(stack.widths) if units is None else units)
    if multipliers.shape != needed:
        return f"the multipliers have shape {multipliers.shape}; needed is {needed}"
    if not (np.isfinite(P).all() and np.isfinite(multipliers).all()):
        return "the metric or the multipliers hold values that are not finite"
    if max(np.abs(P).max(), np.abs(multipliers).max(initial=0.0), rate, stack.largest) > _LARGEST:
        return f"some entry exceeds {_LARGEST:.0e}, beyond which the error bounds are not stated"
    if not (P == P.T).all():
        return "the metric is not exactly symmetric"
    if not (multipliers > 0).all():
        return "a multiplier is not positive"
    refusal = _unlike(certificate, stack, claim, NOT_COVERED)
    if refusal:
        return refusal
    condition = float(np.linalg.cond(P))  # itself known to a relative error of about its size times the rounding
    if not math.isclose(_number(_get(certificate, "condition")), condition, rel_tol=min(1e-6 + 1e-14 * condition, 0.5)):
        return "the stated condition number is not that of the metric"
    for name in ("spectral_cap", "metric_cap", "inequality_cap"):
        cap = _get(certificate, name, None) if name == "inequality_cap" else _get(certificate, name)  # earlier ones lack it
        if cap is not None and not rate <= _number(cap) + 1e-6 * stack.largest:
            return f"the rate exceeds the certificate's own {name}"
    return ""


def _unlike(claim: object, stack: "_Stack", sentence: str, not_covered: Sequence[str]) -> str:
    """What a claim of any kind says of its system, its sentence and its exclusions, if it is not so; else empty."""
    slopes = list(_SLOPES[stack.activation])
    if [_number(s) for s in _sequence(_get(claim, "slope_range"))] != slopes:
        return f"the slope range is not that of {stack.activation}, {slopes}"
    if [_number(s) for s in _sequence(_get(claim, "leading"))] != list(stack.leading):
        return f"the leading shape is not that of the system, {stack.leading}"
    digest, said = _get(claim, "digest"), _get(claim, "claim")
    if not isinstance(digest, str) or digest != stack.digest:
        return "the digest is not that of the system: the arrays were changed after the claim was made"
    if not isinstance(said, str) or said != sentence:
        return "the claim is not the sentence that the numbers support"
    if not set(not_covered) <= {s for s in _sequence(_get(claim, "not_covered")) if isinstance(s, str)}:
        return "the list of what is not covered lacks a sentence"
    return ""


@dataclass(frozen=True)
class _Flat:
    """An array whose leading axes broadcast, seen as (V, …) with one leading axis; only what is asked for is copied."""

    held: Array
    leading: tuple[int, ...]
    rank: int  # of what each of the V systems has

    @property
    def shape(self) -> tuple[int, ...]:
        return (math.prod(self.leading), *self.held.shape[self.held.ndim - self.rank :])

    def __getitem__(self, which: int | slice) -> Array:
        core = self.held.shape[self.held.ndim - self.rank :]
        if self.held.shape == self.leading + core:
            return self.held.reshape(self.shape)[which]
        whole = np.broadcast_to(self.held, self.leading + core)
        index = which if isinstance(which, int) else np.arange(*which.indices(self.shape[0]))
        return whole[np.unravel_index(index, self.leading)]


@dataclass(frozen=True)
class _Stack:
    """A system's arrays as the checker sees them: shapes verified, leading axes flattened to V."""

    A: _Flat  # (V, n, n)
    weights: tuple[_Flat, ...]  # (V, out, in)
    linear: tuple[
        _Flat, ...
    ]  # what adds up to the linear part, each (V, n, n): A, a skip, a weight without hidden units
    activation: str
    leading: tuple[int, ...]
    digest: str
    largest: float  # the largest magnitude that enters the inequality
    biases: tuple[_Flat, ...]  # (V, out); these three enter regional claims alone
    B: _Flat | None  # (V, n, m)
    input_weights: _Flat | None  # (V, h_1, m)

    @property
    def count(self) -> int:
        return self.A.shape[0]

    @property
    def widths(self) -> list[int]:
        return [w.shape[1] for w in self.weights[:-1]]


def _read_system(system: object) -> _Stack:
    activation = _get(system, "activation")
    if not isinstance(activation, str) or activation not in _SLOPES:
        raise Unusable(f"the activation {_shown(activation)} is not one of {', '.join(_SLOPES)}")
    A = _array(_get(system, "A"), "A")
    weights = [_array(w, f"weights[{k}]") for k, w in enumerate(_sequence(_get(system, "weights")))]
    biases = [_array(b, f"biases[{k}]") for k, b in enumerate(_sequence(_get(system, "biases")))]
    B, Wu = _get(system, "B"), _get(system, "input_weights")
    skip = _get(system, "skip", None)
    given = (("B", B), ("input_weights", Wu), ("skip", skip))
    inputs = {name: None if v is None else _array(v, name) for name, v in given}
    named: list[tuple[str, Array | None, int]] = [("A", A, 2), ("B", inputs["B"], 2)]
    named += [(f"weights[{k}]", w, 2) for k, w in enumerate(weights)]
    named += [(f"biases[{k}]", b, 1) for k, b in enumerate(biases)]
    named += [("input_weights", inputs["input_weights"], 2)]
    if inputs["skip"] is not None:
        named += [("skip", inputs["skip"], 2)]
    for name, array, rank in named:
        if array is not None and (array.ndim < rank or not np.isfinite(array).all()):
            raise Unusable(f"{name} has too few axes, or values that are not finite")
    _check_chain(A, weights, biases)
    linear = [A] + ([] if inputs["skip"] is None else [inputs["skip"]]) + (weights if len(weights) == 1 else [])
    if any(matrix.shape[-2:] != A.shape[-2:] for matrix in linear):
        raise Unusable("the skip does not have the shape of A")
    _check_inputs(A, weights, inputs["B"], inputs["input_weights"])
    try:
        leading = np.broadcast_shapes(*(a.shape[: a.ndim - rank] for _, a, rank in named if a is not None))
    except ValueError as error:
        raise Unusable("the leading axes of the system's arrays do not broadcast together") from error
    count = math.prod(leading)
    if count == 0:
        raise Unusable("the list of systems is empty")

    def flat(array: Array, rank: int = 2) -> _Flat:
        return _Flat(array, leading, rank)

    largest = max(float(np.abs(a).max()) for a in (*linear, *weights))
    digest = _digest(activation, named)
    felt = [None if a is None else flat(a) for a in (inputs["B"], inputs["input_weights"])]
    return _Stack(
        flat(A),
        tuple(map(flat, weights)),
        tuple(map(flat, linear)),
        activation,
        leading,
        digest,
        largest,
        tuple(flat(b, 1) for b in biases),
        felt[0],
        felt[1],
    )


def _check_chain(A: Array, weights: list[Array], biases: list[Array]) -> None:
    n = A.shape[-1]
    sizes = [n] + [w.shape[-2] for w in weights]
    fits = A.shape[-2] == n > 0 and sizes[-1] == n and len(biases) == len(weights) and 0 not in sizes
    fits = fits and all(w.shape[-1] == size for w, size in zip(weights, sizes[:-1], strict=True))
    if not (fits and all(b.shape[-1] == size for b, size in zip(biases, sizes[1:], strict=True))):
        raise Unusable("the shapes of A, the weights and the biases do not fit together")


def _check_inputs(A: Array, weights: list[Array], B: Array | None, Wu: Array | None) -> None:
    if B is not None and B.shape[-2] != A.shape[-2]:
        raise Unusable("B does not have one row per state")
    if Wu is not None and (not weights or Wu.shape[-2] != weights[0].shape[-2]):
        raise Unusable("input_weights does not have one row per unit of the first layer")
    if B is not None and Wu is not None and B.shape[-1] != Wu.shape[-1]:
        raise Unusable("B and input_weights take different numbers of inputs")


def _digest(activation: str, named: Sequence[tuple[str, Array | None, int]]) -> str:
    """The definition stands at `Lure.digest`; this is the second implementation of it."""
    chunks = [f"lure 1\nactivation {activation}\n".encode("ascii")]
    for name, array, _ in named:
        if array is None:
            chunks.append(f"{name} none\n".encode("ascii"))
        else:
            chunks += [
                f"{name} {','.join(str(s) for s in array.shape)}\n".encode("ascii"),
                array.astype("<f8").tobytes("C"),
            ]
    return hashlib.sha256(b"".join(chunks)).hexdigest()


# Four times the unit roundoff 2⁻⁵³. One factor pays for the rounding of the bounds themselves, which are computed in the
# same arithmetic (each is a sum of non-negative terms, so its own relative error is far below a factor of two); the rest
# for any rounding direction. Summation order, blocking and fused multiply-add are covered by the bound as it stands.
_UNIT = 2.0**-51
# With every entry below this, a product that underflows on the way (to zero, even where hardware flushes subnormals) and
# meets at most two more factors is off by less than 2⁻¹⁰²² · 1e100, so any sum of fewer than 1e7 of them by less than _TINY.
# (Sums of 1e7 terms need matrices of 1e14 entries, more than any budget allows.) So P, Λ, the weights and the rate of a claim
# about all states, a gain, a step or a Lipschitz bound may be as small as they like: `_inequality` and its kin add _TINY.
_LARGEST = 1e50
_TINY = 1e-200
# A number of a regional claim (walls, levels, centres, doses, weights, …) that is not zero is at least this: then every product
# of two is a normal number, and what is exactly zero on a wall stays exactly zero, which an absolute term would not let it.
_SMALLEST = 1e-100


def _gamma(roundings: int) -> float:
    """γ_k = k u / (1 − k u): the relative error of a sum of products, each of which passes k roundings."""
    return roundings * _UNIT / (1.0 - roundings * _UNIT)


def _inequality(
    stack: _Stack,
    part: slice,
    rate: float,
    P: Array,
    multipliers: Array,
    slopes: tuple[Array, Array] | None = None,  # α and β (V, H); the activation's own where not given
) -> tuple[Array, Array]:
    """M and a bound of its rounding error, entry by entry.

    Every entry is a sum of products of at most six factors; the same expression over absolute values, times γ_k, bounds the
    error, where k counts the roundings that one product can pass: four for itself, the additions of the dot product (n − 1,
    or the layer's width − 1), and six more for the terms put together.
    Written out, (D − αV)ᵀΛ(D − βV) + its transpose is 2Λ on the diagonal, −(α + β)Λ V beside it, and 2Vᵀ(αβΛ)V.
    Underflow, widened: PA and PE have two factors; 2λP and (α + β)(ΛW) three, and Wᵀ(αβΛW) five, evaluated so that what may
    underflow first, αβΛ or ΛW, meets at most W and Wᵀ, each ≤ 1e50; α, β and 2 are about 1. So _TINY covers every entry.
    """
    ends = slopes or tuple(np.full(multipliers.shape, end) for end in _SLOPES[stack.activation])
    weights = [w[part] for w in stack.weights]
    widths = stack.widths
    count, n, H = len(multipliers), stack.A.shape[-1], sum(widths)
    edges = [n + sum(widths[:k]) for k in range(len(widths) + 1)]
    mid, size = (np.zeros((count, n + H, n + H)) for _ in range(2))

    def add(rows: slice, columns: slice, value: Array, magnitude: Array) -> None:
        # The block and its mirror image: both get the same float, so M is symmetric to the last bit.
        if rows == columns:
            value = (value + value.swapaxes(1, 2)) / 2
            magnitude = (magnitude + magnitude.swapaxes(1, 2)) / 2
        mid[:, rows, columns] += value
        size[:, rows, columns] += magnitude
        if rows != columns:
            mid[:, columns, rows] += value.swapaxes(1, 2)
            size[:, columns, rows] += magnitude.swapaxes(1, 2)

    x = slice(0, n)
    for linear in stack.linear:
        PA, magnitude = P @ linear[part], np.abs(P) @ np.abs(linear[part])
        add(x, x, -(PA + PA.swapaxes(1, 2)), magnitude + magnitude.swapaxes(1, 2))
    add(x, x, np.broadcast_to(-(2.0 * rate) * P, (count, n, n)), np.broadcast_to(2.0 * rate * np.abs(P), (count, n, n)))
    layers = [slice(edges[k], edges[k + 1]) for k in range(len(widths))]
    if layers:
        add(x, layers[-1], -(P @ weights[-1]), np.abs(P) @ np.abs(weights[-1]))
    for k, layer in enumerate(layers):
        L, before = multipliers[:, layer.start - n : layer.stop - n], layers[k - 1] if k else x
        alpha, beta = (end[:, layer.start - n : layer.stop - n, None] for end in ends)
        side = (alpha + beta) * (L[:, :, None] * weights[k])
        add(layer, before, -side, (np.abs(alpha) + np.abs(beta)) * (L[:, :, None] * np.abs(weights[k])))
        if alpha.any():
            corner = weights[k].swapaxes(1, 2) @ (alpha * beta * L[:, :, None] * weights[k])
            large = np.abs(weights[k]).swapaxes(1, 2) @ (np.abs(alpha * beta) * L[:, :, None] * np.abs(weights[k]))
            add(before, before, 2.0 * corner, 2.0 * large)
    diagonal = np.arange(n, n + H)
    mid[:, diagonal, diagonal] += 2.0 * multipliers
    size[:, diagonal, diagonal] += 2.0 * multipliers
    return mid, _gamma(max(n, *widths, 0) + 12) * size + _TINY


def _proved_positive(mid: Array, radius: Array) -> NDArray[np.bool_]:
    """For each symmetric `mid` (V, k, k): True only if every symmetric matrix within `radius` of it is positive definite.

    1. Scale by powers of two, D mid D, to a diagonal in [1, 4): exact, and it keeps small blocks from drowning.
    2. Choose a shift c from Rump's a-priori bound (γ_{k+1}, trace, underflow) and from ‖D radius D‖_∞, with slack.
    3. Factor D mid D − c I = L Lᵀ + R in floating point. The factorisation is not trusted: L is multiplied out, and
       |R| ≤ |computed R| + γ (|L||L|ᵀ + |D mid D| + c I) holds for any L whatever, in any order of summation.
    4. If ‖R‖_∞ + ‖D radius D‖_∞ < c, then every matrix in question, scaled, is ⪰ L Lᵀ + (c − ‖R‖ − ‖radius‖) I ≻ 0.
    Underflow, widened: the scaling may take entries below 2⁻¹⁰²², which _TINY in every entry of `blur` covers; the products of
    L, whose entries are at most 2 where the factorisation means anything, lose less than k 2⁻¹⁰²² a sum: k _TINY in `rows`.
    """
    count, k, _ = mid.shape
    good = np.zeros(count, dtype=bool)
    diagonal = np.diagonal(mid, axis1=1, axis2=2)
    usable = np.isfinite(mid).all((1, 2)) & np.isfinite(radius).all((1, 2)) & (diagonal > _TINY).all(1)
    usable &= (mid == mid.swapaxes(1, 2)).all((1, 2))  # one triangle is read below, so the other must say the same
    chosen = np.flatnonzero(usable)
    if not chosen.size:
        return good
    exponent = -((np.frexp(diagonal[chosen])[1] - 1) // 2)
    both = exponent[:, :, None] + exponent[:, None, :]
    scaled, blur = np.ldexp(mid[chosen], both), np.ldexp(radius[chosen], both) + _TINY
    eye = np.eye(k)
    spread = _outward(blur.sum(2).max(1), k)  # ‖·‖₂ ≤ ‖·‖_∞ for symmetric matrices
    trace = np.trace(scaled, axis1=1, axis2=2)
    shift = 2.0 * spread + 16.0 * _gamma(k + 4) * trace + _TINY  # |L||L|ᵀ has row sums ≤ 4k, and k ≤ trace
    shifted = scaled - shift[:, None, None] * eye
    L, factored = _cholesky(shifted)
    # Only row sums are needed, and those of |L||L|ᵀ are two products with a vector.
    size = np.abs(L)
    magnitude = (size @ size.sum(1)[:, :, None])[:, :, 0] + np.abs(scaled).sum(2) + shift[:, None]
    rows = np.abs(shifted - L @ L.swapaxes(1, 2)).sum(2) + _outward(_gamma(k + 4) * magnitude, k) + k * _TINY
    lost = _outward(rows.max(1), k) + spread
    good[chosen] = factored & (_outward(lost, 1) < shift)  # a comparison with NaN is False
    return good


def _outward(value: Array, terms: int) -> Array:
    """A computed sum of `terms` non-negative numbers, raised so that it cannot lie below the exact sum."""
    return value * (1.0 + _gamma(2 * terms + 4)) + _TINY


def _cholesky(matrices: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The factors and whether each one exists; only a failure makes the stack go one by one."""
    try:
        whole = np.asarray(np.linalg.cholesky(matrices), dtype=np.float64)
        return whole, np.ones((len(matrices),), dtype=np.bool_)
    except np.linalg.LinAlgError:
        factors, exists = np.zeros_like(matrices), np.zeros((len(matrices),), dtype=np.bool_)
        for index, matrix in enumerate(matrices):
            try:
                factors[index], exists[index] = np.linalg.cholesky(matrix), True
            except np.linalg.LinAlgError:
                continue
        return factors, exists


def _second_opinion(verdict: Verdict, data: Mapping[str, Any], meter: Meter) -> Verdict:
    """The same claim in rational arithmetic; both must say yes."""
    claim = data["certificate"]
    kind = _get(claim, "kind", "certificate")
    if kind == "weighted l1":  # the proof is in rational arithmetic already
        return verdict
    if kind != "certificate" or _get(claim, "region") != "global":
        what = "regional claims" if kind == "certificate" else f"claims of the kind {_shown(kind)}"
        return undecided(f"rational arithmetic does not decide {what}; without --exact this one is proved, in rounded arithmetic")
    exact = import_module("stability.proof.rational")
    try:
        true: bool = exact.exactly(claim, data["system"], budget=meter.budget)
    except NotDecided as error:
        return undecided(error)
    except ValueError as error:
        raise Unusable(str(error).rstrip(".")) from error
    return verdict if true else Verdict(False, "rational arithmetic finds the claim false", verdict.rate, verdict.systems)


_NEEDED = object()


def _get(source: object, name: str, default: Any = _NEEDED) -> Any:
    if isinstance(source, Mapping):
        if name in source:
            return source[name]
    elif hasattr(source, name):
        return getattr(source, name)
    if default is not _NEEDED:
        return default
    raise Unusable(f"{name!r} is missing: this is not a certificate with its system")


def _shown(value: object) -> str:
    """A value as a message quotes it: short, whatever it is."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:60] + "…")
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 10**30):
        return repr(value)
    return f"a value of type {type(value).__name__}"


def _array(value: Any, name: str) -> Array:
    try:
        raw = np.asarray(value)
        if raw.dtype.kind not in "fiu":
            raise ValueError(f"entries of kind {raw.dtype}")
        array = raw.astype(np.float64)
        if raw.dtype.kind != "f" and raw.size and np.abs(array).max() >= 2.0**53:
            raise ValueError("a whole number beyond 2^53, which double precision may round; write it with a decimal point")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Unusable(f"{name} is not an array of numbers: {str(error)[:200]}") from error
    # An empty list of multipliers per system reads as (V, 0), which is right for a linear system.
    return array


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise Unusable(f"{_shown(value)} stands where a number is needed")
    try:
        number = float(value)
    except OverflowError as error:
        raise Unusable("a number is too large for double precision") from error
    if number != value and number == number:  # a sentence that quotes 2⁵³ + 1 would be proved of 2⁵³
        raise Unusable(f"{_shown(value)} is rounded in double precision, so the sentence would not be about it")
    return number


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise Unusable(f"a list is needed where {type(value).__name__} stands")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: prints the verdict and returns the exit status; how far a long proof is goes to stderr."""
    ordinary = Budget()
    parser = argparse.ArgumentParser(
        prog="python -m stability.proof",
        description="Prove a contraction certificate.",
        epilog="exit status: 0 proved, 1 refused, 2 the input cannot be used, 3 not decided",
    )
    parser.add_argument("file", type=Path, help='JSON: {"certificate": ..., "system": ...}')
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    parser.add_argument("--exact", action="store_true", help="decide in rational arithmetic too (small systems, no regions)")
    parser.add_argument("--cells", type=int, default=ordinary.cells, help="pieces of a region to try (%(default)s)")
    parser.add_argument("--seconds", type=float, default=ordinary.seconds, help="time to take (%(default)s)")
    parser.add_argument("--bytes", type=int, default=ordinary.bytes, help="memory to take (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        budget = Budget(options.cells, options.seconds, options.bytes)
    except ValueError as error:
        parser.error(str(error))
    meter = Meter(budget, lambda line: print(line, file=sys.stderr, flush=True))
    try:
        verdict = _judged_file(options.file, meter, exact=options.exact)
    except Unusable as error:
        print(f"{options.file}: {error}.", file=sys.stderr)
        return 2
    except (OSError, ValueError, RecursionError) as error:
        print(f"{options.file} cannot be read as JSON: {error}.", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(asdict(verdict)))
    elif verdict.decided:
        print(f"{'proved' if verdict else 'refused'}: {verdict.reason}")
    else:
        print(verdict.reason)
    return 3 if not verdict.decided else 0 if verdict else 1


# What a list that is empty, the worst that JSON has, takes in memory beside its three characters in the file.
_SWELL = 32


def _judged_file(file: Path, meter: Meter, *, exact: bool) -> Verdict:
    with file.open("rb") as stream:  # a file may be larger than it says, or have no end
        most, pieces, size = int(meter.budget.bytes / _SWELL), list[bytes](), 0
        while piece := stream.read(2**22):  # piece by piece: room for all that is allowed need not be there
            pieces.append(piece)
            size += len(piece)
            if size > most:
                return undecided(f"the file has more than {most} bytes, which may take {_SWELL} times as many in memory")
            meter.look("reading the file")
    text = b"".join(pieces)
    try:
        data = json.loads(text.decode("utf-8"))
    except MemoryError:
        return undecided("this machine has less memory than the file needs")
    verdict = _judge(_get(data, "certificate"), _get(data, "system"), meter)
    return _second_opinion(verdict, data, meter) if exact and verdict else verdict
