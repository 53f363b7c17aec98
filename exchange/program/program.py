"""A program: named groups of numbers from named groups of numbers, by a list of scalar operations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exchange.program.operations import LEAVES, OPERATIONS
from physics.arguments import quote, require_kind, require_text
from physics.glance import Summary, glance
from physics.tape import Line


def _summary(program: Any) -> Summary:
    sizes = {name: len(lines) for name, lines in program.outputs.items()}
    return f"Program: {len(program.code)} lines", [
        ("inputs", ", ".join(f"{name} ({size})" for name, size in program.inputs.items())),
        ("outputs", ", ".join(f"{name} ({size})" for name, size in sizes.items())),
        ("operations", ", ".join(sorted({line.operation for line in program.code} - set(LEAVES)))),
    ]


@dataclass(frozen=True)
class Program:
    """What a part of a model computes, one scalar operation a line: evaluated in numpy here, written as C by `lines_in_c`.

    `inputs`: the size of each named group of inputs · `code`: the lines; a leaf is Line("given", (group, position)), with the
    group counted from 0, or Line("constant", (), number), and any other line is one of `OPERATIONS` on earlier lines ·
    `outputs`: for each named group of outputs the lines that hold it.
    Errors: `ValueError` for a line that reads a later one, an operation that is not listed, an output that is no line.
    """

    inputs: Mapping[str, int]
    code: tuple[Line, ...]
    outputs: Mapping[str, tuple[int, ...]]

    __repr__, _repr_html_ = glance(_summary)

    def __post_init__(self) -> None:
        for what in ("inputs", "outputs"):
            require_kind(getattr(self, what), Mapping, f"Program: {what}", f"{what}={{…}}, by name")
            for name in getattr(self, what):
                require_text(name, f"Program: a name among {what}", '"x"')
        require_kind(self.code, (tuple, list), "Program: code", "a tuple of Line")
        sizes = list(self.inputs.values())
        for i, line in enumerate(self.code):
            if not _fits(line, i, sizes):
                raise ValueError(
                    f"Program: line {i} is {quote(line)}; a line is an input by its group and position, a constant, or one of "
                    f"{', '.join(OPERATIONS)} on earlier lines"
                )
        for name, lines in self.outputs.items():
            if any(not 0 <= line < len(self.code) for line in lines):
                raise ValueError(
                    f"Program: the output {name} is in lines {quote(list(lines))}, and there are {len(self.code)}"
                )

    def evaluate(self, **groups: Any) -> dict[str, np.ndarray]:
        """Every output (..., size) for inputs (..., size), float64, whose leading axes broadcast.

        Errors: `ValueError` for a group that is missing, unknown or of another size.
        """
        if set(groups) != set(self.inputs):
            raise ValueError(
                f"Program: its inputs are {', '.join(self.inputs) or 'none'}, and {', '.join(groups) or 'none'} came"
            )
        arrays = []
        for name, size in self.inputs.items():
            array = _array(groups[name], name)
            if array.ndim < 1 or array.shape[-1] != size:
                raise ValueError(f"Program: {name} is an array (..., {size}), and has the shape {array.shape}")
            arrays.append(array)
        try:
            lead = np.broadcast_shapes(*(array.shape[:-1] for array in arrays))
        except ValueError as error:
            have = ", ".join(str(array.shape) for array in arrays)
            raise ValueError(f"Program: the inputs have the shapes {have}; give as many of each, or one") from error
        values: list[Any] = []
        with np.errstate(all="ignore"):  # what is not finite comes out as it is
            for operation, arguments, number in self.code:
                if operation == "given":
                    values.append(arrays[arguments[0]][..., arguments[1]])
                elif operation == "constant":
                    values.append(np.float64(number))
                else:
                    more = () if number is None else (number,)
                    values.append(OPERATIONS[operation].plain(*(values[j] for j in arguments), *more))
        return {name: _stacked([values[i] for i in lines], lead) for name, lines in self.outputs.items()}


def _array(value: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"Program: {name} is an array of numbers, and is {quote(value)}") from error


def _stacked(columns: list[Any], lead: tuple[int, ...]) -> np.ndarray:
    if not columns:
        return np.zeros((*lead, 0))
    return np.stack([np.broadcast_to(column, lead) for column in columns], -1)


def _fits(line: Any, place: int, sizes: list[int]) -> bool:
    if not isinstance(line, Line):
        return False
    operation, arguments, number = line
    if operation == "given":
        return len(arguments) == 2 and 0 <= arguments[0] < len(sizes) and 0 <= arguments[1] < sizes[arguments[0]]
    if operation == "constant":
        return not arguments and number is not None
    known = OPERATIONS.get(operation)
    if known is None or known.arity != len(arguments) or known.numbered != (number is not None):
        return False
    return all(0 <= j < place for j in arguments)
