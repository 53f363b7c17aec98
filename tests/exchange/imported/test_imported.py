"""A stranger's FMU: what it says of itself, as a term of a model, and as a source of records; what is refused, and how."""

import copy
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from exchange import BUILTIN, Bundle, Person, Selection, load, save, selected
from exchange.fmu.fmu import Fmu
from exchange.imported.described import described
from exchange.imported.instance import Instance
from exchange.imported.simulated import simulated_records
from exchange.imported.table import write_table
from exchange.imported.term import UNKNOWN, ImportedTerm, imported_backbone, imported_term
from hybrid import Dose, Exponential, HybridModel, Mesh, RungeKutta, Schedule, Signal, States, simulate
from hybrid.derivative import slope_of
from hybrid.laws.term import check_term
from learned import Constant
from physics import LinearBackbone, SharedPopulation
from stability import certify
from tests.exchange.bundle.test_bundle import bundle_for, oral
from tests.exchange.imported.strangers import UNITS, compiler, description, library, packed
from training import Personal
from training.people.tables.nonmem import read_table

pytest.importorskip("fmpy")
pytestmark = pytest.mark.skipif(
    compiler() is None or sys.platform != "linux", reason="a stranger's FMU is built here by a C compiler, for Linux"
)
F64 = torch.float64


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def fmu(built: Path) -> Path:
    return packed(built.with_name("vdp.fmu"), built, description())


@pytest.fixture(scope="module")
def without_slopes(built: Path) -> Path:
    return packed(built.with_name("plain.fmu"), built, description(directional=False))


def van_der_pol(mu: float, u: float) -> Callable[..., list[float]]:
    return lambda t, x: [x[1], mu * (1.0 - x[0] ** 2) * x[1] - x[0] + u]


def model_of(term: ImportedTerm, backbone: LinearBackbone) -> HybridModel:
    noise = Constant([1.0], [0.1])
    return HybridModel(backbone, SharedPopulation([]), observation=States(("x0",)), noise=noise, known=(term,))


def test_what_it_says_of_itself(fmu: Path) -> None:
    found = described(fmu)
    assert (found.version, found.kinds, found.directional) == ("2.0", ("ModelExchange", "CoSimulation"), True)
    assert [v.in_words() for v in found.states] == ["x0 (mg/L)", "x1 (units unknown, called furlong)"]
    # mg is defined there as a gram: what is called so is not taken for it
    assert [v.in_words() for v in found.inputs] == ["u (units unknown, called mg)"]
    assert [(v.name, v.start, v.low) for v in found.parameters] == [("mu", 1.0, 0.0)]
    assert found.time_unit == "h"
    assert found.unknown == ("x1", "u")
    assert "van der Pol" in repr(found)


def test_its_rate_and_slopes_are_its_own(fmu: Path, without_slopes: Path) -> None:
    x, u = np.array([0.7, -1.3]), np.array([0.4])
    for path, near in ((fmu, 1e-15), (without_slopes, 1e-8)):
        one = Instance(path, {"mu": 2.5})
        np.testing.assert_allclose(one.rate(x, u), van_der_pol(2.5, 0.4)(0.0, x), rtol=1e-15)
        J = [[0.0, 1.0, 0.0], [-5.0 * x[0] * x[1] - 1.0, 2.5 * (1.0 - x[0] ** 2), 1.0]]
        np.testing.assert_allclose(one.slopes(x, u), J, rtol=near, atol=near)
    assert one.slopes_by == "central differences"
    assert copy.deepcopy(one) is one
    again = pickle.loads(pickle.dumps(one))
    assert np.array_equal(again.rate(x, u), one.rate(x, u))
    assert [v.tolist() for v in one.start()] == [[2.0, 0.0], [0.0]]


def test_as_all_of_a_model_it_is_solved_as_scipy_solves_it(fmu: Path) -> None:
    backbone = imported_backbone(fmu, rate=2.0)
    assert (backbone.state_units, backbone.input_units, backbone.time_unit) == (("mg/L", UNKNOWN), (UNKNOWN,), "h")
    term = imported_term(fmu, backbone, parameters={"mu": 2.0}, whole=True)
    model = model_of(term, backbone)
    times = np.linspace(0.0, 2.0, 5)
    wanted = solve_ivp(van_der_pol(2.0, 0.3), (0.0, 2.0), [2.0, 0.0], "DOP853", times, rtol=1e-12, atol=1e-12).y.T
    schedule, nobody = Schedule(inputs={"u": Signal((0.0,), (0.3,))}), torch.zeros(0, dtype=F64)
    start = torch.tensor([2.0, 0.0], dtype=F64)
    for solver in (RungeKutta("tsit5", rtol=1e-10), Exponential(rtol=1e-8)):
        found = simulate(model, schedule, times, nobody, start, solver=solver)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6, atol=1e-7)
    assert model.opaque == ("ImportedTerm",)
    with pytest.raises(ValueError, match="ImportedTerm has neither layers nor a tape"):
        certify(model.lure(nobody))


def test_it_keeps_the_laws_of_terms_and_of_gradients(fmu: Path, without_slopes: Path) -> None:
    backbone = LinearBackbone(
        [[-1.0, 0.2, 0.0], [0.0, -2.0, 0.0], [0.1, 0.0, -0.5]],
        [[1.0], [0.0], [0.0]],
        states=("other", "a", "b"),
        inputs=("drive",),
        state_units=("1", "ug/L", "1"),
        time_unit="min",
    )
    for path in (fmu, without_slopes):
        term = imported_term(
            path, backbone, states={"x0": "a", "x1": "b"}, inputs={"u": "other"}, parameters={"mu": 1.5}
        )
        check_term(term, backbone)
    bound = term.at(torch.zeros(1, 1, 0), torch.zeros(1, 1, 0))
    x, u = torch.tensor([[[0.3, 700.0, -1.3]]], dtype=F64), torch.tensor([[[5.0]]], dtype=F64)
    rate = bound.rate(x, u)[0, 0]  # the FMU has hours and mg/L; the model minutes and ug/L
    wanted = van_der_pol(1.5, 0.3)(0.0, [0.7, -1.3])
    np.testing.assert_allclose(rate.numpy(), [0.0, wanted[0] * 1000.0 / 60.0, wanted[1] / 60.0], rtol=1e-14)

    def of(x: Tensor) -> Tensor:
        return bound.value(x, u)

    J = bound.jacobian(x, u)
    torch.testing.assert_close(slope_of(of, x), J, rtol=1e-12, atol=1e-12)  # forward mode
    back = torch.autograd.functional.jacobian(of, x)
    torch.testing.assert_close(back[0, 0, :, 0, 0], J[0, 0], rtol=1e-12, atol=1e-12)
    batch = torch.func.vmap(of)(torch.stack([x, 2.0 * x]))
    torch.testing.assert_close(batch[0], of(x), rtol=0.0, atol=0.0)
    with pytest.raises(ValueError, match="first derivatives and no second"):
        bound.jacobian(x.requires_grad_(), u).sum().backward()


def test_co_simulation_gives_records_that_fit_reads(fmu: Path, tmp_path: Path) -> None:
    times = [0.0, 0.5, 1.7, 4.0]
    pulse = Schedule(inputs={"u": Signal((0.0, 1.0), (0.0, 0.8), "held")})
    people = {"slow": {"mu": 0.5}, "fast": {"mu": 3.0, "x0": 1.0}}
    records = simulated_records(fmu, times, people=people, schedule=pulse, channels=("y", "x1"))
    assert [r.id for r in records] == ["slow", "fast"]
    assert dict(records[0].units) == {"y": "mg/L", "time": "h"}  # what x1 is in, nobody says
    for record, mu, start in ((records[0], 0.5, 2.0), (records[1], 3.0, 1.0)):
        first = solve_ivp(
            van_der_pol(mu, 0.0), (0.0, 1.0), [start, 0.0], "DOP853", [0.0, 0.5, 1.0], rtol=1e-11, atol=1e-12
        )
        then = solve_ivp(van_der_pol(mu, 0.8), (1.0, 4.0), first.y[:, -1], "DOP853", [1.7, 4.0], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(record.values, np.vstack([first.y.T[:2], then.y.T]), rtol=1e-8, atol=1e-9)
    path = write_table(records, tmp_path / "people.csv")
    units = {"TIME": "h", "AMT": "mg", "DV": "mg/L"}
    read = read_table(path, units=units, channels={1: "y", 2: "x1"}, channel_column="DVID", signed=("y", "x1"))
    for one, other in zip(read.records, records, strict=True):
        assert one.id == other.id
        assert np.array_equal(one.times, other.times)
        assert np.array_equal(one.values, other.values)
    with pytest.raises(ValueError, match="exists; give another path"):
        write_table(records, path)


def test_what_cannot_be_is_refused_in_a_sentence(fmu: Path, built: Path, tmp_path: Path) -> None:
    backbone = imported_backbone(fmu)

    def made(name: str, text: str, binary: Path | None = built) -> Path:
        return packed(tmp_path / f"{name}.fmu", binary, text)

    for words, call in (
        (
            r"2 event indicators.*simulated_records",
            lambda: imported_term(made("e", description(indicators=2)), backbone),
        ),
        (
            r"no Model Exchange.*simulated_records",
            lambda: imported_term(made("c", description(kinds=("CoSimulation",))), backbone),
        ),
        (
            r"no Co-Simulation.*imported_term",
            lambda: simulated_records(made("m", description(kinds=("ModelExchange",))), [1.0]),
        ),
        (r"no binary for linux64", lambda: imported_term(made("b", description(), None), backbone)),
        (r"no such file", lambda: described(tmp_path / "nothing.fmu")),
        (r"document type", lambda: described(made("x", description().replace("<fmi", "<!DOCTYPE a><fmi", 1)))),
        (r"no modelDescription|cannot be read", lambda: described(made("y", "<a/>"))),
        (r"'nu' is none of the FMU's parameters: mu", lambda: imported_term(fmu, backbone, parameters={"nu": 1.0})),
        (r"driven by 'v'.*no input or state", lambda: imported_term(fmu, backbone, inputs={"u": "v"})),
        (r"write states=\{'x0'", lambda: imported_term(fmu, LinearBackbone([[-1.0]], time_unit="h"))),
        (r"time is in 1 and h", lambda: imported_term(fmu, LinearBackbone([[-1.0]]))),
        (r"set other values, or step", lambda: simulated_records(fmu, [1.0, 50.0], people={"1": {"x0": 1e200}})),
        (r"is a bolus", lambda: simulated_records(fmu, [1.0], schedule=Schedule(doses=(Dose("x0", 0.0, 1.0),)))),
        (r"infused.x0", lambda: simulated_records(fmu, [1.0], schedule=Schedule(doses=(Dose("x0", 0.0, 1.0, 1.0),)))),
        (r"times increase", lambda: simulated_records(fmu, [2.0, 1.0])),
        (r"'z' is none of the FMU's outputs and states", lambda: simulated_records(fmu, [2.0], channels=("z",))),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
    clock = packed(tmp_path / "clock.fmu", library(tmp_path, "time"), description(units=UNITS))
    with pytest.raises(ValueError, match="its rate reads the time"):
        imported_term(clock, backbone)
    term = imported_term(fmu, backbone)
    with pytest.raises(ValueError, match="another file than the FMU"):
        ImportedTerm(**{**term.config(), "path": str(made("other", description(directional=False)))})


@pytest.mark.parametrize("fmi", [3, 2])
def test_one_of_ours_comes_back_as_it_went(fmi: Literal[2, 3], tmp_path: Path) -> None:
    """The rate and its slopes to the last bits, through a file; its own co-simulation within its step error."""
    bundle, chosen = bundle_for(oral()), Selection(member=1, person="Ada")
    path = Fmu(chosen, fmi=fmi).write(bundle, tmp_path / "oral.fmu").path
    found = described(path)
    assert (found.version, found.directional, found.unknown) == (f"{fmi}.0", True, ())
    who = selected(bundle, chosen)
    own, one = who.model.at(who.theta[:, None], who.c[:, None]), Instance(path, {})
    x, u, nothing = torch.tensor([[[120.0, 40.0]]], dtype=F64), np.zeros(2), torch.zeros(1, 1, 0, dtype=F64)
    rate = own.rate(x, nothing)[0, 0].numpy()
    np.testing.assert_allclose(one.rate(x[0, 0].numpy(), u), rate, rtol=1e-14)
    slopes, J = one.slopes(x[0, 0].numpy(), u), own.jacobian(x, nothing)[0, 0].numpy()
    np.testing.assert_allclose(slopes, np.hstack([J, np.eye(2)]), rtol=1e-12, atol=1e-14)
    times, given = [0.5, 2.0, 8.0], Schedule(doses=(Dose("gut", 0.0, 300.0, duration=0.5),))
    ours = simulate(who.model, given, times, who.theta[0], who.x0[0], c=who.c[0], solver=RungeKutta("tsit5", rtol=1e-9))
    (record,) = simulated_records(path, times, schedule=given, channels=("y.concentration",))
    np.testing.assert_allclose(record.values[:, 0], (ours[:, 1] / who.theta[0, 2]).numpy(), rtol=1e-6)
    assert dict(record.units) == {"time": "h", "y.concentration": "mg/L"}
    table = write_table([record], tmp_path / "ada.csv")
    (read,) = read_table(
        table,
        units={"TIME": "h", "AMT": "mg", "DV": "mg/L"},
        compartments={1: "gut"},
        channels={1: "y"},
        channel_column="DVID",
    ).records
    assert read.schedule == given


@pytest.mark.parametrize("fmi", [3, 2])
def test_switches_are_set_and_what_would_not_be_read_is_refused(fmi: Literal[2, 3], tmp_path: Path) -> None:
    bundle = bundle_for(oral())
    path = Fmu(Selection(member=1), fmi=fmi).write(bundle, tmp_path / "oral.fmu").path
    assert [one.name for one in described(path).switches] == ["by_population"]
    heavy = {"covariate.WT": 140.0, "gut": 300.0}
    each = {"1": {"gut": 300.0}, "2": {**heavy, "by_population": 1.0}}
    typical, other = (one.values for one in simulated_records(path, [2.0], people=each, channels=("y.concentration",)))
    assert other[0, 0] < 0.7 * typical[0, 0]  # in twice the volume
    for given, words in (
        (heavy, "read where by_population is true alone; set by_population=1"),
        ({"by_population": 1, "theta.ka": 1.0}, "not read where by_population is true"),
        ({"by_population": 0.5}, "true or false"),
    ):
        with pytest.raises(ValueError, match=words):
            simulated_records(path, [2.0], people={"1": given})
    with pytest.raises(ValueError, match="set by_population=1"):
        Instance(path, {"covariate.WT": 140.0})


def test_a_bundle_names_the_file_and_its_hash(fmu: Path, tmp_path: Path) -> None:
    backbone = imported_backbone(fmu)
    model = model_of(imported_term(fmu, backbone, parameters={"mu": 2.0}, whole=True), backbone)
    personal = torch.zeros(1, 1, 0, dtype=F64)
    known = Personal(
        personal, torch.zeros(1, 1, 0, 0, dtype=F64), torch.zeros(1, 1, dtype=F64), torch.ones(1, 1, dtype=torch.bool)
    )
    inputs = {"u": Signal((0.0,), (0.0,))}
    bundle = Bundle(model, (Person("1", Schedule(inputs=inputs), {}, (2.0,)),), known, Mesh(0.5))
    path = save(bundle, tmp_path / "with.twin")
    with pytest.raises(ValueError, match="ImportedTerm"):
        load(path)
    again = load(path, {**BUILTIN, "ImportedTerm": ImportedTerm}).model
    x, u, nothing = torch.ones(1, 1, 2, dtype=F64), torch.ones(1, 1, 1, dtype=F64), torch.zeros(1, 1, 0, dtype=F64)
    assert torch.equal(again.at(nothing).rate(x, u), model.at(nothing).rate(x, u))
