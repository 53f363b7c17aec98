"""What several folders of tests share: a bundle by chance that has a certificate, and its graphs."""

from pathlib import Path

import pytest

from benchmarks.exchange.random_bundles import random_bundle
from exchange import Bundle, Onnx

CERTIFIED = 6  # a seed: one member, one compartment, layers, and a certificate about all states


@pytest.fixture(scope="session")
def by_chance() -> Bundle:
    """One member, and certified."""
    return random_bundle(CERTIFIED)


@pytest.fixture(scope="session")
def field(by_chance: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of its field, the others beside it."""
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    return Onnx().write(by_chance, tmp_path_factory.mktemp("onnx") / "model.onnx").path
