"""A mechanism of a user's own, as docs/extend.md shows it."""

from typing import Any

from physics import Mechanism, Parameter
from physics.operations import saturating


class TwoWays(Mechanism):
    """What is absorbed leaves through the kidney, and through a liver that saturates."""

    time_unit, scale, starts_empty = "h", {"gut": 100.0, "plasma": 100.0}, True
    states = {"gut": "mg", "plasma": "mg"}
    physical = (
        *(Parameter("ka", "/h", 1.0, 0.1, 10.0), Parameter("ke", "/h", 0.1, 0.01, 1.0)),
        Parameter("Vmax", "mg/h", 15.0, 1.0, 99.0),
    )

    def rate(self, x: Any, u: Any, theta: Any) -> Any:
        out = theta.ke * x.plasma + theta.Vmax * saturating(x.plasma / 40.0)
        return {"gut": -theta.ka * x.gut, "plasma": theta.ka * x.gut - out}
