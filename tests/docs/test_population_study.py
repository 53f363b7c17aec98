"""The page of one study: what it prints are the numbers of other programs, and it is typed as somebody strict would have it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/population_study.py"


def test_a_strict_type_checker_accepts_it(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/__init__.py").touch()
    (tmp_path / "pages/population_study.py").write_text(PAGE.read_text("utf-8"), "utf-8")
    cache = ("--cache-dir", str(ROOT / ".mypy_cache"))
    said, wrong, _ = api.run(
        ["--config-file", str(ROOT / "pyproject.toml"), *cache, str(tmp_path / "pages/population_study.py")]
    )
    assert [line for line in (said + wrong).splitlines() if "pages/" in line or "error" in line] == []


def test_the_dictionary_names_what_is_there() -> None:
    """Every name in the right column that looks like one of ours is one, at the door of a room or of what it gives."""
    from docs.site.doors import entries

    known = {entry.name for entry in entries()}
    words = PAGE.read_text("utf-8").partition("The field's words, and ours")[2]
    rows = [line.split("|")[2] for line in words.splitlines() if line.startswith("# |") and "---" not in line]
    assert len(rows) > 15
    named = {name for row in rows for name in re.findall(r"`([A-Z][A-Za-z0-9]+)\b", row)} - {"FIX"}
    assert {"MixedPopulation", "Administered", "Combined1", "LogitNormal", "Steady"} <= named
    assert named - known == set()


@pytest.mark.slow
def test_what_it_prints(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(PAGE)], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert list(tmp_path.iterdir()) == []
    for kind, value in (("FOCEI", 116.8079), ("laplace", 118.52), ("quadrature", 118.105)):
        (found,) = re.findall(rf"^{kind} +([\d.]+)$", said, flags=re.M)
        assert float(found) == pytest.approx(value, abs=0.025)  # .02, and what is printed is rounded
    ofv = {name: float(value) for name, value in re.findall(r"^(\w+) +OFV +([\d.]+)", said, flags=re.M)}
    assert min(ofv, key=ofv.__getitem__) == "combined1"
    assert "ka is kept above CL/V" in said  # flip-flop
    assert "nothing to be said beside the table" in said
    assert float(re.findall(r"WT on V = ([\d.]+), -", said)[0]) > 0.0  # the interval holds 0, as the page says
    assert float(re.findall(r"^corr\(CL,V\) = ([\d.]+)$", said, flags=re.M)[0]) > 0.9  # and has no interval
    assert "With corr(CL,V) estimated" in said
    assert "near the end of its range" in said
    assert "not at a minimum" not in said
