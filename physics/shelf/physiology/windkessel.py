"""The Windkessel: arteries as an elastic chamber that the periphery empties."""

from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.parameter import Parameter

_SOURCE = "an adult at rest, Westerhof, Lankhaar & Westerhof, Med. Biol. Eng. Comput. 47 (2009) 131"


class Windkessel(Mechanism):
    """dP/dt = (Q − P/Rp)/C: `pressure` P in mmHg over that of the veins, the flow Q out of the heart in mL/s, time in s.

    With three elements the pressure at the aorta is P + Rc Q, Rc its characteristic resistance, which moves no state.
    Law: of a constant Q, P = Rp Q + (P₀ − Rp Q) e^{−t/(Rp C)}.
    """

    time_unit = "s"
    states = {"pressure": "mm[Hg]"}
    inputs = {"Q": "mL/s"}
    physical = (
        Parameter("Rp", "mm[Hg].s/mL", 1.0, 0.1, 10.0, _SOURCE),
        Parameter("C", "mL/mm[Hg]", 1.3, 0.1, 10.0, _SOURCE),
    )
    scale = {"pressure": 90.0}
    signs = {"pressure": 1}
    typical_inputs = {"Q": 90.0}
    starts = (("pressure", None),)
    source = "Frank, Z. Biol. 37 (1899) 483"
    defaults = Defaults(observed=(Observed("pressure", unit="mm[Hg]"),))

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {"pressure": (u.Q - x.pressure / theta.Rp) / theta.C}
