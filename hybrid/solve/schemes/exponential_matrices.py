"""The matrices of an exponential step: of its stages, of its end, and of what is read inside it."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hybrid.derivative import kept, transforming, varies
from hybrid.field import SemilinearField
from hybrid.solve.schemes.phi import (
    doublings_for,
    doublings_for_multiples,
    exponential_of_multiples,
    own_doublings,
    phi,
    phi_of_multiples,
)
from hybrid.solve.schemes.tableau import constants
from physics import capture


def _constant(field: SemilinearField, name: str, make: Callable[[], Tensor | list[Tensor]]) -> Any:
    """What depends on the segments and one constant A alone is made once for both."""
    if transforming():
        return make()
    A = field.A[0, 0]
    known: dict[str, tuple[Tensor, Any]] = field.segments.__dict__.setdefault("_constants", {})
    found = known.get(name)  # looked up once: another thread may put something else there
    if found is None or not (capture.capturing() or torch.equal(found[0], A)):
        with kept():
            found = known[name] = (A.clone(), make())
    return found[1]


def stage_matrices(field: SemilinearField, M: int) -> tuple[list[Tensor], Tensor | None]:
    """C_2, C_3, C_4 and C of the end, (U, (i+1)n, n) each, with [x, g_1 … g_i] C_{i+1} = X_{i+1} on rows, and which of the U
    serves each step: (K,) where people share them, else (K, M·N), or None where the U are the K·M·N in this order.
    Differentiable in A and h.
    """
    segments = field.segments
    # not of people who stand apart: as many matrices as different lengths make a batch whose size hangs on who is in it
    if field.shared and not varies(segments.dt) and not segments.apart:
        different, index = segments.lengths
        index = index[0] if segments.one_length else index.T.repeat(1, M)
        h = different.to(_EXACT)

        def make() -> list[Tensor]:
            return _stages(field, field.A[0, 0].to(_EXACT) * h[:, None, None], h)

        return make() if varies(field.A) else _constant(field, "stages", make), index
    N, K = segments.dt.shape
    own, which = (segments.dt, None) if varies(segments.dt) else segments.own_lengths
    A, h = _rows_of(field.A, own, M)
    levels = phi_of_multiples(A, h, 1, doublings=_doublings_of_multiples(field, A, h, "stages"))
    made = [C.unflatten(0, (-1, N, own.shape[1])) for C in _combined(levels, h.reshape(-1))]  # (M|1, N, K', ·, n)
    if which is not None:
        made = [C.gather(2, which[None, :, :, None, None].expand(len(C), N, K, *C.shape[3:])) for C in made]
    return [C.permute(2, 0, 1, 3, 4).expand(K, M, N, *C.shape[3:]).flatten(0, 2) for C in made], None


def own_ends(field: SemilinearField, M: int) -> Callable[[int], Tensor] | None:
    """C of the end alone, (M·N, 5n, n) for step k, where everyone has their own: all that a step without a residual needs.

    Everyone's different lengths stay as few as they are, and the functions are made for some thousand people at a time: for very
    many people their series would fill the memory. None where people share their matrices, which are few.
    Law: the numbers are those of `stage_matrices`.
    """
    segments = field.segments
    if field.shared and not varies(segments.dt) and not segments.apart:
        return None
    N = segments.dt.shape[0]
    own, which = (segments.dt, None) if varies(segments.dt) else segments.own_lengths
    A, h = _rows_of(field.A, own, M)
    q = _doublings_of_multiples(field, A, h, "stages")
    some = max(1, _AT_ONCE // h.shape[1])
    counts = q.split(some) if isinstance(q, Tensor) else itertools.repeat(q)
    blocks = [
        _combined(phi_of_multiples(a, s, 1, doublings=count), s.reshape(-1))[-1]
        for a, s, count in zip(A.split(some), h.split(some), counts, strict=False)
    ]
    made = torch.cat(blocks).unflatten(0, (-1, N, own.shape[1]))  # (M|1, N, K', 5n, n)
    everyone = torch.arange(N, device=A.device)

    def end(k: int) -> Tensor:
        found = made[:, :, k] if which is None else made[:, everyone, which[:, k]]
        return found.expand(M, -1, -1, -1).flatten(0, 1)

    return end


def _rows_of(
    A: Tensor,  # (M|1, N|1, n, n)
    h: Tensor,  # (N, K)
    M: int,
) -> tuple[Tensor, Tensor]:  # (M'·N, n, n), (M'·N, K)
    """Everyone's A and their own lengths, once for all members where A is stored once for them."""
    n, N = A.shape[-1], h.shape[0]
    if A.shape[0] == 1 or A.stride(0) == 0:
        A, M = A[:1], 1
    rows = A.expand(M, N, n, n).reshape(-1, n, n).to(_EXACT)
    return rows, h.to(_EXACT).repeat(M, 1)


def _stages(
    field: SemilinearField,
    z: Tensor,  # (U, n, n)
    h: Tensor,  # (U,)
) -> list[Tensor]:
    """C of every stage for z = h A."""
    levels = phi(z, 1, doublings=_doublings(field, z, "stages"))
    return _combined([(e, torch.cat(p, -1)) for e, *p in levels], h)


# [e^{z/2}, hφ₁(z/2), hφ₂(z/2), e^z, hφ₁(z), hφ₂(z), hφ₃(z)] of every block of C_2, C_3, C_4 and C of the end
_BLOCKS: tuple[tuple[tuple[float, ...], ...], ...] = (
    ((1, 0, 0, 0, 0, 0, 0), (0, 0.5, 0, 0, 0, 0, 0)),
    ((1, 0, 0, 0, 0, 0, 0), (0, 0.5, -1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0, 0)),
    ((0, 0, 0, 1, 0, 0, 0), (0, 0, 0, 0, 1, -2, 0), (0, 0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 2, 0)),
    ((0, 0, 0, 1, 0, 0, 0), (0, 0, 0, 0, 1, -3, 4), *[(0, 0, 0, 0, 0, 2, -4)] * 2, (0, 0, 0, 0, 0, -1, 4)),
)


def _combined(
    levels: Sequence[tuple[Tensor, Tensor]],  # (U, n, n), (U, n, 3n) at z/2 and z
    h: Tensor,  # (U,)
) -> list[Tensor]:  # (U, (i+1)n, n) each
    """C of every stage, the blocks one product of numbers with the functions."""
    (eh, ph), (e, p) = levels
    U, n = len(h), e.shape[-1]
    s = h[:, None, None]
    halves, wholes = (v.unflatten(-1, (-1, n)).permute(2, 0, 1, 3) for v in (s * ph[..., : 2 * n], s * p))
    functions = torch.cat([eh[None], halves, e[None], wholes])  # (7, U, n, n)
    numbers = constants(tuple(row for block in _BLOCKS for row in block), e.dtype, e.device)  # (14, 7)
    parts = (numbers @ functions.flatten(1)).view(-1, U, n, n).split([len(block) for block in _BLOCKS])
    return [part.permute(1, 0, 3, 2).reshape(U, -1, n) for part in parts]


def free_ends(field: SemilinearField, M: int) -> Callable[[int], Tensor] | None:
    """e^{hA} transposed, (M, N, n, n) for step k, where nothing drives anybody: all that a linear step then needs.

    Differentiable in A and h. None where people share their matrices, which are few.
    Law: the numbers are those of `stage_matrices` up to rounding.
    """
    segments = field.segments
    if field.shared and not varies(segments.dt) and not segments.apart:
        return None
    N = segments.dt.shape[0]
    own, which = (segments.dt, None) if varies(segments.dt) else segments.own_lengths
    A, h = _rows_of(field.A, own, M)
    q = _doublings_of_multiples(field, A, h, "stages")
    some = max(1, 4 * _AT_ONCE // h.shape[1])
    counts = q.split(some) if isinstance(q, Tensor) else itertools.repeat(q)
    blocks = [
        exponential_of_multiples(a, s, count) for a, s, count in zip(A.split(some), h.split(some), counts, strict=False)
    ]
    made = torch.cat(blocks).mT.unflatten(0, (-1, N, own.shape[1]))  # (M|1, N, K', n, n)
    everyone = torch.arange(N, device=A.device)

    def end(k: int) -> Tensor:
        return made[:, :, k] if which is None else made[:, everyone, which[:, k]]

    return end


def reading_matrices(field: SemilinearField, M: int) -> Tensor:  # (N|1, T, M|1, 5n, n)
    """[x, g_1 … g_4] times these is the state at every observation."""
    s, n = field.segments, field.A.shape[-1]
    N, T = s.segment.shape
    if field.shared and not varies(s.dt) and not varies(s.fraction) and not s.apart:
        (h, t), index = s.spans
        index = index[:1] if s.alike else index

        def make() -> Tensor:
            z = field.A[0, 0].to(_EXACT) * h.to(_EXACT)[:, None, None]
            return _readings(field, z, h.to(_EXACT), t.to(_EXACT))[index[:, :, None]]

        found: Tensor = make() if varies(field.A) else _constant(field, "readings", make)
        return found
    A, h = _rows_of(field.A, s.dt.gather(1, s.segment) * s.fraction, M)
    ((e, p),) = phi_of_multiples(A, h, doublings=_doublings_of_multiples(field, A, h, "reading"))
    share = s.fraction.to(_EXACT).repeat(len(A) // N, 1).reshape(-1)
    made = _read(e, p.split(n, -1), h.reshape(-1), share).unflatten(0, (-1, N, T))  # (M|1, N, T, 5n, n)
    return made.permute(1, 2, 0, 3, 4)


def _readings(
    field: SemilinearField,
    z: Tensor,  # (U, n, n)
    h: Tensor,  # (U,) time since the step's beginning
    t: Tensor,  # (U,) and its share of the step
) -> Tensor:  # (U, 5n, n)
    """What reads a step at z = h A."""
    ((e, *p),) = phi(z, doublings=_doublings(field, z, "reading"))
    return _read(e, p, h, t)


def _read(
    e: Tensor,  # (U, n, n)
    p: Sequence[Tensor],  # 3 × (U, n, n)
    h: Tensor,  # (U,)
    t: Tensor,  # (U,)
) -> Tensor:  # (U, 5n, n)
    """The same from e^z and the φ_k(z)."""
    p1, p2, p3 = p
    h, t = h[:, None, None], t[:, None, None]
    two, three = t * p2, t.square() * p3
    row = [e, h * (p1 - 3.0 * two + 4.0 * three), *[h * (2.0 * two - 4.0 * three)] * 2, h * (4.0 * three - two)]
    return torch.cat([b.mT for b in row], 1)


_AT_ONCE = 4096  # matrices, each with a series of some ten times its size
_EXACT = torch.float64  # the φ functions are few and cheap, and everything rests on them


def _doublings(field: SemilinearField, Z: Tensor, name: str) -> int | Tensor | None:
    """How often to halve Z: looked up while a graph is captured, since then no value may be asked for.

    Of people who stand apart, for everyone by themselves.
    """
    if field.segments.apart:
        return own_doublings(Z.abs().sum(-1).amax(-1))
    known = field.segments.__dict__
    if capture.capturing():
        count: int = known[f"_doublings_{name}"]
        return count
    known[f"_doublings_{name}"] = found = doublings_for(Z)
    return found


def _doublings_of_multiples(field: SemilinearField, A: Tensor, h: Tensor, name: str) -> int | Tensor:
    """The same for multiples h of A."""
    if field.segments.apart:
        return own_doublings(A.abs().sum(-1).amax(-1) * h.abs().amax(-1), 2.0)
    known = field.segments.__dict__
    if not capture.capturing():
        known[f"_doublings_{name}"] = doublings_for_multiples(A, h)
    count: int = known[f"_doublings_{name}"]
    return count
