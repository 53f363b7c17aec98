"""What a claim is: a sentence about a system, the numbers that prove it, and how it is judged. One file holds one claim."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from stability.entries import as_written, entries_of, kinds_of, written
from stability.proof import Budget, Verdict

Array = NDArray[np.float64]
Progress = Callable[[str], None]


class Claim(ABC):
    """A sentence about a system with the numbers that prove it; `prove(claim, system)` says whether they do.

    A claim is a frozen dataclass with keyword-only fields, every one of which is written and read; the types of the fields
    are what `from_dict` holds an entry against. These four every claim has:

        kind           its name in JSON, a `Literal` of those that the class reads: `kind: Literal["step"] = "step"`
        claim          the sentence, exact to the last digit, as the judge demands it
        digest         of the arrays that it is about, `Lure.digest` for a claim about a Lur'e system
        not_covered    what the sentence does not say, each in words

    and `region`, "global" unless the claim has a field of that name, which says in which states it holds.
    """

    kind: str
    claim: str
    digest: str
    not_covered: tuple[str, ...]
    region: str | Mapping[str, Any] | None = "global"
    # Takes what an earlier version wrote to what is written now; only a claim with a past has one of its own.
    _of_now: ClassVar[Callable[[dict[str, Any]], dict[str, Any]]] = staticmethod(as_written)

    @abstractmethod
    def prove(self, system: object, *, budget: Budget | None = None, progress: Progress | None = None) -> Verdict:
        """Prove the claim for the system, or say why not; a wrong system, or one that cannot be used, is a reason too.

        Arguments: a `Lure`, what it writes, or the arrays that a model's `lure` returns; `budget` and `progress` as in
        `stability.prove`.
        Law: accepted ⇒ the sentence holds in real arithmetic.
        """

    @abstractmethod
    def in_words(self, time_unit: str) -> str:
        """What is claimed, in one short sentence without its full stop, every number rounded to the side that is true.

        Arguments: the UCUM code of the unit of time in which it was made, "" or "1" where there is none.
        Errors: ValueError where the numbers are such that no proof can stand behind them.
        """

    @abstractmethod
    def details(self, time_unit: str, states: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """What a reader has to know beside it, one sentence each: where it holds, and what it cost; not what is not covered.

        Arguments: the unit as for `in_words`; the states' names and units, () where they are not to be said.
        """

    def __bool__(self) -> Literal[True]:
        """True: a `Refusal`, which stands where a claim might, is False. `if result:` tells them apart, for type checkers too."""
        return True

    @property
    def sentence(self) -> str:
        """The claim in full, every number to the last digit; whether it is true is for `prove` to say."""
        return self.claim

    @property
    def everywhere(self) -> bool:
        """Does it hold for all states?"""
        return not isinstance(self.region, Mapping)

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """The kinds that this class writes and reads."""
        return kinds_of(cls)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings for JSON, exact to the last bit; `kind` tells which claim it is."""
        return written(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Reads; whether what it reads is true is for `prove` to say.

        Errors: ValueError for another kind of claim, one that lacks an entry or has one more, or an entry that cannot be what
        it stands for.
        """
        return cls(**entries_of(cls, data, cls._of_now))
