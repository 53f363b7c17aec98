"""Numbers and texts as C99 writes them, so that no digit is lost and nothing ends a comment or a string."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

Real = Literal["double", "float"]
_WIDE = 120  # characters of a line of a table
_SHORT = 6  # characters of a decimal number that says as much as a hexadecimal one
# what names and claims are written with, in ASCII: compilers differ in what else they take
_PLAIN = str.maketrans(
    {
        **{
            "α": "alpha",
            "β": "beta",
            "γ": "gamma",
            "δ": "delta",
            "ε": "epsilon",
            "η": "eta",
            "θ": "theta",
            "κ": "kappa",
        },
        **{
            "λ": "lambda",
            "μ": "mu",
            "ρ": "rho",
            "σ": "sigma",
            "τ": "tau",
            "φ": "phi",
            "ω": "omega",
            "Δ": "Delta",
            "Σ": "Sum",
        },
        **{
            "−": "-",
            "–": "-",
            "—": "-",
            "·": "*",
            "×": "x",
            "≤": "<=",
            "≥": ">=",
            "≠": "!=",
            "⪯": "<=",
            "⪰": ">=",
            "…": "...",
        },
        **{
            "√": "sqrt",
            "∂": "d",
            "∈": "in",
            "→": "->",
            "⇒": "=>",
            "∞": "infinity",
            "’": "'",
            "‘": "'",
            "“": '"',
            "”": '"',
        },
    }
)


def literal(value: float, real: Real) -> str:
    """The number as a constant of its type, every bit of it: short, or hexadecimal; NAN and INFINITY are macros of <math.h>."""
    value = float(np.float32(value)) if real == "float" else float(value)
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = repr(value)
    if len(text) > _SHORT or "e" in text:
        mantissa, exponent = value.hex().split("p")
        text = (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + "p" + exponent
    return text + ("f" if real == "float" else "")


def table(name: str, values: Any, real: Real) -> str:
    """`static const NAME[…] = {…};` of an array of any shape, its axes C's; an axis of length 0 is declared with 1 element, 0."""
    array = np.asarray(values, dtype=np.float64) + 0.0  # no -0.0: a weight that is not there
    shape = tuple(max(1, size) for size in array.shape)
    if array.size == 0:
        array = np.zeros(shape)
    sizes = "".join(f"[{size}]" for size in shape)
    return f"static const {real} {name}{sizes} = {_braced(array, real)};"


def _braced(array: np.ndarray, real: Real) -> str:
    if array.ndim > 1:
        return "{\n" + ",\n".join(_braced(row, real) for row in array) + "}"
    return "{" + "\n".join(_lines(literal(value, real) for value in array.tolist())) + "}"


def _lines(words: Iterable[str]) -> Iterable[str]:
    line, words = "", list(words)
    for k, word in enumerate(words):
        word = word if k + 1 == len(words) else f"{word},"
        if line and len(line) + len(word) >= _WIDE:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    yield line


def texts(name: str, values: Sequence[str]) -> str:
    """`static const char *const NAME[…] = {…};` of names or units; none is one empty text."""
    each = ", ".join(map(string, values or [""]))
    return f"static const char *const {name}[{max(1, len(values))}] = {{{each}}};"


def string(text: str) -> str:
    """A string literal: ASCII, every other byte of its UTF-8 in octal, no trigraph."""
    shown = []
    for byte in text.encode():
        character = chr(byte)
        plain = 32 <= byte < 127 and character not in '"\\?'
        shown.append(character if plain else f"\\{character}" if character in '"\\?' else f"\\{byte:03o}")
    return '"' + "".join(shown) + '"'


def remark(text: str) -> str:
    """A text as it may stand in a comment: ASCII, nothing in it begins or ends one, and no trigraph."""
    text = unicodedata.normalize("NFKD", re.sub(r"[^\S\n]", " ", text).translate(_PLAIN))
    text = "".join(c if c == "\n" or 32 <= ord(c) < 127 else "" if unicodedata.combining(c) else "?" for c in text)
    return text.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
