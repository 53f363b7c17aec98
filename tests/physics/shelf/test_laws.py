"""Every entry of the shelf keeps the laws of mechanisms: a new one needs no test of these, only of its numbers."""

import subprocess
import sys
from pathlib import Path

import pytest

from physics import MECHANISMS, Mechanism, check_mechanism


@pytest.mark.parametrize("kind", MECHANISMS, ids=lambda kind: kind.__name__)
def test_a_mechanism_keeps_its_laws(kind: type[Mechanism]) -> None:
    check_mechanism(kind())
    assert kind().source
    assert all(one.source for one in kind().physical)


def test_the_shelf_loads_no_library_of_units() -> None:
    """`import physics` reads every entry, and the library takes half a second: its codes are among the common ones."""
    code = "import sys, physics; sys.exit('pint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
