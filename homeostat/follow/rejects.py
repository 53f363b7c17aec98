"""Dead letters: the lines that were not followed, each with its number and the reason."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from homeostat.follow.lines import Line
from homeostat.plain_text import json_shown

_QUOTED = 1_000  # characters of a line that is too long


class Rejects:
    """A file of dead letters, one JSON object a line: `{"line": 12, "reason": …, "text": the line as it came}`.

    What is there is added to: a stream that is taken up again rejects what comes next, and loses nothing of before.
    Errors: `OSError`, which names the file, where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO = path.open("a", encoding="utf-8")

    def add(self, line: Line, reason: str) -> None:
        """One line more, which is in the file when this returns."""
        text = f"{line.text[:_QUOTED]} …" if line.cut else line.text
        said = json.dumps({"line": line.number, "reason": reason, "text": text.rstrip("\r")}, ensure_ascii=False)
        with self._named():
            self._file.write(f"{json_shown(said)}\n")
            self._file.flush()

    def close(self) -> None:
        """No more come."""
        with self._named():  # what could not be written is tried once more
            self._file.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
