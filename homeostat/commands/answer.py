"""A command of the shell, and what it answers. Nothing heavy is imported here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a command found.

    `values`, plain JSON values, all that `--json` prints; None where it was printed, an object a line · `text`, the same in
    words, "" where it was printed on the way · `code`, the exit code · `notes`, sentences that a reader must know, for standard
    error.
    """

    values: Mapping[str, Any] | None
    text: str = ""
    code: int = 0
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Command:
    """One word of the shell.

    `run`: its arguments, annotated with typer's options, are those of the command, `as_json: Json` among them; its docstring is
    the help. It imports what is heavy inside, so that `--help` answers at once, and raises `ValueError` with a sentence for
    input that cannot be used. `example`, shown below the help · `writes`, which folders and files it writes, of its arguments by
    name: what an interrupt then says is kept · `again`, what the same command does with that when it is typed again, "" for
    nothing.
    """

    run: Callable[..., Answer]
    example: str
    writes: Callable[[Mapping[str, Any]], Sequence[Path | None]] = field(default=lambda given: ())
    again: Callable[[Mapping[str, Any]], str] = field(default=lambda given: "")

    @property
    def name(self) -> str:
        """The word: that of the function, behind which an underscore keeps off a keyword of Python."""
        return self.run.__name__.removesuffix("_")
