"""A house as one zone: its air and its walls, a radiator behind a thermostatic valve, and draughts."""

import math
from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.operations import minimum, relu
from physics.parameter import Parameter

_FLOOR = 120.0  # m², of the house that the typical values are of
_ISO = "ISO 13790 (2008) for a house of medium weight and 120 m² of floor"
_OURS = "of no house: one of 120 m² of floor, moderately insulated"
# W/K^1.5 per cm²: 1.2 J/(L.K) of air, and a stack of one storey, (.000145 (L/s)²/(cm⁴.K))^½
_STACK = 1.2 * math.sqrt(0.000145)


class BuildingZone(Mechanism):
    """With Δ = air − outdoor, in °C and h:

        Ca d air/dt = Hi (walls − air) − Hw Δ − .01445 W/(cm².K^1.5) AL |Δ|^½ Δ + P min(((setpoint − air)/band)₊, 1)
        Cw d walls/dt = Hi (air − walls) − Ho (walls − outdoor) + As sun.

    `air` with what stands in it, and `walls` with floors: two capacities. Heat goes from one to the other (Hi), out through the
    walls (Ho), and with windows and ventilation (Hw). Through leaks of the area AL warm air rises out, the faster the greater the
    difference is: the flow grows as its root, the heat as its power 1.5, whose slope is 0 where there is no difference. The sun
    is caught by the area As. The valve is shut at the setpoint and open `band` below it. Inputs: `outdoor` and `setpoint` in °C,
    `sun` in W/m². Monotone.
    Law: without leaks it is linear between the valve's two kinks; by leaks alone √(Δ₀/Δ) grows in proportion to time.
    """

    time_unit = "h"
    states = {"air": "Cel", "walls": "Cel"}
    inputs = {"outdoor": "Cel", "sun": "W/m2", "setpoint": "Cel"}
    physical = (
        Parameter("Ca", "W.h/K", _FLOOR * 10.0 / 3.6, 30.0, 4000.0, "ISO 52016-1 (2017): 10 kJ/K for each m² of floor"),
        Parameter("Cw", "W.h/K", _FLOOR * 165.0 / 3.6, 500.0, 60000.0, _ISO + ": 165 kJ/K for each m²"),
        Parameter(
            "Hi", "W/K", 3.45 * 4.5 * _FLOOR, 100.0, 20000.0, _ISO + ": 3.45 W/(m².K), 4.5 m² of surface for each m²"
        ),
        Parameter("Ho", "W/K", 120.0, 10.0, 2000.0, _OURS),
        Parameter("Hw", "W/K", 80.0, 5.0, 2000.0, _OURS),
        Parameter("AL", "cm2", 500.0, 5.0, 5000.0, _OURS),
        Parameter("As", "m2", 6.0, 0.1, 100.0, _OURS),
        Parameter("P", "W", 8000.0, 500.0, 100000.0, _OURS),
        Parameter("band", "K", 2.0, 0.2, 10.0, "of the size of those of thermostatic radiator valves, EN 215"),
    )
    scale = {"air": 20.0, "walls": 20.0}
    signs = {"air": 1, "walls": 1}
    typical_inputs = {"outdoor": 2.0, "sun": 100.0, "setpoint": 21.0}
    starts = (("air", None),)
    source = (
        "two capacities: Bacher & Madsen, Energy Build. 43 (2011) 1511; leaks: Sherman & Grimsrud, LBL-10852 (1980), with the "
        "coefficient of the ASHRAE Handbook of Fundamentals"
    )
    defaults = Defaults(observed=(Observed("air", unit="Cel"),))

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        above = x.air - u.outdoor
        # two powers of what is not negative, and no product with a root, whose slope has no bound at 0
        leaks = _STACK * theta.AL * (relu(above) ** 1.5 - relu(-above) ** 1.5)
        heat = theta.P * minimum(relu((u.setpoint - x.air) / theta.band), 1.0)
        exchanged = theta.Hi * (x.walls - x.air)
        return {
            "air": (exchanged - theta.Hw * above - leaks + heat) / theta.Ca,
            "walls": (theta.As * u.sun - exchanged - theta.Ho * (x.walls - u.outdoor)) / theta.Cw,
        }
