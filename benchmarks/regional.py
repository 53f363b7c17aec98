"""Regional certificates: hidden (64, 64), tanh, box [−1, 1]ⁿ, a residual that contracts there but not everywhere.

Claim: in 60 s the certified rate is at least 95, 90 and 80 % of the best rate that one metric of condition number ≤ 100 reaches
on sampled Jacobians of the box, for n = 2, 3 and 4.
"""

import sys
import time

import numpy as np

from benchmarks import race
from stability import Box, Certificate, Lure, certify, check
from stability.search.states.duals import one_metric
from stability.search.states.jacobians import abscissa, log_norm
from stability.search.states.sampling import sample_in

WANTED = {2: 0.95, 3: 0.90, 4: 0.80}
SECONDS = 60.0


def residual(states: int, seed: int = 1) -> Lure:
    """dx/dt = −x + ε(x), ε(0) = 0: a random network in the box, beside it one steep pair of units at x_0 = 3.

    The steep pair adds a slope above 1 there, so that no metric contracts everywhere; in the box it is saturated.
    """
    rng = np.random.default_rng(seed)
    n, h = states, 64
    W1, b1 = rng.normal(size=(h, n)) / np.sqrt(n), rng.normal(size=h) * 0.5
    W2, b2 = rng.normal(size=(h, h)) / np.sqrt(h), rng.normal(size=h) * 0.5
    W3 = rng.normal(size=(n, h)) / np.sqrt(h) * 0.7
    W1[-1], b1[-1] = 0.0, -18.0
    W1[-1, 0] = 6.0
    W2[-1], W2[:, -1] = 0.0, 0.0
    W2[-1, -1], b2[-1] = 3.0, 0.0
    W3[:, -1] = 0.0
    W3[0, -1] = 1.0
    b3 = -W3 @ np.tanh(W2 @ np.tanh(b1) + b2)
    return Lure(A=-np.eye(n), weights=[W1, W2, W3], biases=[b1, b2, b3])


def reachable(system: Lure, box: Box) -> float:
    """The best rate that one metric (κ ≤ 100) reaches on 4,096 and more sampled Jacobians of the box."""
    none = np.zeros(0)
    samples = sample_in(system, box.lower, box.upper, (none, none), samples=4096, seed=7)
    _, ascent = one_metric(samples, np.eye(system.states), with_corners=False, condition=100.0, rounds=12)
    # The metric found, judged on every sample, is a rate that one metric does reach; the bound can only lie above it.
    return max(ascent.rate, float(-log_norm(samples.attained, ascent.metric).max()))


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("regional", __doc__)
    report = race.Report("regional", "Certificates in a box that do not exist everywhere")
    seconds = 10.0 if setup.quick else SECONDS
    for n, wanted in WANTED.items():
        setup.progress(f"regional: n = {n}")
        system, box = residual(n), Box(-np.ones(n), np.ones(n))
        none, steep = np.zeros(0), np.eye(n)[0] * 3.0
        outside = float(abscissa(sample_in(system, steep - 1e-3, steep + 1e-3, (none, none), samples=64).attained).max())
        best = reachable(system, box)
        begin = time.perf_counter()
        found = certify(system, region=box, seconds=seconds)
        passed = time.perf_counter() - begin
        begin = time.perf_counter()
        proved = isinstance(found, Certificate) and check(found, system)
        checking = time.perf_counter() - begin
        report.wrong |= outside <= 0
        report.wrong |= isinstance(found, Certificate) and not proved
        share = found.rate / best if isinstance(found, Certificate) else 0.0
        report.figures |= {
            f"n = {n}: best rate of one metric on samples": best,
            f"n = {n}: certified": found.rate if isinstance(found, Certificate) else float("nan"),
            f"n = {n}: largest real part of an eigenvalue at x_0 = 3, outside the box": outside,
            f"n = {n}: seconds": passed,
            f"n = {n}: seconds of a check": checking,
        }
        claim = f"n = {n}: at least {100 * wanted:g} % of what one metric reaches on samples, in {seconds:g} s"
        report.target(claim, f"{100 * share:.1f} % in {passed:.1f} s", share >= wanted and passed <= seconds)
    report.notes.append("No certificate exists for the whole space: at x_0 = 3 a Jacobian has an unstable eigenvalue.\n")
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
