"""What filters share of a prediction and an update: the pieces of an interval, what stays as it is, what is measured."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.cutting.mesh import Mesh
from hybrid.filters.contract import Belief, Followed, Innovation, require_believed
from hybrid.filters.gaussian import Conditioned
from hybrid.filters.rts import Backward, backward
from hybrid.triangular import tria
from physics.arguments import require_kind, require_shape
from physics.glance import glance


@dataclass(frozen=True)
class Moved:
    """One step of a Gaussian: its mean (M, N, z) afterwards, and deviations in columns of weight one.

    `before` and `after` (M, N, z, k): the same k deviations at both ends, `before` that of the covariance before it · `noise`
    (M, N, z, r): what the step adds by itself, so that the columns of [before, 0; after, noise] are those of both ends together.
    """

    mean: Tensor
    before: Tensor
    after: Tensor
    noise: Tensor

    __repr__, _repr_html_ = glance()


Step = Callable[[Tensor, Tensor, Interval], Moved]  # of mean (M, N, z) and root (M, N, z, z)


@runtime_checkable
class Steps(Protocol):
    """A filter that moves a Gaussian from step to step, and can say what it did with its deviations."""

    people: Followed

    def step(self, mean: Tensor, root: Tensor, interval: Interval) -> Moved:
        """One step of the mesh, beginning with what arrives."""


def advance(
    people: Followed,
    belief: Belief,
    interval: Interval,
    step: Step,
    name: str,
) -> Belief:
    """The belief at the interval's end, by a filter's own `step` over every piece of it, with the drift of η around each.

    Errors: `ValueError`, beginning with `name`, for what is of other people.
    """
    return _advanced(people, belief, interval, step, name, law=False)[0]


def traced(filter: object, belief: Belief, interval: Interval) -> tuple[Belief, Backward]:
    """`filter.predict(belief, interval)`, and the law of the state before it given that after it, for a smoother.

    Errors: `ValueError` for a filter without steps of a Gaussian (`EnKF`), and what `predict` refuses.
    """
    if not isinstance(filter, Steps):
        raise ValueError(
            f"a smoother needs a filter that moves a Gaussian in steps, UKF or EKF, and {type(filter).__name__} has no `step`"
        )
    found, law = _advanced(filter.people, belief, interval, filter.step, type(filter).__name__, law=True)
    if law is None:  # no piece at all
        z = found.mean.shape[-1]
        eye = torch.eye(z, dtype=found.mean.dtype, device=found.mean.device).expand(*found.mean.shape[:-1], z, z)
        law = Backward(eye, torch.zeros_like(eye))
    return found, law


def _advanced(
    people: Followed, belief: Belief, interval: Interval, step: Step, name: str, *, law: bool
) -> tuple[Belief, Backward | None]:
    require_believed(people, belief, f"{name}.predict")
    require_interval(people, belief, interval, f"{name}.predict")
    M = max(people.model.members, len(belief.mean))
    if len(belief.mean) != M:
        belief = replace(belief, mean=belief.mean.expand(M, -1, -1), root=belief.root.expand(M, -1, -1, -1))
    found: Backward | None = None
    drifts = people.drift is not None and people.model.personal > 0
    for piece in pieces(people, interval):
        mean, root = belief.mean, belief.root
        if drifts:
            half = drifted(people, Moved(mean, root, root, root.new_zeros(*root.shape[:-1], 0)), piece)
            root = tria(torch.cat([half.after, half.noise], -1))
            found = _with(found, half) if law else None
            mean = half.mean
        moved = step(mean, root, piece)
        moved = drifted(people, moved, piece) if drifts else moved
        found = _with(found, moved) if law else None
        mean, root = moved.mean, tria(torch.cat([moved.after, moved.noise], -1))
        lost = ~torch.isfinite(mean).all(-1) | ~torch.isfinite(root).flatten(-2).all(-1)
        lost = lost.any(0)[:, None]
        mean, root = torch.where(lost, torch.nan, mean), torch.where(lost[..., None], torch.nan, root)
        rests = ((piece.dt == 0.0) & (piece.jump == 0.0).all(-1))[:, None]  # keeps the bits
        mean, root = torch.where(rests, belief.mean, mean), torch.where(rests[..., None], belief.root, root)
        belief = Belief(mean, root, belief.time + piece.dt, belief.states)
    return belief, found


def _with(before: Backward | None, moved: Moved) -> Backward:
    """The law over the steps so far and this one."""
    law = backward(moved.before, moved.after, moved.noise)
    return law if before is None else before.then(law)


def drifted(people: Followed, moved: Moved, piece: Interval) -> Moved:
    """The same with half of a step's drift of η behind it: η ← ρ η + √(1 − ρ²) w, ρ = e^{−h/2τ}, exact for what η does alone.

    Half before and half after the states' step couple the two to second order (Strang, SIAM J. Numer. Anal. 5 (1968) 506).
    """
    if people.drift is None:
        return moved
    n, d = people.states, people.model.personal
    half = piece.dt / (2.0 * people.drift)
    moves = half > 0.0  # a square root has no slope at 0
    gained = torch.where(moves, (-torch.expm1(-2.0 * torch.where(moves, half, 1.0))).sqrt(), 0.0)
    stays = torch.cat([torch.ones_like(half)[:, None].expand(-1, n), torch.exp(-half)[:, None].expand(-1, d)], -1)  # (N, z)
    noise = torch.cat([moved.after.new_zeros(len(half), n, d), torch.diag_embed(gained[:, None].expand(-1, d))], -2)
    own = noise.expand(len(moved.mean), *noise.shape)
    rows = stays[..., None]
    return Moved(moved.mean * stays, moved.before, moved.after * rows, torch.cat([moved.noise * rows, own], -1))


def pieces(people: Followed, interval: Interval) -> list[Interval]:
    """The steps that the people's mesh makes of an interval; one that is meshed is one, and so is one that is exact."""
    if interval.meshed or people.mesh.step is None:
        return [interval]
    if people.model.linear and people.drift is None:
        return [replace(interval, meshed=True)]
    cut: Callable[[Interval, Mesh], list[Interval]] = Interval.cut
    return cut(interval, people.mesh)


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


def measured(
    people: Followed,
    belief: Belief,
    y: Tensor,  # (M|1, N, p) or (N, p)
    inputs: Tensor | None,  # (N, m)
    name: str,
) -> tuple[Tensor, Tensor]:  # (M|1, N, p), (1, N, 1, m)
    """The measurement of everyone under every member, and the inputs as a noise head reads them.

    Errors: `ValueError`, beginning with `name`, for what is of other people or channels, and infinite values.
    """
    require_believed(people, belief, f"{name}.update")
    N, m, p = people.size, len(people.model.backbone.inputs), len(people.model.observation.channels)
    require_shape(y, f"{name}.update: y", ..., N, p, write="a row of channels for each person, NaN for none", like=belief.mean)
    M = max(people.model.members, len(belief.mean))
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
    return y if y.ndim == 3 else y[None], inputs[None, :, None]


def deviation(
    people: Followed,
    predicted: Tensor,  # (M, N, p)
    x: Tensor,  # (M, N, n)
    inputs: Tensor,  # (1, N, 1, m)
) -> Tensor:  # (M, N, p)
    """The standard deviation of a measurement at the predicted mean."""
    return people.model.noise.variance(predicted[:, :, None], x[:, :, None], inputs)[:, :, 0].sqrt()


def corrected(belief: Belief, found: Conditioned) -> tuple[Belief, Innovation]:
    """The belief, and what the measurement said, from what conditioning found."""
    return replace(belief, mean=found.mean, root=found.root, particles=None), Innovation(
        found.value, found.innovation_root, found.nis, found.count[0], found.log_likelihood, found.by_channel
    )
