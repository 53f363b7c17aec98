"""The recalibration among the scores that a bundle carries, and what is said where it is left out."""

from collections.abc import Mapping
from typing import Any

from training.trust.recalibration.scaling import Scaling

STATED = (
    "Means and variances are those at the stated parameters and start: of measurement noise (aleatoric) and, of several "
    "members, of the spread of their means (epistemic); what is not known of a person's parameters, process noise and the "
    "recalibration are left out of them, so that they are not the forecasts whose coverage the model card gives."
)


def scaling_in(calibration: Mapping[str, Any]) -> Scaling | None:
    """The scaling under "uncertainty", None where there is none. Errors: `ValueError` for one that cannot be read."""
    uncertainty = calibration.get("uncertainty", {})
    data = uncertainty.get("scaling") if isinstance(uncertainty, Mapping) else None
    if data is None:
        return None
    try:
        return Scaling.from_dict(data)
    # whatever rubbish raises: an entry of the calibration is not looked at when the bundle is loaded
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"the bundle's recalibration cannot be read ({error!r:.200}); save the bundle again") from error


def as_calibration(given: Mapping[str, Any] | Scaling | None) -> Mapping[str, Any]:
    """What a bundle carries: scores as they are, and a scaling alone under "uncertainty"."""
    return {"uncertainty": {"scaling": given.to_dict()}} if isinstance(given, Scaling) else {} if given is None else given


def stated(calibration: Mapping[str, Any], where: str) -> str:
    """`STATED`, and behind it where the factors of the recalibration are: in the file or entry `where`, if there are any."""
    try:
        there = scaling_in(calibration) is not None
    except ValueError:
        return f"{STATED} The bundle's recalibration cannot be read."
    if not there:
        return f"{STATED} The bundle holds no recalibration."
    return (
        f"{STATED} The recalibration's factors, by which it multiplies the parts of a variance, are in {where}, under "
        "uncertainty.scaling: aleatoric, epistemic and personal, a number a channel."
    )
