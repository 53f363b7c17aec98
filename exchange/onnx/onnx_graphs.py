"""The bundle as graphs of ONNX."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from exchange.bundle.bundle import Bundle
from exchange.export import Export, Written
from exchange.onnx.graph import graph_of
from exchange.onnx.read import parsed
from exchange.onnx.sealed import sealed
from exchange.selection import TYPICAL, Selected, Selection, selected
from exchange.torch_program.carried import carried, described, said_of
from exchange.torch_program.programs import FUNCTIONS, PRECISIONS, Precision, Program, programs_of
from exchange.torch_program.several import targets_of, write_all
from physics.arguments import require_choice, require_flag, require_kind

if TYPE_CHECKING:
    import onnx

# Of the largest component, between onnxruntime and torch: beyond the first it is said, beyond the second nothing is written.
# Terms of dx/dt that cancel leave fewer digits to both.
TOLERANCE = {"float64": (1e-12, 1e-9), "float32": (5e-6, 1e-3)}
_ROWS = 5


@dataclass(frozen=True)
class Onnx(Export):
    """Graphs of ONNX beside each other: model.onnx, or model.field.onnx, becomes model.field.onnx, model.jacobian.onnx,
    model.step.onnx, model.observe.onnx and model.person.onnx.

    Each is static, of operations of the standard alone (opset 18), over a batch of any length. Claims with their proof,
    calibration, names, units and card ride in `metadata_props`. Each is checked by `onnx.checker`, and run by onnxruntime beside
    torch, before anything is written.
    `selection`, which members, and whose θ, c and start are given · `precision` of all its numbers; onnxruntime has no float64
    kernel of some operations (`WITHOUT_FLOAT64`), and a model with one of them is refused in float64 by its name · `replace`
    files that are there.
    Laws: equal bundles give equal bytes; onnxruntime gives what torch gives to 1e-12 of the largest component in float64, to
    5e-6 in float32 (of the epistemic variance: of the square of the mean, where that is more), or `Written.sentences` says of
    which graph it does not.
    """

    name: ClassVar[str] = "onnx"
    suffix: ClassVar[str] = ".onnx"
    selection: Selection = TYPICAL
    precision: Precision = "float64"
    replace: bool = False

    def __post_init__(self) -> None:
        require_kind(self.selection, Selection, "Onnx: selection", "Selection()")
        require_choice(self.precision, ("float64", "float32"), "Onnx: precision")
        require_flag(self.replace, "Onnx: replace")

    def write(self, bundle: Bundle, path: str | os.PathLike[str]) -> Written:
        """Write the graphs; all of them appear, or none. Returns the path of the field.

        Errors: `ValueError` where onnx is not installed, for an operation that is not written or not computed, by its name, and
        for a target that exists.
        """
        require_onnx("Onnx.write")
        import onnx

        require_kind(bundle, Bundle, "Onnx.write: bundle", 'load("model.twin")')
        targets = targets_of(self, path, FUNCTIONS, "Onnx.write")
        chosen = selected(bundle, self.selection)
        programs = programs_of(chosen, self.precision)
        common = carried(bundle, chosen)
        whole, gaps = dict[str, bytes](), dict[str, float | None]()
        for name, program in programs.items():
            about = described(bundle, chosen, program, name, self.precision)
            texts = {f"homeostat.{one}": text for one, text in {**common, "model": about}.items()}
            graph = graph_of(program, name, texts)
            onnx.checker.check_model(graph, full_check=True)
            gaps[name] = gap_of(graph, program, chosen)
            _require_close(name, gaps[name], TOLERANCE[self.precision][1])
            whole[name] = sealed(graph.SerializeToString(deterministic=True))
            parsed(whole[name])  # what nobody could read again is not written

        def put(name: str, partial: Path) -> None:
            partial.write_bytes(whole[name])

        files, beside = write_all(targets, programs, put)
        ran = _ran({name: gap for name, gap in gaps.items() if gap is not None}, TOLERANCE[self.precision][0])
        return Written(files[0], (*beside, ran, *said_of(bundle, chosen)), files)


def _ran(gaps: Mapping[str, float], near: float) -> str:
    if not gaps:
        return _NOT_RUN
    far = [f"{name} {gap:.1e}" for name, gap in gaps.items() if gap > near]
    beyond = f"; more than {near:g}: {', '.join(far)}, where terms cancel" if far else ""
    return f"onnxruntime gives what torch gives to {max(gaps.values()):.1e} of the largest component{beyond}"


_NOT_RUN = "onnxruntime is not installed, and the graphs were not run: pip install 'homeostat[onnx]'"


def require_onnx(what: str) -> None:
    """Raise `ValueError` where the package onnx is not installed."""
    try:
        import onnx  # noqa: F401, is it there?
    except ImportError as error:
        raise ValueError(
            f"{what} needs onnx, which is not installed; install it: pip install 'homeostat[onnx]'"
        ) from error


def gap_of(graph: "onnx.ModelProto", program: Program, chosen: Selected) -> float | None:
    """How far onnxruntime is from torch at a few rows, relative to the largest component of each output; None without it.

    The epistemic variance is relative to the square of the mean, where that is more.
    ∞ where one of them has a number and the other has none.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    given = _rows(program, chosen)
    with torch.no_grad():
        wanted = program.exported.module()(**given)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    found = session.run(None, {name: value.numpy() for name, value in given.items()})
    known = dict(zip(program.outputs, (one.numpy() for one in wanted), strict=True))
    return max(_apart(np.asarray(a), b, _square(name, known)) for a, (name, b) in zip(found, known.items(), strict=True))


def _square(name: str, known: Mapping[str, np.ndarray]) -> float:
    """Members that agree differ by rounding alone: their epistemic variance is small beside the square of their mean."""
    mean = np.abs(known["mean"]) if name == "epistemic" else np.zeros(0)
    return float(np.square(mean[np.isfinite(mean)]).max(initial=0.0))


def _apart(found: np.ndarray, wanted: np.ndarray, least: float) -> float:
    """Over the largest component, or over `least` where that is more."""
    there = np.isfinite(wanted)
    if not np.array_equal(there, np.isfinite(found)):
        return float("inf")
    largest = np.abs(wanted[there]).max(initial=least)
    gap = np.abs(found[there] - wanted[there]).max(initial=0.0)
    return float(gap / largest) if largest else float(gap)


def _rows(program: Program, chosen: Selected) -> dict[str, torch.Tensor]:
    """A few rows around the start: states from a half to one and a half of it, or as far from 0 where it is 0."""
    dtype = PRECISIONS["float64"] if _is_double(program) else PRECISIONS["float32"]
    wave = torch.sin(torch.arange(_ROWS, dtype=torch.float64))
    found = {}
    for name, axes in program.inputs.items():
        shape = [_ROWS if size == "batch" else int(size) for size in axes]
        base = {"theta": chosen.theta, "c": chosen.c, "x": chosen.x0}.get(name)
        if name == "covariates":
            base = torch.tensor([list(chosen.covariates.values())], dtype=torch.float64)
        if base is None:
            base = torch.zeros(1, shape[-1], dtype=torch.float64)
        rows = base[:, None].expand(-1, _ROWS, -1)
        if name in ("x", "u", "eta", "latents", "infused"):
            size = torch.where(rows == 0.0, torch.ones_like(rows), rows.abs())
            rows = rows + 0.5 * size * wave[None, :, None]
        rows = rows.expand(shape) if len(shape) == 3 else rows[0]
        found[name] = (0.1 * (1.0 + wave.abs()) if name == "h" else rows).to(dtype).contiguous()
    return found


def _is_double(program: Program) -> bool:
    inputs = (node.meta["val"].dtype for node in program.exported.graph.nodes if node.name in program.inputs)
    return next(inputs) == torch.float64


def _require_close(name: str, gap: float | None, tolerance: float) -> None:
    if gap is not None and not gap <= tolerance:
        raise ValueError(
            f"Onnx.write: {name}: onnxruntime is {gap:.2g} of the largest component from torch, and {tolerance:g} is allowed; "
            "export it in float64, or in another form"
        )
