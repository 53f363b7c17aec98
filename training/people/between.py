"""The probability of a standard normal number between limits, in logarithms, to the last digits in both tails."""

import math

import torch
from torch import Tensor

_ROOT = math.sqrt(0.5)
_HAZARD = math.sqrt(2.0 / math.pi)
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


def log_between(
    a: Tensor,  # (…)
    b: Tensor,  # (…), above a
    low: Tensor,  # (…) bool: whether there is a lower limit
    high: Tensor,  # (…) bool: whether there is an upper one
) -> tuple[Tensor, Tensor, Tensor]:  # (…) thrice
    """L = log[Φ(b) − Φ(a)], and its derivatives' sizes φ(a)/Z and φ(b)/Z, Z = e^L: ∂L/∂b = φ(b)/Z and ∂L/∂a = −φ(a)/Z.

    Where `low` is False a is −∞, where `high` is False b is +∞, whatever finite number stands there; without either L = 0.
    With E(x) = e^{x²} erfc(x), which neither overflows nor vanishes for x ≥ 0, and a < b ≤ 0 (else both are turned over):
    Z = ½ e^{−b²/2} [E(−b/√2) − q E(−a/√2)], q = e^{−(a−b)(a+b)/2}; an interval that holds 0 is the sum of two error
    functions. Where both limits are given and closer than 1e-8, their difference has lost half of its digits.
    Differentiable twice, without a NaN where a limit is missing. Law: log Φ of either tail; ½ log of both is symmetric.
    """
    one, both = low ^ high, low & high
    # of two limits on one side the nearer to 0 comes first; an interval around 0 needs no turning
    turned = torch.where(both, a + b > 0.0, low & ~high)
    first, second = torch.where(turned, -b, a), torch.where(turned, -a, b)  # the interval (first, second)
    near = torch.where(low | high, second, 0.0)
    tail = (near <= 0.0) & (one | both)
    n = torch.where(tail, near, -1.0)
    f = torch.where(tail & both, first, n - 1.0)
    q = torch.where(both, torch.exp(-0.5 * (f - n) * (f + n)), 0.0)
    scaled = torch.special.erfcx(-n * _ROOT) - q * torch.special.erfcx(-f * _ROOT)
    # around 0, and Φ of a number above 0
    m = torch.where(tail, 1.0, near)
    beyond = 0.5 * torch.erfc(m * _ROOT)
    before = torch.where(both, 0.5 * torch.erfc(-torch.where(both & ~tail, first, -1.0) * _ROOT), 0.0)
    # of a short interval around 0 what is outside adds up to nearly 1
    inside = 0.5 * (torch.erf(m * _ROOT) + torch.erf(-torch.where(both & ~tail, first, -1.0) * _ROOT))
    short = both & ~tail & (inside < 0.5)
    outside = torch.where((one | both) & ~short, beyond + before, 0.0)
    middle = torch.where(short, torch.log(torch.where(short, inside, 1.0)), torch.log1p(-outside))
    L = torch.where(tail, -0.5 * n.square() + torch.log(0.5 * scaled), middle)
    p_near = torch.where(tail, _HAZARD / scaled, _DENSITY * torch.exp(-0.5 * m.square() - middle))
    g = torch.where(both & ~tail, first, 0.0)
    p_far = torch.where(tail, q * _HAZARD / scaled, _DENSITY * torch.exp(-0.5 * g.square() - middle))
    p_near, p_far = torch.where(low | high, p_near, 0.0), torch.where(both, p_far, 0.0)
    return L, torch.where(turned, p_near, p_far), torch.where(turned, p_far, p_near)
