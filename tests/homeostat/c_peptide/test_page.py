"""What the C-peptide page says of each person: what is given, what is estimated, and labels that can be read."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from homeostat.c_peptide.model import build, people
from homeostat.c_peptide.pictures import apart, secretion_axes
from homeostat.c_peptide.secretion import Secretion, production, turned
from homeostat.gallery.latents import latent_of, latent_table
from homeostat.gallery.theta import people_table, theta_of, typical_table
from homeostat.pictures.theta import theta_handles
from homeostat.wording import made_from
from hybrid import HybridModel
from learned import Ensemble
from tests.ohashi_tables import write_tables
from training import Cohort, Personal
from training.people import read_ohashi


def known(model: HybridModel, cohort: Cohort, values: torch.Tensor) -> Personal:  # (M, N)
    M, N = values.shape
    return Personal(
        values[..., None],
        torch.full((M, N, 1, 1), 0.04, dtype=torch.float64),
        torch.zeros(M, N, dtype=torch.float64),
        torch.ones(M, N, dtype=torch.bool),
        ids=cohort.ids,
    )


@pytest.fixture
def model() -> HybridModel:
    """Two members that are one: what is said of both can be told."""
    return Ensemble(2).stack(build(), torch.Generator().manual_seed(1))


@pytest.fixture
def cohort(tmp_path: Path, model: HybridModel) -> Cohort:
    return people(read_ohashi(write_tables(tmp_path)).train, model)


def test_what_nothing_was_fitted_for_is_not_called_an_estimate(model: HybridModel, cohort: Cohort) -> None:
    beta = torch.zeros(2, len(cohort.ids), dtype=torch.float64)
    theta = theta_of(model, cohort, known(model, cohort, beta))
    assert theta is not None
    assert theta.given is not None
    assert [*theta.given] == ["age (a)", "type2"]
    assert theta.ends == ()
    assert [h.get_label() for h in theta_handles(theta)] == ["one person", "typical value"]
    typical, everyone = typical_table(theta), people_table(theta)
    assert typical.title == "θ, which was not estimated"
    assert "computed from everyone's age (a) and type2" in typical.note
    assert everyone.columns == ["person", "age (a)", "type2", "k0 (/min)", "k1 (/min)", "k2 (/min)"]
    # by the formula itself, for one person: the slow half-life is .14·age + 29.2 min
    _, age, type2, k0, k1, k2 = everyone.rows[0]
    fast = np.log(2.0) / (4.95 - 0.43 * float(type2))  # type: ignore[arg-type]
    slow = np.log(2.0) / (0.14 * float(age) + 29.2)  # type: ignore[arg-type]
    assert float(k0) * float(k1) == pytest.approx(fast * slow, rel=1e-12)  # type: ignore[arg-type]
    assert float(k0) + float(k1) + float(k2) == pytest.approx(fast + slow, rel=1e-12)  # type: ignore[arg-type]


def test_beta_is_shown_with_what_it_means(model: HybridModel, cohort: Cohort) -> None:
    N = len(cohort.ids)
    own = torch.linspace(-1.0, 1.0, N, dtype=torch.float64)
    beta = torch.stack([own, -2.0 * own])
    found = latent_of(model, cohort.ids, known(model, cohort, beta), name="β", meaning="A number.")
    assert found is not None
    # the second member, whose order is the other way round, is turned
    np.testing.assert_allclose(found.values, np.stack([own.numpy(), 2.0 * own.numpy()]))
    table = latent_table(found)
    assert table.columns == ["person", "β", "± over members", "± of their own data", "search ended well"]
    assert table.note.startswith("A number. No column has a unit.")
    assert table.rows[0][1:4] == pytest.approx([-1.5, np.sqrt(0.5), 0.2])
    assert table.name == "everyones-beta"
    # a larger β is one that secretes more, whichever way a member's network has it
    sign = turned(model, cohort, beta[..., None])
    much = production(model, cohort, beta[..., None], np.array([5.0]), minutes=30.0)[..., 0]
    assert all(s * np.corrcoef(b, m)[0, 1] > 0.0 for s, b, m in zip(sign, beta.numpy(), much, strict=True))


def test_labels_stand_apart_and_keep_their_order() -> None:
    assert apart([0.0, 5.0, 10.0], 1.0) == [0.0, 5.0, 10.0]
    assert apart([1.0, 1.0, 1.0], 2.0) == [-1.0, 1.0, 3.0]
    assert apart([3.0, 0.1, 0.0], 1.0) == pytest.approx([3.0, 0.55, -0.45])
    assert min(np.diff(apart([0.0, 0.9, 1.9, 1.95], 1.0))) >= 1.0 - 1e-12
    # after a step or two everyone has the same curve: three labels, and none on another
    flat = np.tile(np.linspace(0.0, 0.01, 5), (9, 1))
    said = Secretion(np.linspace(0.0, 8.0, 5), flat, 1.01 * flat, np.zeros(5), 9.0)
    axes = secretion_axes(said)
    boxes = [one.get_window_extent() for one in axes.texts]
    assert [one.get_text() for one in axes.texts] == ["10th", "50th", "90th"]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_years_are_whole_and_bounds_have_the_digits_that_were_meant(model: HybridModel, cohort: Cohort) -> None:
    beta = torch.zeros(2, len(cohort.ids), dtype=torch.float64)
    theta = theta_of(model, cohort, known(model, cohort, beta))
    assert theta is not None
    assert [row[1:3] for row in people_table(theta).rows] == [[34, 0], [61, 1]]
    assert all(isinstance(cell, int) for row in people_table(theta).rows for cell in row[1:3])
    box = np.tile([[0.05000000000000001, 20.000000000000004]], (len(theta.names), 1))
    assert [*typical_table(replace(theta, box=box)).rows[0][-2:]] == [0.05, 20.0]


def test_made_from_has_units_behind_their_columns_and_a_rate_that_says_of_what() -> None:
    made = made_from({"units": {"TIME": "h", "DV": "mg/L"}, "settings.rate": 0.03}, "h")
    assert made == {"units": "TIME in h, DV in mg/L", "settings.rate (of learning, at first)": "0.03"}
