"""What our own solvers share: steps on the segments, by the mesh or by a tolerance, read inside them."""

import torch
from torch import Tensor

from hybrid.field import SemilinearField
from hybrid.solve.adapt import Tolerance, adapt
from hybrid.solve.march import March, march
from hybrid.solve.plain_march import plain_march
from hybrid.solve.pool import Pool
from hybrid.solve.schemes.scheme import Inside, Scheme
from hybrid.solve.solver import Failure, Solution, at_rest, not_finite, without
from hybrid.solve.stability_limit import growth_of, real_limit, require_mesh, unstable
from hybrid.solve.unmesh import unmeshed, whole


def solve_by_steps(
    field: SemilinearField,
    x0: Tensor,  # (M, N, n)
    scheme: Scheme,
    tolerance: Tolerance | None,
    *,
    chunk: int | None,
    pool: Pool,
    compiled: bool = False,
) -> Solution:
    """One step per segment, or as many as the tolerance asks for.

    Errors: `ValueError` for one step over what no mesh has cut; where that step is exact it is taken.
    """
    failures: tuple[Failure, ...] = ()
    beyond: tuple[Failure, ...] = ()  # of whom some members' states may be known
    if tolerance is not None:
        field = field.on(unmeshed(field.segments))
        segments, failures = adapt(field, x0, scheme, tolerance)
        field = field.on(segments)
    elif not scheme.exact:
        require_mesh(field.segments, scheme.name)
        beyond, field = unstable(field, scheme.name, real_limit(scheme.name), growth_of(scheme.name))
    elif field.learned is not None:
        require_mesh(field.segments, scheme.name)
    elif field.unsplit is None:  # the linear part by itself is exact in a step of any length
        field = field.on(whole(field.segments))
    if failures:
        field, x0 = field.without(failures), at_rest(x0, failures)
    states, boundaries = _states(field, x0, scheme, chunk, pool, compiled)
    found = not_finite(boundaries, field)
    if found:
        failures = tuple(sorted((*failures, *found), key=lambda f: f.record))
        states, _ = _states(field.without(failures), at_rest(x0, failures), scheme, chunk, pool, compiled)
    lost = {f.record for f in failures}
    failures = (*failures, *(f for f in beyond if f.record not in lost))
    return without(states, tuple(sorted(failures, key=lambda f: f.record)))


def _states(
    field: SemilinearField,
    x0: Tensor,
    scheme: Scheme,
    chunk: int | None,
    pool: Pool,
    compiled: bool,
) -> tuple[Tensor, Tensor]:
    """At the observations (M, N, T, n), and detached at the boundaries (M, N, K+1, n)."""
    dense = not field.segments.cut
    if not field.in_buffers:
        run = plain_march(field, x0, scheme, dense=dense, chunk=chunk, compiled=compiled)
    else:
        run = march(field, x0, scheme, dense=dense, chunk=chunk, pool=pool)
    boundaries = run.x.permute(1, 2, 0, 3)
    states = _within(field, run, scheme) if dense else field.segments.read(boundaries)
    return states, boundaries.detach()


def _within(field: SemilinearField, run: March, scheme: Scheme) -> Tensor:  # (M, N, T, n)
    """The states inside the steps."""
    s = field.segments
    assert run.after is not None
    assert run.slopes is not None
    # readings that are the same for everyone are matrix products; with their own times people are gathered one by one
    alike = s.alike
    chosen = slice(0, 1) if alike else slice(None)
    segment, fraction = s.segment[chosen], s.fraction[chosen]  # (N|1, T)
    length = s.dt[chosen].gather(1, segment)
    at = segment.T[:, None, :, None]  # (T, 1, N|1, 1)

    def pick(value: Tensor) -> Tensor:  # (K, …, M, N, n) to (T, …, M, N, n)
        if alike:
            return value[segment[0]]
        index = at.reshape(-1, *[1] * (value.ndim - 3), at.shape[2], 1)
        return value.gather(0, index.expand(-1, *value.shape[1:]))

    value = scheme.read(field, Inside(segment, fraction, length, alike, pick, run.after, run.slopes))
    # only a record's start has the fraction 0, and it is read before what jumps there
    value = torch.where((fraction == 0).T[:, None, :, None], pick(run.x[:-1]), value)
    return value.permute(1, 2, 0, 3)
