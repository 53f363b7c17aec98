"""How every picture looks: sizes, the header, labels and ticks. Figures are objects; no global state is touched."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from homeostat.pictures.colours import FAINT, GREY, INK, PALE
from physics.arguments import shortened

DPI = 160
TITLE, TEXT, SMALL = 15.0, 10.5, 9.5  # points
MARGIN = 0.28  # inches around the header


def new_figure(width: float, height: float) -> Figure:
    """A white figure, sizes in inches, with its own Agg canvas."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def header_height(title: str, subtitle: str | None, width: float, legend_rows: int = 0) -> float:
    """Inches that `header` needs on a figure of this width: to be added to the height of the panels."""
    height = MARGIN + 0.29 * len(wrapped(title, TITLE, width - 2 * MARGIN, bold=True) if title else ())
    if subtitle:
        height += 0.05 + 0.21 * len(wrapped(subtitle, TEXT, width - 2 * MARGIN))
    return height + (0.14 + 0.235 * legend_rows if legend_rows else 0.0) + 0.04


def header(
    figure: Figure,
    title: str,
    subtitle: str | None = None,
    *,
    handles: Sequence[Artist] = (),
    columns: int = 3,
) -> None:
    """Title, subtitle and the one legend at the top left; the panels are laid out below them."""
    width, height = figure.get_size_inches()
    x, y = MARGIN / width, height - MARGIN
    for line in wrapped(title, TITLE, width - 2 * MARGIN, bold=True) if title else ():
        _plain(figure, x, y / height, line, size=TITLE, weight="bold", colour=INK)
        y -= 0.29
    if subtitle:
        y -= 0.05
        for line in wrapped(subtitle, TEXT, width - 2 * MARGIN):
            _plain(figure, x, y / height, line, size=TEXT, weight="normal", colour=GREY)
            y -= 0.21
    rows = -(-len(handles) // columns)
    if handles:
        # matplotlib fills a legend column by column; reordered, it reads row by row
        ordered = [
            handles[r * columns + c] for c in range(columns) for r in range(rows) if r * columns + c < len(handles)
        ]
        figure.legend(
            handles=ordered,
            loc="upper left",
            bbox_to_anchor=(x, (y - 0.10) / height),
            ncols=columns,
            frameon=False,
            fontsize=TEXT,
            labelcolor=INK,
            borderpad=0.0,
            borderaxespad=0.0,
            handlelength=1.8,
            handletextpad=0.6,
            columnspacing=2.2,
            labelspacing=0.35,
        )
    used = header_height(title, subtitle, width, rows)
    pad = 0.10
    figure.set_layout_engine(
        ConstrainedLayoutEngine(
            rect=((MARGIN - pad) / width, 0.12 / height, 1 - 2 * (MARGIN - pad) / width, 1 - (used + 0.12) / height),
            w_pad=pad,
            h_pad=0.06,
            wspace=0.03,
            hspace=0.03,
        )
    )


def _plain(figure: Figure, x: float, y: float, text: str, *, size: float, weight: str, colour: str) -> None:
    figure.text(x, y, text, fontsize=size, fontweight=weight, color=colour, va="top", ha="left", parse_math=False)


def wrapped(text: str, size: float, width: float, *, bold: bool = False) -> list[str]:
    """The text in lines that are at most `width` inches wide at this font size, broken at spaces; measured, not
    guessed."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        words, line = paragraph.split(), ""
        for word in words:
            longer = f"{line} {word}".strip()
            if line and text_width(longer, size, bold=bold) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """How many inches wide a line of text is at this font size, in points."""
    renderer = FigureCanvasAgg(Figure(dpi=72)).get_renderer()  # one dot is one point
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return float(renderer.get_text_width_height_descent(text, font, ismath=False)[0]) / 72.0


def cut_to(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """A line of text, its middle left out where it is wider than `width` inches: a name's two ends tell it apart."""
    if text_width(text, size, bold=bold) <= width:
        return text
    for kept in range(min(len(text) - 1, 200), 4, -1):
        shorter = f"{text[: kept - kept // 3].rstrip()}…{text[len(text) - kept // 3 :].lstrip()}"
        if text_width(shorter, size, bold=bold) <= width:
            return shorter
    return f"{text[:2]}…{text[-2:]}"


def cut_apart(texts: Sequence[str], size: float, width: float, *, bold: bool = False) -> list[str]:
    """Lines of text, each cut to `width` inches, of which those that differ still do: where their two ends are alike, the
    beginning is shown and then the place where they part."""
    cut = [cut_to(text, size, width, bold=bold) for text in texts]
    shown = []
    for text, mine in zip(texts, cut, strict=True):
        alike = {other for other, short in zip(texts, cut, strict=True) if short == mine and other != text}
        parts = max((_alike(text, other) for other in alike), default=None)
        shown.append(mine if parts is None else _parting(text, parts, size, width, bold))
    return shown


def _alike(text: str, other: str) -> int:
    """With how many equal letters both begin."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((k for k, (a, b) in pairs if a != b), min(len(text), len(other)))


def _parting(text: str, place: int, size: float, width: float, bold: bool) -> str:
    """The first letters of a text, and as many of those around `place` as fit."""
    for kept in range(len(text) - place, 0, -1):
        behind = "…" if place + kept < len(text) else ""
        shorter = f"{text[:3]}…{text[max(place - 2, 3) : place + kept]}{behind}"
        if text_width(shorter, size, bold=bold) <= width:
            return shorter
    return f"…{text[place : place + 1]}…"


def cell_size(axes: Axes) -> tuple[float, float]:
    """Width and height in inches of the place that a panel has on its figure, with its labels."""
    spec, figure = axes.get_subplotspec(), axes.get_figure()
    if spec is None or figure is None:
        return 4.0, 4.0
    rows, columns = spec.get_gridspec().get_geometry()
    root = axes.get_figure(root=True)
    box = figure.bbox.transformed(root.dpi_scale_trans.inverted()) if root is not None else figure.bbox
    return float(box.width) / columns, float(box.height) / rows


def tidy(axes: Axes, *, grid: bool = True) -> None:
    """Two thin spines, quiet ticks, and at most a faint horizontal grid behind the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=GREY, labelsize=SMALL, length=3, width=0.8)
    axes.set_axisbelow(True)
    for axis, most in ((axes.xaxis, 6), (axes.yaxis, 5)):
        if axis.get_scale() == "linear":
            axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 5, 10]))
    if grid:
        axes.grid(axis="y", color=PALE, linewidth=0.8)


def label(name: str, unit: str | None) -> str:
    """An axis label: the quantity with its unit; a dimensionless one (UCUM "1") has none to show."""
    # a column's name may be longer than an axis; a phrase of ours is not
    name = (name if " " in name else shortened(name, 45)).replace("_", " ")
    name = name[:1].upper() + name[1:]
    return name if unit in (None, "", "1") else f"{name} ({unit})"


def time_since(since: str | None) -> str:
    """The name of a time axis: what it counts from, where that is known."""
    return "time" if since is None else f"time since {since}"


def axis_labels(axes: Axes, x: str | None, y: str | None) -> None:
    """Labels in the house size, broken or cut where they are longer than the panel; dollar signs are dollar signs."""
    width, height = cell_size(axes)
    if x is not None:
        x = _two_lines(x, max(0.97 * width - 0.3, 1.2))
        axes.set_xlabel(x, fontsize=TEXT, color=INK, parse_math=False)
    if y is not None:
        y = _two_lines(y, max(0.85 * height - 0.25, 1.2))
        axes.set_ylabel(y, fontsize=TEXT, color=INK, parse_math=False)


def _two_lines(text: str, width: float) -> str:
    if "\n" in text or text_width(text, TEXT) <= width:
        return text
    lines = wrapped(text, TEXT, width)
    first, rest = lines[0], " ".join(lines[1:])
    return "\n".join(cut_to(line, TEXT, width) for line in (first, rest) if line)


def title_width(axes: Axes) -> float:
    """How many inches wide a panel's title may be."""
    return max(0.95 * cell_size(axes)[0] - 0.35, 0.8)


def panel_title(axes: Axes, title: str, words: str = "", *, size: float = 11.5) -> None:
    """A panel's title at its left edge, with a quieter line or two of words between it and the panel."""
    lines = len(words.split("\n")) if words else 0
    title = cut_to(title, size, title_width(axes), bold=True)
    axes.set_title(
        title, loc="left", fontsize=size, fontweight="bold", color=INK, pad=7.0 + 13.5 * lines, parse_math=False
    )
    if words:
        axes.annotate(
            words,
            (0.0, 1.0),
            xytext=(0.0, 6.0),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=SMALL,
            color=GREY,
            va="bottom",
            linespacing=1.3,
            parse_math=False,
        )


def person_name(identity: str) -> str:
    """What a panel calls a person: a bare number gets a noun, a name stands for itself."""
    return f"Person {identity}" if identity.strip().isdigit() else identity


def grid_shape(count: int) -> tuple[int, int]:
    """Rows and columns for this many panels: four wide where that fits, never wider than six."""
    columns = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3, 9: 3}.get(count, 4 if count <= 12 else 5 if count <= 20 else 6)
    return -(-count // columns), columns


def percent(probability: float, decimals: int = 0) -> str:
    """A share in per cent, with the space that does not break."""
    return f"{100.0 * probability:.{decimals}f}\u00a0%"
