"""`homeostat follow`, put together: the bundle, its people, the log, the stream, and where estimates go."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from exchange import Bundle, load
from exchange.files.plain_json import plain_json
from homeostat.follow.asked import floor_of, require_noise, span_of, time_constant_of
from homeostat.follow.following import follow_lines
from homeostat.follow.lines import waiting_lines
from homeostat.follow.rejects import Rejects
from homeostat.follow.shown import JsonLines, Shown
from homeostat.options import names
from homeostat.own_structures import own_structures
from homeostat.places import require_other
from hybrid.filters import FILTERS
from physics.arguments import quote, require_choice
from twin import Patient, Twin
from twin.log import SqliteLog
from twin.people import People

_MOST = 10**8  # bytes of a file of people
_PARTS = ("covariates", "inputs", "spread")


@dataclass(frozen=True)
class Asked:
    """The options of the command, as they were typed."""

    bundle: Path
    stream: str
    log: Path | None = None
    rejects: Path | None = None
    process_floor: str | None = None
    people: Path | None = None
    sources: str | None = None
    filter: str = "ukf"
    drift: str | None = None
    horizon: str = "7d"
    ahead: str = "5min"
    level: float = 0.9
    present: bool = False
    structures: tuple[str, ...] = ()
    as_json: bool = False


def follow_stream(
    asked: Asked,
    say: Callable[[str], None],
    warn: Callable[[str], None],
    undisturbed: Callable[[], AbstractContextManager[None]],
) -> list[str]:
    """Follow a stream to its end, and answer with sentences about it.

    Arguments: `say` prints a line, and has it out when it returns; `warn` says a sentence on standard error; `undisturbed`, a
    context in which Ctrl-C waits. Errors: `ValueError` and `OSError`, before the first line is read, for what cannot be used.
    """
    _require_places(asked)
    bundle = load(asked.bundle, own_structures(asked.structures))
    with ExitStack() as stack:
        log = stack.enter_context(closing(SqliteLog(asked.log)))
        twin = _twin(asked, bundle, log)
        stream = stack.enter_context(_opened(asked.stream))
        rejects = None if asked.rejects is None else stack.enter_context(_dead_letters(asked.rejects))
        shown = _shown(asked, say, warn)
        shown.begin(twin.people, twin.estimate)
        stack.callback(shown.end)
        found = follow_lines(waiting_lines(stream), twin, shown, rejects=rejects, undisturbed=undisturbed)
    return [f"followed to the end: {found}"]


def people_of(text: bytes, where: str) -> dict[str, Patient]:
    """Who may be followed, from JSON: {"anna": {"covariates": {"WT": 70}, "inputs": {}, "spread": {}}}, what there is of it.

    Errors: `ValueError` for anything else.
    """
    write = f'write {{"anna": {{"covariates": {{"WT": 70}}}}}}, people by id, each with some of {", ".join(_PARTS)}'
    try:
        given = plain_json(text, _MOST)
    except ValueError as error:
        raise ValueError(f"{where} must be JSON: {error}") from error
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{where} names nobody; {write}")
    found = {}
    for name, about in given.items():
        if not isinstance(about, Mapping) or not about.keys() <= set(_PARTS):
            raise ValueError(f"{where}: what is said of {quote(name, 60)} cannot be used; {write}")
        try:
            found[str(name)] = Patient(**{part: about[part] for part in _PARTS if part in about})
        except ValueError as error:
            raise ValueError(f"{where}: {quote(name, 60)}: {_problem(error)}; {write}") from error
    return found


def _problem(error: ValueError) -> str:
    """What is wrong, without what would help in Python."""
    return str(error).partition("; write ")[0].removeprefix("Patient: ").removeprefix("Twin: ")


def _require_places(asked: Asked) -> None:
    stream = Path(asked.stream)
    for option, place in (("--log", asked.log), ("--rejects", asked.rejects)):
        if place is not None:
            require_other(place, asked.bundle, f"name another file with {option}")
            if asked.stream != "-":
                require_other(place, stream, f"name another file with {option}")
    if asked.log is not None and asked.rejects is not None:
        require_other(asked.rejects, asked.log, "name another file with --rejects")


def _twin(asked: Asked, bundle: Bundle, log: SqliteLog) -> Twin:
    filters = {kind.__name__.lower(): kind for kind in FILTERS}
    require_choice(asked.filter, filters, "--filter")
    floor = floor_of(asked.process_floor, bundle.model)
    require_noise(bundle.model, floor)
    people = None if asked.people is None else _people(asked.people, bundle)
    return Twin(
        bundle,
        log,
        people=people,
        sources=_sources(asked.sources),
        filter=filters[asked.filter],
        drift=time_constant_of(asked.drift, "--drift", bundle.model.backbone.time_unit),
        floor=floor,
        horizon=span_of(asked.horizon, "--horizon"),
        ahead=span_of(asked.ahead, "--ahead"),
        level=asked.level,
    )


def _people(file: Path, bundle: Bundle) -> dict[str, Patient]:
    where = f"--people {file}"
    found = people_of(file.read_bytes(), where)
    try:
        People(bundle, found)  # all that the model must know of them
    except ValueError as error:
        raise ValueError(f"{where}: {_problem(error)}; correct what the file says of them") from error
    return found


def _sources(text: str | None) -> list[str] | None:
    found = None if text is None else names(text)
    if found == []:
        raise ValueError(f"--sources {text!r} names nobody; write --sources lab,ward, or leave it out for everybody")
    return found


@contextmanager
def _opened(stream: str) -> Iterator[BinaryIO]:
    if stream == "-":
        if sys.stdin is None:
            raise ValueError("--stream - is standard input, which is closed; name a file")
        yield sys.stdin.buffer
        return
    with Path(stream).open("rb") as file:
        yield file


@contextmanager
def _dead_letters(path: Path) -> Iterator[Rejects]:
    rejects = Rejects(path)
    try:
        yield rejects
    finally:
        rejects.close()


def _shown(asked: Asked, say: Callable[[str], None], warn: Callable[[str], None]) -> Shown:
    heard = asked.rejects is None
    if asked.as_json or not sys.stdout.isatty():
        return JsonLines(say, warn if heard else None, asked.present)
    from rich.console import Console

    from homeostat.follow.view import LiveView

    return LiveView(f"homeostat follow {asked.bundle} --stream {asked.stream}", Console(), heard)
