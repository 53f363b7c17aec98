"""Which steps a record needs for a tolerance: found without gradients, record by record, and then taken as given."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.cutting.segments import Segments
from hybrid.derivative import mapped, transforming
from hybrid.field import SemilinearField
from hybrid.solve.combine import Polynomials
from hybrid.solve.exponentials import Exponentials
from hybrid.solve.phi import phi
from hybrid.solve.solver import Cause, Failure
from hybrid.solve.tableau import constants


@dataclass(frozen=True)
class Tolerance:
    """A step is accepted when the root mean square of error/(atol + rtol·|x|) over the states is at most 1, under every
    member. `max_steps` is how many a record may try.
    """

    rtol: float
    atol: float
    max_steps: int = 10_000


def adapt(
    field: SemilinearField,
    x0: Tensor,  # (M, N, n)
    scheme: Polynomials | Exponentials,
    tolerance: Tolerance,
) -> tuple[Segments, tuple[Failure, ...]]:
    """The field's segments cut into steps that keep the tolerance, and the records for which there are none.

    Every record has its own steps: they do not depend on who else is in the batch. After a jump of the state the first step is
    short (Hairer, Nørsett & Wanner 1993, II.4), and grows with what the error allows. Where an input or an infusion steps, the
    state goes on and the step size is carried over: the first step is tried as long as the last ones were, and its error
    says whether that was too long. The gradient of a solution on these steps is that of the steps: their number and shares of
    the segments are constants.
    Without a residual an exponential step is exact, whatever its length: every segment is one.
    Errors: `ValueError` under `torch.func.vmap`, whose batch does not show its values.
    """
    if isinstance(scheme, Exponentials) and field.learned is None:
        return field.segments, ()
    if transforming() and any(mapped(v) for v in (x0, *field.made_from)):
        raise ValueError(
            "steps for a tolerance depend on the values, which torch.func.vmap hides; give the batch as people or members "
            "(shapes (M, N, …)) instead of vmap, or take the steps of a mesh: solver=Exponential(), mesh=Mesh(step)"
        )
    with torch.no_grad():
        parts, failures = _search(field, x0, scheme, tolerance)
        segment, begin, end = _assemble(parts)
    # forward mode goes on where gradients are off
    return field.segments.refine(segment, begin.detach(), end.detach()), failures


_Part = tuple[Tensor, Tensor, Tensor, Tensor]  # whose step was accepted (N,), and its segment, beginning and end


def _search(
    field: SemilinearField, x0: Tensor, scheme: Polynomials | Exponentials, tolerance: Tolerance
) -> tuple[list[_Part], tuple[Failure, ...]]:
    s = field.segments
    N, K = s.dt.shape
    limits = torch.finfo(s.dt.dtype)
    tiny, huge, rounding = limits.tiny, limits.max / 100.0, 500.0 * limits.eps
    everyone = torch.arange(N, device=x0.device)
    # the last segment in which anything happens; behind it there is padding
    busy = (s.dt > 0) | (s.jump != 0).any(-1)
    stop = torch.where(busy, torch.arange(1, K + 1, device=x0.device), 0).amax(1).clamp(min=1)
    index = torch.zeros(N, dtype=torch.long, device=x0.device)
    begin = torch.zeros(N, dtype=s.dt.dtype, device=x0.device)
    h = torch.full_like(begin, torch.inf)
    fresh = torch.ones(N, dtype=torch.bool, device=x0.device)  # has the state jumped just now?
    early = torch.ones_like(fresh)  # has the state jumped or an input stepped, and no step been taken since?
    done = torch.zeros_like(fresh)
    failed: dict[int, Failure] = {}
    x = x0 + s.jump[None, :, 0]
    parts: list[_Part] = []
    # The stages of an exponential method look past a fast transient of A that its own step jumps over, and so does the error
    # estimate. At the time τ after a jump the rates near 1/τ are still dying out and the faster ones are dead: steps of
    # half of τ follow them all. Slower ones than the fastest rate of A there are none to wait for. Where only an input has
    # stepped the transients are small, and the estimate of a step that begins there looks for them instead (`_trial`).
    graded = isinstance(scheme, Exponentials)
    fastest = field.A.abs().sum(-1).amax(-1).amax(0).expand(N) if graded else begin
    h0, since = torch.zeros_like(begin), torch.zeros_like(begin)  # the first step after a jump, and the time since
    power = -1.0 / (scheme.tableau.error_order + 1 if isinstance(scheme, Polynomials) else 4)
    functions = Functions()

    def leave(crossed: Tensor) -> None:
        """Go on to the next segment."""
        nonlocal index, begin, x, fresh, early, done
        index = torch.where(crossed, index + 1, index)
        begin = torch.where(crossed, 0.0, begin)
        done = done | (index >= stop)
        index = index.clamp(max=K - 1)
        going = crossed & ~done
        arriving = torch.where(going[:, None], s.jump[everyone, index], 0.0)
        before = (index - 1).clamp(min=0)
        jumped = (arriving != 0).any(-1)
        stepped = (s.rate[everyone, index] != s.rate[everyone, before]).any(-1)
        stepped = stepped | (s.u0[everyone, index] != s.u1[everyone, before]).any(-1)
        fresh = torch.where(going, fresh | jumped, fresh)
        early = torch.where(going, early | jumped | stepped, early)
        x = x + arriving

    for _ in range(tolerance.max_steps):
        # what lasts no time is crossed at once
        while bool((still := ~done & (s.dt[everyone, index] == 0)).any()):
            parts.append((still, index, torch.zeros_like(begin), torch.ones_like(begin)))
            leave(still)
        if bool(done.all()):
            break
        dt = s.dt[everyone, index]
        if bool((fresh & ~done).any()):
            first = _first_step(field, index, begin, x, tolerance)
            h = torch.where(fresh, torch.minimum(h, first), h)
            h0, since = torch.where(fresh, first, h0), torch.where(fresh, 0.0, since)
            fresh = torch.zeros_like(fresh)
        if graded:
            h = torch.minimum(h, torch.maximum(h0 + 0.5 * since, 0.5 / fastest.clamp(min=tiny)))
        left = 1.0 - begin
        delta = torch.minimum(h / dt.clamp(min=tiny), left)
        # no sliver at the end of a segment
        delta = torch.where(delta > 0.9 * left, left, torch.where(delta > 0.55 * left, 0.5 * left, delta))
        final = delta >= left
        hidden = early & (delta * dt * fastest > 1.0)  # only a mode faster than the step can be over before it looks
        after, error = _trial(field, scheme, index, begin, delta, x, hidden, functions)
        scale = tolerance.atol + tolerance.rtol * torch.maximum(x.abs(), after.abs())
        ratio = (error / scale).square().mean(-1).sqrt().amax(0)  # (N,)
        finite = torch.isfinite(ratio) & torch.isfinite(after).all(-1).all(0)
        accept = ~done & finite & (ratio <= 1.0)
        factor = torch.where(finite, (0.9 * ratio.clamp(min=1e-10) ** power).clamp(0.2, 5.0), 0.1)
        proposed = delta * dt * factor
        # a segment that ends early says little against a longer step than it allowed
        h = torch.where(accept & final, torch.maximum(h.clamp(max=huge), proposed).minimum(5.0 * proposed), proposed)
        end = torch.where(final, 1.0, begin + delta)
        parts.append((accept, index, begin, end))
        x = torch.where(accept[None, :, None], after, x)
        begin = torch.where(accept, end, begin)
        early = early & ~accept
        since = torch.where(accept, since + delta * dt, since)
        stuck = ~done & ~accept & ~(delta * dt > rounding * (s.start[everyone, index].abs() + dt))  # what is no number is stuck
        if bool(stuck.any()):
            for record in torch.nonzero(stuck)[:, 0].tolist():
                failed[record] = _collapse(field, record, int(index[record]), float(begin[record]), bool(finite[record]))
            done = done | stuck
        leave(accept & final)
    for record in torch.nonzero(~done)[:, 0].tolist():
        at = float(s.start[record, index[record]] + begin[record] * s.dt[record, index[record]])
        failed[record] = Failure(record, at, Cause.OUT_OF_STEPS, numbers={"steps": tolerance.max_steps})
    return parts, tuple(failed[r] for r in sorted(failed))


class Functions:
    """The matrix functions of everyone's last trial, for the next one where that is as long.

    They only decide which steps are taken, so lengths that differ by rounding are the same.
    """

    def __init__(self) -> None:
        self.span: Tensor | None = None
        self.found: list[tuple[Tensor, ...]] = []

    def at(self, A: Tensor, span: Tensor, like: Tensor) -> list[tuple[Tensor, ...]]:
        """(e^z, φ₁, φ₂, φ₃) at z = h A for a quarter, half and the whole of everyone's step, in the dtype of `like`."""
        same = None if self.span is None else torch.isclose(span, self.span, rtol=1e-9, atol=0.0)
        if same is not None and bool(same.all()):
            return self.found
        z = A.to(torch.float64) * span[None, :, None, None].to(torch.float64)
        found = [tuple(v.to(like.dtype) for v in level) for level in phi(z, 2)]
        if same is not None and self.span is not None:
            # whose step is as long keeps what it had, whoever else there is
            old, span = self.found, torch.where(same, self.span, span)
            found = [
                tuple(torch.where(same[:, None, None], a, b) for a, b in zip(mine, new, strict=True))
                for mine, new in zip(old, found, strict=True)
            ]
        self.span, self.found = span, found
        return found


def _trial(
    field: SemilinearField,
    scheme: Polynomials | Exponentials,
    index: Tensor,  # (N,)
    begin: Tensor,  # (N,)
    delta: Tensor,  # (N,)
    x: Tensor,  # (M, N, n)
    hidden: Tensor,  # (N,) bool
    functions: Functions,
) -> tuple[Tensor, Tensor]:
    """One step of every record from where it is, and an estimate of its error, inside it too if it is read there.

    `hidden`: whose fast modes have just been pushed. There one moves the residual before the second stage looks, and a quadratic
    through the stages makes a quarter of a step of it: with q = e^{−rh/4}, what g misses at θ = ¼ is ⅛ (q − 1)³ (q + 3) of the
    mode's amplitude, of one sign for every rate r > 0, so that no rate hides.
    """
    dense = not field.segments.cut or bool(hidden.any())
    span = delta * field.segments.dt[torch.arange(len(index), device=x.device), index]
    h = span[None, :, None]
    if isinstance(scheme, Polynomials):
        t, stage = scheme.tableau, x
        f: list[Tensor] = []
        for c, row in zip(t.c, t.a, strict=True):
            if row:
                stage = x + h * torch.tensordot(constants((row,), x.dtype, x.device)[0], torch.stack(f), 1)
            f.append(field.linear(stage) + field.nonlinear_at(index, begin + c * delta, stage))
        slopes = torch.stack(f)
        error = h * torch.tensordot(constants((t.error,), x.dtype, x.device)[0], slopes, 1)
        if t.closing:
            return stage, error
        return x + h * torch.tensordot(constants((t.b,), x.dtype, x.device)[0], slopes, 1), error
    quarters, halves, wholes = functions.at(field.A, span, x)
    (eq, p1q, p2q, p3q), (eh, p1h, p2h, _), (e, p1, p2, p3) = quarters, halves, wholes

    def times(matrix: Tensor, value: Tensor) -> Tensor:
        return (matrix @ value[..., None])[..., 0]

    def g(c: float, state: Tensor) -> Tensor:
        return h * field.nonlinear_at(index, begin + c * delta, state)

    g1 = g(0.0, x)
    half = times(eh, x)
    g2 = g(0.5, half + 0.5 * times(p1h, g1))
    g3 = g(0.5, half + 0.5 * times(p1h, g1) + times(p2h, g2 - g1))
    whole = times(e, x) + times(p1, g1)
    g4 = g(1.0, whole + 2.0 * times(p2, g3 - g1))
    after = whole + times(p2, -3.0 * g1 + 2.0 * (g2 + g3) - g4) + 4.0 * times(p3, g1 - g2 - g3 + g4)
    # what the end's own slope would have changed
    error = times(4.0 * p3 - p2, g(1.0, after) - g4).abs()
    if dense:
        # And inside the step: the polynomial through the stages is quadratic, and what it misses of g is near
        # θ(θ − ½)(θ − 1) times a constant, seen at θ = ¼; in the middle it moves the state by a third of that.
        quarter = times(eq, x) + times(0.25 * p1q - 0.1875 * p2q + 0.0625 * p3q, g1)
        quarter = quarter + times(0.125 * p2q - 0.0625 * p3q, g2 + g3) + times(0.0625 * (p3q - p2q), g4)
        missed = g(0.25, quarter) - (0.375 * (g1 + g2 + g3) - 0.125 * g4)
        pushed = hidden[:, None]
        share = torch.where(pushed, 0.5, 1.0 / 3.0).to(x)
        error = torch.where(pushed | (not field.segments.cut), error + share * times(p1h, missed).abs(), error)
    return after, error


def _first_step(field: SemilinearField, index: Tensor, begin: Tensor, x: Tensor, tolerance: Tolerance) -> Tensor:  # (N,)
    scale = tolerance.atol + tolerance.rtol * x.abs()
    f = field.linear(x) + field.nonlinear_at(index, begin, x)
    size, slope = ((v / scale).square().mean(-1).sqrt().amax(0) for v in (x, f))
    limits = torch.finfo(x.dtype)
    short = 0.01 * size / slope.clamp(min=limits.tiny)
    return torch.where((size > 1e-5) & (slope > 1e-5), short, torch.inf).clamp(max=limits.max / 100.0)


def _collapse(field: SemilinearField, record: int, k: int, begin: float, finite: bool) -> Failure:
    s = field.segments
    at = float(s.start[record, k] + begin * s.dt[record, k])
    return Failure(record, at, Cause.COLLAPSED if finite else Cause.NOT_FINITE)


def _assemble(parts: list[_Part]) -> tuple[Tensor, Tensor, Tensor]:  # (N, L) each
    """Every record's steps in a row, and behind them steps of no length."""
    accepted = torch.stack([p[0] for p in parts])  # (iterations, N)
    count = accepted.long().cumsum(0)
    N, L = accepted.shape[1], max(1, int(count[-1].max()))
    last = torch.stack([torch.where(a, i, -1) for a, i, _, _ in parts]).amax(0).clamp(min=0)
    segment = last[:, None].expand(N, L).clone()
    begin = parts[0][2].new_ones(N, L)
    end = begin.clone()
    which, who = torch.nonzero(accepted, as_tuple=True)
    place = count[which, who] - 1
    for target, column in ((segment, 1), (begin, 2), (end, 3)):
        target[who, place] = torch.stack([p[column] for p in parts])[which, who]
    return segment, begin, end
