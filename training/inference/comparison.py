"""Is the larger of two nested models worth its numbers? The likelihood-ratio test, with a spread of 0 at the end of its range."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physics.arguments import counted, quote, require_kind, require_names, require_number
from physics.glance import Summary, glance
from training.inference.objective_value import ObjectiveValue
from training.inference.taken import difference

_ROUNDING = (
    0.05  # of −2 log L: by how much a larger model may seem worse where both fits end a little beside their optimum
)


def _summary(test: Any) -> Summary:
    return "LikelihoodRatio", [
        *(
            ("−2 log L falls by", test.fall),
            ("numbers more", ", ".join(test.added)),
            ("under the smaller", test.law),
            ("p", test.p),
        )
    ]


@dataclass(frozen=True)
class LikelihoodRatio:
    """Two nested models of the same data.

    `fall` (M,), by how much −2 log L is less in the larger one · `p` (M,), how often it falls as much where the smaller one is
    true
    · `added`, the names of the numbers that the larger one estimates beside · `boundary`, how many of these lie at the end of
    their range in the smaller one, 0 or 1 · `law`, the distribution of the fall, in words.
    """

    fall: Tensor
    p: Tensor
    added: tuple[str, ...]
    boundary: int
    law: str

    __repr__, _repr_html_ = glance(_summary)

    def sentence(self, member: int = 0) -> str:
        """In words."""
        require_number(member, "LikelihoodRatio.sentence: member", least=0.0, most=len(self.p) - 1.0, whole=True)
        member = int(member)
        return (
            f"With {', '.join(self.added)} estimated, −2 log L falls by {float(self.fall[member]):.2f}; if the smaller model "
            "were true, it "
            f"would fall as much with probability {float(self.p[member]):.2g} ({self.law})."
        )


def likelihood_ratio(
    smaller: ObjectiveValue,
    larger: ObjectiveValue,
    *,
    ends: Sequence[str] = (),
) -> LikelihoodRatio:
    """The likelihood-ratio test of a model against a larger one in which it lies.

    Of r regular numbers the fall of −2 log L is χ²_r under the smaller model. A spread ω, between people or occasions, or a part
    of the noise ("additive(y)", "proportional(y)") that the smaller model does not have lies at 0, the end of its range: with r
    regular numbers beside it (its correlations, say) the fall is ½χ²_r + ½χ²_{r+1}, so that of ω alone half of all falls are 0
    and p is half of what χ²₁ says. What was added is read from the names; a spread that the smaller model has and holds at a
    number is inside its range. So is a parameter that the smaller model does not have at all where its range goes on to both
    sides of what stands for that (a lag or an offset of 0, a fraction of 1). Where it does not, or nobody knows, it is taken for
    inside, unless `ends` says otherwise, and the sentence says so.

    Arguments: two `objective_value`s, each of a model at its optimum (`polish`), of the same data by the same approximation;
    `ends`, what else of the added lies at an end of its range in the smaller model, which no name says: ("Tlag",), where that
    model has no lag.
    Errors: `ValueError` for two approximations, two numbers of nodes, or two sets of data; a larger model without all numbers of
    the smaller; two or more that were not there and lie at 0 (the mixture's weights then depend on the information: add one at a
    time, or simulate from the smaller model); weights of networks in either; models that differ by more than the added numbers,
    as by a covariate, a noise head, a start or a value that one of them holds; a larger model whose −2 log L is higher: its
    search is not over; a name in `ends` whose range goes on there.
    Law: the test of ω alone on data without spread rejects at level a with probability a, for a < ½.
    Source: Wilks, Ann. Math. Stat. 9 (1938) 60; Self & Liang, J. Am. Stat. Assoc. 82 (1987) 605, cases 5 and 6; Stram & Lee,
    Biometrics 50 (1994) 1171.
    """
    for one, what in ((smaller, "smaller"), (larger, "larger")):
        require_kind(one, ObjectiveValue, f"likelihood_ratio: {what}", "objective_value(model, cohort)")
    require_comparable(smaller, larger, "likelihood_ratio")
    missing = [name for name in smaller.estimated if name not in larger.estimated]
    added = tuple(name for name in larger.estimated if name not in smaller.estimated)
    if missing or not added:
        said = (
            f"{missing[0]} is estimated in the smaller and not in the larger"
            if missing
            else "both estimate the same numbers"
        )
        raise ValueError(
            f"likelihood_ratio: the smaller model does not lie in the larger: {said}; compare by aic or bic instead"
        )
    lost = [name for name in smaller.spreads if name not in larger.spreads]
    if lost:
        raise ValueError(
            f"likelihood_ratio: the smaller model has a spread of {lost[0]} and the larger has none; compare by aic or bic"
        )
    other = difference(smaller.taken, larger.taken, added)
    if other is not None:
        raise ValueError(
            f"likelihood_ratio: the smaller model does not lie in the larger: beside {', '.join(added)}, which the larger "
            f"estimates more, {other}; build both alike but for these, or compare by aic or bic"
        )
    ends = require_names(ends, "likelihood_ratio: ends", '("Tlag",)')
    if stray := [name for name in ends if name not in added]:
        raise ValueError(
            f"likelihood_ratio: ends names {quote(stray[0])}, which the larger model does not add; it adds {', '.join(added)}"
        )
    for name in ends:
        if larger.taken.inside(name):
            low, high = larger.taken.boxes[name]
            raise ValueError(
                f"likelihood_ratio: ends names {name}, and the smaller model, which has it at {larger.taken.absent[name]:g}, "
                f"lies inside its range, {low:g} to {high:g}; leave it out of ends"
            )
    # κ of every occasion has one spread
    of_spreads = {name: _spread(name) for name in larger.spreads if name not in smaller.spreads}
    held = [name for name, spread in of_spreads.items() if spread not in added]
    sizes = [n for n in added if n.startswith(("additive(", "proportional(")) and n not in smaller.taken.numbers]
    at_zero = {*of_spreads.values(), *ends, *sizes}  # a size of noise that the smaller one holds at a number is inside its range
    new = [name for name in added if name in at_zero]
    if held:
        raise ValueError(
            f"likelihood_ratio: the larger model has a spread of {held[0]} that is given and not estimated, so the smaller "
            "does not lie "
            "in it; learn the spread, or compare by aic or bic"
        )
    if len(new) > 1:
        raise ValueError(
            f"likelihood_ratio: {', '.join(new)} are all at an end of their range in the smaller model, and the law of the fall "
            "then depends on the information that the data hold of each; add one at a time, or simulate from the smaller model "
            "and fit both"
        )
    fall = (smaller.ofv - larger.ofv).to("cpu", torch.float64)
    if bool((fall < -_ROUNDING).any()):
        raise ValueError(
            f"likelihood_ratio: −2 log L of the larger model is higher, by {float((-fall).amax()):.3g}, than that of a model "
            "that lies in "
            "it: its search is not over; write last(polish(model, cohort)), or start it from the smaller one"
        )
    fall = fall.clamp(min=0.0)
    r = len(added) - len(new)
    if new:
        p = 0.5 * _tail(fall, r) + 0.5 * _tail(fall, r + 1)
        return LikelihoodRatio(
            fall, p, added, 1, f"½ χ²({r}) + ½ χ²({r + 1}), {new[0]} being at the end of its range in the smaller model"
        )
    fresh = [name for name in added if name in larger.taken.theta and name not in smaller.taken.theta]
    unsure = [name for name in fresh if larger.taken.inside(name) is not True]
    return LikelihoodRatio(fall, _tail(fall, r), added, 0, f"χ²({r}){_granted(unsure, larger) if unsure else ''}")


def _granted(names: Sequence[str], larger: ObjectiveValue) -> str:
    """What the law takes for granted of parameters that the smaller model does not have, and what to write where it is not so."""
    said, boxes, absent = [], larger.taken.boxes, larger.taken.absent
    for name in names:
        low, high = boxes.get(name, (float("nan"), float("nan")))
        box = f" ({low:g} to {high:g})" if name in boxes else ""
        its = "which is so unless it lies at an end"
        if name in absent:
            its = f"and {absent[name]:g}, what it is there, lies at an end"
        said.append(f"{name} for inside its range{box} in the smaller model, {its}")
    write = f"write ends=({', '.join(quote(name) for name in names)},)"
    known = all(name in absent for name in names)
    return f", which takes {' and '.join(said)}: {write if known else f'then {write}'}"


def _spread(effect: str) -> str:
    """The name of the standard deviation of an effect: of a parameter between people, or of one between occasions."""
    parameter, occasion, _ = effect.partition(" in occasion ")
    return f"iov({parameter})" if occasion else f"omega({parameter})"


def _size(one: ObjectiveValue) -> str:
    return f"{counted(one.people, 'person', 'people')} with {counted(one.measurements, 'measurement', 'measurements')}"


def require_comparable(one: ObjectiveValue, other: ObjectiveValue, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, unless a difference of the two objectives means something."""
    if (one.approximation, one.nodes) != (other.approximation, other.nodes):
        raise ValueError(
            f"{name}: one objective is by {one.described} and the other by {other.described}; what they differ by is the "
            "approximation "
            "too, so they are never subtracted: write objective_value(…, approximation=…) alike for both"
        )
    if one.data != other.data:
        raise ValueError(
            f"{name}: the objectives are of different data ({_size(one)}, and {_size(other)}, "
            "or other values, units or weights); take one cohort for both"
        )
    if one.held or other.held:
        raise ValueError(
            f"{name}: {max(one.held, other.held)} weights of networks were fitted beside the named numbers, and no law says "
            "by how much "
            "they make −2 log L fall; compare forecasts of held-out people instead (training.trust)"
        )
    if one.ofv.shape != other.ofv.shape:
        raise ValueError(
            f"{name}: one objective is of {len(one.ofv)} members and the other of {len(other.ofv)}; give as many"
        )


def _tail(value: Tensor, degrees: int) -> Tensor:
    """P(χ² of so many degrees of freedom ≥ value); of none, χ² is 0."""
    if degrees == 0:
        return (value <= 0.0).to(value.dtype)
    return torch.special.gammaincc(torch.full_like(value, 0.5 * degrees), 0.5 * value)
