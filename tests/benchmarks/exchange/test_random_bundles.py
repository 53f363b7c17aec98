"""Random bundles: every family occurs, the same seed is the same bundle, and what is saved is what is loaded."""

import pytest
import torch

from benchmarks.exchange.random_bundles import (
    STRUCTURES,
    choice_of,
    each,
    horizon,
    names_of_each,
    one_of_each,
    random_bundle,
)
from benchmarks.exchange.random_residuals import KINDS, SUM
from exchange import Bundle, load, save
from hybrid import Rollout, rollout
from learned import NOISES, RESIDUALS, Correlated
from physics import BACKBONES, MECHANISMS, POPULATIONS

NAMES = names_of_each()


def followed(bundle: Bundle) -> Rollout:
    times = [[horizon(bundle) * k / 4.0 for k in range(1, 5)]] * len(bundle.people)
    with torch.no_grad():
        return rollout(bundle.model, bundle.conditions(times), bundle.personal.mode)


def test_every_member_of_every_family_occurs() -> None:
    found = one_of_each()
    bundles = [bundle for _, bundle in found]
    models = [bundle.model for bundle in bundles]
    assert {type(m.residual) for m in models} >= set(RESIDUALS)
    assert {type(m.noise) for m in models} >= set(NOISES) - {Correlated}  # no exported form carries it
    assert {type(m.population) for m in models} >= set(POPULATIONS)
    assert {type(m.backbone) for m in models} >= set(BACKBONES)
    assert {m.mechanism.name for m in models if m.mechanism} == {one.__name__ for one in MECHANISMS}
    assert {m.members for m in models} == {1, 2, 3, 4}
    assert {len(b.people) for b in bundles} == {1, 2, 3}
    assert {m.process is None for m in models} == {True, False} == {bool(m.known) for m in models}
    assert {bool(b.certificate) for b in bundles} == {True, False}
    assert {choice_of(seed).residual for seed in range(2 * len(KINDS))} == {*KINDS, SUM}
    assert len({name for name, _ in found}) == len(found)


@pytest.mark.parametrize("seed", [1, 26])
def test_a_seed_is_a_bundle(seed, tmp_path) -> None:
    one, two = (save(random_bundle(seed), tmp_path / f"{k}.twin") for k in (1, 2))
    assert one.read_bytes() == two.read_bytes()


# a few in every run of the tests, the others where there is time
FEW = [pytest.param(k, id=NAMES[k], marks=[] if k % 15 == 0 else [pytest.mark.slow]) for k in range(0, len(NAMES), 5)]


@pytest.mark.parametrize("k", FEW)
def test_what_is_loaded_predicts_the_same(k, tmp_path) -> None:
    bundle = each(k)
    back = load(save(bundle, tmp_path / "a.twin"), structures=STRUCTURES)
    ours, theirs = followed(bundle), followed(back)
    assert torch.equal(ours.states, theirs.states)
    assert torch.equal(ours.variance, theirs.variance)
    assert torch.isfinite(ours.states).all()
    assert torch.isfinite(ours.variance).all()
