"""A block of people as a filter takes it: their first belief, who they are, and the filter for them.

Everyone sits on `SEAT` rows of their own, all alike, of which the first is read. A product of matrices may round a row otherwise
that begins elsewhere within a cache line, as every other row of an odd number of columns does: eight numbers of eight bytes are
a cache line, so that the first row of a seat begins where every other seat's does, however wide the arrays are.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hybrid import HybridModel, Interval, Mesh, Solver
from hybrid.filters import Belief, Filter, Followed, Innovation, starting_belief
from twin.blocks import stacked
from twin.joining import Course
from twin.people import Known
from twin.snapshots import State

SEAT = 8


@dataclass(frozen=True)
class Seated:
    """A filter for a block whose people sit on `SEAT` rows each; to whoever calls it they have one."""

    filter: Filter

    @property
    def people(self) -> Followed:
        """Those of all rows."""
        return self.filter.people

    @cached_property
    def _first(self) -> Tensor:
        return torch.arange(0, self.people.size, SEAT, device=self.people.model.device)

    def rows(self, value: Tensor, axis: int = 0) -> Tensor:
        """What is given of everyone, on all of their rows."""
        return value.repeat_interleave(SEAT, axis)

    def first(self, value: Tensor, axis: int = 0) -> Tensor:
        """What was found, of everyone's first row."""
        return value.index_select(axis, self._first)

    def spread(self, belief: Belief) -> Belief:
        """A belief on all rows."""
        return belief.people(self.rows(torch.arange(len(belief.time), device=belief.time.device)))

    def begun(self, baseline: Tensor, mean: Tensor, covariance: Tensor, inputs: Tensor | None, spread: Tensor) -> Belief:
        """The first beliefs of a block."""
        found = starting_belief(
            self.people,
            baseline=self.rows(baseline),
            personal=(self.rows(mean, 1), self.rows(covariance, 1)),
            inputs=None if inputs is None else self.rows(inputs),
            spread=self.rows(spread),
        )
        return found.people(self._first)

    def predict(self, belief: Belief, interval: Interval) -> Belief:
        """As the filter."""
        everyone = self.rows(torch.arange(len(interval.dt), device=interval.dt.device))
        return self.filter.predict(self.spread(belief), interval.people(everyone)).people(self._first)

    def update(self, belief: Belief, y: Tensor, inputs: Tensor) -> tuple[Belief, Innovation]:
        """As the filter."""
        after, found = self.filter.update(self.spread(belief), self.rows(y), inputs=self.rows(inputs))
        return after.people(self._first), found.people(self._first)


@dataclass(frozen=True)
class Filtering:
    """How a twin's people are filtered: the model, a kind of filter, what it is told, and the size of a block in people."""

    model: HybridModel
    filter: type[Filter]
    solver: Solver
    drift: float | None
    floor: dict[str, float] | None
    block: int

    @cached_property
    def _anyone(self) -> Followed:
        """A block of people of a model that reads no covariates."""
        return self._block_of({})

    def of(self, known: list[Known], states: list[State], keys: list[int]) -> tuple[Belief, Seated]:
        """The beliefs of at most `block` people, and a filter for them; `keys`, numbers of their own, for one that draws."""
        belief, covariates = stacked(self.model, known, states, self.block)
        return belief, self._filter({name: value.repeat_interleave(SEAT) for name, value in covariates.items()}, keys)

    def _filter(self, covariates: dict[str, Tensor], keys: list[int]) -> Seated:
        followed = self._block_of(covariates) if covariates else self._anyone
        drawn = {}
        if "keys" in getattr(self.filter, "__dataclass_fields__", {}):
            everyone = torch.tensor([*keys, *[0] * (self.block - len(keys))], device=self.model.device)
            drawn = {"keys": everyone.repeat_interleave(SEAT)}
        made: Filter = self.filter(followed, **drawn)  # type: ignore[call-arg]  # members are dataclasses
        return Seated(made)

    def _block_of(self, covariates: dict[str, Tensor]) -> Followed:
        return Followed.of(
            self.model,
            self.block * SEAT,
            covariates=covariates,
            mesh=Mesh(1.0),  # never asked: everyone is cut by a mesh of their own
            solver=self.solver,
            drift=self.drift,
            floor=self.floor,
        )


def inputs_of(course: Course) -> tuple[float, ...]:
    """Those that hold; 0 for one that is not told yet, of somebody who rests."""
    return tuple(0.0 if v != v else v for v in course.inputs)


def chosen(rows: Tensor, yes: Belief, no: Belief) -> Belief:
    """Of some people the one belief, of the others the other."""
    at = rows[:, None]
    particles = no.particles
    if particles is not None and yes.particles is not None:
        particles = torch.where(at[..., None], yes.particles, particles)
    mean, root = torch.where(at, yes.mean, no.mean), torch.where(at[..., None], yes.root, no.root)
    return replace(no, mean=mean, root=root, particles=particles)


