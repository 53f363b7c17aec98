"""A rate on a region for a bundle's mechanism: how fast trajectories approach for as long as they are in a box."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from exchange import BUILTIN, load, save
from homeostat import gallery
from homeostat.bundles.certified import region_in, require_rate
from homeostat.bundles.said import bundle_verdict, notes_of
from homeostat.places import require_folder
from stability import Box, Claim, Refusal, RegionalRate, regional_rate


def rate_while_inside(
    path: Path,
    region: Path | None,
    rate: float | None,
    seconds: float,
    write: bool,
    structures: Mapping[str, type[nn.Module]] = BUILTIN,
) -> tuple[RegionalRate | Refusal, str, dict[str, Any]]:
    """How fast the members and people of a bundle contract while trajectories are in the box of a JSON file; that they stay there
    is not asked. With `write` it is put into the bundle, beside its certificate and its rates on other regions.

    A refusal is not written: it is about the rate, region and time that were asked for.
    Returns the value, a text, and as plain JSON values what the bundle's claims do not cover of its own people.
    Errors: `ValueError` for a file that is no bundle or no box, and for a model without a mechanism.
    """
    require_rate(rate)
    if region is None:
        raise ValueError(
            '--while-inside asks about a box, and none is named; write it as JSON, {"lower": [0, 0], "upper": [300, null]}, and '
            "give --region FILE"
        )
    bundle = load(path, structures)
    if write:
        require_folder(path.absolute().parent, "leave --write out, or copy the bundle to where files can be written")
    system = bundle.system()
    if system.tape is None:
        raise ValueError(
            f"{path}: its model is linear beside what was learned, and of such a one a certificate is asked, which proves that "
            "trajectories stay, too; leave --while-inside out"
        )
    where, inputs = region_in(region)
    if not isinstance(where, Box):
        raise ValueError(
            f'{region} is an ellipsoid, and --while-inside asks about a box; write {{"lower": [...], "upper": [...]}}'
        )
    if inputs is not None and inputs.doses is not None:
        raise ValueError(
            f"{region} states doses, and a rate while inside speaks of none: both trajectories get the same; leave them out"
        )
    result = regional_rate(system, where, inputs, rate, seconds)
    kept = [c for c in bundle.claims if isinstance(c, Claim) and not (isinstance(c, RegionalRate) and _same(c, result))]
    new = bundle if isinstance(result, Refusal) else replace(bundle, claims=(*kept, result))
    verdict = bundle_verdict(result, None, replace(bundle, claims=(*kept, result)))
    beyond, notes = new.outside(), notes_of(new)
    lines = [verdict.claim, verdict.detail, *map(str, gallery.outside_verdicts(beyond, len(bundle.people))), *notes]
    if write and isinstance(result, Refusal):
        lines.append("The bundle is left as it is.")
    elif write:
        save(new, path)
    return result, "\n".join(lines), {"outside": [asdict(one) for one in beyond], "notes": notes}


def _same(one: RegionalRate, other: RegionalRate | Refusal) -> bool:
    """Are they of the same box and levels? How they are proved is no part of that."""
    keys = ("lower", "upper", "inputs")
    return isinstance(other, RegionalRate) and all(one.region.get(key) == other.region.get(key) for key in keys)
