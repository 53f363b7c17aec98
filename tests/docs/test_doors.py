"""Every public name is told on the site: by a docstring, or by a comment where it is a value, and its door has a page."""

import inspect
import re
from pathlib import Path

import pytest

from docs.site.doors import DOORS, entries, methods, page, words

ROOT = Path(__file__).parents[2]


def test_every_door_has_a_page() -> None:
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for top in ("physics", "learned", "hybrid", "stability", "training", "exchange", "twin", "homeostat")
        for file in (ROOT / top).rglob("__init__.py")
        if re.search(r"^__all__\b", file.read_text(), flags=re.M)
    }
    assert found == set(DOORS)
    assert {file.stem for file in (ROOT / "docs/api").glob("*.md")} == {*DOORS, "index"}
    listed = (ROOT / "docs/api/index.md").read_text().partition("```{toctree}")[2].split()
    assert set(DOORS) <= set(listed)


def test_every_public_name_is_told() -> None:
    silent = [f"{e.door}.{e.name}" for e in entries() if len(words(e).split()) < 3]
    assert silent == [], "a docstring, or a comment above the value, says what it is"


def test_every_public_method_is_told_by_its_class_or_by_the_one_that_asks_for_it() -> None:
    classes = {e.value for e in entries() if inspect.isclass(e.value)}
    silent = [
        f"{c.__qualname__}.{name}"
        for c in classes
        for name, _, _ in methods(c)
        if not inspect.getdoc(getattr(c, name)) and f"`{name}`" not in (c.__doc__ or "")
    ]
    assert sorted(silent) == []


@pytest.mark.parametrize("door", DOORS)
def test_every_name_has_its_entry(door: str) -> None:
    text = page(door)
    for entry in (e for e in entries() if e.door == door):
        kind = "data" if entry.kind == "module" else entry.kind
        told = rf"{{py:{kind}}} {entry.name}\b" if entry.home == door else rf"<{entry.home}\.{entry.name}>"
        assert re.search(told, text), entry.name


def test_shapes_and_defaults_stand_as_they_are_written() -> None:
    text = page("hybrid")
    assert re.search(r"\{py:function\} simulate\(model: HybridModel, schedule: ", text)
    assert "object at 0x" not in text
    assert "- `theta`: (..., q)" in page("physics")
