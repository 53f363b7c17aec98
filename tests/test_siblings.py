"""A user's own physics.py or training/ beside a script: what is in the way is said in one sentence, and what is not, is not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from homeostat_siblings import HOUSE, require_siblings

ROOT = Path(__file__).parents[1]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python as a user starts it in their folder, ours being further on in the search."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("door", "hidden"), [("hybrid", "physics.py"), ("training", "learned/__init__.py"), ("exchange", "training.py")]
)
def test_a_door_says_which_file_is_in_the_way(tmp_path: Path, door: str, hidden: str) -> None:
    (tmp_path / hidden).parent.mkdir(exist_ok=True)
    (tmp_path / hidden).write_text("raise RuntimeError('nobody runs this')\n")
    done = run(tmp_path, "-c", f"import {door}")
    said = done.stderr.splitlines()[-1]
    where = tmp_path / hidden.removesuffix("/__init__.py")
    assert said.startswith(f"ImportError: {door} needs the package {where.stem} ")
    assert f"finds {where.resolve()} in its place; rename that one" in said


def test_the_program_says_it_in_its_own_way(tmp_path: Path) -> None:
    (tmp_path / "stability.py").touch()
    done = run(tmp_path, "-m", "homeostat", "inspect", "model.twin", "--json")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    error = json.loads(done.stdout)["error"]
    assert error["message"].endswith(f"finds {(tmp_path / 'stability.py').resolve()} in its place")
    assert error["cure"].startswith("rename that one, or run where it is not found")
    cured = run(tmp_path, "-P", "-c", "from homeostat_siblings import *; require_siblings('homeostat', HOUSE)")
    assert cured.returncode == 0, cured.stderr


def test_who_does_not_need_ours_keeps_their_own(tmp_path: Path) -> None:
    """hybrid needs neither training nor stability; a folder without __init__.py hides nothing."""
    (tmp_path / "training.py").write_text("mine = True\n")
    (tmp_path / "physics").mkdir()
    (tmp_path / "learned").mkdir()
    code = "from homeostat_siblings import *; require_siblings('hybrid', ('physics', 'learned')); import training; training.mine"
    done = run(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr


def test_what_is_not_there_at_all_is_said() -> None:
    require_siblings("homeostat", HOUSE)
    with pytest.raises(ImportError, match=r"homeostat needs the package curtain, .* install homeostat anew"):
        require_siblings("homeostat", ("curtain",))
