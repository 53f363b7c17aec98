"""An FMU of ours, checked by whoever receives it: its files, its claims from the stored weights, and its own Jacobian.

Three things are asked, and none of them of whoever sent the file:

1. every file is the one that `hashes.json` names (against damage; a stranger can write both);
2. every claim in `proof.json` is proved for the system that stands beside it, by the independent checker;
3. where the receiver allows it to run: the Jacobian J, rebuilt by `getDirectionalDerivative` with θ of each certified person, is
   that of the stored system, and the largest eigenvalue of L⁻¹(PJ + JᵀP + 2λP)L⁻ᵀ, P = LLᵀ, is not above 0 (to rounding) at
   states inside the region.

The third runs code that the file holds. Without it the claims are proved of the numbers in the file alone, and whether its code
computes with them is not known.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exchange.bundle import proofs
from exchange.files.archive import DAMAGE, VERSION
from exchange.files.json_parts import listed, mapping
from exchange.files.plain_json import plain_json
from exchange.fmu.archive import Opened, open_fmu
from exchange.fmu.extra import FOLDER
from exchange.fmu.stored import Stored
from physics.arguments import quote, require_flag, require_number, require_path
from physics.glance import glance
from stability import Certificate, Claim, Refusal, prove
from stability.proof import Verdict

_ROOM = 2**28  # bytes that reading the JSON of a file may take
AGREES, HOLDS = (
    1e-12,
    1e-9,
)  # how far J may be from that of the stored system, of its largest entry; how far the eigenvalue above 0


@dataclass(frozen=True)
class Rebuilt:
    """What the FMU's own interface says: `states` at which it was asked, of every certified member and person; `off`, the largest
    difference of J from that of the stored system, over J's largest entry; `eigenvalue`, the largest of
    L⁻¹(PJ + JᵀP + 2λP)L⁻ᵀ, per unit of time; None where there is no certificate to hold against it.
    """

    states: int
    off: float
    eigenvalue: float | None

    __repr__, _repr_html_ = glance()

    def __bool__(self) -> bool:
        return self.off <= AGREES and (self.eigenvalue is None or self.eigenvalue <= HOLDS)


@dataclass(frozen=True)
class Checked:
    """What became of the check: `verdicts`, a claim and what the checker says of it, None of a refusal; `rebuilt`, of the FMU's
    own interface, None where it was not run; `card`, in Markdown; `sentences`, for a reader. True where all that was asked holds.
    """

    verdicts: tuple[tuple[Claim | Refusal, Verdict | None], ...]
    rebuilt: Rebuilt | None
    card: str
    sentences: tuple[str, ...]

    __repr__, _repr_html_ = glance()

    @property
    def certified(self) -> bool:
        """Is a certificate of contraction among the proved claims?"""
        return any(
            isinstance(claim, Certificate) and verdict is not None and verdict.proved
            for claim, verdict in self.verdicts
        )

    def __bool__(self) -> bool:
        proved = all(verdict is None or verdict.proved for _, verdict in self.verdicts)
        return proved and (self.rebuilt is None or bool(self.rebuilt))


def check_fmu(
    path: str | os.PathLike[str],
    *,
    run: bool,
    states: int = 16,
    seed: int = 0,
) -> Checked:
    """Check an FMU that `Fmu.write` made.

    Arguments: `run`: whether code from the file may run in this process, which the third question needs; `states`, at how many
    states the Jacobian is asked for each person and member; `seed` of these.
    Errors: `ValueError`, one sentence that names the file, for what is no FMU of ours, was changed, or cannot run here.
    Law: with `run` and True ⇒ the stored systems have the claims, and the FMU's Jacobian is theirs at the states tried.
    """
    require_path(path, "check_fmu: path", "check_fmu('model.fmu', run=True)")
    require_flag(run, "check_fmu: run")
    require_number(states, "check_fmu: states", least=1.0, most=1e5, whole=True)
    require_number(seed, "check_fmu: seed", least=0.0, most=2.0**63 - 1.0, whole=True)
    opened = open_fmu(path)
    said = list(_require_unchanged(opened))
    try:
        stated, systems = _claims(opened)
        verdicts = tuple((one.what, _verdict(one.what, system)) for one, system in zip(stated, systems, strict=True))
        stored = Stored.of(plain_json(opened.entries[f"{FOLDER}/states.json"], _ROOM), stated, systems)
    except (*DAMAGE, ValueError) as error:
        raise ValueError(
            f"{path}: its {FOLDER} is not as it is written ({quote(str(error), 200)}); export it again"
        ) from error
    for claim, verdict in verdicts:
        said.append(_said(claim, verdict, stored.time))
    if not any(isinstance(claim, Certificate) for claim, _ in verdicts):
        said.insert(0, "not certified: no certificate of contraction travels with this FMU")
    rebuilt = stored.rebuilt(opened, int(states), int(seed)) if run else None
    if rebuilt is not None:
        said.append(_of_interface(Rebuilt(*rebuilt)))
    elif not run:
        said.append(
            "its code was not run: whether it computes with the stored numbers is not known; check with run=True to see"
        )
    card = opened.entries.get(f"{FOLDER}/card.md", b"").decode("utf-8", "replace")
    return Checked(verdicts, None if rebuilt is None else Rebuilt(*rebuilt), card, tuple(said))


def _require_unchanged(opened: Opened) -> tuple[str, ...]:
    """What was added, in a sentence. Errors: `ValueError` for a file that is missing or is not the one that was written."""
    name = f"{FOLDER}/hashes.json"
    for needed in ("modelDescription.xml", name, f"{FOLDER}/states.json", f"{FOLDER}/card.md"):
        if needed not in opened.entries:
            raise ValueError(
                f"{opened.path}: there is no {needed} inside; this is no FMU that `homeostat export` wrote"
            )
    try:
        known = mapping(plain_json(opened.entries[name], _ROOM), "hashes.json")
    except ValueError as error:
        raise ValueError(f"{opened.path}: its hashes.json cannot be read ({error})") from error
    here = {one: hashlib.sha256(data).hexdigest() for one, data in opened.entries.items() if one != name}
    for one in sorted(known):
        if here.get(one) != known[one]:
            what = "is missing" if one not in here else "is not the file that was written"
            raise ValueError(f"{opened.path}: {quote(one)} {what}; the FMU was changed or damaged")
    added = sorted(here.keys() - known.keys())
    strange = [one for one in added if not one.startswith("binaries/")]
    if strange:
        raise ValueError(f"{opened.path}: {quote(strange[0])} was added after the FMU was written")
    return tuple(f"{quote(one)} was added after the FMU was written" for one in added)


def _claims(opened: Opened) -> tuple[tuple[proofs.Stated, ...], tuple[Any, ...]]:
    """The claims, and what each is about; none where there is no proof.json."""
    data = opened.entries.get(f"{FOLDER}/proof.json")
    if data is None:
        return (), ()
    value = plain_json(data, _ROOM)
    stated = proofs.read(value, VERSION)
    systems = listed(mapping(value, "proof.json")["systems"], "systems")
    return stated, tuple(None if "refusal" in one else systems[one["system"]] for one in value["claims"])


def _verdict(claim: Claim | Refusal, system: Mapping[str, Any] | None) -> Verdict | None:
    return prove(claim, system) if isinstance(claim, Claim) else None


def _said(claim: Claim | Refusal, verdict: Verdict | None, time: str) -> str:
    if isinstance(claim, Refusal) or verdict is None:
        return f"refused when it was made: {claim.message}" if isinstance(claim, Refusal) else claim.kind
    try:
        words = claim.in_words(time)
    except ValueError as error:
        words = f"{claim.kind} ({error})"
    return f"{'proved' if verdict.proved else f'NOT proved ({verdict.reason})'} from the stored weights: {words}"


def _of_interface(found: Rebuilt) -> str:
    words = f"its own Jacobian at {found.states} states is that of the stored system to {found.off:.1e} of its largest entry"
    if found.off > AGREES:
        words = f"its own Jacobian is NOT that of the stored system: off by {found.off:.1e} of its largest entry"
    if found.eigenvalue is None:
        return words
    holds = "holds" if found.eigenvalue <= HOLDS else "does NOT hold"
    return f"{words}, and the inequality of the certificate {holds} there (largest eigenvalue {found.eigenvalue:.1e})"
