"""The notebooks of the docs site, as scripts: they run to their end, and what they print says what the pages around it say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def said_by(name: str, folder: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    run = [sys.executable, str(ROOT / f"examples/{name}.py")]
    done = subprocess.run(run, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_house_is_learned_and_proved(tmp_path: Path) -> None:
    said = said_by("house", tmp_path)
    assert "proved again: True" in said
    hybrid, alone = map(float, re.findall(r"rmse: hybrid ([\d.]+) °C, physics alone ([\d.]+) °C", said)[0])
    assert hybrid < alone / 2.0
    assert float(re.findall(r"correlation with the true one ([\d.]+)", said)[0]) > 0.9


@pytest.mark.slow
def test_a_drug_study_is_proved_and_judged(tmp_path: Path) -> None:
    said = said_by("drug_study", tmp_path)
    assert "proved again: True" in said
    assert "the 80 % interval covers" in said


@pytest.mark.slow
def test_warfarin_is_fitted_in_both_channels_and_proved(tmp_path: Path) -> None:
    said = said_by("warfarin", tmp_path)
    assert "proved again: True" in said
    found = {name: (float(a), float(b)) for name, a, b in re.findall(r"(\w+) +([\d.]+) \S+, true +([\d.]+);", said)}
    assert set(found) == {"ktr", "ka", "CL", "V", "Emax", "EC50", "kout", "E0"}
    for name in ("CL", "V", "kout", "E0"):  # of sixteen people; ktr and ka can be taken for each other
        assert abs(found[name][0] / found[name][1] - 1.0) < 0.2, name
