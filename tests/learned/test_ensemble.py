"""Stacks of members: one is itself, none is an average, and nobody learns from those whom they must not see."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid import HybridModel, RungeKutta, rollout
from learned import Ensemble, concatenate, select
from training import Cohort


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(a: HybridModel, b: HybridModel) -> bool:
    pairs = zip(a.named_parameters(), b.named_parameters(), strict=True)
    return all(m == n and torch.equal(p, q) for (m, p), (n, q) in pairs)


def test_one_member_is_the_model_itself(model: HybridModel, cohort: Cohort) -> None:
    one = Ensemble(1).stack(model, generator())
    # the residual is drawn anew, from the generator alone; everything else is the template's
    model.residual.reset(generator())
    assert same(one, model)
    assert one.members == 1
    personal = 0.3 * torch.ones(1, 4, 3, dtype=torch.float64)
    a, b = (rollout(m, cohort.conditions, personal) for m in (one, model))
    assert torch.equal(a.mean, b.mean)
    assert torch.equal(a.variance, b.variance)


def test_members_differ_in_the_residual_alone_and_seeds_repeat(model: HybridModel) -> None:
    stack = Ensemble(3).stack(model, generator(5))
    assert stack.members == 3
    assert same(stack, Ensemble(3).stack(model, generator(5)))
    assert not same(stack, Ensemble(3).stack(model, generator(6)))
    for m, n in ((0, 1), (0, 2), (1, 2)):
        assert all(not torch.equal(w[m], w[n]) for w in stack.residual.weights)
    assert torch.equal(stack.population.shift, model.population.shift.expand(3, -1))
    assert torch.equal(stack.noise.log_additive, model.noise.log_additive.expand(3, -1))


def test_stacking_leaves_the_template_alone(model: HybridModel) -> None:
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    stack = Ensemble(2).stack(model, generator())
    with torch.no_grad():
        for p in stack.parameters():
            p.add_(1.0)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_select_and_concatenate_undo_each_other(model: HybridModel) -> None:
    stack = Ensemble(3).stack(model, generator())
    parts = [select(stack, torch.tensor([k])) for k in range(3)]
    assert same(concatenate(parts), stack)
    turned = select(stack, torch.tensor([2, 0]))
    assert same(turned, concatenate([parts[2], parts[0]]))
    with torch.no_grad():
        for p in turned.parameters():
            p.zero_()
    assert same(concatenate(parts), stack)  # a selection shares no memory with what it was taken from


def test_a_stack_predicts_what_its_members_predict(model: HybridModel, cohort: Cohort) -> None:
    stack = Ensemble(3).stack(model, generator())
    personal = torch.randn(3, 4, 3, generator=generator(1), dtype=torch.float64)
    solver = RungeKutta("rk4")  # adapted steps are accepted by all members together
    whole = rollout(stack, cohort.conditions, personal, solver)
    for k in range(3):
        alone = rollout(select(stack, torch.tensor([k])), cohort.conditions, personal[[k]], solver)
        # the same sums in another batch: a few ulp of amounts of several hundred
        torch.testing.assert_close(whole.states[[k]], alone.states, rtol=1e-12, atol=1e-10)


def test_predictions_are_not_those_of_averaged_parameters(model: HybridModel, cohort: Cohort) -> None:
    # two members with opposite output weights: their average has no residual at all, their mean prediction has a spread
    stack = Ensemble(2).stack(model, generator())
    with torch.no_grad():
        for w in (*stack.residual.weights, *stack.residual.biases):
            w[1] = w[0]
        stack.residual.weights[-1].mul_(20.0)
        stack.residual.weights[-1][1].neg_()
    averaged = select(stack, torch.tensor([0]))
    with torch.no_grad():
        for a, s in zip(averaged.parameters(), stack.parameters(), strict=True):
            a.copy_(s.mean(0, keepdim=True))
    run = rollout(stack, cohort.conditions, torch.zeros(2, 4, 3, dtype=torch.float64))
    alone = rollout(averaged, cohort.conditions, torch.zeros(1, 4, 3, dtype=torch.float64))
    assert run.mean.var(0, correction=0).max() > 1e-2
    assert (run.mean.mean(0) - alone.mean[0]).abs().max() > 1e-4


@settings(deadline=None, max_examples=60, derandomize=True)
@given(people=st.integers(3, 15), members=st.integers(1, 4), folds=st.integers(0, 5), seed=st.integers(0, 2**31))
def test_bootstrap_weights(people: int, members: int, folds: int, seed: int) -> None:
    if folds == 1 or folds > people:
        with pytest.raises(ValueError, match="folds"):
            Ensemble(members, folds=folds).fold_of(people, generator(seed))
        return
    ensemble = Ensemble(members, folds=folds)
    g = generator(seed)
    fold = ensemble.fold_of(people, g) if folds else None
    weights = ensemble.record_weights(people, g, fold)
    assert weights.shape == (ensemble.stacked, people)
    assert torch.equal(weights, weights.round())
    assert weights.min() >= 0
    for row, w in enumerate(weights):
        seen = torch.ones(people, dtype=torch.bool) if fold is None else fold != row // members
        assert w.sum() == seen.sum()  # as many draws as there are people to draw from
        assert w[~seen].sum() == 0  # nobody of the member's own fold
        assert seen.sum() < 3 or ((w > 0) < seen).any()  # someone is left to stop the member on
    g = generator(seed)
    fold = ensemble.fold_of(people, g) if folds else None
    assert torch.equal(weights, ensemble.record_weights(people, g, fold))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(people=st.integers(2, 40), folds=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_folds_are_as_equal_as_can_be(people: int, folds: int, seed: int) -> None:
    if folds > people:
        return
    fold = Ensemble(2, folds=folds).fold_of(people, generator(seed))
    sizes = torch.bincount(fold, minlength=folds)
    assert len(sizes) == folds
    assert sizes.sum() == people
    assert sizes.max() - sizes.min() <= 1


def test_init_members_all_see_the_same_people() -> None:
    fold = torch.tensor([0, 1, 0, 1, 1])
    weights = Ensemble(2, resample="init", folds=2).record_weights(5, generator(), fold)
    first = [0.0, 1.0, 0.0, 1.0, 1.0]
    assert weights.tolist() == [first, first, [1 - w for w in first], [1 - w for w in first]]


def test_the_bootstrap_is_one() -> None:
    # 400 resamples of 30: the number of distinct people has mean 30 (1 − (1 − 1/30)^30) = 19.2 and standard deviation
    # 1.7, so that of the mean is .085; the redraws of the rare resamples below half move it by less than that
    weights = Ensemble(400).record_weights(30, generator(3))
    assert abs(float((weights > 0).sum(1).double().mean()) - 30 * (1 - (1 - 1 / 30) ** 30)) < 0.4
    assert abs(float(weights.mean()) - 1.0) < 1e-12


@pytest.mark.parametrize("arguments", [{"members": 0}, {"folds": 1}, {"folds": -2}, {"resample": "jackknife"}])
def test_arguments_are_checked(arguments: dict) -> None:
    with pytest.raises(ValueError, match="Ensemble"):
        Ensemble(**arguments)


def test_folds_need_to_be_said() -> None:
    with pytest.raises(ValueError, match="fold_of"):
        Ensemble(2, folds=2).record_weights(4, generator())
