"""What a form in which a bundle is exported is to whoever writes one: `write(bundle, path)`, whole or not at all."""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from exchange.bundle.bundle import Bundle
from exchange.selection import Selection
from physics.arguments import InputError, require_flag, require_path
from physics.glance import glance
from stability import Certificate, Claim

NOT_CERTIFIED = "not certified"


@dataclass(frozen=True)
class Written:
    """What `Export.write` left: the `path`, and `sentences` that whoever asked for it has to see (not certified, no compiler).

    `files`: all that were written, `path` first; `path` alone where none are given.
    """

    path: Path
    sentences: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not self.files:
            object.__setattr__(self, "files", (self.path,))

    __repr__, _repr_html_ = glance()


class Export(ABC):
    """One form in which a bundle travels to those who do not run us.

    A member is a frozen dataclass whose fields are its options, `selection: Selection = TYPICAL` and `replace: bool = False`
    among them; one file or folder, and one word in `EXPORTS`.
    `name`: the word by which the shell knows it · `suffix`: of the file that it writes.
    Laws: the file appears whole or not at all; one that is there already stays, unless `replace`; what carries no certificate of
    contraction says "not certified", in the file and in `Written.sentences`.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    selection: Selection
    replace: bool

    @abstractmethod
    def write(self, bundle: Bundle, path: str | os.PathLike[str]) -> Written:
        """Write the bundle in this form.

        Errors: `ValueError` for what the form cannot hold, by its name, and for a target that exists; `OSError`, naming the file.
        """


def target_of(export: Export, path: str | os.PathLike[str], what: str) -> Path:
    """The path to write to. Errors: `ValueError`, beginning with `what`, for one that exists and is not to be replaced."""
    require_path(path, f"{what}: path", f"{what}(bundle, 'model{export.suffix}')")
    require_flag(export.replace, f"{what}: replace")
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"{target}: a folder, and a file is to be written there; give the path of a file")
    if not export.replace and (target.exists() or target.is_symlink()):
        raise InputError(
            f"{target}: exists",
            "give another path, or say that it is to be replaced, replace=True",
            "name another file behind --out, or write over it with --replace",
        )
    return target


def certified(bundle: Bundle) -> bool:
    """Is a certificate of contraction among the bundle's claims? Whether it is true is for the checker to say."""
    return isinstance(bundle.certificate, Certificate)


def claimed(bundle: Bundle) -> tuple[str, ...]:
    """What the bundle's claims say, one sentence each; the first says "not certified" where no certificate is among them."""
    found: list[str] = []
    if not certified(bundle):
        found.append(f"{NOT_CERTIFIED}: no certificate of contraction travels with this model")
    for claim in bundle.claims:
        if not isinstance(claim, Claim):
            continue
        time = bundle.units_made_in(claim).get("time", bundle.model.backbone.time_unit)
        try:
            found.append(f"claimed ({claim.kind}): {claim.in_words(str(time))}")
        except ValueError as error:
            found.append(f"claimed ({claim.kind}), and no proof can stand behind it: {error}")
    return tuple(found)
