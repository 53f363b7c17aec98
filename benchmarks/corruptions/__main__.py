"""`python -m benchmarks.corruptions`."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

import benchmarks.corruptions
from benchmarks.corruptions.bombs import bombs
from benchmarks.corruptions.content import Content, entries, ordinary
from benchmarks.corruptions.judge import judge, peak, used
from benchmarks.corruptions.kinds import corruption
from exchange import load, save


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=benchmarks.corruptions.__doc__, formatter_class=formatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--megabytes", type=float, default=200.0)
    parser.add_argument("--bomb", type=int, default=100, help="megabytes that the largest bombs unpack to")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = save(ordinary(), Path(folder) / "deep" / "er" / "a.twin")
        content, raw = entries(path), path.read_bytes()
        used(load(path), path, content, content)  # everything that is imported and made once
        wrong, told, slowest = [], Counter[tuple[str, str]](), (0.0, "")
        try:
            for seed in range(given.seed, given.seed + given.count):
                found = corruption(content, raw, seed)
                began = time.process_time()
                try:
                    verdict, fault = judge(found, path, content)
                except Exception as error:
                    verdict, fault = "an exception", f"{type(error).__name__}: {error}"[:300]
                took = time.process_time() - began  # what others run beside it is not the file's fault
                slowest = max(slowest, (took, f"{found.kind} {seed}"))
                told[found.kind, verdict] += 1
                if fault or took > given.seconds:
                    wrong.append(f"{found.kind} {seed}: {fault or f'{took:.1f} s'}")
                    print(wrong[-1], flush=True)
        except KeyboardInterrupt:
            print("interrupted: what was seen so far")
        there = {file.name for file in Path(folder).rglob("*") if file.is_file()}
        if there - {"a.twin", "a.again"}:
            wrong.append(f"written beside what was asked for: {sorted(there)}")
        for (kind, verdict), count in sorted(told.items()):
            print(f"{kind:<12} {verdict:<14} {count}")
        print(f"slowest {slowest[0]:.2f} s ({slowest[1]}), peak {peak():.0f} MB")
        wrong += _bombs(content, Path(folder), given)
    print(f"{len(wrong)} of {sum(told.values())} corruptions and the bombs are wrong")
    return 1 if wrong else 0


def _bombs(content: Content, folder: Path, given: argparse.Namespace) -> list[str]:
    """Every bomb in a process of its own, beside the ordinary file in one."""
    import subprocess

    path = save(ordinary(), folder / "ordinary.twin")
    code = (
        "import sys, time\nfrom pathlib import Path\nimport torch\ntorch.set_num_threads(1)\n"
        "from exchange import load\nfrom homeostat.bundles.simulated import simulate_person\nbegan = time.process_time()\n"
        "try:\n    bundle = load(Path(sys.argv[1]))\n    said = 'loaded'\n"
        "except ValueError as error:\n    said = str(error)\n"
        "from benchmarks.corruptions.judge import peak\nprint(time.process_time() - began, peak(), said[:150])\n"
    )

    def asked(file: Path) -> tuple[float, float, str]:
        done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=300)
        took, most, told = done.stdout.split(" ", 2) if done.returncode == 0 else ("inf", "inf", done.stderr[-300:])
        return float(took), float(most), told.strip()

    _, base, _ = asked(path)
    wrong = []
    for name, data in bombs(content, given.bomb).items():
        file = folder / "bomb.twin"
        file.write_bytes(data)
        took, most, told = asked(file)
        told = told.replace(str(file), "…")[:110]
        line = f"{name:<40} {len(data) / 1e6:8.3f} MB  {took:6.2f} s  +{most - base:5.0f} MB  {told}"
        print(line, flush=True)
        if took > 1.0 or most - base > given.megabytes:
            wrong.append(line)
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
