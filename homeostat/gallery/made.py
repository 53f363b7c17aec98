"""How a page was made: the command, the day, the version."""

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version


@dataclass(frozen=True)
class Made:
    """`command`, as it was typed, or the call that was made in Python · `date`, UTC, ISO 8601 · `version` of homeostat."""

    command: str
    date: str
    version: str = field(default_factory=lambda: version("homeostat"))

    @staticmethod
    def now(by: Sequence[str] | str) -> "Made":
        """Made now. `by`: the words that were typed behind `homeostat`, quoted here as a shell needs them, or a call as text.

        `SOURCE_DATE_EPOCH`, seconds since 1970, is the time where the environment has it (reproducible-builds.org): the
        same input then gives the same bytes.
        """
        command = by if isinstance(by, str) else shlex.join(["homeostat", *by])
        epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
        seconds = int(epoch) if epoch.isdecimal() else int(time.time())
        try:
            day = datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, ValueError, OSError) as error:
            raise ValueError(f"SOURCE_DATE_EPOCH={epoch} is no time in seconds since 1970; unset it, or write it so") from error
        return Made(command, day.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def to_dict(self) -> dict[str, str]:
        """As plain JSON values."""
        return {"command": self.command, "date": self.date, "version": self.version}
