"""Another cohort's outcomes: what they teach, shown on others, and how many people it takes."""

import json

import numpy as np
import pytest
import torch

from hybrid import Prediction
from training.shift import Update, update
from training.trust import Outcome


def outcome(people: int, factor: float, seed: int = 0, channels: int = 1) -> Outcome:
    """Six observations of each, whose standard deviation is `factor` times what was forecast."""
    rng = np.random.default_rng(seed)
    mean = torch.from_numpy(rng.standard_normal((1, 1, people, 6, channels)))
    y = mean[0, 0] + factor * torch.from_numpy(rng.standard_normal((people, 6, channels)))
    real = torch.ones(people, 6, dtype=torch.bool)
    prediction = Prediction(mean, torch.ones_like(mean), torch.arange(6.0).expand(people, 6), real, ("y",) * 1, ("1",))
    return Outcome(prediction, y, [f"n{i}" for i in range(people)])


def test_a_wider_cohort_is_covered_after_a_few_people() -> None:
    found = update(outcome(32, 2.0), generator=torch.Generator().manual_seed(1), repeats=4)
    # P(|z| < 1.2816/2) = .478 at a standard deviation twice the stated; 192 observations: sd .04
    assert found.before == pytest.approx(0.478, abs=0.13)
    assert found.after == pytest.approx(0.8, abs=0.12)
    assert found.needed is not None
    assert 2 <= found.needed <= 16
    assert [n for n, *_ in found.curve] == [2, 4, 8, 16]
    assert found.scaling.aleatoric[0] == pytest.approx(4.0, rel=0.5)
    assert found.conformal_needed == 4
    assert "It takes about" in " ".join(found.sentences())
    assert Update.from_dict(json.loads(json.dumps(found.to_dict()))).to_dict() == found.to_dict()


def test_a_cohort_that_is_like_the_training_needs_nothing() -> None:
    found = update(outcome(24, 1.0, seed=4), generator=torch.Generator().manual_seed(1), repeats=3)
    assert found.before == pytest.approx(0.8, abs=0.12)
    assert found.needed in (2, 4, 8)


def test_the_judged_had_no_part_in_the_factors() -> None:
    """One person who is wild does not make the others' coverage: without the others' say they keep it."""
    calm = outcome(8, 1.0, seed=2)
    y = calm.y.clone()
    y[0] += 1000.0
    wild = Outcome(calm.prediction, y, calm.people)
    found = update(wild, generator=torch.Generator().manual_seed(1), repeats=1)
    assert found.after < 1.0  # the wild one is scaled by calm people, and is missed


@pytest.mark.parametrize("people", [1, 3])
def test_too_few_people_are_refused_in_one_sentence(people: int) -> None:
    with pytest.raises(ValueError, match="4 are needed"):
        update(outcome(people, 1.0), generator=torch.Generator())
