"""Every public entry point on a second device: the tests of `second_device.py` and its sibling, in a process of their own.

Torch's engine counts its devices at the first gradient, so that a device which other tests do not know must be there before
them, and is in their way from then on.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.studies import numbers

HERE = Path(__file__).parent


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]), **more}


def on_a_second_device(file: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(
        [*command, str(HERE / file)], cwd=HERE.parent, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.slow
def test_what_is_on_a_second_device_is_that_of_the_processor() -> None:
    on_a_second_device("second_device.py")


@pytest.mark.slow
def test_what_people_bring_is_on_a_second_device_that_of_the_processor() -> None:
    on_a_second_device("second_device_studies.py")


@pytest.mark.slow
def test_the_demo_and_the_shell_on_a_second_device() -> None:
    on_a_second_device("second_device.py", "-m", "slow")


@pytest.mark.slow
def test_what_people_bring_is_the_same_on_a_processor_without_wide_instructions(tmp_path: Path) -> None:
    """And with another number of threads: whoever computes, studies end at the same numbers."""
    file = tmp_path / "numbers.pt"
    write = f"from tests.studies import write; write({str(file)!r}, threads=2)"
    other = environment(ATEN_CPU_CAPABILITY="default", OMP_NUM_THREADS="2")
    done = subprocess.run(
        [sys.executable, "-c", write], cwd=HERE.parent, env=other, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    here, there = numbers(), torch.load(file)
    assert here.keys() == there.keys()
    for key, value in here.items():
        # a mode is found to 1e-4 standard deviations, and another order of a sum is another last digit
        torch.testing.assert_close(there[key], value, rtol=1e-3, atol=1e-3, equal_nan=True, msg=key)
