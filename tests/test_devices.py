"""Every public entry point on a second device: the tests of `second_device.py`, in a process of their own.

Torch's engine counts its devices at the first gradient, so that a device which other tests do not know must be there before
them, and is in their way from then on.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def on_a_second_device(*arguments: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [*command, str(HERE / "second_device.py")], cwd=HERE.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.slow
def test_what_is_on_a_second_device_is_that_of_the_processor() -> None:
    on_a_second_device()


@pytest.mark.slow
def test_the_demo_and_the_shell_on_a_second_device() -> None:
    on_a_second_device("-m", "slow")
