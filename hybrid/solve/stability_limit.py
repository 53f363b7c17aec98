"""Whether one step per segment can be right: before a fixed-step solver runs."""

import math
from functools import lru_cache

import numpy as np
import torch

from hybrid.cutting.segments import Segments
from hybrid.derivative import mapped, values_of
from hybrid.field import SemilinearField
from hybrid.solve.schemes.tableau import TABLEAUS
from hybrid.solve.solver import Cause, Failure
from physics import capture


def require_mesh(segments: Segments, name: str) -> None:
    """Raise `ValueError` where one step would span a stretch that no mesh has cut."""
    if segments.meshed or capture.capturing():
        return
    longest = segments.longest
    record = int(longest.argmax())
    if longest[record] > 0:
        raise ValueError(
            f"{name} takes one step per segment, and no mesh has cut these records: record {record} would be stepped over in "
            f"{float(longest[record]):g} at once. Give the mesh, Mesh.of(model, records) or Mesh(step=…), to what builds the "
            "records (Cohort.of, conditions_of, simulate), or use Exponential(rtol=1e-6), which needs none"
        )


def unstable(
    field: SemilinearField,
    name: str,
    limit: float,
    growth: tuple[float, ...] = (),
    count: int = 1,
) -> tuple[tuple[Failure, ...], SemilinearField]:
    """The records whose longest step times the fastest rate of A is beyond the method's limit of stability, and a field in which
    their rates are within it: what is computed with it for them is no solution, and does not disturb the others.

    `limit`: how far left on the real axis the method is stable. `growth`: the coefficients of its R(z), of which one segment is
    `count` steps; a mode that dies out and would have grown by a tenth after as many such steps as the record has segments is
    beyond the limit too. That is an oscillation: on the imaginary axis the order 2 is never stable, the order 3 up to 1.7.
    Nobody looks while a graph is captured: what ran before the capture has been looked at.
    Errors: `ValueError` for a batch of `torch.func.vmap`, in which nobody can be named.
    """
    if capture.capturing():
        return (), field
    A = field.A.detach()
    for axis in (0, 1):
        if A.stride(axis) == 0 and A.shape[axis] > 1:  # one for all
            A = A.narrow(axis, 0, 1)
    longest = field.segments.longest
    size = A.abs()
    # the smaller of two norms is near the spectral radius of compartments, and costs nothing beside it
    bound = torch.minimum(size.sum(-1).amax(-1), size.sum(-2).amax(-1))  # (M|1, N|1)
    near = count * reach(growth) if growth else limit
    # what flows between compartments is positive, and such a matrix has no oscillation that is not over at once
    swings = (A < 0).sum((-1, -2)) > (A.diagonal(dim1=-2, dim2=-1) < 0).sum(-1)
    least = torch.where(swings, min(near, limit), limit)
    if not bool(values_of(bound * longest > least).any()):
        return (), field
    # a question for the processor, rarely asked: eigenvalues are found there whatever the device
    A, longest = A.to("cpu"), longest.to("cpu")
    finite = torch.isfinite(A).all(-1, keepdim=True).all(-2, keepdim=True)  # what is not fails by itself
    rates = torch.linalg.eigvals(torch.where(finite, A, 0.0))  # (M|1, N|1, n)
    fastest = rates.abs().amax(-1).to(longest)
    product = fastest * longest  # (M|1, N)
    beyond = product > limit
    gain = torch.zeros_like(product)
    if growth:
        z = rates * longest[:, None] / count
        R = torch.zeros_like(z)
        for c in reversed(growth):
            R = R * z + c
        gains = count * torch.where(rates.real < 0, R.abs().clamp(max=1e30).log(), 0.0)  # of one segment
        gain = gains.amax(-1).to(longest)
        beyond = beyond | (gain * (field.segments.dt > 0).sum(1).to("cpu") > 0.1)
    if mapped(product):
        if bool(values_of(beyond).any()):
            raise ValueError(
                f"under torch.func.vmap a step times the fastest rate is beyond {limit:.3g}, where {name} becomes unstable; cut "
                "the records for these parameters, Mesh(step=…), or use Exponential() on the mesh"
            )
        return (), field
    if not bool(beyond.any()):
        return (), field
    start, rate_of = field.segments.start, fastest.expand_as(product)
    found = []
    for record in torch.nonzero(beyond.any(0))[:, 0].tolist():
        members = torch.nonzero(beyond[:, record])[:, 0]
        worst = members[product[members, record].argmax()]
        rate, step = float(rate_of[worst, record]), float(longest[record])
        k = int(field.segments.dt[record].detach().argmax())
        numbers: dict[str, float | str] = {"step": step, "rate": rate, "product": step * rate, "method": name}
        if step * rate > limit:
            cause, more = Cause.UNSTABLE, {"limit": limit, "shorter": 0.5 * limit / rate}
        else:
            cause, more = Cause.SWINGS, {"grown": math.expm1(float(gain[members, record].max()))}
        under = None if len(beyond) == 1 else tuple(members.tolist())
        found.append(Failure(record, float(start[record, k].detach()), cause, under, {**numbers, **more}))
    # slow enough that nothing overflows, an oscillation neither
    slower = torch.where(beyond, 0.05 * limit / product.clamp(min=0.05 * limit), torch.ones_like(product))
    return tuple(found), field.slowed(slower.to(field.A))


@lru_cache(maxsize=16)
def growth_of(method: str) -> tuple[float, ...]:
    """The coefficients of R(z) = 1 + z bᵀ1 + z² bᵀa 1 + …, by which a step of a method of `TABLEAUS` multiplies x' = (z/h) x."""
    t = TABLEAUS[method]
    v, found = [1.0] * len(t.b), [1.0]
    for _ in t.b:
        found.append(sum(b * w for b, w in zip(t.b, v, strict=True)))
        v = [sum(a * w for a, w in zip(row, v, strict=False)) for row in t.a]
    return tuple(found)


@lru_cache(maxsize=16)
def reach(growth: tuple[float, ...]) -> float:
    """Up to which |z| nothing in the left half of the plane grows, to the hundredth."""
    angle = 1j * np.linspace(0.5 * math.pi, math.pi, 181)
    r = 0.0
    while bool((np.abs(np.polyval(growth[::-1], (r + 0.01) * np.exp(angle))) <= 1.0 + 1e-12).all()):
        r += 0.01
    return r


@lru_cache(maxsize=16)
def real_limit(method: str) -> float:
    """How far left on the real axis an explicit method of `TABLEAUS` is stable: the least z > 0 with |R(−z)| > 1.

    R(z) = 1 + z bᵀ(I − z a)⁻¹1 (Hairer & Wanner 1996, IV.2).
    """
    t = TABLEAUS[method]
    s = len(t.b)
    a = torch.zeros(s, s, dtype=torch.float64)
    for i, row in enumerate(t.a):
        a[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    b, one, eye = torch.tensor(t.b, dtype=torch.float64), torch.ones(s, dtype=torch.float64), torch.eye(s, dtype=torch.float64)

    def grows(z: float) -> bool:
        return abs(1.0 - z * float(b @ torch.linalg.solve(eye + z * a, one))) > 1.0

    low = 0.1
    while not grows(low + 0.05):
        low += 0.05
    high = low + 0.05
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if grows(middle) else (middle, high)
    return low


