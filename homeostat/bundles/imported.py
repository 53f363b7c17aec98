"""An FMU of others: what it says of itself, and what its own Co-Simulation gives, as a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exchange.imported.described import Described, described
from exchange.imported.simulated import simulated_records
from exchange.imported.table import write_table
from exchange.imported.term import UNCERTIFIED
from homeostat.places import require_folder, require_other
from homeostat.plain_text import shown
from hybrid import Schedule

_SHOWN = 40  # variables of a kind: an FMU may have thousands


@dataclass(frozen=True)
class Asked:
    """How it is simulated: `points` times from 0 to `until`, with numbers `given` by name as they were typed, what is done, which
    outputs (none: all), and the `step` between communications.
    """

    until: float
    points: int
    given: Mapping[str, str]
    do: str
    channels: Sequence[str]
    step: float | None


@dataclass(frozen=True)
class Imported:
    """What `homeostat import` finds: plain JSON `values`, the same as `text`, and `notes` that a reader must know."""

    values: Mapping[str, Any]
    text: str
    notes: tuple[str, ...]


def import_fmu(path: Path, records: Path | None, asked: Asked, *, replace: bool = False) -> Imported:
    """Say what an FMU has, and with `records` simulate it into that table, which RUNS THE CODE IN IT.

    Errors: `ValueError` for what is no FMU, names that are not there, a table that exists, and what the FMU refuses.
    """
    about = described(path)
    values: dict[str, Any] = {
        **about.to_dict(),
        "unknown": list(about.unknown),
        "certificate": None,
        "why": UNCERTIFIED,
    }
    if records is None:
        return Imported(values, "\n".join(_in_words(about)), ())
    if not replace and (records.exists() or records.is_symlink()):
        raise ValueError(
            f"{records} is there already; name another file behind --records, or write over it with --replace"
        )
    require_other(records, path, "name another file behind --records")
    require_folder(records.parent, "name another file behind --records")
    if not 0.0 < asked.until < math.inf:
        raise ValueError(f"--until {asked.until:g} is no time after 0; write a positive one")
    given = {name: _number(name, text) for name, text in asked.given.items()}
    for name in given:
        about.one(name, ("parameters", "states", "inputs"), "--set")
    for name in asked.channels:
        about.one(name, ("outputs", "states"), "--channels")
    found = simulated_records(
        path,
        np.linspace(0.0, asked.until, asked.points).tolist(),
        people={"1": given},
        schedule=Schedule().do(asked.do) if asked.do else None,
        channels=list(asked.channels) or list(_means(about)) or None,
        step=asked.step,
    )
    written = write_table(found, records, replace=replace)
    (one,) = found
    units = ", ".join(f"{name} ({one.units.get(name, 'unit unknown')})" for name in one.channels)
    text = f"{written}: {asked.points} times of {units}, as the FMU simulates itself, without noise"
    left = [] if asked.channels else [v.name for v in about.outputs if v.name not in one.channels]
    if left:
        named = ", ".join(left[:3]) + (", …" if len(left) > 3 else "")
        text += f"\nnot written: {len(left)} other outputs ({named}); name those that are wanted behind --channels"
    if asked.given:
        text += f"\nthe table has no row of what was set ({', '.join(list(asked.given)[:6])}): whoever fits it has to know it"
    values |= {
        "not_written": left,
        "records": str(written),
        "channels": list(one.channels),
        "units": dict(one.units),
        "points": asked.points,
    }
    return Imported(values, shown(text), _unknown(about))


def _means(about: Described) -> tuple[str, ...]:
    """Of an FMU of ours the channels, each with variances and members beside it; () of another."""
    there = {one.name for one in about.outputs}
    means = [name for name in there if name.startswith("y.")]
    ours = means and all({f"variance.{name[2:]}", f"aleatoric.{name[2:]}"} & there for name in means)
    return tuple(one.name for one in about.outputs if ours and one.name in means)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"--set {name}={text}: {text!r} is no number; write NAME=VALUE,NAME=VALUE") from error


def _in_words(about: Described) -> list[str]:
    kinds = " and ".join(about.kinds) or "nothing that can be run"
    lines = [f"{about.name}: FMI {about.version}, {kinds}{f', made by {about.tool}' if about.tool else ''}"]
    for kind in ("states", "inputs", "outputs", "parameters"):
        there = [one.in_words() for one in getattr(about, kind)]
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        lines.append(f"{kind:<12} {', '.join(there[:_SHOWN]) or 'none'}{more}")
    lines.append(f"{'time':<12} {about.time_unit or 'unit unknown'}")
    slopes = "directional derivatives" if about.directional else "differences: it has no directional derivatives"
    lines.append(f"{'slopes':<12} {slopes}")
    if about.left_out:
        lines.append(f"{'left out':<12} {', '.join(about.left_out)}: no single real number")
    lines.append(f"{'certificate':<12} {UNCERTIFIED}")
    return [shown(line, lines=False) for line in (*lines, *_unknown(about))]


def _unknown(about: Described) -> tuple[str, ...]:
    if not about.unknown:
        return ()
    named = ", ".join(about.unknown[:_SHOWN])
    return (f"nobody says in a way that can be checked in which unit this is: {named}",)
