"""Four states, a 64×64 tanh residual, 50 outputs on [0, 10], float32, tolerance 1e-4; batches of 64, 1,024 and 16,384.

Value and gradient with respect to all weights and initial states. Claim: no slower than the fastest peer at 64, at least
1.3 times as fast from 1,024 on, with an error no larger than that peer's.
"""

import sys

import torch

from benchmarks import race
from benchmarks.peers import ours, peers_torch, problem, reference

TOLERANCE = 1e-4


def contestants(p: problem.Problem, report: race.Report) -> list[race.Contestant]:
    """Ours and every peer that is installed."""
    f32 = torch.float32
    found = [
        ours.contestant("ours", p, ours.NONSTIFF, f32),
        ours.contestant("ours, to a tolerance", p, ours.ADAPTIVE, f32),
        peers_torch.torch_contestant(
            "torchdiffeq dopri5", p, f32, peers_torch.torchdiffeq_solution("dopri5", TOLERANCE)
        ),
        # one step from output to output
        peers_torch.torch_contestant(
            "torchdiffeq rk4", p, f32, peers_torch.torchdiffeq_solution("rk4", TOLERANCE, p.times[1] - p.times[0])
        ),
    ]
    if race.installed(report, "torchode"):
        for method in ("dopri5", "tsit5"):
            solution = peers_torch.torchode_solution(method, TOLERANCE)
            found.append(peers_torch.torch_contestant(f"torchode {method}", p, f32, solution))
    if race.installed(report, "diffrax"):
        from benchmarks.peers import peers_jax

        peers_jax.use("float32")
        # The fastest of what was tried: Dopri5, Bosh3 and Heun, fixed steps, and DirectAdjoint were slower or less
        # accurate. 32 steps are enough here; a larger limit costs time.
        for name, per_record in (("diffrax Tsit5, one step size", False), ("diffrax Tsit5, per record", True)):
            found.append(
                peers_jax.diffrax_contestant(
                    name, p, "float32", "Tsit5", TOLERANCE, per_record=per_record, adjoint="checkpoint", max_steps=32
                )
            )
    return found


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("nonstiff", __doc__)
    report = race.Report("nonstiff", "A cohort on shared times, not stiff")
    whole = problem.nonstiff()
    for batch in (64, 1024) if setup.quick else (64, 1024, 16384):
        distinct = whole.first(min(batch, len(whole.x0)))
        right = reference.repeated(reference.right_answer(distinct, setup.cache), batch)
        # small batches run faster on one thread of torch, ours and the peers alike, and steadier on a busy machine
        torch.set_num_threads(1 if batch < 256 else setup.threads)
        report.notes.clear()  # the same note for every batch is said once
        rows = race.race(
            contestants(whole.first(batch), report), right, f"batch {batch:,}", report, setup, value=5e-3, gradient=5e-2
        )
        mine, peer = race.fastest(rows, True), race.fastest(rows, False)
        ratio, wanted = peer.median / mine.median, 1.0 if batch < 1000 else 1.3  # type: ignore[operator]
        report.target(
            f"batch {batch:,}: at least {wanted} times as fast as the fastest peer ({peer.name})",
            f"{ratio:.2f}",
            ratio >= wanted,
        )
        report.target(
            f"batch {batch:,}: error at most that peer's",
            f"{mine.value_error:.1e} and {peer.value_error:.1e}",
            mine.value_error <= peer.value_error,
        )
    report.notes.append("Batch 64 has one thread of torch, which is the faster there for all.\n")
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
