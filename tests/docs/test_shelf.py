"""The page of the shelf has one plot of every mechanism that is on it."""

import re
from collections import Counter
from pathlib import Path

from physics import MECHANISMS

PAGE = Path(__file__).parents[2] / "docs/shelf.py"


def test_every_mechanism_has_one_plot() -> None:
    drawn = Counter(re.findall(r"\bScene\(\s*shelf\.(\w+)", PAGE.read_text("utf-8")))
    assert drawn == Counter(kind.__name__ for kind in MECHANISMS), "write a Scene of it in docs/shelf.py"
