"""What becomes of events between two measurements, against a Kalman filter written down from the textbook."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from hybrid import Mesh
from tests.twin.builders import HOUR, NOW, START, dosed, driven, linear_bundle, measured
from twin import Event, Patient, Twin, canonical
from twin.joining import Joints

A, B = np.array([[-1.0, 0.3], [0.6, -0.5]]), np.array([[1.0, 0.0], [0.0, -0.4]])
D, R = np.diag([0.4**2, 0.1**2]), np.diag([0.3**2 + 0.05**2, 0.2**2 + 0.05**2])


def exact(h: float, drive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F, what a constant drive adds, and Q by Van Loan (1978), over a length at which that loses nothing."""
    n = len(A)
    whole = scipy.linalg.expm(np.block([[A, drive[:, None]], [np.zeros((1, n + 1))]]) * h)
    both = scipy.linalg.expm(np.block([[-A, D], [np.zeros((n, n)), A.T]]) * h)
    F = both[n:, n:].T
    return F, whole[:n, n], F @ both[:n, n:]


def textbook(events: list[Event], spread: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, covariance and log-likelihood at the last event: every boundary by itself, measurements of one time stacked.

    Of the inputs of the first time is begun; x(0) is N(0, spread²) there.
    """
    hours = [(e.time - START) / HOUR for e in events]
    ends = [t + e.duration / HOUR for t, e in zip(hours, events, strict=True)]
    times = sorted({t for t in (*hours, *ends) if t <= max(hours)})
    x, P, total, u = np.zeros(2), spread**2 * np.eye(2), 0.0, np.zeros(2)
    for k, t in enumerate(times):
        if k:
            rate = np.zeros(2)
            for e, begin, end in zip(events, hours, ends, strict=True):
                if e.kind == "dose" and e.duration and begin < t <= end:
                    rate["ab".index(e.name)] += (e.value or 0.0) / (e.duration / HOUR)
            F, added, Q = exact(t - times[k - 1], B @ u + rate)
            x, P = F @ x + added, F @ P @ F.T + Q
        now = [e for e, when in zip(events, hours, strict=True) if when == t]
        results = [e for e in now if e.kind == "measurement"]
        if results:
            H = np.array([[float(e.name == "a"), float(e.name == "b")] for e in results])
            S = H @ P @ H.T + H @ R @ H.T * np.eye(len(results))
            v = np.array([e.value for e in results]) - H @ x
            gain = P @ H.T @ np.linalg.inv(S)
            total -= 0.5 * (v @ np.linalg.solve(S, v) + np.log(np.linalg.det(S)) + len(v) * math.log(2 * math.pi))
            x, P = x + gain @ v, P - gain @ S @ gain.T
        for e in now:
            if e.kind == "dose" and not e.duration and t < max(hours):  # what arrives now arrives after it is measured
                x["ab".index(e.name)] += e.value or 0.0
            if e.kind == "input":
                u["uv".index(e.name)] = e.value or 0.0
    return x, P, total


def events_of(seed: int) -> list[Event]:
    """Doses, overlapping infusions into one compartment, inputs that step, and results, some at one time and of two sources."""
    rng = np.random.default_rng(seed)
    found = [driven("x", 0, 0.7, "u", name="u"), driven("x", 0, 0.3, "v", name="v")]
    for k, t in enumerate(np.sort(rng.uniform(0.1, 12.0, 14)).round(3)):
        kind = k % 7
        if kind in (0, 3):
            found.append(measured("x", t, rng.uniform(0.0, 3.0), f"m{k}", channel="ab"[k % 2], unit="mg"))
        elif kind == 1:  # both channels, one of them from two sources, and a dose: at one time
            for channel, source in (("a", "lab"), ("b", "lab"), ("a", "bedside")):
                found.append(measured("x", t, rng.uniform(0, 3), f"m{k}{channel}", channel=channel, unit="mg", source=source))
            found.append(dosed("x", t, 2.0, f"d{k}", compartment="b"))
        elif kind in (2, 5):
            found.append(dosed("x", t, rng.uniform(1.0, 4.0), f"i{k}", compartment="a", lasts=rng.uniform(0.5, 5.0)))
        elif kind == 4:
            found.append(dosed("x", t, rng.uniform(1.0, 4.0), f"b{k}", compartment="a"))
        else:
            found.append(driven("x", t, rng.uniform(0.0, 2.0), f"u{k}", name="u"))
    return [*found, measured("x", 12.5, 1.0, "last", channel="a", unit="mg")]


@pytest.mark.parametrize("seed", range(3))
def test_a_linear_model_is_followed_as_by_the_textbook(seed: int) -> None:
    events = events_of(seed)
    twin = Twin(linear_bundle(), people={"x": Patient(spread={"a": 1.5, "b": 1.5})})
    twin.arrive(events[::-1], now=NOW)
    belief = twin._memory.tip("x").belief
    assert belief is not None
    mean, covariance, total = textbook(events, 1.5)
    # exact in exact arithmetic; expm, and the inverse of the textbook, round to some 1e-13
    np.testing.assert_allclose(belief.mean[0], mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(belief.root[0] @ belief.root[0].T, covariance, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(belief.evidence[0], total, rtol=1e-9)
    assert belief.counted == sum(e.kind == "measurement" for e in events)


def test_a_prediction_is_that_of_the_textbook_and_leaves_no_trace() -> None:
    events = events_of(4)
    twin = Twin(linear_bundle(), people={"x": Patient(spread={"a": 1.0, "b": 1.0})})
    twin.arrive(events, now=NOW)
    before, times = twin.state("x"), list(twin._memory.people["x"].snapshots.times)
    later = twin.estimate("x", START + round(20.25 * HOUR))
    earlier = twin.estimate("x", START + round(6.0 * HOUR))
    assert (twin.state("x"), twin._memory.people["x"].snapshots.times) == (before, times)
    # a measurement that carries nothing stands where the estimate is asked for
    x, P, _ = textbook([*events, driven("x", 20.25, 0.0, "nothing", name="v")], 1.0)
    for k, channel in enumerate("ab"):
        band, sd = later.channels[channel], math.sqrt(P[k, k] + R[k, k])
        np.testing.assert_allclose([band.mean, band.low], [x[k], x[k] - 1.6448536269514722 * sd], rtol=1e-9)
    past = [e for e in events if e.time <= START + 6 * HOUR]
    x, P, _ = textbook([*past, driven("x", 6.0, 0.0, "nothing", name="v")], 1.0)
    np.testing.assert_allclose([earlier.channels[c].mean for c in "ab"], x, rtol=1e-9)


def test_steps_are_of_a_persons_own_mesh_and_begin_anew_after_what_arrives() -> None:
    joints, mesh = Joints.of(linear_bundle().model, ()), Mesh(1.0, 0.1, 0.25)
    dose, result = dosed("x", 1, 2.0, "d", compartment="a"), measured("x", 4, 1.0, "m", channel="a", unit="mg")
    events = canonical([*events_of(0)[:2], dose, result])
    groups = joints.groups(joints.unborn((math.nan, math.nan)), events, mesh)
    assert [g.begins for g in groups] == [True, False, False]
    for group, length in zip(groups[1:], (1.0, 3.0), strict=True):
        steps = [piece.dt for piece in group.pieces]
        assert math.isclose(sum(steps), length, rel_tol=1e-12)
        assert steps[0] <= 0.12  # the first step after a jump, and not longer ones before shorter
        assert steps == sorted(steps)
    jumps: list[Any] = [piece.jump for piece in groups[2].pieces]
    assert (jumps[0], set(jumps[1:])) == ((2.0, 0.0), {(0.0, 0.0)})


def test_features_of_a_waveform_come_on_a_clock_of_their_own() -> None:
    """Every half minute from a monitor whose clock is 90 s behind, beside a laboratory's results: the textbook at true times."""
    rng = np.random.default_rng(3)
    begun = [driven("x", 0, 0.7, "u", name="u"), driven("x", 0, 0.3, "v", name="v")]
    lab = [measured("x", h, 0.5 + h, f"r{h}", channel="b", unit="mg") for h in (0.05, 0.11, 0.2)]
    true = [
        measured("x", 0.03 + k / 120, rng.uniform(0.5, 1.5), f"rate{k}", channel="a", unit="mg", source="monitor")
        for k in range(20)
    ]
    stamped = [replace(e, time=e.time - 90_000_000) for e in true]
    clock = Event("x", "monitor", "clock", 1, "offset", START, value=90.0, unit="s")
    twin = Twin(linear_bundle(), people={"x": Patient(spread={"a": 1.0, "b": 1.0})})
    twin.arrive([*begun, *stamped], now=NOW)
    change = twin.arrive([clock, *lab], now=NOW)[0]
    assert change.moved["a"].before != change.moved["a"].after
    belief = twin._memory.tip("x").belief
    assert belief is not None
    mean, covariance, total = textbook(sorted([*begun, *true, *lab], key=lambda e: e.time), 1.0)
    np.testing.assert_allclose(belief.mean[0], mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(belief.root[0] @ belief.root[0].T, covariance, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(belief.evidence[0], total, rtol=1e-9)
