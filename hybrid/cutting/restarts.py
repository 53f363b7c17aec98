"""Where people's records begin anew, or go on with another θ: by the segments before which that happens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid.schedules.dose import as_time
from hybrid.schedules.steady import Course, Steady

At = tuple[np.ndarray, np.ndarray]  # whose, and before which of their segments


@dataclass(frozen=True)
class Restarts:
    """Of N people: R resets, C turns, where what is there goes on with another θ, and E steady states, each before a segment of
    somebody.

    `reset_who`, `reset_at` (R,) · `turn_who`, `turn_at` (C,) · `who`, `at` (E,), `state` (E,) by number, `amount` (E,), `added`
    (E,) bool, `rated` (E,) bool, whether their rate was said, `always` (E,) bool, whether they never stopped, `first`
    (E,) bool, whether nothing was given before, and one interval of each in two stretches: `length` and `rate` (E, 2), of an
    amount of 1 (`Course`).
    """

    reset_who: Tensor
    reset_at: Tensor
    turn_who: Tensor
    turn_at: Tensor
    who: Tensor
    at: Tensor
    state: Tensor
    amount: Tensor
    added: Tensor
    rated: Tensor
    always: Tensor
    first: Tensor
    length: Tensor
    rate: Tensor

    @staticmethod
    def of(
        resets: At, turns: At, steady: At, given: Sequence[Steady], first: Sequence[bool], states: Sequence[str]
    ) -> "Restarts | None":
        """These, None where there are none."""
        if not len(resets[0]) and not len(turns[0]) and not given:
            return None
        courses = [Course.of(one) for one in given]
        return Restarts(
            torch.as_tensor(resets[0], dtype=torch.long),
            torch.as_tensor(resets[1], dtype=torch.long),
            torch.as_tensor(turns[0], dtype=torch.long),
            torch.as_tensor(turns[1], dtype=torch.long),
            torch.as_tensor(steady[0], dtype=torch.long),
            torch.as_tensor(steady[1], dtype=torch.long),
            torch.tensor([list(states).index(one.state) for one in given], dtype=torch.long),
            torch.stack([as_time(one.amount) for one in given]) if given else torch.zeros(0, dtype=torch.float64),
            torch.tensor([one.added for one in given], dtype=torch.bool),
            torch.tensor([one.kept == "rate" for one in given], dtype=torch.bool),
            torch.tensor([one.kept == "always" for one in given], dtype=torch.bool),
            torch.tensor(first, dtype=torch.bool),
            torch.tensor([c.length for c in courses], dtype=torch.float64).reshape(-1, 2),
            torch.tensor([c.rate for c in courses], dtype=torch.float64).reshape(-1, 2),
        )

    def people(self, positions: Tensor) -> "Restarts | None":
        """The same of the people at these positions, counted from 0, with repeats; None where these have none."""
        chosen = positions.to(self.who.device)
        new, old = torch.nonzero(chosen[:, None] == self.reset_who[None], as_tuple=True)
        turned, turn = torch.nonzero(chosen[:, None] == self.turn_who[None], as_tuple=True)
        who, of = torch.nonzero(chosen[:, None] == self.who[None], as_tuple=True)
        if not len(new) and not len(turned) and not len(who):
            return None
        kept: dict[str, Any] = {name: getattr(self, name)[of] for name in _EACH}
        begun = {"reset_who": new, "reset_at": self.reset_at[old], "turn_who": turned, "turn_at": self.turn_at[turn]}
        return Restarts(**begun, who=who, **kept)

    def moved(
        self,
        place: Tensor,  # (N, K)
    ) -> "Restarts":
        """The same before other segments: what stood before segment k of person i stands before that of number place[i, k]."""
        found: dict[str, Any] = {
            "reset_at": place[self.reset_who, self.reset_at],
            "turn_at": place[self.turn_who, self.turn_at],
            "at": place[self.who, self.at],
        }
        return replace(self, **found)

    def to(self, like: Tensor) -> "Restarts":
        """The same in the dtype and on the device of `like`."""
        moved: dict[str, Any] = {name: getattr(self, name).to(like) for name in ("amount", "length", "rate")}
        placed: dict[str, Any] = {name: getattr(self, name).to(like.device) for name in _WHOLE}
        return replace(self, **moved, **placed)


_EACH = ("at", "state", "amount", "added", "rated", "always", "first", "length", "rate")
_WHOLE = ("reset_who", "reset_at", "turn_who", "turn_at", "who", "at", "state", "added", "rated", "always", "first")
