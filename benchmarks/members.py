"""Ten stacked members against one: the non-stiff problem, batch 64, float32, value and gradient.

Claim: ten members cost at most 1.3 times one.
"""

import sys

import torch

from benchmarks import race
from benchmarks.peers import ours, problem, reference

MEMBERS, WANTED = 10, 1.3


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("members", __doc__)
    report = race.Report("members", "Ten members against one")
    p = problem.nonstiff().first(64)
    torch.set_num_threads(1)  # the faster at this size, for one member and for ten
    one = ours.contestant("ours", p, ours.NONSTIFF, torch.float32)
    right = reference.right_answer(p, setup.cache)
    error = reference.errors(one.answer(one.work()), right)
    ten, first_states = ours.members_work(p, ours.NONSTIFF, torch.float32, MEMBERS)
    # the first member has the problem's own weights: stacked or not, its states must be the same
    error_stacked = float(abs(first_states() - right.states).max())
    report.wrong = not (error.value < 5e-3 and error_stacked < 5e-3)
    report.figures = {"error, one": error.value, f"error, first of {MEMBERS}": error_stacked}
    one.work()
    times = race.timed({"one": one.work, "stacked": ten}, "members", setup)
    single, stacked = race.middle(times["one"]), race.middle(times["stacked"])
    report.figures |= {"one member, ms": single, f"{MEMBERS} members, ms": stacked, "ratio": stacked / single}
    report.target(
        f"{MEMBERS} members cost at most {WANTED} times one", f"{stacked / single:.2f}", stacked <= WANTED * single
    )
    report.notes.append("One thread of torch, the faster at this size.\n")
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
