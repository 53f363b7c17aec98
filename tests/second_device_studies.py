"""What people bring, on a second device: each of `tests.studies`, asked there and on the processor (see `second_device.py`)."""

import pytest
import torch

from tests.studies import ASKS, STUDIES, Ask, moved

TOLD = ("away", "flags", "check")  # numbers for a reader, not to compute with: they are on the processor wherever they come from


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.__name__)
def test_a_study_is_that_of_the_processor(name: str, ask: Ask, device: torch.device) -> None:
    study = STUDIES[name]
    made = study.made()
    here, there = ask(study, *moved(study, *made, "cpu")), ask(study, *moved(study, *made, device))
    assert here.keys() == there.keys()
    for key, value in there.items():
        assert value.device == device or key in TOLD, key
        # a mode is found to 1e-4 standard deviations, and two machines' sums differ in their last digits
        torch.testing.assert_close(value.detach().cpu(), here[key].detach(), rtol=1e-3, atol=1e-3, equal_nan=True, msg=key)
