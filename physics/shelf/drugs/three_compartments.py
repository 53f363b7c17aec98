"""Three compartments, in clearances or rate constants, into the plasma or by mouth."""

from physics.compartments import Compartments
from physics.defaults import Defaults, Observed
from physics.parameter import Parameter

_SOURCE = "propofol at 40 years, 70 kg, 170 cm, male: Schnider et al., Anesthesiology 88 (1998) 1170"
_GIBALDI = "Gibaldi & Perrier, Pharmacokinetics (2nd ed., 1982) § 2"
_KA = Parameter("ka", "/h", 1.0, 0.05, 20.0, "of no drug: half is absorbed in 42 min")
_CLEARANCES = (
    Parameter("CL", "L/h", 98.3, 0.01, 1000.0, _SOURCE),
    Parameter("V1", "L", 4.27, 0.2, 2000.0, _SOURCE),
    Parameter("Q2", "L/h", 96.1, 0.01, 1000.0, _SOURCE),
    Parameter("V2", "L", 24.0, 0.2, 5000.0, _SOURCE),
    Parameter("Q3", "L/h", 50.2, 0.01, 1000.0, _SOURCE),
    Parameter("V3", "L", 238.0, 0.5, 5000.0, _SOURCE),
)
_RATES = (
    Parameter("k10", "/h", 23.0, 0.0005, 200.0, _SOURCE + ", 98.3/4.27"),
    Parameter("k12", "/h", 22.5, 0.0005, 200.0, _SOURCE + ", 96.1/4.27"),
    Parameter("k21", "/h", 4.0, 0.0005, 200.0, _SOURCE + ", 96.1/24"),
    Parameter("k13", "/h", 11.8, 0.0005, 200.0, _SOURCE + ", 50.2/4.27"),
    Parameter("k31", "/h", 0.21, 0.0005, 50.0, _SOURCE + ", 50.2/238"),
    Parameter("V1", "L", 4.27, 0.2, 2000.0, _SOURCE),
)
_BY_CLEARANCE = (
    ("plasma", None, "CL/V1"),
    ("plasma", "fast", "Q2/V1"),
    ("fast", "plasma", "Q2/V2"),
    ("plasma", "slow", "Q3/V1"),
    ("slow", "plasma", "Q3/V3"),
)
_BY_RATE = (
    ("plasma", None, "k10"),
    ("plasma", "fast", "k12"),
    ("fast", "plasma", "k21"),
    ("plasma", "slow", "k13"),
    ("slow", "plasma", "k31"),
)
_ABSORBED = ("gut", "plasma", "ka")
_OBSERVED = (Observed("plasma", "V1", "concentration", "mg/L"),)
# Anderson & Holford, Annu. Rev. Pharmacol. Toxicol. 48 (2008) 303
_VOLUME, _FLOW = {"WT": (70.0, 1.0, "kg")}, {"WT": (70.0, 0.75, "kg")}
_BY_WEIGHT = {"V1": _VOLUME, "V2": _VOLUME, "V3": _VOLUME, "CL": _FLOW, "Q2": _FLOW, "Q3": _FLOW}


class _Mammillary(Compartments):
    """What all of them are: a plasma with tissues around it, which starts empty."""

    time_unit = "h"
    amount = 200.0
    starts_empty = True
    starts = (("plasma", "V1"),)
    source = _GIBALDI


class ThreeCompartments(_Mammillary):
    """d plasma/dt = −(CL + Q2 + Q3)/V1 plasma + Q2/V2 fast + Q3/V3 slow · d fast/dt = Q2/V1 plasma − Q2/V2 fast, slow likewise.

    Doses and infusions straight into the plasma; the concentration is plasma/V1. One that is measured before the first dose is
    taken to be in the plasma alone. The two tissues can change places: their boxes, or the starting values, tell them apart.
    Law: after a bolus the concentration is a sum of three exponentials, whose rates are the eigenvalues of −A(θ).
    """

    states = {"plasma": "mg", "fast": "mg", "slow": "mg"}
    flows = _BY_CLEARANCE
    physical = _CLEARANCES
    defaults = Defaults(observed=_OBSERVED, powers=_BY_WEIGHT, amounts=True)


class ThreeCompartmentsRates(_Mammillary):
    """d plasma/dt = −(k10 + k12 + k13) plasma + k21 fast + k31 slow · d fast/dt = k12 plasma − k21 fast, slow likewise.

    As `ThreeCompartments`, k10 = CL/V1, k12 = Q2/V1, k21 = Q2/V2, k13 = Q3/V1 and k31 = Q3/V3.
    """

    states = {"plasma": "mg", "fast": "mg", "slow": "mg"}
    flows = _BY_RATE
    physical = _RATES
    defaults = Defaults(observed=_OBSERVED, powers={"V1": _VOLUME}, amounts=True)


class ThreeCompartmentsByMouth(_Mammillary):
    """`ThreeCompartments` with d gut/dt = −ka gut, which enters the plasma: clearances and volumes over the share that does.

    A curve does not say which of four rates is the absorption's: choose the box of ka, or give a dose into the plasma too.
    """

    states = {"gut": "mg", "plasma": "mg", "fast": "mg", "slow": "mg"}
    flows = (_ABSORBED, *_BY_CLEARANCE)
    physical = (_KA, *_CLEARANCES)
    defaults = Defaults(observed=_OBSERVED, spread={"ka": 0.6}, powers=_BY_WEIGHT, amounts=True)


class ThreeCompartmentsByMouthRates(_Mammillary):
    """`ThreeCompartmentsRates` with d gut/dt = −ka gut, which enters the plasma. As `ThreeCompartmentsByMouth`."""

    states = {"gut": "mg", "plasma": "mg", "fast": "mg", "slow": "mg"}
    flows = (_ABSORBED, *_BY_RATE)
    physical = (_KA, *_RATES)
    defaults = Defaults(observed=_OBSERVED, spread={"ka": 0.6}, powers={"V1": _VOLUME}, amounts=True)
