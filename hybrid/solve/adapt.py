"""Which steps a record needs for a tolerance: found without gradients, record by record, and then taken as given."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.cutting.segments import Segments
from hybrid.derivative import mapped, transforming
from hybrid.field import SemilinearField
from hybrid.solve.kinks import ENDS, Kinks
from hybrid.solve.schemes.scheme import Scheme
from hybrid.solve.solver import Cause, Failure

_CUTS = 16  # after so many trials in a row that a kink has ended, one is passed: found nearer each time, it is at no place
_FAST = {  # what is said of a fast rate, to whom has a linear part exactly and to whom has not
    True: "a fast rate that bends, of which the linear part holds little (use RungeKutta, whose steps cost less, or "
    'Torchdiffeq("scipy_solver"), which is implicit where it must be)',
    False: "a rate too fast for an explicit method (use Exponential where the linear part holds it, else "
    'Torchdiffeq("scipy_solver"))',
}


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
    scheme: Scheme,
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
    if scheme.exact and field.learned is None:
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
    field: SemilinearField, x0: Tensor, scheme: Scheme, tolerance: Tolerance
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
    # stepped the transients are small, and the estimate of a step that begins there looks for them instead (`Trials`).
    graded = scheme.exact
    fastest = field.A.abs().sum(-1).amax(-1).amax(0).expand(N) if graded else begin
    h0, since = torch.zeros_like(begin), torch.zeros_like(begin)  # the first step after a jump, and the time since
    power = -1.0 / (scheme.error_order + 1)
    trials, kinks = scheme.trials(field), Kinks.of(field)
    landing, longer = torch.zeros_like(fresh), torch.zeros_like(begin)  # is a step to end where the slope jumps, and what was it?
    cuts = torch.zeros_like(index)  # how many trials in a row a kink has ended

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
        even = torch.where(delta > 0.9 * left, left, torch.where(delta > 0.55 * left, 0.5 * left, delta))
        delta = even if kinks is None else torch.where(landing, delta, even)
        final = delta >= left
        hidden = early & (delta * dt * fastest > 1.0)  # only a mode faster than the step can be over before it looks
        after, error = trials.step(index, begin, delta, x, hidden)
        scale = tolerance.atol + tolerance.rtol * torch.maximum(x.abs(), after.abs())
        ratio = (error / scale).square().mean(-1).sqrt().amax(0)  # (N,)
        finite = torch.isfinite(ratio) & torch.isfinite(after).all(-1).all(0)
        accept = ~done & finite & (ratio <= 1.0)
        if kinks is not None:
            share = kinks.crossed(index, begin, delta, x, after, known=scale)
            ahead = finite & (cuts < _CUTS) & (share < torch.where(landing & ~accept, 1.0 - 1e-9, 1.0 - ENDS))
            cuts = torch.where(ahead, cuts + 1, 0)
            accept = accept & ~ahead
        factor = torch.where(finite, (0.9 * ratio.clamp(min=1e-10) ** power).clamp(0.2, 5.0), 0.1)
        proposed = delta * dt * factor
        # a segment that ends early says little against a longer step than it allowed
        h = torch.where(accept & final, torch.maximum(h.clamp(max=huge), proposed).minimum(5.0 * proposed), proposed)
        if kinks is not None:  # up to the kink, and from there as before
            h = torch.where(accept & landing, torch.maximum(h, longer), h)
            longer = torch.where(ahead & ~landing, delta * dt, longer)
            h = torch.where(ahead, torch.minimum(h, share * delta * dt), h)
            landing = ahead
        end = torch.where(final, 1.0, begin + delta)
        parts.append((accept, index, begin, end))
        x = torch.where(accept[None, :, None], after, x)
        begin = torch.where(accept, end, begin)
        early = early & ~accept
        since = torch.where(accept, since + delta * dt, since)
        stuck = ~done & ~accept & ~(delta * dt > rounding * (s.start[everyone, index].abs() + dt))  # what is no number is stuck
        if bool(stuck.any()):
            for record in torch.nonzero(stuck)[:, 0].tolist():
                share = error / scale
                if not bool(finite[record]):  # a step may have spread it to all: who runs away from where the step began?
                    share = (field.linear(x) + field.nonlinear_at(index, begin, x)) / (tolerance.atol + tolerance.rtol * x.abs())
                worst = share[:, record].abs().nan_to_num(nan=torch.inf).amax(0)  # (n,)
                place = (int(index[record]), float(begin[record]))
                failed[record] = _collapse(field, record, place, bool(finite[record]), field.named(worst >= worst.max()))
            done = done | stuck
        if bool((arrived := accept & final).any()):
            leave(arrived)
    for record in torch.nonzero(~done)[:, 0].tolist():
        at = float(s.start[record, index[record]] + begin[record] * s.dt[record, index[record]])
        numbers: dict[str, float | str] = {"steps": tolerance.max_steps, "fast": _FAST[scheme.exact]}
        failed[record] = Failure(record, at, Cause.OUT_OF_STEPS, numbers=numbers)
    return parts, tuple(failed[r] for r in sorted(failed))


def _first_step(field: SemilinearField, index: Tensor, begin: Tensor, x: Tensor, tolerance: Tolerance) -> Tensor:  # (N,)
    scale = tolerance.atol + tolerance.rtol * x.abs()
    f = field.linear(x) + field.nonlinear_at(index, begin, x)
    size, slope = ((v / scale).square().mean(-1).sqrt().amax(0) for v in (x, f))
    limits = torch.finfo(x.dtype)
    short = 0.01 * size / slope.clamp(min=limits.tiny)
    return torch.where((size > 1e-5) & (slope > 1e-5), short, torch.inf).clamp(max=limits.max / 100.0)


def _collapse(
    field: SemilinearField, record: int, place: tuple[int, float], finite: bool, states: tuple[str, ...]
) -> Failure:
    (k, begin), s = place, field.segments
    at = float(s.start[record, k] + begin * s.dt[record, k])
    return Failure(record, at, Cause.COLLAPSED if finite else Cause.NOT_FINITE, states=states)


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
