"""An interval in pieces, and arrays as segments: the cuts of `build_segments`, everyone's own, with their gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import (
    Concentration,
    Conditions,
    Dose,
    HybridModel,
    Interval,
    Mesh,
    RungeKutta,
    Schedule,
    Signal,
    build_segments,
    rollout,
    segments_of,
)
from hybrid.cutting.stretches import meshed
from learned import MLP, Constant
from physics import OneCompartmentOral, SharedPopulation

F64 = torch.float64
STATES, INPUTS = ("gut", "plasma"), ("u",)
MESHES = [Mesh(), Mesh(0.7), Mesh(0.7, 0.1, 0.4), Mesh(0.9, 0.02, 0.3)]
NAMES = ("dt", "jump", "rate", "u0", "u1", "start")
# the edges of `build_segments` are differences of times on the record's clock, those here shares of a length
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@st.composite
def stretches(draw) -> dict[str, torch.Tensor]:
    """Arrays of 1 to 4 people with 1 to 5 stretches: doses, infusions, inputs that step, bend and go on."""
    N, K = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    chance = np.random.default_rng(draw(st.integers(0, 2**31)))

    def sometimes(*shape: int) -> np.ndarray:
        return chance.normal(size=shape).round(3) * (chance.random(shape) < 0.4)

    dt = chance.choice([0.0, 0.05, 0.3, 1.0, 2.7], size=(N, K)) + chance.random((N, K)) * chance.integers(0, 2, (N, K))
    u0 = sometimes(N, K, 1)
    goes_on = chance.random(K) < 0.5
    u1 = u0 + sometimes(N, K, 1)
    for k in np.flatnonzero(goes_on[1:]) + 1:
        u1[:, k] += u1[:, k - 1] - u0[:, k]
        u0[:, k] = u1[:, k - 1]
    made = {"dt": dt, "jump": np.abs(sometimes(N, K, 2)), "rate": np.abs(sometimes(N, K, 2)), "u0": u0, "u1": u1}
    return {name: torch.from_numpy(value) for name, value in made.items()}


def made_of(arrays: dict[str, torch.Tensor], mesh: Mesh | None):
    return segments_of(
        arrays["dt"],
        2,
        jump=arrays["jump"],
        rate=arrays["rate"],
        inputs=(arrays["u0"], arrays["u1"]),
        start=torch.full((len(arrays["dt"]),), 1.5, dtype=F64),
        mesh=mesh,
    )


def schedules_and_times(chance: np.random.Generator) -> tuple[list[Schedule], list[list[float]]]:
    """People with a dose, an infusion and an input, read at the end of every stretch between these."""
    schedules, times = [], []
    for _ in range(3):
        knots = np.concatenate([[0.0], np.cumsum(chance.uniform(0.2, 3.0, 5))])
        signal = Signal(knots[[0, 2, 4]].tolist(), chance.normal(size=3).tolist(), str(chance.choice(["held", "linear"])))
        infusion = Dose("plasma", knots[1], 2.0, knots[3] - knots[1])
        schedules.append(Schedule((Dose("gut", 0.0, 1.0), infusion, Dose("gut", knots[2], 3.0)), {"u": signal}))
        times.append(knots[1:].tolist())
    return schedules, times


def as_arrays(whole) -> dict[str, torch.Tensor]:
    return {name: getattr(whole, name) for name in ("dt", "jump", "rate", "u0", "u1")}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mesh", MESHES)
def test_arrays_are_cut_as_schedules_are(seed: int, mesh: Mesh) -> None:
    schedules, times = schedules_and_times(np.random.default_rng(seed))
    whole = build_segments(schedules, times, STATES, INPUTS)  # nothing but what happens
    wanted = build_segments(schedules, times, STATES, INPUTS, mesh)
    arrays = as_arrays(whole)
    got = segments_of(
        arrays["dt"], 2, jump=arrays["jump"], rate=arrays["rate"], inputs=(arrays["u0"], arrays["u1"]), mesh=mesh
    )
    assert got.dt.shape == wanted.dt.shape
    assert got.meshed == wanted.meshed
    lasts = wanted.dt > 0  # of what lasts no time the beginning is not compared
    torch.testing.assert_close(got.start[lasts], wanted.start[lasts], **CLOSE)
    for name in ("dt", "jump", "rate", "u0", "u1", "fraction"):
        torch.testing.assert_close(getattr(got, name), getattr(wanted, name), **CLOSE)
    assert torch.equal(got.segment, wanted.segment)


@pytest.mark.parametrize("mesh", MESHES[1:])
def test_an_interval_is_cut_as_its_record_is(mesh: Mesh) -> None:
    lengths = [2.9, 0.05, 0.0, 1.3]
    wanted = build_segments([Schedule((Dose("gut", 0.0, 3.0),))] * 4, [[t] for t in lengths], ("gut",), (), mesh)
    jump = torch.full((4, 1), 3.0, dtype=F64)
    pieces = Interval.of(torch.tensor(lengths, dtype=F64), 1, jump=jump).cut(mesh)
    assert len(pieces) == wanted.dt.shape[1]
    for k, piece in enumerate(pieces):
        assert piece.meshed
        for name in NAMES:
            # read at its start alone nothing has arrived; of what lasts no time the beginning is not compared
            there = wanted.jump.any(-1).any(-1) if name == "jump" else wanted.dt[:, k] > 0 if name == "start" else slice(None)
            torch.testing.assert_close(getattr(piece, name)[there], getattr(wanted, name)[:, k][there], **CLOSE)


def test_an_interval_goes_on_from_the_last_jump() -> None:
    # a record with one dose and a reading amid it: what comes after the reading is cut as the record's second stretch
    mesh, first = Mesh(0.9, 0.02, 0.3), 0.4
    record = build_segments([Schedule((Dose("gut", 0.0, 3.0),))], [[first, 2.9]], ("gut",), (), mesh)
    rest = Interval.of(torch.tensor([2.9 - first], dtype=F64), 1, start=torch.tensor([first], dtype=F64))
    pieces = rest.cut(mesh, torch.tensor([first], dtype=F64))
    wanted = int(record.segment[0, 0]) + 1
    torch.testing.assert_close(torch.cat([p.dt for p in pieces]), record.dt[0, wanted:], **CLOSE)
    assert len(rest.cut(mesh)) > len(pieces)  # by default its beginning counts as a jump


@settings(deadline=None, max_examples=80, derandomize=True)
@given(arrays=stretches(), mesh=st.sampled_from(MESHES))
def test_nobody_depends_on_who_else_is_there(arrays, mesh: Mesh) -> None:
    together = made_of(arrays, mesh)
    for i in range(len(arrays["dt"])):
        alone = made_of({name: value[i : i + 1] for name, value in arrays.items()}, mesh)
        L = alone.dt.shape[1]
        for name in NAMES:
            assert torch.equal(getattr(together, name)[i, :L], getattr(alone, name)[0]), name
        assert not together.dt[i, L:].any()
        assert torch.equal(together.segment[i], alone.segment[0])
        assert torch.equal(together.fraction[i], alone.fraction[0])
    one = {name: value[:, 0] for name, value in arrays.items()}
    both = Interval.of(one["dt"], 2, jump=one["jump"], rate=one["rate"], inputs=(one["u0"], one["u1"]))
    for i in range(len(one["dt"])):
        for piece, mine in zip(both.cut(mesh), both.people(torch.tensor([i])).cut(mesh), strict=False):
            for name in NAMES:
                assert torch.equal(getattr(piece, name)[i], getattr(mine, name)[0]), name


@settings(deadline=None, max_examples=80, derandomize=True)
@given(arrays=stretches(), mesh=st.sampled_from(MESHES))
def test_pieces_are_the_whole(arrays, mesh: Mesh) -> None:
    plain, cut = made_of(arrays, None), made_of(arrays, mesh)
    torch.testing.assert_close(cut.dt.sum(1), plain.dt.sum(1), **CLOSE)
    torch.testing.assert_close(cut.jump.sum(1), plain.jump.sum(1), **CLOSE)
    given, lasting = ((s.rate * s.dt[..., None]).sum(1) for s in (cut, plain))
    torch.testing.assert_close(given, lasting, **CLOSE)
    area = [((s.u0 + s.u1) * s.dt[..., None]).sum(1) for s in (cut, plain)]
    torch.testing.assert_close(*area, **CLOSE)
    # a reading is at the end of its stretch
    ends = (cut.start + cut.dt).gather(1, cut.segment)
    torch.testing.assert_close(ends, plain.start + plain.dt, **CLOSE)
    assert bool((cut.fraction == 1).all())
    if mesh.step is not None:
        assert float(cut.dt.max()) <= mesh.step * (1 + 1e-9)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(arrays=stretches(), mesh=st.sampled_from(MESHES), seed=st.integers(0, 2**31))
def test_gradients_are_kept(arrays, mesh: Mesh, seed: int) -> None:
    # cut first or differentiated first: the cuts are shares of a length, so every number of the pieces is linear in the arrays
    leaves = {name: value.clone().requires_grad_() for name, value in arrays.items()}
    cut = made_of(leaves, mesh)
    chance = torch.Generator().manual_seed(seed)
    push = {name: torch.randn(value.shape, generator=chance, dtype=F64) for name, value in arrays.items()}
    weights = {name: torch.randn(getattr(cut, name).shape, generator=chance, dtype=F64) for name in NAMES}
    total = sum((getattr(cut, name) * weights[name]).sum() for name in NAMES)
    gradients = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
    slope = float(sum((g * push[name]).sum() for g, name in zip(gradients, leaves, strict=True)))

    def at(step: float) -> float:
        # the same cuts: those of the arrays as they were, as shares
        from_whole = made_of({name: value + step * push[name] for name, value in arrays.items()} | {"dt": arrays["dt"]}, None)
        moved = replace(
            from_whole,
            dt=arrays["dt"] + step * push["dt"],
            start=from_whole.start + step * (push["dt"].cumsum(1) - push["dt"]),
        )
        if mesh.step is None:
            found = moved
        else:
            shares = _shares(arrays, mesh)
            found = moved.refine(*shares)
        return float(sum((getattr(found, name) * weights[name]).sum() for name in NAMES))

    # linear but for the products of a length with what else moves: central differences are exact
    assert slope == pytest.approx((at(1e-3) - at(-1e-3)) / 2e-3, rel=1e-7, abs=1e-7)


def _shares(arrays, mesh: Mesh):
    """Where the mesh cuts, read off the lengths of the pieces: which stretch, from which share of it to which."""
    plain, cut = made_of(arrays, None), made_of(arrays, mesh)
    N, L = cut.dt.shape
    segment = torch.full((N, L), plain.dt.shape[1] - 1)
    begin, end = torch.ones(N, L, dtype=F64), torch.ones(N, L, dtype=F64)
    for i in range(N):
        first = 0
        for k in range(plain.dt.shape[1]):
            last = int(cut.segment[i, k])
            segment[i, first : last + 1] = k
            if plain.dt[i, k] == 0:
                begin[i, first], end[i, first] = 0.0, 1.0
            else:
                share = cut.dt[i, first : last + 1].cumsum(0) / plain.dt[i, k]
                begin[i, first : last + 1] = torch.cat([torch.zeros(1, dtype=F64), share[:-1]])
                end[i, first : last + 1] = torch.cat([share[:-1], torch.ones(1, dtype=F64)])
            first = last + 1
    return segment, begin, end


def test_a_person_simulated_from_arrays_is_the_person_of_the_schedule() -> None:
    backbone = OneCompartmentOral()
    model = HybridModel(
        backbone,
        SharedPopulation(backbone, values={"ka": 1.5, "ke": 0.08, "V": 31.5}),
        MLP(2, hidden=(4,), rate_scale=0.2, state_scale=300.0, generator=torch.Generator().manual_seed(1)),
        observation=Concentration("plasma", "V"),
        noise=Constant([0.1], [1e-3]),
    )
    schedule = Schedule((Dose("gut", 0.0, 320.0), Dose("gut", 6.0, 100.0, 2.0)))
    times, mesh = [[1.0, 6.0, 7.0, 24.0]], Mesh(0.5, 0.05, 0.3)
    wanted = build_segments([schedule], times, backbone.states, (), mesh)
    # 0–1, 1–6, 6–7, 7–8, 8–24; the reading at 8 is one that nobody asked for
    rate, jump = torch.zeros(1, 5, 2, dtype=F64), torch.zeros(1, 5, 2, dtype=F64)
    jump[0, 0, 0], rate[0, 2:4, 0] = 320.0, 50.0
    dt = torch.tensor([[1.0, 5.0, 1.0, 1.0, 16.0]], dtype=F64)
    made = segments_of(dt, 2, jump=jump, rate=rate, mesh=mesh)
    nobody, nothing = torch.zeros(1, 1, 0, dtype=F64), torch.full((1, 1), torch.nan, dtype=F64)
    with torch.no_grad():
        runs = [rollout(model, Conditions(s, {}, nothing), nobody, RungeKutta("rk4")) for s in (wanted, made)]
    torch.testing.assert_close(runs[1].mean[:, :, [0, 1, 2, 4]], runs[0].mean, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Interval.of(torch.ones(2), 2).cut(0.1), "Interval.cut: mesh"),
        (lambda: Interval.of(torch.ones(2), 2).cut(Mesh(0.1), torch.ones(3)), "Interval.cut: since"),
        (lambda: Interval.of(torch.ones(2), 2).cut(Mesh(0.1), -torch.ones(2)), "since the last jump"),
        (lambda: Interval.of(torch.full((2,), 1e9), 2).cut(Mesh(0.1)), "more than 1,000,000"),
        (lambda: Interval.of(torch.ones(2), 2).people(torch.tensor([2])), "Interval.people: index"),
        (lambda: Interval.of(torch.ones(2), 2).to(3), "Interval.to: like"),
        (lambda: segments_of(torch.ones(2), 2), "segments_of: dt"),
        (lambda: segments_of(torch.ones(2, 0), 2), "one at least of both"),
        (lambda: segments_of(-torch.ones(2, 1), 2), "0 or longer"),
        (lambda: segments_of(torch.ones(2, 3), 0), "states, how many"),
        (lambda: segments_of(torch.ones(2, 3), 2, jump=torch.ones(2, 2, 2)), "segments_of: jump"),
        (lambda: segments_of(torch.ones(2, 3), 2, inputs=(torch.ones(2, 3, 1), None)), "segments_of: inputs"),
        (lambda: segments_of(torch.ones(2, 3), 2, inputs=(torch.ones(2, 3, 1), torch.ones(2, 3, 2))), "both of one shape"),
        (lambda: segments_of(torch.ones(2, 3), 2, start=torch.ones(3)), "segments_of: start"),
        (lambda: segments_of(torch.ones(2, 3), 2, rate=torch.ones(2, 3, 2, dtype=F64)), "rate torch.float64"),
        (lambda: segments_of(torch.ones(2, 3), 2, mesh=0.1), "segments_of: mesh"),
    ],
)
def test_what_cannot_be_cut(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_mesh_without_a_step_cuts_nothing() -> None:
    one = Interval.of(torch.ones(2, dtype=F64), 2)
    assert one.cut(Mesh())[0] is one
    whole = one.segments()
    assert meshed(whole, Mesh(), np.zeros(2)) is whole


def test_an_interval_of_some_people_in_another_type() -> None:
    one = Interval.of(torch.tensor([1.0, 2.0], dtype=F64), 1, jump=torch.tensor([[3.0], [4.0]], dtype=F64))
    some = one.people(torch.tensor([1, 1, 0])).to(torch.zeros(1))
    assert some.dt.tolist() == [2.0, 2.0, 1.0]
    assert some.jump.dtype == torch.float32
    assert some.jump[:, 0].tolist() == [4.0, 4.0, 3.0]
