"""A path of an SVG in few bytes: points that nobody could see are left out, and coordinates are rounded."""

import re

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TOLERANCE = 0.08  # points, 1/72 inch: how far a simplified line may be from the drawn one; less than a printer's dot
DECIMALS = 1
_TOKEN = re.compile(r"[MLQCz]|[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?")
_ARGUMENTS = {"M": 2, "L": 2, "Q": 4, "C": 6, "z": 0}


def simplified(
    points: Array,  # (K, 2)
    tolerance: float = TOLERANCE,
) -> Array:  # (≤ K, 2)
    """A polyline with as few of its points as keep it near: Douglas & Peucker (1973), first and last are kept.

    Law: every point that is left out is within `tolerance` of the segment that stands for it.
    """
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    waiting = [(0, len(points) - 1)]
    while waiting:
        a, b = waiting.pop()
        if b - a < 2:
            continue
        start, along = points[a], points[b] - points[a]
        length = float(along @ along)
        rest = points[a + 1 : b] - start
        part = np.clip(rest @ along / length, 0.0, 1.0) if length > 0.0 else np.zeros(len(rest))
        off = np.square(rest - part[:, None] * along).sum(1)
        k = int(off.argmax())
        if off[k] > tolerance**2:
            keep[a + 1 + k] = True
            waiting += [(a, a + 1 + k), (a + 1 + k, b)]
    return points[keep]


def compact(data: str, *, tolerance: float = TOLERANCE, decimals: int = DECIMALS) -> str:
    """The `d` of a path, as matplotlib writes it (M, L, Q, C, z; absolute), simplified, rounded and relative.

    Steps are taken from the rounded place before, so that rounding does not add up along a path.
    """
    pieces: list[str] = []
    at, begun, previous = (0, 0), (0, 0), ""  # in units of the last decimal
    unit = 10**decimals

    def write(letter: str, values: list[tuple[int, int]]) -> None:
        nonlocal at, previous
        step = "".join(_written(v, decimals) for x, y in values for v in (x - at[0], y - at[1]))
        pieces.append(letter + step.removeprefix(" ") if letter != previous else step)
        previous, at = letter, values[-1]

    for letter, values in _runs(data):
        if letter == "z":
            pieces.append("z")
            at, previous = begun, "z"
            continue
        if letter == "L":
            line = np.concatenate([[np.array(at) / unit], values.reshape(-1, 2)])
            values = simplified(line, tolerance)[1:]
        places = [(round(float(x) * unit), round(float(y) * unit)) for x, y in values.reshape(-1, 2)]
        if letter == "M":
            previous, step = "", places[-1]
            pieces.append("M" + "".join(_written(v, decimals) for v in step).removeprefix(" "))
            at = begun = step
        elif letter == "L":
            for place in places:
                if place != at:
                    write("l", [place])
        else:
            size = _ARGUMENTS[letter] // 2
            for k in range(0, len(places), size):
                write(letter.lower(), places[k : k + size])
    return "".join(pieces)


def _runs(data: str) -> list[tuple[str, Array]]:
    """The path's commands, successive ones of one letter together."""
    found: list[tuple[str, list[float]]] = []
    for token in _TOKEN.findall(data):
        if token in _ARGUMENTS:
            if not found or found[-1][0] != token or token in "Mz":
                found.append((token, []))
        else:
            found[-1][1].append(float(token))
    return [(letter, np.array(values)) for letter, values in found]


def _written(value: int, decimals: int) -> str:
    """A number with its separator: a minus sign is one."""
    text = number(value / 10**decimals, decimals)
    return text if text.startswith("-") else f" {text}"


def number(value: float, decimals: int = DECIMALS) -> str:
    """As short as it goes: 0.50 is .5, 3.0 is 3."""
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    text = text.replace("-0.", "-.", 1) if text.startswith("-0.") else text
    text = text[1:] if text.startswith("0.") else text
    return "0" if text in ("-0", "", "-") else text
