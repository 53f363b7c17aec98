"""Four ways in which uncertainty looks right and is not: each has a sign in the numbers, and a sentence."""

from collections.abc import Mapping

from torch import Tensor

from hybrid.prediction import Prediction
from physics.arguments import require_same_people
from training.trust.null_band import Array
from training.trust.report_parts import ChannelReport, Flag
from training.trust.scores import pooled

NOT_MEASURED, DROPPED, CONSTANT, AVERAGED = (
    "epistemic_not_measured",
    "residuals_correlated",
    "no_resolution",
    "parameters_averaged",
)
VANISHING = 1e-6  # of the total variance: members that agree to a thousandth of a standard deviation


def epistemic_not_measured(prediction: Prediction, resample: str | None) -> list[Flag]:
    """Members that differ by their first weights alone, or not at all, do not say what more people would teach.

    On a convex residual random starts all end at the one optimum: the spread is 0, whatever is not known.
    """
    if prediction.mean.shape[0] == 1:
        return [
            Flag(
                NOT_MEASURED,
                "There is one member: what the model does not know is not measured. Train an ensemble that resamples "
                "people, Ensemble(members=8).",
            )
        ]
    if resample == "init":
        return [
            Flag(
                NOT_MEASURED,
                "The members differ in their first weights alone (init): their spread says how well the optimiser finds "
                "one answer, not what more people would teach. Resample people: Ensemble(members, resample=\"bootstrap\").",
            )
        ]
    share = float((_mean(prediction.epistemic) / _mean(prediction.total)).max())  # of the channel where it is largest
    if share < VANISHING:
        return [
            Flag(
                NOT_MEASURED,
                f"The members agree to {share:.1g} of the total variance: a fit with one optimum that all of them reached, or "
                "members trained on the same people. Their spread does not measure what the model does not know.",
            )
        ]
    return []


def residuals_correlated(channel: ChannelReport, measurement_sd: float | None) -> list[Flag]:
    """A missing piece of physics ends up in the noise: residuals of a person follow each other, and the noise is inflated."""
    texts, band = [], channel.autocorrelation
    if band.place == "above":
        digits = band.decimals()
        texts.append(
            f"{channel.channel}: neighbouring innovations of a person correlate by {band.observed:.{digits}f} (a right model: "
            f"{band.lower:.{digits}f} to {band.upper:.{digits}f})"
        )
    if measurement_sd is not None:
        rows = channel.split_by_horizon
        sd = (sum(r.aleatoric * r.count for r in rows) / sum(r.count for r in rows)) ** 0.5
        if sd > 1.25 * measurement_sd:
            texts.append(
                f"{channel.channel}: the noise has a standard deviation of {sd:.3g} {channel.unit}, {sd / measurement_sd:.1f} "
                f"times the {measurement_sd:.3g} that the measurement itself has"
            )
    why = "Something lasting is called noise: a term of the physics may be missing, or the training be unfinished."
    return [Flag(DROPPED, f"{text}. {why}", False, channel.channel) for text in texts]


def no_resolution(channel: ChannelReport) -> list[Flag]:
    """A constant risk is calibrated and useless."""
    resolution = channel.events.resolution
    if channel.events.uncertainty == 0.0 or resolution.observed is None or resolution.observed > resolution.upper:
        return []
    return [
        Flag(
            CONSTANT,
            f"{channel.channel}: forecasts of exceeding {channel.events.threshold:.3g} {channel.unit} do not tell who will "
            f"from who will not: resolution {resolution.observed:.2g}, and forecasts dealt out at random have up to "
            f"{resolution.upper:.2g}. A small calibration error says nothing here.",
            channel=channel.channel,
        )
    ]


def parameters_averaged(prediction: Prediction, members: Prediction | None) -> list[Flag]:
    """One model with averaged parameters has lost the spread between members: N(±1, 1) has variance 2, and it says 1.

    `members`: the stored forecast of the same people with its members kept apart.
    """
    if members is None:
        return []
    if members.mean.shape[2:] != prediction.mean.shape[2:]:
        raise ValueError(
            f"The members' forecast has (people, times, channels) = {tuple(members.mean.shape[2:])} and the prediction "
            f"{tuple(prediction.mean.shape[2:])}; compare forecasts of the same people at the same times."
        )
    write = "give members.people(index) in the prediction's order"
    require_same_people(prediction.ids, members.ids, "The prediction and its members' forecast", write)
    found = []
    for c, channel in enumerate(prediction.channels):
        said, kept, spread = (float(_mean(v)[c]) for v in (prediction.total, members.total, members.epistemic))
        lost = float(_mean(prediction.epistemic)[c]) < 0.5 * spread and said < kept - 0.5 * spread
        unit = prediction.units[c]
        squared = "" if unit in ("", "1") else f" ({unit})²"
        if lost and spread > VANISHING * kept:
            found.append(
                Flag(
                    AVERAGED,
                    f"{channel}: this forecast has a variance of {said:.3g}{squared} where its members, kept apart, have "
                    f"{kept:.3g}{squared}: their spread of {spread:.3g}{squared} is missing, as when parameters are averaged. "
                    "Forecast with every member.",
                    False,
                    channel,
                )
            )
    return found


def _mean(variance: Tensor) -> Array:  # (N, T, p) -> (p,)
    return pooled(variance, axis=(0, 1))


def control_flags(
    prediction: Prediction,
    channels: tuple[ChannelReport, ...],
    *,
    resample: str | None,
    members: Prediction | None,
    measurement_sd: Mapping[str, float],
) -> tuple[Flag, ...]:
    """All that apply."""
    found = epistemic_not_measured(prediction, resample) + parameters_averaged(prediction, members)
    for channel in channels:
        found += residuals_correlated(channel, measurement_sd.get(channel.channel)) + no_resolution(channel)
    return tuple(found)
