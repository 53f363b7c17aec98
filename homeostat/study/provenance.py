"""Where a model came from: data, versions, settings; nothing about the machine or its user."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from homeostat.study.settings import Settings
from training import Record


def provenance(settings: Settings, table: Path, records: Sequence[Record], units: Mapping[str, str]) -> dict[str, Any]:
    """Plain JSON values: the table's name and SHA-256, people, units, settings, versions."""
    return {
        "table": table.name,
        "table_sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
        "people": len(records),
        "units": dict(units),
        **{f"settings.{k}": v for k, v in asdict(settings).items()},
        **{f"version.{name}": version(name) for name in ("homeostat", "torch", "torchdiffeq", "numpy", "cvxpy")},
        "version.python": platform.python_version(),
    }
