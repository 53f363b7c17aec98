"""The four indirect responses: a drug that inhibits or stimulates what makes a response, or what ends it."""

from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.operations import saturating
from physics.parameter import Parameter

_NO_DRUG = "of no drug: the response is counted in percent of what it is without one"
_SOURCE = "Dayneka, Garg & Jusko, J. Pharmacokinet. Biopharm. 21 (1993) 457"
_R0 = Parameter("R0", "%", 100.0, 10.0, 1000.0, _NO_DRUG)
_KOUT = Parameter("kout", "/h", 0.1, 0.002, 5.0, "of no drug: half of the response is renewed in 7 h")
_IMAX = Parameter("Imax", "1", 0.9, 0.05, 1.0, "of no drug: nine tenths are inhibited at most")
_SMAX = Parameter("Smax", "1", 1.0, 0.05, 20.0, "of no drug: doubled at most")
_IC50 = Parameter("IC50", "mg/L", 1.0, 0.001, 1000.0, "of no drug")
_SC50 = Parameter("SC50", "mg/L", 1.0, 0.001, 1000.0, "of no drug")


class _IndirectResponse(Mechanism):
    """What all four are: a response in percent, driven by a concentration."""

    time_unit = "h"
    states = {"response": "%"}
    inputs = {"C": "mg/L"}
    scale = {"response": 100.0}
    signs = {"response": 1}
    starts = (("response", None),)
    source = _SOURCE
    defaults = Defaults(observed=(Observed("response", unit="%"),), spread={"R0": 0.2}, amounts=True)


class InhibitedProduction(_IndirectResponse):
    """I: dR/dt = kin (1 − Imax C/(IC50 + C)) − kout R, kin = kout R0: less is made while there is drug.

    R, the `response`, rests at its baseline R0 without a drug; C is the input, in mg/L; time in h. Behind a drug:
    `series(drug, InhibitedProduction(), {"C": "plasma/V"})`.
    Law: of a constant C, R goes to R0 (1 − Imax C/(IC50 + C)) at the rate kout.
    """

    physical = (_R0, _KOUT, _IMAX, _IC50)

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        made = theta.kout * theta.R0 * (1.0 - theta.Imax * saturating(u.C / theta.IC50))
        return {"response": made - theta.kout * x.response}


class InhibitedLoss(_IndirectResponse):
    """II: dR/dt = kin − kout (1 − Imax C/(IC50 + C)) R, kin = kout R0: less ends while there is drug.

    As `InhibitedProduction`. Where Imax is 1, and of very much drug, nothing ends and R has no bound.
    Law: of a constant C, R goes to R0/(1 − Imax C/(IC50 + C)), at the rate kout (1 − Imax C/(IC50 + C)).
    """

    physical = (_R0, _KOUT, _IMAX, _IC50)

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        left = 1.0 - theta.Imax * saturating(u.C / theta.IC50)
        return {"response": theta.kout * theta.R0 - theta.kout * left * x.response}


class StimulatedProduction(_IndirectResponse):
    """III: dR/dt = kin (1 + Smax C/(SC50 + C)) − kout R, kin = kout R0: more is made while there is drug.

    As `InhibitedProduction`. Law: of a constant C, R goes to R0 (1 + Smax C/(SC50 + C)) at the rate kout.
    """

    physical = (_R0, _KOUT, _SMAX, _SC50)

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        made = theta.kout * theta.R0 * (1.0 + theta.Smax * saturating(u.C / theta.SC50))
        return {"response": made - theta.kout * x.response}


class StimulatedLoss(_IndirectResponse):
    """IV: dR/dt = kin − kout (1 + Smax C/(SC50 + C)) R, kin = kout R0: more ends while there is drug.

    As `InhibitedProduction`.
    Law: of a constant C, R goes to R0/(1 + Smax C/(SC50 + C)), at the rate kout (1 + Smax C/(SC50 + C)).
    """

    physical = (_R0, _KOUT, _SMAX, _SC50)

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        more = 1.0 + theta.Smax * saturating(u.C / theta.SC50)
        return {"response": theta.kout * theta.R0 - theta.kout * more * x.response}
