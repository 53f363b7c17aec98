"""The checker on the command line.

    python -m stability.proof FILE [--json] [--exact]      FILE holds {"certificate": …, "system": …}
    exit status: 0 proved, 1 refused, 2 the input cannot be used, 3 not decided (the budget is used up, or --exact was asked
    for and rational arithmetic does not decide claims of this kind, regional ones among them)
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stability.proof.budget import Budget, Meter, NotDecided
from stability.proof.checker import judge
from stability.proof.rational import exactly
from stability.proof.reading import Unusable, get, shown
from stability.proof.verdict import Verdict, undecided


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: prints the verdict and returns the exit status; how far a long proof is goes to stderr."""
    ordinary = Budget()
    parser = argparse.ArgumentParser(
        prog="python -m stability.proof",
        description="Prove a contraction certificate.",
        epilog="exit status: 0 proved, 1 refused, 2 the input cannot be used, 3 not decided",
    )
    parser.add_argument("file", type=Path, help='JSON: {"certificate": ..., "system": ...}')
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
        verdict = _judged_file(options.file, meter, exact=options.exact)
    except Unusable as error:
        print(f"{options.file}: {error}.", file=sys.stderr)
        return 2
    except (OSError, ValueError, RecursionError) as error:
        print(f"{options.file} cannot be read as JSON: {error}.", file=sys.stderr)
        return 2
    print(json.dumps(asdict(verdict)) if options.json else verdict)
    return 3 if not verdict.decided else 0 if verdict else 1


# What a list that is empty, the worst that JSON has, takes in memory beside its three characters in the file.
_SWELL = 32


def _judged_file(file: Path, meter: Meter, *, exact: bool) -> Verdict:
    with file.open("rb") as stream:  # a file may be larger than it says, or have no end
        most, pieces, size = int(meter.budget.bytes / _SWELL), list[bytes](), 0
        while piece := stream.read(2**22):  # piece by piece: room for all that is allowed need not be there
            pieces.append(piece)
            size += len(piece)
            if size > most:
                return undecided(f"the file has more than {most} bytes, which may take {_SWELL} times as many in memory")
            meter.look("reading the file")
    text = b"".join(pieces)
    try:
        data = json.loads(text.decode("utf-8"))
    except MemoryError:
        return undecided("this machine has less memory than the file needs")
    verdict = judge(get(data, "certificate"), get(data, "system"), meter)
    return _second_opinion(verdict, data, meter) if exact and verdict else verdict


def _second_opinion(verdict: Verdict, data: Mapping[str, Any], meter: Meter) -> Verdict:
    """The same claim in rational arithmetic; both must say yes."""
    claim = data["certificate"]
    kind = get(claim, "kind", "certificate")
    if kind == "weighted l1":  # the proof is in rational arithmetic already
        return verdict
    if kind != "certificate" or get(claim, "region") != "global":
        what = "regional claims" if kind == "certificate" else f"claims of the kind {shown(kind)}"
        return undecided(f"rational arithmetic does not decide {what}; without --exact this one is proved, in rounded arithmetic")
    try:
        true = exactly(claim, data["system"], budget=meter.budget)
    except NotDecided as error:
        return undecided(error)
    except ValueError as error:
        raise Unusable(str(error).rstrip(".")) from error
    return verdict if true else Verdict(False, "rational arithmetic finds the claim false", verdict.rate, verdict.systems)
