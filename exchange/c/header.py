"""The bundle as one self-contained C99 header."""

import os
from dataclasses import dataclass
from typing import ClassVar, Literal

from exchange.bundle.bundle import Bundle
from exchange.export import Export, Written
from exchange.selection import TYPICAL, Selection


@dataclass(frozen=True)
class CHeader(Export):
    """One self-contained C99 header: field, exact derivatives, maps, observation, noise and two steps, of the chosen members.

    `selection`, which members, and whose θ and c are its defaults · `precision` of all its numbers · `prefix` of every
    identifier, by default the file's stem · `replace` a file that is there.
    """

    name: ClassVar[str] = "c"
    suffix: ClassVar[str] = ".h"
    selection: Selection = TYPICAL
    precision: Literal["float64", "float32"] = "float64"
    prefix: str | None = None
    replace: bool = False

    def write(self, bundle: Bundle, path: str | os.PathLike[str]) -> Written:
        raise NotImplementedError
