"""Contraction, seen: a vector field of two states, pairs of trajectories that meet, and the ellipse that says how
fast."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from numpy.typing import ArrayLike

from homeostat.pictures.colours import FAINT, GREY, INK, LINE, PROMISE, SECOND
from homeostat.pictures.flow import Array, Field, flow
from homeostat.pictures.sheet import Given, panel_axes, sheet_axes
from homeostat.pictures.style import TEXT, axis_labels, label, panel_title, tidy
from physics.arguments import require_kind
from physics.glance import glance


def nearby(
    start: ArrayLike,  # (2,)
    metric: ArrayLike,  # (2, 2)
    distance: float,
) -> Array:  # (2, 2)
    """A pair of starts: this one, and one at `distance` √(δᵀPδ) from it along the long axis of the metric's ellipse.

    The long axis is the eigenvector of P with the smaller eigenvalue, pointed so that its larger entry is positive.
    """
    values, vectors = np.linalg.eigh(np.asarray(metric, dtype=np.float64))
    axis = vectors[:, 0] * np.sign(vectors[np.argmax(np.abs(vectors[:, 0])), 0])
    first = np.asarray(start, dtype=np.float64)
    return np.stack([first, first + distance / np.sqrt(values[0]) * axis])


@dataclass(frozen=True, eq=False)
class Phase:
    """What a phase picture shows.

    `field`; `times` (T,); `pairs` (K, 2, T, 2): K pairs of trajectories, each of two starts, at these times, under this
    field; `metric` P (2, 2) and `rate` λ of the certificate, None where there is none; names and UCUM units; `lowest`
    (2,), where the axes begin, e.g. (0, 0) for amounts, which are never negative.
    Errors: `ValueError` for shapes that do not fit, or a metric that is not symmetric and positive definite.
    """

    field: Field
    times: Array
    pairs: Array
    metric: Array | None
    rate: float | None
    states: tuple[str, str]
    units: tuple[str, str]
    time_unit: str
    lowest: tuple[float, float] | None = None

    __repr__, _repr_html_ = glance()

    def __post_init__(self) -> None:
        times, pairs = np.asarray(self.times, dtype=np.float64), np.asarray(self.pairs, dtype=np.float64)
        if times.ndim != 1 or pairs.ndim != 4 or pairs.shape[1:] != (2, times.size, 2) or times.size < 2:
            raise ValueError(
                f"pairs has shape {pairs.shape} and times {times.shape}; a phase picture needs (pairs, 2, times, 2 "
                "states) and (times,). One pair still has its axis: write pairs[None]."
            )
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "pairs", pairs)
        if (self.metric is None) != (self.rate is None):
            raise ValueError(
                "A metric came without a rate or a rate without a metric; the promise needs both, or neither."
            )
        if self.metric is not None:
            P = np.asarray(self.metric, dtype=np.float64)
            if P.shape != (2, 2) or not np.allclose(P, P.T) or not np.linalg.eigvalsh((P + P.T) / 2)[0] > 0:
                raise ValueError(
                    f"The metric is {P.tolist()}; an ellipse needs a symmetric positive definite (2, 2) matrix."
                )
            object.__setattr__(self, "metric", P)

    @staticmethod
    def of(
        field: Field,
        starts: ArrayLike,  # (K, 2, 2): K pairs of two starts
        times: ArrayLike,  # (T,)
        *,
        metric: ArrayLike | None = None,
        rate: float | None = None,
        states: Sequence[str],
        units: Sequence[str],
        time_unit: str,
        lowest: tuple[float, float] | None = None,
    ) -> "Phase":
        """The picture's trajectories, integrated from pairs of starts under the field that is drawn.

        The ellipse is as large as the first pair is apart in the metric. Starts that differ along its long axis (see
        `nearby`) give the smallest ellipse for a given distance in the states' own units.
        """
        points = np.asarray(starts, dtype=np.float64)
        if points.ndim != 3 or points.shape[1:] != (2, 2):
            raise ValueError(
                f"starts has shape {points.shape}; pairs of starts in two states have shape (pairs, 2, 2)."
            )
        t = np.asarray(times, dtype=np.float64)
        pairs = flow(field, points.reshape(-1, 2), t).reshape(len(points), 2, t.size, 2)
        P = None if metric is None else np.asarray(metric, dtype=np.float64)
        return Phase(field, t, pairs, P, rate, (states[0], states[1]), (units[0], units[1]), time_unit, lowest)

    @property
    def distance(self) -> Array:  # (K, T)
        """√(δxᵀPδx) of every pair at every time."""
        if self.metric is None:
            raise ValueError("There is no metric, so there is no distance to measure; give metric= and rate=.")
        difference = self.pairs[:, 1] - self.pairs[:, 0]
        return np.sqrt(np.einsum("kti,ij,ktj->kt", difference, self.metric, difference))

    @property
    def promise(self) -> Array:  # (K, T)
        """e^{−λt} times each pair's first distance: the certificate's upper bound."""
        decay = np.exp(-(self.rate or 0.0) * (self.times - self.times[0]))
        return self.distance[:, :1] * decay

    @property
    def kept(self) -> bool:
        """Whether every pair stays within its promise at every time, up to the integration's own error (1e-6)."""
        return bool((self.distance <= self.promise + 1e-6 * self.distance[:, :1]).all())

    def ellipse(self, centre: Array, radius: float, points: int = 181) -> Array:  # (points, 2)
        """The curve {x : (x − centre)ᵀP(x − centre) = radius²}, with P = CCᵀ: centre + radius C⁻ᵀ (cos, sin)."""
        if self.metric is None:
            raise ValueError("There is no metric, so there is no ellipse; give metric= and rate=.")
        angle = np.linspace(0.0, 2.0 * np.pi, points)
        circle = np.stack([np.cos(angle), np.sin(angle)])
        C = np.linalg.cholesky(self.metric)
        return np.asarray(centre + radius * np.linalg.solve(C.T, circle).T)


def field_axes(phase: Phase, *, axes: Axes | None = None, ellipses: int = 4, density: float = 1.0) -> Axes:
    """Streamlines, pairs (gids "first", "second"), and the ellipse around the first pair's first trajectory
    ("promise").

    `ellipses`, at how many times; `density` of the streamlines. Returns the axes.
    """
    require_kind(phase, Phase, "field_axes: phase", "Phase.of(field, starts, times, …)")
    axes = panel_axes(axes, handles=field_handles(phase))
    shapes: list[Array] = []
    marks = _marks(phase, ellipses)
    if phase.metric is not None:
        shapes = [phase.ellipse(phase.pairs[0, 0, k], float(phase.promise[0, k])) for k in marks]
    reach = np.concatenate([phase.pairs.reshape(-1, 2), *shapes])
    low, high = reach.min(0), reach.max(0)
    pad = 0.05 * np.where(high > low, high - low, 1.0)
    low, high = low - pad, high + pad
    if phase.lowest is not None:
        low = np.maximum(low, phase.lowest)
    x, y = np.linspace(low[0], high[0], 41), np.linspace(low[1], high[1], 41)
    places = np.stack(np.meshgrid(x, y), -1)
    rate = np.asarray(phase.field(places.reshape(-1, 2))).reshape(41, 41, 2)
    axes.streamplot(
        x, y, rate[..., 0], rate[..., 1], density=density, color=FAINT, linewidth=0.8, arrowsize=0.8, zorder=1
    )
    for shape in shapes:
        axes.add_patch(
            Polygon(
                shape, closed=True, facecolor="#00795c1c", edgecolor=PROMISE, linewidth=1.3, zorder=2.5, gid="promise"
            )
        )
    for first, second in phase.pairs:
        for curve, colour, gid in ((first, LINE, "first"), (second, SECOND, "second")):
            axes.plot(*curve.T, color=colour, linewidth=1.8, zorder=3.0, gid=gid)
            axes.plot(*curve[0], color=colour, marker="o", markersize=5.5, zorder=4.6, linestyle="none")
    for k in marks if shapes else ():
        for curve, colour in zip(phase.pairs[0], (LINE, SECOND), strict=True):
            axes.plot(
                *curve[k],
                color="white",
                marker="o",
                markersize=4.5,
                markeredgecolor=colour,
                zorder=4.5,
                linestyle="none",
            )
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    tidy(axes, grid=False)
    axis_labels(axes, *(label(name, unit) for name, unit in zip(phase.states, phase.units, strict=True)))
    return axes


def _marks(phase: Phase, count: int) -> list[int]:
    """Indices of times at which to draw the ellipse: equally far apart along the first trajectory on the picture."""
    steps = np.diff(phase.pairs[0, 0], axis=0) / np.ptp(phase.pairs[0].reshape(-1, 2), axis=0).clip(1e-300)
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(*steps.T))])
    wanted = np.linspace(0.0, travelled[-1], count + 1)[:-1]
    return sorted({int(np.searchsorted(travelled, w)) for w in wanted})


def distance_axes(phase: Phase, *, axes: Axes | None = None) -> Axes:
    """Each pair's distance in the metric (gid "distance") under its promise (gid "promise"), relative to the first.

    Returns the axes. Errors: `ValueError` for a phase without a metric.
    """
    require_kind(phase, Phase, "distance_axes: phase", "Phase.of(field, starts, times, …)")
    axes = panel_axes(axes)
    elapsed = phase.times - phase.times[0]
    axes.plot(elapsed, phase.promise[0] / phase.promise[0, 0], color=PROMISE, linewidth=1.6, gid="promise")
    for k, (distance, first) in enumerate(zip(phase.distance, phase.distance[:, 0], strict=True)):
        axes.plot(
            elapsed, distance / first, color=INK if k == 0 else GREY, linewidth=1.8 if k == 0 else 1.0, gid="distance"
        )
    axes.set_yscale("log")
    lowest = float((phase.promise[0] / phase.promise[0, 0]).min())
    axes.set_ylim(max(1e-6, 0.02 * lowest), 1.6)  # far below the promise the integration's error takes over
    axes.yaxis.set_major_formatter("{x:g}")
    tidy(axes)
    middle = int(np.searchsorted(elapsed, 0.6 * elapsed[-1]))
    axes.annotate(
        "promised",
        (elapsed[middle], phase.promise[0, middle] / phase.promise[0, 0]),
        xytext=(2.0, 4.0),  # to the right of a point of a falling line there is room above it
        textcoords="offset points",
        ha="left",
        va="bottom",
        color=PROMISE,
        fontsize=TEXT,
    )
    axis_labels(axes, label("time", phase.time_unit), "Distance, as a fraction of the first")
    return axes


def _moments(phase: Phase, count: int) -> str:
    times = ", ".join(f"{phase.times[k]:.2g}" for k in _marks(phase, count))
    return f"ellipses and open dots: the same pair at t = {times} {phase.time_unit}"


def _distance_words(phase: Phase) -> str:
    others = len(phase.pairs) - 1
    return "thick: the pair with the ellipses" + (
        "; thin: the other pairs" if others > 1 else "; thin: the other pair" if others else ""
    )


def phase_handles(phase: Phase) -> list[Artist]:
    """The legend's entries; of what the certificate promises, the ellipse and, on the right, the line."""
    entries = field_handles(phase)
    if phase.metric is not None:
        entries.append(Line2D([], [], color=PROMISE, linewidth=1.6, label="certificate: the distance stays below"))
    return entries


def field_handles(phase: Phase) -> list[Artist]:
    """The legend's entries of the panel with the vector field."""
    entries: list[Artist] = [
        Line2D([], [], color=LINE, linewidth=1.8, marker="o", markersize=5.0, label="one start"),
        Line2D([], [], color=SECOND, linewidth=1.8, marker="o", markersize=5.0, label="another start, nearby"),
        Line2D([], [], color=FAINT, linewidth=1.4, label="direction of dx/dt"),
    ]
    if phase.metric is not None:
        inside = "certificate: the second stays inside"
        entries.append(Patch(facecolor="#00795c1c", edgecolor=PROMISE, label=inside))
    return entries


def phase_axes(
    phase: Phase,
    *,
    axes: Given = None,
    ellipses: int = 4,
    title: str | None = None,
    subtitle: str | None = None,
) -> list[Axes]:
    """Vector field, converging pairs, and the certificate's shrinking ellipse. Returns the panels' axes.

    Around the first trajectory of the first pair the ellipse {δx : δxᵀPδx = r₀² e^{−2λt}} is drawn at `ellipses` times,
    with r₀ the pair's first distance: the certificate says that the second trajectory is inside. The panel on the right
    shows the same for all times and pairs, on a logarithmic axis. Without a metric neither is drawn, and there is one
    panel.
    Arguments: `axes`, two (one without a metric), by default those of a figure of its own under `title` and `subtitle`.
    """
    require_kind(phase, Phase, "phase_axes: phase", "Phase.of(field, starts, times, …)")
    proved = phase.metric is not None
    panels = sheet_axes(
        axes,
        (1, 2 if proved else 1),
        size=(12.0 if proved else 8.0, 5.4),
        title=title,
        subtitle=subtitle,
        handles=phase_handles(phase),
        legend_columns=3,
        width_ratios=(1.55, 1.0) if proved else None,
    )
    field_axes(phase, axes=panels[0], ellipses=ellipses)
    if proved:
        panel_title(panels[0], "Two starts, one destination", _moments(phase, ellipses))
        distance_axes(phase, axes=panels[1])
        panel_title(panels[1], "Distance in the certified metric", _distance_words(phase))
    return panels
