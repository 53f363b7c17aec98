"""What was exported, checked by whoever receives it: the certificate inside, and whether the artefact is what it is about."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeostat.bundles.kinds import Kind
from stability import Claim


@dataclass(frozen=True)
class Examined:
    """What `homeostat check` finds of an FMU or a graph: the same as `values` and as `text`.

    `good`: a certificate in it is proved from the stored weights, and the artefact itself was asked and is what was certified.
    """

    good: bool
    values: dict[str, Any]
    text: str


def examine_artefact(path: Path, kind: Kind, *, run: bool = False) -> Examined:
    """Check an FMU or an ONNX graph.

    `run`: whether the code of an FMU may run in this process; without it its claims are proved of the numbers in it alone.
    Errors: `ValueError` for what is none of ours, was changed, or cannot run here.
    """
    return _fmu(path, run) if kind == "fmu" else _onnx(path)


def _fmu(path: Path, run: bool) -> Examined:
    from exchange.fmu.checked import check_fmu

    found = check_fmu(path, run=run)
    good = bool(found) and found.certified and found.rebuilt is not None and found.rebuilt.compared
    claims = [
        {
            "kind": claim.kind if isinstance(claim, Claim) else "refusal",
            "proved": None if verdict is None else verdict.proved,
            "reason": str(getattr(claim, "message", "")) if verdict is None else verdict.reason,
        }
        for claim, verdict in found.verdicts
    ]
    rebuilt = None if found.rebuilt is None else found.rebuilt.to_dict()
    # the words of Python in the words of the shell
    sentences = [sentence.replace("run=True", "--run") for sentence in found.sentences]
    values = {
        "kind": "fmu",
        "good": good,
        "certified": found.certified,
        "claims": claims,
        "rebuilt": rebuilt,
        "notes": sentences,
    }
    return Examined(good, values, "\n".join(sentences))


def _onnx(path: Path) -> Examined:
    from exchange.onnx.checked import checked

    found = checked(path)
    return Examined(found.good, {"kind": "onnx", **found.to_dict()}, found.text)
