"""Whose dose begins to arrive, or ends, at an observation or near one: there the likelihood has a kink or a cliff."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid import HybridModel
from hybrid.cutting.delivered import Doses, delays
from training.people.cohort import Cohort
from training.people.information import copies, difference_offsets

_AT = 1e-4  # of a delay: nearer than that to an observation it is at it
_WITHIN = 2.0  # standard deviations of a person's own delay: so near an edge Laplace's method sees one side of it
_MOVES = 1e-9  # of log delay by a coordinate: less is rounding
_STEP = 1e-5  # of `difference_offsets`


@dataclass(frozen=True)
class Pinned:
    """People (M, N) for whom a dose begins to arrive, or ends, at the very time of an observation.

    `which` (M, N), the place of that event among `log_delays` · `delay` (M, N), that with which it is at the observation · `room`
    (2, M, N), how far log delay is from the next such edge on the later and on the earlier side of it, measured along its own
    slope; +∞ where there is none.
    """

    people: Tensor
    which: Tensor
    delay: Tensor
    room: Tensor

    def some(self, rows: Tensor) -> "Pinned":
        """Of these people."""
        parts = (self.people[:, rows], self.which[:, rows], self.delay[:, rows], self.room[..., rows])
        return replace(self, **dict(zip(("people", "which", "delay", "room"), parts, strict=True)))


def log_delays(
    model: HybridModel,
    cohort: Cohort,
    eta: Tensor,  # (M, N, d)
) -> Tensor:  # (M, N, 2D)
    """log of how long after its giving (and its own lag) each dose begins to arrive, and then, how long until it ends.

    Differentiable in η and the model; 0 where an event does not come later than that.
    """
    given = _doses(cohort)
    personal, covariates = cohort.conditions.by_piece(eta)
    theta = model.theta(personal, covariates)
    if cohort.conditions.changes is not None:
        theta = theta.unflatten(1, (eta.shape[1], cohort.conditions.changes.count))
    n, found = len(model.backbone.states), []
    for own in theta.expand(len(eta), *theta.shape[1:]).unbind(0):
        late, lasts, _ = delays(given, model.delivery, own.expand(eta.shape[1], *own.shape[1:]), n)
        found.append(torch.cat([late, late + lasts], -1))
    delay = torch.stack(found)
    return torch.where(delay > 0.0, delay, 1.0).log()


def pinned(
    model: HybridModel,
    cohort: Cohort,
    eta: Tensor,  # (M, N, d)
) -> Pinned:
    """Who is at an edge of φ, and at which."""
    edges = _Edges.at(model, cohort, eta)
    M, N, E, T = edges.away.shape
    near = (edges.there & (edges.away.abs() <= _AT)).flatten(2)
    size = torch.where(near, edges.away.abs().flatten(2), torch.inf)
    nearest = size.argmin(-1) if E * T else torch.zeros(M, N, dtype=torch.long, device=eta.device)
    which = nearest // max(T, 1)
    if not E * T:
        people = torch.zeros(M, N, dtype=torch.bool, device=eta.device)
        return Pinned(people, which, eta.new_ones(M, N), eta.new_full((2, M, N), torch.inf))
    delay = edges.delay.expand(M, -1, -1, -1).flatten(2).gather(2, nearest[..., None])[..., 0]
    own = edges.away.flatten(2).gather(2, nearest[..., None])[..., None]  # (M, N, 1, 1): from here to the edge itself
    normal = edges.slope.gather(2, which[..., None, None].expand(-1, -1, 1, eta.shape[-1]))[:, :, 0]  # (M, N, d)
    # where every other event is at an observation on the way across this edge, as a multiple of log delay's own change
    speed = (edges.slope * normal[:, :, None]).sum(-1) / normal.square().sum(-1)[..., None].clamp(min=1e-300)  # (M, N, E)
    way = edges.away / torch.where(speed.abs() > 1e-6, speed, torch.nan)[..., None] - own
    way = torch.where(edges.there & (way.abs() > 10.0 * _AT), way, torch.nan).flatten(2)
    room = [torch.where(sign * way > 0.0, sign * way, torch.inf).amin(-1) for sign in (1.0, -1.0)]
    return Pinned(near.any(-1), which, delay, torch.stack(room))


def beside(
    model: HybridModel,
    cohort: Cohort,
    eta: Tensor,  # (M, N, d)
    covariance: Tensor,  # (M, N, d, d)
) -> Tensor:  # (M, N) bool
    """Whose dose would begin to arrive, or end, at an observation within two of their own standard deviations, or does so.

    The logarithms of delays are taken to be linear in the coordinates that far. At the edge itself a covariance by differences
    may be of both sides, and says nothing.
    """
    edges = _Edges.at(model, cohort, eta)
    if not edges.away.numel():
        return torch.zeros(eta.shape[:2], dtype=torch.bool, device=eta.device)
    along = (covariance.detach()[:, :, None] @ edges.slope[..., None])[..., 0]
    wide = (_WITHIN * (edges.slope * along).sum(-1).clamp(min=0.0).sqrt()).clamp(min=_AT)  # (M, N, E), of log delay
    return (edges.there & (edges.away.abs() <= wide[..., None])).flatten(2).any(-1)


def cliffs(model: HybridModel, cohort: Cohort) -> bool:
    """May a dose with a lag go into what is observed directly, so that φ jumps where a bolus arrives at an observation?

    Asked of the observation at everyone's typical θ: does it read such a state?
    """
    late = sorted({s for s, _ in model.delivery.lag})
    if not late or not cohort.conditions.size:
        return False
    with torch.no_grad():
        N, n = cohort.conditions.size, len(model.backbone.states)
        known = cohort.conditions.begun
        theta = model.theta(cohort.y.new_zeros(model.members, N, model.personal), known)
        u = cohort.conditions.segments.u0[None, :, :1].to(theta)
        known = {name: v.expand(N) for name, v in known.items()}
        x = theta.new_ones(model.members, N, 1, n)
        seen = model.observation.seen(x, theta, u, known)
        for s in late:
            more = x.clone()
            more[..., s] += 1.0
            if bool((model.observation.seen(more, theta, u, known) != seen).any()):
                return True
    return False


@dataclass(frozen=True)
class _Edges:
    """Every event of everyone's doses against every observation: `delay` (N, E, T) with which it is there, how far log delay is
    from its logarithm (`away`), who has that edge at all (`there`), both (M, N, E, T), and `slope` (M, N, E, d) of log delay.
    """

    delay: Tensor
    away: Tensor
    there: Tensor
    slope: Tensor

    @staticmethod
    def at(model: HybridModel, cohort: Cohort, eta: Tensor) -> "_Edges":
        given = _doses(cohort)
        N, d = eta.shape[1:]
        with torch.no_grad():
            moved = copies(eta.detach(), difference_offsets(eta))
            who = torch.arange(N, device=eta.device).repeat(2 * d + 1)
            log_delay = log_delays(model, cohort.people(who), moved).unflatten(1, (2 * d + 1, N))  # (M, R, N, E)
        middle = log_delay[:, 0]
        slope = ((log_delay[:, 1 : d + 1] - log_delay[:, d + 1 :]) / (2.0 * _STEP)).movedim(1, -1)
        begun = (given.time + given.lag).detach()
        delay = given.times[:, None, :] - begun[..., None]  # (N, D, T)
        # what has no amount changes nothing; after everything began anew nothing of it comes any more
        open_ = (delay > 0.0) & (given.times[:, None, :] <= given.stop[..., None]) & (given.amount.detach() > 0.0)[..., None]
        delay, open_ = torch.cat([delay, delay], 1), torch.cat([open_, open_ & given.slow[..., None]], 1)
        away = torch.where(open_, delay, 1.0).log() - middle[..., None]
        moves = slope.square().sum(-1).sqrt() > _MOVES if d else torch.zeros_like(middle, dtype=torch.bool)
        return _Edges(delay, away, open_ & moves[..., None], slope)


def _doses(cohort: Cohort) -> Doses:
    given = cohort.conditions.segments.doses
    if not isinstance(given, Doses):
        raise ValueError(
            "these people were cut for a model in which θ says nothing of doses, and this one's says how they arrive; write "
            "Cohort.of(records, model)"
        )
    return given
