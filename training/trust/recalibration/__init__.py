"""All recalibrations behind one door: what each is for, and how it is read back from a bundle's JSON."""

from collections.abc import Mapping
from typing import Any

from physics.arguments import quote, require_kind
from training.trust.recalibration.adaptive import AdaptiveConformal, Followed
from training.trust.recalibration.conformal import SplitConformal, conformal_quantile, people_needed
from training.trust.recalibration.cross_scaling import CrossScaling
from training.trust.recalibration.fitted_on import FittedOn
from training.trust.recalibration.isotonic import IsotonicEvents, pool_adjacent_violators
from training.trust.recalibration.scaling import Scaling, scale_parts

# any of them, for a type checker
Recalibration = Scaling | CrossScaling | IsotonicEvents | SplitConformal | AdaptiveConformal

# a new member is one file and one line here; the key is the "kind" in its JSON
RECALIBRATIONS: dict[str, type[Recalibration]] = {
    "scaling": Scaling,
    "cross_scaling": CrossScaling,
    "isotonic": IsotonicEvents,
    "split_conformal": SplitConformal,
    "adaptive_conformal": AdaptiveConformal,
}

__all__ = [
    "RECALIBRATIONS",
    "AdaptiveConformal",
    "CrossScaling",
    "FittedOn",
    "Followed",
    "IsotonicEvents",
    "Recalibration",
    "Scaling",
    "SplitConformal",
    "conformal_quantile",
    "people_needed",
    "pool_adjacent_violators",
    "recalibration_from_dict",
    "scale_parts",
]


def recalibration_from_dict(data: Mapping[str, Any]) -> Recalibration:
    """The recalibration that `to_dict` described.

    Errors: `ValueError` for a kind that is not known.
    """
    require_kind(data, Mapping, "recalibration_from_dict: data", "what to_dict of a recalibration writes")
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in RECALIBRATIONS:
        raise ValueError(f"a recalibration of kind {quote(kind)} is not known; there are {', '.join(RECALIBRATIONS)}.")
    return RECALIBRATIONS[kind].from_dict(data)
