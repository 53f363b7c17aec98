"""Where windows of long records start, as the measurements in them say: least squares through the model as it is given."""

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, SimulationError, Solver
from training.long_records.window import Windows
from training.long_records.windowed import rollout_windows
from training.loop.lessons import Lessons
from training.people.cohort import Cohort

_ROUNDS = 6  # of Gauss and Newton; a model that is linear needs one


def measured(taught: Lessons) -> Tensor:  # (M, N, T, p)
    """What teaches each member: NaN where nothing was measured, or where it judges."""
    return taught.of_members(lambda lesson: lesson.taught.y.expand(len(lesson.members), -1, -1, -1))


def starts_from_data(
    model: HybridModel,
    cohort: Cohort,
    cut: Windows,
    personal: Tensor,  # (M, N, d)
    starts: Tensor,  # (M, N, W-1, n), where the search begins
    y: Tensor,  # (M, N, T, p), NaN where nothing teaches
    scale: Tensor,  # (M|1, 1, 1, n)
    stiffness: float,
    solver: Solver | None = None,
) -> Tensor:  # (M, N, W-1, n)
    """The starts that, with everything else held, make ½ Σ_t (y_t − μ_t)²/v_t + ρ/2 Σ_w |d_w|² least, each record by itself.

    d_w are the gaps between windows in the states' scales, and ρ the `stiffness` with which a fit in windows begins, so that
    this is the smoother of the model with that much freedom at every joint: a state that is not measured is what the model makes
    of those that are, and a window without measurements follows its neighbours. By Gauss–Newton steps, damped where they are no
    better; the slopes are differences, the joints one block tridiagonal system. Values between limits do not count.
    Law: of a linear model and observation one step is the least-squares solution; the cost is never above that of `starts`.
    Source: Rauch, Tung & Striebel, AIAA J. 3 (1965) 1445, in the form of one least-squares problem.
    """
    M, N, J, n = starts.shape
    if J == 0:
        return starts
    there = torch.isfinite(y)
    known = torch.where(there, y, 0.0)
    joined = cut.joined[None, :, :, None].to(starts)  # of joint j, between the windows j and j + 1
    small = 1e-4 if starts.dtype == torch.float64 else 1e-2
    eye = torch.eye(n, dtype=starts.dtype, device=starts.device)
    damping = starts.new_full((M, N), 1e-6)

    def simulated(at: Tensor) -> tuple[Rollout, Tensor]:
        run, gap = rollout_windows(model, cohort.conditions, cut, personal, at, solver)
        return run, gap / scale

    def cost(run: Rollout, d: Tensor, v: Tensor) -> Tensor:  # (M, N)
        error = torch.where(there, (known - run.mean).square() / v, 0.0)
        return 0.5 * error.sum((-1, -2)) + 0.5 * stiffness * d.square().sum((-1, -2))

    with torch.no_grad():
        run, d = simulated(starts)
        for _ in range(_ROUNDS):
            v = run.variance
            before = cost(run, d, v)
            slopes, F = [], []  # of the means by their window's start, and of the windows' ends
            for i in range(n):
                beside, gaps = simulated(starts + small * scale * eye[i])
                slopes.append((beside.mean - run.mean) / small)
                F.append(((gaps - d) / small + eye[i]) * joined)
            S = torch.where(there[..., None], torch.stack(slopes, -1), 0.0) / v[..., None].sqrt()  # (M, N, T, p, n)
            error = torch.where(there, known - run.mean, 0.0) / v.sqrt()
            A = _by_window(torch.einsum("mntpi,mntpj->mntij", S, S), cut)
            b = _by_window(torch.einsum("mntpi,mntp->mnti", S, error), cut)
            step = chained(A, b, torch.stack(F, -1), d * joined, joined, stiffness, damping)
            try:
                tried, gaps = simulated(starts + step * scale)
                better = cost(tried, gaps, v) < before
            except SimulationError:  # somebody's step went too far, and nobody's is taken
                better = torch.zeros_like(before, dtype=torch.bool)
            damping = torch.where(better, 0.1 * damping, (30.0 * damping).clamp(min=1e-3))
            moved = torch.where(better[..., None, None], step, 0.0)
            starts = starts + moved * scale
            if float(moved.abs().max()) < 1e-6:
                break
            run, d = simulated(starts)
    return starts


def _by_window(
    each: Tensor,  # (M, N, T, …) of the observations
    cut: Windows,
) -> Tensor:  # (M, N, W-1, …), sums over those of the windows that have a start of their own
    M, N, T, *rest = each.shape
    at = cut.window[None].expand(M, -1, -1).reshape(M, N, T, *[1] * len(rest)).expand_as(each)
    return each.new_zeros(M, N, cut.count, *rest).scatter_add_(2, at, each)[:, :, 1:]


def chained(
    A: Tensor,  # (M, N, J, n, n), information of the measurements in each window on its start
    b: Tensor,  # (M, N, J, n)
    F: Tensor,  # (M, N, J, n, n), slopes of the end of window j by its start; of the first they mean nothing
    d: Tensor,  # (M, N, J, n)
    joined: Tensor,  # (1, N, J, 1)
    stiffness: float,
    damping: Tensor,  # (M, N)
) -> Tensor:  # (M, N, J, n)
    """The changes δ of the starts that make ½ Σ δᵀAδ − bᵀδ + ρ/2 Σ_j |d_j + F_j δ_{j−1} − δ_j|² least: forward, and back."""
    J, n = b.shape[-2:]
    eye = torch.eye(n, dtype=b.dtype, device=b.device)
    # joint j ends at start j (the start of window j + 1) and begins at start j − 1
    H = A + stiffness * joined[..., None] * eye
    g = b + stiffness * d
    back = F[:, :, 1:]  # of start j − 1 on joint j
    H[:, :, :-1] += stiffness * back.mT @ back
    g[:, :, :-1] -= stiffness * (back.mT @ d[:, :, 1:, :, None])[..., 0]
    diagonal = H.diagonal(dim1=-2, dim2=-1)
    H = H + torch.diag_embed(damping[..., None, None] * diagonal + (diagonal == 0.0).to(b))  # an empty window stays
    off = -stiffness * back.mT  # (…, J-1): of start j − 1 and start j
    factors, right = [torch.linalg.cholesky(H[:, :, 0])], [g[:, :, 0, :, None]]
    for j in range(1, J):
        up = torch.cholesky_solve(off[:, :, j - 1], factors[-1])
        right.append(g[:, :, j, :, None] - up.mT @ right[-1])
        factors.append(torch.linalg.cholesky(H[:, :, j] - off[:, :, j - 1].mT @ up))
    found = [torch.cholesky_solve(right[-1], factors[-1])]
    for j in range(J - 2, -1, -1):
        found.append(torch.cholesky_solve(right[j] - off[:, :, j] @ found[-1], factors[j]))
    return torch.stack(found[::-1], 2)[..., 0]
