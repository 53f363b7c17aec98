"""Two compartments, in clearances or rate constants, into the plasma or by mouth."""

from physics.compartments import Compartments
from physics.defaults import Defaults, Observed
from physics.parameter import Parameter

_SOURCE = "amikacin in intensive care: Burdet et al., Eur. J. Clin. Pharmacol. 71 (2015) 75"
_GIBALDI = "Gibaldi & Perrier, Pharmacokinetics (2nd ed., 1982) § 2"
_KA = Parameter("ka", "/h", 1.0, 0.05, 20.0, "of no drug: half is absorbed in 42 min")
_CLEARANCES = (
    Parameter("CL", "L/h", 4.3, 0.01, 1000.0, _SOURCE),
    Parameter("V1", "L", 15.9, 0.5, 2000.0, _SOURCE),
    Parameter("Q", "L/h", 12.1, 0.01, 1000.0, _SOURCE),
    Parameter("V2", "L", 21.4, 0.5, 5000.0, _SOURCE),
)
_RATES = (
    Parameter("k10", "/h", 0.27, 0.0005, 20.0, _SOURCE + ", 4.3/15.9"),
    Parameter("k12", "/h", 0.76, 0.0005, 20.0, _SOURCE + ", 12.1/15.9"),
    Parameter("k21", "/h", 0.57, 0.0005, 20.0, _SOURCE + ", 12.1/21.4"),
    Parameter("V1", "L", 15.9, 0.5, 2000.0, _SOURCE),
)
_BY_CLEARANCE = (("plasma", None, "CL/V1"), ("plasma", "tissue", "Q/V1"), ("tissue", "plasma", "Q/V2"))
_BY_RATE = (("plasma", None, "k10"), ("plasma", "tissue", "k12"), ("tissue", "plasma", "k21"))
_ABSORBED = ("gut", "plasma", "ka")
_OBSERVED = (Observed("plasma", "V1", "concentration", "mg/L"),)
# Anderson & Holford, Annu. Rev. Pharmacol. Toxicol. 48 (2008) 303
_VOLUME, _FLOW = {"WT": (70.0, 1.0, "kg")}, {"WT": (70.0, 0.75, "kg")}
_BY_WEIGHT = {"V1": _VOLUME, "V2": _VOLUME, "CL": _FLOW, "Q": _FLOW}


class _Mammillary(Compartments):
    """What all of them are: a plasma with tissues around it, which starts empty."""

    time_unit = "h"
    amount = 1000.0
    starts_empty = True
    starts = (("plasma", "V1"),)
    source = _GIBALDI


class TwoCompartments(_Mammillary):
    """d plasma/dt = −(CL + Q)/V1 plasma + Q/V2 tissue · d tissue/dt = Q/V1 plasma − Q/V2 tissue, into the plasma.

    The concentration is plasma/V1. One that is measured before the first dose is taken to be in the plasma alone.
    Law: after a bolus D the concentration is (D/V1) (A e^{−αt} + (1 − A) e^{−βt}), A = (α − k21)/(α − β), with α > β the roots of
    s² − (k10 + k12 + k21) s + k10 k21, k10 = CL/V1, k12 = Q/V1 and k21 = Q/V2.
    """

    states = {"plasma": "mg", "tissue": "mg"}
    flows = _BY_CLEARANCE
    physical = _CLEARANCES
    defaults = Defaults(observed=_OBSERVED, powers=_BY_WEIGHT, amounts=True)


class TwoCompartmentsRates(_Mammillary):
    """d plasma/dt = −(k10 + k12) plasma + k21 tissue · d tissue/dt = k12 plasma − k21 tissue, into the plasma.

    The concentration is plasma/V1. Law: as `TwoCompartments`.
    """

    states = {"plasma": "mg", "tissue": "mg"}
    flows = _BY_RATE
    physical = _RATES
    defaults = Defaults(observed=_OBSERVED, powers={"V1": _VOLUME}, amounts=True)


class TwoCompartmentsByMouth(_Mammillary):
    """`TwoCompartments` with d gut/dt = −ka gut, which enters the plasma: clearances and volumes over the share that does.

    A curve does not say which of three rates is the absorption's: choose the box of ka, or give a dose into the plasma too.
    """

    states = {"gut": "mg", "plasma": "mg", "tissue": "mg"}
    flows = (_ABSORBED, *_BY_CLEARANCE)
    physical = (_KA, *_CLEARANCES)
    defaults = Defaults(observed=_OBSERVED, spread={"ka": 0.6}, powers=_BY_WEIGHT, amounts=True)


class TwoCompartmentsByMouthRates(_Mammillary):
    """`TwoCompartmentsRates` with d gut/dt = −ka gut, which enters the plasma. As `TwoCompartmentsByMouth`."""

    states = {"gut": "mg", "plasma": "mg", "tissue": "mg"}
    flows = (_ABSORBED, *_BY_RATE)
    physical = (_KA, *_RATES)
    defaults = Defaults(observed=_OBSERVED, spread={"ka": 0.6}, powers={"V1": _VOLUME}, amounts=True)
