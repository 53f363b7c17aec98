"""A page's first three sentences: what it is and of whom, what is proved, how far to trust it."""

from collections.abc import Sequence

import numpy as np

from homeostat.gallery.judged import Judged, passes_in_words, which_uncertainty
from homeostat.study.asked import Asked
from homeostat.study.backbones import name_of
from homeostat.wording import behind, with_unit
from hybrid import HybridModel
from physics.arguments import counted, shortened
from training import Record
from training.trust import ChannelReport
from training.trust.verdicts import Verdict, verdicts_about

# verdicts without which "how far to trust it" would be said too well
_BEWARE = ("interrupted", "convergence", "people seen", "beyond training", "other horizons", "certificate")
_MOST = 3  # of them in one sentence; the verdicts have all


def opening_of(
    model: HybridModel,
    records: Sequence[Record],
    judged: Judged,
    asked: Asked,
    verdicts: Sequence[Verdict],
    *,
    source: str,
    unseen: bool,
) -> list[str]:
    """The three sentences. They say nothing that the page's verdicts do not say, and so are true where those are.

    `source`, where the people come from · `unseen`, whether the forecasting members are known never to have seen them.
    """
    return [
        what_it_is(model, records, source),
        what_is_proved(verdicts),
        how_far(judged, asked, verdicts, unseen),
    ]


def what_it_is(model: HybridModel, records: Sequence[Record], source: str) -> str:
    """Which model, of how many people and measurements, from where."""
    count = sum(int(np.isfinite(r.values).sum()) for r in records)
    shown = dict(zip(model.observation.channels, model.observation.units, strict=True))
    channels = ", ".join(with_unit(shortened(name, 60), unit) for name, unit in shown.items())
    learned = "{} without a learned part" if model.residual.vanishes else "A hybrid of {} and a learned residual"
    members, people = counted(model.members, "member", "members"), counted(len(records), "person", "people")
    measured = "1 measurement" if count == 1 else f"{count} measurements"
    name = shortened(name_of(model.backbone), 60)
    kind = f"{learned.format(name)} ({members})"
    limits = between_limits(records)
    return f"{kind}, of {people} with {measured} of {channels}, from {source}.{f' {limits}' if limits else ''}"


def between_limits(records: Sequence[Record]) -> str:
    """How many values beside those measured are known by limits alone, and what that leaves out; "" where none are."""
    beyond = sum(int(r.censored.sum()) for r in records)
    limits = "1 more is" if beyond == 1 else f"{beyond} more are"
    said = f"{limits} only known to lie between limits: that counts in what is learned, and in no score or calibration."
    return said if beyond else ""


def what_is_proved(verdicts: Sequence[Verdict]) -> str:
    """The proofs, or that there is none and why."""
    about = [v for v in verdicts if v.about == ("certificate",)]
    good = [v.claim for v in about if v.good]
    bad = [v for v in about if v.good is False]
    parts = [f"{claim}." for claim in good]
    parts += [f"{v.claim}{f' ({_first(v.detail)})' if v.detail else ''}." for v in bad]
    if not about:
        parts.append("Nothing is proved of this model: there is no certificate.")
    outside = [
        v.claim for v in verdicts_about(verdicts, "certificate") if v.about != ("certificate",) and v.good is False
    ]
    return " ".join([*parts, *(f"{claim}." for claim in outside)])


def how_far(judged: Judged, asked: Asked, verdicts: Sequence[Verdict], unseen: bool) -> str:
    """Coverage beside that of a perfect forecaster of these people, the error in its unit, the gates; then what warns.

    Each channel's share stands beside the band of this share alone, the very one that its verdict looks at.
    """
    before = judged.before
    whom = " of people never seen in training" if unseen else ""
    since = ""
    if asked.forecast_from is not None:
        since = f" after {asked.forecast_from:g}{behind(asked.time_unit)} since the {asked.since}"
    several = len(before.channels) > 1
    parts = [_of_channel(one, since, whom, several=several) for one in before.channels[:_MOST]]
    rest = len(before.channels) - _MOST
    if rest > 0:
        parts.append(f"{rest} more channel{'' if rest == 1 else 's'} below")
    gates, _ = passes_in_words(before, "gates of calibration")
    said = f"{'; '.join(parts)}; and the {which_uncertainty(before)} uncertainty {gates}."
    warned = [v.claim for name in _BEWARE[:-1] for v in verdicts_about(verdicts, name) if v.good is not True]
    warned = list(dict.fromkeys(warned))
    if warned:
        more = f" (and {len(warned) - _MOST} more)" if len(warned) > _MOST else ""
        said += f" Beware: {'; '.join(_within(claim) for claim in warned[:_MOST])}{more}."
    return said


def _of_channel(channel: ChannelReport, since: str, whom: str, *, several: bool) -> str:
    values = "the one value" if channel.count == 1 else f"{channel.count} values"
    of = f" of {shortened(channel.channel, 60)}" if several else ""
    gate = channel.coverage["0.8"]
    digits = gate.decimals(0, scale=100.0)
    low, high = (100 * min(max(end, 0.0), 1.0) for end in (gate.alone_lower, gate.alone_upper))
    return (
        f"Of {values}{of}{since}, forecast{whom}, {100 * gate.observed:.{digits}f} % lie in their 80 % interval (by this share "
        f"alone, 95 of 100 perfect forecasters have {low:.{digits}f} to {high:.{digits}f} %), with a root mean square error of "
        f"the predictive mean of {channel.rmse:.3g}{behind(channel.unit)}"
    )


def _within(claim: str) -> str:
    return claim[:1].lower() + claim[1:] if claim.startswith(("The ", "Training ")) else claim


def _first(detail: str) -> str:
    return detail.split(". ")[0].rstrip(".")
