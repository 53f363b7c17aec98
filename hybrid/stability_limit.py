"""Whether one step per segment can be right: before a fixed-step solver runs."""

from functools import lru_cache

import torch

from hybrid.derivative import mapped, values_of
from hybrid.field import SemilinearField
from hybrid.segments import Segments
from hybrid.solver import Failure
from hybrid.tableau import TABLEAUS
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
) -> tuple[tuple[Failure, ...], SemilinearField]:
    """The records whose longest step times the fastest rate of A is beyond the method's limit of stability, and a field in which
    their rates are within it: what is computed with it for them is no solution, and does not disturb the others.

    Nobody looks while a graph is captured: what ran before the capture has been looked at.
    Errors: `ValueError` for a batch of `torch.func.vmap`, in which nobody can be named.
    """
    if capture.capturing():
        return (), field
    A = field.A.detach()
    longest = field.segments.longest
    size = A.abs()
    # the smaller of two norms is near the spectral radius of compartments, and costs nothing beside it
    bound = torch.minimum(size.sum(-1).amax(-1), size.sum(-2).amax(-1))  # (M|1, N|1)
    if not bool(values_of(bound * longest > limit).any()):
        return (), field
    finite = torch.isfinite(A).all(-1, keepdim=True).all(-2, keepdim=True)  # what is not fails by itself
    fastest = torch.linalg.eigvals(torch.where(finite, A, 0.0)).abs().amax(-1).to(longest)
    product = fastest * longest  # (M|1, N)
    if mapped(product):
        if bool(values_of(product > limit).any()):
            raise ValueError(
                f"under torch.func.vmap a step times the fastest rate is beyond {limit:.3g}, where {name} becomes unstable; cut "
                "the records for these parameters, Mesh(step=…), or use Exponential() on the mesh"
            )
        return (), field
    beyond = product > limit
    if not bool(beyond.any()):
        return (), field
    start = field.segments.start
    found = []
    for record in torch.nonzero(beyond.any(0))[:, 0].tolist():
        members = torch.nonzero(beyond[:, record])[:, 0].tolist()
        rate, step = float(fastest.expand_as(product)[:, record].max()), float(longest[record])
        k = int(field.segments.dt[record].detach().argmax())
        cause = (
            f"the step of {step:.4g} from time %TIME times the fastest rate {rate:.4g} is {step * rate:.3g}, beyond "
            f"{limit:.3g}, where {name} becomes unstable. Cut the record for these parameters, Mesh.of(model, records) or "
            f"Mesh(step={0.5 * limit / rate:.2g}), or use Exponential(rtol=1e-6)"
        )
        under = None if len(beyond) == 1 else tuple(members)
        found.append(Failure(record, float(start[record, k].detach()), cause, under))
    slower = torch.where(beyond, 0.5 * limit / product.clamp(min=limit), torch.ones_like(product))
    return tuple(found), field.slowed(slower)


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


