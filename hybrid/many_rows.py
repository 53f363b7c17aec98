"""Rows of different lengths, one after the other in one array: where each begins, and what lies where in its own row."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Rows:
    """R rows of `count` (R,) entries each, all of them behind one another."""

    count: np.ndarray

    @cached_property
    def begin(self) -> np.ndarray:  # (R,)
        """Where each row begins."""
        found: np.ndarray = np.cumsum(self.count) - self.count
        return found

    @cached_property
    def size(self) -> int:
        """How many entries there are in all."""
        return int(self.count.sum())

    @cached_property
    def even(self) -> bool:
        """Is there at least one row, and are all as long, and not empty?"""
        return len(self.count) > 0 and bool(self.count[0] > 0) and bool((self.count == self.count[0]).all())

    @cached_property
    def row(self) -> np.ndarray:  # (size,)
        """The row of every entry."""
        return np.repeat(np.arange(len(self.count)), self.count)

    @cached_property
    def place(self) -> np.ndarray:  # (size,)
        """The place of every entry in its row."""
        found: np.ndarray = np.arange(self.size) - np.repeat(self.begin, self.count)
        return found

    @cached_property
    def padded(self) -> tuple[np.ndarray, np.ndarray]:  # (R, longest) each
        """For a table with a row for each: which entry stands where, a row's last one after its end, and whether it is there."""
        longest = int(self.count.max()) if len(self.count) else 0
        place = np.arange(longest)
        there = place < self.count[:, None]
        return self.begin[:, None] + np.minimum(place, self.count[:, None] - 1), there

    def search(
        self,
        values: np.ndarray,  # (size,) ascending in every row
        asked: np.ndarray,  # (Q,)
        row: np.ndarray,  # (Q,)
        side: Literal["left", "right"],
    ) -> np.ndarray:  # (Q,)
        """`np.searchsorted` of each asked value in a row of its own, counted from the row's begin.

        By bisection of all at once.
        """
        if len(self.count) == 1:
            return np.searchsorted(values, asked, side=side)
        low = self.begin[row]
        begin, high = low, low + self.count[row]
        last = max(self.size - 1, 0)
        for _ in range(int(self.count.max()).bit_length() if self.size else 0):
            middle = (low + high) >> 1
            at = values[np.minimum(middle, last)]
            before = (at < asked if side == "left" else at <= asked) & (middle < high)
            low, high = np.where(before, middle + 1, low), np.where(before, high, middle)
        return low - begin
