"""SBML: read by libRoadRunner it is our solution, libSBML finds no error, and what has no word there is refused by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exchange import Bundle, Selection, selected
from exchange.program.lines import Lines
from exchange.program.operations import OPERATIONS as LISTED
from exchange.sbml.checked import require_consistent
from exchange.sbml.document import Quantity, document
from exchange.sbml.identifiers import identifiers
from exchange.sbml.mathml import FUNCTIONS, formulas, named
from exchange.sbml.mathml import OPERATIONS as WRITTEN
from exchange.sbml.sbml import Sbml
from exchange.sbml.text import text_of
from exchange.selection import Selected
from hybrid import HybridModel, RungeKutta, Schedule, Signal, States, simulate
from learned import Constant
from physics import MECHANISMS, Backbone, LinearisedBackbone, Mechanism, SharedPopulation
from physics.operation import OPERATIONS
from tests.builders import BACKBONE_BUILDERS
from tests.exchange.bundle.test_bundle import bundle_for, oral

libsbml = pytest.importorskip("libsbml")
roadrunner = pytest.importorskip("roadrunner")
F64 = torch.float64
KNOWN: dict[str, Callable[[], Any]] = {**{one.__name__: one for one in MECHANISMS}, **BACKBONE_BUILDERS}


def model_of(known: Backbone | Mechanism) -> HybridModel:
    """What is known alone, every state observed."""
    backbone = LinearisedBackbone(known) if isinstance(known, Mechanism) else known
    states = tuple(backbone.states)
    population = SharedPopulation([p.typical for p in backbone.physical])
    noise = Constant([1.0] * len(states), [0.1] * len(states))
    return HybridModel(backbone, population, observation=States(states), noise=noise)


def chosen_of(model: HybridModel, x0: list[float]) -> Selected:
    start = torch.tensor([x0], dtype=F64)
    return Selected(model, model.typical[0], start[:, :0], start, start[:, :0], {}, (), (0,))


def read(text: str, size: float) -> Any:
    runner = roadrunner.RoadRunner(text)
    runner.integrator.relative_tolerance, runner.integrator.absolute_tolerance = 1e-11, 1e-13 * size
    runner.integrator.maximum_num_steps = 10**6
    return runner


# one of each kind in every run: closed, by tracing, with a Hill function and a dead band, with a unit that SBML lacks
FIRST = (
    "TwoCompartments",
    "MichaelisMenten",
    "S2008Stomach",
    "BuildingZone",
    "DCMotor",
    "linear",
    "oral",
    "van Cauter",
)


@pytest.mark.parametrize("name", [n if n in FIRST else pytest.param(n, marks=pytest.mark.slow) for n in KNOWN])
def test_roadrunner_solves_what_we_solve(name: str) -> None:
    model = model_of(KNOWN[name]())
    backbone, mechanism = model.backbone, model.mechanism
    sizes = [float(mechanism.scale[s]) if mechanism else 1.0 for s in backbone.states]
    levels = {i: float(mechanism.typical_inputs.get(i, 0.0)) if mechanism else 0.3 for i in backbone.inputs}
    chosen = chosen_of(model, [0.5 * size for size in sizes])
    text, _ = text_of(chosen, name)
    require_consistent(text, "the test")
    rates = torch.linalg.eigvals(backbone.matrices(model.typical)[0][0, 0]).real.abs()
    end = min(2.0 / float(rates[rates > 1e-9].min()), 50.0 / float(rates.max()))
    times = np.linspace(0.0, end, 6)
    schedule = Schedule(inputs={i: Signal((0.0,), (level,)) for i, level in levels.items()})
    ours = simulate(model, schedule, times, model.typical[0, 0], chosen.x0[0], solver=RungeKutta("tsit5", rtol=1e-10))
    runner = read(text, max(sizes))
    for i, level in levels.items():
        runner[f"u_{i}"] = level
    runner.timeCourseSelections = [*backbone.states, *(f"y_{s}" for s in backbone.states)]
    found = np.array(runner.simulate(0.0, end, 6))
    scale = np.abs(ours.numpy()).max(0)
    np.testing.assert_allclose(found[:, : len(sizes)] / scale, ours.numpy() / scale, rtol=0.0, atol=1e-6)
    assert np.array_equal(found[:, : len(sizes)], found[:, len(sizes) :])


def test_every_operation_of_a_tape_has_its_formula() -> None:
    """Each as a rule on a value that the test sets: below, at and above where it bends."""
    assert set(OPERATIONS) <= set(WRITTEN) <= set(LISTED)
    cases = list[tuple[str, tuple[float, ...], float | None]]()
    for operation in WRITTEN:
        one = LISTED[operation]
        places = (
            (-0.75, 0.0, 0.75, 3.0, 800.0)
            if operation not in ("log", "sqrt", "asin", "acos", "log1p")
            else (0.25, 0.75)
        )
        for v in places:
            number = {"power": 3.0 if v <= 0 else -1.7, "hill": 2.5}.get(operation)
            others = [0.75, 2.0][: one.arity - 1] if operation != "where" else [0.75, 2.0]
            cases.append((operation, (v, *others), number))
    functions = {kind: kind for kind in FUNCTIONS}
    lines = Lines({"x": 3 * len(cases)})
    ends = [
        lines.write(op, *(lines.given("x", 3 * k + j) for j in range(len(values))), number=number)
        for k, (op, values, number) in enumerate(cases)
    ]
    program = lines.program({"y": ends})
    found, parts = formulas(
        program.code,
        program.outputs["y"],
        lambda line: named(f"x{line.arguments[1]}"),
        lambda i: f"part_{i}",
        functions,
    )
    x = np.zeros(3 * len(cases))
    for k, (_, values, _) in enumerate(cases):
        x[3 * k : 3 * k + len(values)] = values
    quantities = [Quantity(f"x{i}", "", None, v) for i, v in enumerate(x.tolist())]
    quantities += [Quantity(f"part_{i}", "", None, rule=rule) for i, rule in parts.items()]
    quantities += [Quantity(f"y{k}", "", None, rule=found[i]) for k, i in enumerate(program.outputs["y"])]
    text, _ = document("all", "all", "h", quantities, functions=functions, said=(), facts={})
    require_consistent(text, "the test")
    runner = roadrunner.RoadRunner(text)
    wanted = program.evaluate(x=x)["y"]
    for k, (operation, values, _) in enumerate(cases):
        got = runner[f"y{k}"]
        if np.isfinite(wanted[k]):
            assert got == pytest.approx(wanted[k], rel=1e-13, abs=1e-300), (operation, values)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Two members and people of an oral drug, without a network, whose certificate nobody asked for."""
    return bundle_for(oral(residual=False))


def test_a_bundle_is_written_with_who_it_is_and_that_it_is_not_certified(bundle: Bundle, tmp_path: Path) -> None:
    form = Sbml(Selection(member=1, person="Ada"))
    written = form.write(bundle, tmp_path / "drug.xml")
    assert "not certified" in written.sentences[0]
    text = written.path.read_text("utf-8")
    assert "not certified" in text
    assert "person Ada, member 1 of 2" in text
    chosen, runner = selected(bundle, form.selection), roadrunner.RoadRunner(text)
    assert [runner[f"theta_{p.name}"] for p in chosen.model.backbone.physical] == chosen.theta[
        0
    ].tolist()  # to the last bit
    assert [runner[s] for s in chosen.model.backbone.states] == chosen.x0[0].tolist()
    runner["infused_plasma"] = 5.0
    assert runner["plasma'"] - 5.0 == pytest.approx(
        float(
            chosen.model.at(chosen.theta[:, None], chosen.c[:, None]).rate(
                chosen.x0[None], torch.zeros(1, 1, 0, dtype=F64)
            )[0, 0, 1]
        ),
        rel=1e-12,
    )
    with pytest.raises(ValueError, match=r"exists; give another path"):
        form.write(bundle, written.path)
    replace(form, replace=True).write(bundle, written.path)
    assert written.path.read_text("utf-8") == text
    assert list(tmp_path.iterdir()) == [written.path]


def test_units_are_those_of_ucum_as_far_as_sbml_has_them(bundle: Bundle) -> None:
    text, lacking = text_of(selected(bundle, Selection(member=0)), "drug")
    found = libsbml.readSBMLFromString(text).getModel()
    assert lacking == ()
    assert found.getTimeUnits() == found.getUnitDefinition(0).getId()
    hour = found.getUnitDefinition(0)
    assert (hour.getName(), hour.getUnit(0).getMultiplier() * hour.getUnit(1).getMultiplier()) == ("h", 3600.0)
    of = {found.getParameter(i).getName(): found.getParameter(i).getUnits() for i in range(found.getNumParameters())}
    assert found.getUnitDefinition(of["ka"]).getName() == "/h"
    zone = model_of({one.__name__: one for one in MECHANISMS}["BuildingZone"]())
    text, lacking = text_of(chosen_of(zone, [20.0] * len(zone.backbone.states)), "zone")
    assert "Cel" in lacking
    assert "SBML has no unit for Cel" in text


def test_what_sbml_has_no_place_for_is_refused_by_name(bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "a.xml"
    with pytest.raises(ValueError, match=r"2 members.*choose one"):
        Sbml().write(bundle, target)
    with pytest.raises(ValueError, match=r"learned residual, MLP.*--to fmu"):
        Sbml(Selection(member=0)).write(bundle_for(oral()), target)
    with pytest.raises(ValueError, match="state 'u_a' and state 'u a' would both be called u_a"):
        identifiers({"state": ("u a", "u_a")})
    with pytest.raises(ValueError, match="y 'b' and state 'y_b'"):
        identifiers({"state": ("y_b",), "y": ("b",)})
    with pytest.raises(ValueError, match=r"state 'θ'.*no letter or digit"):
        identifiers({"state": ("θ",)})
    with pytest.raises(ValueError, match=r"libSBML finds . errors"):
        require_consistent(
            '<sbml xmlns="http://www.sbml.org/sbml/level3/version2/core" level="3" version="2"><model id="1"/></sbml>',
            "It",
        )
    assert not target.exists()
