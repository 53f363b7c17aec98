"""Process noise on its way through a record: the covariance of the state along the mean path, and whole paths.

Both take the step of `hybrid.propagate` between two boundaries of the mesh.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid.conditions import Conditions
from hybrid.cutting.interval import Interval
from hybrid.cutting.segments import Segments
from hybrid.defaults import simulating
from hybrid.derivative import slope_of
from hybrid.field import SemilinearField
from hybrid.model import HybridModel
from hybrid.model_arguments import require_given
from hybrid.problem import Problem, Start
from hybrid.propagate import between, root
from hybrid.solve.solver import Solver
from hybrid.solve.stability_limit import require_mesh
from hybrid.terms import bound
from hybrid.threads import of_conditions, threads_by
from learned.correlated import correlated
from physics.arguments import require_kind, require_number, require_shape
from physics.glance import glance


@dataclass(frozen=True)
class Paths:
    """Whole paths under process noise: `states` (M, C, N, T, n), their `mean` measurement and a `measurement` with its own
    noise, (M, C, N, T, p), for M members, C paths and N people. All of a path is one draw: it is correlated along time.
    """

    states: Tensor
    mean: Tensor
    measurement: Tensor

    __repr__, _repr_html_ = glance()


@threads_by(of_conditions)
def sample_paths(
    model: HybridModel,
    conditions: Conditions,
    personal: Tensor,  # (M, N, d)
    count: int,
    generator: torch.Generator,
    *,
    start: Start | None = None,
    solver: Solver | None = None,
) -> Paths:
    """Draw `count` whole paths of every person under every member: the stochastic equation, step by step on the mesh.

    Every step follows the equation with the solver (an exponential or a classical step, as for the mean), and then adds
    w ~ N(0, Q) with the Q of this step of this path: exact for linear systems with constant diffusion, weak order 2 in
    the step for other fields, 1 where g depends on x (Itô). √Δt is inside Q. Carries no gradient.
    Arguments: `count` C ≥ 1; `start`, as `rollout` takes it: of (x, S) every path draws its own; `solver`:
    `Exponential(rtol=1e-6)` by default. Without process noise paths differ in measurement noise.
    Errors: `ValueError` for a count below 1, observations inside the segments, or a nonlinear model on records that no mesh
    has cut; `SimulationError`.
    Law: the variance over many paths is that of `rollout` where the system is linear.
    Source: Kloeden & Platen (1992) chapter 14 (weak schemes); Jimenez & Ozaki, J. Time Ser. Anal. 27 (2006) 77 (local
    linearisation).
    """
    require_given(model, conditions, "sample_paths")
    require_number(count, "sample_paths: count, how many paths,", least=1.0, most=1e8, whole=True)
    require_kind(generator, torch.Generator, "sample_paths: generator", "torch.Generator().manual_seed(0)")
    if not conditions.segments.cut:
        raise ValueError(
            "the observations lie inside the segments, and a path is drawn at their ends; cut the records at their "
            "observations, Mesh(..., observed=True)"
        )
    require_shape(
        *(personal, "sample_paths: personal", "M", conditions.size, model.personal),
        write="Personal.mode, or zeros for typical people",
    )
    if not len(personal) or (1 not in (len(personal), model.members) and len(personal) != model.members):
        raise ValueError(f"sample_paths: personal is of {len(personal)} members and the model has {model.members}; give as many")
    if solver is not None:
        require_kind(solver, Solver, "sample_paths: solver", 'RungeKutta("rk4") or Exponential(rtol=1e-6)')
    count, N = int(count), conditions.size
    _require_mesh(model, conditions.segments)
    everyone = torch.arange(N, device=conditions.baseline.device).repeat(count)

    def normal(shape: Sequence[int], like: Tensor) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, device=generator.device).to(like)

    with torch.no_grad():
        problem = _for_each_path(Problem.of(model, conditions, personal, start, "sample_paths"), everyone)
        x, solver = problem.start, solver or simulating(model.dtype)
        if problem.covariance is not None:
            x = x + (root(problem.covariance) @ normal((*x.shape, 1), x))[..., 0]
        problem = replace(problem, start=x)
        # without process noise nothing is drawn on the way
        states = problem.solve(solver).require() if model.process is None else _walked(problem, solver, normal)
        mean, variance = problem.measured(states, problem.segments.read_inputs())
        error = correlated(normal(mean.shape, mean), model.noise.correlation())
    shape = (states.shape[0], count, N, states.shape[2])
    return Paths(
        states.reshape(*shape, states.shape[-1]), mean.reshape(*shape, -1), (mean + variance.sqrt() * error).reshape(*shape, -1)
    )


def _require_one_piece(problem: Problem, name: str) -> None:
    problem.segments.require_unbroken(name, _IN_PIECES)
    if problem.changes is not None:
        raise ValueError(
            f"{name}: a record has a covariate or an occasion that changes on the way, and here people are followed in one "
            f"piece; {_IN_PIECES}"
        )


_IN_PIECES = "write each stretch as a record of its own, or leave the process noise out"


def _walked(problem: Problem, solver: Solver, normal: Callable[[Sequence[int], Tensor], Tensor]) -> Tensor:  # (M, R, T, n)
    """The states at the observations, with the noise of every step drawn at its end."""
    _require_one_piece(problem, "sample_paths")
    driven, segments, x = Driven.of(problem, solver), problem.segments, problem.start
    passed = [x]
    for k in range(segments.dt.shape[1]):
        one = Interval.at(segments, k)
        begin = x + one.jump
        x = driven.flow(begin, one)
        _, Q = between(driven, (begin, x), (one.u0, one.u1), one.dt)
        x = x + (root(Q) @ normal((*x.shape, 1), x))[..., 0]
        passed.append(x)
    return segments.read(torch.stack(passed, 2))


def _for_each_path(problem: Problem, everyone: Tensor) -> Problem:
    """The problem of N people as that of C N paths."""
    start, covariance = problem.start[:, everyone], problem.covariance
    theta, c = (v[:, everyone] for v in (problem.theta, problem.context))
    S = None if covariance is None else covariance[:, everyone]
    each = {name: v[everyone] for name, v in problem.covariates.items()}
    changes = None if problem.changes is None else problem.changes.people(everyone)
    return Problem(problem.model, problem.segments.people(everyone), theta, c, start, S, changes, each)


def read_boundaries(segments: Segments) -> Segments:
    """The same records, read at the end of every segment too; `process_variance` takes the readings apart."""
    segments.require_unbroken("process noise, or a start with a covariance,", _IN_PIECES)
    segment, fraction = _readings(segments)
    order = _order(segment, fraction)
    return replace(segments, segment=segment.gather(1, order), fraction=fraction.gather(1, order))


def process_variance(
    problem: Problem,
    readings: Tensor,  # (M, N, K+T, n)
) -> tuple[Tensor, Tensor]:  # (M, N, T, n), (M, N, T, p)
    """The states at the observations, and the variance that process noise gives a measurement there: diag(H S Hᵀ).

    dS/dt = J S + S Jᵀ + D along the mean path, S at the start that of the problem (0 where it is given) and continuous at doses
    (which are given), with H = ∂h/∂x: the linearised law of the state, exact where field and observation are linear and g is
    constant. Give a nonlinear model a mesh with a `step`: between two boundaries J and D are the means of both ends.
    Differentiable in everything. It says nothing about the correlation along time.
    `readings` are the states of a solve over `read_boundaries(problem.segments)`.
    Errors: `ValueError` for a nonlinear model on records that no mesh has cut, and for channels whose errors are correlated.
    Source: Jazwinski, Stochastic Processes and Filtering Theory (1970) § 9.
    """
    model, segments = problem.model, problem.segments
    _require_one_piece(problem, "process noise, or a start with a covariance,")
    if model.noise.correlation() is not None:
        raise ValueError(
            "a covariance of the state is carried into the variance of each channel, not into what channels have in common, and "
            "the errors of this model's channels are correlated (Correlated); give the start without a covariance, or take the "
            "head without Correlated"
        )
    _require_mesh(model, segments, problem.covariance is not None)
    M, N, _, n = readings.shape
    K = segments.dt.shape[1]
    segment, fraction = _readings(segments)
    back = torch.argsort(_order(segment, fraction), 1)[None, :, :, None].expand(M, -1, -1, n)
    everything = readings.gather(2, back)
    ends, states = everything[:, :, :K], everything[:, :, K:]
    lost = ~torch.isfinite(readings).all(-1).all(-1).all(0)[None, :, None, None]  # who failed sends no gradient
    begins = torch.cat([problem.start[:, :, None].expand(M, -1, -1, -1), ends[:, :, :-1]], 2) + segments.jump
    begins, ends, seen = (torch.where(lost, 0.0, v) for v in (begins, ends, states))
    everyone = Driven.of(problem)

    def step(begin: Tensor, end: Tensor, u0: Tensor, u1: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
        # (M, N, L, n) twice, (N, L, m) twice, (N, L): everyone's stretches in a row
        L = dt.shape[1]
        ends, inputs = (begin.flatten(1, 2), end.flatten(1, 2)), (u0.flatten(0, 1), u1.flatten(0, 1))
        F, Q = between(everyone.each(L), ends, inputs, dt.flatten())
        return F.view(M, N, L, n, n), Q.view(M, N, L, n, n)

    carry, gain = step(begins, ends, segments.u0, segments.u1, segments.dt)
    S = [gain.new_zeros(M, N, n, n) if problem.covariance is None else problem.covariance.expand(M, -1, -1, -1)]
    for F, Q in zip(carry.unbind(2), gain.unbind(2), strict=True):
        S.append(F @ S[-1] @ F.mT + Q)
    boundary = torch.stack(S, 2)  # (M, N, K+1, n, n)
    if segments.cut:
        at = boundary.gather(2, segments.boundary[None, :, :, None, None].expand(M, -1, -1, n, n))
    else:
        index = segments.segment
        u0, u1 = (v.gather(1, index[..., None].expand(-1, -1, v.shape[-1])) for v in (segments.u0, segments.u1))
        part = segments.fraction
        begin = begins.gather(2, index[None, :, :, None].expand(M, -1, -1, n))
        F, Q = step(begin, seen, u0, torch.lerp(u0, u1, part[..., None]), part * segments.dt.gather(1, index))
        at = F @ boundary.gather(2, index[None, :, :, None, None].expand(M, -1, -1, n, n)) @ F.mT + Q

    inputs, observation = segments.read_inputs(), model.observation
    H = slope_of(lambda x: observation.seen(x, problem.theta, inputs, problem.covariates), seen)  # (M, N, T, p, n)
    variance = ((H @ at) * H).sum(-1).clamp(min=0.0)
    return states, torch.where(lost, torch.nan, variance)


def _require_mesh(model: HybridModel, segments: Segments, spread: bool = False) -> None:
    """The covariance moves by the means of J and D at a segment's ends: exact for a linear model, else only on short ones."""
    if (model.process is not None or spread) and not model.linear:
        what = "process noise" if model.process is not None else "a covariance"
        require_mesh(segments, f"{what} beside a residual")


@dataclass(frozen=True)
class Driven:
    """dx = f(x, u) dt + g(x) dW of a model for N people under M members, as `propagate` asks it.

    `field`: the right-hand side; `A` (M, N, n, n) and `B` its matrices, `theta` (M, N, q) and `c` (M, N, r) what its other terms
    know of everyone.
    """

    model: HybridModel
    field: SemilinearField
    A: Tensor
    B: Tensor
    theta: Tensor
    c: Tensor
    solver: Solver

    @staticmethod
    def of(problem: Problem, solver: Solver | None = None) -> "Driven":
        """The equation behind a problem; `solver` of the mean path: `Exponential(rtol=1e-6)` by default."""
        (M, N, n), model = problem.start.shape, problem.model
        A, B = model.backbone.matrices(problem.theta)
        theta, c = problem.theta.expand(M, N, -1), problem.context.expand(M, N, -1)
        return Driven(model, problem.field(), A.expand(M, N, n, n), B, theta, c, solver or simulating(model.dtype))

    def each(self, count: int) -> "Driven":
        """The same for `count` stretches of everyone in a row, whose mean paths are known."""
        A, theta, c = (v.repeat_interleave(count, 1) for v in (self.A, self.theta, self.c))
        return replace(self, A=A, theta=theta, c=c)

    def flow(self, x: Tensor, interval: Interval) -> Tensor:  # (M, N, n) -> (M, N, n)
        """The mean path, by the solver."""
        return self.solver.solve(self.field.on(interval.quiet().segments()), x).require()[:, :, 0]

    def slope(self, x: Tensor, u: Tensor) -> Tensor:  # (M, R, n), (R, m) -> (M, R, n, n)
        """∂(dx/dt)/∂x of all terms."""
        times = x.shape[1] // self.A.shape[1]
        theta, c = (v.repeat(1, times, 1) for v in (self.theta, self.c))
        matrices = self.A.repeat(1, times, 1, 1), self.B
        return bound(matrices, self.model.known, self.model.residual, theta, c, self.model.curved).jacobian(x, u[None])

    def intensity(self, x: Tensor) -> Tensor:  # (M, R, n) -> (M, R, n, n)
        """diag(g²), 0 where nothing drives the states."""
        g = torch.zeros_like(x) if self.model.process is None else self.model.process.diffusion(x)
        return torch.diag_embed(g.square())


def _readings(segments: Segments) -> tuple[Tensor, Tensor]:  # (N, K+T)
    """Every segment's end and then every observation: the segment, and the fraction of it."""
    N, K = segments.dt.shape
    every = torch.arange(K, device=segments.segment.device).expand(N, K)
    segment = torch.cat([every, segments.segment], 1)
    return segment, torch.cat([torch.ones_like(segments.dt), segments.fraction], 1)


def _order(segment: Tensor, fraction: Tensor) -> Tensor:  # (N, K+T)
    # a solver reads a segment in the order of its observations
    return torch.argsort(segment.to(torch.float64) + fraction.detach().to(torch.float64), dim=1, stable=True)
