"""`python -m benchmarks.exchange`: every export of 200 random bundles, held against what was trained.

Each bundle is written as header, FMU (3.0 and 2.0), graphs, programs and, without its network, SBML; FMPy, CasADi, onnxruntime, a
process of torch without us and libRoadRunner run them; the table says the worst, and which bundle that was. What is measured is
kept in `--out` line by line, so that an interrupted run goes on where it was (`--anew` begins anew); `--quick` is twelve bundles.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.exchange.table import PARTS, table_of

Rows = dict[tuple[int, str], dict[str, Any]]


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exchange", description=__doc__, formatter_class=formatter
    )
    parser.add_argument("--count", type=int, default=200, help="bundles")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed")
    parser.add_argument("--quick", action="store_true", help="twelve bundles")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long; the same call goes on")
    parser.add_argument("--anew", action="store_true", help="forget what was measured")
    parser.add_argument("--again", action="store_true", help="measure anew what was refused or failed")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/exchange.jsonl"))
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    if given.anew:
        given.out.unlink(missing_ok=True)
    seeds = range(given.first, given.first + (12 if given.quick else given.count))
    rows = _read(given.out)
    if given.again:
        rows = {key: row for key, row in rows.items() if not {"refused", "error"} & row["found"].keys()}
    wanted = {s: [p for p in given.only if (s, p) not in rows] for s in seeds}
    wanted = {s: names for s, names in wanted.items() if names}
    try:
        _measure(wanted, rows, given)
    except KeyboardInterrupt:
        print("\ninterrupted: the same call goes on from here")
    shown = {key: row for key, row in rows.items() if key[0] in seeds and key[1] in given.only}
    print(table_of(shown))
    return 0


def _read(path: Path) -> Rows:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {(row["seed"], row["part"]): row for row in lines}


def _measure(wanted: dict[int, list[str]], rows: Rows, given: argparse.Namespace) -> None:
    """In processes of ten bundles each; what ends a process is written down, and the next one goes on behind it."""
    total, done, began = sum(map(len, wanted.values())), 0, time.monotonic()
    with open(given.out, "a") as kept:

        def keep(row: dict[str, Any]) -> None:
            nonlocal done
            rows[row["seed"], row["part"]] = row
            kept.write(json.dumps(row) + "\n")
            kept.flush()
            wanted[row["seed"]].remove(row["part"])
            done += 1
            if sys.stderr.isatty():
                width = 40 * done // total
                print(
                    f"\r[{'#' * width}{'.' * (40 - width)}] {done}/{total} {row['part']:<16}", end="", file=sys.stderr
                )

        while any(wanted.values()) and time.monotonic() - began < 60.0 * given.minutes:
            batch = {str(s): list(names) for s, names in wanted.items() if names}
            batch = dict(list(batch.items())[:10])
            command = [sys.executable, "-m", "benchmarks.exchange.worker", json.dumps(batch)]
            open_row = None
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    try:
                        row = json.loads(line)
                    except ValueError:
                        continue  # what a client prints
                    if row["found"] is None:
                        open_row = row
                    else:
                        open_row = None
                        keep(row)
                    if time.monotonic() - began > 60.0 * given.minutes:
                        process.kill()
                        return
            if open_row is not None:
                keep({**open_row, "found": {"error": f"the process ended with {process.returncode}"}})
            elif process.returncode:
                raise RuntimeError(f"the worker ended with {process.returncode} before it began")


if __name__ == "__main__":
    raise SystemExit(main())
