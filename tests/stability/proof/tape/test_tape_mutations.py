"""Mutated claims about mechanisms: none that two states contradict is accepted, and the judge sees what is false."""

from functools import cache

import numpy as np

from benchmarks.oracles.tape_mutations import MUTATIONS, Original, mutant, of_random, originals
from benchmarks.oracles.tape_oracle import contradicts_claim, contradicts_rate, dual_rate
from stability import check
from stability.proof import Budget
from stability.proof.tape import plain, read_tape, slopes


@cache
def sources() -> tuple[Original, ...]:
    return tuple(originals())


def test_the_judge_sees_a_rate_above_the_limit_and_none_below_it() -> None:
    rng = np.random.default_rng(0)
    saturable = sources()[0]  # plasma to 400 mg: Vmax Km/(Km + x)² is the least slope there
    typical = saturable.system["theta"]
    Vmax, half = typical[1], typical[2] * typical[3]
    limit = Vmax * half / (half + 400.0) ** 2
    for share, found in ((1.01, True), (0.99, False)):
        claim = saturable.claim | {"rate": share * limit}
        assert bool(contradicts_rate(claim, saturable.system, rng)) == found


def test_dual_numbers_agree_with_the_checker_at_points() -> None:
    rng = np.random.default_rng(1)
    for seed in range(20):
        system, box, _ = of_random(np.random.default_rng(seed))
        assert system.tape is not None
        tape, x, u = read_tape(system.tape), rng.uniform(box.lower, box.upper), rng.uniform(-0.5, 0.5, 1)
        f, J, _ = dual_rate(system.tape, x[None], u[None], np.array([[0.1]]))
        np.testing.assert_allclose(f[0], plain(tape, x, u, np.array([0.1])), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(J[0], slopes(tape, x, u, np.array([0.1])), rtol=1e-11, atol=1e-13)


def test_no_false_mutant_is_accepted() -> None:
    rng, accepted = np.random.default_rng(2), 0
    for step in range(60):
        one = mutant(sources()[step % len(sources())], list(MUTATIONS)[step % len(MUTATIONS)], rng)
        if one is not None and check(one.claim, one.system, budget=Budget(cells=300)):
            accepted += 1
            assert not contradicts_claim(one.claim, one.system, rng)
    assert accepted > 15  # else nothing was asked
