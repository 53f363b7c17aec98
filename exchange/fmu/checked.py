"""An FMU of ours, checked by whoever receives it: its files, its claims from the stored weights, and what its code answers.

Three things are asked, and none of them of whoever sent the file:

1. every file is the one that `hashes.json` names (against damage; a stranger can write both);
2. every claim in `proof.json` is proved for the system that stands beside it, by the independent checker;
3. where the receiver allows it to run: with θ of each certified person, at states inside the region, its rates f(x, u) + infused,
   ∂f/∂x and ∂f/∂u by `getDirectionalDerivative`, and a short step of co-simulation are those of the stored system, and the
   largest eigenvalue of L⁻¹(PJ + JᵀP + 2λP)L⁻ᵀ, P = LLᵀ, J = ∂f/∂x, is not above 0 (to rounding).

The third runs code that the file holds. Without it the claims are proved of the numbers in the file alone, and whether its code
computes with them is not known.
"""

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exchange.bundle import proofs
from exchange.files.archive import DAMAGE, VERSION
from exchange.files.json_parts import mapping
from exchange.files.plain_json import plain_json
from exchange.fmu.archive import Opened, open_fmu
from exchange.fmu.asked import Rebuilt, rebuilt
from exchange.fmu.described import Described
from exchange.fmu.extra import FOLDER
from exchange.fmu.stored import Stored
from physics.arguments import quote, require_flag, require_number, require_path
from physics.glance import glance
from stability import Certificate, Claim, Refusal, prove
from stability.proof import Verdict

_ROOM = 2**28  # bytes that reading the JSON of a file may take


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
        described = Described.of(opened.entries["modelDescription.xml"])
        stored = Stored.of(plain_json(opened.entries[f"{FOLDER}/states.json"], _ROOM), described, stated, systems)
    except (*DAMAGE, ValueError) as error:
        raise ValueError(
            f"{path}: its {FOLDER} is not as it is written ({quote(str(error), 200)}); export it again"
        ) from error
    for one, (claim, verdict) in zip(stated, verdicts, strict=True):
        # which is that of the claim, where it says one: they were held together when they were read
        said.append(_said(claim, verdict, stored.time))
        if verdict is not None and "time" not in one.units:
            said.append(
                f"that claim does not say its unit of time, and is read in that of modelDescription.xml, {stored.time}"
            )
    if not any(isinstance(claim, Certificate) for claim, _ in verdicts):
        said.insert(0, "not certified: no certificate of contraction travels with this FMU")
    found = rebuilt(stored, opened, int(states), int(seed)) if run else None
    if found is not None:
        said.append(_of_interface(found, stored))
    else:
        said.append(
            "its code was not run: whether it computes with the stored numbers is not known; check with run=True to see"
        )
    card = opened.entries.get(f"{FOLDER}/card.md", b"").decode("utf-8", "replace")
    return Checked(verdicts, found, card, tuple(said))


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
    return proofs.with_systems(plain_json(data, _ROOM), VERSION)


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


def _of_interface(found: Rebuilt, stored: Stored) -> str:
    if not found.compared:
        agrees = "are" if found else "are NOT"
        return (
            "nothing is stored that its code could be compared with; its own Jacobian and differences of its own rates "
            f"{agrees} the same at {found.states} states, to {_shown(found.off)} of the largest entry"
        )
    whose = f"for {stored.theta.shape[1]} {'person' if stored.theta.shape[1] == 1 else 'people'}"
    if stored.all_members is not None and len(stored.members) < stored.all_members:
        whose += f" under member {stored.members[0].index + 1} alone of {stored.all_members}"
    off = (
        f"its rates to {_shown(found.rates)} of their terms, its Jacobian to {_shown(found.off)} of the largest entry, the "
        f"slopes by its inputs to {_shown(found.inputs)}, a short step of co-simulation to {_shown(found.step)}"
    )
    if not found.same:
        return f"its code does NOT agree with the stored system, asked at {found.states} states {whose}: {off}"
    asked = f"at the {found.states} states asked, {whose}"
    words = f"{asked}, its code agrees with the stored system: {off}; outputs were not compared"
    if found.eigenvalue is None:
        return words
    holds = "holds" if found.holds else "does NOT hold"
    return f"{words}. The inequality of the certificate {holds} there (largest eigenvalue {found.eigenvalue:.1e})"


def _shown(off: float | None) -> str:
    return f"{off:.1e}" if off is not None and math.isfinite(off) else "no finite number"
