"""A corrupted file by its number: of an FMU or of a graph, and whether its hashes were made right again."""

import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.corruptions.artefacts.of_archives import OF_BYTES, OF_ENTRIES, packed
from benchmarks.corruptions.artefacts.of_graphs import OF_GRAPHS
from benchmarks.corruptions.artefacts.of_xml import OF_XML
from benchmarks.corruptions.kinds import VALUES, leaf

HASHES = "extra/org.homeostat/hashes.json"
RARE = ("bombs", "large")  # one in thirty: each takes a second to make


@dataclass(frozen=True)
class Corrupted:
    """`kind`, the bytes of the file, and whether hashes are right again: then the content is refused, or read as what it
    says."""

    kind: str
    data: bytes
    rehashed: bool

    @property
    def forbidden(self) -> bool:
        """Is it to be refused whatever its hashes say?"""
        return self.kind in ("XML: entities", "data elsewhere")


def entries_of(raw: bytes) -> dict[str, bytes]:
    """What is in an archive."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rehashed(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    """The entries with the hashes that they have."""
    found = {n: hashlib.sha256(d).hexdigest() for n, d in sorted(entries.items()) if n != HASHES}
    return (
        {**entries, HASHES: json.dumps(found, separators=(",", ":")).encode()} if HASHES in entries else dict(entries)
    )


def of_fmu(raw: bytes, entries: Mapping[str, bytes], seed: int, outer: str) -> Corrupted:
    """An FMU broken in the way of this number."""
    rng = random.Random(seed)
    kind = _turn(seed, [*OF_BYTES, *OF_ENTRIES, *(f"XML: {name}" for name in OF_XML), "JSON"], rng)
    if kind in OF_BYTES:
        return Corrupted(kind, OF_BYTES[kind](raw, rng), False)
    if kind in OF_ENTRIES:
        return Corrupted(kind, OF_ENTRIES[kind](entries, rng, outer), False)
    again = rng.random() < 0.7
    if kind == "JSON":
        name = rng.choice([n for n in sorted(entries) if n.endswith(".json")])
        changed = {**entries, name: _json(entries[name], rng)}
        again = again and name != HASHES
    else:
        name = rng.choice([n for n in sorted(entries) if n.endswith(".xml")] + ["modelDescription.xml"] * 3)
        changed = {**entries, name: OF_XML[kind.removeprefix("XML: ")](entries[name], rng)}
    return Corrupted(kind, packed(rehashed(changed) if again else changed), again)


def of_graph(raw: bytes, seal: Callable[[bytes], bytes], size: int, seed: int) -> Corrupted:
    """A graph broken in the way of this number; `seal` puts a hash of `size` bytes behind it."""
    rng = random.Random(seed)
    kind = _turn(seed, list(OF_GRAPHS), rng)
    again = kind not in ("bits", "cuts") and rng.random() < 0.5
    changed = OF_GRAPHS[kind](raw[:-size] if again else raw, rng)
    return Corrupted(kind, seal(changed) if again else changed, again)


def _turn(seed: int, kinds: list[str], rng: random.Random) -> str:
    kind = kinds[seed % len(kinds)]
    return kind if kind not in RARE or rng.random() < 0.15 else rng.choice([k for k in kinds if k not in RARE])


def _json(data: bytes, rng: random.Random) -> bytes:
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2))):
        if isinstance(value, dict | list) and value:
            value = leaf(value, rng, rng.choice(VALUES))
    found = json.dumps(value, ensure_ascii=rng.random() < 0.2).encode("utf-8", "surrogatepass")
    act = rng.random()
    if act < 0.1:
        return found[: rng.randrange(len(found))]
    if act < 0.15:
        return b'{"a":' * 100_000
    if act < 0.2:
        return b"[" + b"[]," * 10**6 + b"[]]"
    return found
