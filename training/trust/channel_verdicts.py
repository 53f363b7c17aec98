"""The report's numbers of one channel as verdicts that a reader without statistics can act on."""

from physics.arguments import counted
from training.trust.horizons import FEW
from training.trust.report_parts import ChannelReport, Gate, SplitRow
from training.trust.verdicts import Verdict

_TOGETHER = " (all gates together)"  # wider than the band of this gate by itself, which a page shows too


def _percent(value: float) -> str:
    return f"{100.0 * value:.0f} %" if 0.01 <= value <= 0.99 or value in (0.0, 1.0) else f"{100.0 * value:.1f} %"


def _decimals(gate: Gate) -> int:
    """Of a share in per cent: one where its band is narrow, more where it would else be written on the band's end."""
    return gate.decimals(0 if gate.upper - gate.lower >= 0.04 else 1, scale=100.0)


def _observed(gate: Gate) -> str:
    digits = _decimals(gate)
    return f"{100.0 * gate.observed:.{digits}f} %" if digits else _percent(gate.observed)


def _range(gate: Gate, *, alone: bool = False) -> str:
    """A band of shares, as exactly as `_observed` writes what is beside it."""
    digits = _decimals(gate)
    low, high = (gate.alone_lower, gate.alone_upper) if alone else (gate.lower, gate.upper)
    return f"{100.0 * max(low, 0.0):.{digits}f}–{100.0 * min(high, 1.0):.{digits}f} %"


def coverage_verdict(channel: str, level: str, gate: Gate, people: int, *, recalibrated: bool = False) -> Verdict:
    """The 80 % interval covers 74 %, outside its null band of 77–83 % (all gates together): recalibrate.

    Good is what lies inside the band of all gates together and inside that of this share by itself, which a page may show
    beside it. Between them, and where to lie inside is no news (`Gate.tells`), it is neither good nor bad.
    """
    covers = f"{channel}: the {_percent(float(level))} interval covers {100.0 * gate.observed:.{_decimals(gate)}f} %"
    about, inside = ("coverage", channel, level), f"inside its null band of {_range(gate)}{_TOGETHER}"
    if not gate.decides:
        claim = f"{covers}: cannot say ({counted(people, 'person', 'people')}), a perfect forecaster may show any share"
        return Verdict(claim, None, about=about)
    width = "narrow" if (gate.place or gate.place_alone) == "below" else "wide"
    if gate.place:
        mend = "" if recalibrated else ", recalibrate"
        claim = f"{covers}, outside its null band of {_range(gate)}{_TOGETHER}: it is too {width}{mend}"
        return Verdict(claim, False, about=about)
    if gate.place_alone:
        by_itself = f"outside the {_range(gate, alone=True)} of 95 in 100 perfect forecasters by this share alone"
        claim = f"{covers}, {by_itself}, and {inside}: a hint, and no more, that it is too {width}"
        return Verdict(claim, None, about=about)
    if not gate.tells(people):
        why = "and one person is no sample of people" if people == 1 else "and so wide a band holds nearly every forecaster"
        return Verdict(f"{covers}, {inside}, {why}", None, about=about)
    return Verdict(f"{covers}, {inside}: no evidence against it", True, about=about)


def channel_verdicts(report: ChannelReport, time_unit: str | None = None, recalibrated: bool = False) -> list[Verdict]:
    """Coverage, shape, events, innovations and the split of one channel: gates inside are good, outside bad, the rest neither.

    `time_unit` stands behind the horizons, where it is known · `recalibrated`: whether the forecast was, which is then no advice.
    """
    name, clock = report.channel, "" if time_unit in (None, "", "1") else f" {time_unit}"
    found = [
        coverage_verdict(name, level, gate, report.records, recalibrated=recalibrated)
        for level, gate in report.coverage.items()
    ]

    def say(claim: str, good: bool | None, what: str, *where: str) -> None:
        found.append(Verdict(f"{name}{''.join(f', {w}{clock}' for w in where)}: {claim}", good, about=(what, name, *where)))

    for level, gate in report.path_coverage.items():
        if gate.place:
            claim = (
                f"{name}: {_observed(gate)} of people have every measurement inside their {_percent(float(level))} "
                f"intervals, where a perfect forecaster has {_range(gate)}: whole paths are not described"
            )
            found.append(Verdict(claim, False, about=("paths", name, level)))
    for row in report.coverage_by_horizon:
        if row.share.place:
            claim = (
                f"{name}, {row.horizon}{clock}: the {_percent(row.level)} interval covers {_observed(row.share)} of "
                f"{row.count}, outside its null band of {_range(row.share)}{_TOGETHER}"
            )
            found.append(Verdict(claim, False, about=("coverage", name, f"{row.level:g}", row.horizon)))
    if any(gate.place for gate in report.pit.share):
        say(
            "measurements do not fall evenly between the predicted quantiles (PIT outside its band): the forecast's centre, "
            "width or shape is wrong",
            False,
            "pit",
        )
    for about, what, gate, mend in (
        (
            "zms",
            "mean square of standardised errors",
            report.zms,
            f"variances are wrong on average{'' if recalibrated else ': scale them'}",
        ),
        ("ence", "variance error (ENCE)", report.ence, "variances are wrong where they are large or small: refit the noise"),
        (
            "quantile error",
            "quantile error",
            report.quantile_error,
            f"quantiles are off{'' if recalibrated else ': recalibrate'}",
        ),
        (
            "events",
            "calibration error of events",
            report.events.error,
            "stated risks are off: recalibrate them (isotonic)",
        ),
    ):
        if gate.place == "above" or (gate.place and gate is report.zms):
            low = max(gate.lower, 0.0)  # none of them is ever negative, which a band about a mean does not know
            say(f"the {what} is {gate.observed:.3g}, outside {low:.3g} to {gate.upper:.3g}: {mend}", False, about)
    lag = report.autocorrelation
    if lag.place:
        why = "the model misses something that lasts" if lag.place == "above" else "the forecast lets errors last too long"
        say(
            f"a person's innovation foretells the next (correlation {lag.observed:.{lag.decimals()}f}, a right model "
            f"{lag.lower:.{lag.decimals()}f} to {lag.upper:.{lag.decimals()}f}): {why}",
            False,
            "innovations",
        )
    say(_split_claim(report.split_by_horizon), None, "split")
    if len(report.split_by_distance) > 1:
        near, far = report.split_by_distance[0], report.split_by_distance[-1]
        ratio = far.epistemic / near.epistemic if near.epistemic > 0.0 else float("inf")
        say(
            f"away from the data the model's own uncertainty grows {ratio:.2g}-fold from the nearest to the farthest fifth, and "
            f"the noise {far.aleatoric / near.aleatoric:.2g}-fold",
            None,
            "distance",
        )
    if report.events.uncertainty == 0.0:
        say(
            f"every measurement is on one side of {report.events.threshold:.3g} {report.unit}, so nothing can be said about how "
            "well events are told apart. Choose another threshold",
            None,
            "threshold",
        )
    few = [scores for scores in report.by_horizon if scores.records < FEW]
    if few:
        parts = []
        for count in dict.fromkeys(scores.records for scores in few):
            at = ", ".join(scores.horizon for scores in few if scores.records == count)
            parts.append(f"{at}{clock}: {count} {'person' if count == 1 else 'people'} only")
        claim = f"{name}, {'; '.join(parts)}; below {FEW} a horizon's numbers say little by themselves, as its band shows"
        found.append(Verdict(claim, None, about=("people", name, *(scores.horizon for scores in few))))
    return found


def _split_claim(rows: tuple[SplitRow, ...]) -> str:
    count = sum(row.count for row in rows)
    parts = {p: sum(getattr(r, p) * r.count for r in rows) / count for p in ("aleatoric", "epistemic", "personal")}
    total = sum(parts.values())
    a, e, s = (parts[p] / total for p in ("aleatoric", "epistemic", "personal"))
    return (
        f"of the variance {_percent(a)} is noise that no data remove, {_percent(e)} the model's own ignorance that more people "
        f"would teach, {_percent(s)} what more of each person's data would settle"
    )
