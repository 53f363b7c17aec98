"""A traced program as a graph of ONNX: static, over a batch of any length, the same bytes every time."""

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import Node

from exchange.onnx.building import NAMES, Building, Operand, Value
from exchange.onnx.call import Call
from exchange.onnx.kernels import require_float64
from exchange.onnx.operations import OPERATIONS
from exchange.torch_program.programs import Program
from physics.arguments import quote

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 18, 8  # what onnxruntime 1.14 and every later one reads
_SIZES = {operator.add: "Add", operator.sub: "Sub", operator.mul: "Mul", operator.floordiv: "Div"}  # of lengths


def graph_of(program: Program, name: str, metadata: Mapping[str, str]) -> "onnx.ModelProto":
    """The program as a model of ONNX with this metadata.

    Errors: `ValueError` for an operation that is not in `OPERATIONS`, by its name, and for one of which onnxruntime has no
    kernel in float64.
    """
    import onnx
    from onnx import helper, numpy_helper

    building, outputs = _walked(program, name)
    ends = [_ended(building, value, end) for value, end in zip(outputs, program.outputs, strict=True)]
    if any(value.dtype == torch.float64 for value in outputs):
        require_float64((node[0] for node in building.nodes), name)
    dtype = getattr(onnx.TensorProto, NAMES[outputs[0].dtype])

    def told(axes: Mapping[str, Sequence[int | str]]) -> list[Any]:
        return [helper.make_tensor_value_info(one, dtype, list(sizes)) for one, sizes in axes.items()]

    graph = helper.make_graph(
        [helper.make_node(op, names, [out], name=out, **given) for op, names, out, given in (*building.nodes, *ends)],
        name,
        told(program.inputs),
        told(program.outputs),
        initializer=[numpy_helper.from_array(array, key) for key, array in building.constants.items()],
        doc_string=program.does,
    )
    model = helper.make_model(
        graph, producer_name="homeostat", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    helper.set_model_props(model, dict(sorted(metadata.items())))
    return model


def _ended(building: Building, value: Operand, end: str) -> tuple[str, tuple[str, ...], str, Mapping[str, Any]]:
    return ("Identity", (building.name_of(value),), end, {})


def _walked(program: Program, name: str) -> tuple[Building, list[Operand]]:
    """The graph, and what it gives; what no output needs is left out."""
    exported, building = program.exported, Building()
    held: dict[str, Tensor] = {}
    signature = exported.graph_signature
    for place, target in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items():
        held[place] = exported.state_dict.get(target, exported.constants.get(target))
    for place, target in signature.inputs_to_lifted_tensor_constants.items():
        held[place] = exported.constants[target]
    nodes = list(exported.graph.nodes)
    needed = _needed(nodes)
    values: dict[Node, Any] = {}
    for node in nodes:
        if node not in needed or node.op == "output":
            continue
        if node.op == "placeholder":
            seen = node.meta["val"]
            there = held.get(node.name)
            values[node] = Value(str(node.target), seen.dtype, seen.ndim) if there is None else there
        elif node.op == "call_function":
            values[node] = _called(building, node, values, name)
        else:
            raise ValueError(
                f"{name}: {quote(node.format_node())} is no operation that a graph can hold; write it otherwise"
            )
    ends: Any = next(node for node in nodes if node.op == "output").args[0]
    return building, [values[node] for node in ends]


def _needed(nodes: Sequence[Node]) -> set[Node]:
    found, waiting = set[Node](), [node for node in nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found


def _called(building: Building, node: Node, values: Mapping[Node, Any], name: str) -> Any:
    def put(one: Any) -> Any:
        return values[one] if isinstance(one, Node) else one

    arguments: Any = torch.fx.map_arg(node.args, put)
    options: Any = torch.fx.map_arg(node.kwargs, put)
    if node.target is operator.getitem:
        return arguments[0][arguments[1]]
    if node.target in _SIZES:
        sizes = [torch.tensor(v) if isinstance(v, int) else v for v in arguments]
        return building.node(_SIZES[node.target], sizes, torch.int64, 0)
    operation = getattr(getattr(node.target, "overloadpacket", node.target), "__name__", str(node.target))
    if not _open(arguments) and not _open(options):
        return node.target(*arguments, **options)  # type: ignore[operator]  # a constant: torch itself computes it
    rule = OPERATIONS.get(operation) if str(node.target).startswith("aten.") else None
    if rule is None:
        raise ValueError(
            f"{name}: the operation {quote(operation)} of torch is not written as ONNX; there are {', '.join(sorted(OPERATIONS))}"
        )
    seen = node.meta["val"]
    several = isinstance(seen, list | tuple)
    one = seen[0] if several else seen
    dtype, rank = (one.dtype, one.ndim) if isinstance(one, Tensor) else (torch.int64, 0)
    try:
        return rule(Call(building, tuple(arguments), options, dtype, rank, len(seen) if several else 1))
    except ValueError as error:
        raise ValueError(f"{name}: {operation}: {error}") from error


def _open(given: Any) -> bool:
    """Is anything in it known only when the graph runs?"""
    if isinstance(given, Mapping):
        return any(_open(one) for one in given.values())
    return any(_open(one) for one in given) if isinstance(given, list | tuple) else isinstance(given, Value)
