"""What is refused of a stranger's XML before a parser sees it."""

import random
import time

import pytest

from benchmarks.corruptions.artefacts.of_xml import OF_XML
from exchange.files.plain_xml import require_plain_xml

PLAIN = b'<?xml version="1.0" encoding="UTF-8"?>\n<a b="c &lt; d"><!-- e --><f g="1"/><h>\xc3\xa9</h></a>\n'


@pytest.mark.parametrize("kind", ["entities", "external entities"])
def test_whatever_reads_another_file_or_grows_is_refused(kind: str) -> None:
    for seed in range(40):
        with pytest.raises(ValueError, match=r"document type|includes"):
            require_plain_xml(OF_XML[kind](PLAIN, random.Random(seed)))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ('<?xml version="1.0" encoding="UTF-16"?><a/>'.encode("utf-16"), "encoding"),
        ("<a/>".encode("utf-16-le"), "encoding"),
        ("<a/>".encode("utf-32"), "encoding"),
        (b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a+AD4-<a/>', "encoding"),
        (b'\xef\xbb\xbf<?xml version="1.0" encoding="cp500"?><a/>', "encoding"),
        (b"<a>\xff</a>", "UTF-8"),
        (b"<a>" * 100_000, "deep"),
        (b"<a><b></a>", "no XML"),
        (b"", "no XML"),
        (b"<a/><a/>", "no XML"),
        (b"<a>" + b"<!--" + b"-" * 10**6, "no XML"),
        (b"<a>" + b"<b/>" * 10**6 + b"</a>", "elements"),
    ],
)
def test_what_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        require_plain_xml(data)


def test_what_is_plain() -> None:
    require_plain_xml(PLAIN)
    require_plain_xml(b"\xef\xbb\xbf" + PLAIN)
    require_plain_xml(PLAIN.replace(b"UTF-8", b"ISO-8859-1").replace(b"\xc3\xa9", b"\xe9"))
    require_plain_xml(b"<a>" + b"<b>1</b>" * 10_000 + b"</a>")
    require_plain_xml(b"<a>" + b"""<b c="1 > 0" d='"/>'/>""" * 1000 + b"</a>")


def test_large_junk_takes_no_time() -> None:
    began = time.process_time()
    for junk in (
        b"<a " * 10**5,
        b"<" * 10**5,
        b'<a b="' * 10**5,
        b"<a b='" + b'"' * 10**6,
        b"<a" + b" b" * 10**6,
        b"<a>" + b"x" * 10**7,
    ):
        try:
            require_plain_xml(junk)
        except ValueError:
            continue
    assert time.process_time() - began < 2.0
