"""Eigenvalues −.05, −.3, −1 and −100 per hour, a 64×64 tanh residual coupling all states, 97 outputs on [0, 24], float64.

Value and gradient with respect to all weights and initial states, batch 64, peers at a tolerance of 1e-4. Claim: at least
40 times as fast as torchdiffeq's dopri5, at least 5 times as fast as the fastest diffrax, with an error of at most 1e-5.
"""

import sys

import torch

from benchmarks import race
from benchmarks.peers import ours, peers_torch, problem, reference

TOLERANCE, WANTED_ERROR = 1e-4, 1e-5
# (solver, tolerance, limit of steps, just enough: a larger one costs time). Not here since slower: Kvaerno4, KenCarp4 and 5.
# At 1e-4 no solver's error is as small as ours: the last three get there, for a comparison at equal error.
DIFFRAX = (
    ("Tsit5", TOLERANCE, 1024),
    ("Kvaerno3", TOLERANCE, 128),
    ("Kvaerno5", TOLERANCE, 64),
    ("KenCarp3", TOLERANCE, 64),
    ("Kvaerno3", 1e-5, 256),
    ("Kvaerno4", 1e-5, 128),
    ("Kvaerno5", 1e-7, 128),
)


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("stiff", __doc__)
    report = race.Report("stiff", "A fast rate constant")
    torch.set_num_threads(1)  # the faster at this size, for ours and for torchdiffeq
    p = problem.stiff().first(8) if setup.quick else problem.stiff()
    setup.progress("stiff: reference")
    right = reference.right_answer(p, setup.cache)
    solution = peers_torch.torchdiffeq_solution("dopri5", TOLERANCE)
    found = [
        ours.contestant("ours", p, ours.STIFF, torch.float64),
        ours.contestant("ours, coarse mesh", p, ours.STIFF_LOOSE, torch.float64),
        peers_torch.torch_contestant("torchdiffeq dopri5", p, torch.float64, solution),
    ]
    if race.installed(report, "diffrax"):
        from benchmarks.peers import peers_jax

        peers_jax.use("float64")
        found += [
            peers_jax.diffrax_contestant(
                f"diffrax {solver}, per record" + ("" if tolerance == TOLERANCE else f", tolerance {tolerance:g}"),
                p,
                "float64",
                solver,
                tolerance,
                per_record=True,
                adjoint="checkpoint",
                max_steps=steps,
            )
            for solver, tolerance, steps in DIFFRAX
        ]
    rows = race.race(found, right, f"batch {len(p.x0)}", report, setup, value=1e-2, gradient=1e-1)
    mine, coarse = (next(r for r in rows if r.name == name) for name in ("ours", "ours, coarse mesh"))
    for package, wanted in (("torchdiffeq", 40.0), ("diffrax", 5.0)):
        group = [r for r in rows if package in r.name and r.median]
        if not group or not mine.median:
            continue
        peer = race.fastest([r for r in group if "tolerance" not in r.name], False)
        ratio = (peer.median or 0.0) / mine.median
        found_error = f"{ratio:.1f}, its error {peer.value_error:.1e}"
        report.target(f"at least {wanted:g} times as fast as {peer.name}, at 1e-4", found_error, ratio >= wanted)
        if package == "diffrax":
            ratio = (peer.median or 0.0) / (coarse.median or 1.0)
            claim = f"at least {wanted:g} times as fast as {peer.name}, at 1e-4, with an error at most its own"
            reached = ratio >= wanted and coarse.value_error <= peer.value_error
            report.target(claim, f"{ratio:.1f}, {coarse.value_error:.1e}", reached)
        exact = [r for r in group if r.value_error <= WANTED_ERROR]
        if exact:
            peer = race.fastest(exact, False)
            ratio = (peer.median or 0.0) / mine.median
            claim = f"at least {wanted:g} times as fast as the fastest {package} with such an error, {peer.name}"
            report.target(claim, f"{ratio:.1f}", ratio >= wanted)
    report.target(f"error at most {WANTED_ERROR:g}", f"{mine.value_error:.1e}", mine.value_error <= WANTED_ERROR)
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
