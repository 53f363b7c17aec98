"""A(θ) over a box of parameters, as finitely many matrices."""

import torch
from torch import Tensor

from physics.arguments import quote, require_shape

MOST = 12  # coordinates that vary: 4,096 corners


def corners(
    lower: Tensor,  # (q,)
    upper: Tensor,  # (q,)
) -> Tensor:  # (2^k, q)
    """The corners of a box, where k is the number of coordinates whose ends differ.

    Where A(θ) is multi-affine (affine in each θ_j while the others are held), the A at the corners span it: every A(θ) in the box
    is one of their convex combinations, with the weights Π_j of the positions between the ends.
    Errors: `ValueError` for ends that do not fit, are not finite, or are the wrong way round, and for more than 12 that vary.
    """
    if lower.ndim != 1 or lower.shape != upper.shape:
        raise ValueError(f"the box needs two ends of the same shape (q,), and has {tuple(lower.shape)} and {tuple(upper.shape)}")
    if lower.device != upper.device:
        raise ValueError(f"the box needs two ends on one device, and has {lower.device} and {upper.device}")
    if not bool((torch.isfinite(lower) & torch.isfinite(upper) & (lower <= upper)).all()):
        ends = f"{quote(lower.tolist())} to {quote(upper.tolist())}"
        raise ValueError(f"the box runs from {ends}; needed: finite ends, lower ≤ upper")
    free = torch.nonzero(lower < upper)[:, 0].tolist()
    if len(free) > MOST:
        raise ValueError(f"{len(free)} coordinates vary, which makes 2^{len(free)} corners; hold some, or split the box")
    found = lower[None]
    for j in free:
        high = found.clone()
        high[:, j] = upper[j]
        found = torch.cat([found, high])
    return found


def entries(
    lower: Tensor,  # (n, n)
    upper: Tensor,  # (n, n)
) -> Tensor:  # (2^k, n, n)
    """The matrices whose hull holds every A between the ends, entry by entry: for an A(θ) that is not multi-affine.

    The ends must enclose A(θ) over the box in real arithmetic: where they are computed, round them outward.
    Errors: as for `corners`.
    """
    return corners(lower.reshape(-1), upper.reshape(-1)).reshape(-1, *lower.shape)


def require_parameters(lower: Tensor, upper: Tensor, count: int, name: str) -> None:
    """Raise `ValueError` unless the box has one coordinate for each of the backbone's parameters."""
    for end, which in ((lower, "lower"), (upper, "upper")):
        require_shape(end, f"{name}: {which}", "q", write=f"torch.tensor([…]), {count} numbers")
        if end.is_meta:
            raise ValueError(f"{name}: {which} is on {end.device}, which holds no numbers; write {which}.cpu()")
    if lower.shape != (count,) or upper.shape != (count,):
        raise ValueError(
            f"{name}: the box needs ends of shape ({count},), one per parameter, and has {tuple(lower.shape)} "
            f"and {tuple(upper.shape)}"
        )
    if not bool((lower > 0.0).all()):
        raise ValueError(
            f"{name}: the box needs positive ends, and runs from {quote(lower.tolist())} to {quote(upper.tolist())}; the "
            "parameters are rates and sizes"
        )
