"""An infection that passes through a population, and comes back."""

from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.parameter import Parameter

_SOURCE = "of no disease: twice as many are infected as recover, four days ill, immune for a hundred"


class SIRS(Mechanism):
    """dS/dt = μ (1 − S) + ω R − β S I · dI/dt = β S I − (γ + μ) I · dR/dt = γ I − (ω + μ) R, shares of the population, time in d.

    Births and deaths at the rate μ: without them S + I + R would be kept and nothing would pull it back, an eigenvalue 0.
    Where β > γ + μ it rests with S = (γ + μ)/β and I = (1 − S)(ω + μ)/(γ + ω + μ), else without the infection.
    Law: the total N = S + I + R has dN/dt = μ (1 − N).
    """

    time_unit = "d"
    states = {"S": "1", "I": "1", "R": "1"}
    physical = (
        Parameter("beta", "/d", 0.5, 0.01, 10.0, _SOURCE),
        Parameter("gamma", "/d", 0.25, 0.01, 5.0, _SOURCE),
        Parameter("omega", "/d", 0.01, 1e-4, 1.0, _SOURCE),
        Parameter("mu", "/d", 4e-5, 1e-6, 0.1, "a life of 68 years"),
    )
    scale = {"S": 0.5, "I": 0.05, "R": 0.5}
    source = "Kermack & McKendrick, Proc. R. Soc. A 138 (1932) 55"
    defaults = Defaults(observed=(Observed("I", channel="infected", unit="1"),), amounts=True)

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        infected = theta.beta * x.S * x.I
        return {
            "S": theta.mu * (1.0 - x.S) + theta.omega * x.R - infected,
            "I": infected - (theta.gamma + theta.mu) * x.I,
            "R": theta.gamma * x.I - (theta.omega + theta.mu) * x.R,
        }
