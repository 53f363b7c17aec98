"""Our side of every benchmark: the one file that knows which of our solvers and meshes run."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers.peers_torch import leaf, torch_answer
from benchmarks.peers.problem import HIDDEN, CohortProblem, Network, Problem
from benchmarks.race import Contestant, Work
from hybrid import Dose, Exponential, HybridModel, Mesh, RungeKutta, Schedule, Segments, Solver, States, build_segments
from learned import MLP, AdditiveProportional, Ensemble, concatenate
from physics import LinearBackbone, LogNormalPopulation, OneCompartmentOral, SharedPopulation
from training.machinery.unit import unit


@dataclass(frozen=True)
class Choice:
    """A solver with the mesh that it steps on."""

    solver: Solver
    mesh: Mesh


# what runs: a new solver comes in here
# The meshes are the coarsest of a small search that keep the error asked for; a tolerance finds its own (ADAPTIVE).
NONSTIFF = Choice(Exponential(), Mesh(step=1.6, first=0.3, growth=0.2, observed=False))
ADAPTIVE = Choice(RungeKutta("tsit5", rtol=1e-4, atol=1e-5), Mesh(observed=False))
STIFF = Choice(Exponential(), Mesh(step=1.5, first=0.01, growth=0.2, observed=False))  # error below 1e-5
STIFF_LOOSE = Choice(Exponential(), Mesh(step=4.0, first=0.01, growth=0.5, observed=False))  # at a peer's 1e-3
COHORT = Choice(Exponential(), Mesh(step=1.5, first=0.3, growth=0.4, observed=False))
GPU = NONSTIFF
GPU_EVALUATIONS = 11 * 4  # of the right-hand side in one solve with it
# for the picture of work and precision: by problem and solver, the settings from loose to tight
LINES: dict[str, dict[str, list[Choice]]] = {
    "nonstiff": {
        "ours, RungeKutta(tsit5)": [Choice(RungeKutta(), Mesh(h, observed=False)) for h in (1.0, 0.67, 0.5, 0.25, 0.125)],
        "ours, RungeKutta(rk4)": [Choice(RungeKutta("rk4"), Mesh(h, observed=False)) for h in (0.5, 0.25, 0.125, 0.0625)],
        "ours, Exponential": [Choice(Exponential(), Mesh(h, observed=False)) for h in (1.0, 0.5, 0.25, 0.125, 0.0625)],
        "ours, RungeKutta(tsit5, rtol)": [
            Choice(RungeKutta(rtol=r, atol=r), Mesh(observed=False)) for r in (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
        ],
        "ours, Exponential(rtol)": [
            Choice(Exponential(rtol=r, atol=r), Mesh(observed=False)) for r in (1e-3, 1e-4, 1e-5, 1e-6)
        ],
    },
    "stiff": {
        "ours, RungeKutta(rk4)": [Choice(RungeKutta("rk4"), Mesh(h, h / 6, 0.1)) for h in (0.026, 0.013)],
        "ours, Exponential": [
            Choice(Exponential(), Mesh(h, h / 2000, 0.25, observed=False)) for h in (2.0, 1.0, 0.5, 0.25, 0.125)
        ],
        "ours, Exponential(rtol)": [
            Choice(Exponential(rtol=r, atol=r), Mesh(observed=False)) for r in (1e-3, 1e-4, 1e-5, 1e-6)
        ],
    },
}
LONG: Solver = RungeKutta("rk4")  # one step in every segment; the mesh is the benchmark's own


def model_of(network: Network, A: np.ndarray) -> HybridModel:
    """The hybrid model with constant A and exactly this network."""
    n = len(A)
    return HybridModel(
        LinearBackbone(torch.from_numpy(A)),
        SharedPopulation(),
        mlp_of(network),
        observation=States(range(n), [f"y{i}" for i in range(n)], ["1"] * n),
        noise=AdditiveProportional([0.1] * n, [0.1] * n, [0.01] * n),
    )


def mlp_of(network: Network) -> MLP:
    """Our network with these weights.

    Errors: `ValueError` where its folded layers are not these arrays, so that peers would run another function.
    """
    mlp = MLP(states=network.W1.shape[1], hidden=HIDDEN)
    with torch.no_grad():
        for mine, given in zip(_trainable(mlp).values(), network.arrays().values(), strict=True):
            mine.copy_(torch.from_numpy(given)[None])
    layers = mlp.layers()
    folded = [layers.weights[0], layers.biases[0], layers.weights[1], layers.biases[1], layers.weights[2]]
    if not all(np.array_equal(a[0].detach().numpy(), b) for a, b in zip(folded, vars(network).values(), strict=True)):
        raise ValueError("the layers of our MLP are not the problem's arrays; its scales no longer fold to 1")
    return mlp


def contestant(name: str, problem: Problem, choice: Choice, dtype: torch.dtype, device: str = "cpu") -> Contestant:
    """Ours on a problem with shared times."""
    model = model_of(problem.network, problem.A).to(device, dtype)
    like = torch.zeros((), dtype=dtype, device=device)
    segments = shared_segments(problem.times, len(problem.x0), 4, choice.mesh).to(like)
    x0, targets = leaf(problem.x0, like), torch.from_numpy(problem.targets).to(like)
    weights = _trainable(model.residual)
    work = solve_work(model, segments, choice.solver, x0, targets, list(weights.values()))
    return Contestant(name, work, lambda raw: torch_answer(_single(raw), [*weights, "x0"]), ours=True)


def members_work(
    problem: Problem, choice: Choice, dtype: torch.dtype, members: int
) -> tuple[Work, Callable[[], np.ndarray]]:
    """The work for so many stacked members, the first with the problem's own weights, and that one's states."""
    model = model_of(problem.network, problem.A)
    others = Ensemble(members - 1).stack(model, torch.Generator().manual_seed(1))
    model = concatenate([model, others]).to(dtype)
    like = torch.zeros((), dtype=dtype)
    segments = shared_segments(problem.times, len(problem.x0), 4, choice.mesh).to(like)
    x0, targets = leaf(problem.x0, like), torch.from_numpy(problem.targets).to(like)
    work = solve_work(model, segments, choice.solver, x0, targets, list(_trainable(model.residual).values()))

    def first() -> np.ndarray:
        states, _, _ = work()  # type: ignore[misc]
        return states[0].detach().double().numpy()

    return work, first


def long_contestant(problem: Problem, solver: Solver, steps: int) -> Contestant:
    """A long record: so many steps of equal length over the problem's times, read at its end; float64."""
    model = model_of(problem.network, problem.A)
    mesh = Mesh(step=problem.times[-1] / steps)
    segments = shared_segments(problem.times, len(problem.x0), 4, mesh).to(torch.zeros((), dtype=torch.float64))
    x0 = leaf(problem.x0, torch.zeros((), dtype=torch.float64))
    weights = _trainable(model.residual)
    work = solve_work(model, segments, solver, x0, torch.from_numpy(problem.targets), list(weights.values()))
    return Contestant("ours", work, lambda raw: torch_answer(_single(raw), [*weights, "x0"]), ours=True)


def solve_work(
    model: HybridModel,
    segments: Segments,
    solver: Solver,
    x0: Tensor,  # (N, n)
    targets: Tensor,  # (N, T, n)
    weights: list[Tensor],
) -> Work:
    """Value and gradient of the loss, for every member of the model."""
    N, M = len(x0), model.members
    empty = x0.new_zeros(M, N, 0)
    # one scalar for each member: the gradient of their sum is everyone's own

    def value() -> tuple[Tensor, Tensor]:
        field = model.bind(segments, empty, empty)
        states = solver.solve(field, x0.expand(M, *x0.shape)).require()
        return states, (states - targets).square().mean((1, 2, 3)).sum()

    def work() -> object:
        states, loss = value()
        return states, loss, torch.autograd.grad(loss, [*weights, x0])

    return _captured(value, [*weights, x0]) if x0.is_cuda else work


def _captured(value: Callable[[], tuple[Tensor, Tensor]], leaves: list[Tensor]) -> Work:
    """The same as one graph on the device, as a user gets it from `training.machinery.unit`, which owns what the graph reads.

    Errors: `RuntimeError` where nothing could be captured: operation by operation is not what the benchmark is about.
    """
    states: list[Tensor] = []

    def objective() -> Tensor:
        found, loss = value()
        states[:] = [found.detach()]
        return loss

    whole = unit(objective, leaves)
    if not whole.captured:
        raise RuntimeError(f"gpu: {whole.reason}")

    def work() -> object:
        loss = whole()
        torch.cuda.synchronize()
        return states[0], loss, [p.grad for p in leaves]

    return work


def cohort_contestant(name: str, problem: CohortProblem, choice: Choice, dtype: torch.dtype) -> Contestant:
    """Ours on a cohort: everyone's own clock, all at once."""
    backbone = OneCompartmentOral(ka=(0.3, 4.0), ke=(0.02, 0.25), V=(5.0, 200.0))
    model = HybridModel(
        backbone,
        LogNormalPopulation(backbone.physical, [0.3] * 3),
        mlp_of(problem.network),
        observation=States([0, 1], ["gut", "plasma"], ["mg", "mg"]),
        noise=AdditiveProportional([0.1] * 2, [0.1] * 2, [0.01] * 2),
    ).to(dtype)
    like = torch.zeros((), dtype=dtype)
    schedules = [
        Schedule(tuple(Dose("gut", float(t), float(a)) for t, a in zip(when, much, strict=True)))
        for when, much in zip(problem.dose_times, problem.doses, strict=True)
    ]
    segments = build_segments(
        schedules, [t.tolist() for t in problem.times], backbone.states, backbone.inputs, choice.mesh
    ).to(like)
    N, T = len(problem.times), segments.boundary.shape[1]
    there = torch.arange(T) < torch.tensor([len(t) for t in problem.times])[:, None]  # (N, T)
    targets = torch.from_numpy(np.concatenate(problem.targets)).to(like)
    theta, volume, x0 = leaf(problem.theta, like), like.new_ones(1, N, 1), like.new_zeros(1, N, 2)
    weights = _trainable(model.residual)

    def work() -> object:
        field = model.bind(segments, torch.cat([theta[None], volume], -1), like.new_zeros(1, N, 0))
        states = choice.solver.solve(field, x0).require()[0][there]
        loss = (states - targets).square().mean()
        return states, loss, torch.autograd.grad(loss, [*weights.values(), theta])

    def read(raw: object) -> object:
        states, loss, gradients = raw  # type: ignore[misc]
        return states, loss, [*(g[0] for g in gradients[:-1]), gradients[-1]]

    return Contestant(name, work, lambda raw: torch_answer(read(raw), [*weights, "theta"]), ours=True)


def _single(raw: object) -> object:
    """States, loss and gradients of the only member, without its axis."""
    states, loss, gradients = raw  # type: ignore[misc]
    return states[0], loss, [*(g[0] for g in gradients[:-1]), gradients[-1]]


def shared_segments(times: np.ndarray, records: int, states: int, mesh: Mesh) -> Segments:
    """The segments of records that all have the same times and no doses."""
    schedule = Schedule(start=float(times[0]))
    one = build_segments([schedule], [times.tolist()], [f"x{i + 1}" for i in range(states)], mesh=mesh)
    return one.people(torch.zeros(records, dtype=torch.long))


def _trainable(mlp: torch.nn.Module) -> dict[str, Tensor]:
    """The trainable tensors (M, …) by the problem's names."""
    (W1, W2, W3), (b1, b2) = mlp.weights, mlp.biases  # type: ignore[misc]
    return {"W1": W1, "b1": b1, "W2": W2, "b2": b2, "W3": W3}
