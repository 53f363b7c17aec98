"""Every family member has a builder and keeps its family's laws: a new member is one line in `tests/builders.py`."""

import pytest
import torch
from torch import nn

from exchange.bundle.structures import BUILTIN, describe, rebuild
from hybrid import OBSERVATIONS, SOLVERS, TERMS, HybridModel, States, check_observation, check_solver, check_term
from hybrid.filters import FILTERS, Followed, check_filter
from hybrid.filters.laws import problem
from learned import NOISES, PROCESS_NOISES, RESIDUALS, Constant, check_noise, check_process_noise, check_residual
from physics import (
    BACKBONES,
    POPULATIONS,
    OneCompartmentOral,
    SharedPopulation,
    check_backbone,
    check_population,
)
from tests.builders import (
    BACKBONE_BUILDERS,
    COVARIATES,
    FILTER_KINDS,
    NOISE_BUILDERS,
    OBSERVATION_BUILDERS,
    POPULATION_BUILDERS,
    PROCESS_BUILDERS,
    RESIDUAL_BUILDERS,
    SOLVER_KINDS,
    TERM_BUILDERS,
    FilterKind,
    SolverKind,
)
from tests.homeostat.own_terms import Saturable


@pytest.mark.parametrize(
    ("family", "builders"),
    [
        (BACKBONES, BACKBONE_BUILDERS),
        (POPULATIONS, POPULATION_BUILDERS),
        (RESIDUALS, RESIDUAL_BUILDERS),
        (NOISES, NOISE_BUILDERS),
        (PROCESS_NOISES, PROCESS_BUILDERS),
        (OBSERVATIONS, OBSERVATION_BUILDERS),
        (TERMS, TERM_BUILDERS),
    ],
    ids=["backbones", "populations", "residuals", "noises", "process noises", "observations", "terms"],
)
def test_every_member_of_a_family_has_a_builder(family: tuple[type[nn.Module], ...], builders: dict) -> None:
    assert {type(build()) for build in builders.values()} == set(family), "a new member needs a builder in tests/builders.py"
    assert {kind.__name__ for kind in family} <= set(BUILTIN)  # what a bundle may name


def test_every_solver_has_a_row() -> None:
    made = [kind.fixed() if kind.fixed else kind.adaptive(1e-3) for kind in SOLVER_KINDS]
    assert {type(solver) for solver in made} == set(SOLVERS), "a new solver needs a row in tests/builders.py"


def test_every_filter_has_a_row() -> None:
    made = [kind.make(Followed.of(problem(), 2)) for kind in FILTER_KINDS]
    assert {type(filter) for filter in made} == set(FILTERS), "a new filter needs a row in tests/builders.py"


@pytest.mark.parametrize("kind", FILTER_KINDS, ids=lambda kind: kind.name)
def test_a_filter_keeps_its_laws(kind: FilterKind) -> None:
    check_filter(kind.make, accuracy=kind.accuracy)


@pytest.mark.parametrize("name", BACKBONE_BUILDERS)
def test_a_backbone_keeps_its_laws(name: str) -> None:
    check_backbone(BACKBONE_BUILDERS[name]())


@pytest.mark.parametrize("name", POPULATION_BUILDERS)
def test_a_population_keeps_its_laws(name: str) -> None:
    population = POPULATION_BUILDERS[name]()
    check_population(population, {covariate: COVARIATES[covariate] for covariate in population.covariates})


@pytest.mark.parametrize("name", RESIDUAL_BUILDERS)
def test_a_residual_keeps_its_laws(name: str) -> None:
    check_residual(RESIDUAL_BUILDERS[name]())


@pytest.mark.parametrize("name", NOISE_BUILDERS)
def test_a_noise_head_keeps_its_laws(name: str) -> None:
    check_noise(NOISE_BUILDERS[name](), states=1, inputs=1)


@pytest.mark.parametrize("name", PROCESS_BUILDERS)
def test_a_process_noise_keeps_its_laws(name: str) -> None:
    check_process_noise(PROCESS_BUILDERS[name]())


@pytest.mark.parametrize("name", OBSERVATION_BUILDERS)
def test_an_observation_keeps_its_laws(name: str) -> None:
    check_observation(OBSERVATION_BUILDERS[name](), OneCompartmentOral())


@pytest.mark.parametrize("name", [*TERM_BUILDERS, "of one's own"])
def test_a_known_term_keeps_its_laws(name: str) -> None:
    check_term({**TERM_BUILDERS, "of one's own": lambda: Saturable(2.0, 30.0)}[name](), OneCompartmentOral())


@pytest.mark.parametrize("kind", SOLVER_KINDS, ids=lambda kind: kind.name)
def test_a_solver_keeps_its_laws(kind: SolverKind) -> None:
    if kind.fixed:
        check_solver(kind.fixed(), order=kind.order)
    else:
        check_solver(kind.adaptive(1e-6), accuracy=1e-5)


@pytest.mark.parametrize("name", BACKBONE_BUILDERS)
def test_a_backbone_travels_in_a_whole_model(name: str) -> None:
    backbone = BACKBONE_BUILDERS[name]()
    typical = [p.typical for p in backbone.physical]
    observation = States(backbone.states)
    sd = [0.1] * len(backbone.states)
    model = HybridModel(backbone, SharedPopulation(typical), observation=observation, noise=Constant(sd, sd))
    again = rebuild(describe(model), dict(model.named_parameters()))
    theta = torch.tensor(typical, dtype=torch.float64)
    for found, wanted in zip(again.backbone.matrices(theta), backbone.matrices(theta), strict=True):
        assert torch.equal(found, wanted)
    assert (again.observation.channels, again.observation.units) == (backbone.states, backbone.state_units)
