"""What our own solvers share: steps on the segments, by the mesh or by a tolerance, read inside them."""

import torch
from torch import Tensor

from hybrid.adapt import Tolerance, adapt
from hybrid.combine import Exponentials, Polynomials, reading_matrices
from hybrid.field import SemilinearField
from hybrid.march import March, march
from hybrid.plain_march import plain_march
from hybrid.solver import Failure, Solution, not_finite, without


def solve_by_steps(
    field: SemilinearField,
    x0: Tensor,  # (M, N, n)
    scheme: Polynomials | Exponentials,
    tolerance: Tolerance | None,
    chunk: int | None,
) -> Solution:
    """One step per segment, or as many as the tolerance asks for."""
    failures: tuple[Failure, ...] = ()
    if tolerance is not None:
        segments, failures = adapt(field, x0, scheme, tolerance)
        field = field.on(segments)
    if failures:
        field, x0 = field.without(failures), _still(x0, failures)
    states, boundaries = _states(field, x0, scheme, chunk)
    found = not_finite(boundaries, field)
    if found:
        failures = tuple(sorted((*failures, *found), key=lambda f: f.record))
        states, _ = _states(field.without(failures), _still(x0, failures), scheme, chunk)
    return without(states, failures)


def _still(x0: Tensor, failures: tuple[Failure, ...]) -> Tensor:
    keep = torch.ones(x0.shape[1], 1, dtype=torch.bool, device=x0.device)
    keep[[f.record for f in failures]] = False
    return torch.where(keep, x0, 0.0)


def _states(
    field: SemilinearField, x0: Tensor, scheme: Polynomials | Exponentials, chunk: int | None
) -> tuple[Tensor, Tensor]:
    """At the observations (M, N, T, n), and detached at the boundaries (M, N, K+1, n)."""
    dense = not field.segments.cut
    steps = plain_march if field.network is None else march
    run = steps(field, x0, scheme, dense=dense, chunk=chunk)
    boundaries = run.x.permute(1, 2, 0, 3)
    states = _within(field, run, scheme) if dense else field.segments.read(boundaries)
    return states, boundaries.detach()


def _within(field: SemilinearField, run: March, scheme: Polynomials | Exponentials) -> Tensor:  # (M, N, T, n)
    """The states inside the steps."""
    s = field.segments
    assert run.after is not None
    assert run.slopes is not None
    M, N = run.after.shape[1:3]
    who = torch.arange(N, device=s.segment.device)[:, None]
    x = run.after[s.segment, :, who]  # (N, T, M, n)
    f = run.slopes.transpose(0, 1)[:, s.segment, :, who]  # (N, T, S, M, n)
    length = s.dt.gather(1, s.segment)
    if isinstance(scheme, Polynomials):
        dense = torch.tensor(scheme.tableau.dense, dtype=x.dtype, device=x.device)  # (S, P)
        powers = s.fraction[..., None] ** torch.arange(1, dense.shape[1] + 1, device=x.device)  # (N, T, P)
        weights = length[..., None] * (powers @ dense.T)  # (N, T, S)
        value = x + torch.einsum("its,itsmn->itmn", weights, f)
    else:
        v = torch.cat([x, f.transpose(2, 3).flatten(3)], -1)  # (N, T, M, (S+1)·n)
        matrices = reading_matrices(field, M, length * s.fraction, s.fraction).to(x.dtype)  # (N, T, M|1, (S+1)·n, n)
        value = (v[..., None, :] @ matrices)[..., 0, :]
    start = run.x[s.segment, :, who]
    # only a record's start has the fraction 0, and it is read before what jumps there
    value = torch.where((s.fraction == 0)[:, :, None, None], start, value)
    return value.permute(2, 0, 1, 3)
