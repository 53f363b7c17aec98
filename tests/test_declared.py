"""What a test imports, `pip install homeostat[dev]` installs; that another extra happens to bring it where this runs is luck."""

import ast
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OURS = {path.name for path in ROOT.iterdir() if path.is_dir()} | {"homeostat_siblings"}


@cache
def installed_for_tests() -> frozenset[str]:
    """Distributions that the dependencies and the extra `dev` bring, with what those need in their turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ahead = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["dev"])]
    seen: set[tuple[str, str]] = set()
    while ahead:
        needed = ahead.pop()
        for extra in ("", *needed.extras):
            name = canonicalize_name(needed.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                lines = requires(name) or ()
            except PackageNotFoundError:  # for another system or another Python
                continue
            ahead += [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate({"extra": extra})]
    return frozenset(name for name, _ in seen)


def at_once(tree: ast.Module) -> set[str]:
    """The modules, by their first names, that a file imports when it is loaded."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found - OURS - sys.stdlib_module_names


def test_what_a_test_imports_is_declared() -> None:
    brought = packages_distributions()
    missing = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in sorted((ROOT / "tests").rglob("*.py"))
        for name in at_once(ast.parse(file.read_text()))
        if not {canonicalize_name(d) for d in brought.get(name, [name])} & installed_for_tests()
    }
    assert not missing, f"neither dependencies nor the extra `dev` install {sorted(missing)}"


def test_what_another_extra_brings_is_not_enough() -> None:
    """Sphinx's tools bring click, and the test environment of a clean checkout has none of it."""
    assert "typer" in installed_for_tests()
    assert "click" not in installed_for_tests()
