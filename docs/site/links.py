"""Every link of the built site: `python docs/site/links.py runs/docs` names those that lead nowhere, and exits with 1.

Inside the site each link, picture, script and anchor is followed. What lies outside cannot be reached where this is built, so
that it is held to its form alone: https, a host with a dot, no name or password. `sphinx-build -b linkcheck` asks the hosts,
for whoever is on-line.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page offers to links, `anchors`, and where it leads, `links`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.links += [given[name] for name in ("href", "src") if name in given and tag != "base"]


def dead_links(site: Path) -> list[str]:
    """A sentence for each link of the pages of a folder that leads nowhere, in order."""
    pages = {file.resolve(): Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    found = []
    for file, page in pages.items():
        for link in dict.fromkeys(page.links):
            why = _dead(link, file, pages, site.resolve())
            if why:
                found.append(f"{file.relative_to(site.resolve())}: {link} {why}")
    return found


def _dead(link: str, file: Path, pages: dict[Path, Page], site: Path) -> str:
    parts = urlsplit(link)
    if parts.scheme in ("data", "mailto"):
        return ""
    if parts.scheme or parts.netloc:
        host = parts.hostname or ""
        well = (
            parts.scheme == "https" and "." in host and not host.replace(".", "").isdigit() and "@" not in parts.netloc
        )
        return "" if well else "is no public https address"
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(site) or not target.is_file():
        return "is no file of the site"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "has no such anchor"
    return ""


if __name__ == "__main__":
    dead = dead_links(Path(sys.argv[1]))
    print("\n".join(dead) or "every link leads somewhere")
    sys.exit(bool(dead))
