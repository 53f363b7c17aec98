"""The checker on the command line.

    python -m stability.proof FILE [--json] [--exact]      FILE holds {"certificate": …, "system": …}, or many claims:
                                                           {"systems": […], "claims": [{"claim": …, "system": which}, …]}
    exit status, of many claims the worst: 0 proved, 1 refused, 2 the input cannot be used, 3 not decided (the budget is used up,
    or --exact was asked for and rational arithmetic does not decide claims of this kind, regional ones among them)
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from stability.proof.budget import Budget, Meter, NotDecided
from stability.proof.checker import judge
from stability.proof.rational import exactly
from stability.proof.reading import Unusable, get, sequence, shown
from stability.proof.verdict import Verdict, undecided


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: prints the verdict and returns the exit status; how far a long proof is goes to stderr."""
    ordinary = Budget()
    parser = argparse.ArgumentParser(
        prog="python -m stability.proof",
        description="Prove a contraction certificate.",
        epilog="exit status: 0 proved, 1 refused, 2 the input cannot be used, 3 not decided",
    )
    parser.add_argument("file", type=Path, help='JSON: {"certificate": ..., "system": ...}, or the proof.json of a bundle')
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    parser.add_argument("--exact", action="store_true", help="decide in rational arithmetic too (small systems, no regions)")
    parser.add_argument("--cells", type=int, default=ordinary.cells, help="pieces of a region to try (%(default)s)")
    parser.add_argument("--seconds", type=float, default=ordinary.seconds, help="time to take (%(default)s)")
    parser.add_argument("--bytes", type=int, default=ordinary.bytes, help="memory to take (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        budget = Budget(options.cells, options.seconds, options.bytes)
    except ValueError as error:
        parser.error(str(error))
    meter = Meter(budget, lambda line: print(line, file=sys.stderr, flush=True))
    try:
        verdicts = _judged_file(options.file, meter, exact=options.exact)
    except Unusable as error:
        print(f"{options.file}: {error}.", file=sys.stderr)
        return 2
    except (OSError, ValueError, RecursionError) as error:
        print(f"{options.file} cannot be read as JSON: {error}.", file=sys.stderr)
        return 2
    if options.json:
        written = [asdict(verdict) for verdict in verdicts]
        print(json.dumps(written[0] if len(written) == 1 else {"proved": all(verdicts), "claims": written}))
    else:
        print(*verdicts, sep="\n")
    refused = any(verdict.decided and not verdict for verdict in verdicts)
    return 1 if refused else 0 if all(verdicts) else 3


# What a list that is empty, the worst that JSON has, takes in memory beside its three characters in the file.
_SWELL = 32


def _judged_file(file: Path, meter: Meter, *, exact: bool) -> list[Verdict]:
    """What is said of every claim in the file, each within the whole budget."""
    with file.open("rb") as stream:  # a file may be larger than it says, or have no end
        most, pieces, size = int(meter.budget.bytes / _SWELL), list[bytes](), 0
        while piece := stream.read(2**22):  # piece by piece: room for all that is allowed need not be there
            pieces.append(piece)
            size += len(piece)
            if size > most:
                return [undecided(f"the file has more than {most} bytes, which may take {_SWELL} times as many in memory")]
            meter.look("reading the file")
    text = b"".join(pieces)
    try:
        data = json.loads(text.decode("utf-8"))
    except MemoryError:
        return [undecided("this machine has less memory than the file needs")]
    claims, found = _claims(data), []
    for claim, system in claims:
        own = meter if len(claims) == 1 else Meter(meter.budget, meter.progress)
        verdict = judge(claim, system, own)
        found.append(_second_opinion(verdict, claim, system, own) if exact and verdict else verdict)
    return found


def _claims(data: object) -> list[tuple[object, object]]:
    """The claims in a file, each with its system. Errors: Unusable for a file without one; what was refused claims nothing."""
    if not isinstance(data, Mapping) or "claims" not in data:
        return [(get(data, "certificate"), get(data, "system"))]
    systems, found = sequence(get(data, "systems")), []
    for one in sequence(data["claims"]):
        if isinstance(one, Mapping) and "refusal" in one:
            continue
        which = get(one, "system")
        if type(which) is not int or not 0 <= which < len(systems):
            raise Unusable(f"a claim is about system {shown(which)}, and the file has {len(systems)}")
        found.append((get(one, "claim"), systems[which]))
    if not found:
        raise Unusable("the file holds no claim")
    return found


def _second_opinion(verdict: Verdict, claim: object, system: object, meter: Meter) -> Verdict:
    """The same claim in rational arithmetic; both must say yes."""
    kind = get(claim, "kind", "certificate")
    if kind == "weighted l1":  # the proof is in rational arithmetic already
        return verdict
    if kind != "certificate" or get(claim, "region") != "global":
        what = "regional claims" if kind == "certificate" else f"claims of the kind {shown(kind)}"
        return undecided(f"rational arithmetic does not decide {what}; without --exact this one is proved, in rounded arithmetic")
    if get(system, "tape", None) is not None:
        return undecided("rational arithmetic does not decide tapes; without --exact this one is proved, in rounded arithmetic")
    try:
        true = exactly(claim, system, budget=meter.budget)
    except NotDecided as error:
        return undecided(error)
    except ValueError as error:
        raise Unusable(str(error).rstrip(".")) from error
    return verdict if true else Verdict(False, "rational arithmetic finds the claim false", verdict.rate, verdict.systems)
