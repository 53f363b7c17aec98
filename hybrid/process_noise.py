"""Process noise on its way through a record: the covariance of the state along the mean path, and whole paths.

Both take the same step. Between two boundaries of the mesh, with J = A + ∂ε/∂x and D = diag(g²) the means of their values at
both ends, a deviation from the mean path goes from δ to e^{J h} δ + w, w ~ N(0, Q), Q = ∫₀ʰ e^{J s} D e^{Jᵀ s} ds: exact for
linear systems with constant g, whatever the step, and of second order in the step otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid.defaults import simulating
from hybrid.derivative import transforming
from hybrid.model import Conditions, HybridModel, require_alike, require_given
from hybrid.segments import Segments
from hybrid.solve.phi import doublings_for, phi
from hybrid.solve.solver import Solver
from hybrid.solve.stability_limit import require_mesh
from hybrid.threads import of_conditions, threads_by
from learned import Zero
from physics.arguments import require_kind, require_number, require_shape

_TERMS = 14  # of the series of Q for ‖J h‖ ≤ ½: (2‖J h‖)^14/15! < 1e-12 of the first, and it falls from there


@dataclass(frozen=True)
class Paths:
    """Whole paths under process noise: `states` (M, C, N, T, n), their `mean` measurement and a `measurement` with its own
    noise, (M, C, N, T, p), for M members, C paths and N people. All of a path is one draw: it is correlated along time.
    """

    states: Tensor
    mean: Tensor
    measurement: Tensor


@threads_by(of_conditions)
def sample_paths(
    model: HybridModel,
    conditions: Conditions,
    personal: Tensor,  # (M, N, d)
    count: int,
    generator: torch.Generator,
    *,
    solver: Solver | None = None,
) -> Paths:
    """Draw `count` whole paths of every person under every member: the stochastic equation, step by step on the mesh.

    Every step follows the equation with the solver (an exponential or a classical step, as for the mean), and then adds
    w ~ N(0, Q) with the Q of this step of this path: exact for linear systems with constant diffusion, weak order 2 in
    the step for other fields, 1 where g depends on x (Itô). √Δt is inside Q. Carries no gradient.
    Arguments: `count` C ≥ 1; `solver`: `Exponential(rtol=1e-6)` by default. Without process noise paths differ in measurement
    noise.
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
    count = int(count)
    require_alike(model, conditions, personal)
    _require_mesh(model, conditions.segments)
    solver = solver or simulating(model.dtype)
    N = conditions.size
    given = conditions.people(torch.arange(N, device=personal.device).repeat(count))
    segments = given.segments
    with torch.no_grad():
        own = personal.repeat(1, count, 1)
        theta, c = model.theta(own, given.covariates), model.context(own, given.covariates)
        field = model.bind(segments, theta, c)
        x = model.initial(theta, given.baseline)
        x = x.expand(max(model.members, x.shape[0]), *x.shape[1:])
        M, n, c = x.shape[0], x.shape[-1], c.expand(x.shape[0], -1, -1)
        A = field.A.expand(M, -1, -1, -1)
        passed = [x]
        for k in range(segments.dt.shape[1]):
            one = _alone(segments, k)
            after = solver.solve(field.on(one), x).require()[:, :, 0]
            if model.process is not None:
                _, Q = _step(model, A, c, (x + one.jump[:, 0], after), (one.u0[:, 0], one.u1[:, 0]), one.dt[:, 0])
                z = torch.randn((*after.shape, 1), generator=generator, dtype=torch.float64, device=generator.device)
                after = after + (_root(Q) @ z.to(after))[..., 0]
            x = after
            passed.append(x)
        states = segments.read(torch.stack(passed, 2))
        mean = model.observation.mean(states, theta)
        sd = model.noise.variance(mean, states, segments.read_inputs()).sqrt()
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64, device=generator.device).to(mean)
    shape = (M, count, N, states.shape[2])
    return Paths(states.reshape(*shape, n), mean.reshape(*shape, -1), (mean + sd * noise).reshape(*shape, -1))


def read_boundaries(segments: Segments) -> Segments:
    """The same records, read at the end of every segment too; `process_variance` takes the readings apart."""
    segment, fraction = _readings(segments)
    order = _order(segment, fraction)
    return replace(segments, segment=segment.gather(1, order), fraction=fraction.gather(1, order))


def process_variance(
    model: HybridModel,
    segments: Segments,
    theta: Tensor,  # (M, N, q)
    c: Tensor,  # (M, N, r)
    x0: Tensor,  # (M, N, n)
    readings: Tensor,  # (M, N, K+T, n)
) -> tuple[Tensor, Tensor]:  # (M, N, T, n), (M, N, T, p)
    """The states at the observations, and the variance that process noise gives a measurement there: diag(H S Hᵀ).

    dS/dt = J S + S Jᵀ + D along the mean path, S = 0 at the start (which is given) and continuous at doses (which are), with
    H = ∂h/∂x: the linearised law of the state, exact where field and observation are linear and g is constant. Give a
    nonlinear model a mesh with a `step`: between two boundaries J and D are the means of both ends. Differentiable in
    everything. It says nothing about the correlation along time.
    `readings` are the states of a solve over `read_boundaries(segments)`.
    Errors: `ValueError` for a nonlinear model on records that no mesh has cut.
    Source: Jazwinski, Stochastic Processes and Filtering Theory (1970) § 9; Van Loan, IEEE Trans. Autom. Control 23 (1978) 395
    for the integral Q.
    """
    _require_mesh(model, segments)
    M, N, _, n = readings.shape
    K = segments.dt.shape[1]
    segment, fraction = _readings(segments)
    back = torch.argsort(_order(segment, fraction), 1)[None, :, :, None].expand(M, -1, -1, n)
    everything = readings.gather(2, back)
    ends, states = everything[:, :, :K], everything[:, :, K:]
    lost = ~torch.isfinite(readings).all(-1).all(-1).all(0)[None, :, None, None]  # who failed sends no gradient
    begins = torch.cat([x0[:, :, None].expand(M, -1, -1, -1), ends[:, :, :-1]], 2) + segments.jump
    begins, ends, seen = (torch.where(lost, 0.0, v) for v in (begins, ends, states))
    A, _ = model.backbone.matrices(theta)
    A, c = A.expand(M, N, n, n), c.expand(M, N, -1)

    def step(begin: Tensor, end: Tensor, u0: Tensor, u1: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
        # (M, N, L, n) twice, (N, L, m) twice, (N, L): everyone's stretches in a row
        L = dt.shape[1]
        rows = (A.repeat_interleave(L, 1), c.repeat_interleave(L, 1), (begin.flatten(1, 2), end.flatten(1, 2)))
        found = _step(model, *rows, (u0.flatten(0, 1), u1.flatten(0, 1)), dt.flatten())
        return found[0].view(M, N, L, n, n), found[1].view(M, N, L, n, n)

    carry, gain = step(begins, ends, segments.u0, segments.u1, segments.dt)
    S = [gain.new_zeros(M, N, n, n)]
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

    H = _slope(lambda x: model.observation.mean(x, theta), seen)  # (M, N, T, p, n)
    variance = ((H @ at) * H).sum(-1).clamp(min=0.0)
    return states, torch.where(lost, torch.nan, variance)


def _require_mesh(model: HybridModel, segments: Segments) -> None:
    """The covariance moves by the means of J and D at a segment's ends: exact for a linear model, else only on short ones."""
    if model.process is not None and not isinstance(model.residual, Zero):
        require_mesh(segments, "process noise beside a residual")


def _step(
    model: HybridModel,
    A: Tensor,  # (M, R, n, n)
    c: Tensor,  # (M, R, r)
    x: tuple[Tensor, Tensor],  # (M, R, n), at the beginning and the end
    u: tuple[Tensor, Tensor],  # (R, m)
    dt: Tensor,  # (R,)
) -> tuple[Tensor, Tensor]:  # (M, R, n, n) twice
    """e^{J h} and Q of every row."""
    if model.process is None:
        raise ValueError("the model has no process noise: write HybridModel(…, process=DiagonalDiffusion([…]))")
    J, D = A, 0.5 * (model.process.diffusion(x[0]).square() + model.process.diffusion(x[1]).square())
    if not isinstance(model.residual, Zero):
        # both ends in one call
        both, inputs, context = torch.cat(x, 1), torch.cat(u)[None], torch.cat([c, c], 1)
        first, last = _slope(lambda v: model.residual(v, inputs, context), both).chunk(2, 1)
        J = A + 0.5 * (first + last)
    return _transition(J * dt[:, None, None], torch.diag_embed(D * dt[:, None]))


def _slope(
    function: Callable[[Tensor], Tensor],
    x: Tensor,  # (..., n)
) -> Tensor:  # (..., p, n)
    """∂f/∂x of a function (..., n) -> (..., p) that works point by point; differentiable in turn where gradients are on."""
    if transforming():  # where tensors cannot be asked to require a gradient
        pulled = torch.func.vjp(function, x)
        units = torch.eye(pulled[0].shape[-1], dtype=x.dtype, device=x.device)
        return torch.stack([pulled[1](e.expand_as(pulled[0]))[0] for e in units], -2)
    onward = torch.is_grad_enabled()
    with torch.enable_grad():
        at = x if onward and x.requires_grad else x.detach().requires_grad_()
        values = function(at).unbind(-1)
        # points do not meet, so that the gradient of a sum over points is the row of each
        rows = [
            torch.autograd.grad(v.sum(), at, create_graph=onward, retain_graph=True, materialize_grads=True)[0]
            if v.requires_grad
            else torch.zeros_like(x)
            for v in values
        ]
    return torch.stack(rows, -2)


def _transition(
    Z: Tensor,  # (..., n, n)
    D: Tensor,  # (..., n, n), symmetric
) -> tuple[Tensor, Tensor]:
    """e^Z and ∫₀¹ e^{Zs} D e^{Zᵀs} ds.

    The series Σ_k L^k(D)/(k+1)!, L(D) = Z D + D Zᵀ, at Z/2^q of norm ½ or less, then Q(2Z) = Q(Z) + e^Z Q(Z) e^{Zᵀ}: unlike in
    the exponential of [[−Z, D], [0, Zᵀ]] (Van Loan 1978), where e^{−Z} grows, nothing cancels however fast Z decays.
    """
    q = doublings_for(Z)
    z, term = Z / 2.0**q, D / 2.0**q
    e, total = phi(z, doublings=0)[0][0], term
    for k in range(1, _TERMS):
        half = z @ term
        term = (half + half.mT) / (k + 1)
        total = total + term
    for _ in range(q):
        total = total + e @ total @ e.mT
        e = e @ e
    return e, total


def _root(
    Q: Tensor,  # (..., n, n)
) -> Tensor:  # (..., n, n)
    """L with L Lᵀ = Q, also where states are not driven or no time passes."""
    sd = Q.diagonal(dim1=-2, dim2=-1).clamp(min=0.0).sqrt()
    safe = torch.where(sd > 0.0, sd, 1.0)
    eye = torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)
    # a correlation of exactly 1 has no root in floating point: 1e-10 of every variance (float32: 1e-5) makes it definite
    little = max(1e-10, 100.0 * torch.finfo(Q.dtype).eps)
    correlation = Q / (safe[..., :, None] * safe[..., None, :]) + torch.diag_embed(torch.where(sd > 0.0, little, 1.0))
    return sd[..., None] * torch.linalg.cholesky(torch.where((sd > 0.0)[..., None], correlation, eye))


def _alone(segments: Segments, k: int) -> Segments:
    """Segment k as the whole record, read at its end."""
    part = {name: getattr(segments, name)[:, k : k + 1] for name in ("dt", "start", "jump", "rate", "u0", "u1")}
    zero = torch.zeros_like(segments.segment[:, :1])
    return replace(segments, **part, segment=zero, fraction=torch.ones_like(segments.dt[:, :1]))


def _readings(segments: Segments) -> tuple[Tensor, Tensor]:  # (N, K+T)
    """Every segment's end and then every observation: the segment, and the fraction of it."""
    N, K = segments.dt.shape
    every = torch.arange(K, device=segments.segment.device).expand(N, K)
    segment = torch.cat([every, segments.segment], 1)
    return segment, torch.cat([torch.ones_like(segments.dt), segments.fraction], 1)


def _order(segment: Tensor, fraction: Tensor) -> Tensor:  # (N, K+T)
    # a solver reads a segment in the order of its observations
    return torch.argsort(segment.to(torch.float64) + fraction.detach().to(torch.float64), dim=1, stable=True)
