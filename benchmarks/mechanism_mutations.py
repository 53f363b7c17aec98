"""The checker under 10,000 mutations of claims about mechanisms: of tapes, θ, weights, regions and numbers.

Claim: no mutation that makes a claim false is accepted. What is accepted is attacked by `oracles/tape_oracle.py`: two states that
contradict the sentence itself, in 60 digits. To see that the judge has teeth, as many of what is refused are attacked as well.
"""

import json
import sys
import time
from itertools import cycle

import numpy as np

from benchmarks import race
from benchmarks.oracles.tape_mutations import MUTATIONS, mutant, originals
from benchmarks.oracles.tape_oracle import contradicts_claim
from stability import check
from stability.proof.budget import Budget

COUNT, QUICK = 10_000, 500
BUDGET = Budget(cells=20_000)


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("mechanism_mutations", __doc__)
    report = race.Report("mechanism_mutations", "Mutations of claims about mechanisms")
    rng, begin, sources, kinds = np.random.default_rng(0), time.perf_counter(), originals(), cycle(MUTATIONS)
    names = (
        "tried",
        "no claim",
        "accepted",
        "accepted though false",
        "refused",
        "refused and attacked",
        "of these false",
    )
    rows = {kind: dict.fromkeys(names, 0) for kind in MUTATIONS}
    for step in range(QUICK if setup.quick else COUNT):
        if step % 500 == 0:
            setup.progress(f"mutations: {step:,}")
        row = rows[kind := next(kinds)]
        one = mutant(sources[int(rng.integers(len(sources)))], kind, rng)
        row["tried"] += 1
        if one is None:
            row["no claim"] += 1
            continue
        accepted = check(one.claim, one.system, budget=BUDGET)
        row["accepted" if accepted else "refused"] += 1
        if not accepted and row["refused and attacked"] >= row["accepted"]:
            continue
        found = contradicts_claim(one.claim, one.system, rng)
        row["accepted though false"] += accepted and bool(found)
        row["refused and attacked"] += not accepted
        row["of these false"] += not accepted and bool(found)
        if accepted and found:
            report.notes.append(f"accepted though false ({found}): {json.dumps([one.claim, one.system])}")
    wrong = sum(row["accepted though false"] for row in rows.values())
    report.wrong = bool(wrong)
    report.notes += ["| mutation of | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    report.notes += [
        f"| {kind} | " + " | ".join(f"{row[name]:,}" for name in names) + " |" for kind, row in rows.items()
    ]
    total = sum(row["tried"] for row in rows.values())
    report.figures = {"mutations": total, "seconds, the judge included": time.perf_counter() - begin}
    report.target(f"no false claim is accepted in {total:,} mutations", f"{wrong}", wrong == 0)
    return setup.finish(report)


if __name__ == "__main__":
    sys.exit(main())
