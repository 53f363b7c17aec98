"""Every slip of every call: `python -m benchmarks.slips`."""

import argparse
import sys
import time
from collections import Counter

import benchmarks.slips
from benchmarks.slips.attempt import WRONG, run
from benchmarks.slips.table import calls, pictures, unlisted
from benchmarks.slips.world import others


def main() -> int:
    """Run them; 1 where any call answers as none may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slips", description=benchmarks.slips.__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="some slips of each call that takes long")
    parser.add_argument("--only", default="", help="calls whose name begins so: hybrid.Dose")
    parser.add_argument("--show", nargs="*", default=[], help="print outcomes of these kinds too: ours taken 'the same'")
    a = parser.parse_args()
    table = {name: call for name, call in {**calls(), **pictures()}.items() if name.startswith(a.only)}
    begin = time.perf_counter()
    found = run(table, others(), few=3 if a.quick else None, progress=lambda name: print(name, file=sys.stderr))
    for one in found:
        if one.kind in (*WRONG, *a.show):
            print(f"{one.kind:9} {one.call}({one.argument} = {one.slip}): {one.words[:300]}")
    missing = unlisted()
    counts = Counter(one.kind for one in found)
    print(f"{len(table)} calls, {len(found):,} slips in {time.perf_counter() - begin:.0f} s: "
          + ", ".join(f"{counts[kind]:,} {kind}" for kind in ("ours", "the same", "another", "not finite", "taken", *WRONG)))
    print(f"longest: {max(found, key=lambda o: o.seconds).seconds:.2f} s" if found else "")
    if missing:
        print(f"public, and in no row of the table: {', '.join(missing)}")
    return 1 if missing or any(counts[kind] for kind in WRONG) else 0


if __name__ == "__main__":
    sys.exit(main())
