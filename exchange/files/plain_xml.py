"""XML that a stranger sent, looked at before any parser sees it."""

import re

_DECLARATION = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]*)["']""")
# of these every byte below 128 is that of ASCII, so that what is looked for cannot be written otherwise; UTF-7 and UTF-16 are not
_PLAIN = ("utf-8", "us-ascii", "ascii", "iso-8859-1", "windows-1252")
# a tag, whose quoted values may hold a >; nothing is tried twice
_TAG = re.compile(rb"""<(/?)[A-Za-z_:](?:[^<>"']|"[^"<]*"|'[^'<]*')*+>""")
_DEEPEST, _MOST = 64, 500_000  # elements in each other, and all in all; those of FMI are five deep


def require_plain_xml(data: bytes) -> None:
    """Raise `ValueError`, one clause, unless this is XML that says everything itself: no document type, hence no entities of its
    own and no other files; in UTF-8 or another encoding in which ASCII is ASCII; a bounded number of elements.

    It is not parsed: the parser that does may trust its size and that it opens nothing.
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
    if data.count(b"<") > _MOST:
        raise ValueError(f"it has more than {_MOST:,} elements")
    if _deepest(data) > _DEEPEST:
        raise ValueError(f"its elements are more than {_DEEPEST} deep")


def _deepest(data: bytes) -> int:
    """How many elements stand in each other; comments and the like count as nothing. Of what is no XML any number."""
    depth = most = 0
    for found in _TAG.finditer(data):
        depth += -1 if found[1] else 0 if found[0].endswith(b"/>") else 1
        most = max(most, depth)
    return most
