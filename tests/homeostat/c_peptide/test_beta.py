"""How β is fitted, and the unit that it is given."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from homeostat.c_peptide.beta import AHEAD, ALL_FIVE, FIRST_PHASE, SOLVER, means, standardise
from homeostat.c_peptide.model import build
from homeostat.c_peptide.model import people as people_of
from hybrid import rollout
from learned import Ensemble
from tests.ohashi_tables import write_tables
from training import Fitted
from training.people import read_ohashi


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    return write_tables(tmp_path)


def test_beta_minimises_the_stated_sum(tables: Path) -> None:
    """Against a search over a grid of β, with its own sum: the deepest valley, for samples that do not count alike."""
    data = read_ohashi(tables)
    generator = torch.Generator().manual_seed(5)
    model = Ensemble(members=2).stack(build(), generator)
    with torch.no_grad():
        model.residual.weights[-1].mul_(20.0)  # far from the backbone, so that β matters and μ bends in it
    cohort = people_of(data.train + data.test, model)

    def mean_at(beta: torch.Tensor) -> torch.Tensor:
        return rollout(model, cohort.conditions, beta[..., None], SOLVER).mean[..., 0].detach()

    def stated(beta: torch.Tensor, mu: torch.Tensor, deviations: tuple[float, ...], until: float) -> torch.Tensor:
        e = (cohort.until(until).y[..., 0] - mu) / torch.tensor(deviations, dtype=torch.float64)
        return 0.5 * torch.nan_to_num(e).square().sum(-1) + 0.5 * beta.square()

    grid = torch.linspace(-6.0, 6.0, 241, dtype=torch.float64)[:, None, None].expand(-1, 2, 3)
    copies = cohort.conditions.people(torch.arange(3).repeat(241))  # everyone at every β, side by side
    paths = rollout(model, copies, grid.transpose(0, 1).reshape(2, -1, 1), SOLVER).mean[..., 0].detach()
    paths = paths.reshape(2, 241, 3, -1).transpose(0, 1)
    for deviations, until in ((ALL_FIVE, 120.0), (AHEAD, 60.0), (FIRST_PHASE, 120.0)):
        mean, beta = means(model, cohort, deviations, until)
        lowest = torch.stack([stated(b, mu, deviations, until) for b, mu in zip(grid, paths, strict=True)]).amin(0)
        assert (stated(beta, mean_at(beta), deviations, until) <= lowest * (1.0 + 1e-6)).all()
        assert torch.equal(mean, mean_at(beta))
    # a later sample does not change a β that is fitted to the first hour
    later = cohort.after(60.0)
    changed = replace(cohort, y=torch.where(torch.isfinite(later.y), cohort.y + 1.0, cohort.y))
    assert torch.equal(means(model, changed, AHEAD, 60.0)[1], means(model, cohort, AHEAD, 60.0)[1])


def test_standardising_changes_the_unit_of_beta_alone(tables: Path) -> None:
    data = read_ohashi(tables)
    generator = torch.Generator().manual_seed(0)
    model = Ensemble(members=3).stack(build(), generator)
    cohort = people_of(data.train + data.test, model)
    personal = 0.3 + 2.0 * torch.randn(3, 3, 1, generator=generator, dtype=torch.float64)
    weights = torch.tensor([[1.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 2.0]], dtype=torch.float64)
    after = standardise(Fitted(model, personal), weights)
    old, new = (rollout(m, cohort.conditions, p).mean for m, p in ((model, personal), (after.model, after.personal)))
    torch.testing.assert_close(new, old, atol=1e-12, rtol=0.0)
    for m in range(3):
        repeated = torch.repeat_interleave(after.personal[m, :, 0], weights[m].long())  # a weight is a count of people
        assert float(repeated.mean()) == pytest.approx(0.0, abs=1e-12)
        assert float(repeated.std(correction=0)) == pytest.approx(1.0, abs=1e-12)
