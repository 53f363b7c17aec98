"""What may name something: one line of printable text. A name is shown in a terminal, and must not steer it."""

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 200  # characters


def printable(character: str) -> bool:
    """Is it seen as itself: no control character, no invisible mark that turns or hides what stands around it?"""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def require_names(names: Iterable[str], what: str) -> None:
    """Raise `ValueError`, showing what cannot be seen, for a name that is no single line of at most 200 printable characters."""
    for name in names:
        if not name or len(name) > LONGEST or not all(map(printable, name)):
            begun = ascii(name[:60]) if len(name) <= 60 else f"{name[:60]!a}…, of {len(name)} characters"
            raise ValueError(
                f"{what} is one line of 1 to {LONGEST} printable characters, and {begun} is not; give it another name"
            )


def one_line(text: str, most: int) -> str:
    """What someone else's error says of a stranger's file, as a part of one sentence: no line's end, no page."""
    text = re.sub(r"\S{200,}", lambda found: f"{found[0][:120]}…", text[: 2 * most])
    shown = "".join(c if printable(c) else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= most else f"{shown[:most]}…"
