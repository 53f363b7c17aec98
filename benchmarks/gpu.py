"""The non-stiff problem on a CUDA device, float32, batches from 1 to 131,072: ours and torchdiffeq on the same device.

Claim: at least 10 times as fast as the faster of torchdiffeq's dopri5 and rk4 up to a batch of 4,096. At 131,072 the
arithmetic of forward and backward is compared with what a large matrix product reaches.
"""

import sys
import time

import torch

from benchmarks import race
from benchmarks.peers import ours, peers_torch, problem, reference

WANTED, UP_TO = 10.0, 4096
TOLERANCE = 1e-4


def matmul_peak() -> float:
    """FLOP/s of a float32 product of two 8192 × 8192 matrices, without TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    a = torch.randn(8192, 8192, device="cuda")
    a @ a
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(10):
        a @ a
    torch.cuda.synchronize()
    return 10 * 2 * 8192**3 / (time.perf_counter() - begin)


def arithmetic(p: problem.Problem, evaluations: int) -> float:
    """FLOPs of forward and backward in the matrix products: backward makes two products for each of forward's."""
    n, (a, b) = len(p.A), problem.HIDDEN
    return 3 * 2 * (n * n + n * a + a * b + b * n) * len(p.x0) * evaluations


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("gpu", __doc__)
    if not torch.cuda.is_available():
        print(
            "gpu: torch finds no CUDA device here, so there is nothing to measure; run it on a machine that has one, with "
            "a build of torch for CUDA"
        )
        return race.SKIPPED
    report = race.Report("gpu", "The non-stiff problem on a GPU")
    report.notes.append(f"{torch.cuda.get_device_name()}.")
    whole, f32 = problem.nonstiff(), torch.float32
    for batch in (1, 8, 64, 512) if setup.quick else (1, 8, 64, 512, 4096, 32768, 131072):
        distinct = whole.first(min(batch, len(whole.x0)))
        right = reference.repeated(reference.right_answer(distinct, setup.cache), batch)
        p = whole.first(batch)
        found = [ours.contestant("ours", p, ours.GPU, f32, "cuda")]
        for name, solution in (
            ("torchdiffeq dopri5", peers_torch.torchdiffeq_solution("dopri5", TOLERANCE)),
            ("torchdiffeq rk4", peers_torch.torchdiffeq_solution("rk4", TOLERANCE, p.times[1] - p.times[0])),
        ):
            found.append(race.Contestant(name, *peers_torch.torch_work(p, f32, solution, "cuda")))
        rows = race.race(found, right, f"batch {batch:,}", report, setup, value=5e-3, gradient=5e-2)
        if report.wrong:
            return setup.finish(report)
        mine, peer = race.fastest(rows, True), race.fastest(rows, False)
        ratio = (peer.median or 0.0) / (mine.median or 1.0)
        if batch <= UP_TO:
            claim = f"batch {batch:,}: at least {WANTED:g} times as fast as {peer.name}"
            report.target(claim, f"{ratio:.1f}", ratio >= WANTED)
        if batch == 131072:
            limit = matmul_peak()
            reached = arithmetic(p, ours.GPU_EVALUATIONS) / (1e-3 * (mine.median or 1.0))
            report.figures = {
                "large float32 matrix product, TFLOP/s": limit / 1e12,
                f"ours at {batch:,}, TFLOP/s": reached / 1e12,
                "share of the arithmetic limit": reached / limit,
            }
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
