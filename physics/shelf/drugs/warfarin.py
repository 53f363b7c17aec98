"""Warfarin by mouth: its concentration, and the prothrombin complex activity whose making it inhibits."""

import math
from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.operations import saturating
from physics.parameter import Parameter

_SOURCE = "typical values of the warfarin example of nlmixr2 and posologyr, for the data of O'Reilly & Aggeler (1968)"


class WarfarinTurnover(Mechanism):
    """d depot/dt = −ktr depot · d gut/dt = ktr depot − ka gut · dCP/dt = ka gut/V − (CL/V) CP · dPCA/dt = kout (E0 (1 − Emax
    CP/(EC50 + CP)) − PCA), doses into the depot in mg, CP in mg/L, PCA in % of normal, time in h.

    CP is a concentration and no amount, so that both channels of a table are states. Without warfarin PCA rests at E0. The
    response is monotone: more in depot, gut or plasma, less activity.
    Law: CP is the sum of three exponentials of two absorption steps and elimination; PCA against CP is `InhibitedProduction`.
    """

    time_unit = "h"
    states = {"depot": "mg", "gut": "mg", "CP": "mg/L", "PCA": "%"}
    physical = (
        Parameter("ktr", "/h", math.exp(0.106), 0.05, 20.0, _SOURCE),
        Parameter("ka", "/h", math.exp(-0.087), 0.05, 20.0, _SOURCE),
        Parameter("CL", "L/h", math.exp(-2.03), 0.01, 2.0, _SOURCE),
        Parameter("V", "L", math.exp(2.07), 1.0, 50.0, _SOURCE),
        Parameter("Emax", "1", 1.0 / (1.0 + math.exp(-3.4)), 0.3, 1.0, _SOURCE),
        Parameter("EC50", "mg/L", math.exp(0.00724), 0.05, 20.0, _SOURCE),
        Parameter("kout", "/h", math.exp(-2.9), 0.005, 0.5, _SOURCE),
        Parameter("E0", "%", math.exp(4.57), 40.0, 200.0, _SOURCE),
    )
    scale = {"depot": 100.0, "gut": 50.0, "CP": 10.0, "PCA": 100.0}
    signs = {"depot": 1, "gut": 1, "CP": 1, "PCA": -1}
    starts = (("CP", None), ("PCA", None))
    source = (
        "Holford, Clin. Pharmacokinet. 11 (1986) 483; Dayneka, Garg & Jusko, J. Pharmacokinet. Biopharm. 21 (1993) 457"
    )
    defaults = Defaults(
        observed=(Observed("CP", channel="cp", unit="mg/L"), Observed("PCA", channel="pca", unit="%")),
        compartments={1: "depot", 2: "gut"},
        spread={"ktr": 0.6, "ka": 0.6, "Emax": 0.1, "kout": 0.2, "E0": 0.1},
        powers={"V": {"WT": (70.0, 1.0, "kg")}, "CL": {"WT": (70.0, 0.75, "kg")}},
        amounts=True,
    )

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        made = theta.E0 * (1.0 - theta.Emax * saturating(x.CP / theta.EC50))
        return {
            "depot": -theta.ktr * x.depot,
            "gut": theta.ktr * x.depot - theta.ka * x.gut,
            "CP": theta.ka / theta.V * x.gut - theta.CL / theta.V * x.CP,
            "PCA": theta.kout * made - theta.kout * x.PCA,
        }
