"""Pictures of what was fitted: everyone's θ, and what was observed against what is predicted."""

from pathlib import Path

from torch import Tensor

from homeostat.gallery.figures import written
from homeostat.gallery.theta import computed
from homeostat.pictures import Observed, Picture, Theta, observed_axes, theta_axes
from homeostat.pictures.in_words import observed_in_words
from homeostat.pictures.theta import shown_in_words
from homeostat.study.asked import Asked
from hybrid import Prediction
from physics.arguments import counted


def theta_picture(folder: Path, theta: Theta) -> Picture:
    """Everyone's θ in its box."""
    title = "Everyone's θ in its box"
    count = counted(len(theta.ids), "person", "people")
    subtitle, whole = f"{count}, from all of their own data", "the axis is the whole box, in logarithms"
    caption = (
        f"Each stroke is one person, the mean over the members; {whole}, and hatched is its outermost twentieth at either end: "
        "there the box speaks, and not the data."
    )
    if theta.given is not None:
        subtitle = f"{count}, not estimated: {computed(theta)}"
        caption = f"Each stroke is one person; {whole}. No measurement had a say: {computed(theta)}."
    axes = theta_axes(theta, title=title, subtitle=subtitle)
    alt = f"A strip for each parameter, on a logarithmic axis, with a stroke for each person, {len(theta.ids)} in all. "
    return written(axes, folder, "theta", title=title, caption=caption, alt=f"{alt}{shown_in_words(theta)}.")


def observed_picture(
    folder: Path, forecast: Prediction, later: Tensor, fit: Prediction, y: Tensor, asked: Asked
) -> Picture:
    """What was measured against what was predicted of it: forecasts, and individual fits."""
    channel = forecast.channels.index(asked.channel)
    numbers = {
        "forecast": Observed.of(forecast, later, channel=channel),
        "individual fit": Observed.of(fit, y, channel=channel),
    }
    title = "Observed against predicted"
    caption = (
        "Each dot is one measurement, with its interval. On the dashed line it is as predicted; on the "
        "right it was known to the fit."
    )
    axes = observed_axes(numbers, title=title)
    return written(axes, folder, "observed", title=title, caption=caption, alt=observed_in_words(numbers))
