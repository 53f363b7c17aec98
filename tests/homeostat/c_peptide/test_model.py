"""What the network sees, what the kinetics do, and a training that is interrupted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import homeostat.c_peptide.model
from homeostat.c_peptide.model import RESIDUAL_INPUTS, build, drinking, train
from homeostat.c_peptide.model import people as people_of
from homeostat.progress import Interruption
from physics import VanCauter, VanCauterPopulation
from tests.ohashi_tables import ROW_UNITS, write_rows, write_tables
from training.people import read_ohashi
from training.people.tables.driven import driven
from training.people.tables.nonmem import read_table


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    return write_tables(tmp_path)


def test_production_sees_the_drink_and_not_basal() -> None:
    network = build().residual
    generator = torch.Generator().manual_seed(0)
    x, u, c = (torch.randn(4, 6, k, generator=generator, dtype=torch.float64) for k in (2, 5, 1))
    value = network(x, u, c)
    assert (value[..., 1] == 0).all()
    assert (value[..., 0] != 0).all()
    basal, *seen = torch.eye(5, dtype=torch.float64)
    assert torch.equal(network(x + 1.0, u + 3.0 * basal, c), value)
    for one in seen:
        assert not torch.equal(network(x, u + 3.0 * one, c), value)
    layers = network.layers()
    assert (layers.input_weights[..., 0] == 0).all()
    # the layers, evaluated plainly: NN(g, β) − NN(0, β)
    plain = []
    for inputs in (u, torch.zeros_like(u)):
        v = inputs @ layers.input_weights.mT + c @ layers.covariate_weights.mT + layers.biases[0]
        for weight, bias in zip(layers.weights[1:], layers.biases[1:], strict=True):
            v = torch.nn.functional.softplus(v) @ weight.mT + bias
        plain.append(v)
    torch.testing.assert_close(plain[0] - plain[1], value, atol=1e-14, rtol=1e-12)


def test_the_inputs_made_of_glucose(tables: Path) -> None:
    record = read_ohashi(tables).train[0]
    made = drinking(record).schedule.inputs
    assert set(made) == {"basal", "glucose", "slope", "area", "gut"}
    assert made["glucose"] == record.schedule.inputs["glucose"]
    rise = 0.0551 * np.array([0, 60, 90, 50, 20])
    for k, t in enumerate((0.0, 30.0, 60.0, 90.0)):
        assert made["slope"].at(t) == pytest.approx((rise[k + 1] - rise[k]) / 30.0, rel=1e-12)
        assert made["slope"].at(t + 29.9) == made["slope"].at(t)
        trapezoids = sum(15.0 * (rise[j] + rise[j + 1]) for j in range(k + 1))
        assert made["area"].at(t + 30.0) == pytest.approx(trapezoids, rel=1e-12)
    # by a formula of its own: ∫ of the line from (30, 60) to (60, 90) up to 45 min
    assert made["area"].at(45.0) == pytest.approx(0.0551 * (0.5 * 30 * 60 + 15 * (60 + 75) / 2), rel=1e-12)
    assert (made["gut"].at(0.0), made["gut"].at(30.0)) == (0.0, 1.0)
    assert max(made["gut"].values) == 1.0


def test_the_added_inputs_leave_the_kinetics_alone() -> None:
    one = {"age": torch.tensor([61.0], dtype=torch.float64), "type2": torch.tensor([1.0], dtype=torch.float64)}
    theta = VanCauterPopulation().theta(torch.zeros(2, 1, 0, dtype=torch.float64), one)
    (A, B), (A0, B0) = VanCauter(RESIDUAL_INPUTS).matrices(theta), VanCauter().matrices(theta)
    assert torch.equal(A, A0)
    assert torch.equal(B[..., :2], B0)
    assert B.shape[-1] == len(VanCauter(RESIDUAL_INPUTS).inputs) == len(VanCauter(RESIDUAL_INPUTS).input_units) == 5
    assert (B[..., 2:] == 0).all()


def test_ctrl_c_keeps_the_fit_so_far(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read_ohashi(tables)
    model = build()
    cohort = people_of(data.train, model)

    def interrupted(*arguments: object, **options: object) -> object:
        for step in whole(*arguments, **options):
            if step.index == 4:
                raise KeyboardInterrupt
            yield step

    whole = homeostat.c_peptide.model.fit
    monkeypatch.setattr(homeostat.c_peptide.model, "fit", interrupted)
    console = Console(record=True, width=100)
    fitted, where, losses = train(model, cohort, torch.ones(1, 2, dtype=torch.float64), 10, console)
    assert "interrupted at step 3 of 10" in console.export_text()
    assert where == Interruption(3, 10)
    assert len(losses) == 3
    assert fitted.personal.shape == (1, 2, 1)
    assert not torch.equal(fitted.model.residual.weights[1], model.residual.weights[1])


def test_inputs_in_the_rows_of_a_table_are_those_of_the_record(tables: Path, tmp_path: Path) -> None:
    """A row with the input's name in CMT and its value in DV: the same record comes back, and what is missing is named."""
    made = [drinking(one) for one in read_ohashi(tables).train[:2]]
    path = write_rows(tmp_path / "people.csv", made)
    kinds = {name: signal.kind for name, signal in made[0].schedule.inputs.items()}
    units = {**ROW_UNITS, **RESIDUAL_INPUTS}
    names = {name: name for name in ("C-peptide", *kinds)}
    read = read_table(path, units=units, compartments={1: "plasma"}, channels=names, signed=[*kinds]).records
    assert "glucose" in read[0].channels
    for one, again in zip(made, (driven(r, kinds) for r in read), strict=True):
        assert again.schedule.inputs == one.schedule.inputs
        assert (again.id, again.channels, again.nonnegative) == (one.id, one.channels, one.nonnegative)
        assert dict(again.covariates) == dict(one.covariates)
        assert again.units["glucose"] == "mmol/L"
        np.testing.assert_array_equal(again.times, one.times)
        np.testing.assert_array_equal(again.values, one.values)
    with pytest.raises(ValueError, match=r"record .*: no row gives the input insulin, .* CMT=insulin and its value in DV"):
        driven(read[0], {**kinds, "insulin": "linear"})
    with pytest.raises(ValueError, match=r"no row gives the inputs insulin, glucagon, and the model needs them of everyone"):
        driven(read[0], {**kinds, "insulin": "linear", "glucagon": "held"})
    # nobody is dosed, so that AMT needs no unit
    undosed = {name: unit for name, unit in units.items() if name != "AMT"}
    again = read_table(path, units=undosed, compartments={1: "plasma"}, channels=names, signed=[*kinds]).records
    assert "dose" not in again[0].units
    np.testing.assert_array_equal(again[0].values, read[0].values)
