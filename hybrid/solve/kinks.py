"""Where within a step a mechanism's slope jumps: the tape says of what it is taken, and a sign that changes says where.

The error estimate of a step looks at a few places. A pulse between two of them, as an overflow that lasts for a moment, costs it
nothing; and a step across a kink has lost its order. So every trial looks for changes of sign of what the kinks are taken of,
at `_LOOKS` places along the cubic through its ends and their slopes, and at the vertex of a parabola through three neighbours:
the step then ends at the first of them. What comes and goes between two looks without either is not seen.

A sign that the state's own tolerance could turn is none: a step may then pass a kink, with an error in the rate that the
tolerance has already. So a state that rests on a kink leaves it, however flatly: near the beginning the cubic's terms in s² are
all but a difference of nothing, and what is left of them may have either sign in a step of any length.
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
        *,
        known: Tensor,  # (M, N, n), and to what it is known
    ) -> Tensor:  # (N,)
        """The share of everyone's step at which the first kink lies within it, 1 where none does."""
        given, rate = self.field.segments, rate_in(self.field, index)
        everyone = torch.arange(len(index), device=x.device)
        h = (delta * given.dt[everyone, index])[:, None]
        u0, u1 = given.u0[everyone, index], given.u1[everyone, index]
        first, last = h * rate(begin, x), h * rate(begin + delta, after)
        moved = after - x

        def at(share: Tensor, aside: Tensor | float = 0.0) -> Tensor:  # (..., N) to (..., M, N, d)
            s = share[..., None, :, None]
            state = x + s * (first + s * (3.0 * moved - 2.0 * first - last + s * (first + last - 2.0 * moved)))
            return self.tape.kinks(state + aside, torch.lerp(u0, u1, (begin + share * delta)[..., None, :, None]))

        looks = torch.linspace(0.0, 1.0, _LOOKS + 1, dtype=x.dtype, device=x.device)
        everywhere = looks[:, None].expand(-1, len(index))
        a = at(everywhere)  # (L+1, M, N, d)
        counts = torch.ones_like(a[0], dtype=torch.bool)
        middles = self.tape.tape.kinked
        counts[..., middles:] = (a[-1] - a[0])[..., middles:].abs() > _STEEP
        before, here, behind = a[:-2], a[1:-1], a[2:]
        bend = behind - 2.0 * here + before
        safe = torch.where(bend == 0, 1.0, bend)
        aside, vertex = 0.5 * (before - behind) / safe, here - (behind - before).square() / (8.0 * safe)
        # a neighbour that is 0 is where a step before ended
        one_side = (here * before > -1e-9 * here * here) & (here * behind > -1e-9 * here * here)
        turns = one_side & (aside.abs() < 1.0) & (vertex * here < 0) & counts
        if not bool((turns.any(0) | ((a[:-1] * a[1:] < 0) & counts).any(0)).any()):
            return torch.ones_like(delta)
        doubt = self._doubt(lambda of: at(everywhere, of), a, known)
        turns = turns & (vertex.abs() > doubt[1:-1])
        turned = torch.where(turns, looks[1:-1, None, None, None] + aside / _LOOKS, 1.0).amin((0, 1, 3))
        turned = torch.where(turned > ENDS, turned, 1.0)
        return torch.minimum(_located(at, looks, torch.where((a.abs() > doubt) & counts, a, 0.0)), turned)

    def _doubt(self, at: Callable[[Tensor], Tensor], a: Tensor, known: Tensor) -> Tensor:  # (L+1, M, N, d)
        """By how much the tolerance of the states moves what the kinks are taken of. Middles are smooth, and always known."""
        doubt = torch.zeros_like(a)
        for j in range(known.shape[-1]):
            one = torch.zeros_like(known)
            one[..., j] = known[..., j]
            doubt += (at(one) - a).abs().nan_to_num(nan=0.0)
        doubt[..., self.tape.tape.kinked :] = 0.0
        return doubt


def _located(at: Callable[[Tensor], Tensor], looks: Tensor, a: Tensor) -> Tensor:  # (N,)
    """The first change of sign of everyone; 1 where there is none but at the beginning, where the step before ended.

    `a` (L+1, M, N, d): 0 where its sign is not known; between two looks where it is there may be some where it is not.
    """
    since, low = torch.zeros_like(a[0]), a[0]
    cuts, froms, lows = list[Tensor](), list[Tensor](), list[Tensor]()
    for look, high in zip(looks[1:], a[1:], strict=True):
        changes = low * high < 0
        cut = since + (low / torch.where(changes, low - high, 1.0)) * (look - since)
        cuts.append(torch.where(changes & (cut > ENDS), cut, 2.0))
        froms.append(since)
        lows.append(low)
        since, low = torch.where(high != 0, look, since), torch.where(high != 0, high, low)
    flat = torch.stack(cuts).movedim(2, 0).flatten(1)  # (N, L·M·d)
    first, which = flat.min(1)
    there = first < 1.5
    M, d = a.shape[1], a.shape[3]
    place, member, kink = which // (M * d), which // d % M, which % d
    everyone = torch.arange(len(first), device=a.device)
    left, right = torch.stack(froms)[place, member, everyone, kink], looks[1:][place]
    down, up = torch.stack(lows)[place, member, everyone, kink], a[1:][place, member, everyone, kink]
    for _ in range(_SECANTS):
        value = at(first.clamp(max=1.0))[member, everyone, kink]
        same = value * down > 0
        left, down = torch.where(same, first, left), torch.where(same, value, down)
        right, up = torch.where(same, right, first), torch.where(same, up, value)
        secant = left + (right - left) * (down / torch.where(down == up, 1.0, down - up))
        first = torch.where(there, secant, first)
    return torch.where(there, first.clamp(max=1.0), 1.0)
