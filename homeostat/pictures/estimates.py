"""Every estimate with its interval, or the estimates of the members, beside what is in the middle of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from homeostat.pictures.colours import FAINT, GREY, INK, LINE
from homeostat.pictures.sheet import sheet_axes
from homeostat.pictures.style import TEXT, tidy
from physics.arguments import require_kind
from physics.glance import glance

_TICKS = (0.01, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 10.0, 100.0)
_FINE = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)


@dataclass(frozen=True)
class Known:
    """One positive number as a picture shows it: its `middle`, the ends of its interval, or of its `members` the outermost."""

    name: str
    unit: str
    middle: float
    low: float
    high: float
    members: tuple[float, ...] = ()

    __repr__, _repr_html_ = glance()


def estimates_axes(
    known: Sequence[Known],
    *,
    axes: Axes | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Axes:
    """Each number's interval (gid "interval"), or the estimates of several members (gid "member"), as multiples of what is in the
    middle, on a logarithmic axis. Returns the axes.

    Arguments: `axes`, by default those of a figure of its own under `title` and `subtitle`.
    Errors: `ValueError` where there is nothing to draw.
    """
    require_kind(known, Sequence, "estimates_axes: known", '[Known("CL", "L/h", 2.75, 2.34, 3.24)]')
    if not known:
        raise ValueError("estimates_axes: no number is given; there is nothing to draw")
    for one in known:
        require_kind(one, Known, "estimates_axes: each of known", 'Known("CL", "L/h", 2.75, 2.34, 3.24)')
    size = (9.0, 0.36 * len(known) + 1.0)
    (panel,) = (axes,) if axes is not None else sheet_axes(None, (1, 1), size=size, title=title, subtitle=subtitle)
    tidy(panel, grid=False)
    panel.axvline(1.0, color=GREY, linewidth=1.2, linestyle="--", zorder=1.0, gid="estimate")
    dot: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": LINE}
    for place, one in enumerate(reversed(known)):
        if one.members:
            values = [value / one.middle for value in one.members]
            panel.add_line(Line2D(values, [place] * len(values), markersize=5.0, gid="member", **dot))
        else:
            ends = [one.low / one.middle, one.high / one.middle]
            panel.add_line(Line2D(ends, [place, place], color=LINE, linewidth=2.2, gid="interval"))
            panel.add_line(Line2D([1.0], [place], markersize=6.0, gid="point", **dot))
        if place:
            panel.axhline(place - 0.5, color=FAINT, linewidth=0.6, zorder=0.5)
    low, high = min(one.low / one.middle for one in known), max(one.high / one.middle for one in known)
    panel.set_xscale("log")
    panel.set_xlim(min(low / 1.1, 1.0 / 1.3), max(1.1 * high, 1.3))
    panel.set_ylim(-0.6, len(known) - 0.4)
    panel.set_yticks(range(len(known)), [one.name for one in reversed(known)], fontsize=TEXT, parse_math=False)
    low, high = panel.get_xlim()
    panel.set_xticks([t for t in (_TICKS if high > 2.0 * low else _FINE) if low <= t <= high])
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(axis="x", which="minor", length=0.0)
    words = "multiple of the members' median" if any(one.members for one in known) else "multiple of the estimate"
    panel.set_xlabel(words, fontsize=TEXT, color=INK)
    return panel


def estimates_in_words(known: Sequence[Known], what: str) -> str:
    """The same numbers; `what` they are, "95 % intervals"."""
    said = [
        f"{one.name} {one.middle:.3g}{'' if one.unit == '1' else f' {one.unit}'}, {one.low:.3g} to {one.high:.3g}"
        for one in known
    ]
    return f"{len(said)} rows, {what}: {'; '.join(said)}."
