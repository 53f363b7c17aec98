"""Two tanks, one above the other, of which the upper one can overflow into the lower."""

import math
from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.operations import maximum, minimum, relu, sqrt
from physics.parameter import Parameter

_SOURCE = "Johansson, IEEE Trans. Control Syst. Technol. 8 (2000) 456, table I"
_GRAVITY = 981.0  # cm/s²
# cm, a tenth of a millimetre: below it the outflow is laminar, in proportion to the level, and nothing is taken from an empty
# tank. A smaller one makes the emptying stiff: the rate there is a/A √(2g/least), 1.1 /s.
_LEAST = 1e-2


def _out(hole: Any, level: Any) -> Any:
    """a √(2 g h) in cm³/s; a sum of two, the second 0 but below the least level, so that bounds of the slope are exact."""
    root = sqrt(maximum(level, _LEAST)) + (minimum(level, _LEAST) - _LEAST) / math.sqrt(_LEAST)
    return hole * math.sqrt(2.0 * _GRAVITY) * root


class CoupledTanks(Mechanism):
    """A₁ dh₁/dt = q − a₁√(2gh₁) − w (h₁ − H)₊ · A₂ dh₂/dt = a₁√(2gh₁) + w (h₁ − H)₊ − a₂√(2gh₂), levels in cm, time in s.

    The pump gives q cm³/s. Above the brim H the upper tank overflows; the kink is a relu. Below 0.1 mm √h is
    h/√(0.01 cm): the last of it leaves as a laminar flow, at a rate of about 1 /s. Monotone.
    Law: without inflow, below the brim, √h₁ falls at (a₁/A₁) √(g/2); of a constant q both rest where a √(2gh) = q.
    """

    time_unit = "s"
    states = {"upper": "cm", "lower": "cm"}
    inputs = {"q": "cm3/s"}
    physical = (
        Parameter("A1", "cm2", 28.0, 1.0, 1000.0, _SOURCE),
        Parameter("A2", "cm2", 32.0, 1.0, 1000.0, _SOURCE),
        Parameter("a1", "cm2", 0.071, 0.001, 1.0, _SOURCE),
        Parameter("a2", "cm2", 0.057, 0.001, 1.0, _SOURCE),
        Parameter("H", "cm", 20.0, 1.0, 200.0, "the tanks of the same table are 20 cm high"),
        Parameter("w", "cm2/s", 10.0, 0.1, 1000.0, "of no tank: a brim that lets 10 cm³/s over for each cm"),
    )
    scale = {"upper": 10.0, "lower": 10.0}
    signs = {"upper": 1, "lower": 1}
    typical_inputs = {"q": 8.0}
    starts = (("upper", None), ("lower", None))
    source = "Torricelli, Opera geometrica (1644); " + _SOURCE
    defaults = Defaults(observed=(Observed("upper", unit="cm"), Observed("lower", unit="cm")), amounts=True)

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        passed = _out(theta.a1, x.upper) + theta.w * relu(x.upper - theta.H)
        return {"upper": (u.q - passed) / theta.A1, "lower": (passed - _out(theta.a2, x.lower)) / theta.A2}
