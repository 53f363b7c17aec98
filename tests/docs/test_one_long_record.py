"""docs/one_long_record.py as a script: it runs to its end, leaves no file, and prints what the page around it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_long_record_goes_from_signals_to_a_proof(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-B", str(ROOT / "docs/one_long_record.py")]
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
    said = done.stdout
    assert "this record: rank 3 of 3" in said
    assert "rank 2 of 3. These data cannot tell gain, k1 and k2 apart" in said
    assert "proved again: True" in said
    linear = float(re.findall(r"linear tanks: ([\d.]+) cm", said)[0])
    tail = [float(x) for x in re.findall(r"([\d.]+) cm off on the tail", said)[1:]]
    assert len(tail) == 3
    assert min(tail) < linear / 2.0
    beyond = [float(x) for x in re.findall(r"^start \d: ([\d.]+) cm off$", said, flags=re.M)]
    assert min(beyond) > 5.0 * min(tail)  # "none of these starts knows what it has not seen"
    simulated, ahead = map(float, re.findall(r"simulation ([\d.]+) cm off, one step ahead ([\d.]+) cm", said)[0])
    assert ahead < simulated
    assert re.search(r"the input pump from .* in training", said)
