"""Every estimate with its interval, or the estimates of the members, beside what is in the middle of them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from homeostat.pictures.colours import FAINT, GREY, INK, LINE
from homeostat.pictures.sheet import sheet_axes
from homeostat.pictures.style import TEXT, tidy
from homeostat.study.estimated import Estimate, Estimated
from physics.arguments import require_kind


def drawn_in(found: Estimated) -> dict[str, list[Estimate]]:
    """The numbers that a picture of ratios can show, each of every member: positive ones, with an interval or members."""
    by_name: dict[str, list[Estimate]] = {}
    for row in found.rows:
        by_name.setdefault(row.name, []).append(row)
    return {
        name: rows
        for name, rows in by_name.items()
        if all(row.estimate > 0.0 and row.scale == "log" for row in rows) and (len(rows) > 1 or rows[0].low is not None)
    }


def estimates_axes(
    found: Estimated,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Axes:
    """Of one member each estimate's interval (gid "interval"), of several the members' estimates (gid "member"), as multiples of
    the estimate, or of their median, on a logarithmic axis. Returns the axes.

    Arguments: `axes`, by default those of a figure of its own under `title` and `subtitle`.
    Errors: `ValueError` where there is nothing of the kind (`drawn_in`).
    """
    require_kind(found, Estimated, "estimates_axes: found", "Estimated.of(parameter_table(fitted, cohort))")
    shown = drawn_in(found)
    if not shown:
        raise ValueError(
            "estimates_axes: no estimate has an interval, and there is one member; there is nothing to draw"
        )
    size = (9.0, 0.36 * len(shown) + 1.0)
    (panel,) = (axes,) if axes is not None else sheet_axes(None, (1, 1), size=size, title=title, subtitle=subtitle)
    tidy(panel, grid=False)
    panel.axvline(1.0, color=GREY, linewidth=1.2, linestyle="--", zorder=1.0, gid="estimate")
    ends = [1.0]
    names = list(shown)[::-1]
    for place, name in enumerate(names):
        rows = shown[name]
        middle = float(np.median([row.estimate for row in rows]))
        if len(rows) > 1:
            values = [row.estimate / middle for row in rows]
            panel.add_line(
                Line2D(
                    values,
                    [place] * len(values),
                    linestyle="none",
                    marker="o",
                    markersize=5.0,
                    color=LINE,
                    gid="member",
                )
            )
            ends += values
        else:
            low, high = (float(end or middle) / middle for end in (rows[0].low, rows[0].high))
            panel.add_line(Line2D([low, high], [place, place], color=LINE, linewidth=2.2, gid="interval"))
            panel.add_line(
                Line2D([1.0], [place], linestyle="none", marker="o", markersize=6.0, color=LINE, gid="point")
            )
            ends += [low, high]
        if place:
            panel.axhline(place - 0.5, color=FAINT, linewidth=0.6, zorder=0.5)
    low, high = min(ends), max(ends)
    panel.set_xscale("log")
    panel.set_xlim(min(low / 1.1, 1.0 / 1.3), max(1.1 * high, 1.3))
    panel.set_ylim(-0.6, len(names) - 0.4)
    panel.set_yticks(range(len(names)), names, fontsize=TEXT, parse_math=False)
    ticks = [t for t in (0.01, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 10.0, 100.0) if low / 1.1 <= t <= 1.1 * high]
    panel.set_xticks(ticks)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(axis="x", which="minor", length=0.0)
    words = "multiple of the estimate" if found.members == 1 else "multiple of the members' median"
    panel.set_xlabel(words, fontsize=TEXT, color=INK)
    return panel


def estimates_in_words(found: Estimated) -> str:
    """The same numbers."""
    said = []
    for name, rows in drawn_in(found).items():
        values = [row.estimate for row in rows]
        low, high = (rows[0].low, rows[0].high) if len(rows) == 1 else (min(values), max(values))
        unit = "" if rows[0].unit == "1" else f" {rows[0].unit}"
        said.append(f"{name} {float(np.median(values)):.3g}{unit}, {low:.3g} to {high:.3g}")
    what = f"{100 * found.level:g} % intervals" if found.members == 1 else f"the estimates of {found.members} members"
    return f"{len(said)} rows, {what}: {'; '.join(said)}."
