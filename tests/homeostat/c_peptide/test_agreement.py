"""Ranks, rank correlation, one order of many members, and intervals over people."""

from functools import partial

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.c_peptide.agreement import agreement, consensus, interval, mean_over, ranks, root_difference, spearman


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=25))
def test_ranks_and_spearman_against_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=float).T  # few values, so nearly every example has ties
    np.testing.assert_array_equal(ranks(a), scipy.stats.rankdata(a))
    if np.ptp(a) > 0 and np.ptp(b) > 0:
        assert spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    else:
        assert spearman(a, b) == 0.0  # a constant has no order to agree with


def test_the_consensus_has_no_sign_and_no_unit() -> None:
    rng = np.random.default_rng(0)
    beta = rng.normal(size=(3, 20)) + 2.0 * rng.normal(size=20)
    turned = np.stack([beta[0], -5.0 * beta[1] + 3.0, np.exp(beta[2])])
    np.testing.assert_allclose(consensus(turned), consensus(beta), atol=1e-15)
    np.testing.assert_array_equal(ranks(consensus(beta[:1])), ranks(beta[0]))


def test_the_interval_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = interval(partial(mean_over, values), 400, np.random.default_rng(2))
    centre, low, high = found.to_list()
    assert centre == values.mean()
    # normal theory; a quantile of 2,000 draws has a relative standard error of about 3 % of the half-width here
    half = 1.96 * values.std() / 20.0
    assert low == pytest.approx(centre - half, abs=0.15 * half)
    assert high == pytest.approx(centre + half, abs=0.15 * half)


def test_agreement_has_no_sign() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(size=60)
    b = a + rng.normal(size=60)
    one, other = (agreement(order, b, np.random.default_rng(4)) for order in (a, -a))
    assert one == other
    assert one.value == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
    assert one.low < one.value < one.high


def test_a_difference_is_of_the_same_people() -> None:
    """Everyone's error twice as large: every draw's root mean square is, so that no draw makes up for another."""
    errors = np.random.default_rng(5).uniform(1.0, 2.0, 30) ** 2
    people = np.random.default_rng(6).integers(30, size=(7, 30))
    found = root_difference(errors, 4.0 * errors, people)
    np.testing.assert_allclose(found, [-np.sqrt(np.mean(errors[row])) for row in people], rtol=1e-12)
