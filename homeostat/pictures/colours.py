"""The colours of every picture, by what they mean, in light, in the dark and on paper.

In an SVG a colour stands as `var(--hs-NAME, #LIGHT)`: a file by itself shows the light value, and a page that holds
the SVG sets the variables (`declarations`) for its light, its dark and its printed form. Blue and orange stay apart
under every common colour blindness (Okabe & Ito 2008), and what lies on or beside another also differs from it in
lightness, so that it can be read in grey.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Colour:
    """One colour as "#rrggbb", for a white page, for a dark one, and for paper."""

    light: str
    dark: str
    paper: str


COLOURS = {
    "page": Colour("#ffffff", "#14191e", "#ffffff"),  # the ground: what is open or kept apart shows it
    "ink": Colour("#1b2733", "#e4e9ee", "#000000"),
    "quiet": Colour("#5b6772", "#9ba8b4", "#444444"),
    "faint": Colour("#c3cad1", "#4a5763", "#c3cad1"),  # spines, null bands
    "pale": Colour("#e6eaee", "#26303a", "#e6e6e6"),  # grids
    "forecast": Colour("#0b4a7a", "#9fd0f5", "#0b4a7a"),
    "noise": Colour(
        "#d3e3f0", "#26445e", "#d3e3f0"
    ),  # the total band: where it is visible, noise is what adds to ignorance
    "ignorance": Colour("#eda53f", "#b97d20", "#eda53f"),  # what more data would narrow
    "person": Colour("#4f8f6c", "#8fd6b0", "#4f8f6c"),  # what more of this person's data would narrow
    "second": Colour("#c2570c", "#ff9a5c", "#c2570c"),  # the second of two trajectories, a threshold
    "promise": Colour("#00795c", "#4fc9a4", "#00795c"),  # what is proved
}

PAGE, INK, GREY, FAINT, PALE, LINE, NOISE, IGNORANCE, PERSON, SECOND, PROMISE = (c.light for c in COLOURS.values())


def variable(name: str) -> str:
    """The CSS variable of a colour's name."""
    return f"--hs-{name}"


def declarations(ground: Literal["light", "dark", "paper"]) -> str:
    """The CSS declarations of all colours on this ground, to stand inside a rule: `:root { … }`.

    Errors: `ValueError` for another ground.
    """
    if ground not in ("light", "dark", "paper"):
        raise ValueError(f"Colours were asked for on the ground {ground!r}; there are light, dark and paper.")
    return " ".join(f"{variable(name)}: {getattr(colour, ground)};" for name, colour in COLOURS.items())
