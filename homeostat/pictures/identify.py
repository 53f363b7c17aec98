"""What several designs tell of each number: expected relative standard errors, side by side."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from homeostat.pictures.colours import FAINT, GREY, IGNORANCE, INK, LINE, PERSON, PROMISE, SECOND
from homeostat.pictures.sheet import sheet_axes
from homeostat.pictures.style import TEXT, tidy
from physics.arguments import require_kind
from training.identify import Information

_MOST = 1000.0  # per cent: beyond this, and where nothing is seen, a mark stands at the end
_MARKS = (("o", LINE), ("s", SECOND), ("D", PROMISE), ("^", IGNORANCE), ("v", PERSON), ("P", INK))


def expected_errors_axes(
    designs: Mapping[str, Information],
    *,
    axes: Axes | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Axes:
    """Expected RSE of every number under each design, in per cent on a logarithmic axis (gid "expected"). Returns the axes.

    A line stands at 100 %, a factor of e (gid "factor"). Open marks at the right end are beyond 1000 %, or of what is not seen at
    all (gid "unseen"). Of six designs or more the marks begin anew.
    Arguments: `designs` by name, of the same numbers · `axes`, by default those of a figure of its own under `title` and
    `subtitle`.
    Errors: `ValueError` for no designs, and for designs of different numbers.
    """
    require_kind(designs, Mapping, "expected_errors_axes: designs", "compare_designs(model, designs).designs")
    for one in designs.values():
        require_kind(one, Information, "expected_errors_axes: each of designs", "population_information(model, design)")
    if not designs or len({one.names for one in designs.values()}) > 1:
        raise ValueError(
            "expected_errors_axes: designs of the same numbers are drawn beside each other; give one or more, "
            "compare_designs(model, designs).designs"
        )
    names = next(iter(designs.values())).names
    handles = [_mark(k, label=name) for k, name in enumerate(designs)]
    size = (9.0, 0.42 * len(names) + 1.0)
    (panel,) = (
        (axes,)
        if axes is not None
        else sheet_axes(None, (1, 1), size=size, title=title, subtitle=subtitle, handles=handles, legend_columns=3)
    )
    rows = np.arange(len(names))[::-1]
    tidy(panel, grid=False)
    panel.axvline(100.0, color=GREY, linewidth=1.2, linestyle="--", zorder=1.0, gid="factor")
    low = 50.0
    for k, one in enumerate(designs.values()):
        percent = 100.0 * one.rse.detach().cpu().numpy()
        beyond = ~(percent < _MOST)
        low = min([low, *percent[~beyond].tolist()])
        places = rows + 0.9 * (0.5 - (k + 1.0) / (len(designs) + 1.0))
        style: dict[str, Any] = {
            "linestyle": "none",
            "marker": _MARKS[k % len(_MARKS)][0],
            "markersize": 6.0,
            "zorder": 3.0,
        }
        colour = _MARKS[k % len(_MARKS)][1]
        panel.plot(percent[~beyond], places[~beyond], color=colour, gid="expected", **style)
        ends = np.full(int(beyond.sum()), _MOST)
        # half outside of the panel, as what lies beyond it
        style |= {"markerfacecolor": "none", "markeredgecolor": colour, "clip_on": False}
        panel.plot(ends, places[beyond], gid="unseen", **style)
    panel.set_xscale("log")
    panel.set_xlim(0.7 * low, _MOST)
    panel.set_ylim(-0.6, len(names) - 0.4)
    panel.set_yticks(rows, names, fontsize=TEXT, parse_math=False)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(
        "expected relative standard error (%); open at the right end: more, or not seen", fontsize=TEXT, color=INK
    )
    for row in rows[:-1]:
        panel.axhline(row - 0.5, color=FAINT, linewidth=0.6, zorder=0.5)
    return panel


def _mark(k: int, label: str) -> Artist:
    marker, colour = _MARKS[k % len(_MARKS)]
    return Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=6.5, label=label)
