"""What filters share of a prediction and an update: the pieces of an interval, what stays as it is, what is measured."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.cutting.mesh import Mesh
from hybrid.derivative import varies
from hybrid.filters.contract import Belief, Followed, Innovation, require_believed, wide
from hybrid.filters.drift import HalfDrift
from hybrid.filters.gaussian import Conditioned
from hybrid.filters.lost import anyone, everyone, over, stood_in, watched
from hybrid.filters.moved import Moved
from hybrid.filters.rts import Backward, backward
from physics.arguments import require_kind, require_shape

# of the mean (M, N, z), after what arrives, the root (M, N, z, z) and one piece of the mesh
Step = Callable[[Tensor, Tensor, Interval], Moved]
OF_DRIFT = 0.1  # of τ is the longest step: what splitting loses is then some 1e-3 of what the drift does


@runtime_checkable
class Steps(Protocol):
    """A filter that moves a Gaussian from step to step, and can say what it did with its deviations."""

    people: Followed

    def step(self, mean: Tensor, root: Tensor, interval: Interval) -> Moved:
        """One step of the mesh, after what arrives at its beginning."""


def advance(
    people: Followed,
    belief: Belief,
    interval: Interval,
    step: Step,
    name: str,
) -> Belief:
    """The belief at the interval's end, by a filter's own `step` over every piece of it, between two halves of the drift.

    Who is lost already, or on the way, is NaN in the end, and on the way stands where all is finite.
    Errors: `ValueError`, beginning with `name`, for what is of other people.
    """
    return _advanced(people, belief, interval, step, name)[0]


def traced(filter: object, belief: Belief, interval: Interval) -> tuple[Belief, Backward]:
    """`filter.predict(belief, interval)`, and the law of the state before it given that after it, for a smoother.

    Errors: `ValueError` for a filter without steps of a Gaussian (`EnKF`), and what `predict` refuses.
    """
    if not isinstance(filter, Steps):
        raise ValueError(
            f"a smoother needs a filter that moves a Gaussian in steps, UKF or EKF, and {type(filter).__name__} has no `step`"
        )
    found, moves = _advanced(filter.people, belief, interval, filter.step, type(filter).__name__)
    law: Backward | None = None
    for moved in moves:
        one = backward(moved.before, moved.after, moved.noise)
        law = one if law is None else law.then(one)
    if law is None:  # no piece at all
        z = found.mean.shape[-1]
        eye = torch.eye(z, dtype=found.mean.dtype, device=found.mean.device).expand(*found.mean.shape[:-1], z, z)
        law = Backward(eye, torch.zeros_like(eye))
    return found, law


def _advanced(
    people: Followed, belief: Belief, interval: Interval, step: Step, name: str
) -> tuple[Belief, list[Moved]]:
    """The belief, and all that moved it."""
    require_believed(people, belief, f"{name}.predict")
    require_interval(people, belief, interval, f"{name}.predict")
    belief, lost = whole(people, belief)
    n, mean, root, time = belief.states, belief.mean, belief.root, wide(belief.time)
    moves: list[Moved] = []

    def one(piece: Interval, mean: Tensor, root: Tensor) -> tuple[tuple[list[Moved], Tensor, Tensor], Tensor]:
        return _one(people, step, piece, mean, root)

    for piece in pieces(people, interval):
        found, (mean, root), lost = over(piece, lost, (mean, root), one)
        if found is not None:
            made, mean, root = found
            moves += made
        time = time + piece.dt
    mean, root = torch.where(lost[:, None], torch.nan, mean), torch.where(lost[:, None, None], torch.nan, root)
    return Belief(mean, root, time, n), moves


def _one(
    people: Followed, step: Step, piece: Interval, mean: Tensor, root: Tensor
) -> tuple[tuple[list[Moved], Tensor, Tensor], Tensor]:
    """What moves a belief over one piece, with the mean and the root after it, and who diverges (N,)."""
    n, before, moves = people.states, (mean, root), list[Moved]()
    mean = torch.cat([mean[..., :n] + piece.jump, mean[..., n:]], -1)
    half = HalfDrift.of(piece.dt, people.drift, n) if people.drifts and people.drift is not None else None
    if half is not None:
        first, root = half.before(mean, root)
        mean = first.mean
        moves.append(first)
    moved = step(mean, root, piece)
    moves.append(moved if half is None else half.after(moved))
    mean, root = moves[-1].mean, moves[-1].root()
    gone = ~(torch.isfinite(mean).all(-1) & torch.isfinite(root).flatten(-2).all(-1)).all(0)
    gone = gone if moved.lost is None else gone | moved.lost
    return (moves, unmoved(piece, before[0], mean), unmoved(piece, before[1], root)), gone


def unmoved(
    piece: Interval,
    before: Tensor,  # (M, N, …)
    after: Tensor,  # (M, N, …)
) -> Tensor:  # (M, N, …)
    """What is after a piece; of who rests in it, to whom nothing arrives in no time, what was before, to the bit."""
    rests = (piece.dt == 0.0) & (piece.jump == 0.0).all(-1)
    rests = rests.reshape(-1, *[1] * (after.ndim - 2))
    if not (varies(piece.dt) or varies(piece.jump)):
        return torch.where(rests, before, after)
    found: Tensor = _Unmoved.apply(rests, before, after)
    return found


class _Unmoved(torch.autograd.Function):
    """The same with the derivative of what is after: how it changes with a length or an amount that is 0 now."""

    @staticmethod
    def forward(ctx: Any, rests: Tensor, before: Tensor, after: Tensor) -> Tensor:
        return torch.where(rests, before, after)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, gradient


def whole(people: Followed, belief: Belief) -> tuple[Belief, Tensor]:
    """The belief under all members, with numbers in the place of those who are lost, and who that is (N,)."""
    M, lost = max(people.members, len(belief.mean)), belief.lost
    mean, root, particles = belief.mean, belief.root, belief.particles
    if watched():
        mean, root = stood_in(lost, mean, root)
    else:
        eye = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        mean, root = torch.where(lost[:, None], 0.0, mean), torch.where(lost[:, None, None], eye, root)
    if particles is not None:
        particles = stood_in(lost, particles)[0].expand(M, -1, -1, -1)
    return replace(belief, mean=mean.expand(M, -1, -1), root=root.expand(M, -1, -1, -1), particles=particles), lost


def pieces(people: Followed, interval: Interval) -> list[Interval]:
    """The steps that the people's mesh makes of an interval; one that is meshed is one, and so is one that is exact."""
    if interval.meshed:
        return [interval]
    if people.exact:
        return [replace(interval, meshed=True)]
    drifts = people.drifts and people.drift is not None
    return interval.cut(_within(people.mesh, OF_DRIFT * people.drift) if drifts and people.drift is not None else people.mesh)


def _within(mesh: Mesh, most: float) -> Mesh:
    """The mesh with no step longer than that."""
    step = most if mesh.step is None else min(mesh.step, most)
    return Mesh(step, None if mesh.first is None else min(mesh.first, step), mesh.growth, mesh.observed)


def require_interval(people: Followed, belief: Belief, interval: Interval, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, unless this is a stretch of time of these people."""
    require_kind(interval, Interval, f"{name}: interval", "Interval.of(dt, states)")
    N, n, m = people.size, people.states, len(people.model.backbone.inputs)
    need, have = (N, n, m), (len(interval.dt), interval.jump.shape[-1], interval.u0.shape[-1])
    if have != need:
        raise ValueError(
            f"{name}: the interval is of (people, states, inputs) = {have} and the filter of {need}; write "
            f"Interval.of(dt, {n}{', inputs=…' if m else ''})"
        )
    dt = interval.dt
    if (dt.dtype, dt.device) != (belief.mean.dtype, belief.mean.device):
        raise ValueError(
            f"{name}: the interval is {dt.dtype} on {dt.device} and the belief {belief.mean.dtype} on {belief.mean.device}; "
            "give both of one type, in one place"
        )


@dataclass(frozen=True)
class Given:
    """A measurement and the belief that it meets, with numbers in the place of those who are lost.

    `mean` (M, N, z) and `root` (M, N, z, z) of the belief · `y` (M|1, N, p), NaN where a channel is missing, and of who is lost ·
    `inputs` (1, N, 1, m), as a noise head reads them · `lost` (N,) · `particles` (M, N, z, P) of a belief that has some.
    """

    mean: Tensor
    root: Tensor
    y: Tensor
    inputs: Tensor
    lost: Tensor
    particles: Tensor | None = None

    def without(self, gone: Tensor) -> "Given":  # (N,) bool
        """The same with these people lost."""
        mean, root, inputs = stood_in(gone | self.lost, self.mean, self.root, self.inputs)
        y = torch.where(gone[:, None], torch.nan, self.y)
        particles = None if self.particles is None else stood_in(gone | self.lost, self.particles)[0]
        return Given(mean, root, y, inputs, gone | self.lost, particles)


def measured(
    people: Followed,
    belief: Belief,
    y: Tensor,  # (M|1, N, p) or (N, p)
    inputs: Tensor | None,  # (N, m)
    name: str,
) -> Given:
    """What an update has.

    Errors: `ValueError`, beginning with `name`, for what is of other people or channels, and infinite values.
    """
    require_believed(people, belief, f"{name}.update")
    N, m, p = people.size, len(people.model.backbone.inputs), len(people.model.observation.channels)
    require_shape(y, f"{name}.update: y", ..., N, p, write="a row of channels for each person, NaN for none", like=belief.mean)
    M = max(people.members, len(belief.mean))
    if y.ndim > 3 or (y.ndim == 3 and len(y) not in (1, M)):
        raise ValueError(f"{name}.update: y has the shape {tuple(y.shape)}; give (N, p), or (M, N, p) for {M} members")
    if y.dtype != belief.mean.dtype:
        raise ValueError(f"{name}.update: y is {y.dtype} and the belief {belief.mean.dtype}; write y.to(belief.mean)")
    if y.device.type == "cpu" and bool(torch.isinf(y.detach()).any()):
        raise ValueError(f"{name}.update: y holds infinite values; write NaN where nothing was measured")
    if inputs is None:
        if m:
            raise ValueError(
                f"{name}.update: this model has inputs, and the noise of a measurement may depend on them; give inputs (N, {m}), "
                "those at that time"
            )
        inputs = y.new_zeros(N, 0)
    require_shape(inputs, f"{name}.update: inputs", N, m, write="u at that time, a row for each person", like=belief.mean)
    safe, lost = whole(people, belief)
    y = torch.where(lost[:, None], torch.nan, y if y.ndim == 3 else y[None])
    return Given(safe.mean, safe.root, y, inputs[None, :, None], lost, safe.particles)


def deviation(
    people: Followed,
    given: Given,
    predicted: Tensor,  # (M, N, p)
) -> Tensor:  # (M, N, p)
    """The standard deviation of a measurement at the predicted mean."""
    x = given.mean[:, :, None, : people.states]
    return people.model.noise.variance(predicted[:, :, None], x, given.inputs)[:, :, 0].sqrt()


def corrected(
    people: Followed,
    belief: Belief,
    y: Tensor,  # (M|1, N, p) or (N, p)
    inputs: Tensor | None,  # (N, m)
    look: Callable[[Given], Conditioned],
    name: str,
) -> tuple[Belief, Innovation]:
    """The belief after a measurement, and what that said, by a filter's own `look` at the two.

    Errors: `ValueError`, beginning with `name`, for what is of other people or channels, and infinite values.
    """
    given = measured(people, belief, y, inputs, name)
    lost, found = given.lost, look(given)
    if watched():
        gone = lost | nothing_of(found)
        if anyone(gone & ~lost):
            first, again = _parts(found, constant=True), _parts(look(given.without(gone)))
            found = Conditioned(**{what: torch.where(_each(gone, v), v, again[what]) for what, v in first.items()})
        if everyone(gone):  # nothing is asked of anyone
            found = Conditioned(**_parts(found, constant=True))

    def told(value: Tensor) -> Tensor:
        return torch.where(_each(lost, value), torch.nan, value)

    said = (found.value, found.innovation_root, found.nis, found.log_likelihood, found.by_channel)
    value, root, nis, log_likelihood, by_channel = map(told, said)
    particles = None if found.particles is None else told(found.particles)
    after = Belief(told(found.mean), told(found.root), belief.time, belief.states, particles)
    count = torch.where(lost, 0, found.count)
    return after, Innovation(value, root, nis, count, log_likelihood, by_channel)


def _parts(found: Conditioned, *, constant: bool = False) -> dict[str, Tensor]:
    parts = {f.name: getattr(found, f.name) for f in fields(found)}
    return {what: v.detach() if constant else v for what, v in parts.items() if v is not None}


def nothing_of(found: Conditioned) -> Tensor:  # (N,) bool
    """Of whom, under any member, no numbers are left."""
    left = torch.isfinite(found.mean).all(-1) & torch.isfinite(found.root).flatten(-2).all(-1)
    return ~(left & ~torch.isnan(found.log_likelihood)).all(0)


def _each(people: Tensor, value: Tensor) -> Tensor:  # (N,), (M, N, …) -> (N, …)
    return people.reshape(-1, *[1] * (value.ndim - 2))
