"""Are a bundle's claims proved for its own weights, and do they cover what its people do?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from exchange import BUILTIN, Bundle, Outside, load
from exchange.bundle.agreement import card_follows, strange_systems
from exchange.bundle.cards.card import card_of
from exchange.bundle.coverage import Subject, outside_box, strangers
from exchange.bundle.reading import certified_system
from exchange.files.archive import read_archive
from homeostat import gallery
from homeostat.bundles.said import none_can_be_made, notes_of
from stability import Claim, Refusal, RegionalRate

ON_REGION = "rate on a region"
_AGAIN = "exchange.save(exchange.load(FILE), FILE) writes it anew"
_NO_CERTIFICATE = (
    "NO CERTIFICATE: what follows holds for as long as both trajectories are in the box that it names; that they stay there is "
    "not proved, and nobody is covered."
)


@dataclass(frozen=True)
class Beside:
    """A claim beside the first: whether it is `proved` for what the bundle's own weights give, and the `reason`.

    `outside`: of a rate on a region, of whom it says nothing.
    """

    kind: str
    proved: bool
    reason: str
    outside: tuple[Outside, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What `homeostat check` finds of a bundle.

    `proved`: whether its certificate, or its first claim where it has none, is proved for what the bundle's own weights and
    people give · `reason` · `outside`: what is not covered of what these people do · `people`, how many they are · `notes`,
    sentences that a reader must know · `kind` of that claim · `others`, each judged by itself · `card`, whether the card in the
    file is the one that its content gives, None without one: it is said, and proves and refutes nothing · `strange`, how many of
    the systems beside the claims are not what the weights give: what others would read is then not what is proved here.
    A rate on a region is no certificate and covers nobody: where all is such rates, `kind` is theirs and nothing is covered;
    beside a certificate it takes nothing away.
    """

    proved: bool
    reason: str
    outside: tuple[Outside, ...]
    people: int
    notes: tuple[str, ...]
    kind: str = "certificate"
    others: tuple[Beside, ...] = ()
    card: bool | None = None
    strange: int = 0

    @property
    def good(self) -> bool:
        """Is everything proved, more of it than rates on regions, and does it cover everyone, and say so to others too?"""
        certified = self.proved and self.kind != ON_REGION and not self.strange
        return certified and all(one.proved for one in self.others) and not self.outside

    @property
    def text(self) -> str:
        """All of it in words."""
        beyond = [f"  {one}" for one in self.outside]
        if self.kind == ON_REGION:
            first = Beside(self.kind, self.proved, self.reason, self.outside)
            some = any(one.proved for one in (first, *self.others))
            head = _NO_CERTIFICATE if some else "NO CERTIFICATE is in the bundle."
            return "\n".join([head, *self._beside((first, *self.others)), *self._last])
        lines = [_said(self.proved, self.reason)]
        if beyond and self.proved:
            who = gallery.whom(self.outside, self.people)
            name = gallery.named(self.kind)
            lines = [f"NOT COVERED: the {name} is proved, and does not cover {who}:", *beyond, f"what is {lines[0]}"]
        elif beyond:
            lines = [*lines, *beyond]
        return "\n".join([*lines, *self._beside(self.others), *self._last])

    @property
    def _last(self) -> list[str]:
        """What is said behind the claims."""
        count = "a system" if self.strange == 1 else f"{self.strange} systems"
        other = f"NOT WHAT OTHERS READ: proof.json states {count} that the weights in the file do not give; {_AGAIN}"
        card = f"the card in the file is not the one that its content gives: written by hand, or by another version; {_AGAIN}"
        return [*([other] if self.strange else []), *([card] if self.card is False else []), *self.notes]

    def _beside(self, claims: tuple[Beside, ...]) -> list[str]:
        lines = []
        for one in claims:
            lines.append(f"{one.kind}: {_said(one.proved, one.reason)}")
            if one.outside and one.proved:
                lines.append(f"  it says nothing of {gallery.whom(one.outside, self.people)} from the start on:")
            lines += [f"  {out}" for out in one.outside]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        first = Beside(self.kind, self.proved, self.reason, self.outside)
        return {
            "proved": self.proved,
            "certified": self.proved and self.kind == "certificate",
            "reason": self.reason,
            "covered": self.good,
            "outside": [asdict(one) for one in self.outside],
            "notes": list(self.notes),
            "card_follows": self.card,
            "strange_systems": self.strange,
            "claims": [asdict(one) for one in (first, *self.others)],
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
    file = read_archive(path)
    card, strange = card_follows(card_of(bundle, file.content), file), strange_systems(bundle, file)
    if not found:
        return Checked(False, refused[0], (), people, notes, card=card, strange=strange)
    # the certificate of contraction, where there is one, is what is spoken of first; a rate on a region is no certificate
    (first, verdict), *others = sorted(found, key=lambda one: (one[0].kind != "certificate", one[0].kind == ON_REGION))
    beyond = bundle.outside() if verdict.proved else []
    certified = certified_system(path) if first.kind == "certificate" and not verdict.proved else None
    # what the certificate was made for may stand beside it: then it can be said whose systems are others
    if certified is not None and certified.digest() == first.digest != bundle.system().digest():
        beyond = strangers(certified, bundle.system(), [p.id for p in bundle.people])
    subjects = bundle.subjects() if any(one.kind == ON_REGION and judged.proved for one, judged in found) else []
    beside = tuple(
        Beside(claim.kind, one.proved, one.reason, _beyond(bundle, claim, one.proved, subjects)) for claim, one in others
    )
    beyond += _beyond(bundle, first, verdict.proved, subjects)
    said = (*notes, *refused)
    return Checked(verdict.proved, verdict.reason, tuple(beyond), people, said, first.kind, beside, card, strange)


def _beyond(bundle: Bundle, claim: Claim, proved: bool, subjects: Sequence[Subject]) -> tuple[Outside, ...]:
    if not proved or not isinstance(claim, RegionalRate):
        return ()
    return tuple(outside_box(claim, bundle.model, subjects))
