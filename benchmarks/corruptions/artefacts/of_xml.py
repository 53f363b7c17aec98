"""Corruptions of an XML document: entities, nesting, encodings, other values."""

import random
import re
from collections.abc import Callable, Mapping

from benchmarks.corruptions.kinds import cut, flipped

_VALUES = (
    *(
        "",
        "0",
        "-1",
        "1",
        "4294967296",
        "99999999999999999999",
        "NaN",
        "INF",
        "-INF",
        "1e999",
        "1e308",
        "true",
        "x" * 5000,
    ),
    *(
        "../../evil",
        "/etc/passwd",
        "a b",
        "der(x)",
        "&#10;",
        "&#x202e;",
        "\u00e9",
        "&lt;",
        "0x10",
        "1,2",
        "3.0",
        "2.0",
        "9.9",
    ),
)


def _declared(xml: bytes, doctype: bytes, use: bytes) -> bytes:
    """The document with a document type before its root, and a use of it inside the root."""
    root = re.search(rb"<[A-Za-z]", xml)
    assert root is not None
    at = root.start()
    name = re.match(rb"<([\w:.-]+)", xml[at:])
    assert name is not None
    inside = xml.index(b">", at)
    inside = inside - 1 if xml[inside - 1 : inside] == b"/" else inside
    return (
        xml[:at]
        + b"<!DOCTYPE "
        + name[1]
        + b" "
        + doctype
        + b">\n"
        + xml[at:inside]
        + b' odd="'
        + use
        + b'"'
        + xml[inside:]
    )


def _entities(xml: bytes, rng: random.Random) -> bytes:
    """What grows as it is read: entities of entities, or one large one many times."""
    if rng.random() < 0.6:
        base, depth = rng.choice((2, 10)), rng.choice((5, 9, 30))
        lines = [b'<!ENTITY a0 "lol">'] + [
            b'<!ENTITY a%d "%s">' % (k, b"&a%d;" % (k - 1) * base) for k in range(1, depth)
        ]
        return _declared(xml, b"[" + b"\n".join(lines) + b"]", b"&a%d;" % (depth - 1))
    return _declared(xml, b'[<!ENTITY big "' + b"x" * 100_000 + b'">]', b"&big;" * 2000)


def _external(xml: bytes, rng: random.Random) -> bytes:
    """What would have a reader open another file, or the network."""
    where = rng.choice(
        (b"file:///etc/passwd", b"file:///dev/zero", b"file:///dev/random", b"http://127.0.0.1:9/x", b"../../secret")
    )
    act = rng.randrange(4)
    if act == 0:
        return _declared(xml, b'[<!ENTITY e SYSTEM "' + where + b'">]', b"&e;")
    if act == 1:
        return _declared(xml, b'SYSTEM "' + where + b'"', b"x")
    if act == 2:
        return _declared(xml, b'[<!ENTITY % p SYSTEM "' + where + b'"> %p;]', b"x")
    include = b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="' + where + b'" parse="text"/>'
    at = xml.rindex(b"</") if b"</" in xml else len(xml)
    return xml[:at] + include + xml[at:]


def _shape(xml: bytes, rng: random.Random) -> bytes:
    """Deep, wide, or without an end."""
    at = xml.rindex(b"</") if b"</" in xml else len(xml)
    act = rng.randrange(6)
    if act == 0:
        depth = rng.choice((1000, 100_000))
        return xml[:at] + b"<a>" * depth + (b"</a>" * depth if rng.random() < 0.5 else b"") + xml[at:]
    if act == 1:
        return xml[:at] + b"<a " + b" ".join(b'b%d="1"' % k for k in range(50_000)) + b"/>" + xml[at:]
    if act == 2:
        return xml[:at] + b'<a b="' + b"x" * rng.choice((10**6, 2 * 10**7)) + b'"/>' + xml[at:]
    if act == 3:
        return xml[:at] + b"<!--" + b"-" * 10**6 + xml[at:]
    if act == 4:
        return xml[:at] + b"<a/>" * 10**6 + xml[at:]
    return xml + rng.choice((b"<b/>", b"\x00", b"]]>", b"<?php x ?>" * 1000, xml))


def _encoded(xml: bytes, rng: random.Random) -> bytes:
    text = xml.decode("utf-8", "replace")
    act = rng.randrange(5)
    if act == 0:
        return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "cp500", "utf-7")), "replace")
    if act == 1:
        name = rng.choice((b"UTF-16", b"UTF-7", b"EBCDIC-CP-US", b"no-such", b"ISO-8859-1"))
        return re.sub(rb'encoding="[^"]*"', b'encoding="' + name + b'"', xml, count=1) + b" "
    if act == 2:
        return b"\xef\xbb\xbf" * rng.choice((2, 3)) + xml
    if act == 3:
        k = rng.randrange(len(xml))
        return xml[:k] + rng.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b"\x0b")) + xml[k:]
    return xml.replace(b"<?xml", b" <?xml", 1) if b"<?xml" in xml else b"\n" + xml[::-1]


def _values(xml: bytes, rng: random.Random) -> bytes:
    """An attribute's value, its name, or an element is another one, there twice, or missing."""
    found = list(re.finditer(rb'([\w:.-]+)="([^"]*)"', xml))
    one = rng.choice(found)
    act = rng.random()
    if act < 0.6:
        new = rng.choice((*(v.encode() for v in _VALUES), rng.choice(found)[2]))
        changed = xml[: one.start(2)] + new + xml[one.end(2) :]
    elif act < 0.75:
        changed = xml[: one.start()] + xml[one.end() :]
    elif act < 0.85:
        changed = xml[: one.start(1)] + b"surprise" + xml[one.end(1) :]
    else:
        elements = list(re.finditer(rb"<[\w:.-]+[^<>]*/>", xml)) or found
        element = rng.choice(elements)
        twice = xml[element.start() : element.end()] if rng.random() < 0.5 else b""
        changed = xml[: element.start()] + twice + (xml[element.start() :] if twice else xml[element.end() :])
    return changed if changed != xml else xml + b" "


OF_XML: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "entities": _entities,
    "external entities": _external,
    "XML without end": _shape,
    "encodings": _encoded,
    "values": _values,
    "XML bits": flipped,
    "XML cuts": cut,
}
