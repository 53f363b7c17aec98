"""The README's Python example runs, and says what the README says."""

import contextlib
import io
import math
import re
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs_and_is_proved() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 1
    names: dict[str, Any] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(blocks[0], "README.md", "exec"), names)
    assert said.getvalue().strip().endswith("True")
    # states are read before the dose of the same time; an untrained residual of at most 1 % per h moves the closed form
    # 640 e^{-1.5} by little
    states = names["x"]
    assert states.shape == (4, 2)
    assert states[0].abs().max() == 0.0
    assert abs(float(states[1, 0].detach()) - 640.0 * math.exp(-1.5)) < 5.0
    assert 0.05 < names["result"].rate < 0.086


def test_every_folder_that_the_readme_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
