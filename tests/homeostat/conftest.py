"""What tests of pages share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from homeostat.pictures import Picture, write_picture


@contextmanager
def _undrawn() -> Iterator[None]:
    def blank(_: Figure, folder: Path, name: str, *, title: str, caption: str, alt: str) -> Picture:
        return write_picture(Figure(figsize=(1.0, 1.0)), folder, name, title=title, caption=caption, alt=alt)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("homeostat.gallery.figures.write_picture", blank)
        yield


@pytest.fixture(scope="session")
def undrawn() -> Callable[[], AbstractContextManager[None]]:
    """For pages of which words and numbers are looked at: every figure is made, and an empty one stands on the page for it.

    Drawing them, most of a page's time, is `test_cli.py`'s for `fit` and `report`, and `test_pictures.py`'s.
    """
    return _undrawn


@pytest.fixture
def without_drawing(undrawn: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """The whole of a test is `undrawn`."""
    with undrawn():
        yield
