"""Exponents and indices are set on the site as they are typed in the sources, and names are left alone."""

import re
from pathlib import Path

import pytest

from docs.site.equations import parts

ROOT = Path(__file__).parents[2]


def read(text: str) -> str:
    return "".join(
        {"": words, "up": f"<sup>{words}</sup>", "down": f"<sub>{words}</sub>"}[kind] for kind, words in parts(text)
    )


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("falls like e^{−λt} or faster", "falls like e<sup>−λt</sup> or faster"),
        ("W_L φ(W_{L−1} x) + b_1", "W<sub>L</sub> φ(W<sub>L−1</sub> x) + b<sub>1</sub>"),
        ("[α, β]^H", "[α, β]<sup>H</sup>"),
        ("(δz_j − αδv_j)", "(δz<sub>j</sub> − αδv<sub>j</sub>)"),
        ("C_kC_kᵀ, |f|_P, J_ij", "C<sub>k</sub>C<sub>k</sub>ᵀ, |f|<sub>P</sub>, J<sub>ij</sub>"),
        ("λmax ≤ max_{d ∈ corners} λmax", "λmax ≤ max<sub>d ∈ corners</sub> λmax"),
        ("ẏ⁺_i ≥ F_i, ÿ_i, y⁻_j", "ẏ⁺<sub>i</sub> ≥ F<sub>i</sub>, ÿ<sub>i</sub>, y⁻<sub>j</sub>"),
        ("S_{net}, x_{max}, e_{i(k)}", "S<sub>net</sub>, x<sub>max</sub>, e<sub>i(k)</sub>"),
        ("from_frame, x_of_y, model_a.py, nb_x", "from_frame, x_of_y, model_a.py, nb_x"),
    ],
)
def test_what_is_typed_is_set(typed: str, seen: str) -> None:
    assert read(typed) == seen
    assert "".join(words for _, words in parts(typed)) == re.sub(r"[<>/]|sup|sub", "", seen)


@pytest.mark.parametrize(
    "name",
    [
        "examples/drug_study.py",
        "examples/house.py",
        "examples/warfarin.py",
        "docs/gallery.py",
        "docs/population_study.py",
        "docs/shelf.py",
    ],
)
def test_every_plot_of_a_notebook_has_words(name: str) -> None:
    """A cell that draws says what is seen in its first line, by which the site gives the picture its alternative text."""
    cells = re.split(r"^# %%", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE)
    drawing = [one for one in cells if re.search(r"plt\.show\(\)|^axes = \w+_axes\(", one, flags=re.MULTILINE)]
    assert len(drawing) > 1
    silent = [one[:80] for one in drawing if '"alt": "' not in one.splitlines()[0] and "write_picture" not in one]
    assert silent == []
