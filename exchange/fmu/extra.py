"""`extra/org.homeostat/`: the layered standard by which an FMU carries what it must be judged by.

| file | what |
|---|---|
| `fmi-ls-manifest.xml` | name and version of the layered standard |
| `proof.json` | the claims and the systems that they are about, as in a bundle, for `python -m stability.proof` to prove |
| `calibration.json`, `card.md` | scores on people never seen, and the model card, as in a bundle |
| `states.json` | which variable is which state, parameter and input of those systems, and states at which to compare |
| `hashes.json` | SHA-256 of every other file of the FMU, by its name; binaries that were built later are in addition |

`states.json`:

    {"version": 1, "content": SHA-256 of the bundle's content, "time": UNIT,
     "members": [{"index": k, "states": [NAME, …], "rates": […], "theta": […], "context": […]}, …],
     "inputs": [NAME, …], "people": {"theta": [[[…]]], "context": [[[…]]]},
     "samples": [{"x": […], "u": […]}, …]}

`index` counts members as the systems do, whose leading axes are members and people; `people` are θ (M, N, q) and context
(M, N, r) of the members of this FMU, in the units of its variables. A receiver sets them, and rebuilds the Jacobian of each
system by `getDirectionalDerivative`. Samples are a courtesy: a receiver draws states of its own.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from exchange.bundle.bundle import Bundle
from exchange.bundle.cards.card import card_of
from exchange.bundle.contents import contents_of
from exchange.files.archive import content_of
from exchange.files.plain_json import as_json
from exchange.fmu.variables import Variables
from exchange.selection import Selected
from exchange.stored_system import sampled_states
from stability import Certificate

FOLDER = "extra/org.homeostat"
VERSION = "1.0"

_MANIFEST = f"""<?xml version="1.0" encoding="UTF-8"?>
<fmiLayeredStandardManifest
  xmlns:fmi-ls="http://fmi-standard.org/fmi-ls-manifest"
  fmi-ls:fmi-ls-name="org.homeostat"
  fmi-ls:fmi-ls-version="{VERSION}"
  fmi-ls:fmi-ls-description="Claims about this model and what proves them, its calibration, its card."/>
"""


def extra_files(bundle: Bundle, chosen: Selected, variables: Variables, place: str) -> dict[str, bytes]:
    """The files by their names in the archive; `place`: where the FMU runs, which the card's copy says too."""
    contents = contents_of(bundle)
    content = content_of(contents)
    files = {
        "fmi-ls-manifest.xml": _MANIFEST.encode(),
        "calibration.json": contents["calibration.json"],
        "card.md": f"{card_of(bundle, content).rstrip()}\n\n## This FMU\n\nOf this copy in an FMU: {place}.\n".encode(),
        "states.json": as_json(_states(bundle, chosen, variables, content)),
    }
    if "proof.json" in contents:
        files["proof.json"] = contents["proof.json"]
    return {f"{FOLDER}/{name}": data for name, data in files.items()}


def hashes(files: Mapping[str, bytes]) -> bytes:
    """`hashes.json` of all these files."""
    return as_json({name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())})


def _states(bundle: Bundle, chosen: Selected, variables: Variables, content: str) -> dict[str, Any]:
    model = chosen.model
    owned = {
        name: [v.name for v in variables.named(macro)]
        for name, macro in (("states", "V_STATE"), ("rates", "V_RATE"), ("theta", "V_THETA"), ("context", "V_CONTEXT"))
    }
    M = len(chosen.members)
    members = [
        {
            "index": index,
            **{name: found[m * len(found) // M : (m + 1) * len(found) // M] for name, found in owned.items()},
        }
        for m, index in enumerate(chosen.members)
    ]
    return {
        "version": 1,
        "content": content,
        "time": model.backbone.time_unit,
        "members": members,
        "inputs": [v.name for v in variables.named("V_INPUT")],
        "people": _people(bundle, chosen),
        "samples": _samples(bundle, chosen, variables),
    }


def _people(bundle: Bundle, chosen: Selected) -> dict[str, Any]:
    """θ and context of the bundle's people under the members of this FMU, of whom the claims are."""
    if not bundle.people:
        return {"theta": [], "context": []}
    mode = bundle.personal.mode.detach().to("cpu", torch.float64)
    personal = mode[[m if len(mode) > 1 else 0 for m in chosen.members]]
    covariates = {name: value.to("cpu") for name, value in bundle.conditions().covariates.items()}
    with torch.no_grad():
        theta, context = chosen.model.theta(personal, covariates), chosen.model.context(personal, covariates)
        both = (one.expand(len(chosen.members), len(bundle.people), -1).tolist() for one in (theta, context))
    return dict(zip(("theta", "context"), both, strict=True))


def _samples(bundle: Bundle, chosen: Selected, variables: Variables) -> list[dict[str, list[float]]]:
    certificate = bundle.certificate
    region = certificate.region if isinstance(certificate, Certificate) else "global"
    metric = certificate.metric if isinstance(certificate, Certificate) else np.eye(chosen.x0.shape[-1])
    nominal, levels = variables.span.nominal, variables.span.levels
    x, u = sampled_states(region, metric, nominal=nominal, levels=levels, count=8, seed=0)
    return [{"x": a, "u": b} for a, b in zip(x.tolist(), u.tolist(), strict=True)]
