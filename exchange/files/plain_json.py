"""JSON, written as plain values; and from a stranger, never more of it in memory than was allowed before it is read."""

import json
import math
from collections.abc import Mapping
from typing import Any

# bytes that CPython takes for a mapping, a name in it, a list and any one value, beside the text itself
_MAPPING, _NAME, _LIST, _VALUE = 200, 200, 64, 40
_DIGITS = 20  # of a whole number; what is longer is no count of anything


def memory_of(data: bytes) -> int:
    """Bytes that reading this JSON text takes at most, about: by counting, without reading it.

    Three characters, `[],`, become a hundred bytes, and one rare character makes all the others four times as wide.
    """
    text = len(data) * (1 if data.isascii() else 4)
    containers = _MAPPING * data.count(b"{") + _LIST * data.count(b"[")
    return 2 * text + containers + _NAME * data.count(b":") + _VALUE * data.count(b",")


def plain_json(data: bytes, most: int) -> Any:
    """The JSON value of a UTF-8 text that takes no more than `most` bytes of memory.

    Errors: `ValueError`, one sentence, for more than that, for what is no JSON (NaN, infinities and numbers that would become
    one among it), for a name that stands twice in one object, a whole number of more than 20 digits, and nesting without end.
    """
    if memory_of(data) > most:
        raise ValueError(
            f"its JSON would take {memory_of(data) / 1e6:.0f} MB to read, and {most / 1e6:.0f} MB are allowed"
        )
    try:
        text = data.decode("utf-8-sig")
        return json.loads(
            text, parse_constant=_no_number, parse_float=_float, parse_int=_integer, object_pairs_hook=_each_name_once
        )
    except RecursionError:
        raise ValueError("its JSON is nested deeper than anything needs to be") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from None


def in_order(value: object) -> object:
    """The same plain JSON value with the names of every mapping sorted: two that say the same become the same text.

    Errors: `ValueError` for what is nested without end.
    """

    def sorted_in(one: object) -> object:
        if isinstance(one, Mapping):
            return {name: sorted_in(one[name]) for name in sorted(one, key=str)}
        return [sorted_in(inner) for inner in one] if isinstance(one, list | tuple) else one

    try:
        return sorted_in(value)
    except RecursionError as error:
        raise ValueError(
            "a bundle carries plain JSON, and something is nested without end; give lists and mappings"
        ) from error


def as_json(value: object) -> bytes:
    """The value as JSON text in UTF-8, every number to its last bit; NaN and infinities are not JSON, and of no use to anyone.

    Errors: `ValueError`, one sentence, for what JSON has no words for.
    """
    try:
        return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        why = str(error)[:150]
        raise ValueError(
            f"a bundle carries plain JSON, and {why}; give texts, finite numbers, lists and mappings"
        ) from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large to be a number")
    return value


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"{text[:20]}… is a whole number of {len(text)} digits")
    return int(text)


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} stands twice in one object")
    return found
