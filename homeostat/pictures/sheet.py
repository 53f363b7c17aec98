"""Where a picture is drawn: on the axes that were given, or on a figure of its own under its header."""

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from homeostat.pictures.style import axis_labels, header, header_height, new_figure
from physics.arguments import require_kind

Given = Axes | Iterable[Axes] | None


def panel_axes(axes: Axes | None, *, width: float = 6.0, height: float = 4.2, handles: Sequence[Artist] = ()) -> Axes:
    """The axes that were given, or those of a new figure, its size in inches, with a legend of `handles` above the panel.

    Errors: `ValueError` for what are no axes.
    """
    if axes is not None:
        return given_axes(axes, 1)[0]
    columns = min(2, max(1, len(handles)))
    return sheet_axes(None, (1, 1), size=(width, height), title=None, handles=handles, legend_columns=columns)[0]


def given_axes(axes: Given, count: int) -> list[Axes]:
    """The given axes as a list of `count`, from one or any array of them, in reading order.

    Errors: `ValueError` for too few, or for what are no axes.
    """
    flat = np.asarray(axes, dtype=object).ravel().tolist()
    wrong = [a for a in flat if not isinstance(a, Axes)]
    if wrong:
        raise ValueError(
            f"axes holds a {type(wrong[0]).__name__}; a picture is drawn on matplotlib axes: axes=figure.subplots(), or leave "
            "axes out."
        )
    if len(flat) < count:
        raise ValueError(
            f"{len(flat)} axes were given and the picture has {count} panels; give as many, or leave axes out."
        )
    return flat[:count]


def sheet_axes(
    axes: Given,
    shape: tuple[int, int],
    *,
    count: int | None = None,
    size: tuple[float, float],
    title: str | None,
    subtitle: str | None = None,
    handles: Sequence[Artist] = (),
    legend_columns: int = 3,
    share: bool = False,
    width_ratios: Sequence[float] | None = None,
) -> list[Axes]:
    """The panels of a picture, in reading order: `count` of rows × columns `shape`.

    Without `axes` on a figure of its own, `size` inches for the panels, to whose height that of title, subtitle and
    the one legend above them is added. Places that stay empty are hidden.
    Errors: `ValueError` for axes that do not fit, or a title beside them: it is a figure's.
    """
    rows, columns = shape
    count = rows * columns if count is None else count
    if axes is not None:
        if title or subtitle:
            raise ValueError(
                "title and subtitle head a figure of the picture's own; on axes that are given, leave them out."
            )
        return given_axes(axes, count)
    width, height = size
    lines = -(-len(handles) // legend_columns)
    figure = _shown_figure(width, height + header_height(title or "", subtitle, width, lines))
    grid = figure.subplots(rows, columns, sharex=share, sharey=share, squeeze=False, width_ratios=width_ratios).ravel()
    for empty in grid[count:]:
        empty.set_visible(False)
    header(figure, title or "", subtitle, handles=handles, columns=legend_columns)
    return list(grid[:count])


def figure_of(panels: Axes | Iterable[Axes]) -> Figure:
    """The figure that a picture's panels, one or a list of them, lie on: what `write_picture` and `save` take.

    Errors: `ValueError` for no panels, for what are none, or such as lie on no figure.
    """
    found = np.asarray(panels, dtype=object).ravel().tolist()
    for one in found:
        require_kind(one, Axes, "figure_of: each of panels", "figure_of(people_axes(prediction, records))")
    figure = found[0].get_figure(root=True) if found else None
    if figure is None:
        raise ValueError("There are no panels on a figure; give the axes that a picture's function returned.")
    return figure


def outer_labels(panels: Sequence[Axes], x: str, y: str) -> None:
    """The axes' names and numbers, once for each row and column: on the panels with nobody below, and on the first of every row.

    For panels of the same limits, which are set on each: axes that matplotlib shares are drawn several times more slowly.
    """
    for place, axes in enumerate(panels):
        spec = axes.get_subplotspec()
        columns = 1 if spec is None else spec.get_gridspec().ncols
        lowest, leftmost = spec is None or place + columns >= len(panels), spec is None or spec.is_first_col()
        axes.tick_params(labelbottom=lowest, labelleft=leftmost)
        axis_labels(axes, x if lowest else None, y if leftmost else None)
        if lowest:  # above an empty place it takes no room from the rows
            axes.xaxis.set_in_layout(spec is None or spec.is_last_row())


def _shown_figure(width: float, height: float) -> Figure:
    """A figure of its own; in a notebook one of pyplot's, which the notebook shows at the end of the cell."""
    if "ipykernel" in sys.modules:
        from importlib import import_module

        shell = import_module("IPython").get_ipython()
        if shell is not None and getattr(shell, "kernel", None) is not None:
            figure: Figure = import_module("matplotlib.pyplot").figure(figsize=(width, height), facecolor="white")
            return figure
    return new_figure(width, height)
