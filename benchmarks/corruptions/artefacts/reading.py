"""A process that reads files and says what came of each: the peak of its memory, the seconds, what it was told, what it left.

Given on standard input, a line each: a reader's name and a path as JSON. It never runs what a file holds.
"""

import hashlib
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _check_fmu(path: Path) -> object:
    from exchange.fmu.checked import check_fmu

    found = check_fmu(path, run=False)
    # what is built from the sources later is said, and no mistake
    return (found.card, [one for one in found.sentences if "was added after" not in one], bool(found))


def _import_fmu(path: Path) -> object:
    from dataclasses import replace

    from exchange.imported.described import described

    return replace(described(path), path=Path(), sha256="")


def _check_onnx(path: Path) -> object:
    from exchange.onnx.read import read

    return read(path)


READERS: dict[str, Callable[[Path], object]] = {"fmu": _check_fmu, "import": _import_fmu, "onnx": _check_onnx}


def _memory(name: str) -> float:
    """A line of the process's state, in megabytes; 0 where there is no such file."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    return int(status.read_text().split(f"{name}:")[1].split()[0]) / 1024


def _begin_peak() -> None:
    """From here on the largest size counts anew (Linux: man 5 proc, clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _too_long(*_: Any) -> None:
    raise TimeoutError("the reader takes too long")


def asked(reader: str, path: Path, seconds: int) -> dict[str, Any]:
    """What became of reading a file: the kind of end, the sentence or a hash of what was read, seconds of the processor, and
    megabytes at the peak above those at the beginning."""
    before = _memory("VmRSS")
    _begin_peak()
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor: what others run beside it is not the file's fault
    began = time.process_time()
    try:
        value = READERS[reader](path)
        end, told = "read", hashlib.sha256(repr(value).encode("utf-8", "replace")).hexdigest()
    except ValueError as error:
        end, told = "refused", str(error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        end, told = type(error).__name__, str(error)[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {"end": end, "told": told, "seconds": time.process_time() - began, "megabytes": _memory("VmHWM") - before}


def main() -> None:
    """Answer until the input ends."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _too_long)
    answers = os.fdopen(os.dup(1), "w")  # what a reader prints must not be taken for an answer
    os.dup2(2, 1)
    for line in sys.stdin:
        given = json.loads(line)
        print(json.dumps(asked(given["reader"], Path(given["path"]), given["seconds"])), file=answers, flush=True)


if __name__ == "__main__":
    main()
