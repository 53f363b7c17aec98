"""The report's numbers of one channel as verdicts that a reader without statistics can act on."""

from training.trust.horizons import FEW
from training.trust.report_parts import ChannelReport, Gate, SplitRow
from training.trust.verdicts import Verdict

_TOGETHER = " (all gates together)"  # wider than the band of this gate by itself, which a page may show too


def _percent(value: float) -> str:
    return f"{100.0 * value:.0f} %" if 0.01 <= value <= 0.99 or value in (0.0, 1.0) else f"{100.0 * value:.1f} %"


def _decimals(gate: Gate) -> int:
    """Of a share in per cent: one where its band is narrow, more where it would else be written on the band's end."""
    return gate.decimals(0 if gate.upper - gate.lower >= 0.04 else 1, scale=100.0)


def _observed(gate: Gate) -> str:
    digits = _decimals(gate)
    return f"{100.0 * gate.observed:.{digits}f} %" if digits else _percent(gate.observed)


def _range(gate: Gate) -> str:
    """A band of shares, as exactly as `_observed` writes what is beside it."""
    digits = _decimals(gate)
    low, high = max(gate.lower, 0.0), min(gate.upper, 1.0)
    return f"{100.0 * low:.{digits}f}–{100.0 * high:.{digits}f} %"


def coverage_verdict(channel: str, level: str, gate: Gate) -> Verdict:
    """The 80 % interval covers 74 %, outside its null band of 77–83 % (all gates together): recalibrate."""
    covers = f"{channel}: the {_percent(float(level))} interval covers {100.0 * gate.observed:.{_decimals(gate)}f} %"
    about = ("coverage", channel, level)
    if not gate.place:
        return Verdict(f"{covers}, inside its null band of {_range(gate)}{_TOGETHER}: no evidence against it", True, about=about)
    width = "narrow" if gate.place == "below" else "wide"
    claim = f"{covers}, outside its null band of {_range(gate)}{_TOGETHER}: it is too {width}, recalibrate"
    return Verdict(claim, False, about=about)


def channel_verdicts(report: ChannelReport, time_unit: str | None = None) -> list[Verdict]:
    """Coverage, shape, events, innovations and the split of one channel: gates inside are good, outside bad, the rest neither.

    `time_unit` stands behind the horizons, where it is known.
    """
    name, clock = report.channel, "" if time_unit in (None, "", "1") else f" {time_unit}"
    found = [coverage_verdict(name, level, gate) for level, gate in report.coverage.items()]

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
        ("zms", "mean square of standardised errors", report.zms, "variances are wrong on average: scale them"),
        ("ence", "variance error (ENCE)", report.ence, "variances are wrong where they are large or small: refit the noise"),
        ("quantile error", "quantile error", report.quantile_error, "quantiles are off: recalibrate"),
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
    for scores in report.by_horizon:
        if scores.records < FEW:
            say(
                f"{scores.records} {'person' if scores.records == 1 else 'people'} only; below {FEW} a horizon's numbers say "
                "little by themselves, as its band shows",
                None,
                "people",
                scores.horizon,
            )
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
