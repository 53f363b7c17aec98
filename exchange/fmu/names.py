"""Names in FMI's structured convention: `plasma`, `der(plasma)`, `theta.ka`, `member1.y.'C-peptide'`."""

import re
from collections.abc import Sequence

from physics.arguments import quote

_BARE = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
# what may stand between apostrophes (FMI 3.0, 2.4.7.5.2): the rest of ASCII is escaped or has no place
_QUOTED = re.compile(r"[A-Za-z_0-9 !#$%&()*+,\-./:;<>=?@\[\]^{}|~]+")


def part(name: str, what: str) -> str:
    """A name as one part of a structured name, between apostrophes where it is no identifier.

    Errors: `ValueError`, beginning with `what`, for characters that FMI's names have no place for.
    """
    if _BARE.fullmatch(name):
        return name
    if _QUOTED.fullmatch(name):
        return f"'{name}'"
    raise ValueError(
        f"Fmu: {what} {quote(name)} cannot be a name in FMI, which has ASCII without apostrophes; give it another name"
    )


def numbered(count: int, name: str) -> list[str]:
    """name[1], name[2], … of what has no names of its own."""
    return [f"{name}[{i + 1}]" for i in range(count)]


def require_distinct(names: Sequence[str]) -> None:
    """Raise `ValueError`, naming it, for a name that two variables would have."""
    seen = set[str]()
    for name in names:
        if name in seen:
            raise ValueError(
                f"Fmu: two variables would both be {quote(name)}; rename the state, input or channel that is called so"
            )
        seen.add(name)
