"""Another cohort's outcomes: what they teach, shown on others, and how many people it takes."""

import json

import numpy as np
import pytest
import torch

from hybrid import Prediction
from training.shift import Update, update
from training.trust import Outcome
from training.trust.recalibration import AdaptiveConformal


def outcome(people: int, factor: float, seed: int = 0, channels: int = 1) -> Outcome:
    """Six observations of each, whose standard deviation is `factor` times what was forecast."""
    rng = np.random.default_rng(seed)
    mean = torch.from_numpy(rng.standard_normal((1, 1, people, 6, channels)))
    y = mean[0, 0] + factor * torch.from_numpy(rng.standard_normal((people, 6, channels)))
    real = torch.ones(people, 6, dtype=torch.bool)
    names = tuple(f"y{k}" for k in range(channels))
    prediction = Prediction(mean, torch.ones_like(mean), torch.arange(6.0).expand(people, 6), real, names, ("1",) * channels)
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


def test_intervals_that_follow_a_shifted_cohort_come_to_their_level() -> None:
    """Before .478, and followed with residuals of the others within the bound of Gibbs & Candès (2021), proposition 4.1."""
    given = outcome(40, 2.0, seed=6)
    found = update(given, generator=torch.Generator().manual_seed(1), repeats=2)
    assert found.before < 0.62
    assert found.adaptive_after == pytest.approx(0.8, abs=0.12)  # 240 observations: sd .026, and more as people are few
    assert found.adaptive_needed in (2, 4, 8, 16)
    assert [n for n, *_ in found.adaptive_curve] == [n for n, *_ in found.curve]
    assert "follows people online" in " ".join(found.sentences())
    # residuals of a cohort that is like the training, whose intervals are too narrow here: α alone brings them back
    narrow = AdaptiveConformal.fit(outcome(20, 1.0, seed=8), target=0.2, gamma=0.05)
    alpha, missed = None, []
    for row in range(40):
        followed = narrow.follow(given.rows(torch.tensor([row])), alpha=alpha, in_sample=True)  # people of the same names
        alpha = followed.alpha
        missed.append(followed.missed)
    assert abs(float(np.mean(missed)) - 0.2) <= narrow.bound(240)
    assert float(np.mean(missed[:1])) > 0.2  # what they miss before they have followed anybody


def test_a_channel_that_some_people_lack_does_not_stop_the_update() -> None:
    two = outcome(8, 1.0, seed=3, channels=2)
    y = two.y.clone()
    y[:5, :, 1] = torch.nan
    found = update(Outcome(two.prediction, y, two.people), generator=torch.Generator().manual_seed(1), repeats=2)
    assert 0.0 <= found.adaptive_after <= 1.0
