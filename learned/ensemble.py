"""Deep ensembles as one computation: everything trainable carries a leading member axis."""

import copy
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from learned.noise import NoiseHead
from learned.residual import Residual
from learned.sizes import sizes_of

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class Ensemble:
    """How many members a model has and what makes them differ.

    `members` M. `resample`: "bootstrap" gives every member its own draw, with replacement, of the training people: the
    spread then estimates what more people would teach, from many people on (of one person it is 0). "anchored" gives all
    members the same people, and the fit gives each its own draw of the prior and of the noise (`training.Anchor`): the
    spread is the posterior's, exactly so where the model is linear and Gaussian, from one person on. "init" gives all members
    the same people and different first weights: cheaper, and blind to ignorance wherever the fit is convex; it is not
    epistemic, and reports label it so.
    `folds` K > 0 makes K such ensembles instead, stacked as K·M members, the k-th of which never sees the people of
    fold k: cross-validation by person in the same computation.
    Law: M = 1 without resampling is the single member. Members are never averaged in parameter space.
    Source: Lakshminarayanan, Pritzel & Blundell (2017); Efron (1979) for the bootstrap; Pearce et al. (2020), anchored.
    """

    members: int = 8
    resample: Literal["bootstrap", "anchored", "init"] = "bootstrap"
    folds: int = 0

    def __post_init__(self) -> None:
        sizes_of({"members": self.members, "folds": self.folds}, "Ensemble")
        if self.members < 1 or self.folds < 0 or self.folds == 1:
            raise ValueError(
                f"Ensemble: needs members ≥ 1 and folds = 0 or ≥ 2, got members={self.members}, folds={self.folds}"
            )
        if self.resample not in ("bootstrap", "anchored", "init"):
            raise ValueError(f"Ensemble: resample is 'bootstrap', 'anchored' or 'init', got {str(self.resample)[:60]!r}")

    @property
    def epistemic(self) -> bool:
        """Does the spread of these members estimate what more data would teach?"""
        return self.resample != "init"

    @property
    def stacked(self) -> int:
        """The size of the member axis: M, or K·M with folds."""
        return self.members * max(self.folds, 1)

    def stack(self, module: ModuleT, generator: torch.Generator) -> ModuleT:
        """A copy of `module` whose trainable tensors (1, …) are (M, …), what starts at random drawn anew for every member.

        Errors: `ValueError` without a generator: draws that nobody can repeat are none.
        """
        if not isinstance(generator, torch.Generator):
            raise ValueError(f"stack: needs torch.Generator().manual_seed(0), and got {str(generator)[:100]!r}")
        copies = []
        for _ in range(self.stacked):
            one = copy.deepcopy(module)
            for part in one.modules():
                if isinstance(part, Residual | NoiseHead):
                    part.reset(generator)
            copies.append(one)
        return concatenate(copies)

    def fold_of(self, people: int, generator: torch.Generator) -> Tensor:  # (N,)
        """The fold in which each person is held out, sizes as equal as can be, drawn at random."""
        if self.folds > people:
            raise ValueError(f"Ensemble: {self.folds} folds need at least as many people, and there are {people}")
        fold = torch.empty(people, dtype=torch.long)
        fold[torch.randperm(people, generator=generator)] = torch.arange(people) % max(self.folds, 1)
        return fold

    def record_weights(
        self,
        people: int,
        generator: torch.Generator,
        fold: Tensor | None = None,  # (N,)
    ) -> Tensor:  # (M, N)
        """How often each member counts each person: bootstrap counts, 0 for the people whom it never sees."""
        if self.folds and fold is None:
            raise ValueError("Ensemble: folds are set, so say which fold each person is in: fold=ensemble.fold_of(...)")
        rows = []
        for k in range(max(self.folds, 1)):
            seen = torch.arange(people) if fold is None else torch.nonzero(fold != k)[:, 0]
            for _ in range(self.members):
                row = torch.zeros(people, dtype=torch.float64)
                if self.resample != "bootstrap":
                    row[seen] = 1.0
                else:
                    # a bootstrap of very few people can be one person alone; members need someone to be stopped on,
                    # too: draw again until at least half of the people are in and one is out (where there are three)
                    while True:
                        draw = seen[torch.randint(len(seen), (len(seen),), generator=generator)]
                        row = torch.bincount(draw, minlength=people).to(torch.float64)
                        distinct = int((row > 0).sum())
                        if len(seen) < 3 or (2 * distinct >= len(seen) and distinct < len(seen)):
                            break
                rows.append(row)
        return torch.stack(rows)


def concatenate(modules: list[ModuleT]) -> ModuleT:
    """One module whose trainable tensors are those of `modules` (same structure), joined along the member axis."""
    stacked = copy.deepcopy(modules[0])
    with torch.no_grad():
        for name, parameter in list(stacked.named_parameters()):
            parts = [m.get_parameter(name) for m in modules]
            parameter.data = torch.cat([p.detach() for p in parts], dim=0)
    return stacked


def select(
    module: ModuleT,
    members: Tensor,  # (k,) indices
) -> ModuleT:
    """A copy of `module` with these members alone, in this order."""
    chosen = copy.deepcopy(module)
    with torch.no_grad():
        for _, parameter in chosen.named_parameters():
            parameter.data = parameter.detach()[members].clone()
    return chosen
