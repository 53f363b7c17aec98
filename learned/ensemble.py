"""Deep ensembles as one computation: everything trainable carries a leading member axis."""

import copy
from collections.abc import Sized
from dataclasses import dataclass
from typing import Literal, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from learned.alike import difference
from learned.noise import NoiseHead
from learned.residual import Residual
from learned.sizes import choice_of, generator_of, module_of, shown, sizes_of

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
        choice_of(self.resample, ("bootstrap", "anchored", "init"), "Ensemble: resample")

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
        generator_of(generator, "stack: generator")
        module_of(module, "stack: module")
        odd = [name for name, p in module.named_parameters() if not p.ndim or p.shape[0] != 1]
        if odd:
            raise ValueError(
                f"stack: {odd[0]} has no member axis of size 1 in front, so its members are none; stack one model that is not "
                "stacked yet, with trainable tensors (1, …)"
            )
        copies = []
        for _ in range(self.stacked):
            one = copy.deepcopy(module)
            for part in one.modules():
                if isinstance(part, Residual | NoiseHead):
                    part.reset(generator)
            copies.append(one)
        return concatenate(copies)

    def _require_people(self, people: int, generator: torch.Generator) -> None:
        sizes_of({"people": people}, "Ensemble")
        if people < 1:
            raise ValueError(f"Ensemble: people is how many there are, from 1 on, and is {people}")
        generator_of(generator, "Ensemble: generator")

    def fold_of(self, people: int, generator: torch.Generator) -> Tensor:  # (N,)
        """The fold in which each person is held out, sizes as equal as can be, drawn at random."""
        self._require_people(people, generator)
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
        self._require_people(people, generator)
        there = _whole(fold) and fold.shape == (people,) and bool(((fold >= 0) & (fold < max(self.folds, 1))).all())
        if fold is not None and not there:
            raise ValueError(f"Ensemble: fold is that of each of {people} people, fold_of(people, …), and got {shown(fold)}")
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
    """One module whose trainable tensors are those of `modules`, joined along the member axis.

    All else is one for all members: typical values and boxes, to which a `shift` is added, exponents and spreads that are not
    learned, floors, scales, units. So the modules have it in common; where their trainable tensors started does not matter.
    Errors: `ValueError` for no module, modules of different structure, and modules that differ in what is no trainable tensor,
    by its name.
    """
    if isinstance(modules, nn.Module | str) or not isinstance(modules, Sized) or not len(modules):
        raise ValueError(f"concatenate: modules is a list of models, and got {shown(modules)}; write concatenate([one, other])")
    modules = list(modules)
    for one in modules:
        module_of(one, "concatenate: each of modules")
    shapes = {tuple((name, p.shape[1:], p.device, p.dtype) for name, p in one.named_parameters()) for one in modules}
    if len(shapes) > 1:
        kinds = shown([f"{type(m).__name__} of {next((str(p.dtype) for p in m.parameters()), 'no type')}" for m in modules])
        raise ValueError(f"concatenate: {kinds} differ in their trainable tensors; members of one ensemble have one structure")
    for k, one in enumerate(modules[1:], 2):
        unlike = difference(modules[0], one)
        if unlike is not None:
            raise ValueError(
                f"concatenate: {unlike}, in modules 1 and {k}; that is no trainable tensor, and members of one ensemble have it "
                "in common, so that one of the two would be another model than it was: build all alike, as by copy.deepcopy of "
                "one, and let their trainable tensors differ, or keep the models apart; what of a part of your own says nothing "
                "of the model, as a count of calls, is left out where its name begins with _, or where `held()` does not name it"
            )
    stacked = copy.deepcopy(modules[0])
    with torch.no_grad():
        for name, parameter in list(stacked.named_parameters()):
            parameter.data = torch.cat([m.get_parameter(name).detach() for m in modules], dim=0)
    return stacked


def _whole(value: object) -> TypeGuard[Tensor]:
    """Is it a tensor of whole numbers, which are there to be read?"""
    if not isinstance(value, Tensor) or value.is_meta:
        return False
    return not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)


def select(
    module: ModuleT,
    members: Tensor,  # (k,) indices
) -> ModuleT:
    """A copy of `module` with these members alone, in this order. Errors: `ValueError` for members that it does not have."""
    module_of(module, "select: module")
    have = max((p.shape[0] for p in module.parameters() if p.ndim), default=2**31)  # of one without any, all are alike
    if not _whole(members) or members.ndim != 1 or not len(members) or not bool(((members >= 0) & (members < have)).all()):
        raise ValueError(f"select: members are positions from 0 to {have - 1}, and got {shown(members)}; write torch.tensor([0])")
    chosen = copy.deepcopy(module)
    with torch.no_grad():
        for _, parameter in chosen.named_parameters():
            parameter.data = parameter.detach()[members].clone()
    return chosen
