"""Whether a person looks like those on whom a model was trained: a flag with its reasons, as a prediction carries it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from physics.arguments import quote, require_choice, require_kind, require_number, require_text
from physics.glance import Summary, glance

# what a person can be compared by
LOOKS = ("covariates", "sampling", "given", "kinetics", "disagreement")
NOT_ASKED = "nobody asked"
_IN_WORDS = {"sampling": "when it was measured", "given": "what is given", "disagreement": "what members make of it"}


@final
@dataclass(frozen=True)
class ShiftReason:
    """One way in which a person does not look like those of the training.

    `look`, one of "covariates", "sampling" (when they were measured), "given" (doses and inputs), "kinetics" (what was measured
    of them so far) and "disagreement" (of the members, about the prediction) · `sentence`, with its numbers · `name`, of the
    covariate, compartment or input, "" where there is none · `value`, and the `limit` that it passes, in the look's own measure.
    """

    look: str
    sentence: str
    name: str
    value: float
    limit: float

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        require_choice(self.look, LOOKS, "ShiftReason: look")
        require_text(self.sentence, "ShiftReason: sentence", '"WT 130 kg, in training 42 to 101"')
        require_kind(self.name, str, "ShiftReason: name", '"WT"')
        for what in ("value", "limit"):
            number = getattr(self, what)
            if not (isinstance(number, float) and math.isinf(number)):
                require_number(number, f"ShiftReason: {what}")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; an infinite number is None."""
        numbers = {name: getattr(self, name) for name in ("value", "limit")}
        finite = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        return {"look": self.look, "sentence": self.sentence, "name": self.name, **finite}


def _summary(shift: Any) -> Summary:
    return f"Shift: {shift.sentence()}", [("looked at", ", ".join(shift.looked))]


@final
@dataclass(frozen=True)
class Shift:
    """Whether one person looks like those of the training, without their outcomes.

    `reasons` why not, none where nothing speaks against it · `looked`, what was compared, of `LOOKS` · `unknown`, why nothing, or
    why something, could not be compared.
    Law: who was compared by nothing is never called alike: `flagged` is None.
    """

    reasons: tuple[ShiftReason, ...] = ()
    looked: tuple[str, ...] = ()
    unknown: str = ""

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        for what, kind in (("reasons", ShiftReason), ("looked", str)):
            given = getattr(self, what)
            listed = isinstance(given, Iterable) and not isinstance(given, str | Mapping)
            if not listed or not all(isinstance(one, kind) for one in given):
                raise ValueError(f"Shift: {what} is a list of {kind.__name__}, and is {quote(given)}; write ()")
            object.__setattr__(self, what, tuple(given))
        for look in self.looked:
            require_choice(look, LOOKS, "Shift: each of looked")
        for reason in self.reasons:
            if reason.look not in self.looked:
                raise ValueError(f"Shift: a reason is of {reason.look!r}, which was not looked at; add it to looked")
        require_kind(self.unknown, str, "Shift: unknown", '"the bundle does not say what its training looked like"')
        if not self.looked and not self.unknown:
            object.__setattr__(self, "unknown", NOT_ASKED)

    @property
    def flagged(self) -> bool | None:
        """True where something speaks against it, False where nothing does, None where nothing was compared."""
        return bool(self.reasons) if self.looked else None

    def sentence(self) -> str:
        """The flag and its reasons in one sentence."""
        if self.reasons:
            return f"not like the training: {'; '.join(reason.sentence for reason in self.reasons)}"
        if self.looked:
            beside = f" ({self.unknown})" if self.unknown else ""
            return f"like the training in {_listed([_IN_WORDS.get(look, look) for look in self.looked])}{beside}"
        return f"whether this is like the training is not known: {self.unknown}"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "flagged": self.flagged,
            "sentence": self.sentence(),
            "reasons": [reason.to_dict() for reason in self.reasons],
            "looked": list(self.looked),
            "unknown": self.unknown,
        }


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def require_shift(given: object, people: int, name: str) -> "tuple[Shift, ...] | None":
    """The flags of so many people, or None where nobody asked. Errors: `ValueError`, beginning with `name`, "
    "for another number."""
    if given is None:
        return None
    if not isinstance(given, tuple | list) or len(given) != people or not all(isinstance(one, Shift) for one in given):
        raise ValueError(
            f"{name} is a Shift for each of the {people} people, or None where nobody asked, and is {quote(given)}; write "
            "training.shift.compared(prediction, reference, model, known, asked)"
        )
    return tuple(given)


def shift_in_words(shift: "tuple[Shift, ...] | None") -> str:
    """What is said of many people in a few words."""
    if shift is None:
        return f"not known: {NOT_ASKED}"
    flagged, known = sum(one.flagged is True for one in shift), sum(one.flagged is not None for one in shift)
    if not known:
        return f"not known: {shift[0].unknown}"
    rest = f", of {len(shift) - known} it is not known" if known < len(shift) else ""
    return f"{flagged} of {known} people are flagged{rest}"
