"""A picture in its two forms, with what is said of it: an SVG for pages, a PNG for everything else."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from exchange.files.whole_file import whole_file
from homeostat.pictures.style import DPI
from homeostat.pictures.svg import figure_svg
from physics.arguments import require_kind
from physics.glance import glance

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")


@dataclass(frozen=True)
class Picture:
    """One picture as files, with its words.

    `name`, the stem of both files and the beginning of every id in the SVG · `title`, short, of its own on a page ·
    `caption`, how to read it · `alt`, what is seen, with its numbers, for whoever does not see it · `svg`, `png`, the
    files.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: Path
    png: Path

    __repr__, _fields = glance()

    def _repr_html_(self) -> str:
        """The picture itself, on a white ground, and its caption; its fields where the file is no longer there."""
        try:
            drawn = base64.b64encode(self.svg.read_bytes()).decode()
        except OSError:
            return self._fields()
        # as an image, so that its ids stay its own; a notebook in the dark does not set the SVG's colours
        image = f'<img alt="{escape(self.alt)}" src="data:image/svg+xml;base64,{drawn}" style="background:#fff;max-width:100%">'
        return f"<figure>{image}<figcaption><b>{escape(self.title)}</b> {escape(self.caption)}</figcaption></figure>"


def write_picture(figure: Figure, folder: Path, name: str, *, title: str, caption: str, alt: str) -> Picture:
    """Write `name.svg` and `name.png` (160 dots per inch) into `folder`; the same figure gives the same bytes.

    Laid out once, drawn once for each file. `title` and `alt` stand in the SVG for assistive technology. The SVG has
    an open ground, text as text, and the CSS variables of `homeostat.pictures.colours`, so that it takes the colours
    of the page it stands in.
    Errors: `ValueError` for a name that cannot begin an id, or an empty title or alternative text.
    """
    require_kind(figure, Figure, "write_picture: figure", "figure_of(axes)")
    if not _NAME.match(name):
        raise ValueError(
            f"A picture was to be named {name!r}; its name begins the ids of its SVG: a letter, then letters, digits, - and _."
        )
    for word, text in (("title", title), ("alt", alt)):
        if not text.strip():
            raise ValueError(f'Picture {name} has an empty {word}; say in it what the picture shows: {word}="…".')
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    write_figure(figure, {"svg": svg, "png": png}, name=name, title=title, description=alt)
    return Picture(name, title, caption, alt, svg, png)


def save(figure: Figure, path: Path | str) -> Path:
    """Write the figure as PNG at 160 dots per inch, or as SVG, by the path's ending, and return the path."""
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(
            f"A picture was to be written to {path}; pictures are PNG or SVG files, so write a path ending in .png or .svg."
        )
    name = re.sub(r"[^A-Za-z0-9_-]", "-", f"picture-{path.stem}")
    write_figure(figure, {kind: path}, name=name, title=path.stem, description=path.stem)
    return path


def write_figure(figure: Figure, paths: Mapping[str, Path], *, name: str, title: str, description: str) -> None:
    """Lay the figure out once, then draw it once into each of the files, by their kind: "png" and "svg"."""
    engine, dpi, canvas = figure.get_layout_engine(), figure.dpi, figure.canvas
    try:
        FigureCanvasAgg(figure)  # whose text is measured
        figure.dpi = DPI
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine("none")
        for kind, path in paths.items():
            with whole_file(path) as partial:
                if kind == "svg":
                    partial.write_text(figure_svg(figure, name, title=title, description=description), encoding="utf-8")
                else:
                    # savefig would lay out and draw a second time
                    agg = FigureCanvasAgg(figure)
                    agg.draw()
                    Image.fromarray(np.asarray(agg.buffer_rgba())).save(partial, format="png", dpi=(DPI, DPI))
    finally:
        figure.dpi = dpi
        if engine is not None:
            figure.set_layout_engine(engine)
        figure.set_canvas(canvas)
