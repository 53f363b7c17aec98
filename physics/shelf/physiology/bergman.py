"""The minimal model of glucose: insulin, by way of a remote compartment, multiplies the clearance of glucose."""

from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.parameter import Parameter

_SOURCE = "of the size of those in Bergman, Phillips & Cobelli, J. Clin. Invest. 68 (1981) 1456"


class Bergman(Mechanism):
    """dG/dt = −(p1 + X) G + p1 Gb + Ra · dX/dt = −p2 X + p3 (I − Ib), G in mg/dL, X in /min, time in min.

    G, the `glucose` of plasma; X, the `action` of insulin, which is below 0 while there is less of it than Ib. Inputs: I,
    the insulin of plasma, and Ra, how fast glucose appears. With I at Ib and no Ra it rests at Gb. Monotone: more glucose goes
    with less action.
    Law: of a constant I and Ra, X goes to p3 (I − Ib)/p2 at the rate p2; with X there G goes to (p1 Gb + Ra)/(p1 + X) at the
    rate p1 + X.
    """

    time_unit = "min"
    states = {"glucose": "mg/dL", "action": "/min"}
    inputs = {"I": "m[IU]/L", "Ra": "mg/dL/min"}
    physical = (
        Parameter("p1", "/min", 0.028, 0.003, 0.2, _SOURCE + ": glucose effectiveness"),
        Parameter("p2", "/min", 0.025, 0.003, 0.3, _SOURCE),
        Parameter("p3", "L/(m[IU].min2)", 1.3e-5, 1e-7, 1e-3, _SOURCE),
        Parameter("Gb", "mg/dL", 90.0, 40.0, 400.0, "a healthy adult who has fasted"),
        Parameter("Ib", "m[IU]/L", 10.0, 0.5, 100.0, "a healthy adult who has fasted"),
    )
    scale = {"glucose": 100.0, "action": 0.02}
    signs = {"glucose": 1, "action": -1}
    typical_inputs = {"I": 10.0}
    starts = (("glucose", None),)
    source = "Bergman, Ider, Bowden & Cobelli, Am. J. Physiol. 236 (1979) E667"
    defaults = Defaults(observed=(Observed("glucose", unit="mg/dL"),), spread={"Gb": 0.1, "Ib": 0.4})

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {
            "glucose": theta.p1 * theta.Gb + u.Ra - (theta.p1 + x.action) * x.glucose,
            "action": theta.p3 * (u.I - theta.Ib) - theta.p2 * x.action,
        }
