"""One compartment, in clearance or rate constant, into the plasma or by mouth."""

from physics.compartments import Compartments
from physics.defaults import Defaults, Observed
from physics.parameter import Parameter

_SOURCE = "theophylline: Boeckmann, Sheiner & Beal, NONMEM Users Guide Part V (1994)"
_GIBALDI = "Gibaldi & Perrier, Pharmacokinetics (2nd ed., 1982) § 1"
_KA = Parameter("ka", "/h", 1.5, 0.05, 20.0, _SOURCE, above="CL/V")
_KA_OVER_KE = Parameter("ka", "/h", 1.5, 0.05, 20.0, _SOURCE, above="ke")
_CL = Parameter("CL", "L/h", 2.7, 0.005, 1000.0, _SOURCE)
_KE = Parameter("ke", "/h", 0.086, 0.0005, 5.0, _SOURCE)
_V = Parameter("V", "L", 31.5, 0.5, 2000.0, _SOURCE + ", .45 L/kg at 70 kg")
# Volumes go with the weight, and a clearance with its power .75, at 70 kg: Anderson & Holford, Annu. Rev. Pharmacol. Toxicol. 48
# (2008) 303
_POWERS = {"V": {"WT": (70.0, 1.0, "kg")}, "CL": {"WT": (70.0, 0.75, "kg")}}
# Between-person spread of oral theophylline: Davidian & Giltinan (1995), chapter 5, gives .64, .2 and .13
_SPREAD = {"ka": 0.6, "CL": 0.2, "ke": 0.2, "V": 0.2}


def _defaults(*names: str) -> Defaults:
    return Defaults(
        observed=(Observed("plasma", "V", "concentration", "mg/L"),),
        spread={name: _SPREAD[name] for name in names},
        powers={name: by for name, by in _POWERS.items() if name in names},
        amounts=True,
    )


class OneCompartment(Compartments):
    """d plasma/dt = −(CL/V) plasma, doses and infusions straight into the plasma; the concentration is plasma/V.

    Law: after a bolus D the concentration is (D/V) e^{−CL t/V}.
    """

    time_unit = "h"
    states = {"plasma": "mg"}
    flows = (("plasma", None, "CL/V"),)
    physical = (_CL, _V)
    amount = 300.0
    starts_empty = True
    starts = (("plasma", "V"),)
    source = _GIBALDI
    defaults = _defaults("CL", "V")


class OneCompartmentRates(Compartments):
    """d plasma/dt = −ke plasma, doses and infusions straight into the plasma; the concentration is plasma/V.

    Law: after a bolus D the concentration is (D/V) e^{−ke t}.
    """

    time_unit = "h"
    states = {"plasma": "mg"}
    flows = (("plasma", None, "ke"),)
    physical = (_KE, _V)
    amount = 300.0
    starts_empty = True
    starts = (("plasma", "V"),)
    source = _GIBALDI
    defaults = _defaults("ke", "V")


class OneCompartmentByMouth(Compartments):
    """d gut/dt = −ka gut · d plasma/dt = ka gut − (CL/V) plasma: the concentration is plasma/V.

    Of a drug that was only ever swallowed, CL and V are those over the share that reaches the plasma. ka is kept above CL/V in
    everyone, for a curve has two explanations (flip-flop). `OneCompartmentOral` is the same as a linear backbone, its boxes
    arguments.
    Law: after a dose D the concentration is D ka/(V (ka − ke)) (e^{−ke t} − e^{−ka t}), ke = CL/V: Bateman, Proc. Cambridge
    Philos. Soc. 15 (1910) 423.
    """

    time_unit = "h"
    states = {"gut": "mg", "plasma": "mg"}
    flows = (("gut", "plasma", "ka"), ("plasma", None, "CL/V"))
    physical = (_KA, _CL, _V)
    amount = 300.0
    starts_empty = True
    starts = (("plasma", "V"),)
    source = _GIBALDI
    defaults = _defaults("ka", "CL", "V")


class OneCompartmentByMouthRates(Compartments):
    """d gut/dt = −ka gut · d plasma/dt = ka gut − ke plasma: the concentration is plasma/V. As `OneCompartmentByMouth`.

    Law: after a dose D the concentration is D ka/(V (ka − ke)) (e^{−ke t} − e^{−ka t}).
    """

    time_unit = "h"
    states = {"gut": "mg", "plasma": "mg"}
    flows = (("gut", "plasma", "ka"), ("plasma", None, "ke"))
    physical = (_KA_OVER_KE, _KE, _V)
    amount = 300.0
    starts_empty = True
    starts = (("plasma", "V"),)
    source = _GIBALDI
    defaults = _defaults("ka", "ke", "V")
