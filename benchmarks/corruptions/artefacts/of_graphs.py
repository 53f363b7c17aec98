"""Corruptions of an ONNX file: of its bytes, of its wire format, and of the graph that it holds."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.corruptions.kinds import cut, flipped


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def _wire(raw: bytes, rng: random.Random) -> bytes:
    """Fields that lie about their length, groups, fields that nobody knows, numbers without an end."""
    at = rng.randrange(len(raw))
    act = rng.randrange(6)
    if act == 0:  # a length of gigabytes
        return (
            raw[:at]
            + bytes((rng.randrange(1, 16) << 3 | 2,))
            + _varint(rng.choice((2**31, 2**40, 2**63, 100)))
            + raw[at:]
        )
    if act == 1:  # groups in groups
        return raw + b"\x0b" * rng.choice((10, 200, 100_000))
    if act == 2:  # messages in messages: graph 7 of a model, node 1, attribute 5, graph 6, …
        inner = b""
        for _ in range(rng.choice((5, 30, 300))):
            for field in (6, 5, 1):
                inner = bytes((field << 3 | 2,)) + _varint(len(inner)) + inner
        return raw + b"\x3a" + _varint(len(inner)) + inner
    if act == 3:
        return raw + _varint(rng.choice((1000, 19_000, 2**28)) << 3 | 2) + _varint(5) + b"hello"
    if act == 4:
        return raw[:at] + b"\xff" * rng.choice((9, 10, 11, 50)) + raw[at:]
    return rng.choice(
        (bytes(rng.randrange(256) for _ in range(rng.choice((0, 1, 100, 10_000)))), b"\x00" * 1000, b"PK\x03\x04" + raw)
    )


def _external(model: Any, rng: random.Random) -> None:
    """Numbers that lie in another file."""
    tensors = [*model.graph.initializer, *(a.t for n in model.graph.node for a in n.attribute if a.HasField("t"))]
    tensor = rng.choice(tensors) if tensors else model.graph.initializer.add()
    if rng.random() < 0.8:
        tensor.ClearField("raw_data")
    tensor.data_location = 1
    del tensor.external_data[:]
    where = rng.choice(
        ("/etc/passwd", "../../../etc/passwd", "/dev/zero", "weights.bin", "..", "", "a\x00b", "http://127.0.0.1:9/")
    )
    for key, value in (
        ("location", where),
        ("offset", rng.choice(("0", "-1", "1e9", "9" * 30))),
        ("length", rng.choice(("8", "9" * 18))),
    ):
        one = tensor.external_data.add()
        one.key, one.value = key, value


def _shapes(model: Any, rng: random.Random) -> None:
    """Tensors that claim other sizes or types than they have."""
    graph = model.graph
    if rng.random() < 0.5 and len(graph.initializer):
        tensor = rng.choice(graph.initializer)
        act = rng.randrange(4)
        if act == 0:
            tensor.dims.append(rng.choice((2**40, -1, 0, 2**62)))
        elif act == 1 and len(tensor.dims):
            tensor.dims[0] = rng.choice((2**40, -1, 0, 1))
        elif act == 2:
            tensor.data_type = rng.choice((0, 1, 8, 16, 99))
        else:
            tensor.raw_data = tensor.raw_data[:-1] + rng.choice((b"", b"\x00\x00"))
    else:
        value = rng.choice([*graph.input, *graph.output])
        dims = value.type.tensor_type.shape.dim
        if rng.random() < 0.5 and len(dims):
            rng.choice(dims).dim_value = rng.choice((2**40, -5, 0, 7))
        else:
            value.type.tensor_type.elem_type = rng.choice((0, 1, 8, 99))


def _numbers(model: Any, rng: random.Random) -> None:
    """A weight is another number; the graph is as good as before."""
    import struct

    found = [t for t in model.graph.initializer if len(t.raw_data) >= 8]
    found += [a.t for n in model.graph.node for a in n.attribute if a.HasField("t") and len(a.t.raw_data) >= 8]
    if not found:
        model.producer_name += "!"
        return
    tensor = rng.choice(found)
    at = 8 * rng.randrange(len(tensor.raw_data) // 8)
    new = struct.pack("<d", rng.choice((0.0, 1e308, float("nan"), float("inf"), rng.gauss(0.0, 1.0))))
    tensor.raw_data = tensor.raw_data[:at] + new + tensor.raw_data[at + 8 :]


def _nodes(model: Any, rng: random.Random) -> None:
    """Another operation, another wire, one missing, one twice, one that holds a graph or calls itself."""
    import onnx

    graph = model.graph
    node = rng.choice(graph.node)
    act = rng.randrange(9)
    if act == 0:
        node.op_type = rng.choice(("Tanh", "Loop", "If", "Scan", "PyOp", "Evil", "", "ATen", "Neg"))
    elif act == 1:
        node.domain = rng.choice(("com.evil", "com.microsoft", "ai.onnx.ml", "x" * 1000))
    elif act == 2:
        del graph.node[rng.randrange(len(graph.node))]
    elif act == 3:
        graph.node.add().CopyFrom(node)
    elif act == 4 and len(node.input):
        node.input[0] = rng.choice((graph.output[0].name, "nothing", "", node.output[0]))
    elif act == 5:
        inner = onnx.helper.make_graph([], "inner", [], [])
        node.attribute.append(onnx.helper.make_attribute("body", inner))
    elif act == 6:
        call = onnx.helper.make_node("Self", ["a"], ["b"], domain="local")
        model.functions.append(onnx.helper.make_function("local", "Self", ["a"], ["b"], [call], model.opset_import))
        model.opset_import.append(onnx.helper.make_opsetid("local", 1))
    elif act == 7:
        for _ in range(20_000):
            graph.node.add().CopyFrom(node)
    else:
        node.output[0] = rng.choice(("y" * 10**6, graph.input[0].name, "\x1b[2J"))


def _headers(model: Any, rng: random.Random) -> None:
    """Versions, names, what is said of the model."""
    import onnx

    act = rng.randrange(7)
    if act == 0:
        model.ir_version = rng.choice((0, 1, 99, 2**40))
    elif act == 1 and len(model.opset_import):
        model.opset_import[0].version = rng.choice((0, 1, 99, 2**40))
    elif act == 2:
        del model.opset_import[:]
    elif act == 3 and len(model.metadata_props):
        del model.metadata_props[rng.randrange(len(model.metadata_props))]
    elif act == 4 and len(model.metadata_props):
        one = rng.choice(model.metadata_props)
        one.value = rng.choice(
            ("", "{", "[" * 100_000, "NaN", one.value[:-1], one.value + " ", "\x1b[2J", "9" * 10**6, one.value.upper())
        )
    elif act == 5:
        one = model.metadata_props.add()
        one.key, one.value = (
            rng.choice(("homeostat.proof", "homeostat.sha256", "homeostat.more")),
            rng.choice(("{}", "x" * 10**6)),
        )
    else:
        model.graph.sparse_initializer.append(onnx.SparseTensorProto())


def _of_model(change: Callable[[Any, random.Random], None]) -> Callable[[bytes, random.Random], bytes]:
    def changed(raw: bytes, rng: random.Random) -> bytes:
        import onnx

        model = onnx.load_model_from_string(raw)
        change(model, rng)
        return bytes(model.SerializeToString(deterministic=True))

    return changed


def _large(raw: bytes, rng: random.Random) -> bytes:
    """Hundreds of megabytes of what says nothing."""
    return (
        raw + b"\x32" + _varint(2 * 10**8) + b"x" * (2 * 10**8) if rng.random() < 0.5 else raw + b"\x40\x00" * 5 * 10**7
    )


OF_GRAPHS: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "bits": flipped,
    "cuts": cut,
    "wire": _wire,
    "data elsewhere": _of_model(_external),
    "shapes": _of_model(_shapes),
    "numbers": _of_model(_numbers),
    "nodes": _of_model(_nodes),
    "what is said of it": _of_model(_headers),
    "large": _large,
}
