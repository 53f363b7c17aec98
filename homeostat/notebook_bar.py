"""The bar of a notebook: one line in its cell, kept up to date, and still there to be read when the notebook is saved."""

import time
from collections.abc import Mapping
from html import escape
from importlib import import_module

OFTEN = 0.25  # seconds between two changes: what an eye follows, and a page takes


class Line:
    """One moment of the bar, as text and as HTML that has no colour of its own."""

    def __init__(self, text: str, share: float) -> None:
        self.text, self.share = text, share

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f'<progress value="{self.share:.3f}" max="1"></progress> {escape(self.text)}'


class NotebookBar:
    """A line of the cell that runs, by IPython's displays that can be replaced; no widget is needed."""

    def __init__(self, title: str) -> None:
        self.title, self.begin, self.first, self.shown = title.strip(), time.monotonic(), 0, 0.0
        self.text, self.share = f"{self.title}: …", 0.0
        self.handle = import_module("IPython.display").display(Line(self.text, self.share), display_id=True)

    def show(self, index: int, total: int, words: Mapping[str, str]) -> None:
        """Step `index` of `total`; the line changes at most a few times a second."""
        now = time.monotonic()
        if not self.first:  # steps of an earlier run took no time in this one
            self.first, self.begin = index, now
        passed, done = now - self.begin, index - self.first
        left = f", {_clock(passed / done * (total - index))} left" if done and index < total else ""
        said = ", ".join(f"{name} {value}" for name, value in words.items())
        self.text, self.share = f"{self.title}: step {index} of {total}, {said}", index / max(total, 1)
        if now - self.shown >= OFTEN:
            self.shown = now
            self.handle.update(Line(f"{self.text}{left}", self.share))

    def end(self, index: int, said: str) -> None:
        """The last line, which stays."""
        took = _clock(time.monotonic() - self.begin)
        self.handle.update(Line(f"{self.text}, in {took}{f'; {said}' if said else ''}", self.share if said else 1.0))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
