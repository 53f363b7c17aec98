"""The report's numbers as sentences that a reader without statistics can act on."""

from training.horizons import FEW
from training.report_parts import ChannelReport, Gate, SplitRow


def _percent(value: float) -> str:
    return f"{100.0 * value:.0f} %" if 0.01 <= value <= 0.99 or value in (0.0, 1.0) else f"{100.0 * value:.1f} %"


def _range(gate: Gate) -> str:
    """A band of shares, with a decimal where it is narrow."""
    digits = 0 if gate.upper - gate.lower >= 0.04 else 1
    low, high = max(gate.lower, 0.0), min(gate.upper, 1.0)
    return f"{100.0 * low:.{digits}f}–{100.0 * high:.{digits}f} %"


def coverage_verdict(channel: str, level: str, gate: Gate) -> str:
    """The 80 % interval covers 74 %, outside its null band of 77–83 %: recalibrate."""
    digits = 0 if gate.upper - gate.lower >= 0.04 else 1
    covers = f"{channel}: the {_percent(float(level))} interval covers {100.0 * gate.observed:.{digits}f} %"
    if not gate.place:
        return f"{covers}, inside its null band of {_range(gate)}: no evidence against it."
    width = "narrow" if gate.place == "below" else "wide"
    return f"{covers}, outside its null band of {_range(gate)}: it is too {width}, recalibrate."


def channel_verdicts(report: ChannelReport) -> list[str]:
    """Coverage, shape, events, innovations and the split of one channel."""
    name = report.channel
    found = [coverage_verdict(name, level, gate) for level, gate in report.coverage.items()]
    for level, gate in report.path_coverage.items():
        if gate.place:
            found.append(
                f"{name}: {_percent(gate.observed)} of people have every measurement inside their {_percent(float(level))} "
                f"intervals, where a perfect forecaster has {_range(gate)}: whole paths are not described."
            )
    for row in report.coverage_by_horizon:
        if row.share.place:
            found.append(
                f"{name}, {row.horizon}: the {_percent(row.level)} interval covers {_percent(row.share.observed)} of "
                f"{row.count}, outside its null band of {_range(row.share)}."
            )
    if any(gate.place for gate in report.pit.share):
        found.append(
            f"{name}: measurements do not fall evenly between the predicted quantiles (PIT outside its band): the forecast's "
            "centre, width or shape is wrong."
        )
    for what, gate, mend in (
        ("mean square of standardised errors", report.zms, "variances are wrong on average: scale them"),
        ("variance error (ENCE)", report.ence, "variances are wrong where they are large or small: refit the noise"),
        ("quantile error", report.quantile_error, "quantiles are off: recalibrate"),
        ("calibration error of events", report.events.error, "stated risks are off: recalibrate them (isotonic)"),
    ):
        if gate.place == "above" or (gate.place and gate is report.zms):
            found.append(f"{name}: the {what} is {gate.observed:.3g}, outside {gate.lower:.3g} to {gate.upper:.3g}: {mend}.")
    lag = report.autocorrelation
    if lag.place:
        why = "the model misses something that lasts" if lag.place == "above" else "the forecast lets errors last too long"
        found.append(
            f"{name}: a person's innovation foretells the next (correlation {lag.observed:.2f}, a right model {lag.lower:.2f} to "
            f"{lag.upper:.2f}): {why}."
        )
    found.append(_split_sentence(name, report.split_by_horizon))
    if len(report.split_by_distance) > 1:
        near, far = report.split_by_distance[0], report.split_by_distance[-1]
        ratio = far.epistemic / near.epistemic if near.epistemic > 0.0 else float("inf")
        found.append(
            f"{name}: away from the data the model's own uncertainty grows {ratio:.2g}-fold from the nearest to the farthest "
            f"fifth, and the noise {far.aleatoric / near.aleatoric:.2g}-fold."
        )
    if report.events.uncertainty == 0.0:
        found.append(
            f"{name}: every measurement is on one side of {report.events.threshold:.3g} {report.unit}, so nothing can be said "
            "about how well events are told apart. Choose another threshold."
        )
    found += [
        f"{name}, {row.horizon}: {row.records} {'person' if row.records == 1 else 'people'} only; below {FEW} a horizon's "
        "numbers say little by themselves, as its band shows."
        for row in report.by_horizon
        if row.records < FEW
    ]
    return found


def _split_sentence(name: str, rows: tuple[SplitRow, ...]) -> str:
    count = sum(row.count for row in rows)
    parts = {p: sum(getattr(r, p) * r.count for r in rows) / count for p in ("aleatoric", "epistemic", "personal")}
    total = sum(parts.values())
    a, e, s = (parts[p] / total for p in ("aleatoric", "epistemic", "personal"))
    return (
        f"{name}: of the variance {_percent(a)} is noise that no data remove, {_percent(e)} the model's own ignorance that more "
        f"people would teach, {_percent(s)} what more of each person's data would settle."
    )
