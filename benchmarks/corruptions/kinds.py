"""Eleven kinds of corruption, of the archive's bytes and of its content."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.corruptions.content import Content, packed, rehashed

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 2.5, 1e308, -1e308, 5e-324, 1e-300, 10**19, "", "x", "1", "\x1b[2J", "a\nb", "\u202egnp", "é",
    "x" * 5000, [], {}, [0.5], [[]], {"a": 1}, [None], [[1.0, 2.0]], "NaN", -0.0,
)  # fmt: skip


@dataclass(frozen=True)
class Corruption:
    """`kind`, the bytes of the file, and whether it is the archive that was changed (else its content, rehashed)."""

    kind: str
    data: bytes
    archive: bool


def flipped(raw: bytes, rng: random.Random) -> bytes:
    """From one to 64 bits are the other ones."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(raw: bytes, rng: random.Random) -> bytes:
    """A part is missing, or there twice."""
    a, b = sorted((rng.randrange(len(raw) + 1), rng.randrange(len(raw) + 1)))
    return rng.choice((raw[:a], raw[a:], raw[:a] + raw[b:], raw[:b] + raw[a:], raw + raw[a:b], raw[a:b] + raw))


def headers(raw: bytes, rng: random.Random) -> bytes:
    """One number of a header of the archive becomes another."""
    data = bytearray(raw)
    marks = [k for k in range(len(raw) - 4) if raw[k : k + 4] in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")]
    at = rng.choice(marks) + rng.randrange(4, 44)
    value = rng.choice((0, 1, 8, 9, 12, 14, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
    for k, byte in enumerate(value.to_bytes(4, "little")[: rng.choice((1, 2, 4))]):
        if at + k < len(data):
            data[at + k] = byte
    return bytes(data)


def leaf(value: Any, rng: random.Random, new: Any) -> Any:
    """One value anywhere in a JSON value becomes another, disappears, or moves beside itself."""
    at, key = {"": value}, ""
    while isinstance(at[key], dict | list) and at[key] and rng.random() > 0.1:
        at = at[key]
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
    act = rng.random()
    if act < 0.75 or key == "":
        old = at[key]
        number = isinstance(old, int | float) and not isinstance(old, bool)
        at[key] = old * rng.choice((-1, 2, 1 + 1e-12, 1e6)) if number and rng.random() < 0.4 else new
    elif act < 0.85:
        del at[key]
    elif isinstance(at, dict):
        at[rng.choice(("surprise", "\x1b[31m", f"{key} "))] = at[key]
    else:
        at.insert(key, at[key])
    return at[""] if "" in at and key == "" else value


def _json(content: Content, rng: random.Random) -> Content:
    name = rng.choice(("model.json", "model.json", "proof.json", "calibration.json", "manifest.json"))
    value = json.loads(content[name])
    for _ in range(rng.choice((1, 1, 2))):
        if isinstance(value, dict | list) and value:
            value = leaf(value, rng, rng.choice(VALUES))
    return {**content, name: json.dumps(value, indent=1, ensure_ascii=rng.random() < 0.2).encode("utf-8", "surrogatepass")}


def _text(content: Content, rng: random.Random) -> Content:
    name = rng.choice(("model.json", "proof.json", "calibration.json", "manifest.json"))
    data = bytearray(content[name])
    for _ in range(rng.choice((1, 1, 3))):
        data[rng.randrange(len(data))] = rng.choice(b'0123456789.-eE"{}[],: \n\x00\xff')
    return {**content, name: bytes(data)}


def _tensor(content: Content, rng: random.Random) -> Content:
    data = bytearray(content["weights.safetensors"])
    size = int.from_bytes(data[:8], "little")
    if rng.random() < 0.5:  # in the values
        at = 8 + size + 8 * rng.randrange((len(data) - 8 - size) // 8)
        data[at : at + 8] = struct.pack("<d", rng.choice((0.0, -1.0, 1e308, 5e-324, float("nan"), float("inf"), rng.gauss(0, 1))))
    elif rng.random() < 0.5:  # in the names
        for _ in range(rng.choice((1, 2))):
            data[rng.randrange(8 + size)] = rng.randrange(256)
    else:
        header = json.loads(data[8 : 8 + size])
        header = leaf(header, rng, rng.choice(VALUES))
        text = json.dumps(header).encode("utf-8", "surrogatepass")
        data = bytearray(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return {**content, "weights.safetensors": bytes(data)}


def _entry(content: Content, rng: random.Random) -> Content:
    name = rng.choice(list(content))
    rest = {n: d for n, d in content.items() if n != name}
    stray = rng.choice(("evil.py", "../../x", "model.json ", "MODEL.JSON"))
    return rng.choice((rest, {**content, stray: b"1"}, {**content, name: b""}))


PATHS = (
    "../../x", "..", "/etc/x", "a/../../x", "..\\x", "C:\\x", "con.json", "model.json/", "./model.json", "Model.json",
    "model.JSON", "x\x00.json", "x\n.json", "\u202ex.json", "é.json", ".x.json", "x", "", " ", "x" * 300 + ".json", "a/b.json",
    "signature.json",
)  # fmt: skip


def _renamed(content: Content, raw: bytes, rng: random.Random) -> bytes:
    """An entry goes somewhere else: another is added, or one of ours is called so, and the manifest may be right about it."""
    path, out, named = rng.choice(PATHS), io.BytesIO(), dict(content)
    if rng.random() < 0.5:
        named[path] = b"1"
    else:
        named[path] = named.pop(rng.choice(list(content)))
    if rng.random() < 0.7 and "manifest.json" in named:
        manifest = json.loads(named["manifest.json"])
        if rng.random() < 0.7:
            manifest["optional"] = [*manifest["optional"], path]
        named = rehashed({**named, "manifest.json": json.dumps(manifest).encode()})
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in named.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # past the module's own clean-up
            archive.writestr(info, data)
    return out.getvalue()


def _hashes(content: Content, rng: random.Random) -> Content:
    """One digit of a hash, or a hash of something else, in the manifest."""
    manifest = json.loads(content["manifest.json"])
    at, key = rng.choice([(manifest, "content"), *((manifest["sha256"], name) for name in manifest["sha256"])])
    k, old = rng.randrange(64), at[key]
    digit = rng.choice([d for d in "0123456789abcdefABCDEF" if d != old[k]])
    other = rng.choice([one for one in (manifest["content"], *manifest["sha256"].values(), "", "0" * 64, None) if one != old])
    at[key] = rng.choice((old[:k] + digit + old[k + 1 :], other, old.upper() if old.upper() != old else "", old + "0"))
    return {**content, "manifest.json": json.dumps(manifest).encode()}


def _optional(content: Content, rng: random.Random) -> Content:
    """Entries that no program of today knows, which are optional, or are not."""
    manifest, size = json.loads(content["manifest.json"]), rng.choice((0, 1, 5, 1000, 100_000))
    names = ("alarms.json", "notes.md", "x.bin", "a-b.c_d.txt", "0.0", "model.json.bak", "evil.py")
    new = rng.sample(names, rng.choice((1, 1, 2, 5)))
    said = [name for name in new if rng.random() < 0.8]
    manifest["optional"] = rng.choice(([*manifest["optional"], *said], said, [*manifest["optional"], *said, *said]))
    return {**content, **{name: rng.randbytes(size) for name in new}, "manifest.json": json.dumps(manifest).encode()}


KINDS: dict[str, Callable[[Content, bytes, random.Random], Corruption]] = {
    "bits": lambda c, raw, rng: Corruption("bits", flipped(raw, rng), True),
    "cuts": lambda c, raw, rng: Corruption("cuts", cut(raw, rng), True),
    "headers": lambda c, raw, rng: Corruption("headers", headers(raw, rng), True),
    "unhashed": lambda c, raw, rng: Corruption("unhashed", packed(_text(c, rng), rehash=False), True),
    "values": lambda c, raw, rng: Corruption("values", packed(_json(c, rng)), False),
    "text": lambda c, raw, rng: Corruption("text", packed(_text(c, rng)), False),
    "tensors": lambda c, raw, rng: Corruption("tensors", packed(_tensor(c, rng)), False),
    "paths": lambda c, raw, rng: Corruption("paths", _renamed(c, raw, rng), False),
    "hashes": lambda c, raw, rng: Corruption("hashes", packed(_hashes(c, rng), rehash=False), True),
    "optional": lambda c, raw, rng: Corruption("optional", packed(_optional(c, rng)), False),
    "entries": lambda c, raw, rng: Corruption("entries", packed(_entry(c, rng)), False),
}


def corruption(content: Content, raw: bytes, seed: int) -> Corruption:
    """The corruption of this number: the kinds in turn, rehashed values more often."""
    rng = random.Random(seed)
    kinds = [*KINDS, "values", "values", "text", "tensors"]
    return KINDS[kinds[seed % len(kinds)]](content, raw, rng)
