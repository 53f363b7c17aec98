"""What a filter is: who is followed, what is believed of them, and the two moves between beliefs."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hybrid.cutting.interval import Interval
from hybrid.cutting.mesh import Mesh
from hybrid.model import HybridModel
from hybrid.solve.exponential import Exponential
from hybrid.solve.runge_kutta import RungeKutta
from hybrid.solve.solver import Solver, require_solver
from learned import DiagonalDiffusion
from physics.arguments import (
    quote,
    require_covariates,
    require_kind,
    require_number,
    require_people,
    require_shape,
)
from physics.glance import glance


@dataclass(frozen=True)
class Belief:
    """What is believed of N people under M members at one time each: a Gaussian of z = (x, η), the states before the person.

    `mean` (M, N, z) · `root` (M, N, z, z), lower triangular with a diagonal of 0 or more: root rootᵀ is the covariance · `time`
    (N,), in the model's time unit, of the mean's type or in float64, as predictions make it · `states` n, so that d = z − n
    coordinates η of a person follow · `particles` (M, N, z, P) of a filter that has some (`EnKF`), whose mean and root these are;
    the others neither read nor keep them.
    Members are never mixed: each has a belief of its own. Somebody whose prediction diverged is NaN, and stays so (`lost`).
    """

    mean: Tensor
    root: Tensor
    time: Tensor
    states: int
    particles: Tensor | None = None

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_shape(self.mean, "Belief: mean", "M", "N", "z", write="torch.zeros(M, N, z)")
        M, N, z = self.mean.shape
        require_shape(self.root, "Belief: root", M, N, z, z, write="torch.eye(z).expand(M, N, z, z)", like=self.mean)
        require_shape(self.time, "Belief: time", N, write="torch.zeros(N)", like=self.mean)
        require_number(self.states, "Belief: states, how many,", least=1.0, most=float(z), whole=True)
        given = [("root", self.root)]
        if self.time.dtype != torch.float64:  # float64 tells later times apart than the mean's type may
            given.append(("time", self.time))
        if self.particles is not None:
            require_shape(self.particles, "Belief: particles", M, N, z, "P", write="None", like=self.mean)
            given.append(("particles", self.particles))
        for what, value in given:
            if value.dtype != self.mean.dtype:
                raise ValueError(f"Belief: mean is {self.mean.dtype} and {what} {value.dtype}; write {what}.to(mean)")

    @property
    def x(self) -> Tensor:  # (M, N, n)
        """The states' means."""
        return self.mean[..., : self.states]

    @property
    def personal(self) -> Tensor:  # (M, N, d)
        """The means of the person's own coordinates η."""
        return self.mean[..., self.states :]

    @property
    def covariance(self) -> Tensor:  # (M, N, z, z)
        """Of the states and η together."""
        return self.root @ self.root.mT

    @property
    def lost(self) -> Tensor:  # (N,) bool
        """Of whom a prediction diverged, under some member."""
        return ~torch.isfinite(self.mean).all(-1).all(0)

    def people(self, index: Tensor) -> "Belief":
        """Of the chosen people, with repeats."""
        require_people(index, self.time.shape[0], "Belief.people: index")
        particles = None if self.particles is None else self.particles[:, index]
        return Belief(self.mean[:, index], self.root[:, index], self.time[index], self.states, particles)

    def to(self, like: Tensor) -> "Belief":
        """The same in the dtype and on the device of `like`; a time in float64 stays so."""
        require_shape(like, "Belief.to: like", ..., write="a tensor of the type and device wanted")
        time = self.time.to(like.device, torch.promote_types(self.time.dtype, like.dtype))
        particles = None if self.particles is None else self.particles.to(like)
        return Belief(self.mean.to(like), self.root.to(like), time, self.states, particles)


@dataclass(frozen=True)
class Innovation:
    """What a measurement said of the prediction, person by person and member by member.

    `value` (M, N, p) = y − ŷ, NaN where a channel is missing · `root` (M, N, p, p), lower, of its covariance, rows of the
    identity where missing · `nis` (M, N) = valueᵀ (root rootᵀ)⁻¹ value, χ² of `count` (M, N) degrees where all is as the model
    says · `log_likelihood` (M, N) of what was seen, jointly · `by_channel` (M, N, p) that of each channel alone, NaN where
    missing.
    """

    value: Tensor
    root: Tensor
    nis: Tensor
    count: Tensor
    log_likelihood: Tensor
    by_channel: Tensor

    __repr__, _repr_html_ = glance()

    def people(self, index: Tensor) -> "Innovation":
        """Of the chosen people, with repeats."""
        require_people(index, self.count.shape[1], "Innovation.people: index")
        chosen: dict[str, Any] = {f.name: getattr(self, f.name)[:, index] for f in fields(self)}
        return replace(self, **chosen)


@dataclass(frozen=True)
class Followed:
    """Who is followed, and what a filter must know of them: `Followed.of(model, people, …)` makes it.

    `model` · `size` N · `covariates`, each (N,) · `mesh`, which says how long a step may be, and `solver`, which takes it ·
    `drift` τ, the time constant with which η forgets, in the model's time unit; None: η stays · `floor` (n,), standard deviations
    that every state gains per √time beside what the model's own process noise gives, in the states' units.
    """

    model: HybridModel
    size: int
    covariates: dict[str, Tensor]
    mesh: Mesh
    solver: Solver
    drift: float | None
    floor: Tensor

    __repr__, _repr_html_ = glance()

    @staticmethod
    def of(
        model: HybridModel,
        people: int,
        *,
        covariates: Mapping[str, Tensor] | None = None,
        mesh: Mesh | None = None,
        solver: Solver | None = None,
        drift: float | None = None,
        floor: Mapping[str, float] | None = None,
    ) -> "Followed":
        """N people whom a model follows.

        Arguments
        - `people` N, and `covariates`, each (N,), all that the model reads.
        - `mesh`: by default the steps of `Mesh.fastest` for these people; `solver`: by default `Exponential()` where the model is
          linear, else `RungeKutta("rk4")`.
        - `drift` τ > 0: η is an Ornstein–Uhlenbeck process with this time constant, whose stationary law is its prior N(0, I);
          None: η stays what it is, and a filter that is told so stops listening to it in time.
        - `floor`: g by the states' names, in their units per √time, beside the model's process noise: g² = process² + floor².
        Errors: `ValueError` for a model without process noise that is given no `floor`: it would be surer of itself with every
        measurement, without end. `floor={}` says in so many words that there is none.
        """
        require_kind(model, HybridModel, "Followed.of: model", "Followed.of(model, people)")
        if model.delivery:
            raise ValueError(
                "Followed.of: this model's θ says how doses arrive (lag, fraction, duration or rate), and a filter that learns θ "
                "on the way would have to take back what has arrived; follow a model without them, and give each dose its own "
                "lag, amount and duration: personalise and predict take this one"
            )
        if model.noise.correlation() is not None:
            raise ValueError(
                "Followed.of: the errors of this model's channels at one time are correlated (Correlated), and a filter takes "
                "one standard deviation for each; follow a model whose noise is the head within, HybridModel(…, noise=head)"
            )
        require_number(people, "Followed.of: people, how many,", least=1.0, most=1e9, whole=True)
        given = {} if covariates is None else covariates
        require_covariates(given, int(people), "Followed.of: covariates")
        like = torch.zeros((), dtype=model.dtype, device=model.device)
        values = {name: value.to(like).expand(int(people)) for name, value in given.items()}
        missing = sorted(model.uses.keys() - values.keys())
        if missing:
            raise ValueError(f"Followed.of: the model reads the covariates {missing}; give covariates={{{missing[0]!r}: …}}")
        if drift is not None:
            require_number(drift, "Followed.of: drift, a time constant,", above=0.0)
        if mesh is not None:
            require_kind(mesh, Mesh, "Followed.of: mesh", "Mesh.fastest(model, covariates, people)")
        require_solver(solver, "Followed.of")
        if solver is None:
            solver = Exponential() if model.linear else RungeKutta("rk4")
        mesh = Mesh.fastest(model, values, int(people)) if mesh is None else mesh
        tau = None if drift is None else float(drift)
        found = Followed(model, int(people), values, mesh, solver, tau, _floor(model, floor, like))
        if mesh.step is None and not found.exact:
            raise ValueError(
                "Followed.of: a step of any length is exact for a linear model alone, and this mesh has no step; give "
                "Mesh(step=…), or leave the mesh out"
            )
        return found

    def people(self, index: Tensor) -> "Followed":
        """The chosen people, with repeats."""
        require_people(index, self.size, "Followed.people: index")
        covariates = {name: value[index] for name, value in self.covariates.items()}
        count = int(index.sum()) if index.dtype == torch.bool else len(index)
        return replace(self, size=count, covariates=covariates)

    @property
    def states(self) -> int:
        """n."""
        return len(self.model.backbone.states)

    @property
    def noisy(self) -> bool:
        """Is any state driven at random?"""
        return len(self.driven_states) > 0

    @cached_property
    def members(self) -> int:
        """M of the model."""
        return self.model.members

    @cached_property
    def driven_states(self) -> tuple[int, ...]:
        """The states that noise may drive, as the model's parts and the floor are made; the others are 0 in every g."""
        process, floor = self.model.process, self.floor.tolist()
        if process is None:
            driven = [False] * self.states
        elif isinstance(process, DiagonalDiffusion):
            own = zip(process.start, process.proportional or process.start, strict=True)
            driven = [s > 0.0 or b > 0.0 for s, b in own]
        else:
            driven = [True] * self.states
        return tuple(k for k, (one, level) in enumerate(zip(driven, floor, strict=True)) if one or level > 0.0)

    @property
    def drifts(self) -> bool:
        """Do people have coordinates, and do these drift?"""
        return self.drift is not None and self.model.personal > 0

    @cached_property
    def exact(self) -> bool:
        """Is a step of any length exact? Where all of a person is linear, g is constant, and the solver takes such a step."""
        process = self.model.process
        steady = process is None or (isinstance(process, DiagonalDiffusion) and process.proportional is None)
        known = not self.noisy or (steady and not self.model.personal)  # else the noise of a step depends on what is not known
        taken = isinstance(self.solver, Exponential) or self.solver.adaptive
        return self.model.linear and not self.drifts and known and taken

    def driven(
        self,
        x: Tensor,  # (M, N, n)
    ) -> Tensor:  # (M, N, n)
        """g(x), what every state gains per √time: √(process² + floor²)."""
        require_shape(x, "Followed.driven: x", "M", "R", self.states, write="belief.x", like=self.floor)
        if self.model.process is None:
            return self.floor.expand_as(x)
        g = self.model.process.diffusion(x)
        there = self.floor > 0.0  # a square root has no slope at 0
        return torch.where(there, (g.square() + torch.where(there, self.floor, 1.0).square()).sqrt(), g)


class Filter(ABC):
    """A filter: beliefs carried through time, and corrected by measurements.

    A member is a frozen dataclass with the field `people: Followed` first, and has no state of its own: belief in, belief out.
    A new member is one file and one word in `FILTERS`; `check_filter` tells whether it keeps the laws.
    Laws: linear and Gaussian, it is the Kalman filter; an interval of no length in which nothing arrives changes nothing, to the
    bit; cutting an interval in two changes nothing (nonlinear: to second order in its length); channels that were not measured
    teach nothing; people do not touch each other, nor do members, but that who diverges under one of them is lost under all.
    """

    people: Followed

    @abstractmethod
    def predict(self, belief: Belief, interval: Interval) -> Belief:
        """The belief at the interval's end, from that at its beginning, before what arrives there.

        An interval that is not `meshed` is cut by the people's mesh; a meshed one is one step. Differentiable; along the length
        of a stretch that has none now, what its noise would add is missing where a state is known exactly there.
        Who diverges is NaN from here on (`Belief.lost`), the others are as they would be alone.
        Errors: `ValueError` for other people, states, types or devices than the filter's.
        """

    @abstractmethod
    def update(
        self,
        belief: Belief,
        y: Tensor,  # (M|1, N, p) or (N, p)
        *,
        inputs: Tensor | None = None,  # (N, m)
    ) -> tuple[Belief, Innovation]:
        """The belief after a measurement, and what that said of the one before; NaN for a channel that was not measured.

        `inputs`: u at that time, for a model that has inputs, since a measurement's noise may depend on them.
        Errors: `ValueError` for other shapes, types and devices, and infinite values.
        """


def _floor(model: HybridModel, floor: Mapping[str, float] | None, like: Tensor) -> Tensor:  # (n,)
    """The floor by the states' places."""
    states = tuple(model.backbone.states)
    if floor is None:
        if model.process is None:
            raise ValueError(
                "Followed.of: this model has no process noise, and a filter that holds it for exact soon hears no measurement "
                f"any more; give a floor, what a state gains per √{model.backbone.time_unit}, floor={{{states[0]!r}: …}}, build "
                "the model with process=DiagonalDiffusion(…), or say that there is none: floor={}"
            )
        floor = {}
    require_kind(floor, Mapping, "Followed.of: floor", f"floor={{{states[0]!r}: 0.1}}")
    for name, value in floor.items():
        if name not in states:
            raise ValueError(f"Followed.of: floor names {quote(name)}, and the states are {', '.join(states)}")
        require_number(value, f"Followed.of: floor of {name}", least=0.0)
    return like.new_tensor([float(floor.get(name, 0.0)) for name in states])


def wide(time: Tensor) -> Tensor:
    """A time in float64, where the device has it: added to step by step, it must not stand still."""
    return time if time.device.type == "mps" else time.to(torch.float64)


def require_believed(people: Followed, belief: Belief, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, unless this is a belief of these people, of the model's type and place."""
    require_kind(belief, Belief, f"{name}: belief", "starting_belief(people)")
    model = people.model
    M, N, z = belief.mean.shape
    need = (people.size, people.states, people.states + model.personal)
    if (N, belief.states, z) != need:
        raise ValueError(
            f"{name}: the belief is of (people, states, states and coordinates) = {(N, belief.states, z)} and the filter "
            f"of {need}; give a belief of these people: starting_belief(people), belief.people(index)"
        )
    if people.members != M and 1 not in (M, people.members):
        raise ValueError(f"{name}: the belief is of {M} members and the model of {people.members}; give one of as many")
    like = next(itertools.chain(model.parameters(), model.buffers()), belief.mean)
    if (like.dtype, like.device) != (belief.mean.dtype, belief.mean.device):
        raise ValueError(
            f"{name}: the belief is {belief.mean.dtype} on {belief.mean.device} and the model {like.dtype} on {like.device}; "
            "write belief.to(model's type and place)"
        )
