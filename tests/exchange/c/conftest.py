"""Bundles of the bundle's tests and their headers, each written once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exchange import Bundle, CHeader, Selection
from tests.exchange.bundle.test_bundle import MODELS, bundle_for

HeaderOf = Callable[[str], tuple[Bundle, Path]]


@pytest.fixture(scope="session")
def header_of(tmp_path_factory: pytest.TempPathFactory) -> HeaderOf:
    """The bundle and the header, for person Ada, of one of these models by its name."""
    made: dict[str, tuple[Bundle, Path]] = {}

    def of(name: str) -> tuple[Bundle, Path]:
        if name not in made:
            bundle = bundle_for(MODELS[name]())
            path = CHeader(Selection(person="Ada")).write(bundle, tmp_path_factory.mktemp("c") / "model.h").path
            made[name] = bundle, path
        return made[name]

    return of
