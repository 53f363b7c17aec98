"""A motor of direct current, by its speed and current: its angle is an integral, and no state that decays."""

from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.parameter import Parameter

_SOURCE = "Control Tutorials for MATLAB and Simulink, DC motor speed (University of Michigan)"


class DCMotor(Mechanism):
    """J dω/dt = k i − b ω − load · L di/dt = V − R i − k ω: `speed` ω in rad/s, `current` i in A, time in s.

    Inputs: the voltage V, and the torque of the load in N·m. One k, N·m/A and V·s alike. Linear.
    Law: the matrix exponential; of a constant V without load ω goes to k V/(b R + k²).
    """

    time_unit = "s"
    states = {"speed": "rad/s", "current": "A"}
    inputs = {"V": "V", "load": "N.m"}
    physical = (
        Parameter("J", "kg.m2", 0.01, 1e-7, 10.0, _SOURCE),
        Parameter("b", "N.m.s", 0.1, 1e-7, 10.0, _SOURCE),
        Parameter("k", "V.s", 0.01, 1e-5, 10.0, _SOURCE),
        Parameter("R", "Ohm", 1.0, 0.01, 100.0, _SOURCE),
        Parameter("L", "H", 0.5, 1e-5, 10.0, _SOURCE),
    )
    scale = {"speed": 0.1, "current": 1.0}
    typical_inputs = {"V": 1.0}
    starts = (("speed", None), ("current", None))
    source = _SOURCE
    defaults = Defaults(observed=(Observed("speed", unit="rad/s"), Observed("current", unit="A")))

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        return {
            "speed": (theta.k * x.current - theta.b * x.speed - u.load) / theta.J,
            "current": (u.V - theta.R * x.current - theta.k * x.speed) / theta.L,
        }
