"""Names as identifiers of SBML: letters, digits and underscores, each for one thing."""

import re
from collections.abc import Iterable, Mapping

from physics.arguments import quote

_ODD = re.compile(r"[^A-Za-z0-9_]")


def identifier(name: str, what: str) -> str:
    """The name with an underscore for each character that no identifier has.

    Errors: `ValueError`, beginning with `what`, for a name of which nothing would be left.
    """
    found = _ODD.sub("_", name)
    if not found.strip("_"):
        raise ValueError(
            f"{what}: the name {quote(name)} has no letter or digit that an identifier of SBML may have; rename it"
        )
    return f"_{found}" if found[0].isdigit() else found


def identifiers(names: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], str]:
    """For each name of each kind its identifier, which begins with the kind, but for states: {"theta": ("ka",)} gives theta_ka.

    Errors: `ValueError`, naming both, for two names that would become one.
    """
    found: dict[tuple[str, str], str] = {}
    taken: dict[str, tuple[str, str]] = {}
    for kind, ones in names.items():
        for name in ones:
            what = f"Sbml: {kind} {quote(name)}"
            own = identifier(name, what) if kind == "state" else f"{kind}_{identifier(name, what).removeprefix('_')}"
            if own in taken:
                other_kind, other = taken[own]
                raise ValueError(
                    f"{what} and {other_kind} {quote(other)} would both be called {own} in SBML; rename one of them"
                )
            taken[own] = (kind, name)
            found[kind, name] = own
    return found


def free(wanted: str, taken: Iterable[str]) -> str:
    """The wanted identifier, with underscores behind it as long as something else has it."""
    others = set(taken)
    while wanted in others:
        wanted += "_"
    return wanted
