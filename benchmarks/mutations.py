"""The checker under 20,000 mutations, judged by exact rational arithmetic where there is a judge, else by an adversary.

Claim: no mutation that makes a claim false is accepted, and every change of the weights is refused by the hash.
Every other one is of any kind of claim (`claim_mutations.py`), with subnormal, huge and degenerate numbers among those put in; of
the rest one in five is of a certificate in a region (`regional_mutations.py`), which `relu_oracle.py` judges.
"""

import json
import sys
import time
from dataclasses import replace
from itertools import cycle, pairwise

import numpy as np

from benchmarks import race
from benchmarks.oracles import claim_mutations
from benchmarks.oracles.mutants import (
    Case,
    Mutation,
    mutate_bias,
    mutate_hash,
    mutate_linear_part,
    mutate_metric,
    mutate_multipliers,
    mutate_rate,
    mutate_skip,
    mutate_weights,
    one_entry,
)
from benchmarks.oracles.regional_mutations import NEEDS, REGIONAL, accepts, parts, regional_case
from benchmarks.oracles.relu_oracle import in_region
from stability import Certificate, Lure, certify, check
from stability.lure import SLOPES
from stability.proof.budget import Budget
from stability.proof.rational import exactly

COUNT, QUICK = 20_000, 1_000
CELLS = 20_000  # of a proof by cells: with more the checker refuses later, or says that it is not decided


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("mutations", __doc__)
    report = race.Report("mutations", "Mutations of certificates and systems")
    generator, cases = np.random.default_rng(0), [case(k) for k in range(6)]
    regional = [regional_case(k) for k in range(8)]
    claims = claim_mutations.originals()
    kinds = [*MUTATIONS, *REGIONAL, *(f"any numbers: {kind}" for kind in claim_mutations.KINDS)]
    ordinary, local = cycle(MUTATIONS), cycle(REGIONAL)
    counts = {kind: dict.fromkeys(("tried", "false", "accepted", "accepted though false"), 0) for kind in kinds}
    slipped, begin = 0, time.perf_counter()
    for step in range(QUICK if setup.quick else COUNT):
        if step % 500 == 0:
            setup.progress(f"mutations: {step:,}")
        if step % 2:
            one = claim_mutations.mutant(claims[int(generator.integers(len(claims)))], generator)
            accepted = check(one.claim, one.system, budget=Budget(cells=CELLS))
            # An adversary is asked only of what is accepted: it says nothing that would count of the rest.
            true = claim_mutations.true(one, generator) if accepted or claim_mutations.exact(one) else True
            _count(counts[f"any numbers: {one.kind}"], accepted, true)
            if accepted and not true:
                report.notes.append(f"accepted though false: {json.dumps([one.claim, one.system])}")
            continue
        kind = next(ordinary) if step % 10 else next(local)
        among = cases if kind in MUTATIONS else [c for c in regional if NEEDS.get(kind, "") in parts(c)]
        original = among[int(generator.integers(len(among)))]
        mutant = (MUTATIONS | REGIONAL)[kind](original, generator)
        if mutant.system.digest() != original.system.digest():
            slipped += check(original.certificate, mutant.system)  # as it stands, the hash alone must refuse it
            if kind != "weights, hash not forged":
                mutant = replace(mutant, certificate=replace(mutant.certificate, digest=mutant.system.digest()))
        if kind in MUTATIONS:
            accepted, true = check(mutant.certificate, mutant.system), exactly(mutant.certificate, mutant.system)
        else:
            accepted, true = accepts(mutant), in_region(mutant.certificate, mutant.system) is not False
        _count(counts[kind], accepted, true)
    seconds = time.perf_counter() - begin
    wrong = sum(row["accepted though false"] for row in counts.values())
    report.wrong = bool(wrong or slipped)
    report.notes += ["| mutation of | tried | false by its judge | accepted | accepted though false |"]
    report.notes += ["|---|---|---|---|---|"]
    report.notes += [f"| {kind} | " + " | ".join(f"{v:,}" for v in row.values()) + " |" for kind, row in counts.items()]
    report.notes += ["", "Judges:", *(f"- {kind}: {by}" for kind, (_, by) in claim_mutations.KINDS.items()), ""]
    total = sum(row["tried"] for row in counts.values())
    report.figures = {"mutations": total, "seconds, both judges": seconds}
    report.target(f"no false claim is accepted in {total:,} mutations", f"{wrong}", wrong == 0)
    report.target("every change of the weights is refused by the hash", f"{slipped} slipped through", slipped == 0)
    return setup.finish(report)


def _count(row: dict[str, int], accepted: bool, true: bool) -> None:
    row["tried"] += 1
    row["false"] += not true
    row["accepted"] += accepted
    row["accepted though false"] += accepted and not true


def case(seed: int) -> Case:
    """Two systems of two or three states with one or two hidden layers, and their certificate."""
    rng = np.random.default_rng(seed)
    n, activation = 2 + seed % 2, list(SLOPES)[seed]
    sizes = [n, 4, n] if seed % 3 else [n, 3, 3, n]
    weights = [rng.normal(size=(2, out, into)) / into for into, out in pairwise(sizes)]
    weights[-1] *= 0.4
    system = Lure(
        A=-np.eye(n) * np.arange(1, n + 1) + 0.3 * np.tril(rng.normal(size=(n, n)), -1),
        weights=weights,
        biases=[rng.normal(size=s) for s in sizes[1:]],
        activation=activation,
        skip=0.1 * rng.normal(size=(n, n)) if seed % 2 else None,
    )
    certificate = certify(system)
    if not isinstance(certificate, Certificate):
        raise ValueError(f"the system of seed {seed} has no certificate to mutate: {certificate.message}")
    return Case(system, certificate)


def mutate_activation(one: Case, rng: np.random.Generator) -> Case:
    system = replace(one.system, activation=str(rng.choice(list(SLOPES))))
    stated = SLOPES[system.activation] if rng.integers(2) else one.certificate.slope_range
    return Case(system, replace(one.certificate, slope_range=stated))


def mutate_slopes(one: Case, rng: np.random.Generator) -> Case:
    ends = np.array(one.certificate.slope_range)
    return replace(one, certificate=replace(one.certificate, slope_range=tuple(one_entry(ends, rng).tolist())))


def mutate_region(one: Case, rng: np.random.Generator) -> Case:
    """A claim about all states, passed off as one about a part in a word that says nothing."""
    region = str(rng.choice(["", "box", "GLOBAL", "global ", "ellipsoid"]))
    return replace(one, certificate=replace(one.certificate, region=region))


# A new kind is one function and one line; whatever it returns is judged by both.
MUTATIONS: dict[str, Mutation] = {
    "weights, hash not forged": mutate_weights,
    "weights": mutate_weights,
    "biases": mutate_bias,
    "linear part": mutate_linear_part,
    "skip": mutate_skip,
    "activation": mutate_activation,
    "metric": mutate_metric,
    "multipliers": mutate_multipliers,
    "rate": mutate_rate,
    "slopes": mutate_slopes,
    "hash": mutate_hash,
    "region": mutate_region,
}


if __name__ == "__main__":
    sys.exit(main())
