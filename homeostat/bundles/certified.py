"""A fresh certificate for a bundle."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from exchange import BUILTIN, load, save
from exchange.files.plain_json import plain_json
from homeostat import gallery
from homeostat.bundles.said import bundle_verdict, notes_of
from homeostat.places import require_folder
from homeostat.study.known_claims import certify_known
from homeostat.study.rounded import certify_rounded
from stability import Certificate, Claim, Refusal, RegionalRate, certify
from stability.region import Inputs, Region, region_and_inputs


def certify_bundle(
    path: Path,
    rate: float | None,
    seconds: float,
    write: bool,
    region: Path | None = None,
    structures: Mapping[str, type[nn.Module]] = BUILTIN,
) -> tuple[Certificate | Refusal, str, dict[str, Any]]:
    """A fresh certificate for a bundle, in the region of a JSON file where one is named, put into it with `write`.

    A refusal does not take the place of a certificate: it is about the rate, region and time that were asked for. Doses of the
    file are covered, or it is a refusal.
    Returns the value, a text, and as plain JSON values what it does not cover of the bundle's own people.
    Errors: `ValueError` for a file that is no bundle or no region.
    """
    require_rate(rate)
    bundle = load(path, structures)
    if write:
        require_folder(path.absolute().parent, "leave --write out, or copy the bundle to where files can be written")
    system, on_region = bundle.system(), None
    if region is not None:
        where, inputs = region_in(region)
        result, best = certify(system, rate, region=where, inputs=inputs, seconds=seconds), None
    elif rate is None and system.tape is not None:
        (result, on_region), best = certify_known(bundle, 0.0, seconds), None
    elif rate is None:
        result, best = certify_rounded(system, seconds)
    else:
        result, best = certify(system, rate=rate, seconds=seconds), None
    others: list[Claim] = [c for c in bundle.claims if isinstance(c, Claim) and not isinstance(c, Certificate)]
    if on_region is not None:
        others = [on_region, *(c for c in others if not (isinstance(c, RegionalRate) and c.region == on_region.region))]
    new = replace(bundle, claims=(result, *others))
    verdict = bundle_verdict(result, best, new)
    beyond, notes = new.outside(), notes_of(new)
    told = [] if on_region is None else [str(bundle_verdict(on_region, None, new))]
    told += map(str, gallery.outside_verdicts(beyond, len(bundle.people)))
    if isinstance(result, Refusal) and system.tape is not None:
        told.append("At the shell --region FILE names the region; --while-inside asks for the rate alone, not that they stay.")
    text = "\n".join([verdict.claim, verdict.detail, *told, *notes])
    if write and isinstance(bundle.certificate, Certificate) and not result:
        # a rate or a region that is refused, or a search that ran out of time, says nothing against what is proved
        text += "\nThe bundle keeps the certificate that it has."
    elif write:
        save(new, path)
    return result, text, {"outside": [asdict(one) for one in beyond], "notes": notes}


_REGION = 2**20  # bytes: a box of thousands of states takes less


def require_rate(rate: float | None) -> None:
    """Errors: `ValueError` for a rate that is none."""
    if rate is not None and not 0.0 < rate < np.inf:
        raise ValueError(f"--rate {rate:g} is no rate; write a positive one, or leave it out for the best")


def region_in(file: Path) -> tuple[Region, Inputs | None]:
    """The region of a JSON file, and the inputs where it states them. Errors: `ValueError` with the file and what to write."""
    write = 'write {"lower": [...], "upper": [...]}, as `homeostat certify --help` has it'
    try:
        with open(file, "rb") as opened:
            return region_and_inputs(plain_json(opened.read(_REGION + 1), _REGION))
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise ValueError(f"--region: {file} cannot be read: {why}; give the path of a JSON file") from error
    except ValueError as error:
        found = str(error)
        raise ValueError(f"{file} cannot be used as a region: {found}{'' if '; ' in found else f'; {write}'}") from error
