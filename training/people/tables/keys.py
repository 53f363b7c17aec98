"""What a table's key of a compartment or a channel means, a number or a name, and which column holds those of channels."""

from collections.abc import Mapping

from training.people.tables.convention import ENDPOINTS
from training.people.tables.event_table import EventTable, short


def endpoint_column(table: EventTable, asked: str | None) -> str:
    """The column whose keys are those of `channels`: the one asked for, else DVID, YTYPE or CMT, the first that says anything.

    Errors: `ValueError` for an asked one that is not there, and for DVID and YTYPE that differ.
    """
    if asked is not None:
        if asked not in table.columns:
            raise table.error(table.header_line, f"there is no column {asked}; leave channel_column out or add it")
        return asked
    filled = [c for c in ENDPOINTS if any(row.cells.get(c) for row in table.rows)]
    if len(filled) > 1:
        for row in table.rows:
            first, second = (row.cells[c] for c in filled)
            if first and second and first != second:
                names = " and ".join(table.columns[c] for c in filled)
                raise table.error(
                    row.line,
                    f"{names} are {short(first)} and {short(second)}, and both say what was measured",
                    f"leave one out with ignore, or say channel_column={filled[0]!r}",
                    f"leave one out: --ignore {table.columns[filled[1]]}",
                )
    return filled[0] if filled else "CMT"


def named(key: int | str, names: Mapping[int | str, str]) -> str | None:
    """The name under a key; a text is a key itself, or the name, in any case."""
    if key in names:
        return names[key]
    if isinstance(key, int):
        return None
    folded = key.casefold()
    by_key = [v for k, v in names.items() if isinstance(k, str) and k.casefold() == folded]
    by_name = [v for v in dict.fromkeys(names.values()) if v.casefold() == folded]
    exact = [v for v in by_name if v == key]
    found = exact or by_key or by_name
    return found[0] if len(found) == 1 else None


def options(names: Mapping[int | str, str]) -> str:
    """Names as the shell writes them, 1=gut,2=plasma, the first of them where they are many."""
    return ",".join(f"{key}={name}" for key, name in list(names.items())[:4])
