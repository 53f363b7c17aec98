"""A model of ONNX read as bytes, entry by entry, before any library reads it: how much there is, and that nothing else is there.

Protocol Buffers, the wire format (protobuf.dev, "Encoding"): a message is a row of tags, each a field number and a type, and
values. What a file of ours holds is a short list of fields (onnx.proto, IR version 8); anything else in it, as a tensor whose
numbers lie in another file, a function, a graph within a graph, is refused by its number.
"""

from collections.abc import Iterator
from dataclasses import dataclass

# message: the fields that may stand in it, each with the message in it, "" for a text or bytes, "number" for a number
_FIELDS: dict[str, dict[int, str]] = {
    "model": {1: "number", 2: "", 3: "", 7: "graph", 8: "opset", 14: "property"},
    "opset": {1: "", 2: "number"},
    "property": {1: "", 2: ""},
    "graph": {1: "node", 2: "", 5: "tensor", 10: "", 11: "value", 12: "value"},
    "node": {1: "", 2: "", 3: "", 4: "", 5: "attribute", 7: ""},
    "attribute": {1: "", 2: "number", 3: "number", 4: "", 8: "numbers", 20: "number"},
    "tensor": {1: "numbers", 2: "number", 8: "", 9: ""},
    "value": {1: "", 2: "type"},
    "type": {1: "tensor_type"},
    "tensor_type": {1: "number", 2: "shape"},
    "shape": {1: "size"},
    "size": {1: "number", 2: ""},
}
MOST = 200_000  # entries: a graph of ten thousand nodes has some hundred thousand


@dataclass
class Wire:
    """How many entries have been seen, which is bounded."""

    seen: int = 0

    def entries(self, data: memoryview, message: str) -> Iterator[tuple[int, int | memoryview]]:
        """The fields of a message, and of all in it, which is walked through before it is given.

        Errors: `ValueError`, one clause, for what is no such message, for a field that does not belong there, and for too many.
        """
        place, known = 0, _FIELDS[message]
        while place < len(data):
            self.seen += 1
            if self.seen > MOST:
                raise ValueError(f"it has more than {MOST} entries, and no model that we wrote has")
            tag, place = _number(data, place)
            field, kind = tag >> 3, tag & 7
            inner = known.get(field)
            if inner is None:
                raise ValueError(f"its {message} has the field {field}, and none that we wrote has; write it again")
            if kind == 0:
                value, place = _number(data, place)
                if inner not in ("number", "numbers"):
                    raise ValueError(f"its {message} has a number for the field {field}")
                yield field, value
            elif kind == 2:
                size, place = _number(data, place)
                if size > len(data) - place:
                    raise ValueError(f"its {message} ends within the field {field}; it is truncated or damaged")
                part = data[place : place + size]
                place += size
                self._walk(part, inner, message, field)
                yield field, part
            elif kind == 5 and message == "attribute" and field == 2:
                place += 4
                if place > len(data):
                    raise ValueError(f"its {message} ends within the field {field}")
                yield field, 0
            else:
                raise ValueError(f"its {message} has the field {field} in a way that nobody writes")

    def _walk(self, part: memoryview, inner: str, message: str, field: int) -> None:
        if inner == "number":
            raise ValueError(f"its {message} has no number for the field {field}")
        if inner == "numbers":
            place = 0
            while place < len(part):
                self.seen += 1
                if self.seen > MOST:
                    raise ValueError(f"it has more than {MOST} entries, and no model that we wrote has")
                _, place = _number(part, place)
        elif inner:
            for _ in self.entries(part, inner):
                pass


def _number(data: memoryview, place: int) -> tuple[int, int]:
    """A whole number of up to ten bytes, seven bits in each, and the place behind it."""
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("it holds a number that does not end; it is truncated or damaged")
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        shift += 7
        if byte < 0x80:
            return value, place
