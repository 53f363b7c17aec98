"""Measurements that judge instead of teaching: which they are, that they teach nothing, and by what number they judge."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from hybrid import HybridModel, Mesh
from learned import Ensemble
from training import (
    Cohort,
    Looks,
    Objective,
    Record,
    Search,
    fit,
    fit_population,
    judged_blocks,
    judged_people,
    judged_records,
    judged_tail,
    laplace_marginal,
)

MESH = Mesh(0.65, 0.2, 0.5)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_tail_is_the_end_of_everyone(cohort: Cohort) -> None:
    there = cohort.mask.any(-1)
    judged = judged_tail(cohort, 0.4)
    assert bool((judged <= there).all())
    for row, own, times in zip(judged, there, cohort.times, strict=True):
        count = int(own.sum())
        assert int(row.sum()) == max(1, int(0.4 * count)) < count
        assert times[row].min() > times[own & ~row].max()


def test_replicates_of_one_time_judge_together(cohort: Cohort) -> None:
    times = cohort.times.clone()
    times[:, -2] = times[:, -1]
    judged = judged_tail(replace(cohort, times=times), 0.01)
    assert bool((judged[:, -2] == judged[:, -1]).all())


def test_blocks_are_whole_and_leave_some(cohort: Cohort) -> None:
    there = cohort.mask.any(-1)
    judged = judged_blocks(cohort, draws(), length=2, share=0.3)
    for row, own in zip(judged, there, strict=True):
        blocks = row[own].split(2)
        assert all(bool(b.all()) or not bool(b.any()) for b in blocks)
        assert 0 < sum(bool(b.any()) for b in blocks) < len(blocks)
    assert torch.equal(judged, judged_blocks(cohort, draws(), length=2, share=0.3))


def test_people_and_records_are_whole(cohort: Cohort) -> None:
    there = cohort.mask.any(-1)
    judged = judged_people(cohort, draws(), 0.5)
    assert int(judged.any(1).sum()) == 2
    assert torch.equal(judged, there & judged.any(1)[:, None])
    named = judged_records(cohort, [cohort.ids[1]])
    assert named.any(1).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda c: judged_tail(c, 1.0), "what is left must teach"),
        (lambda c: judged_records(c, ["nobody"]), "the cohort has no 'nobody'"),
        (lambda c: judged_blocks(c, draws(), length=50), "nobody has more than 50 measured times"),
        (lambda c: judged_people(c.people(torch.tensor([0])), draws()), "fewer than two people"),
        (lambda c: Objective(judged=torch.ones(4)), "needs shape"),
        (lambda c: Objective(judged=torch.ones(4, 2)), "says yes or no"),
        (lambda c: Objective(judged=judged_tail(c), held_out=torch.zeros(1, 4, dtype=torch.bool)), "judged and held_out both"),
        (lambda c: Objective(judged=judged_tail(c), forecast_from=1.0), "judged and forecast_from both"),
        (lambda c: Objective(decay=-1.0), "Objective: decay"),
    ],
)
def test_a_mask_that_cannot_be_is_one_sentence(cohort: Cohort, make: Callable[[Cohort], object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        make(cohort)
    assert "\n" not in str(caught.value)


def test_a_mask_that_leaves_nothing_is_one_sentence(model: HybridModel, cohort: Cohort) -> None:
    everything = torch.ones_like(cohort.times, dtype=torch.bool)
    for call in (fit, fit_population):
        with pytest.raises(ValueError, match="judged leaves nothing to learn from"):
            next(iter(call(model, cohort, Objective(judged=everything))))
        with pytest.raises(ValueError, match="judged takes no measurement"):
            next(iter(call(model, cohort, Objective(judged=~everything))))
        with pytest.raises(ValueError, match=r"judged needs shape \(N, T\)"):
            next(iter(call(model, cohort, Objective(judged=everything[:, 1:]))))


def test_what_judges_teaches_nothing(model: HybridModel, cohort: Cohort) -> None:
    """Whatever was measured there, the fit is the one of the rest."""
    judged = judged_tail(cohort, 0.4)
    other = replace(cohort, y=torch.where(judged[..., None], 3.0 * cohort.y + 1.0, cohort.y))
    objective, search = Objective(judged=judged), Search(steps=4)
    fits = [list(fit(model, c, objective, search, Looks(every=2, patience=9))) for c in (cohort, other)]
    for a, b in zip(*fits, strict=True):
        assert torch.equal(a.loss, b.loss)
    for p, q in zip(fits[0][-1].now().model.parameters(), fits[1][-1].now().model.parameters(), strict=True):
        assert torch.equal(p, q)
    assert not torch.equal(fits[0][-1].held_out, fits[1][-1].held_out)
    plain = list(fit(model, cohort.without(judged), Objective(), search))
    for a, b in zip(fits[0], plain, strict=True):
        torch.testing.assert_close(a.loss, b.loss, rtol=1e-12, atol=0.0)


def test_members_have_masks_of_their_own(model: HybridModel, cohort: Cohort) -> None:
    """Two in one computation are the two alone, to the rounding of sums in another order."""
    masks = torch.stack([judged_tail(cohort, 0.4), judged_blocks(cohort, draws(), length=2, share=0.4)])
    stack = Ensemble(2, "init").stack(model, draws(3))
    with torch.no_grad():  # alike, so that the masks alone tell them apart
        for p in stack.parameters():
            p[1] = p[0]
    search, looks = Search(steps=4), Looks(every=2, patience=9)
    both = list(fit(stack, cohort, Objective(judged=masks), search, looks))
    from learned import select

    alone = select(stack, torch.tensor([0]))
    for m in range(2):
        one = list(fit(alone, cohort, Objective(judged=masks[m]), search, looks))
        torch.testing.assert_close(both[-1].loss[m], one[-1].loss[0], rtol=1e-9, atol=0.0)
        torch.testing.assert_close(both[-1].held_out[m], one[-1].held_out[0], rtol=1e-9, atol=0.0)


def test_a_population_is_judged_by_what_it_says_of_the_rest(
    people_of: Callable[..., tuple[Record, ...]], model: HybridModel
) -> None:
    """−log p(judged | taught) = −log p(all) + log p(taught), the coordinates integrated out of both."""
    alone = HybridModel(model.backbone, model.population, observation=model.observation, noise=model.noise)
    cohort = Cohort.of(people_of(4), alone, MESH)
    judged = judged_tail(cohort, 0.4)
    judged[0] = False
    first = next(iter(fit_population(alone, cohort, Objective(judged=judged))))
    taught = laplace_marginal(alone, cohort.without(judged)).value.detach()
    torch.testing.assert_close(first.loss, taught.mean(1), rtol=1e-8, atol=0.0)
    given = (laplace_marginal(alone, cohort).value.detach() - taught)[:, 1:]
    torch.testing.assert_close(first.held_out, given.mean(1), rtol=1e-7, atol=1e-9)
    # of people of whom nothing teaches it is −log p of all, and they weigh nothing
    whole = judged_records(cohort, [cohort.ids[2]])
    first = next(iter(fit_population(alone, cohort, Objective(judged=whole))))
    everyone = laplace_marginal(alone, cohort).value.detach()
    torch.testing.assert_close(first.held_out, everyone[:, 2], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(first.loss, everyone[:, [0, 1, 3]].mean(1), rtol=1e-8, atol=0.0)
