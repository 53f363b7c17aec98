"""What one run leaves in a folder, apart from what another one left there."""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNFINISHED = "unfinished-run"
PAGE, VALUES = "report.html", "report.json"
_PARTS = (".csv", ".svg", ".png", ".h", ".fmu")  # of a page, beside it


@dataclass(frozen=True)
class Run:
    """What one run writes into `folder`: all of it together, when it is done.

    Until then its files are in `place`, a folder inside, beside what an earlier run has left; where it is stopped they stay
    there, and the earlier run is whole. `begin` empties the place of what a run before was stopped at, so that a stopped one
    loses nothing until there is something to take its place.
    """

    folder: Path

    @property
    def place(self) -> Path:
        """Where its files are until it is done."""
        return self.folder / UNFINISHED

    def begin(self) -> Path:
        """The place, empty, to write into. Errors: `ValueError` for a folder that takes no files."""
        from homeostat.places import require_folder  # which loads torch, and Ctrl-C needs to know the names alone

        require_folder(self.folder)
        if self.place.is_dir() and not self.place.is_symlink():
            shutil.rmtree(self.place)
        require_folder(self.place)
        self.place.mkdir(parents=True, exist_ok=True)
        return self.place

    def finish(self, *, cut_short: bool = False) -> Path:
        """Put the files where those of an earlier run are, instead of them, and return where they are now.

        What the earlier page names in `report.json` goes with it; other files of the folder are not touched. A run that was
        `cut_short` does not take the place of one that was not: it stays where it is.
        """
        if cut_short and self.replaces_a_whole_one():
            return self.place
        new = sorted(file.relative_to(self.place) for file in self.place.rglob("*") if file.is_file())
        stale = _parts_in(self.folder) - {*new} if Path(PAGE) in new else set()
        try:
            self._move(new, stale)
        except KeyboardInterrupt:  # no moment to stop at
            self._move(new, stale)
            raise
        return self.folder

    def finished(self, *files: Path, cut_short: bool = False) -> tuple[Path, ...]:
        """`finish`, and where these files are now."""
        where = self.finish(cut_short=cut_short)
        return tuple(where / file.relative_to(self.place) for file in files)

    def replaces_a_whole_one(self) -> bool:
        """Does the folder hold the page of an earlier run that was not cut short?"""
        return (self.folder / PAGE).is_file() and not _values_in(self.folder).get("cut_short")

    def kept_apart(self) -> str:
        """That a run which was cut short is beside a whole one, in words; "" where it is not."""
        if not (self.place / PAGE).is_file():
            return ""
        return f"{self.folder} keeps the earlier run, which was not cut short; this one is in {self.place}"

    def _move(self, new: Sequence[Path], stale: Collection[Path]) -> None:
        if Path(PAGE) in new and (self.place / PAGE).is_file():
            (self.folder / PAGE).unlink(missing_ok=True)
        for name in stale:
            (self.folder / name).unlink(missing_ok=True)
        # the page went first and comes last: none stands beside files of another run, whenever this ends
        for name in sorted(new, key=lambda name: name == Path(PAGE)):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (self.place / name).is_file():
                (self.place / name).replace(self.folder / name)
        shutil.rmtree(self.place, ignore_errors=True)


def _values_in(folder: Path) -> Mapping[str, Any]:
    """What an earlier page says of itself; nothing where that cannot be read."""
    try:
        values = json.loads((folder / VALUES).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _parts_in(folder: Path) -> set[Path]:
    """Tables, pictures and exports that an earlier page names, below the folder: nobody's file elsewhere, whatever it names."""
    values = _values_in(folder)
    named = [(one, key) for key in ("tables", "pictures") for one in _listed(values.get(key))]
    names = [one.get(kind) for one, key in named for kind in (("csv",) if key == "tables" else ("svg", "png"))]
    linked = values.get("files")
    names += linked if isinstance(linked, dict) else ()
    paths = {Path(name) for name in names if isinstance(name, str) and name}
    return {
        p for p in paths if p.suffix in _PARTS and not p.is_absolute() and ".." not in p.parts and len(p.parts) <= 2
    }


def _listed(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
