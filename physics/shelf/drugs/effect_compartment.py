"""The effect compartment: an effect that follows the concentration late."""

from typing import Any

from physics.compartments import Compartments
from physics.defaults import Defaults, Observed
from physics.parameter import Parameter

_SOURCE = "propofol: Schnider et al., Anesthesiology 90 (1999) 1502"


def _arriving(x: Any, u: Any, theta: Any) -> Any:
    return theta.ke0 * u.C


class EffectCompartment(Compartments):
    """dCe/dt = ke0 (C − Ce): the concentration where the effect is, of that in the plasma, the input C in mg/L; time in min.

    It takes nothing out of the plasma. Behind a drug: `series(drug, EffectCompartment(), {"C": "plasma/V"})`.
    Law: of a constant C, Ce = C (1 − e^{−ke0 t}); of C₀ e^{−kt}, Ce = C₀ ke0/(ke0 − k) (e^{−kt} − e^{−ke0 t}).
    """

    time_unit = "min"
    states = {"Ce": "mg/L"}
    inputs = {"C": "mg/L"}
    flows = ((None, "Ce", _arriving), ("Ce", None, "ke0"))
    physical = (Parameter("ke0", "/min", 0.456, 0.005, 10.0, _SOURCE),)
    amount = 5.0
    starts_empty = True
    starts = (("Ce", None),)
    source = "Sheiner, Stanski, Vozeh, Miller & Ham, Clin. Pharmacol. Ther. 25 (1979) 358"
    defaults = Defaults(observed=(Observed("Ce", channel="effect-site", unit="mg/L"),), amounts=True)
