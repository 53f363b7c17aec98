"""One wide picture: people forecast, probabilities checked, contraction proved."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from homeostat.pictures.bands import Bands
from homeostat.pictures.people import as_drawn, limits, people_handles, person_axes, require_people
from homeostat.pictures.phase import Phase, field_axes, field_handles
from homeostat.pictures.reliability import Reliability, frequency_axes
from homeostat.pictures.sheet import outer_labels
from homeostat.pictures.style import (
    header,
    header_height,
    label,
    new_figure,
    panel_title,
    person_name,
    time_since,
)
from hybrid import Prediction
from stability import decay_in_words
from training import Record
from training.people.records import counted_from, never_negative


def hero_axes(
    prediction: Prediction,
    records: Sequence[Record],
    reliability: Reliability,
    phase: Phase,
    *,
    channel: int = 0,
    forecast_from: float | None = None,
    people: Sequence[int] = (0, 1),
    level: float = 0.8,
    title: str | None = None,
    subtitle: str | None = None,
) -> list[Axes]:
    """Left two or three people with forecast bands, in the middle reliability, on the right the certificate's ellipse.

    Arguments as in `people_axes`; `people`, which of them are shown; `reliability` and `phase` as for their own
    pictures. Always a figure of its own, under `title` and `subtitle`. Returns the people's axes, those of
    reliability and those of the field.
    """
    require_people(prediction, records)
    chosen = as_drawn(prediction, [records[i] for i in people], phase.time_unit)
    if not 1 <= len(chosen) <= 3:
        raise ValueError(
            f"{len(chosen)} people were chosen for the wide picture; it has room for 1 to 3: people=(0, 1)."
        )
    bands = Bands.of(prediction.people(list(people)), channel=channel, level=level, nonnegative=never_negative(chosen))
    unit = chosen[0].units.get("time")
    handles = [*people_handles(level, forecast_from, unit, bands.cut, chosen), *field_handles(phase)]
    width, columns = 16.0, 4
    figure = new_figure(width, 5.3 + header_height(title or "", subtitle, width, -(-len(handles) // columns)))
    left, middle, right = figure.subfigures(1, 3, squeeze=False, width_ratios=(1.2, 1.12, 1.2))[0]
    panels = left.subplots(len(chosen), 1, squeeze=False)[:, 0]
    for i, (axes, record) in enumerate(zip(panels, chosen, strict=True)):
        person_axes(bands, record, axes=axes, person=i, channel=channel, forecast_from=forecast_from)
        panel_title(axes, person_name(record.id), size=10.5)
    limits(panels, bands, chosen, channel)
    outer_labels(
        panels,
        label(time_since(counted_from(chosen)), unit),
        label(prediction.channels[channel], prediction.units[channel]),
    )
    frequency = frequency_axes(reliability, axes=middle.subplots())
    axes = right.subplots()
    field_axes(phase, axes=axes, density=0.8)
    if phase.rate is None:
        panel_title(axes, "Trajectories", "no certificate")
    else:
        words = (
            "the distance in P between the two starts\n"
            f"{decay_in_words(phase.rate, phase.time_unit)};\n"
            "ellipses: where the proof confines the second, at four moments"
        )
        panel_title(axes, "Proved to contract" if phase.kept else "These trajectories break the promise", words)
    header(figure, title or "", subtitle, handles=handles, columns=columns)
    return [*panels, frequency, axes]
