"""One operation of a traced program on its way into a graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exchange.onnx.building import Building, Operand, Value


@dataclass(frozen=True)
class Call:
    """One operation of a traced program: its operands, and of its result the type and the number of axes; `count`: how many
    results it has.
    """

    graph: Building
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    dtype: torch.dtype
    rank: int
    count: int = 1

    def get(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by place or by name."""
        return self.arguments[place] if place < len(self.arguments) else self.options.get(name, default)

    def put(self, operation: str, *inputs: Operand) -> Value:
        """A node of the result's own type and axes."""
        return self.graph.node(operation, inputs, self.dtype, self.rank)

    def number(self, value: float) -> Tensor:
        """A number in the type of the result."""
        return torch.tensor(value, dtype=self.dtype)

    def operand(self, value: Any, dtype: torch.dtype | None = None) -> Operand:
        """A number or tensor as an operand, in the type of the result or in another."""
        dtype = self.dtype if dtype is None else dtype
        if isinstance(value, Value | Tensor):
            return self.graph.cast(value, dtype)
        return torch.tensor(value, dtype=dtype)


Rule = Callable[[Call], Any]
