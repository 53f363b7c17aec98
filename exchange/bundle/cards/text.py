"""Markdown of a card: what others wrote is text in it and never markup."""

import re
import statistics
from collections.abc import Iterable, Sequence

from exchange.files.names import one_line

_MARKUP = re.compile(r"([\\`*\[\]<>|])")


def plain(value: object, most: int = 120) -> str:
    """Any value as a piece of one line: no markup of Markdown or HTML, no line's end, not longer than a page."""
    return _MARKUP.sub(r"\\\1", one_line(" ".join(str(value).split()), most))


def behind(unit: str) -> str:
    """A unit as it stands behind a number."""
    return "" if unit in ("", "1") else f" {plain(unit)}"


def items(lines: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, whose cells are text already."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def ranges(name: str, unit: str, values: Sequence[float], people: int) -> tuple[str, ...]:
    """A row: between which ends values were seen."""
    ends = ("–", "–", "–") if not values else (min(values), statistics.median(values), max(values))
    return plain(name), plain(unit), *(one if isinstance(one, str) else f"{one:.4g}" for one in ends), str(people)
