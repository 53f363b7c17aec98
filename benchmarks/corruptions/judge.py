"""What may come of a corrupted bundle: a refusal, the same model, or what the file says."""

import json
import resource
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import torch

from benchmarks.corruptions.content import Content, entries
from benchmarks.corruptions.kinds import Corruption
from exchange import Bundle, load, save
from exchange.files.archive import VERSION
from exchange.files.entries import KNOWN
from exchange.files.schema import require_schema
from homeostat.bundles.checked import examine_bundle
from homeostat.bundles.inspected import inspect_bundle
from homeostat.bundles.simulated import simulate_person
from homeostat.plain_text import json_shown, shown
from hybrid import SimulationError

MADE = {"manifest.json", "card.md", "signature.json"}


def says(full: Content, file: Content) -> bool:
    """Does `full` say all that the file says, numbers by their value and tensors by their bits? It may say more: what a bundle
    of before left out. The manifest and the card, which are made from the rest, are not compared, nor a signature, which is of
    one file; nor are the arrays beside the claims, which are made from the weights.
    """
    if full.keys() - MADE != file.keys() - MADE:
        return False
    for name in file.keys() - MADE - {"weights.safetensors"}:
        if name not in KNOWN:
            if full[name] != file[name]:
                return False
            continue
        x, y = json.loads(full[name]), json.loads(file[name])
        if name == "proof.json":
            x, y = ([{k: v for k, v in one.items() if k != "system"} for one in value["claims"]] for value in (x, y))
        if not _within(x, y):
            return False
    s, t = (_named_tensors(c["weights.safetensors"]) for c in (full, file))
    return s.keys() == t.keys() and all(s[k].dtype == t[k].dtype and torch.equal(s[k], t[k]) for k in s)


def _within(full: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(full, dict) and all(k in full and _within(full[k], v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(full, list) and len(full) == len(part) and all(map(_within, full, part))
    if isinstance(full, bool) != isinstance(part, bool):
        return False
    # a whole number of eighteen digits is read as the nearest number of float64
    return float(full) == float(part) if isinstance(full, float) and isinstance(part, int | float) else bool(full == part)


def _named_tensors(data: bytes) -> dict[str, torch.Tensor]:
    import safetensors.torch

    return safetensors.torch.load(data)


def judge(found: Corruption, path: Path, content: Content) -> tuple[str, str | None]:
    """"refused", "the same" or "as it says", and what is wrong with that, if anything is."""
    path.write_bytes(found.data)
    try:
        bundle = load(path)
    except ValueError as error:
        told = str(error)
        if "\n" in told or str(path) not in told or len(told) > 2000 or shown(told, lines=False) != told:
            return "refused", f"not one plain sentence: {told[:300]!r}"
        return "refused", None
    again, mine = entries(save(bundle, path.with_suffix(".again"))), entries(path)
    if strange := fits_no_schema(mine):
        return "loaded", f"what loads is not as the published schema says: {strange}"
    if found.archive:
        same = says(again, content) and says(content, again)
        return "the same", None if same else "another model out of a changed archive"
    # what a bundle of before did not say is completed; a value is never dropped
    if not says(again, mine):
        return "as it says", "what was loaded is not what the file says"
    return "as it says", used(bundle, path, content, mine, deep=zlib.crc32(found.data) % 4 == 0)


def fits_no_schema(file: Content) -> str:
    """What the published schemas say against a file that loads; "" for nothing. They are of the present format."""
    if json.loads(file["manifest.json"])["version"] != VERSION:
        return ""
    for name in ("manifest.json", "model.json", "proof.json"):
        try:
            if name in file:
                require_schema(json.loads(file[name]), name)
        except ValueError as error:
            return str(error)
    return ""


def used(bundle: Bundle, path: Path, content: Content, mine: Content, deep: bool = True) -> str | None:
    """What is wrong with what the commands make of it, if anything is."""
    if bundle.certificate:
        checked = examine_bundle(path)
        stronger = {"certificate": ("rate", 1.0), "step": ("factor", -1.0), "lipschitz": ("bound", -1.0)}
        then, now = ({one["claim"]["kind"]: one["claim"] for one in json.loads(c["proof.json"])["claims"] if "claim" in one}
                     for c in (content, mine))  # fmt: skip
        for kind, (name, sign) in stronger.items():
            if checked.good and kind in now and sign * now[kind][name] > sign * then[kind][name]:
                return f"proved, at another claim: {checked.reason[:200]}"

    def simulated() -> tuple[dict[str, Any], str]:
        return simulate_person(path, "", person=None, until=None, points=3, level=0.8, picture=None)

    for what in (lambda: inspect_bundle(path), *([simulated] if deep else ())):
        try:
            about, text = what()
        except (ValueError, SimulationError):
            continue
        out = shown(text) + json_shown(json.dumps(about, ensure_ascii=False))
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" for c in out):
            return "a control character reaches the terminal"
    return None


def peak() -> float:
    """Megabytes that this process has ever held."""
    status = Path("/proc/self/status")
    if status.exists():  # the count of `getrusage` begins with what the parent held
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
