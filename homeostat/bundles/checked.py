"""Are a bundle's claims proved for its own weights, and do they cover what its people do?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from exchange import BUILTIN, Outside, load
from exchange.coverage import strangers
from exchange.reading import certified_system
from homeostat import gallery
from homeostat.bundles.said import none_can_be_made, notes_of
from stability import Refusal


@dataclass(frozen=True)
class Beside:
    """A claim beside the first: whether it is `proved` for what the bundle's own weights give, and the `reason`."""

    kind: str
    proved: bool
    reason: str


@dataclass(frozen=True)
class Checked:
    """What `homeostat check` finds of a bundle.

    `proved`: whether its certificate, or its first claim where it has none, is proved for what the bundle's own weights and
    people give · `reason` · `outside`: what is not covered of what these people do · `people`, how many they are · `notes`,
    sentences that a reader must know · `kind` of that claim · `others`, each judged by itself.
    """

    proved: bool
    reason: str
    outside: tuple[Outside, ...]
    people: int
    notes: tuple[str, ...]
    kind: str = "certificate"
    others: tuple[Beside, ...] = ()

    @property
    def good(self) -> bool:
        """Is everything proved, and does it cover everyone?"""
        return self.proved and all(one.proved for one in self.others) and not self.outside

    @property
    def text(self) -> str:
        """All of it in words."""
        lines = [_said(self.proved, self.reason)]
        beyond = [f"  {one}" for one in self.outside]
        if beyond and self.proved:
            who = gallery.whom(self.outside, self.people)
            name = gallery.named(self.kind)
            lines = [f"NOT COVERED: the {name} is proved, and does not cover {who}:", *beyond, f"what is {lines[0]}"]
        elif beyond:
            lines = [*lines, *beyond]
        beside = [f"{one.kind}: {_said(one.proved, one.reason)}" for one in self.others]
        return "\n".join([*lines, *beside, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "proved": self.proved,
            "reason": self.reason,
            "covered": self.good,
            "outside": [asdict(one) for one in self.outside],
            "notes": list(self.notes),
            "claims": [asdict(one) for one in (Beside(self.kind, self.proved, self.reason), *self.others)],
        }


def _said(proved: bool, reason: str) -> str:
    undecided = reason.startswith("not decided")  # neither proved nor refused within the checker's budget
    return f"{'proved: ' if proved else '' if undecided else 'REFUSED: '}{reason}"


def examine_bundle(path: Path, structures: Mapping[str, type[nn.Module]] = BUILTIN) -> Checked:
    """Are the bundle's claims proved for the arrays that its own weights give, and do they cover what its people do?

    Errors: `ValueError` for a file that is no bundle, or has no claim to check.
    """
    bundle = load(path, structures)
    people, notes = len(bundle.people), tuple(notes_of(bundle))
    if not bundle.claims:
        none = none_can_be_made(bundle)
        raise ValueError(f"{path}: there is no certificate inside{none or f'; make one with `homeostat certify {path} --write`'}")
    refused = [f"the bundle holds a refusal, not a certificate: {c.message}" for c in bundle.claims if isinstance(c, Refusal)]
    found = bundle.prove()
    if not found:
        return Checked(False, refused[0], (), people, notes)
    # the certificate of contraction, where there is one, is what is spoken of first
    (first, verdict), *others = sorted(found, key=lambda one: one[0].kind != "certificate")
    beyond = bundle.outside() if verdict.proved else []
    certified = certified_system(path) if first.kind == "certificate" and not verdict.proved else None
    # what the certificate was made for may stand beside it: then it can be said whose systems are others
    if certified is not None and certified.digest() == first.digest != bundle.system().digest():
        beyond = strangers(certified, bundle.system(), [p.id for p in bundle.people])
    beside = tuple(Beside(claim.kind, one.proved, one.reason) for claim, one in others)
    return Checked(verdict.proved, verdict.reason, tuple(beyond), people, (*notes, *refused), first.kind, beside)
