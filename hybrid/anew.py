"""Records with resets, steady states and turns to another θ: each piece starts where it does, and is solved beside the others."""

from dataclasses import replace

import torch
from torch import Tensor

from hybrid.cutting.pieces import CONTINUES, REST, Pieces
from hybrid.cutting.restarts import Restarts
from hybrid.cutting.segments import Segments
from hybrid.defaults import simulating
from hybrid.derivative import array_of
from hybrid.model import HybridModel
from hybrid.solve.solver import Cause, Failure, Solution, Solver, without
from hybrid.steady_state import Settled, settled, shares_of


def solve_anew(
    model: HybridModel,
    segments: Segments,
    theta: Tensor,  # (M|1, N, q), or (M|1, N, P, q) of the pieces between turns
    context: Tensor,  # (M|1, N, r), or (M|1, N, P, r)
    begins: Tensor,  # (M, N, n) where the records start
    solver: Solver | None = None,
) -> Solution:
    """The states at the observations of records that begin anew on the way.

    A reset starts a piece from `HybridModel.initial` of somebody of whom nothing was measured, at the inputs of its time; a
    steady
    state from x* = Φ(x*) at everyone's own θ. A turn goes on where the piece before it ends, with its own θ. What a
    steady state adds to what is there is solved for itself and added: that is
    the superposition of a linear model, and refused for any other.
    Errors: `ValueError` for a steady state that is added under a model that is not linear, and for a reset under one that starts
    from what is measured alone.
    Law: people without restarts are as they are without anybody's; a piece is what a record of its own would be.
    """
    restarts = segments.restarts
    assert restarts is not None
    if bool(restarts.added.any()) and not model.linear:
        raise ValueError(
            "a steady state that is added to what is there (SS=2) has a meaning for linear models alone, and this one "
            "is not: what "
            "is there changes how fast the rest leaves; write one steady state with all of the doses (SS=1), or the earlier "
            "doses as rows"
        )
    if bool(restarts.added.any()) and len(restarts.turn_who):
        raise ValueError(
            "a steady state that is added to what is there (SS=2) goes on beside it, and here θ changes on the way (an occasion, "
            "a covariate), of which no meaning is built; write one steady state with all of the doses (SS=1)"
        )
    pieces: Pieces = segments.pieces
    owner, rows = pieces.owner, segments.in_pieces
    if theta.ndim == 4:  # of each piece between turns
        turn = pieces.turn
        theta, context = (v.expand(-1, len(segments.dt), -1, -1)[:, owner, turn] for v in (theta, context))
    else:
        theta, context = (v.expand(-1, len(segments.dt), -1)[:, owner] for v in (theta, context))
    ends = torch.cat([segments.u0, segments.u1[:, -1:]], 1)  # the inputs at every boundary, from there on
    start, u = begins[:, owner], ends[owner, pieces.opens]
    rests = pieces.kind == REST
    if bool(rests.any()):
        start = _placed(start, rests, _rest(model, theta[:, rests], u[rests]))
    lost = torch.zeros(len(owner), dtype=torch.bool, device=owner.device)
    steady = pieces.kind >= 0
    if bool(steady.any()):
        wanted = _chosen(restarts, pieces.kind[steady], u[steady])
        pauses = torch.ones_like(wanted.added)
        if model.delivery.fraction:  # then there is one member
            wanted, pauses = wanted.shared(shares_of(model, theta[0, steady], wanted.state))
        found = settled(model, theta[:, steady], context[:, steady], wanted)
        found = replace(found, reached=found.reached & pauses)
        lost = lost.index_put((steady.nonzero()[:, 0],), ~found.reached)
        start = _placed(start, steady, torch.where(found.reached[:, None], found.state, 0.0))
    solver = solver or simulating(model.dtype)
    if bool((pieces.kind == CONTINUES).any()):
        solution = _in_order(model, rows, pieces, theta, context, start, solver)
    else:
        solution = solver.solve(model.bind(rows, theta, context), start.contiguous())
    whose, when = array_of(owner), array_of(rows.start)
    failures = {int(r): Failure(int(whose[r]), float(when[r, 0]), Cause.UNSETTLED) for r in lost.nonzero()[:, 0].tolist()}
    failures |= {f.record: replace(f, record=int(whose[f.record])) for f in solution.failures if f.record not in failures}
    first: dict[int, Failure] = {}
    for failure in sorted(failures.values(), key=lambda f: f.time):
        known = first.setdefault(failure.record, failure)
        if known.members is not None and failure.members is None:
            first[failure.record] = failure
        elif known.members is not None and failure.members is not None:
            first[failure.record] = replace(known, members=tuple(sorted({*known.members, *failure.members})))
    return without(pieces.back(solution.states), tuple(first[i] for i in sorted(first)))


def _in_order(
    model: HybridModel,
    rows: Segments,
    pieces: Pieces,
    theta: Tensor,  # (M|1, R, q)
    context: Tensor,  # (M|1, R, r)
    start: Tensor,  # (M, R, n)
    solver: Solver,
) -> Solution:
    """The rows, those first that start from nobody's end: each turn goes on where the row before it ended."""
    level: list[int] = []
    for kind in array_of(pieces.kind).tolist():
        level.append(level[-1] + 1 if kind == CONTINUES else 0)
    # every row is read at its end too, behind its own readings
    last = torch.full_like(rows.segment[:, :1], rows.dt.shape[1] - 1)
    rows = replace(
        rows,
        segment=torch.cat([rows.segment, last], 1),
        fraction=torch.cat([rows.fraction, torch.ones_like(rows.fraction[:, :1])], 1),
    )
    states = start.new_zeros(*start.shape[:2], rows.segment.shape[1], start.shape[-1])
    failures: list[Failure] = []
    for k in range(max(level) + 1):
        here = [r for r, of in enumerate(level) if of == k]
        index = torch.tensor(here, device=start.device)
        begin = start[:, index] if k == 0 else states[:, index - 1, -1]
        if failures:  # who failed before is NaN in all of the record: what is simulated of them is thrown away
            begin = torch.where(torch.isfinite(begin), begin, 0.0)
        field = model.bind(rows.people(index), *(v if v.shape[1] == 1 else v[:, index] for v in (theta, context)))
        found = solver.solve(field, begin.contiguous())
        failures += [replace(f, record=here[f.record]) for f in found.failures]
        states = states.index_copy(1, index, found.states.expand(len(states), -1, -1, -1))
    return Solution(states[:, :, :-1], tuple(failures))


def _placed(
    start: Tensor,  # (M, R, n)
    rows: Tensor,  # (R,) bool
    values: Tensor,  # (M|1, r, n)
) -> Tensor:
    return start.index_copy(1, rows.nonzero()[:, 0], values.to(start).expand(len(start), -1, -1))


def _rest(model: HybridModel, theta: Tensor, u: Tensor) -> Tensor:
    """Where somebody starts of whom nothing was measured, at these inputs."""
    nothing = theta.new_full((theta.shape[1], len(model.observation.channels)), torch.nan)
    try:
        return model.initial(theta, nothing, u)
    except ValueError as error:
        raise ValueError(
            "a reset (Schedule.resets, EVID 3 or 4) starts anew as if nothing had been measured, and here that is not "
            f"known: {error}"
        ) from error


def _chosen(restarts: Restarts, which: Tensor, u: Tensor) -> Settled:
    """The steady states that the rows start from."""
    given = {name: getattr(restarts, name)[which] for name in ("state", "amount", "added", "rated", "always", "length", "rate")}
    return Settled(**given, inputs=u)
