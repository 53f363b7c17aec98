"""Graphs of ONNX: what onnxruntime makes of every operation is what torch makes of it; the same bytes; refusals by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from benchmarks.exchange.random_bundles import random_bundle
from exchange import Bundle, Onnx, Selection
from exchange.onnx.checked import checked
from exchange.onnx.evaluated import evaluated
from exchange.onnx.graph import graph_of
from exchange.onnx.kernels import WITHOUT_FLOAT64
from exchange.onnx.operations import OPERATIONS
from exchange.onnx.read import read
from exchange.torch_program.programs import Program
from tests.exchange.bundle.test_bundle import bundle_for, mixed

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
F = nn.functional

TAPED = 10  # a seed of a bundle

# one that a graph holds of each idea: functions at ordinary, huge and odd arguments, branches, products, shapes
FUNCTIONS: dict[str, Any] = {
    "functions": lambda x: torch.stack([
        torch.exp(-x.abs()), torch.log(x.abs()), torch.sqrt(x), torch.sin(x), torch.cos(x), torch.tanh(x), torch.sigmoid(x),
        torch.abs(x), torch.sign(x), torch.reciprocal(x), x.floor(), torch.rsqrt(x.abs()), torch.sinh(x / 800.0),
        torch.cosh(x / 800.0),
    ]),
    "near nothing": lambda x: torch.stack([torch.log1p(1e-9 * x.abs()), torch.expm1(1e-9 * x), torch.expm1(x / 800.0)]),
    "bent": lambda x: torch.stack([
        torch.relu(x), F.softplus(x), F.silu(x), torch.maximum(x, 2.0 - x), torch.minimum(x, 2.0 - x), x.clamp(-1.0, 1.5),
        x.clamp(min=0.0), torch.logaddexp(x, 1.0 - x), F.leaky_relu(x), torch.where(x > 1.0, x, -x),
        torch.where((x >= 0.5) & ~(x == 1.0), 1.0, x), torch.where((x < 0.0) | (x <= -1.0) | (x != x), 0.0, x),
        torch.where(torch.stack([x > 0.0, x < 2.0]).all(0), x, -x), torch.where(torch.stack([x > 3.0, x < 0.0]).any(0), x, -x),
    ]),
    "powers": lambda x: torch.stack([
        x.square(), x**2, x**3, x**-1, x.abs() ** 0.5, x.abs() ** 1.7, x.abs() ** (0.1 * x), 2.0 - x, 2.0 / x,
    ]),
    "products": lambda x: F.linear(x[:, None] * _ones(x, 3), _ones(x, 2, 3), _ones(x, 2)) @ (2.0 * _ones(x, 2, 2)),
    "shapes": lambda x: torch.cat([
        x[:, None].expand(-1, 3).mT.reshape(-1), torch.stack([x, x], -1).sum(-1), x.view(1, -1).squeeze(0), torch.ones_like(x),
        torch.zeros_like(x), x.new_full((x.shape[0],), 2.0), torch.stack([x, -x]).mean(0), torch.stack([x, -x]).amax(0),
        torch.stack([x, 2 * x, 3 * x])[[2, 0]].amin(0), torch.stack([x, -x], 1)[:, 1:].squeeze(1),
        *torch.stack([x, -x]).unbind(0), *torch.broadcast_tensors(x, x[:1] * 0.0), torch.stack([x, -x]).transpose(0, 1)[:, 0],
    ]),
}  # fmt: skip


def _ones(x: Tensor, *sizes: int) -> Tensor:
    return torch.ones(sizes, dtype=x.dtype)


class _Of(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = FUNCTIONS[self.name](x)
        return found


def _program(module: nn.Module, dtype: torch.dtype) -> Program:
    x = torch.ones(3, dtype=dtype)
    exported = torch.export.export(module, (), {"x": x}, dynamic_shapes={"x": {0: Dim("batch")}})
    return Program(exported, {"x": ("batch",)}, {"y": tuple(exported.module()(x=x).shape)}, "a test")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_onnxruntime_is_torch(name: str, dtype: torch.dtype) -> None:
    """At ordinary numbers, beyond every threshold, at kinks, and where there is no number."""
    program = _program(_Of(name), dtype)
    program = Program(
        program.exported, program.inputs, {"y": tuple(f"d{k}" for k in range(len(program.outputs["y"])))}, "a test"
    )
    graph = graph_of(program, name, {})
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    x = torch.tensor(
        [-700.0, -21.0, -2.0, -1.0, -1e-9, 0.0, 0.5, 1.0, 1.5, 3.3, 19.9, 20.1, 90.0, torch.nan, torch.inf], dtype=dtype
    )
    want = program.exported.module()(x=x).numpy()
    for found in (session.run(None, {"x": x.numpy()})[0], evaluated(graph.graph, {"x": x.numpy()})["y"]):
        assert found.dtype == want.dtype
        assert np.array_equal(np.isnan(found), np.isnan(want))
        there = np.isfinite(want)
        assert np.array_equal(found[~there], want[~there], equal_nan=True)
        tolerance = 1e-12 if dtype == torch.float64 else 5e-6
        np.testing.assert_allclose(
            found[there], want[there], rtol=tolerance, atol=tolerance if name != "near nothing" else 0.0
        )


def test_what_has_no_kernel_in_float64_is_refused_by_its_name() -> None:
    class Gelu(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.gelu(x)

    with pytest.raises(ValueError, match=r"no float64 kernel of Erf \(erf, and gelu"):
        graph_of(_program(Gelu(), torch.float64), "field", {})
    graph = graph_of(_program(Gelu(), torch.float32), "field", {})
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    x = torch.tensor([-3.0, 0.1, 2.0])
    np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], F.gelu(x).numpy(), atol=5e-6)


@pytest.mark.parametrize("operation", WITHOUT_FLOAT64)
def test_the_list_of_absent_kernels_is_onnxruntimes(operation: str) -> None:
    from onnx import TensorProto, helper

    for kind, absent in ((TensorProto.DOUBLE, True), (TensorProto.FLOAT, False)):
        ends = [helper.make_tensor_value_info(name, kind, [2]) for name in ("x", "y")]
        graph = helper.make_graph([helper.make_node(operation, ["x"], ["y"])], "one", ends[:1], ends[1:])
        model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if not absent:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            continue
        with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_what_is_not_written_is_named() -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(x, 0)

    with pytest.raises(ValueError, match=r"'cumsum' of torch is not written as ONNX; there are .*abs"):
        graph_of(_program(Sorted(), torch.float64), "field", {})
    assert "cumsum" not in OPERATIONS


def test_a_bundle_is_written_twice_with_the_same_bytes(by_chance: Bundle, field: Path, tmp_path: Path) -> None:
    Onnx().write(by_chance, tmp_path / "model.onnx")
    files = sorted(field.parent.iterdir())
    assert {f"model.{name}.onnx" for name in ("field", "step", "observe")} <= {file.name for file in files}
    for file in files:
        assert file.read_bytes() == (tmp_path / file.name).read_bytes()


def test_what_is_written_of_a_mechanism_says_what_it_is(tmp_path: Path) -> None:
    """Each graph was run by onnxruntime beside torch before it was written, or it would not be there."""
    bundle = random_bundle(TAPED)
    written = Onnx(selection=Selection(member=0)).write(bundle, tmp_path / "model.onnx")
    assert any("onnxruntime gives what torch gives" in sentence for sentence in written.sentences)
    assert any(sentence.startswith("not certified") for sentence in written.sentences)
    found = read(written.path)
    assert found.certified.startswith("not certified")
    assert found.card.startswith("# Model card")
    assert found.model["inputs"]["x"]["names"] == list(bundle.model.backbone.states)
    named = {entry.key: entry.value for entry in onnx.load(written.path).metadata_props}
    assert json.loads(named["homeostat.model"]) == found.model
    assert len(named["homeostat.content"]) == 64


def test_a_target_stays_and_nothing_is_half_written(by_chance: Bundle, tmp_path: Path) -> None:
    there = tmp_path / "model.step.onnx"
    there.write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        Onnx().write(by_chance, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.step.onnx"]
    assert there.read_text() == "mine"


def test_an_absent_package_is_named_with_its_extra(
    by_chance: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ValueError, match=r"pip install 'homeostat\[onnx\]'"):
        Onnx().write(by_chance, tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_every_family_is_written_and_checked(precision: Any, tmp_path: Path) -> None:
    """Bundles by chance: written, so within the tolerance of torch, or refused for a kernel that is not there, by its name."""
    absent = "" if precision == "float32" else "no float64 kernel of"  # of what is refused at all
    for seed in range(24):
        try:
            found = checked(Onnx(precision=precision).write(random_bundle(seed), tmp_path / f"{seed}.onnx").path)
        except ValueError as error:
            if not (absent and absent in str(error)):
                raise
        else:
            assert found.good or not found.certified, (seed, found.text)


@pytest.mark.slow
def test_a_mixed_population_is_written(tmp_path: Path) -> None:
    """Correlated, shared and logit-normal parameters, covariates of every kind: writing holds each graph against torch."""
    found = checked(Onnx().write(bundle_for(mixed()), tmp_path / "mixed.onnx").path)
    assert found.good or not found.certified, found.text
