"""What every test shares: one thread, and a small study of synthetic people whose truth is known."""

import gc
import os
from collections.abc import Callable

import pytest
import torch

from hybrid import HybridModel
from tests.builders import MESH, oral_model, oral_people
from tests.pretended_device import pretended
from training import Cohort, Record

# tests run side by side, and the tensors are small: more threads would only wait for each other
torch.set_num_threads(int(os.environ.get("HOMEOSTAT_TEST_THREADS", "1")))


def pytest_collection_finish() -> None:
    """What was imported stays: no full collection need look at half a million objects again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def people_of() -> Callable[..., tuple[Record, ...]]:
    """Synthetic people, as many and such as a test needs: `oral_people`."""
    return oral_people


@pytest.fixture(scope="session")
def people() -> tuple[Record, ...]:
    """Four synthetic people."""
    return oral_people()


@pytest.fixture
def model() -> HybridModel:
    """One member, not trained: `oral_model`."""
    return oral_model()


@pytest.fixture
def cohort(people: tuple[Record, ...], model: HybridModel) -> Cohort:
    """The four people, cut for the model."""
    return Cohort.of(people, model, MESH)


@pytest.fixture(params=["pretended", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where the processor's memory is not; for tests in a process of their own (`test_devices.py`)."""
    if request.param == "pretended":
        return pretended()
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; the pretended one stands in")
    return torch.device("cuda", 0)
