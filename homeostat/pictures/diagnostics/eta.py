"""Everyone's own coordinates against their covariates."""

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from homeostat.pictures.colours import GREY, LINE, SECOND
from homeostat.pictures.diagnostics.marks import EACH, dot_line, trend
from homeostat.pictures.sheet import Given, sheet_axes
from homeostat.pictures.style import axis_labels, label, panel_title, tidy
from physics.arguments import require_kind
from training.diagnostics import EtaCovariates

PANELS = 24  # more could not be read


def shown_pairs(found: EtaCovariates) -> list[tuple[int, int]]:
    """Which coordinate against which covariate: all of them, or where there are too many those that chance explains least."""
    pairs = [(j, k) for j in range(len(found.effects)) for k in range(len(found.covariates)) if np.isfinite(found.chance[j, k])]
    if len(pairs) <= PANELS:
        return pairs
    return sorted(sorted(pairs, key=lambda one: found.chance[one])[:PANELS])


def eta_axes(found: EtaCovariates, *, axes: Given = None, title: str | None = None, subtitle: str | None = None) -> list[Axes]:
    """η̂ of each coordinate against each covariate, one dot a person; in words their rank correlation and its chance.

    Of more than 24 pairs those are drawn that chance explains least. `axes`, as many, by default those of a figure of its own
    under `title` and `subtitle`. Returns the panels' axes.
    Errors: `ValueError` where every covariate is the same for everyone.
    """
    require_kind(found, EtaCovariates, "eta_axes: found", "eta_against_covariates(model, cohort, generator=generator)")
    pairs = shown_pairs(found)
    if not pairs:
        raise ValueError("eta_axes: no covariate differs between these people, and nothing can be drawn against it")
    covariates = len({k for _, k in pairs})
    whole = 1 < covariates <= 4 and len(pairs) == len(found.effects) * covariates
    columns = covariates if whole else min(4, len(pairs))
    rows = -(-len(pairs) // columns)
    panels = sheet_axes(
        axes,
        (rows, columns),
        count=len(pairs),
        size=(max(5.5, 3.25 * columns), 2.75 * rows + 0.2),
        title=title,
        subtitle=subtitle,
        handles=_handles(any(_grouped(found, j, k) for j, k in pairs)),
        legend_columns=2 if columns > 1 else 1,
    )
    for panel, (j, k) in zip(panels, pairs, strict=True):
        here = np.isfinite(found.eta[:, j]) & np.isfinite(found.values[:, k])
        panel.axhline(0.0, color=GREY, linewidth=1.0, zorder=1.8, gid="zero")
        x, y = found.values[here, k], found.eta[here, j]
        dot_line(x, y, panel, gid="people")
        levels = np.unique(x)
        if len(levels) <= 5:  # categories: the mean of each
            panel.plot(
                levels,
                [y[x == v].mean() for v in levels],
                "_",
                color=SECOND,
                markersize=16.0,
                markeredgewidth=2.4,
                zorder=4.0,
                gid="trend",
            )
            panel.set_xticks(levels)
        else:
            trend(x, y, panel)
        tidy(panel, grid=False)
        if len(levels) <= 5:
            panel.set_xticks(levels)
            pad = 0.35 * (float(np.diff(levels).min()) if len(levels) > 1 else 1.0)
            panel.set_xlim(levels[0] - pad, levels[-1] + pad)
        most = max(2.2, 1.1 * float(np.abs(y).max()))
        panel.set_ylim(-most, most)
        axis_labels(panel, label(found.covariates[k], found.units[k]), f"η of {found.effects[j]}")
        words = f"rank correlation {found.correlation[j, k]:.2f}, chance {_shown(found.chance[j, k])}".replace("-", "−")
        panel_title(panel, f"{found.effects[j]} and {found.covariates[k]}", words, size=10.5)
    return panels


def _shown(chance: float) -> str:
    return f"{chance:.3f}" if chance < 0.1 else f"{chance:.2f}"


def _grouped(found: EtaCovariates, j: int, k: int) -> bool:
    """Are means drawn: of few values that a covariate takes, or of enough people for two groups?"""
    here = np.isfinite(found.eta[:, j]) & np.isfinite(found.values[:, k])
    return len(np.unique(found.values[here, k])) <= 5 or int(here.sum()) >= 2 * EACH


def _handles(grouped: bool) -> list[Artist]:
    dots = [Line2D([], [], color=LINE, marker="o", markersize=4.4, linestyle="none", label="one person")]
    return [*dots, Line2D([], [], color=SECOND, linewidth=1.8, label="means in groups")] if grouped else [*dots]
