"""What an open project promises in files: they are there, they agree with the code, and what they name exists."""

import re
import tomllib
from pathlib import Path

import pytest

from homeostat import __version__

ROOT = Path(__file__).parents[1]
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "docs/policy.md")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def pins(name: str) -> dict[str, str]:
    lines = [x for x in (ROOT / name).read_text().splitlines() if x and not x.startswith("#")]
    return {k.lower(): v for k, v in (line.split("==") for line in lines)}


def test_the_changelog_begins_with_what_is_not_out_and_has_this_version() -> None:
    heads = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert heads[0] == ("Unreleased", "")
    assert __version__ in {version for version, _ in heads}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day) for _, day in heads[1:])


def test_who_cites_names_this_version() -> None:
    said = dict(re.findall(r"^([\w-]+): (\S.*)$", (ROOT / "CITATION.cff").read_text(), flags=re.MULTILINE))
    assert said["version"] == __version__
    assert said["cff-version"] == "1.2.0"
    assert said["title"] == PROJECT["name"]
    assert {"message", "type", "abstract"} <= set(said)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_that_a_page_names_are_there(page: str) -> None:
    text, home = (ROOT / page).read_text(), (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert target.startswith("https://") or (home / target).exists(), target
    for name in re.findall(r"`([\w./-]+\.(?:py|txt|toml|md))`", text):
        assert name in ("physics.py", "utils.py") or (ROOT / name).exists(), name
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)", text)) <= targets


def test_the_sources_that_are_handed_on_hold_these_files() -> None:
    handed = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    missing = {"CITATION.cff", "constraints-lowest.txt", *PAGES} - set(handed)
    assert missing == {"docs/policy.md"}
    assert "docs" in handed
    assert all((ROOT / name).exists() for name in handed)


def test_the_lowest_versions_are_those_that_are_asked_for() -> None:
    """A floor without a pin would go untested, and a pin above its floor would test something else."""
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["frames"]]
    beside = ("pytest", "pytest-xdist", "hypothesis")  # what `make test-lowest` installs to run
    needed += [n for n in PROJECT["optional-dependencies"]["dev"] if n.split(">")[0] in beside]
    floors = dict(n.split(">=") for n in needed)
    lowest, newest = pins("constraints-lowest.txt"), pins("constraints.txt")
    numbers = {name: [int(x) for x in lowest[name].split(".")] for name in floors}
    for name, floor in floors.items():
        asked = [int(x) for x in floor.split(".")]
        assert numbers[name] == asked + [0] * (len(numbers[name]) - len(asked)), name
        assert numbers[name] <= [int(x) for x in re.findall(r"\d+", newest[name])], name
    assert f"torch: from the floor in `pyproject.toml`, now {floors['torch']}," in (ROOT / "docs/policy.md").read_text()
    install = re.search(r"constraints-lowest.txt --editable '\.\[frames\]' (.*)", (ROOT / "Makefile").read_text())
    assert install is not None
    assert set(install[1].split()) == set(beside)


def test_what_an_extra_of_the_exchange_needs_the_tests_have_with_the_same_floor() -> None:
    """And `make demo` has none of it: an artefact's clients are no part of what writes it."""
    extras = PROJECT["optional-dependencies"]
    clients = {need for extra in ("fmu", "onnx", "sbml", "sign") for need in extras[extra]}
    assert clients <= set(extras["dev"])
    assert not clients & set(PROJECT["dependencies"])
    assert {need.split(">=")[0].lower() for need in clients} <= set(pins("constraints.txt"))
    skipped = next(o for o in PYPROJECT["tool"]["mypy"]["overrides"] if "fmpy.*" in o["module"])
    assert skipped["follow_imports"] == "skip", "mypy must say the same where they are absent"


def test_the_files_of_the_lowest_versions_exist() -> None:
    named = re.findall(r"tests/[\w/]+\.py", (ROOT / "Makefile").read_text())
    assert len(named) > 8
    assert [n for n in named if not (ROOT / n).exists()] == []


def test_python_versions_are_those_that_are_promised() -> None:
    said = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d", c)]
    assert f">={min(said, key=lambda v: int(v[2:]))}" == PROJECT["requires-python"]


def test_the_doors_that_are_promised_are_those_of_the_site() -> None:
    text = (ROOT / "docs/policy.md").read_text()
    promised = re.findall(r"`([\w.]+)`", text[text.index("of the doors:") : text.index("their arguments by name")])
    shown = re.findall(
        r'^    "([\w.]+)",$', (ROOT / "docs/site/doors.py").read_text().partition(")\n")[0], flags=re.MULTILINE
    )
    assert promised == shown
    assert all((ROOT / name.replace(".", "/") / "__init__.py").exists() for name in promised)
