"""A command that is stopped by Ctrl-C or SIGTERM: its exit code, and what it says is kept."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from homeostat.door import INTERNAL, INTERRUPTED, UNUSABLE, explain, explained, fail, say
from homeostat.one_run import PAGE, UNFINISHED

ENDED = 128 + signal.SIGTERM


def stoppable(command: Callable[[], int], as_json: bool, places: Sequence[Path], again: str = "") -> int:
    """Run a command, which answers with its exit code, or end it with `INTERRUPTED` or `ENDED` and a sentence.

    `places`: the folders and files that it writes; `again`: what the same command does with what was kept of it. A search that
    is interrupted answers with the best so far, and the code says so all the same.
    """
    before = _written(places)
    try:
        with _noting_interrupts() as noted:
            try:
                code = command()
            except Exception as error:
                if noted and explained(error)[2] == INTERNAL:  # a library that was stopped while it was loaded
                    raise KeyboardInterrupt from error
                code = explain(error, as_json)
            if noted:
                if code < 2:  # a search was stopped, and what it had found until then was used
                    say("homeostat: interrupted; the answer is the best that was found until then", err=True)
                code = INTERRUPTED
            elif code in (UNUSABLE, INTERNAL) and _new(before, places):
                say(f"homeostat: {_kept(before, places, again)}", err=True)
        return code
    except KeyboardInterrupt:
        return fail(f"interrupted; {_kept(before, places, again)}", None, INTERRUPTED, as_json)
    except SystemExit as end:
        if end.code != ENDED:
            raise
        return fail(f"ended by SIGTERM; {_kept(before, places, again)}", None, ENDED, as_json)


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Ctrl-C raises `KeyboardInterrupt`, as always, and SIGTERM `SystemExit`; either is noted, whoever catches it.

    What was set to be ignored (by `nohup`, or in the background of a script) stays ignored.
    """
    noted: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        noted.append(number)
        if number == signal.SIGTERM:
            raise SystemExit(ENDED)
        raise KeyboardInterrupt

    before = {}
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        try:
            if signal.getsignal(number) == usual:
                before[number] = signal.signal(number, stop)
        except ValueError:  # not in the main thread, which signals do not reach
            break
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A context in which Ctrl-C and SIGTERM wait for its end, and are then obeyed; a second one is obeyed at once.

    For what is short and should not be left half done.
    """
    waiting: list[tuple[int, FrameType | None]] = []
    before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def wait(number: int, frame: FrameType | None) -> None:
        waiting.append((number, frame))
        if len(waiting) > 1:
            before[number](number, frame)

    for one in (signal.SIGINT, signal.SIGTERM):
        usual = signal.getsignal(one)
        with suppress(ValueError):  # not in the main thread, which signals do not reach
            if callable(usual):
                signal.signal(one, wait)
                before[one] = usual
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number, frame in waiting[:1]:
        before[number](number, frame)


def _written(places: Sequence[Path]) -> dict[Path, int]:
    """When each file in these places was last written; what is no folder counts as a file."""
    found: dict[Path, int] = {}
    with suppress(OSError):  # the command itself says that a place cannot be read or written
        for place in places:
            inside = [*place.iterdir(), *(place / UNFINISHED).glob("*")] if place.is_dir() else [place]
            for file in inside:
                if file.is_file() and file.suffix not in (".partial", ".previous"):
                    found[file] = file.stat().st_mtime_ns
    return found


def _kept(before: dict[Path, int], places: Sequence[Path], again: str) -> str:
    """What a command that was stopped leaves behind, in words."""
    new = _new(before, places)
    if not new:
        return "nothing was written"
    resume = "; the same command with --resume goes on with the training" if any(".checkpoint" in name for name in new) else ""
    resume = resume or (f"; {again}" if again else "")
    whole = [place for place in places if (place / PAGE).is_file() and (place / UNFINISHED).is_dir()]
    earlier = f"; what an earlier run left in {whole[0]} is as it was" if whole else ""
    return f"written before and kept: {', '.join(new[:8])}{' …' if len(new) > 8 else ''}{earlier}{resume}"


def _new(before: dict[Path, int], places: Sequence[Path]) -> list[str]:
    """What has been written since."""
    return sorted(str(file) for file, when in _written(places).items() if before.get(file) != when)
