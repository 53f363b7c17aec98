"""XML that a stranger sent, looked at before any parser sees it."""

import re
from xml.parsers import expat

_DECLARATION = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]*)["']""")
# of these every byte below 128 is that of ASCII, so that what is looked for cannot be written otherwise; UTF-7 and UTF-16 are not
_PLAIN = ("utf-8", "us-ascii", "ascii", "iso-8859-1", "windows-1252")
_DEEPEST, _MOST = 64, 500_000  # elements in each other, and all in all; those of FMI are five deep


def require_plain_xml(data: bytes) -> None:
    """Raise `ValueError`, one clause, unless this is XML that says everything itself: no document type, hence no entities of its
    own and no other files; in UTF-8 or another encoding in which ASCII is ASCII; well-formed, with a bounded number of elements.

    Whoever parses it then may trust that it opens nothing and does not grow.
    """
    declared = _DECLARATION.match(data.removeprefix(b"\xef\xbb\xbf"))
    encoding = declared[1].decode().lower() if declared else "utf-8"
    if b"\0" in data or encoding not in _PLAIN:
        raise ValueError("it is written in an encoding other than UTF-8")
    if encoding == "utf-8":
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise ValueError("it is not the UTF-8 that it claims to be") from error
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("it has a document type of its own, which may name other files or grow without end")
    if b"http://www.w3.org/2001/XInclude" in data:
        raise ValueError("it includes other files")
    _walk(data)


def _walk(data: bytes) -> None:
    """Raise `ValueError` unless it is well-formed, with a bounded number of elements, in each other and all in all."""
    parser = expat.ParserCreate()
    depth = count = 0

    def begun(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        del name, attributes
        depth, count = depth + 1, count + 1
        if depth > _DEEPEST:
            raise ValueError(f"its elements are more than {_DEEPEST} deep")
        if count > _MOST:
            raise ValueError(f"it has more than {_MOST:,} elements")

    def ended(name: str) -> None:
        nonlocal depth
        del name
        depth -= 1

    parser.StartElementHandler, parser.EndElementHandler = begun, ended
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"it is no XML ({expat.ErrorString(error.code)} in line {error.lineno})") from error
