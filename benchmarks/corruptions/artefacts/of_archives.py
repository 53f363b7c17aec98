"""Corruptions of an archive: of its bytes, of its directory, and of what its entries are called."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping

from benchmarks.corruptions.kinds import cut, flipped, headers

Entries = Mapping[str, bytes]
LINK, FOLDER, DEVICE = 0o120777, 0o040755, 0o020666  # file types of Unix, in the upper half of an entry's attributes


def packed(
    entries: Entries,
    *,
    methods: Mapping[str, int] | None = None,
    modes: Mapping[str, int] | None = None,
    flags: Mapping[str, int] | None = None,
    more: tuple[tuple[str, bytes], ...] = (),
) -> bytes:
    """An archive; `methods`, `modes` and `flags` of some entries, `more` entries behind the others, repeated names too."""
    import warnings

    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # names that are there twice
        for name, data in (*entries.items(), *more):
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(info, data, (methods or {}).get(name, zipfile.ZIP_DEFLATED))
    found = bytearray(out.getvalue())
    for name, flag in (flags or {}).items():  # in both of its records, behind zipfile's back
        for mark, at, before in ((b"PK\x03\x04", 6, 30), (b"PK\x01\x02", 8, 46)):
            k = found.find(name.encode())
            while k >= 0:
                if found[k - before : k - before + 4] == mark:
                    found[k - before + at] |= flag
                k = found.find(name.encode(), k + 1)
    return bytes(found)


def _some(entries: Entries, rng: random.Random) -> str:
    return rng.choice(sorted(entries))


def _outside(entries: Entries, rng: random.Random, outer: str) -> bytes:
    """An entry that leads out of the archive, beside the others or in the place of one."""
    old = _some(entries, rng)
    evil = rng.choice(
        (
            *("../evil", "../../evil", "../../../../evil", "extra/../../evil", "binaries/../../../evil", "./../evil"),
            *(f"{outer}/evil", "/tmp/evil-of-the-archive", "//evil", "..\\evil", "..\\..\\evil", "C:\\evil", "C:/evil"),
            *("\\\\server\\evil", "~/evil", "a/./b", "a//b", "", ".", "..", "a/", "/", "con", "nul.txt", "evil\n.txt"),
            *(
                "evil\x00.xml",
                "\x1b[2Jevil",
                "\u202efmu",
                "x" * 300,
                "x/" * 3000 + "x",
                "a:b",
                "modelDescription.xml/x",
                "evil ",
            ),
            *(old.upper(), old + " ", old + ".", old.replace("/", "\\") + "\\", "./" + old, "extra/org.homeostat"),
        )
    )
    rest = {n: d for n, d in entries.items() if n != old or rng.random() < 0.5}
    return packed(rest, more=((evil, entries[old] if rng.random() < 0.5 else b"1"),))


def _links(entries: Entries, rng: random.Random, outer: str) -> bytes:
    name, mode = _some(entries, rng), rng.choice((LINK, LINK, DEVICE, 0o010666, 0o140777))
    to = rng.choice(("/etc/passwd", "../../../etc/passwd", outer, "..", name, "modelDescription.xml")).encode()
    if rng.random() < 0.5:
        return packed({**entries, name: to}, modes={name: mode})
    new = rng.choice(("extra/link", "resources", "binaries/x", "sources/all.c"))
    return packed({**entries, new: to}, modes={new: mode}, more=((new + "/evil", b"1"),) if rng.random() < 0.5 else ())


def _methods(entries: Entries, rng: random.Random, outer: str) -> bytes:
    del outer
    name = _some(entries, rng)
    act = rng.randrange(3)
    if act == 0:
        return packed(entries, methods={name: rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))})
    if act == 1:
        return packed(entries, flags={name: rng.choice((0x01, 0x20, 0x40, 0x41))})
    raw = bytearray(packed(entries))  # a method that nobody has
    method = rng.choice((1, 6, 9, 93, 95, 97, 98, 99, 0xFF))
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        where = raw.find(mark)
        raw[where + at : where + at + 2] = struct.pack("<H", method)
    return bytes(raw)


def _entries(entries: Entries, rng: random.Random, outer: str) -> bytes:
    """Missing, empty, another's, twice, in another case, one that is not listed."""
    del outer
    name, other = _some(entries, rng), _some(entries, rng)
    rest = {n: d for n, d in entries.items() if n != name}
    act = rng.randrange(6)
    if act == 0:
        return packed(rest)
    if act == 1:
        return packed({**entries, name: b""})
    if act == 2:
        return packed({**entries, name: entries[other] if other != name else b"x"})
    if act == 3:
        return packed(entries, more=((name, rng.choice((entries[name], b"1"))),))
    if act == 4:
        return packed(rest, more=((name.swapcase(), entries[name]),))
    return packed(
        entries, more=((rng.choice(("evil.py", "sources/evil.c", "binaries/x86_64-linux/evil.so", "extra/a/b")), b"1"),)
    )


def _changed(entries: Entries, rng: random.Random, outer: str) -> bytes:
    """Other bytes in an entry, under a checksum of the archive that is right again: its hash is wrong."""
    del outer
    name = _some({n: d for n, d in entries.items() if d}, rng)
    data = rng.choice((flipped, cut))(entries[name], rng)
    return packed({**entries, name: data if data != entries[name] else data + b" "})


def _bombs(entries: Entries, rng: random.Random, outer: str) -> bytes:
    """Small files that become hundreds of megabytes, or claim to."""
    del outer
    name = _some(entries, rng)
    new = rng.choice((name, "resources/data.bin", "extra/org.homeostat/more.json"))
    act = rng.randrange(5)
    if act == 0:
        return packed({**entries, new: bytes(rng.choice((10**7, 10**8, 3 * 10**8)))})
    if act == 1:  # says that it is small, and is not
        raw = bytearray(packed({**entries, new: bytes(10**8)}))
        at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(new.encode()))
        local = raw.rindex(b"PK\x03\x04", 0, raw.index(new.encode()))
        raw[at + 24 : at + 28] = raw[local + 22 : local + 26] = struct.pack("<I", rng.choice((1, 100, 2**20)))
        return bytes(raw)
    if act == 2:  # many entries
        return packed({**entries, **{f"resources/{k}": b"" for k in range(rng.choice((3000, 70_000)))}})
    if act == 3:
        return _overlapping()
    raw = bytearray(packed(entries))  # says that it is huge
    at = raw.find(b"PK\x01\x02")
    raw[at + 24 : at + 28] = struct.pack("<I", rng.choice((0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 2**30)))
    return bytes(raw)


def _overlapping() -> bytes:
    """Thousands of entries that all point to the same bytes (Fifield, WOOT 2019)."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = squeeze.compress(b" " * 10**7) + squeeze.flush()
    head = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 33, 0, len(kernel), 10**7, 1, 0) + b"a"
    count = 5000
    directory = b"".join(
        struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 33, 0, len(kernel), 10**7, 4, 0, 0, 0, 0, 0, 0)
        + b"%04d" % k
        for k in range(count)
    )
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(directory), len(head) + len(kernel), 0)
    return head + kernel + directory + end


Kind = Callable[[Entries, random.Random, str], bytes]
OF_ENTRIES: Mapping[str, Kind] = {
    "outside": _outside,
    "links": _links,
    "methods": _methods,
    "entries": _entries,
    "changed": _changed,
    "bombs": _bombs,
}
OF_BYTES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {"bits": flipped, "cuts": cut, "headers": headers}
