"""The recalibration among the scores that a bundle carries."""

from collections.abc import Mapping
from typing import Any

from training.trust.recalibration.scaling import Scaling


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
