"""Peak memory of a gradient through 100,000 steps: n = 4, width 64, batch 16, float64, in a process of its own.

Claim: less than 2 GB in all. Plain autograd through the same method is measured at two lengths that it can bear and
extrapolated, since at 100,000 steps it would not fit.
"""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks import race
from benchmarks.peers import ours, peers_torch, problem, reference

WANTED = 2.0  # GB
LIMIT = 12  # GB of address space a child may have: a solver that keeps everything fails here instead of the machine


def long_record(steps: int) -> problem.Problem:
    """The non-stiff problem for 16 records over a time in which its steps are .01 long."""
    p = problem.nonstiff().first(16)
    return problem.Problem(p.A, p.network, p.x0, np.array([0.0, 0.01 * steps]), p.targets[:, :2])


def contestant(kind: str, steps: int) -> race.Contestant:
    """Ours, or plain autograd through the steps of the classic method."""
    p = long_record(steps)
    if kind == "ours":
        return ours.long_contestant(p, ours.LONG, steps)
    return peers_torch.torch_contestant(kind, p, torch.float64, peers_torch.torchdiffeq_solution("rk4", 1e-4, 0.01))


def child(kind: str, steps: int, threads: int) -> None:
    """One gradient; prints the peak resident memory in GB of everything: Python, libraries, problem and gradient."""
    torch.set_num_threads(threads)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT * 2**30, LIMIT * 2**30))
    contestant(kind, steps).work()
    print(peak_memory())


def peak_memory() -> float:
    """This process's largest resident memory so far, in GB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands getrusage's figure on to a child, so that a small one would show its parent's; this one is its own
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1]) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def peak(kind: str, steps: int, setup: race.Settings) -> float:
    """Peak resident memory in GB of a process with one gradient; infinite where it does not fit."""
    setup.progress(f"memory: {kind}, {steps:,} steps")
    code = f"from benchmarks.memory import child; child({kind!r}, {steps}, {setup.threads})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if run.returncode:
        lack = any(word in run.stderr for word in ("MemoryError", "not enough memory", "can't allocate", "bad_alloc"))
        if not lack and run.returncode > 0:
            raise RuntimeError(run.stderr)
        return np.inf
    return float(run.stdout)


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("memory", __doc__)
    report = race.Report("memory", "Memory of a long gradient")
    steps = 2_000 if setup.quick else 100_000
    short, longer = (1_000, 2_000) if setup.quick else (2_000, 4_000)
    both = [contestant(kind, short) for kind in ("ours", "plain")]
    error = reference.errors(*(c.answer(c.work()) for c in both))
    report.wrong = not (error.value < 1e-6 and error.gradient < 1e-6)
    a = peak("plain", short, setup)
    b = peak("plain", longer, setup)
    mine = peak("ours", steps, setup)
    plain = b + (b - a) / (longer - short) * (steps - longer)
    report.figures = {
        f"largest difference of states between the two, {short:,} steps": error.value,
        f"largest relative difference of gradients, {short:,} steps": error.gradient,
        f"ours, {steps:,} steps, GB": mine,
        f"plain autograd (torchdiffeq rk4), {short:,} steps, GB": a,
        f"plain autograd, {longer:,} steps, GB": b,
        f"plain autograd, {steps:,} steps, GB, extrapolated from these two": plain,
    }
    report.target(
        f"peak resident memory for {steps:,} steps below {WANTED:g} GB",
        f"{mine:.2f} GB" if np.isfinite(mine) else f"more than {LIMIT} GB of address space",
        mine < WANTED,
    )
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
