"""The README for a package index, which has none of our files: every link in it leads to the repository of `project.urls`.

pyproject.toml names this file to hatchling, which runs it when a wheel is built. While the project has no public address
(`Repository` is missing from `project.urls`, the one place for it), a link becomes its text and a picture its description.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = r"!\[[^\[\]]*\]\([^)\s]*\)"  # which may be the text of a link
LINK = re.compile(rf"(!?)\[({PICTURE}|[^\[\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")
HTML = re.compile(r"""(<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=["'])(?!https?:|mailto:|#|data:)([^"']+)""")


def for_an_index(readme: str, repository: str | None, version: str) -> str:
    """The same Markdown without a relative link: absolute ones into the tag v`version` of a repository, or none."""

    def absolute(path: str, kind: str) -> str:
        return f"{str(repository).rstrip('/')}/{kind}/v{version}/{path.removeprefix('./')}"

    def link(match: re.Match[str]) -> str:
        picture, text, path = match.groups()
        if repository is None:
            return f"*{text}*" if picture else text
        return f"{picture}[{text}]({absolute(path, 'raw' if picture else 'blob')})"

    readme = LINK.sub(link, LINK.sub(link, readme))  # a link, then the picture that is its text
    if repository is None:
        readme = re.sub(r"""<img\b(?=[^>]*\bsrc=["'](?!https?:))[^>]*\balt="([^"]*)"[^>]*>""", r"*\1*", readme)
        return re.sub(r"</?(?:picture|source|img|a)\b(?![^>]*https?:)[^>]*>", "", readme)
    return HTML.sub(lambda m: m[1] + absolute(m[2], "blob" if m[1].startswith("<a") else "raw"), readme)


class LongDescription(MetadataHookInterface):
    """hatchling's door: gives the project its `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        (version,) = re.findall(r'^__version__ = "([^"]+)"', (root / "homeostat/__init__.py").read_text(), flags=re.M)
        text = for_an_index(
            (root / "README.md").read_text(encoding="utf-8"), metadata.get("urls", {}).get("Repository"), version
        )
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
