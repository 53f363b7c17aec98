"""What filters share of a prediction and an update: the pieces of an interval, what stays as it is, what is measured."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.cutting.mesh import Mesh
from hybrid.filters.contract import Belief, Followed, Innovation, require_believed
from hybrid.filters.gaussian import Conditioned
from physics.arguments import require_kind, require_shape

Step = Callable[[Tensor, Tensor, Interval], tuple[Tensor, Tensor]]  # of mean (M, N, z) and root (M, N, z, z)


def advance(
    people: Followed,
    belief: Belief,
    interval: Interval,
    step: Step,
    name: str,
) -> Belief:
    """The belief at the interval's end, by a filter's own `step` over every piece of it.

    Errors: `ValueError`, beginning with `name`, for what is of other people.
    """
    require_believed(people, belief, f"{name}.predict")
    require_interval(people, belief, interval, f"{name}.predict")
    M = people.model.members
    if len(belief.mean) != M:
        belief = replace(belief, mean=belief.mean.expand(M, -1, -1), root=belief.root.expand(M, -1, -1, -1))
    for piece in pieces(people, interval):
        mean, root = step(belief.mean, belief.root, piece)
        lost = ~torch.isfinite(mean).all(-1) | ~torch.isfinite(root).flatten(-2).all(-1)
        lost = lost.any(0)[:, None]
        mean, root = torch.where(lost, torch.nan, mean), torch.where(lost[..., None], torch.nan, root)
        rests = ((piece.dt == 0.0) & (piece.jump == 0.0).all(-1))[:, None]
        mean, root = _kept(rests, belief.mean, mean, piece), _kept(rests[..., None], belief.root, root, piece)
        belief = Belief(mean, root, belief.time + piece.dt, belief.states)
    return belief


def _kept(rests: Tensor, before: Tensor, after: Tensor, piece: Interval) -> Tensor:
    """What rests stays as it was, to the bit."""
    return torch.where(rests, before, after)


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
    return replace(belief, mean=found.mean, root=found.root), Innovation(
        found.value, found.innovation_root, found.nis, found.count[0], found.log_likelihood, found.by_channel
    )
