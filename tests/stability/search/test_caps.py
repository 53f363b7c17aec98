"""Two caps, two names: what this inequality can reach, and what no constant metric can exceed, from states that exist alone."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from homeostat.gallery import claim_verdict
from stability import Box, Certificate, Ellipsoid, Inputs, Lure, certify, check, metric_cap, spectral_cap
from stability.search.states.duals import dual_holds, excluding, metric_bound, one_metric
from stability.search.states.jacobians import abscissa, log_norm
from stability.search.states.sampling import sample


def certified(system: Lure, **arguments: Any) -> Certificate:
    found = certify(system, **arguments)
    assert isinstance(found, Certificate), found
    assert check(found, system)
    return found


def twins(gain: float = 0.9) -> Lure:
    """−x and two equal units of opposite sign, which are nothing at all: every Jacobian is −1; the inequality pays for both."""
    return Lure(A=[[-1.0]], weights=[[[1.0], [1.0]], [[gain, -gain]]], biases=[[0.3, 0.3], [0.0]])


def test_a_box_is_proved_at_several_times_the_cap_of_the_inequality_and_below_that_of_any_metric() -> None:
    everywhere = certified(twins())
    assert everywhere.inequality_cap is not None
    assert everywhere.rate <= everywhere.inequality_cap < 0.11
    box = certified(twins(), region=Box([-1.0], [1.0]))
    assert box.rate > 2.6 * everywhere.inequality_cap
    for found in (everywhere, box):
        for cap in (found.metric_cap, found.spectral_cap):
            assert cap is not None
            assert box.rate <= cap * (1 + 1e-9)
            assert cap == pytest.approx(1.0, rel=1e-6)
        assert found.sampled is not None
        assert found.sampled > 100
    assert box.inequality_cap is None  # proved cell by cell
    assert metric_cap(twins()) == pytest.approx(1.0, rel=1e-6)
    assert spectral_cap(twins()) == pytest.approx(1.0, rel=1e-12)


def test_what_is_printed_calls_each_by_its_name() -> None:
    box = Box([-1.0], [1.0])
    for found, where in ((certified(twins()), "of real states"), (certified(twins(), region=box), "in the region")):
        said = claim_verdict(found, "h").detail
        assert "certificate could exceed" not in said
        assert f"o constant metric can exceed 1 per h (from {found.sampled} sampled Jacobians" in said
        assert where in said
        assert ("this inequality can reach at most" in said) == (found.inequality_cap is not None)
        assert ("per h; another proof may reach more, but no constant metric can" in said) == (found.inequality_cap is not None)
        (cap,) = replace(found, inequality_cap=found.metric_cap).caps_in_words("h")  # where both are one number
        assert cap.startswith("No constant metric can exceed 1 per h")
        assert "more" not in cap


def layered(seed: int, widths: tuple[int, ...], n: int, **more: Any) -> Lure:
    rng = np.random.default_rng(seed)
    sizes = [n, *widths, n]
    weights = [rng.normal(size=(o, i)) / np.sqrt(i) for i, o in pairwise(sizes)]
    weights[-1] *= 0.3
    A = -np.eye(n) + 0.2 * rng.normal(size=(n, n))
    return Lure(A=A, weights=weights, biases=[rng.normal(size=o) for o in sizes[1:]], **more)


@pytest.mark.parametrize(("n", "seed"), [(1, 0), (2, 0), (2, 1), (3, 0), (4, 1)])
def test_no_metric_whatever_exceeds_the_dual_bound(n: int, seed: int) -> None:
    """Of any condition number: random ones, and those near the ones that do best; and it is no further from these than 2 %."""
    drawn = sample(layered(seed, (8,), n))
    jacobians, ascent = one_metric(drawn, np.eye(n), with_corners=False)
    bound = metric_bound(jacobians, ascent, float(-abscissa(drawn.attained).max()))
    assert ascent.rate <= bound <= ascent.rate + 0.02 * abs(ascent.rate)
    rng = np.random.default_rng(seed)
    for _ in range(300):
        F = rng.normal(size=(n, n)) * 10.0 ** rng.uniform(-3, 3, (n, 1))
        near = np.linalg.cholesky(ascent.metric) @ (np.eye(n) + 0.1 * rng.normal(size=(n, n)))
        for P in (F @ F.T, near @ near.T):
            if np.linalg.cond(P) < 1e12:
                assert -log_norm(drawn.attained.reshape(-1, n, n), P).max() <= bound * (1 + 1e-9)


def test_what_excludes_every_metric_is_found_where_there_is_none_and_only_there() -> None:
    """Rotations that are each stable and together are not; with a faster decay they are."""
    turn = np.array([[[0.0, 4.0], [-0.25, 0.0]], [[0.0, 0.25], [-4.0, 0.0]]])
    for decay, rate in ((0.1, 0.0), (1.0, 0.5)):
        jacobians = turn - decay * np.eye(2)
        duals = excluding(jacobians, rate)
        assert duals is not None
        assert dual_holds(jacobians, duals, rate)
    assert excluding(turn - 3.0 * np.eye(2), 0.5) is None


def test_a_stable_matrix_that_needs_a_large_condition_number_is_not_capped_by_it() -> None:
    """Long chains: the best rate grows with κ; what no metric of any κ exceeds is the slowest compartment."""
    k = np.array([0.02, 0.03, 0.05, 0.01, 0.02, 0.1, 0.03, 0.006])
    A = np.diag(-k) + np.diag(3 * k[:-1], -1)
    found = certified(Lure(A=A, weights=[], biases=[]))
    assert found.metric_cap is not None
    assert found.metric_cap == pytest.approx(0.006, rel=0.1)
    assert found.rate <= found.metric_cap


def test_of_an_ellipsoid_states_within_it_alone_enter() -> None:
    """−x + 2 tanh x within .5 of 1.7, its slope worst at 1.2; the box in which metrics are looked for may be larger."""
    system = Lure(A=[[-1.0]], weights=[[[1.0]], [[2.0]]], biases=[[0.0], [0.0]])
    found = certified(system, region=Ellipsoid([1.7], 0.5))
    exact = 1.0 - 2.0 / np.cosh(1.2) ** 2
    assert found.metric_cap is not None
    assert found.rate <= exact
    assert found.metric_cap >= exact
    two = layered(1, (8,), 2)
    ball = certified(two, region=Ellipsoid([0.0, 0.0], 2.0))
    assert ball.metric_cap is not None
    assert ball.rate <= ball.metric_cap * (1 + 1e-9)


def test_inputs_within_their_levels_alone_enter() -> None:
    """−x + 1.5 tanh(x + u): at u = −x the slope is +.5, which no level near 3 brings about."""
    system = Lure(A=[[-1.0]], weights=[[[1.0]], [[1.5]]], biases=[[0.0], [0.0]], input_weights=[[1.0]])
    found = certified(system, region=Box([-0.5], [3.5]), inputs=Inputs([2.9], [3.0]))
    exact = 1.0 - 1.5 / np.cosh(2.4) ** 2
    assert found.spectral_cap == pytest.approx(exact, rel=1e-6)
    assert found.metric_cap is not None
    assert exact * (1 - 1e-9) <= found.metric_cap <= exact * (1 + 1e-6)


def test_an_earlier_certificate_is_read_with_its_caps_under_true_names() -> None:
    """Written before the names were parted: of all states both caps mixed patterns that no state attains."""
    system = twins()
    found = certified(system)
    old = {k: v for k, v in found.to_dict().items() if k not in ("inequality_cap", "sampled")}
    old |= {"spectral_cap": 0.1, "metric_cap": 0.09996, "identity_refused": True}
    assert check(old, system)
    again = Certificate.from_dict(json.loads(json.dumps(old)))
    assert check(again, system)
    assert (again.spectral_cap, again.metric_cap, again.inequality_cap) == (None, None, 0.09996)
    assert again.identity_refused is None
    assert "o constant metric" not in claim_verdict(again, "h").detail
    box = certified(system, region=Box([-1.0], [1.0]))
    older = {k: v for k, v in box.to_dict().items() if k not in ("inequality_cap", "sampled")}
    again = Certificate.from_dict(older)
    assert check(again, system)
    assert (again.spectral_cap, again.metric_cap, again.inequality_cap) == (box.spectral_cap, None, None)
    assert Certificate.from_dict(json.loads(json.dumps(box.to_dict()))).to_dict() == box.to_dict()


def test_a_cap_is_never_printed_below_itself() -> None:
    found = certify(Lure(A=[[-0.123449]], weights=[], biases=[]))
    assert isinstance(found, Certificate)
    said = claim_verdict(found, "h").detail
    assert "No constant metric can exceed 0.1235 per h" in said
    assert "0.1234 " not in said
