"""One compartment with absorption from the gut and an elimination that saturates."""

from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.operations import saturating
from physics.parameter import Parameter

_SOURCE = "phenytoin in an adult of 70 kg, Winter, Basic Clinical Pharmacokinetics (5th ed., 2010): 7 mg/kg/d, 4 mg/L, .7 L/kg"


class MichaelisMenten(Mechanism):
    """d gut/dt = −ka gut · d plasma/dt = ka gut − Vmax C/(Km + C), C = plasma/V, in mg and days.

    The more there is, the smaller the share of it that leaves in a day: slope Vmax Km V/(Km V + plasma)², which falls towards 0.
    Law: after a bolus into plasma C = Km W((C₀/Km) e^{(C₀ − Vmax t/V)/Km}), W Lambert's function.
    Source: Beal, J. Pharmacokinet. Biopharm. 10 (1982) 109, for the closed form.
    """

    time_unit = "d"
    states = {"gut": "mg", "plasma": "mg"}
    physical = (
        Parameter("ka", "/d", 12.0, 0.5, 100.0, "absorbed in two hours; immediate release"),
        Parameter("Vmax", "mg/d", 500.0, 50.0, 5000.0, _SOURCE),
        Parameter("Km", "mg/L", 4.0, 0.2, 50.0, _SOURCE),
        Parameter("V", "L", 50.0, 5.0, 500.0, _SOURCE),
    )
    scale = {"gut": 300.0, "plasma": 300.0}
    signs = {"gut": 1, "plasma": 1}
    starts_empty = True
    starts = (("plasma", "V"),)
    source = "Michaelis & Menten, Biochem. Z. 49 (1913) 333"
    defaults = Defaults(
        observed=(Observed("plasma", "V", "concentration", "mg/L"),),
        spread={"ka": 0.6, "Vmax": 0.3, "Km": 0.4, "V": 0.2},
        powers={"V": {"WT": (70.0, 1.0, "kg")}, "Vmax": {"WT": (70.0, 0.75, "kg")}},
        amounts=True,
    )

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        out = theta.Vmax * saturating(x.plasma / (theta.Km * theta.V))
        return {"gut": -theta.ka * x.gut, "plasma": theta.ka * x.gut - out}
