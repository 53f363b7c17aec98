"""A bundle's file signed with a key, and held against one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exchange import new_key, sign, signed_by
from exchange.files.archive import read_archive
from homeostat.places import require_folder


@dataclass(frozen=True)
class Signed:
    """What was signed: the `path`, the SHA-256 of its `content`, the public key in hexadecimal digits (`by`), the file of the
    private one (`key`), and of the public one where it was made with it (`public`).
    """

    path: Path
    content: str
    by: str
    key: Path
    public: Path | None

    @property
    def text(self) -> str:
        """All of it in words."""
        return f"{self.path}: signed with {self.key}, whose public key is {self.by}\ncontent SHA-256 {self.content}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Which of two new files is for whom."""
        if self.public is None:
            return ()
        return (
            f"{self.key} is the private key: whoever has it signs in your name. {self.public} is for those who check; let them "
            "have it by another way than the bundle",
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        made = None if self.public is None else str(self.public)
        return {"path": str(self.path), "content": self.content, "by": self.by, "key": str(self.key), "made": made}


def sign_bundle(path: Path, key: Path, out: Path | None = None, *, new: bool = False, replace: bool = False) -> Signed:
    """Sign a bundle's file with the private key in `key`, into `out` or into the file itself.

    `new`: the key is made first, and its public half beside it, at `key` + ".pub"; it goes again where nothing can be signed.
    Errors: `ValueError` for what is no bundle of the present format, no key, or a target that is there and is not to be replaced.
    """
    target = path if out is None else out
    if out is not None:
        if out.is_dir():
            raise ValueError(f"{out} is a folder, where a file is needed; name the file behind --out")
        if not replace and (out.exists() or out.is_symlink()):
            raise ValueError(f"{out} is there already; name another file behind --out, or write over it with --replace")
    require_folder(target.parent)
    signed_by(path)  # a bundle, before a key is made for it
    public = None
    if new:
        require_folder(key.parent, "name another place with --key")
        public = new_key(key)
    try:
        sign(path, key, target)
    except BaseException:
        if public is not None:
            key.unlink()
            public.unlink()
        raise
    return Signed(target, read_archive(target).content, str(signed_by(target)), key, public)
