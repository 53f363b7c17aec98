"""Measures bundles in a process of its own, one JSON line a part: compiled code that runs here may end it."""

import hashlib
import json
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.exchange.of_fmu import Found
from benchmarks.exchange.random_bundles import choice_of, random_bundle
from benchmarks.exchange.subject import Subject, subject_of, without_network
from exchange import describe
from hybrid import HybridModel

Part = Callable[[Subject, Path], Found]


def parts() -> Mapping[str, Part]:
    """By name, in the order in which they are measured; an FMU comes before CasADi takes it in."""
    from benchmarks.exchange.of_fmu import of_casadi, of_fmu
    from benchmarks.exchange.of_graphs import of_onnx, of_torch
    from benchmarks.exchange.of_header import of_header

    return {
        "header float64": lambda s, f: of_header(s, f, "float64"),
        "header float32": lambda s, f: of_header(s, f, "float32"),
        "FMU 3": lambda s, f: of_fmu(s, f, 3),
        "CasADi 3": lambda s, f: of_casadi(s, f, 3),
        "FMU 2": lambda s, f: of_fmu(s, f, 2),
        "CasADi 2": lambda s, f: of_casadi(s, f, 2),
        "ONNX float64": lambda s, f: of_onnx(s, f, "float64"),
        "ONNX float32": lambda s, f: of_onnx(s, f, "float32"),
        "torch float64": lambda s, f: of_torch(s, f, "float64"),
        "SBML": _sbml,
    }


def _sbml(subject: Subject, folder: Path) -> Found:
    from benchmarks.exchange.of_sbml import of_sbml

    seed = int(subject.bundle.provenance["settings.seed"])
    return of_sbml(subject_of(without_network(subject.bundle), seed), folder)


def _traced_once() -> None:
    """Header and both FMUs are made of the same programs, which cost more than all else: they are traced once for a bundle."""
    import exchange.c.text

    trace, kept = exchange.c.text.parts_of_members, dict[str, Any]()

    def parts_of_members(model: HybridModel) -> Any:
        about = json.dumps(describe(model)).encode()
        numbers = b"".join(t.detach().numpy().tobytes() for t in (*model.parameters(), *model.buffers()))
        key = hashlib.sha256(about + numbers).hexdigest()
        if key not in kept:
            kept.clear()
            kept[key] = trace(model)
        return kept[key]

    exchange.c.text.parts_of_members = parts_of_members


def main() -> None:
    """Arguments: the parts wanted of each seed, {"seed": [part, …]} as JSON."""
    wanted: dict[str, list[str]] = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    known = parts()
    _traced_once()
    for seed, names in wanted.items():
        began = time.perf_counter()
        try:
            subject = subject_of(random_bundle(int(seed)), int(seed))
        except Exception as error:
            for name in names:
                _say(seed, name, {"error": f"no path of ours: {type(error).__name__}: {error}"[:500]})
            continue
        about: Found = {"by": subject.by, "of ours": time.perf_counter() - began}
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                _say(seed, name, None)
                began = time.perf_counter()
                try:
                    found = known[name](subject, Path(folder))
                except ValueError as error:
                    found = {"refused": str(error)[:500]}
                except Exception as error:
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    found = {
                        "error": f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"[:500]
                    }
                _say(seed, name, {**about, **found, "seconds": time.perf_counter() - began})


def _say(seed: str, part: str, found: Found | None) -> None:
    line = {"seed": int(seed), "of": str(choice_of(int(seed))), "part": part, "found": found}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
