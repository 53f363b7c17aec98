"""A graph from a stranger: changed, truncated, enlarged or false, and each time a sentence."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exchange.onnx.checked import checked
from exchange.onnx.read import read
from exchange.onnx.sealed import sealed, unsealed

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def _changed(field: Path, change: Callable[[Any], None], target: Path) -> Path:
    """The file with its model changed, and sealed again, as whoever wants to deceive would."""
    model = onnx.ModelProto.FromString(unsealed(field.read_bytes()))
    change(model)
    target.write_bytes(sealed(model.SerializeToString(deterministic=True)))
    return target


def test_what_was_certified_is_proved_again(field: Path) -> None:
    found = checked(field)
    assert found.good
    assert found.certified
    assert json.dumps(found.to_dict())
    assert found.rebuilt is not None
    assert found.rebuilt.value <= 1e-12
    assert found.rebuilt.slope <= 1e-9
    assert "proved" in found.text
    assert "the graph is the stored system at 16 states" in found.text


def test_another_graph_under_the_same_certificate_is_refused(field: Path, tmp_path: Path) -> None:
    def change(model: Any) -> None:
        weights = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.DOUBLE and len(t.dims) > 1)
        array = onnx.numpy_helper.to_array(weights).copy()
        array += 1e-3 * np.abs(array).max()
        weights.raw_data = array.tobytes()

    found = checked(_changed(field, change, tmp_path / "other.onnx"))
    assert not found.good
    assert "REFUSED: the graph is not the stored system" in found.text


def test_a_claim_that_is_false_is_refused(field: Path, tmp_path: Path) -> None:
    def change(model: Any) -> None:
        entry = next(one for one in model.metadata_props if one.key == "homeostat.proof")
        proof = json.loads(entry.value)
        proof["claims"][0]["claim"]["rate"] *= 10.0
        entry.value = json.dumps(proof)

    assert not checked(_changed(field, change, tmp_path / "false.onnx")).good


def test_every_change_of_a_byte_is_found(field: Path, tmp_path: Path) -> None:
    whole, random, target = field.read_bytes(), np.random.default_rng(5), tmp_path / "x.onnx"
    for k in range(200):
        data = bytearray(whole)
        if k % 2:
            data[random.integers(len(data))] ^= 1 << int(random.integers(8))
        else:
            del data[random.integers(len(data)) :]
        target.write_bytes(data)
        with pytest.raises(ValueError, match=r"x\.onnx: not a model that homeostat wrote"):
            read(target)


def test_what_we_do_not_write_is_refused_before_a_library_reads_it(field: Path, tmp_path: Path) -> None:
    """Sealed by whoever sends it: numbers in another file, a graph within, more entries than any model has, a bomb of shapes."""

    def elsewhere(model: Any) -> None:
        model.graph.initializer[0].external_data.add(key="location", value="../../secret")

    def function(model: Any) -> None:
        model.functions.add(name="f")

    def many(model: Any) -> None:
        model.graph.node.extend([onnx.NodeProto(output=[""])] * 200_001)

    def bomb(model: Any) -> None:
        for k in range(40):
            model.graph.node.insert(
                k, onnx.helper.make_node("Concat", ["x" if not k else f"b{k}"] * 2, [f"b{k + 1}"], axis=0)
            )

    def twice(model: Any) -> None:
        model.metadata_props.add(key="homeostat.card", value="another")

    for change in (elsewhere, function, many, bomb, twice):
        with pytest.raises(ValueError, match=rf"{change.__name__}\.onnx: not a "):
            checked(_changed(field, change, tmp_path / f"{change.__name__}.onnx"))


@pytest.mark.parametrize(
    "data", [b"", b"not a model", b"PK\x03\x04" + b"0" * 200, b"\x3a" * 5000], ids=["empty", "text", "zip", "tags"]
)
def test_other_files(data: bytes, tmp_path: Path) -> None:
    for name, content in (("bare", data), ("sealed", sealed(data))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: not a model that homeostat wrote"):
            read(tmp_path / name)
    with pytest.raises(ValueError, match="no such file"):
        read(tmp_path / "absent.onnx")
    with pytest.raises(ValueError, match="no regular file"):
        read(tmp_path)


def test_a_step_has_no_claims_to_check(field: Path) -> None:
    with pytest.raises(ValueError, match="claims are about the field"):
        checked(field.with_name("model.step.onnx"))
    assert hashlib.sha256(unsealed(field.read_bytes())).hexdigest().encode() in field.read_bytes()[-70:]
