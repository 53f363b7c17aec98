"""Every entry of the shelf keeps the laws of mechanisms: a new one needs no test of these, only of its numbers."""

import pytest

from physics import MECHANISMS, Mechanism, check_mechanism


@pytest.mark.parametrize("kind", MECHANISMS, ids=lambda kind: kind.__name__)
def test_a_mechanism_keeps_its_laws(kind: type[Mechanism]) -> None:
    check_mechanism(kind())
    assert kind().source
    assert all(one.source for one in kind().physical)
