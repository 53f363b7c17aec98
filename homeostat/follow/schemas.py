"""The published schemas of what `homeostat follow` reads and prints."""

from importlib.resources import files

from physics.arguments import require_choice

_WHERE = {"event": "twin.log", "estimate": "homeostat.follow"}


def schema_text(which: str) -> str:
    """The JSON Schema (draft 2020-12) of a line: "event", one that is read, or "estimate", one that is printed."""
    require_choice(which, _WHERE, "--schema")
    return files(_WHERE[which]).joinpath(f"{which}.schema.json").read_text(encoding="utf-8").strip()
