"""Are stated probabilities met? Two diagrams, each with the band that a perfect forecaster would show."""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from homeostat.pictures.colours import FAINT, GREY, LINE
from homeostat.pictures.sheet import Given, panel_axes, sheet_axes
from homeostat.pictures.style import axis_labels, panel_title, percent, tidy
from physics.arguments import require_kind
from physics.glance import glance
from training.trust.calibration import (
    EVENT_BINS,
    ReliabilityCurve,
    calibration_null_band,
    expected_calibration_error,
    quantile_null_band,
    reliability_curve,
)
from training.trust.null_band import ArrayLike, NullBand, as_array, present, replicates, stray_band, tails, uniform

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Reliability:
    """The numbers of the two diagrams.

    `event`, what the probabilities are of, as words that end a sentence ("above 8 mg/L") · `curve` with its pointwise
    null band and `error`, the expected calibration error with its band · `levels` (J,), `fraction` (J,) of observations
    at or below their predicted quantile, its pointwise band `fraction_band` (2, J), and `quantile_error` with its
    band · `observations`, how many · `fraction_strays`, how many of the J fractions leave their own band, as a null
    band of that count (the curve's own is `curve.strays`). A point's band is of that point alone: of many points some
    leave theirs by chance, and an error inside its band says nothing of them.
    """

    event: str
    curve: ReliabilityCurve
    error: NullBand
    levels: Array
    fraction: Array
    fraction_band: Array
    quantile_error: NullBand
    observations: int
    fraction_strays: NullBand

    __repr__, _repr_html_ = glance()

    @staticmethod
    def of(
        probability: ArrayLike,  # any shape
        outcome: ArrayLike,  # the same shape, 0 or 1, NaN is missing
        pit: ArrayLike,  # any shape, in [0, 1], NaN is missing
        *,
        event: str,
        null: NullBand | None = None,
        bins: int = EVENT_BINS,
        levels: int = 20,
        groups: ArrayLike | None = None,
        joint_outcome: ArrayLike | None = None,  # (R, *shape of outcome)
        joint_pit: ArrayLike | None = None,  # (R, *shape of pit)
        generator: torch.Generator | None = None,
        draws: int = 1000,
        band_level: float = 0.95,
    ) -> "Reliability":
        """Compute them: equal-mass bins, L1 error, dependence as in `calibration_null_band`.

        `null`: the band of the expected calibration error where the caller has it; its bins must be these. Without a
        `generator`, one with seed 0. `joint_*` are replicates of whole predictive paths, needed with `groups`.
        Errors: as the functions of `training.trust.calibration`; `ValueError` for a `null` of other bins.
        Law: the pointwise band of the fractions, for independent transforms, is that of a binomial count.
        """
        generator = generator or torch.Generator().manual_seed(0)
        curve = reliability_curve(
            probability,
            outcome,
            bins=bins,
            generator=generator,
            draws=draws,
            groups=groups,
            joint=joint_outcome,
            level=band_level,
        )
        score = expected_calibration_error(probability, outcome, bins=bins)
        if null is None:
            null = calibration_null_band(
                probability,
                generator=generator,
                outcome=outcome,
                bins=bins,
                draws=draws,
                groups=groups,
                joint=joint_outcome,
                level=band_level,
            )
        elif null.observed is not None and not np.isclose(null.observed, score, rtol=1e-9, atol=1e-12):
            raise ValueError(
                f"null.observed is {null.observed:g}, and the expected calibration error of these events in {bins} "
                f"equal-mass bins is {score:g}; the band has other bins or events. Pass the same bins to both, or null=None."
            )
        if null.observed is None:
            null = NullBand(null.mean, null.lower, null.upper, score, null.level, null.draws)
        (values,) = present(pit, {})
        grid = (np.arange(levels) + 0.5) / levels

        def fractions(rows: Array) -> Array:  # (..., n) -> (..., J)
            return np.stack([(rows <= a).mean(-1) for a in grid], -1)

        blocks = replicates(
            lambda r: uniform(r, values.size, generator),
            ~np.isnan(as_array(pit)),
            draws=draws,
            generator=generator,
            groups=groups,
            joint=joint_pit,
        )
        perfect = np.concatenate([fractions(rows) for rows in blocks])
        fraction_band = np.quantile(perfect, tails(band_level), axis=0)
        observed = fractions(values)
        quantile_error = quantile_null_band(
            pit, generator=generator, levels=levels, draws=draws, groups=groups, joint=joint_pit, level=band_level
        )
        strays = stray_band(perfect, observed, fraction_band, band_level)
        return Reliability(event, curve, null, grid, observed, fraction_band, quantile_error, values.size, strays)


def in_words(name: str, null: NullBand, strays: NullBand | None, points: int) -> str:
    """An error beside its null band, and how many points leave their own grey beside how many that are by chance:
    short lines.

    They are two things: the error is one number over all points, and each point's grey is of that point alone.
    """
    observed = float("nan") if null.observed is None else null.observed
    place = "above" if observed > null.upper else "below" if observed < null.lower else "within"
    share = percent(null.level)
    lines = [f"{name} {observed:.3f} ({place} {null.lower:.3f} to {null.upper:.3f})"]
    if strays is not None and strays.observed is not None:
        lines.append(f"{strays.observed:.0f} of {points} points outside their own grey (up to {strays.upper:.0f})")
    return "\n".join([*lines, f"in brackets: {share} of perfect forecasters"])


def frequency_axes(numbers: Reliability, *, axes: Axes | None = None, words: bool = True) -> Axes:
    """Mean outcome against mean probability per bin (gid "bins"), over the null range of each bin (gid "null").

    `words`: the error beside its band, above the panel. Returns the axes.
    """
    require_kind(numbers, Reliability, "frequency_axes: numbers", "Reliability.of(probability, outcome, pit, …)")
    axes = panel_axes(axes, width=5.2, height=5.2)
    curve = numbers.curve
    _diagonal(axes)
    if curve.null_lower is not None and curve.null_upper is not None:
        axes.vlines(
            curve.mean_probability, curve.null_lower, curve.null_upper, color=FAINT, linewidth=7.0, zorder=2.0
        ).set_gid("null")
    area = 90.0 * curve.count / curve.count.max()  # area, not diameter, is proportional to the count
    axes.plot(curve.mean_probability, curve.mean_outcome, color=LINE, linewidth=1.0, alpha=0.45, zorder=3.0)
    axes.scatter(
        curve.mean_probability, curve.mean_outcome, s=area, color=LINE, edgecolor="white", linewidth=0.8, zorder=4.0
    ).set_gid("bins")
    axis_labels(axes, f"Forecast probability: {numbers.event}", "How often it happened")
    text = in_words("calibration error", numbers.error, curve.strays, len(curve.count)) if words else ""
    panel_title(axes, "Stated and observed frequency", text)
    return axes


def quantile_axes(numbers: Reliability, *, axes: Axes | None = None, words: bool = True) -> Axes:
    """Fraction of observations below their predicted quantile against the level (gid "fraction"), over its null band.

    `words`: the mean gap beside its band, above the panel. Returns the axes.
    """
    require_kind(numbers, Reliability, "quantile_axes: numbers", "Reliability.of(probability, outcome, pit, …)")
    axes = panel_axes(axes, width=5.2, height=5.2)
    _diagonal(axes)
    axes.fill_between(
        numbers.levels, *numbers.fraction_band, color=FAINT, alpha=0.75, linewidth=0, zorder=1.5, gid="null"
    )
    axes.plot(
        numbers.levels,
        numbers.fraction,
        color=LINE,
        linewidth=1.4,
        marker="o",
        markersize=4.8,
        markeredgecolor="white",
        markeredgewidth=0.7,
        zorder=4.0,
        gid="fraction",
    )
    axis_labels(axes, "Level of the predicted quantile", "Fraction of measurements below it")
    text = in_words("mean gap", numbers.quantile_error, numbers.fraction_strays, len(numbers.levels)) if words else ""
    panel_title(axes, "Predicted quantiles and measurements", text)
    return axes


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1.8, gid="diagonal")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_aspect("equal")
    axes.set_anchor("NW")
    tidy(axes, grid=False)
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    axes.set_xticks(ticks, ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.set_yticks(ticks, ["0", "25 %", "50 %", "75 %", "100 %"])


def reliability_axes(
    numbers: Reliability, *, axes: Given = None, title: str | None = None, subtitle: str | None = None
) -> list[Axes]:
    """Reliability of event probabilities, and quantile calibration, side by side. Returns the two axes.

    Dots have areas proportional to the number of events in their bin. Grey is where a perfectly calibrated forecaster
    with these predictions would be, 95 % of the time, point by point. `title`, `subtitle`: above a figure of its own,
    for which `axes` is left out.
    """
    require_kind(
        numbers, Reliability, "reliability_axes: numbers", "Reliability.of(probability, outcome, pit, event=…)"
    )
    panels = sheet_axes(axes, (1, 2), size=(11.0, 5.65), title=title, subtitle=subtitle)
    frequency_axes(numbers, axes=panels[0])
    quantile_axes(numbers, axes=panels[1])
    return panels


def strays_in_words(numbers: Reliability) -> str:
    """What it means that so many points are outside their own band."""
    beyond = [
        f"{side} {one.observed:.0f}, where chance gives up to {one.upper:.0f}"
        for side, one in (("left", numbers.curve.strays), ("right", numbers.fraction_strays))
        if one is not None and one.observed is not None and one.observed > one.upper
    ]
    if not beyond:
        return "Not more than that is no evidence against the model, and little for it."
    return f"Here more are outside than that ({'; '.join(beyond)}), which is evidence against these probabilities."


def counts_in_words(numbers: Reliability) -> str:
    """How many probabilities and measurements the two diagrams show, and what is grey."""
    return (
        f"Left: {int(numbers.curve.count.sum())} probabilities in {len(numbers.curve.count)} bins, area of a dot by "
        f"count; right: {numbers.observations} measurements. Grey: where {percent(numbers.error.level)} of perfectly "
        "calibrated forecasters have that point, each point by itself."
    )
