"""What is right: values and gradients in float64 to about 1e-10, and how far an answer is from them."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.integrate import DOP853, solve_ivp
from torch import Tensor

from benchmarks.peers.problem import CohortProblem, Problem

CHUNK = 256  # records at a time: the graph of a tight solution is large


@dataclass(frozen=True)
class Answer:
    """One contestant's result: `states`, the `loss`, and its gradient by every array's name.

    States are (N, T, n), for a cohort (P, n): everything observed, one person after the other.
    """

    states: np.ndarray
    loss: float
    gradients: dict[str, np.ndarray]


@dataclass(frozen=True)
class Errors:
    """`value`: the largest error of any state. `gradient`: the largest error of any array's gradient, each relative to
    the largest entry of that array's gradient."""

    value: float
    gradient: float


def errors(answer: Answer, right: Answer) -> Errors:
    """How far `answer` is from `right`; infinite where something is missing or not finite."""
    if answer.gradients.keys() != right.gradients.keys():
        return Errors(np.inf, np.inf)
    value = float(np.abs(answer.states - right.states).max())
    # numpy's largest is NaN where one is NaN; Python's depends on which comes first
    gradient = float(np.max([np.abs(answer.gradients[k] - g).max() / np.abs(g).max() for k, g in right.gradients.items()]))
    return Errors(*(e if np.isfinite(e) else np.inf for e in (value, gradient)))


def repeated(answer: Answer, records: int) -> Answer:
    """The answer to `Problem.first(records)`, from that to the distinct records, of which it is a whole multiple."""
    times = records // len(answer.states)
    gradients = dict(answer.gradients)
    gradients["x0"] = np.tile(gradients["x0"], (times, 1)) / times  # the loss is a mean over records
    return Answer(np.tile(answer.states, (times, 1, 1)), answer.loss, gradients)


def right_answer(problem: Problem | CohortProblem, cache: Path) -> Answer:
    """The answer to a problem, computed once and kept in the folder `cache`, and compared with scipy's solution.

    Errors: `RuntimeError` where scipy does not agree to 1e-8.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for array in _arrays(problem):
        digest.update(array.tobytes())
    file = cache / f"{digest.hexdigest()[:16]}.npz"
    if file.exists():
        with np.load(file) as kept:
            arrays = dict(kept)
        return Answer(arrays.pop("states"), float(arrays.pop("loss")), arrays)
    answer = solve_cohort(problem) if isinstance(problem, CohortProblem) else solve(problem)
    check = check_person(problem, answer) if isinstance(problem, CohortProblem) else check_one(problem, answer)
    if not check < 1e-8:
        raise RuntimeError(f"the reference differs from scipy's solution by {check:.1e}; do not trust either")
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(file, states=answer.states, loss=answer.loss, **answer.gradients)
    return answer


def _arrays(problem: Problem | CohortProblem) -> list[np.ndarray]:
    own = list(problem.network.arrays().values())
    if isinstance(problem, Problem):
        return [*own, problem.A, problem.x0, problem.times, problem.targets]
    return [*own, problem.theta, *problem.times, *problem.dose_times, *problem.doses, *problem.targets]


def solve(problem: Problem) -> Answer:
    """The answer to a problem with shared times."""
    leaves = _leaves(problem.network.arrays())
    A, x0 = torch.from_numpy(problem.A), _leaf(problem.x0)
    count, T = problem.targets.size, len(problem.times)
    dt = torch.from_numpy(np.diff(problem.times)).expand(len(problem.x0), T - 1)
    targets = torch.from_numpy(problem.targets)
    states, loss = [], 0.0
    steps = _steps(problem)
    for part in torch.arange(len(problem.x0)).split(CHUNK):
        path = _path(lambda x: x @ A.T + _residual(leaves, x), x0[part], dt[part], steps)
        share = (path - targets[part]).square().sum() / count
        share.backward()
        states.append(path.detach())
        loss += share.item()
    gradients = {name: _gradient(leaf) for name, leaf in {**leaves, "x0": x0}.items()}
    return Answer(torch.cat(states).numpy(), loss, gradients)


def solve_cohort(problem: CohortProblem) -> Answer:
    """The answer to a cohort problem: every person's intervals between their own doses and observations."""
    leaves, theta = _leaves(problem.network.arrays()), _leaf(problem.theta)
    ka, ke = theta.T
    zero = torch.zeros_like(ka)
    A = torch.stack([torch.stack([-ka, zero], -1), torch.stack([ka, -ke], -1)], -2)  # (N, 2, 2)
    rows = []
    for times, dose_times in zip(problem.times, problem.dose_times, strict=True):
        rows.append(np.unique(np.concatenate([[0.0], times, dose_times[dose_times < times[-1]]])))
    K, N = max(map(len, rows)) - 1, len(rows)
    dt, jump, read = np.zeros((N, K)), np.zeros((N, K + 1, 2)), []
    for i, edges in enumerate(rows):
        dt[i, : len(edges) - 1] = np.diff(edges)
        for t, amount in zip(problem.dose_times[i], problem.doses[i], strict=True):
            if t < edges[-1]:
                jump[i, np.searchsorted(edges, t), 0] += amount
        read += [(i, k) for k in np.searchsorted(edges, problem.times[i])]
    x0 = torch.zeros(N, 2, dtype=torch.float64)
    path = _path(
        lambda x: (A @ x[..., None])[..., 0] + _residual(leaves, x),
        x0,
        torch.from_numpy(dt),
        [max(1, int(np.ceil(longest / 0.25))) for longest in dt.max(0)],
        torch.from_numpy(jump),
    )
    states = path[tuple(torch.tensor(read).T)]
    loss = (states - torch.from_numpy(np.concatenate(problem.targets))).square().mean()
    loss.backward()
    gradients = {name: _gradient(leaf) for name, leaf in {**leaves, "theta": theta}.items()}
    return Answer(states.detach().numpy(), loss.item(), gradients)


def check_one(problem: Problem, answer: Answer, record: int = 0) -> float:
    """The largest difference from scipy's solution of one record: another method in another library."""
    network, A = problem.network, problem.A
    stiff = np.abs(np.linalg.eigvals(A)).max() > 10
    solution = solve_ivp(
        lambda t, x: A @ x + network(x),
        (problem.times[0], problem.times[-1]),
        problem.x0[record],
        method="Radau" if stiff else "DOP853",
        t_eval=problem.times,
        rtol=1e-9 if stiff else 1e-12,
        atol=1e-11 if stiff else 1e-13,
    )
    return float(np.abs(solution.y.T - answer.states[record]).max())


def check_person(problem: CohortProblem, answer: Answer, person: int = 0) -> float:
    """The largest difference from scipy's solution of one person."""
    (ka, ke), network = problem.theta[person], problem.network
    A = np.array([[-ka, 0.0], [ka, -ke]])
    times, doses = problem.times[person], problem.doses[person]
    edges = [0.0, *problem.dose_times[person], np.inf]
    x, states = np.zeros(2), []
    for k, (begin, end) in enumerate(itertools.pairwise(edges)):
        x = x + np.array([doses[k - 1] if k else 0.0, 0.0])
        inside = times[(times > begin) & (times <= end)]
        if begin >= times[-1]:
            break
        grid = np.array([*inside, end] if np.isfinite(end) else inside)
        solution = solve_ivp(
            lambda t, x: A @ x + network(x), (begin, grid[-1]), x, method="DOP853", t_eval=grid, rtol=1e-12, atol=1e-13
        )
        states += list(solution.y.T[: len(inside)])
        x = solution.y[:, -1]
    start = sum(map(len, problem.times[:person]))
    return float(np.abs(np.array(states) - answer.states[start : start + len(times)]).max())


def _path(
    rate: Callable[[Tensor], Tensor],
    x: Tensor,  # (N, n)
    dt: Tensor,  # (N, K) lengths of every record's own intervals
    steps: Sequence[int],  # (K,) into how many equal steps each is cut
    jump: Tensor | None = None,  # (N, K+1, n) arrives after the state at that edge was read
) -> Tensor:  # (N, K+1, n)
    """Fixed steps of the method of order 8 of Dormand & Prince, in plain torch; scipy holds its coefficients."""
    path = [x]
    for k in range(dt.shape[1]):
        if jump is not None:
            x = x + jump[:, k]
        h = dt[:, k, None] / steps[k]
        for _ in range(steps[k]):
            slopes: list[Tensor] = []
            for row in DOP853.A[: DOP853.n_stages]:
                slopes.append(rate(x + h * _sum(row, slopes)) if slopes else rate(x))
            x = x + h * _sum(DOP853.B, slopes)
        path.append(x)
    return torch.stack(path, 1)


def _sum(coefficients: np.ndarray, slopes: list[Tensor]) -> Tensor:
    terms = [float(a) * k for a, k in zip(coefficients, slopes, strict=False) if a != 0.0]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _steps(problem: Problem) -> list[int]:
    """Step × fastest rate at most .4 while anything fast is left, then 5, inside the method's region of stability."""
    fastest = np.abs(np.linalg.eigvals(problem.A)).max()
    lengths = np.diff(problem.times)
    if fastest < 10:
        return [int(np.ceil(h * fastest / 0.4)) for h in lengths]
    left = np.exp(-fastest * problem.times[:-1]) > 1e-10
    return [int(np.ceil(h * fastest / (0.4 if fast else 5.0))) for h, fast in zip(lengths, left, strict=True)]


def _residual(leaves: dict[str, Tensor], x: Tensor) -> Tensor:
    def hidden(z: Tensor) -> Tensor:
        return torch.tanh(torch.tanh(z @ leaves["W1"].T + leaves["b1"]) @ leaves["W2"].T + leaves["b2"])

    return (hidden(x) - hidden(torch.zeros_like(x[:1]))) @ leaves["W3"].T


def _leaf(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array).clone().requires_grad_()


def _leaves(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: _leaf(array) for name, array in arrays.items()}


def _gradient(leaf: Tensor) -> np.ndarray:
    assert leaf.grad is not None  # every leaf is in the loss
    return leaf.grad.numpy()
