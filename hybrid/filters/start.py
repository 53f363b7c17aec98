"""The first belief: what a model starts from, with what is not known of the baseline and of the person."""

from collections.abc import Mapping

import torch
from torch import Tensor

from hybrid.filters.contract import Belief, Followed
from hybrid.filters.flow import known
from hybrid.filters.sigma_points import halves, points
from hybrid.propagate import root as root_of
from hybrid.triangular import tria
from physics.arguments import quote, require_kind, require_number, require_shape


def starting_belief(
    people: Followed,
    *,
    baseline: Tensor | None = None,  # (N, p)
    personal: tuple[Tensor, Tensor] | None = None,  # (M, N, d), (M, N, d, d)
    inputs: Tensor | None = None,  # (N, m)
    spread: Mapping[str, float] | Tensor | None = None,  # (n,) or (N, n)
    time: Tensor | None = None,  # (N,)
) -> Belief:
    """What is believed of people before anything arrives and anything is measured.

    x(0) = initial(θ(η), y₀) with η ~ N(mean, covariance) of `personal` and y₀ ~ N(baseline, σ²(baseline)), the measurement that
    the model starts from with its own noise: sigma points over both go through the model, so that the states' and the person's
    uncertainties come with what they have in common. What the model does not start from is not read of the baseline
    (`HybridModel.starts_from`): it is a measurement, for `update`.
    Arguments
    - `baseline` (N, p), in the channels' units, NaN where nothing was measured (None: nothing was).
    - `personal`: mean and covariance of η, as `Personal.mode` and `.covariance`; by default the population, 0 and the identity.
    - `inputs` (N, m) at the start, which a model that has inputs needs.
    - `spread`: standard deviations of the states beside that, by the states' names, or (n,) or (N, n) in their order: of who
      knows less of the state than the model says.
    - `time` (N,), when this is, 0 by default.
    Errors: `ValueError` for other shapes, types and devices, numbers that are not finite, and what `initial` refuses.
    Law: where nothing is measured and η is not spread, it is `initial` with the spread alone.
    """
    require_kind(people, Followed, "starting_belief: people", "Followed.of(model, people)")
    model, N, n, d = people.model, people.size, people.states, people.model.personal
    like, p, m = people.floor, len(model.observation.channels), len(model.backbone.inputs)
    M = people.members
    if baseline is None:
        baseline = like.new_full((N, p), torch.nan)
    require_shape(baseline, "starting_belief: baseline", N, p, write="a row of channels for each person, NaN for none", like=like)
    if bool(torch.isinf(baseline.detach()).any()):
        raise ValueError("starting_belief: baseline holds infinite values; write NaN where nothing was measured")
    if inputs is None and m:
        raise ValueError(f"starting_belief: this model has inputs; give inputs (N, {m}), those at the start")
    u = like.new_zeros(N, 0) if inputs is None else inputs
    require_shape(u, "starting_belief: inputs", N, m, write="u at the start, a row for each person", like=like)
    for what, value in (("baseline", baseline), ("inputs", u)):
        if value.dtype != like.dtype:
            raise ValueError(f"starting_belief: {what} is {value.dtype} and the model {like.dtype}; write {what}.to(…)")
    mean, covariance = _prior(people, personal, M)
    starts = torch.tensor(model.starts_from, device=like.device)
    given = torch.where(starts, baseline, torch.nan)  # (N, p)
    measured = ~torch.isnan(given)
    # where η stands at its mean: what a noise head may read of the state
    here = model.initial(known(people, mean[:, :, None])[0].expand(-1, N, -1), given, u if m else None, people.covariates)
    there = torch.where(measured, given, 0.0)
    sd = model.noise.variance(there[None, :, None], here[:, :, None], u[None, :, None])[:, :, 0].sqrt().expand(M, N, p)
    b = int(starts.sum())
    noise = torch.diag_embed(torch.where(measured, sd, 0.0)[..., starts])  # (M, N, b, b)
    both = torch.cat([there[None].expand(M, N, p)[..., starts], mean.expand(M, N, d)], -1)
    roots = noise.new_zeros(M, N, b + d, b + d)
    roots[..., :b, :b] = noise
    if d:
        roots[..., b:, b:] = root_of(covariance)
    drawn = points(both, roots)  # (M, N, P, b + d)
    P = drawn.shape[2]
    eta = drawn[..., b:].reshape(M, N * P, d)
    values = given[None, :, None].expand(M, N, P, p).clone()
    values[..., starts] = torch.where(measured[:, None, starts], drawn[..., :b], torch.nan)
    theta, _ = known(people, eta.view(M, N, P, d))
    each = u.repeat_interleave(P, 0) if m else None
    who = {name: value.repeat_interleave(P, 0) for name, value in people.covariates.items()}
    x = model.initial(theta.expand(M, N * P, -1), values.reshape(M, N * P, p), each, who).reshape(M, N, P, n)
    center, odd, even = halves(torch.cat([x, drawn[..., b:]], -1))
    beside = torch.cat([torch.diag_embed(_spread(people, spread)), like.new_zeros(N, d, n)], -2).expand(M, N, n + d, n)
    when = like.new_zeros(N) if time is None else time
    require_shape(when, "starting_belief: time", N, write="when that is, one number a person", like=like)
    return Belief(center, tria(torch.cat([odd, even, beside], -1)), when, n)


def _prior(people: Followed, personal: tuple[Tensor, Tensor] | None, M: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of η."""
    like, N, d = people.floor, people.size, people.model.personal
    if personal is None:
        return like.new_zeros(1, N, d), torch.eye(d, dtype=like.dtype, device=like.device).expand(M, N, d, d)
    if not isinstance(personal, tuple | list) or len(personal) != 2:
        raise ValueError(
            f"starting_belief: personal is a mean and a covariance of η, and is {quote(personal)}; write (found.mode, "
            "found.covariance), of a Personal"
        )
    mean, covariance = personal
    require_shape(mean, "starting_belief: personal, its mean,", "M", N, d, write="found.mode", like=like)
    require_shape(covariance, "starting_belief: personal, its covariance,", "M", N, d, d, write="found.covariance", like=like)
    for what, value in (("mean", mean), ("covariance", covariance)):
        if len(value) not in (1, M):
            raise ValueError(f"starting_belief: personal, its {what}, is of {len(value)} members and the model of {M}")
        if not bool(torch.isfinite(value.detach()).all()):
            raise ValueError(f"starting_belief: personal, its {what}, holds NaN or infinity; give finite numbers")
    given = covariance.detach()
    size = given.diagonal(dim1=-2, dim2=-1).abs().amax(-1).clamp(min=torch.finfo(given.dtype).tiny) if d else given.new_ones(1)
    off = (given - given.mT).abs().flatten(-2).amax(-1) if d else given.new_zeros(1)
    least = torch.linalg.eigvalsh(given)[..., 0] if d else given.new_zeros(1)
    rounding = 1e3 * torch.finfo(given.dtype).eps * size  # of whoever made it
    if bool((off > rounding).any() | (least < -rounding).any()):
        raise ValueError(
            "starting_belief: personal, its covariance, is not one of anybody: it is symmetric, with no variance below 0 in any "
            "direction; write found.covariance"
        )
    return mean, covariance.expand(M, N, d, d)


def _spread(people: Followed, spread: Mapping[str, float] | Tensor | None) -> Tensor:  # (N, n)
    """The extra standard deviations of everyone's states."""
    like, N, states = people.floor, people.size, tuple(people.model.backbone.states)
    if isinstance(spread, Tensor):
        require_shape(spread, "starting_belief: spread", ..., len(states), write='{"plasma": 1.0}, by name', like=like)
        if spread.ndim > 2 or (spread.ndim == 2 and len(spread) != N):
            raise ValueError(f"starting_belief: spread is (n,) or (N, n), and has the shape {tuple(spread.shape)}")
        if not bool((torch.isfinite(spread.detach()) & (spread.detach() >= 0.0)).all()):
            raise ValueError("starting_belief: spread holds a number below 0, NaN or infinity; give standard deviations")
        return spread.expand(N, -1)
    given = {} if spread is None else spread
    require_kind(given, Mapping, "starting_belief: spread", f"{{{states[0]!r}: 1.0}}")
    for name, value in given.items():
        if name not in states:
            raise ValueError(f"starting_belief: spread names {quote(name)}, and the states are {', '.join(states)}")
        require_number(value, f"starting_belief: spread of {name}", least=0.0)
    return like.new_tensor([float(given.get(name, 0.0)) for name in states]).expand(N, -1)
