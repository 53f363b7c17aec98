"""From a function of tensors to a program: `torch.export` writes down its ATen operations, and each becomes scalar lines."""

import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from exchange.program.arrays import lifted
from exchange.program.aten import MADE, SAID, SHAPED, TABLE
from exchange.program.lines import Lines
from exchange.program.program import Program
from physics.arguments import quote, require_kind, require_names, require_number, require_text

# torch takes these apart in a way whose slope is no number far out; the table has them whole
_WHOLE = ("softplus", "silu", "logaddexp")


@dataclass(frozen=True)
class Traced:
    """A function as `torch.export` wrote it down, ready to become a program with the numbers of any member.

    `exported`: its operations, decomposed · `shapes`: of each argument · `outputs`: the names of what it gives · `name`: what
    it is, for errors.
    """

    exported: ExportedProgram
    shapes: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    name: str

    def program(self, numbers: Mapping[str, Tensor] | None = None) -> Program:
        """The program; `numbers`: in the place of the module's parameters, by their names, others of the same shapes.

        Errors: `ValueError`, which names the operation, for one that the table does not have.
        """
        lines = Lines({name: int(np.prod(shape, dtype=int)) for name, shape in self.shapes.items()})
        values = self._given(lines, numbers or {})
        for node in self.exported.graph.nodes:
            if node.op == "placeholder":
                continue
            if node.op == "output":
                found = [torch.fx.node.map_arg(one, lambda n: values[n.name]) for one in node.args[0]]
                break
            values[node.name] = _carried(lines, node, values, self.name)
        return lines.program(
            {name: list(lifted(lines, value).reshape(-1)) for name, value in zip(self.outputs, found, strict=True)}
        )

    def _given(self, lines: Lines, numbers: Mapping[str, Tensor]) -> dict[str, Any]:
        """The value of every placeholder: an array of inputs, or a tensor of the module."""
        values: dict[str, Any] = {}
        groups = iter(self.shapes.items())
        for one in self.exported.graph_signature.input_specs:
            if one.kind is InputKind.USER_INPUT:
                group, shape = next(groups)
                found = np.empty(shape, dtype=object)
                for k, place in enumerate(np.ndindex(shape)):
                    found[place] = lines.given(group, k)
                values[one.arg.name] = found
                continue
            own = numbers.get(str(one.target).removeprefix("module."))
            if own is None:
                own = self.exported.state_dict.get(str(one.target), self.exported.constants.get(str(one.target)))
            values[one.arg.name] = own
        return values


def traced(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    shapes: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    *,
    name: str,
    module: nn.Module | None = None,
) -> Program:
    """A function of tensors as a program.

    Arguments: `function`, of one float64 tensor for each of `shapes`, in their order; `outputs`, the names of what it gives;
    `name`, what it is, for errors; `module`, whose parameters and buffers it reads. Groups hold their tensors row by row.
    Errors: `ValueError`, beginning with `name`, where torch.export cannot follow it (it branches on a value, it leaves torch),
    and for an operation that the listed table, `exchange/program/aten.py`, does not have.
    Law: `evaluate` equals the function, to rounding.
    """
    return exported(function, shapes, outputs, name=name, module=module).program()


def exported(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    shapes: Mapping[str, Sequence[int]],
    outputs: Sequence[str],
    *,
    name: str,
    module: nn.Module | None = None,
) -> Traced:
    """The first half of `traced`: what torch wrote down, of which members with other numbers can be made."""
    require_text(name, "traced: name", '"the observation"')
    require_kind(shapes, Mapping, "traced: shapes", '{"x": (1, 1, 2)}')
    require_names(outputs, "traced: outputs", '["rate"]')
    sizes = dict[str, tuple[int, ...]]()
    for group, shape in shapes.items():
        require_kind(shape, (tuple, list), f"traced: the shape of {quote(group)}", "(1, 1, 2)")
        for size in shape:
            require_number(size, f"traced: a size of {quote(group)}", least=0.0, whole=True)
        sizes[group] = tuple(int(size) for size in shape)
    # numbers in the middle of where models live: torch.export reads their shapes alone
    examples = tuple(torch.full(shape, 0.5, dtype=torch.float64) for shape in sizes.values())
    try:
        with _quiet(), torch.no_grad():
            found = torch.export.export(_Wrapped(function, module), examples, strict=False)
            others = [_packet(node) for node in found.graph.nodes if not _listed(node)]
            if others:  # ten times dearer than the rest
                found = found.run_decompositions(_decompositions())
    except Exception as error:  # torch raises whatever it met
        said = str(error).strip().split("\n", 1)[0]
        raise ValueError(
            f"{name}: torch.export cannot follow it ({type(error).__name__}: {said[:200]}); what is exported computes with torch "
            "alone on what it is given, and does not branch on a value: write torch.where in the place of if"
        ) from error
    kinds = [one.kind for one in found.graph_signature.output_specs]
    if OutputKind.TOKEN in kinds:  # one that also does something else, as looking whether it worked
        raise ValueError(_refusal(name, others[0]))
    if kinds != [OutputKind.USER_OUTPUT] * len(outputs):
        raise ValueError(
            f"{name}: it gives {len(kinds)} tensors, or changes what it reads; needed are {', '.join(outputs)}"
        )
    _require_named(found, module, name)
    return Traced(found, sizes, tuple(outputs), name)


def _listed(node: Any) -> bool:
    """Can it be carried out as it is? What changes a tensor in its place first has to be written as what gives a new one."""
    if node.op != "call_function" or node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    packet = _packet(node)
    changes = schema is not None and schema.is_mutable and packet != "aten.detach_"  # which changes no number
    return schema is not None and not changes and packet in TABLE.keys() | SHAPED | SAID | MADE


def _packet(node: Any) -> str:
    """The operation's name without that of its overload: aten.add of aten.add.Tensor."""
    return str(node.target).rsplit(".", 1)[0]


def _refusal(name: str, packet: str) -> str:
    listed = ", ".join(sorted(one.removeprefix("aten.") for one in (*TABLE, *SHAPED)))
    return f"{name}: the operation {packet} is none of those that are exported; these are {listed}"


def _decompositions() -> Any:
    """How torch takes operations apart, but for those that the table has whole."""
    table = torch.export.default_decompositions()
    for packet in _WHOLE:
        for overload in getattr(torch.ops.aten, packet).overloads():
            table.pop(getattr(getattr(torch.ops.aten, packet), overload), None)
    return table


def _require_named(found: ExportedProgram, module: nn.Module | None, name: str) -> None:
    """Raise `ValueError` for a parameter that was read past its module: another member's numbers would not take its place."""
    own = {} if module is None else {p.data_ptr(): key for key, p in module.named_parameters() if p.numel()}
    for one in found.constants.values():
        if isinstance(one, Tensor) and one.numel() and one.data_ptr() in own:
            raise ValueError(
                f"{name}: it reads the parameter {own[one.data_ptr()]} by a reference that it keeps beside its module; read "
                "it as an attribute, self.weight"
            )


class _Wrapped(nn.Module):
    """The function, and the module whose tensors it reads: torch.export takes a module."""

    def __init__(self, function: Callable[..., Any], module: nn.Module | None) -> None:
        super().__init__()
        self.function, self.module = function, module

    def forward(self, *given: Tensor) -> Any:
        found = self.function(*given)
        return tuple(found) if isinstance(found, tuple | list) else (found,)


def _carried(lines: Lines, node: Any, values: Mapping[str, Any], name: str) -> Any:
    """What a node of the graph gives."""
    arguments, options = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: values[n.name])
    if node.target is operator.getitem:
        return arguments[0][arguments[1]]
    packet = _packet(node)
    if packet in SAID:
        return None
    given = any(isinstance(one, np.ndarray) for one in torch.utils._pytree.tree_leaves((arguments, options)))
    tags = getattr(node.target, "tags", ())
    if not given and packet.startswith("aten.") and torch.Tag.nondeterministic_seeded not in tags:
        with torch.no_grad():
            return node.target(*arguments, **options)  # no input enters: as torch has it
    said = node.meta.get("val")
    if packet in SHAPED and isinstance(said, Tensor):
        number = {"zeros": 0.0, "new_zeros": 0.0, "ones": 1.0, "new_ones": 1.0}.get(packet[5:].removesuffix("_like"))
        return torch.full(tuple(said.shape), arguments[-1] if number is None else number, dtype=said.dtype)
    if packet not in TABLE:
        raise ValueError(_refusal(name, packet))
    _require_type(packet, node, name)
    plain = {
        key: v for key, v in options.items() if key not in ("dtype", "layout", "device", "pin_memory", "memory_format")
    }
    plain.pop("non_blocking", None)
    try:
        found = TABLE[packet](lines, *arguments, **plain)
    except (NotImplementedError, TypeError) as error:
        raise ValueError(f"{name}: the operation {packet} is exported in its common form, without {error}") from error
    if isinstance(said, Tensor) and tuple(said.shape) != found.shape:
        raise ValueError(f"{name}: {packet} gave {found.shape}, and torch says {tuple(said.shape)}; please report this")
    return found


def _require_type(packet: str, node: Any, name: str) -> None:
    """Raise `ValueError` for what rounds on the way, which float64 lines do not."""
    said = node.meta.get("val")
    before = [one.meta.get("val") for one in node.all_input_nodes]
    if not isinstance(said, Tensor) or said.dtype in (torch.float64, torch.bool):
        return
    whole = not said.dtype.is_floating_point and not any(
        isinstance(v, Tensor) and v.dtype.is_floating_point for v in before
    )
    if not whole:
        raise ValueError(
            f"{name}: {packet} gives {quote(said.dtype)}; what is exported computes in float64 throughout, write .double()"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """What torch prints of a graph that it cannot follow is for its own developers; the error says it."""
    loggers = [logging.getLogger(one) for one in ("torch.fx", "torch._export", "torch.export", "torch._dynamo")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
