"""The links of a built site: what leads nowhere is named, what leads somewhere is not."""

from pathlib import Path

from docs.site.links import dead_links


def test_dead_links_are_named_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "picture.svg").write_text("<svg/>")
    (tmp_path / "inner/index.html").write_text("<h1 id='there ü'>x</h1><a href='../page.html#own'>back</a>")
    (tmp_path / "page.html").write_text(
        "<p id=own><a href='inner/#there%20%C3%BC'>a</a><img src=picture.svg><a href='#own'>b</a>"
        "<a href='https://example.org/x'>c</a>"
        "<a href='inner/index.html#gone'>1</a><a href=lost.html>2</a><img src=lost.png><a href='#nowhere'>3</a>"
        "<a href='http://example.org'>4</a><a href='https://10.0.0.1/x'>5</a>"
        "<a href='file:///home'>6</a><a href='../outside.html'>7</a>"
    )
    assert dead_links(tmp_path) == [
        "page.html: inner/index.html#gone has no such anchor",
        "page.html: lost.html is no file of the site",
        "page.html: lost.png is no file of the site",
        "page.html: #nowhere has no such anchor",
        "page.html: http://example.org is no public https address",
        "page.html: https://10.0.0.1/x is no public https address",
        "page.html: file:///home is no public https address",
        "page.html: ../outside.html is no file of the site",
    ]
