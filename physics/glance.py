"""What a value shows of itself in a terminal and in a notebook: a title and a few rows, and never an array whole.

    __repr__, _repr_html_ = glance(summary)

in the body of a class, where `summary(self)` gives the title and the rows; without it they are a dataclass's own fields. physics,
learned and stability import none of ours: each has this file, and a test keeps the three alike.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any

Rows = Iterable[tuple[str, object]]
Summary = tuple[str, Rows]

LINES, WIDTH = 10, 110  # of a text: what a screen, a log and a notebook have room for


def glance(
    summary: "Callable[[Any], Summary] | None" = None,
) -> tuple[Callable[[Any], str], Callable[[Any], str]]:
    """`__repr__` and `_repr_html_` of a class, made of the same title and rows; a row of nothing (None, "") is not shown."""

    def rows_of(value: Any) -> tuple[str, list[tuple[str, str]]]:
        try:
            title, rows = (summary or own_fields)(value)
            kept = [(name, row) for name, row in rows if not (row is None or (isinstance(row, str) and not row))]
            return brief(title, WIDTH), [(brief(name, 24), brief(row, 5 * WIDTH)) for name, row in kept]
        except Exception as error:  # a value that is half made, or says what cannot be, is looked at too, and just then
            said = brief(f"{type(error).__name__}: {error}", WIDTH)
            fields_of = own_fields(value)[1] if is_dataclass(value) else []
            return type(value).__name__, [("no summary", said), *((brief(k, 24), brief(v)) for k, v in fields_of)]

    def __repr__(self: Any) -> str:
        return as_text(*rows_of(self))

    def _repr_html_(self: Any) -> str:
        return as_html(*rows_of(self))

    return __repr__, _repr_html_


def as_text(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """At most `LINES` lines of at most `WIDTH` characters; what does not fit is named."""
    wide = max((len(name) for name, _ in rows), default=0)
    blocks = [(name, textwrap.wrap(text, WIDTH - wide - 4) or [""]) for name, text in rows]
    lines = [title]
    for k, (name, block) in enumerate(blocks):
        left, later = LINES - len(lines), [n for n, _ in blocks[k + 1 :]]
        room = left - min(1, len(later)) if len(block) + len(later) > left else len(block)
        if room < 1:
            return "\n".join([*lines, textwrap.shorten(f"  and {', '.join([name, *later])}", WIDTH, placeholder=" …")])
        if len(block) > room:
            block = [*block[: room - 1], f"{block[room - 1][: WIDTH - wide - 6]} …"]
        lines += [f"  {name if i == 0 else '':<{wide}}  {line}" for i, line in enumerate(block)]
    return "\n".join(lines)


def as_html(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """A table without a colour of its own, for light and dark pages alike."""
    left = 'style="text-align:left"'
    cells = "".join(f"<tr><th {left}>{escape(k)}</th><td {left}>{escape(v)}</td></tr>" for k, v in rows)
    return f'<table><thead><tr><th colspan="2" {left}>{escape(title)}</th></tr></thead><tbody>{cells}</tbody></table>'


def own_fields(value: Any) -> Summary:
    """A dataclass's name, and its fields as rows."""
    return type(value).__name__, [(f.name, getattr(value, f.name, None)) for f in fields(value) if f.repr]


def built_with(part: Any) -> Summary:
    """A part of a model: what it was built with, and how many numbers of it are trained."""
    own = [*part.parameters()]
    trained = sum(p[0].numel() if p.ndim else 1 for p in own)
    members = max((p.shape[0] for p in own if p.ndim), default=1)
    try:
        said = ", ".join(f"{name}={brief(value, 48)}" for name, value in part.config().items())
    except ValueError as error:  # names that wait for the model that they are resolved in
        said = str(error)
    return type(part).__name__, [("built with", said), ("trained", f"{trained} numbers, members {members}" if own else "")]


def brief(value: object, most: int = 90) -> str:
    """A value in one line: numbers rounded, arrays by shape and type unless tiny, of collections the first and how many."""
    if isinstance(value, str):
        text = "".join(c if c.isprintable() else " " for c in value)
    elif isinstance(value, bool | int | None):
        text = str(value)
    elif isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(getattr(value, "shape", None), tuple) and hasattr(value, "dtype"):
        text = _array(value)
    elif isinstance(value, Mapping):
        text = f"{{{_some([f'{brief(k, 30)}: {brief(v, 30)}' for k, v in [*value.items()][:12]], len(value), most)}}}"
    elif isinstance(value, tuple | list | Set):
        text = f"({_some([brief(one, 48) for one in [*value][:24]], len(value), most)})"
    elif callable(value) and hasattr(value, "__qualname__"):
        text = str(value.__qualname__).rpartition(".<locals>.")[2]
    else:
        text = (repr(value).splitlines() or [""])[0]
    return text if len(text) <= most else f"{text[: most - 2]} …"


def _some(items: list[str], count: int, most: int) -> str:
    kept = items
    while len(kept) > 1 and len(", ".join(kept)) > most - 16:
        kept = kept[:-1]
    return ", ".join(kept) + (f", … {count} in all" if len(kept) < count else "")


def _array(value: Any) -> str:
    if value.ndim < 2 and all(0 < n <= 6 for n in value.shape):
        try:
            return brief(value.tolist())
        except (RuntimeError, TypeError, ValueError):  # a tensor without numbers: of torch's meta device, or being traced
            pass
    kind = f"{tuple(int(n) for n in value.shape)} {str(value.dtype).removeprefix('torch.')}"
    device = str(getattr(value, "device", "cpu"))
    return kind if device == "cpu" else f"{kind} on {device}"


def with_units(names: Iterable[str], units: Iterable[str]) -> str:
    """Names, each with its unit in brackets behind it."""
    return ", ".join(f"{name} ({unit})" for name, unit in zip(names, units, strict=True))
