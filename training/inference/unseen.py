"""Which numbers the people of a draw say nothing of: nobody of them has a category, or two numbers act alike in all of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from training.inference.approximations import Approximation, marginal
from training.inference.estimates import jacobian, united
from training.loop.descent import flat, place
from training.people.cohort import Cohort

_APART = 1e-2  # by which the points differ at which slopes are compared, of logarithms, or of a number's own size
_NOTHING = 1e-8  # of the largest singular value: between rounding, 1e-15, and what points that far apart make, 1e-4 and more
_TOUCHED = 0.01  # of a direction's largest part: less is what rounding turns a direction by
_AT_ONCE = 32  # people of whom one graph is kept


def numbers_unseen(
    model: HybridModel,
    names: Sequence[str],
    cohort: Cohort,
    counts: Tensor,  # (B, N)
    approximation: Approximation,
    start: Tensor | None = None,  # (1, N, d)
    solver: Solver | None = None,
) -> Tensor:  # (B, E) bool
    """True where nothing that this draw's people measured depends on an estimate, or on it alone and not on others too.

    A direction v in the numbers ξ is not seen where s_i(ξ)ᵀv = 0 for every person i of a draw, s_i the slope of −log p(y_i), at
    one point and at as many others beside it as there are numbers. An estimate that such a direction moves is not known.
    `names`, of the tensors that a model of one member estimates.
    Law: who is drawn twice says no more than who is drawn once; whoever is added takes no direction away that was seen.
    """
    point = flat(model, names)  # (1, P)
    P = point.shape[1]
    size = torch.where(united(model, names), point[0].abs().clamp(min=1e-3), 1.0)
    moved = torch.randn(P, P, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(point)
    told, scales, value, J = jacobian(model, names)
    linear = torch.tensor([scale == "linear" for scale in scales], device=value.device)
    large = torch.where(linear, value[0].abs().clamp(min=1e-3), 1.0)  # (E,)
    slopes = [_slopes(model, names, cohort, approximation, start, solver) * size]  # (N, P)
    found = torch.zeros(len(counts), len(told), dtype=torch.bool, device=point.device)
    for b, row in enumerate(counts):
        who = row > 0.0
        if not len(_nothing(slopes[0][who])):
            continue
        while len(slopes) <= P:  # a few people's slopes at one point span less than they tell
            place(model, names, point + _APART * size * moved[len(slopes) - 1])
            slopes.append(_slopes(model, names, cohort, approximation, start, solver) * size)
            place(model, names, point)
        for way in _nothing(torch.cat([s[who] for s in slopes])):
            along = (J[0] @ (size * way) / large).abs()
            found[b] |= along > _TOUCHED * along.amax()
    return found


def _nothing(slopes: Tensor) -> Tensor:  # (K, P)
    """Directions, each of a largest part 1, along which none of these slopes (n, P) goes."""
    scale = slopes.abs().amax(0)
    scale = torch.where(scale > 1e-14, scale, 1.0)
    short = slopes.new_zeros(max(0, slopes.shape[1] - len(slopes)), slopes.shape[1])
    _, values, ways = torch.linalg.svd(torch.cat([slopes / scale, short]), full_matrices=False)
    found = ways[values <= _NOTHING * values[:1].clamp(min=1e-300)] / scale
    return found / found.abs().amax(1, keepdim=True)


def _slopes(
    model: HybridModel,
    names: Sequence[str],
    cohort: Cohort,
    approximation: Approximation,
    start: Tensor | None,
    solver: Solver | None,
) -> Tensor:  # (N, P)
    """∂(−log p(y_i))/∂ξ of each person at the model's own numbers; 0 of whom it cannot simulate."""
    tensors = [model.get_parameter(name) for name in names]
    found = []
    for rows in torch.arange(cohort.conditions.size, device=cohort.y.device).split(_AT_ONCE):
        own = None if start is None else start[:, rows]
        some = marginal(model, cohort.people(rows), approximation, start=own, solver=solver)
        for i in range(len(rows)):
            if i in some.failed:
                found.append(torch.cat([torch.zeros_like(p).flatten() for p in tensors]))
                continue
            slopes = torch.autograd.grad(some.value[0, i], tensors, allow_unused=True, retain_graph=True)
            pairs = zip(tensors, slopes, strict=True)
            found.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs]))
    return torch.stack(found).detach()
