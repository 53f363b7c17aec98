"""The graphs of ONNX and the programs of torch, each run by its own runtime alone, held against the model."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.exchange.of_fmu import Found
from benchmarks.exchange.subject import Subject, relative

ROWS = 16


def given_of(subject: Subject, precision: str) -> dict[str, np.ndarray]:
    """Everything that a function may take, in rows: names as the programs have them."""
    x, u = subject.points(ROWS, 7)
    chosen, model = subject.chosen, subject.chosen.model
    d = model.population.dimension
    g = np.random.default_rng(8)
    everything = {
        "x": x,
        "u": u,
        "infused": np.tile(subject.infused, (ROWS, 1)),
        "theta": np.tile(chosen.theta[0].numpy(), (ROWS, 1)),
        "c": np.tile(chosen.c[0].numpy(), (ROWS, 1)),
        "h": g.uniform(0.2, 1.0, ROWS) * subject.times[1],
        "eta": 0.2 * g.standard_normal((ROWS, d)),
        "latents": 0.2 * g.standard_normal((ROWS, model.latents)),
        "covariates": np.tile([chosen.covariates[name] for name in model.uses], (ROWS, 1)),
    }
    return {name: value.astype(precision) for name, value in everything.items()}


def wanted_of(subject: Subject, given: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """By function, what the model says, in float64, of the numbers as they are given."""
    model = subject.chosen.model
    t = {name: torch.as_tensor(value.astype(np.float64)) for name, value in given.items()}
    with torch.no_grad():
        right = model.at(t["theta"][None], t["c"][None])
        rate = right.rate(t["x"][None], t["u"][None], t["infused"][None])[0]
        y = model.observation.mean(t["x"][None, :, None], t["theta"][None])[:, :, 0]
        variance = model.noise.variance(y[:, :, None], t["x"][None, :, None], t["u"][None, :, None])[0, :, 0]
        known = {name: t["covariates"][:, k] for k, name in enumerate(model.uses)}
        personal = torch.cat([t["eta"], t["latents"]], -1)[None]
        found = {
            "field": {"rate": rate},
            "jacobian": {"jacobian": right.jacobian(t["x"][None], t["u"][None])[0]},
            "observe": {"y": y[0], "variance": variance},
            "person": {"theta": model.theta(personal, known)[0], "c": model.context(personal, known)[0]},
            "step": {"after": _rk4(right, t)},
        }
    return {name: {one: value.numpy() for one, value in values.items()} for name, values in found.items()}


def _rk4(right: Any, t: Mapping[str, torch.Tensor]) -> torch.Tensor:
    x, u, infused, h = t["x"][None], t["u"][None], t["infused"][None], t["h"][:, None]
    k1 = right.rate(x, u, infused)
    k2 = right.rate(x + 0.5 * h * k1, u, infused)
    k3 = right.rate(x + 0.5 * h * k2, u, infused)
    k4 = right.rate(x + h * k3, u, infused)
    return (x + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4))[0]


def of_onnx(subject: Subject, folder: Path, precision: str) -> Found:
    """Gaps of every graph from the model, by onnxruntime; a float64 operation without a kernel is refused by name."""
    import onnxruntime

    from exchange.onnx.onnx_graphs import Onnx

    path = folder / f"{precision}.onnx"
    export = Onnx(selection=subject.selection, precision=precision, replace=True)
    first = export.write(subject.bundle, path).path
    given = given_of(subject, precision)
    wanted, found = wanted_of(subject, given), dict[str, float | str | None]()
    for file in sorted(first.parent.glob(f"{precision}.*.onnx")):
        name = file.name.split(".")[1]
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        feed = {one.name: given[one.name] for one in session.get_inputs()}
        out = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
        found[f"{name} gap"] = max(relative(out[one], value) for one, value in wanted[name].items() if one in out)
    return found


_RELOADED = """
import json, sys, numpy, torch
ours = ("physics", "learned", "hybrid", "stability", "training", "exchange", "twin", "homeostat")
sys.modules.update({name: None for name in ours})
given = numpy.load(sys.argv[1])
for file, out, names in json.loads(sys.argv[2]):
    found = torch.export.load(file).module()(**{name: torch.from_numpy(given[name]) for name in names})
    numpy.savez(out, *[one.detach().numpy() for one in (found if isinstance(found, tuple) else (found,))])
"""


def of_torch(subject: Subject, folder: Path, precision: str) -> Found:
    """The same of the programs of torch, reloaded in a process in which none of our packages can be imported."""
    from exchange.torch_program.programs import programs_of
    from exchange.torch_program.torch_program import TorchProgram

    path = folder / f"{precision}.pt2"
    export = TorchProgram(selection=subject.selection, precision=precision, replace=True)
    first = export.write(subject.bundle, path).path
    given = given_of(subject, precision)
    wanted, found = wanted_of(subject, given), dict[str, float | str | None]()
    programs = programs_of(subject.chosen, precision)
    np.savez(folder / "given.npz", **given)
    files = {file.name.split(".")[1]: file for file in sorted(first.parent.glob(f"{precision}.*.pt2"))}
    asked = [(str(file), str(folder / f"{name}.npz"), list(programs[name].inputs)) for name, file in files.items()]
    command = [sys.executable, "-I", "-c", _RELOADED, str(folder / "given.npz"), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr[-300:])
    for name in files:
        with np.load(folder / f"{name}.npz") as arrays:
            values = dict(zip(programs[name].outputs, arrays.values(), strict=True))
        found[f"{name} gap"] = max(relative(values[one], value) for one, value in wanted[name].items() if one in values)
    return found
