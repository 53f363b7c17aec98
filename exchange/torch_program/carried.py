"""What travels inside an exported program beside its numbers: names, units, claims with their proof, calibration, card."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from exchange.bundle.bundle import Bundle
from exchange.bundle.calibration import stated
from exchange.bundle.cards.card import card_of
from exchange.bundle.contents import contents_of
from exchange.export import NOT_CERTIFIED, certified, claimed
from exchange.files.archive import content_of
from exchange.selection import Selected
from exchange.torch_program.functions import without_slope
from exchange.torch_program.programs import Program
from hybrid import HybridModel
from stability import Claim

FORMAT = 1
_BESIDE = "the calibration beside this (homeostat.calibration, homeostat/calibration.json)"


def carried(bundle: Bundle, chosen: Selected) -> dict[str, str]:
    """What every file of an export says of the bundle that it was made from, by name, as text.

    `content`: the hash of the bundle's content · `certified`: "certified", or a sentence that begins with "not certified" ·
    `card`: the model card in Markdown · `calibration`: its `calibration.json` · where there are claims `proof`, its
    `proof.json`, which `python -m stability.proof` reads, and `people`: the θ and c of the people whom the claims are about,
    by which whoever has the file can hold it against what was proved.
    """
    entries = contents_of(bundle)
    content = content_of(entries)
    found = {
        "format": str(FORMAT),
        "content": content,
        "certified": "certified" if certified(bundle) else claimed(bundle)[0],
        "card": card_of(bundle, content),
        "calibration": _tight(entries["calibration.json"]),
    }
    if any(isinstance(claim, Claim) for claim in bundle.claims):
        found["proof"] = _tight(entries["proof.json"])
        found["people"] = json.dumps(_people(bundle, chosen))
    return found


def described(bundle: Bundle, chosen: Selected, program: Program, name: str, precision: str) -> str:
    """What one program is, as JSON: inputs and outputs with axes, names and units, whose θ, c and start, what variances are."""
    model = chosen.model
    named = _named(model)
    ends = {
        kind: {one: {"axes": list(axes), **named[one]} for one, axes in given.items()}
        for kind, given in (("inputs", program.inputs), ("outputs", program.outputs))
    }
    about = {
        **{"function": name, "does": program.does, "precision": precision, **ends},
        **{"time": model.backbone.time_unit, "members": list(chosen.members), "of": _count(bundle)},
        "claims": list(claimed(bundle)),
        "stated": stated(bundle.calibration, _BESIDE),
        "starts_with": {
            **{"theta": _lists(chosen.theta), "c": _lists(chosen.c), "x": _lists(chosen.x0), "u": list(chosen.inputs)},
            **{"personal": _lists(chosen.personal), "covariates": dict(chosen.covariates), "said": list(chosen.said)},
        },
    }
    return json.dumps(about, ensure_ascii=False, allow_nan=False)


def said_of(bundle: Bundle, chosen: Selected) -> tuple[str, ...]:
    """What whoever exports has to see."""
    found = [] if certified(bundle) else [f"{NOT_CERTIFIED}: the files say so"]
    if slopeless := without_slope(chosen.model):
        found.append(f"no jacobian is written: {' and '.join(slopeless)} brings no slope of its own")
    return (*found, *chosen.said)


def _count(bundle: Bundle) -> int:
    return max(bundle.model.members, len(bundle.personal.mode))


def _people(bundle: Bundle, chosen: Selected) -> dict[str, Any]:
    """θ and c (M, N, …) of the bundle's people under all of its members, and which of these members are in the file."""
    covariates = bundle.conditions().covariates
    with torch.no_grad():
        theta = bundle.model.theta(bundle.personal.mode, covariates)
        c = bundle.model.context(bundle.personal.mode, covariates)
    return {"members": list(chosen.members), "theta": _lists(theta), "c": _lists(c)}


def _named(model: HybridModel) -> Mapping[str, dict[str, list[str]]]:
    """Names and units of each input's and output's columns, where it has any."""
    backbone, observation, time = model.backbone, model.observation, model.backbone.time_unit
    states, channels = list(backbone.states), list(observation.channels)
    rates = {"names": states, "units": [f"{unit}/{time}" for unit in backbone.state_units]}
    y = {"names": channels, "units": list(observation.units)}
    squares = {"names": channels, "units": [f"({unit})2" for unit in observation.units]}
    latents = [f"latent{k + 1}" for k in range(model.latents)]
    standard = [*model.covariates, *latents]
    eta = [f"eta{k + 1}" for k in range(model.population.dimension)]
    whole = {"names": states, "units": list(backbone.state_units)}
    return {
        **{"x": whole, "after": whole, "rate": rates, "infused": rates, "y": y, "mean": y},
        **dict.fromkeys(("variance", "aleatoric", "epistemic"), squares),
        "u": {"names": list(backbone.inputs), "units": list(backbone.input_units)},
        "theta": {"names": [p.name for p in backbone.physical], "units": [p.unit for p in backbone.physical]},
        "c": {"names": standard, "units": ["1"] * len(standard)},
        "eta": {"names": eta, "units": ["1"] * len(eta)},
        "latents": {"names": latents, "units": ["1"] * len(latents)},
        "covariates": {"names": list(model.uses), "units": [unit or "" for unit in model.uses.values()]},
        "h": {"names": ["h"], "units": [time]},
        "jacobian": {"names": states, "units": [f"1/{time}"] * len(states)},
    }


def _lists(value: Tensor) -> list[Any]:
    found: list[Any] = value.tolist()
    return found


def _tight(entry: bytes) -> str:
    """The same JSON without its white space."""
    return json.dumps(json.loads(entry), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
