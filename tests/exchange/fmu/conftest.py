"""FMUs that the tests of this folder share: a certified bundle, one member in FMI 3 and both in FMI 2."""

import random
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest

from benchmarks.exchange.subject import Subject, subject_for
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

    @cached_property
    def subjects(self) -> list[Subject]:
        """The typical person under each member that is in it, followed by ourselves."""
        member = self.export.selection.member
        members = range(self.bundle.model.members) if member is None else (member,)
        return [subject_for(self.bundle, Selection(member=k), random.Random(k)) for k in members]


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
