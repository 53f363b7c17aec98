"""The programs of docs/read_a_bundle.md, as they stand there, give what our own model gives."""

import copy
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.corruptions.content import ordinary
from exchange import Bundle, save
from learned import MLP
from learned.residual import ACTIVATIONS

PAGE = Path(__file__).parents[3] / "docs" / "read_a_bundle.md"


@pytest.fixture(scope="module")
def programs() -> list[dict[str, Any]]:
    found = []
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        names: dict[str, Any] = {"__name__": "page"}
        exec(compile(block, str(PAGE), "exec"), names)
        found.append(names)
    return found


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return ordinary()


def test_they_import_nothing_of_ours() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"(import|from) ", line)]
    assert set(lines) == {"import json", "import math", "import zipfile", "from typing import Any", "import numpy as np"}


def test_the_field_is_ours(programs: list[dict[str, Any]], bundle: Bundle, tmp_path: Path) -> None:
    path, (long, short), model = save(bundle, tmp_path / "a.twin"), programs, bundle.model
    about, tensors = long["read"](str(path))
    given = bundle.conditions()
    with torch.no_grad():
        theta = model.theta(bundle.personal.mode, given.covariates)
        A, _ = model.backbone.matrices(theta)
        x = torch.tensor(np.random.default_rng(3).uniform(0.0, 400.0, (2, 3, 2)))
        learned = model.residual(x, x.new_zeros(2, 3, 0), x.new_zeros(2, 3, 0))
        ours = ((A @ x[..., None])[..., 0] + learned).numpy()
        there = model.residual(torch.zeros_like(x), x.new_zeros(2, 3, 0), x.new_zeros(2, 3, 0))
    assert not there.any()
    for m in range(2):
        for i in range(3):
            mine = long["rate"](about, tensors, m, i, x[m, i].numpy())
            assert long["parameters"](about, tensors, m, i) == pytest.approx(theta[m, i].numpy(), rel=1e-13)
            assert np.abs(mine - ours[m, i]).max() < 1e-13 * np.abs(ours).max()
            # the same of the arrays that the certificate is about
            other = short["field"](str(path), m, i, x[m, i].numpy())
            assert np.abs(other - ours[m, i]).max() < 1e-13 * np.abs(ours).max()


def test_they_are_as_long_as_the_page_says() -> None:
    text = PAGE.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    said = [int(number) for number in re.findall(r"(\d+) lines", text)]
    assert said == [sum(bool(line.strip()) for line in block.splitlines()) for block in blocks]


def with_activation(bundle: Bundle, name: str) -> Bundle:
    """The same weights under other units; the certificate, of the former, stands beside what these give."""
    model = copy.deepcopy(bundle.model)
    assert isinstance(model.residual, MLP)
    model.residual.activation = name
    return replace(bundle, model=model)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_is_known_or_refused(
    programs: list[dict[str, Any]], bundle: Bundle, tmp_path: Path, name: str
) -> None:
    (long, short), other = programs, with_activation(bundle, name)
    path = str(save(other, tmp_path / "a.twin"))
    x = torch.tensor([[[30.0, 200.0]]], dtype=torch.float64).expand(2, 3, 2)
    with torch.no_grad():
        A, _ = other.model.backbone.matrices(other.model.theta(other.personal.mode, other.conditions().covariates))
        ours = (A @ x[..., None])[..., 0] + other.model.residual(x, x.new_zeros(2, 3, 0), x.new_zeros(2, 3, 0))
    found = short["field"](path, 1, 2, x[1, 2].numpy())
    assert found == pytest.approx(ours[1, 2].numpy(), rel=1e-12)
    if name == "tanh":
        long["read"](path)
    else:
        with pytest.raises(ValueError, match=f"activation of its residual is {name}"):
            long["read"](path)


@pytest.mark.parametrize(
    "change", [{"tape": {"code": []}}, {"branches": [1]}, {"policy": {"inputs": [0]}}, {"activation": [["tanh"]]}]
)
def test_a_system_of_more_than_layers_is_refused(
    programs: list[dict[str, Any]], bundle: Bundle, tmp_path: Path, change: dict[str, Any]
) -> None:
    with zipfile.ZipFile(save(bundle, tmp_path / "a.twin")) as archive:
        proof = json.loads(archive.read("proof.json"))
    proof["systems"][0] |= change
    with zipfile.ZipFile(tmp_path / "b.twin", "w") as archive:
        archive.writestr("proof.json", json.dumps(proof))
    with pytest.raises(ValueError, match="are more than this program knows"):
        programs[1]["field"](str(tmp_path / "b.twin"), 0, 0, np.ones(2))
