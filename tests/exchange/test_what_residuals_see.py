"""A sum of residuals that see θ and some states, in every form that is exported: it is the model there too, at any θ."""

import random
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from benchmarks.exchange.subject import subject_for
from exchange import Bundle, CHeader, Selected, Selection, selected
from exchange.c.calling import CompiledHeader
from exchange.c.compiled import compiler
from exchange.fmu.fmu import Fmu
from exchange.onnx.graph import graph_of
from exchange.torch_program.programs import Program, programs_of
from learned import select
from tests.exchange.bundle.test_bundle import bundle_for, summed

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler (CC, cc, gcc, clang)")
ADA = Selection(person="Ada")
F64 = torch.float64


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundle_for(summed())


@pytest.fixture(scope="module")
def programs(bundle: Bundle) -> tuple[Selected, dict[str, Program]]:
    chosen = selected(bundle, ADA)
    return chosen, programs_of(chosen)


def given(chosen: Selected, program: Program) -> dict[str, torch.Tensor]:
    """Three points, at three θ of each member in their boxes."""
    g = torch.Generator().manual_seed(3)
    sizes = {name: [3 if size == "batch" else int(size) for size in axes] for name, axes in program.inputs.items()}
    found = {name: torch.randn(size, generator=g, dtype=F64) for name, size in sizes.items()}
    found["theta"] = chosen.theta[:, None] * torch.exp(0.2 * found["theta"])
    found["x"] = 100.0 * found["x"].abs()
    return found


@pytest.mark.parametrize("name", ["field", "jacobian"])
def test_the_program_and_the_graph_are_the_model(programs: tuple[Selected, dict[str, Program]], name: str) -> None:
    chosen, made = programs
    at = given(chosen, made[name])
    right = chosen.model.at(at["theta"], at["c"])
    u = torch.zeros(1, 3, 0, dtype=F64)
    want = right.rate(at["x"], u, at["infused"][None]) if name == "field" else right.jacobian(at["x"], u)
    torch.testing.assert_close(made[name].exported.module()(**at), want.detach(), rtol=1e-12, atol=1e-12)
    session = onnxruntime.InferenceSession(
        graph_of(made[name], name, {}).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {key: value.numpy() for key, value in at.items()})[0]
    np.testing.assert_allclose(found, want.detach().numpy(), rtol=1e-12, atol=1e-12)


@needs_compiler
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_header_sees_the_theta_that_is_bound(bundle: Bundle, tmp_path: Path, precision: str) -> None:
    chosen = selected(bundle, ADA)
    header = CompiledHeader(CHeader(ADA, precision=precision).write(bundle, tmp_path / "model.h").path)
    x, u = np.array([120.0, 40.0]), np.zeros(0)
    for member in range(2):
        one = select(chosen.model, torch.tensor([member]))
        for scale in (0.8, 1.3):
            theta = scale * chosen.theta[member]
            wanted = one.at(theta[None, None], chosen.c[None, member : member + 1])
            want = wanted.rate(torch.tensor(x)[None, None], torch.zeros(1, 1, 0, dtype=F64))[0, 0].detach().numpy()
            found = header.bind(member, theta.numpy(), chosen.c[member].numpy()).field(x, u, np.zeros(2))
            np.testing.assert_allclose(found, want, rtol=1e-12 if precision == "float64" else 2e-5)
    with pytest.raises(ValueError, match="bind refuses member 0"):  # what has no logarithm
        header.bind(0, -chosen.theta[0].numpy(), chosen.c[0].numpy())


@needs_compiler
def test_the_fmu_has_its_slopes(bundle: Bundle, tmp_path: Path) -> None:
    from benchmarks.exchange.of_fmu import jacobians

    pytest.importorskip("fmpy", reason="FMPy, of the extra fmu, is not installed")
    export = Fmu(Selection(member=1))
    path = export.write(bundle, tmp_path / "sum.fmu").path
    assert jacobians([subject_for(bundle, Selection(member=1), random.Random(1))], path)[1] < 1e-12
