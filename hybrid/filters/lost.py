"""Who diverged, and how the others are kept from feeling it.

A number that overflowed has no derivative: a gradient of 0 that goes back into what made it is 0·∞ = NaN, and from there it is in
everything that people share, g and weights. To mask the result is too late. So, wherever a derivative may be asked for, whoever
diverges is found first, and what the derivative goes back through is computed again with somebody else's numbers in their place:
numbers of which it is known that all is finite there.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.derivative import transforming, values_of

Found = TypeVar("Found")


def diverged(
    states: Tensor,  # (M, N, P, n)
) -> Tensor:  # (N,) bool
    """Who has a point, under any member, that is NaN, or so far out that its square is no number any more."""
    there = states.detach().abs() <= torch.finfo(states.dtype).max ** 0.45
    return ~there.flatten(-2).all(-1).all(0)


def watched() -> bool:
    """May anyone ask for a derivative of what is computed now?"""
    return torch.is_grad_enabled() or transforming()


def anyone(of: Tensor) -> bool:  # (N,) bool
    """Is it true of anyone?"""
    return bool(values_of(of).any())


def everyone(of: Tensor) -> bool:  # (N,) bool
    """Is it true of everyone?"""
    return bool(values_of(of).all())


def stood_in(
    lost: Tensor,  # (N,) bool
    *values: Tensor,  # (M, N, …) each
) -> tuple[Tensor, ...]:
    """The values, with those of the first person who is not lost in the place of who is; 0 where there is nobody."""
    first, nobody = (~lost).to(torch.uint8).argmax().reshape(1), lost.all()
    found = []
    for value in values:
        other = torch.where(nobody, 0.0, value.detach().index_select(1, first))
        found.append(torch.where(lost.reshape(-1, *[1] * (value.ndim - 2)), other, value))
    return tuple(found)


def resting(
    lost: Tensor,  # (N,) bool
    piece: Interval,
) -> Interval:
    """The piece in which whoever is lost rests, under what drives somebody else."""
    rate, u0, u1 = (v[0] for v in stood_in(lost, piece.rate[None], piece.u0[None], piece.u1[None]))
    dt, jump = torch.where(lost, 0.0, piece.dt), torch.where(lost[:, None], 0.0, piece.jump)
    return replace(piece, dt=dt, jump=jump, rate=rate, u0=u0, u1=u1)


def over(
    piece: Interval,
    lost: Tensor,  # (N,) bool
    values: tuple[Tensor, ...],  # (M, N, …) each
    run: Callable[..., tuple[Found, Tensor]],
) -> tuple[Found | None, tuple[Tensor, ...], Tensor]:
    """What `run(piece, *values)` finds, (found, who diverges in it), the values that it found it from, and who is lost then.

    Where a derivative may be asked for, whoever is lost rests at somebody else's numbers; None where nobody is left.
    """
    if not watched():
        found, gone = run(piece, *values)
        return found, values, lost | gone
    if anyone(lost):
        if everyone(lost):
            return None, values, lost
        piece = resting(lost, piece)
    found, gone = run(piece, *values)
    gone = gone | lost
    if anyone(gone & ~lost):
        values = stood_in(gone, *values)
        if everyone(gone):
            return None, values, gone
        found, _ = run(resting(gone, piece), *values)
    return found, values, gone
