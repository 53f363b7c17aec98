"""What is asked of a region, in the forms that the search and the checker need."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from stability.lure import Array, Lure
from stability.proof.region.cells import Frame
from stability.proof.region.claim import RegionalClaim, Stay, box_around
from stability.proof.region.jacobian import Jacobian, jacobians_over
from stability.proof.region.order_claim import Order
from stability.proof.system import Stack
from stability.region import Box, Inputs, Region
from stability.search.aim import share
from stability.search.curves.order_set import order_set


@dataclass(frozen=True)
class RegionalTask:
    """What is asked, in the forms that the search needs."""

    system: Lure
    stack: Stack
    region: Region
    inputs: Inputs | None
    rate: float | None
    condition: float
    deadline: float

    @property
    def levels(self) -> tuple[Array, Array]:
        none = np.zeros(0)
        return (none, none) if self.inputs is None else (self.inputs.lower, self.inputs.upper)

    def box(self, frame: Frame | None = None) -> tuple[Array, Array]:
        """The box itself; for an ellipsoid the box around it, or without a metric around the ball that contains it."""
        if isinstance(self.region, Box):
            return self.region.lower, self.region.upper
        if frame is None:
            return self.region.centre - self.region.radius, self.region.centre + self.region.radius
        return box_around(self.region.centre, self.region.radius, frame)

    def sure(self, given: Array | None) -> Box:
        """A box of states that lie in the region whatever the metric: for an ellipsoid one within its shortest axes.

        |x|_P ≤ √λmax(P) |x|, where λmax is that of the given metric or, with the smallest eigenvalue at 1, at most the limit
        of the condition number. Only states in it disprove anything about the region.
        """
        if isinstance(self.region, Box):
            return self.region
        largest = self.condition if given is None else float(np.linalg.eigvalsh(given)[-1])
        half = 0.999 * self.region.radius / np.sqrt(len(self.region.centre) * largest)
        return Box(self.region.centre - half, self.region.centre + half)

    def axes(self, frame: Frame | None = None) -> tuple[Array, Array]:
        """The box of (x, u) where the layers see the input, else of x."""
        lower, upper = self.box(frame)
        if self.stack.input_weights is None:
            return lower, upper
        return np.concatenate([lower, self.levels[0]]), np.concatenate([upper, self.levels[1]])

    def jacobians(self, frame: Frame | None = None) -> list[Jacobian]:
        """Each system's Jacobian over the region, or the box around it, as cells see it."""
        return list(jacobians_over(self.stack, *self.box(frame), self.levels))

    def claim(self, frame: Frame, proof: str, stay: Stay) -> RegionalClaim:
        ellipsoid = None if isinstance(self.region, Box) else (self.region.centre, self.region.radius)
        doses, gap, exactly = np.zeros((0, self.system.states)), np.inf, False
        if self.inputs is not None and self.inputs.doses is not None and self.inputs.gap is not None:
            doses, gap, exactly = self.inputs.doses, self.inputs.gap, self.inputs.exactly
        kind = "box" if ellipsoid is None else "ellipsoid"
        return RegionalClaim(kind, *self.box(frame), ellipsoid, self.levels, doses, gap, exactly, proof, stay)

    @cached_property
    def order(self) -> Order | str:
        """Curves between which trajectories stay in the box, whatever the metric and the rate; or why there are none."""
        if not isinstance(self.region, Box):
            return "between curves trajectories are kept in a box alone"
        asked, doses, gap = self.inputs, None, np.inf
        if asked is not None and asked.doses is not None and asked.gap is not None:
            doses, gap = asked.doses, asked.gap
        return order_set(
            self.stack,
            (self.region.lower, self.region.upper),
            self.levels,
            doses,
            gap,
            any_gap=asked is None or not asked.exactly,
            scale=self.system.scale,
            deadline=share(self.deadline, 0.4 if self.stack.tape is not None else 0.1),
        )


def check_fit(system: Lure, region: Region, inputs: Inputs | None) -> None:
    n = system.states
    felt = [system.input_weights, *(one.input_weights for one in system.branches)]
    m = max([a.shape[-1] for a in (system.B, *felt) if a is not None], default=0)
    m = m if system.tape is None else len(system.tape["inputs"])
    size = len(region.lower) if isinstance(region, Box) else len(region.centre)
    if size != n:
        raise ValueError(f"the region has {size} states and the system {n}; give one bound per state.")
    if inputs is None:
        if m:
            raise ValueError(f"the system has {m} inputs; give inputs=Inputs(lower, upper) with the levels that u may take.")
        return
    if len(inputs.lower) != m:
        raise ValueError(f"the levels are for {len(inputs.lower)} inputs and the system has {m}; give one level per input.")
    if inputs.doses is not None and inputs.doses.shape[1] != n:
        raise ValueError(f"the doses have {inputs.doses.shape[1]} entries and the system {n} states; give vectors of states.")
