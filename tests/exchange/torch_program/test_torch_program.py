"""Programs of torch: read back where nothing of ours can be imported, the model's own numbers, differentiable, the same bytes."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.exchange.random_bundles import random_bundle
from exchange import Bundle, Selected, Selection, TorchProgram, Written, selected
from exchange.torch_program.folded import Folded
from exchange.torch_program.functions import without_slope
from exchange.torch_program.programs import Program, programs_of
from learned import Residual
from tests.builders import RESIDUAL_BUILDERS, oral_of

# a seed of a bundle: several members and a map of covariates
ENSEMBLE = 2

_ELSEWHERE = """
import importlib.util, json, sys
sys.path.append(sys.argv[2])  # -S: an installation of ours to develop in, by a .pth file there, is not followed
import torch
ours = ("exchange", "hybrid", "homeostat", "learned", "physics", "stability", "training", "twin")
assert not [name for name in ours if importlib.util.find_spec(name)]
texts = {"homeostat/model.json": "", "homeostat/card.md": "", "homeostat/proof.json": "", "homeostat/certified.txt": ""}
program = torch.export.load(sys.argv[1], extra_files=texts).module()
model = json.loads(texts["homeostat/model.json"])
given = {
    name: torch.linspace(0.5, 2.0, 4, dtype=torch.float64)[:, None].expand(4, one["axes"][-1]).clone().requires_grad_()
    for name, one in model["inputs"].items()
}
rate = program(**given)
rate.sum().backward()
print(json.dumps({
    "rate": rate.tolist(), "slope": given["theta"].grad.tolist(), "names": model["inputs"]["x"]["names"],
    "card": texts["homeostat/card.md"][:12], "certified": texts["homeostat/certified.txt"],
    "claims": len(json.loads(texts["homeostat/proof.json"])["claims"]),
}))
"""


@pytest.fixture(scope="module")
def plain(by_chance: Bundle) -> Bundle:
    return by_chance


@pytest.fixture(scope="module")
def written(plain: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return TorchProgram().write(plain, tmp_path_factory.mktemp("one") / "model.pt2")


@pytest.fixture(scope="module")
def ensemble() -> tuple[Selected, dict[str, Program]]:
    chosen = selected(random_bundle(ENSEMBLE), Selection())
    return chosen, programs_of(chosen)


@pytest.mark.slow
def test_it_runs_where_nothing_of_ours_is(plain: Bundle, written: Written) -> None:
    assert written.path.name == "model.field.pt2"
    out = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "ignore", "-c", _ELSEWHERE, str(written.path), str(Path(torch.__file__).parents[1])],
        cwd="/",
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(out.stdout)
    n, q = len(plain.model.backbone.states), len(plain.model.backbone.physical)
    rows = torch.linspace(0.5, 2.0, 4, dtype=torch.float64)[None, :, None]
    theta = rows.expand(1, 4, q).clone().requires_grad_()
    at = plain.model.at(theta)
    rate = at.rate(rows.expand(1, 4, n), rows.expand(1, 4, 0), rows.expand(1, 4, n))
    (slope,) = torch.autograd.grad(rate.sum(), theta)
    torch.testing.assert_close(
        torch.tensor(found["rate"], dtype=torch.float64), rate[0].detach(), rtol=1e-14, atol=1e-14
    )
    torch.testing.assert_close(torch.tensor(found["slope"], dtype=torch.float64), slope[0], rtol=1e-13, atol=1e-13)
    assert found["names"] == list(plain.model.backbone.states)
    assert found["card"] == "# Model card"
    assert found["certified"] == "certified"
    assert found["claims"] == len(plain.claims)


def test_equal_bundles_give_equal_bytes_and_a_target_stays(plain: Bundle, written: Written, tmp_path: Path) -> None:
    TorchProgram().write(plain, tmp_path / "model.pt2")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"model.{name}.pt2" for name in ("field", "jacobian", "observe", "step")]
    for name in files:
        one, two = ((folder / name).read_bytes() for folder in (written.path.parent, tmp_path))
        assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest(), name
    with pytest.raises(ValueError, match=r"model\.field\.pt2: exists"):
        TorchProgram().write(plain, tmp_path / "model.pt2")
    with pytest.raises(ValueError, match="precision"):
        TorchProgram(precision="float16").write(plain, tmp_path / "other.pt2")  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == len(files)


def test_an_ensemble_is_the_model_at_every_length(ensemble: tuple[Selected, dict[str, Program]]) -> None:
    (chosen, programs), model = ensemble, ensemble[0].model
    M, n, q = model.members, len(model.backbone.states), len(model.backbone.physical)
    assert M > 1
    generator = torch.Generator().manual_seed(3)
    for rows in (1, 4):
        theta = chosen.theta[:, None].expand(M, rows, q).clone()
        x = torch.rand(M, rows, n, generator=generator, dtype=torch.float64) + 0.5
        given = {"x": x, "theta": theta}
        if model.sees:
            given["c"] = chosen.c[:, None].expand(M, rows, -1).clone()
        if model.backbone.inputs:
            given["u"] = torch.ones(rows, len(model.backbone.inputs), dtype=torch.float64)
        u = given.get("u", torch.ones(rows, 0, dtype=torch.float64))
        at = model.at(theta, given.get("c"))
        infused = torch.zeros(rows, n, dtype=torch.float64)
        found = programs["field"].exported.module()(**given, infused=infused)
        torch.testing.assert_close(found, at.rate(x, u[None]), rtol=1e-14, atol=1e-14)
        seen = {name: value for name, value in given.items() if name in programs["observe"].inputs}
        y, mean, aleatoric, epistemic = programs["observe"].exported.module()(**seen)
        want = model.observation.mean(x[:, :, None], theta)
        variance = model.noise.variance(want, x[:, :, None], u[None, :, None])[:, :, 0]
        torch.testing.assert_close(y, want[:, :, 0])
        torch.testing.assert_close(mean, want[:, :, 0].mean(0))
        torch.testing.assert_close(aleatoric, variance.mean(0))
        torch.testing.assert_close(epistemic, want[:, :, 0].var(0, correction=0))
        after = programs["step"].exported.module()(
            **given, infused=infused, h=torch.full((rows,), 1e-3, dtype=torch.float64)
        )
        torch.testing.assert_close(after, x + 1e-3 * at.rate(x, u[None]), rtol=1e-4, atol=1e-4)


def test_the_map_of_a_person_answers_nan_outside_its_range(ensemble: tuple[Selected, dict[str, Program]]) -> None:
    chosen, person = ensemble[0], ensemble[1]["person"]
    given = {
        name: torch.zeros([2 if size == "batch" else size for size in axes], dtype=torch.float64)  # type: ignore[misc]
        for name, axes in person.inputs.items()
    }
    given["covariates"] = torch.tensor([list(chosen.covariates.values())] * 2, dtype=torch.float64)
    given["covariates"][1] = -1.0
    theta, *_ = person.exported.module()(**given)
    torch.testing.assert_close(theta[:, 0], chosen.theta, rtol=1e-14, atol=0.0)
    assert theta[:, 1].isnan().all()


@pytest.mark.parametrize("name", [name for name in RESIDUAL_BUILDERS if name != "zero"])
def test_layers_that_are_held_are_the_residual(name: str) -> None:
    residual = RESIDUAL_BUILDERS[name]()
    behind = 0 if residual.seen_theta is None else residual.seen_theta.count
    x, u, c = (torch.linspace(-1.0, 1.0, 3 * k, dtype=torch.float64).reshape(1, 3, k) for k in (
        residual.states, residual.inputs, residual.covariates + behind
    ))  # fmt: skip
    assert torch.equal(Folded(residual)(x, u, c), residual(x, u, c))  # type: ignore[arg-type]  # all of them have layers


def test_what_cannot_be_traced_is_named(plain: Bundle) -> None:
    class Peeking(Residual):
        states, inputs, covariates, vanishes_at_origin = 2, 0, 0, False

        def forward(self, x: torch.Tensor, u: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
            return x if bool((x > 0.0).all()) else -x

        def reset(self, generator: torch.Generator) -> None: ...

        def config(self) -> dict[str, object]:
            return {}

    chosen = replace(selected(plain, Selection()), model=oral_of(Peeking()))
    assert without_slope(chosen.model) == ("Peeking",)
    with pytest.raises(ValueError, match="field: Peeking cannot be traced"):
        programs_of(chosen)
