"""The example of a night that is followed, and docs/following.md, whose lines are of that night."""

import importlib.util
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import matplotlib.image
import pytest
from rich.console import Console
from typer.testing import CliRunner

from homeostat.cli import app
from homeostat.follow.followed import people_of
from homeostat.follow.lines import Line
from homeostat.follow.schemas import schema_text
from homeostat.follow.view import LiveView
from twin import Twin
from twin.log import as_line, read_event

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/following.md").read_text()


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("follow_example", ROOT / "examples/follow.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look for it
    spec.loader.exec_module(module)
    return module


example = load()


ANSWERS: list[tuple[list[Any], Any]] = []  # what came in, and what the twin answered to each


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, float]]]:
    folder, follow = tmp_path_factory.mktemp("night"), example.follow

    def kept(twin: Twin, night: list[Any]) -> Any:
        ANSWERS.append((night, follow(twin, night)))
        return ANSWERS[-1][1]

    example.follow = kept
    yield folder, example.main(["--out", str(folder)])
    example.follow = follow


@pytest.fixture(scope="module")
def printed(night: tuple[Path, dict[str, float]]) -> list[dict[str, Any]]:
    """What the shell prints of the same night."""
    done = CliRunner().invoke(app, ["follow", str(night[0] / "model.twin"), "--stream", str(night[0] / "night.ndjson")])
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_late_wrong_and_withdrawn_results_cost_on_the_night_and_nothing_afterwards(
    night: tuple[Path, dict[str, float]], printed: list[dict[str, Any]]
) -> None:
    """The truth is a draw of the model, so the distance of who knows all by then is of the size of the noise."""
    folder, said = night
    assert said["same"] == 1.0
    assert said["had nothing been late"] < 0.5 * said["on the night"]
    assert said["had nothing been late"] < 1.0
    assert len(printed) == len((folder / "night.ndjson").read_text().splitlines()) == 42
    assert {line["event"]["kind"] for line in printed} == {"dose", "measurement", "withdrawal"}
    # the wrong result and the one of somebody else's blood are far from what was expected, and the rest is not
    far = [(line["patient"], line["event"]["id"]) for line in printed if line["nis"] is not None and line["nis"] > 20.0]
    assert ("anna", "tube 3") in far
    assert {person for person, _ in far} == {"anna", "ben"}


def test_the_picture_is_there(night: tuple[Path, dict[str, float]]) -> None:
    assert matplotlib.image.imread(night[0] / "follow.png").std() > 0.05


def shown_in(page: str) -> list[dict[str, Any]]:
    """Every JSON object of the page's blocks, one a line or over several."""
    found = []
    for block in re.findall(r"```json\n(.*?)```", page, flags=re.DOTALL):
        text = block.strip()
        while text:
            value, end = json.JSONDecoder().raw_decode(text)
            found.append(value)
            text = text[end:].strip()
    return found


def test_the_page_s_events_are_of_this_night(night: tuple[Path, dict[str, float]]) -> None:
    events = [one for one in shown_in(PAGE) if "kind" in one]
    written = (night[0] / "night.ndjson").read_text().splitlines()
    assert len(events) == 3
    assert all(as_line(read_event(one)) in written for one in events)


def test_the_page_s_estimate_is_what_is_printed(printed: list[dict[str, Any]]) -> None:
    (estimate,) = (one for one in shown_in(PAGE) if "channels" in one)
    jsonschema.validate(estimate, json.loads(schema_text("estimate")))
    line = printed[estimate["line"] - 1]
    # the lag is that of a night long ago; why somebody is flagged is news on that line, and in words under the example
    assert line.keys() - estimate.keys() == {"lag", "shift"}
    _same({key: line[key] for key in estimate}, estimate)
    # and the numbers of the text
    wrong = next(one for one in printed if (one["patient"], one["event"]["id"]) == ("anna", "tube 3"))
    assert f"had {wrong['nis']:.0f}." in PAGE


def _same(found: Any, page: Any) -> None:
    if isinstance(page, dict):
        assert found.keys() == page.keys()
        for key in page:
            _same(found[key], page[key])
    elif isinstance(page, list):
        assert len(found) == len(page)
        for one, other in zip(found, page, strict=True):
            _same(one, other)
    elif isinstance(page, float):
        assert found == pytest.approx(page, rel=1e-3)  # four digits stand on the page
    else:
        assert found == page


@pytest.mark.usefixtures("night")
def test_the_page_s_screen_is_that_of_a_narrow_terminal_in_the_morning() -> None:
    """The view of the night as it was, half past five: with the times of that night as times of arrival."""
    ((came, answers),) = ANSWERS
    view = LiveView("homeostat follow runs/follow/model.twin --stream -", Console(file=io.StringIO()), warn=True)
    for k, (arrival, change) in enumerate(zip(came, answers.changes, strict=True), 1):
        if arrival.hours < 9.5:
            view.change(Line(k, b""), change)
    console = Console(file=io.StringIO(), width=80, height=24, color_system=None)
    with console.capture() as screen:
        console.print(view)
    (block,) = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)
    assert [line.rstrip() for line in screen.get().splitlines()] == block.rstrip().splitlines()


def test_the_page_s_people_may_be_followed() -> None:
    (people,) = (one for one in shown_in(PAGE) if "anna" in one)
    assert people_of(json.dumps(people).encode(), "--people people.json").keys() == {"anna", "ben"}
