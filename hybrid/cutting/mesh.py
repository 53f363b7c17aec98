"""Where a record is cut into steps beforehand."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hybrid.many_rows import Rows
from hybrid.schedules.columns import column
from hybrid.terms import BoundTerm, RightHandSide
from physics import Backbone, Population
from physics.arguments import InputError, quote, require_covariates, require_flag, require_number
from physics.occasions import OCCASION
from physics.units import convert, factor


class HasRates(Protocol):
    """A model, as far as it says how fast its people can change."""

    @property
    def backbone(self) -> Backbone:
        """Gives A(θ)."""

    @property
    def population(self) -> Population:
        """Gives θ."""

    @property
    def uses(self) -> Mapping[str, str | None]:
        """The covariates that it reads, and their units."""

    @property
    def sees(self) -> int:
        """r, covariates and latents of a person."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of its numbers."""

    @property
    def device(self) -> torch.device:
        """Where they are."""

    @property
    def linear(self) -> bool:
        """Is A(θ) x all that there is?"""

    @property
    def typical(self) -> Tensor:  # (1, 1, q)
        """θ."""

    def at(self, theta: Tensor, c: Tensor) -> RightHandSide:
        """The terms of the right-hand side."""


class HasCovariates(Protocol):
    """A person, as far as their parameters depend on what is known of them."""

    @property
    def covariates(self) -> Mapping[str, float]:
        """By name."""


def _rows(record: HasCovariates, names: Mapping[str, Any]) -> list[Mapping[str, float]]:
    """A person's covariates, with each of the values of those of these names that change (`training.Record.changing`)."""
    said: Mapping[str, tuple[np.ndarray, np.ndarray]] = getattr(record, "changing", {})
    changing = {k: v for k, v in said.items() if k in names}
    rows: list[Mapping[str, float]] = []
    for at in sorted({-math.inf, *(float(t) for times, _ in changing.values() for t in times)}):
        places = {k: max(int(np.searchsorted(t, at, side="right")) - 1, 0) for k, (t, _) in changing.items()}
        row = {**record.covariates, **{k: float(v[places[k]]) for k, (_, v) in changing.items()}}
        if row not in rows:
            rows.append(row)
    return rows


def _in_unit(record: HasCovariates, row: Mapping[str, float], name: str, unit: str | None) -> float:
    """A covariate in the model's unit, where both that and the record's own are said."""
    have = getattr(record, "units", {}).get(name)
    value = float(row[name])
    return value if have is None or unit is None else float(convert(value, factor(have, unit, f"the covariate {name}")))


MOST_STEPS = 1_000_000  # of one stretch between two events
_MOST_PAIRS = 4_000  # of a person's A and a residual's slope, whose eigenvalues together are looked at


@dataclass(frozen=True)
class Mesh:
    """How long a step of a fixed-step solver may be: h(τ) = min(step, first + growth·τ), τ since the last jump.

    The error of a method is made in the layers after jumps (doses, the ends of infusions, points of an input), so steps start
    at `first` there and grow. `step` must keep an explicit solver stable: for the classic fourth-order method, step × (fastest
    rate) < 2.78. `Mesh.of(model, records)` chooses all three for an accuracy.
    `step=None` cuts nothing between events (for adaptive solvers).
    `observed`: whether records are also cut at their observations. Without, a solver that interpolates (`RungeKutta`,
    `Exponential`) reads them inside its steps, and a record with many observations costs no more steps than its accuracy.
    """

    step: float | None = None
    first: float | None = None
    growth: float = 0.25
    observed: bool = True

    def __post_init__(self) -> None:
        for name in ("step", "first", "growth"):
            value = getattr(self, name)
            if value is not None or name == "growth":
                require_number(value, f"Mesh: {name}")
                object.__setattr__(self, name, float(value))
        require_flag(self.observed, "Mesh: observed")
        if self.step is not None and not self.step > 0:
            raise ValueError(f"Mesh: step must be positive, got {self.step}")
        if self.first is not None and (self.step is None or not 0 < self.first <= self.step or not self.growth > 0):
            raise ValueError(
                f"Mesh: needs 0 < first ≤ step and growth > 0, got {self.first}, {self.step}, {self.growth}"
            )

    @staticmethod
    def of(model: HasRates, records: Sequence[HasCovariates], *, room: float = 3.0) -> "Mesh":
        """Steps with which the classic fourth-order method is accurate to 1e-4 of the largest state, for all of these people.

        They are made for the rates that these people can have: the eigenvalues λ of A(θ) for η at the corners of ±3 in every
        coordinate (at ±3 of one at a time beyond six coordinates) and each person's covariates, and those of A(θ) + ∂ε/∂x and
        A(θ) + ½ ∂ε/∂x with the residual's slopes at a few states around the origin, where it is steep and where it begins to
        saturate. With the share q = −Re λ/|λ| of a rate that is decay: first = 0.17 q^¼/|λ| and growth = 0.085 q^(5/4), the
        least over all of them. (With steps z/|λ| the method loses about z⁴/120 of what still moves at that rate in each 1/|λ|;
        over its life of 1/(q|λ|) that adds up, and as it decays the steps may grow.) Where a residual makes something grow,
        Re λ ≥ 0, this may come late after a jump, and no step is longer than that `first`; it grows ten times e-fold at most,
        q = 0.1 Re λ/|λ|. Nothing is taken to last longer than the slowest rate of A lets it. Nor is any step longer than
        2/(|λ| + r), λ of A(θ) and r the largest spectral radius of |∂ε/∂x|, so that the method is stable where slopes add up
        as they did at none of those states.
        A fit moves typical values: at η = 0 each one that is learned is looked at too at `room` times what it is, and at that
        part of it, within its box. One that everyone shares has no ω that would leave it any room.
        The slopes are those of the present weights: where training makes a residual much faster than the backbone, or a parameter
        faster than that, cut the records anew, or by hand.
        Errors: `ValueError` for no records, and covariates that the model reads and the records lack.
        Law: by default everything agrees with the matrix exponential to 1e-4 of the largest value of the state.
        """
        if not hasattr(model, "backbone") or isinstance(records, str) or not isinstance(records, Iterable):
            raise ValueError(
                f"Mesh.of needs a model and the records that are to be cut, got {quote(model)} and {quote(records)}; write "
                "Mesh.of(model, records), records being a list even of one"
            )
        records = list(records)
        for record in records:
            if not isinstance(getattr(record, "covariates", None), Mapping):
                raise ValueError(f"Mesh.of: each of records has covariates by name, and one is {quote(record)}; write Record(…)")
        if not records:
            raise ValueError("Mesh.of needs the records that are to be cut, got none")
        # whose covariates change on the way has the rates of each of their values
        rows = [(r, row) for r in records for row in _rows(r, model.uses)]
        used = [name for name in model.uses if all(name in row for _, row in rows)]
        covariates = {
            k: torch.tensor([_in_unit(r, row, k, model.uses[k]) for r, row in rows], dtype=torch.float64) for k in used
        }
        return Mesh.fastest(model, covariates, len(rows), room=room)

    @staticmethod
    def fastest(
        model: HasRates,
        covariates: Mapping[str, Tensor],  # each (N,)
        people: int,
        *,
        room: float = 1.0,
    ) -> "Mesh":
        """`of` N people by their covariates, by default without room for a fit."""
        if not hasattr(model, "backbone"):
            raise ValueError(f"Mesh.fastest needs a model, and got {quote(model)}; write Mesh.of(model, records)")
        require_number(people, "Mesh.fastest: people, how many,", least=1.0, whole=True)
        require_number(room, "Mesh: room, a factor,", least=1.0)
        require_covariates(covariates, people, "Mesh.fastest: covariates")
        with torch.no_grad():
            matrices = _matrices(model, covariates, people, float(room))  # (K, n, n)
            slopes = _slopes(model)  # (R, n, n)
        alone = torch.linalg.eigvals(matrices).flatten()
        added = float(torch.linalg.eigvals(slopes.abs()).abs().max()) if len(slopes) else 0.0
        if not bool(torch.isfinite(alone.abs() + added).all()) or not bool((alone.abs() + added > 0).all()):
            raise ValueError("Mesh.of: a rate of A(θ) is zero or not finite; check the parameters and covariates of the people")
        rates = torch.cat([alone, _together(matrices, slopes)])
        size = rates.abs()
        rates, size = rates[size > 0], size[size > 0]
        lasts = rates.real >= 0  # what grows, or turns for ever, is there late after a jump too: its steps must not grow
        slowest = float(-alone.real.max())
        lost = torch.where(lasts, 0.1 * rates.real, -rates.real).clamp(min=slowest)
        decay = (lost / size).clamp(1e-4, 1.0)
        begin = 0.17 * decay**0.25 / size
        step = float((2.0 / (alone.abs() + added)).min())
        if bool(lasts.any()):
            step = min(step, float(begin[lasts].min()))
        asks = begin < step  # who would allow the longest step from the beginning says nothing about how it is reached
        first = float(begin[asks].min()) if bool(asks.any()) else step
        growth = float((0.085 * decay**1.25)[asks].min()) if bool(asks.any()) else 1.0
        return Mesh(step=step, first=first, growth=growth)

    def cuts(self, begin: float, end: float) -> list[float]:
        """Fractions of (begin, end), both measured from the last jump, at which to cut: equal parts of ∫ dτ/h."""
        if self.step is None:
            return []
        require_number(begin, "Mesh.cuts: begin, since the last jump,", least=0.0)
        require_number(end, "Mesh.cuts: end, since the last jump,")
        _, inner = self.parts(np.array([float(begin)]), np.array([float(end)]))
        return list(inner.tolist())

    def parts(
        self,
        begin: np.ndarray,  # (S,)
        end: np.ndarray,  # (S,)
        least: np.ndarray | None = None,  # (S,)
    ) -> tuple[np.ndarray, np.ndarray]:  # (S,), (F,)
        """Of S stretches, each measured from its last jump: in how many parts each is cut, and the fractions at which, those of
        the first stretch, then of the second, and so on. `least`: as many parts at least.

        Errors: `ValueError` for what is no time, and a stretch of more than a million parts.
        """
        begin, end = column(begin, "Mesh.parts: begin"), column(end, "Mesh.parts: end")
        if len(begin) != len(end) or not (np.isfinite(begin) & np.isfinite(end) & (begin >= 0.0)).all():
            raise ValueError(
                f"Mesh.parts: begin and end are {len(begin)} and {len(end)} times since the last jump; both need as many, finite "
                "and not before 0"
            )
        count = np.ones(len(begin), dtype=np.int64)
        if self.step is None or not len(begin):
            return count, np.zeros(0)
        step, growth = self.step, self.growth
        first = step if self.first is None else self.first
        graded = (step - first) / growth  # h reaches `step` here

        def steps(tau: np.ndarray) -> np.ndarray:
            inner = np.minimum(tau, graded)
            return _each(math.log1p, growth * inner / first) / growth + np.maximum(tau - graded, 0.0) / step

        whole = float(steps(np.array([graded]))[0])
        # steps grow: who is no longer than the one allowed at the beginning needs no count
        asked = end - begin > np.minimum(step, first + growth * begin)
        long = np.flatnonzero(asked if least is None else asked | (least > 1))
        low, high = steps(begin[long]), steps(end[long])
        if bool((high - low > MOST_STEPS).any()):
            k = int(np.argmax(high - low > MOST_STEPS))
            problem = (
                f"Mesh: a stretch of {end[long[k]] - begin[long[k]]:g} would be cut into {high[k] - low[k]:.3g} steps of at most "
                f"{step:g}, more than {MOST_STEPS:,}"
            )
            slip = "which is a slip of the end or of the unit of time"
            raise InputError(
                f"{problem}, {slip}",
                "or give longer steps: Mesh(step=…)",
                "write an earlier time, or the unit of the table's times in --units",
            )
        count[long] = np.maximum(1 if least is None else least[long], np.ceil(high - low - 1e-9)).astype(np.int64)
        inner = Rows(count[long] - 1)
        of, j = inner.row, inner.place + 1
        reached = low[of] + (high[of] - low[of]) * j / count[long][of]
        early = reached <= whole
        tau = graded + (reached - whole) * step
        tau[early] = first * _each(math.expm1, growth * reached[early]) / growth
        length = end[long][of] - begin[long][of]
        if least is None:
            return count, (tau - begin[long][of]) / length
        # a stretch of no time may be asked to have parts: they are of no time either
        share = (tau - begin[long][of]) / np.where(length > 0.0, length, 1.0)
        return count, np.where(length > 0.0, share.clip(0.0, 1.0), j / count[long][of])


def _each(function: Callable[[float], float], values: np.ndarray) -> np.ndarray:
    """A function of the standard library for every value: unlike numpy's, it rounds the same whatever stands beside it."""
    return np.fromiter(map(function, values.tolist()), np.float64, len(values))


def _matrices(model: HasRates, covariates: Mapping[str, Tensor], people: int, room: float) -> Tensor:  # (K, n, n)
    """A(θ), each once, for every person at η = 0 and ±3, and where a fit may take a typical value."""
    d = model.population.dimension
    if d <= 6:
        corners = [list(c) for c in itertools.product((-3.0, 3.0), repeat=d)]
    else:
        corners = [[side * float(i == j) for i in range(d)] for j in range(d) for side in (-3.0, 3.0)]
    like = torch.zeros((), dtype=model.dtype, device=model.device)
    eta = like.new_tensor([[0.0] * d, *corners])  # (R, d)
    R = len(eta)
    given = {k: v.to(like).repeat(R) for k, v in covariates.items()}  # person after person, corner after corner
    if OCCASION in model.population.covariates:  # every occasion has the same spread: one tells of all
        given.setdefault(OCCASION, like.new_ones(R * people))
    theta = model.population.theta(eta.repeat_interleave(people, 0)[None], given)
    theta = torch.cat([theta, *_moved(model.population, theta[:, :people], room)], 1)
    A, _ = model.backbone.matrices(theta)
    return torch.unique(A.reshape(-1, *A.shape[-2:]).to("cpu", torch.float64), dim=0)


def _moved(
    population: Population,
    typical: Tensor,  # (M, N, q)
    room: float,
) -> list[Tensor]:  # (M, N, q) each
    """These θ with one of the learned typical values at a time `room` times as large, or as small, within its box."""
    estimates = getattr(population, "estimates", None)
    if room == 1.0 or estimates is None or population.gives is None:
        return []
    learned, box, found = estimates(), population.box.to(typical), []
    for j, (name, _) in enumerate(population.gives):
        for times in (room, 1.0 / room) if name in learned else ():
            moved = typical.clone()
            moved[..., j] = (typical[..., j] * times).clamp(box[j, 0], box[j, 1])
            found.append(moved)
    return found


def _together(
    matrices: Tensor,  # (K, n, n)
    slopes: Tensor,  # (R, n, n)
) -> Tensor:  # (...,) complex
    """The eigenvalues of A + ∂ε/∂x and of A + ½ ∂ε/∂x, where ε is half-way to being saturated, for every A or, of many, some.

    Those are the fastest, the slowest, the least damped, and others taken evenly.
    """
    if not len(slopes):
        return torch.zeros(0, dtype=torch.complex128)
    K, some = len(matrices), max(4, _MOST_PAIRS // len(slopes))
    if some < K:
        rates = torch.linalg.eigvals(matrices)
        damped = (-rates.real / rates.abs()).amin(1)
        named = [rates.abs().amax(1).argmax(), rates.real.amax(1).argmax(), damped.argmin()]
        rows = torch.cat([torch.stack(named), torch.linspace(0, K - 1, some).long()]).unique()
        matrices = matrices[rows]
    both = torch.cat([matrices[:, None] + 0.5 * slopes, matrices[:, None] + slopes], 1)
    return torch.linalg.eigvals(both).flatten()


def _slopes(model: HasRates) -> Tensor:  # (R, n, n)
    """The slopes of what is not linear, at the origin and around it, of every member.

    An estimate of what a trajectory meets, not a bound: 32 states drawn once, of the size that the first layer's weights are
    made for (1 for what has no layers), typical θ and covariates, no inputs. A known term is asked at their absolute values:
    many are made for amounts, and a saturable rate −v x/(k + x) has a pole below 0 that no trajectory meets.
    """
    n, m, r = len(model.backbone.states), len(model.backbone.inputs), model.sees
    nothing = torch.zeros(0, n, n, dtype=torch.float64)
    if model.linear:
        return nothing
    like = torch.zeros((), dtype=model.dtype, device=model.device)
    drawn = torch.randn(33, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(like)
    drawn[0] = 0.0
    with torch.inference_mode(False), torch.enable_grad():
        found = [nothing]
        terms = model.at(model.typical, like.new_zeros(1, 1, r))
        mechanism, u = getattr(model, "mechanism", None), like.new_zeros(m)
        size = like.new_ones(n)
        if mechanism is not None:  # it says what is large for its states, and at which inputs it is looked at
            size = like.new_tensor([float(mechanism.scale[name]) for name in mechanism.states])
            u = like.new_tensor([float(mechanism.typical_inputs.get(name, 0.0)) for name in mechanism.inputs])
        for term in terms.known:
            found.append(_slopes_of(term, drawn.abs() * size, u))
        if terms.learned is not None:
            scale = like.new_ones(n)
            if terms.learned.layers is not None:
                size = terms.learned.layers.weights[0].detach().square().mean((0, 1)).sqrt()
                scale = torch.where(size > 0, 1.0 / size.clamp(min=torch.finfo(size.dtype).tiny), 1.0)
            found.append(_slopes_of(terms.learned, drawn * scale, like.new_zeros(m)))
        return torch.cat(found)


def _slopes_of(
    term: BoundTerm,
    x: Tensor,  # (R, n)
    u: Tensor,  # (m,)
) -> Tensor:  # (R', n, n)
    """∂f/∂x of every member at every x, where it is finite: a member without numbers fails where it is simulated."""
    n = x.shape[-1]
    found = [torch.zeros(0, n, n, dtype=torch.float64)]
    x = x.clone()[None].requires_grad_()  # (1, R, n)
    rates = term.value(x, u[None, None])
    if not rates.requires_grad:
        return found[0]
    for member in rates:  # (R, n)
        rows = [torch.autograd.grad(v.sum(), x, retain_graph=True, materialize_grads=True)[0][0] for v in member.unbind(-1)]
        slope = torch.stack(rows, -2).to("cpu", torch.float64)  # (R, n, n)
        found.append(slope[torch.isfinite(slope).all(-1).all(-1)])
    return torch.cat(found)
