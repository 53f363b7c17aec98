"""Everyone's parameters θ, each in its box: typical value, spread between people, and who leans on an end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from homeostat.pictures.colours import FAINT, GREY, INK, LINE, NOISE, SECOND
from homeostat.pictures.sheet import Given, sheet_axes
from homeostat.pictures.style import TEXT, tidy
from physics.arguments import require_kind
from physics.glance import glance
from training import AtEnd

EDGE = 0.05  # the outermost part of a box, of the logarithm's width, in which a value leans on its end


@dataclass(frozen=True, eq=False)
class Theta:
    """The physical parameters of a model, and of the people of a cohort under it.

    `names`, `units` (q,) · `box` (q, 2) in those units · `typical` (M, q), of η = 0 and the median covariates · `spread`
    (M, q), ω, the standard deviation between people as the model has it, of ln θ or on what other scale `scales` says, 0 for a
    parameter that everyone shares, None for a population without one;
    `learned`, whether it was fitted · `ids` (N,) and `values` (M, N, q), everyone's most likely θ · `found` (N,), whether
    everyone's search ended well under every member · `ends`, who and what lies at an end of its range · `given`, where nothing
    of θ is estimated, the covariates (N,) that it is computed from, by name with unit; None where it is · `scales` (q,), "log",
    "logit" or "linear", on which people are spread; () for logarithms all through.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    box: NDArray[np.float64]
    typical: NDArray[np.float64]
    spread: NDArray[np.float64] | None
    learned: bool
    ids: tuple[str, ...]
    values: NDArray[np.float64]
    found: NDArray[np.bool_]
    ends: tuple[AtEnd, ...] = ()
    given: Mapping[str, NDArray[np.float64]] | None = None
    scales: tuple[str, ...] = ()

    __repr__, _repr_html_ = glance()

    @property
    def members(self) -> int:
        """M."""
        return len(self.values)

    @property
    def people(self) -> NDArray[np.float64]:  # (N, q)
        """Everyone's θ, the mean over the members."""
        return np.asarray(self.values.mean(0))

    def middle(self, j: int) -> float:
        """The typical value of a parameter, the mean over the members."""
        return float(self.typical[:, j].mean())

    def expected(self, j: int) -> tuple[float, float] | None:
        """From where to where 95 % of people are expected, typical · e^{±1.96 ω}, or as far on another scale, within the box.

        None without a spread.
        """
        if self.spread is None or not self.spread[:, j].any():
            return None
        reach, low, high = 1.96 * float(self.spread[:, j].mean()), *map(float, self.box[j])
        placed = on_scale(np.array(self.middle(j)), self.scale(j), low, high)
        ends = from_scale(np.array([placed - reach, placed + reach]), self.scale(j), low, high)
        return max(float(ends[0]), low), min(float(ends[1]), high)

    def scale(self, j: int) -> str:
        """The scale on which people's values of a parameter are spread."""
        return self.scales[j] if self.scales else "log"

    def leaning(self, j: int) -> list[str]:
        """The ids of the people who lean on an end of a parameter's range, in their order."""
        leaning = {who for end in self.ends if end.what == "people" and end.name == self.names[j] for who in end.people}
        return [who for who in self.ids if who in leaning]


def on_scale(values: NDArray[np.float64], scale: str, low: float, high: float) -> NDArray[np.float64]:
    """Values of a parameter with this box on the scale on which people are spread."""
    if scale == "logit":
        share = np.clip((values - low) / (high - low), 1e-15, 1.0 - 1e-15)
        return np.asarray(np.log(share / (1.0 - share)))
    return np.asarray(np.log(values)) if scale == "log" else values


def from_scale(values: NDArray[np.float64], scale: str, low: float, high: float) -> NDArray[np.float64]:
    """The other way round."""
    if scale == "logit":
        return np.asarray(low + (high - low) / (1.0 + np.exp(-values)))
    return np.asarray(np.exp(values)) if scale == "log" else values


def theta_axes(
    theta: Theta,
    *,
    axes: Given = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> list[Axes]:
    """One strip for each parameter, on an axis as wide as its box, logarithmic where people are so spread. Returns their axes.

    Everyone is a stroke (gid "people"), those who lean on an end of the range thicker (gid "leaning"); the pale bar is where the
    model expects 95 % of people (gid "expected"), the dot the typical value (gid "typical"); hatched, the outermost
    twentieth of the box at either end (gid "edge"), where the box speaks and not the data; not where θ is given. Values are
    means over the members. A parameter whose box is a single value is a dot on a line.
    Arguments: `axes`, one for each parameter, by default those of a figure of its own under `title` and `subtitle`.
    Errors: `ValueError` for a model without parameters.
    """
    require_kind(theta, Theta, "theta_axes: theta", "homeostat.gallery.theta.theta_of(model, cohort, personal)")
    q = len(theta.names)
    if not q:
        raise ValueError(
            "There are no physical parameters to draw: this model's right-hand side is learned as a whole."
        )
    strips = sheet_axes(
        axes,
        (q, 1),
        size=(11.0, 0.98 * q + 0.1),
        title=title,
        subtitle=subtitle,
        handles=theta_handles(theta),
        legend_columns=3,
    )
    for j, strip in enumerate(strips):
        strip_axes(theta, j, axes=strip)
    return strips


def strip_axes(theta: Theta, parameter: int, *, axes: Axes) -> Axes:
    """One parameter of `theta_axes`, by its place. Returns the axes."""
    j = parameter
    low, high = (float(v) for v in theta.box[j])
    logs = theta.scale(j) == "log"
    axes.set_xscale("log" if logs else "linear")
    values, leaning = theta.people[:, j], np.isin(theta.ids, theta.leaning(j))
    if high > low:
        share = np.array([EDGE, 1.0 - EDGE])
        within = low * (high / low) ** share if logs else low + (high - low) * share
        axes.set_xlim(low, high)
        for begin, end in ((low, within[0]), (within[1], high)) if theta.given is None else ():
            axes.axvspan(
                begin, end, facecolor="none", edgecolor=FAINT, hatch="////", linewidth=0.0, zorder=0.6, gid="edge"
            )
        expected = theta.expected(j)
        if expected is not None:
            axes.fill_between(expected, -0.5, 0.5, color=NOISE, linewidth=0.0, zorder=1.0).set_gid("expected")
    else:
        axes.set_xlim(*((low / 1.5, low * 1.5) if logs else (low - 0.5 * abs(low) - 1e-9, low + 0.5 * abs(low) + 1e-9)))
    for gid, chosen, colour, width in (("people", ~leaning, LINE, 1.0), ("leaning", leaning, SECOND, 2.6)):
        # within the box to the last digit: a stroke on its end is seen whole
        axes.vlines(values[chosen], -0.42, 0.42, color=colour, linewidth=width, zorder=3.0, clip_on=False).set_gid(gid)
    axes.plot(
        [theta.middle(j)], [0.0], "o", color=INK, markeredgecolor="white", markersize=7.5, zorder=4.0, gid="typical"
    )
    axes.set_ylim(-0.62, 0.62)
    tidy(axes, grid=False)
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    if logs:
        axes.xaxis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0), numticks=12))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylabel(
        theta.names[j]
        + (f"\n({theta.units[j]})" if theta.units[j] not in ("", "1") else ""),  # a letter stays as it is
        rotation=0.0,
        ha="right",
        va="center",
        fontsize=TEXT,
        color=INK,
        parse_math=False,
    )
    return axes


def theta_handles(theta: Theta) -> list[Artist]:
    """The legend's entries."""
    bar: dict[str, Any] = {"marker": "|", "linestyle": "none", "markersize": 11.0}
    entries: list[Artist] = [Line2D([], [], color=LINE, markeredgewidth=1.0, label="one person", **bar)]
    if any(theta.leaning(j) for j in range(len(theta.names))):
        entries.append(Line2D([], [], color=SECOND, markeredgewidth=2.6, label="leans on an end", **bar))
    entries.append(Line2D([], [], color=INK, marker="o", linestyle="none", markersize=7.0, label="typical value"))
    if any(theta.expected(j) is not None for j in range(len(theta.names))):
        entries.append(Patch(facecolor=NOISE, label="where 95\u00a0% of people are expected"))
    if theta.given is None and (theta.box[:, 1] > theta.box[:, 0]).any():
        entries.append(
            Patch(facecolor="none", edgecolor=GREY, hatch="////", linewidth=0.0, label="outermost twentieth of the box")
        )
    return entries


def shown_in_words(theta: Theta, parameters: Sequence[int] | None = None) -> str:
    """What is seen of each parameter, with its numbers."""
    found = []
    for j in range(len(theta.names)) if parameters is None else parameters:
        unit = "" if theta.units[j] in ("", "1") else f" {theta.units[j]}"
        low, high = theta.box[j]
        words = f"{theta.names[j]}: typical {theta.middle(j):.3g}{unit}"
        if len(theta.ids):
            values = theta.people[:, j]
            words += f", people from {values.min():.3g} to {values.max():.3g}{unit}"
        words += f", box {low:.4g} to {high:.4g}{unit}"
        leaning = theta.leaning(j)
        if leaning:
            words += f", {len(leaning)} of {len(theta.ids)} people {'leans' if len(leaning) == 1 else 'lean'} on an end"
        found.append(words)
    return "; ".join(found)
