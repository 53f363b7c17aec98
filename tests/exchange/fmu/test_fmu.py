"""What is in an FMU, and what it does in its clients' hands."""

import re
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exchange import Selection, selected
from exchange.c.compiled import STRICT, compiler
from exchange.fmu.archive import open_fmu
from exchange.fmu.fmu import Fmu
from exchange.fmu.running import running
from exchange.fmu.units import definitions, rate_of
from tests.exchange.fmu.conftest import Made

fmpy = pytest.importorskip("fmpy", reason="FMPy, of the extra fmu, is not installed")
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")


def test_fmpy_has_nothing_to_say(made: Made) -> None:
    from fmpy.validation import validate_fmu

    assert validate_fmu(str(made.path)) == []


@needs_compiler
def test_the_sources_compile_strictly_and_beside_the_standard_s_headers(made: Made, tmp_path: Path) -> None:
    open_fmu(made.path).write_to(tmp_path)
    version, official = made.export.fmi, Path(fmpy.__file__).parent / "c-code"
    for more in ([], ["-include", str(official / f"fmi{version}Functions.h")]):
        command = [
            str(compiler()),
            "-std=c99",
            *STRICT,
            "-O0",
            "-c",
            f"-I{official}",
            *more,
            f"sources/fmi{version}.c",
            "-o",
            "a.o",
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_all_75_functions_of_fmi_3_are_there(one: Made) -> None:
    """`\\bfmi3…` of each is asked of the standard's header."""
    official = (Path(fmpy.__file__).parent / "c-code" / "fmi3Functions.h").read_text()
    asked = set(re.findall(r"FMI3_Export fmi3\w+TYPE\s+(fmi3\w+);", official))
    sources = "".join(d.decode() for n, d in open_fmu(one.path).entries.items() if n.startswith("sources/fmi3"))
    types = re.findall(r"^NO_VARIABLE\((\w+)\)", sources, re.MULTILINE)
    found = set(re.findall(r"FMI3\((fmi3\w+)\)", sources)) | {
        f"fmi3{verb}{kind}" for kind in types for verb in ("Get", "Set")
    }
    assert (len(asked), asked - found) == (75, set())


def test_equal_bundles_give_equal_bytes(one: Made, tmp_path: Path) -> None:
    again = Fmu(one.export.selection).write(one.bundle, tmp_path / "oral.fmu")
    assert again.path.read_bytes() == one.path.read_bytes()


def test_the_zip_file_is_one_that_fmi_asks_for(one: Made) -> None:
    with zipfile.ZipFile(one.path) as archive:
        infos = archive.infolist()
    assert infos[0].filename == "modelDescription.xml"
    assert {i.compress_type for i in infos} == {zipfile.ZIP_DEFLATED}
    assert {i.date_time for i in infos} == {(1980, 1, 1, 0, 0, 0)}
    names = {i.filename for i in infos}
    assert {
        "sources/buildDescription.xml",
        "documentation/index.html",
        "extra/org.homeostat/fmi-ls-manifest.xml",
    } <= names
    assert {
        f"extra/org.homeostat/{n}" for n in ("proof.json", "calibration.json", "card.md", "states.json", "hashes.json")
    } <= names
    assert one.path.stat().st_size < 1_000_000


@needs_compiler
def test_simulations_are_our_own_solution(made: Made) -> None:
    from benchmarks.exchange.of_fmu import over, simulated

    for subject, (path, _) in zip(made.subjects, simulated(made.subjects, made.path, "ModelExchange"), strict=True):
        assert subject.gap(path) < 1e-6  # of each state's largest
    for subject, found in zip(made.subjects, simulated(made.subjects, made.path, "CoSimulation"), strict=True):
        assert max(over(subject, *found)) < 1.0  # of what is said of the step's error


@needs_compiler
def test_the_jacobian_through_fmi_is_ours(made: Made) -> None:
    from benchmarks.exchange.of_fmu import jacobians

    assert jacobians(made.subjects, made.path)[1] < 1e-12


@needs_compiler
def test_casadi_imports_the_same_model(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("casadi", reason="CasADi is not installed")
    from benchmarks.exchange.of_fmu import by_casadi

    assert by_casadi(made.subjects, made.path, tmp_path / "unpacked")[1] < 1e-12


@needs_compiler
def test_variances_of_an_ensemble_are_the_mixture_s(ensemble: Made) -> None:
    names = ["y", "aleatoric", "epistemic", "member1.y", "member2.y"]
    with running(open_fmu(ensemble.path)) as fmu:
        fmu.start({})
        fmu.set_states({"member1.gut": 1.0, "member1.plasma": 100.0, "member2.gut": 2.0, "member2.plasma": 150.0})
        mean, aleatoric, epistemic, first, second = fmu.get([f"{name}.concentration" for name in names])
        slopes = fmu.jacobian([f"{name}.concentration" for name in names], ["member1.plasma", "member2.plasma"])
        h = 1e-4
        fmu.set_states({"member1.gut": 1.0, "member1.plasma": 100.0 + h, "member2.gut": 2.0, "member2.plasma": 150.0})
        moved = fmu.get([f"{name}.concentration" for name in names])
    model = selected(ensemble.bundle, Selection()).model
    assert mean == pytest.approx((first + second) / 2, rel=1e-14)
    assert epistemic == pytest.approx((first - mean) ** 2, rel=1e-12)
    y = torch.tensor([[[[first]]], [[[second]]]])
    x = torch.zeros(2, 1, 1, 2, dtype=torch.float64)
    variance = model.noise.variance(y, x, torch.zeros(1, 1, 1, 0, dtype=torch.float64))
    assert aleatoric == pytest.approx(float(variance.mean()), rel=1e-12)
    np.testing.assert_allclose(
        (moved - np.array([mean, aleatoric, epistemic, first, second])) / h, slopes[:, 0], rtol=1e-4
    )


@needs_compiler
def test_the_population_s_map_is_behind_a_switch(one: Made) -> None:
    """η and covariates by the switch give what θ of them gives."""
    chosen = selected(one.bundle, one.export.selection)
    eta = torch.full((1, 1, chosen.model.personal), 0.3, dtype=torch.float64)
    theta = chosen.model.theta(eta, {"WT": torch.tensor([55.0], dtype=torch.float64)})[0, 0].tolist()
    names = [p.name for p in chosen.model.backbone.physical]
    states = {"gut": 30.0, "plasma": 100.0}
    with running(open_fmu(one.path)) as fmu:
        fmu.start({f"theta.{name}": value for name, value in zip(names, theta, strict=True)})
        fmu.set_states(states)
        stated = fmu.get(["der(gut)", "der(plasma)", "y.concentration"])
        fmu.start({**{f"eta.{name}": 0.3 for name in names}, "covariate.WT": 55.0})
        fmu.set_states(states)
        before = fmu.get(["der(gut)", "der(plasma)", "y.concentration"])
        fmu.switch("by_population", True)
        mapped = fmu.get(["der(gut)", "der(plasma)", "y.concentration"])
    assert np.abs(before - stated).max() > 1e-3
    np.testing.assert_allclose(mapped, stated, rtol=1e-12)


@needs_compiler
def test_a_state_is_kept_taken_up_and_written_down(made: Made) -> None:
    def simulate(fmu: Any, steps: int, at: float) -> list[float]:
        for k in range(steps):
            fmu.doStep(at + 0.5 * k, 0.5)
        get = fmu.getFloat64 if made.export.fmi == 3 else fmu.getReal
        return list(get(list(range(1, 3))))

    with stepping(made) as fmu:
        simulate(fmu, 2, 0.0)
        state = fmu.getFMUState()
        data = fmu.serializeFMUState(state)
        onwards = simulate(fmu, 3, 1.0)
        fmu.setFMUState(state)
        assert simulate(fmu, 3, 1.0) == onwards
        taken = fmu.deserializeFMUState(data)
        fmu.setFMUState(taken)
        assert simulate(fmu, 3, 1.0) == onwards
        fmu.freeFMUState(state)
        with pytest.raises(Exception, match="rror"):
            fmu.deserializeFMUState(b"\0" * len(data))


@needs_compiler
def test_what_is_no_number_or_outside_its_box_is_refused(one: Made) -> None:
    with running(open_fmu(one.path)) as fmu:
        for name, value in (("theta.ka", 1e6), ("theta.ka", float("nan")), ("der(gut)", 1.0), ("gut", float("inf"))):
            with pytest.raises(ValueError, match="cannot be read or run"):
                fmu.start({name: value})


@needs_compiler
def test_states_that_are_no_numbers_and_calls_out_of_turn_are_refused(made: Made) -> None:
    """In both kinds: states as set, as bytes, and functions in modes where the standard has no place for them."""
    with running(open_fmu(made.path)) as fmu:
        fmu.start({})
        names, instance = fmu._states, fmu._instance  # below the names: what an importer may do out of turn
        for number in (float("nan"), float("inf")):
            with pytest.raises(ValueError, match="cannot be read or run"):
                fmu.set_states(dict.fromkeys(names, number))
        instance.terminate()
        calls = [instance.terminate, lambda: fmu.at(1.0), lambda: fmu.set_states(dict.fromkeys(names, 1.0))]
        for call in (*calls, instance.enterInitializationMode, lambda: fmu.set({names[0]: 1.0})):
            with pytest.raises(Exception, match=r"rror|run"):
                call()
    with stepping(made) as fmu:
        places = {v.name: v.valueReference for v in fmpy.read_model_description(str(made.path)).modelVariables}
        state = fmu.getFMUState()
        data = bytes(fmu.serializeFMUState(state))
        fmu.freeFMUState(state)
        theta = next(name for name in places if name.endswith("theta.ka"))
        owner = theta.removesuffix("theta.ka")
        for name, number in ((theta, -1e9), ("step", -1.0), (f"{owner}gut", float("nan")), ("time", float("inf"))):
            at = 8 + 8 * places[name]
            with pytest.raises(Exception, match="rror"):
                fmu.deserializeFMUState(data[:at] + struct.pack("=d", number) + data[at + 8 :])
        again = fmu.deserializeFMUState(data)
        fmu.freeFMUState(again)
        for call in (fmu.enterInitializationMode, fmu.exitInitializationMode):
            with pytest.raises(Exception, match="rror"):
                call()


def test_units_have_their_factors_to_si() -> None:
    found = {
        one.name: dict(one.base) if one.base is not None else None
        for one in definitions(["mg/L", "h", "[iU]/L", "Cel", "1"])
    }
    assert found["mg/L"] == {"m": "-3", "kg": "1", "factor": "0.001"}
    assert found["h"] == {"s": "1", "factor": "3600"}
    assert found["[iU]/L"] is None
    assert found["Cel"] == {"K": "1", "offset": "273.15"}
    assert found["1"] == {}
    assert (rate_of("mg", "h"), rate_of("1", "min")) == ("mg/h", "/min")


def test_slips_are_answered_in_a_sentence(one: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fmi is 3 or 2, got 4"):
        Fmu(fmi=4)  # type: ignore[arg-type]  # the slip
    with pytest.raises(ValueError, match="prefix"):
        Fmu(prefix="2 cells")
    with pytest.raises(ValueError, match="exists"):
        Fmu().write(one.bundle, one.path)
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_there_are_sources_and_a_sentence(
    one: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.fmu.fmu.compiler", lambda: None)
    found = Fmu(Selection(member=0, person="Ada")).write(one.bundle, tmp_path / "ada.fmu")
    names = open_fmu(found.path).entries
    assert any("no C compiler" in sentence for sentence in found.sentences)
    assert not any(name.startswith("binaries/") for name in names)
    assert b"by_population" not in names["modelDescription.xml"]


@contextmanager
def stepping(made: Made) -> Iterator[Any]:
    """A Co-Simulation instance of FMPy's, initialised."""
    with tempfile.TemporaryDirectory() as folder:
        open_fmu(made.path).write_to(Path(folder))
        fmu = fmpy.instantiate_fmu(folder, fmpy.read_model_description(folder), "CoSimulation")
        if made.export.fmi == 3:
            fmu.setFloat64([1], [100.0])
        else:
            fmu.setupExperiment(startTime=0.0)
            fmu.setReal([1], [100.0])
        fmu.enterInitializationMode()
        fmu.exitInitializationMode()
        yield fmu
        fmu.freeInstance()
