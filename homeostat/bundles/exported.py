"""A bundle's model, written in a form that runs without us."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from exchange import BUILTIN, EXPORTS, Bundle, Export, Selection, load
from exchange.c.identifiers import require_prefix
from exchange.export import certified
from homeostat.places import require_folder, require_other
from physics.arguments import InputError, quote, shortened

TYPICAL = "typical"
# an option of the shell, and what the forms that have it call it
_FIELDS = {"--precision": "precision", "--fmi": "fmi", "--name": "prefix"}

_VALUES: Mapping[str, tuple[Any, ...]] = {"--precision": ("float64", "float32"), "--fmi": (3, 2)}
_SINGLE = "no certificate covers float32: what is claimed is of the float64 numbers"
_FACTS = ("claimed (", "beside it: ", "onnxruntime gives ")  # how sentences begin that warn of nothing
_WHAT = {"c": "The model as one header of C99", "fmu": "The model as an FMU, for any simulator that reads them"}


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
    """What was written: `path` and its `size` in bytes, in which form (`to`), and the `sentences` that a reader must know.

    `files`: all of them · `certified`: does a certificate of contraction travel with the model? Here nothing is proved ·
    `member` in it, None for all · `theta`: whose it starts with, a person's id, or None for the typical one.
    """

    to: str
    path: Path
    size: int
    sentences: tuple[str, ...]
    files: tuple[Path, ...]
    certified: bool
    member: int | None
    theta: str | None

    def in_folder(self, folder: Path) -> "Exported":
        """The same, moved to another folder."""
        return replace(self, path=folder / self.path.name, files=tuple(folder / path.name for path in self.files))

    @property
    def text(self) -> str:
        """All of it in words, but what warns."""
        facts = [sentence for sentence in self.sentences if sentence.startswith(_FACTS)]
        return "\n".join([f"{self.to}: {self.path} ({self.size / 1000:.0f} kB)", *facts])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know: not certified, no compiler, whose start it is."""
        return tuple(sentence for sentence in self.sentences if not sentence.startswith(_FACTS))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            **{"to": self.to, "path": str(self.path), "bytes": self.size},
            "files": [{"path": str(path), "bytes": size_of(path)} for path in self.files],
            "certified": self.certified,
            "member": "all" if self.member is None else self.member,
            "theta": TYPICAL if self.theta is None else self.theta,
            "sentences": list(self.sentences),
        }


def export_bundle(
    path: Path, choice: Choice, out: Path | None = None, structures: Mapping[str, type[nn.Module]] = BUILTIN
) -> Exported:
    """Write the model of a bundle to `out`, by default beside it, whole or not at all.

    Errors: `ValueError` for a word, a member, a person or an option that is not there, a target that exists or takes no file, and
    whatever the form cannot hold, by its name.
    """
    kind = form_of(choice.to)
    given = _options(kind, choice.options, choice.theta)
    member = _member(choice.member)
    target = path.with_suffix(kind.suffix) if out is None else out
    _require_target(kind, target, path, choice.replace)
    if "prefix" in _fields(kind):
        _require_name(given.get("prefix"), target)
    bundle = load(path, structures)
    chosen = _selection(bundle, member, choice.theta)
    export: Export = kind(selection=chosen, replace=choice.replace, **given)  # type: ignore[call-arg]
    written = export.write(bundle, target)
    said = (_SINGLE,) if given.get("precision") == "float32" and bundle.claims else ()
    about = written.files, certified(bundle), chosen.member, chosen.person
    return Exported(kind.name, written.path, size_of(written.path), (*written.sentences, *said), *about)


@dataclass(frozen=True)
class Beside:
    """What was written beside a bundle: the `files`, and `problems`, sentences, of those that could not be."""

    files: tuple[Exported, ...]
    problems: tuple[str, ...]

    def in_folder(self, folder: Path) -> "Beside":
        """The same, moved to another folder."""
        return replace(self, files=tuple(one.in_folder(folder) for one in self.files))

    @property
    def links(self) -> dict[str, str]:
        """What each of the files is, by its name: for a page."""
        return {one.path.name: _WHAT[one.to] for one in self.files}

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"files": [one.to_dict() for one in self.files], "problems": list(self.problems)}

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is there, a line each, and what whoever uses it must know."""
        said = dict.fromkeys(note for one in self.files for note in one.notes)
        lines = (f"{_WHAT[one.to]}: {one.path} ({one.size / 1000:.0f} kB)" for one in self.files)
        return (*lines, *said, *self.problems)


def export_beside(path: Path, name: str) -> Beside:
    """A header of C and an FMU beside a bundle, called `name`, instead of those of an earlier run: what a demo leaves."""
    files, problems = [], []
    for to in ("c", "fmu"):
        target = path.with_name(f"{name}{form_of(to).suffix}")
        try:
            files.append(export_bundle(path, Choice(to, replace=True), target))
        except (ValueError, OSError) as error:
            target.unlink(missing_ok=True)  # of another model, beside this one
            problems.append(f"{target.name} was not written: {error}")
    return Beside(tuple(files), tuple(problems))


def form_of(word: str) -> type[Export]:
    """The form of this word. Errors: `ValueError` with the words that there are."""
    known = {kind.name: kind for kind in EXPORTS}
    if word not in known:
        words = f"one of {', '.join(known)}"
        raise InputError(f"there is no form {quote(word)} to export to", f"write {words}", f"write --to and {words}")
    return known[word]


def _options(kind: type[Export], options: Mapping[str, Any], theta: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        field = _field(kind, name)
        if field is None:
            others = " and ".join(f"--to {other.name}" for other in EXPORTS if _field(other, name))
            raise ValueError(f"{name} is of {others or 'no form'}, and means nothing to --to {kind.name}; leave it out")
        known = _VALUES.get(name, (value,))
        if value not in known:
            raise ValueError(f"{name} {value} is none of {' and '.join(map(str, known))}; write {name} {known[0]}")
        found[field] = value
    if theta is not None and "fixed_theta" in _fields(kind):
        found["fixed_theta"] = True  # nobody in particular, for good: without the map by which somebody could be
    return found


def _field(kind: type[Export], option: str) -> str | None:
    """What the form calls an option of the shell; None where it has none such."""
    return _FIELDS[option] if _FIELDS[option] in _fields(kind) else None


def _fields(kind: type[Export]) -> set[str]:
    return {one.name for one in fields(kind)}  # type: ignore[arg-type]


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


def _require_target(kind: type[Export], target: Path, source: Path, replace: bool) -> None:
    if target.is_dir():
        raise ValueError(f"{target} is a folder, where a file is needed; name the file behind --out")
    other = "name another file behind --out"
    others = {one.suffix: f"--to {one.name}" for one in EXPORTS if one.suffix != kind.suffix} | {".twin": "a bundle"}
    if target.suffix.lower() in others:
        raise ValueError(
            f"{target} ends as what {others[target.suffix.lower()]} writes, and --to {kind.name} writes {kind.suffix}; "
            f"write --out {target.with_suffix(kind.suffix).name}"
        )
    require_other(target, source, other)
    # forms of several files put a word between the stem and the ending
    stem = target.name.removesuffix(kind.suffix)
    for base in {stem, Path(stem).stem}:  # the name of one of them is the name of all
        for beside in target.parent.glob(f"{glob.escape(base)}.*{kind.suffix}"):
            require_other(beside, source, other)
    if not replace and (target.exists() or target.is_symlink()):
        raise ValueError(f"{target} is there already; name another file behind --out, or write over it with --replace")
    require_folder(target.parent)


def _require_name(name: str | None, target: Path) -> None:
    try:
        require_prefix(target.stem if name is None else name, "the model's name in it" if name is None else "--name")
    except ValueError as error:
        said, _, write = str(error).rpartition("; write ")
        cure = write.strip("'") if write.strip("'").isidentifier() else "model"
        raise ValueError(f"{said}; write --name {cure}") from error


def size_of(path: Path) -> int:
    """Bytes of a file, or of all the files of a folder."""
    files: Sequence[Path] = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)
