"""FMUs that the tests of this folder share: a certified bundle, one member in FMI 3 and both in FMI 2."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from exchange import Bundle, Selection
from exchange.export import Written
from exchange.fmu.fmu import Fmu
from stability import certify
from tests.exchange.bundle.test_bundle import bundle_for, oral


@dataclass(frozen=True)
class Made:
    """A bundle, how it was exported, and what was left."""

    bundle: Bundle
    export: Fmu
    written: Written

    @property
    def path(self) -> Path:
        return self.written.path


@pytest.fixture(scope="session")
def certified() -> Bundle:
    plain = bundle_for(oral())
    return replace(plain, claims=(certify(plain.system()),))


@pytest.fixture(scope="session")
def one(certified: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Member 1 in FMI 3."""
    export = Fmu(Selection(member=1))
    return Made(certified, export, export.write(certified, tmp_path_factory.mktemp("one") / "oral.fmu"))


@pytest.fixture(scope="session")
def ensemble(certified: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Both members in FMI 2, stepping by rk4."""
    export = Fmu(fmi=2, step="rk4")
    return Made(certified, export, export.write(certified, tmp_path_factory.mktemp("both") / "oral.fmu"))


@pytest.fixture(scope="session", params=["one", "ensemble"])
def made(request: pytest.FixtureRequest) -> Made:
    """Either."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Made)
    return found
