"""What each picture shows, in words with its numbers, for whoever does not see it: made from what the picture is drawn from."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from homeostat.pictures.bands import Bands
from homeostat.pictures.observed import Observed
from homeostat.pictures.people import as_drawn
from homeostat.pictures.phase import Phase
from homeostat.pictures.reliability import Reliability
from homeostat.pictures.style import percent
from homeostat.pictures.uncertainty import Rings
from homeostat.pictures.what_if import Exceedance, exceedance_in_words
from hybrid import Prediction
from stability import decay_in_words
from training import Record
from training.people.clock import at_or_before
from training.people.records import counted_from, never_negative
from training.trust.null_band import NullBand
from training.trust.report_parts import ChannelReport, SplitRow


def people_in_words(
    prediction: Prediction,
    records: Sequence[Record],
    *,
    channel: int = 0,
    forecast_from: float | None = None,
    level: float = 0.8,
    time_unit: str | None = None,
) -> str:
    """How many panels of what, from where to where, and how many measurements lie inside the band as it is drawn.

    Of fits the measurements that are scored are counted, as in every other number of a page: none at or before the first dose.

    Arguments as those of `people_axes`. Between two times of the prediction the band's ends are straight lines.
    """
    records = as_drawn(prediction, records, time_unit)
    bands = Bands.of(prediction, channel=channel, level=level, nonnegative=never_negative(records))
    known, later = [0, 0], [0, 0]  # inside, all
    everyone = before = 0  # people all of whose later measurements are inside; baselines, by which nobody is judged
    for person, record in enumerate(records):
        own, values = record.on_own_clock().times, record.values[:, channel]
        here = np.isfinite(bands.times[person])
        low, high = (np.interp(own, bands.times[person, here], end[person, here]) for end in bands.total)
        inside, there = (low <= values) & (values <= high), np.isfinite(values)
        early = there & record.scored if forecast_from is None else there & at_or_before(own, forecast_from)
        before += int((there & ~record.scored).sum())
        for counted, which in ((known, early), (later, there & ~early)):
            counted[0] += int((inside & which).sum())
            counted[1] += int(which.sum())
        rest = there & ~early
        everyone += bool(rest.any() and inside[rest].all())
    name, unit = prediction.channels[channel], prediction.units[channel]
    clock = time_unit or records[0].units.get("time") or ""
    count = len(records)
    limited = sum(int(record.censored[:, channel].sum()) for record in records)
    only = f" {limited} more {'is' if limited == 1 else 'are'} only known to lie beyond a limit: a triangle there, not counted."
    only = only if limited else ""
    low, high = bands.extent()
    begun, ended = float(np.nanmin(bands.times)), float(np.nanmax(bands.times))
    words = (
        f"{count} panel{'' if count == 1 else 's'}, one a person, of {name}{_in(unit)} from {begun:.3g} to "
        f"{ended:.3g}{_behind(clock)} since the {counted_from(records)}. "
    )
    words += f"The {percent(level)} bands reach from {low:.3g} to {high:.3g}{_behind(unit)}. "
    if forecast_from is None:
        drawn = f"; {before} at or before the {counted_from(records)} {'is' if before == 1 else 'are'} drawn and not counted"
        return words + f"{known[0]} of {known[1]} measurements lie inside them{drawn if before else ''}.{only}"
    words += f"{later[0]} of {later[1]} measurements made after the forecast lie inside them"
    if later[1]:
        words += f"; of {everyone} of {count} people all do"
    return f"{words}. {known[1]} were known to it.{only}"


def observed_in_words(numbers: Mapping[str, Observed]) -> str:
    """How far the dots are from the line, and how many intervals hold theirs."""
    found = []
    for name, one in numbers.items():
        count, unit = len(one.measured), _behind(one.unit)
        if not count:
            found.append(f"{name}: no measurement")
            continue
        found.append(
            f"{name}: {count} measurements from {one.measured.min():.3g} to {one.measured.max():.3g}{unit}, root mean square "
            f"distance from the line {one.rmse:.3g}{unit}, on average {abs(one.bias):.3g}{unit} "
            f"{'above' if one.bias > 0 else 'below'} it, {one.inside} inside their {percent(one.level)} interval"
        )
    channel = next(iter(numbers.values())).channel
    return f"Measured against predicted {channel}, with the line on which both are equal. {'; '.join(found)}."


def reliability_in_words(numbers: Reliability) -> str:
    """Both errors beside their bands, and where the dots are."""
    curve, last = numbers.curve, len(numbers.fraction) // 2
    first = (
        f"Left, how often measurements were {numbers.event} against the stated probability, in {len(curve.count)} bins of "
        f"{int(curve.count.sum())}: where {percent(float(curve.mean_probability[-1]), 1)} was stated it happened "
        f"{percent(float(curve.mean_outcome[-1]), 1)} of the time, where {percent(float(curve.mean_probability[0]), 1)} was, "
        f"{percent(float(curve.mean_outcome[0]), 1)}; "
        f"{_error('calibration error', numbers.error, curve.strays, len(curve.count))}."
    )
    return (
        f"{first} Right, the fraction of {numbers.observations} measurements below each predicted quantile: at level "
        f"{percent(float(numbers.levels[last]), 1)} it is {percent(float(numbers.fraction[last]), 1)}; "
        f"{_error('mean gap', numbers.quantile_error, numbers.fraction_strays, len(numbers.levels))}."
    )


def phase_in_words(phase: Phase) -> str:
    """Where the trajectories begin and end, and how far apart they are then, beside what is promised."""
    (a, b), (c, d), t = phase.states, phase.units, float(phase.times[-1])
    scale = np.abs(phase.pairs).max((0, 1, 2))
    begin, end = (_shown(x, scale) for x in (phase.pairs[0, 0, 0], phase.pairs[0, 0, -1]))
    words = (
        f"{b}{_in(d)} against {a}{_in(c)}: {len(phase.pairs)} pairs of trajectories along the arrows of dx/dt. "
        f"The first begins at {a} {begin[0]:.3g} and {b} {begin[1]:.3g} and is at {end[0]:.3g} and {end[1]:.3g} after "
        f"{t - float(phase.times[0]):.3g}{_behind(phase.time_unit)}."
    )
    if phase.rate is None:
        return f"{words} No proof is drawn."
    left, allowed = (float(v[0, -1] / v[0, 0]) * 100.0 for v in (phase.distance, phase.promise))
    kept = "Every pair stays" if phase.kept else "NOT every pair stays"
    return (
        f"{words} By then the distance of its pair in the certified metric is {left:.2g}\u00a0% of the first, and at most "
        f"{allowed:.2g}\u00a0% is promised. {kept} inside its ellipse, which {decay_in_words(phase.rate, phase.time_unit)}."
    )


def what_if_in_words(
    predictions: Mapping[str, Prediction],
    *,
    channel: int = 0,
    threshold: float | None = None,
    person: int = 0,
    time_unit: str | None = None,
    beyond: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    uncertified: Collection[str] = (),
) -> str:
    """Of each schedule, what its panel says, in one sentence. Arguments as those of `what_if_axes`."""
    first = next(iter(predictions.values()))
    clock = f" {time_unit}" if time_unit else ""
    found = []
    for name, prediction in predictions.items():
        one = Exceedance.of(prediction, 0.0 if threshold is None else threshold, person=person, channel=channel)
        said = exceedance_in_words(one, prediction, threshold, person, channel, time_unit).replace("\n", ", ")
        if beyond and name in beyond:
            length = float(prediction.times.max() - prediction.times.min())
            rounded = [_shown(np.array(span), np.array([length, length])) for span in beyond[name]]
            spans = ", ".join(f"{a:.3g} to {b:.3g}{clock}" for a, b in rounded)
            said += f", beyond what was trained{f' from {spans}' if spans else ''}"
        if name in uncertified:
            said += ", outside what is certified"
        found.append(f"{name}: {said}")
    count = len(predictions)
    return (
        f"{count} panel{'' if count == 1 else 's'} of one person's {first.channels[channel]}{_in(first.units[channel])}. "
        f"{'; '.join(found)}."
    )


def horizons_in_words(channel: ChannelReport, time_unit: str | None = None) -> str:
    """Coverage and width at the first and the last horizon, what the variance is made of, and whether the PIT is flat."""
    clock, unit = _behind(time_unit), _behind(channel.unit)
    found = []
    for level in sorted({r.level for r in channel.coverage_by_horizon}):
        rows = [r for r in channel.coverage_by_horizon if r.level == level]
        outside, able = sum(bool(r.share.place) for r in rows), sum(r.share.decides for r in rows)
        gone = f"{outside} of {len(rows)} shares outside their band"
        if able < len(rows):
            gone += f" (of so few people {'none' if not able else f'only {able}'} can be)"
        found.append(
            f"The {percent(level)} interval holds {percent(rows[0].share.observed)} at {rows[0].horizon}{clock} and "
            f"{percent(rows[-1].share.observed)} at {rows[-1].horizon}{clock}, {gone}, "
            f"and is {rows[0].sharpness:.3g} and {rows[-1].sharpness:.3g}{unit} wide."
        )
    bins = channel.pit.share
    strays = sum(bool(g.place) for g in bins)
    return (
        f"Four panels by time of the measurement. {' '.join(found)} {_split(channel.split_by_horizon, channel.unit)} "
        f"Of the {len(bins)} bars of the transformed measurements {strays or 'none'} leave{'s' if strays == 1 else ''} the band."
    )


def ignorance_in_words(channel: ChannelReport, rings: Rings | None, time_unit: str | None = None) -> str:
    """What the variance is made of where little and where much is predicted, and how the members part away from the data."""
    words = f"Bars by predicted {channel.channel}{_in(channel.unit)}. {_split(channel.split_by_value, channel.unit)}"
    if rings is None:
        return words
    inside = rings.radius <= rings.edge
    near = float(rings.spread[inside].max()) if inside.any() else float(rings.spread[0])
    per = "" if time_unit is None else f" per {time_unit}"
    return (
        f"{words} Right, the members' spread about the vector field, in state scales{per}: at most {near:.2g} within "
        f"{rings.edge:.3g} spreads of the states of {rings.whose}, where 95\u00a0% of them are, and {rings.spread[-1]:.2g} at "
        f"{rings.radius[-1]:.3g}."
    )


def _split(rows: Sequence[SplitRow], unit: str | None) -> str:
    square = "" if unit in (None, "", "1") else f" ({unit})²"
    ends = []
    for row in rows[:1] if len(rows) == 1 else (rows[0], rows[-1]):
        whole = row.aleatoric + row.personal + row.epistemic
        parts = [f"{percent(v / whole)} {name}" for v, name in _parts(row)] if whole > 0.0 else ["nothing"]
        ends.append(f"at {row.group} it is {whole:.3g}{square}: {', '.join(parts)}")
    return f"Of the variance, {'; '.join(ends)}."


def _parts(row: SplitRow) -> list[tuple[float, str]]:
    return [(row.aleatoric, "noise"), (row.personal, "person not known"), (row.epistemic, "model")]


def _shown(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Values as they are seen: what is less than a thousandth of the axis is 0."""
    return np.where(np.abs(values) < 1e-3 * scale, 0.0, values)


def _error(name: str, null: NullBand, strays: NullBand | None, points: int) -> str:
    words = f"{name} {null.observed:.3f}, where {percent(null.level)} of perfect forecasters have {null.lower:.3f} to "
    words += f"{null.upper:.3f}"
    if strays is None or strays.observed is None:
        return words
    return f"{words}, and {strays.observed:.0f} of {points} points outside their own band"


def _in(unit: str | None) -> str:
    return "" if unit in (None, "", "1") else f" in {unit}"


def _behind(unit: str | None) -> str:
    return "" if unit in (None, "", "1") else f" {unit}"
