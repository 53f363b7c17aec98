"""Other parameters with the same curve, far from the first: what no curvature at one point can show."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid import Exponential, HybridModel, Rollout, Solver
from hybrid.threads import of_slopes, threads_by
from physics import Parameter
from physics.arguments import require_number
from physics.glance import Summary, glance
from physics.units import compatible, over
from training.identify.design import Design, Sampled, sampled
from training.identify.information import Information
from training.identify.moved import STEP, derivatives, moved_people, stencil
from training.identify.person import person_information
from training.identify.sensitivities import require_one
from training.people.information import copies, simulate_copies

_SAME = 1e-6  # Σ (difference/σ)² of two curves that are one: no more than a thousandth of a standard deviation apart
_APART = 0.05  # in logarithms: two optima that are two
_VALLEY = 1e-2  # of the misfit that the first one's own curvature foresees: what is below lies in its valley
_STEPS = 100
_SLOW = 1e-3  # of what is left: a search that gains less in a step does not arrive at 0


def _summary(found: "Optima") -> Summary:
    title = f"Optima: {len(found.others)} others with the curve of the first, from {found.starts} starts"
    shown = [found.value, *found.others]
    return title, [
        (str(k), ", ".join(f"{n} {float(v):.4g}" for n, v in zip(found.names, one, strict=True)))
        for k, one in enumerate(shown)
    ]


@dataclass(frozen=True)
class Optima:
    """Parameters whose curve is that of `value` (q,), beside it.

    `names`, `units` (q,) · `others` (K, q), each an optimum of its own · `forbidden` (K,), for each what keeps it out: "ka is
    kept above ke", that V leaves its box, or "" · `starts`, how many were searched from · `arrived`, how many of them came to one
    of these or back; the rest stayed in optima of other curves, or did not converge.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    value: Tensor
    others: Tensor
    forbidden: tuple[str, ...]
    starts: int
    arrived: int

    __repr__, _repr_html_ = glance(_summary)

    def sentences(self) -> list[str]:
        """Each other optimum, and what keeps it out."""
        found = []
        for one, why in zip(self.others, self.forbidden, strict=True):
            said = ", ".join(f"{n} = {float(v):.4g} {u}" for n, v, u in zip(self.names, one, self.units, strict=True))
            if why:
                found.append(f"{said} gives the same data; the model keeps it out: {why}.")
            else:
                found.append(
                    f"{said} gives the same data, and nothing keeps it out: which of the two a fit finds is decided by where it "
                    "starts; choose boxes, or an order, that allow one of them."
                )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "names": list(self.names),
            "value": self.value.tolist(),
            "others": self.others.tolist(),
            "forbidden": list(self.forbidden),
            "starts": self.starts,
            "arrived": self.arrived,
            "sentences": self.sentences(),
        }


@threads_by(of_slopes)
def other_optima(
    model: HybridModel,
    design: Design,
    parameters: Sequence[str] | None = None,
    *,
    starts: int = 16,
    solver: Solver | None = None,
) -> Optima:
    """Search for other parameters of one person that give the data that the typical ones give.

    From every start at which two parameters of one unit, or one and the quotient of two of its unit (ka and CL/V), are exchanged
    (flip-flop), and from `starts` more, each parameter times 3^u with
    u in (−1, 1) from a Sobol sequence, Σ ((μ(θ) − μ(θ typical))/σ)² is made small by Levenberg and Marquardt's method; where it
    ends at 0 and elsewhere, there is another optimum. None found is no proof that there is none.
    `solver`: Exponential(rtol=1e-6) by default.
    Arguments: `design` and `parameters` as in `person_information`.
    Errors: `ValueError` as `person_information`; and where a direction is not seen at all, for then the curve's parameters are
    a line and no point.
    Source: Levenberg, Q. Appl. Math. 2 (1944) 164; Marquardt, J. SIAM 11 (1963) 431.
    """
    require_one(model, "other_optima", solver)
    require_number(starts, "other_optima: starts", least=0.0, most=10_000.0, whole=True)
    local = person_information(model, design, parameters, solver=solver)
    if local.rank < len(local.names):
        raise ValueError(
            f"other_optima: the same data have a whole line of parameters: {local.sentences()[0]} Hold one at what is "
            "known: leave it out of `parameters`"
        )
    cut = sampled(model, design, "other_optima")
    trial, names, scales, _ = moved_people(model, parameters, "other_optima")
    physical = {p.name: p for p in model.backbone.physical}
    search = _Search(trial, cut, solver or Exponential(rtol=1e-6), *_limits(names, scales, local, physical))
    z = _starts(names, scales, local.value, physical, int(starts)).to(local.value)
    end, misfit = search.descend(z)
    logs = torch.tensor([s == "log" for s in scales], device=end.device)
    value = torch.where(logs, local.value * end.exp(), local.value + local.size * end)
    arrived = misfit < _SAME
    found: list[Tensor] = []
    for k in torch.argsort(misfit).tolist():
        near = [torch.zeros_like(end[k]), *found]
        foreseen = float((local.root @ end[k]).square().sum())
        if bool(arrived[k]) and foreseen > _VALLEY and all(float((end[k] - one).abs().amax()) > _APART for one in near):
            found.append(end[k])
    kept = [int((end == one).all(1).nonzero()[0, 0]) for one in found]
    others = value[kept] if kept else value[:0]
    why = tuple(_forbidden(model, names, one, local.value) for one in others)
    units = tuple(physical[n].unit for n in names)
    return Optima(names, units, local.value, others, why, len(z), int(arrived.sum()))


@dataclass(frozen=True)
class _Search:
    """Least squares of every start at once, each with its own damping."""

    model: HybridModel
    cut: Sampled
    solver: Solver
    low: Tensor  # (q,), in z
    high: Tensor

    def simulated(self, z: Tensor, offsets: Tensor) -> Tensor:  # (S, q), (R, q) -> (R, S, k)
        S, (R, q), N = len(z), offsets.shape, self.cut.conditions.size
        full = z.new_zeros(1, N * S, self.model.personal)
        full[0, :, :q] = z.repeat(N, 1)
        aside = z.new_zeros(R, self.model.personal)
        aside[:, :q] = offsets
        who = torch.arange(N, device=z.device).repeat_interleave(S)
        with torch.no_grad():
            run: Rollout = simulate_copies(
                self.model,
                self.cut.conditions.people(who),
                copies(full, aside),
                N * S,
                self.solver,
                on_failure="return",
            )
        mean = run.mean[0].reshape(R, N, S, *run.mean.shape[2:]).movedim(2, 1)  # (R, S, N, T, p)
        return mean[:, :, self.cut.there]

    def descend(self, z: Tensor) -> tuple[Tensor, Tensor]:  # (S, q), (S,)
        """Where each start ends, and what is left there."""
        q = z.shape[1]
        zero = z.new_zeros(1, q)
        at = self.simulated(zero, zero)[0]  # (1, k)
        variance = self._variance(zero)
        offsets = stencil(q, STEP, z)
        z, damping = z.clone(), z.new_full((len(z),), 1e-2)
        misfit = self._misfit(z, at, variance)
        going = torch.isfinite(misfit)
        for _ in range(_STEPS):
            rows = going.nonzero()[:, 0]
            if not len(rows):
                break
            values = self.simulated(z[rows], offsets)
            r = (values[0] - at) / variance.sqrt()
            J = (derivatives(values, STEP)[0] / variance.sqrt()).movedim(0, -1)  # (S, k, q)
            fine = torch.isfinite(r).all(-1) & torch.isfinite(J).flatten(1).all(-1)
            r, J = torch.where(fine[:, None], r, 0.0), torch.where(fine[:, None, None], J, 0.0)
            H, g = J.mT @ J, (J.mT @ r[..., None])[..., 0]
            A = H + torch.diag_embed(damping[rows, None] * H.diagonal(dim1=1, dim2=2).clamp(min=1e-12))
            step = -torch.linalg.solve(A, g).clamp(-1.0, 1.0)
            tried = torch.minimum(torch.maximum(z[rows] + step, self.low), self.high)
            then = self._misfit(tried, at, variance)
            better = then < misfit[rows]
            z[rows] = torch.where(better[:, None], tried, z[rows])
            damping[rows] = torch.where(better, damping[rows] / 5.0, damping[rows] * 4.0).clamp(1e-12, 1e8)
            fallen = torch.where(better, misfit[rows] - then, torch.inf)
            misfit[rows] = torch.where(better, then, misfit[rows])
            # at one curve, or where steps no longer lead down, or so slowly that this is the bottom of another curve
            slow = fallen < _SLOW * misfit[rows]
            going[rows] = fine & (misfit[rows] > 1e-3 * _SAME) & (damping[rows] < 1e7) & ~slow
        return z, misfit

    def _misfit(self, z: Tensor, at: Tensor, variance: Tensor) -> Tensor:  # (S,)
        off = (self.simulated(z, z.new_zeros(1, z.shape[1]))[0] - at).square() / variance
        return torch.nan_to_num(off.sum(-1), nan=math.inf)

    def _variance(self, zero: Tensor) -> Tensor:  # (1, k)
        N = self.cut.conditions.size
        still = zero.new_zeros(1, N, self.model.personal)
        with torch.no_grad():
            run = simulate_copies(self.model, self.cut.conditions, still, N, self.solver)
        return run.variance[0][self.cut.there][None]


def _starts(
    names: Sequence[str], scales: Sequence[str], value: Tensor, physical: Mapping[str, Parameter], count: int
) -> Tensor:  # (S, q), in z
    q, rows = len(names), []
    logs = value.log()
    unit = [physical[n].unit for n in names]
    free = [j for j in range(q) if scales[j] == "log"]

    def exchanged(i: int, up: int, down: int | None) -> None:
        """θ_i and θ_up/θ_down change places: the last one stays."""
        row = torch.zeros(q, dtype=torch.float64)
        row[i] = logs[up] - (0.0 if down is None else logs[down]) - logs[i]
        row[up] = -row[i]
        if float(row[i].abs()) > _APART:
            rows.append(row)

    for i, j in itertools.permutations(free, 2):
        if i < j and compatible(unit[i], unit[j]):
            exchanged(i, j, None)
        for k in free:
            if k not in (i, j) and compatible(unit[i], over(unit[j], unit[k])):
                exchanged(i, j, k)
    if count:
        sobol = torch.quasirandom.SobolEngine(q).draw(count + 1, dtype=torch.float64)[1:]  # its first point is a corner
        positive = torch.tensor([s == "log" for s in scales])
        # of what has a sign: a quarter of its box to either side
        rows += list(torch.where(positive, math.log(3.0), 25.0) * (2.0 * sobol - 1.0))
    return torch.stack(rows) if rows else torch.zeros(0, q, dtype=torch.float64)


def _limits(
    names: Sequence[str], scales: Sequence[str], local: Information, physical: Mapping[str, Parameter]
) -> tuple[Tensor, Tensor]:  # (q,) twice, in z
    """The boxes and ten times beyond: an optimum outside is said to be kept out, and farther away is nowhere."""
    ends = []
    for j, (name, scale) in enumerate(zip(names, scales, strict=True)):
        box, value = physical[name], float(local.value[j])
        if scale == "log":
            low = max(box.low, 1e-6 * value)  # of a share, whose box begins at 0
            ends.append((math.log(low / value / 10.0), math.log(10.0 * box.high / value)))
        else:
            ends.append(((box.low - value) / float(local.size[j]), (box.high - value) / float(local.size[j])))
    return local.value.new_tensor([a for a, _ in ends]), local.value.new_tensor([b for _, b in ends])


def _forbidden(model: HybridModel, names: Sequence[str], other: Tensor, first: Tensor) -> str:
    """What keeps these values out of the model, as its boxes and orders say; "" for nothing."""
    physical = model.backbone.physical
    values = {p.name: p.typical for p in physical} | {n: float(v) for n, v in zip(names, other, strict=True)}
    for p in physical:
        if p.name in names and not p.low <= values[p.name] <= p.high:
            return f"{p.name} leaves its box of {p.low:g} to {p.high:g} {p.unit}"
    places = [p.name for p in physical]
    for order in model.population.orders:
        bound = values[places[order.first]]
        for i, sign in order.rest:
            bound = bound * values[places[i]] if sign > 0 else bound / values[places[i]]
        upper = physical[order.upper]
        if upper.name in names and values[upper.name] < bound:
            return f"{upper.name} is kept above {upper.above}"
    return ""
