"""The programs in our pages, as whoever copies one finds them: checked as `mypy --strict` does, run where they are quick."""

import ast
import builtins
import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[1]


def programs() -> dict[str, str]:
    """Every block of Python in a page that is a whole program, naming all that it uses, by page and place."""
    found = {}
    for page in sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("*/*/README.md"))):
        for k, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)):
            if _whole(block):
                name = re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))
                found[f"{name}_{k}"] = block
    return found


def _whole(block: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(block)))
    except SyntaxError:  # a sketch, with … in it
        return False
    names = [n for n in nodes if isinstance(n, ast.Name)]
    bound = {n.id for n in names if not isinstance(n.ctx, ast.Load)} | set(dir(builtins))
    for n in nodes:
        if isinstance(n, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in n.names}
        elif isinstance(n, ast.FunctionDef | ast.ClassDef):
            bound.add(n.name)
        elif isinstance(n, ast.arg):
            bound.add(n.arg)
    return all(n.id in bound for n in names)


# what `if result:` is for: a claim's own fields on one side, a refusal's on the other
NARROWS = """
from stability import Box, Lure, certify, certify_step, l2_gain, tube, weighted_l1

system = Lure(A=[[-1.0]], weights=[], biases=[])
result = certify(system, region=Box([-1.0], [1.0]))
rate: float = result.rate if result else 0.0
message: str = "" if result else result.message
for gain in (tube(result, system), l2_gain(result, system)):
    print(gain.value if gain else gain.message)
step, weights = certify_step(result, system, 0.1), weighted_l1(system)
print(step.factor if step else step.reason, weights.weights if weights else weights.reason)
"""


def test_a_strict_type_checker_accepts_them(tmp_path: Path) -> None:
    """With the settings and the cache of `make types`; pyproject.toml makes it strict for what lies in `pages`."""
    written = {**programs(), "narrows": NARROWS}
    assert len(written) >= 4
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/__init__.py").touch()
    for name, text in written.items():
        (tmp_path / f"pages/{name}.py").write_text(text)
    said, wrong, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache"), *sorted(
        str(file) for file in (tmp_path / "pages").glob("*.py"))])  # fmt: skip
    assert [line for line in (said + wrong).splitlines() if "pages/" in line or "error" in line] == []


# `test_readme.py` runs the one, and `docs/test_exchange_page.py` the others, which need what was exported
ELSEWHERE = ("README_0", "docs_exchange_")


@pytest.mark.parametrize("name", [name for name in programs() if not name.startswith(ELSEWHERE)])
def test_they_run(name: str) -> None:
    exec(compile(programs()[name], name, "exec"), {"__name__": name})
