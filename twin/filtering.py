"""A block of people as a filter takes it: their first belief, who they are, and the filter for them."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from hybrid import HybridModel, Mesh, Solver
from hybrid.filters import Belief, Filter, Followed
from twin.blocks import stacked
from twin.joining import Course
from twin.people import Known
from twin.snapshots import State


@dataclass(frozen=True)
class Filtering:
    """How a twin's people are filtered: the model, a kind of filter, what it is told, and the size of a block."""

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

    @cached_property
    def elements(self) -> int:
        """How many numbers a block's means are: what threads are counted by."""
        return self.model.members * self.block * (len(self.model.backbone.states) + self.model.personal)

    def of(self, known: list[Known], states: list[State], keys: list[int]) -> tuple[Belief, Filter]:
        """The beliefs of at most `block` people, and a filter for them; `keys`, numbers of their own, for one that draws."""
        belief, covariates = stacked(self.model, known, states, self.block)
        return belief, self._filter(covariates, keys)

    def _filter(self, covariates: dict[str, Tensor], keys: list[int]) -> Filter:
        followed = self._block_of(covariates) if covariates else self._anyone
        drawn = {}
        if "keys" in getattr(self.filter, "__dataclass_fields__", {}):
            drawn = {"keys": torch.tensor([*keys, *[0] * (self.block - len(keys))], device=self.model.device)}
        made: Filter = self.filter(followed, **drawn)  # type: ignore[call-arg]  # members are dataclasses
        return made

    def _block_of(self, covariates: dict[str, Tensor]) -> Followed:
        return Followed.of(
            self.model,
            self.block,
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


