"""What a sender may say of a graph to hide a part of it: members, people, units, infusions, numbers that are none."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from benchmarks.exchange.random_bundles import random_bundle
from exchange import Bundle, Onnx, Selection, selected
from exchange.onnx.checked import checked
from exchange.onnx.graph import graph_of
from exchange.onnx.onnx_graphs import gap_of
from exchange.onnx.sealed import sealed, unsealed
from exchange.torch_program.programs import Program

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
SEVERAL = 39  # a seed: two members, two people, one compartment, layers, and a certificate about all states


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Onnx().write(random_bundle(SEVERAL), tmp_path_factory.mktemp("several") / "model.onnx").path


def _forged(
    field: Path, target: Path, graph: Callable[[Any], None] | None = None, **said: Callable[[Any], None]
) -> Path:
    """The file with its graph and what it says of itself changed, and sealed again."""
    model = onnx.ModelProto.FromString(unsealed(field.read_bytes()))
    if graph is not None:
        graph(model.graph)
    for name, change in said.items():
        entry = next(one for one in model.metadata_props if one.key == f"homeostat.{name}")
        value = json.loads(entry.value)
        change(value)
        entry.value = json.dumps(value)
    target.write_bytes(sealed(model.SerializeToString(deterministic=True)))
    return target


def _with(graph: Any, nodes: list[tuple[str, list[str], str]], **constants: Any) -> None:
    """Nodes between "rates" as they were and "rate" as it comes out."""
    for node in graph.node:
        for k, name in enumerate(node.output):
            if name == "rate":
                node.output[k] = "rates"
    graph.initializer.extend([onnx.numpy_helper.from_array(np.array(v), k) for k, v in constants.items()])
    graph.node.extend([onnx.helper.make_node(op, given, [out]) for op, given, out in nodes])


def test_what_is_honest_is_good(several: Path) -> None:
    found = checked(several)
    assert found.good, found.text
    assert found.rebuilt is not None
    assert found.rebuilt.states == 64  # 16 of two members and two people each


@pytest.mark.slow
def test_one_member_of_several_is_good(tmp_path: Path) -> None:
    one = Onnx(selection=Selection(member=1)).write(random_bundle(SEVERAL), tmp_path / "one.onnx")
    assert checked(one.path).good


def test_a_member_that_is_not_named(several: Path, tmp_path: Path) -> None:
    def wild(graph: Any) -> None:
        _with(graph, [("Mul", ["rates", "of"], "rate")], of=[[[1.0]], [[-1e6]]])

    def first(value: Any) -> None:
        value["members"] = [0]

    def twice(value: Any) -> None:
        value["members"] = [0, 0]

    def single(value: Any) -> None:
        value["members"] = [0]
        for ends in (value["inputs"], value["outputs"]):
            for name in ("x", "theta", "c", "rate"):
                if name in ends:
                    ends[name]["axes"] = ends[name]["axes"][1:]

    for k, said in enumerate(
        ({"people": first}, {"people": first, "model": first}, {"people": first, "model": single})
    ):
        with pytest.raises(ValueError, match=r"members|it says that its graph has"):
            checked(_forged(several, tmp_path / f"{k}.onnx", wild, **said))
    with pytest.raises(ValueError, match="one or all"):
        checked(_forged(several, tmp_path / "twice.onnx", wild, people=twice, model=twice))
    assert not checked(_forged(several, tmp_path / "said.onnx", wild)).good


def test_a_person_that_is_not_named(several: Path, tmp_path: Path) -> None:
    def fewer(value: Any) -> None:
        for name in ("theta", "c"):
            value[name] = [rows[:1] for rows in value[name]]

    with pytest.raises(ValueError, match=r"about 2 members and 2 people, and it names 2 and 1: each has to be tried"):
        checked(_forged(several, tmp_path / "x.onnx", people=fewer))


def test_units_are_those_of_the_claim(several: Path, tmp_path: Path) -> None:
    def fortnight(value: Any) -> None:
        value["time"] = "fortnight"

    def everywhere(value: Any) -> None:
        value["time"] = "fortnight"
        value["inputs"]["infused"]["units"] = value["outputs"]["rate"]["units"] = ["mg/fortnight"]

    def grams(value: Any) -> None:
        value["inputs"]["x"]["units"] = ["g"]
        value["inputs"]["infused"]["units"] = value["outputs"]["rate"]["units"] = ["g/h"]

    for change, why in ((fortnight, "belong together"), (everywhere, "time 'h'"), (grams, "states {'plasma': 'mg'}")):
        found = checked(_forged(several, tmp_path / "x.onnx", model=change))
        assert not found.good
        assert not found.certified
        assert why in found.text
        assert "% per h or more" in found.text
        assert "% per fortnight" not in found.text


def test_infusions_are_added_as_they_are(several: Path, tmp_path: Path) -> None:
    def gain(graph: Any) -> None:
        _with(graph, [("Mul", ["infused", "of"], "more"), ("Add", ["rates", "more"], "rate")], of=1e-3)

    found = checked(_forged(several, tmp_path / "x.onnx", gain))
    assert not found.good
    assert "REFUSED: the graph is not the stored system" in found.text


@pytest.mark.parametrize("beyond", [-1e9, 0.5, 1e4])
def test_what_is_no_number_never_passes(several: Path, tmp_path: Path, beyond: float) -> None:
    """Everywhere, at some states, and far out, of one member alone."""

    def none(graph: Any) -> None:
        graph_of = [("Greater", ["x", "far"], "there"), ("Where", ["there", "nan", "rates"], "rate")]
        _with(graph, graph_of, far=[[[np.inf]], [[beyond]]], nan=np.nan)

    found = checked(_forged(several, tmp_path / "x.onnx", none))
    assert not found.good
    assert "it gives what is no finite number" in found.text


def test_a_small_start_hides_nothing(several: Path, tmp_path: Path) -> None:
    def steep(graph: Any) -> None:
        nodes = [("Sub", ["x", "far"], "over"), ("Max", ["over", "zero"], "more"), ("Add", ["rates", "more"], "rate")]
        _with(graph, nodes, far=10.0, zero=0.0)

    def tiny(value: Any) -> None:
        value["starts_with"]["x"] = [[1e-3], [1e-3]]

    assert not checked(_forged(several, tmp_path / "x.onnx", steep, model=tiny)).good


def test_a_batch_of_one_is_asked_too(several: Path, tmp_path: Path) -> None:
    def alone(graph: Any) -> None:
        shape = [
            ("Shape", ["x"], "sizes"),
            ("Gather", ["sizes", "second"], "rows"),
            ("Greater", ["rows", "first"], "many"),
        ]
        _with(
            graph,
            [*shape, ("Neg", ["rates"], "turned"), ("Where", ["many", "rates", "turned"], "rate")],
            second=1,
            first=1,
        )

    assert not checked(_forged(several, tmp_path / "x.onnx", alone)).good


class _Members(nn.Module):
    """What `Observe` gives of several members."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y, mean = 3.0 * x, (3.0 * x).mean(0)
        return y, mean, (y - mean).square().mean(0)


@pytest.mark.parametrize("members", [12, 32, 33])
def test_members_that_agree_have_rounding_for_an_epistemic_variance(by_chance: Bundle, members: int) -> None:
    x = torch.ones(members, 3, 1, dtype=torch.float64)
    exported = torch.export.export(_Members(), (), {"x": x}, dynamic_shapes={"x": {1: Dim("batch")}})
    axes: tuple[int | str, ...] = (members, "batch", 1)
    program = Program(exported, {"x": axes}, {"y": axes, "mean": axes[1:], "epistemic": axes[1:]}, "a test")
    chosen = replace(selected(by_chance, Selection()), x0=torch.full((members, 1), 0.1, dtype=torch.float64))
    gap = gap_of(graph_of(program, "observe", {}), program, chosen)
    assert gap is not None
    assert gap <= 1e-12
