"""What is given about people before a model is: how their time is cut, who they are, where they start."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from hybrid.cutting.changes import Changes
from hybrid.cutting.mesh import Mesh
from hybrid.cutting.segments import Segments
from physics.arguments import require_covariates, require_flag, require_kind, require_people, require_shape
from physics.glance import Summary, glance
from physics.occasions import OCCASION


def _summary(given: Any) -> Summary:
    n, m, p = given.segments.jump.shape[-1], given.segments.u0.shape[-1], given.baseline.shape[1]
    return f"Conditions: people {given.size}, states {n}, inputs {m}, channels {p}", [
        ("segments", f"at most {given.segments.dt.shape[1]} for each, read at {given.segments.segment.shape[1]} times"),
        ("covariates", ", ".join(given.covariates)),
        ("changing", None if given.changes is None else ", ".join(given.changes.values)),
        ("baseline", given.baseline),
        ("mesh", given.mesh),
    ]


@dataclass(frozen=True)
class Conditions:
    """What is given about N people: their segments, covariates (each (N,)) and baseline measurement (N, p), NaN for none.

    `mesh`: what cut the segments, for whoever cuts the same people otherwise (a dense grid, a what-if); None for none.
    `changes`: the covariates that change on the way, the occasion among them, which are not in `covariates`; None for none. What
    reads one number for each person therefore lacks them, and says so.
    `limited`: whether something was measured of these people of which limits alone are known, so that their numbers are not all.
    """

    segments: Segments
    covariates: dict[str, Tensor]
    baseline: Tensor
    mesh: Mesh | None = None
    changes: Changes | None = None
    limited: bool = False

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        require_kind(self.segments, Segments, "Conditions: segments", "conditions_of(model, schedules, times)")
        N = self.segments.dt.shape[0]
        require_shape(self.baseline, "Conditions: baseline", N, "p", write="a row of channels for each person, NaN for none")
        require_covariates(self.covariates, N, "Conditions: covariates")
        require_flag(self.limited, "Conditions: limited")
        if self.mesh is not None:
            require_kind(self.mesh, Mesh, "Conditions: mesh", "Mesh.of(model, records)")
        if self.changes is not None:
            require_kind(self.changes, Changes, "Conditions: changes", "what Cohort.of(records, model) has")
            if self.changes.reading.shape != self.segments.segment.shape:
                raise ValueError(
                    f"Conditions: changes are read at {tuple(self.changes.reading.shape)} (people, times) and the segments at "
                    f"{tuple(self.segments.segment.shape)}; write changes.read_at(times), and cut the segments with their turns"
                )
            twice = sorted(self.changes.values.keys() & self.covariates.keys())
            if twice:
                raise ValueError(f"Conditions: {', '.join(twice)} is one number and changes too; give it once")

    @property
    def size(self) -> int:
        """N."""
        return self.baseline.shape[0]

    @property
    def turns(self) -> list[np.ndarray]:
        """When each record goes on with another θ, for `build_segments`; [] where nothing changes."""
        return [] if self.changes is None else self.changes.turns

    def recut(
        self,
        segments: Segments,
        times: Tensor,  # (N, T)
    ) -> "Conditions":
        """The same people, cut otherwise, with their `turns`, and read at these times."""
        require_kind(segments, Segments, "Conditions.recut: segments", "build_segments(…, turns=conditions.turns)")
        require_shape(times, "Conditions.recut: times", self.size, "T", write="cohort.times")
        changes = None if self.changes is None else self.changes.read_at(times)
        return replace(self, segments=segments.to(self.baseline), changes=changes)

    @property
    def middle(self) -> dict[str, Tensor]:  # each (1,)
        """The median of each covariate, with those that change; of the occasion the first."""
        found = {k: v.median()[None] for k, v in self.covariates.items()}
        for name, values in ({} if self.changes is None else self.changes.values).items():
            found[name] = values.new_ones(1) if name == OCCASION else values.median()[None]
        return found

    @property
    def begun(self) -> dict[str, Tensor]:  # each (N,)
        """Everyone's covariates at their start, those that change on the way among them."""
        return {**self.covariates, **({} if self.changes is None else {k: v[:, 0] for k, v in self.changes.values.items()})}

    def by_piece(
        self,
        personal: Tensor,  # (M, N, d)
    ) -> tuple[Tensor, dict[str, Tensor]]:  # (M, N·P, d), each (N·P,)
        """Everyone's coordinates and covariates once for each of their P pieces, person after person; P = 1 without changes."""
        require_shape(personal, "Conditions.by_piece: personal", "M", self.size, "d", write="torch.zeros(M, N, model.personal)")
        if self.changes is None:
            return personal, self.covariates
        P = self.changes.count
        covariates = {k: v.repeat_interleave(P) if len(v) > 1 else v for k, v in self.covariates.items()}
        return personal.repeat_interleave(P, 1), {**covariates, **{k: v.flatten() for k, v in self.changes.values.items()}}

    def to(self, like: Tensor) -> "Conditions":
        """The same in the dtype and on the device of `like`."""
        require_shape(like, "Conditions.to: like", ..., write="cohort.y, or another tensor of the type and device wanted")
        covariates = {k: v.to(like) for k, v in self.covariates.items()}
        changes = None if self.changes is None else self.changes.to(like)
        return Conditions(self.segments.to(like), covariates, self.baseline.to(like), self.mesh, changes, self.limited)

    def people(self, index: Tensor) -> "Conditions":
        """The same for the chosen people, with repeats."""
        require_people(index, self.size, "Conditions.people: index")
        covariates = {k: v[index] for k, v in self.covariates.items()}
        changes = None if self.changes is None else self.changes.people(index)
        return Conditions(self.segments.people(index), covariates, self.baseline[index], self.mesh, changes, self.limited)
