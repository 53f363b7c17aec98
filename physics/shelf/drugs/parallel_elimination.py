"""One compartment from which a part leaves in proportion and a part by a process that saturates."""

from typing import Any

from physics.compartments import Compartments
from physics.defaults import Defaults, Observed
from physics.operations import saturating
from physics.parameter import Parameter

_NO_DRUG = "of no drug: two thirds of the clearance at low concentrations saturate, half of that at 4 mg/L"


def _saturable(x: Any, u: Any, theta: Any) -> Any:
    return theta.Vmax * saturating(x.plasma / (theta.Km * theta.V))


class ParallelElimination(Compartments):
    """d gut/dt = −ka gut · d plasma/dt = ka gut − (CL/V) plasma − Vmax C/(Km + C), C = plasma/V, in mg and hours.

    Doses and infusions into the gut or the plasma. However much there is, its linear part leaves at the rate CL/V or faster:
    unlike `MichaelisMenten` it decays at that rate without a bound on the amounts.
    Law: after a bolus into plasma the concentration C at the time t solves, with k = CL/V, v = Vmax/V and K = Km + v/k,
    k t = (Km/K) log(C₀/C) + (1 − Km/K) log((C₀ + K)/(C + K)).
    Source of the law: the separated equation in partial fractions; Wagner, Fundamentals of Clinical Pharmacokinetics (1975), for
    the model.
    """

    time_unit = "h"
    states = {"gut": "mg", "plasma": "mg"}
    flows = (("gut", "plasma", "ka"), ("plasma", None, "CL/V"), ("plasma", None, _saturable))
    physical = (
        Parameter("ka", "/h", 1.0, 0.05, 20.0, "of no drug: half is absorbed in 42 min"),
        Parameter("CL", "L/h", 2.5, 0.01, 100.0, _NO_DRUG),
        Parameter("Vmax", "mg/h", 20.0, 0.2, 1000.0, _NO_DRUG),
        Parameter("Km", "mg/L", 4.0, 0.02, 100.0, _NO_DRUG),
        Parameter("V", "L", 50.0, 1.0, 1000.0, _NO_DRUG),
    )
    amount = 300.0
    starts_empty = True
    starts = (("plasma", "V"),)
    source = "Wagner, Fundamentals of Clinical Pharmacokinetics (1975)"
    defaults = Defaults(
        observed=(Observed("plasma", "V", "concentration", "mg/L"),),
        spread={"ka": 0.6, "Km": 0.4},
        powers={"V": {"WT": (70.0, 1.0, "kg")}, "CL": {"WT": (70.0, 0.75, "kg")}, "Vmax": {"WT": (70.0, 0.75, "kg")}},
        amounts=True,
    )
