"""The checker under 10,000 mutations, judged by exact rational arithmetic.

Claim: no mutation that makes the certificate false is accepted, and every change of the weights is refused by the hash.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import race
from stability import Certificate, Lure, certify, check
from stability.exact import exactly
from stability.lure import SLOPES

COUNT, QUICK = 10_000, 500


@dataclass(frozen=True)
class Case:
    """A system and the certificate that was proved for it."""

    system: Lure
    certificate: Certificate


Mutation = Callable[[Case, np.random.Generator], Case]


def main() -> int:
    """Run the benchmark; the exit code."""
    setup = race.settings("mutations", __doc__)
    report = race.Report("mutations", "Mutations of certificates and systems")
    generator, cases = np.random.default_rng(0), [case(k) for k in range(6)]
    kinds = list(MUTATIONS)
    counts = {kind: dict.fromkeys(("tried", "false", "accepted", "accepted though false"), 0) for kind in kinds}
    slipped, begin = 0, time.perf_counter()
    for step in range(QUICK if setup.quick else COUNT):
        if step % 500 == 0:
            setup.progress(f"mutations: {step:,}")
        kind, original = kinds[step % len(kinds)], cases[int(generator.integers(len(cases)))]
        mutant = MUTATIONS[kind](original, generator)
        if mutant.system.digest() != original.system.digest():
            slipped += check(original.certificate, mutant.system)  # as it stands, the hash alone must refuse it
            if kind != "weights, hash not forged":
                mutant = replace(mutant, certificate=replace(mutant.certificate, digest=mutant.system.digest()))
        accepted, true = check(mutant.certificate, mutant.system), exactly(mutant.certificate, mutant.system)
        row = counts[kind]
        row["tried"] += 1
        row["false"] += not true
        row["accepted"] += accepted
        row["accepted though false"] += accepted and not true
    seconds = time.perf_counter() - begin
    wrong = sum(row["accepted though false"] for row in counts.values())
    report.wrong = bool(wrong or slipped)
    report.notes += ["| mutation of | tried | false by exact arithmetic | accepted | accepted though false |"]
    report.notes += ["|---|---|---|---|---|"]
    report.notes += [f"| {kind} | " + " | ".join(f"{v:,}" for v in row.values()) + " |" for kind, row in counts.items()]
    report.notes.append("")
    total = sum(row["tried"] for row in counts.values())
    report.figures = {"mutations": total, "seconds, both judges": seconds}
    report.target(f"no false claim is accepted in {total:,} mutations", f"{wrong}", wrong == 0)
    report.target("every change of the weights is refused by the hash", f"{slipped} slipped through", slipped == 0)
    return setup.finish(report)


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


def factor(rng: np.random.Generator) -> float:
    """A relative change from far below the certificate's margin to thirtyfold, either way."""
    return float(1.0 + rng.choice([-1, 1]) * 10.0 ** rng.uniform(-7, 1.5))


def consistent(certificate: Certificate, **fields: Any) -> Certificate:
    """The certificate with other numbers, and the statements that depend on them made to agree again."""
    new = replace(certificate, claim="", spectral_cap=1e9, metric_cap=None, **fields)
    return replace(new, condition=float(np.linalg.cond(new.metric)))


def one_entry(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy with one entry changed: scaled, or replaced where it is zero."""
    new = np.array(array)
    where = tuple(int(rng.integers(s)) for s in new.shape)
    new[where] = new[where] * factor(rng) if new[where] else 10.0 ** rng.uniform(-3, 0)
    return new


def mutate_weights(one: Case, rng: np.random.Generator) -> Case:
    weights = list(one.system.weights)
    layer = int(rng.integers(len(weights)))
    weights[layer] = one_entry(weights[layer], rng)
    return replace(one, system=replace(one.system, weights=tuple(weights)))


def mutate_bias(one: Case, rng: np.random.Generator) -> Case:
    biases = list(one.system.biases)
    layer = int(rng.integers(len(biases)))
    biases[layer] = one_entry(biases[layer], rng)
    return replace(one, system=replace(one.system, biases=tuple(biases)))


def mutate_linear_part(one: Case, rng: np.random.Generator) -> Case:
    try:
        return replace(one, system=replace(one.system, A=one_entry(one.system.A, rng)))
    except ValueError:  # no longer stable: not a system at all
        return mutate_linear_part(one, rng)


def mutate_skip(one: Case, rng: np.random.Generator) -> Case:
    before = np.zeros_like(one.system.A) if one.system.skip is None else one.system.skip
    return replace(one, system=replace(one.system, skip=one_entry(before, rng)))


def mutate_activation(one: Case, rng: np.random.Generator) -> Case:
    system = replace(one.system, activation=str(rng.choice(list(SLOPES))))
    stated = SLOPES[system.activation] if rng.integers(2) else one.certificate.slope_range
    return Case(system, replace(one.certificate, slope_range=stated))


def mutate_metric(one: Case, rng: np.random.Generator) -> Case:
    P = np.array(one.certificate.metric)
    i, j = rng.integers(len(P), size=2)
    P[i, j] *= factor(rng)
    P[j, i] = P[i, j] if rng.integers(20) else P[j, i]  # now and then not symmetric
    return replace(one, certificate=consistent(one.certificate, metric=P))


def mutate_multipliers(one: Case, rng: np.random.Generator) -> Case:
    multipliers = one_entry(one.certificate.multipliers, rng)
    return replace(one, certificate=consistent(one.certificate, multipliers=multipliers))


def mutate_rate(one: Case, rng: np.random.Generator) -> Case:
    return replace(one, certificate=consistent(one.certificate, rate=one.certificate.rate * factor(rng)))


def mutate_slopes(one: Case, rng: np.random.Generator) -> Case:
    ends = np.array(one.certificate.slope_range)
    return replace(one, certificate=replace(one.certificate, slope_range=tuple(one_entry(ends, rng).tolist())))


def mutate_hash(one: Case, rng: np.random.Generator) -> Case:
    digits = list(one.certificate.digest)
    where = int(rng.integers(len(digits)))
    digits[where] = format(int(digits[where], 16) ^ int(rng.integers(1, 16)), "x")
    return replace(one, certificate=replace(one.certificate, digest="".join(digits)))


def mutate_region(one: Case, rng: np.random.Generator) -> Case:
    """A claim about all states, passed off as one about a part; the oracle decides global claims only."""
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
