"""What is in a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from exchange import BUILTIN, Bundle, content_hash, describe, load, signed_by
from exchange.bundle.agreement import card_follows
from exchange.bundle.cards.card import card_of
from exchange.bundle.units import units_of
from exchange.files.archive import read_archive
from homeostat.bundles.said import bundle_verdict, cut_short_in, made_in, none_can_be_made, not_converged_in
from homeostat.bundles.units_needed import inputs_in_words
from homeostat.plain_text import shown
from homeostat.study.backbones import start_notes
from homeostat.wording import provenance_in_words
from hybrid import HybridModel
from physics import Administered
from physics.arguments import counted, shortened
from physics.linearised import bends
from stability import Certificate, Claim, Refusal


def inspect_bundle(path: Path, structures: Mapping[str, type[nn.Module]] = BUILTIN) -> tuple[dict[str, Any], str]:
    """What is in a bundle: plain JSON values, and a text, in which what the bundle says of itself begins no line."""
    bundle = load(path, structures)
    model, certificate = bundle.model, bundle.certificate
    backbone = model.backbone
    content = content_hash(bundle)
    about: dict[str, Any] = {
        "structure": describe(model),
        "units": units_of(model),
        "nonnegative": list(bundle.nonnegative),
        "members": model.members,
        "people": [p.id for p in bundle.people],
        "mesh": vars(bundle.mesh),
        "certificate": None if certificate is None else certificate.to_dict(),
        "claims": [claim.to_dict() for claim in bundle.claims],
        "calibration": dict(bundle.calibration),
        "provenance": dict(bundle.provenance),
        "reference": None if bundle.reference is None else bundle.reference.to_dict(),
        "cut_short": cut_short_in(bundle),
        "content": content,
        "signed_by": signed_by(path),
        "others": {name: len(data) for name, data in sorted(bundle.others.items())},
        "card": card_of(bundle, content),
    }
    states = ", ".join(f"{s} [{u}]" for s, u in zip(backbone.states, backbone.state_units, strict=True))
    measured = ", ".join(
        f"{c} [{u}]{', never below 0' if c in bundle.nonnegative else ''}"
        for c, u in zip(model.observation.channels, model.observation.units, strict=True)
    )
    weights = sum(p.numel() for p in model.parameters()) // model.members
    known = _called(model)
    terms = " + ".join((known, *(type(part).__name__ for part in (*model.known, model.residual))))
    driven = "" if model.process is None else f", driven by {type(model.process).__name__}"
    lines = [
        f"model      {terms}{driven}, {counted(model.members, 'member', 'members')} of {counted(weights, 'number', 'numbers')}",
        *_known_part(model),
        f"states     {states}; time in {backbone.time_unit}",
        f"measured   {measured}",
        *(f"start      {said}" for said in start_notes(backbone)),
        *([f"inputs     {inputs_in_words(model)}"] if backbone.inputs else []),
        *([f"reads      {_covariates(model)}"] if model.uses else []),
        f"people     {len(bundle.people)}: {', '.join(shortened(p.id, 60) for p in bundle.people)}",
    ]
    nothing = "people of whom the bundle does not say what they looked like, so that nobody is flagged"
    said = "; ".join(bundle.reference.sentences()) if bundle.reference else nothing
    lines.append(f"trained on {shown(said[:2000], lines=False)}")
    if cut_short_in(bundle):
        lines.append(f"training   was cut short ({cut_short_in(bundle)})")
    if not_converged_in(bundle):
        lines.append(f"fit        {not_converged_in(bundle)}")
    if certificate is None:
        lines.append(f"certificate none{none_can_be_made(bundle) or '; make one with `homeostat certify BUNDLE --write`'}")
    lines += [f"certified  {shown(_in_words(claim, bundle), lines=False)}" for claim in bundle.claims]
    if isinstance(certificate, Certificate) and bundle.people:
        asks = "`homeostat report FILE --data TABLE` asks whether its metric serves others"
        lines.append(f"covers     these people alone, with the parameters of the fit; {asks}")
    kept = bundle.calibration.get("scores", {})
    for name, scores in kept.items() if isinstance(kept, Mapping) else ():
        told = [scores.get(k) for k in ("crps", "nll", "coverage_80")] if isinstance(scores, Mapping) else []
        numbers = [float(v) for v in told if isinstance(v, int | float)]
        if len(numbers) < 3:
            continue  # a script may keep other scores; --json shows them
        crps, nll, covered = numbers
        name, unit = shown(name[:60], lines=False), model.observation.units[0]
        lines.append(
            f"unseen     {name}: CRPS {crps:.3f}{'' if unit == '1' else f' {unit}'}, NLL {nll:.3f}, the 80 % interval covers "
            f"{100 * covered:.0f} %"
        )
    made = provenance_in_words(bundle.provenance)
    lines += [f"{shown(str(k)[:200], lines=False):<26} {shown(str(v)[:2000], lines=False)}" for k, v in made.items()]
    return about, "\n".join([*lines, *_file(path, about)])


def _file(path: Path, about: Mapping[str, Any]) -> list[str]:
    """What the file is beside what it says: its hash, who signed it, whether its card is one, and what is not known of it."""
    archive = read_archive(path)
    follows = card_follows(about["card"], archive)
    lines = [f"content    SHA-256 {about['content']}; the file is of format {archive.version}"]
    if follows is None:
        lines.append("card       none in the file; `homeostat inspect --json` gives one, under card")
    elif not follows:
        lines.append("card       card.md is NOT what this program writes of it: another version wrote it, or it was changed")
    else:
        lines.append("card       card.md, which says what it is for and not for: unzip -p FILE card.md")
    if about["signed_by"]:
        compared = "not compared with any; `homeostat check FILE --signed-by KEY.pub` does"
        lines.append(f"signed     by the key {about['signed_by'][:16]}…, {compared}")
    others = about["others"].items()
    return lines + [f"besides    {name}, {size} bytes: optional, kept, and not known to this program" for name, size in others]


def _called(model: HybridModel) -> str:
    """The known part, by its class or the mechanism's name."""
    if model.mechanism is not None:
        return shown(model.mechanism.name[:60], lines=False)
    backbone = model.backbone
    inside = f"({type(backbone.within).__name__})" if isinstance(backbone, Administered) else ""
    return f"{type(backbone).__name__}{inside}"


def _known_part(model: HybridModel) -> list[str]:
    """Which part of a mechanism's field is linear and which is not: where each state's rate bends."""
    if model.mechanism is None:
        return []
    tape, states = model.mechanism.tape, list(model.mechanism.states)
    bent = [s for s, one in zip(states, bends(tape), strict=True) if one]
    said = f"bends in the rate of {', '.join(bent)}" if bent else "is linear in states and inputs"
    learned = "nothing" if model.residual.vanishes else type(model.residual).__name__
    name = shown(model.mechanism.name[:60], lines=False)
    return [f"known      {name}, {len(tape.code)} operations, {said}; learned beside it: {learned}"]


def _covariates(model: HybridModel) -> str:
    named = (name if unit in (None, "", "1") else f"{name} [{unit}]" for name, unit in model.uses.items())
    return f"{', '.join(named)} of each person"


def _in_words(claim: Claim | Refusal, bundle: Bundle) -> str:
    """A claim, or a refusal, in words; whether it is true is for `check` to say."""
    if isinstance(claim, Refusal):
        return str(bundle_verdict(claim, None, bundle).claim)
    try:
        return f"{claim.in_words(made_in(bundle, claim))}; `homeostat check` proves it anew"
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):  # it was never proved, and may be anything
        return "something that cannot be put into words; `homeostat check` says what is wrong with it"
