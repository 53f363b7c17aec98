"""The import arrows of docs/design.md, walked; anything else fails."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW_HYBRID = {"physics", "learned"}
BELOW_TRAINING = BELOW_HYBRID | {"hybrid", "stability"}
BELOW_EXCHANGE = BELOW_TRAINING | {"training.people", "training.trust", "training.shift"}
BELOW_TWIN = BELOW_EXCHANGE | {"exchange"}
BELOW_HOMEOSTAT = BELOW_TRAINING | {"training", "exchange", "twin"}
# what works for the commands, and knows neither them nor the program
BELOW_COMMANDS = BELOW_HOMEOSTAT | {
    f"homeostat.{name}"
    for name in (
        *("bundles", "gallery", "one_run", "own_structures", "pictures", "places", "plain_text", "progress", "study", "terminal"),
        "wording",
    )
}
# What a package may import of ours beside itself and what lies in it; the innermost package of a file holds. A part of another
# package is named with its dot; a whole one stands for all that lies in it.
ALLOWED: dict[str, set[str]] = {
    "physics": set(),
    "learned": set(),
    "hybrid": BELOW_HYBRID,
    "hybrid.schedules": {"physics", "hybrid.derivative", "hybrid.many_rows"},
    "hybrid.cutting": BELOW_HYBRID | {"hybrid.schedules", "hybrid.derivative", "hybrid.many_rows", "hybrid.terms"},
    "hybrid.solve": BELOW_HYBRID | {"hybrid.field", "hybrid.cutting.segments", "hybrid.derivative"},
    "hybrid.filters": BELOW_HYBRID | {"hybrid"},
    "stability": set(),
    "stability.proof": set(),
    # values, read and judged without what looks for them
    "stability.claims": {f"stability.{name}" for name in ("arguments", "decay", "entries", "glance", "lure", "proof", "region")},
    "stability.search": {"stability"},
    "training": BELOW_TRAINING,
    "training.machinery": BELOW_TRAINING | {"training.people", "training.fitted"},
    # how a fit goes down, what it makes small and where it starts: none of them knows a fit
    "training.loop": BELOW_TRAINING
    | {f"training.{name}" for name in ("anchor", "fitted", "looks", "losses", "machinery", "objective", "people", "search")},
    "training.marginal": BELOW_TRAINING | {f"training.{name}" for name in ("loop", "losses", "people")},
    "training.starting": BELOW_TRAINING | {"training.fitted", "training.people"},
    "training.people": BELOW_HYBRID | {"hybrid"},
    "training.trust": BELOW_HYBRID | {"hybrid"},
    "training.diagnostics": BELOW_HYBRID | {"hybrid", "training.people", "training.trust"},
    "training.shift": BELOW_HYBRID | {"hybrid", "training.people", "training.trust"},
    "exchange": BELOW_EXCHANGE,
    "exchange.files": {"physics"},
    # what is written of a bundle asks the bundle, which knows nothing of it
    "exchange.bundle": BELOW_EXCHANGE | {"exchange.files"},
    "exchange.program": BELOW_HYBRID | {"hybrid"},
    "exchange.torch_program": BELOW_EXCHANGE
    | {f"exchange.{name}" for name in ("bundle", "files", "selection", "export")},
    "exchange.onnx": BELOW_EXCHANGE
    | {f"exchange.{name}" for name in ("bundle", "files", "selection", "export", "stored_system", "torch_program")},
    "exchange.c": BELOW_EXCHANGE
    | {f"exchange.{name}" for name in ("bundle", "files", "program", "selection", "export")},
    "exchange.fmu": BELOW_EXCHANGE
    | {f"exchange.{name}" for name in ("bundle", "c", "export", "files", "selection", "stored_system")},
    # never what fits
    "twin": BELOW_TWIN,
    "twin.log": {"physics"},
    "homeostat": BELOW_HOMEOSTAT,
    "homeostat.commands": BELOW_HOMEOSTAT | {"homeostat"},
    "homeostat.study": BELOW_COMMANDS,
    "homeostat.bundles": BELOW_COMMANDS,
    "homeostat.follow": BELOW_COMMANDS | {"homeostat.options"},
    "homeostat.gallery": BELOW_COMMANDS,
    "homeostat.pictures": BELOW_HOMEOSTAT,
}
OURS = {name for name in ALLOWED if "." not in name}
BESIDE = {"tests", "benchmarks", "examples"}  # no package needs them
FILES = [file for package in sorted(OURS) for file in sorted((ROOT / package).rglob("*.py"))]
MODULES = {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in FILES}


@cache
def nodes_of(file: Path) -> tuple[ast.AST, ...]:
    """The file's imports and attributes, wherever they stand."""
    return tuple(n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Import | ast.ImportFrom | ast.Attribute))


@cache
def imported(file: Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in the file it does; of ours, the module that it comes from."""
    names: set[str] = set()
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide the arrows"
            origin = str(node.module)
            whole = {f"{origin}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else origin for name in whole}
    return names


def lies_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("module", MODULES)
def test_arrows(module: str) -> None:
    package = max((name for name in ALLOWED if lies_in(module, name)), key=len)
    ours = {name for name in imported(MODULES[module]) if name.split(".")[0] in OURS | BESIDE}
    assert [n for n in sorted(ours) if not any(lies_in(n, allowed) for allowed in ALLOWED[package] | {package})] == []


@pytest.mark.parametrize("module", [m for m in MODULES if lies_in(m, "stability.proof")])
def test_the_checker_needs_numpy_alone(module: str) -> None:
    foreign = {name.split(".")[0] for name in imported(MODULES[module])} - set(sys.stdlib_module_names) - OURS
    assert foreign <= {"numpy"}


def test_packages_that_know_nothing_of_each_other_keep_one_wording() -> None:
    """physics, learned and stability import none of ours: what they all need stands in each, and is the same."""
    one, two = ((ROOT / f"{package}/laws/rebuilt.py").read_text() for package in ("physics", "learned"))
    code = one[one.index("import copy") :].rstrip()
    assert code in two
    three = [(ROOT / f"{package}/glance.py").read_text() for package in ("physics", "learned", "stability")]
    assert three[1] == three[2]
    assert three[1].rstrip() in three[0]


def test_no_circles() -> None:
    """Every import counts, those for types alone and those inside functions too."""
    arrows = {m: {n for n in imported(file) if n in MODULES and n != m} for m, file in MODULES.items()}
    TopologicalSorter(arrows).prepare()  # raises CycleError, with the circle


def test_nothing_private_crosses_a_file() -> None:
    found = []
    for folder in (*sorted(OURS), "tests", "benchmarks", "examples"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            nodes, names, modules = nodes_of(file), list[str](), set[str]()
            for node in nodes:
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS | BESIDE:
                    names += [alias.name for alias in node.names]
                    modules |= {a.asname or a.name for a in node.names if f"{node.module}.{a.name}" in MODULES}
                elif isinstance(node, ast.Import):
                    modules |= {alias.asname or alias.name for alias in node.names if alias.name in MODULES}
            hidden = [n for n in nodes if isinstance(n, ast.Attribute) and n.attr.startswith("_")]
            hidden = [] if folder == "tests" else hidden  # a test may look at what a module keeps
            own = [n for n in hidden if not (isinstance(n.value, ast.Name) and n.value.id == "self")]
            reached = [n.attr for n in own if ast.unparse(n.value) in modules]
            private = [name for name in (*names, *reached) if name.startswith("_") and not name.endswith("__")]
            found += [f"{file.relative_to(ROOT)}: {name}" for name in private]
    assert found == []


@pytest.mark.parametrize("door", ["training", "training.people", "stability"])
def test_no_module_bears_the_name_of_an_export(door: str) -> None:
    """A door that resolves its names on first use would give the module or the export, as it happens."""
    beside = {m.removeprefix(f"{door}.") for m in MODULES if lies_in(m, door)}
    assert set(import_module(door).__all__) & beside == set()


def test_examples_come_by_the_doors() -> None:
    """An example is what a user writes, and a user knows the rooms, not what stands in them."""
    doors = {module for module, file in MODULES.items() if file.name == "__init__.py"}
    for file in (ROOT / "examples").glob("*.py"):
        nodes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
        ours = {str(n.module) for n in nodes if str(n.module).split(".")[0] in OURS - {"homeostat"}}
        assert ours <= doors, file.name


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("torchdiffeq", "hybrid/solve/torchdiffeq_solver.py"),
        ("cvxpy", "stability/search/semidefinite.py"),
        ("clarabel", "stability/search/conic.py"),
        ("ucumvert", "physics/units.py"),
        ("lark", "physics/units.py"),
        ("pandas", "hybrid/frames.py"),
        ("xarray", "hybrid/frames.py"),
        ("threadpoolctl", "stability/threads.py"),
    ],
)
def test_one_file_meets_the_library(library: str, home: str) -> None:
    assert [str(f.relative_to(ROOT)) for f in FILES if library in {n.split(".")[0] for n in imported(f)}] == [home]


DOORS = {
    "stability.proof": ({"torch", "cvxpy", "clarabel"}, ("stability.proof",)),
    "stability.claims": ({"torch", "cvxpy", "clarabel", "stability.search"}, ("stability",)),
    "training.people": ({"cvxpy", "clarabel"}, ("training.people",)),
    "training.trust": ({"cvxpy", "clarabel"}, ("training.trust",)),
    "exchange": ({"cvxpy", "clarabel"}, ("training.people", "training.shift", "training.trust")),
    "twin": ({"cvxpy", "clarabel"}, ("training.people", "training.shift", "training.trust")),
    "training": ({"cvxpy"}, ("training",)),
}


@cache
def loaded_by_doors() -> dict[str, list[str]]:
    """What each door loads by itself: a process of its own for each, forked from one that has loaded only others' libraries.

    Torch takes two seconds of processor time and belongs to most doors; it is loaded once, after the doors that may not.
    """
    code = (
        "import os, sys\n"
        "def load(door):\n"
        "    sys.stdout.flush()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        __import__(door)\n"
        "        print(door, *sys.modules, flush=True)\n"
        "        os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0, door\n"
        f"without = {[door for door, (absent, _) in DOORS.items() if 'torch' in absent]}\n"
        "for door in without: load(door)\n"
        "import torch, torchdiffeq\n"
        f"assert not [m for m in sys.modules if m.split('.')[0] in {sorted(OURS)} + ['cvxpy', 'clarabel']]\n"
        f"for door in {list(DOORS)}:\n"
        "    if door not in without: load(door)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (line.split() for line in done.stdout.splitlines())
    return {door: modules for door, *modules in lines}


@pytest.mark.parametrize(("module", "absent", "rooms"), [(door, *what) for door, what in DOORS.items()])
def test_what_a_door_does_not_load(module: str, absent: set[str], rooms: tuple[str, ...]) -> None:
    """Who proves loads numpy; who follows a patient, no fit: of the package that a room lies in, nothing else."""
    loaded = loaded_by_doors()[module]
    assert sorted(absent & set(loaded)) == []
    house = rooms[0].split(".")[0]
    assert [m for m in loaded if m.startswith(house + ".") and not any(lies_in(m, room) for room in rooms)] == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom homeostat.cli import app\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert not {'torch', 'cvxpy', 'matplotlib', 'numpy'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
