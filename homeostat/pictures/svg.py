"""A figure as an SVG that can stand in a page: its text is text, its colours are the page's, its ids are its own.

Matplotlib writes the file, and here it is made fit for a page: the house colours become CSS variables (`colours`),
ids begin with the picture's name, coordinates are rounded and lines simplified (`svg_paths`), the ground is open, and
title and description are said to whoever does not see. The same figure gives the same bytes.
"""

import io
import re
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET

from matplotlib import rc_context
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure

from homeostat.pictures.colours import COLOURS, INK, variable
from homeostat.pictures.svg_paths import compact, number

FONTS = "system-ui,-apple-system,'Segoe UI','Helvetica Neue','Liberation Sans',Arial,sans-serif"
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_NAMES = {colour.light: name for name, colour in COLOURS.items()}
_HEX = re.compile(r"#[0-9a-fA-F]{6}\b")
_NUMBER = re.compile(r"[-+]?\d*\.\d+(?:e[-+]?\d+)?")
_DEFAULTS = {
    "stroke-linejoin": "round",
    "stroke-linecap": "butt",
    "opacity": "1",
    "stroke-width": "1",
    "stroke-dashoffset": "0",
}
_TICK = re.compile(r"M0 0l(-?[\d.]+ -?[\d.]+|-?[\d.]+-[\d.]+)\Z")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def figure_svg(figure: Figure, name: str, *, title: str, description: str) -> str:
    """The figure as the text of an SVG, laid out as it stands: a layout engine is not asked again.

    `name`, which every id begins with; `title` and `description`, what assistive technology says.
    """
    drawn = _as_matplotlib_writes(figure, name)
    root = ET.fromstring(drawn)
    for gone in root.findall(f"{_SVG}metadata"):
        root.remove(gone)
    gids = {gid for artist in figure.findobj() if (gid := artist.get_gid())}
    _plainer(root, gids, _new_ids(root, name))
    _styled_once(root)
    _joined(root)
    body = "".join(_written(child) for child in root)
    width, height = (72.0 * float(v) for v in figure.get_size_inches())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width)}" height="{number(height)}" '
        f'viewBox="0 0 {number(width)} {number(height)}" role="img" aria-labelledby="{name}-title {name}-desc" '
        f'font-family="{FONTS}" stroke-linejoin="round" style="max-width:100%;height:auto">'
        f'<title id="{name}-title">{_escaped(title)}</title><desc id="{name}-desc">{_escaped(description)}</desc>{body}</svg>\n'
    )


def _as_matplotlib_writes(figure: Figure, salt: str) -> str:
    width, height = (72.0 * float(v) for v in figure.get_size_inches())
    patches = [figure.patch, *(a.patch for a in figure.axes), *(f.patch for f in figure.subfigs)]
    seen, dpi, out = [p.get_visible() for p in patches], figure.dpi, io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "svg.id": None}):
        try:
            for patch in patches:
                patch.set_visible(False)  # the ground is the page's
            figure.dpi = 72.0
            renderer = RendererSVG(width, height, out, image_dpi=72, metadata={"Date": None, "Creator": None})
            figure.draw(renderer)
            renderer.finalize()
        finally:
            figure.dpi = dpi
            for patch, visible in zip(patches, seen, strict=True):
                patch.set_visible(visible)
    return out.getvalue()


def _new_ids(root: ET.Element, name: str) -> dict[str, str]:
    """A short id of this picture for each that something refers to, in order of appearance."""
    used: set[str] = set()
    for element in root.iter():
        for key, value in element.attrib.items():
            used |= {value[1:]} if key == _LINK else set(_REFERENCE.findall(value))
    there = [e.attrib["id"] for e in root.iter() if e.attrib.get("id") in used]
    return {old: f"{name}-{k}" for k, old in enumerate(there)}


def _plainer(parent: ET.Element, gids: set[str], ids: dict[str, str]) -> None:
    """Every element below with short attributes; groups that say nothing are opened."""
    children: list[ET.Element] = []
    for element in list(parent):
        _plainer(element, gids, ids)
        identity = element.attrib.pop("id", None)
        if identity in ids:
            element.set("id", ids[identity])
        elif identity in gids:
            element.set("data-part", identity)
        _attributes(element, ids)
        if element.tag == f"{_SVG}g" and not element.attrib:
            children += list(element)
        elif element.tag == f"{_SVG}defs" and not len(element):
            continue
        elif element.tag == f"{_SVG}style":
            continue  # round joins, which the root says for all
        else:
            children.append(element)
    parent[:] = children


def _attributes(element: ET.Element, ids: dict[str, str]) -> None:
    kind = element.tag.removeprefix(_SVG)
    if _LINK in element.attrib:
        element.set("href", "#" + ids[element.attrib.pop(_LINK)[1:]])
    for key, value in list(element.attrib.items()):
        if key in ("id", "href", "data-part"):
            continue
        if key == "d":
            element.set(key, compact(value))
        elif key == "clip-path":
            element.set(key, _REFERENCE.sub(lambda m: f"url(#{ids[m[1]]})", value))
        elif key == "style":
            element.set(key, _style(value, kind, ids))
        elif key == "transform":
            short = re.sub(r"rotate\(-?0(\.0+)? [^)]*\)", "", _rounded(value)).strip()
            element.attrib.pop(key) if not short else element.set(key, short)
        else:
            element.set(key, _rounded(value))
    if element.attrib.get("style") == "":
        element.attrib.pop("style")


def _style(text: str, kind: str, ids: dict[str, str]) -> str:
    pairs = dict(_pairs(text))
    for key, value in _DEFAULTS.items():
        if pairs.get(key) == value:
            del pairs[key]
    if kind == "text":
        pairs.pop("font-family", None)
        pairs.setdefault("fill", INK)
    elif kind in ("path", "use") and "fill" not in pairs and pairs.get("stroke") is None:
        pairs.setdefault("fill", INK)  # matplotlib leaves black out
    written = []
    for key, value in pairs.items():
        value = _REFERENCE.sub(lambda m: f"url(#{ids[m[1]]})", value)
        written.append(f"{key}:{_HEX.sub(_themed, value) if '#' in value else _rounded(value, 2)}")
    return ";".join(written)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(";"):
        key, separator, value = part.partition(":")
        if separator:
            yield key.strip(), value.strip()


def _themed(match: re.Match[str]) -> str:
    value = match[0].lower()
    if value == "#000000":
        value = INK
    return f"var({variable(_NAMES[value])},{value})" if value in _NAMES else value


def _rounded(value: str, decimals: int = 1) -> str:
    return _NUMBER.sub(lambda m: number(float(m[0]), decimals), value)


def _styled_once(root: ET.Element) -> None:
    """A shape that is always used in one look has that look itself; a shape that is a line is drawn where it is used: ticks."""
    parents = {child: parent for parent in root.iter() for child in parent}
    shapes = {f"#{e.attrib['id']}": e for e in root.iter(f"{_SVG}path") if "id" in e.attrib}
    uses: dict[str, list[ET.Element]] = {}
    for use in root.iter(f"{_SVG}use"):
        uses.setdefault(use.attrib["href"], []).append(use)
    for href, those in uses.items():
        shape = shapes[href]
        looks = {use.attrib.get("style", "") for use in those}
        if len(looks) > 1:
            continue
        line = _TICK.match(shape.attrib["d"])
        shape.set("style", looks.pop())
        for use in those:
            use.attrib.pop("style", None)
            if line:
                x, y = use.attrib.pop("x"), use.attrib.pop("y")
                use.tag = f"{_SVG}path"
                del use.attrib["href"]
                use.attrib |= {"d": f"M{x} {y}l{line[1]}", "style": "fill:none;" + _unfilled(shape.attrib["style"])}
        if line:
            parents[shape].remove(shape)


def _unfilled(style: str) -> str:
    return ";".join(part for part in style.split(";") if not part.startswith("fill"))


def _joined(parent: ET.Element) -> None:
    """Neighbouring lines of one look are one path: a stream of hundreds of segments is."""
    children: list[ET.Element] = []
    for element in parent:
        _joined(element)
        if element.tag == f"{_SVG}defs" and not len(element):
            continue
        last = children[-1] if children else None
        if last is not None and _same_line(last, element):
            last.set("d", last.attrib["d"] + element.attrib["d"])
        else:
            children.append(element)
    parent[:] = children


def _same_line(a: ET.Element, b: ET.Element) -> bool:
    if not (a.tag == b.tag == f"{_SVG}path") or "fill:none" not in a.attrib.get("style", ""):
        return False
    apart = "opacity" in a.attrib["style"]  # what lies on itself twice would be darker
    return not apart and {**a.attrib, "d": ""} == {**b.attrib, "d": ""} and "id" not in a.attrib


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _written(element: ET.Element) -> str:
    tag = element.tag.removeprefix(_SVG)
    attributes = "".join(
        f' {key}="{_escaped(value).replace(chr(34), "&quot;")}"' for key, value in element.attrib.items()
    )
    inside = _escaped((element.text or "").strip() if tag not in ("text", "tspan") else element.text or "") + _all(
        element
    )
    return f"<{tag}{attributes}>{inside}</{tag}>" if inside else f"<{tag}{attributes}/>"


def _all(elements: Iterable[ET.Element]) -> str:
    return "".join(_written(child) for child in elements)
