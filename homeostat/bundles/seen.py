"""What is asked of people whom a bundle may have seen: from when, by factors of which forecasts, and whether it saw them."""

import math
from collections.abc import Sequence

from exchange import Bundle
from homeostat.study.asked import Asked, asked_of
from homeostat.wording import behind
from training import Record
from training.trust.verdicts import Verdict


def asked_as_in(bundle: Bundle, records: Sequence[Record], threshold: float | None, forecast_from: float | None) -> Asked:
    """What is asked, forecasts by default from when those of the bundle were.

    Its recalibration is of those forecasts. Where by then nothing is known of somebody, or nothing follows, it is from when
    `asked_of` has it. `records` in the model's units.
    """
    unit = bundle.model.observation.units[0]
    own = forecast_from_in(bundle)
    if forecast_from is not None or own is None:
        return asked_of(records, unit, threshold, forecast_from)
    first = asked_of(records, unit, threshold, None)
    if first.forecast_from is None or own < first.forecast_from:
        return first
    try:
        return asked_of(records, unit, threshold, own)
    except ValueError:  # these records end before it
        return first


def forecast_from_in(bundle: Bundle) -> float | None:
    """From when, on everybody's own clock and in the model's unit of time, the bundle's own people were forecast; None where it
    does not say.
    """
    said = bundle.provenance.get("settings.forecast_from")
    if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said):
        return None
    return float(said)


def horizons_verdicts(bundle: Bundle, asked: Asked) -> list[Verdict]:
    """That the bundle's recalibration is used at horizons which it is not of; none where it is of these."""
    own, now = forecast_from_in(bundle), asked.forecast_from or 0.0
    if own is None:
        claim = "The bundle does not say from when the forecasts were that its recalibration is of"
        return [Verdict(claim, None, "Of forecasts from another time its factors may be wrong.", ("other horizons",))]
    if math.isclose(own, now, rel_tol=1e-6, abs_tol=1e-9):
        return []
    unit = behind(asked.time_unit)
    claim = f"The recalibration is of forecasts from {own:.4g}{unit}, and these are from {now:.4g}{unit}, since the {asked.since}"
    detail = (
        "At horizons that its factors were not fitted at they may be wrong, and the intervals with them. "
        f"--forecast-from {own:g} asks what they were fitted for, where the records reach so far."
    )
    return [Verdict(claim, None, detail, ("other horizons",))]


def seen_verdict(bundle: Bundle, seen: int, people: int, *, same: bool) -> Verdict:
    """Whether the model was trained on these people, as far as a bundle can say. `same`: it was trained on this very table."""
    own = " `homeostat inspect` shows the scores that the bundle brings of itself." if bundle.calibration else ""
    if same or seen:
        flatters = f"this page flatters the model.{own}"
        if not seen:
            claim, detail = "The model was trained on this very table", f"So {flatters}"
        else:
            claim = f"{some_of(seen, people)} {'has an id' if seen == 1 else 'have ids'} that the model was trained on"
            whom = "this is" if seen == 1 else "they are"
            detail = f"If {whom} the same {'person' if seen == 1 else 'people'}, {flatters}"
        return Verdict(claim, None, detail, ("people seen",))
    whom = "this person" if people == 1 else "these people"
    why = "Nobody of this table has an id that it was trained on; under another id somebody may be the same."
    if not bundle.people:
        why = "The bundle holds nobody it was trained on, to compare ids with."
    return Verdict(f"Whether the model has seen {whom} in training is not known", None, why, ("people unknown",))


def some_of(count: int, people: int) -> str:
    """"2 of 12 people", or "This person" where there is nobody else."""
    return "This person" if people == 1 else f"{count} of {people} people"
