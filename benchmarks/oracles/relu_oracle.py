"""Regional certificates of small relu systems decided in rational arithmetic: the judge of the checker's mutations.

With one hidden layer of relus, f(x, u) = A x + B u + W_2 max(W_1 x + W_u u + b_1, 0) + b_2 is piecewise linear: the
hyperplanes on which a unit's argument is zero cut the box of (x, u) into polytopes, on each of which the Jacobian is one
matrix and f is affine. So what a regional certificate says is decided by finitely many points, the vertices of that
arrangement, and all of them are rational:

- contraction: −(JᵀP + PJ) − 2λP ≻ 0 for the pattern of slopes of every polytope that has an interior. The mean of a
  polytope's vertices lies in its relative interior, so it has an interior exactly if no wall holds all of them;
- a box that is kept: an affine function on a polytope is largest at a vertex, so f_i at the vertices on a face;
- a ball that is kept: |f(x̂, u)|_P is convex on every piece, so over the levels it is largest at their ends or at a kink.

Of roots and exponentials only rational bounds enter, some hundred binary digits from the truth. Nothing is taken from the
checker.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, product

from stability import Certificate, Lure
from stability.proof.rational import positive_definite

Vector = Sequence[Fraction]
Matrix = Sequence[Sequence[Fraction]]

_GRID = 2**120  # the roots' and exponentials' last digit
_NEAR = Fraction(1, 2**30)  # arguments nearer to zero than this have a slope range that rounding may widen


@dataclass(frozen=True)
class Piecewise:
    """One system: f = linear y + last max(first y + offset, 0) + bias in y = (x, u)."""

    linear: Matrix  # (n, n + m): [A + S, B]
    first: Matrix  # (h, n + m): [W_1, W_u]
    offset: Vector  # (h,)
    last: Matrix  # (n, h)
    bias: Vector  # (n,)

    def arguments(self, y: Vector) -> list[Fraction]:
        """The units' arguments."""
        return [_dot(row, y) + b for row, b in zip(self.first, self.offset, strict=True)]

    def value(self, y: Vector) -> list[Fraction]:
        """f (n,)."""
        z = [max(v, Fraction(0)) for v in self.arguments(y)]
        return [_dot(a, y) + _dot(w, z) + b for a, w, b in zip(self.linear, self.last, self.bias, strict=True)]


def in_region(certificate: Certificate, system: Lure) -> bool | None:
    """Whether what the certificate proves by is true: False exactly if a condition fails, None where that is open.

    Conditions: λ > 0, P ≻ 0 and symmetric, the digest; contraction at every state of the box and every level; for "slopes" the
    inequality with the units' slope ranges over the box; the set that is kept, with the doses, as in `stability/README.md`.
    Errors: ValueError for what is not a claim about a relu system with one hidden layer, or a linear system, in a box.
    """
    region = certificate.region
    decidable = not system.weights or (system.activation == "relu" and len(system.weights) == 2)
    if isinstance(region, str) or region["kind"] != "box" or not decidable:
        raise ValueError("this oracle decides claims about relu systems with one hidden layer in a box; give one of those.")
    rate, P = Fraction(certificate.rate), _matrix(certificate.metric)
    symmetric = all(P[i][j] == P[j][i] for i, j in product(range(len(P)), repeat=2))
    if certificate.digest != system.digest() or rate <= 0 or not symmetric or not positive_definite(P):
        return False
    box = (_vector(region["lower"]), _vector(region["upper"]))
    inputs = region["inputs"] or {"lower": [], "upper": [], "doses": None, "gap": None}
    levels = (_vector(inputs["lower"]), _vector(inputs["upper"]))
    if not all(a < b for a, b in zip(*box, strict=True)) or not all(a <= b for a, b in zip(*levels, strict=True)):
        return False
    ends = [*box[0], *levels[0]], [*box[1], *levels[1]]
    fields = _fields(system)
    slopes: list[bool | None] = [True]
    if region["proof"] == "slopes":
        multipliers = _matrix(certificate.multipliers)
        slopes = [_inequality(f, *ends, P, rate, L) for f, L in zip(fields, multipliers, strict=True)]
    points = [vertices(f, *ends) for f in fields]
    if not all(_contracts(f, p, *ends, P, rate) for f, p in zip(fields, points, strict=True)):
        return False
    stays = region["stays"]
    doses = [_vector(d) for d in inputs["doses"] or ()] if stays["doses"] else []
    if stays["doses"] and not (doses and inputs["gap"] > 0):
        return False
    if stays["set"] == "box":  # a bolus takes a corner out of it
        kept = all(_box_kept(f, p, *box) for f, p in zip(fields, points, strict=True)) and not any(any(d) for d in doses)
    else:
        kept = _ball_kept(fields, region, box, levels, doses, P, rate)
    if not kept or False in slopes:
        return False
    return None if None in slopes else True


def vertices(field: Piecewise, lower: Vector, upper: Vector) -> list[tuple[Fraction, ...]]:
    """The vertices of the arrangement of the units' kinks and the box's walls within the box; flat axes count as fixed."""
    free = [k for k, (a, b) in enumerate(zip(lower, upper, strict=True)) if a < b]
    fixed = [Fraction(0) if k in free else a for k, a in enumerate(lower)]
    walls: list[tuple[list[Fraction], Fraction, int]] = []  # normal over the free axes, offset, which axis's wall it is or −1
    for k in free:
        unit = [Fraction(int(k == j)) for j in free]
        walls += [(unit, -lower[k], k), (unit, -upper[k], k)]
    for row, b in zip(field.first, field.offset, strict=True):
        normal = [row[k] for k in free]
        if any(normal):
            walls.append((normal, b + _dot(row, fixed), -1))
    found = set()
    for chosen in combinations(walls, len(free)):
        axes = [axis for _, _, axis in chosen if axis >= 0]
        if len(set(axes)) < len(axes):
            continue
        point = _solve([[*normal, -offset] for normal, offset, _ in chosen])
        if point is None:
            continue
        y = list(fixed)
        for k, value in zip(free, point, strict=True):
            y[k] = value
        if all(a <= v <= b for a, v, b in zip(lower, y, upper, strict=True)):
            found.add(tuple(y))
    return sorted(found)


def patterns(field: Piecewise, points: Sequence[Vector], lower: Vector, upper: Vector) -> list[tuple[int, ...]]:
    """The slopes (0 or 1 per unit) of every polytope of the arrangement that has an interior in the box."""
    values = [field.arguments(y) for y in points]
    # A unit that never acts in the box, not even at a wall, or always, has one slope there.
    choices = []
    for j in range(len(field.offset)):
        column = [v[j] for v in values]
        choices.append([s for s, here in ((1, max(column) > 0), (0, min(column) < 0 or max(column) <= 0)) if here])
    found = []
    for signs in product(*choices):
        corner = [k for k, v in enumerate(values) if all(a >= 0 if s else a <= 0 for a, s in zip(v, signs, strict=True))]
        off = all(any(values[k][j] for k in corner) or not any(v[j] for v in values) for j in range(len(signs)))
        for axis, (a, b) in enumerate(zip(lower, upper, strict=True)):
            if a < b:
                off = off and any(points[k][axis] > a for k in corner) and any(points[k][axis] < b for k in corner)
        if off:
            found.append(signs)
    return found


def _contracts(
    field: Piecewise, points: Sequence[Vector], lower: Vector, upper: Vector, P: Matrix, rate: Fraction
) -> bool:
    n = len(P)
    for signs in patterns(field, points, lower, upper):
        active = [j for j, s in enumerate(signs) if s]
        J = [  # its columns
            [field.linear[i][k] + sum(field.last[i][j] * field.first[j][k] for j in active) for i in range(n)]
            for k in range(n)
        ]
        PJ = [[_dot(row, column) for column in J] for row in P]
        if not positive_definite([[-PJ[i][k] - PJ[k][i] - 2 * rate * P[i][k] for k in range(n)] for i in range(n)]):
            return False
    return True


def _inequality(
    field: Piecewise, lower: Vector, upper: Vector, P: Matrix, rate: Fraction, multipliers: Vector
) -> bool | None:
    """M ≻ 0 with every unit's slope range over the box; None where rounding could make a range wider than it is."""
    if not all(L > 0 for L in multipliers):
        return False
    n, H = len(P), len(multipliers)
    M = [[Fraction(0)] * (n + H) for _ in range(n + H)]
    PA = [[_dot(P[i], [field.linear[r][k] for r in range(n)]) for k in range(n)] for i in range(n)]
    near = False
    for i, k in product(range(n), repeat=2):
        M[i][k] = -PA[i][k] - PA[k][i] - 2 * rate * P[i][k]
    for j, (row, b, L) in enumerate(zip(field.first, field.offset, multipliers, strict=True)):
        low = b + sum((min(w * p, w * q) for w, p, q in zip(row, lower, upper, strict=True)), Fraction(0))
        high = b + sum((max(w * p, w * q) for w, p, q in zip(row, lower, upper, strict=True)), Fraction(0))
        near = near or min(abs(low), abs(high)) < _NEAR
        alpha, beta = int(low > 0), int(high >= 0)
        PE = [_dot(P[i], [field.last[r][j] for r in range(n)]) for i in range(n)]
        M[n + j][n + j] = 2 * L
        for i in range(n):  # (z − αv)Λ(z − βv) and its transpose, v = W x
            M[i][n + j] = M[n + j][i] = -PE[i] - (alpha + beta) * L * row[i]
            for k in range(n):
                M[i][k] += 2 * alpha * beta * L * row[i] * row[k]
    holds = positive_definite(M)
    return None if near and not holds else holds


def _box_kept(field: Piecewise, points: Sequence[Vector], lower: Vector, upper: Vector) -> bool:
    """Whether f points outward on no face: at every vertex on it."""
    for y in points:
        outward = [-1 if y[i] == lower[i] else int(y[i] == upper[i]) for i in range(len(lower))]
        if any(outward) and any(s * v > 0 for s, v in zip(outward, field.value(y), strict=True)):
            return False
    return True


def _ball_kept(
    fields: Sequence[Piecewise],
    region: Mapping[str, object],
    box: tuple[Vector, Vector],
    levels: tuple[Vector, Vector],
    doses: Sequence[Vector],
    P: Matrix,
    rate: Fraction,
) -> bool:
    """The ball lies in the box, starts and boluses fit in it, and w/λ + δ/(1 − e^{−λτ}) ≤ ρ."""
    stays, inputs = region["stays"], region["inputs"]
    assert isinstance(stays, Mapping)
    centre, radius, start = _vector(stays["centre"]), Fraction(stays["radius"]), Fraction(stays["start"])
    longest = max((_square(P, d) for d in doses), default=Fraction(0))
    if not 0 < start <= radius or longest > (radius - start) ** 2:
        return False
    for i, (low, c, high) in enumerate(zip(box[0], centre, box[1], strict=True)):
        gap = min(c - low, high - c)
        if gap < 0 or radius**2 * _inverse_entry(P, i) > gap**2:
            return False
    drift = Fraction(0)
    for field in fields:
        for y in vertices(field, [*centre, *levels[0]], [*centre, *levels[1]]):
            drift = max(drift, _square(P, field.value(y)))
    if not doses:
        return drift <= (rate * radius) ** 2
    assert isinstance(inputs, Mapping)
    decay = exponential_below(rate * Fraction(inputs["gap"]))
    return root_below(drift) / rate + root_below(longest) / (1 - decay) <= radius  # refused only if false


def root_below(square: Fraction) -> Fraction:
    """A rational number at most the square root, and within 2⁻¹²⁰ of it."""
    return Fraction(math.isqrt(square.numerator * _GRID**2 // square.denominator), _GRID)


def exponential_below(x: Fraction) -> Fraction:
    """A rational number at most e^{−x}, x ≥ 0, and close to it: the Taylor series at x/2ᵏ ≤ 1/2, squared k times."""
    k = max(0, math.ceil(2 * x).bit_length())
    small, term, total = x / 2**k, Fraction(1), Fraction(1)
    for order in range(1, 32):  # the terms alternate and fall: after an odd one the sum lies below
        term = term * -small / order
        total += term
    for step in range(k + 1):
        total = Fraction(total.numerator * _GRID // total.denominator, _GRID)
        if step < k:
            total = total * total
    return total


def _fields(system: Lure) -> list[Piecewise]:
    flat = system.flatten()
    found = []
    for v in range(len(flat.A)):
        A, W = _matrix(flat.A[v]), _matrix(flat.weights[0][v]) if flat.weights else []
        felt = [a for a in (flat.B, flat.input_weights) if a is not None]
        m = felt[0].shape[-1] if felt else 0
        B = [[Fraction(0)] * m for _ in A] if flat.B is None else _matrix(flat.B[v])
        Wu = [[Fraction(0)] * m for _ in W] if flat.input_weights is None else _matrix(flat.input_weights[v])
        if flat.skip is not None:  # `Lure.linear` would round the sum
            A = [[p + q for p, q in zip(a, s, strict=True)] for a, s in zip(A, _matrix(flat.skip[v]), strict=True)]
        found.append(
            Piecewise(
                linear=[[*a, *b] for a, b in zip(A, B, strict=True)],
                first=[[*w, *u] for w, u in zip(W, Wu, strict=True)],
                offset=_vector(flat.biases[0][v]) if flat.weights else [],
                last=_matrix(flat.weights[1][v]) if flat.weights else [[] for _ in A],
                bias=_vector(flat.biases[1][v]) if flat.weights else [Fraction(0)] * len(A),
            )
        )
    return found


def _solve(rows: list[list[Fraction]]) -> list[Fraction] | None:
    """x with rows [a | b]: a·x = b, by elimination; None where it is not unique."""
    d = len(rows)
    for k in range(d):
        pivot = next((r for r in range(k, d) if rows[r][k]), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [a / rows[k][k] for a in rows[k]]
        for r in range(d):
            if r != k and rows[r][k]:
                rows[r] = [a - rows[r][k] * b for a, b in zip(rows[r], rows[k], strict=True)]
    return [row[d] for row in rows]


def _inverse_entry(P: Matrix, i: int) -> Fraction:
    """(P⁻¹)_ii."""
    column = _solve([[*row, Fraction(int(r == i))] for r, row in enumerate(P)])
    assert column is not None  # P ≻ 0 was decided before
    return column[i]


def _square(P: Matrix, x: Vector) -> Fraction:
    return _dot(x, [_dot(row, x) for row in P])


def _dot(a: Vector, b: Vector) -> Fraction:
    return sum((p * q for p, q in zip(a, b, strict=True) if p and q), Fraction(0))


def _vector(values: object) -> list[Fraction]:
    return [Fraction(float(v)) for v in values]  # type: ignore[attr-defined]


def _matrix(values: object) -> list[list[Fraction]]:
    return [_vector(row) for row in values]  # type: ignore[attr-defined]
