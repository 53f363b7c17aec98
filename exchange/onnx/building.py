"""A graph of ONNX while it is made: nodes in order, constants by their content, names by counting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

NAMES = {
    torch.float64: "DOUBLE",
    torch.float32: "FLOAT",
    torch.int64: "INT64",
    torch.int32: "INT32",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Value:
    """What a node gives: its `name`, type, and how many axes it has."""

    name: str
    dtype: torch.dtype
    rank: int


Operand = Value | Tensor  # a constant is a tensor of torch, computed by torch


@dataclass
class Building:
    """Nodes (operation, inputs, output, attributes) and constants as they come: the same program gives the same graph."""

    nodes: list[tuple[str, tuple[str, ...], str, Mapping[str, Any]]] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    _known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    _same: dict[tuple[str, tuple[str, ...], str], str] = field(default_factory=dict)

    def name_of(self, value: Operand) -> str:
        """The name by which a node reads it."""
        if isinstance(value, Value):
            return value.name
        array = np.ascontiguousarray(value.detach().cpu().numpy())
        array = array.reshape(tuple(value.shape))  # a number without axes stays one
        key = (str(array.dtype), tuple(array.shape), array.tobytes())
        if key not in self._known:
            self._known[key] = f"c{len(self.constants)}"
            self.constants[self._known[key]] = array
        return self._known[key]

    def node(
        self,
        operation: str,
        inputs: Sequence[Operand],
        dtype: torch.dtype,
        rank: int,
        attributes: Mapping[str, Any] | None = None,
    ) -> Value:
        """One node more, and what it gives; the same node again is the first one."""
        names, given = tuple(self.name_of(v) for v in inputs), dict(attributes or {})
        key = (operation, names, repr(sorted(given.items())))
        if key not in self._same:
            self._same[key] = f"v{len(self.nodes)}"
            self.nodes.append((operation, names, self._same[key], given))
        return Value(self._same[key], dtype, rank)

    def cast(self, value: Operand, dtype: torch.dtype) -> Operand:
        """The same in another type."""
        if value.dtype == dtype:
            return value
        if isinstance(value, Tensor):
            return value.to(dtype)
        import onnx

        return self.node("Cast", [value], dtype, value.rank, {"to": getattr(onnx.TensorProto, NAMES[dtype])})

    def integers(self, values: Sequence[int]) -> Tensor:
        """A list of whole numbers, as ONNX takes axes and shapes."""
        return torch.tensor(list(values), dtype=torch.int64)

    def shape(self, sizes: Sequence[Any]) -> Operand:
        """A shape, some of whose sizes are known only when the graph runs: each a `Value` without axes."""
        if all(isinstance(size, int) for size in sizes):
            return self.integers(sizes)
        parts: list[Operand] = []
        for size in sizes:
            if isinstance(size, int):
                parts.append(self.integers([size]))
            else:
                parts.append(self.node("Unsqueeze", [size, self.integers([0])], torch.int64, 1))
        return self.node("Concat", parts, torch.int64, 1, {"axis": 0})


def rank_of(value: Operand) -> int:
    """How many axes it has."""
    return value.rank if isinstance(value, Value) else value.ndim
