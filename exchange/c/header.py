"""The bundle as one self-contained C99 header."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from exchange.bundle.bundle import Bundle
from exchange.c.about import about_header
from exchange.c.identifiers import require_prefix
from exchange.c.metric import certificate_text
from exchange.c.numbers import Real
from exchange.c.text import header_text
from exchange.export import Export, Written, certified, claimed, target_of
from exchange.files.whole_file import whole_file
from exchange.selection import TYPICAL, Selected, Selection, selected
from physics.arguments import require_choice, require_flag, require_kind

Precision = Literal["float64", "float32"]


@dataclass(frozen=True)
class CHeader(Export):
    """One self-contained C99 header: field, exact derivatives, maps, observation, noise and two steps, of the chosen members.

    `selection`, which members, and whose θ and c are its defaults · `precision` of all its numbers · `prefix` of every
    identifier, by default the file's stem · `replace` a file that is there.
    Every function is `static inline`, without heap, and calls only functions of <math.h> that the header lists at its top.
    Errors: `ValueError` for a prefix that is no identifier, two names that become one, and an activation or an operation that is
    not written in C, by its name.
    Law: in float64 it computes what the model computes, to rounding.
    """

    name: ClassVar[str] = "c"
    suffix: ClassVar[str] = ".h"
    selection: Selection = TYPICAL
    precision: Precision = "float64"
    prefix: str | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        require_kind(self.selection, Selection, "CHeader: selection", "Selection()")
        require_flag(self.replace, "CHeader: replace")
        require_choice(self.precision, ("float64", "float32"), "CHeader: precision")
        if self.prefix is not None:
            require_prefix(self.prefix, "CHeader: prefix")

    def write(self, bundle: Bundle, path: str | os.PathLike[str]) -> Written:
        require_kind(bundle, Bundle, "CHeader.write: bundle", 'load("model.twin")')
        target = target_of(self, path, "CHeader().write")
        prefix = require_prefix(self.prefix or Path(target).stem, "CHeader: prefix, or the file's stem,")
        text = header_of(
            bundle, selected(bundle, self.selection), self.selection, prefix=prefix, precision=self.precision
        )
        with whole_file(target) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
        sentences = () if certified(bundle) else claimed(bundle)[:1]
        return Written(target, sentences)


def header_of(
    bundle: Bundle,
    chosen: Selected,
    selection: Selection,
    *,
    prefix: str,
    precision: Precision = "float64",
) -> str:
    """The text of the header of what was selected of a bundle; the same bundle gives the same text.

    Errors: as `CHeader`.
    """
    real: Real = "double" if precision == "float64" else "float"
    about = wrapped(about_header(bundle, chosen, selection, prefix, real))
    return header_text(chosen, prefix, real, about, certificate_text(bundle, prefix, real))


def wrapped(text: str, width: int = 120) -> str:
    """Lines of at most `width` characters where words allow it, what was further in staying so."""
    found = []
    for line in text.split("\n"):
        indent = " " * len(re.match(r"(?:- )?\s*", line)[0])  # type: ignore[index]  # matches always
        rest, started = line[: len(indent)], False
        for word in line[len(indent) :].split():
            if started and len(rest) + 1 + len(word) > width:
                found.append(rest)
                rest, started = indent, False
            rest += f" {word}" if started else word
            started = True
        found.append(rest.rstrip())
    return "\n".join(found)
