"""Certification by size: time and memory of the best global rate, of its proof, and the conic solver beside it.

Claims: n = 4 with two hidden layers of 64 in a second, within 1 % of the generic optimum, of 128 in 3 s, of 512 in a minute;
n = 8 with five layers of 1,024 certified, or refused with a bound, in 15 min and 8 GB, checked in 2 min and 4 GB.
Each row runs in a process of its own (its peak of memory is then its own); --rows 64 128 512 large chooses (all but large).
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np

from benchmarks import race
from stability import Certificate, Lure, certify
from stability.proof.checker import prove
from stability.search.climb.interior_point import climb
from stability.search.semidefinite import joint

ROWS = {"64": (4, (64, 64), 1.0), "128": (4, (128, 128), 3.0), "512": (4, (512, 512), 60.0), "large": (8, (1024,) * 5, 900.0)}
SEARCH = 600.0  # s: the time limit of certify in the large row, which leaves the rest to the proof


def problem(states: int, widths: tuple[int, ...]) -> Lure:
    """Layers that neither shrink nor stretch (orthogonal), a last one of norm ½, and a linear part that decays at about 1."""
    rng = np.random.default_rng(0)
    weights = [np.linalg.qr(rng.normal(size=(max(s), min(s))))[0] for s in pairwise((states, *widths, states))]
    weights[-1] = 0.5 * weights[-1].T
    A = -np.eye(states) + 0.3 * rng.normal(size=(states, states)) / np.sqrt(states)
    return Lure(A=A, weights=weights, biases=[0.1 * rng.normal(size=len(w)) for w in weights])


def row(name: str) -> dict[str, float]:
    """One row's figures; times in seconds, memory in GB."""
    states, widths, _ = ROWS[name]
    system = problem(states, widths)
    climb(problem(2, (4, 4)).loop(), np.eye(2))  # BLAS wakes up
    found: dict[str, float] = {}
    if name != "large":
        loop = system.loop()
        begin = time.perf_counter()
        ascent = climb(loop, np.eye(states))
        found |= {"climb, s": time.perf_counter() - begin, "Newton steps": ascent.iterations, "bound": ascent.bound}
    begin = time.perf_counter()
    result = certify(system, seconds=SEARCH if name == "large" else 60.0)
    found["certify, s"] = time.perf_counter() - begin
    found["memory, GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    if isinstance(result, Certificate):
        begin = time.perf_counter()
        found["proved"] = float(bool(prove(result, system)))
        found |= {"check, s": time.perf_counter() - begin, "rate": result.rate}
        found["memory after the check, GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        caps = {
            "no constant metric exceeds": result.metric_cap,
            "nor each sampled state alone": result.spectral_cap,
            "this inequality reaches at most": result.inequality_cap,
        }
        found |= {name: cap for name, cap in caps.items() if cap is not None}
    elif result.rate_bound is not None:
        found["refused with bound"] = result.rate_bound
    return found


def generic(name: str, rate: float) -> dict[str, float]:
    """What the generic programme says 1 % below and above our rate: a positive slack is feasible, a negative one is not."""
    states, widths, _ = ROWS[name]
    loop = problem(states, widths).loop()
    found = {}
    for label, share in (("below", 0.99), ("above", 1.01)):
        begin = time.perf_counter()
        answer = joint(loop, share * rate, condition=100.0, seconds=120.0, solver="SCS")
        found[f"SCS 1 % {label}, s"] = time.perf_counter() - begin
        found[f"SCS 1 % {label}, slack"] = float("nan") if answer is None else answer[2]
    return found


def main() -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--rows", nargs="+", choices=ROWS)
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    own, rest = parser.parse_known_args()
    if own.row:
        print(json.dumps(row(own.row)))
        return race.OK
    setup = race.settings("certify", __doc__, rest)
    report = race.Report("certify", "Certification by size")
    for name in own.rows or (("64", "128") if setup.quick else ("64", "128", "512")):
        setup.progress(f"certify, {name}")
        command = [sys.executable, "-m", "benchmarks.certify", "--row", name]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        limit, title = ROWS[name][2], "five layers of 1,024" if name == "large" else f"({name}, {name})"
        report.wrong |= found.get("proved", 1.0) != 1.0
        took = found["certify, s"]
        if name == "large":
            ended = "proved" in found or "refused with bound" in found
            small = found["memory, GB"] < 8.0
            claim = f"{title}, n = 8: certified, or refused with a bound, in {limit:g} s and 8 GB"
            report.target(claim, f"{took:.0f} s, {found['memory, GB']:.1f} GB", ended and took < limit and small)
            if "check, s" in found:
                checked, memory = found["check, s"], found["memory after the check, GB"]
                good = checked < 120.0 and memory < 4.0
                report.target(f"{title}: checked in 2 min and 4 GB", f"{checked:.0f} s, {memory:.1f} GB", good)
        else:
            claim = f"{title}, n = 4: best rate in {limit:g} s"
            report.target(claim, f"{found['climb, s']:.2f} s, certify {took:.2f} s", found["climb, s"] < limit)
        if name == "64" and "rate" in found:
            setup.progress("certify, 64: SCS")
            found |= generic(name, found["rate"])
            agrees = found["SCS 1 % above, slack"] < 0.0 < found["SCS 1 % below, slack"]
            report.target(
                f"{title}: within 1 % of the generic optimum",
                f"slack {found['SCS 1 % below, slack']:.2g} below, {found['SCS 1 % above, slack']:.2g} above",
                agrees,
            )
        report.figures |= {f"{title}: {key}": value for key, value in found.items()}
    report.notes.append("The generic programme (cvxpy) by SCS; Clarabel took minutes for (64, 64).\n")
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
