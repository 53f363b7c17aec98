"""What a picture's function is given, said in a sentence where it cannot be drawn."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from physics.arguments import quote, require_kind

Kind = TypeVar("Kind")


def require_rows(rows: object, kind: type[Kind], what: str, write: str) -> list[Kind]:
    """The rows in a list. Errors: `ValueError` for none, or for what is no list of this kind."""
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise ValueError(f"{what} is a list of {kind.__name__}, and is {quote(rows)}; write {write}")
    found = list(rows)
    for row in found:
        require_kind(row, kind, f"{what}: each", write)
    if not found:
        raise ValueError(f"{what} is an empty list, of which nothing can be drawn; write {write}")
    return found


def require_words(value: object, what: str, write: str) -> None:
    """Raise `ValueError` for what is no text, where None stands for none."""
    if not isinstance(value, str | None):
        raise ValueError(f"{what} is a text, or None, and is {quote(value)}; write {write}")
