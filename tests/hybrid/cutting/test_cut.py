"""All records cut at once are the records cut one by one, bit for bit, with their gradients; and fast."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import Dose, Mesh, Schedule, Segments, Signal, build_segments
from hybrid.many_rows import Rows
from tests.hybrid.cutting.loop_segments import TENSORS, loop_segments

STATES, INPUTS = ("gut", "plasma"), ("u", "v")
MESHES = [Mesh(), Mesh(observed=False), Mesh(0.7), Mesh(0.7, 0.1, 0.4), Mesh(0.9, 0.02, 0.3, observed=False)]
# few values, so that doses, observations, starts and bends of one time are common
NUMBER = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 5.0]), st.floats(0.0, 6.0).map(lambda x: round(x, 3)))


@st.composite
def people(draw, tensors: bool) -> tuple[list[Schedule], list[list[float]]]:
    def number(value: float) -> float | torch.Tensor:
        if tensors and draw(st.booleans()):
            return torch.tensor(value, dtype=torch.float64, requires_grad=True)
        return value

    schedules, times = [], []
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.sampled_from([0.0, 0.0, -1.0]))
        doses = [
            Dose(
                draw(st.sampled_from(STATES)),
                number(draw(NUMBER)),
                number(draw(st.floats(0.0, 10.0))),
                draw(st.sampled_from([0.0, 0.0, 1.0])) * number(draw(st.floats(0.01, 4.0))),
                number(draw(st.sampled_from([0.0, 0.0, 0.25]))),
            )
            for _ in range(draw(st.integers(0, 4)))
        ]
        signals = {}
        for name in INPUTS:
            at = sorted(draw(st.sets(NUMBER, min_size=1, max_size=5)))
            signals[name] = Signal(at, [draw(st.floats(-2.0, 2.0)) for _ in at], draw(st.sampled_from(["linear", "held"])))
        schedules.append(Schedule(tuple(doses), signals, start))
        times.append(sorted(draw(st.lists(NUMBER, min_size=1, max_size=6))))
    if draw(st.booleans()):  # someone twice
        schedules.append(schedules[0])
        times.append(list(times[0]))
    return schedules, times


def assert_same(got: Segments, wanted: Segments) -> None:
    for name in TENSORS:
        a, b = getattr(got, name), getattr(wanted, name)
        assert a.dtype == b.dtype, name
        assert torch.equal(a, b), name
    assert got.meshed == wanted.meshed


@settings(deadline=None, max_examples=150, derandomize=True)
@given(made=people(tensors=False), mesh=st.sampled_from(MESHES))
def test_all_at_once_is_one_by_one(made, mesh: Mesh) -> None:
    schedules, times = made
    assert_same(
        build_segments(schedules, times, STATES, INPUTS, mesh), loop_segments(schedules, times, STATES, INPUTS, mesh)
    )


@settings(deadline=None, max_examples=100, derandomize=True)
@given(made=people(tensors=True), mesh=st.sampled_from(MESHES), seed=st.integers(0, 2**31))
def test_gradients_are_those_of_the_loop(made, mesh: Mesh, seed: int) -> None:
    schedules, times = made
    leaves = [
        v
        for s in schedules
        for d in s.doses
        for v in (d.time, d.amount, d.duration, d.lag)
        if isinstance(v, torch.Tensor) and v.is_leaf
    ]
    found = []
    for build in (build_segments, loop_segments):
        cut = build(schedules, times, STATES, INPUTS, mesh)
        chance = torch.Generator().manual_seed(seed)
        total = torch.zeros((), dtype=torch.float64, requires_grad=True)
        for name in ("dt", "start", "jump", "rate", "u0", "u1", "fraction"):
            value = getattr(cut, name)
            total = total + (value * torch.randn(value.shape, generator=chance, dtype=torch.float64)).sum()
        gradients = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True) if leaves else ()
        found.append((cut, gradients))
    assert_same(found[0][0], found[1][0])
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    rows=st.lists(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=9).map(sorted), min_size=1, max_size=5),
    asked=st.lists(st.tuples(st.integers(0, 4), st.floats(-4.0, 4.0)), min_size=1, max_size=20),
    side=st.sampled_from(["left", "right"]),
)
def test_searching_many_rows_is_searching_each(rows, asked, side) -> None:
    made = Rows(np.array([len(r) for r in rows]))
    flat, which = np.concatenate(rows), np.array([k % len(rows) for k, _ in asked])
    got = made.search(flat, np.array([v for _, v in asked]), which, side)
    assert got.tolist() == [int(np.searchsorted(rows[k], v, side=side)) for k, (_, v) in zip(which, asked, strict=True)]
    inside = made.search(flat, flat, made.row, side)
    assert inside.tolist() == [int(np.searchsorted(r, v, side=side)) for r in rows for v in r]


def test_many_people_cost_microseconds_each() -> None:
    # a hundred thousand take 2 s where nothing else runs; one by one they take 50
    N, mesh, rng = 20_000, Mesh(1.5, 0.2, 0.3), np.random.default_rng(0)
    amounts, times = rng.uniform(100.0, 300.0, N).tolist(), np.sort(rng.uniform(0.5, 24.0, (N, 6)), 1)
    schedules = [Schedule((Dose("gut", 0.0, a), Dose("plasma", 2.0, a, 1.5))) for a in amounts]

    def seconds(work: Callable[[], object]) -> float:
        begin = time.process_time()
        work()
        return time.process_time() - begin

    few = [t.tolist() for t in times[:200]]
    alone = seconds(lambda: loop_segments(schedules[:200], few, STATES, (), mesh)) / 200
    assert seconds(lambda: build_segments(schedules, times, STATES, (), mesh)) / N < alone / 4


@pytest.mark.parametrize("times", [np.array([[1.0, 2.0], [0.5, 3.0]]), torch.tensor([[1.0, 2.0], [0.5, 3.0]])])
def test_times_may_be_a_table(times) -> None:
    schedules = [Schedule((Dose("gut", 0.0, 1.0),)), Schedule()]
    assert_same(build_segments(schedules, times, STATES), loop_segments(schedules, times.tolist(), STATES))
