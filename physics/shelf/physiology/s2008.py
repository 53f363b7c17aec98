"""Glucose and insulin of type 1 diabetes: the core of the UVA/Padova simulator of 2008, without the stomach."""

from collections.abc import Mapping
from typing import Any

from physics.defaults import Defaults, Observed
from physics.mechanism import Mechanism
from physics.operations import relu, saturating
from physics.parameter import Parameter

_SOURCE = "adult#001 of the table of simglucose 0.2.11; the box holds its 30 people, twice as wide as they are"
_SLOPE = "mg.L/(kg.min.pmol)"


class S2008(Mechanism):
    """Ten states per kg of body weight, time in min, v₊ = max(v, 0):

        dGp/dt = (kp1 − kp2 Gp − kp3 Id)₊ + Ra − Fsnc − ke1 (Gp − ke2)₊ − k1 Gp + k2 Gt
        dGt/dt = k1 Gp − k2 Gt − (Vm0 + Vmx X) Gt/(Km0 + Gt)
        dIp/dt = m1 Il + ka1 Isc1 + ka2 Isc2 − (m2 + m4) Ip,       dIl/dt = m2 Ip − (m1 + m30) Il
        dX/dt  = p2u (Ip/Vi − Ib − X),     dI1/dt = ki (Ip/Vi − I1),     dId/dt = ki (I1 − Id)
        dIsc1/dt = insulin − (ka1 + kd) Isc1,     dIsc2/dt = kd Isc1 − ka2 Isc2,     dGs/dt = ksc (Gp − Gs).

    Glucose in plasma and where insulin acts (Gp) and in tissue (Gt), under the skin as a sensor sees it (Gs), mg/kg; insulin in
    plasma and liver (Ip, Il) and in two depots under the skin (Isc1, Isc2), pmol/kg; its action on uptake (X, below 0 while there
    is less than Ib) and, delayed twice, on the liver's production (I1, Id), pmol/L. Inputs, per kg: `insulin` under the skin
    (1 U = 6,000 pmol) and Ra, how fast glucose appears from the gut, of which `S2008Stomach` is one model. Concentrations are
    Gp/Vg and Gs/Vg.
    The simulator holds states at 0 by switches; they are left out here, since a switch has no slope, and never act in people
    whose glucose stays above 0. Monotone: more glucose goes with less insulin everywhere.
    θ of a person: `s2008_person("adult#001")`.
    Law: of each of the 30 people the rate is 0 where the table lets them rest, at their basal insulin.
    """

    time_unit = "min"
    states = {
        **{"Gp": "mg/kg", "Gt": "mg/kg", "Ip": "pmol/kg", "X": "pmol/L", "I1": "pmol/L", "Id": "pmol/L"},
        **{"Il": "pmol/kg", "Isc1": "pmol/kg", "Isc2": "pmol/kg", "Gs": "mg/kg"},
    }
    inputs = {"insulin": "pmol/kg/min", "Ra": "mg/kg/min"}
    physical = (
        Parameter("kp1", "mg/kg/min", 4.73140582528, 1.7, 24.0, _SOURCE),
        Parameter("kp2", "/min", 0.00469, 0.00099, 0.047, _SOURCE),
        Parameter("kp3", _SLOPE, 0.01208, 0.0022, 0.053, _SOURCE),
        Parameter("Fsnc", "mg/kg/min", 1.0, 0.5, 2.0, _SOURCE),
        Parameter("ke1", "/min", 0.0005, 0.00025, 0.001, _SOURCE),
        Parameter("ke2", "mg/kg", 339.0, 160.0, 680.0, _SOURCE),
        Parameter("k1", "/min", 0.058138, 0.016, 0.22, _SOURCE),
        Parameter("k2", "/min", 0.087114, 0.024, 0.58, _SOURCE),
        Parameter("Vm0", "mg/kg/min", 3.2667306607, 1.0, 29.0, _SOURCE),
        Parameter("Vmx", _SLOPE, 0.031319, 0.0084, 0.31, _SOURCE),
        Parameter("Km0", "mg/kg", 253.52, 92.0, 560.0, _SOURCE),
        Parameter("p2u", "/min", 0.027802, 0.0083, 0.17, _SOURCE),
        Parameter("Ib", "pmol/L", 100.25, 41.0, 280.0, _SOURCE),
        Parameter("Vi", "L/kg", 0.054906, 0.017, 0.16, _SOURCE),
        Parameter("m1", "/min", 0.15446, 0.054, 0.9, _SOURCE),
        Parameter("m2", "/min", 0.225027424083, 0.062, 0.83, _SOURCE),
        Parameter("m4", "/min", 0.090010969633, 0.025, 0.34, _SOURCE),
        Parameter("m30", "/min", 0.23169, 0.082, 1.4, _SOURCE),
        Parameter("ki", "/min", 0.0046374, 0.0014, 0.089, _SOURCE),
        Parameter("kd", "/min", 0.0152, 0.0064, 0.042, _SOURCE),
        Parameter("ka1", "/min", 0.0019, 0.00095, 0.017, _SOURCE),
        Parameter("ka2", "/min", 0.0078, 0.0039, 0.055, _SOURCE),
        Parameter("ksc", "/min", 0.0766, 0.025, 0.31, _SOURCE),
        Parameter("Vg", "dL/kg", 1.9152, 0.78, 4.5, _SOURCE),
    )
    scale = {
        **{"Gp": 250.0, "Gt": 150.0, "Ip": 5.0, "X": 100.0, "I1": 100.0, "Id": 100.0},
        **{"Il": 3.0, "Isc1": 70.0, "Isc2": 140.0, "Gs": 250.0},
    }
    signs = {"Gp": 1, "Gt": 1, "Ip": -1, "X": -1, "I1": -1, "Id": -1, "Il": -1, "Isc1": -1, "Isc2": -1, "Gs": 1}
    typical_inputs = {"insulin": 1.2386244136}
    starts = (("Gp", "Vg"), ("Gs", "Vg"))
    source = (
        "Dalla Man, Rizza & Cobelli, IEEE Trans. Biomed. Eng. 54 (2007) 1740; Kovatchev, Breton, Dalla Man & Cobelli, "
        "J. Diabetes Sci. Technol. 3 (2009) 44"
    )
    defaults = Defaults(
        observed=(Observed("Gs", "Vg", "sensor", "mg/dL"), Observed("Gp", "Vg", "glucose", "mg/dL")),
        spread={"Fsnc": 0.01, "ke1": 0.01, "ke2": 0.01},
    )

    def rate(self, x: Any, u: Any, theta: Any) -> Mapping[str, Any]:
        seen = x.Ip / theta.Vi  # insulin of plasma, pmol/L
        produced = relu(theta.kp1 - theta.kp2 * x.Gp - theta.kp3 * x.Id)
        excreted = theta.ke1 * relu(x.Gp - theta.ke2)
        used = (theta.Vm0 + theta.Vmx * x.X) * saturating(x.Gt / theta.Km0)
        return {
            "Gp": produced + u.Ra - theta.Fsnc - excreted - theta.k1 * x.Gp + theta.k2 * x.Gt,
            "Gt": theta.k1 * x.Gp - theta.k2 * x.Gt - used,
            "Ip": theta.m1 * x.Il + theta.ka1 * x.Isc1 + theta.ka2 * x.Isc2 - (theta.m2 + theta.m4) * x.Ip,
            "X": theta.p2u * (seen - theta.Ib - x.X),
            "I1": theta.ki * (seen - x.I1),
            "Id": theta.ki * (x.I1 - x.Id),
            "Il": theta.m2 * x.Ip - (theta.m1 + theta.m30) * x.Il,
            "Isc1": u.insulin - (theta.ka1 + theta.kd) * x.Isc1,
            "Isc2": theta.kd * x.Isc1 - theta.ka2 * x.Isc2,
            "Gs": theta.ksc * (x.Gp - x.Gs),
        }
