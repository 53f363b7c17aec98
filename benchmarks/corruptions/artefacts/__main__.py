"""`python -m benchmarks.corruptions.artefacts`."""

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import benchmarks.corruptions.artefacts
from benchmarks.corruptions.artefacts.kinds import Corrupted, entries_of, of_fmu, of_graph
from benchmarks.corruptions.artefacts.of_archives import OF_BYTES
from benchmarks.corruptions.content import ordinary
from homeostat.plain_text import shown


class Reader:
    """A process that reads, begun anew where it ended or was ended."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self._folder, self._seconds = folder, seconds
        self._process: subprocess.Popen[str] | None = None

    def ask(self, reader: str, path: Path, patience: int = 1) -> dict[str, Any]:
        """What became of it; "crashed" or "hung" where the process did not say."""
        if self._process is None:
            command = [sys.executable, "-m", "benchmarks.corruptions.artefacts.reading"]
            env = {**os.environ, "TMPDIR": str(self._folder / "tmp"), "PYTHONPATH": os.getcwd()}
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=env
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        print(
            json.dumps({"reader": reader, "path": str(path), "seconds": patience * self._seconds}),
            file=process.stdin,
            flush=True,
        )
        if not select.select([process.stdout], [], [], 30.0 * self._seconds + 60.0)[0]:
            self.close()
            return {"end": "hung", "told": "", "seconds": float("inf"), "megabytes": 0.0}
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self.close()
            return {"end": "crashed", "told": f"exit status {code}", "seconds": 0.0, "megabytes": 0.0}
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def left(folder: Path) -> list[str]:
    """What lies in the folder beside what was put there."""
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.name not in ("tmp", "in", "file.fmu", "file.onnx")
    )


def fault_of(
    reader: str, found: Corrupted, answer: dict[str, Any], path: Path, usual: dict[str, Any], given: argparse.Namespace
) -> str | None:
    """What is wrong with what became of it, if anything is."""
    told = answer["told"]
    if answer["seconds"] > given.seconds:
        return f"{answer['seconds']:.1f} s"
    if answer["megabytes"] > usual["megabytes"] + given.megabytes:
        return f"{answer['megabytes'] - usual['megabytes']:.0f} MB more than for the ordinary file"
    if answer["end"] == "refused":
        plain = "\n" not in told and str(path) in told and len(told) < 2000 and shown(told, lines=False) == told
        return None if plain else f"not one plain sentence: {told[:300]!r}"
    if answer["end"] != "read":
        return f"{answer['end']}: {told}"
    if found.forbidden:
        return "read, with hashes that are right, and has to be refused all the same"
    if reader == "import" and found.kind not in OF_BYTES:
        return None  # a stranger's FMU has no hashes of ours: it is read as what it says
    return None if found.rehashed or told == usual["told"] else "read as something else than what was written"


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=benchmarks.corruptions.artefacts.__doc__, formatter_class=formatter)
    parser.add_argument("--count", type=int, default=10_000, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--megabytes", type=float, default=200.0)
    parser.add_argument("--only", nargs="+", default=["fmu", "import", "onnx"], help="readers")
    given = parser.parse_args()
    wrong, began = 0, time.monotonic()
    for reader in given.only:
        with tempfile.TemporaryDirectory() as name:
            wrong += _rows(reader, Path(name), given)
    print(f"{wrong} of {given.count * len(given.only)} are wrong; {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def _written(reader: str, folder: Path) -> Path:
    """The ordinary file."""
    if reader == "onnx":
        from exchange.onnx.onnx_graphs import Onnx

        return Onnx().write(ordinary(), folder / "model.onnx").path
    from exchange.fmu.fmu import Fmu

    return Fmu().write(ordinary(), folder / "model.fmu").path


def _rows(reader: str, folder: Path, given: argparse.Namespace) -> int:
    made = _written(reader, folder)
    raw = made.read_bytes()
    for path in folder.iterdir():
        path.unlink()
    for part in ("tmp", "in"):
        (folder / part).mkdir()
    path = folder / "in" / ("file.onnx" if reader == "onnx" else "file.fmu")
    path.write_bytes(raw)
    process = Reader(folder, max(1, round(2 * given.seconds)))
    process.ask(reader, path, 20)  # everything that is imported and made once
    usual = process.ask(reader, path)
    if usual["end"] != "read":
        print(f"{reader}: the ordinary file is {usual['end']}: {usual['told']}")
        return 1
    entries = {} if reader == "onnx" else entries_of(raw)
    told, faults, slowest, most = Counter[tuple[str, str]](), 0, (0.0, ""), (0.0, "")
    try:
        for seed in range(given.seed, given.seed + given.count):
            found = _graph(raw, seed) if reader == "onnx" else of_fmu(raw, entries, seed, str(folder))
            if found.data == raw:
                told[found.kind, "no change"] += 1
                continue
            path.write_bytes(found.data)
            answer = process.ask(reader, path)
            fault = fault_of(reader, found, answer, path, usual, given)
            if stray := left(folder):
                fault = f"left {stray[:3]}"
                process.close()
                for one in sorted(folder.rglob("*"), reverse=True):
                    if str(one.relative_to(folder)) in stray:
                        one.rmdir() if one.is_dir() and not one.is_symlink() else one.unlink()
            said = {"read": "as it says" if found.rehashed else "the same"}.get(answer["end"], answer["end"])
            told[found.kind, said] += 1
            slowest = max(slowest, (answer["seconds"], f"{found.kind} {seed}"))
            most = max(most, (answer["megabytes"] - usual["megabytes"], f"{found.kind} {seed}"))
            if fault:
                faults += 1
                print(f"{reader}: {found.kind} {seed}: {fault}", flush=True)
            if sys.stderr.isatty() and seed % 20 == 0:
                print(f"\r{reader} {seed - given.seed + 1}/{given.count}", end="", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted: what was seen so far")
    process.close()
    for (kind, verdict), count in sorted(told.items()):
        print(f"{reader:<7} {kind:<24} {verdict:<14} {count}")
    print(
        f"{reader}: slowest {slowest[0]:.2f} s ({slowest[1]}); at most {most[0]:.0f} MB above the ordinary file ({most[1]})"
    )
    return faults


def _graph(raw: bytes, seed: int) -> Corrupted:
    from exchange.onnx.sealed import sealed

    return of_graph(raw, sealed, len(sealed(b"")), seed)


if __name__ == "__main__":
    raise SystemExit(main())
