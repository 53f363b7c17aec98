"""What one proof may use, cells, seconds and bytes, and what it has used of it."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from stability.proof.reading import shown


@dataclass(frozen=True)
class Budget:
    """What one call of the checker may use; beyond it the verdict is "not decided", never "proved".

    With a larger budget more is decided and nothing is accepted that is false; cells and bytes end a proof at the same point on
    every machine, seconds do not.
    Errors: ValueError for what is not a positive number.
    """

    cells: int = 2_000_000  # pieces of a region tried, over all systems, walls and levels of the input together
    seconds: float = 60.0  # since the call, looked at between steps; one step on the largest matrices takes half of that
    bytes: int = 4_000_000_000  # that arrays may take at a time, estimated before they are made

    def __post_init__(self) -> None:
        for name in ("cells", "seconds", "bytes"):
            value = getattr(self, name)
            right = isinstance(value, int) or (isinstance(value, float) and (name == "seconds" or value.is_integer()))
            if isinstance(value, bool) or not right or not (0 < value <= 2**62 or value == math.inf):
                what = "a positive number" if name == "seconds" else "a whole number above 0"
                raise ValueError(f"the budget's {name} are {shown(value)}; give {what}, as in Budget({name}=1000).")


class NotDecided(Exception):
    """The budget is used up. It ends a proof from wherever it stands, and never leaves `prove`."""


@dataclass
class Meter:
    """What a proof has used of its budget, and to whom it tells how far it is: after a second, and whenever the time doubles."""

    budget: Budget = field(default_factory=Budget)
    progress: Callable[[str], None] | None = None
    begin: float = field(default_factory=lambda: time.monotonic())
    cells: int = 0
    told: float = 1.0

    def look(self, doing: str) -> None:
        """Between two steps: is there time left?"""
        elapsed = time.monotonic() - self.begin
        if elapsed > self.budget.seconds:
            raise NotDecided(f"{self.budget.seconds:g} seconds are used up, {doing}")
        if self.progress is not None and elapsed > self.told:
            self.told = 2.0 * elapsed
            self.progress(f"{elapsed:.0f} of at most {self.budget.seconds:g} s, {self.cells:,} cells: {doing}")

    def cut(self, cells: int, doing: str) -> None:
        """Before so many cells are tried."""
        self.cells += cells
        if self.cells > self.budget.cells:
            raise NotDecided(f"{self.budget.cells:,} cells are used up, {doing}")
        self.look(doing)

    def room(self, size: float, what: str) -> None:
        """Before so many bytes are allocated."""
        if not size <= self.budget.bytes:
            raise NotDecided(f"{what} would take about {size:.1e} bytes, and {self.budget.bytes:.1e} are allowed")

    def matrices(self, size: int, count: int, copies: int, most: int = 4_000_000) -> int:
        """How many matrices of that size to treat at a time: `most` entries in all, unless one alone has more.

        And not too many, since a stack in which one factorisation fails is gone through one by one.
        """
        chunk = min(20_000, max(1, most // max(1, size * size)))
        self.room(8.0 * copies * size * size * min(chunk, count), f"a matrix of {size} rows")
        return chunk
