"""An SVG file as a part of a page: no script, nothing fetched, names for whoever does not see it."""

import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
# what a drawing consists of; whatever else a file holds is refused, not dropped: a page must show what was drawn
_ALLOWED = {
    *(
        "svg",
        "g",
        "defs",
        "path",
        "rect",
        "circle",
        "ellipse",
        "line",
        "polyline",
        "polygon",
        "text",
        "tspan",
        "use",
        "clipPath",
    ),
    *("linearGradient", "radialGradient", "stop", "pattern", "symbol", "marker", "style", "mask"),
}
_INHERITED = {"font-family", "stroke-linejoin", "stroke-linecap"}  # of the whole drawing
_DROPPED = {"metadata", "title", "desc"}  # the page says these itself
_REFERS = re.compile(rb"#([\w.-]+)")
_FETCHES = re.compile(r"url\(\s*['\"]?(?!#)|@import|javascript:|expression\(", re.IGNORECASE)


def inline_svg(path: Path, *, name: str, alt: str) -> tuple[str, set[str]]:
    """The `<svg>` element of a file as HTML, with `alt` as what is read of it, and the ids that it brings.

    Errors: `ValueError` for a file that is no SVG, that is not of plain drawing elements, or that would run or fetch
    something; `FileNotFoundError` for one that is missing.
    """
    source = path.read_bytes()
    try:
        if b"<!ENTITY" in source:
            raise ValueError("it declares entities")
        root = ElementTree.fromstring(source)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(
            f"{path} is not an SVG file ({error}); a page shows pictures written by write_picture."
        ) from error
    if root.tag != f"{_SVG}svg":
        raise ValueError(
            f"{path} is not an SVG file (it is <{root.tag}>); a page shows pictures written by write_picture."
        )
    # an id that nothing refers to only makes the page longer
    meant = {name.decode() for name in _REFERS.findall(source)}
    ids: set[str] = set()
    inside = "".join(_element(child, path, meant, ids) for child in root)
    box = root.get("viewBox")
    if box is None:
        raise ValueError(f"{path} says no viewBox, and so not how wide it is to how high; write it with write_picture.")
    # at most as wide on a page as its letters are still letters of a text: an inch of it, 72 units, is 96 pixels
    wide = f' style="--wide: {float(box.split()[2]) * 96.0 / 72.0:.0f}px"'
    label = f"{name}-seen"
    ids.add(label)
    kept = {k: v for k, v in root.attrib.items() if k in _INHERITED}
    named = f'role="img" aria-labelledby="{label}" viewBox="{html.escape(box)}"{wide}{_attributes(kept)}'
    # a description, not a title, which a browser would show over the picture wherever the pointer rests
    return f'<svg {named}><desc id="{label}">{html.escape(alt, quote=True)}</desc>{inside}</svg>', ids


def _attributes(given: Mapping[str, str]) -> str:
    return "".join(f' {name}="{html.escape(value, quote=True)}"' for name, value in given.items())


def _element(element: ElementTree.Element, path: Path, meant: set[str], ids: set[str]) -> str:
    tag = str(element.tag).removeprefix(_SVG)
    tail = html.escape(element.tail, quote=False) if element.tail and element.tail.strip() else ""
    if tag in _DROPPED:
        return tail
    if tag not in _ALLOWED:
        raise ValueError(
            f"{path} holds <{tag}>; a page shows pictures of lines, areas and text, as write_picture writes them."
        )
    attributes = {}
    for key, value in element.attrib.items():
        plain = key.removeprefix(_XLINK)
        if plain.startswith("{") or plain.startswith("xml:"):
            continue
        if plain.lower().startswith("on") or _FETCHES.search(value) or (plain == "href" and not value.startswith("#")):
            raise ValueError(
                f"{path} would run or fetch something ({plain}={value[:60]!r}); a page holds nothing of that kind."
            )
        if plain == "id":
            if value not in meant:
                continue
            if value in ids:
                raise ValueError(f"{path} has the id {value!r} twice; write it with write_picture.")
            ids.add(value)
        attributes[plain] = " ".join(value.split())
    text = element.text if element.text and (element.text.strip() or tag in ("text", "tspan")) else ""
    if tag == "style" and (_FETCHES.search(text) or "<" in text):
        raise ValueError(f"{path} would fetch something in its style; a page holds nothing of that kind.")
    said = text if tag == "style" else html.escape(text, quote=False)
    inside = said + "".join(_element(child, path, meant, ids) for child in element)
    return f"<{tag}{_attributes(attributes)}>{inside}</{tag}>{tail}"
