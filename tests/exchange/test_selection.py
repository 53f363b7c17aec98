"""What of a bundle is exported: members, and whose θ and c."""

import math
from dataclasses import replace

import pytest
import torch

from exchange import EXPORTS, Selection, selected
from exchange.bundle.bundle import Bundle
from hybrid import Schedule, Signal
from tests.exchange.bundle.test_bundle import MODELS, bundle_for

REFUSED = {"administered": "how doses arrive", "correlated noise": "channels are correlated"}  # what no exported form carries
CARRIED = [name for name in MODELS if name not in REFUSED]


@pytest.fixture(scope="module")
def bundles() -> dict[str, Bundle]:
    return {name: bundle_for(make()) for name, make in MODELS.items()}


@pytest.mark.parametrize("name", CARRIED)
def test_a_person_is_who_the_bundle_says(bundles: dict[str, Bundle], name: str) -> None:
    bundle = bundles[name]
    found, given = selected(bundle, Selection(person="№ 2")), bundle.conditions()
    theta = bundle.model.theta(bundle.personal.mode, given.covariates)
    assert torch.equal(found.theta, theta.expand(2, 2, -1)[:, 1])
    assert torch.equal(found.c, bundle.model.context(bundle.personal.mode, given.covariates).expand(2, 2, -1)[:, 1])
    start = bundle.model.initial(theta, given.baseline, given.segments.u0[:, 0])
    assert torch.equal(found.x0, start.expand(2, 2, -1)[:, 1])
    assert found.covariates.keys() == bundle.model.uses.keys()
    assert not any(p.requires_grad for p in found.model.parameters())


@pytest.mark.parametrize("name", CARRIED)
def test_a_member_alone_is_that_member(bundles: dict[str, Bundle], name: str) -> None:
    whole, one = (selected(bundles[name], Selection(member, "Ada")) for member in (None, 1))
    assert (whole.members, one.members) == ((0, 1), (1,))
    for part in ("theta", "c", "x0", "personal"):
        assert torch.equal(getattr(one, part), getattr(whole, part)[1:])
    x, u = torch.ones(2, 1, len(one.model.backbone.states)), torch.ones(1, 1, len(one.model.backbone.inputs))
    x, u = x.double(), u.double()
    both = whole.model.at(whole.theta[:, None], whole.c[:, None]).rate(x, u)
    torch.testing.assert_close(
        one.model.at(one.theta[:, None], one.c[:, None]).rate(x[1:], u), both[1:], rtol=1e-13, atol=0
    )


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_what_no_exported_form_carries_is_refused(bundles: dict[str, Bundle], name: str, why: str) -> None:
    for person in (None, "Ada"):
        with pytest.raises(ValueError, match=why):
            selected(bundles[name], Selection(person=person))


def test_the_typical_person_has_the_reference_covariates(bundles: dict[str, Bundle]) -> None:
    found = selected(bundles["oral"], Selection())
    assert found.covariates == {"WT": 70.0}
    assert bool((found.personal == 0.0).all())
    assert all(math.isnan(value) for value in found.baseline)
    assert found.said == ()


def test_a_typical_person_of_a_model_that_starts_from_a_measurement(bundles: dict[str, Bundle]) -> None:
    found = selected(bundles["VanCauter"], Selection())
    assert found.covariates == {"age": 40.0, "type2": 0.0}  # someone's, and not a mean of a yes and a no
    assert bool(found.x0.isfinite().all())
    assert "middle" in found.said[0]


def test_inputs_begin_where_the_start_belongs(bundles: dict[str, Bundle]) -> None:
    plain = bundles["VanCauter"]
    second = replace(plain.people[1], schedule=Schedule(inputs={n: Signal((0.0, 9.0), (0.7, 0.2)) for n in ("basal", "glucose")}))
    bundle = replace(plain, people=(plain.people[0], second))
    one, typical = selected(bundle, Selection(person="№ 2")), selected(bundle, Selection())
    assert (one.inputs, one.begins) == ((0.7, 0.7), "the first level of the person whose parameters these are")
    assert typical.inputs == (0.3, 0.3)  # of Ada, in whose middle baseline it starts, and no median of each
    assert typical.baseline == plain.people[0].baseline
    nobody = selected(bundles["linear"], Selection())
    assert (nobody.inputs, nobody.begins) == ((0.0, 0.0), "0, for nobody says another")


def test_who_is_not_there_is_refused(bundles: dict[str, Bundle]) -> None:
    with pytest.raises(ValueError, match="members 0 to 1"):
        selected(bundles["oral"], Selection(member=2))
    with pytest.raises(ValueError, match="no person"):
        selected(bundles["oral"], Selection(person="Bob"))
    for wrong in ({"member": -1}, {"member": 0.5}, {"person": 3}):
        with pytest.raises(ValueError, match="Selection"):
            Selection(**wrong)


def test_every_form_has_its_word_and_its_suffix() -> None:
    names = [one.name for one in EXPORTS]
    assert len(set(names)) == len(names)
    assert all(one.suffix.startswith(".") for one in EXPORTS)
