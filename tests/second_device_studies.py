"""What people bring, on a second device: each of `tests.studies`, asked there and on the processor (see `second_device.py`)."""

import copy

import pytest
import torch

from tests.pretended_device import pretended
from tests.studies import ASKS, STUDIES, moved

TOLD = ("away", "flags", "check")  # numbers for a reader, not to compute with: they are on the processor wherever they come from


@pytest.fixture(params=["pretended", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where the processor's memory is not."""
    if request.param == "pretended":
        return pretended()
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; the pretended one stands in")
    return torch.device("cuda", 0)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.__name__)
def test_a_study_is_that_of_the_processor(name: str, ask: object, device: torch.device) -> None:
    study = STUDIES[name]
    model, records = study.made()
    here = ask(study, *moved(study, copy.deepcopy(model), records, "cpu"))  # type: ignore[operator]
    there = ask(study, *moved(study, copy.deepcopy(model), records, device))  # type: ignore[operator]
    assert here.keys() == there.keys()
    for key, value in there.items():
        assert value.device == device or key in TOLD, key
        # a mode is found to 1e-4 standard deviations, and two machines' sums differ in their last digits
        torch.testing.assert_close(value.detach().cpu(), here[key].detach(), rtol=1e-3, atol=1e-3, equal_nan=True, msg=key)
