"""The segment clock: where records are cut, what padding leaves alone, and what is read when."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from hybrid import Dose, Mesh, Schedule, Segments, Signal, build_segments

STATES = ("gut", "plasma")


def cut(schedule: Schedule, times: list[float], inputs: tuple[str, ...] = (), mesh: Mesh | None = None) -> Segments:
    return build_segments([schedule], [times], STATES, inputs, mesh)


def arrived(segments: Segments) -> torch.Tensor:  # (N, T, n)
    """How much has been given up to each observation, by adding up jumps and infusions."""
    given = (segments.rate * segments.dt[..., None]).cumsum(1)
    given = torch.nn.functional.pad(given, (0, 0, 1, 0))
    jumped = torch.nn.functional.pad(segments.jump.cumsum(1), (0, 0, 1, 0))
    return segments.read((given + jumped)[None])[0]


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    step=st.floats(0.05, 5.0),
    ratio=st.floats(0.01, 1.0),
    growth=st.floats(0.02, 1.0),
    begin=st.floats(0.0, 30.0),
    length=st.floats(0.01, 30.0),
    graded=st.booleans(),
)
def test_no_step_is_longer_than_the_mesh_allows(step, ratio, growth, begin, length, graded):
    mesh = Mesh(step, ratio * step, growth) if graded else Mesh(step)
    end = begin + length
    fractions = mesh.cuts(begin, end)
    edges = [begin, *(begin + f * length for f in fractions), end]

    def h(tau: float) -> float:
        return min(step, ratio * step + growth * tau) if graded else step

    steps = [b - a for a, b in itertools.pairwise(edges)]
    assert all(s > 0.0 for s in steps)
    # A step is h at one of its own times (mean value of ∫ dτ/h), and h does not fall, so its end bounds it. Rounding:
    # the cuts are differences of logarithms, and a whole count may pass for one part less by 1e-9 of it.
    assert all(s <= h(b) * (1.0 + 1e-7) for s, b in zip(steps, edges[1:], strict=True))
    # and no cut is wasted: by the same mean value, one part fewer would not do
    kink = (1.0 - ratio) * step / growth if graded else begin
    pieces = [begin, *([kink] if begin < kink < end else []), end]
    spent = sum(quad(lambda tau: 1.0 / h(tau), a, b)[0] for a, b in itertools.pairwise(pieces))
    assert len(steps) <= spent + 1.0 + 1e-6


def test_a_mesh_cuts_after_every_jump_anew():
    mesh = Mesh(step=2.0, first=0.1, growth=0.5)
    segments = cut(Schedule((Dose("gut", 0.0, 1.0), Dose("gut", 7.0, 1.0))), [20.0], mesh=mesh)
    dt, start = segments.dt[0], segments.start[0]
    for jump in (0.0, 7.0):
        first = int((start - jump).abs().argmin())
        # ∫ dτ/(0.1 + τ/2) = 1 at τ = 0.2 (e^{1/2} − 1) = 0.1297; equal parts are a little shorter
        assert 0.05 < dt[first] <= 0.2 * math.expm1(0.5)
    assert dt.max() <= 2.0
    assert dt.sum() == pytest.approx(20.0, abs=1e-12)
    assert len(Mesh().cuts(0.0, 100.0)) == 0
    assert Mesh(2.0).cuts(0.0, 6.0) == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0.0,), "step must be positive"),
        ((1.0, 2.0), "0 < first ≤ step"),
        ((None, 1.0), "0 < first"),
        ((1.0, 0.5, 0.0), "growth > 0"),
    ],
)
def test_meshes_that_are_none(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Mesh(*arguments)


times = st.lists(st.integers(0, 40).map(lambda k: k / 4), min_size=1, max_size=6).map(sorted)
people = st.lists(
    st.tuples(
        st.lists(
            st.builds(
                Dose,
                st.sampled_from(STATES),
                st.integers(0, 48).map(lambda k: k / 4),
                st.floats(0.0, 100.0),
                st.sampled_from([0.0, 0.0, 0.5, 3.0]),
            ),
            max_size=4,
        ),
        times,
        st.floats(-3.0, 3.0),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(people, st.sampled_from([None, Mesh(1.0), Mesh(2.0, 0.25)]))
def test_a_cohort_cuts_each_record_as_if_it_were_alone(people, mesh):
    schedules = [Schedule(tuple(doses), {"u": Signal((2.0, 5.0), (v, 2 * v))}) for doses, _, v in people]
    observed = [t for _, t, _ in people]
    together = build_segments(schedules, observed, STATES, ("u",), mesh)
    for i, (schedule, t) in enumerate(zip(schedules, observed, strict=True)):
        alone = build_segments([schedule], [t], STATES, ("u",), mesh)
        K, T = alone.dt.shape[1], len(t)
        for name in ("dt", "start", "jump", "rate", "u0", "u1"):
            assert torch.equal(getattr(together, name)[i, :K], getattr(alone, name)[0])
        for name in ("dt", "jump", "rate"):  # padding: nothing happens, for no time
            assert not getattr(together, name)[i, K:].any()
        assert torch.equal(together.boundary[i, :T], alone.boundary[0])
        assert (together.boundary[i, T:] == alone.boundary[0, -1]).all()
        picked = together.people(torch.tensor([i, i]))
        assert torch.equal(picked.dt[1], together.dt[i])


@settings(deadline=None, max_examples=80, derandomize=True)
@given(people, st.sampled_from([None, Mesh(1.0), Mesh(2.0, 0.25)]))
def test_what_has_arrived_is_what_was_given_before(people, mesh):
    schedules = [Schedule(tuple(doses)) for doses, _, _ in people]
    observed = [t for _, t, _ in people]
    have = arrived(build_segments(schedules, observed, STATES, (), mesh))
    for i, (doses, t, _) in enumerate(people):
        for k, now in enumerate(t):
            for j, state in enumerate(STATES):
                # a dose counts from after its time on, an infusion by the share of its duration that has passed
                want = sum(
                    d.amount * (min(max((now - d.time) / d.duration, 0.0), 1.0) if d.duration else float(d.time < now))
                    for d in doses
                    if d.state == state
                )
                assert have[i, k, j].item() == pytest.approx(want, rel=1e-11, abs=1e-11)


def test_an_observation_is_read_before_the_dose_of_its_time():
    schedule = Schedule((Dose("gut", 0.0, 10.0), Dose("gut", 4.0, 20.0), Dose("gut", 4.0, 5.0)))
    have = arrived(cut(schedule, [0.0, 4.0, 4.5]))
    assert have[0, :, 0].tolist() == [0.0, 10.0, 35.0]
    # equal observation times read the same boundary
    segments = cut(schedule, [4.0, 4.0, 4.0, 5.0])
    assert segments.boundary[0].tolist() == [1, 1, 1, 2]
    assert segments.jumps == [True, True]


def test_a_record_that_is_read_only_at_its_start():
    segments = cut(Schedule((Dose("gut", 3.0, 10.0), Dose("gut", 9.0, 1.0, 2.0)), start=3.0), [3.0])
    assert segments.dt.tolist() == [[0.0]]
    assert segments.start.tolist() == [[3.0]]
    assert segments.boundary.tolist() == [[0]]
    assert not segments.jump.any()


def test_what_comes_after_the_last_observation_is_left_out():
    segments = cut(Schedule((Dose("gut", 1.0, 10.0, 100.0), Dose("gut", 8.0, 1.0))), [2.0, 6.0])
    assert segments.dt.sum() == 6.0
    assert segments.rate[0, :, 0].tolist() == [0.0, 0.1, 0.1]
    assert not segments.jump.any()


def test_inputs_at_the_two_ends_of_each_segment():
    signals = {"held": Signal((0.0, 2.0), (1.0, 5.0), "held"), "linear": Signal((1.0, 3.0), (0.0, 4.0))}
    segments = cut(Schedule((), signals), [0.0, 2.5, 4.0], ("held", "linear"))
    assert segments.start[0].tolist() == [0.0, 1.0, 2.0, 2.5, 3.0]
    assert segments.u0[0].tolist() == [[1.0, 0.0], [1.0, 0.0], [5.0, 2.0], [5.0, 3.0], [5.0, 4.0]]
    assert segments.u1[0].tolist() == [[1.0, 0.0], [1.0, 2.0], [5.0, 3.0], [5.0, 4.0], [5.0, 4.0]]
    assert segments.read_inputs()[0, 0].tolist() == [[1.0, 0.0], [5.0, 3.0], [5.0, 4.0]]


def test_dose_times_and_amounts_that_carry_a_gradient():
    time = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    amount = torch.tensor(10.0, dtype=torch.float64, requires_grad=True)
    plain = cut(Schedule((Dose("gut", 2.0, 10.0), Dose("plasma", 2.0, 8.0, 4.0))), [1.0, 2.0, 5.0], mesh=Mesh(0.75))
    tensors = cut(
        Schedule((Dose("gut", time, amount), Dose("plasma", time, 2.0 * amount - 12.0, 4.0))),
        [1.0, 2.0, 5.0],
        mesh=Mesh(0.75),
    )
    torch.testing.assert_close(arrived(tensors), arrived(plain), rtol=0.0, atol=1e-12)
    # the observation of the dose's time stays where it is and before the dose, however the dose moves
    ends = torch.nn.functional.pad(tensors.dt.cumsum(1), (1, 0))
    observed = tensors.read(ends[None, ..., None])[0, 0, :, 0]
    assert observed.tolist() == [1.0, 2.0, 5.0]
    for k in range(3):
        (moved,) = torch.autograd.grad(observed[k], time, retain_graph=True)
        assert moved == 0.0
    # by time 5 three quarters of the infusion are in, and each hour's delay leaves its rate, 2 per hour, out
    got = arrived(tensors)[0, 2, 1]
    by_time, by_amount = torch.autograd.grad(got, (time, amount))
    assert got.item() == pytest.approx(6.0, abs=1e-12)
    assert by_time.item() == pytest.approx(-2.0, abs=1e-12)
    assert by_amount.item() == pytest.approx(1.5, abs=1e-12)


def test_moving_to_another_dtype():
    segments = cut(Schedule((Dose("gut", 1.0, 10.0),)), [0.0, 2.0])
    moved = segments.to(torch.zeros((), dtype=torch.float32))
    assert {f for k, v in vars(moved).items() if (f := getattr(v, "dtype", None)) and k != "segment"} == {torch.float32}
    assert moved.segment.dtype == torch.long


@pytest.mark.parametrize(
    ("schedule", "observed", "inputs", "sentence"),
    [
        (Schedule((Dose("brain", 0.0, 1.0),)), [1.0], (), r"\['brain'\]; the compartments are \['gut', 'plasma'\]"),
        (Schedule(), [1.0], ("u",), r"the model has \['u'\]"),
        (Schedule((), {"v": Signal((0.0,), (1.0,))}), [1.0], (), r"sets the inputs \['v'\]"),
        (Schedule(), [2.0, 1.0], (), "must be sorted"),
        (Schedule(), [], (), "finite and at least one"),
        (Schedule(), [1.0, float("nan")], (), "must be sorted, finite"),
        (Schedule(), [1.0, float("inf")], (), "must be sorted, finite"),
        (Schedule(start=3.0), [2.0], (), "before the record starts at 3"),
    ],
)
def test_what_is_refused(schedule, observed, inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        cut(schedule, observed, inputs)
