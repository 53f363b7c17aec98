"""A box that may be without an end, cut into cells: each endless axis is seen through x = base + s t/(1 − |t|), |t| ≤ 1.

Its finite end is the base (0 where it has none). Axes with two ends are their own t. The map is monotone in floating point too,
each of its operations being so. So cells that cover the box of t, each taken to the box between its ends' images, cover the box
of x: a number x lies between the images of two neighbouring floats t, and a cell that holds what is between these holds both.
"""

from dataclasses import dataclass

import numpy as np

from stability.proof.arithmetic import UP, Array
from stability.proof.region.enclosure import Layers

# Between which values each activation lies, whatever its argument; in truth silu reaches −0.278465 and gelu −0.169971.
RANGES = {
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "relu": (0.0, np.inf),
    "softplus": (0.0, np.inf),
    "silu": (-0.2785, np.inf),
    "gelu": (-0.17, np.inf),
    "identity": (-np.inf, np.inf),
}


def last_layer(layers: Layers) -> tuple[Array, Array]:
    """Bounds (h, 1) of the last hidden layer's outputs, whatever the arguments."""
    units = layers.of(-1)
    names = [units] * len(layers.biases[-1]) if isinstance(units, str) else list(units)
    low, high = (np.array([[RANGES[name][k]] for name in names], dtype=np.float64) for k in (0, 1))
    return low, high


@dataclass(frozen=True)
class Chart:
    """The axes of a box, lower ≤ x ≤ upper, ends infinite where it has none."""

    lower: Array  # (d,)
    upper: Array  # (d,)

    @property
    def ends(self) -> tuple[Array, Array]:
        """The box of t (d,)."""
        return np.where(self._endless, np.where(np.isinf(self.lower), -1.0, 0.0), self.lower), np.where(
            self._endless, np.where(np.isinf(self.upper), 1.0, 0.0), self.upper
        )

    @property
    def _endless(self) -> Array:
        return np.asarray(np.isinf(self.lower) | np.isinf(self.upper))

    @np.errstate(all="ignore")
    def cells(self, centre: Array, radius: Array) -> tuple[Array, Array]:
        """Ends (d, K) of what cells of t (d, K) become."""
        lowest, highest = (end[:, None] for end in self.ends)
        base = np.where(np.isfinite(self.lower), self.lower, np.where(np.isfinite(self.upper), self.upper, 0.0))[
            :, None
        ]
        scale = np.where(base == 0, 1.0, np.abs(base))
        found = []
        for t in (np.maximum(centre - radius, lowest), np.minimum(centre + radius, highest)):
            far = base + scale * (t / (1.0 - np.abs(t)))
            x = np.where(self._endless[:, None], far, t)
            found.append(np.clip(x, self.lower[:, None], self.upper[:, None]))
        return found[0], np.maximum(*found)


@np.errstate(invalid="ignore")  # of an end that is not there
def about(low: Array, high: Array) -> tuple[Array, Array]:
    """A centre of each cell between its ends (d, K), and its radius, which is infinite where an end is."""
    known = np.isfinite(low) & np.isfinite(high)
    centre = np.where(
        known, 0.5 * low + 0.5 * high, np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 0.0))
    )
    centre = np.where(low == high, low, centre)
    radius = UP * np.maximum(high - centre, centre - low)
    return centre, np.where(known, radius, np.inf)
