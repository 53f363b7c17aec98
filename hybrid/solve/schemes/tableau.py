"""Explicit Runge–Kutta methods as numbers."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from hybrid.derivative import constant

Method = Literal["bosh3", "rk4", "dopri5", "tsit5"]


@dataclass(frozen=True)
class Tableau:
    """X_i = x + h Σ_j a_ij f(X_j) and x(t + θh) = x + h Σ_i b_i(θ) f(X_i), b_i(θ) = Σ_p dense_ip θ^{p+1}.

    `c` (s,), `a` s rows of i − 1, `b` (s,) · `error` b − b̂ of the embedded method (), where there is one · `dense` (s, P)
    · `order` at the end of a step and `within` it (uniform) · `closing`: the last stage is f at the step's end, so that
    the next step starts with it wherever nothing jumps, and b weighs it with 0.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...]
    error_order: int
    dense: tuple[tuple[float, ...], ...]
    order: int
    within: int
    closing: bool

    def weights(self, theta: float) -> list[float]:
        """b(θ)."""
        return [sum(d * theta ** (p + 1) for p, d in enumerate(row)) for row in self.dense]


@lru_cache(maxsize=256)
def constants(rows: tuple[tuple[float, ...], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Rows of numbers as a matrix, filled up with zeros; made once, since nothing may be copied to a GPU during a capture."""
    width = max(map(len, rows))
    with constant():
        return torch.tensor([[*row, *[0.0] * (width - len(row))] for row in rows], dtype=dtype, device=device)


def _product(scale: float, *factors: tuple[float, ...]) -> tuple[float, ...]:
    """The coefficients of θ, θ², θ³, θ⁴ in a product of polynomials, each given from its constant upwards."""
    total = [scale]
    for factor in factors:
        new = [0.0] * (len(total) + len(factor) - 1)
        for i, v in enumerate(total):
            for j, w in enumerate(factor):
                new[i + j] += v * w
        total = new
    return tuple(total[1:5])


def _hairer_dense(b: tuple[float, ...], d: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    # y = y0 + θ(Δ + (1−θ)(k₁h − Δ + θ(2Δ − h k₇ − h k₁ + (1−θ) h Σ dᵢ kᵢ))), Δ = h Σ bᵢ kᵢ
    rows = []
    for i, (weight, extra) in enumerate(zip(b, d, strict=True)):
        first, last = float(i == 0), float(i == len(b) - 1)
        inner = 2.0 * weight - last - first
        rows.append((first, weight - first + inner + extra, -inner - 2.0 * extra, extra))
    return tuple(rows)


_DOPRI_B = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0)

TABLEAUS: dict[str, Tableau] = {
    # Bogacki & Shampine (1989), with the cubic Hermite polynomial inside a step
    "bosh3": Tableau(
        c=(0.0, 1 / 2, 3 / 4, 1.0),
        a=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
        b=(2 / 9, 1 / 3, 4 / 9, 0.0),
        error=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
        error_order=2,
        dense=(
            (1.0, -2.0 + 3 * 2 / 9, 1.0 - 2 * 2 / 9),
            (0.0, 3 * 1 / 3, -2 * 1 / 3),
            (0.0, 3 * 4 / 9, -2 * 4 / 9),
            (0.0, -1.0, 1.0),
        ),
        order=3,
        within=3,
        closing=True,
    ),
    # the classic method (Kutta 1901); its continuous extension of order 3: Hairer, Nørsett & Wanner (1993), II.6
    "rk4": Tableau(
        c=(0.0, 1 / 2, 1 / 2, 1.0),
        a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        error=(),
        error_order=0,
        dense=((1.0, -3 / 2, 2 / 3), (0.0, 1.0, -2 / 3), (0.0, 1.0, -2 / 3), (0.0, -1 / 2, 2 / 3)),
        order=4,
        within=3,
        closing=False,
    ),
    # Dormand & Prince (1980); inside a step Hairer, Nørsett & Wanner (1993), II.6, as in their code dopri5
    "dopri5": Tableau(
        c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
        a=(
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            _DOPRI_B[:6],
        ),
        b=_DOPRI_B,
        error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
        error_order=4,
        dense=_hairer_dense(
            _DOPRI_B,
            (
                -12715105075 / 11282082432,
                0.0,
                87487479700 / 32700410799,
                -10690763975 / 1880347072,
                701980252875 / 199316789632,
                -1453857185 / 822651844,
                69997945 / 29380423,
            ),
        ),
        order=5,
        within=4,
        closing=True,
    ),
    # Tsitouras, Comput. Math. Appl. 62 (2011) 770, with its interpolant
    "tsit5": Tableau(
        c=(0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
        a=(
            (),
            (0.161,),
            (-0.008480655492356989, 0.335480655492357),
            (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
            (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
            (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
            (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774),
        ),
        b=(0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774, 0.0),
        error=(
            -0.00178001105222577714,
            -0.0008164344596567469,
            0.007880878010261995,
            -0.1447110071732629,
            0.5823571654525552,
            -0.45808210592918697,
            1 / 66,
        ),
        error_order=4,
        dense=(
            _product(-1.0530884977290216, (0.0, 1.0), (-1.3299890189751412, 1.0), (0.7139816917074209, -1.4364028541716351, 1.0)),
            _product(0.1017, (0.0, 0.0, 1.0), (1.2949852507374631, -2.1966568338249754, 1.0)),
            _product(2.490627285651252793, (0.0, 0.0, 1.0), (1.57803468208092486, -2.38535645472061657, 1.0)),
            _product(-16.54810288924490272, (0.0, 0.0, 1.0), (-1.21712927295533244, 1.0), (-0.61620406037800089, 1.0)),
            _product(47.37952196281928122, (0.0, 0.0, 1.0), (-1.203071208372362603, 1.0), (-0.658047292653547382, 1.0)),
            _product(-34.87065786149660974, (0.0, 0.0, 1.0), (-1.2, 1.0), (-0.666666666666666667, 1.0)),
            _product(2.5, (0.0, 0.0, 1.0), (-1.0, 1.0), (-0.6, 1.0)),
        ),
        order=5,
        within=4,
        closing=True,
    ),
}
