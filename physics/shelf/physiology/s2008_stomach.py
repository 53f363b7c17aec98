"""A meal on its way: stomach and intestine of the UVA/Padova simulator of 2008."""

from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.operations import maximum, tanh
from physics.parameter import Parameter

_SOURCE = "adult#001 of the table of simglucose 0.2.11; the box holds its 30 people"
_LEAST = 1.0  # mg; with no meal said any content is far more than the meal, and is emptied at kmax


class S2008Stomach(Mechanism):
    """d solid/dt = eaten − kmax solid · d liquid/dt = kmax solid − k(q) liquid · d gut/dt = k(q) liquid − kabs gut, glucose in
    mg, time in min, q = solid + liquid, and

        k(q) = kmin + (kmax − kmin)/2 (tanh(5 (q/D − b)/(2 (1 − b))) − tanh(5 (q/D − d)/(2 d)) + 2).

    What appears in plasma is Ra = f kabs gut/BW, in mg/kg/min, the input of `S2008`. Inputs: `eaten`, the carbohydrate of a meal
    while it is eaten, and `Dbar`, D: how much was in the stomach when the last meal began, and what was eaten since. It is
    memory, that is an input held from meal to meal and no state; where it is 0 the stomach empties at kmax.
    Not monotone: a fuller stomach may empty more slowly.
    Law: what leaves the gut, all in all, is what was eaten.
    """

    time_unit = "min"
    states = {"solid": "mg", "liquid": "mg", "gut": "mg"}
    inputs = {"eaten": "mg/min", "Dbar": "mg"}
    physical = (
        Parameter("kabs", "/min", 0.08906, 0.01, 2.5, _SOURCE),
        Parameter("kmax", "/min", 0.046122, 0.0065, 0.14, _SOURCE),
        Parameter("kmin", "/min", 0.0037927, 0.0014, 0.051, _SOURCE),
        Parameter("b", "1", 0.70391, 0.4, 0.999, _SOURCE),
        Parameter("d", "1", 0.21057, 0.044, 0.68, _SOURCE),
        Parameter("f", "1", 0.9, 0.5, 1.0, _SOURCE),
        Parameter("BW", "kg", 102.32, 10.0, 250.0, _SOURCE),
    )
    scale = {"solid": 30000.0, "liquid": 30000.0, "gut": 10000.0}
    typical_inputs = {"Dbar": 60000.0}
    starts_empty = True
    source = (
        "Dalla Man, Camilleri & Cobelli, IEEE Trans. Biomed. Eng. 53 (2006) 2472; Dalla Man, Rizza & Cobelli, "
        "IEEE Trans. Biomed. Eng. 54 (2007) 1740"
    )
    defaults = Defaults(
        observed=(Observed("gut", unit="mg"),),
        compartments={1: "solid", 2: "liquid", 3: "gut"},
        amounts=True,
    )

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        filled = (x.solid + x.liquid) / maximum(u.Dbar, _LEAST)
        falls = tanh(2.5 * (filled - theta.b) / (1.0 - theta.b))
        rises = tanh(2.5 * (filled - theta.d) / theta.d)
        emptied = (theta.kmin + 0.5 * (theta.kmax - theta.kmin) * (falls - rises + 2.0)) * x.liquid
        return {
            "solid": u.eaten - theta.kmax * x.solid,
            "liquid": theta.kmax * x.solid - emptied,
            "gut": emptied - theta.kabs * x.gut,
        }
