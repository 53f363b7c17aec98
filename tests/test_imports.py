"""The import arrows of docs/design.md, walked; anything else fails."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW_HYBRID = {"physics", "learned"}
BELOW_TRAINING = BELOW_HYBRID | {"hybrid", "stability"}
ALLOWED = {
    "physics": set(),
    "learned": set(),
    "stability": set(),
    "hybrid": BELOW_HYBRID,
    "training": BELOW_TRAINING,
    "exchange": BELOW_TRAINING | {"training"},
    "homeostat": BELOW_TRAINING | {"training", "exchange"},
}
FILES = [(package, file) for package in ALLOWED for file in sorted((ROOT / package).rglob("*.py"))]


@cache
def imported(file: Path) -> set[str]:
    """Top-level names of everything that a file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the arrows"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize(("package", "file"), FILES, ids=[str(f.relative_to(ROOT)) for _, f in FILES])
def test_arrows(package: str, file: Path) -> None:
    ours = imported(file) & ALLOWED.keys()
    assert ours <= ALLOWED[package] | {package}


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("torchdiffeq", "hybrid/torchdiffeq_solver.py"),
        ("cvxpy", "stability/semidefinite.py"),
        ("ucumvert", "physics/units.py"),
        ("lark", "physics/units.py"),
        ("threadpoolctl", "stability/threads.py"),
    ],
)
def test_one_file_meets_the_library(library: str, home: str) -> None:
    assert [str(f.relative_to(ROOT)) for _, f in FILES if library in imported(f)] == [home]


def test_the_checker_needs_numpy_alone() -> None:
    foreign = imported(ROOT / "stability/proof.py") - set(sys.stdlib_module_names)
    assert foreign == {"numpy"}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom homeostat.cli import app\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert not {'torch', 'cvxpy', 'matplotlib', 'numpy'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
