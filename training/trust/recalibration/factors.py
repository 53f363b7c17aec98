"""The best factors of a mixture's three variances: a bounded problem in three unknowns, on plain arrays."""

import itertools
import math
from typing import Literal, final

import torch
from torch import Tensor

from hybrid.mixture import BLOCK, mixture_crps, mixture_log_prob

DOUBT = math.log(4.0)  # standard deviation of a factor's logarithm before anyone is seen: few people leave factors near 1
FLOOR = 1e-4  # the smallest factor of the noise: a hundredth of the stated standard deviation
WORK = 2**20  # components × observations × points that a grid may cost, where that leaves it enough points
FEW = 32  # observations, up to which a grid may cost four times as much: few of them are where there are many minima
CACHED = 2**16  # numbers in one temporary array of a grid (512 kB): a dozen of them pass through one after the other
STARTS = 24  # of the grid's own minima, the lowest
Score = Literal["nll", "crps"]
Triple = tuple[Tensor, Tensor, Tensor]


def scaled(
    mean: Tensor,  # (M, S, ...)
    variance: Tensor,  # (M, S, ...)
    factors: Tensor,  # (3, ...), of noise, members and draws, broadcasting to the places behind M and S
) -> tuple[Tensor, Tensor]:
    """σ² → a σ², μ_ms → μ̄ + √e (μ̄_m − μ̄) + √s (μ_ms − μ̄_m); factors of 1 are the identity to the last bit."""
    if not factors.requires_grad and bool((factors == 1.0).all()):
        return mean, variance
    member = mean.mean(1, keepdim=True)
    centre = member.mean(0, keepdim=True)
    a, e, s = factors
    return centre + e.sqrt() * (member - centre) + s.sqrt() * (mean - member), a * variance


@final
class FactorProblem:
    """The penalised mean score of G observations as a function of u (3,), the logarithms of the factors (a, e, s).

        f(u) = (1/G) Σ_g score(y_g; scaled mixture) + (unit/G) |u|²/(2 log²4),   u_a ≥ log FLOOR,

    with unit 1 for the NLL and the unscaled mean for the CRPS; parts that are not there (one member, one draw) stay at u = 0.

    A density has no upper bound. Where observations fall on a component's mean (few of them, or the same few again and
    again, or values without noise) the NLL falls as ½ log a, and the best a is what rounding leaves of 0. A noise of less
    than a hundredth of the stated standard deviation is narrower than the two or three digits that a measurement is written
    with: what it gains is the score of the rounding. So a ≥ FLOOR, whereby f ≥ ½ log(2π FLOOR min σ²); with the penalty, f has
    a minimum.

    The minimum is unique where there are one member and one draw (f is convex in log a), and otherwise wherever no two
    minima happen to be equally low; of such the one nearest to factors of 1 is taken, then that with the larger a, e, s.
    Arguments: mean and variance (M, S, G) · y (G,) · person (G,), whose each is.
    """

    def __init__(
        self, mean: Tensor, variance: Tensor, y: Tensor, person: Tensor, score: Score, count: Tensor | None = None
    ) -> None:
        self.mean, self.variance, self.y, self.person, self.score = mean, variance, y, person, score
        self.components, self.count = mean.shape[0] * mean.shape[1], torch.ones_like(y) if count is None else count
        self.total = float(self.count.sum())
        self.unit = 1.0  # what a nat is in this score
        if score == "crps":
            self.unit = float((self.scores(torch.zeros(3, dtype=torch.float64)) * self.count).sum()) / self.total
        self.free = [0] + [k for k in (1, 2) if mean.shape[k - 1] > 1]  # one member has no spread to scale, nor one draw
        self.lower = torch.tensor([math.log(FLOOR), -math.inf, -math.inf], dtype=torch.float64)

    # ---- the function

    def scores(self, u: Tensor) -> Tensor:  # (G,)
        """The score of every observation."""
        with torch.no_grad():
            return torch.cat([self._block(u[None], c)[0] for c in self._columns(1)])

    def _columns(self, points: int, share: int = 1) -> list[slice]:
        """Slices of observations such that what is held for them at this many points is at most BLOCK/share numbers."""
        # the CRPS goes through all pairs of components, and its derivatives keep them all
        held = self.components * points * share * (self.components if self.score == "crps" and share > 1 else 1)
        width, G = max(1, BLOCK // held), self.y.shape[0]
        return [slice(start, start + width) for start in range(0, G, width)]

    def _block(self, u: Tensor, c: slice) -> Tensor:  # (R, 3) -> (R, g)
        """Scores of some observations at R points, which stand beside each other as further observations."""
        y = self.y[c].expand(u.shape[0], -1)
        mean, variance = scaled(self.mean[..., None, c], self.variance[..., None, c], u.exp().T[..., None])
        mean, variance = (
            v.expand(*self.mean.shape[:2], *y.shape).flatten(2).flatten(0, 1) for v in (mean, variance)
        )  # (K, R g)
        value = mixture_crps(y.flatten(), mean, variance) if self.score == "crps" else -mixture_log_prob(
            y.flatten(), mean, variance
        )
        return value.view(y.shape)

    @property
    def _weight(self) -> float:
        return self.unit / (DOUBT**2 * self.total)

    def values(self, u: Tensor) -> Tensor:  # (R, 3) -> (R,)
        """f at R points."""
        found = []
        with torch.no_grad():
            for part in u.split(max(1, BLOCK // (self.components * self.y.shape[0]))):
                total = sum(self._totals(part, c) for c in self._columns(len(part)))
                found.append(total / self.total + 0.5 * self._weight * part.square().sum(1))
        return torch.cat(found)

    def _totals(self, u: Tensor, c: slice) -> Tensor:  # (R, 3) -> (R,)
        """The scores of some observations, summed, at R points: so many points at once as a cache holds.

        Always a multiple of eight, which leaves every point its place in the kernels of the product, and so its last digit.
        """
        width = self.components * self.y[c].shape[0]
        rows = max(8, CACHED // width // 8 * 8)
        return torch.cat([self._block(part, c) @ self.count[c] for part in u.split(rows)])

    def derivatives(self, u: Tensor) -> Triple:  # (R, 3) -> (R,), (R, 3), (R, 3, 3)
        """f, its gradient and its Hessian at R points, by automatic differentiation, block by block."""
        weight, eye = self._weight, torch.eye(3, dtype=torch.float64)
        value, gradient = 0.5 * weight * u.square().sum(1), weight * u
        hessian = (weight * eye).repeat(len(u), 1, 1)
        for c in self._columns(len(u), share=16):
            at = u.detach().clone().requires_grad_()
            total = self._block(at, c) @ self.count[c] / self.total
            (slope,) = torch.autograd.grad(total.sum(), at, create_graph=True)
            # a point's value depends on its own u alone: the gradient of a sum over points is each one's
            value, gradient = value + total.detach(), gradient + slope.detach()
            for k in self.free:  # what is held is overwritten below
                hessian[:, k] += torch.autograd.grad(slope[:, k].sum(), at, retain_graph=True)[0]
        held = torch.ones(3, dtype=torch.bool)
        held[self.free] = False
        gradient[:, held] = 0.0
        hessian[:, held, :] = hessian[:, :, held] = 0.0
        hessian[:, held, held] = weight
        return value, gradient, 0.5 * (hessian + hessian.mT)

    # ---- its minimum

    def _distinct(self) -> "FactorProblem":
        """The same function with repeated observations counted, not repeated; those that agree to 12 digits are repeats.

        Few observations, or the same few again and again, are where the function has many minima, and need a fine grid.
        """
        columns = torch.cat([self.mean.flatten(0, 1), self.variance.flatten(0, 1), self.y[None]])
        size = columns.abs().amax(1, keepdim=True).clamp_min(1e-300)
        alike, place = torch.unique((columns / size * 1e12).round(), dim=1, return_inverse=True)
        first = torch.full((alike.shape[1],), len(place)).scatter_reduce(0, place, torch.arange(len(place)), "amin")
        count = torch.zeros(alike.shape[1], dtype=torch.float64).index_add_(0, place, self.count)
        return FactorProblem(
            self.mean[..., first], self.variance[..., first], self.y[first], self.person[first], self.score, count
        )

    def _grid(self) -> tuple[Tensor, tuple[int, int, int]]:  # (R, 3)
        """Points, and how many there are along each axis: many where they cost little.

        Largest factors are at least what the mean square error asks for (of members and draws, up to 10⁴).
        """
        member = self.mean.mean(1)
        parts = (self.variance.mean((0, 1)), member.var(0, correction=0), self.mean.var(1, correction=0).mean(0))
        error = float((self.y - member.mean(0)).square() @ self.count)
        asked = [math.log10((error + 1e-300) / (float(part @ self.count) + 1e-300)) for part in parts]
        tops = [max(2.0, asked[0]), *(min(max(2.0, a), 4.0) for a in asked[1:])]
        work = self.components * len(self.y) * (self.components if self.score == "crps" else 1)
        points = (4 * WORK if len(self.y) <= FEW else WORK) / work
        first = min(max(round(points ** (1.0 / 3.0)), 5), 13)
        others = min(max(round((points / first) ** (1.0 / max(len(self.free) - 1, 1))), 3), 41)
        counts = [first, *(others if k in self.free else 1 for k in (1, 2))]
        axes = [
            torch.linspace(low, high, n, dtype=torch.float64) if n > 1 else torch.zeros(1, dtype=torch.float64)
            for low, high, n in zip((math.log10(FLOOR), -3.0, -3.0), tops, counts, strict=True)
        ]
        for k in (1, 2):
            if counts[k] > 4:
                axes[k][0] = -6.0  # as good as nothing is left of this part
        return math.log(10.0) * torch.cartesian_prod(*axes), (counts[0], counts[1], counts[2])

    def _starts(self) -> Tensor:  # (R, 3)
        """The lowest of the grid's own minima, points that no neighbour is below; of few observations of every slice, too.

        A slice's best may lie in a valley narrower than the grid, from which its neighbours hide it.
        """
        points, shape = self._grid()
        value = self.values(points).reshape(shape)
        padded = torch.nn.functional.pad(value, (1, 1) * 3, value=torch.inf)
        around = torch.full_like(value, torch.inf)
        for i, j, k in itertools.product(range(3), repeat=3):
            around = torch.minimum(around, padded[i : i + shape[0], j : j + shape[1], k : k + shape[2]])
        lowest = torch.where(value <= around, value, torch.inf).flatten()
        order = lowest.argsort()[:STARTS]
        chosen = order[lowest[order].isfinite()]
        if len(self.y) <= FEW:
            place = torch.arange(len(points)).reshape(shape)
            for axis in range(3):
                rows, where = (v.movedim(axis, 0).flatten(1) for v in (value, place))
                chosen = torch.cat([chosen, where.gather(1, rows.argmin(1, keepdim=True))[:, 0]])
        return points[chosen.unique()]

    def minimise(self) -> Tensor:  # (3,)
        """The lowest minimum found from a grid's own minima, and 0, factors of 1, where nothing is lower."""
        few, zero = self._distinct(), torch.zeros(1, 3, dtype=torch.float64)
        starts = few._starts()
        if bool(few.values(zero) < few.values(starts).min()):
            starts = torch.cat([zero, starts])
        found = few._choose(few.descend(starts))[None]
        if len(few.y) < len(self.y):
            found = self.descend(found)  # what was merged differs in the last digits
        return self._choose(torch.cat([zero, found]))

    def _choose(self, u: Tensor) -> Tensor:  # (R, 3) -> (3,)
        """The lowest; of equally low ones, which rounding must not choose from, by the rule that the class states."""
        value = self.values(u)
        low = u[value <= value.min() + 1e-10 * self.unit]
        ranks = [(round(float(v.square().sum()), 6), *(-round(x, 6) for x in v.tolist())) for v in low]
        return low[min(range(len(low)), key=ranks.__getitem__)]

    def descend(self, u: Tensor) -> Tensor:  # (R, 3) -> (R, 3)
        """The minima below R points, by Newton's method in the box, all at once.

        Directions in which f is not convex are taken with the absolute value of their curvature; steps are halved until f
        falls by a tenth of what the slope promises. Source: Nocedal & Wright (2006), sections 3.4 and 16.7.
        """
        u, value = u.clone(), self.values(u)
        active = torch.arange(len(u))
        for _ in range(100):
            at = u[active]
            _, gradient, hessian = self.derivatives(at)
            at_bound = at <= self.lower
            bound = at_bound & (gradient > 0.0)
            step = self._newton(gradient, hessian, bound)
            # where Newton would leave the box although the slope does not, it goes along the bound as far as that leads down
            along = self._newton(gradient, hessian, at_bound)
            out = (at_bound & (step < 0.0)).any(1, keepdim=True)
            leads = -(gradient * along).sum(1, keepdim=True) > 1e-12 * (1.0 + value[active, None].abs())
            steepest = torch.where(bound, 0.0, -gradient) / hessian.abs().amax((1, 2))[:, None].clamp_min(self._weight)
            step = torch.where(out, torch.where(leads, along, steepest), step)
            gradient = torch.where(bound, 0.0, gradient)
            step = step * (2.0 / step.norm(dim=1, keepdim=True).clamp_min(2.0))
            promised = -(gradient * step).sum(1)
            way = torch.where(step < 0.0, (self.lower - at) / step, torch.inf).amin(1)  # to the bound, in this direction
            length = way.clamp(max=1.0)
            new, best = at.clone(), value[active].clone()
            # the last step is taken whole: so near to the minimum f is flat to rounding, the slope is not
            waiting = promised > 1e-12 * (1.0 + best.abs())
            done = ~waiting
            new[done] = self._inside(at[done] + length[done, None] * step[done])
            for _ in range(40):
                if not bool(waiting.any()):
                    break
                tried = self._inside(at[waiting] + length[waiting, None] * step[waiting])
                there = self.values(tried)
                fell = there <= best[waiting] - 0.1 * length[waiting] * promised[waiting]
                place = waiting.nonzero()[:, 0]
                new[place[fell]], best[place[fell]] = tried[fell], there[fell]
                waiting[place[fell]] = False
                length[waiting] *= 0.5
            done |= waiting  # no step of any length is lower: rounding is all that is left
            u[active], value[active] = new, best
            active = active[~done]
            if len(active) == 0:
                break
        return u

    def _inside(self, u: Tensor) -> Tensor:  # (R, 3) -> (R, 3)
        return torch.where(u <= self.lower + 1e-12, self.lower, u)  # an ulp above the bound is at it

    def _newton(self, gradient: Tensor, hessian: Tensor, held: Tensor) -> Tensor:  # (R, 3), (R, 3, 3), (R, 3) -> (R, 3)
        """Newton's step with every curvature positive, 0 exactly in what is held: rounding there would end at the bound."""
        fixed = held[:, :, None] | held[:, None, :]
        curvature, axes = torch.linalg.eigh(torch.where(fixed, 0.0, hessian) + torch.diag_embed(held.double()))
        inverse = 1.0 / curvature.abs().clamp_min(0.01 * self._weight)
        step = -(axes @ (inverse[..., None] * (axes.mT @ torch.where(held, 0.0, gradient)[..., None])))[..., 0]
        return torch.where(held, 0.0, step)

    # ---- how well it is known

    def covariance(self, u: Tensor) -> Tensor:  # (3, 3)
        """(H + Λ)⁻¹ (G + Λ) (H + Λ)⁻¹ of the log factors, Λ = 1/log²4: what is thought beforehand, where people say nothing.

        H is the Hessian of the total score, G the sum over people of their gradients' squares (by central differences):
        observations of one person count once. A noise at its floor is held there, and has no variance.
        Source: Huber (1967); clustered: Liang & Zeger (1986).
        """
        _, gradient, hessian = (v[0] for v in self.derivatives(u[None]))
        held = (u <= self.lower) & (gradient > 0.0)
        free, h = [k for k in self.free if not held[k]], 1e-3
        full, rows = torch.zeros(3, 3, dtype=torch.float64), torch.tensor(free, dtype=torch.long)
        people, place = torch.unique(self.person, return_inverse=True)
        slopes = torch.zeros(len(people), len(free), dtype=torch.float64)
        for j, k in enumerate(free):
            step = torch.zeros(3, dtype=torch.float64)
            step[k] = h
            slopes[:, j].index_add_(0, place, (self.scores(u + step) - self.scores(u - step)) / (2.0 * h))
        slopes, hessian = slopes / self.unit, hessian[rows][:, rows] * (self.total / self.unit)  # of the penalised score
        prior = torch.eye(len(free), dtype=torch.float64) / DOUBT**2
        spread = slopes.T @ slopes * (len(people) / max(len(people) - 1, 1)) + prior
        values, vectors = torch.linalg.eigh(hessian)
        inverse = vectors @ torch.diag(1.0 / values.clamp_min(1.0 / DOUBT**2)) @ vectors.T
        full[rows[:, None], rows] = inverse @ spread @ inverse
        return full
