"""How good a model's forecasts of people never seen were, as its bundle's calibration holds it: tables for the card.

The calibration is plain JSON of whoever trained; what is not there, or is no number, is said not to have been measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from exchange.bundle.calibration import STATED, scaling_in
from exchange.bundle.cards.text import behind, plain, table

_NOTHING = "Not measured: the file holds no scores of forecasts of {} never seen."
_NO_GROUPS = "Not measured: the file holds no scores by group."
_GATE = "A gate holds one figure of the forecasts, such as the share of measurements inside an interval, against a band."
BAND = "a perfect forecaster of as few people would be within the band in 95 of 100 studies"


def performance_of(
    calibration: Mapping[str, Any],
    channels: Sequence[str],
    units: Sequence[str],
    time_unit: str,
    people: Sequence[str],
    many: str = "people",
) -> list[str]:
    """Overall scores, coverage by channel and horizon, and scores by group: each with its band, and of whom it is.

    `people`, the ids of those in the file, and `many`, what they are called. Of whom is in the calibration's `whom`, text by the
    name of the entry.
    """
    protocol = calibration.get("protocol")
    parts = [f"How it was measured: {plain(protocol, 400)}."] if isinstance(protocol, str) else []
    overall = _overall(_mapping(calibration.get("scores")), units)
    parts += [f"{_whom(calibration, 'scores')}\n\n{overall}"] if overall else [_NOTHING.format(many)]
    by_channel = _by_channel(_mapping(calibration.get("uncertainty")), time_unit)
    if by_channel:
        whom = _whom(calibration, "uncertainty", _of_recalibration(calibration, people))
        parts += ["### By horizon, and gates of calibration", f"{whom} {_GATE}", *by_channel]
    groups = _groups(calibration.get("groups"), dict(zip(channels, units, strict=True)))
    whose = "" if groups == _NO_GROUPS else f"{_whom(calibration, 'groups')}\n\n"
    return [*parts, "### By group", whose + groups]


def _whom(calibration: Mapping[str, Any], entry: str, otherwise: str = "") -> str:
    """Of whom the forecasts of this table are; of an earlier file, what it says of how they were measured."""
    said = _mapping(calibration.get("whom")).get(entry)
    if isinstance(said, str):
        return f"Of whom: {plain(said, 400)}."
    if otherwise:
        return f"Of whom: {otherwise}."
    known = isinstance(calibration.get("protocol"), str)
    return f"Of whom: {'those of whom it is said above how it was measured' if known else 'not recorded'}."


def _of_recalibration(calibration: Mapping[str, Any], people: Sequence[str]) -> str:
    """The forecasts that a recalibration was fitted on are those whose coverage stands beside it."""
    try:
        scaling = scaling_in(calibration)
    except ValueError:
        return ""
    if scaling is None:
        return ""
    own = len(set(scaling.people) & set(people))
    return (
        f"the {_count(len(scaling.people))} on whose forecasts the recalibration below was fitted, {own} of them among those in "
        "this file; forecast by members that were not fitted on them"
    )


def _count(people: int) -> str:
    return f"{people} {'person' if people == 1 else 'people'}"


def _overall(scores: Mapping[str, Any], units: Sequence[str]) -> str:
    unit = f" [{plain(units[0])}]" if len(set(units)) == 1 and units[0] not in ("", "1") else ""
    rows = []
    for name, one in sorted(scores.items(), key=lambda found: str(found[0])):
        if not isinstance(one, Mapping) or _number(one.get("crps")) is None:
            continue
        covered = [_share(one, level) for level in (80, 95)]
        rows.append((plain(name, 60), _shown(one, "count"), _shown(one, "crps"), _shown(one, "nll"), *covered))
    if not rows:
        return ""
    head = (
        "forecast",
        "measurements",
        f"mean CRPS{unit}",
        "mean NLL [nat]",
        "inside the 80 % interval (band)",
        "inside the 95 % (band)",
    )
    density = f", of a density per {plain(units[0])}" if unit else ""
    return table(head, rows) + (
        f"\n\nCRPS: continuous ranked probability score; NLL: negative log likelihood{density}; less is better of both. Of each "
        f"interval the share of measurements inside it; {BAND}, where one is shown."
    )


def _share(one: Mapping[str, Any], level: int) -> str:
    band = next((b for kind in ("drawn", "null") if None not in (b := [_number(one.get(f"coverage_{level}_{kind}_{end}"))
                 for end in ("lower", "upper")])), None)  # fmt: skip
    return _in_band(_number(one.get(f"coverage_{level}")), band)


def _in_band(share: float | None, band: Sequence[float | None] | None) -> str:
    if share is None:
        return "not measured"
    if band is None or None in band:
        return f"{100 * share:.0f} %, no band"
    low, high = (min(1.0, max(0.0, float(end or 0.0))) for end in band)
    outside = "" if low <= share <= high else ", **outside**"
    return f"{100 * share:.0f} % ({100 * low:.0f} to {100 * high:.0f} %){outside}"


def _by_channel(uncertainty: Mapping[str, Any], time_unit: str) -> list[str]:
    """Coverage by horizon, as forecast and recalibrated, and how many gates of calibration were passed."""
    parts = []
    for key, words in (("before", "as forecast"), ("after", "recalibrated, everyone by other people alone")):
        report = _mapping(uncertainty.get(key))
        gates, failed, of = (_number(report.get(name)) for name in ("gates", "failed", "band_level"))
        if gates:
            parts.append(
                f"Gates of calibration, {words}: {gates - (failed or 0):.0f} of {gates:.0f} passed "
                f"({100 * (of or 0.95):.0f} of 100 perfect forecasters of as few people pass all of them)."
            )
        rows = []
        for channel in _list(report.get("channels")):
            for row in map(_mapping, _list(_mapping(channel).get("coverage_by_horizon"))):
                share, level = _mapping(row.get("share")), _number(row.get("level"))
                if level != 0.8:
                    continue
                cells = (
                    plain(_mapping(channel).get("channel")),
                    plain(row.get("horizon")),
                    _shown(row, "records"),
                    _shown(row, "count"),
                )
                rows.append(
                    (
                        *cells,
                        _in_band(_number(share.get("observed")), [_number(share.get(e)) for e in ("lower", "upper")]),
                    )
                )
        if rows:
            head = (
                "channel",
                f"horizon [{plain(time_unit)}]",
                "people",
                "measurements",
                "inside the 80 % interval (band)",
            )
            parts.append(f"By horizon (time since everyone's first dose, or start), {words}:\n\n" + table(head, rows))
    return parts


def _groups(groups: object, units: Mapping[str, str]) -> str:
    about = _mapping(groups)
    rows = []
    for row in map(_mapping, _list(about.get("groups"))):
        share, crps = _mapping(row.get("coverage")), _mapping(row.get("crps"))
        middle, *ends = (_shown(crps, end) for end in ("observed", "lower", "upper"))
        told = f"{middle} ({' to '.join(ends)}){behind(units.get(str(row.get('channel')), ''))}"
        inside = _in_band(_number(share.get("observed")), [_number(share.get(end)) for end in ("lower", "upper")])
        cells = (plain(row.get("group")), plain(row.get("channel")), _shown(row, "people"), _shown(row, "count"))
        rows.append((*cells, told, inside))
    if not rows:
        return _NO_GROUPS
    level = _number(about.get("level")) or 0.8
    head = (
        "group",
        "channel",
        "people",
        "measurements",
        "mean CRPS (95 % interval over people)",
        f"inside the {100 * level:.0f} % interval (band)",
    )
    note = f"Groups are halves at the median; {BAND}. Of groups as small as these a difference may be chance."
    return f"Forecast: {plain(about.get('forecast'), 60)}.\n\n" + table(head, rows) + f"\n\n{note}"


def recalibration_of(calibration: Mapping[str, Any], people: Sequence[str]) -> str:
    """Which factors new people's uncertainty gets, and of whom they are."""
    try:
        scaling = scaling_in(calibration)
    except ValueError as error:
        return f"What the file holds cannot be read: {plain(error, 300)}"
    if scaling is None:
        return "None: uncertainties are used as the model states them."
    rows = [
        (plain(channel), *(f"{getattr(scaling, part)[c]:.4g}" for part in ("aleatoric", "epistemic", "personal")))
        for c, channel in enumerate(scaling.channels)
    ]
    head = (
        "channel",
        "measurement noise (aleatoric)",
        "spread of the members (epistemic)",
        "the person's parameters (personal)",
    )
    own = len(set(scaling.people) & set(people))
    return (
        f"Fitted on forecasts of {_count(len(scaling.people))}, {own} of them among those in this file, by members that had not "
        "seen them; it is for other people than these. Factors (no unit) by which it multiplies the parts of a forecast's "
        "variance:\n\n" + table(head, rows) + f"\n\nIn exported forms of the model: {STATED[:1].lower()}{STATED[1:]}"
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shown(one: Mapping[str, Any], name: str) -> str:
    number = _number(one.get(name))
    return "not measured" if number is None else f"{number:.4g}"
