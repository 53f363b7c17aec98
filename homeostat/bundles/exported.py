"""A bundle's model, written in a form that runs without us."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import nn

from exchange import BUILTIN, EXPORTS, Bundle, Export, Selection, load
from homeostat.places import require_folder
from physics.arguments import InputError, quote, shortened

TYPICAL = "typical"
# an option of the shell, and what the forms that have it call it
_FIELDS = {"--precision": "precision", "--fmi": "fmi", "--name": "prefix"}


@dataclass(frozen=True)
class Choice:
    """What is to be written: the word `to` of a form in `EXPORTS`, of which `member` ("all", or a number from 0 on in words).

    `theta`: whose parameters, an id, "typical", or None for the typical one's with the population's map beside them ·
    `options`, as the shell spells them, None where they are not given · `replace` what is there.
    """

    to: str
    member: str = "all"
    theta: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    replace: bool = False


@dataclass(frozen=True)
class Exported:
    """What was written: `path` and its `size` in bytes, in which form (`to`), and the `sentences` that a reader must know."""

    to: str
    path: Path
    size: int
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it in words, but the sentences."""
        return f"{self.to}: {self.path} ({self.size / 1000:.0f} kB)"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"to": self.to, "path": str(self.path), "bytes": self.size, "sentences": list(self.sentences)}


def export_bundle(
    path: Path, choice: Choice, out: Path | None = None, structures: Mapping[str, type[nn.Module]] = BUILTIN
) -> Exported:
    """Write the model of a bundle to `out`, by default beside it, whole or not at all.

    Errors: `ValueError` for a word, a member, a person or an option that is not there, a target that exists or takes no file, and
    whatever the form cannot hold, by its name.
    """
    kind = form_of(choice.to)
    given = _options(kind, choice.options)
    member = _member(choice.member)
    bundle = load(path, structures)
    target = path.with_suffix(kind.suffix) if out is None else out
    _require_target(target, choice.replace)
    export: Export = kind(selection=_selection(bundle, member, choice.theta), replace=choice.replace, **given)  # type: ignore[call-arg]
    written = export.write(bundle, target)
    return Exported(kind.name, written.path, size_of(written.path), written.sentences)


def form_of(word: str) -> type[Export]:
    """The form of this word. Errors: `ValueError` with the words that there are."""
    known = {kind.name: kind for kind in EXPORTS}
    if word not in known:
        words = f"one of {', '.join(known)}"
        raise InputError(f"there is no form {quote(word)} to export to", f"write {words}", f"write --to and {words}")
    return known[word]


def _options(kind: type[Export], options: Mapping[str, Any]) -> dict[str, Any]:
    own = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if _FIELDS[name] not in own:
            others = [f"--to {k.name}" for k in EXPORTS if _FIELDS[name] in {one.name for one in fields(k)}]  # type: ignore[arg-type]
            raise ValueError(
                f"{name} is of {' and '.join(others)}, and means nothing to --to {kind.name}; leave it out"
            )
    return {_FIELDS[name]: value for name, value in given.items()}


def _member(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or len(text) > 9:
        raise ValueError(f"--member {quote(text)} is no member; write all, or a whole number from 0 on")
    return int(text)


def _selection(bundle: Bundle, member: int | None, theta: str | None) -> Selection:
    count = max(bundle.model.members, len(bundle.personal.mode))
    if member is not None and member >= count:
        raise ValueError(f"--member {member}: the bundle has members 0 to {count - 1}; write one of them, or all")
    people = [person.id for person in bundle.people]
    if theta is not None and theta != TYPICAL and theta not in people:
        who = ", ".join(shortened(one, 30) for one in people[:12]) + (", …" if len(people) > 12 else "")
        raise ValueError(f"--theta {quote(theta)}: nobody of this bundle has that id; write {TYPICAL}, or one of {who}")
    # whoever is called so is meant: a fitted person is a narrower choice than nobody in particular
    return Selection(member=member, person=theta if theta in people else None)


def _require_target(target: Path, replace: bool) -> None:
    if target.is_dir():
        raise ValueError(f"{target} is a folder, where a file is needed; name the file behind --out")
    if not replace and (target.exists() or target.is_symlink()):
        raise ValueError(f"{target} is there already; name another file behind --out, or write over it with --replace")
    require_folder(target.parent)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all the files of a folder."""
    files: Sequence[Path] = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)
