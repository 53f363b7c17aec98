"""Contraction over a box, cell by cell, in outward-rounded arithmetic: for the checker, numpy alone.

With an invertible T that brings P near the identity, contraction at rate λ in P at y = (x, u) is

    −½(X + Xᵀ) − λ TᵀPT ≻ 0,   X = TᵀP J(y) T.

On a cell X is affine in the distance δ from the centre, up to a matrix of which every entry is bounded (`enclosure.py`; the
quadratic term, in which the units have cancelled, is bounded as a matrix), so up to a matrix of spectral norm at most ρ; each
entry of a tape's Jacobian that varies on the cell is one more δ (`taped.py`). The largest eigenvalue of a symmetric matrix is
convex, so an affine family over a box of δ is worst at one of the box's 2^d corners: the cell is proved if at each corner the
matrix minus ρI is positive definite. A cell that is not proved is cut in two along the axis that the remainder feels most, or
that narrows the tape's entries most, until the matrix at a centre itself fails (then the point disproves the rate in this
metric) or the allowance of cells is used up (then nothing is said).

Each corner is tried by a floating-point Cholesky factorisation of the matrix shifted by c: if it runs to the end, the smallest
eigenvalue exceeds that of the shift's error bound (Rump, Verification of positive definiteness, BIT 46, 2006).

Underflow, widened. T has no entry beyond 1e60 (`Frame.usable`), and a product that underflows meets it at most once more: off by
less than 2.3e-308 · 1e60, of which TINY covers any sum. Products of two radii are raised before they meet anything large
(`_curvature`). Sums of squares are taken of numbers divided by the largest (`root_of_squares`): the square of 1e-160 is zero, but
the number is not. Centres and radii of cells may come as near to zero as they like.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import TINY, UP, Array, gamma
from stability.proof.budget import Meter, NotDecided
from stability.proof.region.enclosure import LOST, Expansion, combine, doubles, expand, pairs, triples
from stability.proof.region.field import Field
from stability.proof.region.jacobian import Jacobian
from stability.proof.region.taped import relief, tape_part

_BATCH = 512  # cells at a time
_BATCH_BYTES = 2.5e8  # that they may take together; where one takes more, one at a time
_MOST_COLUMNS = 250_000  # of an expansion: 112 axes
_CORNERS = 6  # axes whose corners are tried; of any others the norm counts


@dataclass(frozen=True)
class Frame:
    """P seen in coordinates in which it is about the identity; the errors bound the entries' rounding."""

    right: Array  # T (n, n), exactly
    left: Array  # TᵀP (n, n)
    left_error: Array
    gram: Array  # TᵀPT (n, n), symmetric
    gram_error: Array

    @staticmethod
    def of(P: Array) -> "Frame":
        """T = C⁻ᵀ for P ≈ CCᵀ. Any T will do; whether it is invertible is for the caller to prove of TᵀPT."""
        n = len(P)
        T = np.ascontiguousarray(np.linalg.inv(np.linalg.cholesky(P)).T)
        size = np.abs(T.T) @ np.abs(P)
        gram = (T.T @ P) @ T
        return Frame(
            right=T,
            left=T.T @ P,
            left_error=gamma(n + 3) * size + TINY,
            gram=(gram + gram.T) / 2,
            gram_error=gamma(2 * n + 6) * (size @ np.abs(T)) + TINY,
        )

    @property
    def usable(self) -> bool:
        """Whether T and what was made of it keep to the limits that the error bounds ask for."""
        bounded = np.isfinite(self.left_error).all() and np.isfinite(self.gram_error).all()
        return bool(bounded and np.abs(self.right).max() <= 1e60)


@dataclass(frozen=True)
class Coverage:
    """How far the cells got: proved, or a point at whose centre the rate fails, or neither."""

    proved: bool
    cells: int
    counterexample: Array | None = None  # (d,): a point, along the axes that are cut
    left: int = 0  # cells not proved when the allowance was used up


def batch_for(field: Field | Jacobian, axes: int, meter: Meter | None, *, matrices: bool = True) -> int:
    """How many cells to try at a time. Errors: `NotDecided` where a single one takes more than the budget allows."""
    each = 8.0 * doubles(field.layers, axes, field.states, matrices)
    if isinstance(field, Jacobian) and field.tape is not None:
        each += 32.0 * (axes + 1) * len(field.tape.code) * (field.states + 2) + 24.0 * field.states**4
    if meter is not None:
        if field.layers is not None and math.comb(axes + 2, 3) > _MOST_COLUMNS:
            raise NotDecided(f"{axes} axes have more than {_MOST_COLUMNS:,} third derivatives")
        meter.room(each, "one cell")
    return int(min(_BATCH, max(1.0, _BATCH_BYTES // each)))


Test = Callable[[Array, Array], tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]]


def bisect(
    test: Test,  # centres and radii (d, K) to: proved (K,), failing at the centre (K,), the axis to cut (K,)
    lower: Array,  # (d,)
    upper: Array,  # (d,)
    *,
    most: float,  # cells
    deadline: float = math.inf,
    batch: int = _BATCH,  # cells at a time
    meter: Meter | None = None,
    doing: str = "",
) -> Coverage:
    """Prove something on every cell of a box, cutting those where it is not proved; depth first, so that few wait.

    Rounding: a cell's radius is raised by 2⁻⁵⁰ of what it and its centre measure, more than the four roundings of halving it.
    Errors: `NotDecided` where the meter's budget is used up.
    Law: proved ⇒ the cells that passed the test cover the box.
    """
    half = (upper - lower) * (0.5 * UP) + np.where(upper > lower, 2.0**-50 * (np.abs(lower) + np.abs(upper)), 0.0)
    waiting = [(np.where(upper > lower, (lower + upper) / 2, lower)[:, None], half[:, None])]
    done = 0
    while waiting:
        if done >= most or time.monotonic() > deadline:
            return Coverage(False, done, left=sum(c.shape[1] for c, _ in waiting))
        centre, radius = waiting.pop()
        if centre.shape[1] > batch:
            waiting.append((centre[:, batch:], radius[:, batch:]))
            centre, radius = centre[:, :batch], radius[:, :batch]
        elif waiting and waiting[-1][0].shape[1] + centre.shape[1] <= batch:
            more = waiting.pop()
            centre, radius = np.concatenate([centre, more[0]], 1), np.concatenate([radius, more[1]], 1)
        done += centre.shape[1]
        if meter is not None:
            meter.cut(centre.shape[1], doing)
        good, fails, axis = test(centre, radius)
        if fails.any():
            return Coverage(False, done, counterexample=centre[:, int(np.argmax(fails))])
        bad = np.flatnonzero(~good)
        if bad.size and not len(lower):  # nothing to cut
            return Coverage(False, done, left=int(bad.size))
        if bad.size:
            waiting.append(halves(centre[:, bad], radius[:, bad], axis[bad]))
    return Coverage(True, done)


def cover(
    jacobian: Jacobian,
    frame: Frame,
    rate: float,
    *,
    most: float = math.inf,  # cells
    deadline: float = math.inf,
    meter: Meter | None = None,
    doing: str = "",
) -> Coverage:
    """Prove contraction at the rate over the Jacobian's whole box.

    Law: proved ⇒ at every point of the box the matrix above is positive definite, in real arithmetic.
    """

    def test(centre: Array, radius: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
        return _contracts(jacobian, frame, rate, centre, radius)

    batch = batch_for(jacobian, len(jacobian.axes), meter)
    return bisect(test, *jacobian.box, most=most, deadline=deadline, batch=batch, meter=meter, doing=doing)


def halves(centre: Array, radius: Array, axis: NDArray[np.int64]) -> tuple[Array, Array]:
    """Two cells for each; the radius is raised, so that what rounding moves stays covered."""
    here = np.arange(len(axis))
    step = np.zeros_like(centre)
    step[axis, here] = radius[axis, here] / 2
    smaller = radius - step + np.where(step > 0, 2.0**-50 * (np.abs(centre) + radius), 0.0)
    return np.concatenate([centre - step, centre + step], 1), np.concatenate([smaller, smaller], 1)


@dataclass(frozen=True)
class Affine:
    """−½(X + Xᵀ) on K cells: an affine family, and what is left out."""

    centre: Array  # (n, n, K), its value at the centre
    middle: Array  # (n, n, K), the same shifted by the middle of the quadratic term
    slopes: Array  # (d, n, n, K): r_k ∂_k
    error: Array  # (n, n, K), a bound for every entry
    influence: Array  # (d, K): what the remainder owes to each axis

    @np.errstate(over="ignore", invalid="ignore")
    def holds(self, frame: Frame, rate: Array | float) -> NDArray[np.bool_]:  # rate (K,) or one
        """Which cells are proved to contract at the rate.

        What is not a number, where bounds overflowed, counts as infinite: it disqualifies its own cell, and hides nothing of
        the others in the batch.
        """
        n, K = self.middle.shape[1:]
        d = len(self.slopes)
        rows, columns = np.tril_indices(n)
        middle = self.middle - rate * frame.gram[:, :, None]
        error = self.error + rate * (frame.gram_error + gamma(4) * np.abs(frame.gram))[:, :, None]
        error = UP * (error + gamma(4) * np.abs(middle))
        rho = np.minimum(error.sum(1).max(0), root_of_squares(error, (0, 1))) * UP
        size = root_of_squares(self.slopes, (1, 2))  # (d, K)
        size = np.where(np.isnan(size), np.inf, size)
        order = np.argsort(-size.sum(1))[: int((size > 0).any(1).sum())]
        few, rest = np.sort(order[:_CORNERS]), order[_CORNERS:]
        rho = rho + UP * size[rest].sum(0)
        signs = np.array(list(product((-1.0, 1.0), repeat=len(few))), dtype=np.float64)
        flat = self.slopes[few][:, rows, columns].reshape(len(few), len(rows) * K)
        corners = middle[rows, columns][None] + (signs @ flat).reshape(len(signs), len(rows), K)
        extent = np.abs(middle[rows, columns]).max(0) + size.sum(0)  # bounds every entry, so n of it the trace
        shift = UP * (rho + 16.0 * gamma(n + d + 6) * n * extent) + TINY
        return np.asarray(_factors(corners, shift[None], n).all(0), dtype=np.bool_)

    def fails(self, frame: Frame, rate: float) -> NDArray[np.bool_]:
        """At which centres the rate fails, by more than rounding: a float64 judgement, by which nothing is accepted."""
        matrices = np.moveaxis(self.centre - rate * frame.gram[:, :, None], 2, 0)
        matrices = np.where(np.isfinite(matrices).all((1, 2), keepdims=True), matrices, 0.0)  # of these nothing is said
        return np.asarray(np.linalg.eigvalsh(matrices)[:, 0] < -1e-9 * np.abs(matrices).max((1, 2)), dtype=np.bool_)

    def take(self, chosen: NDArray[np.int64]) -> "Affine":
        """The same for some of the cells."""
        parts = (self.centre, self.middle, self.slopes, self.error, self.influence)
        return Affine(*(part[..., chosen] for part in parts))


def _contracts(
    jacobian: Jacobian, frame: Frame, rate: float, centre: Array, radius: Array
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Which cells are proved, which centres fail, and which axis to cut."""
    affine = affine_on(jacobian, frame, centre, radius)
    good = affine.holds(frame, rate)
    fails, axis = np.zeros(len(good), dtype=np.bool_), np.zeros(len(good), dtype=np.int64)
    doubtful = np.flatnonzero(~good)
    if doubtful.size:
        fails[doubtful] = affine.take(doubtful).fails(frame, rate)
        axis[doubtful] = axes_to_cut(jacobian, frame, affine.take(doubtful), centre[:, doubtful], radius[:, doubtful])
    return good, fails, axis


def axes_to_cut(jacobian: Jacobian, frame: Frame, affine: Affine, centre: Array, radius: Array) -> NDArray[np.int64]:  # (K,)
    """Along which axis to cut each cell: nothing that is proved depends on it."""
    if not len(radius):
        return np.zeros(radius.shape[1], dtype=np.int64)
    if jacobian.tape is None:
        return affine.influence.argmax(0)
    # both in the entries' own size: what the layers' error owes to each axis, and what the tape's entries would lose
    total = affine.influence.sum(0)
    felt = affine.influence / np.where(total > 0, total, 1.0) * np.where(total > 0, affine.error.sum((0, 1)), 0.0)
    felt = np.where(np.isfinite(felt), felt, 0.0) + relief(jacobian, frame.left, frame.right, (centre, radius))
    low, high = jacobian.box
    share = radius / np.where(high > low, high - low, 1.0)[:, None]
    return np.where((felt > 0).any(0), felt.argmax(0), share.argmax(0))


def root_of_squares(values: Array, axis: int | tuple[int, ...]) -> Array:
    """The root of the sum of squares, also of numbers whose squares underflow; NaN where a value is infinite or NaN."""
    size = np.abs(values)
    largest = size.max(axis, keepdims=True, initial=0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        share = size / np.where(largest > 0, largest, 1.0)
        return np.asarray(largest.squeeze(axis) * np.sqrt(np.square(share).sum(axis)))


@np.errstate(over="ignore", invalid="ignore")  # the bounds of a very large cell; what is not a number proves nothing
def affine_on(jacobian: Jacobian, frame: Frame, centre: Array, radius: Array) -> Affine:
    """The affine family of each cell.

    Underflow, widened: TᵀP times a matrix, a gradient times T and a radius times a second derivative times T each meet T at most
    once afterwards; TINY in every entry of E, which comes twice or more, covers their sums.
    """
    n, (d, K) = jacobian.states, centre.shape
    T, size = frame.right, gamma(n + 6)
    absolute = np.abs(T)
    X = np.zeros((n, n, K))
    E = np.zeros((n, n, K))
    for matrix in jacobian.linear:
        X += ((frame.left @ matrix) @ T)[:, :, None]
        bound = (frame.left_error + gamma(2 * n + 6) * np.abs(frame.left)) @ np.abs(matrix) @ absolute
        E += UP * bound[:, :, None] + TINY
    slopes, shift = np.zeros((0, n, n, K)), np.zeros((n, n, K))
    influence = np.zeros((d, K))
    if jacobian.layers is not None:
        felt = jacobian.felt
        states = jacobian.axes[felt]
        states = states[states < n]  # the layers' axes begin with these
        c, r = centre[felt], radius[felt]
        z = expand(jacobian.layers, c, r)
        W_error = UP * ((frame.left_error + size * np.abs(frame.left)) @ np.abs(jacobian.last)) + TINY
        f = combine(z, frame.left @ jacobian.last, W_error, r)
        bound = f.gradient_error + f.hessian_error + f.remainder / 6.0
        bound = bound + size * (np.abs(f.gradient) + f.spread + f.spread_third)
        X += np.einsum("ojk,jl->olk", f.gradient[:, : len(states)], T[states], optimize=True)
        E += UP * np.einsum("ojk,jl->olk", bound[:, : len(states)], absolute[states], optimize=True) + TINY
        slopes = _slopes(f, T[states], r)
        found = r * (f.remainder / 6.0 + 0.5 * f.spread_third).sum(0)
        influence[felt] = np.where(np.isfinite(found), found, 1e100 * r)  # a cell so large that its bounds overflow
        shift, curvature = _curvature(f, T[states], r)
        E = E + curvature
    here = X
    if jacobian.tape is not None:
        part = tape_part(jacobian, frame.left, frame.left_error, T, (centre, radius))
        here, X, E = X + part.here, X + part.centre, E + part.error
        slopes = np.concatenate([slopes, part.family])
    centre_value = -(here + here.swapaxes(0, 1)) / 2
    X = X + shift
    middle = -(X + X.swapaxes(0, 1)) / 2
    error = UP * (E + E.swapaxes(0, 1)) / 2 + gamma(4) * (np.abs(X) + np.abs(X).swapaxes(0, 1))
    return Affine(centre_value, middle, -(slopes + slopes.swapaxes(1, 2)) / 2, error, influence)


def _slopes(f: Expansion, T: Array, radius: Array) -> Array:
    """r_k h_k T for each axis k of the cell, (d, n, n, K); T (s, n), the rows of the s states that the layers see."""
    (s, n), (d, K) = T.shape, radius.shape
    out = np.zeros((d, n, s, K))
    for column, (k, j) in enumerate(pairs(d)):
        if j < s:
            out[k, :, j] = f.hessian[:, column]
        if k < s:
            out[j, :, k] = f.hessian[:, column]
    out *= radius[:, None, None]
    return np.einsum("koju,jl->kolu", out, T, optimize=True)


def _curvature(f: Expansion, T: Array, radius: Array) -> tuple[Array, Array]:
    """The quadratic ½Σ_kl δ_kδ_l t_kl T, symmetrised, as a middle (n, n, K) and a bound of the distance from it.

    δ_k² lies in ½r_k² ± ½r_k², and δ_kδ_l in ± r_k r_l; both hold for numbers above r_k r_l too, so the products are raised by
    what they may lose, before they meet third derivatives that may be large.
    """
    (s, n), (d, K) = T.shape, radius.shape
    second = {kl: c for c, kl in enumerate(pairs(d))}
    out = np.zeros((len(second), n, s, K))
    for column, axes in enumerate(triples(d)):
        for j in set(axes):
            if j < s:
                left = list(axes)
                left.remove(j)
                out[second[left[0], left[1]], :, j] = f.third[:, column]
    out = np.einsum("poju,jl->polu", out, T, optimize=True)
    out = (out + out.swapaxes(1, 2)) / 2
    middle, bound = np.zeros((n, n, K)), np.zeros((n, n, K))
    for (k, m), c in second.items():
        part = (radius[k] * radius[m] + LOST) * out[c]
        if k == m:
            middle += 0.25 * part
            bound += 0.25 * np.abs(part)
        else:
            bound += np.abs(part)
    return middle, UP * bound


def _factors(entries: Array, shift: Array, n: int) -> NDArray[np.bool_]:
    """Whether Cholesky of each matrix minus shift·I runs to the end; entries (…, n(n+1)/2, K): lower triangles by rows."""
    L: dict[tuple[int, int], Array] = {}
    good = np.ones((entries.shape[0], entries.shape[2]), dtype=bool)
    for i in range(n):
        for j in range(i + 1):
            value = entries[:, i * (i + 1) // 2 + j] - (shift if i == j else 0.0)
            for k in range(j):
                value = value - L[i, k] * L[j, k]
            if i == j:
                good &= value > 0
                value = np.sqrt(np.where(value > 0, value, 1.0))
            else:
                value = value / L[j, j]
            L[i, j] = value
    return good
