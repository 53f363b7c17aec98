"""Ten states of glucose and insulin (S2008), each of the 30 public people by themselves: a rate on a region.

Claim: for adult#001, glucose 70–180 mg/dL and insulin .7–2 times basal, at least .0033 /min in 60 s of processor time; where a
region does not suit a person, that is said with a state of it. Beside a network that sees glucose and the action of insulin it
takes cells: how far they get is a figure without a target.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import brentq

from benchmarks import race
from physics import equilibrium
from physics.shelf import S2008, S2008Person, s2008_people
from stability import Box, Inputs, Lure, Refusal, RegionalRate, check, regional_rate

CORE = S2008()
GLUCOSE, INSULIN, MEAL = (70.0, 180.0), (0.7, 2.0), 10.0  # mg/dL; times basal; Ra to this, mg/kg/min
WANTED, SECONDS = 0.0033, 60.0


def system_of(person: S2008Person) -> Lure:
    """The core with θ of the person."""
    theta, scale = list(person.theta(CORE).values()), list(CORE.scale.values())
    A, B = np.zeros((10, 10)), np.zeros((10, 2))
    return Lure(A=A, B=B, weights=[], biases=[], tape=CORE.tape.to_dict(), theta=theta, scale=scale)


def beside_a_network(person: S2008Person) -> Lure:
    """The core, and an MLP(16, 16) of random weights from Gp and X to Gp and Gt, in units of the typical sizes."""
    core, rng, seen = system_of(person), np.random.default_rng(0), [0, 3]
    size = np.array(list(CORE.scale.values()))
    first, last = np.zeros((16, 10)), np.zeros((10, 16))
    first[:, seen] = rng.normal(size=(16, 2)) / np.sqrt(2.0) / size[seen]
    middle = rng.normal(size=(16, 16)) / 4.0
    last[:2] = size[:2, None] * 0.0015 * rng.normal(size=(2, 16)) / 4.0
    return replace(core, weights=(first, middle, last), biases=(np.zeros(16), np.zeros(16), np.zeros(10)))


def region_of(
    person: S2008Person,
    glucose: tuple[float, float] = GLUCOSE,  # mg/dL
    insulin: tuple[float, float] = INSULIN,  # times basal
    tissue: tuple[float, float] | None = None,  # mg/kg
) -> tuple[Box, Inputs]:
    """A region of all ten states, and levels of the inputs.

    Insulin everywhere, and its actions, lie between `insulin` times their basal values. Glucose in tissue, where nothing is said,
    lies between where it balances the least glucose with the most action, and the other way round.
    """
    basal, p = person.rest, person.columns
    ends: list[dict[str, float]] = []
    for g, times, other in zip(glucose, insulin, insulin[::-1], strict=True):
        end = {state: times * basal[state] for state in ("Ip", "I1", "Id", "Il", "Isc1", "Isc2")}
        end |= {"X": (times - 1.0) * p["Ib"], "Gp": g * p["Vg"], "Gs": g * p["Vg"]}
        end["Gt"] = _balanced(p, end["Gp"], (other - 1.0) * p["Ib"])
        ends.append(end)
    if tissue is not None:
        for end, value in zip(ends, tissue, strict=True):
            end["Gt"] = value
    levels = [[times * person.insulin, Ra] for times, Ra in zip(insulin, (0.0, MEAL), strict=True)]
    return Box(*([end[state] for state in CORE.states] for end in ends)), Inputs(*levels)


def kept_region(person: S2008Person, insulin: tuple[float, float], meal: float) -> tuple[Box, Inputs]:
    """A region that is kept at `insulin` times basal and Ra up to `meal` mg/kg/min, in the order of the mechanism's signs.

    Its ends are where the person rests with the most glucose and with the least. Behind each state its followers have ends of
    levels a little wider, so that every face is crossed inwards: .5 % of the insulin for each step of the chain.
    """
    steps = {"Isc1": 1, "Isc2": 2, "Ip": 3, "Il": 3, "X": 4, "I1": 4, "Id": 5, "Gp": 6, "Gt": 6, "Gs": 7}
    theta = torch.tensor(list(person.theta(CORE).values()), dtype=torch.float64)
    ends: list[list[float]] = []
    for times, Ra, side in ((insulin[0], meal, -1.0), (insulin[1], 0.0, 1.0)):
        rests = []
        for step in range(8):
            held = times * (1.0 + side * 0.005 * step) * person.insulin, Ra - side * 1e-3
            rests.append(equilibrium(CORE, torch.tensor(held, dtype=torch.float64), theta).x)
        ends.append([float(rests[steps[state]][i]) for i, state in enumerate(CORE.states)])
    levels = Inputs([insulin[0] * person.insulin, 0.0], [insulin[1] * person.insulin, meal])
    return Box(np.minimum(*ends), np.maximum(*ends)), levels


def _balanced(p: Mapping[str, float], Gp: float, X: float) -> float:
    """Gt where glucose in tissue does not change."""

    def rate(Gt: float) -> float:
        return p["k1"] * Gp - p["k2"] * Gt - (p["Vm0"] + p["Vmx"] * X) * Gt / (p["Km0"] + Gt)

    return float(brentq(rate, 0.0, 1e4))


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("s2008", __doc__)
    report = race.Report("s2008", "Glucose and insulin in ten states, person by person")
    people = s2008_people()
    for name in ("adult#001", "child#001") if setup.quick else people:
        setup.progress(f"s2008: {name}")
        _measure(report, name, system_of(people[name]), people[name])
    setup.progress("s2008: beside a network")
    _measure(report, "adult#001 beside a network", beside_a_network(people["adult#001"]), people["adult#001"])
    return setup.finish(report)


def _measure(report: race.Report, name: str, system: Lure, person: S2008Person) -> None:
    box, levels = region_of(person)
    begin = time.process_time()
    found = regional_rate(system, box, levels, seconds=SECONDS)
    passed = time.process_time() - begin
    if isinstance(found, RegionalRate):
        report.wrong |= not check(found, system)
        report.figures |= {f"{name}: rate, /min": found.rate, f"{name}: seconds of processor time": passed}
        report.figures[f"{name}: condition number in typical sizes"] = _condition(found)
    else:
        report.notes.append(f"{name}: {_refused(found)}\n")
    if name == "adult#001":
        ok = isinstance(found, RegionalRate) and found.rate >= WANTED and passed <= SECONDS
        rate = found.rate if isinstance(found, RegionalRate) else 0.0
        report.target(f"{name}: {WANTED} /min in {SECONDS:g} s", f"{rate:.5f} /min in {passed:.1f} s", ok)


def _condition(found: RegionalRate) -> float:
    size = np.array(list(CORE.scale.values()))
    return float(np.linalg.cond(np.asarray(found.metric) * np.outer(size, size)))


def _refused(found: Refusal) -> str:
    """Why there is no rate: with a state, where one was found."""
    if found.counterexample is None:
        return f"{found.reason}: {found.message}"
    state, (real, _) = found.counterexample["state"], found.counterexample["eigenvalue"]
    at = ", ".join(f"{name} {value:.4g}" for name, value in zip(CORE.states, state, strict=True))
    return f"{found.reason}: an eigenvalue {real:+.5f} /min at {at}"


if __name__ == "__main__":
    sys.exit(main())
