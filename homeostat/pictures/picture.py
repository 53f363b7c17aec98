"""A picture as a value: its files, and what is said of it. As SVG it takes the colours of the page that it stands in."""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from exchange.files.whole_file import whole_file

# by name, the colour that is drawn with, and the one that a dark page shows instead; paper shows the first
COLOURS = {
    "ink": ("#1b2733", "#e4e9ee"),
    "grey": ("#5b6772", "#a3b0bb"),
    "faint": ("#c3cad1", "#566370"),
    "pale": ("#e6eaee", "#29323a"),
    "line": ("#0b4a7a", "#8cc4f0"),
    "noise": ("#cfe0ee", "#2c4459"),
    "ignorance": ("#f5be68", "#8f6a24"),
    "second": ("#c2570c", "#ff9a5c"),
    "promise": ("#00795c", "#4fc9a4"),
    "personal": ("#9cc3a9", "#456f53"),
    "ground": ("#ffffff", "#14191e"),
}
_NUMBER = re.compile(r"(?<![\w.#-])-?\d+\.\d{3,}")


@dataclass(frozen=True)
class Picture:
    """A drawn picture.

    `name`, the stem of its files · `title`, short and unique on a page · `caption` · `alt`, what is seen, with numbers, in
    words · `svg`, `png`, its files.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: Path
    png: Path


def picture_at(path: Path, *, title: str, caption: str, alt: str) -> Picture:
    """The picture whose PNG is at `path` and whose SVG stands beside it, as `style.save` writes both."""
    return Picture(path.stem, title, caption, alt, path.with_suffix(".svg"), path.with_suffix(".png"))


def variables(*, dark: bool = False) -> str:
    """The colours as CSS variables, for a page that is light or dark."""
    return " ".join(f"--{name}: {pair[dark]};" for name, pair in COLOURS.items())


def write_svg(figure: Figure, path: Path) -> Path:
    """The figure as SVG: text as text, house colours as CSS variables, no ground, ids that begin with the file's stem."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{path.stem}-", stream.getvalue())
    text = _NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)
    for name, (colour, _) in COLOURS.items():
        text = text.replace(f": {colour}", f": var(--{name}, {colour})")
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path
