"""All benchmarks, one after the other, each in a process of its own; the tables are joined in runs/bench/summary.md."""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.race import EXIT_CODES, MISSED, OK, SKIPPED, WRONG

NAMES = (
    *("nonstiff", "cohort", "stiff", "members", "memory", "personalise", "filters", "twin", "gpu", "devices"),
    "workprecision",
    *("certify", "regional", "s2008", "contracting", "mutations", "mechanism_mutations", "junk"),
    *("uncertainty", "scores", "c_header"),
)


def main() -> int:
    """Run them; 1 if any is wrong or fails, else 3 if any misses a target and --strict asks, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"example: python -m benchmarks --quick --only nonstiff stiff\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and 3 runs: to see that it works")
    parser.add_argument("--strict", action="store_true", help="exit with 3 where a target is missed")
    parser.add_argument("--threads", default="2", help="torch's threads (2)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="folder for the tables and the JSON")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    a = parser.parse_args()
    flags = ["--out", str(a.out), "--threads", a.threads]
    flags += [f"--{name}" for name in ("quick", "strict") if getattr(a, name)]
    codes: dict[str, int] = {}
    for name in a.only:
        codes[name] = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *flags]).returncode
    tables = [(a.out / f"{name}.md").read_text() for name, code in codes.items() if code in (OK, MISSED)]
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "summary.md").write_text("\n".join(["# Benchmarks\n", *tables]))
    failed = [name for name, code in codes.items() if code not in (OK, MISSED, SKIPPED)]
    print(f"{a.out / 'summary.md'} holds the tables." + (f" Wrong or failed: {', '.join(failed)}." if failed else ""))
    if failed:
        return WRONG
    return MISSED if MISSED in codes.values() else OK


if __name__ == "__main__":
    sys.exit(main())
