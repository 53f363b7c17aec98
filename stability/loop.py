"""The form of a system on which the inequality is written: v = W x + N z, z = φ(v), dx/dt = A x + E z."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Loop:
    """The same systems, flattened to one leading axis, as v = W x + N z, z = φ(v), dx/dt = A x + E z (differences only).

    The layers are stacked into one vector z of H units, so N is strictly block lower triangular, W is W_1 on the first
    layer's rows and zero below, and E is W_L on the last layer's columns and zero before.
    """

    A: Array  # (V, n, n)
    E: Array  # (V, n, H)
    W: Array  # (V, H, n)
    N: Array  # (V, H, H)
    lower: Array  # α (V|1, H): the slope of unit j of system v lies in [α, β], and so do its difference quotients
    upper: Array  # β (V|1, H)
    widths: tuple[int, ...]  # h_1 … h_{L-1}, summing to H


def sides(loop: Loop) -> tuple[Array, Array]:
    """J = [−Wᵀα; I − Nᵀα] and R = [−Wᵀβ; I − Nᵀβ], each (V, n + H, H): the sector's two factors, written densely.

    The rows of Jᵀ and Rᵀ take (δx, δz) to δz − αδv and δz − βδv.
    """
    stacked = np.concatenate([-loop.W, -loop.N], axis=2).swapaxes(1, 2)  # (V, n + H, H)
    both = []
    for slope in (loop.lower, loop.upper):
        side = stacked * slope[:, None, :]
        side[:, loop.W.shape[2] :] += np.eye(loop.N.shape[1])
        both.append(side)
    return both[0], both[1]
