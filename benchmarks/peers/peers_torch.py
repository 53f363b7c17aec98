"""torchdiffeq and torchode on the problems, each as its own documentation recommends."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torchdiffeq
from torch import Tensor

from benchmarks.peers.problem import CohortProblem, Network, Problem
from benchmarks.peers.reference import Answer
from benchmarks.race import Contestant, Work

Rate = Callable[[Tensor, Tensor], Tensor]
Solution = Callable[[Rate, Tensor, Tensor], Tensor]  # rate, x0 (N, n), times (T,) -> (N, T, n)


@dataclass(frozen=True)
class Weights:
    """The network as trainable tensors, and its rate with as few calls as torch allows."""

    leaves: dict[str, Tensor]

    @staticmethod
    def of(network: Network, like: Tensor) -> "Weights":
        return Weights({k: leaf(v, like) for k, v in network.arrays().items()})

    def rate(
        self,
        linear: Tensor,  # (n, n), the transpose of A
    ) -> Rate:
        """A x + ε(x) for x (N, n)."""
        w = self.leaves
        W1, W2, W3 = w["W1"].T, w["W2"].T, w["W3"].T
        # ε vanishes at the origin: what is subtracted is the same in every evaluation, so it is made once
        offset = -torch.tanh(torch.addmm(w["b2"], torch.tanh(w["b1"])[None], W2)) @ W3  # (1, n)

        def rate(t: Tensor, x: Tensor) -> Tensor:
            h = torch.tanh(torch.addmm(w["b1"], x, W1))
            h = torch.tanh(torch.addmm(w["b2"], h, W2))
            return torch.addmm(torch.addmm(offset, x, linear), h, W3)

        return rate


def leaf(array: np.ndarray, like: Tensor) -> Tensor:
    """The array as a trainable tensor."""
    return torch.from_numpy(array).to(like).requires_grad_()


def torch_work(
    problem: Problem, dtype: torch.dtype, solution: Solution, device: str = "cpu"
) -> tuple[Work, Callable[[object], Answer]]:
    """Value and gradient of the loss by autograd through `solution`, and the reader of what comes out."""
    like = torch.zeros((), dtype=dtype, device=device)
    weights = Weights.of(problem.network, like)
    x0, A = leaf(problem.x0, like), torch.from_numpy(problem.A).to(like)
    times, targets = torch.from_numpy(problem.times).to(like), torch.from_numpy(problem.targets).to(like)
    leaves = {**weights.leaves, "x0": x0}

    def work() -> object:
        states = solution(weights.rate(A.T), x0, times)
        loss = (states - targets).square().mean()
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        if device != "cpu":
            torch.cuda.synchronize()
        return states, loss, gradients

    return work, lambda raw: torch_answer(raw, list(leaves))


def torch_answer(raw: object, names: list[str]) -> Answer:
    """States, loss and gradients as float64 arrays."""
    states, loss, gradients = raw  # type: ignore[misc]
    arrays = [g.detach().double().cpu().numpy() for g in gradients]
    return Answer(states.detach().double().cpu().numpy(), float(loss.detach()), dict(zip(names, arrays, strict=True)))


def torchdiffeq_solution(method: str, tolerance: float, step: float | None = None) -> Solution:
    """odeint without its adjoint: differentiating through the steps is faster and exact for the numbers returned."""
    options = None if step is None else {"step_size": step}

    def solution(rate: Rate, x0: Tensor, times: Tensor) -> Tensor:
        path = torchdiffeq.odeint(rate, x0, times, method=method, rtol=tolerance, atol=tolerance, options=options)
        return path.movedim(0, 1)

    return solution


def torchode_solution(method: str, tolerance: float) -> Solution:
    """Every record with its own steps. `backprop_through_step_size_control=False` is the faster of its two ways."""
    import torchode

    def solution(rate: Rate, x0: Tensor, times: Tensor) -> Tensor:
        term = torchode.ODETerm(rate)
        kind = {"dopri5": torchode.Dopri5, "tsit5": torchode.Tsit5}[method]
        control = torchode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
        solver = torchode.AutoDiffAdjoint(kind(term=term), control, backprop_through_step_size_control=False)
        problem = torchode.InitialValueProblem(y0=x0, t_eval=times.expand(len(x0), -1))
        return solver.solve(problem).ys

    return solution


def torch_contestant(name: str, problem: Problem, dtype: torch.dtype, solution: Solution) -> Contestant:
    """A peer on a problem with shared times."""
    return Contestant(name, *torch_work(problem, dtype, solution))


def torchdiffeq_loop(problem: CohortProblem, dtype: torch.dtype, tolerance: float) -> Contestant:
    """dopri5 for one person after the other, from dose to dose: torchdiffeq has one clock for all that it integrates."""
    like = torch.zeros((), dtype=dtype)
    weights, theta = Weights.of(problem.network, like), leaf(problem.theta, like)
    leaves = {**weights.leaves, "theta": theta}
    targets = torch.from_numpy(np.concatenate(problem.targets)).to(like)
    # the plan of calls is made beforehand: of every person, (amount given first, clock, how many of its times are read)
    plans: list[list[tuple[float, Tensor, int]]] = []
    for times, dose_times, doses in zip(problem.times, problem.dose_times, problem.doses, strict=True):
        edges, plan = [0.0, *dose_times], []
        for k, begin in enumerate(edges):
            last = k + 1 == len(edges)
            inside = times[(times > begin) & (times <= (np.inf if last else edges[k + 1]))]
            if begin >= times[-1]:
                break
            end = [] if last or times[-1] <= edges[k + 1] else [edges[k + 1]]
            plan.append((doses[k - 1] if k else 0.0, torch.tensor([begin, *inside, *end]).to(like), len(inside)))
        plans.append(plan)
    unit = torch.tensor([[1.0, 0.0]]).to(like)

    def work() -> object:
        observed = []
        for i, plan in enumerate(plans):
            ka, ke = theta[i]
            linear = torch.stack([-ka, ka, torch.zeros_like(ka), -ke]).view(2, 2)  # the transpose of A
            rate = weights.rate(linear)
            x = torch.zeros(1, 2, dtype=dtype)
            for amount, clock, count in plan:
                if amount:
                    x = x + amount * unit
                elif not count:
                    continue  # nothing is given yet and nothing is read: the state stays where it is, at 0
                path = torchdiffeq.odeint(rate, x, clock, method="dopri5", rtol=tolerance, atol=tolerance)
                observed.append(path[1 : 1 + count, 0])
                x = path[-1]
        states = torch.cat(observed)
        loss = (states - targets).square().mean()
        return states, loss, torch.autograd.grad(loss, list(leaves.values()))

    return Contestant("torchdiffeq dopri5, one by one", work, lambda raw: torch_answer(raw, list(leaves)))
