"""What a bundle says of itself: a training that was cut short or did not arrive, its certificate, and in which units."""

from exchange import Bundle
from homeostat import gallery
from homeostat.plain_text import shown
from stability import Claim, Refusal
from training.trust.verdicts import Verdict


def cut_short_in(bundle: Bundle) -> str:
    """What a bundle says of a training that was cut short; "" where it says nothing."""
    return shown(str(bundle.provenance.get("interrupted", ""))[:300], lines=False)  # a stranger's words, in one line


def not_converged_in(bundle: Bundle) -> str:
    """What a bundle says of a fit that has not converged; "" where it says nothing."""
    return shown(str(bundle.provenance.get("not_converged", ""))[:400], lines=False)  # a stranger's words, in one line


def bundle_verdict(claim: Claim | Refusal, best: float | None, bundle: Bundle, *, proved: bool = True) -> Verdict:
    """The verdict of a claim, or a refusal, in the time unit in which it was made; `proved`, by the checker."""
    backbone = bundle.model.backbone
    states = [*zip(backbone.states, backbone.state_units, strict=True)]
    return gallery.claim_verdict(claim, made_in(bundle, claim), states, best=best, proved=proved)


def made_in(bundle: Bundle, claim: Claim | Refusal | None) -> str:
    """The unit of time in which a claim of the bundle was made; the model's where it does not say one."""
    units = bundle.units_made_in(claim) if isinstance(claim, Claim) else {}
    return str(units.get("time", bundle.model.backbone.time_unit))


def none_can_be_made(bundle: Bundle) -> str:
    """Why no certificate can be made of the bundle's model; "" where one may be."""
    named = " and ".join(bundle.model.opaque)
    return f", and none can be made ({named}: no layers, and no bound of the slope)" if named else ""


def notes_of(bundle: Bundle) -> list[str]:
    """What a reader of the bundle's certificate must know beside it."""
    notes = []
    if cut_short_in(bundle):
        notes.append(f"The bundle's training was cut short ({cut_short_in(bundle)}).")
    if any("time" not in units for _, units in bundle.made_in):
        notes.append(
            "The bundle is of an earlier version and does not say in which units its certificate was made; they are taken to be "
            "the model's. `homeostat certify BUNDLE --write` makes one that does."
        )
    return notes
