"""What a reader must know of channels that are logarithms (`hybrid.Log`): in which scale everything of them stands."""

from hybrid import HybridModel, Log


def measured_as(model: HybridModel) -> dict[str, tuple[str, str]]:
    """Of each channel that is a logarithm, what is measured, and its unit; nothing of other models."""
    observation = model.observation
    if not isinstance(observation, Log):
        return {}
    within = zip(observation.within.channels, observation.within.units, strict=True)
    return dict(zip(observation.channels, within, strict=True))


def logarithm_notes(model: HybridModel) -> list[str]:
    """A sentence for each such channel."""
    return [
        f"{channel} is the natural logarithm of {name}{'' if unit == '1' else f' in {unit}'}: pictures, intervals, thresholds, "
        "residuals and scores of it are of the logarithm, in which a CRPS or RMSE of 0.1 is about 10 %. exp of a median or of "
        f"an interval's end is that of {name}; exp of a mean is not its mean, but its median where the forecast is one Gaussian."
        for channel, (name, unit) in measured_as(model).items()
    ]
