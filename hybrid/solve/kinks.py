"""Where within a step a mechanism's slope jumps: the tape says of what it is taken, and a sign that changes says where.

The error estimate of a step looks at a few places. A pulse between two of them, as an overflow that lasts for a moment, costs it
nothing; and a step across a kink has lost its order. So every trial looks for changes of sign of what the kinks are taken of,
at `_LOOKS` places along the cubic through its ends and their slopes, and at the vertex of a parabola through three neighbours:
the step then ends at the first of them. What comes and goes between two looks without either is not seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.field import SemilinearField, rate_in
from physics.tape import BoundTape

_LOOKS = 8
ENDS = (
    1e-4  # what lies this near to an end of a step, as a share of it, lies at it: its error is 1e-8/2 h² times the jump
)
_STEEP = (
    4.0  # a middle counts where its argument moves by more than this in a step: less is smooth enough for the estimate
)
_SECANTS = 3  # what they leave the next trial finds, whose step is shorter


@dataclass(frozen=True)
class Kinks:
    """The kinks of the `tape` of a `field`."""

    field: SemilinearField
    tape: BoundTape

    @staticmethod
    def of(field: SemilinearField) -> "Kinks | None":
        """None where the right-hand side is no tape, or one without kinks."""
        tape = field.tape
        return Kinks(field, tape) if tape is not None and tape.tape.bent else None

    def crossed(
        self,
        index: Tensor,  # (N,) everyone's segment
        begin: Tensor,  # (N,) and where in it
        delta: Tensor,  # (N,) and how much of it
        x: Tensor,  # (M, N, n), at the beginning of the step
        after: Tensor,  # (M, N, n), and at its end
    ) -> Tensor:  # (N,)
        """The share of everyone's step at which the first kink lies within it, 1 where none does."""
        given, rate = self.field.segments, rate_in(self.field, index)
        everyone = torch.arange(len(index), device=x.device)
        h = (delta * given.dt[everyone, index])[:, None]
        u0, u1 = given.u0[everyone, index], given.u1[everyone, index]
        first, last = h * rate(begin, x), h * rate(begin + delta, after)
        moved = after - x

        def at(share: Tensor) -> Tensor:  # (..., N) to (..., M, N, d)
            s = share[..., None, :, None]
            state = x + s * (first + s * (3.0 * moved - 2.0 * first - last + s * (first + last - 2.0 * moved)))
            return self.tape.kinks(state, torch.lerp(u0, u1, (begin + share * delta)[..., None, :, None]))

        looks = torch.linspace(0.0, 1.0, _LOOKS + 1, dtype=x.dtype, device=x.device)
        a = at(looks[:, None].expand(-1, len(index)))  # (L+1, M, N, d)
        counts = torch.ones_like(a[0], dtype=torch.bool)
        middles = self.tape.tape.kinked
        counts[..., middles:] = (a[-1] - a[0])[..., middles:].abs() > _STEEP
        changes = (a[:-1] * a[1:] < 0) & counts
        before, here, behind = a[:-2], a[1:-1], a[2:]
        bend = behind - 2.0 * here + before
        safe = torch.where(bend == 0, 1.0, bend)
        aside, vertex = 0.5 * (before - behind) / safe, here - (behind - before).square() / (8.0 * safe)
        # a neighbour that is 0 is where a step before ended
        one_side = (here * before > -1e-9 * here * here) & (here * behind > -1e-9 * here * here)
        turns = one_side & (aside.abs() < 1.0) & (vertex * here < 0) & counts
        turned = torch.where(turns, looks[1:-1, None, None, None] + aside / _LOOKS, 1.0).amin((0, 1, 3))
        turned = torch.where(turned > ENDS, turned, 1.0)
        return torch.minimum(self._located(at, looks, a, changes), turned) if bool(changes.any()) else turned

    def _located(self, at: Callable[[Tensor], Tensor], looks: Tensor, a: Tensor, changes: Tensor) -> Tensor:  # (N,)
        """The first change of sign of everyone; 1 where there is none but at the beginning, where the step before ended."""
        low, high = a[:-1], a[1:]
        cut = looks[:-1, None, None, None] + (low / torch.where(changes, low - high, 1.0)) / _LOOKS
        cut = torch.where(changes & (cut > ENDS), cut, 2.0)  # (L, M, N, d)
        flat = cut.movedim(2, 0).flatten(1)  # (N, L·M·d)
        first, which = flat.min(1)
        there = first < 1.5
        M, d = cut.shape[1], cut.shape[3]
        look, member, kink = which // (M * d), which // d % M, which % d
        everyone = torch.arange(len(first), device=a.device)
        left, right = looks[look], looks[look + 1]
        down, up = (v[look, member, everyone, kink] for v in (low, high))
        for _ in range(_SECANTS):
            value = at(first.clamp(max=1.0))[member, everyone, kink]
            same = value * down > 0
            left, down = torch.where(same, first, left), torch.where(same, value, down)
            right, up = torch.where(same, right, first), torch.where(same, up, value)
            secant = left + (right - left) * (down / torch.where(down == up, 1.0, down - up))
            first = torch.where(there, secant, first)
        return torch.where(there, first.clamp(max=1.0), 1.0)
