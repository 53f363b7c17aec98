"""Is a bundle's certificate proved for its own weights, and does it cover what its people do?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from exchange import BUILTIN, Bundle, Outside, load
from exchange.coverage import strangers
from exchange.reading import certified_system
from homeostat import gallery
from homeostat.bundles.said import notes_of
from stability import Refusal
from stability.proof.checker import prove
from stability.proof.verdict import Verdict as ProofVerdict
from stability.threads import few_threads


@dataclass(frozen=True)
class Checked:
    """What `homeostat check` finds of a bundle.

    `proved`: whether the certificate is proved for what the bundle's own weights and people give · `reason` · `outside`: what it
    does not cover of what these people do · `people`, how many they are · `notes`, sentences that a reader must know.
    """

    proved: bool
    reason: str
    outside: tuple[Outside, ...]
    people: int
    notes: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Is it proved, and does it cover everyone?"""
        return self.proved and not self.outside

    @property
    def text(self) -> str:
        """All of it in words."""
        undecided = self.reason.startswith("not decided")  # neither proved nor refused within the checker's budget
        lines = [f"{'proved: ' if self.proved else '' if undecided else 'REFUSED: '}{self.reason}"]
        beyond = [f"  {one}" for one in self.outside]
        if beyond and self.proved:
            who = gallery.whom(self.outside, self.people)
            lines = [f"NOT COVERED: the certificate is proved, and does not cover {who}:", *beyond, f"what is {lines[0]}"]
        elif beyond:
            lines = [*lines, *beyond]
        return "\n".join([*lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "proved": self.proved,
            "reason": self.reason,
            "covered": self.good,
            "outside": [asdict(one) for one in self.outside],
            "notes": list(self.notes),
        }


def examine_bundle(path: Path, structures: Mapping[str, type[nn.Module]] = BUILTIN) -> Checked:
    """Is the bundle's certificate proved for the arrays that its own weights give, and does it cover what its people do?

    Errors: `ValueError` for a file that is no bundle, or has no certificate to check.
    """
    bundle = load(path, structures)
    people, notes = len(bundle.people), tuple(notes_of(bundle))
    if bundle.certificate is None:
        raise ValueError(f"{path}: there is no certificate inside; make one with `homeostat certify {path} --write`")
    if isinstance(bundle.certificate, Refusal):
        reason = f"the bundle holds a refusal, not a certificate: {bundle.certificate.message}"
        return Checked(False, reason, (), people, notes)
    verdict = proved_in(bundle)
    if verdict.proved:
        return Checked(True, verdict.reason, tuple(bundle.outside()), people, notes)
    # what the certificate was made for may stand beside it: then it can be said whose systems are others
    certified, found = certified_system(path), []
    if certified is not None and certified.digest() == bundle.certificate.digest != bundle.system().digest():
        found = strangers(certified, bundle.system(), [p.id for p in bundle.people])
    return Checked(False, verdict.reason, tuple(found), people, notes)


def proved_in(bundle: Bundle) -> ProofVerdict:
    """What the checker says of a bundle's certificate and the arrays that its own weights give."""
    system = bundle.system()
    with few_threads(system.states + sum(system.widths)):
        return prove(bundle.certificate, system)
