"""docs/exchange.md, as whoever copies from it finds it: the C compiles without a warning, and everything gives one answer."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.corruptions.content import ordinary
from exchange import Selection, save, selected
from exchange.c.compiled import compiler
from homeostat.bundles.exported import Choice, export_bundle
from hybrid import Dose, Schedule, Torchdiffeq, simulate

PAGE = (Path(__file__).parents[2] / "docs/exchange.md").read_text()
STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")
HOURS = np.arange(25.0)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the names of the demo's, exported as the page's first lines say."""
    folder = tmp_path_factory.mktemp("page")
    save(ordinary(), folder / "model.twin")
    return folder


def exported(folder: Path, to: str) -> Path:
    target = folder / f"theophylline{ {'c': '.h', 'fmu': '.fmu', 'onnx': '.onnx'}[to] }"
    if not target.exists():
        export_bundle(folder / "model.twin", Choice(to, theta="3"), target)
    return target


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    """The mean over members every hour after 320 mg, by our own solver to 1e-10. (T,)"""
    chosen = selected(ordinary(), Selection(person="3"))
    given = Schedule((Dose("gut", 0.0, 320.0),))
    solver = Torchdiffeq("dopri5", rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        x = simulate(chosen.model, given, HOURS.tolist(), chosen.theta[:, None], start=chosen.x0[:, None], solver=solver)
    y = chosen.model.observation.mean(x, chosen.theta)  # (M, T, p)
    return y.mean(0).squeeze().numpy()


def test_the_command_lines_are_what_the_shell_takes() -> None:
    lines = re.findall(r"^homeostat export (.*)$", PAGE, flags=re.MULTILINE)
    assert len(lines) >= 3


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_a_day_in_c(folder: Path, wanted: np.ndarray) -> None:
    exported(folder, "c")
    day, *_ = blocks("c")
    assert len(day.splitlines()) <= 32
    found = np.array([[float(x) for x in line.split()] for line in run_c(folder, "day", day).splitlines()])
    assert found[:, 0].tolist() == HOURS.tolist()
    np.testing.assert_allclose(found[:, 1], wanted, rtol=1e-6, atol=1e-8)
    assert (found[:, 2] > 0.0).all()


def run_c(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.c").write_text(text)
    command = [str(compiler()), *STRICT, f"{name}.c", "-o", name, "-lm"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    done = subprocess.run([str(folder / name)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_the_certificate_in_c(folder: Path) -> None:
    exported(folder, "c")
    _, proof = blocks("c")
    assert "-" in run_c(folder, "proof", proof)  # below 0


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_fmpy(folder: Path, wanted: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fmpy")
    exported(folder, "fmu")
    monkeypatch.chdir(folder)
    run, proof, _ = blocks("python")
    found = program(run, "fmpy_runs")
    np.testing.assert_allclose(found["exchanged"]["y.concentration"], wanted, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found["together"]["y.concentration"], wanted, rtol=1e-5, atol=1e-7)
    assert program(proof, "fmpy_proves")["worst"] <= 1e-9


def test_onnxruntime(folder: Path, wanted: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    exported(folder, "onnx")
    monkeypatch.chdir(folder)
    found = program(blocks("python")[2], "onnx_runs")
    np.testing.assert_allclose(found["mean"][:, 0], wanted, rtol=1e-5, atol=1e-8)  # Runge-Kutta, five minutes
    assert found["worst"] <= 1e-9


def program(text: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": name}
    exec(compile(text, name, "exec"), found)
    return found
