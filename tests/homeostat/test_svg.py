"""Pictures as files: an SVG is well-formed, its ids are its own, its colours the page's, its text text; and it is small."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes

from homeostat.pictures import (
    Observed,
    Picture,
    Reliability,
    Theta,
    figure_of,
    observed_axes,
    people_axes,
    phase_axes,
    reliability_axes,
    theta_axes,
    what_if_axes,
    write_picture,
)
from homeostat.pictures.colours import COLOURS, declarations, variable
from homeostat.pictures.style import new_figure
from homeostat.pictures.svg_paths import compact, number, simplified
from tests.homeostat.test_pictures import build, events, people, phase
from training import AtEnd

SVG = "{http://www.w3.org/2000/svg}"
laws = settings(deadline=None, max_examples=40, derandomize=True)
THETA = Theta(
    ("ka", "V"),
    ("/h", "L"),
    np.array([[0.05, 20.0], [0.5, 2000.0]]),
    np.array([[1.4, 30.0], [1.6, 32.0]]),
    np.array([[0.6, 0.2], [0.6, 0.2]]),
    True,
    ("1", "2", "3"),
    np.array([[[0.7, 25.0], [18.5, 31.0], [1.5, 40.0]], [[0.9, 27.0], [19.5, 33.0], [1.7, 42.0]]]),
    np.ones(3, dtype=bool),
    (AtEnd("people", "ka", "/h", "high", 19.0, 20.0, 2, 2, ("2",)),),
)


def observed() -> dict[str, Observed]:
    prediction = build()
    y = prediction.sample(1, torch.Generator().manual_seed(1))[0]
    y[0, 3] = math.nan
    return {"forecast": Observed.of(prediction, y), "individual fit": Observed.of(prediction, prediction.point)}


def drawn(folder: Path) -> list[Picture]:
    p, y, pit = events(40)
    numbers = Reliability.of(p, y, pit, event="above 5 mg/L", bins=3, draws=20)
    panels = {
        "people": people_axes(build(), people(2, names=("1", "Zoë & <b>")), forecast_from=3.0, title="People & <i>"),
        "reliability": reliability_axes(numbers, title="Is it?"),
        "phase": phase_axes(phase(), title="Two starts"),
        "what_if": what_if_axes(
            {"a": build(), "b": build(seed=1)}, threshold=5.0, title="What if?", beyond={"b": [(1.0, 4.0)]}
        ),
        "observed": observed_axes(observed(), title="Observed"),
        "theta": theta_axes(THETA, title="θ"),
    }
    return [written(axes, folder, name) for name, axes in panels.items()]


def written(axes: Sequence[Axes], folder: Path, name: str) -> Picture:
    words = {"title": f"{name} <&>", "caption": "How to read it.", "alt": f'{name} "says" <&>'}
    return write_picture(figure_of(axes), folder, name, **words)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    return drawn(tmp_path_factory.mktemp("pictures"))


def test_every_svg_is_well_formed_and_says_what_it_shows(pictures: list[Picture]) -> None:
    for one in pictures:
        root = ElementTree.fromstring(one.svg.read_text(encoding="utf-8"))
        assert root.tag == f"{SVG}svg"
        assert root.get("role") == "img"
        named = {e.get("id"): e.text for e in root if e.tag in (f"{SVG}title", f"{SVG}desc")}
        assert [named[i] for i in str(root.get("aria-labelledby")).split()] == [
            f"{one.name} <&>",
            f'{one.name} "says" <&>',
        ]
        kinds = {e.tag.removeprefix(SVG) for e in root.iter()}
        assert kinds <= {
            "svg",
            "title",
            "desc",
            "defs",
            "g",
            "path",
            "use",
            "text",
            "tspan",
            "clipPath",
            "rect",
            "pattern",
        }
        words = " ".join(e.text or "" for e in root.iter(f"{SVG}text"))
        assert re.search(r"\w", words)  # text is text
    assert "Zoë & <b>" in "".join(ElementTree.parse(pictures[0].svg).getroot().itertext())


def test_ids_are_the_pictures_own_and_everything_that_is_referred_to_is_there(pictures: list[Picture]) -> None:
    everywhere: list[str] = []
    for one in pictures:
        source = one.svg.read_text(encoding="utf-8")
        ids = re.findall(r'\bid="([^"]*)"', source)
        assert all(i.startswith(f"{one.name}-") for i in ids)
        referred = set(re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', source))
        assert {a or b for a, b in referred} <= set(ids)
        everywhere += ids
    assert len(everywhere) == len(set(everywhere))


def test_every_colour_is_a_variable_of_the_house_with_its_light_value(pictures: list[Picture]) -> None:
    known = {variable(name): colour.light for name, colour in COLOURS.items()}
    for one in pictures:
        source = one.svg.read_text(encoding="utf-8")
        pairs = re.findall(r"var\((--[\w-]+),(#\w+)\)", source)
        assert pairs
        assert all(known[name] == value for name, value in pairs)
        rest = re.sub(r"var\([^)]*\)", "", source)
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?!\))", re.sub(r'href="#[^"]*"|url\(#[^)]*\)', "", rest))
        assert set(re.findall(r"(?:fill|stroke):([a-z]+)", rest)) <= {"none", "url"}
        assert "rgb" not in rest
    for ground in ("light", "dark", "paper"):
        assert declarations(ground).count("--hs-") == len(COLOURS)
    with pytest.raises(ValueError, match="light, dark and paper"):
        declarations("sepia")  # type: ignore[arg-type]


def lightness(colour: str) -> float:
    """CIE L* of an sRGB colour, 0 to 100: what is left of it in grey."""
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ]
    return 116.0 * (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]) ** (1 / 3) - 16.0


@pytest.mark.parametrize("ground", ["light", "dark", "paper"])
def test_what_lies_beside_another_differs_in_grey(ground: str) -> None:
    for names in (
        ("page", "noise", "ignorance", "person"),
        ("page", "noise", "ignorance", "forecast"),
        ("page", "forecast", "second"),
    ):
        values = [lightness(getattr(COLOURS[name], ground)) for name in names]
        apart = [abs(a - b) for i, a in enumerate(values) for b in values[:i]]
        assert min(apart) > 8.0, (ground, names, values)


def test_the_same_picture_has_the_same_bytes_and_its_figure_is_left_as_it_was(
    tmp_path: Path, pictures: list[Picture]
) -> None:
    panels = {"observed": observed_axes(observed(), title="Observed"), "theta": theta_axes(THETA, title="θ")}
    again = [written(axes, tmp_path, name) for name, axes in panels.items()]
    for first, second in zip(pictures[-2:], again, strict=True):
        assert first.svg.read_bytes() == second.svg.read_bytes()
        assert first.png.read_bytes() == second.png.read_bytes()
    figure = new_figure(2.0, 2.0)
    figure.subplots().plot([0, 1])
    figure.set_layout_engine("constrained")
    before = figure.dpi, figure.canvas, figure.get_layout_engine()
    write_picture(figure, tmp_path, "x", title="x", caption="", alt="A line.")
    assert (figure.dpi, figure.canvas, figure.get_layout_engine()) == before
    assert figure.patch.get_visible()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": "1"}, "begins the ids"),
        ({"name": "a b"}, "begins the ids"),
        ({"alt": " "}, "an empty alt"),
        ({"title": ""}, "an empty title"),
    ],
)
def test_a_picture_without_words_or_a_name_is_refused(tmp_path: Path, words: dict[str, str], said: str) -> None:
    given = {"name": "x", "title": "x", "caption": "", "alt": "x"} | words
    with pytest.raises(ValueError, match=said):
        write_picture(new_figure(1.0, 1.0), tmp_path, given.pop("name"), **given)


def test_twenty_four_people_are_less_than_150_kB(tmp_path: Path) -> None:
    t = torch.linspace(0.0, 24.0, 97, dtype=torch.float64)
    short = build(N=24)
    scale = torch.exp(
        0.3 * torch.randn(3, 2, 24, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )
    mean = 8.0 * scale * (torch.exp(-0.08 * t) - torch.exp(-0.9 * t))[:, None]
    mask = torch.ones(24, 97, dtype=torch.bool)
    dense = replace(short, mean=mean, variance=0.1 + 0.01 * mean.square(), times=t.expand(24, 97), mask=mask)
    figure = figure_of(people_axes(dense, people(24), forecast_from=3.0, title="Twenty-four"))
    one = write_picture(figure, tmp_path, "people", title="x", caption="", alt="x")
    assert one.svg.stat().st_size < 150_000


# ------------------------------------------------------------------ paths


def distance(point: np.ndarray, line: np.ndarray) -> float:
    """From a point to the nearest place of a polyline."""
    found = []
    for a, b in pairwise(line):
        along = b - a
        part = np.clip((point - a) @ along / max(float(along @ along), 1e-300), 0.0, 1.0)
        found.append(float(np.hypot(*(point - a - part * along))))
    return min(found)


@laws
@given(st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 50.0)), min_size=2, max_size=30), st.floats(0.01, 5.0))
def test_what_is_left_out_of_a_line_is_near_what_stands_for_it(
    points: list[tuple[float, float]], tolerance: float
) -> None:
    line = np.array(points)
    kept = simplified(line, tolerance)
    assert np.array_equal(kept[[0, -1]], line[[0, -1]])
    assert max(distance(point, kept) for point in line) <= tolerance * (1 + 1e-9)


def read(data: str) -> list[tuple[str, list[float]]]:
    """A path's commands with absolute coordinates: the naive reader."""
    at, begun, found = np.zeros(2), np.zeros(2), []
    tokens = re.findall(r"[MlqczL]|-?(?:\d+\.?\d*|\.\d+)", data)
    letter, k = "", 0
    while k < len(tokens):
        if tokens[k].isalpha():
            letter = tokens[k]
            k += 1
        if letter == "z":
            at = begun
            found.append(("z", list(at)))
            continue
        size = {"M": 2, "l": 2, "q": 4, "c": 6}[letter]
        values = np.array([float(v) for v in tokens[k : k + size]]).reshape(-1, 2)
        values = values if letter == "M" else values + at
        at, k = values[-1], k + size
        begun = at if letter == "M" else begun
        found.append((letter, values.ravel().tolist()))
    return found


@laws
@given(st.lists(st.tuples(st.floats(-99.0, 999.0), st.floats(-99.0, 999.0)), min_size=2, max_size=20))
def test_a_short_path_goes_where_the_long_one_goes(points: list[tuple[float, float]]) -> None:
    """Rounding is of every place by itself: it does not add up along the path."""
    long = "M " + "\nL ".join(f"{x:.6f} {y:.6f}" for x, y in points) + "\nz"
    short = read(compact(long))
    assert (short[0][0], short[-1][0]) == ("M", "z")
    line = np.array([v for letter, v in short if letter != "z"] or [[0.0, 0.0]])
    line = np.concatenate([line, line[:1]])
    for point in np.array(points):
        assert distance(point, line) <= 0.08 + 0.05 * math.sqrt(2.0) + 1e-6
    assert len(compact(long)) < len(long)


def test_curves_and_several_parts_are_kept() -> None:
    assert compact("M 0 0 \nC 0.04 1 1 1.5 2.26 2 \nz\nM 5 5 \nL 6 5 \nL 7 5 \n") == "M0 0c0 1 1 1.5 2.3 2zM5 5l2 0"
    assert [number(v) for v in (0.0, -0.04, 0.5, -0.5, 3.0, 10.0, 12.34)] == ["0", "0", ".5", "-.5", "3", "10", "12.3"]
