"""What a terminal shows of text that others wrote: every character as itself, or as the code of one that would not be seen."""

import json
import unicodedata
from collections.abc import Mapping
from typing import Any


def shown(text: str, *, lines: bool = True) -> str:
    r"""The text with control characters, and marks that turn or hide what stands around them, written as \x1b or \u202e.

    A terminal obeys such characters: it clears the screen, or shows a line that is not what the program said. Tabs stay, and
    the ends of lines with `lines`; without, the text stays on one line.
    """
    if text.isprintable():
        return text
    kept = "\t\n" if lines else "\t"
    return "".join(c if c.isprintable() or c in kept or unicodedata.category(c) == "Zs" else _code(c) for c in text)


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def json_shown(text: str) -> str:
    """JSON text with the same characters written as JSON's own escapes: what is read from it is unchanged."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" or unicodedata.category(c) == "Zs" else _json_code(c) for c in text)


def _json_code(character: str) -> str:
    pairs = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pairs[k]:02x}{pairs[k + 1]:02x}" for k in range(0, len(pairs), 2))


def finite(value: Any) -> Any:
    """The same plain JSON values with null for what is no finite number: JSON has no other."""
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def json_line(value: Mapping[str, Any]) -> str:
    """Plain JSON values as one line, for a terminal too."""
    return json_shown(json.dumps(finite(value), ensure_ascii=False, allow_nan=False))
