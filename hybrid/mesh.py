"""Where a record is cut into steps beforehand."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Mesh:
    """How long a step of a fixed-step solver may be: h(τ) = min(step, first + growth·τ), τ since the last jump.

    The error of a method is made in the layers after jumps, so steps start at `first` there and grow. `step` must keep an
    explicit solver stable: for the classic fourth-order method, step × (fastest rate) < 2.78.
    `step=None` cuts nothing between events (for adaptive solvers).
    `observed`: whether records are also cut at their observations. Without, a solver that interpolates (`RungeKutta`,
    `Exponential`) reads them inside its steps, and a record with many observations costs no more steps than its accuracy.
    """

    step: float | None = None
    first: float | None = None
    growth: float = 0.25
    observed: bool = True

    def __post_init__(self) -> None:
        if self.step is not None and not self.step > 0:
            raise ValueError(f"Mesh: step must be positive, got {self.step}")
        if self.first is not None and (self.step is None or not 0 < self.first <= self.step or not self.growth > 0):
            raise ValueError(
                f"Mesh: needs 0 < first ≤ step and growth > 0, got {self.first}, {self.step}, {self.growth}"
            )

    def cuts(self, begin: float, end: float) -> list[float]:
        """Fractions of (begin, end), both measured from the last jump, at which to cut: equal parts of ∫ dτ/h."""
        if self.step is None or end <= begin:
            return []
        step, growth = self.step, self.growth
        first = step if self.first is None else self.first
        graded = (step - first) / growth  # h reaches `step` here

        def steps(tau: float) -> float:
            inner = min(tau, graded)
            return math.log1p(growth * inner / first) / growth + max(tau - graded, 0.0) / step

        def inverse(count: float) -> float:
            whole = steps(graded)
            if count <= whole:
                return first * math.expm1(growth * count) / growth
            return graded + (count - whole) * step

        low, high = steps(begin), steps(end)
        parts = max(1, math.ceil(high - low - 1e-9))
        return [(inverse(low + (high - low) * j / parts) - begin) / (end - begin) for j in range(1, parts)]
