"""Pictures of what was fitted: everyone's θ, and what was observed against what is predicted."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from homeostat.gallery.theta import Theta
from homeostat.pictures import Picture, write_picture
from homeostat.pictures.colours import GREY, LINE, SECOND
from homeostat.pictures.style import label, new_figure, tidy
from homeostat.study.asked import Asked
from homeostat.wording import behind
from hybrid import Prediction


def theta_picture(folder: Path, theta: Theta) -> Picture:
    """Everyone's θ in its box."""
    q = len(theta.names)
    figure = new_figure(11.0, 0.9 + 0.75 * q)
    rows = figure.subplots(q, 1, squeeze=False)[:, 0]
    for j, axes in enumerate(rows):
        values = theta.values[:, :, j].mean(0)
        axes.plot(values, np.zeros(len(values)), "|", color=LINE, markersize=14)
        axes.plot([theta.typical[:, j].mean()], [0.0], "o", color=SECOND, markersize=6)
        axes.set_xscale("log")
        axes.set_xlim(theta.box[j, 0], theta.box[j, 1])
        axes.set_yticks([])
        axes.set_xlabel(label(theta.names[j], theta.units[j]), parse_math=False)
        tidy(axes, grid=False)
        axes.spines["left"].set_visible(False)
    figure.set_layout_engine("constrained")
    said = "; ".join(
        f"{name} {theta.values[:, :, j].mean(0).min():.3g} to {theta.values[:, :, j].mean(0).max():.3g}{behind(unit)}"
        for j, (name, unit) in enumerate(zip(theta.names, theta.units, strict=True))
    )
    return write_picture(
        figure,
        folder,
        "theta",
        title="Everyone's θ in its box",
        caption="Each tick is one person, the mean over the members; the dot is the typical value; the axis is the whole box, in "
        "logarithms.",
        alt=f"{len(theta.ids)} people: {said}.",
    )


def observed_picture(
    folder: Path, forecast: Prediction, later: Tensor, fit: Prediction, y: Tensor, asked: Asked
) -> Picture:
    """What was measured against what was predicted of it: forecasts, and individual fits."""
    figure = new_figure(10.0, 4.8)
    pairs = [("Forecast", forecast, later), ("Individual fit", fit, y)]
    for axes, (title, prediction, values) in zip(figure.subplots(1, 2), pairs, strict=True):
        there = torch.isfinite(values[..., 0].cpu())
        seen, said = values[..., 0].cpu()[there], prediction.point[..., 0].cpu()[there]
        ends = [float(torch.cat([seen, said]).min()), float(torch.cat([seen, said]).max())] if len(seen) else [0.0, 1.0]
        axes.plot(ends, ends, color=GREY, linewidth=1.0)
        axes.plot(said, seen, "o", color=LINE, markersize=3.5)
        axes.set_title(title, parse_math=False)
        axes.set_xlabel(label("predicted", asked.unit), parse_math=False)
        axes.set_ylabel(label("measured", asked.unit), parse_math=False)
        tidy(axes)
    figure.set_layout_engine("constrained")
    errors = [float((p.point[..., 0].cpu() - v[..., 0].cpu()).square().nanmean().sqrt()) for _, p, v in pairs]
    return write_picture(
        figure,
        folder,
        "observed",
        title="Observed against predicted",
        caption="Each dot is one measurement. On the line it is as predicted; on the right it was known to the fit.",
        alt=f"Root mean square distance from the line: {errors[0]:.3g}{behind(asked.unit)} for forecasts, {errors[1]:.3g}"
        f"{behind(asked.unit)} for individual fits.",
    )
