"""Who vouches for a file: an Ed25519 signature of its manifest, which names every other entry with its hash.

The hashes of a manifest find damage, and whoever changes a file can make them right again; a signature cannot be made again
without the key. It says who wrote the file, and nothing about whether what it says is true.

Source: Josefsson & Liusvaara, RFC 8032 (2017), Ed25519; keys are PEM as RFC 8410 has them, which `openssl pkey` reads too.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from exchange.files.archive import read_archive, write_entries
from exchange.files.entries import MANIFEST, SIGNATURE
from exchange.files.plain_json import as_json, plain_json
from exchange.files.schema import require_schema
from exchange.files.whole_file import whole_file
from physics.arguments import InputError, require_path

_BEFORE = b"homeostat.twin signature 3\n"  # so that no signature made for something else is one of a bundle
_LARGEST = 10_000  # bytes of a file with a key
File = str | os.PathLike[str]


def new_key(path: File) -> Path:
    """A new Ed25519 key: the private one at `path`, for its owner's eyes alone, and the public one beside it, at `path` + ".pub".

    Returns the public one's path. Errors: `ValueError` where either is there already: nothing is ever written over a key.
    """
    require_path(path, "new_key: path", "new_key('twin.key')")
    ed25519, serialization = _cryptography()
    private, public = Path(path), Path(f"{path}.pub")
    there = next((one for one in (private, public) if one.exists()), None)
    if there is not None:
        raise InputError(
            f"{there} is there already, and a key is not written over",
            "give another path",
            "name another file behind --key, or sign with the one that is there, without --new-key",
        )
    key, pem = ed25519.Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with (
        whole_file(private) as partial,
        open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
    ):
        file.write(secret)
    with whole_file(public) as partial:
        partial.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return public


def sign(path: File, key: File, target: File | None = None) -> Path:
    """Sign a bundle's file with a private key: into `target`, by default into the file itself; a signature in it is replaced.

    No other entry changes by a byte. What is saved anew is not signed.
    Errors: `ValueError` for a file that is no bundle of format 3, and a key that is no private Ed25519 key.
    """
    require_path(path, "sign: path", "sign('model.twin', 'twin.key')")
    require_path(key, "sign: key", "sign('model.twin', 'twin.key')")
    require_path(path if target is None else target, "sign: target", "sign('model.twin', 'twin.key', 'signed.twin')")
    ed25519, serialization = _cryptography()
    archive = read_archive(Path(path))
    if archive.version < 3:
        raise ValueError(
            f"{path}: a file of format {archive.version} carries no signature; save it again, and sign that"
        )
    secret = _key(
        key, lambda data: serialization.load_pem_private_key(data, password=None), ed25519.Ed25519PrivateKey, "private"
    )
    raw = secret.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    signature = secret.sign(_BEFORE + archive.entries[MANIFEST])
    about = {"algorithm": "Ed25519", "public_key": raw.hex(), "signature": signature.hex()}
    found = Path(path if target is None else target)
    write_entries(found, {**archive.entries, SIGNATURE: as_json(about)})
    return found


def signed_by(path: File) -> str | None:
    """The public key, 64 hexadecimal digits, that a file says it is signed with; None where it is not signed.

    Anyone can make a key: whose it is, and whether the signature is one of it, is for `verify` to say.
    Errors: `ValueError` for a file that is no bundle, and a signature that is not as it is written.
    """
    require_path(path, "signed_by: path", "signed_by('model.twin')")
    archive = read_archive(Path(path))
    if SIGNATURE not in archive.entries:
        return None
    return str(_signature(archive.entries[SIGNATURE], archive.room, path)["public_key"])


def verify(path: File, key: File) -> str:
    """The hash of the content that the owner of this public key vouches for: the file's, to the last byte of every entry.

    `key`: the file with the public key, from someone whom you believe that it is theirs; not from the bundle.
    Not signed is how an archive is packed (dates, compression): it says nothing.
    Errors: `ValueError`, one sentence, for a file that is not signed, that was changed since, or was signed with another key.
    """
    require_path(path, "verify: path", "verify('model.twin', 'twin.key.pub')")
    require_path(key, "verify: key", "verify('model.twin', 'twin.key.pub')")
    ed25519, serialization = _cryptography()
    public = _key(key, serialization.load_pem_public_key, ed25519.Ed25519PublicKey, "public")
    archive = read_archive(Path(path))
    if SIGNATURE not in archive.entries:
        raise InputError(
            f"{path}: it is not signed",
            "whoever wrote it signs it with `sign(path, key)`",
            "whoever wrote it signs it with `homeostat sign FILE --key KEY`",
        )
    about = _signature(archive.entries[SIGNATURE], archive.room, path)
    mine = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()
    if about["public_key"] != mine:
        raise ValueError(
            f"{path}: it is signed with the key {about['public_key'][:16]}…, and the key in {key} is {mine[:16]}…: somebody "
            "else's signature, or another key of theirs"
        )
    try:
        public.verify(bytes.fromhex(about["signature"]), _BEFORE + archive.entries[MANIFEST])
    except import_module("cryptography.exceptions").InvalidSignature:
        raise ValueError(
            f"{path}: its signature is not of this content: the file was changed after it was signed"
        ) from None
    return archive.content


def _signature(data: bytes, room: int, path: File) -> dict[str, Any]:
    try:
        found: dict[str, Any] = plain_json(data, room)
        require_schema(found, SIGNATURE)
    except ValueError as error:
        raise ValueError(f"{path}: its signature cannot be read ({error})") from error
    return found


def _key(path: File, read: Any, kind: type, which: str) -> Any:
    """The key in a PEM file."""
    try:
        with open(path, "rb") as file:
            key = read(file.read(_LARGEST))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file",
            "`new_key('twin.key')` makes a key and twin.key.pub",
            "`homeostat sign FILE --key twin.key --new-key` makes a key and twin.key.pub",
        ) from error
    except Exception as error:  # the library's errors are many, and say nothing that helps
        raise ValueError(
            f"{path}: no {which} key can be read from it; a PEM file as `new_key` writes it is needed"
        ) from error
    if not isinstance(key, kind):
        raise ValueError(
            f"{path}: it holds another kind of key than a {which} Ed25519 key; one as `new_key` writes it is needed"
        )
    return key


def _cryptography() -> tuple[Any, Any]:
    """Its modules of Ed25519 and of keys in files, imported where something is signed."""
    try:
        return (
            import_module("cryptography.hazmat.primitives.asymmetric.ed25519"),
            import_module("cryptography.hazmat.primitives.serialization"),
        )
    except ImportError as error:
        raise ValueError("signatures need the package cryptography; pip install 'homeostat[sign]'") from error
