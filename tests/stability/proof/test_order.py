"""Staying between two curves: what is true is proved, the traps of doses are refused, and so is what is changed."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from stability.proof import Unusable
from stability.proof.arithmetic import Array
from stability.proof.region.enclosure import Layers
from stability.proof.region.field import Field
from stability.proof.region.order import Pair, Tube, choices, hull_of_doses, tube_kept
from stability.proof.region.whole import whole_of
from stability.proof.tape import read_tape
from stability.search.curves.order_curves import dosed
from stability.search.curves.order_rest import resting
from stability.search.curves.two_fields import two_fields

NONE = np.zeros(0), np.zeros(0)
# gut → plasma → out by Vmax v/(1 + v), v = plasma/Km
ELIMINATION = read_tape(
    {
        "tape": 1,
        "states": ["gut", "plasma"],
        "inputs": [],
        "parameters": [],
        "code": [
            *(["state", 0], ["state", 1], ["constant", 12.0], ["multiply", 2, 0], ["negate", 3], ["constant", 200.0]),
            *(["divide", 1, 5], ["saturating", 6], ["constant", 500.0], ["multiply", 8, 7], ["subtract", 3, 9]),
        ],
        "rate": [4, 10],
    }
)
REGION = np.zeros(2), np.array([320.0, 600.0])


def linear(A: Array, B: Array | None = None, **more: object) -> Field:
    n = len(A)
    return Field((A,), (np.zeros((n, 0)) if B is None else B,), None, np.zeros((n, 0)), np.zeros(n), **more)  # type: ignore[arg-type]


def elimination() -> Field:
    return linear(np.zeros((2, 2)), tape=ELIMINATION, theta=NONE)


def found(
    field: Field, region: Pair, doses: Array, *, any_gap: bool = True, levels: Pair = NONE, margin: float = 1e-2
) -> Tube | None:
    """For gaps of at least 1, or multiples of 1."""
    scale, hull = region[1] - region[0], hull_of_doses(doses)
    problem = two_fields([field], [whole_of(field, levels)], levels, region, scale, hull[0])
    return dosed(problem, scale, hull, 1.0, any_gap=any_gap, margin=margin)


def kept(field: Field, tube: Tube, region: Pair, doses: Array, *, any_gap: bool = True, levels: Pair = NONE) -> str:
    return tube_kept(whole_of(field, levels), tube, region, hull_of_doses(doses), any_gap=any_gap, most=5000)


@cache
def daily(dose: float = 300.0, any_gap: bool = True) -> Tube:
    tube = found(elimination(), REGION, np.array([[dose, 0.0]]), any_gap=any_gap)
    assert tube is not None
    return tube


@pytest.mark.parametrize("any_gap", [True, False])
def test_saturable_elimination_with_daily_doses(any_gap: bool) -> None:
    """300 mg a day by mouth: the true peak is 400 mg, so 600 hold it and 300 do not."""
    tube, doses = daily(any_gap=any_gap), np.array([[300.0, 0.0]])
    assert kept(elimination(), tube, REGION, doses, any_gap=any_gap) == ""
    peak = tube.largest.sum(2)[:, 1].max()
    assert 400.0 < peak < 450.0
    assert len(tube.least) <= 16
    assert not tube.least.any()  # nothing is below an empty body, and that is proved without a margin
    close = found(elimination(), REGION, doses, any_gap=any_gap, margin=1e-3)
    assert close is not None
    assert close.largest.sum(2)[:, 1].max() < 404.0
    assert kept(elimination(), close, REGION, doses, any_gap=any_gap) == ""
    small = REGION[0], np.array([320.0, 300.0])
    assert "the region" in kept(elimination(), tube, small, doses, any_gap=any_gap)


def test_the_order_is_found_by_signs() -> None:
    """In the order of an orthant there are two worst cases, whatever its signs; without signs a state is taken as an interval."""
    A = np.array([[-1.0, -2.0, 0.0], [-1.0, -1.0, 3.0], [0.0, 1.0, -5.0]])  # (+, −, −)
    two = choices((A, A))
    assert [list(c.columns) for c in two] == [[0, 1, 1], [1, 0, 0]]
    assert [c.rows for c in two] == [([0], [1, 2]), ([1, 2], [0])]
    wide = np.zeros((3, 3))
    wide[0, 1] = 1.0
    coupled = choices((A - 3.0 * wide, A + 3.0 * wide))
    assert any((c.columns == 2).any() for c in coupled)
    assert sorted(i for c in coupled for i in c.rows[1]) == [0, 1, 2]


def _later(tube: Tube, share: float) -> Tube:
    """The upper curve lowered by a share of its fall over the last piece."""
    largest = tube.largest.copy()
    largest[-1, :, 0] *= 1.0 - share
    return replace(tube, largest=largest)


CHANGES: dict[str, tuple[Callable[[Tube], Tube], str]] = {
    "a smaller start": (lambda t: replace(t, largest=t.largest * np.array([0.99, 1.0, 1.0, 1.0])), "begin above"),
    "a higher lower curve": (lambda t: replace(t, least=t.least + np.eye(4)[0]), "begin below"),
    "smaller rests": (lambda t: replace(t, rest=(t.rest[0], t.rest[1] * 0.98)), "come back"),
    "a jump": (lambda t: _later(t, 0.05), "jumps"),
    "twice the speed": (lambda t: replace(t, knots=t.knots * 0.5), "it is not proved"),
    "half the speed": (lambda t: replace(t, knots=t.knots * 2.0), "it is not proved"),
    "a bend": (lambda t: replace(t, largest=t.largest + np.array([0.0, -3.0, 3.0, 0.0])), "it is not proved"),
    "turned round": (lambda t: replace(t, rest=(t.rest[1], t.rest[0])), "not in order"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_curves_are_refused(name: str) -> None:
    change, says = CHANGES[name]
    assert says in kept(elimination(), change(daily()), REGION, np.array([[300.0, 0.0]]))


def test_other_doses_are_refused() -> None:
    for doses in ([[301.0, 0.0]], [[300.0, 1.0]]):
        assert "begin above" in kept(elimination(), daily(), REGION, np.array(doses))
    assert "begin below" in kept(elimination(), daily(), REGION, np.array([[-1.0, 0.0]]))


def test_curves_that_do_not_fit() -> None:
    tube = daily()
    broken = [replace(tube, knots=tube.knots[1:]), replace(tube, largest=tube.largest * np.nan)]
    broken += [replace(tube, knots=tube.knots - 0.5), replace(tube, least=tube.least[:, :, :2])]
    for one in broken:
        with pytest.raises(Unusable, match="do not fit"):
            kept(elimination(), one, REGION, np.array([[300.0, 0.0]]))


def double_peak() -> Array:
    """τ = 1: a depot of 25, 40 transits of mean 1.5 in all, elimination 8."""
    n, k = 42, 40 / 1.5
    A = np.zeros((n, n))
    A[0, 0], A[-1, 0], A[-1, -1] = -25.0, 25.0, -8.0
    for i in range(1, 41):
        A[i, i] = -k
        A[i + 1, i] = k
    return A


def test_the_double_peak_is_refused_for_gaps_of_at_least_tau() -> None:
    """The upper trajectory is back below its start after τ; two doses 1.5 τ apart still exceed it."""
    field, dose = linear(double_peak()), np.zeros((1, 42))
    dose[0, 0] = dose[0, 1] = 50.0
    box = np.zeros(42), np.full(42, 100.0)
    fixed = found(field, box, dose, any_gap=False)
    assert fixed is not None
    assert 32.2 < fixed.largest.sum(2)[:, -1].max() < 38.8
    assert kept(field, fixed, box, dose, any_gap=False) == ""
    assert "only doses at multiples of the gap" in kept(field, fixed, box, dose, any_gap=True)
    small = box[0], np.append(np.full(41, 100.0), 38.8)
    close = found(field, small, dose, any_gap=True)
    assert close is None or kept(field, close, small, dose, any_gap=True)
    wider = found(field, box, dose, any_gap=True)  # with larger states before a dose, and room, it does hold
    assert wider is not None
    assert wider.largest.sum(2)[:, -1].max() > 42.0
    assert kept(field, wider, box, dose, any_gap=True) == ""


def flow(field: Field, x: Array, u: Array, time: float, steps: int) -> list[Array]:
    """States (K, n) by Runge–Kutta's method, in plain floating point."""

    def f(x: Array) -> Array:
        out = x @ field.linear[0].T + u @ field.B[0].T + field.bias
        if field.layers is not None:
            z = np.concatenate([x, u], axis=1)
            for W, b in zip(field.layers.weights, field.layers.biases, strict=True):
                z = np.tanh(z @ W.T + b)
            out = out + z @ field.last.T
        return np.asarray(out)

    states, h = [x], time / steps
    for _ in range(steps):
        k1 = f(x)
        k2 = f(x + h / 2 * k1)
        k3 = f(x + h / 2 * k2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + f(x + h * k3))
        states.append(x)
    return states


def random_field(rng: np.random.Generator, monotone: bool) -> Field:
    """A little network of three states, with signs of an orthant or without."""
    n, h = 3, 4
    sigma = rng.choice([-1.0, 1.0], n)
    A = rng.uniform(0.0, 1.0, (n, n)) * (rng.random((n, n)) < 0.6) if monotone else rng.normal(size=(n, n)) * 0.4
    W, V = rng.normal(size=(h, n)) * 0.4, rng.normal(size=(n, h)) * 0.4
    if monotone:
        W, V = np.abs(W), np.abs(V)
    A = A - np.diag(np.diag(A)) - np.diag(rng.uniform(2.5, 5.0, n))
    A, W, V = sigma[:, None] * A * sigma, W * sigma, sigma[:, None] * V
    B = rng.normal(size=(n, 1))
    return Field(
        (A,), (B,), Layers((np.c_[W, 0.2 * rng.normal(size=h)],), (rng.normal(size=h),), "tanh"), V, rng.normal(size=n)
    )


@pytest.mark.parametrize("monotone", [True, False])
def test_trajectories_with_doses_at_random_times_never_leave(monotone: bool) -> None:
    levels, box = (np.array([-1.0]), np.array([1.0])), (np.full(3, -6.0), np.full(3, 6.0))
    proved = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        field, doses, any_gap = random_field(rng, monotone), rng.normal(size=(2, 3)), seed % 2 == 0
        tube = found(field, box, doses, any_gap=any_gap, levels=levels, margin=2e-2)
        if tube is None or kept(field, tube, box, doses, any_gap=any_gap, levels=levels):
            continue
        proved += 1
        x = rng.uniform(*tube.rest, (40, 3))
        for _ in range(4):
            share = rng.dirichlet(np.ones(3), len(x))  # of the two doses, and of none
            x = x + share[:, :2] @ doses
            u = rng.choice([-1.0, 1.0], (len(x), 1))
            for k, states in enumerate(flow(field, x, u, 1.0, 40)):
                piece = min(int(np.searchsorted(tube.knots, k / 40, side="right")) - 1, len(tube.least) - 1)
                s = (k / 40 - tube.knots[piece]) / (tube.knots[piece + 1] - tube.knots[piece])
                low, high = (c[piece] @ s ** np.arange(4) for c in (tube.least, tube.largest))
                assert (low - 1e-6 <= states).all()
                assert (states <= high + 1e-6).all()
                x = states
            if any_gap:
                more = flow(field, x, -u, rng.uniform(0.0, 2.0), 40)
                assert all((tube.rest[0] - 1e-6 <= y).all() and (y <= tube.rest[1] + 1e-6).all() for y in more)
                x = more[-1]
    assert proved >= (3 if monotone else 2)


def test_states_that_are_kept_without_doses() -> None:
    """The largest that are found hold; a state more does not."""
    rng = np.random.default_rng(3)
    field, levels, box = (
        random_field(rng, True),
        (np.array([-1.0]), np.array([1.0])),
        (np.full(3, -6.0), np.full(3, 6.0)),
    )
    scale, whole = np.ones(3), whole_of(field, levels)
    tube = resting(two_fields([field], [whole], levels, box, scale, np.zeros(3)), scale, 1e-3)
    assert tube is not None
    assert tube_kept(whole, tube, box, None) == ""
    assert "point inward" in tube_kept(whole, replace(tube, rest=(tube.rest[0], 0.01 * tube.rest[1])), box, None)
    assert "within the region" in tube_kept(whole, replace(tube, rest=(tube.rest[0], tube.rest[1] + 20.0)), box, None)
    x, u = (
        np.random.default_rng(0).uniform(*tube.rest, (200, 3)),
        np.random.default_rng(1).choice([-1.0, 1.0], (200, 1)),
    )
    for y in flow(field, x, u, 3.0, 60):
        assert (tube.rest[0] - 1e-9 <= y).all()
        assert (y <= tube.rest[1] + 1e-9).all()
