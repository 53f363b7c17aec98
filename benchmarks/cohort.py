"""256 people, each with 5 to 40 observation times, 1 to 4 doses and parameters of their own; 64×64 tanh residual, float64.

Value and gradient with respect to all weights and everybody's parameters. Claim: at least 30 times as fast as a loop of
torchdiffeq over people, at least twice as fast as diffrax vmapped over people.
"""

import sys

import torch

from benchmarks import race
from benchmarks.peers import ours, peers_torch, problem, reference

TOLERANCE = 1e-4


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("cohort", __doc__)
    report = race.Report("cohort", "A cohort with times, doses and parameters of their own")
    torch.set_num_threads(1)  # the faster at this size, for ours and for torchdiffeq
    people = 32 if setup.quick else 256
    p = problem.cohort().first(people)
    setup.progress("cohort: reference")
    right = reference.right_answer(p, setup.cache)
    found = [
        ours.cohort_contestant("ours", p, ours.COHORT, torch.float64),
        peers_torch.torchdiffeq_loop(p, torch.float64, TOLERANCE),
    ]
    if race.installed(report, "diffrax"):
        from benchmarks.peers import peers_jax

        peers_jax.use("float64")
        found.append(
            peers_jax.diffrax_cohort(
                "diffrax Tsit5, vmapped", p, "float64", "Tsit5", TOLERANCE, adjoint="checkpoint", max_steps=32
            )
        )
    rows = race.race(found, right, f"{people} people", report, setup, value=5e-3, gradient=5e-2)
    mine = race.fastest(rows, True)
    for row in rows:
        if row.ours or not row.median or not mine.median:
            continue
        ratio, wanted = row.median / mine.median, 30.0 if "torchdiffeq" in row.name else 2.0
        report.target(f"at least {wanted:g} times as fast as {row.name}", f"{ratio:.1f}", ratio >= wanted)
        report.target(
            f"error at most that of {row.name}",
            f"{mine.value_error:.1e} and {row.value_error:.1e}",
            mine.value_error <= row.value_error,
        )
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
