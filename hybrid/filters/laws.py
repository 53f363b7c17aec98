"""A filter held against its laws: the Kalman filter where all is linear, and what must hold whatever is filtered."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.cutting.mesh import Mesh
from hybrid.filters.contract import Belief, Filter, Followed, Innovation
from hybrid.model import HybridModel
from hybrid.observation import States
from hybrid.propagate import transition
from learned import Constant, DiagonalDiffusion, Residual
from physics import LinearBackbone, SharedPopulation
from physics.arguments import quote, require_callable, require_number

A = ((-1.0, 0.4, 0.0), (0.3, -0.6, 0.0), (0.5, 0.0, -2.0))
G = (0.5, 0.0, 0.2)  # nothing drives the second state but the first
SD = (0.3, 0.2)  # of the two channels, the second and the third state
FLOOR, STEP = 1e-3, 1e-5
LENGTHS = ((0.3, 1.1), (0.0, 0.4), (2.5, 0.7), (0.05, 0.9))  # of two people


@final
class Bend(Residual):
    """ε = −x³/4 in every state but the last, and 1e-300 e^{x³} there: a state of 100 is infinite at once."""

    def __init__(self) -> None:
        super().__init__()
        self.states, self.inputs, self.covariates, self.vanishes_at_origin = 3, 0, 0, False

    def forward(self, x: Tensor, u: Tensor, c: Tensor) -> Tensor:
        bent = -0.25 * x[..., :2] ** 3
        return torch.cat([bent, 1e-300 * torch.exp(x[..., 2:] ** 3)], -1)

    def reset(self, generator: torch.Generator) -> None:
        return None

    def config(self) -> dict[str, Any]:
        return {}


def problem(residual: Residual | None = None) -> HybridModel:
    """Three states, of which two are driven and two are measured; no θ, no input."""
    names = ["x2", "x3"]
    return HybridModel(
        LinearBackbone(A),
        SharedPopulation(),
        residual,
        observation=States([1, 2], names, ["1", "1"]),
        noise=Constant(SD, [FLOOR, FLOOR]),
        process=DiagonalDiffusion(G),
    )


def check_filter(make: Callable[[Followed], Filter], *, accuracy: float = 1e-9) -> None:
    """Raise `ValueError`, which says the law and the numbers that break it, unless a filter keeps the laws of filters.

    On three linear states, one of them driven by nothing: after four stretches with a dose and missing channels mean, covariance
    and log-likelihood are those of the Kalman filter, to `accuracy` · value, root, NIS, count and likelihoods of an innovation
    belong together, and a root is lower triangular · nothing happens in no time, and nothing is learned of nothing, to the bit ·
    cutting an interval in two changes nothing beyond `accuracy`, and a step of a bent model what falls with the square of its
    length (not asked of what draws) · nobody's and no member's belief depends on who is followed beside them · who diverges is
    NaN, also after what is measured then, and the others are as without them · the gradient of the log-likelihood by a dose, a
    measurement and the first belief is that of differences.
    Not looked at: speed, speed of convergence, η and its drift, inputs, covariates, other types and devices.
    Arguments: `make`, the class, or a function that makes the filter of these people, lambda people: Mine(people, particles=4000)
    · `accuracy`, in standard deviations: 1e-9 for what is exact on linear models, for what draws random numbers as far as they
    may lead it astray.
    """
    require_callable(make, "check_filter: make", "check_filter(UKF)", None)
    if isinstance(make, torch.nn.Module):
        raise ValueError(f"check_filter: make makes the filter of people, and is {quote(make)}; give the class, UKF")
    require_number(accuracy, "check_filter: accuracy", above=0.0)
    some = make(Followed.of(problem(), 2))
    if not isinstance(some, Filter):
        raise ValueError(f"check_filter: make gives a Filter of the people, and gave {quote(some)}; give the class: UKF")
    name = f"check_filter: {type(some).__name__}"
    if getattr(some, "people", None) is None:
        raise ValueError(f"{name}: has no people; a filter is a dataclass whose first field is people: Followed")
    with torch.no_grad():
        _kalman(make, float(accuracy), name)
        _rests(make, name)
        _cut_in_two(make, float(accuracy), name)
        _own(make, name)
        _lost(make, name)
    _gradient(make, name)


def first(people: int, members: int = 1) -> Belief:
    """A first belief of everyone: the same root, and a mean of their own."""
    mean = torch.linspace(0.2, 1.0, 3 * people, dtype=torch.float64).view(people, 3).expand(members, -1, -1)
    root = torch.tensor([[0.5, 0.0, 0.0], [0.1, 0.4, 0.0], [-0.2, 0.1, 0.3]], dtype=torch.float64)
    return Belief(mean, root.expand(members, people, 3, 3), torch.zeros(people, dtype=torch.float64), 3)


def _stretches(people: int = 2) -> tuple[list[Interval], list[Tensor]]:
    """Times of everyone's own, a dose in the second stretch, and channels that are missing one by one and together."""
    lengths = torch.tensor(LENGTHS, dtype=torch.float64)[:, :people]
    jump = torch.zeros(people, 3, dtype=torch.float64)
    jump[:, 0] = 0.8
    intervals = [Interval.of(dt, 3, jump=jump if k == 1 else None) for k, dt in enumerate(lengths)]
    y = torch.tensor(
        [[[0.7, 0.1], [0.4, math.nan]], [[math.nan, 0.3], [0.9, 0.2]], [[math.nan] * 2, [0.1, 0.4]], [[0.3, 0.2]] * 2],
        dtype=torch.float64,
    )
    return intervals, list(y[:, :people])


def _followed(
    filter: Filter, belief: Belief, intervals: Sequence[Interval], values: Sequence[Tensor]
) -> tuple[Belief, list[Innovation]]:
    found = []
    for interval, y in zip(intervals, values, strict=True):
        belief, innovation = filter.update(filter.predict(belief, interval), y)
        found.append(innovation)
    return belief, found


def kalman(
    belief: Belief,  # of one person
    intervals: Sequence[Interval],
    values: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:  # (3,), (3, 3), ()
    """Mean, covariance and log-likelihood of the first person, by the Kalman filter as textbooks print it (Kalman 1960)."""
    slope, D = torch.tensor(A, dtype=torch.float64), torch.tensor(G, dtype=torch.float64).diag().square()
    m, P, total = belief.mean[0, 0], belief.covariance[0, 0], belief.mean.new_zeros(())
    for interval, y in zip(intervals, values, strict=True):
        h = interval.dt[0]
        F, Q = transition(slope * h, D * h)
        m, P = F @ (m + interval.jump[0]), F @ P @ F.mT + Q
        seen = ~torch.isnan(y[0])
        H = torch.eye(3, dtype=torch.float64)[1:][seen]
        v = y[0][seen] - H @ m
        S = H @ P @ H.mT + (torch.tensor(SD, dtype=torch.float64)[seen].square() + FLOOR**2).diag()
        K = torch.linalg.solve(S, H @ P).mT
        total = total - 0.5 * (v @ torch.linalg.solve(S, v) + torch.logdet(S) + len(v) * math.log(2.0 * math.pi))
        m, P = m + K @ v, P - K @ S @ K.mT
    return m, P, total


def _kalman(make: Callable[[Followed], Filter], accuracy: float, name: str) -> None:
    intervals, values = _stretches()
    belief, found = _followed(make(Followed.of(problem(), 2)), first(2), intervals, values)
    alone = [replace(i, **{f: getattr(i, f)[:1] for f in ("dt", "jump", "rate", "u0", "u1", "start")}) for i in intervals]
    m, P, total = kalman(first(2), alone, values)
    sd = P.diagonal().sqrt()
    gaps = {
        "mean": float(((belief.mean[0, 0] - m) / sd).abs().max()),
        "covariance": float(((belief.covariance[0, 0] - P) / (sd[:, None] * sd)).abs().max()),
        "log-likelihood": float((sum(i.log_likelihood[0, 0] for i in found) - total).abs()),
    }
    for what, gap in gaps.items():
        if not gap <= accuracy:
            raise ValueError(
                f"{name}: on a linear model the {what} differs from the Kalman filter's by {gap:.3g} (allowed: {accuracy:g}, in "
                "standard deviations); look at the noise of a step, at what a missing channel does, and at the dose"
            )
    if not bool(torch.equal(belief.time, torch.tensor(LENGTHS, dtype=torch.float64).cumsum(0)[-1])):
        raise ValueError(f"{name}: the belief's time is {belief.time.tolist()}; predict adds the interval's length")
    _belongs(found, values, name)
    for what, L in (("update", belief.root), ("predict", make(Followed.of(problem(), 2)).predict(belief, intervals[0]).root)):
        if not bool((L.triu(1) == 0.0).all() & (L.diagonal(dim1=-2, dim2=-1) >= 0.0).all()):
            raise ValueError(f"{name}: {what} gives a root that is not lower triangular with a diagonal of 0 or more; use tria")


def _belongs(found: Sequence[Innovation], values: Sequence[Tensor], name: str) -> None:
    """An innovation's numbers are those of its value and its root."""
    for innovation, y in zip(found, values, strict=True):
        seen = ~torch.isnan(y)
        count = seen.sum(-1).to(y)
        value = torch.where(seen, innovation.value[0], 0.0)
        white = torch.linalg.solve_triangular(innovation.root[0], value[..., None], upper=False)[..., 0]
        nis = white.square().sum(-1)
        logs = innovation.root[0].diagonal(dim1=-2, dim2=-1).log().sum(-1)
        joint = -0.5 * (nis + count * math.log(2.0 * math.pi)) - logs
        variance = (innovation.root @ innovation.root.mT)[0].diagonal(dim1=-2, dim2=-1)
        each = torch.where(seen, -0.5 * (value.square() / variance + (2.0 * math.pi * variance).log()), torch.nan)
        wrong = [
            what
            for what, got, wanted in (
                ("count", innovation.count[0].to(nis), count),
                ("nis", innovation.nis[0], nis),
                ("log_likelihood", innovation.log_likelihood[0], joint),
                ("by_channel", innovation.by_channel[0], each),
                ("value (NaN where missing)", torch.isnan(innovation.value[0]).to(nis), (~seen).to(nis)),
            )
            if not torch.allclose(got, wanted, rtol=1e-9, atol=1e-9, equal_nan=True)
        ]
        if wrong:
            raise ValueError(
                f"{name}: an innovation's {', '.join(wrong)} is not what its value and its root give; a missing channel is NaN "
                "in value and by_channel, a row of the identity in root, and counts for nothing"
            )


def _rests(make: Callable[[Followed], Filter], name: str) -> None:
    for model in (problem(), problem(Bend())):
        filter = make(_mesh(model, 2))
        intervals, values = _stretches()
        before, _ = _followed(filter, first(2), [_short(i) for i in intervals[:1]], values[:1])
        after = filter.predict(before, Interval.of(torch.zeros(2, dtype=torch.float64), 3))
        half = filter.predict(before, Interval.of(torch.tensor([0.0, 0.1], dtype=torch.float64), 3))
        taught, innovation = filter.update(before, torch.full((2, 2), torch.nan, dtype=torch.float64))
        for what, same in (
            ("an interval of no length", torch.equal(after.mean, before.mean) and torch.equal(after.root, before.root)),
            (
                "one of no length beside somebody else's",
                torch.equal(half.mean[:, 0], before.mean[:, 0]) and torch.equal(half.root[:, 0], before.root[:, 0]),
            ),
            ("a measurement without a value", torch.equal(taught.mean, before.mean) and torch.equal(taught.root, before.root)),
        ):
            if not same:
                raise ValueError(f"{name}: {what} changes the belief; keep it to the bit, torch.where(rests, before, after)")
        if bool(innovation.count.any() | (innovation.nis != 0.0).any() | (innovation.log_likelihood != 0.0).any()):
            raise ValueError(f"{name}: of no channels the NIS and the log-likelihood are not 0, or the count is not")


def _short(interval: Interval) -> Interval:
    return replace(interval, dt=0.2 * interval.dt, meshed=True)


def _mesh(model: HybridModel, people: int) -> Followed:
    return Followed.of(model, people, mesh=Mesh(0.1))


def _cut_in_two(make: Callable[[Followed], Filter], accuracy: float, name: str) -> None:
    whole, share = (torch.tensor(v, dtype=torch.float64) for v in ((0.3, 0.7), (0.31, 0.5)))
    gap = _parted(make(Followed.of(problem(), 2)), whole, share)
    if not gap <= accuracy:
        raise ValueError(
            f"{name}: cut in two, a linear model's interval gives another mean or covariance, by {gap:.3g} standard deviations "
            f"(allowed: {accuracy:g}); what arrives arrives once, and the noise of a step grows with its length"
        )
    if accuracy > 1e-6:  # chance hides the rest
        return
    filter = make(_mesh(problem(Bend()), 2))
    gaps = [_parted(filter, h * whole, share, meshed=True) for h in (0.06, 0.03)]
    order = math.log2(max(gaps[0], 1e-300) / max(gaps[1], 1e-300))
    if not order >= 1.5 and not gaps[1] <= 1e-9:
        raise ValueError(
            f"{name}: one step of a bent model and the same in two halves differ by {gaps[0]:.3g} standard deviations, and by "
            f"{gaps[1]:.3g} of half the length: order {order:.2f}, and 2 is needed; a step of no length changes nothing"
        )


def _parted(filter: Filter, whole: Tensor, share: Tensor, meshed: bool = False) -> float:
    """How far apart an interval's end and that of its two parts are, in standard deviations."""
    jump = torch.tensor([[0.5, 0.0, 0.0]] * 2, dtype=torch.float64)
    once = filter.predict(first(2), Interval.of(whole, 3, jump=jump, meshed=meshed))
    twice = filter.predict(first(2), Interval.of(share * whole, 3, jump=jump, meshed=meshed))
    twice = filter.predict(twice, Interval.of((1.0 - share) * whole, 3, start=share * whole, meshed=meshed))
    sd = once.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    spread = (once.covariance - twice.covariance) / (sd[..., None] * sd[..., None, :])
    return max(float(((once.mean - twice.mean) / sd).abs().max()), float(spread.abs().max()))


def _own(make: Callable[[Followed], Filter], name: str) -> None:
    """Everyone's own: the first person and the first member alone, and with others behind them."""
    for model in (problem(), problem(Bend())):
        intervals, values = _stretches()
        intervals = [_short(i) for i in intervals]
        among, found = _followed(make(_mesh(model, 2)), first(2), intervals, values)
        alone = [replace(i, **{f: getattr(i, f)[:1] for f in ("dt", "jump", "rate", "u0", "u1", "start")}) for i in intervals]
        index = torch.tensor([0])
        one, its = _followed(make(_mesh(model, 1)), first(2).people(index), alone, [y[:1] for y in values])
        gap = max(
            float((among.mean[:, :1] - one.mean).abs().max()),
            float((among.root[:, :1] - one.root).abs().max()),
            *(float((a.nis[:, :1] - b.nis).abs().max()) for a, b in zip(found, its, strict=True)),
        )
        if not gap <= 1e-12:
            raise ValueError(f"{name}: somebody's belief differs by {gap:.3g} where others are followed beside them")
        both = first(2, members=2)
        both = replace(both, mean=both.mean * torch.tensor([1.0, -0.5], dtype=torch.float64)[:, None, None])
        pair, _ = _followed(make(_mesh(model, 2)), both, intervals, values)
        gap = max(float((pair.mean[:1] - among.mean).abs().max()), float((pair.root[:1] - among.root).abs().max()))
        if not gap <= 1e-12 or torch.equal(pair.mean[0], pair.mean[1]):
            raise ValueError(f"{name}: a member's belief differs by {gap:.3g} where another is beside it; members are not mixed")


def _lost(make: Callable[[Followed], Filter], name: str) -> None:
    model = problem(Bend())
    start = first(2)
    far = start.mean.clone()
    far[:, 1, 2] = 100.0
    step = Interval.of(torch.full((2,), 0.01, dtype=torch.float64), 3, meshed=True)
    y = torch.tensor([[0.4, 0.3]] * 2, dtype=torch.float64)
    try:
        found = make(_mesh(model, 2)).predict(replace(start, mean=far), step)
        after, _ = make(_mesh(model, 2)).update(found, y)
        after = make(_mesh(model, 2)).predict(after, step)
    except Exception as error:
        raise ValueError(
            f"{name}: raises {type(error).__name__} ({str(error)[:120]}) where one of two people diverges; they are NaN, and the "
            "others go on"
        ) from error
    alone = make(_mesh(model, 2)).predict(start, step)
    kept, _ = make(_mesh(model, 2)).update(alone, y)
    kept = make(_mesh(model, 2)).predict(kept, step)
    if found.lost.tolist() != [False, True] or after.lost.tolist() != [False, True]:
        raise ValueError(
            f"{name}: the second of two people diverges, and lost are {found.lost.tolist()}, after a measurement "
            f"{after.lost.tolist()}; who diverges is NaN, stays so, and nobody else is"
        )
    gap = max(float((after.mean[:, 0] - kept.mean[:, 0]).abs().max()), float((after.root[:, 0] - kept.root[:, 0]).abs().max()))
    if not gap <= 1e-12:
        raise ValueError(f"{name}: where somebody diverges another's belief differs by {gap:.3g}; they are to be as without them")


def _gradient(make: Callable[[Followed], Filter], name: str) -> None:
    for model in (problem(), problem(Bend())):
        at = torch.ones(4, dtype=torch.float64, requires_grad=True)
        filter = make(_mesh(model, 2))
        value = _likelihood(filter, at)
        if not value.requires_grad:
            raise ValueError(f"{name}: the log-likelihood has no gradient; keep to torch operations on the belief itself")
        (got,) = torch.autograd.grad(value, at)
        with torch.no_grad():
            steps = STEP * torch.eye(4, dtype=torch.float64)
            ends = [_likelihood(filter, 1.0 + e) - _likelihood(filter, 1.0 - e) for e in steps]
        wanted = torch.stack(ends) / (2.0 * STEP)
        gap, size = float((got - wanted).abs().max()), float(wanted.abs().max())
        if not gap <= 1e-6 * size:
            raise ValueError(
                f"{name}: the gradient of the log-likelihood by first mean, first root, dose and measurement is {got.tolist()} "
                f"by autograd and {wanted.tolist()} by differences; compute with torch, without .item(), numpy or detach()"
            )


def _likelihood(filter: Filter, scale: Tensor) -> Tensor:
    """Of all that is measured, with the first mean, the first root, the dose and the measurements times these numbers."""
    intervals, values = _stretches()
    belief = first(2)
    belief = replace(belief, mean=belief.mean * scale[0], root=belief.root * scale[1])
    dosed = [replace(_short(i), jump=i.jump * scale[2]) for i in intervals]
    _, found = _followed(filter, belief, dosed, [torch.where(torch.isnan(y), y, y.nan_to_num() * scale[3]) for y in values])
    return torch.stack([i.log_likelihood.sum() for i in found]).sum()
