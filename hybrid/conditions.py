"""What is given about people before a model is: how their time is cut, who they are, where they start."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hybrid.cutting.mesh import Mesh
from hybrid.cutting.segments import Segments
from physics.arguments import require_covariates, require_kind, require_people, require_shape
from physics.glance import Summary, glance


def _summary(given: Any) -> Summary:
    n, m, p = given.segments.jump.shape[-1], given.segments.u0.shape[-1], given.baseline.shape[1]
    return f"Conditions: people {given.size}, states {n}, inputs {m}, channels {p}", [
        ("segments", f"at most {given.segments.dt.shape[1]} for each, read at {given.segments.segment.shape[1]} times"),
        ("covariates", ", ".join(given.covariates)),
        ("baseline", given.baseline),
        ("mesh", given.mesh),
    ]


@dataclass(frozen=True)
class Conditions:
    """What is given about N people: their segments, covariates (each (N,)) and baseline measurement (N, p), NaN for none.

    `mesh`: what cut the segments, for whoever cuts the same people otherwise (a dense grid, a what-if); None for none.
    """

    segments: Segments
    covariates: dict[str, Tensor]
    baseline: Tensor
    mesh: Mesh | None = None

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        require_kind(self.segments, Segments, "Conditions: segments", "conditions_of(model, schedules, times)")
        N = self.segments.dt.shape[0]
        require_shape(self.baseline, "Conditions: baseline", N, "p", write="a row of channels for each person, NaN for none")
        require_covariates(self.covariates, N, "Conditions: covariates")
        if self.mesh is not None:
            require_kind(self.mesh, Mesh, "Conditions: mesh", "Mesh.of(model, records)")

    @property
    def size(self) -> int:
        """N."""
        return self.baseline.shape[0]

    def to(self, like: Tensor) -> "Conditions":
        """The same in the dtype and on the device of `like`."""
        require_shape(like, "Conditions.to: like", ..., write="cohort.y, or another tensor of the type and device wanted")
        covariates = {k: v.to(like) for k, v in self.covariates.items()}
        return Conditions(self.segments.to(like), covariates, self.baseline.to(like), self.mesh)

    def people(self, index: Tensor) -> "Conditions":
        """The same for the chosen people, with repeats."""
        require_people(index, self.size, "Conditions.people: index")
        covariates = {k: v[index] for k, v in self.covariates.items()}
        return Conditions(self.segments.people(index), covariates, self.baseline[index], self.mesh)
