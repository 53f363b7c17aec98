"""The programs of docs/read_a_bundle.md, as they stand there, give what our own model gives."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.corruptions.content import ordinary
from exchange import Bundle, save

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
    assert set(lines) == {"import json", "import zipfile", "from typing import Any", "import numpy as np"}


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
