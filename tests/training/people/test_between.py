"""log[Φ(b) − Φ(a)] and its derivatives against 60 digits, in both tails, for wide and narrow intervals."""

import math

import mpmath
import pytest
import torch

from training.people.between import log_between

D = torch.float64


def digits(a: float, b: float, low: bool, high: bool) -> tuple[float, float, float, float]:
    """L, φ(a)/Z, φ(b)/Z and the curvature of L along a shift of both, from 400 digits."""
    with mpmath.workdps(400):
        A, B = mpmath.mpf(a), mpmath.mpf(b)
        # of both tails the one that is small, so that no digits are lost in a difference of ones
        if (low and high and A + B > 0) or not high:
            lower, upper = (mpmath.erfc(x / mpmath.sqrt(2)) / 2 for x in (A, B))
            Z = lower - upper if high else lower
        else:
            lower, upper = (mpmath.erfc(-x / mpmath.sqrt(2)) / 2 for x in (A, B))
            Z = upper - lower if low else upper
        pa, pb = (mpmath.npdf(x) / Z if there else mpmath.mpf(0) for x, there in ((A, low), (B, high)))
        return float(mpmath.log(Z)), float(pa), float(pb), float(-B * pb + A * pa - (pb - pa) ** 2)


CASES = [
    (middle - width / 2, middle + width / 2, low, high)
    for middle in (0.0, 0.3, -0.3, 4.0, -4.0, 9.0, -9.0, 30.0, -40.0, 300.0, -2000.0)
    for width in (1e-3, 0.1, 2.0, 60.0)
    for low, high in ((True, True), (True, False), (False, True))
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_slopes_and_curvature_have_their_digits(case: tuple[float, float, bool, bool]) -> None:
    a, b, low, high = case
    A, B = (torch.tensor(v, dtype=D, requires_grad=True) for v in (a, b))
    L, pa, pb = log_between(A, B, torch.tensor(low), torch.tensor(high))
    slopes = torch.autograd.grad(L, (A, B), create_graph=True)
    curved = torch.autograd.grad(slopes[0] + slopes[1], (A, B))
    value, below, above, curvature = digits(a, b, low, high)
    # an interval of 1e-3 has lost three digits of sixteen, its slopes six in the curvature; a tail at 2,000 loses x² of them
    assert float(L.detach()) == pytest.approx(value, rel=1e-12, abs=1e-300)
    assert float(pa.detach()) == pytest.approx(below, rel=1e-11, abs=1e-300)
    assert float(pb.detach()) == pytest.approx(above, rel=1e-11, abs=1e-300)
    assert float(slopes[0].detach()) == pytest.approx(-below, rel=1e-11, abs=1e-12)
    assert float(slopes[1].detach()) == pytest.approx(above, rel=1e-11, abs=1e-12)
    assert float(sum(curved)) == pytest.approx(curvature, rel=1e-8, abs=1e-8)


def test_single_precision_keeps_the_tails() -> None:
    a = torch.tensor([-60.0, 20.0, -1.0], dtype=torch.float32)
    L, _, _ = log_between(a, a + 1.0, torch.tensor([False, True, True]), torch.tensor([True, False, True]))
    wanted = [digits(float(v), float(v) + 1.0, low, high)[0] for v, low, high in zip(a, (0, 1, 1), (1, 0, 1), strict=True)]
    torch.testing.assert_close(L, torch.tensor(wanted, dtype=torch.float32), rtol=1e-6, atol=0.0)


def test_what_has_no_limit_says_nothing_and_pulls_nowhere() -> None:
    a, b = (torch.tensor([v], dtype=D, requires_grad=True) for v in (0.3, 0.9))
    none = torch.tensor([False])
    L, pa, pb = log_between(a, b, none, none)
    assert (float(L.detach()), float(pa.detach()), float(pb.detach())) == (0.0, 0.0, 0.0)
    assert all(float(g) == 0.0 for g in torch.autograd.grad(L.sum(), (a, b)))
    assert math.isfinite(float(log_between(a, b, ~none, ~none)[0].detach()))
